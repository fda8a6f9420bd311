"""The queue: ``runs``, ``show``, ``pause``, ``resume``, ``cancel``, ``retry``.

May import: progress, memory, observe, private, clock, manifest, money, workspace, cli.common,
cli.carrying,
errors, lang, and at the
call journal, records, engine.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from redloom.errors import BadInput
from redloom.lang import Text

from .common import Common, command, option

if TYPE_CHECKING:
    from redloom.journal import Row
    from redloom.records import Records, Run

SHOWN = 200
"""Rows that `show` lists for a person unless told otherwise."""
_STATES = {
    "open": Text("进行中", "open"), "paused": Text("已暂停", "paused"),
    "cancelled": Text("已取消", "cancelled"), "done": Text("已结束", "done"),
}  # fmt: skip


@command("runs", zh="列出队列里的批次，新的在前。", en="The queue, newest first.")
@option("--limit", type=click.IntRange(1), default=20, zh="至多几个", en="how many at most")
def runs(common: Common, limit: int) -> None:
    """The command."""

    async def tell(records: Records, workspace: Path) -> int:
        found = await records.runs(limit)
        for run in found:
            await _tell_run(common, records, workspace, run)
        if not found:
            common.hint("队列是空的。", "The queue is empty.")
        return 0

    with_records(common, tell)


@command(
    "show",
    zh="看一个批次：每一行，花了多少。RUN 是编号或图片文件夹。",
    en="One run: its rows and money. RUN is an id or the folder of its pictures.",
)
@option(
    "--status",
    multiple=True,
    metavar="NAME",
    zh="只看这种行，如 refused（可多次）",
    en="only rows of this status, such as refused (repeatable)",
)
@option(
    "--limit",
    type=click.IntRange(0),
    metavar="N",
    zh="至多几行，0 是全部（默认 200；--json 默认全部）",
    en="how many rows at most, 0 for all (default 200; with --json all)",
)
@option(
    "--after",
    type=click.IntRange(0),
    default=0,
    metavar="ROW",
    zh="只看这一行以后的",
    en="only rows after this one",
)
@click.argument("run")
def show(common: Common, run: str, status: tuple[str, ...], limit: int | None, after: int) -> int:
    """The command; exit status as `batch` would have it."""
    from redloom.progress import STATUSES

    from .carrying import status_of

    if wrong := [name for name in status if name not in STATUSES]:
        known = ", ".join(STATUSES)
        raise BadInput(
            f"没有“{wrong[0]}”这种状态；有：{known}。", f"“{wrong[0]}” is none of {known}."
        )

    async def tell(records: Records, workspace: Path) -> int:
        found = await find(records, run)
        await _tell_run(common, records, workspace, found)
        await _tell_money(common, records, found)
        most = (0 if common.json else SHOWN) if limit is None else limit
        await asyncio.to_thread(_rows, common, records, found.id, _Asked(run, status, most, after))
        if found.note:
            common.hint(f"还在等你处理：{found.note}", f"Waiting for you: {found.note}")
        return status_of(await records.counts(found.id), False)

    return with_records(common, tell)


@command(
    "pause",
    zh="暂停：不再买新的，已付款的做完。",
    en="Buy nothing more; what is paid for is finished.",
)
@click.argument("run")
def pause(common: Common, run: str) -> None:
    """The command."""

    async def act(records: Records, _workspace: Path) -> int:
        found = await find(records, run)
        if not await records.set_state(found.id, "paused", "open"):
            raise _not_open(found)
        common.say(
            f"已暂停 {found.id}；redloom resume {found.id} 继续。",
            f"Paused {found.id}; redloom resume {found.id} goes on.",
        )
        return 0

    with_records(common, act)


@command(
    "cancel",
    zh="取消还没付款的；已付款的照样收下。",
    en="Give up what is not paid for; what is paid for is still kept.",
)
@click.argument("run")
def cancel(common: Common, run: str) -> None:
    """The command."""

    async def act(records: Records, _workspace: Path) -> int:
        from redloom.clock import clock_from_environment

        found = await find(records, run)
        if not await records.set_state(found.id, "cancelled", "open", "paused"):
            raise _not_open(found)
        number = await records.cancel_jobs(found.id, clock_from_environment().now())
        common.say(
            f"已取消 {found.id} 的 {number} 张。", f"Cancelled {number} pictures of {found.id}."
        )
        return 0

    with_records(common, act)


@command("resume", zh="在这里接着做一个批次。", en="Carry a run on from here.")
@click.argument("run")
def resume(common: Common, run: str) -> int:
    """The command; exit status as `batch` has it."""
    return _carry_on(common, run, again=False)


@command(
    "retry", zh="只重做没成的行。", en="Take up again only the rows that did not become a picture."
)
@option(
    "--soften",
    is_flag=True,
    zh="被拒的提示词让文字模型改温和些，两种说法都记下",
    en="rewrite refused prompts more mildly with a text model; both wordings are kept",
)
@click.argument("run")
def retry(common: Common, run: str, soften: bool) -> int:
    """The command; exit status as `batch` has it."""
    return _carry_on(common, run, again=True, soften=soften)


def _carry_on(common: Common, name: str, *, again: bool, soften: bool = False) -> int:
    settings = common.settings()

    async def go() -> int:
        from redloom.engine import Engine
        from redloom.memory import collect_rarely
        from redloom.observe import observing

        from .carrying import attend, softener_of

        collect_rarely()
        run = await _looked_up(settings.workspace, name)
        places = list(run.environment.get("places", {}))
        allowed = soften or bool(run.options.get("soften"))
        rewriter = softener_of(settings) if allowed else None
        async with (
            observing() as watch,
            Engine(
                places or None, settings=settings, jobs=settings.jobs, soften=rewriter
            ) as engine,
        ):
            watch(engine)
            if again:
                number = await engine.retry(run.id, soften=soften)
                common.hint(
                    f"重做 {number} 张。" if number else "没有要重做的：每一行都有图，或还在做。",
                    f"Taking up {number} again."
                    if number
                    else "Nothing to take up again: every row has its picture or is still under way.",
                )
            else:
                await engine.resume(run.id)
            return await attend(common, engine, run.id)

    return asyncio.run(go())


async def _looked_up(workspace: Path, name: str) -> Run:
    from redloom.journal import Journal
    from redloom.records import Records

    if not (workspace / "journal.db").is_file():
        raise _unknown(name)
    journal = Journal(workspace / "journal.db").open()
    try:
        return await find(Records(journal), name)
    finally:
        journal.close()


async def find(records: Records, name: str) -> Run:
    """A run by its id, a beginning of it that is the only one, or its folder. Raises BadInput."""
    from redloom.engine import absolute

    if exact := await records.run(name):
        return exact
    if into := await records.runs_into(absolute(name)):
        return into[0]
    alike = [run for run in await records.runs() if name and run.id.startswith(name)]
    if len(alike) == 1:
        return alike[0]
    raise _unknown(name)


def _unknown(name: str) -> BadInput:
    return BadInput(
        f"没有叫“{name}”的批次；用 redloom runs 看有哪些。",
        f"There is no run “{name}”; redloom runs lists them.",
    )


def _not_open(run: Run) -> BadInput:
    state = _STATES.get(run.state, Text(run.state, run.state))
    return BadInput(
        f"批次 {run.id} {state.zh}，没有动它。",
        f"Run {run.id} is {state.en}; it was left as it is.",
    )


def _state_of(run: Run, workspace: Path) -> Text:
    """A run's state as a person needs it: an open one may wait for them, or for nobody at all."""
    from redloom.workspace import Workspace

    if run.state == "open" and run.note:
        return Text("等你处理", "waits for you")
    if run.state == "open" and not Workspace(workspace).lives(run.owner):
        return Text("停着没人做", "open, nobody at work")
    return _STATES.get(run.state, Text(run.state, run.state))


async def _tell_run(common: Common, records: Records, workspace: Path, run: Run) -> None:
    from redloom.clock import iso
    from redloom.progress import STATUSES

    from .carrying import spent_text

    counts, spending = await records.counts(run.id), await records.spending(run.id)
    endpoints = sorted(run.environment.get("places", {}))
    common.emit(
        {"event": "run", "run": run.id, "state": run.state, "kind": run.kind, "out": run.out, "counts": counts,
         "spent": dict(spending.billed), "sources": dict(spending.sources), "maybe": dict(spending.maybe),
         "unpriced": spending.unpriced, "budget": run.budget, "endpoints": endpoints,
         "created": iso(run.created), "waits_for": run.note}
    )  # fmt: skip
    if common.json:
        return
    shown = [(STATUSES[name], number) for name, number in counts.items() if name in STATUSES]
    zh = " ".join(f"{text.zh} {number}" for text, number in shown)
    en = " ".join(f"{number} {text.en}" for text, number in shown)
    state, money = _state_of(run, workspace), spent_text(spending)
    where = f"{'、'.join(endpoints)} → {run.out or '-'}"
    common.say(
        f"{run.id}  {state.zh}  {zh}  {money.zh.rstrip('。')}  {where}",
        f"{run.id}  {state.en}  {en}  {money.en.rstrip('.')}  {where}",
    )


async def _tell_money(common: Common, records: Records, run: Run) -> None:
    """The ledger of a run: what was reported, what is estimated, what nobody knows, the budget."""
    from redloom.money import Money

    if common.json:
        return
    spending = await records.spending(run.id)
    maybe = sum((Money.of(amount, code) for code, amount in spending.maybe.items()), Money())
    one = next(iter(spending.billed), run.currency) if len(spending.billed) < 2 else ""
    reported, estimated = (
        Money.of(spending.sources.get(name, 0.0), one) for name in ("reported", "estimated")
    )
    zh = f"账：服务报告 {reported}，按价目表估计 {estimated}，价格未知 {spending.unpriced} 张，在途或存疑至多 {maybe}"
    en = f"Money: {reported} reported, {estimated} estimated by the price list, {spending.unpriced} of unknown price, at most {maybe} under way or in doubt"
    if run.budget is not None:
        budget = Money.of(run.budget, run.currency)
        zh, en = f"{zh}；预算 {budget}", f"{en}; budget {budget}"
    common.say(f"{zh}。", f"{en}.")


class _Asked(NamedTuple):
    """Which rows to show. ``most`` 0: all of them."""

    name: str
    statuses: tuple[str, ...]
    most: int
    after: int


def _rows(common: Common, records: Records, run: str, asked: _Asked) -> None:
    from redloom.manifest import rows_of

    # Every take of the row named is behind us.
    behind = (asked.after, 2**62) if asked.after else (0, 0)
    last = asked.after
    for number, row in enumerate(
        rows_of(records.journal, run, after=behind, statuses=asked.statuses)
    ):
        if asked.most and number >= asked.most and row["row"] != last:
            _tell_rest(common, asked, last)
            return
        _tell_row(common, row)
        last = row["row"]


def _tell_rest(common: Common, asked: _Asked, last: int) -> None:
    """There are more rows: how to see them."""
    line = f"redloom show {shlex.quote(asked.name)}"
    line += "".join(f" --status {name}" for name in asked.statuses)
    one = Text("", "") if asked.statuses else Text("，--status failed 只看一种", ", --status failed only one kind")  # fmt: skip
    common.hint(
        f"还有更多行：{line} --after {last} 接着看，--limit 0 全部列出{one.zh}；manifest.csv 里都有。",
        f"There are more rows: {line} --after {last} goes on, --limit 0 lists all{one.en}; manifest.csv has every one.",
    )


def _tell_row(common: Common, row: Row) -> None:
    from redloom.manifest import line_of
    from redloom.progress import STATUSES

    line: dict[str, Any] = line_of(row)
    common.emit({"event": "row", **line})
    if common.json:
        return
    take = f"_{line['take']}" if line["take"] > 1 else ""
    price = "-" if line["price"] is None else f"{line['price']:g} {line['currency']}".strip()
    code = f" [{line['error_code']}]" if line["error_code"] else ""
    tail = line["file"] or f"{line['error']}{code}" or " ".join(line["prompt"].split())[:40]
    tail += f"  ({line['flags']})" if line["flags"] else ""
    state = STATUSES[line["status"]]
    common.say(
        f"{line['row']:>5}{take}  {state.zh}  {price}  {tail}",
        f"{line['row']:>5}{take}  {state.en}  {price}  {tail}",
    )


def with_records(common: Common, act: Callable[[Records, Path], Awaitable[int]]) -> int:
    """Open the workspace's journal for one command; an empty workspace gets one."""
    from redloom import private
    from redloom.journal import Journal
    from redloom.records import Records

    workspace = common.settings().workspace

    async def go() -> int:
        private.folder(workspace)
        journal = Journal(workspace / "journal.db").open()
        try:
            return await act(Records(journal), workspace)
        finally:
            journal.close()

    return asyncio.run(go())
