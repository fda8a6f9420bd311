"""``redloom audit``: the account's tasks of the last day against the ledger. Buys nothing.

May import: observe, clock, cli.common, errors, lang, and at the call engine, audit.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from redloom.errors import BadInput
from redloom.lang import Text

from .common import Common, command, option

if TYPE_CHECKING:
    from redloom.audit import Finding

_WORDS = {
    "collected": Text("取回来了", "collected"),
    "adopted": Text("对上了，是我们的", "found again: ours"),
    "void": Text("没有被接受，没有花钱", "was never accepted; nothing was spent"),
    "doubt": Text("仍查不清，可能已计费", "still cannot be told; may be billed"),
    "failed": Text("没做成，没有计费", "was not made; not billed"),
    "waiting": Text("服务还在做", "the service is still at it"),
    "lost": Text("取不回来了", "cannot be fetched any more"),
    "busy": Text("正有人在做这个批次，没有动", "its run is being carried; left alone"),
    "stranger": Text("账本里没有：别的程序的，或账本丢了", "not in the ledger: another program's, or a lost journal's"),
    "unreadable": Text("查不了", "could not be asked about"),
}  # fmt: skip


@command(
    "audit",
    zh="把账户最近一天的任务和账本对一遍：付了钱没取的取回来，查不清的再查一次。不买任何东西。",
    en="The account's tasks of the last day against the ledger: what is paid for and was never fetched is fetched, lost answers are looked for once more. Buys nothing.",
)
@option(
    "--endpoint",
    "names",
    multiple=True,
    metavar="NAME",
    zh="只查这些端点",
    en="only these endpoints",
)
@option(
    "--collect", type=click.Path(file_okay=False, path_type=Path), default=None, metavar="DIR",
    zh="账本里没有的成图也下载到这里", en="also download finished pictures that the ledger does not know",
)  # fmt: skip
def audit(common: Common, names: tuple[str, ...], collect: Path | None) -> int:
    """The command: 0 where nothing is left open, 1 where something is."""
    settings = common.settings()
    found: Counter[str] = Counter()
    blind: list[str] = []

    def tell(finding: Finding) -> None:
        found[finding.what] += 1
        _tell(common, finding)

    async def go() -> int:
        from redloom.audit import Audit
        from redloom.engine import Engine
        from redloom.observe import observing

        async with (
            observing() as watch,
            Engine(list(names) or None, settings=settings) as engine,
        ):
            watch(engine)
            if not await engine.wait_to_lead():
                raise BadInput(
                    "另一个 redloom 进程正在这个工作区里干活，查不清的由它来查；等它结束再对账。没有花钱。",
                    "Another redloom process is at work in this workspace and settles what is open itself; audit when it has ended. Nothing was spent.",
                )
            work = Audit(engine, tell, collect)
            await work.run()
            blind.extend(
                live.name
                for live in engine.lives
                if not (live.capabilities.lists_tasks or live.capabilities.local)
            )
            return work.listed

    listed = asyncio.run(go())
    for name in blind:
        common.hint(
            f"{name} 没有可查的任务列表：只核对了账本里的任务，别的看它的控制台。",
            f"{name} has no list of tasks to look through: only tasks in the ledger were checked; its console may show others.",
        )
    _sum_up(common, found, listed)
    return 1 if found["doubt"] or found["unreadable"] or found["lost"] else 0


def _tell(common: Common, finding: Finding) -> None:
    from redloom.clock import iso

    common.emit({"event": "audit", **asdict(finding), "created": iso(finding.created)})
    if common.json:
        return
    words = _WORDS[finding.what]
    where = f"{finding.run} #{finding.row}" if finding.run else (iso(finding.created) or "")
    tail = finding.file or finding.error
    parts = [finding.endpoint, finding.task_id or "-", where, "{}", tail]
    line = "  ".join(part for part in parts if part)
    common.say(line.replace("{}", words.zh, 1), line.replace("{}", words.en, 1))


def _sum_up(common: Common, found: Counter[str], listed: int) -> None:
    common.emit({"event": "audited", "listed": listed, "found": dict(found)})
    if common.json:
        return
    if not found:
        common.say(
            f"账户里最近一天的 {listed} 个任务都在账本里，没有没取的。",
            f"All {listed} tasks of the account's last day are in the ledger; nothing was left behind.",
        )
        return
    zh = "，".join(f"{_WORDS[what].zh} {number}" for what, number in found.items())
    en = "; ".join(f"{number} {_WORDS[what].en}" for what, number in found.items())
    common.say(f"查了 {listed} 个任务：{zh}。", f"{listed} tasks listed: {en}.")
