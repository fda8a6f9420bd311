"""Put measured races into docs/performance.md: ``python tools/performance.py [FOLDER]``.

FOLDER (default ``out/bench``) is where ``redloom bench --proof``, ``--seeds`` and ``--sweep`` left
``bench.json``, ``bench.svg``, ``table.json``, ``seeds.json`` and ``sweep.json``. What is found replaces the text between
the markers ``<!-- race -->`` and the like and their ends; the picture goes to docs/images/. From
the page a summary goes into both READMEs. So the figures in the documentation are never typed.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from redloom.bench import drawing, report_table, spread, sweep, table
from redloom.bench.measure import Row
from redloom.bench.scenarios import scenario
from redloom.bench.table import CLIENTS
from redloom.lang import Lang, Text, use_language

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
READMES: dict[Lang, Path] = {"en": ROOT / "README.md", "zh": ROOT / "README.zh-CN.md"}
PICTURES: dict[Lang, Path] = {
    "en": ROOT / "docs" / "images" / "bench.svg",
    "zh": ROOT / "docs" / "images" / "bench.zh-CN.svg",
}
SUMMARY: dict[Lang, tuple[str, ...]] = {
    "en": ("", "later than never idle", "with mild faults: delivered", "paid twice"),
    "zh": ("", "比从不空闲晚", "有轻微故障时：交付", "付了两次"),
}
KNOWN = {field.name for field in fields(Row)}


def rows_of(record: Mapping[str, Any]) -> list[Row]:
    """The rows of a results file."""
    return [
        Row(**{name: value for name, value in row.items() if name in KNOWN})
        for row in record["rows"]
    ]


def where(record: Mapping[str, Any]) -> str:
    """On what it was measured, and whether the machine was quiet."""
    state = "quiet" if record["quiet"] else "busy with other work"
    return (
        f"Measured {record['day']} on {record['cores']} cores, {record['system']}, "
        f"CPython {record['python']}, the machine {state} (load {record['load_before']} before)."
    )


def race(record: Mapping[str, Any]) -> str:
    """Every scene: a heading, its table, what had to be shown."""
    rows = rows_of(record)
    parts = [where(record), ""]
    for name in dict.fromkeys(row.scenario for row in rows):
        mine = [row for row in rows if row.scenario == name]
        one = scenario(name).sized(mine[0].wanted)
        times = f"median of {mine[0].repeats}" if mine[0].repeats > 1 else "one race"
        parts += [
            f"**{name}**: {one.text.en}; {one.pictures} pictures, clock ×{mine[0].speed:g}, {times}",
            "",
            *table.markdown(one, rows),
            "",
            *(f"{line}  " for _, line in table.verdicts(one, rows)),
            "",
        ]
    return "\n".join(parts)


def small(record: Mapping[str, Any]) -> str:
    """The report's own table."""
    return "\n".join([where(record), "", *report_table.markdown(rows_of(record)), ""])


def seeds(record: Mapping[str, Any]) -> str:
    """How the figures fall over the seeds."""
    rows = rows_of(record)
    scenes = [
        scenario(name).sized(next(r.wanted for r in rows if r.scenario == name))
        for name in dict.fromkeys(row.scenario for row in rows)
    ]
    own = sorted({row.seed for row in rows})
    sizes = ", ".join(f"{one.name} {one.pictures}" for one in scenes)
    said = f"Seeds {own[0]}-{own[-1]}, pictures: {sizes}. {where(record)}"
    return "\n".join([said, "", *spread.markdown(scenes, rows), ""])


def settings(record: Mapping[str, Any]) -> str:
    """What each setting costs."""
    rows = [sweep.Measured(**row) for row in record["rows"]]
    return "\n".join([where(record), "", *sweep.markdown(rows), ""])


def scene(page: str, name: str) -> list[dict[str, str]]:
    """A scene's table on the page: a mapping a client, from a column's head to its figure."""
    found = re.search(rf"^\*\*{name}\*\*: .*?\n\n((?:\|.*\n)+)", page, re.MULTILINE)
    if found is None:
        return []
    lines = [
        [cell.strip().strip("* ") for cell in line.strip("|").split("|")]
        for line in found[1].splitlines()
    ]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def summary(page: str, lang: Lang) -> str:
    """What the READMEs say of the race: how late without faults, what is bought twice with some."""
    clean, mild = ({row["client"]: row for row in scene(page, name)} for name in ("clean", "mild"))
    heads = SUMMARY[lang]
    names = {text.en: getattr(text, lang) for text in CLIENTS.values()}
    out = ["| " + " | ".join(heads) + " |", "|---" + "|--:" * (len(heads) - 1) + "|"]
    for client, row in clean.items():
        faulty = mild.get(client, {})
        figures = [row["above never-idle"], faulty.get("delivered"), faulty.get("twice")]
        cells = [names.get(client.removesuffix(" *"), client), *(one or "–" for one in figures)]
        out.append(
            "| " + " | ".join(f"**{c}**" if client == "Redloom" else c for c in cells) + " |"
        )
    return "\n".join([*out, ""])


def put(page: str, mark: str, text: str) -> str:
    """``page`` with ``text`` between the marks; raises ValueError where they are missing."""
    pattern = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.DOTALL)
    page, number = pattern.subn(lambda found: found[1] + text + found[2], page)
    if number != 1:
        raise ValueError(f"the marks of {mark} are not in the page once")
    return page


def draw(record: Mapping[str, Any]) -> None:
    """The race as a picture, in both languages."""
    rows = rows_of(record)
    scenes = [
        scenario(name).sized(next(row.wanted for row in rows if row.scenario == name))
        for name in dict.fromkeys(row.scenario for row in rows)
    ]
    speeds = "/".join(f"{one:g}" for one in sorted({row.speed for row in rows}))
    times = max(row.repeats for row in rows)
    cores, load, day = record["cores"], record["load_before"], record["day"]
    note = Text(
        f"模拟服务，时钟 ×{speeds}，{times} 次取中位数 · {cores} 核，负载 {load} · {day} · redloom bench",
        f"emulated service, clock ×{speeds}, median of {times} · {cores} cores, load {load} · {day} · redloom bench",
    )
    for lang, picture in PICTURES.items():
        use_language(lang)
        picture.write_text(drawing.svg(scenes, rows, str(note)), "utf-8")


def main() -> None:
    """The script."""
    use_language("en")
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("out/bench")
    page = PAGE.read_text("utf-8")
    for mark, name, write in (
        ("race", "bench.json", race), ("table", "table.json", small),
        ("seeds", "seeds.json", seeds), ("sweep", "sweep.json", settings),
    ):  # fmt: skip
        if (folder / name).exists():
            page = put(page, mark, write(json.loads((folder / name).read_text("utf-8"))))
            print(f"{mark}: from {folder / name}")
    PAGE.write_text(page, "utf-8")
    for lang, readme in READMES.items():
        readme.write_text(put(readme.read_text("utf-8"), "summary", summary(page, lang)), "utf-8")
    if (folder / "bench.json").exists():
        draw(json.loads((folder / "bench.json").read_text("utf-8")))


if __name__ == "__main__":
    main()
