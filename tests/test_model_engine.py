"""The whole engine against an oracle: any order of asking, waiting, faults, kills and controls.

Rules ask for pictures, let time pass, put a fault before the next answer (lost, never arrived,
refused, failed, forgotten, garbage in the place of the picture), break a commit, stop and kill
either of two engines of one workspace, pause, cancel, resume, retry. The service is
`redloom.testing.FakeProvider` on the jumping clock; its books are the oracle.

What a rule draws never depends on what the engine did: the journal's threads are real, so that
which commit a planted break meets may differ when an example is run again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Coroutine
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

from helpers.stateful import explore
from redloom import looking, settle
from redloom.carried import Purse
from redloom.endpoint import Asked, Made, Outcome, Picture, Price, Ticket
from redloom.engine import Engine, RunOptions
from redloom.errors import (
    NotSent,
    ServiceError,
    Throttled,
    Unavailable,
    WorkspaceError,
)
from redloom.records import Records
from redloom.testing import (
    FakeProvider,
    Fate,
    JumpingClock,
    JumpingLoop,
    fake_endpoint,
    picture_of,
)

pytestmark = pytest.mark.filterwarnings(
    # A kill may fall between the making of a coroutine and its first step.
    "ignore:coroutine .* was never awaited:RuntimeWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
WORDS = ("scarf", "teapot", "lantern", "bridge")
COST = 0.2
PATIENCE_S = 4000.0
"""Nominal seconds in which everything has to be settled once nothing more goes wrong."""

Submit = Fate | ServiceError
SUBMITS: tuple[Submit, ...] = (
    "no-answer", "no-answer", "never-arrived", "failed", "refused", "lost",
    NotSent("没发出", "not sent"), Throttled("慢", "slow", retry_after_s=2.0),
    Unavailable("忙", "busy"),
)  # fmt: skip


@dataclass
class Service(FakeProvider):
    """A fake whose next answers can be spoilt, and which keeps the books by key."""

    spoil_submits: list[Submit] = field(default_factory=list)
    spoil_polls: list[ServiceError] = field(default_factory=list)
    garbage: int = 0
    """Finished pictures that will come as bytes which are none."""
    spoilt: Counter[str] = field(default_factory=Counter)
    """Bought pictures by key that cannot be had any more: only a person may buy those again."""
    slow_s: float = 1.0

    async def poll(self, ticket: Ticket) -> Outcome:
        if self.spoil_polls:
            raise self.spoil_polls.pop(0)
        outcome = await super().poll(ticket)
        if isinstance(outcome, Made) and self.garbage:
            self.garbage -= 1
            self.spoilt[self.tasks[ticket.id].asked.key] += 1
            return replace(outcome, picture=Picture(data=b"<html>not a picture</html>"))
        return outcome

    def fate(self, asked: Asked, _number: int) -> Submit:
        """The next of the spoilt ones, else a picture."""
        what = self.spoil_submits.pop(0) if self.spoil_submits else "made"
        if what == "lost":
            self.spoilt[asked.key] += 1
        return what

    def bought(self) -> Counter[str]:
        """Billed pictures by key."""
        return Counter(
            task.asked.key
            for task in self.tasks.values()
            if task.fate in ("made", "no-answer", "lost") and not task.canceled
        )


class EngineMachine(RuleBasedStateMachine):
    """Two places for engines of one workspace, one service, one clock."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="redloom-model-")
        self.root = Path(self.folder.name) / "workspace"
        self.loop = asyncio.Runner(loop_factory=JumpingLoop)
        self.clock = JumpingClock()
        self.engines: list[Engine | None] = [None, None]
        self.runs: list[str] = []
        self.fate = ""
        self.service = Service(
            self.clock.now, slots=2, cost=Price(COST, "CNY", "estimated", "2026-11-01")
        )
        self.service.caps = replace(self.service.caps, cancels=True)
        self.service.script = self.service.fate
        self.service.before_answer = self._slowly

    async def _slowly(self) -> None:
        """Between the service's acceptance and its answer a kill may fall."""
        await self.clock.sleep(self.service.slow_s)

    def _witness(self, when: str, _labels: tuple[str, ...]) -> None:
        if when == self.fate:
            self.fate = ""
            raise OSError(28, "No space left on device")

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run it on the machine's loop; what else is under way goes on meanwhile."""
        return self.loop.run(work)

    def teardown(self) -> None:
        try:
            self.all_is_settled_in_the_end()
        finally:
            for place in (0, 1):
                self._kill(place)
            self.loop.close()
            self.folder.cleanup()

    # engines

    async def _start(self, place: int) -> None:
        engine = Engine(
            workspace=self.root, equipped=[(fake_endpoint(), self.service)], clock=self.clock,
            witness=self._witness, rng=random.Random(7),
        )  # fmt: skip
        self.engines[place] = await engine.__aenter__()

    @initialize()
    def begin(self) -> None:
        self.do(self._start(0))

    @rule(place=st.sampled_from((0, 1)))
    def start(self, place: int) -> None:
        if self.engines[place] is None:
            self.fate = ""
            self.do(self._start(place))

    @rule(place=st.sampled_from((0, 1)))
    def stop(self, place: int) -> None:
        engine, self.engines[place] = self.engines[place], None
        if engine is not None:
            with contextlib.suppress(WorkspaceError):
                self.do(engine.__aexit__(None, None, None))

    @rule(place=st.sampled_from((0, 1)))
    def kill(self, place: int) -> None:
        self._kill(place)

    def _kill(self, place: int) -> None:
        """As a dying process leaves it: nothing more is written, every lock is free."""
        engine, self.engines[place] = self.engines[place], None
        if engine is not None:
            self.do(self._killed(engine))

    async def _killed(self, engine: Engine) -> None:
        engine.journal.close()
        alone = all(one is None for one in self.engines)
        mine = asyncio.all_tasks() - {asyncio.current_task()} if alone else _tasks_of(engine)
        for task in mine:
            task.cancel()
        await asyncio.gather(*mine, return_exceptions=True)
        await engine.downloads.close()
        engine.workspace.close()

    def _sound(self) -> Engine | None:
        """An engine that has not broken."""
        for engine in self.engines:
            broken = engine is not None and engine._carrier is not None and engine._carrier.fault
            if engine is not None and not broken:
                return engine
        return None

    # what a person does

    @rule(
        words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=4),
        policy=st.sampled_from(("wait", "wait", "fail")),
        budget=st.sampled_from((None, None, 1.5 * COST)),
        priority=st.sampled_from((0, 10)),
    )
    def ask(self, words: list[str], policy: str, budget: float | None, priority: int) -> None:
        engine = self._sound()
        if engine is None or len(self.runs) >= 6:
            return
        asking = engine.add(
            words, options=RunOptions(in_doubt=policy), budget=budget, currency="CNY",
            priority=priority,
        )  # fmt: skip
        with contextlib.suppress(WorkspaceError):
            self.runs.append(self.do(asking))

    @rule(
        which=st.integers(0, 5),
        what=st.sampled_from(("pause", "cancel", "resume", "resume", "retry")),
    )
    def control(self, which: int, what: str) -> None:
        engine = self._sound()
        if engine is None or not self.runs:
            return
        run = self.runs[which % len(self.runs)]
        with contextlib.suppress(WorkspaceError):
            self.do(getattr(engine, what)(run))

    @rule(seconds=st.sampled_from((0.1, 0.5, 1.0, 3.0, 11.0, 40.0, 200.0)))
    def wait(self, seconds: float) -> None:
        self.do(self.clock.sleep(seconds))

    # what goes wrong

    @rule(what=st.sampled_from(range(len(SUBMITS))))
    def spoil_the_next_submit(self, what: int) -> None:
        self.service.spoil_submits.append(SUBMITS[what])

    @rule(number=st.integers(1, 3))
    def spoil_polls(self, number: int) -> None:
        self.service.spoil_polls += [Unavailable("坏", "bad")] * number

    @rule()
    def spoil_a_picture(self) -> None:
        self.service.garbage += 1

    @rule(when=st.sampled_from(("before", "after")))
    def break_a_commit(self, when: str) -> None:
        self.fate = when

    # what must hold at every moment

    def _read(self, sql: str) -> list[tuple[Any, ...]]:
        db = sqlite3.connect(self.root / "journal.db")
        try:
            return [tuple(row) for row in db.execute(sql)]
        finally:
            db.close()

    def _abandoned(self) -> list[tuple[Any, ...]]:
        """Key and policy of every doubt that was given up."""
        if not (self.root / "journal.db").exists():
            return []
        return self._read(
            """SELECT tasks.key, json_extract(runs.options, '$.in_doubt') FROM tasks
               JOIN runs ON runs.id = tasks.run WHERE tasks.state = 'abandoned'"""
        )

    @invariant()
    def nothing_is_bought_twice(self) -> None:
        """But what was spoilt for good, or given up unsettled, and then because a person said so."""
        given_up = Counter(key for key, _ in self._abandoned())
        for key, number in self.service.bought().items():
            allowed = 1 + self.service.spoilt[key] + given_up[key]
            assert number <= allowed, f"{key} was bought {number} times, {allowed} allowed"

    @invariant()
    def no_doubt_is_given_up_unless_its_run_says_so(self) -> None:
        for key, policy in self._abandoned():
            assert policy != "wait", f"a doubt about {key} was given up"

    @precondition(lambda self: (self.root / "journal.db").exists())
    @invariant()
    def nothing_is_asked_for_without_its_intent(self) -> None:
        intents = Counter(key for (key,) in self._read("SELECT key FROM tasks"))
        at_service = Counter(task.asked.key for task in self.service.tasks.values())
        for key, number in at_service.items():
            assert number <= intents[key], f"{key}: {number} at the service, {intents[key]} intents"

    @precondition(lambda self: (self.root / "journal.db").exists())
    @invariant()
    def every_ticket_is_its_own_keys(self) -> None:
        for ticket, key in self._read("SELECT ticket_id, key FROM tasks WHERE ticket_id NOTNULL"):
            assert self.service.tasks[ticket].asked.key == key

    @precondition(lambda self: (self.root / "journal.db").exists())
    @invariant()
    def no_run_costs_more_than_its_budget(self) -> None:
        spent = self._read(
            """SELECT runs.id, runs.budget, sum(tasks.price) FROM runs JOIN tasks ON tasks.run = runs.id
               WHERE budget NOTNULL AND billed != 'no' GROUP BY runs.id"""
        )
        for run, budget, amount in spent:
            assert amount <= budget + 1e-9, f"{run} cost {amount} of {budget}"

    # what must hold in the end

    def all_is_settled_in_the_end(self) -> None:
        """Nothing more goes wrong, a person resumes every run: each row gets its one outcome."""
        self.fate, self.service.garbage = "", 0
        self.service.spoil_submits.clear()
        self.service.spoil_polls.clear()
        for place in (0, 1):
            self._kill(place)
        self.do(self._start(0))
        engine = self._sound()
        assert engine is not None
        for run in self.runs:
            self.do(engine.resume(run))
        waited = 0.0
        while self._read("SELECT 1 FROM jobs WHERE status = 'pending'") and waited < PATIENCE_S:
            self.do(self.clock.sleep(50.0))
            waited += 50.0
        rows = self._read("SELECT run, row, status, code, request, image FROM jobs")
        for run, row, status, code, request, image in rows:
            assert status in ("ok", "duplicate", "refused", "failed", "unpaid", "in-doubt"), (
                f"row {row} of {run} is {status} ({code})"
            )
            if status in ("ok", "duplicate"):
                found = engine.store.find(image)
                assert found is not None
                words = json.loads(request)["prompt"]
                assert found.path.read_bytes() == picture_of(words)
        self.nothing_is_bought_twice()
        self.nothing_is_asked_for_without_its_intent()
        self.no_run_costs_more_than_its_budget()


def _tasks_of(engine: Engine) -> set[asyncio.Task[Any]]:
    """What an engine has under way, so that a kill leaves the other one alone."""
    found: set[asyncio.Task[Any]] = set(engine._adding)
    if engine._lead is not None:
        found.add(engine._lead)
    carrier = engine._carrier
    if carrier is None:
        return found
    found |= carrier._work
    found |= {task for task in carrier.maker.critical if isinstance(task, asyncio.Task)}
    found |= set(carrier.maker.lookout._loops.values())
    for live in engine.lives:
        found |= live.polls._open
        found |= {live.polls._loop} if live.polls._loop is not None else set()
    return {task for task in found if not task.done()}


def test_whatever_happens_every_picture_is_bought_once() -> None:
    """Any order of asking, faults, kills and controls: the books agree, every row is settled."""
    explore(EngineMachine, 12, 30, fixed=True)


@pytest.mark.chaos
def test_whatever_happens_at_length() -> None:
    """The same, other ones each time, and many more."""
    explore(EngineMachine, 300, 60, fixed=False)


def _lists_nothing(*_: Any, **__: Any) -> settle.Verdict:
    return settle.Nothing()


async def _voided(records: Records, epoch: int, _reach_s: float) -> int:
    """What an earlier engine left begun is taken for never sent."""
    sql = "UPDATE tasks SET state = 'void', billed = 'no' WHERE state = 'intent' AND epoch < ?"
    done = records.journal.do(lambda db: db.connection.execute(sql, (epoch,)).rowcount)
    return int(await done)


@pytest.mark.parametrize(
    ("owner", "name", "broken"),
    [
        (looking, "judge", _lists_nothing),
        (Records, "orphans_to_doubt", _voided),
        (Purse, "commit", lambda *_: True),
    ],
    ids=("looking proves nothing", "a crash forgets", "the purse is open"),
)
def test_the_oracle_notices_a_broken_engine(
    owner: Any, name: str, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of these faults in the path of money shows as a picture bought twice or a run too dear."""
    monkeypatch.setattr(owner, name, broken)
    with pytest.raises(BaseException, match=r"bought|cost|assert|multiple"):
        explore(EngineMachine, 60, 30, fixed=True, shrink=False)
