"""What the work on one picture asks of the carrier that runs it, and a task that is under way.

May import: everything on the way before it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from .carried import Carried, millionths
from .endpoint import Canceled, Failed, Made, Ticket, Times, Unknown
from .events import Money, Worked
from .job import Request
from .journal import Row
from .limit import Slot
from .poll import Heard
from .records import Job, JobEnding
from .route import Live, better_elsewhere, payable
from .task import TaskFacts

log = logging.getLogger("redloom")


class Floor(Protocol):
    """What one picture's work asks of the carrier that runs it."""

    epoch: int

    def begin(self, carried: Carried, job: Job, work: Coroutine[Any, Any, None]) -> None:
        """Run one job's work; its key is taken until it has its outcome."""

    def later(self, carried: Carried, job: Job, at: float) -> None:
        """The job goes back to the queue at nominal time ``at``."""

    def free_key(self, job: Job) -> None:
        """Nobody makes this picture for now."""

    def outcome(
        self,
        carried: Carried,
        job: Job,
        ending: JobEnding,
        live: Live | None,
        price: tuple[float | None, str],
    ) -> None:
        """The job has its outcome."""

    def wake(self) -> None:
        """Something changed."""

    def broken(self, error: Exception) -> None:
        """Something that every run needs has failed: stop."""

    def resume(self, carried: Carried, row: Row, job: Job | None = None) -> bool:
        """Go on with a live task; whether this process can."""


@dataclass(slots=True, eq=False)
class Flight:
    """A task that a service has and that has not ended, as far as we know."""

    live: Live
    answer: Ticket | Made
    slot: Slot
    carried: Carried
    job: Job
    facts: TaskFacts | None = None
    """Of the task, where it was submitted by this process; else the journal has them."""
    stolen: bool = False
    """It was tried to take it back; once is enough."""
    leaving: bool = False
    """It is being taken back: its end is still to be heard of."""

    async def take_back(self) -> None:
        """Cancel it where it still waits at its service, so that its job can go elsewhere.

        Free of charge where the service says that it did; else the task goes on as it was.
        """
        assert isinstance(self.answer, Ticket)
        self.stolen = self.leaving = True
        try:
            self.leaving = await self.live.provider.cancel(self.answer)
        except Exception as error:
            self.leaving = False
            log.info("a waiting task could not be cancelled", exc_info=error)
        if self.leaving:
            self.live.polls.ask_now(self.answer)


def to_take_back(
    flights: Sequence[Flight],
    able: Callable[[Carried, Job], tuple[list[Live], Request]],
    now: float,
) -> Flight | None:
    """A task that only waits while a better endpoint is idle that its run can pay; one at a time,
    so that what became of it is known before the next. ``able``: where a job may go.
    """
    if any(flight.leaving for flight in flights):
        return None
    for flight in flights:
        waits = flight.slot.queued and not flight.stolen and not flight.carried.stopping
        if not waits or not flight.live.capabilities.cancels:
            continue
        lives, request = able(flight.carried, flight.job)
        lives = payable(request, lives, flight.live, flight.carried.purse.left())
        if better_elsewhere(flight.live, lives, request, now):
            return flight
    return None


def worked(carried: Carried, job: Job, live: Live, heard: Heard) -> Worked | None:
    """What a service said of a task's end, for monitoring only; None for what is none."""
    outcome = heard.outcome
    name = _OUTCOMES.get(type(outcome))
    if name is None:
        return None
    times = getattr(outcome, "times", Times())
    return Worked(
        at=heard.at, run=carried.run.id, row=job.row, take=job.take, endpoint=live.name,
        outcome=name, queued=times.queued, started=times.started, ended=times.ended,
        polls=heard.polls,
    )  # fmt: skip


_OUTCOMES: dict[type, Literal["made", "failed", "canceled", "unknown"]] = {
    Made: "made", Failed: "failed", Canceled: "canceled", Unknown: "unknown",
}  # fmt: skip


def money_told(
    carried: Carried, ending: JobEnding, price: tuple[float | None, str]
) -> Money | None:
    """Spent and committed so far, after an outcome that cost something."""
    purse = carried.purse
    if ending.status != "ok" or not price[0]:
        return None
    purse.spent += millionths(price[0])
    return Money(
        at=ending.ended, run=carried.run.id, spent=purse.spent / 1e6,
        committed=purse.committed / 1e6, cap=carried.run.budget,
        currency=carried.run.currency or price[1],
    )  # fmt: skip
