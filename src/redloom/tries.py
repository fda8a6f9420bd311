"""A run's paid tries as the journal has them, each with the moments it passed.

The moments of a try, in order: *intent* (the request leaves), *accepted* (the service has it),
*started* and *ended* (it works, by its own clock), *seen* (we learn that it has ended), *fetched*
(the bytes lie verified on the disk), *closed* (the outcome is on record). Between them lie its
phases: submitting, queued, running, unseen, downloading. The service's clock is set against ours
by when it says it got the task; what is not known stays None and is never made up.

`Tries` holds all of a run's in columns, some hundred bytes each: half a million are 50 MB, where as
objects they were ten times that.

May import: journal.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import nan
from statistics import median
from typing import Any, NamedTuple

from .journal import Journal, Row

PHASES = ("submit", "queued", "running", "unseen", "download")
OUTCOMES = ("good", "failed", "void", "doubt", "open")
PAGE = 2000
LEAST_SKEW_S = 0.5
"""A service's clock that differs less from ours is taken as equal."""


class Try(NamedTuple):
    """One task. Moments are nominal Unix seconds by our clock, None where unknown."""

    task: int
    job: int
    row: int
    take: int
    endpoint: str
    account: str
    lane: str
    state: str
    billed: str
    code: str
    price: float | None
    currency: str
    intent: float
    accepted: float | None = None
    queued: float | None = None
    started: float | None = None
    ended: float | None = None
    seen: float | None = None
    fetched: float | None = None
    closed: float | None = None
    polls: int | None = None

    @property
    def bought(self) -> bool:
        """Whether the service took it, or may have."""
        return self.state != "void"

    @property
    def good(self) -> bool:
        """Whether its picture is here."""
        return self.state == "stored"

    @property
    def work_s(self) -> float | None:
        """Seconds that the service worked on it; None: unknown.

        A synchronous answer carries no times: there it is from the request to the answer.
        """
        if self.started is not None and self.ended is not None:
            return max(0.0, self.ended - self.started)
        if self.lane == "sync" and self.heard is not None:
            return max(0.0, self.heard - self.intent)
        return None

    @property
    def heard(self) -> float | None:
        """When we knew that the service's work on it was over."""
        if self.seen is not None:
            return self.seen
        return self.accepted if self.lane == "sync" else None

    @property
    def last(self) -> float:
        """The last moment known of it."""
        known = (self.closed, self.fetched, self.seen, self.accepted, self.intent)
        return max(moment for moment in known if moment is not None)

    def spans(self) -> Iterator[tuple[str, float, float]]:
        """Its phases as (name, from, to), in order, none backwards; unknown ones are left out."""
        for phase, (since, until) in zip(PHASES, pairwise(self.borders()), strict=True):
            if until > since:
                yield phase, since, until

    def borders(self) -> tuple[float, float, float, float, float, float]:
        """Its intent and where each of `PHASES` ended; the moment before where one is unknown.

        Where the service tells no times the whole stay there counts as running.
        """
        zero = self.intent
        done = self.fetched or (self.closed if self.bought else None)
        if self.lane == "sync" and self.started is None:
            ran = _later(zero, self.heard or (None if self.good else self.closed))
            return zero, zero, zero, ran, ran, _later(ran, done)
        sent = _later(zero, self.accepted or (None if self.bought else self.closed))
        begun = _later(sent, self.started)
        ran = _later(begun, self.ended or self.seen or (None if self.good else self.closed))
        noticed = _later(ran, self.seen)
        return zero, sent, begun, ran, noticed, _later(noticed, done if self.good else None)

    @property
    def outcome(self) -> str:
        """One of `OUTCOMES`."""
        if self.good:
            return "good"
        if self.state in ("intent", "accepted", "made"):
            return "open"
        return self.state if self.state in ("void", "doubt") else "failed"


def _later(here: float, until: float | None) -> float:
    return here if until is None or until < here else until


def _doubles() -> array[float]:
    return array("d")


def _numbers() -> array[int]:
    return array("q")


@dataclass(slots=True)
class Tries:
    """Every try of a run in the order of its intents, a column for each of what figures need.

    ``endpoint``, ``lane`` and ``label`` number the names in ``endpoints``, ``lanes``, ``labels``;
    nan and -1 stand for what is unknown. A label is the error's code, else the state.
    """

    borders: tuple[array[float], ...] = field(
        default_factory=lambda: tuple(_doubles() for _ in range(len(PHASES) + 1))
    )
    last: array[float] = field(default_factory=_doubles)
    heard: array[float] = field(default_factory=_doubles)
    work: array[float] = field(default_factory=_doubles)
    job: array[int] = field(default_factory=_numbers)
    row: array[int] = field(default_factory=lambda: array("l"))
    take: array[int] = field(default_factory=lambda: array("i"))
    endpoint: array[int] = field(default_factory=lambda: array("i"))
    lane: array[int] = field(default_factory=lambda: array("b"))
    label: array[int] = field(default_factory=lambda: array("i"))
    outcome: array[int] = field(default_factory=lambda: array("b"))
    paid: array[int] = field(default_factory=lambda: array("b"))
    """1 where it is known to be billed."""
    polls: array[int] = field(default_factory=lambda: array("i"))
    endpoints: dict[str, int] = field(default_factory=dict)
    lanes: dict[str, int] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    accounts: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.last)

    @property
    def intent(self) -> array[float]:
        """When each request left, nominal Unix seconds; ascending."""
        return self.borders[0]

    def indexes(self, *outcomes: str) -> list[int]:
        """Of which tries the outcome is one of these."""
        wanted = {OUTCOMES.index(name) for name in outcomes}
        return [place for place, one in enumerate(self.outcome) if one in wanted]

    @classmethod
    def of(cls, tries: Iterable[Try]) -> Tries:
        """These tries, in the order of their intents; equal ones as they are given."""
        table = cls()
        for one in tries:
            table._add(one)
        table._put_in_order()
        return table

    def _add(self, one: Try) -> None:
        for column, moment in zip(self.borders, one.borders(), strict=True):
            column.append(moment)
        heard, work = one.heard, one.work_s
        self.last.append(one.last)
        self.heard.append(nan if heard is None else heard)
        self.work.append(nan if work is None else work)
        self.job.append(one.job)
        self.row.append(one.row)
        self.take.append(one.take)
        self.endpoint.append(self.endpoints.setdefault(one.endpoint, len(self.endpoints)))
        self.lane.append(self.lanes.setdefault(one.lane, len(self.lanes)))
        self.label.append(self.labels.setdefault(one.code or one.state, len(self.labels)))
        self.outcome.append(OUTCOMES.index(one.outcome))
        self.paid.append(one.billed == "yes")
        self.polls.append(-1 if one.polls is None else one.polls)
        self.accounts.add(one.account)

    def _put_in_order(self) -> None:
        intent = self.intent
        if all(a <= b for a, b in pairwise(intent)):
            return
        order = sorted(range(len(intent)), key=intent.__getitem__)
        columns: list[array[Any]] = [*self.borders, self.last, self.heard]
        columns += [self.work, self.job, self.row, self.take, self.endpoint, self.lane]
        columns += [self.label, self.outcome, self.paid, self.polls]
        for column in columns:
            column[:] = array(column.typecode, [column[place] for place in order])

    def before(self) -> array[int]:
        """Of each try the one before it of the same job, -1 where it is the first."""
        latest: dict[int, int] = {}
        found = array("q", [-1]) * len(self)
        for place, job in enumerate(self.job):
            if (earlier := latest.get(job)) is not None:
                found[place] = earlier
            latest[job] = place
        return found


def tries_of(journal: Journal, run: str) -> Tries:
    """Every try of a run in the order of its intents, clocks set right. For a thread."""
    skews = _skews((row["endpoint"], row["ahead"]) for row in _pages(journal, "clocks", run))
    tries = map(Try._make, _pages(journal, "tries", run))
    return Tries.of(_moved(one, skews.get(one.endpoint, 0.0)) for one in tries)


def _pages(journal: Journal, query: str, run: str) -> Iterator[Row]:
    after = 0
    while True:
        page = _page(journal, query, run, after)
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1]["task"]


def _page(journal: Journal, query: str, run: str, after: int) -> Sequence[Row]:
    return journal.read_now(lambda db: db.all(query, run=run, after=after, limit=PAGE))


def in_our_time(tries: Iterable[Try]) -> list[Try]:
    """The tries with their service's times by our clock, one correction for each endpoint.

    A service writes down when it got a task (``queued``); that lies between our intent and our
    acceptance, so the middle of the differences is by how much its clock is ahead.
    """
    given = list(tries)
    skews = _skews(
        (one.endpoint, one.queued - (one.intent + one.accepted) / 2)
        for one in given
        if one.queued is not None and one.accepted is not None and one.lane == "async"
    )
    return [_moved(one, skews.get(one.endpoint, 0.0)) for one in given]


def _skews(differences: Iterable[Sequence[Any]]) -> dict[str, float]:
    """Of each endpoint by how many seconds its clock is ahead, from (endpoint, difference)."""
    ahead: dict[str, array[float]] = {}
    for endpoint, seconds in differences:
        ahead.setdefault(endpoint, _doubles()).append(seconds)
    return {name: median(many) for name, many in ahead.items()}


def _moved(one: Try, skew: float) -> Try:
    if abs(skew) < LEAST_SKEW_S:
        return one

    def moved(moment: float | None) -> float | None:
        return None if moment is None else moment - skew

    return one._replace(
        queued=moved(one.queued), started=moved(one.started), ended=moved(one.ended)
    )
