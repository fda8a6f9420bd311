"""Our own client in this process, on the clock that jumps: many seeds in minutes.

The same engine, provider and emulator as in the race, over real sockets; but where everybody
waits for time, time is moved on. So a run takes only the work that is in it, and how busy the
machine is hardly shows in its figures: while a request or a commit is under way nominal time
passes as fast as real time, not twenty times as fast.

May import: bench, emulators, testing.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from redloom.emulators.dashscope import DashScopeEmulator
from redloom.testing import JumpingClock, run

from .bounds import bounds_of
from .clients.ours import CLIENTS
from .course import Course
from .measure import Row, row_of
from .scenarios import KEY, Scenario, Target, scenario


def jump(wanted: Scenario, seed: int) -> Row:
    """One run of ours under a seed. For a process or a thread without a loop of its own."""
    began = time.monotonic()
    row = run(_jumped(wanted, seed))
    return replace(row, real_s=time.monotonic() - began, speed=0.0)


async def _jumped(wanted: Scenario, seed: int) -> Row:
    clock = JumpingClock()
    with tempfile.TemporaryDirectory(prefix="redloom-bench-") as folder:
        async with AsyncExitStack() as stack:
            services = [DashScopeEmulator(wanted.emulated(p, seed), clock) for p in wanted.places]
            urls = []
            for one in services:
                urls.append(await one.start())
                stack.push_async_callback(one.stop)
            course = Course(wanted, wanted.prompts(seed), urls, KEY, Path(folder), clock)
            await CLIENTS["ours"](course)
            ledgers = [one.ledger.as_json() for one in services]
    ran = {
        "began": course.began, "ended": max(course.delivered.values(), default=clock.now()),
        "delivered": course.delivered, "cpu_s": 0.0, "peak_mb": 0.0,
    }  # fmt: skip
    row = row_of(wanted, "ours", seed, bounds_of(wanted, seed), ran, ledgers)
    return replace(row, cpu_ms=None, peak_mb=None)


def _named(order: tuple[str, int, int]) -> Row:
    name, pictures, seed = order
    return jump(scenario(name).sized(pictures), seed)


async def many(
    wanted: Scenario, seeds: Sequence[int], side_by_side: int, pool: ProcessPoolExecutor
) -> list[Row]:
    """A row for each seed, in order; so many at one time, each in a process of its own."""
    loop, gate = asyncio.get_running_loop(), asyncio.Semaphore(side_by_side)

    async def one(seed: int) -> Row:
        async with gate:
            order = (wanted.name, wanted.pictures, seed)
            return await loop.run_in_executor(pool, _named, order)

    return await asyncio.gather(*(one(seed) for seed in seeds))


@dataclass(frozen=True, slots=True)
class Spread:
    """How one figure of a scene fell over the seeds; percent, or what the figure counts."""

    scenario: str
    figure: str
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    target: Target | None = None

    @property
    def median(self) -> float:
        """Half of the seeds are below."""
        return median(self.values)

    def at(self, share: float) -> float:
        """The value that this share of the seeds does not exceed (nearest rank)."""
        ordered = sorted(self.values)
        return ordered[max(0, min(len(ordered) - 1, round(share * len(ordered)) - 1))]

    @property
    def within(self) -> int:
        """How many seeds meet the target; all of them where there is none."""
        if self.target is None:
            return len(self.values)
        return sum(value <= self.target.most for value in self.values)


def spreads(wanted: Scenario, rows: Sequence[Row]) -> list[Spread]:
    """The spread of every figure that has a target in this scene, distance to the bound first."""
    figures = {target.figure: target for target in wanted.targets}
    names = list(dict.fromkeys(["above_pct", *figures]))
    seeds = tuple(row.seed for row in rows)
    return [
        Spread(
            wanted.name, name, seeds,
            tuple(float(getattr(row, name) or 0.0) for row in rows), figures.get(name),
        )
        for name in names
    ]  # fmt: skip
