"""One program that wants pictures: an engine, a run, its results as JSON. Made to be killed.

    python -m helpers.driver '{"url": …, "workspace": …, "out": …, "prompts": […],
                               "die": ["before", "ticket", 3]}'

With ``die`` it kills itself around the n-th commit that holds such a label. With ``file_limit``
no file of its can grow beyond so many bytes, as on a disk without room.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

from redloom.clock import clock_from_environment
from redloom.endpoint import Endpoint, Limits, Provider, Tools
from redloom.engine import Engine, RunOptions
from redloom.providers import dashscope
from redloom.retry import Policy

KEY = "sk-emulated-2f8c1d97b3e64a05"
"""What must be found in no byte that is written."""


def killer(when: str, label: str, left: int) -> Callable[[str, tuple[str, ...]], None]:
    """A witness that ends this process as a power cut would."""
    number = left

    def witness(now: str, labels: tuple[str, ...]) -> None:
        nonlocal number
        if now == when and label in labels:
            number -= 1
            if number == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return witness


def equipped(url: str, model: str, rate: float, slots: int) -> tuple[Endpoint, Provider]:
    """The emulator as an endpoint, with the limits that it was started with."""
    endpoint = Endpoint(
        "dashscope", "dashscope", model, url, region="cn-beijing", account="a",
        limits=Limits(submit_per_second=rate, concurrency=slots, poll_per_second=20.0),
    )  # fmt: skip
    clock = clock_from_environment()
    return endpoint, dashscope.create(endpoint, Tools(key=KEY, clock=clock))


async def milder(words: str, _reason: str) -> str:
    """A refused prompt in milder words."""
    return f"{words}, gently"


async def main(wanted: dict[str, Any]) -> None:
    """Make the pictures and say what became of them."""
    if wanted.get("file_limit"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (wanted["file_limit"], resource.RLIM_INFINITY))
    one = equipped(
        wanted["url"], wanted.get("model", "wan2.6-t2i"), wanted.get("rate", 5.0), wanted.get("slots", 5)
    )  # fmt: skip
    engine = Engine(
        workspace=wanted["workspace"], equipped=[one], clock=clock_from_environment(),
        lane=wanted.get("lane"), policy=Policy(tries=20, base_s=0.2, cap_s=2.0), rng=random.Random(),
        witness=killer(*wanted["die"]) if wanted.get("die") else None,
        soften=milder if wanted.get("soften") else None,
    )  # fmt: skip
    async with engine:
        options = RunOptions(
            in_doubt=wanted.get("in_doubt", "wait"), soften=bool(wanted.get("soften"))
        )
        run = await engine.add(wanted["prompts"], out=wanted["out"], options=options)
        results = []
        async for result in engine.follow(run):
            results.append(result)
            if wanted.get("cancel"):
                await engine.cancel(run)
        results.sort(key=lambda one: (one.row, one.take))
    told = [[r.row, r.status, r.file, r.prompt, r.code] for r in results]
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
