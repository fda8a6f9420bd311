"""From a finished task to a file: what a thread does with a whole picture, and what may go wrong."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from helpers.desk import engine, run_record
from redloom.clock import SystemClock
from redloom.download import Downloads
from redloom.errors import NotAPicture
from redloom.events import Stream
from redloom.finish import Finisher
from redloom.image import Store, deliver
from redloom.job import Request
from redloom.journal import Journal
from redloom.metadata import About
from redloom.records import Job, Records
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
