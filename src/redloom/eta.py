"""When a run will be over, from what has happened in it so far.

Little's law: pictures finished a second = pictures under way / time that one is under way. Both
are known early, when hardly anything is finished yet, and hold whatever the limit is (slots, rate,
a queue at the service), retries included. The time of one is a Kaplan-Meier mean (JASA 53, 1958):
those under way count as longer than they are old, because early on the quick ones come first. What
is not yet begun goes at that speed, and the last slots run empty after it.

May import: events.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from .events import Done, Event, Started, Submitted

DURATIONS = 300
"""Latest pictures whose times count."""
POINTS = 200
"""Points of the past that are remembered."""
LEAST = 3
"""Bought pictures before anything is foretold."""
_Key = tuple[str, int, int]


@dataclass
class Eta:
    """Watches the events of one run or several; all times are nominal seconds."""

    total: int = 0
    """Wanted pictures, where the caller knows better than the engine's first count."""
    done: int = 0
    _counted: int = 0
    _free: int = 0
    """Outcomes that no task was needed for: twins, pictures in the store, invalid rows."""
    _bought: int = 0
    _flying: dict[_Key, float] = field(default_factory=dict)
    _took: deque[float] = field(default_factory=lambda: deque(maxlen=DURATIONS))
    _area: float = 0.0
    """Pictures under way times seconds, since the first was finished."""
    _points: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=POINTS))
    _now: float = 0.0

    def see(self, event: Event) -> None:
        """Take one record into account."""
        if event.at > self._now:
            self._area += len(self._flying) * (event.at - self._now) if self._points else 0.0
            self._now = event.at
        if isinstance(event, Started):
            self._counted += event.total
            self.done += event.done
        elif isinstance(event, Submitted):
            # A second try of a picture is a part of its time.
            self._flying.setdefault((event.run, event.row, event.take), event.at)
        elif isinstance(event, Done):
            self._finished(event)

    def _finished(self, event: Done) -> None:
        self.done += 1
        began = self._flying.pop((event.run, event.row, event.take), None)
        if began is None:
            self._free += 1
            return
        self._bought += 1
        self._took.append(event.at - began)
        first = self._points[0][0] if self._points else event.at
        if not self._points or event.at - self._points[-1][0] >= (event.at - first) / POINTS:
            self._points.append((event.at, self._area))

    def usual_s(self) -> float | None:
        """How long one picture is under way, tries and waits included; None while unknown."""
        if not self._took:
            return None
        ages = ((self._now - began, False) for began in self._flying.values())
        seen = sorted([*((took, True) for took in self._took), *ages])
        mean, last, surviving, at_risk = 0.0, 0.0, 1.0, len(seen)
        for age, ended in seen:
            mean += surviving * (age - last)
            last = age
            if ended:
                surviving *= 1 - 1 / at_risk
            at_risk -= 1
        return mean + surviving * 0.35 * mean

    def at_once(self) -> float:
        """Pictures under way at a time, over the latter half of the time since the first."""
        if not self._points or self._now <= self._points[0][0]:
            return float(len(self._flying))
        middle = (self._points[0][0] + self._now) / 2
        then, area = max((p for p in self._points if p[0] <= middle), default=self._points[0])
        return (self._area - area) / (self._now - then)

    def left_s(self) -> float | None:
        """Seconds until the end; None while too little is known, or nothing is left."""
        usual, total = self.usual_s(), max(self.total, self._counted)
        if usual is None or self._bought < LEAST or total <= self.done:
            return None
        waiting = float(max(0, total - self.done - len(self._flying)))
        paid = self._bought + len(self._flying)
        waiting *= paid / (paid + self._free)
        at_once = max(self.at_once(), 0.5)
        # Those under way are half-way on average; the last of many takes longer than the usual.
        drain = usual * (1.0 + 0.1 * min(4.0, math.sqrt(at_once)))
        if not waiting:
            drain = max(usual * 0.1, usual - self._youngest())
        return waiting * usual / at_once + drain

    def _youngest(self) -> float:
        return self._now - max(self._flying.values(), default=self._now)
