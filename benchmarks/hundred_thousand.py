"""Memory flat over a long run: 100,000 prompts against 1,000, on a service without latency.

Each run is a process of its own, so that its peak is its own; the service is another process. The
journal's and the store's files are on the disk of the temporary folder.

    python benchmarks/hundred_thousand.py [--pictures 100000] [--against 1000] [--at-once 64]

Exit status 1 where the long run's peak is more than 20 % over the short one's, or over 250 MB.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from overhead import KEY, serve

from redloom.clock import SystemClock
from redloom.endpoint import Endpoint, Limits, Tools
from redloom.engine import Engine
from redloom.providers import dashscope

MOST_MB, MOST_RATIO = 250.0, 1.2


def peak_mb() -> float:
    """This process's highest resident memory so far, in megabytes (ru_maxrss: bytes on macOS)."""
    unit = 1024 * 1024 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


async def made(url: str, number: int, at_once: int, folder: Path) -> dict[str, float]:
    """Make ``number`` pictures as they are read; pictures per second and the peak in megabytes."""
    limits = Limits(submit_per_second=1e9, concurrency=at_once, poll_per_second=1e9)
    endpoint = Endpoint("dashscope", "dashscope", "wan2.6-t2i", url, "cn-beijing", "a", limits)
    provider = dashscope.create(endpoint, Tools(key=KEY))
    began, ok = time.perf_counter(), 0
    prompts = (f"one of many {k}" for k in range(number))
    async with Engine(
        workspace=folder / "ws", equipped=[(endpoint, provider)], clock=SystemClock()
    ) as engine:
        async for result in engine.stream(
            prompts, out=folder / "out", digest=str(number), wait=False
        ):
            ok += result.ok
    assert ok == number, ok
    return {"per_second": number / (time.perf_counter() - began), "peak_mb": peak_mb()}


def in_a_process(url: str, number: int, at_once: int) -> dict[str, float]:
    """The same in a fresh process and a fresh workspace."""
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, __file__, "--one", folder, "--url", url]
        line += ["--pictures", str(number), "--at-once", str(at_once)]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def compare(pictures: int, against: int, at_once: int) -> bool:
    """Both runs, printed side by side; whether memory is flat."""
    found = []
    for number in (against, pictures):
        # A fresh service each time: one that remembers 100,000 tasks is slower than a new one.
        ready: Any = multiprocessing.Queue()
        service = multiprocessing.Process(target=serve, args=(ready,), daemon=True)
        service.start()
        try:
            one = in_a_process(ready.get(timeout=30), number, at_once)
        finally:
            service.kill()
        found.append(one)
        print(
            f"{number} pictures: {one['per_second']:.0f}/s, peak {one['peak_mb']:.0f} MB",
            flush=True,
        )
    ratio = found[1]["peak_mb"] / found[0]["peak_mb"]
    print(f"peak memory, {pictures} against {against}: {ratio:.2f}")
    return ratio <= MOST_RATIO and found[1]["peak_mb"] < MOST_MB


def main() -> int:
    """Run, or be one of the runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--against", type=int, default=1_000)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one is not None:
        print(json.dumps(asyncio.run(made(asked.url, asked.pictures, asked.at_once, asked.one))))
        return 0
    return 0 if compare(asked.pictures, asked.against, asked.at_once) else 1


if __name__ == "__main__":
    sys.exit(main())
