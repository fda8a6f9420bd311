"""How fast a run could have been at most: the never-idle bound, the clairvoyant bound, formula (1).

Pure arithmetic on nominal seconds. A *picture* is the service's own working times of its tries,
in order: ``(61.0,)``, or ``(12.5, 60.2)`` where the first try failed after 12.5 s and had to be
repeated. A *place* is slots that work on pictures, and how fast they may be given work.

- **never idle** (`never_idle`): the given order, zero delays, no slot ever idle while work is
  left, forced repeats counted. What a perfect client reaches that does not know the future.
- **clairvoyant** (`clairvoyant`): a lower bound for every client, also for one that knows all
  working times beforehand and chooses the order; lower than the former by the drain.
- **formula (1)** (`simple`): ``max(max_i(h_i + S_i), sum S / c, max S)`` with
  ``h_i = max(0, i - b) / r`` the release times of the rate limit, i from 1.

`Live` is the first of them kept up to date while a run goes on. The arithmetic is only here: what an
emulated scenario feeds it (places, working times, forced repeats) is `bench.bounds`. May import: nothing of the way.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

__all__ = [
    "Change",
    "Live",
    "Pictures",
    "Place",
    "Turn",
    "above",
    "clairvoyant",
    "never_idle",
    "percent",
    "releases",
    "schedule",
    "simple",
]

Pictures = Sequence[Sequence[float]]
"""Of each wanted picture, in the order asked, the working seconds of its tries."""


@dataclass(frozen=True, slots=True)
class Change:
    """From ``at`` seconds on, a place has other slots or another slowness.

    Work begun before goes on as it began, as a service does that changes its limits.
    """

    at: float
    slots: int | None = None
    """None: as many as before."""
    slowness: float | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Slots that work on pictures. ``slots`` None: as many as are asked for.

    ``per_second`` is the submission rate (None: no limit), ``burst`` how many may leave at once
    after a rest (GCRA's allowance; 1: strictly paced). ``slowness`` multiplies working times:
    2.0 takes twice as long for the same picture.
    """

    slots: int | None = None
    per_second: float | None = None
    burst: int = 1
    slowness: float = 1.0
    changes: tuple[Change, ...] = ()

    def slots_at(self, moment: float) -> int | None:
        """The slots at ``moment``."""
        slots = self.slots
        for change in self.changes:
            if change.at <= moment and change.slots is not None:
                slots = change.slots
        return slots

    def slowness_at(self, moment: float) -> float:
        """The slowness of work that begins at ``moment``."""
        slowness = self.slowness
        for change in self.changes:
            if change.at <= moment and change.slowness is not None:
                slowness = change.slowness
        return slowness


@dataclass(frozen=True, slots=True)
class Turn:
    """One try in the never-idle schedule; seconds from the run's beginning."""

    picture: int
    attempt: int
    place: int
    start: float
    end: float


def never_idle(pictures: Pictures, places: Place | Sequence[Place]) -> float:
    """Seconds from the first submit to the last end; 0.0 for no pictures.

    Over several places each picture, in the given order, goes where it would be finished first.
    Raises ValueError where a place cannot make anything.
    """
    return max((turn.end for turn in schedule(pictures, places)), default=0.0)


def schedule(pictures: Pictures, places: Place | Sequence[Place]) -> Iterator[Turn]:
    """The never-idle schedule itself, try by try. Raises ValueError as `never_idle`.

    A repeat is ready the moment its failed try ends and goes before what was not begun yet.
    """
    floor = [_Floor(place) for place in _places(places)]
    again: list[tuple[float, int, int]] = []
    fresh = 0
    while again or fresh < len(pictures):
        if fresh < len(pictures) and not pictures[fresh]:
            fresh += 1
            continue
        repeat = _best(floor, pictures[again[0][1]][again[0][2]], again[0][0]) if again else None
        if fresh < len(pictures):
            first = _best(floor, pictures[fresh][0], 0.0)
            if repeat is None or first[0] < repeat[0]:
                picture, attempt, choice = fresh, 0, first
                fresh += 1
                yield _begin(floor, pictures, picture, attempt, choice, again)
                continue
        assert repeat is not None
        _, picture, attempt = heapq.heappop(again)
        yield _begin(floor, pictures, picture, attempt, repeat, again)


def _places(places: Place | Sequence[Place]) -> Sequence[Place]:
    given = [places] if isinstance(places, Place) else places
    if not given:
        raise ValueError("there is no place")
    return given


def _best(floor: Sequence[_Floor], seconds: float, ready: float) -> tuple[float, float, int]:
    """(start, end, place) of the place where this would be finished first."""
    plans = []
    for number, one in enumerate(floor):
        start = one.earliest(ready)
        plans.append((start + seconds * one.place.slowness_at(start), start, number))
    end, start, number = min(plans)
    return start, end, number


def _begin(
    floor: Sequence[_Floor],
    pictures: Pictures,
    picture: int,
    attempt: int,
    choice: tuple[float, float, int],
    again: list[tuple[float, int, int]],
) -> Turn:
    start, end, number = choice
    floor[number].take(start, end)
    if attempt + 1 < len(pictures[picture]):
        heapq.heappush(again, (end, picture, attempt + 1))
    return Turn(picture, attempt, number, start, end)


class _Floor:
    """A place at work: when its slots become free, when its next submit may leave."""

    def __init__(self, place: Place) -> None:
        if place.per_second is not None and place.per_second <= 0:
            raise ValueError("a rate is more than nothing a second")
        if place.burst < 1 or place.slowness <= 0:
            raise ValueError("a burst is at least one, a slowness more than nothing")
        self.place = place
        self._arrival = 0.0  # GCRA's theoretical arrival time
        self._free: list[tuple[float, int]] = []
        most = [c.slots for c in place.changes if c.slots is not None]
        if place.slots is not None:
            count = max([place.slots, *most])
            self._free = [(self._usable(0.0, slot), slot) for slot in range(count)]
            heapq.heapify(self._free)
            if not self._free or self._free[0][0] == float("inf"):
                raise ValueError("a place has at least one slot")

    def earliest(self, ready: float) -> float:
        """When work that is ready at ``ready`` could begin."""
        free = self._free[0][0] if self._free else 0.0
        return max(ready, free, self._arrival - self._allowance())

    def take(self, start: float, end: float) -> None:
        if self._free:
            _, slot = heapq.heappop(self._free)
            heapq.heappush(self._free, (self._usable(end, slot), slot))
        if self.place.per_second is not None:
            self._arrival = max(self._arrival, start) + 1.0 / self.place.per_second

    def _allowance(self) -> float:
        rate = self.place.per_second
        return 0.0 if rate is None else (self.place.burst - 1) / rate

    def _usable(self, moment: float, slot: int) -> float:
        """From when on slot number ``slot``, free at ``moment``, may be used; inf: never."""
        for at in (moment, *(c.at for c in self.place.changes if c.at > moment)):
            slots = self.place.slots_at(at)
            if slots is None or slot < slots:
                return at
        return float("inf")


def releases(place: Place, count: int) -> list[float]:
    """When the first ``count`` submits may leave at the earliest: formula (1)'s ``h_i``."""
    if place.per_second is None:
        return [0.0] * count
    return [max(0, i - place.burst) / place.per_second for i in range(1, count + 1)]


def simple(pictures: Pictures, place: Place) -> float:
    """Formula (1) of one place without changes, in the given order; 0.0 for no pictures.

    Each picture counts with all its tries as one piece of work. It looks at three reasons for
    waiting one at a time, and so is never above `never_idle`.
    """
    work = [sum(tries) * place.slowness for tries in pictures]
    if not work:
        return 0.0
    paced = max(h + s for h, s in zip(releases(place, len(work)), work, strict=True))
    shared = 0.0 if place.slots is None else sum(work) / place.slots
    return max(paced, shared, max(work))


def clairvoyant(pictures: Pictures, places: Place | Sequence[Place]) -> float:
    """A lower bound for any order and any foresight; 0.0 for no pictures.

    The largest of: all work over all slots; the longest picture; the longest pictures given the
    earliest submits; and, of equal slots, two or more long pictures that must share one
    (``k c + 1`` pictures on ``c`` slots: one slot gets ``k + 1`` of them).
    """
    given = _places(places)
    work = sorted((sum(tries) for tries in pictures if tries), reverse=True)
    if not work:
        return 0.0
    fastest = min(_fastest(place) for place in given)
    bounds = [work[0] * fastest, _paced(given, work, fastest), _shared(given, work)]
    if len(given) == 1 and not given[0].changes and given[0].slots is not None:
        bounds.append(_stacked(work, given[0].slots) * fastest)
    return max(bounds)


def _fastest(place: Place) -> float:
    return min([place.slowness, *(c.slowness for c in place.changes if c.slowness is not None)])


def _paced(places: Sequence[Place], work: Sequence[float], fastest: float) -> float:
    """The longest first: no other order of the same submits ends earlier."""
    merged = itertools.islice(
        heapq.merge(*(releases(place, len(work)) for place in places)), len(work)
    )
    return max(h + s * fastest for h, s in zip(merged, work, strict=True))


def _stacked(work: Sequence[float], slots: int) -> float:
    """Of the ``k * slots + 1`` longest, some slot has to do ``k + 1``: at least the shortest."""
    most = 0.0
    upto = [0.0, *itertools.accumulate(work)]  # one slot and 500,000 pictures: not a sum for each k
    for k in range(1, (len(work) - 1) // slots + 1):
        last = k * slots
        most = max(most, upto[last + 1] - upto[last - k])
    return most


def _shared(places: Sequence[Place], work: Sequence[float]) -> float:
    """When all slots together could have done all work: work is liquid here."""
    if any(place.slots is None for place in places):
        return 0.0
    left, longest = sum(work), work[0]
    edges = sorted({0.0, *_edges(places, longest)})
    for here, following in itertools.zip_longest(edges, edges[1:]):
        speed = sum(_speed(place, here, longest) for place in places)
        if speed > 0 and (following is None or left <= speed * (following - here)):
            return float(here + left / speed)
        if following is not None:
            left -= speed * (following - here)
    return 0.0


def _edges(places: Sequence[Place], longest: float) -> Iterator[float]:
    """When the speed of all slots may change; what was begun before goes on as it began."""
    for place in places:
        slack = longest * max([place.slowness, *(c.slowness or 0.0 for c in place.changes)])
        for change in place.changes:
            yield change.at
            yield change.at + slack


def _speed(place: Place, moment: float, longest: float) -> float:
    """Work a second at most: the best of what held in the time that running work may reach back."""
    slack = longest * max([place.slowness, *(c.slowness or 0.0 for c in place.changes)])
    looked = [moment, *(c.at for c in place.changes if moment - slack < c.at <= moment)]
    looked.append(max(0.0, moment - slack + 1e-9))
    return max((place.slots_at(t) or 0) for t in looked) / min(place.slowness_at(t) for t in looked)


def above(took: float, bound: float) -> float:
    """Percent that ``took`` seconds are above ``bound``; 0.0 where the bound is nothing."""
    return 0.0 if bound <= 0 else 100.0 * (took / bound - 1.0)


def percent(took: float, bound: float) -> float:
    """The bound as percent of what it took, 100.0 at best; 100.0 where nothing took time."""
    return 100.0 if took <= 0 else min(100.0, 100.0 * bound / took)


@dataclass(slots=True)
class Live:
    """The never-idle bound of a run that goes on: where a perfect client would be by now.

    Tell it each working time as a try ends (`ended`); ask with what still runs (`bound`). A
    picture costs ``log(slots)`` and memory is one number a slot, so that it may run for a week.
    """

    places: Sequence[Place]
    done: int = 0
    work_s: float = 0.0
    _floor: list[_Floor] = field(default_factory=list)
    _last: float = 0.0

    def __post_init__(self) -> None:
        self._floor = [_Floor(place) for place in _places(self.places)]

    def ended(self, seconds: float) -> None:
        """A try took the service ``seconds`` (already with its place's slowness)."""
        self.done += 1
        self.work_s += seconds
        self._last = max(self._last, _pack(self._floor, seconds))

    def bound(self, running: Iterable[float] = ()) -> float:
        """Seconds that all of this takes a perfect client; ``running``: seconds each has run."""
        there = _Copy.of(self._floor)
        last = self._last
        for seconds in running:
            last = max(last, _pack(there, seconds))
        return last


def _pack(floor: Sequence[_Floor], seconds: float) -> float:
    """Put a piece of work where it can begin first; when it ends."""
    start, number = min((one.earliest(0.0), number) for number, one in enumerate(floor))
    floor[number].take(start, start + seconds)
    return start + seconds


class _Copy(_Floor):
    """A place at work, to try something on."""

    def __init__(self, other: _Floor) -> None:
        self.place, self._arrival, self._free = other.place, other._arrival, list(other._free)

    @classmethod
    def of(cls, floor: Sequence[_Floor]) -> list[_Floor]:
        return [cls(one) for one in floor]
