"""A journal that is damaged or lost, built again from itself, the store and the sidecars.

Nothing is deleted: what was there is copied into a folder of the workspace first, and replaced in
one rename. The new journal has what could be read of the old one (`salvage`), and every picture
whose sidecar (``NAME.png.json``) and bytes prove which request it answers, so that the same command
run again buys none of them. What nobody can know any more is counted and told.

May import: parts, upgrade, errors, clock, job, journal, records, workspace, naming, splice,
metadata,
download,
image, salvage.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import WorkspaceError
from .image import Store
from .job import Request
from .journal import connect, statements
from .parts import on_disk
from .salvage import LOST, Salvaged, mend, salvage, sound
from .splice import kind_of
from .upgrade import REBUILDING, migrate, version_of
from .workspace import Workspace, fingerprint


@dataclass
class Rebuilt:
    """What became of it."""

    aside: Path | None = None
    """Where the old files are kept; None: there were none, or the journal was sound."""
    was_sound: bool = False
    salvaged: Salvaged = field(default_factory=Salvaged)
    adopted: int = 0
    """Pictures that are known again from sidecars."""
    lost: int = 0
    """Sidecars whose picture is neither in the store nor beside them, or is not what they say."""
    open_rows: int = 0
    """Rows that a manifest calls pending or in doubt and the journal does not know."""
    strays: int = 0
    """Pictures of the store of which nobody knows what they were made for."""


def rebuild(
    root: Path, folders: Sequence[Path], now: float, keys: Mapping[str, str] | None = None
) -> Rebuilt:
    """Build the journal of workspace ``root`` anew. For a thread; free.

    ``now``: nominal Unix seconds. ``folders``: further folders of pictures than those that the journal itself still names.
    ``keys``: of each place without its mark (``provider address``) the key in use; only where the
    workspace's salt is lost. Raises WorkspaceError where another process is at work here, DiskFull.
    """
    workspace = Workspace(root)
    with on_disk():
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _alone(workspace)
        try:
            return _rebuild(workspace, folders, now, keys or {})
        finally:
            workspace.unlock()


def _alone(workspace: Workspace) -> None:
    """Hold the workspace, with nobody else in it."""
    owners = [path.stem for path in (workspace.root / "owners").glob("*.lock")]
    if any(workspace.lives(one) for one in owners) or not workspace.try_lock():
        workspace.unlock()
        raise WorkspaceError(
            "另一个 redloom 进程还在这个工作区里；先结束它，再重建。什么都没有动。",
            "Another redloom process is still in this workspace; end it first, then rebuild. Nothing was touched.",
        )


def _rebuild(
    workspace: Workspace, folders: Sequence[Path], now: float, keys: Mapping[str, str]
) -> Rebuilt:
    told = Rebuilt()
    path = workspace.journal
    if not (workspace.root / REBUILDING).exists() and sound(path):
        told.was_sound = True
        with contextlib.closing(connect(path)) as connection:
            migrate(connection, path, statements().migrations)
            _fill(connection, workspace, folders, told)
        _forget_epoch(workspace)
        return told
    told.aside = _set_aside(workspace)
    new = path.with_name(f"{path.name}.new")
    _remove(new)
    with contextlib.closing(connect(new)) as connection:
        migrate(connection, new, statements().migrations)
        own_salt = _meta(connection, "salt")
        if told.aside is not None:
            told.salvaged = _salvaged(told.aside / path.name, connection, workspace)
            mend(connection, told.salvaged, now)
            _mark_anew(connection, keys, own_salt)
        _fill(connection, workspace, folders, told)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    _put_in_place(workspace, new)
    _forget_epoch(workspace)
    return told


# the files


def _files(path: Path) -> Iterator[Path]:
    for ending in ("", "-wal", "-shm"):
        yield path.with_name(path.name + ending)


def _remove(path: Path) -> None:
    for one in _files(path):
        one.unlink(missing_ok=True)


def _set_aside(workspace: Workspace) -> Path | None:
    """A copy of the journal's files in a folder of their own, and the mark that says so.

    Broken off before the mark, it begins anew; after it, the copy that is there is the old state.
    """
    mark = workspace.root / REBUILDING
    if mark.exists():
        name = mark.read_text("utf-8").strip()
        return workspace.root / name if name else None
    there = [one for one in _files(workspace.journal) if one.is_file()]
    name = ""
    if there:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        name = next(n for n in _names(f"journal-{stamp}") if not (workspace.root / n).exists())
        (workspace.root / name).mkdir(mode=0o700)
        for one in there:
            shutil.copy2(one, workspace.root / name / one.name)
            _sync(workspace.root / name / one.name)
    part = mark.with_name(f"{mark.name}.part")
    part.write_text(name, "utf-8")
    _sync(part)
    part.replace(mark)
    _sync(workspace.root)
    return workspace.root / name if name else None


def _names(first: str) -> Iterator[str]:
    yield first
    for number in itertools.count(2):
        yield f"{first}-{number}"


def _put_in_place(workspace: Workspace, new: Path) -> None:
    """The new journal where the old one was. The old one's log goes first: laid over the new file
    it would destroy it; the mark keeps everybody out meanwhile.
    """
    for old in list(_files(workspace.journal))[1:]:
        old.unlink(missing_ok=True)
    _sync(new)
    new.chmod(0o600)
    new.replace(workspace.journal)
    _remove(new)
    _sync(workspace.root)
    (workspace.root / REBUILDING).unlink()
    _sync(workspace.root)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _forget_epoch(workspace: Workspace) -> None:
    """What the last engine left in the lock's file speaks of the old journal."""
    with (workspace.root / "engine.lock").open("r+b") as lock:
        lock.truncate(0)


# what is in it


def _salvaged(old: Path, new: sqlite3.Connection, workspace: Workspace) -> Salvaged:
    """What the old journal still says. It is read in a copy: reading a log changes the file."""
    work = workspace.root / "journal.work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o700)
    try:
        for one in _files(old):
            if one.is_file() and not one.name.endswith("-shm"):
                shutil.copy2(one, work / one.name)
        if not (work / old.name).exists():
            return Salvaged()
        return salvage(work / old.name, new, statements().migrations)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _meta(connection: sqlite3.Connection, name: str) -> str:
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return str(row[0]) if row else ""


def _mark_anew(new: sqlite3.Connection, keys: Mapping[str, str], salt: str) -> None:
    """Where the old salt is lost: tasks of an address with one key known there get that key's new mark.

    Were it another key's, its service would not know the task: nothing is bought for that.
    """
    if _meta(new, "salt") != salt:
        return
    rows = new.execute("SELECT DISTINCT place FROM tasks WHERE place != ''").fetchall()
    old: dict[str, list[str]] = {}
    for (place,) in rows:
        old.setdefault(place.rpartition(" ")[0], []).append(place)
    for address, places in old.items():
        if address in keys and len(places) == 1:
            mark = f"{address} {fingerprint(keys[address], salt)}"
            new.execute("UPDATE tasks SET place = ? WHERE place = ?", (mark, places[0]))


def _fill(
    new: sqlite3.Connection, workspace: Workspace, folders: Sequence[Path], told: Rebuilt
) -> None:
    """Pictures by their sidecars, facts of pictures that only rows spoke of, and the counts."""
    store = Store(workspace.root)
    new.execute("BEGIN IMMEDIATE")
    _complete_images(new, store)
    known = [Path(row[0]) for row in new.execute("SELECT DISTINCT out FROM runs WHERE out != ''")]
    for folder in dict.fromkeys(one.resolve() for one in (*folders, *known)):
        if folder.is_dir():
            _adopt_folder(new, store, folder, told)
    new.execute("COMMIT")
    told.strays = _strays(new, store)


def _complete_images(new: sqlite3.Connection, store: Store) -> None:
    """Pictures that only their rows spoke of: what they are is read from the store."""
    for key, sha in new.execute("SELECT key, sha256 FROM images WHERE format = ''").fetchall():
        image = store.find(sha) if store.verify(sha) else None
        if image is None:
            new.execute("DELETE FROM images WHERE key = ?", (key,))
            continue
        new.execute(
            "UPDATE images SET format = ?, width = ?, height = ?, bytes = ? WHERE key = ?",
            (image.format, image.width, image.height, image.size_bytes, key),
        )


def _strays(new: sqlite3.Connection, store: Store) -> int:
    query = (
        "SELECT 1 FROM images WHERE sha256 = ? UNION ALL SELECT 1 FROM jobs WHERE image = ? LIMIT 1"
    )
    return sum(new.execute(query, (sha, sha)).fetchone() is None for sha in store.digests())


# sidecars


def _adopt_folder(new: sqlite3.Connection, store: Store, folder: Path, told: Rebuilt) -> None:
    """Every picture of a folder that its sidecar tells of, as rows of a run of their own."""
    run, before = f"rebuilt-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}", told.adopted
    there = new.execute("SELECT coalesce(max(id), 0) FROM jobs").fetchone()[0]
    for path in sorted(folder.rglob("*.json")):
        facts = _facts(path)
        if facts is not None:
            _adopt(new, store, path, facts, run, told)
    told.open_rows += _open_rows(new, folder)
    if told.adopted > before:
        new.execute(
            "INSERT OR IGNORE INTO runs (id, created, kind, digest, out, options, environment, state, complete)"
            " SELECT ?, min(ended), 'rebuilt', '', '', '{}', '{}', 'done', 1 FROM jobs WHERE id > ?",
            (run, there),
        )
        new.execute(
            "UPDATE runs SET total = (SELECT count(*) FROM jobs WHERE run = ?1),"
            " seq = (SELECT count(*) FROM jobs WHERE run = ?1) WHERE id = ?1", (run,),
        )  # fmt: skip


def _facts(path: Path) -> dict[str, Any] | None:
    """What a sidecar of ours says; None where the file is none."""
    if path.stat().st_size > 1 << 20:
        return None
    try:
        facts = json.loads(path.read_bytes())
    except (ValueError, OSError):
        return None
    needed = ("prompt", "sha256", "source_sha256", "file")
    if not isinstance(facts, dict) or not all(isinstance(facts.get(n), str) for n in needed):
        return None
    return facts if path.name == f"{facts['file']}.json" else None


def _adopt(
    new: sqlite3.Connection,
    store: Store,
    path: Path,
    facts: Mapping[str, Any],
    run: str,
    told: Rebuilt,
) -> None:
    wanted = [key for key in keys_of(facts) if not _known(new, key)]
    if not wanted:
        return
    sha = _proved(store, path.with_name(str(facts["file"])), facts)
    image = store.find(sha) if sha else None
    if image is None:
        told.lost += 1
        return
    told.adopted += 1
    row = _row_of(facts, run, told.adopted, wanted[0], image.sha256)
    for key in wanted:
        new.execute(
            "INSERT OR IGNORE INTO images (key, sha256, format, width, height, bytes, made, about)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (key, image.sha256, image.format, image.width, image.height, image.size_bytes,
             row["ended"], json.dumps(_about(facts), ensure_ascii=False)),
        )  # fmt: skip
    job = new.execute(_ADD_JOB, row).lastrowid
    if not _ticket_known(new, row["ticket_id"]):
        task = new.execute(_ADD_TASK, {**row, "job": job}).lastrowid
        new.execute("UPDATE jobs SET task = ? WHERE id = ?", (task, job))
        marks = ", ".join("?" * len(wanted))
        new.execute(f"UPDATE images SET task = ? WHERE key IN ({marks})", (task, *wanted))


_ADD_JOB = """
INSERT INTO jobs (run, row, take, key, request, input, status, tries, image, file, sha256, ended, seq)
VALUES (:run, :number, 1, :key, :request, :input, 'ok', :attempts, :image, :file, :sha256, :ended, :number)
"""
_ADD_TASK = f"""
INSERT INTO tasks (job, run, key, endpoint, place, account, model, lane, state, epoch, seed, intent_at, closed_at,
  fetched_at, ticket_id, price, currency, price_source, billed, code)
VALUES (:job, :run, :key, :endpoint, '', '', :model, 'async', 'stored', 0, :seed, :began, :ended,
  :ended, :ticket_id, :price, :currency, :price_source, 'yes', '{LOST}')
"""


def _row_of(
    facts: Mapping[str, Any], run: str, number: int, key: str, image: str
) -> dict[str, Any]:
    ended = _number(facts.get("finished_at")) or time.time()
    request = Request(prompt=str(facts["prompt"]), size=str(facts.get("size_wanted") or ""))
    return {
        "run": run, "number": number, "key": key, "request": request.canonical(), "image": image,
        "input": json.dumps({"id": str(facts.get("id") or "")}, ensure_ascii=False),
        "attempts": int(_number(facts.get("attempts")) or 1), "file": facts["file"],
        "sha256": facts["sha256"], "ended": ended, "endpoint": str(facts.get("endpoint") or ""),
        "began": _number(facts.get("submitted_at")) or ended, "model": str(facts.get("model") or ""),
        "seed": facts.get("seed") if isinstance(facts.get("seed"), int) else None,
        "ticket_id": str(facts.get("task_id") or "") or None, "price": _number(facts.get("price")),
        "currency": str(facts.get("currency") or ""), "price_source": str(facts.get("price_source") or "unknown"),
    }  # fmt: skip


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


_FACTS_OF_THE_FILE = ("file", "format", "size", "size_bytes", "sha256", "source_sha256", "label", "key")  # fmt: skip


def _about(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a sidecar that the journal keeps of a picture, as the journal keeps it."""
    about = {name: value for name, value in facts.items() if name not in _FACTS_OF_THE_FILE}
    size = str(about.get("size_asked") or "")
    wide, _, high = size.partition("x")
    sized = wide.isdigit() and high.isdigit()
    return {**about, "size_asked": [int(wide), int(high)] if sized else None}


def keys_of(facts: Mapping[str, Any]) -> list[str]:
    """The keys of the requests that a picture answers, by its sidecar.

    Newer sidecars state it. An older one is the answer to what it says was asked, with its model
    and seed named or left open; one with reference pictures cannot be told.
    """
    if isinstance(key := facts.get("key"), str) and key:
        return [key]
    if facts.get("references"):
        return []
    models = dict.fromkeys(("", str(facts.get("model") or "")))
    seeds = dict.fromkeys((None, facts.get("seed")))
    return [
        Request(
            prompt=str(facts["prompt"]), model=model, size=str(facts.get("size_wanted") or ""),
            seed=seed, negative=str(facts.get("negative_prompt") or ""),
            options=facts.get("options") or {}, take=int(_number(facts.get("take")) or 1),
        ).key
        for model in models
        for seed in seeds
    ]  # fmt: skip


def _known(new: sqlite3.Connection, key: str) -> bool:
    return new.execute("SELECT 1 FROM images WHERE key = ?", (key,)).fetchone() is not None


def _ticket_known(new: sqlite3.Connection, ticket: str | None) -> bool:
    query = "SELECT 1 FROM tasks WHERE ticket_id = ?"
    return ticket is not None and new.execute(query, (ticket,)).fetchone() is not None


def _proved(store: Store, file: Path, facts: Mapping[str, Any]) -> str:
    """The digest under which the store has the picture: the provider's bytes, else the delivered
    file, taken in now. Empty where neither is what the sidecar says.
    """
    source = str(facts["source_sha256"])
    with contextlib.suppress(ValueError):
        if store.verify(source):
            return source
    with contextlib.suppress(OSError):
        data = file.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        kind = kind_of(data[:12])
        if digest == facts["sha256"] and kind is not None:
            store.take_in(data, digest, kind)
            return digest
    return ""


def _open_rows(new: sqlite3.Connection, folder: Path) -> int:
    """Rows that the folder's manifest calls unfinished and no run of the journal has."""
    known = new.execute("SELECT 1 FROM runs WHERE out = ? LIMIT 1", (str(folder),)).fetchone()
    if known is not None:
        return 0
    return sum(line.get("status") in ("pending", "in-doubt") for line in _lines(folder))


def _lines(folder: Path) -> Iterable[Mapping[str, Any]]:
    with contextlib.suppress(OSError), (folder / "manifest.jsonl").open(encoding="utf-8") as file:
        for text in file:
            with contextlib.suppress(ValueError):
                line = json.loads(text)
                if isinstance(line, dict):
                    yield line


__all__ = ["Rebuilt", "keys_of", "rebuild", "version_of"]
