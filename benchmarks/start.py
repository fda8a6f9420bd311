"""From a second start to its first new picture, with a long history in the journal.

    python benchmarks/start.py [ROWS]

Writes a run of ROWS rows (100,000) into a journal, all finished but the last, then opens an engine
on it, resumes the run and measures until the first submit leaves. The baseline is a new run on an
empty workspace, in the same process, so that the figure is what the history costs.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from redloom.clock import SystemClock
from redloom.endpoint import Asked, Lane, Made, Ticket
from redloom.engine import Engine
from redloom.job import Request
from redloom.journal import Journal
from redloom.records import NewJob, Records, Run
from redloom.testing import FakeProvider, fake_endpoint


class FirstSubmit(FakeProvider):
    """A service that notes when it is asked first."""

    asked_at: float = 0.0
    asked: asyncio.Event

    async def submit(self, asked: Asked, lane: Lane) -> Ticket | Made:
        """As the fake does, with a stopwatch."""
        self.asked_at = self.asked_at or time.perf_counter()
        self.asked.set()
        return await super().submit(asked, lane)


async def fill(workspace: Path, rows: int) -> None:
    """A journal with ``rows`` rows: an unfinished run whose owner is gone, all but one row made."""
    journal = Journal(workspace / "journal.db").open()
    records = Records(journal)
    await records.add_run(
        Run("old", 0.0, "batch", "d", "", {}, {}, "open", 0, None, "", 0, False, "nobody")
    )
    for first in range(0, rows, 5000):
        jobs = [
            NewJob(n + 1, 1, Request(f"old {n}"), {}) for n in range(first, min(rows, first + 5000))
        ]
        await records.add_jobs("old", jobs, 0.0)
    await records.complete_run("old")
    await journal.do(lambda db: db.connection.execute(
        "INSERT INTO tasks (job, run, key, endpoint, place, account, model, lane, state, epoch, intent_at, ticket_id)"
        " SELECT id, run, key, 'fake', 'p', 'a', 'm', 'async', 'stored', 0, 0, 't' || id FROM jobs WHERE id < (SELECT max(id) FROM jobs)"
    ).rowcount)  # fmt: skip
    await journal.do(lambda db: db.connection.execute(
        "UPDATE jobs SET status = 'ok', seq = id WHERE id < (SELECT max(id) FROM jobs)"
    ).rowcount)  # fmt: skip
    journal.close()


async def first_work_s(workspace: Path, old: str = "") -> float:
    """Real seconds from making the engine to the first submit, of run ``old`` or of a new one."""
    clock = SystemClock()
    provider = FirstSubmit(clock.now, seconds=lambda _prompt: 0.0)
    provider.asked = asyncio.Event()
    began = time.perf_counter()
    async with Engine(
        workspace=workspace, equipped=[(fake_endpoint(), provider)], clock=clock
    ) as engine:
        if old:
            await engine.resume(old)
        else:
            await engine.add(["a new one"])
        await provider.asked.wait()
    return provider.asked_at - began


def main() -> None:
    """Print both times and their ratio."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        empty = asyncio.run(first_work_s(Path(folder) / "empty"))
        (Path(folder) / "full").mkdir()
        asyncio.run(fill(Path(folder) / "full", rows))
        full = asyncio.run(first_work_s(Path(folder) / "full", "old"))
    sys.stdout.write(
        f"first new work after {full:.3f} s with {rows:,} rows in the journal, "
        f"{empty:.3f} s with none (x {full / empty:.2f})\n"
    )


if __name__ == "__main__":
    main()
