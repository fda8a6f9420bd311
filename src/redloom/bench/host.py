"""The service's process: ``python -m redloom.bench.host``, told on stdin what to emulate.

First line in: the scenario's name and the seed, as JSON. First line out: the base URLs. When stdin
ends, the last line out says what it used of the processor, so that the race can tell whether the
service was the bottleneck.

May import: clock, emulators, bench.scenarios.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from typing import Any

from redloom.clock import clock_from_environment
from redloom.emulators.dashscope import DashScopeEmulator

from .scenarios import scenario


def say(record: dict[str, Any]) -> None:
    """One line of JSON to the parent."""
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


def cpu_s() -> float:
    """Seconds of the processor that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def serve(name: str, seed: int) -> None:
    """Emulate the scenario's places until stdin ends."""
    wanted, clock = scenario(name), clock_from_environment()
    emulators = [DashScopeEmulator(wanted.emulated(p, seed), clock) for p in wanted.places]
    say({"urls": [await one.start() for one in emulators]})
    await asyncio.to_thread(sys.stdin.read)
    for one in emulators:
        await one.stop()
    say({"cpu_s": cpu_s()})


def main() -> None:
    """The process."""
    told = json.loads(sys.stdin.readline())
    asyncio.run(serve(told["scenario"], told["seed"]))


if __name__ == "__main__":
    main()
