"""``redloom report RUN|DIR``: a run as one self-contained page. Costs nothing, needs no key.

May import: engine, cli.common, cli.runs, errors, lang, and at the call journal, records, image,
report.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from redloom.errors import BadInput
from redloom.lang import Text

from .common import Common, command, option

if TYPE_CHECKING:
    from redloom.records import Records, Run


@command(
    "report",
    zh="把一个批次画成一页：每次任务的瀑布图、耗时、花费、失败、离极限多远、全部图片。RUN 是编号或图片文件夹；不联网，不花钱。",
    en="A run as one page: a waterfall of every task, latency, money, failures, the distance to the bound, all pictures. RUN is an id or the folder of its pictures; no network, no money.",
)
@click.argument("run")
@option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    zh="写到哪里（默认图片文件夹里的 report.html）",
    en="where to write it (default: report.html in the pictures' folder)",
)
def report(common: Common, run: str, out: Path | None) -> int:
    """The command."""
    from redloom.image import Store
    from redloom.report import write_report

    from .runs import with_records

    async def draw(records: Records, workspace: Path) -> int:
        found = await _found(records, run)
        target = out or _target(found)
        facts = await asyncio.to_thread(
            write_report, records.journal, Store(workspace), found, target
        )
        _say(common, target, facts)
        return 0

    return with_records(common, draw)


async def _found(records: Records, name: str) -> Run:
    """The run itself, or the one whose pictures lie in a folder of the given one (a note's)."""
    from redloom.engine import absolute

    from .runs import find

    try:
        return await find(records, name)
    except BadInput:
        folder = absolute(name)
        for run in await records.runs():
            if run.out and Path(run.out).is_relative_to(folder):
                return run
        raise


def _target(run: Run) -> Path:
    if run.out and Path(run.out).is_dir():
        return Path(run.out) / "report.html"
    return Path(f"report-{run.id}.html")


def _say(common: Common, target: Path, facts: dict[str, Any]) -> None:
    far = facts["distance"]
    common.emit({"event": "report", "file": str(target), **facts})
    if far is None or far["percent"] is None:
        line = Text(f"报告写好了：{target}", f"The report is at {target}")
    else:
        line = Text(
            f"达到额度极限的 {far['percent']:.1f}%；报告写好了：{target}",
            f"{far['percent']:.1f} % of the bound; the report is at {target}",
        )
    common.say(line.zh, line.en)
