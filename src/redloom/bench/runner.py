"""A client's process: ``python -m redloom.bench.runner``, told on stdin what to run.

One process for each client and race, so that processor and memory are its own. The one line out
says when it began, when each picture was there, and what it used.

May import: clock, bench.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import resource
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from redloom.clock import clock_from_environment

from .course import Course
from .host import cpu_s, say
from .scenarios import KEY, KEY_VARIABLE, Place, scenario

NAMES = {
    "ours": "ours",
    "report-3": "report_way",
    "report-cap": "report_way",
    "gather": "gather",
    "sdk": "sdk",
    "serial": "report_way",
}
"""Which module of ``clients`` holds each client."""


async def run(told: dict[str, Any]) -> dict[str, Any]:
    """Run the client; what it came to."""
    wanted = scenario(told["scenario"]).sized(told["pictures"])
    if "place" in told:
        wanted = replace(wanted, model=told["model"], places=(Place(**told["place"]),))
    module = importlib.import_module(f"redloom.bench.clients.{NAMES[told['client']]}")
    course = Course(
        wanted, wanted.prompts(told["seed"]), told["urls"], os.environ.get(KEY_VARIABLE, KEY), Path(told["folder"]),
        clock_from_environment(),
    )  # fmt: skip
    before = cpu_s()
    await module.CLIENTS[told["client"]](course)
    return {
        "began": course.began,
        "ended": max(course.delivered.values(), default=course.clock.now()),
        "delivered": course.delivered,
        "cpu_s": cpu_s() - before,
        "peak_mb": peak_mb(),
        "purchases": course.purchases,
        "counts": course.counts,
    }


def peak_mb() -> float:
    """The most memory that this process held, in MiB.

    Linux's ``ru_maxrss`` of a child begins with its parent's, so VmHWM is read there.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(one for one in status.read_text().splitlines() if one.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def main() -> None:
    """The process."""
    logging.disable(logging.CRITICAL)
    say(asyncio.run(run(json.loads(sys.stdin.readline()))))


if __name__ == "__main__":
    main()
