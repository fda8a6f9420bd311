"""The journal against a model of it in plain dictionaries: any order of operations, any crash.

Rules add runs and rows, begin, accept, lose, settle and end tasks, pause, cancel, retry, forget,
take over with a new epoch, break a commit before or after it is durable, and kill the process.
After each step every table has to be what the model says, and the invariants of
docs/invariants.md have to hold in the file itself.
"""

from __future__ import annotations

import asyncio
import copy
import shutil
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from helpers.desk import intent_of, run_record
from helpers.stateful import explore
from redloom import journal
from redloom.errors import DiskFull, EpochPassed, Withdrawn
from redloom.job import AGAIN, JobStatus, Request
from redloom.journal import Journal
from redloom.records import LIVE, Ending, ImageRecord, Job, JobEnding, NewJob, Records
from redloom.testing import START

KEYS = tuple(Request(f"prompt {k}").key for k in range(3))
ENDS = ("stored", "failed", "refused", "canceled", "lost", "abandoned", "void")
BILLED = {"stored": "yes", "lost": "maybe", "abandoned": "maybe"}
PRICE = 0.25


@dataclass
class ARow:
    """A job in the model."""

    run: str
    key: str
    status: str = "pending"
    tries: int = 0


@dataclass
class ATask:
    """A task in the model."""

    job: int
    run: str
    key: str
    epoch: int
    state: str = "intent"
    ticket: str | None = None
    billed: str = "maybe"

    @property
    def live(self) -> bool:
        """Whether it may still become a picture."""
        return self.state in LIVE


@dataclass
class Model:
    """What the journal should hold."""

    epoch: int = 0
    runs: dict[str, str] = field(default_factory=dict)
    jobs: dict[int, ARow] = field(default_factory=dict)
    tasks: dict[int, ATask] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)

    def live(self, key: str) -> bool:
        """Whether some task of the key is live."""
        return any(t.key == key and t.live for t in self.tasks.values())

    def intend(self, job: int, epoch: int) -> int:
        """The id of a new task, or what the journal raises."""
        row = self.jobs[job]
        if row.status != "pending":
            raise Withdrawn
        if epoch != self.epoch:
            raise EpochPassed("", "")
        if self.live(row.key):
            raise sqlite3.IntegrityError
        number = max(self.tasks, default=0) + 1
        self.tasks[number] = ATask(job, row.run, row.key, epoch)
        row.tries += 1
        return number

    def accept(self, task: int, ticket: str) -> None:
        """A ticket is one task's only."""
        one = self.tasks[task]
        if one.state in ("intent", "doubt"):
            if any(t.ticket == ticket for k, t in self.tasks.items() if k != task):
                raise sqlite3.IntegrityError
            one.state, one.ticket = "accepted", ticket

    def end_task(self, task: int, state: str, *, uncount: bool = False) -> None:
        """Ended once."""
        one = self.tasks[task]
        if uncount:
            row = self.jobs[one.job]
            row.tries = max(0, row.tries - 1)
        if one.live:
            one.state, one.billed = state, BILLED.get(state, "no")

    def end_job(self, job: int, status: str) -> None:
        """A row has one outcome."""
        if self.jobs[job].status == "pending":
            self.jobs[job].status = status

    def reopen(self, run: str) -> int:
        """What did not become a picture is pending again."""
        again = [j for j in self.jobs.values() if j.run == run and j.status in AGAIN]
        for job in again:
            job.status = "pending"
        return len(again)

    def cancel(self, run: str) -> int:
        """What nobody works on is cancelled."""
        busy = {t.job for t in self.tasks.values() if t.live}
        found = [k for k, j in self.jobs.items() if j.run == run and j.status == "pending"]
        given_up = [k for k in found if k not in busy]
        for number in given_up:
            self.jobs[number].status = "cancelled"
        return len(given_up)


Work = Callable[[Records], Awaitable[Any]]


class JournalMachine(RuleBasedStateMachine):
    """The journal and its model side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="redloom-model-")
        self.loop = asyncio.Runner()
        self.model = Model()
        self.now, self.opened, self.fate = START, 0, ""
        self.engines = [0, 0]
        self.seqs: dict[int, int] = {}
        self.journal = self._open(Path(self.folder.name) / "0.db")

    def _open(self, path: Path) -> Journal:
        journal = Journal(path, witness=self._witness).open()
        self.records = Records(journal)
        return journal

    def _witness(self, when: str, _labels: tuple[str, ...]) -> None:
        if when == self.fate:
            self.fate = ""
            raise OSError(28, "No space left on device")

    def teardown(self) -> None:
        self.journal.close()
        self.loop.close()
        self.folder.cleanup()

    def act(self, work: Work, expected: Callable[[Model], Any]) -> Any:
        """Do it in both; they have to agree, whether the commit breaks or not."""
        self.now += 1.0
        trial = copy.deepcopy(self.model)
        want: Any
        try:
            want = expected(trial)
        except (sqlite3.IntegrityError, Withdrawn, EpochPassed) as error:
            want = error
        fate = self.fate
        try:
            got: Any = self.loop.run(_await(work(self.records)))
        except DiskFull:
            assert fate
            self.fate = ""
            if fate == "after" and not isinstance(want, Exception):
                self.model = trial
            return None
        except (sqlite3.IntegrityError, Withdrawn, EpochPassed) as error:
            got = error
        self.fate = ""
        if isinstance(want, Exception):
            assert type(got) is type(want)
            return None
        assert got == want
        self.model = trial
        return got

    def some(self, data: st.DataObject, among: list[int]) -> int:
        """One of several ids."""
        return data.draw(st.sampled_from(among))

    # runs and rows

    @initialize()
    def begin(self) -> None:
        self.take_over(0)
        self.add_run(["r1"] * 2)

    @rule(keys=st.lists(st.sampled_from(range(len(KEYS) + 1)), min_size=1, max_size=4))
    def add_run(self, keys: list[Any]) -> None:
        if len(self.model.runs) >= 4:
            return
        name = f"r{len(self.model.runs) + 1}"
        wanted = [k if isinstance(k, int) else 0 for k in keys]
        rows = [
            NewJob(
                row, 1, Request(f"prompt {k}") if k < len(KEYS) else None, {},
                "" if k < len(KEYS) else "no words",
            )
            for row, k in enumerate(wanted, 1)
        ]  # fmt: skip

        def added(model: Model) -> None:
            model.runs[name] = "open"

        def filled(model: Model) -> None:
            for job in rows:
                number = max(model.jobs, default=0) + 1
                key = "" if job.request is None else job.request.key
                status = "invalid" if job.request is None else "pending"
                model.jobs[number] = ARow(name, key, status)

        self.act(lambda r: r.add_run(run_record(name)), added)
        if name in self.model.runs:
            self.act(lambda r: r.add_jobs(name, rows, self.now), filled)
            self.act(lambda r: r.add_jobs(name, rows, self.now), _filled_again(filled, name))

    @rule(data=st.data())
    def control(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.model.runs)))
        state, allowed = data.draw(
            st.sampled_from((("paused", ("open",)), ("cancelled", ("open", "paused"))))
        )

        def moved(model: Model) -> bool:
            may = model.runs[run] in allowed
            model.runs[run] = state if may else model.runs[run]
            return may

        self.act(lambda r: r.set_state(run, state, *allowed), moved)
        if state == "cancelled":
            self.act(lambda r: r.cancel_jobs(run, self.now), lambda m: m.cancel(run))

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.model.runs)))
        self.act(lambda r: r.reopen(run, AGAIN), lambda m: m.reopen(run))
        self.act(lambda r: r.own_run(run, "me", "{}"), lambda m: m.runs.update({run: "open"}))

    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.model.runs)))

        def done(model: Model) -> bool:
            waits = any(j.run == run and j.status == "pending" for j in model.jobs.values())
            may = model.runs[run] == "open" and not waits
            model.runs[run] = "done" if may else model.runs[run]
            return may

        self.act(lambda r: r.finish_run(run), done)

    # engines

    @rule(which=st.sampled_from((0, 1)))
    def take_over(self, which: int) -> None:
        """A new engine: the next epoch, and what earlier ones left half done is in doubt."""

        def risen(model: Model) -> int:
            model.epoch += 1
            return model.epoch

        def doubted(model: Model) -> int:
            left = [
                t for t in model.tasks.values() if t.state == "intent" and t.epoch < model.epoch
            ]
            for task in left:
                task.state = "doubt"
            return len(left)

        epoch = self.act(lambda r: r.next_epoch(), risen)
        if epoch is not None:
            self.engines[which] = epoch
            self.act(lambda r: r.orphans_to_doubt(epoch, 30.0), doubted)

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data(), which=st.sampled_from((0, 1)))
    def intend(self, data: st.DataObject, which: int) -> None:
        """Also by an engine that has slept, for rows with an outcome, for keys that are busy."""
        job = self.some(data, [k for k, j in self.model.jobs.items() if j.key])
        self._intend(job, self.engines[which])

    @precondition(lambda self: any(j.status == "pending" for j in self.model.jobs.values()))
    @rule(data=st.data())
    def intend_as_one_should(self, data: st.DataObject) -> None:
        job = self.some(data, [k for k, j in self.model.jobs.items() if j.status == "pending"])
        self._intend(job, self.model.epoch)

    def _intend(self, number: int, epoch: int) -> None:
        intent = self._intent(number, epoch)
        self.act(lambda r: r.intend(intent), lambda m: m.intend(number, epoch))

    def _intent(self, number: int, epoch: int) -> Any:
        row = self.model.jobs[number]
        request = Request(f"prompt {KEYS.index(row.key)}")
        job = Job(number, row.run, 1, 1, row.key, request, {}, 0)
        return intent_of(job, epoch=epoch, price=PRICE, currency="CNY", intent_at=self.now)

    @precondition(lambda self: any(j.key for j in self.model.jobs.values()))
    @rule(data=st.data())
    def race(self, data: st.DataObject) -> None:
        """Two intents in one group commit: the second finds what the first did."""
        among = [k for k, j in self.model.jobs.items() if j.key]
        first, second = self.some(data, among), self.some(data, among)
        intents = [self._intent(number, self.model.epoch) for number in (first, second)]
        if self.fate:
            return

        async def both(records: Records) -> list[Any]:
            done = [records.intend(intent) for intent in intents]
            found = await asyncio.gather(*done, return_exceptions=True)
            return [type(one) if isinstance(one, Exception) else one for one in found]

        def expected(model: Model) -> list[Any]:
            found: list[Any] = []
            for number in (first, second):
                try:
                    found.append(model.intend(number, model.epoch))
                except (sqlite3.IntegrityError, Withdrawn, EpochPassed) as error:
                    found.append(type(error))
            return found

        self.act(both, expected)

    # tasks

    def _task(self, data: st.DataObject) -> int:
        """A task; of those that can still change more often than of the others."""
        live = [k for k, t in self.model.tasks.items() if t.live]
        return self.some(data, [*live * 4, *sorted(self.model.tasks)])

    @precondition(lambda self: self.model.tasks)
    @rule(data=st.data(), ticket=st.sampled_from("abcdef"))
    def accept(self, data: st.DataObject, ticket: str) -> None:
        task = self._task(data)
        self.act(lambda r: r.accept(task, ticket, "{}", self.now), lambda m: m.accept(task, ticket))

    @precondition(lambda self: self.model.tasks)
    @rule(data=st.data())
    def made(self, data: st.DataObject) -> None:
        task = self._task(data)

        def told(model: Model) -> None:
            one = model.tasks[task]
            if one.live:
                one.state, one.billed = "made", "yes"

        ending = Ending(state="stored", billed="yes", at=self.now, result="{}")
        self.act(lambda r: r.made(task, ending), told)

    @precondition(lambda self: self.model.tasks)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        task = self._task(data)

        def lost(model: Model) -> None:
            one = model.tasks[task]
            one.state = "doubt" if one.state == "intent" else one.state

        self.act(lambda r: r.doubt(task, self.now, "answer-lost", ""), lost)

    @precondition(lambda self: self.model.tasks)
    @rule(data=st.data())
    def prove_void(self, data: st.DataObject) -> None:
        task = self._task(data)

        def proved(model: Model) -> bool:
            one = model.tasks[task]
            may = one.state == "doubt" and one.ticket is None
            if may:
                one.state, one.billed = "void", "no"
                row = model.jobs[one.job]
                row.tries = max(0, row.tries - 1)
            return may

        self.act(lambda r: r.prove_void(task, self.now), proved)

    @precondition(lambda self: self.model.tasks)
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        task = self._task(data)

        def given_up(model: Model) -> bool:
            one = model.tasks[task]
            may = one.state in ("intent", "doubt") and one.ticket is None
            one.state = "abandoned" if may else one.state
            return may

        self.act(lambda r: r.abandon(task, self.now, None), given_up)

    @precondition(lambda self: self.model.tasks)
    @rule(data=st.data())
    def give_ticket_back(self, data: st.DataObject) -> None:
        task = self._task(data)

        def back(model: Model) -> None:
            one = model.tasks[task]
            if one.state in ("accepted", "made"):
                one.state, one.ticket, one.billed = "doubt", None, "maybe"

        self.act(lambda r: r.back_to_doubt(task, "other-words"), back)

    @precondition(lambda self: self.model.tasks)
    @rule(data=st.data(), state=st.sampled_from(ENDS), uncount=st.booleans())
    def end_task(self, data: st.DataObject, state: str, uncount: bool) -> None:
        task = self._task(data)
        ending = Ending(state=state, billed=BILLED.get(state, "no"), at=self.now)
        self.act(
            lambda r: r.end_task(task, ending, uncount=uncount),
            lambda m: m.end_task(task, state, uncount=uncount),
        )

    @precondition(lambda self: any(t.state == "made" for t in self.model.tasks.values()))
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        """Task, picture and row end in one commit."""
        task = self.some(data, [k for k, t in self.model.tasks.items() if t.state == "made"])
        one = self.model.tasks[task]
        ending = Ending(state="stored", billed="yes", at=self.now)
        image = ImageRecord(
            key=one.key, sha256="0" * 64, task=task, format="png", width=8, height=8, bytes=9,
            made=self.now,
        )  # fmt: skip
        row = JobEnding(id=one.job, status="ok", ended=self.now, task=task)

        def delivered(model: Model) -> None:
            model.end_task(task, "stored")
            model.images.add(one.key)
            model.end_job(one.job, "ok")

        self.act(lambda r: r.end_task_and_job(task, ending, row, image), delivered)

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data())
    def end_job(self, data: st.DataObject) -> None:
        job = self.some(data, sorted(self.model.jobs))
        statuses: tuple[JobStatus, ...] = ("refused", "failed", "in-doubt", "unpaid", "duplicate")
        status = data.draw(st.sampled_from(statuses))
        row = JobEnding(id=job, status=status, ended=self.now)
        self.act(lambda r: r.end_job(row), lambda m: m.end_job(job, status))

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data())
    def reopen_one(self, data: st.DataObject) -> None:
        job = self.some(data, sorted(self.model.jobs))

        def again(model: Model) -> bool:
            may = model.jobs[job].status in ("in-doubt", "failed", "cancelled")
            model.jobs[job].status = "pending" if may else model.jobs[job].status
            return may

        self.act(lambda r: r.reopen_job(job), again)

    @rule(key=st.sampled_from(KEYS))
    def forget(self, key: str) -> None:
        self.act(lambda r: r.forget_image(key), lambda m: m.images.discard(key))

    # what goes wrong

    @rule(when=st.sampled_from(("before", "after")))
    def break_the_next_commit(self, when: str) -> None:
        """The disk refuses it, or it is durable and nobody hears so."""
        self.fate = when

    @rule(killed=st.booleans())
    def start_again(self, killed: bool) -> None:
        """Closed, or killed: the files as they lie there at this moment, without a close."""
        self.fate = ""
        self.opened += 1
        path = Path(self.folder.name) / f"{self.opened}.db"
        old = self.journal
        if not killed:
            old.close()
        for end in ("", "-wal"):
            source = old.path.with_name(old.path.name + end)
            if source.exists():
                shutil.copyfile(source, path.with_name(path.name + end))
        if killed:
            old.close()
        self.journal = self._open(path)

    # what must hold

    @invariant()
    def the_tables_are_the_models(self) -> None:
        found = self.journal.read_now(lambda db: _dump(db.connection))
        model = self.model
        assert found["runs"] == model.runs
        assert found["jobs"] == {
            k: (j.run, j.key, j.status, j.tries) for k, j in model.jobs.items()
        }
        assert found["tasks"] == {
            k: (t.job, t.key, t.state, t.epoch, t.ticket, t.billed) for k, t in model.tasks.items()
        }
        assert found["images"] == model.images
        assert found["epoch"] == model.epoch

    @invariant()
    def one_live_task_a_key(self) -> None:
        live = [t.key for t in self.model.tasks.values() if t.live]
        assert len(live) == len(set(live))
        assert not self.journal.read_now(lambda db: db.connection.execute(_TWO_LIVE).fetchall())

    @invariant()
    def what_is_settled_says_so(self) -> None:
        """No ticket without an intent before it, no outcome without its moment, no wait with one."""
        wrong = self.journal.read_now(lambda db: db.connection.execute(_UNSOUND).fetchall())
        assert not [tuple(row) for row in wrong]

    @invariant()
    def money_is_the_sum_of_its_tasks(self) -> None:
        for run in self.model.runs:
            mine = [t for t in self.model.tasks.values() if t.run == run and t.state != "void"]
            spent = self.loop.run(_await(self.records.spending(run)))
            yes = sum(PRICE for t in mine if t.billed == "yes")
            maybe = sum(PRICE for t in mine if t.billed == "maybe")
            assert sum(spent.billed.values()) == pytest.approx(yes)
            assert sum(spent.maybe.values()) == pytest.approx(maybe)
            committed = self.loop.run(_await(self.records.committed(run)))
            assert committed == pytest.approx(yes + maybe)

    @invariant()
    def outcomes_are_told_in_order(self) -> None:
        """A watcher that has read up to a number misses nothing: numbers only grow."""
        rows = self.journal.read_now(
            lambda db: db.connection.execute("SELECT id, seq, status FROM jobs").fetchall()
        )
        for number, seq, status in rows:
            before = self.seqs.get(number, 0)
            if status == "pending":
                continue
            assert seq >= before
            self.seqs[number] = seq


_TWO_LIVE = """SELECT key FROM tasks WHERE state IN ('intent', 'accepted', 'doubt', 'made')
               GROUP BY key HAVING count(*) > 1"""
_UNSOUND = """
SELECT 'ticket without intent', id FROM tasks WHERE ticket_id IS NOT NULL
   AND (intent_at IS NULL OR accepted_at IS NULL OR accepted_at < intent_at)
UNION ALL SELECT 'accepted without a ticket', id FROM tasks
   WHERE state = 'accepted' AND ticket_id IS NULL
UNION ALL SELECT 'outcome without its moment', id FROM jobs
   WHERE status != 'pending' AND (ended IS NULL OR seq IS NULL)
UNION ALL SELECT 'pending with an outcome''s moment', id FROM jobs
   WHERE status = 'pending' AND (ended IS NOT NULL OR seq IS NOT NULL)
UNION ALL SELECT 'a task of an epoch to come', id FROM tasks
   WHERE epoch > (SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'epoch')
UNION ALL SELECT 'ended without an end', id FROM tasks
   WHERE state NOT IN ('intent', 'accepted', 'doubt', 'made') AND closed_at IS NULL
UNION ALL SELECT 'void and yet billed', id FROM tasks WHERE state = 'void' AND billed != 'no'
"""


async def _await(work: Awaitable[Any]) -> Any:
    return await work


def _filled_again(filled: Callable[[Model], None], run: str) -> Callable[[Model], None]:
    """Rows that are there stay as they are; those of a commit that broke are added now."""

    def again(model: Model) -> None:
        if not any(job.run == run for job in model.jobs.values()):
            filled(model)

    return again


def _dump(db: sqlite3.Connection) -> dict[str, Any]:
    def table(sql: str) -> dict[Any, tuple[Any, ...]]:
        return {row[0]: tuple(row)[1:] for row in db.execute(sql)}

    return {
        "runs": {k: v[0] for k, v in table("SELECT id, state FROM runs").items()},
        "jobs": table("SELECT id, run, key, status, tries FROM jobs"),
        "tasks": table("SELECT id, job, key, state, epoch, ticket_id, billed FROM tasks"),
        "images": set(table("SELECT key FROM images")),
        "epoch": int(db.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()[0]),
    }


def test_the_journal_is_what_the_model_says() -> None:
    """Any order of operations, breaks and crashes: every table as the model has it."""
    explore(JournalMachine, 20, 40, fixed=True)


@pytest.mark.chaos
def test_the_journal_at_length() -> None:
    """The same, other ones each time, and many more."""
    explore(JournalMachine, 600, 80, fixed=False)


def _broken(statement: str, had: str, has: str, patch: pytest.MonkeyPatch, examples: int) -> None:
    sound = journal.statements()
    assert had in sound.named[statement]
    broken = {**sound.named, statement: sound.named[statement].replace(had, has)}
    patch.setattr(journal, "statements", lambda: replace(sound, named=broken))
    with pytest.raises(BaseException, match=r"assert|multiple"):
        explore(JournalMachine, examples, 40, fixed=True, shrink=False)


@pytest.mark.parametrize(
    ("statement", "had", "has"),
    [
        ("add_intent", "name = 'epoch') = :epoch", "name = 'epoch') >= :epoch"),
        ("end_job", "AND status = 'pending'", ""),
        ("spent", "AND state != 'void'", "AND state != 'void' AND state != 'stored'"),
    ],
)
def test_the_model_notices_a_broken_statement(
    statement: str, had: str, has: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of these rules, taken out of the SQL, is missed by the model."""
    _broken(statement, had, has, monkeypatch, 60)


@pytest.mark.chaos
@pytest.mark.parametrize(
    ("statement", "had", "has"),
    [
        ("prove_void", "state = 'doubt' AND ticket_id IS NULL", "state IN ('doubt', 'accepted')"),
        ("set_doubt", "state = 'intent'", "state IN ('intent', 'accepted')"),
        ("set_ticket", "('intent', 'doubt')", "('intent', 'doubt', 'void')"),
        ("cancel_jobs", "'accepted', 'doubt', 'made'", "'accepted', 'made'"),
        ("close_task", "('intent', 'accepted', 'doubt', 'made')", "('intent', 'accepted', 'doubt', 'made', 'stored')"),
    ],
)  # fmt: skip
def test_the_model_notices_a_rarer_fault(
    statement: str, had: str, has: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that only some orders of operations show."""
    _broken(statement, had, has, monkeypatch, 600)
