"""Twins in the drain: free stragglers are raced, paid ones never; one outcome, nothing left behind."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from helpers.desk import engine, live_of, run_record
from redloom.carried import Carried, Purse
from redloom.endpoint import FREE, Asked, Capabilities, Lane, Limits, Made, Price, Ticket
from redloom.engine import Engine, Result, RunOptions
from redloom.errors import TaskFailed
from redloom.hedge import allowance, free
from redloom.job import Request
from redloom.testing import FakeProvider, JumpingClock, fake_endpoint, run
from redloom.timing import Timing

CAPS = Capabilities(
    lanes=("async",), queues_excess=True, lists_tasks=True, typical_s=10.0, free=True
)
STRAGGLER = "picture 38"
WORDS = [f"picture {number}" for number in range(1, 41)]


@dataclass
class Free(FakeProvider):
    """A free service that stops what runs, too; the first ask for `STRAGGLER` takes 200 s."""

    asked: Counter[str] = field(default_factory=Counter)
    stopped: list[str] = field(default_factory=list)

    def _accept(self, asked: Asked, fate: Any) -> Any:
        task = super()._accept(asked, fate)
        self.asked[asked.prompt] += 1
        if asked.prompt == STRAGGLER and self.asked[asked.prompt] == 1:
            task.ends = task.starts + 200.0
        return task

    async def cancel(self, ticket: Ticket) -> bool:
        self.stopped.append(ticket.id)
        self.tasks[ticket.id].canceled = True
        return True


@dataclass
class FreeSync(Free):
    """The same, answering with the picture; a call that is broken off ends the work."""

    broken_off: int = 0

    def limits(self) -> Limits:
        return replace(super().limits(), sync_concurrency=2)

    async def submit(self, asked: Asked, lane: Lane) -> Ticket | Made:
        ticket = await super().submit(asked, lane)
        assert isinstance(ticket, Ticket)
        outcome = await self.poll(ticket)
        try:
            while not isinstance(outcome, Made):
                await asyncio.sleep(1.0)
                outcome = await self.poll(ticket)
        except asyncio.CancelledError:
            self.broken_off += 1
            raise
        return outcome


@dataclass
class Scene:
    """Two services that share what was asked of either."""

    kind: type[Free]
    caps: Capabilities = CAPS
    cost: Price = FREE
    seconds: Callable[[str], float] = lambda _prompt: 10.0

    def services(self, clock: JumpingClock) -> list[Free]:
        asked: Counter[str] = Counter()
        lanes: tuple[Lane, ...] = ("sync",) if issubclass(self.kind, FreeSync) else ("async",)
        made = [
            self.kind(
                clock.now, caps=replace(self.caps, lanes=lanes), cost=self.cost, slots=2,
                seconds=self.seconds,
            )
            for _ in range(2)
        ]  # fmt: skip
        for one in made:
            one.asked = asked
        return made


@dataclass
class Told:
    """What came of a run."""

    took_s: float
    results: list[Result]
    services: list[Free]
    states: Counter[str]
    files: set[str]
    tasks: list[dict[str, Any]]


def race(folder: Path, scene: Scene, hedge: float, **before: Any) -> Told:
    """The forty pictures at two services."""
    clock = JumpingClock()
    services = scene.services(clock)
    for name, value in before.items():
        for service in services:
            setattr(service, name, value)

    async def main() -> Told:
        equipped = [(fake_endpoint(name), one) for name, one in zip("ab", services, strict=True)]
        async with engine(folder / "ws", *equipped, clock=clock) as made:
            began = clock.now()
            results = await made.generate(
                WORDS, out=folder / "out", options=RunOptions(hedge=hedge)
            )
            took = clock.now() - began
            tasks = await made.journal.read(lambda db: list(map(dict, db.all("live_tasks"))))
            rows = await made.journal.read(_tasks)
        return Told(
            took, results, services, Counter(r["state"] for r in rows), _files(folder), tasks
        )

    return run(main())


def _tasks(db: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in db.connection.execute("SELECT * FROM tasks")]


def _files(folder: Path) -> set[str]:
    return {path.name for path in (folder / "out").glob("*.png")}


def whole(told: Told) -> None:
    """Every row once, and nothing of a loser left."""
    assert [one.status for one in told.results] == ["ok"] * len(WORDS)
    assert len(told.files) == len(WORDS)
    assert told.tasks == []
    assert told.states["stored"] == len(WORDS)


@pytest.mark.parametrize("kind", [Free, FreeSync])
def test_a_straggler_is_overtaken(kind: type[Free], tmp_path: Path) -> None:
    """One of forty hangs: with a twin the run ends in less than half the time, with one outcome each."""
    without = race(tmp_path / "without", Scene(kind), 0.0)
    told = race(tmp_path / "with", Scene(kind), 3.0)
    whole(without)
    whole(told)
    assert without.took_s > 250
    assert told.took_s < 0.5 * without.took_s
    assert told.services[0].asked[STRAGGLER] == 2
    assert told.states["canceled"] == 1
    assert sum(count > 1 for count in told.services[0].asked.values()) == 1


def test_it_is_off_unless_asked_for(tmp_path: Path) -> None:
    """No run has twins by default."""
    told = race(tmp_path, Scene(Free), RunOptions().hedge)
    whole(told)
    assert set(told.services[0].asked.values()) == {1}


@pytest.mark.parametrize(
    "scene",
    [
        Scene(Free, cost=Price(0.2, "CNY", "estimated", "2026-11-01")),
        Scene(Free, cost=Price(None, "CNY", "unknown", "2026-11-01")),
        Scene(Free, caps=replace(CAPS, free=False)),
        Scene(FreeSync, cost=Price(0.2, "CNY", "estimated", "2026-11-01")),
    ],
)
def test_what_costs_has_no_twin(scene: Scene, tmp_path: Path) -> None:
    """Paid, of unknown price, or only free of charge for a while: asked for once, whatever is set."""
    told = race(tmp_path, scene, 100.0)
    whole(told)
    assert set(told.services[0].asked.values()) == {1}


def test_the_loser_is_called_off(tmp_path: Path) -> None:
    """Where the service lets it, the first task is stopped; the call is broken off where it is one."""
    told = race(tmp_path / "async", Scene(Free), 3.0)
    assert sum(len(one.stopped) for one in told.services) == 1
    sync = race(tmp_path / "sync", Scene(FreeSync), 3.0)
    assert sum(one.broken_off for one in sync.services if isinstance(one, FreeSync)) == 1


def test_a_first_that_comes_in_time_wins(tmp_path: Path) -> None:
    """The twin is slower still: the first one's picture is taken, the twin is called off."""

    @dataclass
    class SlowTwin(Free):
        def _accept(self, asked: Asked, fate: Any) -> Any:
            task = super()._accept(asked, fate)
            if asked.prompt == STRAGGLER:
                task.ends = task.starts + (60.0 if self.asked[STRAGGLER] == 1 else 200.0)
            return task

    told = race(tmp_path, Scene(SlowTwin), 3.0)
    whole(told)
    assert told.services[0].asked[STRAGGLER] == 2
    assert told.states["canceled"] == 0
    assert told.took_s < 200
    assert sum(len(one.stopped) for one in told.services) == 1


def test_a_twin_that_fails_changes_nothing(tmp_path: Path) -> None:
    """The first one is waited for, and there is no second twin."""

    def script(asked: Asked, number: int) -> Any:
        return TaskFailed("坏了", "broken") if asked.key.endswith("~") else "made"

    told = race(tmp_path, Scene(Free), 3.0, script=script)
    whole(told)
    assert told.took_s > 250
    assert told.services[0].asked[STRAGGLER] == 1


def test_the_budget_bounds_them(tmp_path: Path) -> None:
    """Six stragglers at the end, three percent of forty: one twin; thirty percent: up to six."""
    late = set(WORDS[-6:])

    @dataclass
    class Many(Free):
        def _accept(self, asked: Asked, fate: Any) -> Any:
            task = super()._accept(asked, fate)
            if asked.prompt in late and self.asked[asked.prompt] == 1:
                task.ends = task.starts + 200.0
            return task

    twins = {}
    for percent in (3.0, 30.0):
        told = race(tmp_path / str(percent), Scene(Many), percent)
        whole(told)
        twins[percent] = sum(count - 1 for count in told.services[0].asked.values())
    assert twins[3.0] == 1
    assert 1 < twins[30.0] <= 6


def test_an_allowance_is_a_part_of_the_run() -> None:
    """Percent of all its pictures, one at least; none while rows are still being added."""
    found = []
    for percent, total, complete in [
        (3, 400, True),
        (3, 10, True),
        (0, 400, True),
        (3, 400, False),
    ]:
        options = {"hedge": percent}
        carried = Carried(run_record(options=options, total=total, complete=complete), Purse())
        found.append(allowance(carried))
    assert found == [12, 1, 0, 0]


def test_free_is_a_price_of_nothing_at_a_free_provider() -> None:
    """A rented GPU has a price and no twins; an unknown price is never nothing."""
    clock = JumpingClock()

    async def main() -> list[bool]:
        found = []
        for cost in (FREE, Price(0.01, "USD"), Price(None, "")):
            live = live_of(FakeProvider(clock.now, caps=CAPS, cost=cost), clock)
            found.append(free(live, Request("a")))
        return found

    assert run(main()) == [True, False, False]


@pytest.mark.parametrize("kind", [Free, FreeSync])
def test_dying_in_mid_race_makes_it_again(kind: type[Free], tmp_path: Path) -> None:
    """The engine goes while both run: the next one makes or collects the picture, once."""
    clock = JumpingClock()
    services = Scene(kind, caps=replace(CAPS, local=kind is FreeSync)).services(clock)

    def one() -> Engine:
        equipped = [(fake_endpoint(name), one) for name, one in zip("ab", services, strict=True)]
        return engine(tmp_path / "ws", *equipped, clock=clock)

    async def main() -> list[Result]:
        async with one() as made:
            adding = asyncio.ensure_future(
                made.generate(WORDS, out=tmp_path / "out", options=RunOptions(hedge=3.0))
            )
            while services[0].asked[STRAGGLER] < 2:
                await clock.sleep(1.0)
            adding.cancel()
            # The process is killed: nothing more of it is written, and nobody says goodbye.
            assert made._carrier is not None
            for task in list(made._carrier._work):
                task.cancel()
        async with one() as made:
            return await made.generate(WORDS, out=tmp_path / "out", options=RunOptions(hedge=3.0))

    results = run(main())
    assert [one.status for one in results] == ["ok"] * len(WORDS)
    assert len(_files(tmp_path)) == len(WORDS)


def test_what_is_left_of_a_task_grows_once_it_is_late() -> None:
    """The mean residual falls at first, and past the 95 % quantile a task is taken for half done."""
    timing = Timing(60.0, 0.42, seen=50)
    ages = [0.0, 20.0, 40.0, 60.0]
    left = [timing.left(age) for age in ages]
    assert left == sorted(left, reverse=True)
    assert left[0] == pytest.approx(65.5, rel=0.01)
    assert timing.left(20.0) + 20.0 >= left[0]
    assert timing.left(300.0) == 300.0
