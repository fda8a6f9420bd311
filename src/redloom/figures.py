"""A run in figures: how long its phases took, how far from the bound it ended, and why.

Pure functions over `tries.Try`. The distance to the never-idle bound is told in seconds of the
run, by cause: every slot second that the service stood idle while work was left has one, and what
remains after the service's last work (noticing, downloading) is told as it is. They add up to the
distance exactly.

May import: bound, tries.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .bound import Place, clairvoyant, never_idle
from .tries import PHASES, Try

QUANTILES = (0.5, 0.9, 0.95, 0.99, 1.0)
BLUR_S = 0.25
"""Services round their times: an overlap shorter than this is none."""
GAP_S = 300.0
"""Nothing under way for longer than this is an interruption, not a loss."""
CAUSES = (
    "unseen", "submitting", "service", "held", "backoff", "others", "idle", "drain", "noticing", "saving",
)  # fmt: skip
"""In this order an idle slot second is explained; see docs/report.md."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What an endpoint allowed: slots and submits per second, None where not known."""

    slots: int | None = None
    per_second: float | None = None
    told: bool = False
    """It was published or configured; else it is what was seen in the run."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds of one phase at `QUANTILES`, their mean, and of how many tries."""

    count: int
    mean: float
    quantiles: tuple[float, ...]

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency | None:
        """None where nothing is known."""
        if not seconds:
            return None
        ranked = sorted(seconds)
        at = tuple(quantile(ranked, q) for q in QUANTILES)
        return cls(len(ranked), sum(ranked) / len(ranked), at)


def quantile(ranked: Sequence[float], q: float) -> float:
    """The ``q`` quantile of sorted numbers, straight between neighbours."""
    place = q * (len(ranked) - 1)
    low = int(place)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (ranked[high] - ranked[low]) * (place - low)


@dataclass(frozen=True, slots=True)
class Held:
    """An endpoint that was not to be asked for a while, after a 429 or an outage."""

    endpoint: str
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Distance:
    """How far from the bound a run was. Seconds of the run unless said otherwise."""

    took: float
    """From the first request to the last file, interruptions left out."""
    bound: float
    """Never idle; 0 where no working time is known."""
    foresight: float
    """The clairvoyant bound."""
    slots: int
    """Slots at once, over all endpoints."""
    lost: Mapping[str, float]
    """By cause; adds up to ``took - bound``."""
    interrupted: float = 0.0
    measured: float = 1.0
    """The part of the tries whose working time is known."""
    limits: Mapping[str, Limit] = field(default_factory=dict)

    @property
    def percent(self) -> float | None:
        """The bound as percent of what it took; None where there is none."""
        return None if self.bound <= 0 or self.took <= 0 else 100.0 * self.bound / self.took


def latencies(tries: Iterable[Try]) -> dict[str, dict[str, Latency]]:
    """Of each endpoint, each phase and the ``total`` of finished pictures."""
    seconds: dict[str, dict[str, list[float]]] = {}
    for one in tries:
        if not one.good:
            continue
        phases = seconds.setdefault(one.endpoint, {})
        for phase, since, until in one.spans():
            phases.setdefault(phase, []).append(until - since)
        phases.setdefault("total", []).append(one.last - one.intent)
    order = (*PHASES, "total")
    return {
        name: {p: found for p in order if (found := Latency.of(phases.get(p, ()))) is not None}
        for name, phases in seconds.items()
    }


def most_at_once(spans: Iterable[tuple[float, float]]) -> int:
    """How many of these lay over each other at most."""
    edges = sorted(edge for since, until in spans for edge in ((since, 1), (until, -1)))
    return max(itertools.accumulate(change for _, change in edges), default=0)


def observed(tries: Sequence[Try]) -> dict[str, Limit]:
    """What each endpoint was seen to do: as many at once as ran there."""
    by_name: dict[str, list[tuple[float, float]]] = {}
    for one in tries:
        spans = [(a, b) for phase, a, b in one.spans() if phase == "running"]
        if one.bought and spans:
            by_name.setdefault(one.endpoint, []).append(
                (min(spans[0][0] + BLUR_S, sum(spans[-1]) / 2), spans[-1][1])
            )
    return {name: Limit(max(1, most_at_once(spans))) for name, spans in by_name.items()}


def distance(
    tries: Sequence[Try],
    limits: Mapping[str, Limit] | None = None,
    held: Sequence[Held] = (),
    others_s: float = 0.0,
) -> Distance | None:
    """How far a run was from its bound; None where nothing was bought.

    ``limits`` by endpoint, where they were told; the rest is what was seen. ``others_s``: slot
    seconds that other runs had on the same accounts meanwhile.
    """
    bought = [one for one in tries if one.bought]
    if not bought:
        return None
    gaps = interruptions(tries)
    since, until = min(one.intent for one in tries), max(one.last for one in bought)
    paused = sum(b - a for a, b in gaps)
    took = until - since - paused
    known = _limits(bought, limits or {})
    places, pictures, measured = _work(bought, known)
    slots = max(1, sum(place.slots or observed_slots(bought, name) for name, place in places))
    bound = min(never_idle(pictures, [place for _, place in places]), took) if pictures else 0.0
    seen = clairvoyant(pictures, [place for _, place in places]) if pictures else 0.0
    lost = _lost(tries, bought, slots, held, gaps, others_s) if bound else {}
    excess = took - bound
    if lost:
        # What the bound itself leaves idle (its drain and its ramp) is nobody's loss.
        lost["drain"] += excess - sum(lost.values())
    return Distance(took, bound, min(seen, bound), slots, lost, paused, measured, known)


def observed_slots(tries: Sequence[Try], endpoint: str) -> int:
    """As many at once as ran at this endpoint."""
    limit = observed([one for one in tries if one.endpoint == endpoint]).get(endpoint)
    return limit.slots or 1 if limit else 1


def _limits(tries: Sequence[Try], told: Mapping[str, Limit]) -> dict[str, Limit]:
    """What was told, but never less than was seen.

    And not more where tasks waited at the service meanwhile: it shows then what it runs at most.
    """
    waited = {
        one.endpoint for one in tries for name, a, b in one.spans() if name == "queued" and b - a > 1.0
    }  # fmt: skip
    known = {}
    for name, seen in observed(tries).items():
        limit = told.get(name)
        if limit is None or (limit.slots is None and limit.per_second is None):
            known[name] = seen
        elif _shown_otherwise(limit, seen, name in waited):
            known[name] = Limit(seen.slots, limit.per_second)
        else:
            known[name] = limit
    return known


def _shown_otherwise(limit: Limit, seen: Limit, waited: bool) -> bool:
    """Whether the run itself showed other slots than were told."""
    if limit.slots is None or seen.slots is None or seen.slots == limit.slots:
        return False
    return seen.slots > limit.slots or waited


def _work(
    tries: Sequence[Try], limits: Mapping[str, Limit]
) -> tuple[list[tuple[str, Place]], list[list[float]], float]:
    """The places, the pictures' working times at the average place, and how much is known."""
    timed = [(one, one.work_s) for one in tries if one.endpoint in limits]
    known = [(one, work) for one, work in timed if work is not None]
    if not known:
        return [], [], 0.0
    means = {
        name: sum(many) / len(many)
        for name in limits
        if (many := [w for one, w in known if one.endpoint == name and one.good]) and sum(many)
    }
    average = sum(means.values()) / len(means) if means else 1.0
    slowness = {name: means.get(name, average) / average for name in limits}
    places = [
        (name, Place(limit.slots, limit.per_second, slowness=slowness[name]))
        for name, limit in limits.items()
        if limit.slots != 0
    ]
    pictures: dict[int, list[float]] = {}
    for one, work in known:
        pictures.setdefault(one.job, []).append(work / slowness[one.endpoint])
    return places, list(pictures.values()), len(known) / max(1, len(timed))


def interruptions(tries: Sequence[Try]) -> list[tuple[float, float]]:
    """When nothing at all was under way for longer than `GAP_S`: pauses, nights, parked quotas."""
    gaps: list[tuple[float, float]] = []
    reach: float | None = None
    for one in sorted(tries, key=lambda one: one.intent):
        if reach is not None and one.intent - reach > GAP_S:
            gaps.append((reach, one.intent))
        reach = one.last if reach is None else max(reach, one.last)
    return gaps


def _lost(
    tries: Sequence[Try],
    bought: Sequence[Try],
    slots: int,
    held: Sequence[Held],
    gaps: Sequence[tuple[float, float]],
    others_s: float,
) -> dict[str, float]:
    """Idle slot seconds by cause, as seconds of the run; the way home at the end."""
    ends = [b for one in bought for phase, _, b in one.spans() if phase == "running"]
    if not ends:
        return {}
    last_work, last_intent = max(ends), max(one.intent for one in bought)
    edges = _edges(tries, held, gaps, last_intent, last_work)
    now: Counter[str] = Counter()
    idle = dict.fromkeys(CAUSES, 0.0)
    for (moment, changes), following in zip(edges, [*(m for m, _ in edges[1:]), None], strict=True):
        now.update(changes)
        if following is None or now["gap"] > 0:
            continue
        _explain(now, idle, slots, following - moment)
    taken = min(idle["idle"], others_s)
    idle["others"], idle["idle"] = taken, idle["idle"] - taken
    lost = {cause: idle[cause] / slots for cause in CAUSES}
    closing = max(bought, key=lambda one: one.last)
    seen = max(last_work, min(closing.last, closing.heard or closing.last))
    lost["noticing"] = max(0.0, seen - last_work)
    lost["saving"] = max(0.0, closing.last - seen)
    return lost


def _explain(now: Counter[str], idle: dict[str, float], slots: int, seconds: float) -> None:
    """Give each slot that stood idle for ``seconds`` its cause."""
    left = max(0, slots - now["running"])
    for cause in ("unseen", "submitting", "service"):
        part = min(left, now[cause])
        idle[cause] += part * seconds
        left -= part
    if now["over"]:
        idle["drain"] += left * seconds
        return
    if now["held"]:
        idle["held"] += left * seconds
        return
    part = min(left, now["backoff"])
    idle["backoff"] += part * seconds
    idle["idle"] += (left - part) * seconds


def _edges(
    tries: Sequence[Try],
    held: Sequence[Held],
    gaps: Sequence[tuple[float, float]],
    last_intent: float,
    last_work: float,
) -> list[tuple[float, Counter[str]]]:
    """When how many begin or cease to run, to wait, to be on their way, up to the last work."""
    changes: dict[float, Counter[str]] = {}

    def mark(name: str, since: float, until: float) -> None:
        since, until = min(since, last_work), min(until, last_work)
        if until > since:
            changes.setdefault(since, Counter())[name] += 1
            changes.setdefault(until, Counter())[name] -= 1

    names = {"running": "running", "queued": "service", "unseen": "unseen", "submit": "submitting"}
    for one in tries:
        for phase, since, until in one.spans():
            if phase in names:
                mark(names[phase], since, until)
    for before, after in _repeats(tries):
        mark("backoff", before.last, after.intent)
    for hold in held:
        mark("held", hold.since, hold.until)
    for since, until in gaps:
        mark("gap", since, until)
    mark("over", last_intent, last_work)
    changes.setdefault(last_work, Counter())
    return sorted(changes.items(), key=lambda pair: pair[0])


def _repeats(tries: Sequence[Try]) -> list[tuple[Try, Try]]:
    """Each try that had to be repeated, with its repeat."""
    by_job: dict[int, list[Try]] = {}
    for one in tries:
        by_job.setdefault(one.job, []).append(one)
    return [pair for many in by_job.values() for pair in itertools.pairwise(many)]


def at_once(tries: Sequence[Try], phase: str = "running") -> list[tuple[float, int]]:
    """How many were in ``phase`` from each moment on, as steps."""
    edges: Counter[float] = Counter()
    for one in tries:
        for name, since, until in one.spans():
            if name == phase:
                edges[since] += 1
                edges[until] -= 1
    steps, level = [], 0
    for moment in sorted(edges):
        level += edges[moment]
        steps.append((moment, level))
    return steps


def errors_by_class(tries: Iterable[Try]) -> list[tuple[str, str, int]]:
    """(endpoint, code, how many) of tries without a picture, the most frequent first."""
    counts = Counter(
        (one.endpoint, one.code or one.state)
        for one in tries
        if not one.good and one.state not in ("intent", "accepted", "made")
    )
    return [(name, code, number) for (name, code), number in counts.most_common()]
