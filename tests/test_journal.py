"""The journal's mechanism: group commit, durability, migrations, and files that cannot be used."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from redloom import journal as module
from redloom.errors import BadInput, DiskFull, JournalDamaged, WorkspaceError
from redloom.journal import Db, Journal, Statements, connect, statements, translate


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """An open journal."""
    one = Journal(tmp_path / "journal.db").open()
    yield one
    one.close()


def keep(db: Db, name: str) -> int:
    """A write that can be seen."""
    return db.run("learn", what="test", whom=name, value="1", at=0.0)


def kept(journal: Journal) -> set[str]:
    """The names that `keep` wrote."""
    rows = journal.read_now(lambda db: db.connection.execute("SELECT whom FROM learnt").fetchall())
    return {row["whom"] for row in rows}


def opened_and_read(path: Path) -> set[str]:
    """Open the journal at ``path``, read what `keep` wrote, close it."""
    journal = Journal(path).open()
    try:
        return kept(journal)
    finally:
        journal.close()


@pytest.mark.parametrize("name", sorted(statements().named))
def test_every_statement_compiles(name: str, journal: Journal) -> None:
    """Against the newest schema, with nothing but its own parameters."""
    sql = statements().named[name]
    values = dict.fromkeys(re.findall(r":([a-z_][a-z_0-9]*)", sql))
    journal.read_now(lambda db: db.connection.execute(f"EXPLAIN {sql}", values).fetchall())


def test_every_statement_is_used() -> None:
    """No dead SQL: each name stands in some module."""
    text = "".join(
        path.read_text("utf-8") for path in Path(str(resources.files("redloom"))).rglob("*.py")
    )
    assert [name for name in statements().named if f'"{name}"' not in text] == []


def test_waiting_jobs_are_found_by_an_index(journal: Journal) -> None:
    """No query of the way scans a whole table: 1,000,000 rows cost no more than 1,000. What scans
    the index of live tasks reads what is under way just now.
    """
    names = (
        "waiting_jobs", "outcomes_since", "rows", "live_task_of", "open_intents", "live_tasks", "doubt_orphans",
        "live_of_run", "live_of_jobs", "file_taken", "done_since", "known_tickets", "image_by_link", "image_by_sha",
        "forget_old", "tries_beside", "finish_run", "next_seq", "end_job", "reopen_jobs", "cancel_jobs", "twin",
    )  # fmt: skip
    for name in names:
        sql = statements().named[name]
        values = dict.fromkeys(re.findall(r":([a-z_][a-z_0-9]*)", sql))
        plan = journal.read_now(
            lambda db: db.connection.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()  # noqa: B023
        )
        scans = [
            row["detail"]
            for row in plan
            if row["detail"].startswith("SCAN")
            and not any(few in row["detail"] for few in ("json_each", "one_live_task", "CONSTANT"))
        ]
        assert scans == [], name
        if name == "outcomes_since":  # asked by every follower, several times a second
            assert any("jobs_by_seq (run=? AND seq>?)" in row["detail"] for row in plan)


def test_an_operation_that_raises_undoes_only_itself(tmp_path: Path) -> None:
    """Three in one commit, the middle one fails half-way: the other two stay."""
    groups: list[tuple[str, ...]] = []
    journal = Journal(
        tmp_path / "journal.db", witness=lambda when, labels: groups.append(labels) if when == "after" else None
    ).open()  # fmt: skip

    def fails(db: Db) -> None:
        keep(db, "half")
        raise BadInput("坏", "bad")

    async def main() -> list[object]:
        hold = threading.Event()
        first = asyncio.ensure_future(journal.do(lambda _db: hold.wait(5), "hold"))
        await asyncio.sleep(0)
        rest = [
            asyncio.ensure_future(journal.do(lambda db: keep(db, "one"), "one")),
            asyncio.ensure_future(journal.do(fails, "two")),
            asyncio.ensure_future(journal.do(lambda db: keep(db, "three"), "three")),
        ]
        await asyncio.sleep(0)
        hold.set()
        return [await first, *await asyncio.gather(*rest, return_exceptions=True)]

    results = asyncio.run(main())
    try:
        assert isinstance(results[2], BadInput)
        assert results[1] == results[3] == 1
        assert kept(journal) == {"one", "three"}
        assert any({"one", "two", "three"} <= set(group) for group in groups)
    finally:
        journal.close()


def test_a_cancelled_caller_still_has_it_written(journal: Journal) -> None:
    """What was handed to the journal happens, also when nobody waits any more."""

    async def main() -> None:
        doing = asyncio.ensure_future(journal.do(lambda db: keep(db, "left"), "left"))
        await asyncio.sleep(0)
        doing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await doing

    asyncio.run(main())
    journal.do_now(lambda db: keep(db, "after"))
    assert kept(journal) == {"left", "after"}


def test_closing_writes_what_waits_and_can_be_done_twice(tmp_path: Path) -> None:
    """Nothing handed over is lost by closing; afterwards nothing is taken."""
    journal = Journal(tmp_path / "journal.db").open()
    threads = [
        threading.Thread(target=journal.do_now, args=(lambda db, n=n: keep(db, str(n)),))
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    journal.close()
    with pytest.raises(WorkspaceError):
        journal.do_now(lambda db: keep(db, "late"))
    again = Journal(tmp_path / "journal.db").open()
    assert len(kept(again)) == 20
    again.close()


def test_what_was_awaited_survives_a_kill(tmp_path: Path) -> None:
    """A process that dies right after an answer has left its write behind, the open group not."""
    script = (
        "import os, signal, sys; from pathlib import Path; from redloom.journal import Journal\n"
        "def die(when, labels):\n    if when == 'before' and 'b' in labels: os.kill(os.getpid(), 9)\n"
        "j = Journal(Path(sys.argv[1]), witness=die).open()\n"
        "put = lambda name: lambda db: db.run('learn', what='t', whom=name, value='1', at=0.0)\n"
        "j.do_now(put('a'), 'a'); j.do_now(put('b'), 'b')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "journal.db")], check=False)
    assert done.returncode == -9
    journal = Journal(tmp_path / "journal.db").open()
    assert kept(journal) == {"a"}
    journal.close()


def test_durability_is_asked_for(tmp_path: Path) -> None:
    """WAL with synchronous=FULL: an answered write is on the disk."""
    connection = connect(tmp_path / "journal.db")
    assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
    connection.close()


def test_migrations_run_from_the_first_schema_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of schema 1 gets the steps that follow it, once, and keeps its rows."""
    path = tmp_path / "journal.db"
    first = Journal(path).open()
    first.do_now(lambda db: keep(db, "old"))
    first.close()
    known = statements()
    step = "ALTER TABLE learnt ADD COLUMN more TEXT;\nUPDATE learnt SET more = 'yes';\n"
    newer = Statements(known.named, (*known.migrations, step))
    monkeypatch.setattr(module, "statements", lambda: newer)
    for _ in range(2):
        again = Journal(path).open()
        rows = again.read_now(
            lambda db: db.connection.execute("SELECT whom, more FROM learnt").fetchall()
        )
        assert [tuple(row) for row in rows] == [("old", "yes")]
        again.close()


def test_a_broken_migration_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that fails half-way is undone whole, and the file stays usable as it was."""
    path = tmp_path / "journal.db"
    Journal(path).open().close()
    known = statements()
    step = "CREATE TABLE extra (x);\nINSERT INTO nowhere VALUES (1);\n"
    with monkeypatch.context() as patch:
        patch.setattr(
            module, "statements", lambda: Statements(known.named, (*known.migrations, step))
        )
        with pytest.raises(WorkspaceError):
            Journal(path).open()
    journal = Journal(path).open()
    tables = journal.read_now(
        lambda db: db.connection.execute("SELECT name FROM sqlite_master").fetchall()
    )
    assert "extra" not in {row["name"] for row in tables}
    journal.close()


def test_a_newer_journal_is_refused_and_untouched(tmp_path: Path) -> None:
    """An older release does not write into what a newer one wrote."""
    path = tmp_path / "journal.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(JournalDamaged) as caught:
        Journal(path).open()
    assert "upgrade" in caught.value.text.en
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    connection.close()


@pytest.mark.parametrize(
    "content", [b"no database at all, just words " * 40, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_damaged_file_is_told(tmp_path: Path, content: bytes) -> None:
    """Not a traceback, not an empty journal in its place: what was there stays."""
    path = tmp_path / "journal.db"
    path.write_bytes(content)
    with pytest.raises(WorkspaceError):
        Journal(path).open()
    assert path.read_bytes()[:16] == content[:16]


def test_damage_inside_the_file_is_told(tmp_path: Path) -> None:
    """Pages overwritten behind the header: JournalDamaged at the read that meets them."""
    path = tmp_path / "journal.db"
    journal = Journal(path).open()
    for n in range(300):
        journal.do_now(lambda db, n=n: keep(db, f"{n:0300d}"))  # type: ignore[misc]
    journal.close()
    raw = bytearray(path.read_bytes())
    raw[4096 * 3 :] = os.urandom(len(raw) - 4096 * 3)
    path.write_bytes(raw)
    with pytest.raises(WorkspaceError):
        opened_and_read(path)


def test_a_full_disk_is_told_and_nothing_is_half_written(tmp_path: Path) -> None:
    """No room for a commit: DiskFull for all of its group, what was there before stays."""
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from redloom.journal import Journal; from redloom.errors import DiskFull\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "path = Path(sys.argv[1]); j = Journal(path).open()\n"
        "put = lambda name: lambda db: db.run('learn', what='t', whom=name, value='x' * 20000, at=0.0)\n"
        "j.do_now(put('fits'))\n"
        "size = path.with_name('journal.db-wal').stat().st_size\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size + 8192, resource.RLIM_INFINITY))\n"
        "try:\n    j.do_now(put('too much'))\nexcept DiskFull as error:\n    print('told:', error.text.en[:20])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "j.do_now(put('room again')); j.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "journal.db")], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert "told:" in done.stdout, done.stderr
    journal = Journal(tmp_path / "journal.db").open()
    assert kept(journal) == {"fits", "room again"}
    journal.close()


def test_where_nothing_can_be_written_it_is_told(tmp_path: Path) -> None:
    """A folder that is not there, or a folder in the file's place."""
    with pytest.raises(DiskFull):
        Journal(tmp_path / "missing" / "journal.db").open()
    (tmp_path / "journal.db").mkdir()
    with pytest.raises(DiskFull):
        Journal(tmp_path / "journal.db").open()


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (sqlite3.OperationalError("database or disk is full"), DiskFull),
        (sqlite3.OperationalError("attempt to write a readonly database"), DiskFull),
        (PermissionError(13, "Permission denied"), DiskFull),
        (sqlite3.DatabaseError("database disk image is malformed"), JournalDamaged),
        (sqlite3.DatabaseError("file is not a database"), JournalDamaged),
        (sqlite3.OperationalError("database is locked"), WorkspaceError),
    ],
)
def test_what_sqlite_says_is_translated(
    error: sqlite3.Error | OSError, ours: type[WorkspaceError]
) -> None:
    """Into what a person can do something about."""
    assert type(translate(error)) is ours


def test_an_unknown_statement_harms_nobody_else(journal: Journal) -> None:
    """A caller's mistake comes back to that caller."""
    with pytest.raises(KeyError):
        journal.do_now(lambda db: db.run("no such statement"))
    journal.do_now(
        lambda db: db.many("learn", [{"what": "t", "whom": "x", "value": "1", "at": 0.0}])
    )
    assert kept(journal) == {"x"}


def _open_often(folder: str, start: Any, wrong: Any) -> None:
    """Open one new journal after another, each in the same moment as the other processes."""
    for number in range(40):
        start.wait()
        try:
            Journal(Path(folder) / f"{number}.db").open().close()
        except BaseException as error:
            wrong.put(repr(error))


def test_programs_that_open_a_new_workspace_at_once_all_get_in(tmp_path: Path) -> None:
    """Three processes, forty new files, opened together: none is refused."""
    context = multiprocessing.get_context("spawn")
    start, wrong = context.Barrier(3), context.Queue()
    programs = [
        context.Process(target=_open_often, args=(str(tmp_path), start, wrong)) for _ in range(3)
    ]
    for program in programs:
        program.start()
    for program in programs:
        program.join(60)
    assert [program.exitcode for program in programs] == [0, 0, 0]
    assert wrong.empty()
