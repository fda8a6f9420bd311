"""Our own client in this process, on the clock that jumps: many seeds in minutes.

The same engine, provider and emulator as in the race, over real sockets; but where everybody
waits for time, time is moved on. So a run takes only the work that is in it, and how busy the
machine is hardly shows in its figures: while a request or a commit is under way nominal time
passes as fast as real time, not twenty times as fast.

May import: bench, emulators, testing.
"""

from __future__ import annotations

import logging
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from redloom.emulators.dashscope import DashScopeEmulator
from redloom.testing import JumpingClock, run

from .bounds import bounds_of
from .clients.ours import CLIENTS
from .course import Course
from .measure import Row, row_of
from .scenarios import KEY, Scenario, scenario


def jump(wanted: Scenario, seed: int) -> Row:
    """One run of ours under a seed. For a process or a thread without a loop of its own.

    Raises ValueError for the synchronous lane: its open calls would hold the clock.
    """
    if wanted.lane == "sync":
        raise ValueError("a sync call holds the clock: it cannot be jumped over")
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


def many(
    scenes: Sequence[Scenario],
    seeds: Sequence[int],
    side_by_side: int,
    told: Callable[[Row], None] = lambda _row: None,
) -> list[Row]:
    """A row for each scene and seed, in order; so many at one time, in processes of their own."""
    orders = [(one.name, one.pictures, seed) for one in scenes for seed in seeds]
    rows = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(side_by_side, mp_context=context, initializer=quietly) as pool:
        for row in pool.map(_named, orders):
            told(row)
            rows.append(row)
    return rows


def quietly() -> None:
    """For a process of a pool: no log lines between the rows."""
    logging.disable(logging.CRITICAL)
