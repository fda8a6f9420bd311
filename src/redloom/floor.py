"""What the work on one picture asks of the carrier that runs it, and a task that is under way.

May import: everything on the way before it.
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from .carried import Carried
from .endpoint import Made, Ticket
from .journal import Row
from .limit import Slot
from .records import Job, JobEnding
from .route import Live


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
    stolen: bool = False
    """It was tried to take it back; once is enough."""
    leaving: bool = False
    """It is being taken back: its end is still to be heard of."""
