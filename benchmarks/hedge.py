"""Twins in the drain at free endpoints: how much sooner a run ends, and how many pictures it costs.

``python benchmarks/hedge.py [SEEDS]``: four servers that make one picture at a time (median 55 s, 90 %
in half to twice that), 60 pictures, one task in fifty eight times as long as it should be, by the
server's doing and not the picture's. The engine with ``hedge`` 0 and 3, on the clock that jumps.
"""

from __future__ import annotations

import logging
import math
import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from redloom.endpoint import FREE, Asked, Capabilities
from redloom.engine import Engine, RunOptions
from redloom.testing import FakeProvider, JumpingClock, fake_endpoint, run

PICTURES, SERVERS, PERCENT = 60, 4, 3.0
PART, TIMES = 0.02, 8.0
CAPS = Capabilities(lanes=("async",), queues_excess=True, free=True, typical_s=60.0)


@dataclass
class Server(FakeProvider):
    """One picture at a time, now and then one that hangs."""

    rng: random.Random | None = None

    def _accept(self, asked: Asked, fate: Any) -> Any:
        task, rng = super()._accept(asked, fate), self.rng
        assert rng is not None
        takes = 55.0 * math.exp(0.42 * rng.gauss(0.0, 1.0))
        task.ends = task.starts + takes * (TIMES if rng.random() < PART else 1.0)
        return task

    async def cancel(self, ticket: Any) -> bool:
        """It can be stopped at any time; what waited behind it begins then."""
        task, now = self.tasks[ticket.id], self.now()
        gained = max(0.0, task.ends - max(now, task.starts))
        for other in self.tasks.values():
            if other.starts >= task.ends:
                other.starts, other.ends = other.starts - gained, other.ends - gained
        task.canceled, task.ends = True, task.ends - gained
        return True


def race(seed: int, hedge: float) -> tuple[float, int]:
    """(nominal seconds to the last file, tasks submitted)."""
    clock = JumpingClock()
    servers = [
        Server(clock.now, caps=CAPS, cost=FREE, slots=1, rng=random.Random(f"{seed} {k}"))
        for k in range(SERVERS)
    ]

    async def main() -> float:
        equipped = [(fake_endpoint(f"gpu-{k}"), one) for k, one in enumerate(servers)]
        with tempfile.TemporaryDirectory() as folder:
            async with Engine(workspace=Path(folder), equipped=equipped, clock=clock) as engine:
                began = clock.now()
                words = [f"picture {k}" for k in range(PICTURES)]
                results = await engine.generate(words, options=RunOptions(hedge=hedge))
                assert all(one.ok for one in results)
                return clock.now() - began

    return run(main()), sum(one.submits for one in servers)


def main() -> None:
    """The script."""
    logging.disable(logging.CRITICAL)
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
    ratios, more, slow = [], 0, 0
    for seed in seeds:
        without, _ = race(seed, 0.0)
        took, submits = race(seed, PERCENT)
        ratios.append(took / without)
        more += submits - PICTURES
        slow += took > 1.02 * without
        print(f"· {seed}: {without:.0f} s, {took:.0f} s", file=sys.stderr)
    ratios.sort()
    print(
        f"{len(ratios)} runs of {PICTURES} pictures at {SERVERS} servers, 1 in {1 / PART:.0f} tasks {TIMES:g} times slower: "
        f"time with --hedge {PERCENT:g} against without: median {median(ratios):.2f}, mean {sum(ratios) / len(ratios):.2f}, "
        f"best {ratios[0]:.2f}, worst {ratios[-1]:.2f} ({slow} slower); "
        f"{100 * more / (PICTURES * len(ratios)):.1f} % more tasks"
    )


if __name__ == "__main__":
    main()
