"""The drain's twins: a straggler at a free endpoint is asked for once more elsewhere, for nothing.

Off unless a run asks for it (``hedge``, percent of its pictures). Where a slot stands idle because
nothing is left to begin, and a task is older than nineteen in twenty or lies at an endpoint four
times slower than the idle one, the same request goes to the idle one too; the first picture wins,
the other is called off. A paid task never gets a twin: the same key is never bought twice (rule
3), and a twin's picture is a second purchase whatever it would save.

The journal knows one live task a key. So the twin runs outside it: it is worth nothing to anybody
until it wins. Then the first task ends on record as overtaken, the winner is written down as a
task of its own, and the job's one coroutine goes on with it: one outcome, one picture stored. A
process that dies in between has lost free work, and makes the picture again.

May import: everything on the way before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from .carried import FRESH, Carried
from .clock import Clock
from .endpoint import Asked, Failed, Made, Ticket
from .errors import Refused, ServiceError, TaskFailed, Withdrawn
from .floor import Floor
from .job import Request
from .limit import Slot
from .records import Ending, Job, Records
from .route import Live, asked_of
from .task import Attempt

log = logging.getLogger("redloom")
T = TypeVar("T")
SLOWER = 4.0
"""How many times slower than an idle endpoint one has to be for its tasks to get twins early."""
GAIN = 1.5
"""By how much what is left of a task has to exceed a fresh one's time at the idle endpoint."""
Able = Callable[[Carried, Job], tuple[list[Live], Request]]
Start = Callable[[Coroutine[Any, Any, None]], None]


@dataclass(frozen=True, slots=True)
class Won:
    """A twin's picture, and where it was made."""

    live: Live
    asked: Asked
    made: Made


class Overtaken(Exception):
    """The twin of a task has its picture first: the way out of the wait for the first one."""

    def __init__(self, won: Won) -> None:
        super().__init__(won.live.name)
        self.won = won


@dataclass(eq=False, slots=True)
class Leg:
    """A first task at a free endpoint, while it is waited for."""

    carried: Carried
    job: Job
    live: Live
    slot: Slot
    asked_at: float
    """When it was submitted, nominal Unix seconds."""
    won: asyncio.Future[Won]
    ticket: Ticket | None = None
    """None on a synchronous lane: to cancel the call is to call the work off."""
    twin: asyncio.Task[None] | None = None

    def age_s(self, now: float) -> float:
        """Nominal seconds that it has been worked on, as far as is known; 0 while it waits there."""
        return 0.0 if self.slot.queued else now - (self.slot.since or self.asked_at)


@dataclass(eq=False)
class Hedges:
    """The first tasks that may get twins, and how many twins each run has had."""

    floor: Floor
    records: Records
    clock: Clock
    able: Able
    start: Start
    used: Counter[str] = field(default_factory=Counter)
    """Twins by run, those of this process."""
    _legs: set[Leg] = field(default_factory=set)
    _leaving: set[asyncio.Future[Any]] = field(default_factory=set)

    async def first(
        self,
        flight: tuple[Carried, Job, Live, Slot],
        work: Awaitable[T],
        ticket: Ticket | None = None,
    ) -> T:
        """Await ``work``, which waits for a first task. Raises Overtaken where its twin is sooner;
        ``work`` is cancelled then, and its task called off where the service lets it.
        """
        carried, job, live, slot = flight
        if not allowance(carried) or not free(live, job.request):
            return await work
        won: asyncio.Future[Won] = asyncio.get_running_loop().create_future()
        leg = Leg(carried, job, live, slot, self.clock.now(), won, ticket)
        task = asyncio.ensure_future(work)
        self._legs.add(leg)
        try:
            both: set[asyncio.Future[Any]] = {task, won}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if ticket is not None:
                self._call_off(live, ticket)
            raise Overtaken(won.result())
        finally:
            self._legs.discard(leg)
            if leg.twin is not None:
                leg.twin.cancel()
            task.add_done_callback(_forget)
            task.cancel()

    async def go_on(self, carried: Carried, job: Job, task: int, won: Won) -> Attempt | None:
        """The first task ends on record, the twin's is written down: in this order, since a key
        has one live task. None where the job was withdrawn meanwhile.
        """
        ending = Ending(state="canceled", billed="no", at=self.clock.now(), code="overtaken")
        await self.records.end_task(task, ending)
        attempt = Attempt(self.records, self.clock, won.live, job, won.asked, self.floor.epoch)
        try:
            await attempt.adopt(won.made)
        except Withdrawn:
            _discard(won.made)
            carried.done(job)
            self.floor.free_key(job)
            return None
        return attempt

    def look(self, runs: Iterable[Carried]) -> None:
        """Give twins to the oldest stragglers, while slots are idle and nothing is left to begin."""
        runs = list(runs)
        if not self._legs or any(c.ready or not (c.exhausted or c.stopping) for c in runs):
            return
        for leg in sorted(self._legs, key=lambda one: one.asked_at):
            carried = leg.carried
            if leg.twin is not None or leg.won.done() or carried.stopping:
                continue
            if self.used[carried.run.id] >= allowance(carried):
                continue
            other = self._sooner(leg)
            if other is not None:
                self.used[carried.run.id] += 1
                other.gate.take(self.clock.now())
                leg.twin = asyncio.get_running_loop().create_task(self._twin(leg, other))
                self.start(_watched(leg.twin))

    def _sooner(self, leg: Leg) -> Live | None:
        """The idle free endpoint that would most likely be done before ``leg`` is."""
        now, here = self.clock.now(), leg.live
        timing, age = here.timings.of(leg.job.request.size), leg.age_s(now)
        left, late = timing.left(age), age > timing.late()
        found: list[tuple[float, str, Live]] = []
        lives, request = self.able(leg.carried, leg.job)
        for live in lives:
            idle = live.wait_s(now) == 0.0 and live.gate.outstanding < live.at_once
            # A pool of devices has one queue: nobody knows whether another of them is idle.
            pool = live.gate is here.gate and live.lane == "sync"
            if not idle or pool or live.breaker.open or not free(live, request):
                continue
            takes = live.mean_s(now)
            slower = here.mean_s(now) >= SLOWER * takes
            if (late or slower) and left > GAIN * takes:
                found.append((takes, live.name, live))
        return min(found)[2] if found else None

    async def _twin(self, leg: Leg, live: Live) -> None:
        """Make the same picture at ``live``, whose slot and rate token are taken already."""
        slot = Slot(live.gate)
        log.info("row %s has a twin at %s", leg.job.row, live.name)
        try:
            _, request = self.able(leg.carried, leg.job)
            tally = leg.carried.tallies.get(leg.job.id, FRESH)
            asked = asked_of(request, live, seed=tally.seed).asked
            # Another key: two tasks of one key would be taken for each other by who works on them.
            made = await self._made(live, replace(asked, key=f"{asked.key}~"), request, slot)
            if leg.won.done() or leg not in self._legs:
                _discard(made)
            else:
                leg.won.set_result(Won(live, asked, made))
        except ServiceError as error:
            log.info("the twin of row %s came to nothing", leg.job.row, exc_info=error)
        finally:
            slot.release()

    async def _made(self, live: Live, asked: Asked, request: Request, slot: Slot) -> Made:
        """One try, outside the journal. Raises ServiceError where there is no picture."""
        began = self.clock.now()
        slot.saw(True, began)
        answer = await live.provider.submit(asked, live.lane)
        if isinstance(answer, Made):
            return answer
        try:
            timing = live.timings.of(request.size)
            heard = await live.polls.wait(live.provider, answer, self.clock.now(), timing)
        except asyncio.CancelledError:
            self._call_off(live, answer)
            raise
        if isinstance(heard.outcome, Made):
            return heard.outcome
        if isinstance(heard.outcome, Failed):
            raise heard.outcome.error
        raise TaskFailed("任务没有结果。", "The task came to nothing.")

    def _call_off(self, live: Live, ticket: Ticket) -> None:
        """Ask the service to stop; what it answers changes nothing here."""

        async def call_off() -> None:
            with contextlib.suppress(Exception):
                await live.provider.cancel(ticket)

        leaving = asyncio.ensure_future(call_off())
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """Let the cancels that are under way leave, for a moment."""
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=1.0)


def allowance(carried: Carried) -> int:
    """Twins that a run may have: so many percent of its pictures, one at least where it asks."""
    percent = float(carried.run.options.get("hedge") or 0.0)
    total = carried.run.total if carried.run.complete else 0
    return max(1, math.floor(percent * total / 100.0)) if percent > 0 and total else 0


def free(live: Live, request: Request) -> bool:
    """Whether such a picture costs nothing there: only those have twins."""
    try:
        price = live.price(asked_of(request, live).asked)
    except Refused:
        return False
    return live.capabilities.free and price.amount == 0.0


async def _watched(twin: asyncio.Task[None]) -> None:
    """The carrier's hold on a twin: it ends with it, and is cancelled with it."""
    try:
        await asyncio.wait({twin})
    finally:
        twin.cancel()
    if not twin.cancelled() and (error := twin.exception()) is not None:
        log.error("a twin failed", exc_info=error)


def _forget(task: asyncio.Future[Any]) -> None:
    """The loser's late answer: its error is nobody's, its bytes are not kept."""
    if not task.cancelled() and task.exception() is None and isinstance(task.result(), Made):
        _discard(task.result())


def _discard(made: Made) -> None:
    """Remove what a picture that nobody takes has left on the disk."""
    for picture in (made.picture, *made.extra):
        if picture.file:
            Path(picture.file).unlink(missing_ok=True)
