"""A journal that is damaged or lost: told in a sentence, built again, and nothing bought again."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.desk import engine
from helpers.terminal import Service, manifest, prompts
from helpers.terminal import run as command
from redloom.engine import Result
from redloom.errors import JournalDamaged, WorkspaceError
from redloom.job import Request
from redloom.journal import Journal
from redloom.pages import records
from redloom.rebuild import Rebuilt, keys_of, rebuild
from redloom.testing import START, FakeProvider, JumpingClock, fake_endpoint, run
from redloom.upgrade import REBUILDING
from redloom.workspace import Workspace

WORDS = [f"a scarf number {number}" for number in range(24)]


class Case:
    """One workspace, one service that outlives its engines, one folder of pictures."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, JumpingClock()
        self.service = FakeProvider(self.clock.now)
        self.path = folder / "ws" / "journal.db"

    def make(self, *, stop_at: int | None = None, words: list[str] = WORDS) -> list[Result]:
        """Run the same command; ``stop_at``: leave when so many pictures are there."""

        async def main() -> list[Result]:
            found = []
            # The folder's clock starts anew in each loop: nominal time must go on.
            self.clock.skew += 1000.0
            one = engine(self.folder / "ws", (fake_endpoint(), self.service), clock=self.clock)
            async with one, asyncio.timeout(20_000.0):  # nominal: a hang is an error
                async for result in one.stream(words, out=self.folder / "out"):
                    found.append(result)
                    if len(found) == stop_at:
                        break
            return found

        return run(main())

    def rebuild(self) -> Rebuilt:
        """As `redloom cache rebuild out` does it."""
        return rebuild(self.folder / "ws", [self.folder / "out"], START + self.clock.skew + 900.0)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A service and an empty workspace."""
    return Case(tmp_path)


def lost(path: Path) -> None:
    """The file is gone, its log too."""
    for name in ("journal.db", "journal.db-wal", "journal.db-shm"):
        (path.parent / name).unlink(missing_ok=True)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def words(path: Path) -> None:
    path.write_bytes(b"no database at all, just words " * 400)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def cut_in_a_page(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3 - 100)


def zeroed(number: int) -> Callable[[Path], None]:
    """Page ``number``, from 1, is nothing but zeros."""

    def damage(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek((number - 1) * 4096)
            file.write(bytes(4096))

    return damage


@pytest.mark.parametrize("damage", [lost, emptied, words, cut, cut_in_a_page, zeroed(1)])
def test_a_finished_run_is_known_again(case: Case, damage: Callable[[Path], None]) -> None:
    """Whatever became of the journal: told, rebuilt, and the same command buys nothing."""
    case.make()
    damage(case.path)
    before = case.path.read_bytes() if case.path.exists() else b""
    with pytest.raises(JournalDamaged) as told:
        case.make()
    assert "cache rebuild" in told.value.text.en
    assert "cache rebuild" in told.value.text.zh
    assert (case.path.read_bytes() if case.path.exists() else b"") == before
    done = case.rebuild()
    assert {result.status for result in case.make()} == {"ok"}
    assert case.service.billed() == len(WORDS)
    if before:
        assert done.aside is not None
        assert (done.aside / "journal.db").read_bytes() == before, "the old file is kept as it was"


def _pages(path: Path) -> int:
    return path.stat().st_size // 4096


def test_whichever_page_is_zeroed_nothing_is_bought_twice(tmp_path: Path) -> None:
    """Half-way through a run with tasks under way, any one page is lost: rebuilt, and gone on."""
    first = Case(tmp_path / "first")
    first.make(stop_at=10)
    bought = first.service.submits
    assert bought > 10, "some are under way"
    for number in range(1, _pages(first.path) + 1):
        case = Case(tmp_path / str(number))
        shutil.copytree(first.folder, case.folder, symlinks=True)
        case.service, case.clock = first.service, first.clock
        tasks, submits = dict(first.service.tasks), first.service.submits
        _move_out(case.path, first.folder, case.folder)
        zeroed(number)(case.path)
        done = case.rebuild()
        results = case.make()
        assert case.service.bought_twice() == [], number
        # What was under way and is lost stays in doubt: this service's list tells no words.
        doubts = sum(result.status == "in-doubt" for result in results)
        assert doubts <= done.salvaged.held, number
        assert len(results) - doubts == sum(result.ok for result in results), (number, results)
        assert case.service.billed() == len(WORDS), number
        first.service.tasks, first.service.submits = tasks, submits
        shutil.rmtree(case.folder)


def _move_out(path: Path, old: Path, new: Path) -> None:
    """The copy's runs go into the copy's folder."""
    connection = sqlite3.connect(path)
    connection.execute("UPDATE runs SET out = replace(out, ?, ?)", (str(old), str(new)))
    connection.commit()
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()


def test_a_live_ticket_on_a_loose_page_is_saved(case: Case) -> None:
    """Header, schema and roots destroyed, the log not laid over: tickets are still found."""
    case.make(stop_at=5)
    with sqlite3.connect(case.path) as connection:
        live = connection.execute(
            "SELECT ticket_id FROM tasks WHERE state = 'accepted' AND ticket_id IS NOT NULL"
        ).fetchall()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    assert live
    zeroed(1)(case.path)
    done = case.rebuild()
    assert done.salvaged.loose["tasks"] >= len(live)
    journal = Journal(case.path).open()
    rows = journal.read_now(lambda db: db.all("live_tasks"))
    journal.close()
    assert {row["ticket_id"] for row in rows} >= {row[0] for row in live}


def test_the_log_of_a_killed_process_counts(tmp_path: Path) -> None:
    """What only the write-ahead log has, in committed frames, is read though the file is broken."""
    script = (
        "import os, sys; from pathlib import Path; from redloom.journal import Journal\n"
        "j = Journal(Path(sys.argv[1])).open()\n"
        "add = lambda db: db.run('learn', what='t', whom='kept', value='1', at=0.0)\n"
        "j.do_now(add)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    path = tmp_path / "journal.db"
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert path.with_name("journal.db-wal").stat().st_size
    with path.open("r+b") as file:
        file.write(b"\xff" * 100)
    log = path.with_name("journal.db-wal")
    with log.open("ab") as tail:
        tail.write(b"\x01" * 5000)  # half a frame that was never committed
    assert [one.values[:2] for one in records(path) if len(one.values) == 4] == [("t", "kept")]
    log.write_bytes(log.read_bytes()[:32] + b"\x02" * 50_000)
    assert [one for one in records(path) if len(one.values) == 4] == []


def test_a_lost_log_is_noticed(case: Case) -> None:
    """The file is sound but older than the last engine: nothing is sent before a rebuild."""
    case.make(words=WORDS[:3])
    old = case.path.read_bytes()
    case.make()
    lost(case.path)
    case.path.write_bytes(old)
    with pytest.raises(JournalDamaged) as told:
        case.make()
    assert "older" in told.value.text.en
    assert case.rebuild().was_sound
    assert {result.status for result in case.make()} == {"ok"}
    assert case.service.billed() == len(WORDS)


def test_a_lost_task_is_held_in_doubt(case: Case) -> None:
    """A row that counts a try more than there are tasks is looked for, not asked for again."""
    case.service.seconds = lambda _prompt: 500.0
    case.make(stop_at=1, words=WORDS[:1])
    case.service.caps = case.service.caps.__class__(lanes=("async",), lists_tasks=False)
    with sqlite3.connect(case.path) as connection:
        connection.execute("UPDATE jobs SET status = 'pending', image = NULL, seq = NULL")
        connection.execute("DELETE FROM tasks")
        connection.execute("DELETE FROM images")
    connection.close()
    shutil.rmtree(case.folder / "out")
    shutil.rmtree(case.folder / "ws" / "images")
    with case.path.open("r+b") as file:
        file.write(b"\xff" * 16)
    done = case.rebuild()
    assert done.salvaged.held == 1
    results = case.make(words=WORDS[:1])
    assert [result.status for result in results] == ["in-doubt"]
    assert case.service.submits == 1


def test_a_rebuild_broken_off_is_gone_on_with(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Killed before the new file is in its place: everyone is kept out, the next one ends it."""
    case.make()
    zeroed(1)(case.path)

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    for step in ("_fill", "_put_in_place", "_forget_epoch"):
        with monkeypatch.context() as patch:
            patch.setattr(f"redloom.rebuild.{step}", die)
            with pytest.raises(Killed):
                case.rebuild()
        if step != "_forget_epoch":
            assert case.path.with_name(REBUILDING).exists()
            with pytest.raises(JournalDamaged) as told:
                Journal(case.path).open()
            assert "broken off" in told.value.text.en
    case.rebuild()
    assert len(list((case.folder / "ws").glob("journal-*"))) == 1, "one copy of the old state"
    case.make()
    assert case.service.billed() == len(WORDS)


def test_nobody_rebuilds_under_a_living_process(case: Case) -> None:
    """An owner who lives may be writing: refused, and nothing is touched."""
    case.make(words=WORDS[:1])
    zeroed(1)(case.path)
    before = case.path.read_bytes()
    other = Workspace(case.folder / "ws").prepare()
    try:
        with pytest.raises(WorkspaceError) as told:
            case.rebuild()
        assert "Another redloom process" in told.value.text.en
    finally:
        other.close()
    assert case.path.read_bytes() == before


def test_a_store_that_is_lost_too_is_filled_from_the_folder(case: Case) -> None:
    """Only the folder of pictures is left: what its sidecars prove is taken in."""
    case.make()
    shutil.rmtree(case.folder / "ws")
    done = case.rebuild()
    assert (done.adopted, done.lost) == (len(WORDS), 0)
    assert {result.status for result in case.make()} == {"ok"}
    assert case.service.billed() == len(WORDS)


def test_a_picture_that_is_not_what_its_sidecar_says_is_not_taken(case: Case) -> None:
    """Hashes are checked, in the store and in the folder: a changed picture is bought anew."""
    results = case.make(words=WORDS[:3])
    shutil.rmtree(case.folder / "ws")
    assert results[0].path is not None
    results[0].path.write_bytes(results[0].path.read_bytes() + b"changed")
    done = case.rebuild()
    assert (done.adopted, done.lost) == (2, 1)
    case.make(words=WORDS[:3])
    assert case.service.billed() == 4


def test_what_nobody_can_know_is_counted(case: Case) -> None:
    """Pictures without a sidecar, rows that were under way: told, never guessed."""
    case.make()
    lost(case.path)
    files = sorted((case.folder / "out").glob("*.json"))
    for file in files[:4]:
        file.unlink()
    rows = [{"row": 1, "status": "pending"}, {"row": 2, "status": "ok"}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (case.folder / "out" / "manifest.jsonl").write_text(lines + "half a li")
    done = case.rebuild()
    assert (done.adopted, done.strays, done.open_rows) == (len(WORDS) - 4, 4, 1)


def test_older_sidecars_without_a_key_are_matched(case: Case) -> None:
    """By the words and what else was asked, the model named or left open."""
    case.make(words=WORDS[:2])
    lost(case.path)
    for file in (case.folder / "out").glob("*.json"):
        facts = json.loads(file.read_text())
        assert keys_of(facts) == [Request(facts["prompt"]).key]
        del facts["key"]
        assert Request(facts["prompt"]).key in keys_of(facts)
        assert Request(facts["prompt"], model="fake-1").key in keys_of(facts)
        assert keys_of({**facts, "references": ["a.png"]}) == []
        file.write_text(json.dumps(facts))
    case.rebuild()
    case.make(words=WORDS[:2])
    assert case.service.billed() == 2


def test_the_ledger_knows_the_tickets_again(case: Case) -> None:
    """An audit after the loss calls none of our own tasks a stranger; money is on record."""
    case.make(words=WORDS[:3])
    lost(case.path)
    case.rebuild()
    case.rebuild()  # a second time finds nothing new
    journal = Journal(case.path).open()
    known = journal.read_now(
        lambda db: db.all("known_tickets", ids=json.dumps(list(case.service.tasks)))
    )
    spent = journal.read_now(
        lambda db: db.connection.execute("SELECT sum(price), count(*) FROM tasks").fetchone()
    )
    journal.close()
    assert len(known) == 3
    assert (round(spent[0], 6), spent[1]) == (0.6, 3)


def test_other_files_in_the_folders_do_no_harm(case: Case) -> None:
    """JSON of other programs, broken JSON, sidecars of other names, links in a circle."""
    case.make(words=WORDS[:1])
    lost(case.path)
    out = case.folder / "out"
    (out / "other.json").write_text('{"prompt": 1}')
    (out / "list.json").write_text("[1, 2]")
    (out / "broken.json").write_text('{"prompt": ')
    (out / "circle").symlink_to(out)
    facts: dict[str, Any] = json.loads(next(iter(out.glob("0*.json"))).read_text())
    (out / "moved.png.json").write_text(json.dumps(facts))
    (out / "bad.png.json").write_text(json.dumps({**facts, "file": "bad.png", "key": "", "source_sha256": "../../x", "prompt": "z", "seed": "no", "options": None}))  # fmt: skip
    done = case.rebuild()
    assert (done.adopted, done.lost) == (1, 1)


# as a person meets it


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """An emulated service in a process of its own."""
    made = Service(tmp_path, str(int(time.time()))).begin()
    yield made
    made.end()


def test_the_commands_of_a_person_whose_journal_is_gone(service: Service) -> None:
    """Told by every command, exit 2 or 1 and no traceback; rebuilt; the same command buys nothing."""
    prompts(service.folder, 4)
    first = command(service, "batch", "p.txt", "--out", "X")
    assert first.returncode == 0, first.stderr
    journal = service.folder / "home" / "journal.db"
    journal.write_bytes(b"gone" * 1000)
    for words in (["runs"], ["show", "X"], ["batch", "p.txt", "--out", "X"], ["cache", "prune"], ["audit"], ["report", "X"]):  # fmt: skip
        told = command(service, *words)
        assert told.returncode not in (0, 130), words
        assert "redloom cache rebuild" in told.stderr, (words, told.stderr)
        assert "Traceback" not in told.stderr
    rebuilt = command(service, "cache", "rebuild", "X")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert "4 pictures are known again" in rebuilt.stdout
    assert "redloom audit --collect" in rebuilt.stderr
    again = command(service, "batch", "p.txt", "--out", "X")
    assert again.returncode == 0, again.stderr
    assert [row["status"] for row in manifest(service.folder / "X")] == ["ok"] * 4
    assert service.bought() == 4
    assert command(service, "audit").returncode == 0
    wrong = command(service, "cache", "prune", "X")
    assert wrong.returncode == 2
    assert "rebuild" in wrong.stderr
