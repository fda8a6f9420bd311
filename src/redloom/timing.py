"""How long pictures take, learnt; the hazard of finishing; when to look next.

The interval after ``t`` seconds of work is ``sqrt(2 * lambda / h(t))`` with ``h`` the hazard of
finishing and ``lambda`` the seconds of delay that one query is worth: the classical
optimal-inspection result. ``h`` is that of a log-normal whose two parameters are learnt from the
service's own start and end times, never from when we noticed, with a prior of a few pictures'
weight. Everything here is a pure function of its arguments and what was learnt.

May import: nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

SHORTEST_S, LONGEST_S = 0.5, 15.0
COVERED, CALM, EAGER = 2.0, 0.1, 0.05
"""Seconds of delay that one status query is worth at a median of 60 s: while work waits queued
at the service and so no slot idles; as a rule; while a slot idles or the run's end hangs on it."""
PRIOR_WEIGHT = 5.0
"""How many pictures the published or typical time counts for."""
MEMORY = 60.0
"""Pictures after which older ones begin to fade."""
SIGMA, LEAST_SIGMA = 0.42, 0.05
"""Spread of the logarithm before anything is known: 90 % within half and twice the median."""


@dataclass(slots=True)
class Timing:
    """How long one endpoint takes for one kind of picture; seconds are nominal."""

    median: float = 60.0
    sigma: float = SIGMA
    seen: int = 0
    mean: float = 0.0
    """Of the time worked on a picture: an EWMA that rises faster than it falls; 0: the prior."""

    def __post_init__(self) -> None:
        if not self.mean:
            self.mean = self.median * math.exp(self.sigma**2 / 2)

    def learn(self, seconds: float) -> None:
        """A picture took ``seconds`` by the service's own clock."""
        seconds = max(seconds, 1e-3)
        self.seen += 1
        known = PRIOR_WEIGHT + min(self.seen - 1, MEMORY)
        step = 1.0 / (known + 1.0)
        centre = math.log(max(self.median, 1e-3))
        gap = math.log(seconds) - centre
        if self.seen == 1 and abs(gap) > 3 * self.sigma:
            step = 0.9  # the prior is about some other service
        self.median = math.exp(centre + step * gap)
        self.sigma = max(
            LEAST_SIGMA, math.sqrt((1 - step) * (self.sigma**2 + step * min(gap * gap, 4.0)))
        )
        weight = max(0.3 if seconds > self.mean else 0.2, 1.0 / (self.seen + 1))
        self.mean += weight * (seconds - self.mean)

    def hazard(self, age: float) -> float:
        """Chance per second of finishing at ``age``, given that it has not yet."""
        if age <= 0:
            return 0.0
        z = (math.log(age) - math.log(max(self.median, 1e-3))) / self.sigma
        if z > 5.0:  # the tail's own asymptote: erfc would underflow
            return z / (age * self.sigma)
        tail = 0.5 * math.erfc(z / math.sqrt(2))
        density = math.exp(-z * z / 2) / (age * self.sigma * math.sqrt(2 * math.pi))
        return density / tail

    def first(self) -> float:
        """Age at which it can first be ready: the 0.5 % quantile."""
        return self.median * math.exp(-2.576 * self.sigma)

    def late(self) -> float:
        """Age by which nineteen in twenty are finished: the 95 % quantile."""
        return self.median * math.exp(1.645 * self.sigma)

    def expected(self, ages: Collection[float]) -> float:
        """The mean, where tasks of these ages are still being worked on.

        Those older than `late` tell that the service has slowed down before any of them ends: a
        task that is late is taken for one half done, as tasks met at a random moment are.
        """
        late = [age for age in ages if age > self.late()]
        if not late:
            return self.mean
        share = len(late) / len(ages)
        return (1.0 - share) * self.mean + share * max(self.mean, 2.0 * sum(late) / len(late))

    def left(self, age: float) -> float:
        """Seconds that a task of this age still takes on average; one that is late is taken for
        half done, as in `expected`.
        """
        if age > self.late():
            return age
        whole = self.median * math.exp(self.sigma**2 / 2)
        if age <= 0:
            return whole
        z = (math.log(age) - math.log(max(self.median, 1e-3))) / self.sigma
        # E[S | S > a] of a log-normal: its mean times Phi(sigma - z) / Phi(-z).
        over = math.erfc((z - self.sigma) / math.sqrt(2)) / math.erfc(z / math.sqrt(2))
        return whole * over - age

    def next_poll(self, age: float, cost: float = CALM) -> float:
        """Nominal seconds until the next query for a task that has been worked on for ``age``."""
        scale = max(self.median / 60.0, 1e-3)
        shortest, longest = SHORTEST_S * min(1.0, scale), LONGEST_S * max(1.0, scale)
        if age < self.first():
            wait = max(shortest, self.first() - age)
            # While the prior is all that is known it may be far off: ages that treble are cheap.
            return wait if self.seen else min(wait, max(shortest, 2.0 * age, 2.0))
        hazard = self.hazard(age)
        if hazard <= 0:
            return longest
        return min(longest, max(shortest, math.sqrt(2 * cost * scale / hazard)))

    def learnt(self) -> dict[str, Any] | None:
        """What is worth keeping over a restart, as JSON; None while nothing is."""
        if not self.seen:
            return None
        return {"median": self.median, "sigma": self.sigma, "seen": self.seen, "mean": self.mean}

    def recall(self, learnt: dict[str, Any]) -> None:
        """Take up what `learnt` kept."""
        self.median, self.sigma = float(learnt["median"]), float(learnt["sigma"])
        self.seen, self.mean = int(learnt["seen"]), float(learnt["mean"])


class Timings:
    """One endpoint's `Timing` by kind of picture (its size); a new kind begins as the whole."""

    def __init__(self, typical_s: float) -> None:
        self.all = Timing(median=typical_s)
        self._kinds: dict[str, Timing] = {}

    def of(self, kind: str) -> Timing:
        """The timing of one kind."""
        found = self._kinds.get(kind)
        if found is None:
            found = self._kinds[kind] = Timing(self.all.median, self.all.sigma)
        return found

    def learn(self, kind: str, seconds: float) -> None:
        """A picture of ``kind`` took ``seconds`` by the service's own clock."""
        self.of(kind).learn(seconds)
        self.all.learn(seconds)

    def learnt(self) -> dict[str, Any]:
        """What is worth keeping over a restart, as JSON; empty while nothing is."""
        if not self.all.seen:
            return {}
        kinds = {kind: one.learnt() for kind, one in self._kinds.items() if one.seen}
        return {"all": self.all.learnt(), "kinds": kinds}

    def recall(self, learnt: dict[str, Any]) -> None:
        """Take up what `learnt` kept; what cannot be read is left out."""
        try:
            self.all.recall(learnt["all"])
            for kind, one in learnt["kinds"].items():
                self.of(kind).recall(one)
        except (KeyError, TypeError, ValueError):
            return
