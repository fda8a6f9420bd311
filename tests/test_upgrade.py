"""A journal of the first release, with data in it, under this one: upgraded whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.desk import engine
from helpers.terminal import Service, manifest, prompts
from helpers.terminal import run as command
from redloom.errors import DiskFull, JournalDamaged
from redloom.job import Request
from redloom.journal import Journal, statements
from redloom.testing import START, FakeProvider, JumpingClock, fake_endpoint, picture_of, run
from redloom.upgrade import migrate, version_of

RUN = "20231114-221320-0001"
WORDS = ["a red scarf", "a blue one", "a green one"]

# The first release's schema, as text of its own: `journal.sql` may not change it behind our back.
FIRST = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('epoch', '3'), ('salt', 'abcdef0123456789');
CREATE TABLE runs (id TEXT PRIMARY KEY, created REAL NOT NULL, kind TEXT NOT NULL, digest TEXT NOT NULL,
  out TEXT NOT NULL, options TEXT NOT NULL, environment TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'open',
  priority INTEGER NOT NULL DEFAULT 0, budget REAL, currency TEXT NOT NULL DEFAULT '',
  total INTEGER NOT NULL DEFAULT 0, complete INTEGER NOT NULL DEFAULT 0, seq INTEGER NOT NULL DEFAULT 0,
  owner TEXT NOT NULL DEFAULT '', note TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
CREATE INDEX runs_by_out ON runs (out);
CREATE TABLE jobs (id INTEGER PRIMARY KEY, run TEXT NOT NULL REFERENCES runs, row INTEGER NOT NULL,
  take INTEGER NOT NULL, key TEXT NOT NULL, request TEXT NOT NULL, input TEXT NOT NULL,
  status TEXT NOT NULL DEFAULT 'pending', tries INTEGER NOT NULL DEFAULT 0, task INTEGER, image TEXT,
  file TEXT NOT NULL DEFAULT '', sha256 TEXT NOT NULL DEFAULT '', flags TEXT NOT NULL DEFAULT '',
  code TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '', ended REAL, seq INTEGER,
  UNIQUE (run, row, take));
CREATE INDEX jobs_waiting ON jobs (run, id) WHERE status = 'pending';
CREATE INDEX jobs_by_key ON jobs (key);
CREATE INDEX jobs_by_seq ON jobs (run, seq) WHERE seq IS NOT NULL;
CREATE TABLE tasks (id INTEGER PRIMARY KEY, job INTEGER NOT NULL REFERENCES jobs, run TEXT NOT NULL,
  key TEXT NOT NULL, endpoint TEXT NOT NULL, place TEXT NOT NULL, account TEXT NOT NULL, model TEXT NOT NULL,
  lane TEXT NOT NULL, state TEXT NOT NULL, epoch INTEGER NOT NULL, seed INTEGER, size TEXT NOT NULL DEFAULT '',
  intent_at REAL NOT NULL, lost_at REAL, ticket_id TEXT, ticket TEXT, accepted_at REAL, queued REAL,
  started REAL, ended REAL, closed_at REAL, result TEXT, price REAL, currency TEXT NOT NULL DEFAULT '',
  price_source TEXT NOT NULL DEFAULT 'unknown', billed TEXT NOT NULL DEFAULT 'maybe',
  code TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '');
CREATE UNIQUE INDEX one_live_task ON tasks (key) WHERE state IN ('intent', 'accepted', 'doubt', 'made');
CREATE UNIQUE INDEX one_task_a_ticket ON tasks (ticket_id, place) WHERE ticket_id IS NOT NULL;
CREATE INDEX tasks_by_run ON tasks (run);
CREATE INDEX tasks_by_job ON tasks (job);
CREATE INDEX tasks_by_time ON tasks (account, intent_at);
CREATE TABLE images (key TEXT PRIMARY KEY, sha256 TEXT NOT NULL, task INTEGER, format TEXT NOT NULL,
  width INTEGER NOT NULL, height INTEGER NOT NULL, bytes INTEGER NOT NULL, made REAL NOT NULL,
  about TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX images_by_sha ON images (sha256);
CREATE TABLE learnt (what TEXT NOT NULL, whom TEXT NOT NULL, value TEXT NOT NULL, at REAL NOT NULL,
  PRIMARY KEY (what, whom)) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


def first_release(folder: Path) -> Path:
    """A workspace as the first release left it: a row with its picture, one whose ticket is open,
    one that waits. The journal's path.
    """
    import hashlib

    data = picture_of(WORDS[0])
    sha = hashlib.sha256(data).hexdigest()
    picture = folder / "images" / sha[:2] / f"{sha}.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(data)
    path, out = folder / "journal.db", str(folder.parent / "out")
    connection = sqlite3.connect(path)
    connection.executescript(FIRST)
    connection.execute(
        "INSERT INTO runs (id, created, kind, digest, out, options, environment, total, complete, seq)"
        " VALUES (?, ?, 'library', 'd', ?, '{}', ?, 3, 1, 1)",
        (RUN, START, out, json.dumps({"places": {"fake": "fake fake://fake -"}})),
    )
    for row, words in enumerate(WORDS, 1):
        request = Request(words)
        done = row == 1
        connection.execute(
            "INSERT INTO jobs (id, run, row, take, key, request, input, status, tries, task, image, file, ended, seq)"
            " VALUES (?, ?, ?, 1, ?, ?, '{}', ?, ?, ?, ?, ?, ?, ?)",
            (row, RUN, row, request.key, request.canonical(), "ok" if done else "pending", int(row < 3),
             1 if done else None, sha if done else None, "00001-a-red-scarf.png" if done else "",
             START if done else None, 1 if done else None),
        )  # fmt: skip
    line = (
        "INSERT INTO tasks (id, job, run, key, endpoint, place, account, model, lane, state, epoch, intent_at,"
        " ticket_id, ticket, accepted_at, closed_at, price, currency, price_source, billed)"
        " VALUES (?, ?, ?, ?, 'fake', 'fake fake://fake -', 'fake|fake://fake', 'fake-1', 'async', ?, 3, ?, ?, ?, ?, ?,"
        " 0.2, 'CNY', 'estimated', ?)"
    )
    for task, state in ((1, "stored"), (2, "accepted")):
        ticket = f"task-{task:05d}"
        connection.execute(
            line,
            (task, task, RUN, Request(WORDS[task - 1]).key, state, START, ticket,
             json.dumps({"id": ticket, "request_id": "", "data": {}}), START,
             START if task == 1 else None, "yes" if task == 1 else "maybe"),
        )  # fmt: skip
    connection.execute(
        "INSERT INTO images VALUES (?, ?, 1, 'png', 64, 64, ?, ?, ?)",
        (Request(WORDS[0]).key, sha, len(data), START, json.dumps({"prompt": WORDS[0]})),
    )
    connection.commit()
    connection.close()
    return path


def _version(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return version_of(connection)
    finally:
        connection.close()


def test_the_first_migration_is_what_the_first_release_shipped() -> None:
    """Migrations are append-only: number 1 makes the very schema above."""

    def schema(script: str) -> set[str]:
        connection = sqlite3.connect(":memory:")
        connection.executescript(script)
        rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        connection.close()
        lines = ("\n".join(part.partition("--")[0] for part in row[0].splitlines()) for row in rows)
        return {"".join(line.split()) for line in lines}

    assert schema(statements().migrations[0]) == schema(FIRST)


def test_an_old_workspace_goes_on(tmp_path: Path) -> None:
    """The finished row costs nothing, the open ticket is collected, only the last row is bought."""
    path = first_release(tmp_path / "ws")
    clock = JumpingClock()
    service = FakeProvider(clock.now)

    async def main() -> list[str]:
        from redloom.endpoint import Asked

        for words in WORDS[:2]:
            await service.submit(
                Asked(key=Request(words).key, prompt=words, model="fake-1"), "async"
            )
        async with engine(tmp_path / "ws", (fake_endpoint(), service), clock=clock) as one:
            await one.resume(RUN)
            async for _ in one.follow(RUN):
                pass
            rows = await one.records.rows(RUN, (0, 0), 10)
        return [row["status"] for row in rows]

    assert run(main()) == ["ok", "ok", "ok"]
    assert service.submits == 3
    assert service.bought_twice() == []
    copy = path.with_name("journal.db.v1")
    assert _version(copy) == 1
    assert _version(path) == len(statements().migrations)
    assert copy.stat().st_mode & 0o077 == 0


def test_the_upgrade_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line, with where the copy is; nothing at the next start."""
    path = first_release(tmp_path / "ws")
    for _ in range(2):
        Journal(path).open().close()
    told = [record.getMessage() for record in caplog.records if "journal.db.v1" in record.message]
    assert len(told) == 1


@pytest.mark.parametrize("after", [0, 1, 3, 6, 9, 12, 15, 17])
def test_killed_in_the_middle_it_is_what_it_was(tmp_path: Path, after: int) -> None:
    """kill -9 after so many statements: the old schema with all of its rows, and the next start
    upgrades it.
    """
    path = first_release(tmp_path / "ws")
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom redloom import upgrade\nfrom redloom.journal import Journal\n"
        "done, real = 0, upgrade.split\n"
        "def split(step):\n    global done\n    for one in real(step):\n"
        "        if done == int(sys.argv[2]): os.kill(os.getpid(), 9)\n        done += 1\n        yield one\n"
        "upgrade.split = split\nJournal(Path(sys.argv[1])).open()\n"
    )
    line = [sys.executable, "-c", script, str(path), str(after)]
    done = subprocess.run(line, check=False, capture_output=True)
    assert done.returncode == -9
    assert _version(path) == 1
    assert _version(path.with_name("journal.db.v1")) == 1
    journal = Journal(path).open()
    counts = journal.read_now(
        lambda db: {r["status"]: r["number"] for r in db.all("counts", run=RUN)}
    )
    journal.close()
    assert counts == {"ok": 1, "pending": 2}
    assert not list(path.parent.glob("*.part"))


def test_without_room_for_the_copy_nothing_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy cannot be written: told, and the file stays the old release's."""
    path = first_release(tmp_path / "ws")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("redloom.upgrade.keep_copy", full)
    with pytest.raises(DiskFull):
        Journal(path).open()
    assert _version(path) == 1


def test_two_processes_upgrade_one_file(tmp_path: Path) -> None:
    """Whoever waited for the lock sees it done: one copy, of the old schema."""
    path = first_release(tmp_path / "ws")
    line = [sys.executable, "-c", "import sys; from pathlib import Path; from redloom.journal import Journal; Journal(Path(sys.argv[1])).open().close()", str(path)]  # fmt: skip
    both = [subprocess.Popen(line, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    told = [one.communicate()[1] for one in both]
    assert [one.returncode for one in both] == [0, 0, 0]
    assert sum("journal.db.v1" in text for text in told) == 1
    assert _version(path.with_name("journal.db.v1")) == 1


def test_an_older_program_refuses_a_newer_journal(tmp_path: Path) -> None:
    """This release's file under the first release: a sentence, and not a byte changed."""
    path = tmp_path / "journal.db"
    Journal(path).open().close()
    before = path.read_bytes()
    connection = sqlite3.connect(path)
    with pytest.raises(JournalDamaged) as told:
        migrate(connection, path, statements().migrations[:1])
    connection.close()
    assert "newer Redloom" in told.value.text.en
    assert path.read_bytes() == before


# every command, and another machine


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """An emulated service in a process of its own."""
    made = Service(tmp_path, str(int(time.time()))).begin()
    yield made
    made.end()


def test_every_command_works_on_an_old_workspace(service: Service) -> None:
    """Lists, one run, its report, the store, the audit, the doctor: none trips over old rows."""
    first_release(service.folder / "home")
    for words, status in (
        (["runs"], 0), (["show", RUN], 1), (["show", RUN, "--json"], 1), (["report", RUN, "--out", "r.html"], 0),
        (["cache"], 0), (["cache", "prune"], 0), (["cache", "prune", "--older-than", "1", "--yes"], 0),
        (["audit"], 0), (["doctor", "--offline"], 0), (["pause", RUN], 0), (["cancel", RUN], 0),
        (["cache", "rebuild"], 0),
    ):  # fmt: skip
        done = command(service, *words)
        assert done.returncode == status, (words, done.stderr)
        assert "Traceback" not in done.stderr


def test_a_workspace_goes_to_another_machine(service: Service) -> None:
    """Packed in the middle of a run, unpacked elsewhere: what was bought is not bought again, into
    a folder of the new machine, and the old run can still be looked at.
    """
    prompts(service.folder, 8)
    first = command(service, "batch", "p.txt", "--out", "X", "--limit", "5")
    assert first.returncode == 0, first.stderr
    with tarfile.open(service.folder / "moved.tar", "w") as tar:
        tar.add(service.folder / "home", "workspace")
    shutil.rmtree(service.folder / "home")
    shutil.rmtree(service.folder / "X")
    elsewhere = service.folder / "other machine"
    with tarfile.open(service.folder / "moved.tar") as tar:
        tar.extractall(elsewhere, filter="data")
    line = service.command("batch", "p.txt", "--out", "Y")
    env = {**service.env(), "REDLOOM_HOME": str(elsewhere / "workspace")}

    def there(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*line[:3], *words], env=env, cwd=service.folder, capture_output=True, text=True, check=False
        )  # fmt: skip

    done = there("batch", "p.txt", "--out", "Y")
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in manifest(service.folder / "Y")] == ["ok"] * 8
    assert service.bought() == 8
    runs = [json.loads(text)["run"] for text in there("runs", "--json").stdout.splitlines()]
    assert len(runs) == 2
    assert there("show", runs[1]).returncode == 0
    assert there("report", runs[1]).returncode == 0
    assert there("resume", runs[1]).returncode == 0
    assert len(list((service.folder / "X").glob("*.png"))) == 5, "back from the store, for free"
    assert os.environ.get("REDLOOM_HOME") != env["REDLOOM_HOME"]
