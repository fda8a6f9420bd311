"""A night's table as Chinese Excel saves it, and what has to hold the next morning."""

from __future__ import annotations

import csv
import io
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redloom.emulators.dashscope import read_ledger
from redloom.emulators.ledger import prompt_sha
from redloom.emulators.pictures import prompt_of_picture

THINGS = ["红围巾", "青花瓷杯", "羊毛毯", "胡同里的猫", "竹编篮", "铜火锅", "油纸伞", "老北京布鞋"]
PLACES = ["雪地里", "窗台上", "旧书摊前", "雨后的院子", "木桌上，暖光", "傍晚的屋顶"]
COLUMNS = ["编号", "提示词", "尺寸", "数量", "店铺", "备注"]


@dataclass
class Night:
    """The table, and by record what must become of it."""

    data: bytes
    records: list[dict[str, str]] = field(default_factory=list)
    """One for each record, with ``expected``: the statuses that are right."""


def table(rows: int, seed: int = 1) -> Night:
    """A GBK table of about ``rows`` lines: twins, blank lines, too long, equal ids, line breaks."""
    rng = random.Random(seed)
    records: list[dict[str, str]] = []
    lines: list[list[str]] = [COLUMNS]
    while len(lines) <= rows:
        number = len(lines)
        kind = rng.random()
        if kind < 0.01:
            lines.append([""] * len(COLUMNS))
            continue
        words = f"{rng.choice(THINGS)}，{rng.choice(PLACES)}，第 {number} 张"
        expected = "made"
        if kind < 0.06 and records:
            words, expected = rng.choice(records)["提示词"], "any"
        elif kind < 0.07:
            words, expected = "", "invalid"
        elif kind < 0.10:
            words = f'{words}\r\n近景，"浅景深"，留白'
        elif number == rows // 2:
            words, expected = "长" * 2500, "invalid"
        cells = [
            f"SKU-{number // 3}",
            words,
            rng.choice(["3:4", "1280*1280"]),
            "1",
            "=旗舰店",
            "多\n行",
        ]
        lines.append(cells)
        record = dict(zip(COLUMNS, cells, strict=True))
        records.append({**record, "expected": _expected(record, expected)})
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows(lines)
    return Night(out.getvalue().encode("gbk"), records)


def _expected(record: dict[str, str], kind: str) -> str:
    """A row that repeats another's words is as good or bad as that one."""
    if kind != "any":
        return kind
    words = record["提示词"]
    return "invalid" if not words or len(words) > 2100 else "made"


def morning(
    night: Night, out: Path, ledger: Path, *, done: tuple[str, ...] = ("ok",)
) -> Counter[str]:
    """Hold manifest, files and ledger against the table; the statuses.

    ``done``: what a row that should have been made may have come to besides ``ok`` (a service
    that refuses or loses answers).
    """
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text("utf-8").splitlines()]
    assert [(row["row"], row["take"]) for row in rows] == [
        (n, 1) for n in range(1, len(night.records) + 1)
    ]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record, row in zip(night.records, rows, strict=True):
        expected = {"invalid"} if record["expected"] == "invalid" else {"ok", "duplicate", *done}
        assert row["status"] in expected, (row["row"], row["status"], row["error"])
        assert row["id"] == record["编号"]
        if row["status"] in ("ok", "duplicate"):
            words = record["提示词"].strip()
            assert row["prompt"] == words
            assert prompt_of_picture((out / row["file"]).read_bytes()) == prompt_sha(words)
            groups.setdefault((words, record["尺寸"]), []).append(row)
    for twins in groups.values():
        # Whichever of two equal rows was made, the other has its file and cost nothing.
        assert [row["status"] for row in twins].count("ok") == 1, twins
        assert len({row["file"] for row in twins}) == 1
    _excel(out / "manifest.csv", rows)
    sold = read_ledger(ledger)
    assert sold.bought_twice(allowed=2) == []  # the same words in two sizes are two pictures
    bought = Counter((p.prompt, p.size) for p in sold.own() if p.billed)
    assert max(bought.values(), default=0) <= 1
    assert not list(out.rglob("*.part"))
    return Counter(row["status"] for row in rows)


def _excel(path: Path, rows: list[dict[str, Any]]) -> None:
    """The table opens in Excel: marked UTF-8, as many cells everywhere, no formula."""
    raw = path.read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    lines = list(csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline="")))
    assert len(lines) == len(rows) + 1
    assert {len(line) for line in lines} == {len(lines[0])}
    assert not [cell for line in lines for cell in line if cell[:1] in ("=", "@", "\t")]
