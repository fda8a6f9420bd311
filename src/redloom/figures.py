"""A run in figures: how long its phases took, how far from the bound it ended, and why.

Pure functions over `tries.Tries`. The distance to the never-idle bound is told in seconds of the
run, by cause: every slot second that the service stood idle while work was left has one, and what
remains after the service's last work (noticing, downloading) is told as it is. They add up to the
distance exactly.

May import: bound, tries, losses.
"""

from __future__ import annotations

import itertools
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isnan
from typing import Any

from .bound import Place, clairvoyant, never_idle
from .losses import Held, lost_seconds
from .tries import OUTCOMES, PHASES, Tries

QUANTILES = (0.5, 0.9, 0.95, 0.99, 1.0)
BLUR_S = 0.25
"""Services round their times: an overlap shorter than this is none."""
GAP_S = 300.0
"""Nothing under way for longer than this is an interruption, not a loss."""
RUN = PHASES.index("running")


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


def latencies(tries: Tries) -> dict[str, dict[str, Latency]]:
    """Of each endpoint, each phase and the ``total`` of finished pictures."""
    good = tries.indexes("good")
    told: dict[str, dict[str, Latency]] = {}
    for name, number in tries.endpoints.items():
        mine = [place for place in good if tries.endpoint[place] == number]
        lengths = {
            phase: array(
                "d", (u - s for place in mine if (u := until[place]) > (s := since[place]))
            )
            for phase, (since, until) in zip(PHASES, itertools.pairwise(tries.borders), strict=True)
        }
        lengths["total"] = array("d", (tries.last[place] - tries.intent[place] for place in mine))
        found = {phase: Latency.of(many) for phase, many in lengths.items()}
        told[name] = {phase: one for phase, one in found.items() if one is not None}
    return {name: phases for name, phases in told.items() if phases}


def most_at_once(begins: Iterable[float], ends: Iterable[float]) -> int:
    """How many of these lay over each other at most; one that ends as another begins does not."""
    ending = iter(sorted(ends))
    end = next(ending, inf)
    level = most = 0
    for begin in sorted(begins):
        while end <= begin:
            level -= 1
            end = next(ending, inf)
        level += 1
        most = max(most, level)
    return most


def level_of(
    begins: Sequence[float], ends: Sequence[float], steps: int
) -> tuple[list[tuple[float, float]], int]:
    """How many of these lay over each other, as the mean of each of ``steps`` equal parts of the
    whole time, told by its beginning; and how many did at most.
    """
    if not len(begins):
        return [], 0
    since, until = min(begins), max(ends)
    width = (until - since) / steps or 1.0
    # The area under the level, part by part: what begins adds the rest of its part, and all of
    # those behind it; what ends takes that away again.
    area, slope = [0.0] * (steps + 1), [0] * (steps + 1)
    for moments, sign in ((begins, 1), (ends, -1)):
        for moment in moments:
            part = min(steps - 1, int((moment - since) / width))
            area[part] += sign * (part + 1 - (moment - since) / width)
            slope[part + 1] += sign
    level = itertools.accumulate(slope)
    parts = [
        (since + n * width, area[n] + now) for n, now in zip(range(steps), level, strict=False)
    ]
    return [*parts, (until, 0.0)], most_at_once(begins, ends)


def at_work(tries: Tries) -> tuple[array[int], array[float], array[float]]:
    """Of the tries that the service took and worked on: which they are, and from when to when.

    Services round their times: each begins a little later than told (`BLUR_S`).
    """
    places, begins, ends = array("l"), array("d"), array("d")
    void = OUTCOMES.index("void")
    spans = zip(tries.borders[RUN], tries.borders[RUN + 1], tries.outcome, strict=True)
    for place, (since, until, outcome) in enumerate(spans):
        if until > since and outcome != void:
            places.append(place)
            begins.append(min(since + BLUR_S, (since + until) / 2))
            ends.append(until)
    return places, begins, ends


def observed(tries: Tries) -> dict[str, Limit]:
    """What each endpoint was seen to do: as many at once as ran there."""
    places, begins, ends = at_work(tries)
    numbers = [tries.endpoint[place] for place in places]
    names = list(tries.endpoints)
    found = {}
    for number in dict.fromkeys(numbers):
        most = most_at_once(
            (at for at, one in zip(begins, numbers, strict=True) if one == number),
            (at for at, one in zip(ends, numbers, strict=True) if one == number),
        )
        found[names[number]] = Limit(max(1, most))
    return found


def distance(
    tries: Tries,
    limits: Mapping[str, Limit] | None = None,
    held: Sequence[Held] = (),
    others_s: float = 0.0,
) -> Distance | None:
    """How far a run was from its bound; None where nothing was bought.

    ``limits`` by endpoint, where they were told; the rest is what was seen. ``others_s``: slot
    seconds that other runs had on the same accounts meanwhile.
    """
    bought = tries.indexes("good", "failed", "doubt", "open")
    if not bought:
        return None
    gaps = interruptions(tries)
    since, until = tries.intent[0], max(tries.last[place] for place in bought)
    paused = sum(b - a for a, b in gaps)
    took = until - since - paused
    seen = observed(tries)
    known = _limits(tries, seen, limits or {})
    before = tries.before()
    places, pictures, measured = _work(tries, bought, before, known)
    floor = [place for _, place in places]
    slots = max(1, sum(place.slots or seen[name].slots or 1 for name, place in places))
    bound = min(never_idle(pictures, floor), took) if pictures else 0.0
    foresight = clairvoyant(pictures, floor) if pictures else 0.0
    lost = lost_seconds(tries, slots, held, gaps, before, others_s) if bound else {}
    excess = took - bound
    if lost:
        # What the bound itself leaves idle (its drain and its ramp) is nobody's loss.
        lost["drain"] += excess - sum(lost.values())
    return Distance(took, bound, min(foresight, bound), slots, lost, paused, measured, known)


def _limits(tries: Tries, seen: Mapping[str, Limit], told: Mapping[str, Limit]) -> dict[str, Limit]:
    """What was told, but never less than was seen.

    And not more where tasks waited at the service meanwhile: it shows then what it runs at most.
    """
    void = OUTCOMES.index("void")
    stay = zip(*tries.borders[RUN - 1 : RUN + 1], tries.endpoint, tries.outcome, strict=True)
    waited = {number for since, until, number, outcome in stay if until - since > 1.0 and outcome != void}  # fmt: skip
    known = {}
    for name, ran in seen.items():
        limit = told.get(name)
        if limit is None or (limit.slots is None and limit.per_second is None):
            known[name] = ran
        elif _shown_otherwise(limit, ran, tries.endpoints[name] in waited):
            known[name] = Limit(ran.slots, limit.per_second)
        else:
            known[name] = limit
    return known


def _shown_otherwise(limit: Limit, seen: Limit, waited: bool) -> bool:
    """Whether the run itself showed other slots than were told."""
    if limit.slots is None or seen.slots is None or seen.slots == limit.slots:
        return False
    return seen.slots > limit.slots or waited


def _work(
    tries: Tries, bought: Sequence[int], before: Sequence[int], limits: Mapping[str, Limit]
) -> tuple[list[tuple[str, Place]], Worked, float]:
    """The places, the pictures' working times at the average place, and how much is known."""
    numbers = {tries.endpoints[name]: name for name in limits}
    timed = [place for place in bought if tries.endpoint[place] in numbers]
    known = [place for place in timed if not isnan(tries.work[place])]
    if not known:
        return [], Worked(), 0.0
    means = _means(tries, known, numbers)
    average = sum(means.values()) / len(means) if means else 1.0
    slowness = {number: means.get(number, average) / average for number in numbers}
    places = [
        (name, Place(limits[name].slots, limits[name].per_second, slowness=slowness[number]))
        for number, name in numbers.items()
        if limits[name].slots != 0
    ]
    pictures = Worked()
    of_try = array("q", [-1]) * len(
        tries
    )  # the picture that a job's tries so far were worked on for
    which = iter(known)
    following = next(which, -1)
    for place, earlier in enumerate(before):
        picture = of_try[earlier] if earlier >= 0 else -1
        if place == following:
            picture = pictures.add(picture, tries.work[place] / slowness[tries.endpoint[place]])
            following = next(which, -1)
        of_try[place] = picture
    return places, pictures, len(known) / max(1, len(timed))


def _means(tries: Tries, known: Sequence[int], numbers: Iterable[int]) -> dict[int, float]:
    """The mean working time of each endpoint's finished pictures, where it is not nothing."""
    good = OUTCOMES.index("good")
    sums: dict[int, float] = {}
    counts: Counter[int] = Counter()
    for place in known:
        if tries.outcome[place] == good:
            number = tries.endpoint[place]
            sums[number] = sums.get(number, 0.0) + tries.work[place]
            counts[number] += 1
    return {number: sums[number] / counts[number] for number in numbers if sums.get(number)}


class Worked(Sequence[Sequence[float]]):
    """The working times of each picture's tries: eight bytes for a picture made at once."""

    def __init__(self) -> None:
        self._first = array("d")
        self._later: dict[int, tuple[float, ...]] = {}

    def add(self, picture: int, seconds: float) -> int:
        """Another try of ``picture``, or the first of a new one (-1); the picture's number."""
        if picture < 0:
            self._first.append(seconds)
            return len(self._first) - 1
        self._later[picture] = (*self._later.get(picture, ()), seconds)
        return picture

    def __len__(self) -> int:
        return len(self._first)

    def __getitem__(self, picture: Any) -> Any:
        later = self._later.get(picture)
        first = self._first[picture]
        return (first, *later) if later else (first,)


def interruptions(tries: Tries) -> list[tuple[float, float]]:
    """When nothing at all was under way for longer than `GAP_S`: pauses, nights, parked quotas."""
    gaps: list[tuple[float, float]] = []
    reach = inf
    for intent, last in zip(tries.intent, tries.last, strict=True):
        if intent - reach > GAP_S:
            gaps.append((reach, intent))
        reach = last if reach == inf else max(reach, last)
    return gaps


def errors_by_class(tries: Tries) -> list[tuple[str, str, int]]:
    """(endpoint, code, how many) of tries without a picture, the most frequent first."""
    names, labels = list(tries.endpoints), list(tries.labels)
    counts = Counter(
        (tries.endpoint[place], tries.label[place])
        for place in tries.indexes("failed", "void", "doubt")
    )
    return [(names[name], labels[code], number) for (name, code), number in counts.most_common()]
