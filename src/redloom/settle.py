"""What became of a request whose answer was lost: decided by looking, as values (rule 2).

A *doubt* is a task whose POST left and whose answer never came. The account's list shows ids and
times, neither prompts nor links, so a task in it is matched in one of two ways only: its finished
result carries the original prompt, or it is the only stranger of that model in the window and no
other doubt of the account overlaps. Only a whole list, older than the list's lag, without any
stranger in the window proves that nothing was accepted. A wrong match is worse than a doubt.

May import: errors, endpoint.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from .endpoint import Seen

CLOSE_S = 5.0
"""How far off a creation time may be once the service's clock is known from tasks of ours."""
WIDE_S = 1800.0
"""The same while nothing of ours in the list tells how its clock differs from this one."""
DAY_S = 86400.0
"""How long the service keeps a task's record."""
CRASH_S = 30.0
"""How long after its intent a request may still be accepted, though its process died or its connection
broke: a gateway that holds a request back passes it on when it is time, whoever has gone."""
NEIGHBOURHOOD_S = 1800.0
"""Strangers of the same model this near show that other programs use the account."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A request that left at ``since`` and whose connection broke at ``until`` (nominal times)."""

    task: int
    model: str
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Bearing:
    """How the service's clock stands to ours: ``theirs = ours + offset``, within ``margin``."""

    offset: float = 0.0
    margin: float = WIDE_S

    @property
    def wide(self) -> bool:
        """Whether nothing told how the clocks differ."""
        return self.margin >= WIDE_S

    def window(self, doubt: Doubt) -> tuple[float, float]:
        """When, by the service's clock, the task of ``doubt`` may have been created."""
        return doubt.since + self.offset - self.margin, doubt.until + self.offset + self.margin

    def late(self, doubt: Doubt, moment: float) -> bool:
        """Whether a task created at ``moment`` is behind the window and may yet be the doubt's."""
        return self.window(doubt)[1] < moment <= doubt.since + CRASH_S + self.offset + self.margin

    def overlap(self, one: Doubt, other: Doubt) -> bool:
        """Whether both may have been created at one moment."""
        (a, b), (c, d) = self.window(one), self.window(other)
        return a <= d and c <= b


def bearing(seen: Sequence[Seen], known: Mapping[str, Sequence[float]]) -> Bearing:
    """The service's clock, from tasks of ours in its list.

    ``known`` maps ticket ids to this machine's times of the intent and of the ticket's arrival:
    the service created the task between the two, so each task bounds the offset from both
    sides. Without one in common, or where they contradict each other (a clock was set), the
    bearing stays wide, so that a wrong clock makes a doubt rather than a second purchase.
    """
    bounds = [
        (s.created - known[s.id][1], s.created - known[s.id][0]) for s in seen if s.id in known
    ]
    if not bounds:
        return Bearing()
    low, high = max(b[0] for b in bounds), min(b[1] for b in bounds)
    if low > high + CLOSE_S:
        return Bearing()
    return Bearing((low + high) / 2, abs(high - low) / 2 + CLOSE_S)


@dataclass(frozen=True, slots=True)
class Adopt:
    """This task is ours. If its result carries words, they must still agree."""

    task_id: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """Proved: nothing was accepted, nothing was bought."""


@dataclass(frozen=True, slots=True)
class Later:
    """Cannot be said yet; look again at nominal time ``at``."""

    at: float


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Several could be it; only their words could tell. ``candidates`` are worth reading."""

    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The service may have dropped the record by now: its absence proves nothing any more."""


Verdict = Adopt | Nothing | Later | Ambiguous | Forgotten


def span(doubt: Doubt, *, wide: bool) -> tuple[float, float]:
    """From when to when the list has to be read for `judge`.

    ``wide``: no task of ours told the service's clock; then everything that it still lists, so
    that a machine whose clock is hours off proves nothing from the wrong part of the day.
    """
    reach = DAY_S if wide else NEIGHBOURHOOD_S
    return doubt.since - reach, doubt.until + reach


def ripe_at(doubt: Doubt, list_lag_s: float) -> float:
    """The nominal time from which a list is whole for this doubt."""
    return max(doubt.until, doubt.since + CRASH_S) + CLOSE_S + list_lag_s


def judge(
    doubt: Doubt,
    seen: Sequence[Seen],
    known: Collection[str],
    others: Sequence[Doubt],
    *,
    clock: Bearing,
    read_at: float,
    list_lag_s: float,
    prompt_in_result: bool,
) -> Verdict:
    """What the list says about ``doubt``.

    ``seen``: the whole list over `span`; ``known``: ids that belong to other tasks of the
    journal or were found to be somebody else's; ``others``: the account's other open doubts of
    this model; ``clock``: from `bearing`; ``read_at``: when the list was asked for.
    """
    if read_at < ripe_at(doubt, list_lag_s):
        return Later(ripe_at(doubt, list_lag_s))
    if read_at > doubt.since + DAY_S - WIDE_S:
        return Forgotten()
    since, until = clock.window(doubt)
    # A failed or cancelled task costs nothing: were it ours, asking again buys nothing twice.
    strangers = [
        s
        for s in seen
        if s.id not in known and s.model == doubt.model and s.state not in ("failed", "canceled")
    ]
    inside = [s for s in strangers if since <= s.created <= until]
    late = [s for s in strangers if clock.late(doubt, s.created)]
    if not prompt_in_result:  # what another doubt explains by itself is not looked at twice
        late = _outside_every_window(late, others, clock)
    if not inside and late:
        return Ambiguous(tuple(s.id for s in late))
    if not inside and not (clock.wide and strangers):
        return Nothing()
    if not inside:
        return Ambiguous(tuple(s.id for s in strangers))
    rivals = any(clock.overlap(doubt, other) for other in others)
    outside = _outside_every_window(strangers, [doubt, *others], clock)
    if len(inside) == 1 and not rivals and not outside and not prompt_in_result:
        return Adopt(inside[0].id)
    return Ambiguous(tuple(s.id for s in (*inside, *late)))


def _outside_every_window(
    strangers: Sequence[Seen], doubts: Sequence[Doubt], clock: Bearing
) -> list[Seen]:
    """Strangers that no doubt of ours explains: other programs on the account."""
    windows = [clock.window(doubt) for doubt in doubts]
    return [s for s in strangers if not any(a <= s.created <= b for a, b in windows)]
