"""How fast an endpoint may be asked, and what a 429 teaches. Counted by (account, region, model).

Two separate controls: the *rate* (`Pace`: GCRA without bursts) and the *concurrency* (`Slots`:
probe and hold). A 429 slows that one endpoint only; its kind is read from its code. What nobody
published is found out: a rate by growing until it is refused, a concurrency by growing while
all that was submitted is seen to run, and whether more than it runs waits at the service or is
refused by sending one more. Everything here takes the time as an argument and waits for nothing.

Sources of the formulas: GCRA is ITU-T I.371's virtual scheduling algorithm; the figures behind
the choices (0.97 of the accepted rate; hold doubling from 2 to 60 minutes) are simulated.

May import: errors, endpoint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from .errors import Throttled

MARGIN = 0.97
SLOWEST_PER_SECOND = 1 / 60
HOLD_S = 120.0
LONGEST_HOLD_S = 3600.0
FIRST_RATE = 2.0
"""Requests per second to begin with where no rate is known."""
GROWTH = 1.08
"""Each accepted request that had to wait for an unknown rate raises it by this factor."""
PROBE = 1.05
"""A rate that a refusal taught is raised by this after each hold without one."""
STRAY = ((32, 4), (200, 10))
"""Of so many latest answers, so many refusals are no reason to slow a taught rate further: a
service has its moods. The longer stretch finds a rate that is only a little too high."""
FIRST_SLOTS = 4
"""Tasks outstanding to begin with where no concurrency is known."""


@dataclass(slots=True)
class Pace:
    """GCRA with no burst: one token every ``1 / rate`` seconds, none saved up while idle.

    ``rate`` None: no limit; nothing waits until the first 429 teaches one. ``growing``: the rate
    is a guess that is raised until it is refused; after that it is probed once a hold.
    """

    rate: float | None = None
    next_at: float = 0.0
    """Nominal time at which the next request may leave."""
    taught: bool = False
    growing: bool = False
    most: float | None = None
    """The published rate, or the one that the service told: never exceeded by probing."""
    slope: float = 1.0
    """Of the growth; halved by every refusal for rising too fast (BurstRate)."""
    goal: float | None = None
    """The rate to climb back to after rising too fast; None: not climbing."""
    hold_s: float = HOLD_S
    _refused_at: float = 0.0
    _taught_at: float = float("-inf")
    """When a refusal last lowered the rate; those close behind it do not count."""
    _waited: bool = False
    _recent: list[float] = field(default_factory=list)
    _refusals: list[int] = field(default_factory=list)
    """Of the latest answers, the numbers of those that were refusals."""
    _answer: int = 0
    _judged: int = 0
    """The answer at which the rate was last lowered."""

    def ready_in(self, now: float) -> float:
        """Nominal seconds until a request may leave; 0 when it may now."""
        return max(0.0, self.next_at - now)

    def take(self, now: float) -> None:
        """A request leaves at ``now``."""
        self._recent.append(now)
        if len(self._recent) > 64:
            del self._recent[:32]
        if self.rate is not None:
            # Late by less than an interval: the pace was what it waited for.
            self._waited = now - self.next_at < 1.0 / self.rate
            self.next_at = max(now, self.next_at) + 1.0 / self.rate

    def accepted(self, now: float) -> None:
        """A request was answered, and not with a 429."""
        self._answer += 1
        if self.rate is None or not self._waited:
            return
        if self.growing or self.goal is not None:
            self.rate *= 1.0 + (GROWTH - 1.0) * self.slope
            if self.growing and self.most is not None and self.rate >= self.most:
                self.rate, self.growing = self.most, False
            if self.goal is not None and self.rate >= self.goal:
                self.rate, self.goal = self.goal, None
        elif self.taught and now - self._refused_at >= self.hold_s:
            self.rate, self._refused_at = self.rate * PROBE, now
            if self.most is not None:
                self.rate = min(self.rate, self.most)

    def told(self, rate: float, *, start: bool) -> None:
        """The service says what it allows: never more; ``start``: as much as that from now on,
        unless a refusal has taught less.
        """
        self.most = rate
        if (self.rate is not None and self.rate > rate) or (
            start and not self.taught and self.goal is None
        ):
            self.rate, self.growing = rate, False
        elif self.rate is None:
            self.rate = rate
        if self.goal is not None:
            self.goal = min(self.goal, rate)

    def slow_down(self, now: float) -> None:
        """RateQuota: set the rate to what was accepted lately, less a margin, and hold it.

        Refusals that come in close on each other speak of the same requests and count once. One
        that comes while we ask more slowly than the pace allows (the slots hold us back) says
        nothing about the pace, and a few strays do not lower a rate that was taught already:
        else a service that says no now and then would bring a run to a stand.
        """
        if self._recent:
            self._recent.pop()  # it left, and was not taken
        share = self._share_accepted()
        if not self._is_about_the_rate():
            self._refused_at = now
            self.next_at = max(self.next_at, now + 1.0 / (self.rate or 1.0))
            return
        if self.taught and self.rate is not None and now - self._taught_at < 4.0 / self.rate:
            self._refused_at = now
            self.next_at = max(self.next_at, now + 1.0 / self.rate)
            return
        accepted = self._accepted(now)
        known = self.rate if self.rate is not None else accepted
        rate = known * min(0.9, share) if self.taught else min(known, accepted) * MARGIN
        if self.taught:
            self.hold_s = min(LONGEST_HOLD_S, self.hold_s * 2.0)
        self.rate, self.goal = max(SLOWEST_PER_SECOND, rate), None
        self.taught, self.growing = True, False
        self._refused_at = self._taught_at = now
        self.next_at = max(self.next_at, now + 1.0 / self.rate)

    def _is_about_the_rate(self) -> bool:
        self._answer += 1
        self._refusals = [n for n in self._refusals if n > self._answer - STRAY[-1][0]]
        self._refusals.append(self._answer)
        if self.rate is None:
            return True
        if not self._waited:
            return False
        if self.taught and all(self._refused_of(of) <= few for of, few in STRAY):
            return False
        self._refusals.clear()
        self._judged = self._answer
        return True

    def _share_accepted(self) -> float:
        """Of the latest answers at this rate; at least a half, so that few cannot mislead."""
        answers = min(STRAY[0][0], self._answer - self._judged + 1)
        return max(0.5, 1.0 - (self._refused_of(answers) + 1) / max(answers, 2 * STRAY[0][1]))

    def _refused_of(self, answers: int) -> int:
        """How many of the latest ``answers`` were refusals."""
        return sum(n > self._answer - answers for n in self._refusals)

    def rise_slower(self) -> None:
        """BurstRate: the rate rose too fast, even if it is not too high.

        Halve the slope, and climb back along it from half the rate to where it was.
        """
        self.slope /= 2.0
        if self.rate is not None and not self.growing:
            self.goal = max(self.rate, self.goal or 0.0)
            self.rate = max(SLOWEST_PER_SECOND, self.rate / 2.0)

    def clock_set(self, by_s: float) -> None:
        """The clock was set back: what was to wait a second still waits a second."""
        self.next_at += by_s
        self._refused_at += by_s
        self._taught_at += by_s
        self._recent = [at + by_s for at in self._recent]

    def hold_until(self, moment: float) -> None:
        """Nothing may leave before ``moment``."""
        self.next_at = max(self.next_at, moment)

    def _accepted(self, now: float) -> float:
        """Requests per second that left over the last ten seconds and were not refused.

        By when they left: a synchronous one is answered a minute later. At least one in sixty
        seconds.
        """
        lately = [t for t in self._recent if t > now - 10.0]
        if len(lately) < 2:
            return max(self.rate or 1.0, SLOWEST_PER_SECOND)
        return max(SLOWEST_PER_SECOND, (len(lately) - 1) / max(now - lately[0], 0.1))


@dataclass(slots=True)
class Slots:
    """How many tasks may be outstanding: probe and hold.

    ``limit`` None with ``growing``: nobody knows it, so ``grown`` is allowed and doubled while
    everything outstanding is seen to run; without: there is no limit. A refusal sets the limit to
    what was accepted, and one more is tried after each hold without one, up to the published
    figure. ``ahead`` is how many more than the limit may wait at a service that queues them.
    """

    limit: int | None = None
    ahead: int = 0
    ceiling: int | None = None
    """The user's own ``-j``: never exceeded."""
    hold_s: float = HOLD_S
    known: bool = False
    """The limit is published; not probed beyond."""
    growing: bool = False
    grown: int = FIRST_SLOTS
    queues: bool | None = None
    """Whether the service lets more than it runs wait; None: not found out."""
    wait_ahead: int = 0
    """How many to keep waiting there once it is known to queue."""
    shared: bool = False
    """It is a part of a quota: that the service runs more, because the others rest, is no reason
    to take more."""
    _most: int | None = None
    _full_since: float | None = None

    def __post_init__(self) -> None:
        self._most = self.limit if self.known else None

    def room(self, outstanding: int) -> int:
        """How many more may be submitted now."""
        return max(0, self.most() - outstanding)

    def most(self) -> int:
        """Tasks outstanding at most."""
        if self.limit is not None:
            limit = self.limit + self.ahead
        else:
            limit = self.grown if self.growing else 1_000_000
        return limit if self.ceiling is None else min(limit, self.ceiling)

    def rejected(self, accepted: int, now: float) -> None:
        """The service refused one while ``accepted`` were outstanding."""
        self.queues, self.ahead, self.growing = False, 0, False
        if self.limit is not None and accepted >= self.limit:
            return  # it takes what was published, and refuses only what exceeds that
        self.limit = max(1, accepted)
        self.known = False
        self.hold_s = min(LONGEST_HOLD_S, self.hold_s * 2.0)
        self._full_since = now

    def told(self, limit: int, ahead: int) -> None:
        """The service says how many it runs at once; what it was found to refuse is kept, and
        probed up to that. ``ahead``: how many to keep waiting there, where it lets them wait.
        """
        self._most = limit
        if self.queues is False and self.limit is not None and not self.known:
            self.limit = min(self.limit, limit)
            return
        self.limit, self.known, self.growing = limit, True, False
        self.wait_ahead = ahead
        self.ahead = ahead if self.queues else 0

    def full(self, outstanding: int, now: float) -> None:
        """Called as tasks are accepted: raise by one after a whole hold at the limit."""
        if self.known or self.limit is None or self.queues:
            return
        if outstanding < self.limit:
            self._full_since = None
        elif self._full_since is None:
            self._full_since = now
        elif now - self._full_since >= self.hold_s:
            self.limit += 1
            self.known = self.limit == self._most
            self._full_since = now

    def observed(self, running: int, queued: int, outstanding: int) -> None:
        """What the service says of our tasks: so many run there, so many wait."""
        if running and queued and self.queues is None:
            self.queues = True
        if self.queues and self.limit is None and self.growing:
            self.limit, self.growing = running, False
        if self.limit is None:
            if running >= outstanding >= self.grown:
                self.grown = 2 * outstanding
        elif self.shared:
            pass
        elif self.queues and self.ahead and running >= self.most() == outstanding:
            # All of it runs, what should wait as well: it runs more than anybody said. Fewer
            # than all would prove nothing: some that ended since were last seen to run.
            self.limit += 1
        if self.queues:
            self.ahead = max(self.ahead, self.wait_ahead)


@dataclass(slots=True)
class Gate:
    """One quota's rate and concurrency together, and what is outstanding on it."""

    pace: Pace
    slots: Slots
    outstanding: int = 0
    running: int = 0
    """Of these, how many the service was last seen to work on."""
    queued: int = 0
    """Of these, how many it was last seen to keep waiting."""
    working: set[Slot] = field(default_factory=set)
    """The slots of the tasks that it was last seen to work on."""
    refusals: int = 0
    parked_until: float = 0.0
    stopped: str = ""
    """Why a person has to act; empty while the endpoint may be used."""

    def wait_s(self, now: float) -> float | None:
        """Nominal seconds until one more may be submitted; None while there is no slot."""
        if self.stopped or self.slots.room(self.outstanding) == 0:
            return None
        return max(self.pace.ready_in(now), self.parked_until - now, 0.0)

    def take(self, now: float) -> None:
        """A slot and a rate token, for one submit that leaves now."""
        self.outstanding += 1
        self.pace.take(now)

    def accepted(self, now: float) -> None:
        """The service took it."""
        self.pace.accepted(now)
        self.slots.full(self.outstanding, now)

    def release(self) -> None:
        """The task has ended at the service, or was never accepted."""
        self.outstanding -= 1

    def observe(self, running: int, queued: int) -> None:
        """One task is now seen to run, or to wait, or no longer: changes of the two counts."""
        self.running += running
        self.queued += queued
        if running > 0 or queued > 0:
            self.slots.observed(self.running, self.queued, self.outstanding)

    def refused(self, error: Throttled, pause_s: float, now: float) -> float:
        """A 429, its slot given back already: learn from its kind.

        Returns the nominal time before which nothing leaves.
        """
        self.refusals += 1
        match error.kind:
            case "concurrency":
                self.slots.rejected(self.outstanding, now)
            case "rate":
                self.pace.slow_down(now)
            case "quota":
                self.parked_until = max(self.parked_until, now + pause_s)
            case "burst":
                self.pace.rise_slower()
                self.pace.hold_until(now + pause_s)
            case "congestion":
                self.pace.hold_until(now + pause_s)
        if error.retry_after_s is not None:
            self.pace.hold_until(now + pause_s)
        return max(self.pace.next_at, self.parked_until)

    def clock_set(self, by_s: float) -> None:
        """The clock was set back by ``-by_s``: nobody waits longer for that."""
        self.pace.clock_set(by_s)
        self.parked_until += by_s

    def learnt(self) -> dict[str, Any]:
        """What is worth keeping over a restart, as JSON."""
        return {
            "rate": self.pace.rate if self.pace.taught else None,
            "slots": None if self.slots.known else self.slots.limit,
            "hold_s": self.slots.hold_s,
            "queues": self.slots.queues,
        }

    def recall(self, learnt: dict[str, Any]) -> None:
        """Take up what `learnt` kept."""
        if learnt.get("rate"):
            self.pace.rate, self.pace.taught = float(learnt["rate"]), True
            self.pace.growing = False
        self.slots.queues = learnt.get("queues")
        if self.slots.queues is False:
            self.slots.ahead = 0
        if learnt.get("slots"):
            self.slots.limit, self.slots.known = int(learnt["slots"]), False
            self.slots.growing = False
            self.slots.hold_s = float(learnt.get("hold_s", HOLD_S))


class Slot:
    """A slot at an endpoint: what its task is seen to do there, and given back once."""

    __slots__ = ("_gate", "_queued", "_running", "since")

    def __init__(self, gate: Gate) -> None:
        self._gate: Gate | None = gate
        self._running = self._queued = 0
        self.since = 0.0
        """When the service began to work on it, nominal Unix seconds by our clock."""

    @property
    def queued(self) -> bool:
        """Whether its task was last seen to wait at the service."""
        return self._gate is not None and self._queued > 0

    def saw(self, running: bool, since: float = 0.0) -> bool:
        """The service said that it runs, or still waits; whether that is news."""
        now = (1, 0) if running else (0, 1)
        change = (now[0] - self._running, now[1] - self._queued)
        if self._gate is None or change == (0, 0):
            return False
        self._running, self._queued = now
        if running:
            self.since = since
            self._gate.working.add(self)
        self._gate.observe(*change)
        return True

    def release(self) -> bool:
        """Give it back; whether it had not been."""
        gate, self._gate = self._gate, None
        if gate is None:
            return False
        gate.release()
        gate.working.discard(self)
        gate.observe(-self._running, -self._queued)
        return True


def submit_ahead(concurrency: int, reaction_s: float, typical_s: float, miss: float = 0.001) -> int:
    """How many beyond ``concurrency`` to keep waiting at a service that queues.

    The (1 - ``miss``) quantile of Poisson(c * (d + RTT) / E[S]): completions that can happen
    before the client reacts. Source: queueing argument, checked by simulation.
    """
    mean = concurrency * reaction_s / max(typical_s, 1e-9)
    term = total = math.exp(-min(mean, 700.0))
    k = 0
    while total < 1.0 - miss and k < 10_000:
        k += 1
        term *= mean / k
        total += term
    return k
