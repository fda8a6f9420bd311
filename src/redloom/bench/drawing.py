"""The race as a picture: how far above the fastest possible finish each client ends. SVG.

May import: lang, bench.scenarios, bench.measure, bench.table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from redloom.lang import Text

from .measure import Row
from .scenarios import Scenario
from .table import CLIENTS, percent

WIDTH = 1080
MARGIN = 48
LABELS = 232
"""Where the names end and the bars begin."""
BARS = 424
"""Width of the axis."""
MOST = 100.0
"""Percent at the right end; what is beyond is drawn broken off."""
LINE = 27
INK, SOFT, FAINT, RULE = "#1f1b18", "#6f655c", "#a79d93", "#e6dfd6"
PAPER, RED, GREY, BAD = "#fbf8f3", "#c8102e", "#b9aea2", "#8c2f1d"
FACE = "'Noto Sans SC','PingFang SC','Microsoft YaHei','Helvetica Neue',Arial,sans-serif"
FIGURES = (
    (Text("交付", "delivered"), 800),
    (Text("买两次", "twice"), 874),
    (Text("查询/张", "asked/pic"), 956),
    (Text("429/张", "429/pic"), 1032),
)


def svg(scenarios: Sequence[Scenario], rows: Sequence[Row], note: str) -> str:
    """The picture. ``note`` is its last line: where and how it was measured."""
    blocks = [(one, [row for row in rows if row.scenario == one.name]) for one in scenarios]
    blocks = [(one, mine) for one, mine in blocks if mine]
    y, parts = 132.0, []
    for scenario, mine in blocks:
        parts += list(_block(scenario, mine, y))
        y += 58 + LINE * len(mine)
    height = y + 34
    title = Text("离最快还差多少", "How far from the fastest possible finish")
    under = Text(
        "完成时间高出“槽位从不空转”的下界多少；越短越好。各家面对同样的模拟服务。",
        "Time to the last file, above a run in which no slot is ever idle; shorter is better. Each against the same emulated service.",
    )
    head = [
        _opening(height),
        f'<rect width="100%" height="100%" fill="{PAPER}"/>',
        f'<rect x="{MARGIN}" y="44" width="5" height="50" fill="{RED}"/>',
        _text(MARGIN + 18, 66, str(title), size=26, weight=700),
        _text(MARGIN + 18, 92, str(under), size=13.5, fill=SOFT),
    ]
    foot = [_text(MARGIN, height - 22, note, size=12, fill=FAINT), "</svg>"]
    return "\n".join([*head, *parts, *foot]) + "\n"


def _opening(height: float) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" '
        f'viewBox="0 0 {WIDTH} {height:.0f}" font-family="{FACE}" font-size="14">'
    )


def _block(scenario: Scenario, rows: Sequence[Row], y: float) -> Iterator[str]:
    """One scenario: its heading, axis and bars."""
    left = MARGIN + LABELS
    count = Text(f"{scenario.pictures} 张", f"{scenario.pictures} pictures")
    yield _text(MARGIN, y + 12, str(scenario.text), size=15, weight=600)
    yield _text(WIDTH - MARGIN, y + 12, str(count), size=12.5, fill=SOFT, anchor="end")
    yield f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y - 14}" y2="{y - 14}" stroke="{RULE}"/>'
    yield _text(left, y + 30, "0 %", size=11, fill=FAINT, anchor="middle")
    for mark in (25, 50, 75, 100):
        x = left + BARS * mark / MOST
        yield _text(x, y + 30, f"+{mark} %", size=11, fill=FAINT, anchor="middle")
    bottom = y + 38 + LINE * len(rows)
    for mark in (0, 25, 50, 75, 100):
        x = left + BARS * mark / MOST
        shade = INK if mark == 0 else RULE
        yield f'<line x1="{x}" x2="{x}" y1="{y + 37}" y2="{bottom - 3}" stroke="{shade}"/>'
    for head, x in FIGURES:
        yield _text(x, y + 30, str(head), size=11, fill=FAINT, anchor="end")
    for k, row in enumerate(rows):
        yield from _bar(row, y + 40 + LINE * k)


def _bar(row: Row, y: float) -> Iterator[str]:
    """One client."""
    ours = row.client == "ours"
    left, colour, weight = MARGIN + LABELS, RED if ours else GREY, 700 if ours else 400
    yield _text(left - 14, y + 15, str(CLIENTS[row.client]), fill=INK if ours else SOFT,
                weight=weight, anchor="end", size=13.5)  # fmt: skip
    if row.whole:
        yield from _length(row.above_pct, left, y, colour, weight)
    else:
        said = Text("没有交齐", "did not deliver all")
        yield _text(left + 10, y + 15, str(said), size=12.5, fill=BAD)
    figures = (
        (f"{row.delivered}/{row.wanted}", row.delivered < row.wanted),
        (str(row.bought_twice), row.bought_twice > 0),
        (f"{row.asked:.1f}", False),
        (f"{row.refused:.2f}", row.refused > 0.5),
    )
    for (figure, bad), (_, x) in zip(figures, FIGURES, strict=True):
        yield _text(x, y + 15, figure, size=13, fill=BAD if bad else INK if ours else SOFT,
                    weight=700 if bad else weight, anchor="end")  # fmt: skip


def _length(above: float, left: float, y: float, colour: str, weight: int) -> Iterator[str]:
    """The bar and its figure; what is longer than the axis is drawn broken off."""
    width = max(2.0, BARS * min(above, MOST) / MOST)
    yield f'<rect x="{left}" y="{y + 3}" width="{width:.1f}" height="16" rx="1.5" fill="{colour}"/>'
    if above > MOST:
        for gap in (18, 11):
            x = left + width - gap
            yield f'<path d="M{x} {y + 21} l5 -20" stroke="{PAPER}" stroke-width="3"/>'
        yield _text(left + width - 26, y + 15.5, percent(above), size=12.5, anchor="end", weight=600)  # fmt: skip
    elif width > BARS - 64:
        yield _text(left + width - 8, y + 15.5, percent(above), size=12.5, anchor="end", weight=weight)  # fmt: skip
    else:
        fill = colour if weight == 700 else SOFT
        yield _text(left + width + 8, y + 15.5, percent(above), size=12.5, fill=fill, weight=weight)  # fmt: skip


def _text(
    x: float, y: float, words: str, *, size: float = 14, fill: str = INK, weight: int = 400,
    anchor: str = "start",
) -> str:  # fmt: skip
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" fill="{fill}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(words)}</text>'
    )
