"""What a run went through that its rows do not tell: limits, refusals, waits. Kept for reports.

A watcher like any other: it slows no run, and what it did not get to write is missing from a
figure, never from an outcome. One row of the journal's ``learnt`` holds a run's diary.

May import: events, journal, records, route, losses, figures.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .events import Ended, Event, Started
from .events import Held as HeldEvent
from .figures import Limit
from .journal import Journal
from .losses import Held
from .records import Records
from .route import Live

MOST_HOLDS = 400
"""Waits kept one by one; later ones only lengthen the last of their endpoint."""
EVERY_S = 60.0
"""Nominal seconds between two writes while a run goes on."""


@dataclass
class Diary:
    """One run's: limits by endpoint, 429s by endpoint and kind, waits, list calls."""

    limits: dict[str, Limit] = field(default_factory=dict)
    rejections: dict[str, dict[str, int]] = field(default_factory=dict)
    held: list[Held] = field(default_factory=list)
    lists: int = 0
    """List calls of its accounts while it was carried, shared with runs beside it."""

    def refused(self, event: HeldEvent) -> None:
        """An endpoint said no, or is not to be asked for a while."""
        kinds = self.rejections.setdefault(event.endpoint, {})
        why = event.why or "other"
        kinds[why] = kinds.get(why, 0) + 1
        if event.until > event.at:
            self._hold(Held(event.endpoint, event.at, event.until))

    def _hold(self, hold: Held) -> None:
        last = next((one for one in reversed(self.held) if one.endpoint == hold.endpoint), None)
        if last is not None and (hold.since <= last.until or len(self.held) >= MOST_HOLDS):
            self.held[self.held.index(last)] = Held(
                last.endpoint, last.since, max(last.until, hold.until)
            )
        elif len(self.held) < MOST_HOLDS:
            self.held.append(hold)

    def record(self) -> dict[str, Any]:
        """As the journal keeps it."""
        return {
            "limits": {n: [one.slots, one.per_second] for n, one in self.limits.items()},
            "rejections": self.rejections,
            "held": [[one.endpoint, round(one.since, 2), round(one.until, 2)] for one in self.held],
            "lists": self.lists,
        }

    @classmethod
    def of(cls, kept: Mapping[str, Any] | None) -> Diary:
        """What `record` wrote; an empty one of None."""
        kept = kept or {}
        return cls(
            {
                n: Limit(slots, rate, told=True)
                for n, (slots, rate) in kept.get("limits", {}).items()
            },
            {n: dict(kinds) for n, kinds in kept.get("rejections", {}).items()},
            [Held(*one) for one in kept.get("held", ())],
            int(kept.get("lists", 0)),
        )


def diary_of(journal: Journal, run: str) -> Diary:
    """What is kept of a run. For a thread."""
    text = journal.read_now(lambda db: db.value("learnt", what="diary", whom=run))
    return Diary.of(None if text is None else json.loads(text))


def limits_of(lives: Sequence[Live]) -> Callable[[str], tuple[int | None, float | None]]:
    """Of an endpoint by name its slots and submits per second, None where nobody knows them."""
    by_name = {live.name: live.gate for live in lives}

    def limits(name: str) -> tuple[int | None, float | None]:
        gate = by_name.get(name)
        if gate is None:
            return None, None
        rate = None if gate.pace.growing else gate.pace.most or gate.pace.rate
        return gate.slots.limit, rate

    return limits


def lists_of(lives: Sequence[Live]) -> Callable[[Sequence[str]], int]:
    """List calls made so far by the accounts of these endpoints; each account counts once."""

    def lists(names: Sequence[str]) -> int:
        polls = {id(live.polls): live.polls for live in lives if live.name in names}
        return sum(one.list_calls for one in polls.values())

    return lists


@dataclass
class Diarist:
    """Keeps the diaries of the runs that this process carries.

    ``limits_of`` says what an endpoint allows just now: (slots, submits per second); ``lists_of``
    how many list calls the accounts of endpoints have made.
    """

    records: Records
    limits_of: Callable[[str], tuple[int | None, float | None]]
    lists_of: Callable[[Sequence[str]], int] = lambda _names: 0
    _before: dict[str, int] = field(default_factory=dict)
    """List calls when a run was taken up, less those that its diary had already."""
    _open: dict[str, tuple[tuple[str, ...], Diary]] = field(default_factory=dict)
    _written: float = 0.0

    async def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            diary = Diary.of(await self.records.learnt("diary", event.run))
            self._open[event.run] = (event.endpoints, diary)
            self._before[event.run] = self.lists_of(event.endpoints) - diary.lists
            await self._write(event.run, event.at)
        elif isinstance(event, HeldEvent):
            for endpoints, diary in self._open.values():
                if event.endpoint in endpoints:
                    diary.refused(event)
        elif isinstance(event, Ended) and event.run in self._open:
            await self._write(event.run, event.at)
            del self._open[event.run], self._before[event.run]
        if self._open and event.at - self._written >= EVERY_S:
            for run in self._open:
                await self._write(run, event.at)

    async def _write(self, run: str, now: float) -> None:
        self._written = now
        endpoints, diary = self._open[run]
        diary.lists = self.lists_of(endpoints) - self._before[run]
        for name in endpoints:
            slots, rate = self.limits_of(name)
            diary.limits[name] = Limit(slots, rate, told=True)
        await self.records.learn("diary", run, diary.record(), now)
