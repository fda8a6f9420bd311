"""Writes the table of faults in docs/reliability.md from what the fault suite has left, and in its
Chinese twin the same table: the figures have one source, whichever page is read.

    FAULT_FIGURES=faults.jsonl make chaos && python tools/fault_table.py faults.jsonl
    python tools/fault_table.py    # the Chinese page anew from the English one

Every line of the file is a scene that the oracle has passed (`tests/helpers/figures.py`), so no
row of it was lost: a scene with a lost row, or one bought twice, leaves no line but a failed test.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "reliability.md"
CHINESE_PAGE = PAGE.with_name("reliability.zh-CN.md")
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
PLACES = {
    "submit": "requests refused, delayed or reset", "answer": "answers lost after acceptance",
    "poll": "status queries", "task": "tasks at the service", "download": "downloads",
    "list": "task lists", "picture": "marks in pictures", "arrears": "standing refusals",
    "free": "standing refusals", "key": "standing refusals", "outage": "outages",
    "down": "outages",
}  # fmt: skip
CHINESE = {
    "Fault": "故障", "Injected": "造了几次", "Scenes": "场景", "Rows": "行", "Lost": "丢了",
    "Bought twice": "买了两次", "Outcomes": "结局", "Seeds, by scene": "各场景的种子",
    "answers lost after acceptance": "已接受、回答丢了", "clock set ahead": "钟往前调",
    "clock set back": "钟往回调", "cut of the network": "断网", "stall of the network": "网络卡住",
    "downloads": "下载", "full disk": "磁盘满", "kill of a watcher": "杀旁观的命令",
    "kill of the GPU worker": "杀显卡进程", "kill of the engine": "杀引擎",
    "kill of the server": "杀服务器", "stop of a watcher": "停住旁观的命令",
    "stop of the engine": "停住引擎", "stop of the server": "停住服务器",
    "marks in pictures": "图里的记号", "outages": "整个服务停摆",
    "requests refused, delayed or reset": "请求被拒、拖延、重置", "status queries": "查询",
    "standing refusals": "一直拒绝", "task lists": "任务列表", "tasks at the service": "服务那边的任务",
    "GPU worker": "显卡进程", "kills": "杀进程", "storm": "风暴",
}  # fmt: skip
"""The table's words. One that is missing stands in English, which is better than a lost row."""


def chinese(block: str) -> str:
    """The table in Chinese, figure by figure as it stands in English."""
    out = re.sub(r"[A-Za-z][A-Za-z, ]*[A-Za-z]", lambda word: CHINESE.get(word[0], word[0]), block)
    return "\n".join(
        line
        if line.startswith("|")
        else re.sub(r"\.$", "。", line.replace(": ", "：").replace("; ", "；"))
        for line in out.split("\n")
    )


def filled(page: Path) -> str:
    """What stands between the marks of a page."""
    return page.read_text("utf-8").split(BEGIN)[1].split(END)[0].strip("\n")


def fill(page: Path, block: str) -> None:
    """Put a block between the marks of a page."""
    before, rest = page.read_text("utf-8").split(BEGIN)
    after = rest.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n{block}\n{END}{after}", "utf-8")


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
    """Put the table into both pages."""
    if len(sys.argv) > 1:
        lines = Path(sys.argv[1]).read_text("utf-8").splitlines()
        fill(PAGE, table([json.loads(line) for line in lines]))
    fill(CHINESE_PAGE, chinese(filled(PAGE)))


if __name__ == "__main__":
    main()
