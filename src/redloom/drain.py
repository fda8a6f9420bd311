"""The end of a run, when fewer jobs are left than slots: what goes first, what goes elsewhere.

Nothing here buys: a task is taken back only while it waits at its service, which is free, and
its job goes on only once the service has said that it was cancelled.

May import: everything on the way before it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .carried import Carried
from .clock import Clock
from .floor import Flight, to_take_back
from .job import Request
from .records import Job
from .route import Live

LONGER = 1.2
"""By how much longer a job has to be expected to take to go before the next one."""


@dataclass(eq=False)
class Drain:
    """Decisions about the last jobs of the runs that an engine carries."""

    clock: Clock
    lives: list[Live]
    flights: Mapping[int, Flight]
    able: Callable[[Carried, Job], tuple[list[Live], Request]]

    def longest_first(self, carried: Carried) -> None:
        """Of the last jobs, the one that takes longest begins first: the run ends sooner.

        By service times learnt for each size; a kind that was never made says nothing.
        """
        ready = carried.ready
        last = carried.exhausted and carried.run.complete
        if not last or not 1 < len(ready) <= 2 * sum(live.at_once for live in self.lives):
            return
        if len({job.request.size for job in ready}) < 2:
            return
        expected = [self._expected_s(job) for job in ready]
        longest = max(range(len(ready)), key=expected.__getitem__)
        if expected[0] and expected[longest] > LONGER * expected[0]:
            carried.bring_forward(longest)

    def _expected_s(self, job: Job) -> float:
        """The longest that an endpoint has taken for this kind on average; 0 where unknown."""
        kinds = (live.timings.of(job.request.size) for live in self.lives)
        return max((kind.mean for kind in kinds if kind.seen), default=0.0)

    def take_back(
        self, runs: Iterable[Carried], start: Callable[[Coroutine[Any, Any, None]], None]
    ) -> None:
        """Call back a task that only waits at a busy endpoint while a better one is idle."""
        if len(self.lives) < 2 or any(carried.ready for carried in runs):
            return
        flight = to_take_back(list(self.flights.values()), self.able, self.clock.now())
        if flight is not None:
            flight.leaving = True
            start(flight.take_back())
