"""When to ask for a ticket: one scheduler per account, shaped by how long pictures take.

The interval after ``t`` seconds of work is ``sqrt(2 * lambda / h(t))`` with ``h`` the hazard of
finishing: the classical optimal-inspection result. ``h`` is that of a log-normal whose median is
learnt from the service's own start and end times, never from when we noticed.

May import: errors, clock, endpoint, limit, retry.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from .clock import Clock
from .endpoint import Outcome, Provider, Ticket, Unknown, Waiting
from .errors import EndpointStopped, ServiceError, Throttled
from .limit import Pace
from .retry import believed, poll_again

SHORTEST_S, LONGEST_S = 0.5, 15.0
SAFETY_S = 2.5
"""One early poll, to catch what fails at once."""
GRACE_S = 60.0
"""UNKNOWN this soon after creation is the service's own lag, not a loss."""


@dataclass(slots=True)
class Timing:
    """How long one endpoint takes for a picture, learnt; seconds are nominal."""

    median: float = 60.0
    sigma: float = 0.42
    cost: float = 0.1
    """Seconds of delay that one poll is worth, at a median of 60 s."""
    seen: int = 0
    mean: float = 60.0

    def learn(self, seconds: float) -> None:
        """A picture took ``seconds`` by the service's own clock (EWMA, alpha 0.2 after ten)."""
        self.seen += 1
        weight = max(0.2, 1.0 / (self.seen + 1))
        self.mean += weight * (seconds - self.mean)
        logs = math.log(max(self.median, 1e-3))
        self.median = math.exp(logs + weight * (math.log(max(seconds, 1e-3)) - logs))

    def hazard(self, age: float) -> float:
        """Chance per second of finishing at ``age``, given that it has not yet."""
        if age <= 0:
            return 0.0
        z = (math.log(age) - math.log(max(self.median, 1e-3))) / self.sigma
        tail = 0.5 * math.erfc(z / math.sqrt(2))
        if tail < 1e-6:
            return 1.0 / max(age, 1e-3)
        density = math.exp(-z * z / 2) / (age * self.sigma * math.sqrt(2 * math.pi))
        return density / tail

    def first(self) -> float:
        """Age at which it can first be ready: the 0.5 % quantile."""
        return self.median * math.exp(-2.576 * self.sigma)

    def next_poll(self, age: float) -> float:
        """Nominal seconds until the next poll of a task that has been worked on for ``age``."""
        scale = max(self.median / 60.0, 1e-3)
        shortest, longest = SHORTEST_S * min(1.0, scale), LONGEST_S * max(1.0, scale)
        if age < self.first():
            return max(shortest, self.first() - age)
        hazard = self.hazard(age)
        if hazard <= 0:
            return longest
        return min(longest, max(shortest, math.sqrt(2 * self.cost * scale / hazard)))


@dataclass(slots=True)
class Watch:
    """One ticket being waited for."""

    provider: Provider
    ticket: Ticket
    accepted_at: float
    timing: Timing
    on_running: Callable[[float], None]
    answer: asyncio.Future[Outcome]
    failures: int = 0
    polls: int = 0
    running: bool = False
    started: float | None = None
    unknown: int = 0


@dataclass
class Polls:
    """The poll scheduler of one account: a heap of due times under one query budget."""

    clock: Clock
    pace: Pace
    rng: random.Random = field(default_factory=random.Random)
    on_stop: Callable[[EndpointStopped], None] = lambda _error: None
    polls: int = 0
    _heap: list[tuple[float, int, Watch]] = field(default_factory=list)
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
        on_running: Callable[[float], None],
        *,
        first: float | None = None,
    ) -> Outcome:
        """Poll ``ticket`` until it has ended; its outcome, never `Waiting`.

        ``first`` is the nominal time of the first poll (now, for a ticket from before a crash).
        Failed polls are repeated for as long as it takes; KeyRefused and the like are raised.
        """
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        watch = Watch(provider, ticket, accepted_at, timing, on_running, answer)
        due = accepted_at + min(SAFETY_S, timing.first()) if first is None else first
        self._push(due, watch)
        return await answer

    async def close(self) -> None:
        """Stop polling; open waits stay unanswered."""
        tasks = [t for t in (self._loop, *self._open) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _push(self, due: float, watch: Watch) -> None:
        heapq.heappush(self._heap, (due, next(self._count), watch))
        self._wake.set()
        if self._loop is None or self._loop.done():
            self._loop = asyncio.get_running_loop().create_task(self._serve())

    async def _serve(self) -> None:
        while self._heap:
            now = self.clock.now()
            due = max(self._heap[0][0], now + self.pace.ready_in(now))
            if due > now:
                await self._pause(due - now)
                continue
            watch = heapq.heappop(self._heap)[2]
            if not watch.answer.done():
                self.pace.take(now)
                task = asyncio.get_running_loop().create_task(self._ask(watch))
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
            watch.failures = 0
            self._judge(watch, outcome)

    def _judge(self, watch: Watch, outcome: Outcome) -> None:
        now = self.clock.now()
        if isinstance(outcome, Waiting):
            self._note_running(watch, outcome, now)
            self._push(now + self._interval(watch, now), watch)
        elif isinstance(outcome, Unknown) and self._may_appear(watch, now):
            self._push(now + min(GRACE_S / 6, LONGEST_S), watch)
        elif not watch.answer.done():
            watch.answer.set_result(outcome)

    def _note_running(self, watch: Watch, outcome: Waiting, now: float) -> None:
        watch.unknown = 0
        if outcome.running and not watch.running:
            watch.running = True
            watch.started = outcome.times.started or now
            watch.on_running(watch.started)

    def _interval(self, watch: Watch, now: float) -> float:
        """Running: by the hazard. Still queued there: it needs at least the shortest work yet."""
        if watch.started is not None:
            return watch.timing.next_poll(max(0.0, now - watch.started))
        queued = now - watch.accepted_at
        return watch.timing.next_poll(max(watch.timing.first(), min(queued, watch.timing.median)))

    def _may_appear(self, watch: Watch, now: float) -> bool:
        watch.unknown += 1
        return watch.unknown < 3 or now - watch.accepted_at < GRACE_S

    def _later(self, watch: Watch, error: ServiceError) -> None:
        now = self.clock.now()
        if isinstance(error, Throttled):
            self.pace.slow_down(now)
            self._push(now + believed(error.retry_after_s), watch)
            return
        watch.failures += 1
        self._push(now + poll_again(watch.failures - 1, self.rng), watch)

    def _fail(self, watch: Watch, error: Exception) -> None:
        if not watch.answer.done():
            watch.answer.set_exception(error)
