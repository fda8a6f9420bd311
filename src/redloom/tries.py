"""A run's paid tries as the journal has them, each with the moments it passed.

The moments of a try, in order: *intent* (the request leaves), *accepted* (the service has it),
*started* and *ended* (it works, by its own clock), *seen* (we learn that it has ended), *fetched*
(the bytes lie verified on the disk), *closed* (the outcome is on record). Between them lie its
phases: submitting, queued, running, unseen, downloading. The service's clock is set against ours
by when it says it got the task; what is not known stays None and is never made up.

May import: journal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

from .journal import Journal, Row

PHASES = ("submit", "queued", "running", "unseen", "download")
PAGE = 2000
LEAST_SKEW_S = 0.5
"""A service's clock that differs less from ours is taken as equal."""


@dataclass(frozen=True, slots=True)
class Try:
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
        """Its phases as (name, from, to), in order, none backwards; unknown ones are left out.

        Where the service tells no times the whole stay there counts as running.
        """
        here = self.intent
        for phase, until in self._borders():
            if until is not None and until > here:
                yield phase, here, until
                here = until

    def _borders(self) -> Iterator[tuple[str, float | None]]:
        done = self.fetched or (self.closed if self.bought else None)
        if self.lane == "sync" and self.started is None:
            yield "running", self.heard or (self.closed if not self.good else None)
            yield "download", done
            return
        yield "submit", self.accepted or (self.closed if not self.bought else None)
        if self.started is not None:
            yield "queued", self.started
        yield "running", self.ended or self.seen or (None if self.good else self.closed)
        yield "unseen", self.seen
        yield "download", done if self.good else None


def tries_of(journal: Journal, run: str) -> list[Try]:
    """Every try of a run in the order of its intents, clocks set right. For a thread."""
    found: list[Try] = []
    after = 0
    while True:
        page = _page(journal, run, after)
        found.extend(try_of(row) for row in page)
        if len(page) < PAGE:
            return sorted(in_our_time(found), key=lambda one: (one.intent, one.task))
        after = page[-1]["id"]


def _page(journal: Journal, run: str, after: int) -> Sequence[Row]:
    return journal.read_now(lambda db: db.all("tries", run=run, after=after, limit=PAGE))


def try_of(row: Row) -> Try:
    """One row of the journal's ``tries``."""
    return Try(
        task=row["id"], job=row["job"], row=row["row"], take=row["take"], endpoint=row["endpoint"],
        account=row["account"], lane=row["lane"], state=row["state"], billed=row["billed"],
        code=row["code"], price=row["price"], currency=row["currency"], intent=row["intent_at"],
        accepted=row["accepted_at"], queued=row["queued"], started=row["started"],
        ended=row["ended"], seen=row["seen_at"], fetched=row["fetched_at"], closed=row["closed_at"],
        polls=row["polls"],
    )  # fmt: skip


def in_our_time(tries: Iterable[Try]) -> list[Try]:
    """The tries with their service's times by our clock, one correction for each endpoint.

    A service writes down when it got a task (``queued``); that lies between our intent and our
    acceptance, so the middle of the differences is by how much its clock is ahead.
    """
    given = list(tries)
    ahead: dict[str, list[float]] = {}
    for one in given:
        if one.queued is not None and one.accepted is not None and one.lane == "async":
            middle = (one.intent + one.accepted) / 2
            ahead.setdefault(one.endpoint, []).append(one.queued - middle)
    skews = {name: median(many) for name, many in ahead.items()}
    return [_moved(one, skews.get(one.endpoint, 0.0)) for one in given]


def _moved(one: Try, skew: float) -> Try:
    if abs(skew) < LEAST_SKEW_S:
        return one

    def moved(moment: float | None) -> float | None:
        return None if moment is None else moment - skew

    return replace(
        one, queued=moved(one.queued), started=moved(one.started), ended=moved(one.ended)
    )
