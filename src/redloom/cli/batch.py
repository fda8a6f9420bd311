"""``redloom batch``: a file of prompts into a folder of pictures.

May import: memory, observe, equip, settings, cli.common, cli.carrying, errors, lang, and at the
call engine,
prompt_files, money.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from redloom.errors import WouldOverwrite
from redloom.lang import Text

from .common import Common, command, option

if TYPE_CHECKING:
    from redloom.engine import Engine
    from redloom.money import Budget, Estimate
    from redloom.settings import Settings

    from .batch_plan import Plan


@command(
    "batch",
    zh="一个提示词文件变成一个图片文件夹。同样的命令再来一次就接着做，付过的不再付。",
    en="A file of prompts into a folder of pictures. The same command again goes on; nothing is paid twice.",
)
@click.argument("prompts", metavar="PROMPTS")
@option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR",
    zh="图片放哪里（默认 out/文件名）",
    en="folder for the pictures (default out/NAME)",
)
@option(
    "--endpoint",
    multiple=True,
    metavar="NAME",
    zh="用哪些端点（可多次，或逗号分隔）",
    en="endpoints (repeatable, or with commas)",
)
@option("--model", "-m", default="", metavar="NAME", zh="模型", en="model")
@option("--size", default="", metavar="WxH", zh="尺寸，如 1024x1024", en="size such as 1024x1024")
@option("--ar", default="", metavar="W:H", zh="宽高比，如 3:4", en="shape such as 3:4")
@option(
    "-n",
    "number",
    type=click.IntRange(1, 1000),
    default=1,
    zh="每条提示词几张",
    en="pictures of each prompt",
)
@option("--seed", type=click.IntRange(0), default=None, zh="随机种子", en="seed")
@option(
    "--format",
    "kind",
    type=click.Choice(["png", "jpg", "webp"]),
    default=None,
    zh="交付格式（默认原样）",
    en="format of the files (default: as they come)",
)
@option(
    "--jobs",
    "-j",
    type=click.IntRange(1),
    default=None,
    zh="同时在做的上限（默认看额度）",
    en="ceiling on tasks in flight (default: the quota)",
)
@option(
    "--rpm",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    zh="每分钟至多提交几次",
    en="submits a minute at most",
)
@option(
    "--lane",
    type=click.Choice(["auto", "sync", "async"]),
    default="auto",
    zh="走哪条通道",
    en="which lane",
)
@option(
    "--cluster",
    default=None,
    metavar="ADDRESS",
    zh="用这个 Ray 集群上的 GPU（local:… 端点）",
    en="the GPUs of this Ray cluster (for local:… endpoints)",
)
@option(
    "--budget",
    default=None,
    metavar="X",
    zh="整批至多花多少，如 5 或 3 USD",
    en="what the run may cost, such as 5 or 3 USD",
)
@option(
    "--dry-run", is_flag=True, zh="只算张数和价钱，不联网", en="count and price only; no network"
)
@option(
    "--limit", type=click.IntRange(1), default=None, zh="只做前 N 条", en="only the first N records"
)
@option(
    "--retries",
    type=click.IntRange(0, 100),
    default=None,
    zh="失败后再试几次",
    en="more tries after a failure",
)
@option(
    "--hedge",
    type=click.FloatRange(0, 100),
    default=None,
    metavar="PERCENT",
    zh="收尾时，免费端点上拖得久的图再发一份，先到先用；最多占百分之几（默认 0，付费的从不）",
    en="at the end, race stragglers of free endpoints: at most so many percent (default 0; paid ones never)",
)
@option(
    "--in-doubt",
    type=click.Choice(["wait", "resubmit", "fail"]),
    default=None,
    zh="付没付说不清时怎么办",
    en="what to do where nobody knows whether it was bought",
)
@option(
    "--fallback",
    multiple=True,
    metavar="NAME",
    zh="做不出时依次改用哪些端点，最后可以是 cards（可多次）",
    en="who is asked next for what is not made, in order, such as cards at last (repeatable)",
)
@option(
    "--take",
    type=click.IntRange(1),
    default=1,
    zh="换一个数字就重新要一张",
    en="another number asks for another picture",
)
@option(
    "--plain",
    is_flag=True,
    zh="提示词原样，不认模板和 --ar 之类",
    en="prompts as written: no templates, no flags",
)
@option(
    "--matrix",
    is_flag=True,
    zh="提示词矩阵：a|b|c 和 {x, y} 的每种组合各一张",
    en="prompt matrix: every combination of a|b|c and {x, y}",
)
@option(
    "--negative-prompt",
    "negative",
    default="",
    metavar="TEXT",
    zh="反向提示词",
    en="negative prompt",
)
@option(
    "--option",
    "-o",
    multiple=True,
    metavar="NAME=VALUE",
    zh="端点自己的参数（可多次）",
    en="an option of the endpoint's own (repeatable)",
)
@option(
    "--name",
    default="",
    metavar="PATTERN",
    zh="文件名，如 {id}-{words} 或 {folder}/{id}",
    en="names of the files, such as {id}-{words} or {folder}/{id}",
)
@option(
    "--also",
    multiple=True,
    metavar="WHAT",
    zh="另存一份：webp、1080x1440、1080x1440.jpg（可多次）",
    en="a further file of each: webp, 1080x1440, 1080x1440.jpg (repeatable)",
)
@option(
    "--no-metadata",
    is_flag=True,
    zh="图片里不写提示词和参数（AI 标识照写）",
    en="leave prompt and settings out of the files (the AI label stays)",
)
@option(
    "--soften",
    is_flag=True,
    zh="被审核拒绝的提示词让文字模型改温和些再试一次，两种说法都记下",
    en="rewrite a refused prompt more mildly with a text model, once; both wordings are kept",
)
@option(
    "--extend",
    is_flag=True,
    zh="把没有的几条加进同一文件夹",
    en="add what the folder does not have yet",
)
@option(
    "--overwrite",
    is_flag=True,
    zh="文件夹改归这一批（旧图仍在图库）",
    en="give the folder to this run (old pictures stay in the store)",
)
@option("--yes", "-y", is_flag=True, zh="不再询问", en="do not ask")
def batch(common: Common, prompts: str, **given: Any) -> int:
    """The command; its exit status is the contract's."""
    from redloom.money import Budget
    from redloom.prompt_files import spooled

    from .batch_plan import Plan, settings_for
    from .chain import chain_of

    given["fallback"] = ",".join(chain_of(given["fallback"]))
    source = spooled(prompts)
    try:
        budget = None if given["budget"] is None else Budget.parse(given["budget"])
        plan = Plan.of(prompts, source, given)
        told = common.settings(cluster__address=given["cluster"])
        known = replace(told, keyless=bool(given["dry_run"]))
        settings, names = settings_for(known, plan)
        estimate = plan.estimate(settings, names)
        plan.tell(common, estimate)
        if budget is not None:
            _tell_budget(common, settings, plan, estimate, budget)
        if given["dry_run"]:
            _tell_room(common, settings, plan)
            return 0
        _ask(common, settings, plan, estimate, budget)
        return asyncio.run(_carry(common, settings, names, plan, budget))
    finally:
        if prompts == "-":
            source.unlink(missing_ok=True)


def _tell_room(common: Common, settings: Settings, plan: Plan) -> None:
    """A dry run says too what would stop the real one at once."""
    from .batch_budget import another_lies_there

    if another_lies_there(plan, settings.workspace):
        common.warn(_taken(plan).text)


def _tell_budget(
    common: Common, settings: Settings, plan: Plan, estimate: Estimate, budget: Budget
) -> None:
    """How far the budget goes: part of the answer of a dry run, by the way of a real one."""
    from .batch_budget import budget_text

    said = budget_text(plan, estimate, budget, settings.workspace, yes=bool(plan.given["yes"]))
    speak = common.say if plan.given["dry_run"] else common.hint
    speak(said.zh, said.en)


def _ask(
    common: Common, settings: Settings, plan: Plan, estimate: Estimate, budget: Budget | None
) -> None:
    """Nothing dear, unknown or uncountable without a person's yes. Raises Usage: nothing spent."""
    from .chain import dearest_spare

    yes = bool(plan.given["yes"])
    if budget is not None and not yes:
        spares = {spare.name: spare.price for spare in plan.spares}
        budget.require_countable({**plan.prices, **spares})
    dear = max((float(amount) for _, amount in estimate.total.parts), default=0.0)
    worst = estimate.count * dearest_spare(plan.spares)
    capped = budget is not None and float(budget.limit) <= settings.ask_above
    if max(dear, worst) > settings.ask_above and not capped:
        total = estimate.text()
        zh, en = total.zh, total.en
        if worst > dear:
            zh = f"{zh}若都由备用端点做，至多约 {worst:g}。"
            en = f"{en} At most about {worst:g} if the fallback makes all of it."
        question = Text(f"{zh}确定要花吗？", f"{en} Spend it?")
        common.confirm(question, yes=yes)


async def _carry(
    common: Common, settings: Settings, names: list[str], plan: Plan, budget: Budget | None
) -> int:
    from redloom.engine import Engine, absolute
    from redloom.equip import lane_advice
    from redloom.memory import collect_rarely
    from redloom.observe import observing

    from .carrying import attend, softener_of

    collect_rarely()

    lane = None if plan.given["lane"] == "auto" else plan.given["lane"]
    jobs = plan.given["jobs"] or settings.jobs
    soften = softener_of(settings) if plan.given["soften"] else None
    async with (
        observing() as watch,
        Engine(names, settings=settings, jobs=jobs, lane=lane, soften=soften) as engine,
    ):
        watch(engine)
        extend = await _room(engine, plan, absolute(plan.out))
        for live in engine.lives:
            advice = lane_advice(live, plan.wanted - plan.invalid)
            if advice is not None:
                common.hint(advice.zh, advice.en)
        run = await engine.add(
            plan.prompts(), out=plan.out, options=plan.options(settings), kind="batch",
            digest=plan.digest, budget=None if budget is None else float(budget.limit),
            currency="" if budget is None else budget.currency, extend=extend, wait=extend is not None,
        )  # fmt: skip
        return await attend(common, engine, run, wanted=plan.wanted - plan.invalid)


async def _room(engine: Engine, plan: Plan, folder: str) -> str | None:
    """Make sure that the folder is this run's; the run to extend, if one is.

    Raises WouldOverwrite where another run lies there.
    """
    there = await engine.records.runs_into(folder)
    mine = next((run for run in there if run.digest == plan.digest), None)
    if mine is not None:
        if mine.complete and sum((await engine.records.counts(mine.id)).values()) < plan.wanted:
            # Begun with --limit: the input is read again; rows that are there stay as they are.
            await engine.records.extend_run(mine.id, plan.digest)
        return None
    if there and plan.given["overwrite"]:
        for run in there:
            await engine.records.leave_out(run.id)
    elif there and plan.given["extend"]:
        return there[0].id
    elif there:
        raise _taken(plan)
    return None


def _taken(plan: Plan) -> WouldOverwrite:
    return WouldOverwrite(
        f"{plan.out} 里是另一批（输入或选项不同）。换一个 --out；或 --extend 把新的加进去，或 --overwrite 取而代之。没有花钱。",
        f"{plan.out} holds another run (other input or options). Name another --out, or --extend to add to it, or --overwrite to replace it. Nothing was spent.",
    )
