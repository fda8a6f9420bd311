"""What the service is like in each race, and what the issue asks of us there.

May import: lang, emulators.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from redloom.emulators.changes import parse_changes
from redloom.emulators.dashscope import Emulated, ServiceTime, parse_faults
from redloom.lang import Text

SPEED = 20.0
"""Nominal seconds in a real one, at most: above it, the client's own work would weigh too much."""
SYNC_SPEED = 5.0
"""For the lane with 150 calls open at once: 40 submits in a real second would measure this machine."""
KEY = "sk-emulated"
KEY_VARIABLE = "REDLOOM_BENCH_KEY"
"""Where a client's process finds a real key: never on its command line, never in its orders."""
MILD = "poll_error=0.02,answer_lost=0.02,task_failed=0.03,bad_download=0.05"
PACED = ("report-3", "report-cap", "sdk", "gather", "ours")


@dataclass(frozen=True, slots=True)
class Place:
    """One emulated endpoint with an account of its own."""

    concurrency: int | None = 5
    """Tasks at once; None: no limit (synchronous lane)."""
    rate: float = 5.0
    """Submits a second."""
    burst: float = 5.0
    """How many submits the service takes at once after a pause."""
    median: float = 55.0
    changes: str = ""

    @property
    def latency(self) -> ServiceTime:
        """Log-normal; its bounds scale with the median (30 to 120 s at 55 s)."""
        scale = self.median / 55.0
        return ServiceTime(self.median, 0.4, 30.0 * scale, 120.0 * scale)


@dataclass(frozen=True, slots=True)
class Target:
    """What must be shown: the field of `measure.Row` and the most that it may be."""

    figure: str
    most: float
    text: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A service, a number of pictures, and what our client is told of it."""

    name: str
    text: Text
    pictures: int
    quick: int
    """Pictures with ``--quick``; 0: left out there."""
    places: tuple[Place, ...] = (Place(),)
    model: str = "wan2.6-t2i"
    lane: Literal["sync", "async"] = "async"
    over: Literal["queue", "reject"] = "queue"
    faults: str = ""
    stragglers: float = 0.0
    """The part of prompts that take eight times as long."""
    told: bool = True
    """Whether the client is told the limits."""
    speed: float = SPEED
    clients: tuple[str, ...] = PACED
    targets: tuple[Target, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)

    def emulated(self, place: Place, seed: int) -> Emulated:
        """The stand-in's settings for one of the places."""
        published = self.lane == "sync"  # the rate's period is then part of the model
        return Emulated(
            latency=place.latency,
            submit_per_second=None if published else place.rate,
            concurrency=place.concurrency,
            over=self.over,
            faults=parse_faults(self.faults),
            changes=parse_changes(place.changes),
            stragglers=self.stragglers,
            keys={KEY: "bench"},
            picture_size="small",
            seed=seed,
        )

    def prompts(self, seed: int) -> list[str]:
        """Distinct prompts, the same for every client."""
        return [f"bench {seed}: a lane in the rain, view {k}" for k in range(1, self.pictures + 1)]

    def rough_s(self) -> float:
        """About how many real seconds a race without losses takes: to begin with the longest."""
        speed = sum(
            min(one.rate, one.concurrency / (1.08 * one.median) if one.concurrency else one.rate)
            for one in self.places
        )
        return (self.pictures / speed + self.places[0].median) / self.speed

    def sized(self, pictures: int) -> Scenario:
        """The same with another number of pictures."""
        return replace(self, pictures=pictures)


def _above(most: float) -> Target:
    return Target(
        "above_pct", most, Text(f"高出不空转界 ≤ {most:g} %", f"≤ {most:g} % above never-idle")
    )


_ONCE = Target("bought_twice", 0, Text("重复购买 0", "0 bought twice"))
_CAP = ("report-3", "report-cap", "ours")

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        name="clean",
        text=Text("一切顺利，同时 5 张", "nothing goes wrong, 5 at once"),
        pictures=100,
        quick=50,
        clients=("serial", *PACED),
        targets=(_above(1.0), _ONCE),
    ),
    Scenario(
        name="mild",
        text=Text(
            "小毛病：查询出错 2 %、回答丢失 2 %、任务失败 3 %、下载损坏 5 %",
            "mild faults: 2 % poll errors, 2 % lost answers, 3 % failed tasks, 5 % bad downloads",
        ),
        pictures=100,
        quick=50,
        faults=MILD,
        targets=(_above(3.0), _ONCE),
    ),
    Scenario(
        name="stragglers",
        text=Text("1 % 的任务慢八倍", "1 % of the tasks take eight times as long"),
        pictures=200,
        quick=0,
        stragglers=0.01,
        clients=_CAP,
        targets=(_above(1.0), _ONCE),
    ),
    Scenario(
        name="unequal",
        text=Text("四个快慢不同的端点", "four unequal endpoints"),
        pictures=400,
        quick=0,
        places=(
            Place(concurrency=2, median=60),
            Place(median=60),
            Place(median=30),
            Place(median=120),
        ),
        clients=_CAP,
        targets=(_above(4.0), _ONCE),
    ),
    Scenario(
        name="slows",
        text=Text("一个端点中途慢四倍", "one of four endpoints slows fourfold mid-run"),
        pictures=400,
        quick=0,
        places=(
            Place(concurrency=2, median=60),
            Place(median=60),
            Place(median=30, changes="600:slower=4"),
            Place(median=120),
        ),
        clients=_CAP,
        targets=(
            Target(
                "above_restart_pct",
                8.0,
                Text("距全知重排 ≤ 8 %", "≤ 8 % above a clairvoyant restart"),
            ),
            _ONCE,
        ),
    ),
    Scenario(
        name="halved",
        text=Text(
            "上限中途从 6 减到 3，超出被拒", "the limit falls from 6 to 3 mid-run, excess refused"
        ),
        pictures=120,
        quick=0,
        places=(Place(concurrency=6, changes="500:concurrency=3"),),
        over="reject",
        clients=_CAP,
        targets=(_above(5.0), _ONCE),
    ),
    Scenario(
        name="reject",
        text=Text("超出上限即被拒，不排队", "excess is refused, not queued"),
        pictures=100,
        quick=0,
        over="reject",
        targets=(_above(4.0), _ONCE),
    ),
    Scenario(
        name="unknown",
        text=Text("上限未知，要自己摸清；超出被拒", "the limit is not told and excess is refused"),
        pictures=500,
        quick=0,
        over="reject",
        told=False,
        clients=("report-3", "ours"),
        targets=(
            Target("refused", 0.05, Text("每张 429 ≤ 0.05", "≤ 0.05 refusals per picture")),
            _ONCE,
        ),
    ),
    Scenario(
        name="sync",
        text=Text("同步通道，每秒 2 次", "the synchronous lane at 2 a second"),
        pictures=500,
        quick=0,
        places=(Place(concurrency=None, rate=2.0, burst=2.0),),
        model="qwen-image-2.0",
        lane="sync",
        speed=SYNC_SPEED,
        clients=("report-3", "gather", "ours"),
        targets=(_above(5.0), _ONCE),
    ),
    Scenario(
        name="minute",
        text=Text("每分钟只许 2 次", "a quota of 2 a minute"),
        pictures=24,
        quick=0,
        places=(Place(concurrency=None, rate=2 / 60, burst=2.0),),
        model="qwen-image-max",
        lane="sync",
        clients=("report-3", "gather", "ours"),
        targets=(_above(10.0), _ONCE),
    ),
    Scenario(
        name="polls",
        text=Text("同时 2 张时的查询用量", "how often is asked at 2 at once"),
        pictures=60,
        quick=0,
        places=(Place(concurrency=2),),
        clients=_CAP,
        targets=(
            Target("asked", 8.0, Text("每张查询 ≤ 8", "≤ 8 status requests per picture")),
            Target("drain_delay_s", 2.0, Text("收尾发现延迟 ≤ 2 s", "≤ 2 s unseen in the drain")),
            _ONCE,
        ),
    ),
)


PROOF: Mapping[str, tuple[tuple[str, ...], int]] = {
    "clean": (("report-3", "report-cap", "ours"), 0),
    "mild": (("report-cap", "ours"), 0),
    "stragglers": (("report-cap", "ours"), 100),
    "unequal": (("ours",), 0),
    "slows": (("ours",), 0),
    "reject": (("ours",), 0),
    "unknown": (("ours",), 0),
    "sync": (("ours",), 0),
    "polls": (("ours",), 0),
}
"""``--proof``: who runs in each scene, and how many pictures (0: the scene's own)."""
TABLE = Scenario(
    name="table",
    text=Text("报告里的那张表", "the report's own table"),
    pictures=5,
    quick=0,
    clients=("serial", "report-3", "ours"),
)
"""RedBookContentGen's table: a note's few pictures, one by one and three at once."""
REAL = Scenario(
    name="real",
    text=Text("真服务", "the real service"),
    pictures=10,
    quick=0,
    speed=1.0,
    clients=("report-3", "ours"),
)
"""The configured service; its place and model are filled in."""
TABLE_SIZES = (3, 5, 10)


def scenario(name: str) -> Scenario:
    """The scenario of that name; raises KeyError."""
    return {one.name: one for one in (*SCENARIOS, TABLE, REAL)}[name]
