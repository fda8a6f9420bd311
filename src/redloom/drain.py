"""The end of a run, when fewer jobs are left than slots: what goes first, what goes elsewhere.

Nothing here buys: a task is taken back only while it waits at its service, which is free, and
its job goes on only once the service has said that it was cancelled.

May import: everything on the way before it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .carried import Carried
from .clock import Clock
from .endpoint import Ticket
from .floor import Flight
from .job import Request
from .records import Job
from .route import Live, able_for, asked_of, better_elsewhere

log = logging.getLogger("redloom")
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
        if any(flight.leaving for flight in self.flights.values()):
            return  # one at a time: the next look sees what became of it
        now = self.clock.now()
        for flight in self.flights.values():
            waits = flight.slot.queued and not flight.stolen and not flight.carried.stopping
            if not waits or not flight.live.capabilities.cancels:
                continue
            if better_elsewhere(flight.live, self._payable(flight), flight.job.request, now):
                flight.leaving = True
                start(call_back(flight))
                return

    def _payable(self, flight: Flight) -> list[Live]:
        """Where the job of a task could go that is taken back: its price is free again then."""
        job, purse = flight.job, flight.carried.purse
        lives, request = self.able(flight.carried, job)
        able, _ = able_for(request, lives)
        left = purse.left()
        if flight.live not in able:
            return []  # made by a fallback, say: it stays where it is
        if left is None:
            return able
        prices = {
            id(one): one.price(asked_of(job.request, one).asked).amount or 0.0 for one in able
        }
        left += prices[id(flight.live)]
        return [one for one in able if prices[id(one)] <= left + 1e-9]


async def call_back(flight: Flight) -> None:
    """Cancel a task that still waits at its service, so that its job can go elsewhere.

    Free of charge where the service says that it did; else the task goes on as it was.
    """
    assert isinstance(flight.answer, Ticket)
    flight.stolen = flight.leaving = True
    try:
        flight.leaving = await flight.live.provider.cancel(flight.answer)
    except Exception as error:
        flight.leaving = False
        log.info("a waiting task could not be cancelled", exc_info=error)
    if flight.leaving:
        flight.live.polls.ask_now(flight.answer)
