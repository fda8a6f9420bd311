"""From a finished task to a file: what a thread does with a whole picture, and what may go wrong."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from helpers.desk import engine, live_of, run_record
from redloom.clock import SystemClock
from redloom.download import Downloads
from redloom.endpoint import Failed, Made, Outcome, Picture, Ticket, Unknown, Waiting
from redloom.errors import FetchFailed, LinkExpired, NotAPicture, TaskFailed, Withheld
from redloom.events import Stream
from redloom.finish import Finisher, _renewed
from redloom.image import Store, deliver
from redloom.job import Request
from redloom.journal import Journal
from redloom.metadata import About
from redloom.records import Job, Records
from redloom.route import Live
from redloom.testing import FakeProvider, JumpingClock, fake_endpoint, run


def row(number: int) -> Job:
    """One row of a run."""
    words = f"words {number}"
    return Job(number, "r1", number, 1, f"key {number}", Request(words), {}, 0)


def test_a_picture_that_cannot_be_handed_over_is_not_bought_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is whole and in the store: its task stays as it is, and retrying the row finishes it."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now)

    def broken(*_: Any) -> Any:
        raise NotAPicture("坏了", "it is damaged")

    async def main() -> tuple[str, str]:
        async with engine(tmp_path / "ws", (fake_endpoint(), provider), clock=clock) as one:
            monkeypatch.setattr("redloom.finish.deliver", broken)
            added = await one.add(["a hat"], out=tmp_path / "out")
            first = [result.status async for result in one.follow(added)]
            monkeypatch.setattr("redloom.finish.deliver", deliver)
            await one.retry(added)
            second = [result.status async for result in one.follow(added)]
            return first[-1], second[-1]

    assert run(main()) == ("failed", "ok")
    assert provider.submits == 1


def test_names_are_claimed_in_threads_and_given_up_beside_them(tmp_path: Path) -> None:
    """No claim is lost while others are made and given up: two rows would get one file."""
    journal = Journal(tmp_path / "journal.db").open()
    clock = SystemClock()
    downloads = Downloads(tmp_path, clock=clock, pauses=lambda _: None)
    one = Finisher(Records(journal), clock, Stream(), Store(tmp_path), downloads)
    named = run_record(options={"name": "{words}"})
    kept, gone = range(1, 401), range(1001, 1401)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:

        def claim(numbers: range) -> None:
            for number in numbers:
                one._name(named, row(number), About(prompt=f"words {number}"), "png")

        threads = [
            threading.Thread(target=claim, args=(part,)) for part in (kept[::2], kept[1::2], gone)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            for number in gone:
                one._release(row(number))
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
        journal.close()
    assert set(kept) <= set(one._claims.values())


@dataclass(eq=False)
class Says(FakeProvider):
    """A service that answers every query with one outcome."""

    said: Outcome = field(default_factory=Unknown)

    async def poll(self, ticket: Ticket) -> Outcome:
        """See `endpoint.Provider`."""
        return self.said


def saying(said: Outcome) -> Live:
    """An endpoint of such a service."""
    clock = JumpingClock()
    return live_of(Says(clock.now, said=said), clock)


@pytest.mark.parametrize(
    "said", [Unknown(), Waiting(running=True), Failed(Withheld("没给", "none"))]
)
def test_a_link_that_cannot_be_renewed_now_is_not_lost(said: Outcome) -> None:
    """A paid picture is lost only once its task's record is over, not at one odd answer."""
    live = saying(said)
    with pytest.raises(FetchFailed):
        run(_renewed(live, Ticket("t1"), gone=False))
    with pytest.raises(LinkExpired):
        run(_renewed(live, Ticket("t1"), gone=True))


def test_a_link_is_renewed_or_gone_for_good() -> None:
    """The task's own answer decides: its picture's new link, or that there is none."""
    made = saying(Made(Picture("https://new")))
    assert run(_renewed(made, Ticket("t1"), gone=True)).url == "https://new"
    failed = saying(Failed(TaskFailed("坏了", "broken")))
    with pytest.raises(LinkExpired):
        run(_renewed(failed, Ticket("t1"), gone=False))
