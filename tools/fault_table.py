"""Writes the table of faults in docs/reliability.md from what the fault suite has left.

    FAULT_FIGURES=faults.jsonl make chaos && python tools/fault_table.py faults.jsonl

Every line of the file is a scene that the oracle has passed (`tests/helpers/figures.py`), so no
row of it was lost: a scene with a lost row, or one bought twice, leaves no line but a failed test.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
PLACES = {
    "submit": "requests refused, delayed or reset", "answer": "answers lost after acceptance",
    "poll": "status queries", "task": "tasks at the service", "download": "downloads",
    "list": "task lists", "picture": "marks in pictures", "arrears": "standing refusals",
    "free": "standing refusals", "key": "standing refusals", "outage": "outages",
    "down": "outages",
}  # fmt: skip


def kind_of(name: str) -> str:
    """The table's line for a fault: the place for the service's, its own name for the others."""
    return PLACES.get(name.split("_")[0], name) if " " not in name else name


def table(scenes: list[dict[str, Any]]) -> str:
    """What was done, and what became of the rows, as Markdown."""
    injected: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    for scene in scenes:
        statuses.update(scene["statuses"])
        for name, number in scene["injected"].items():
            injected[kind_of(name)] += number
    rows = sum(scene["jobs"] for scene in scenes)
    lines = ["| Fault | Injected |", "|---|---|"]
    lines += [f"| {name} | {number} |" for name, number in sorted(injected.items())]
    lines += ["", "| Scenes | Rows | Lost | Bought twice | Outcomes |", "|---|---|---|---|---|"]
    ended = ", ".join(f"{number} {status}" for status, number in statuses.most_common())
    lines.append(f"| {len(scenes)} | {rows} | 0 | 0 | {ended} |")
    seeds = sorted({(scene["scene"], scene["seed"]) for scene in scenes})
    named = "; ".join(
        f"{name}: {', '.join(str(seed) for one, seed in seeds if one == name)}"
        for name in dict.fromkeys(name for name, _ in seeds)
    )
    return "\n".join([*lines, "", f"Seeds, by scene: {named}."])


def main() -> None:
    """Put the table into the page."""
    scenes = [json.loads(line) for line in Path(sys.argv[1]).read_text("utf-8").splitlines()]
    before, rest = PAGE.read_text("utf-8").split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{table(scenes)}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
