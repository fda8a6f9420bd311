"""The rows as text: for a terminal and, as Markdown, for the documentation.

May import: lang, bench.scenarios, bench.measure.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

from redloom.lang import Text

from .measure import Row
from .scenarios import Scenario, Target

CLIENTS = {
    "serial": Text("逐张", "serial"),
    "report-3": Text("报告的写法，3 个槽", "the report's way, 3 slots"),
    "report-cap": Text("报告的写法，槽数设对", "the report's way, at the cap"),
    "sdk": Text("官方 SDK 的循环", "the official SDK's loop"),
    "gather": Text("gather + aiolimiter", "gather + aiolimiter"),
    "ours": Text("Redloom", "Redloom"),
}
"""The clients as people read them."""


class Column(NamedTuple):
    """One column: its heading and what stands in it."""

    head: Text
    cell: Callable[[Row], str]


def percent(value: float) -> str:
    """Signed, one decimal below 100, a true minus; what rounds to nothing has no sign of less."""
    rounded = round(value, 1) + 0.0
    said = f"{rounded:+.1f} %" if abs(value) < 100 else f"{value:+.0f} %"
    return said.replace("-", "\N{MINUS SIGN}")


def _above(row: Row) -> str:
    return percent(row.above_pct) if row.whole else "–"


def _clairvoyant(row: Row) -> str:
    return percent(row.above_clairvoyant_pct) if row.whole else "–"


def _maybe(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


COLUMNS = (
    Column(Text("客户端", "client"), lambda r: str(CLIENTS[r.client]) + " *" * r.computed),
    Column(Text("高出不空转界", "above never-idle"), _above),
    Column(Text("高出全知界", "above clairvoyant"), _clairvoyant),
    Column(Text("交付", "delivered"), lambda r: f"{r.delivered}/{r.wanted}"),
    Column(Text("购买", "bought"), lambda r: str(r.bought)),
    Column(Text("买两次", "twice"), lambda r: str(r.bought_twice)),
    Column(Text("查询/张", "asked/pic"), lambda r: f"{r.asked:.1f}"),
    Column(Text("429/张", "429/pic"), lambda r: f"{r.refused:.2f}"),
    Column(Text("发现延迟 s", "unseen s"), lambda r: _maybe(r.delay_s, ".1f")),
    Column(Text("收尾 s", "in drain s"), lambda r: _maybe(r.drain_delay_s, ".1f")),
    Column(Text("CPU ms/张", "CPU ms/pic"), lambda r: _maybe(r.cpu_ms, ".0f")),
    Column(Text("内存 MB", "peak MB"), lambda r: _maybe(r.peak_mb, ".0f")),
)


def verdict(target: Target, row: Row) -> tuple[bool, str]:
    """Whether a target is met, and the line that says so."""
    value = getattr(row, target.figure)
    met = value is not None and value <= target.most and row.whole
    shown = "–" if value is None else f"{value:.2f}".rstrip("0").rstrip(".")
    return met, f"{'✓' if met else '✗'} {target.text}: {shown}"


def verdicts(scenario: Scenario, rows: Sequence[Row]) -> list[tuple[bool, str]]:
    """Our targets in one scenario, judged."""
    ours = [row for row in rows if row.scenario == scenario.name and row.client == "ours"]
    return [verdict(target, row) for row in ours for target in scenario.targets]


def lines(scenario: Scenario, rows: Sequence[Row]) -> list[str]:
    """One scenario for a terminal."""
    mine = [row for row in rows if row.scenario == scenario.name]
    cells = [[str(c.head) for c in COLUMNS], *([c.cell(row) for c in COLUMNS] for row in mine)]
    widths = [max(_width(line[k]) for line in cells) for k in range(len(COLUMNS))]
    said = [_padded(line, widths) for line in cells]
    title = f"{scenario.text} · {scenario.pictures} · ×{scenario.speed:g}"
    problems = [f"  {CLIENTS[row.client]}: {row.problem}" for row in mine if row.problem]
    judged = [f"  {text}" for _, text in verdicts(scenario, rows)]
    return [title, *said, *problems, *judged]


def markdown(scenario: Scenario, rows: Sequence[Row]) -> list[str]:
    """One scenario for the documentation."""
    mine = [row for row in rows if row.scenario == scenario.name]
    said = ["| " + " | ".join(str(c.head) for c in COLUMNS) + " |"]
    said.append("|---" + "|--:" * (len(COLUMNS) - 1) + "|")
    for row in mine:
        cells = [c.cell(row) for c in COLUMNS]
        if row.client == "ours":
            cells = [f"**{cell}**" for cell in cells]
        said.append("| " + " | ".join(cells) + " |")
    return said


def _padded(cells: Sequence[str], widths: Sequence[int]) -> str:
    """The first column to the left, figures to the right."""
    first = cells[0] + " " * (widths[0] - _width(cells[0]))
    rest = (
        " " * (width - _width(cell)) + cell
        for cell, width in zip(cells[1:], widths[1:], strict=True)
    )
    return "  " + "  ".join([first, *rest])


def _width(text: str) -> int:
    """Columns in a terminal: two for a Chinese character."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)
