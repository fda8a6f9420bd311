"""The end of a run: the longest job begins first, and only where it is known to be longer."""

from __future__ import annotations

import pytest

from helpers.desk import live_of, run_record
from redloom.carried import Carried, Purse
from redloom.drain import Drain
from redloom.job import Request
from redloom.records import Job
from redloom.testing import FakeProvider, JumpingClock, run


def job_of(size: str, number: int) -> Job:
    return Job(number, "r1", number, 1, f"k{number}", Request("p", size=size), {}, 0)


@pytest.mark.parametrize(("learnt", "first"), [(True, 3), (False, 1)])
def test_the_longest_of_the_last_goes_first(learnt: bool, first: int) -> None:
    """A size that takes twice as long goes before the others; unknown times change nothing."""

    async def main() -> int:
        clock = JumpingClock()
        live = live_of(FakeProvider(clock.now), clock, 5)
        if learnt:
            for _ in range(5):
                live.timings.learn("small", 10.0)
                live.timings.learn("large", 25.0)
        carried = Carried(run_record(complete=True), Purse(), exhausted=True)
        carried.ready.extend(
            [job_of("small", 1), job_of("small", 2), job_of("large", 3), job_of("small", 4)]
        )
        Drain(clock, [live], {}, lambda _c, job: ([live], job.request)).longest_first(carried)
        return carried.ready[0].id

    assert run(main()) == first


def test_before_the_end_the_order_is_the_input() -> None:
    """While rows are still to be read, nothing is reordered."""

    async def main() -> list[int]:
        clock = JumpingClock()
        live = live_of(FakeProvider(clock.now), clock, 5)
        for _ in range(5):
            live.timings.learn("small", 10.0)
            live.timings.learn("large", 25.0)
        carried = Carried(run_record(complete=True), Purse())
        carried.ready.extend([job_of("small", 1), job_of("large", 2)])
        Drain(clock, [live], {}, lambda _c, job: ([live], job.request)).longest_first(carried)
        return [job.id for job in carried.ready]

    assert run(main()) == [1, 2]
