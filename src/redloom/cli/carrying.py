"""Seeing a run through at a terminal: progress, Ctrl-C, manifests, the end, the exit status.

Ctrl-C once finishes what is paid for and stops, twice stops now; neither loses anything.
May import: clock, records, settings, soften, spending, cli.common, lang, engine, manifest, contact,
money, progress.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import signal
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from redloom.contact import write_sheet
from redloom.engine import Engine
from redloom.lang import Text
from redloom.manifest import Keeper, line_of, rows_of
from redloom.money import Money
from redloom.progress import STATUSES, watcher
from redloom.records import Run
from redloom.spending import Spending

from .common import Common

if TYPE_CHECKING:
    from redloom.settings import Settings
    from redloom.soften import Softener

SHOWN = 20
"""Failures listed at the end; the manifest has them all."""
GOOD = ("ok", "duplicate")
TROUBLED = ("refused", "failed", "in-doubt", "invalid")


async def attend(common: Common, engine: Engine, run_id: str, *, wanted: int = 0) -> int:
    """Watch a run to its end, keep its manifests, say how it went; the exit status.

    ``wanted``: how many pictures it wants, where its rows may not all be in the journal yet.
    """
    run = await engine.records.run(run_id)
    assert run is not None
    leave = engine.stream_of_events.watch(
        watcher(json=common.json, quiet=common.quiet, wanted=wanted, plain=common.narrated)
    )
    keeper = None
    if run.out:
        keeper = Keeper(engine.journal, engine.store, run, write_sheet)
        mended, lost = await keeper.start()
        _say_mended(common, mended, lost)
    try:
        stopped = await _until_over(common, engine, run_id)
    finally:
        if keeper is not None:
            await keeper.stop()
        await engine.stream_of_events.drain()
        leave()
    counts = await engine.records.counts(run_id)
    run = await engine.records.run(run_id) or run
    await _report(common, engine, run, counts, stopped)
    return status_of(counts, stopped)


def status_of(counts: Mapping[str, int], stopped: bool) -> int:
    """0 all there, 1 some are not, 3 the budget stopped it, 130 interrupted: 130 before 3 before 1."""
    if stopped and counts.get("pending", 0):
        return 130
    if counts.get("unpaid", 0):
        return 3
    return 0 if all(status in GOOD for status, number in counts.items() if number) else 1


async def _until_over(common: Common, engine: Engine, run: str) -> bool:
    """Follow the run; whether the user stopped it."""

    async def follow() -> None:
        async for _ in engine.follow(run):
            pass

    following = asyncio.get_running_loop().create_task(follow())
    presses: list[asyncio.Task[bool]] = []

    def pressed() -> None:
        if not presses:
            common.warn(
                Text(
                    "正在收尾：已付款的做完就停。再按一次 Ctrl-C 立即停，都不会丢。",
                    "Finishing what is paid for, then stopping. Ctrl-C again stops now; neither loses anything.",
                )
            )
            presses.append(asyncio.get_running_loop().create_task(engine.pause(run)))
        else:
            following.cancel()

    with _on_signals(pressed, following.cancel):
        await asyncio.gather(following, return_exceptions=True)
    await asyncio.gather(*presses, return_exceptions=True)
    if following.cancelled():
        return True
    following.result()
    return bool(presses)


@contextlib.contextmanager
def _on_signals(pressed: object, ended: object) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, pressed)  # type: ignore[arg-type]
    loop.add_signal_handler(signal.SIGTERM, ended)  # type: ignore[arg-type]
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_signal_handler(signal.SIGTERM)


def _say_mended(common: Common, mended: int, lost: int) -> None:
    if mended:
        common.hint(
            f"补齐了 {mended} 个缺的文件（来自图库，没有花钱）。",
            f"{mended} missing files put back from the store, for free.",
        )
    if lost:
        common.warn(
            Text(
                f"{lost} 张图文件夹和图库里都没有了；要重新买，用 --overwrite --take 2。",
                f"{lost} pictures are gone from folder and store; to buy them anew use --overwrite --take 2.",
            )
        )


async def _report(
    common: Common, engine: Engine, run: Run, counts: Mapping[str, int], stopped: bool
) -> None:
    spending = await engine.records.spending(run.id)
    common.emit(
        {"event": "summary", "run": run.id, "out": run.out, "counts": dict(counts), "interrupted": stopped,
         "spent": dict(spending.billed), "maybe": dict(spending.maybe), "unpriced": spending.unpriced,
         "waits_for": run.note}
    )  # fmt: skip
    zh = "，".join(f"{STATUSES[name].zh} {number}" for name, number in _ordered(counts))
    en = ", ".join(f"{number} {STATUSES[name].en}" for name, number in _ordered(counts))
    money = spent_text(spending)
    common.hint(f"{zh}；{money.zh} {run.out}", f"{en}; {money.en} {run.out}")
    if run.note:
        common.warn(Text(f"还在等你处理：{run.note}", f"Waiting for you: {run.note}"))
    failures = sum(counts.get(name, 0) for name in TROUBLED)
    if failures:
        await asyncio.to_thread(_list_failures, common, engine, run.id)
    _next_step(common, run, counts, stopped)


def _list_failures(common: Common, engine: Engine, run: str) -> None:
    for shown, row in enumerate(rows_of(engine.journal, run, statuses=TROUBLED)):
        if shown >= SHOWN:
            common.hint("  ……其余见 manifest.csv", "  … the rest is in manifest.csv")
            return
        line, state = line_of(row), STATUSES[row["status"]]
        number = f"{line['row']}_{line['take']}" if line["take"] > 1 else str(line["row"])
        words = " ".join(str(line["prompt"]).split())[:30]
        code = f" [{line['error_code']}]" if line["error_code"] else ""
        common.warn(
            Text(
                f"  {number} {state.zh} {words}：{line['error']}{code}",
                f"  {number} {state.en} {words}: {line['error']}{code}",
            )
        )


def _next_step(common: Common, run: Run, counts: Mapping[str, int], stopped: bool) -> None:
    """The one command that redoes just what is not there."""
    if counts.get("pending", 0) and run.state == "paused" and not stopped:
        common.hint(
            f"这一批在别处暂停了；redloom {_same_place(common)}resume {run.id} 或同样的命令会接着做。",
            f"The run was paused elsewhere; redloom {_same_place(common)}resume {run.id} or the same command goes on.",
        )
    elif counts.get("pending", 0) and not run.note:
        common.hint("同样的命令会接着做。", "The same command goes on.")
    if run.note:
        line = f"redloom {_same_place(common)}resume {shlex.quote(run.id)}"
        common.hint(
            f"处理好以后接着做：{line}，或同样的命令。",
            f"When that is settled: {line}, or the same command.",
        )
    if counts.get("unpaid", 0):
        common.hint(
            "预算用完了；同样的命令加大 --budget 会接着做。",
            "The budget is used up; the same command with a larger --budget goes on.",
        )
    if counts.get("in-doubt", 0):
        common.hint(
            "存疑的下次启动会再查；控制台里确实没有，就用同样的命令加 --in-doubt resubmit 再要（可能付两次），或 --in-doubt fail 作罢。",
            "What is in doubt is looked for again at the next start. If your console shows that it was not made: the same command with --in-doubt resubmit asks again (it may be paid twice), --in-doubt fail gives it up.",
        )
    if any(counts.get(name, 0) for name in ("refused", "failed")):
        line = f"redloom {_same_place(common)}retry {shlex.quote(run.id)}"
        common.hint(f"只重做没成的：{line}", f"To redo just those: {line}")
    if counts.get("refused", 0) and not run.options.get("soften"):
        common.hint(
            "被拒的加 --soften 可以改得温和些再试（两种说法都会记下）。",
            "With --soften it rewrites refused prompts more mildly (both wordings are kept).",
        )
    if counts.get("invalid", 0):
        common.hint(
            "有误的行没有花钱；改好文件后同样的命令加 --extend，只做改过的。",
            "Nothing was spent on invalid rows; correct the file and add --extend: only what changed is made.",
        )


def _same_place(common: Common) -> str:
    """The options without which the next command would look elsewhere."""
    told = {"--workspace": common.workspace, "--config": common.config}
    return "".join(f"{name} {shlex.quote(str(path))} " for name, path in told.items() if path)


def softener_of(settings: Settings) -> Softener:
    """The rewriter of refused prompts. Raises BadSettings where no text model is set up."""
    from redloom.clock import clock_from_environment
    from redloom.soften import softener

    return softener(settings, clock_from_environment())


def _ordered(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return [(name, counts[name]) for name in STATUSES if counts.get(name, 0)]


def spent_text(spending: Spending) -> Text:
    """What a run has cost, in one sentence: reported, estimated, unknown, in doubt."""
    billed = sum((Money.of(amount, code) for code, amount in spending.billed.items()), Money())
    maybe = sum((Money.of(amount, code) for code, amount in spending.maybe.items()), Money())
    zh, en = f"已花 {billed}", f"spent {billed}"
    if billed:
        known = set(spending.sources) - {"unknown"}
        how = {
            "estimated": Text("按价目表估计", "by the price list"),
            "reported": Text("服务报告的", "as the service reported"),
        }
        if len(known) == 1:
            said = how.get(next(iter(known)), Text("", ""))
            zh, en = f"{zh}（{said.zh}）", f"{en} ({said.en})"
        elif known:
            parts = sorted((name, spending.sources[name]) for name in known)
            zh = f"{zh}（其中{'、'.join(f'{how[n].zh} {amount:g}' for n, amount in parts if n in how)}）"
            en = f"{en} ({', '.join(f'{amount:g} {how[n].en}' for n, amount in parts if n in how)})"
    if maybe:
        zh, en = (
            f"{zh}，另有至多 {maybe} 在途或存疑",
            f"{en}, at most {maybe} more under way or in doubt",
        )
    if spending.unpriced:
        zh, en = (
            f"{zh}，{spending.unpriced} 张价格未知",
            f"{en}, {spending.unpriced} of unknown price",
        )
    return Text(f"{zh}。", f"{en}.")
