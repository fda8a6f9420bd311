"""How fast an endpoint may be asked, and what a 429 teaches. Counted by (account, region, model).

Two separate controls: the *rate* (`Pace`: GCRA without bursts) and the *concurrency* (`Slots`:
probe and hold). A 429 slows that one endpoint only; its kind is read from its code. Everything
here takes the time as an argument and waits for nothing.

Sources of the formulas: GCRA is ITU-T I.371's virtual scheduling algorithm; the figures behind
the choices (0.97 of the published rate; hold doubling from 2 to 60 minutes) are simulated.

May import: errors, endpoint.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .errors import Throttled

MARGIN = 0.97
SLOWEST_PER_SECOND = 1 / 60
HOLD_S = 120.0
LONGEST_HOLD_S = 3600.0


@dataclass(slots=True)
class Pace:
    """GCRA with no burst: one token every ``1 / rate`` seconds, none saved up while idle.

    ``rate`` None: no limit known; nothing waits until the first 429 teaches one.
    """

    rate: float | None = None
    next_at: float = 0.0
    """Nominal time at which the next request may leave."""
    taught: bool = False
    _recent: list[float] = field(default_factory=list)

    def ready_in(self, now: float) -> float:
        """Nominal seconds until a request may leave; 0 when it may now."""
        return max(0.0, self.next_at - now)

    def take(self, now: float) -> None:
        """A request leaves at ``now``."""
        self._recent.append(now)
        if len(self._recent) > 64:
            del self._recent[:32]
        if self.rate is not None:
            self.next_at = max(now, self.next_at) + 1.0 / self.rate

    def slow_down(self, now: float) -> None:
        """RateQuota: set the rate to what was accepted lately, less a margin, and keep it."""
        accepted = self._accepted(now)
        known = self.rate if self.rate is not None else accepted
        rate = min(known, accepted) * MARGIN if not self.taught else known * 0.9
        self.rate = max(SLOWEST_PER_SECOND, rate)
        self.taught = True
        self.next_at = max(self.next_at, now + 1.0 / self.rate)

    def hold_until(self, moment: float) -> None:
        """Nothing may leave before ``moment``."""
        self.next_at = max(self.next_at, moment)

    def _accepted(self, now: float) -> float:
        """Requests per second over the last ten seconds, at least one in sixty seconds."""
        lately = [t for t in self._recent if t > now - 10.0]
        if len(lately) < 2:
            return max(self.rate or 1.0, SLOWEST_PER_SECOND)
        return max(SLOWEST_PER_SECOND, (len(lately) - 1) / max(now - lately[0], 0.1))


@dataclass(slots=True)
class Slots:
    """How many tasks may be outstanding: probe and hold.

    Starts at ``limit`` (None: unknown, grows from ``start``). When full without a rejection for
    the hold time, one more is tried; a rejection sets the limit to what was accepted and doubles
    the hold. ``ahead`` is how many more than the limit may wait at a service that queues.
    """

    limit: int | None = None
    ahead: int = 0
    ceiling: int | None = None
    """The user's own ``-j``: never exceeded."""
    hold_s: float = HOLD_S
    known: bool = False
    """The limit is published; not probed beyond."""
    _full_since: float | None = None

    def room(self, outstanding: int) -> int:
        """How many more may be submitted now."""
        return max(0, self.most() - outstanding)

    def most(self) -> int:
        """Tasks outstanding at most."""
        limit = 1_000_000 if self.limit is None else self.limit + self.ahead
        return limit if self.ceiling is None else min(limit, self.ceiling)

    def rejected(self, accepted: int, now: float) -> None:
        """The service refused one while ``accepted`` were outstanding."""
        self.limit = max(1, accepted)
        self.ahead = 0
        self.known = False
        self.hold_s = min(LONGEST_HOLD_S, self.hold_s * 2.0)
        self._full_since = now

    def full(self, outstanding: int, now: float) -> None:
        """Called as tasks are accepted: raise by one after a whole hold at the limit."""
        if self.known or self.limit is None:
            return
        if outstanding < self.limit:
            self._full_since = None
        elif self._full_since is None:
            self._full_since = now
        elif now - self._full_since >= self.hold_s:
            self.limit += 1
            self._full_since = now


@dataclass(slots=True)
class Gate:
    """One quota's rate and concurrency together, and what is outstanding on it."""

    pace: Pace
    slots: Slots
    outstanding: int = 0
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
        self.slots.full(self.outstanding, now)

    def release(self) -> None:
        """The task has ended at the service, or was never accepted."""
        self.outstanding -= 1

    def refused(self, error: Throttled, pause_s: float, now: float) -> float:
        """A 429: learn from its kind. Returns the nominal time before which nothing leaves."""
        self.refusals += 1
        match error.kind:
            case "concurrency":
                self.slots.rejected(self.outstanding - 1, now)
            case "rate":
                self.pace.slow_down(now)
            case "quota":
                self.parked_until = max(self.parked_until, now + pause_s)
            case "burst" | "congestion":
                self.pace.hold_until(now + pause_s)
        if error.retry_after_s is not None:
            self.pace.hold_until(now + pause_s)
        return max(self.pace.next_at, self.parked_until)

    def learnt(self) -> dict[str, Any]:
        """What is worth keeping over a restart, as JSON."""
        return {
            "rate": self.pace.rate if self.pace.taught else None,
            "slots": None if self.slots.known else self.slots.limit,
            "hold_s": self.slots.hold_s,
        }

    def recall(self, learnt: dict[str, Any]) -> None:
        """Take up what `learnt` kept."""
        if learnt.get("rate"):
            self.pace.rate, self.pace.taught = float(learnt["rate"]), True
        if learnt.get("slots"):
            self.slots.limit, self.slots.known, self.slots.ahead = int(learnt["slots"]), False, 0
            self.slots.hold_s = float(learnt.get("hold_s", HOLD_S))


def submit_ahead(concurrency: int, reaction_s: float, typical_s: float, miss: float = 0.001) -> int:
    """How many beyond ``concurrency`` to keep waiting at a service that queues.

    The (1 - ``miss``) quantile of Poisson(c * (d + RTT) / E[S]): completions that can happen
    before the client reacts. Source: queueing argument, checked by simulation.
    """
    import math

    mean = concurrency * reaction_s / max(typical_s, 1e-9)
    term = total = math.exp(-min(mean, 700.0))
    k = 0
    while total < 1.0 - miss and k < 10_000:
        k += 1
        term *= mean / k
        total += term
    return k
