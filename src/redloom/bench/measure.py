"""What a race came to, read from the service's own ledger: the same for every client.

May import: bound, bench.scenarios, bench.bounds, bench.losses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from redloom.bound import above

from .bounds import Bounds
from .losses import losses
from .scenarios import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One client's race. Times are nominal seconds, ``cpu_ms`` real milliseconds a picture."""

    scenario: str
    client: str
    seed: int
    wanted: int
    delivered: int
    bought: int
    bought_twice: int
    makespan_s: float
    never_idle_s: float
    clairvoyant_s: float
    restart_s: float
    asked: float
    """Status requests (polls and list calls) for each picture."""
    lists: float
    """List calls among them, for each picture."""
    refused: float
    """429s for each picture, of every kind."""
    refused_kinds: dict[str, int] = field(default_factory=dict)
    delay_s: float | None = None
    """Mean from a task's end to a client's being told."""
    delay_p95_s: float | None = None
    drain_delay_s: float | None = None
    """The same for tasks that ended after the last one had started."""
    cpu_ms: float | None = None
    peak_mb: float | None = None
    losses: dict[str, float] = field(default_factory=dict)
    service_cpu_pct: float | None = None
    """Of one core, while the client ran: the service's own use."""
    real_s: float | None = None
    speed: float = 1.0
    computed: bool = False
    repeats: int = 1
    problem: str = ""

    @property
    def above_pct(self) -> float:
        """Percent above the never-idle finish."""
        return above(self.makespan_s, self.never_idle_s)

    @property
    def above_clairvoyant_pct(self) -> float:
        """Percent above the clairvoyant finish."""
        return above(self.makespan_s, self.clairvoyant_s)

    @property
    def above_restart_pct(self) -> float:
        """Percent above one who knows every time."""
        return above(self.makespan_s, self.restart_s)

    @property
    def whole(self) -> bool:
        """Whether every picture was delivered: only then its time can be compared."""
        return self.delivered == self.wanted and not self.problem

    def record(self) -> dict[str, Any]:
        """As plain JSON, with the percentages."""
        return {
            **asdict(self), "above_pct": self.above_pct, "whole": self.whole,
            "above_clairvoyant_pct": self.above_clairvoyant_pct,
            "above_restart_pct": self.above_restart_pct,
        }  # fmt: skip


def row_of(
    scenario: Scenario,
    client: str,
    seed: int,
    bounds: Bounds,
    ran: Mapping[str, Any],
    ledgers: Sequence[Mapping[str, Any]],
) -> Row:
    """A client's race from what it told and what the services wrote down."""
    counts = sum((Counter(ledger["counts"]) for ledger in ledgers), Counter[str]())
    bought = [one for ledger in ledgers for one in ledger["purchases"]]
    paid = Counter(one["prompt"] for one in bought if one["billed"])
    pictures = max(1, len(ran["delivered"]))
    delays, drain = _delays(bought)
    kinds = {name[4:]: n for name, n in counts.items() if name.startswith("429 ")}
    return Row(
        scenario=scenario.name,
        client=client,
        seed=seed,
        wanted=scenario.pictures,
        delivered=len(ran["delivered"]),
        bought=sum(paid.values()),
        bought_twice=sum(number - 1 for number in paid.values()),
        makespan_s=ran["ended"] - ran["began"],
        never_idle_s=bounds.never_idle_s,
        clairvoyant_s=bounds.clairvoyant_s,
        restart_s=bounds.restart_s,
        asked=(counts["poll"] + counts["list"]) / pictures,
        lists=counts["list"] / pictures,
        refused=sum(kinds.values()) / pictures,
        refused_kinds=kinds,
        delay_s=_mean(delays),
        delay_p95_s=sorted(delays)[int(0.95 * (len(delays) - 1))] if delays else None,
        drain_delay_s=_mean(drain),
        cpu_ms=1000 * ran["cpu_s"] / pictures,
        peak_mb=ran["peak_mb"],
        losses=losses(bounds.places, bounds.never_idle_s, ran, ledgers),
    )


def _delays(bought: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    """From end to being told: of all asynchronous tasks, and of those in the drain."""
    told = [one for one in bought if one["seen"] is not None and one["lane"] == "async"]
    last = max((one["started"] for one in bought if one["started"] is not None), default=0.0)
    delays = [one["seen"] - one["ended"] for one in told]
    return delays, [one["seen"] - one["ended"] for one in told if one["ended"] > last]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def middle(rows: Sequence[Row]) -> Row:
    """The median race by distance to the bound; counts that must be zero are the worst of all."""
    ordered = sorted(rows, key=lambda row: (not row.whole, row.above_pct))
    chosen = ordered[(len(ordered) - 1) // 2]
    values = asdict(chosen)
    values["bought_twice"] = max(row.bought_twice for row in rows)
    for name in (
        "asked",
        "lists",
        "refused",
        "delay_s",
        "delay_p95_s",
        "drain_delay_s",
        "cpu_ms",
        "peak_mb",
    ):
        known = [value for row in rows if (value := getattr(row, name)) is not None]
        values[name] = median(known) if known else None
    values["repeats"] = len(rows)
    return Row(**values)
