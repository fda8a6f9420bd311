"""What a setting costs, measured: our client with one thing set otherwise, on the clock that jumps.

Each line is the median over a few seeds of one service (five at once, 60 pictures) unless it says
otherwise. ``redloom bench --sweep`` runs it; the advice in the documentation rests on its rows.

May import: lang, bound, bench, emulators, testing.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, Literal

from redloom.bound import above
from redloom.emulators.dashscope import DashScopeEmulator
from redloom.lang import Text
from redloom.testing import JumpingClock, run

from .bounds import bounds_of
from .clients.ours import CLIENTS
from .course import Course
from .jumped import quietly
from .scenarios import KEY, Place, Scenario, scenario

SEEDS = (3001, 3002, 3003)


@dataclass(frozen=True, slots=True)
class Case:
    """One setting: what is told to each client that shares the service, and what that is like."""

    group: str
    name: str
    text: Text
    over: Literal["queue", "reject"] = "queue"
    jobs: int | None = None
    told: int = 5
    """The concurrency that the client is told; the service has 5."""
    shares: tuple[float, ...] = (1.0,)
    """One client, or several at a time with their parts of the account's quota."""


CASES = (
    Case("jobs", "-j 1", Text("一次一张", "one at a time"), jobs=1),
    Case("jobs", "-j 3", Text("低于配额", "below the quota"), jobs=3),
    Case("jobs", "-j 5", Text("正好等于配额", "exactly the quota"), jobs=5),
    Case("jobs", "-j 10", Text("高于配额", "above the quota"), jobs=10),
    Case("jobs", "–", Text("不设", "not set")),
    Case("limit", "concurrency = 3", Text("设置里写低了", "set too low"), told=3),
    Case("limit", "concurrency = 10", Text("写高了，超出排队", "set too high, excess queues"), told=10),
    Case(
        "limit", "concurrency = 10, refused",
        Text("写高了，超出被拒", "set too high, excess is refused"), told=10, over="reject",
    ),
    Case(
        "shares", "1 + 1", Text("两台机器都当全部是自己的", "two machines, each takes all of it"),
        shares=(1.0, 1.0), over="reject",
    ),
    Case(
        "shares", "0.5 + 0.5", Text("各一半", "half each"), shares=(0.5, 0.5), over="reject",
    ),
    Case(
        "shares", "0.6 + 0.4", Text("三张和两张", "three and two"), shares=(0.6, 0.4), over="reject",
    ),
    Case(
        "shares", "1 + 1, queued", Text("超出排队时都当全部是自己的", "each takes all, excess queues"),
        shares=(1.0, 1.0),
    ),
    Case(
        "shares", "0.5 + 0.5, queued", Text("超出排队时各一半", "half each, excess queues"),
        shares=(0.5, 0.5),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measured:
    """What a case came to: medians over the seeds."""

    group: str
    name: str
    above_pct: float
    """Time to the last file of all, against a run in which none of the five slots is ever idle."""
    refused: float
    """429s for each picture."""
    asked: float
    """Status requests for each picture."""
    twice: int
    """Pictures bought twice, of all seeds."""
    delivered: int
    wanted: int


def measure(case: Case, seed: int, pictures: int) -> Measured:
    """One case under one seed. For a process without a loop of its own."""
    return run(_measured(case, seed, pictures))


async def _measured(case: Case, seed: int, pictures: int) -> Measured:
    clock = JumpingClock()
    scene = replace(scenario("clean").sized(pictures), over=case.over)
    service = DashScopeEmulator(scene.emulated(scene.places[0], seed), clock)
    url, prompts = await service.start(), scene.prompts(seed)
    with tempfile.TemporaryDirectory(prefix="redloom-bench-") as folder:
        courses = [
            _course(case, scene, k, own, url, Path(folder), clock)
            for k, own in enumerate(dealt(prompts, case.shares))
        ]
        began = clock.now()
        await asyncio.gather(*(CLIENTS["ours"](one) for one in courses))
        ended = max((at for one in courses for at in one.delivered.values()), default=began)
    await service.stop()
    counts = service.ledger.counts
    bound = bounds_of(scene, seed).never_idle_s
    return Measured(
        case.group, case.name, above(ended - began, bound),
        sum(n for name, n in counts.items() if name.startswith("429")) / pictures,
        (counts["poll"] + counts["list"]) / pictures, len(service.ledger.bought_twice()),
        sum(len(one.delivered) for one in courses), pictures,
    )  # fmt: skip


def dealt(prompts: Sequence[str], shares: Sequence[float]) -> list[list[str]]:
    """The prompts dealt out in proportion to the shares."""
    hands: list[list[str]] = [[] for _ in shares]
    for prompt in prompts:
        owed = min(range(len(shares)), key=lambda k: (len(hands[k]) + 1) / shares[k])
        hands[owed].append(prompt)
    return hands


def _course(
    case: Case, scene: Scenario, number: int, prompts: list[str], url: str, folder: Path,
    clock: JumpingClock,
) -> Course:  # fmt: skip
    told = replace(scene, places=(Place(concurrency=case.told),))
    own = folder / f"machine-{number}"
    own.mkdir()
    return Course(told, prompts, [url], KEY, own, clock, case.jobs, case.shares[number])


def sweep(
    pictures: int, side_by_side: int, told: Callable[[Measured], None], seeds: Sequence[int] = SEEDS
) -> list[Measured]:
    """Every case, each the median over the seeds."""
    rows = []
    with ProcessPoolExecutor(side_by_side, get_context("spawn"), quietly) as pool:
        orders = [(case, seed, pictures) for case in CASES for seed in seeds]
        found = list(zip(*[iter(pool.map(_ordered, orders))] * len(seeds), strict=True))
        for several in found:
            rows.append(_middle(several))
            told(rows[-1])
    return rows


def _ordered(order: tuple[Case, int, int]) -> Measured:
    return measure(*order)


def _middle(rows: Sequence[Measured]) -> Measured:
    return replace(
        rows[0],
        above_pct=median(row.above_pct for row in rows),
        refused=median(row.refused for row in rows),
        asked=median(row.asked for row in rows),
        twice=sum(row.twice for row in rows),
        delivered=min(row.delivered for row in rows),
    )


def record(row: Measured) -> dict[str, Any]:
    """As plain JSON."""
    return asdict(row)


def markdown(rows: Sequence[Measured]) -> list[str]:
    """A table: what is set, and what it comes to."""
    texts = {(case.group, case.name): case.text for case in CASES}
    heads = (
        Text("设了什么", "what is set"), Text("也就是", "that is"), Text("高出不空转界", "above never-idle"),
        Text("429/张", "429/pic"), Text("查询/张", "asked/pic"), Text("买两次", "twice"),
    )  # fmt: skip
    said = ["| " + " | ".join(map(str, heads)) + " |", "|---|---" + "|--:" * 4 + "|"]
    for row in rows:
        whole = f"{row.above_pct:+.1f} %" if row.delivered == row.wanted else "–"
        cells = [
            f"`{row.name}`", str(texts[row.group, row.name]), whole, f"{row.refused:.2f}",
            f"{row.asked:.1f}", str(row.twice),
        ]  # fmt: skip
        said.append("| " + " | ".join(cells) + " |")
    return said
