"""Before a journal is used: is it the right file, and is its schema this release's?

A schema is brought up to date in one transaction, after a whole copy of the file was kept beside
it: killed in the middle, it is what it was. A journal that is missing beside pictures, or whose
rebuilding was broken off, is not quietly replaced by an empty one: everything would be bought anew.

May import: errors, lang.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from .errors import JournalDamaged
from .lang import Text

log = logging.getLogger("redloom")
REBUILDING = "journal.rebuilding"
"""Stands beside a journal while it is replaced, and names the folder that holds the old one."""


def check_place(path: Path) -> None:
    """Whether a journal may be opened, or made, at ``path``. Raises JournalDamaged."""
    if path.with_name(REBUILDING).exists():
        raise JournalDamaged(
            "重建账本的工作没有做完，没有再发出任何请求；请再运行一次 redloom cache rebuild。",
            "Rebuilding the journal was broken off; nothing was sent. Run `redloom cache rebuild` once more.",
        )
    there = path.is_file() and path.stat().st_size > 0
    if not there and any(path.parent.glob("images/??/*")):
        raise JournalDamaged(
            f"{path.parent} 里有图却没有账本：这样会把同样的图再买一遍，所以没有发出任何请求。"
            "运行 redloom cache rebuild 图片文件夹… 另建账本，什么都不删。",
            f"{path.parent} has pictures but no journal: the same pictures would be bought again, so nothing was sent. "
            "`redloom cache rebuild DIR…` (the folders of your pictures) builds a new one and deletes nothing.",
        )


def version_of(connection: sqlite3.Connection) -> int:
    """The number of the last migration that this journal has seen; 0: it is empty."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection, path: Path, steps: Sequence[str]) -> None:
    """Bring the schema up to date: every step or none, a copy kept before.

    Raises JournalDamaged where a newer release wrote the file, sqlite3.Error or OSError where
    there is no room for the copy; nothing has changed then.
    """
    if _missing(connection, steps) == 0:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have done it while we waited for the lock.
        if missing := _missing(connection, steps):
            known = len(steps) - missing
            if known:
                keep_copy(path, known)
            for step in steps[known:]:
                for statement in split(step):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(steps)}")
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")  # a full disk has undone it already
        raise


def _missing(connection: sqlite3.Connection, steps: Sequence[str]) -> int:
    missing = len(steps) - version_of(connection)
    if missing < 0:
        raise JournalDamaged(
            "这个工作区是更新版本的 Redloom 写的；请升级后再用，里面的东西没有动。",
            "This workspace was written by a newer Redloom; upgrade to use it. Nothing was touched.",
        )
    return missing


def keep_copy(path: Path, version: int) -> Path:
    """A whole copy of the journal beside it, as of ``version``; replaced whole or not at all.

    Only for whoever holds the write lock: what is committed is what the copy has.
    """
    copy = path.with_name(f"{path.name}.v{version}")
    part = path.with_name(f"{copy.name}.part")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    source, target = sqlite3.connect(path), sqlite3.connect(part)
    try:
        source.backup(target, pages=4096)
    finally:
        source.close()
        target.close()
    with part.open("rb") as written:
        os.fsync(written.fileno())
    part.replace(copy)
    told = Text(
        f"账本升级到新版本；升级前的副本在 {copy}。",
        f"The journal is brought up to date; what it was before is kept as {copy}.",
    )
    log.warning("%s", told)
    return copy


def split(script: str) -> Iterable[str]:
    """The statements of a script (``executescript`` would commit behind our back)."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
