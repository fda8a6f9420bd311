"""A journal with a run and jobs in it, an endpoint, an engine on the jumping clock."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redloom.endpoint import Endpoint
from redloom.engine import Engine
from redloom.events import Watcher
from redloom.job import Request
from redloom.journal import Journal, Witness
from redloom.limit import Gate, Pace, Slots
from redloom.poll import Polls
from redloom.records import Intent, Job, NewJob, Records, Run
from redloom.route import Live
from redloom.testing import START, FakeProvider, JumpingClock, fake_endpoint
from redloom.timing import Timings

PLACE = "fake fake://fake -"
ACCOUNT = "fake|fake://fake"


def run_record(run: str = "r1", **changes: Any) -> Run:
    """A run as it is written down."""
    values: dict[str, Any] = {
        "id": run, "created": START, "kind": "library", "digest": "d", "out": "", "options": {},
        "environment": {"places": {"fake": PLACE}}, "state": "open", "priority": 0,
        "budget": None, "currency": "", "total": 0, "complete": False, "owner": "me",
    }  # fmt: skip
    return Run(**{**values, **changes})


async def add_run(
    records: Records, prompts: Sequence[str], run: str = "r1", **changes: Any
) -> list[Job]:
    """Write a run with a job for each prompt; the jobs."""
    await records.add_run(run_record(run, **changes))
    jobs = [NewJob(row, 1, Request(words), {}) for row, words in enumerate(prompts, 1)]
    await records.add_jobs(run, jobs, START)
    await records.complete_run(run)
    return await records.waiting(run, 0, 1000)


@asynccontextmanager
async def desk(folder: Path, witness: Witness | None = None) -> AsyncIterator[Records]:
    """Records on an open journal."""
    journal = Journal(folder / "journal.db", witness=witness).open()
    try:
        yield Records(journal)
    finally:
        journal.close()


def intent_of(job: Job, **changes: Any) -> Intent:
    """What is recorded before a POST for ``job`` leaves."""
    values: dict[str, Any] = {
        "job": job.id, "run": job.run, "key": job.key, "endpoint": "fake", "place": PLACE,
        "account": ACCOUNT, "model": "fake-1", "lane": "async", "epoch": 0, "seed": None,
        "size": "", "intent_at": START, "price": 0.2, "currency": "CNY", "price_source": "estimated",
    }  # fmt: skip
    return Intent(**{**values, **changes})


def live_of(provider: FakeProvider, clock: JumpingClock, slots: int | None = None) -> Live:
    """An endpoint in use, at `PLACE`."""
    gate = Gate(Pace(None), Slots(slots, known=slots is not None))
    polls = Polls(clock, Pace(None), random.Random(1))
    timing = Timings(10.0)
    return Live(fake_endpoint(), provider, gate, timing, polls, PLACE)


def engine(
    folder: Path,
    *equipped: tuple[Endpoint, FakeProvider],
    clock: JumpingClock,
    on_event: Watcher | None = None,
    witness: Witness | None = None,
) -> Engine:
    """An engine in workspace ``folder`` whose dice always fall the same way."""
    return Engine(
        workspace=folder, equipped=list(equipped), clock=clock, on_event=on_event,
        witness=witness, rng=random.Random(7),
    )  # fmt: skip
