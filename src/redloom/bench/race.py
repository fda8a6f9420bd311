"""Runs races: a service process and a client process for each, a few side by side.

May import: emulators, bench.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from redloom.emulators.dashscope_tasks import DISPATCH_S

from .bounds import Bounds, bounds_of, tries_of
from .clients.report_way import POLL_S
from .measure import Row, middle, row_of
from .scenarios import Scenario

LINE_LIMIT = 64 * 1024 * 1024
PATIENCE = 10.0
"""Times the bound after which a client is given up."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run."""

    scenarios: Sequence[Scenario]
    clients: Sequence[str] = ()
    """Only these; empty: the scenario's own."""
    repeats: int = 1
    seed: int = 1
    side_by_side: int = 2
    compute_serial: bool = True
    told: Callable[[Row], None] = field(default=lambda _row: None)
    """Called with every row as it comes."""

    def clients_of(self, scenario: Scenario) -> list[str]:
        """Who runs in a scenario."""
        return [one for one in scenario.clients if not self.clients or one in self.clients]


async def run(plan: Plan) -> list[Row]:
    """All races of a plan; the medians, in the plan's order."""
    gate = asyncio.Semaphore(plan.side_by_side)
    wanted = [(one, client) for one in plan.scenarios for client in plan.clients_of(one)]
    turns = [(k, turn) for k in range(len(wanted)) for turn in range(plan.repeats)]
    # The longest first, so that the last one does not run alone.
    begun = {
        (k, turn): asyncio.ensure_future(_raced(plan, *wanted[k], plan.seed + turn, gate))
        for k, turn in sorted(turns, key=lambda one: -wanted[one[0]][0].rough_s())
    }
    rows = [await begun[one] for one in turns]
    many = plan.repeats
    return [middle(rows[k * many : (k + 1) * many]) for k in range(len(wanted))]


async def _raced(
    plan: Plan, scenario: Scenario, client: str, seed: int, gate: asyncio.Semaphore
) -> Row:
    async with gate:
        bounds = await asyncio.to_thread(bounds_of, scenario, seed)
        if client == "serial" and plan.compute_serial:
            row = serial(scenario, seed, bounds)
        else:
            row = await race(scenario, client, seed, bounds)
    plan.told(row)
    return row


def serial(scenario: Scenario, seed: int, bounds: Bounds) -> Row:
    """One picture after another, a poll every 5 s, worked out instead of waited for."""
    tries = tries_of(scenario, seed)
    polls = [math.ceil((takes + DISPATCH_S) / POLL_S) for one in tries for takes in one]
    taken = [takes for one in tries for takes in one]
    delays = [n * POLL_S - takes for n, takes in zip(polls, taken, strict=True)]
    return Row(
        scenario=scenario.name, client="serial", seed=seed, wanted=scenario.pictures,
        delivered=scenario.pictures, bought=scenario.pictures, bought_twice=0,
        makespan_s=sum(polls) * POLL_S, never_idle_s=bounds.never_idle_s,
        clairvoyant_s=bounds.clairvoyant_s, restart_s=bounds.restart_s,
        asked=sum(polls) / scenario.pictures, lists=0.0, refused=0.0,
        delay_s=sum(delays) / len(delays), drain_delay_s=delays[-1], speed=scenario.speed, computed=True,
    )  # fmt: skip


async def race(scenario: Scenario, client: str, seed: int, bounds: Bounds) -> Row:
    """One client's race against a service of its own."""
    began = time.monotonic()
    limit_s = 60 + PATIENCE * bounds.never_idle_s / scenario.speed
    environment = environment_of(scenario.speed)
    with tempfile.TemporaryDirectory(prefix="redloom-bench-") as folder:
        told = {
            "scenario": scenario.name, "client": client, "seed": seed,
            "pictures": scenario.pictures, "folder": folder,
        }  # fmt: skip
        async with child("host", told, environment) as host:
            urls = (await line_of(host, 60.0))["urls"]
            async with child("runner", {**told, "urls": urls}, environment) as runner:
                try:
                    ran = await line_of(runner, limit_s)
                except (TimeoutError, ValueError) as error:
                    ran = _gave_up(type(error).__name__, await _last_words(runner))
            ledgers = [await asyncio.to_thread(_ledger, url) for url in urls]
            used = await _end(host)
    row = row_of(scenario, client, seed, bounds, ran, ledgers)
    real_s = time.monotonic() - began
    return replace(
        row, real_s=real_s, speed=scenario.speed, service_cpu_pct=100 * used["cpu_s"] / real_s,
        problem=ran.get("problem", ""),
    )  # fmt: skip


def environment_of(speed: float) -> dict[str, str]:
    """The shared clock; no key, address or proxy of this machine's user."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().endswith(("_API_KEY", "_BASE_URL", "_PROXY"))
    }
    return {
        **kept,
        "REDLOOM_CLOCK_SPEED": repr(speed),
        "REDLOOM_CLOCK_START": repr(time.time()),
        "NO_PROXY": "*",
    }


@asynccontextmanager
async def child(
    module: str, told: Mapping[str, Any], environment: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process of ours that has been told what to do; it never outlives the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"redloom.bench.{module}",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, env=dict(environment), limit=LINE_LIMIT,
    )  # fmt: skip
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(told).encode() + b"\n")
        await process.stdin.drain()
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()


async def line_of(process: asyncio.subprocess.Process, limit_s: float) -> dict[str, Any]:
    """The process's next line; raises TimeoutError, ValueError where it said none."""
    assert process.stdout is not None
    async with asyncio.timeout(limit_s):
        line = await process.stdout.readline()
    said: dict[str, Any] = json.loads(line)
    return said


async def _end(host: asyncio.subprocess.Process) -> dict[str, Any]:
    """Let the service end by itself; what it used."""
    assert host.stdin is not None
    host.stdin.close()
    return await line_of(host, 30.0)


async def _last_words(process: asyncio.subprocess.Process) -> str:
    """The last line of what a failed client had to say."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert process.stderr is not None
    said = (await process.stderr.read()).decode("utf-8", "replace").strip().splitlines()
    return said[-1] if said else ""


def _gave_up(error: str, words: str) -> dict[str, Any]:
    """A race that came to nothing."""
    return {
        "began": 0.0, "ended": 0.0, "delivered": {}, "cpu_s": 0.0, "peak_mb": 0.0,
        "problem": words or error,
    }  # fmt: skip


def _ledger(url: str) -> dict[str, Any]:
    """What the service sold."""
    place = url.removesuffix("/api/v1") + "/emulator/ledger"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(place, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def keep(path: Path, rows: Sequence[Row], about: Mapping[str, Any]) -> None:
    """Write the rows as JSON."""
    record = {**about, "rows": [row.record() for row in rows]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
