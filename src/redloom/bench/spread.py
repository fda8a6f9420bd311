"""How a scene's figures fall over many seeds: median, tenth and ninetieth percentile, worst.

May import: lang, bench.scenarios, bench.measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from redloom.lang import Text

from .measure import Row
from .scenarios import Scenario, Target

FIGURES = {
    "above_pct": Text("高出不空转界 %", "% above never-idle"),
    "above_restart_pct": Text("高出全知重排 %", "% above a clairvoyant restart"),
    "refused": Text("429/张", "429 per picture"),
    "asked": Text("查询/张", "status requests per picture"),
    "drain_delay_s": Text("收尾发现延迟 s", "s unseen in the drain"),
}


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure of one scene over its seeds."""

    scenario: str
    figure: str
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
    """Of every figure with a target in this scene but the second purchases; the bound's first."""
    mine = [row for row in rows if row.scenario == wanted.name]
    targets = {one.figure: one for one in wanted.targets if one.figure in FIGURES}
    return [
        Spread(
            wanted.name, name, tuple(float(getattr(row, name) or 0.0) for row in mine),
            targets.get(name),
        )
        for name in dict.fromkeys(["above_pct", *targets])
    ]  # fmt: skip


def faults(rows: Sequence[Row]) -> list[str]:
    """What must never be: pictures that were not delivered, or bought twice."""
    return [
        f"{row.scenario} {row.seed}: {row.delivered}/{row.wanted}, {row.bought_twice} twice"
        for row in rows
        if row.delivered < row.wanted or row.bought_twice
    ]


def markdown(scenes: Sequence[Scenario], rows: Sequence[Row]) -> list[str]:
    """A line for each figure; whether the median meets the target."""
    heads = (
        Text("场景", "scene"), Text("量", "figure"), Text("中位", "median"), Text("P10", "p10"),
        Text("P90", "p90"), Text("最差", "worst"), Text("目标", "target"), Text("达标的种子", "seeds within"),
    )  # fmt: skip
    said = ["| " + " | ".join(map(str, heads)) + " |", "|---|---" + "|--:" * 6 + "|"]
    for one in (spread for scene in scenes for spread in spreads(scene, rows)):
        cells = [f"{value:.2f}" for value in (one.median, one.at(0.1), one.at(0.9), one.at(1.0))]
        target = "–" if one.target is None else f"≤ {one.target.most:g}"
        within = "–" if one.target is None else f"{one.within}/{len(one.values)}"
        name = str(FIGURES[one.figure])
        said.append("| " + " | ".join([one.scenario, name, *cells, target, within]) + " |")
    return said
