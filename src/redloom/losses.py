"""Where a run's slots stood idle while work was left, and why: each idle second has one cause.

The moments at which something begins or ends are swept once, in order, a few thousand tries at a
time: what is in hand is what was under way at once, however long the run was.

May import: tries.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf, isnan

from .tries import PHASES, Tries

CAUSES = (
    "unseen", "submitting", "service", "held", "backoff", "others", "idle", "drain", "noticing", "saving",
)  # fmt: skip
"""In this order an idle slot second is explained; see docs/report.md."""
AT_ONCE = 4000
"""Tries whose moments are put in order together."""
RUN = PHASES.index("running")
_KINDS = ("submitting", "service", "running", "unseen", "backoff", "held", "gap", "over")
"""What a moment begins or ends; the first four in the order of `PHASES`."""
Edge = tuple[float, int, int]
"""(moment, number in `_KINDS`, +1 or -1)."""


@dataclass(frozen=True, slots=True)
class Held:
    """An endpoint that was not to be asked for a while, after a 429 or an outage."""

    endpoint: str
    since: float
    until: float


def lost_seconds(
    tries: Tries,
    slots: int,
    held: Sequence[Held],
    gaps: Sequence[tuple[float, float]],
    before: Sequence[int],
    others_s: float,
) -> dict[str, float]:
    """Idle slot seconds by cause, as seconds of the run; the way home at the end.

    ``before``: `Tries.before`; ``others_s``: slot seconds that other runs had meanwhile.
    """
    bought = tries.indexes("good", "failed", "doubt", "open")
    since, until = tries.borders[RUN], tries.borders[RUN + 1]
    last_work = max((until[place] for place in bought if until[place] > since[place]), default=inf)
    if last_work == inf:
        return {}
    edges = _Edges(last_work)
    for hold in held:
        edges.mark("held", hold.since, hold.until)
    for gap in gaps:
        edges.mark("gap", *gap)
    for place, earlier in enumerate(before):
        if earlier >= 0:
            edges.mark("backoff", tries.last[earlier], tries.intent[place])
    edges.mark("over", tries.intent[bought[-1]], last_work)
    idle = _Idle(slots).sweep(edges.in_order(tries))
    taken = min(idle["idle"], others_s)
    idle["others"], idle["idle"] = taken, idle["idle"] - taken
    lost = {cause: idle[cause] / slots for cause in CAUSES}
    return lost | _way_home(tries, bought, last_work)


def _way_home(tries: Tries, bought: Sequence[int], last_work: float) -> dict[str, float]:
    """What remains after the service's last work: seconds until it was noticed, until it was here."""
    closing = max(bought, key=tries.last.__getitem__)
    end, heard = tries.last[closing], tries.heard[closing]
    seen = max(last_work, min(end, end if isnan(heard) else heard or end))
    return {"noticing": max(0.0, seen - last_work), "saving": max(0.0, end - seen)}


@dataclass(slots=True)
class _Edges:
    """The moments at which something begins or ends, up to the last work."""

    last_work: float
    found: list[Edge] = field(default_factory=list)

    def mark(self, kind: str, since: float, until: float) -> None:
        self._mark(_KINDS.index(kind), since, until)

    def _mark(self, kind: int, since: float, until: float) -> None:
        since, until = min(since, self.last_work), min(until, self.last_work)
        if until > since:
            self.found += ((since, kind, 1), (until, kind, -1))

    def in_order(self, tries: Tries) -> Iterator[Edge]:
        """These and all of the tries', by their moments. No try has one before its intent."""
        for start in range(0, len(tries), AT_ONCE):
            for kind in range(len(PHASES) - 1):
                self._add(
                    kind, *(one[start : start + AT_ONCE] for one in tries.borders[kind : kind + 2])
                )
            self.found.sort()
            settled = start + AT_ONCE
            horizon = tries.intent[settled] if settled < len(tries) else inf
            cut = bisect_left(self.found, (horizon,))
            yield from self.found[:cut]
            del self.found[:cut]

    def _add(self, kind: int, since: array[float], until: array[float]) -> None:
        last = self.last_work
        for begin, end in zip(since, until, strict=True):
            if end > begin:
                if end > last:
                    self._mark(kind, begin, end)
                else:
                    self.found.append((begin, kind, 1))
                    self.found.append((end, kind, -1))


class _Idle:
    """Slot seconds by cause, added up along the moments."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._idle = dict.fromkeys(CAUSES, 0.0)

    def sweep(self, edges: Iterable[Edge]) -> dict[str, float]:
        """Go through the moments; the sums."""
        now = [0] * len(_KINDS)
        running, gap = _KINDS.index("running"), _KINDS.index("gap")
        here = inf  # so that nothing lies before the first
        for moment, kind, change in edges:
            if moment != here:
                if moment > here and now[running] < self._slots and now[gap] <= 0:
                    self._explain(now, moment - here)
                here = moment
            now[kind] += change
        return self._idle

    def _explain(self, now: Sequence[int], seconds: float) -> None:
        """Give each slot that stood idle for ``seconds`` its cause."""
        submitting, service, running, unseen, backoff, held, _, over = now
        idle, left = self._idle, self._slots - running
        for cause, number in (("unseen", unseen), ("submitting", submitting), ("service", service)):
            if number > 0:
                part = min(left, number)
                idle[cause] += part * seconds
                left -= part
        if left <= 0:
            return
        if over or held:
            idle["drain" if over else "held"] += left * seconds
            return
        part = min(left, backoff)
        idle["backoff"] += part * seconds
        idle["idle"] += (left - part) * seconds
