"""What a race came to, read from the service's own ledger: the same for every client.

May import: bench.scenarios, bench.bounds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

from .bounds import Slots, clairvoyant, never_idle, restart, slots_of, tries_of
from .scenarios import Scenario


@dataclass(frozen=True, slots=True)
class Bounds:
    """What could be reached at best, nominal seconds."""

    never_idle_s: float
    clairvoyant_s: float
    restart_s: float
    slots: tuple[Slots, ...]


def bounds_of(scenario: Scenario, seed: int) -> Bounds:
    """The bounds of a scenario as the emulator will play it."""
    slots = [slots_of(place) for place in scenario.places]
    tries = [tries_of(scenario, place, seed) for place in scenario.places]
    return Bounds(
        never_idle(slots, tries), clairvoyant(slots, tries), restart(slots, tries), tuple(slots)
    )


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
        return 100 * (self.makespan_s / self.never_idle_s - 1) if self.never_idle_s else 0.0

    @property
    def above_clairvoyant_pct(self) -> float:
        """Percent above the clairvoyant finish."""
        return 100 * (self.makespan_s / self.clairvoyant_s - 1) if self.clairvoyant_s else 0.0

    @property
    def above_restart_pct(self) -> float:
        """Percent above one who knows every time."""
        return 100 * (self.makespan_s / self.restart_s - 1) if self.restart_s else 0.0

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
        losses=losses(bounds, ran, ledgers),
    )


def _delays(bought: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    """From end to being told: of all asynchronous tasks, and of those in the drain."""
    told = [one for one in bought if one["seen"] is not None and one["lane"] == "async"]
    last = max((one["started"] for one in bought if one["started"] is not None), default=0.0)
    delays = [one["seen"] - one["ended"] for one in told]
    return delays, [one["seen"] - one["ended"] for one in told if one["ended"] > last]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def losses(
    bounds: Bounds, ran: Mapping[str, Any], ledgers: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """Where the seconds above the bound went, in seconds of the whole run.

    ``start``: slots empty before they were first all taken; ``idle``: slots empty between then and
    the last start; ``again``: slots busy with pictures bought twice; ``tail``: from the last end to
    the last file; ``order``: the rest, above all another order in the drain.
    """
    began, ended = ran["began"], ran["ended"]
    parts = [
        _slot_losses(b, began, ledger) for b, ledger in zip(bounds.slots, ledgers, strict=True)
    ]
    slots = sum(one.at(0.0) for one in bounds.slots)
    found = {name: sum(part[name] for part in parts) / slots for name in ("start", "idle", "again")}
    ends = [p["ended"] for ledger in ledgers for p in ledger["purchases"] if p["ended"] is not None]
    found["tail"] = ended - max((end for end in ends if end <= ended), default=began)
    above = ended - began - bounds.never_idle_s
    found["order"] = above - sum(found.values())
    return found


def _slot_losses(slots: Slots, began: float, ledger: Mapping[str, Any]) -> dict[str, float]:
    """Slot seconds lost at one endpoint."""
    tasks = [p for p in ledger["purchases"] if p["started"] is not None]
    if slots.concurrency is None or not tasks:
        return {"start": 0.0, "idle": 0.0, "again": 0.0}
    starts = sorted(p["started"] - began for p in tasks)
    first, last = starts[min(slots.at(0.0), len(starts)) - 1], starts[-1]
    spans = [(p["started"] - began, p["ended"] - began) for p in tasks]
    paid: Counter[str] = Counter()
    again = 0.0
    for p in tasks:
        if p["billed"]:
            paid[p["prompt"]] += 1
            again += (p["ended"] - p["started"]) * (paid[p["prompt"]] > 1)
    unavoidable = sum(min(slots.released(k), first) for k in range(slots.at(0.0)))
    return {
        "start": _empty(slots, spans, 0.0, first) - unavoidable,
        "idle": _empty(slots, spans, first, last),
        "again": again,
    }


def _empty(slots: Slots, spans: Sequence[tuple[float, float]], start: float, end: float) -> float:
    """Slot seconds without a task in [start, end], by the limit of the moment."""
    moments = {start, end, *(at for span in spans for at in span if start < at < end)}
    moments |= {change.at_s for change in slots.changes if start < change.at_s < end}
    ordered, total = sorted(moments), 0.0
    for at, until in pairwise(ordered):
        running = sum(s <= at < e for s, e in spans)
        total += max(0, slots.at(at) - running) * (until - at)
    return total


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
