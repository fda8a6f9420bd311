"""The end of a run is foretold within a fifth after a tenth of it, on simulated runs."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from redloom.eta import Eta
from redloom.events import Done, Event, Started, Status, Submitted


@dataclass(frozen=True)
class Service:
    """Slots, a submit rate, log-normal service times; some rows are twins, some tasks fail."""

    slots: int
    rate: float
    median_s: float
    sigma: float
    twins: float = 0.0
    failures: float = 0.0

    def events(self, rows: int, seed: int) -> list[Event]:
        """A whole run, in the order of its events."""
        rng = random.Random(seed)
        found = [*self._events(rows, rng)]
        return sorted(found, key=lambda event: event.at)

    def _events(self, rows: int, rng: random.Random) -> Iterator[Event]:
        free, token = [0.0] * self.slots, 0.0
        for row in range(1, rows + 1):
            if rng.random() < self.twins:
                yield self._done(row, token, "duplicate")
                continue
            while True:
                start = max(token, heapq.heappop(free))
                took = self.median_s * math.exp(rng.gauss(0, self.sigma))
                took = min(max(took, self.median_s / 2), self.median_s * 2.5)
                heapq.heappush(free, start + took)
                token = max(token, start) + 1 / self.rate
                yield Submitted(at=start, run="r", row=row, take=1, endpoint="e", task_id="t")
                if rng.random() >= self.failures:
                    break
            yield self._done(row, start + took + 1.0, "ok")

    def _done(self, row: int, at: float, status: Status) -> Done:
        return Done(at=at, run="r", row=row, take=1, status=status)


def error_after_a_tenth(service: Service, rows: int, seed: int) -> float:
    """How far off the foretold time is then, as a part of what is really left."""
    events = service.events(rows, seed)
    eta, done = Eta(total=rows), 0
    eta.see(Started(at=0.0, run="r", total=min(500, rows)))
    for event in events:
        eta.see(event)
        done += isinstance(event, Done)
        if done * 10 >= rows:
            left = eta.left_s()
            assert left is not None
            return left / (events[-1].at - event.at) - 1
    raise AssertionError("the run has no tenth")


SERVICES = [
    Service(5, 5, 55, 0.4), Service(20, 5, 55, 0.4), Service(20, 5, 8, 0.3), Service(20, 1, 8, 0.3),
    Service(2, 2, 30, 0.2), Service(50, 5, 55, 0.4), Service(20, 5, 55, 0.4, 0.1, 0.05),
    Service(2, 2, 30, 0.2, 0.1, 0.05),
]  # fmt: skip


@pytest.mark.parametrize("service", SERVICES, ids=str)
def test_within_a_fifth_after_a_tenth(service: Service) -> None:
    """Of a thousand rows: within a fifth in every run; of five thousand: within a tenth."""
    assert max(abs(error_after_a_tenth(service, 1000, seed)) for seed in range(10)) < 0.2
    assert max(abs(error_after_a_tenth(service, 5000, seed)) for seed in range(2)) < 0.1


@pytest.mark.parametrize("service", SERVICES[:4], ids=str)
def test_mostly_within_a_fifth_of_small_runs(service: Service) -> None:
    """Two hundred rows: what is known after twenty is enough nine times in ten."""
    errors = sorted(abs(error_after_a_tenth(service, 200, seed)) for seed in range(30))
    assert errors[26] < 0.21


def test_nothing_is_foretold_without_grounds() -> None:
    """Before anything is bought, and when nothing is left, there is no time."""
    eta = Eta(total=10)
    assert eta.left_s() is None
    for event in Service(5, 5, 10, 0.1).events(10, 1):
        eta.see(event)
    assert eta.left_s() is None


def test_a_resumed_run_counts_what_is_there() -> None:
    """Pictures from before are not waited for again."""
    fresh, again = Eta(), Eta()
    fresh.see(Started(at=0.0, run="r", total=100))
    again.see(Started(at=0.0, run="r", total=1100, done=1000))
    for event in Service(5, 5, 10, 0.1).events(20, 1):
        fresh.see(event)
        again.see(event)
    assert fresh.left_s() == again.left_s()


def test_the_last_ones_are_near_the_end() -> None:
    """With nothing left to begin, it is a matter of the youngest task."""
    events = Service(5, 5, 10, 0.1).events(100, 1)
    eta = Eta(total=100)
    for event in events[:-1]:
        eta.see(event)
    left = eta.left_s()
    assert left is not None
    assert left < 10
