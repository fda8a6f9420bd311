"""Where the seconds above the bound went, worked out from the service's ledger.

May import: bound.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from redloom.bound import Place, releases

Ledgers = Sequence[Mapping[str, Any]]


class Span(NamedTuple):
    """A task at work; seconds since the client began."""

    start: float
    end: float
    again: bool
    """A purchase of what was bought before."""


def losses(
    places: Sequence[Place], bound_s: float, ran: Mapping[str, Any], ledgers: Ledgers
) -> dict[str, float]:
    """Nominal seconds of the run, by what they were lost to.

    ``start``: slots empty before they had all been taken once; ``idle``: slots empty between then
    and the last start of all; ``again``: slots at work on pictures bought twice; ``tail``: from the
    last end to the last file; ``order``: the rest, above all another order in the drain. An
    empty slot counts as its part of all slots of that moment, whatever its speed.
    """
    began, ended = ran["began"], ran["ended"]
    spans = [spans_of(ledger, began) for ledger in ledgers]
    found = {"start": 0.0, "idle": 0.0, "again": 0.0}
    last = max((one.start for own in spans for one in own), default=0.0)
    if all(one.slots is not None for one in places):
        for k, own in enumerate(spans):
            full = _full(places[k], own, last)
            released = sum(min(h, full) for h in releases(places[k], places[k].slots or 0))
            found["start"] += _empty(places, k, own, 0.0, full) - released / _all(places, 0.0)
            found["idle"] += _empty(places, k, own, full, last)
            again = (one.end - one.start for one in own if one.again)
            found["again"] += sum(again) / _all(places, 0.0)
    ends = [one.end for own in spans for one in own if one.end <= ended - began]
    found["tail"] = ended - began - max(ends, default=0.0)
    found["order"] = ended - began - bound_s - sum(found.values())
    return found


def spans_of(ledger: Mapping[str, Any], began: float) -> list[Span]:
    """The tasks that one service worked on, in order of acceptance."""
    paid: Counter[str] = Counter()
    spans = []
    for one in ledger["purchases"]:
        paid[one["prompt"]] += bool(one["billed"])
        if one["started"] is not None:
            again = bool(one["billed"]) and paid[one["prompt"]] > 1
            spans.append(Span(one["started"] - began, one["ended"] - began, again))
    return spans


def _all(places: Sequence[Place], moment: float) -> int:
    return sum(one.slots_at(moment) or 0 for one in places)


def _full(place: Place, spans: Sequence[Span], last: float) -> float:
    """When all slots of one endpoint had been taken once."""
    starts = sorted(one.start for one in spans)
    slots = place.slots or 1
    return starts[slots - 1] if len(starts) >= slots else last


def _empty(
    places: Sequence[Place], k: int, spans: Sequence[Span], start: float, end: float
) -> float:
    """Seconds of the whole run that endpoint ``k``'s empty slots were worth in [start, end]."""
    moments = {start, end, *(at for one in spans for at in one[:2] if start < at < end)}
    moments |= {change.at for one in places for change in one.changes if start < change.at < end}
    lost = 0.0
    for at, until in pairwise(sorted(moments)):
        running = sum(one.start <= at < one.end for one in spans)
        lost += max(0, (places[k].slots_at(at) or 0) - running) * (until - at) / _all(places, at)
    return lost
