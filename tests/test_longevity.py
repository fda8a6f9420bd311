"""Days of work in one process, and a store pruned under it: nothing grows, nothing wanted goes."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import pytest
from click.testing import CliRunner

from helpers.desk import add_run, desk, engine, intent_of
from helpers.terminal import Service, manifest, prompts
from helpers.terminal import run as command
from redloom.cli.cache import cache
from redloom.cli.common import Common
from redloom.clock import THREADS
from redloom.endpoint import Asked
from redloom.engine import Engine, RunOptions
from redloom.errors import ServiceError, Throttled, Unavailable
from redloom.image import Store
from redloom.records import ImageRecord
from redloom.takeover import unfinished_files
from redloom.testing import START, FakeProvider, FakeTask, Fate, JumpingClock, fake_endpoint, run

HOUR_S = 3600.0


@dataclass(frozen=True)
class Sample:
    """What a process holds while nothing is under way. Memory is in blocks that Python has allocated."""

    memory: int
    files: int
    tasks: int
    threads: int
    log: int
    """Bytes of the write-ahead log."""


WIDE = len(fields(Sample))


class Forgetful(dict[str, FakeTask]):
    """A service's tasks, of which it can drop the old ones; their numbers go on all the same."""

    ever = 0

    def __setitem__(self, name: str, task: FakeTask) -> None:
        self.ever += 1
        super().__setitem__(name, task)

    def __len__(self) -> int:
        return self.ever


class Days:
    """Runs of mixed kinds, one after another, on a service that has bad moments."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.rng, self.clock = folder, random.Random(seed), JumpingClock()
        self.service = FakeProvider(self.clock.now, script=self._fate, tasks=Forgetful())
        self.rows = 0

    def _fate(self, _asked: Asked, _number: int) -> Fate | ServiceError:
        dice = self.rng.random()
        if dice < 0.02:
            return Throttled("慢一点", "slow down")
        if dice < 0.03:
            return Unavailable("忙", "busy")
        table: list[tuple[float, Fate]] = [(0.05, "failed"), (0.07, "refused"), (0.09, "no-answer")]
        return next((fate for most, fate in table if dice < most), "made")

    async def work(self, hours: float, every_s: float, pictures: int) -> list[Sample]:
        """Runs every ``every_s`` nominal seconds for so many hours; a sample after each."""
        samples = array("q")  # in one block, so that what is measured is not the measuring
        ends = START + hours * HOUR_S
        one = engine(self.folder / "ws", (fake_endpoint(), self.service), clock=self.clock)
        async with one:
            while self.clock.now() < ends:
                began = self.clock.now()
                await self._one_run(one, len(samples) // WIDE, pictures)
                await self.clock.sleep(every_s - (self.clock.now() - began))
                self.service.tasks.clear()  # it forgets; what it remembers is not our memory
                samples.extend(astuple(self._sample()))
        return [Sample(*samples[k : k + WIDE]) for k in range(0, len(samples), WIDE)]

    async def _one_run(self, one: Engine, number: int, pictures: int) -> None:
        words = [f"run {number} picture {k % (pictures - 1)}" for k in range(pictures)]
        out = self.folder / "out" / str(number) if number % 3 else None
        kind = ("batch", "library", "api")[number % 3]
        options = RunOptions(n=2 if number % 5 == 0 else 1)
        run_id = await one.add(words, out=out, kind=kind, options=options, priority=number % 2 * 10)
        if number % 7 == 0:
            await one.pause(run_id)
            await self.clock.sleep(60.0)
            await one.resume(run_id)
        async for _ in one.follow(run_id):
            self.rows += 1
        if number % 4 == 0:
            await one.retry(run_id)
            async for _ in one.follow(run_id, after=2**40):
                pass
        if number % 11 == 0:
            await one.cancel(run_id)

    def _sample(self) -> Sample:
        gc.collect()
        log = self.folder / "ws" / "journal.db-wal"
        return Sample(
            sys.getallocatedblocks(),
            len(list(Path("/proc/self/fd").glob("*"))),
            len(asyncio.all_tasks()),
            threading.active_count(),
            log.stat().st_size if log.exists() else 0,
        )


def _hold(samples: list[Sample], days: Days) -> None:
    """The last quarter holds no more than the second did, but for a little noise."""
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]

    def least(part: list[Sample], name: str) -> int:
        return int(min(getattr(one, name) for one in part))

    assert least(late, "memory") <= least(early, "memory") + 2_000
    assert least(late, "files") <= least(early, "files") + 2
    assert least(late, "tasks") <= least(early, "tasks")
    # Pools fill up to their sizes, whatever there is to do; a thread left by each run would show.
    assert max(one.threads for one in samples) <= THREADS + (os.cpu_count() or 2) + 10
    # The log begins anew after 4,000 pages (16.4 MB), but for a reader who is in the way just then.
    assert max(one.log for one in samples) < 25_000_000
    size = (days.folder / "ws" / "journal.db").stat().st_size
    assert size / days.rows < 12_000, "bytes of the journal for each row"


def _live_through(folder: Path, hours: float, every_s: float, pictures: int) -> None:
    days = Days(folder, seed=20261124)
    samples = run(days.work(hours, every_s, pictures))
    assert len(samples) >= hours * HOUR_S / every_s * 0.9
    _hold(samples, days)
    assert list((folder / "ws" / "partial").iterdir()) == []


@pytest.fixture
def calm_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle looks at the journal are real half seconds; on a jumping clock that is all it would do.
    What is remembered of the last thousand runs and folders is full after a few, so that memory
    that only fills up to there is no growth.
    """
    monkeypatch.setattr("redloom.carrier.HEARTBEAT_S", 60.0)
    monkeypatch.setattr("redloom.engine.FOLLOW_S", 30.0)
    monkeypatch.setattr("redloom.engine.REMEMBERED", 10)
    monkeypatch.setattr("redloom.image.FOLDERS", 5)


@pytest.mark.usefixtures("calm_heart")
def test_a_day_leaves_nothing_behind(tmp_path: Path) -> None:
    """24 nominal hours, a run every 40 minutes: memory, files, tasks, threads and log stay."""
    _live_through(tmp_path, 24.0, 2400.0, 5)


@pytest.mark.chaos
@pytest.mark.usefixtures("calm_heart")
def test_a_day_of_continuous_work_leaves_nothing_behind(tmp_path: Path) -> None:
    """The same with hardly a pause: a run every five minutes."""
    _live_through(tmp_path, 24.0, 300.0, 12)


# the budget


def test_what_a_budget_leaves_over_is_ended_many_at_a_time(tmp_path: Path) -> None:
    """Two pictures are paid for, 600 rows are not: a few commits, not one for each."""
    clock, ends = JumpingClock(), []
    service = FakeProvider(clock.now)

    def witness(when: str, labels: tuple[str, ...]) -> None:
        if when == "after" and "end job" in labels:
            ends.append(labels.count("end job"))

    async def main() -> list[str]:
        one = engine(tmp_path, (fake_endpoint(), service), clock=clock, witness=witness)
        async with one:
            words = [f"picture {k}" for k in range(602)]
            return [r.status for r in await one.generate(words, budget=0.4, currency="CNY")]

    statuses = run(main())
    assert (statuses.count("ok"), statuses.count("unpaid")) == (2, 600)
    assert service.billed() == 2
    assert sum(ends) >= 600
    assert len(ends) < 60, ends


# the store


def _old(path: Path) -> None:
    os.utime(path, (time.time() - 1e6, time.time() - 1e6))


def _put(folder: Path, digit: str) -> str:
    """A file in the store, long ago; its digest."""
    digest = digit * 64
    path = Store(folder)._place(digest, "png")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 10)
    _old(path)
    return digest


def _prune(folder: Path, *more: str) -> str:
    line = ["--workspace", str(folder), "prune", *more, "--yes"]
    done = CliRunner().invoke(cache, line, obj=Common())
    assert done.exit_code == 0, done.output
    return done.output


def test_pruning_keeps_what_somebody_waits_for(tmp_path: Path) -> None:
    """Old, and yet kept: a waiting row's cached picture, a live task's files, what is new."""

    async def main() -> None:
        async with desk(tmp_path) as records:
            jobs = await add_run(records, ["waits", "under way", "done", "nobody's"])
            for job, digit in zip(jobs[:3], "abc", strict=True):
                image = ImageRecord(
                    key=job.key, sha256=_put(tmp_path, digit), task=None, format="png",
                    width=1, height=1, bytes=10, made=1.0,
                )  # fmt: skip
                await records.journal.do(
                    lambda db, image=image: db.run("add_image", **{n: getattr(image, n) for n in image.__dataclass_fields__})  # type: ignore[misc]
                )  # fmt: skip
            task = await records.intend(intent_of(jobs[1]))
            await records.journal.do(
                lambda db: db.connection.execute(
                    "UPDATE jobs SET status = 'ok' WHERE id IN (?, ?)", (jobs[1].id, jobs[2].id)
                )
            )
            (tmp_path / "partial").mkdir()
            await records.journal.do(
                lambda db: db.connection.execute(
                    "UPDATE tasks SET result = ? WHERE id = ?",
                    ('{"url": "", "file": "/somewhere/spill-77.part"}', task),
                )
            )
            wanted = unfinished_files(await records.live_tasks())
            assert wanted == ["spill-77", str(task)]
            for name in ("spill-77.part", f"{task}.0.part", "99.0.part", "98.png"):
                (tmp_path / "partial" / name).write_bytes(b"x")

    asyncio.run(main())
    _put(tmp_path, "d")
    fresh = Store(tmp_path)._place("e" * 64, "png")
    fresh.parent.mkdir(parents=True, exist_ok=True)
    fresh.write_bytes(b"just put")
    _prune(tmp_path, "--older-than", "1")
    left = sorted(path.name[0] for path in (tmp_path / "images").glob("??/*"))
    assert left == ["a", "b", "e"], "c is old and done, d belongs to nobody"
    parts = sorted(path.name for path in (tmp_path / "partial").iterdir())
    assert len(parts) == 2, parts
    assert "spill-77.part" in parts


def test_a_picture_put_in_the_moment_of_its_removal_stays(tmp_path: Path) -> None:
    """A stray of the same bytes is old; the put comes between the look and the removal."""
    digest = _put(tmp_path, "a")
    path = Store(tmp_path)._place(digest, "png")

    def keep(_digest: str) -> bool:
        path.write_bytes(b"put just now")
        return False

    assert Store(tmp_path).prune(keep, older_than=time.time() - 3600) == 0
    assert path.read_bytes() == b"put just now"
    assert [one.name for one in path.parent.iterdir()] == [path.name]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service that is not begun yet; it ends with the test."""
    made = Service(tmp_path, str(int(time.time())))
    yield made
    made.end()


def test_pruning_beside_an_engine_at_work(service: Service) -> None:
    """Everything that is old enough goes, again and again, while another process buys: every row
    ends with its picture, once paid.
    """
    service.begin("--latency", "20,0.3,10,40")
    prompts(service.folder, 40)
    assert command(service, "batch", "p.txt", "--out", "A", "--limit", "10").returncode == 0
    for path in (service.folder / "home" / "images").glob("??/*"):
        _old(path)
    line = service.command("batch", "p.txt", "--out", "B")
    worker = subprocess.Popen(
        line, env=service.env(), cwd=service.folder, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    pruned = 0
    while worker.poll() is None:
        done = command(service, "cache", "prune", "--older-than", "0", "--yes")
        assert done.returncode == 0, done.stderr
        pruned += 1
    _, said = worker.communicate()
    assert worker.returncode == 0, said
    assert pruned
    rows = manifest(service.folder / "B")
    assert [row["status"] for row in rows] == ["ok"] * 40
    assert all((service.folder / "B" / row["file"]).is_file() for row in rows)


def test_downloads_of_the_dead_are_swept_at_a_start(tmp_path: Path) -> None:
    """What no live task speaks of goes when the next engine begins; what one does stays."""
    partial = tmp_path / "ws" / "partial"
    partial.mkdir(parents=True)
    for name in ("spill-1.part", "77-5.0.part", "77-5.png"):
        (partial / name).write_bytes(b"x")
    clock = JumpingClock()
    service = FakeProvider(clock.now)

    async def main() -> None:
        async with engine(tmp_path / "ws", (fake_endpoint(), service), clock=clock) as one:
            await one.generate(["a"])

    run(main())
    assert list(partial.iterdir()) == []
