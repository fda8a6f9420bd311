"""When to ask what became of a ticket: one scheduler per account under one query budget.

When is `timing`'s: shaped by how long pictures take and by what a second of delay costs just
then. Where demand exceeds the account's budget every interval is stretched by the same factor:
intervals in proportion to 1 / sqrt(hazard) that add up to the budget are the optimal share
of it. Where several tasks are nearly due and the service can list its tasks, one list call takes
the place of their single queries; a finished one is then asked for once, for its result.

May import: errors, clock, endpoint, limit, retry, timing.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from .clock import Clock
from .endpoint import Failed, Outcome, Provider, Seen, Ticket, Unknown, Waiting
from .errors import EndpointStopped, ServiceError, Throttled, Withheld
from .limit import Pace
from .retry import believed, poll_again
from .timing import CALM, LONGEST_S, Timing

SAFETY_S = 2.5
"""One early poll, to catch what fails at once."""
STRANGER_S = 0.5
"""The same while nothing is known of how long the service takes."""
GRACE_S = 60.0
"""UNKNOWN this soon after creation is the service's own lag, not a loss."""
FORGETS_S = 600.0
"""The same of a task that it has already spoken of: so long it has to go on saying so."""
PLAUSIBLE_S = 2 * 86400.0
"""Farther than this from ours no clock of a service is: such a time is a mistake of its."""
WITHHELD_S = (2.0, 10.0, 30.0)
"""Pauses before a task that was made, and whose picture was not handed over, is asked again."""
SLACK = 0.35
"""A query may be brought forward by this part of its interval to share a list call."""
LATE_S = 1.0
"""A list that shows a task as unfinished this long after its end is behind."""
LATE_LISTS = 3
"""Lists found behind before single queries are preferred for good."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A ticket's end: its outcome, the queries made for it alone, and when we learnt it."""

    outcome: Outcome
    polls: int
    at: float


def calmly() -> float:
    """What a query is worth as a rule."""
    return CALM


def unobserved(_running: bool, _at: float) -> None:
    """Nobody wants to know whether a task is queued or running."""


@dataclass(slots=True, eq=False)
class Watch:
    """A ticket being waited for."""

    provider: Provider
    ticket: Ticket
    accepted_at: float
    timing: Timing
    on_state: Callable[[bool, float], None]
    """Told (running, since when) as often as the service says so."""
    cost: Callable[[], float]
    answer: asyncio.Future[Heard]
    polls: int = 0
    failures: int = 0
    failing_since: float | None = None
    """Since when no query about it was answered well."""
    unknown: int = 0
    """Answers in a row that it does not know the task."""
    unknown_since: float = 0.0
    known: bool = False
    """Whether the service has spoken of it as of a task that it has."""
    withheld: int = 0
    """Answers that called it made and had no picture in them."""
    queued: float | None = None
    """When it was created, by the service's clock."""
    started: float | None = None
    asked: float = 0.0
    """When it was last asked about."""
    interval: float = 0.0
    due: float = 0.0
    alone: bool = False
    """The next query is for its result: a list has none."""
    listed: float | None = None
    """When a list last showed it unfinished, by the service's clock."""
    busy: bool = False
    """A query that will speak of it is under way."""
    turn: int = 0
    """Which of its entries in the heap counts."""

    @property
    def offset(self) -> float:
        """By how much the service's clock is ahead of ours, as far as this task tells."""
        return 0.0 if self.queued is None else self.queued - self.accepted_at


@dataclass
class Polls:
    """The poll scheduler of one account. ``pace`` limits single queries, ``lists`` list calls."""

    clock: Clock
    pace: Pace
    rng: random.Random = field(default_factory=random.Random)
    on_stop: Callable[[EndpointStopped], None] = lambda _error: None
    lists: Pace = field(default_factory=Pace)
    polls: int = 0
    list_calls: int = 0
    _heap: list[tuple[float, int, int, Watch]] = field(default_factory=list)
    _watches: set[Watch] = field(default_factory=set)
    _demand: float = 0.0
    """Queries per second that the open watches want."""
    _late: int = 0
    _pages: int = 1
    _count: itertools.count[int] = field(default_factory=itertools.count)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _loop: asyncio.Task[None] | None = None
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    async def wait(
        self,
        provider: Provider,
        ticket: Ticket,
        accepted_at: float,
        timing: Timing,
        on_state: Callable[[bool, float], None] = unobserved,
        *,
        first: float | None = None,
        cost: Callable[[], float] = calmly,
    ) -> Heard:
        """Ask about ``ticket`` until it has ended; its outcome is never `Waiting`.

        ``first`` is the nominal time of the first query (now, for a ticket from before a crash);
        ``cost`` says what a query is worth in seconds of delay, whenever the next is planned.
        Failed queries are repeated for as long as the service keeps the task's record, after which
        it is `Unknown`; KeyRefused and the like are raised.
        """
        answer: asyncio.Future[Heard] = asyncio.get_running_loop().create_future()
        watch = Watch(provider, ticket, accepted_at, timing, on_state, cost, answer)
        watch.asked = accepted_at
        early = SAFETY_S if timing.seen else STRANGER_S
        due = accepted_at + min(early, timing.first()) if first is None else first
        self._watches.add(watch)
        self._push(due, watch)
        try:
            return await answer
        finally:
            self._forget(watch)

    async def close(self) -> None:
        """Stop asking; open waits stay unanswered."""
        tasks = [t for t in (self._loop, *self._open) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def turn(self) -> None:
        """Wait until one more query fits the account's budget, and take it for one made elsewhere."""
        while (wait_s := self.pace.ready_in(self.clock.now())) > 0:
            await self.clock.sleep(wait_s)
        self.pace.take(self.clock.now())

    def hurry(self) -> None:
        """What a query is worth has changed: plan those that wait for one anew."""
        now = self.clock.now()
        for watch in self._watches:
            idle = watch.started is not None and not (watch.failures or watch.busy)
            if idle and watch.due > now:
                interval = self._planned(watch, watch.asked)
                if watch.asked + interval < watch.due:
                    self._push(max(now, watch.asked + interval), watch, interval)

    def ask_now(self, ticket: Ticket) -> None:
        """Something is known to have happened to this ticket: ask about it at once."""
        for watch in self._watches:
            if watch.ticket.id == ticket.id and not watch.busy:
                watch.alone = True
                self._push(self.clock.now(), watch)

    def clock_set(self, by_s: float) -> None:
        """The clock was set back by ``-by_s``: no query is further away than it was."""
        self.pace.clock_set(by_s)
        self.lists.clock_set(by_s)
        for watch in self._watches:
            watch.accepted_at, watch.asked = watch.accepted_at + by_s, watch.asked + by_s
            watch.started = None if watch.started is None else watch.started + by_s
            if not watch.busy:
                self._push(watch.due + by_s, watch, watch.interval)

    # the heap

    def _push(self, due: float, watch: Watch, interval: float = 0.0) -> None:
        """``interval``: the planned one, which counts as demand; 0: a single query, at once."""
        self._demand -= 1.0 / watch.interval if watch.interval else 0.0
        watch.due, watch.interval = due, interval
        self._demand += 1.0 / watch.interval if watch.interval else 0.0
        watch.turn, watch.busy = watch.turn + 1, False
        heapq.heappush(self._heap, (due, next(self._count), watch.turn, watch))
        self._wake.set()
        if self._loop is None or self._loop.done():
            self._loop = asyncio.get_running_loop().create_task(self._serve())

    def _push_planned(self, watch: Watch, now: float) -> None:
        interval = self._interval(watch, now)
        self._push(now + interval, watch, interval)

    def _forget(self, watch: Watch) -> None:
        self._watches.discard(watch)
        self._demand -= 1.0 / watch.interval if watch.interval else 0.0
        watch.interval, watch.turn = 0.0, watch.turn + 1
        if not self._watches:
            self._demand = 0.0  # no rounding errors are carried along

    def _head(self) -> Watch | None:
        """The watch that is due next; entries that no longer count are dropped."""
        while self._heap:
            _, _, turn, watch = self._heap[0]
            if turn == watch.turn and not watch.answer.done():
                return watch
            heapq.heappop(self._heap)
        return None

    async def _serve(self) -> None:
        while (watch := self._head()) is not None:
            now = self.clock.now()
            due = max(watch.due, now + self.pace.ready_in(now))
            if due > now:
                await self._pause(due - now)
                continue
            together = self._together(watch, now)
            for one in together or [watch]:
                # Out of the heap before the query begins: it is asked about once at a time.
                one.turn, one.busy, one.asked = one.turn + 1, True, now
            if together:
                self.lists.take(now)
                self._begin(self._list(together))
            else:
                self.pace.take(now)
                self._begin(self._ask(watch))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _pause(self, seconds: float) -> None:
        """Until ``seconds`` have gone or something more urgent was pushed."""
        self._wake.clear()
        sleep = asyncio.ensure_future(self.clock.sleep(seconds))
        wake = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({sleep, wake}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            wake.cancel()

    # single queries

    async def _ask(self, watch: Watch) -> None:
        self.polls += 1
        watch.polls += 1
        try:
            outcome = await watch.provider.poll(watch.ticket)
        except EndpointStopped as error:
            self._fail(watch, error)
            self.on_stop(error)
        except ServiceError as error:
            self._later(watch, error)
        except Exception as error:
            self._fail(watch, error)
        else:
            self.pace.accepted(self.clock.now())
            watch.failures, watch.failing_since, watch.alone = 0, None, False
            self._judge(watch, outcome)

    def _judge(self, watch: Watch, outcome: Outcome) -> None:
        now = self.clock.now()
        if isinstance(outcome, Waiting):
            watch.queued = _plausible(outcome.times.queued, watch.accepted_at) or watch.queued
            self._note_state(watch, outcome.running, outcome.times.started, now)
            self._push_planned(watch, now)
        elif isinstance(outcome, Unknown) and self._may_appear(watch, now):
            self._push(now + min(GRACE_S / 6, LONGEST_S), watch)
        elif _withheld(outcome) and watch.withheld < len(WITHHELD_S):
            watch.withheld, watch.alone = watch.withheld + 1, True
            self._push(now + WITHHELD_S[watch.withheld - 1], watch)
        elif not watch.answer.done():
            self._judge_list(watch, outcome)
            watch.answer.set_result(Heard(outcome, watch.polls, now))

    def _note_state(self, watch: Watch, running: bool, started: float | None, now: float) -> None:
        """``started`` is by the service's clock, ``watch.started`` by ours."""
        watch.unknown, watch.known = 0, True
        if running and watch.started is None:
            began = now if started is None else started - watch.offset
            watch.started = min(now, max(began, watch.accepted_at - GRACE_S))
        watch.on_state(running, watch.started if watch.started is not None else now)

    def _interval(self, watch: Watch, now: float) -> float:
        """The planned interval, stretched where all wishes together exceed the budget."""
        wanted = self._planned(watch, now)
        budget = self.pace.rate
        if budget is None:
            return wanted
        return wanted * max(1.0, (self._demand + 1.0 / max(wanted, 1e-3)) / budget)

    def _planned(self, watch: Watch, now: float) -> float:
        """Running: by the hazard. Still queued there: it needs at least the shortest work yet."""
        cost, timing = watch.cost(), watch.timing
        if watch.started is None:
            return max(timing.first(), SAFETY_S * min(1.0, timing.median / 60.0))
        return timing.next_poll(max(0.0, now - watch.started), cost)

    def _may_appear(self, watch: Watch, now: float) -> bool:
        """What it knew a moment ago it has not dropped for a hiccup: the picture is paid for."""
        watch.unknown_since = watch.unknown_since if watch.unknown else now
        watch.unknown += 1
        if watch.known and now - watch.unknown_since < FORGETS_S:
            return True
        return watch.unknown < 3 or now - watch.accepted_at < GRACE_S

    def _later(self, watch: Watch, error: ServiceError) -> None:
        now = self.clock.now()
        watch.failing_since = now if watch.failing_since is None else watch.failing_since
        if now - watch.failing_since > watch.provider.capabilities().record_life_s:
            # By now its record is gone, whatever the service would say.
            if not watch.answer.done():
                watch.answer.set_result(Heard(Unknown(), watch.polls, now))
            return
        if isinstance(error, Throttled):
            self.pace.slow_down(now)
            self._push(now + believed(error.retry_after_s), watch)
            return
        watch.failures += 1
        self._push(now + poll_again(watch.failures - 1, self.rng), watch)

    def _fail(self, watch: Watch, error: Exception) -> None:
        if not watch.answer.done():
            watch.answer.set_exception(error)

    # list calls

    def _together(self, first: Watch, now: float) -> list[Watch]:
        """Those whose next query one list call can stand for; empty where it would not pay.

        A call pays where it saves more single queries than it has pages.
        """
        able = first.provider.capabilities().lists_tasks and self._late < LATE_LISTS
        if not able or first.alone or first.queued is None or self.lists.ready_in(now) > 0:
            return []
        together = [
            w
            for w in self._watches
            if w.provider is first.provider
            and w.queued is not None
            and not (w.alone or w.failures or w.busy or w.answer.done())
            and w.due - SLACK * w.interval <= now
        ]
        ending = sum(1.0 - math.exp(-self._likely(w, now)) for w in together)
        return together if len(together) - ending >= self._pages + 1 else []

    def _likely(self, watch: Watch, now: float) -> float:
        """The expected number of ends (at most one) since it was last asked about."""
        if watch.started is None:
            return 0.0
        return watch.timing.hazard(now - watch.started) * (now - watch.asked)

    async def _list(self, watches: Sequence[Watch]) -> None:
        """One list call over the windows of ``watches``, and what it says of each."""
        provider = watches[0].provider
        since = min(w.queued or w.accepted_at for w in watches) - 1.0
        until = max(w.queued or w.accepted_at for w in watches) + 1.0
        self.list_calls += 1
        try:
            seen = {one.id: one for one in await provider.look(since, until)}
        except Throttled:
            self.lists.slow_down(self.clock.now())
            seen = {}
        except Exception:
            seen = {}  # the single queries will say what is wrong
        else:
            self.lists.accepted(self.clock.now())
            page = max(1, provider.capabilities().list_page)
            self._pages = max(1, -(-len(seen) // page))
        now = self.clock.now()
        for watch in watches:
            if not watch.answer.done():
                self._heed(watch, seen.get(watch.ticket.id), now)

    def _heed(self, watch: Watch, seen: Seen | None, now: float) -> None:
        """A list's word on one task. Its end, or its absence, is asked about singly, at once."""
        if seen is None or seen.state not in ("queued", "running"):
            watch.alone = True
            self._push(now, watch)
            return
        watch.listed = watch.asked + watch.offset
        self._note_state(watch, seen.state == "running", seen.started, now)
        self._push_planned(watch, now)

    def _judge_list(self, watch: Watch, outcome: Outcome) -> None:
        """Whether the last list had been behind: it showed as unfinished what had ended."""
        times = getattr(outcome, "times", None)
        ended = None if times is None else times.ended
        if watch.listed is not None and ended is not None and ended < watch.listed - LATE_S:
            self._late += 1


def _withheld(outcome: Outcome) -> bool:
    """Whether the next answer may have the picture that this one lacks."""
    return isinstance(outcome, Failed) and isinstance(outcome.error, Withheld)


def _plausible(moment: float | None, ours: float) -> float | None:
    """A time that the service told, where it can be true of a task accepted at ``ours``."""
    return moment if moment is not None and abs(moment - ours) < PLAUSIBLE_S else None
