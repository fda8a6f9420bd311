"""``redloom bench``: the engine against the usual ways and the bound, in one run.

May import: cli.common, errors, lang, clock, bench.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from redloom.errors import BadInput
from redloom.lang import Text

from .common import Common, command, option

if TYPE_CHECKING:
    from redloom.bench.measure import Row
    from redloom.bench.race import Plan
    from redloom.bench.scenarios import Scenario

PARTS = ("cards", "downloads", "hedge", "overhead", "overnight", "start")
NEEDS = {"sdk": "dashscope", "gather": "aiolimiter"}
"""Which package a client needs, from the extra ``bench``."""


@command(
    "bench",
    zh="与常见写法和理论极限赛跑：自己起模拟服务和各家客户端，量同一次运行。不花钱。\n--real 换成真服务，先报价。",
    en="The race against the usual ways and the bound: starts the emulated service and every client "
    "itself. Costs nothing.\n--real does it on the real service, after the price.",
)
@option(
    "--quick",
    is_flag=True,
    zh="两分钟：少几幕，少几张",
    en="two minutes: fewer scenes, fewer pictures",
)
@option("--scenario", multiple=True, metavar="NAME", zh="只跑这些幕", en="only these scenes")
@option("--client", multiple=True, metavar="NAME", zh="只跑这些客户端", en="only these clients")
@option(
    "--repeat",
    "--repeats",
    "repeat",
    type=click.IntRange(1, 99),
    metavar="N",
    default=None,
    zh="每场跑几次，取中位数（默认 3，--quick 为 1）",
    en="races of each, median taken (default 3; 1 with --quick)",
)
@option(
    "--pictures",
    type=click.IntRange(1, 100_000),
    metavar="N",
    default=None,
    zh="每场几张图",
    en="pictures of each race",
)
@option(
    "--speed",
    type=click.FloatRange(1, 20),
    metavar="N",
    default=None,
    zh="时钟快几倍，最多 20",
    en="how fast the clock runs, at most 20",
)
@option(
    "--at-once",
    type=click.IntRange(1, 64),
    metavar="N",
    default=None,
    zh="同时跑几场",
    en="races side by side",
)
@option(
    "--seeds",
    default=None,
    metavar="A-B",
    zh="只跑 Redloom，跑这些种子（时钟直接跳，几秒一场），看分布",
    en="ours alone under each of these seeds, on a clock that jumps (seconds each): how figures fall",
)
@option(
    "--sweep",
    is_flag=True,
    zh="量几种设置各值多少：-j、写错的上限、几台机器分配额（约两分钟）",
    en="what settings cost: -j, a wrong limit, machines that share a quota (about two minutes)",
)
@option(
    "--proof",
    is_flag=True,
    zh="要证明的全部：各幕三次取中位数，加那张表，约半小时",
    en="all that has to be shown: medians of three and the table, about half an hour",
)
@option("--seed", type=int, default=1, metavar="N", zh="随机种子", en="the dice")
@option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("out/bench"),
    metavar="DIR",
    zh="结果放哪里（bench.json、bench.svg）",
    en="where the results go (bench.json, bench.svg)",
)
@option(
    "--table",
    is_flag=True,
    zh="报告里的那张表：3、5、10 张",
    en="the report's own table: 3, 5, 10 pictures",
)
@option(
    "--part",
    type=click.Choice(PARTS),
    default=None,
    zh="只跑 benchmarks/ 里的一项",
    en="one script of benchmarks/ alone",
)
@option("--list", "listing", is_flag=True, zh="列出各幕和客户端", en="list scenes and clients")
@option(
    "--real",
    is_flag=True,
    zh="用已配置的真服务，花真钱",
    en="on the configured real service, for real money",
)
@option(
    "--endpoint",
    default=None,
    metavar="NAME",
    zh="--real 用哪个端点",
    en="which endpoint for --real",
)
@option("--yes", is_flag=True, zh="不再问价钱", en="do not ask about the price")
def bench(common: Common, **asked: Any) -> int:
    """The command."""
    if asked["listing"]:
        return _list(common)
    if asked["part"]:
        return _part(asked["part"])
    if asked["real"]:
        from .bench_real import real

        return real(common, asked)
    if asked["seeds"]:
        from .bench_seeds import SCENES, seeds

        names = asked["scenario"] or SCENES
        return seeds(common, asked, _chosen({**asked, "scenario": names}))
    if asked["sweep"]:
        from .bench_seeds import sweep

        return sweep(common, asked)
    if asked["proof"]:
        return max(_race(common, asked), _table(common, asked))
    return _table(common, asked) if asked["table"] else _race(common, asked)


def _list(common: Common) -> int:
    from redloom.bench.scenarios import SCENARIOS
    from redloom.bench.table import CLIENTS

    for one in SCENARIOS:
        common.emit({"scenario": one.name, "pictures": one.pictures, "text": str(one.text), "clients": list(one.clients)})  # fmt: skip
        if not common.json:
            click.echo(f"{one.name:<11} {one.pictures:>4}  {one.text}")
    if not common.json:
        click.echo()
        for name, text in CLIENTS.items():
            click.echo(f"{name:<11}       {text}")
    return 0


def _part(name: str) -> int:
    """One of the scripts in ``benchmarks/``, which stand beside the package in a checkout."""
    script = Path(__file__).parents[3] / "benchmarks" / f"{name}.py"
    if not script.exists():
        raise BadInput(
            f"单项基准 {name} 只在源码目录里有（benchmarks/{name}.py），装好的包里没有。",
            f"The part “{name}” stands only in a checkout of the source (benchmarks/{name}.py).",
        )
    return subprocess.run([sys.executable, str(script)], check=False).returncode


def _race(common: Common, asked: dict[str, Any]) -> int:
    from redloom.bench.race import Plan

    plan = _chosen(asked)
    plan = _quick(plan) if asked["quick"] else _proof(plan, asked) if asked["proof"] else plan
    repeats = asked["repeat"] or (1 if asked["quick"] else 3)
    side_by_side = asked["at_once"] or (6 if asked["quick"] else min(3, os.cpu_count() or 1))
    clients = _clients(common, asked["client"], plan)
    return _run(
        common,
        asked["out"],
        Plan(plan, clients, repeats, asked["seed"], side_by_side),
        _told(common),
    )


def _chosen(asked: dict[str, Any]) -> list[Scenario]:
    """The scenes asked for, with the sizes and the speed asked for."""
    from redloom.bench.scenarios import SCENARIOS

    names = [one.name for one in SCENARIOS]
    for name in asked["scenario"]:
        if name not in names:
            raise BadInput(
                f"没有叫“{name}”的一幕；有：{'、'.join(names)}。",
                f"There is no scene “{name}”; there are {', '.join(names)}.",
            )
    wanted = [one for one in SCENARIOS if one.name in asked["scenario"] or not asked["scenario"]]
    if asked["quick"] and not asked["scenario"]:
        wanted = [one for one in wanted if one.quick]
    found = []
    for one in wanted:
        pictures = asked["pictures"] or (asked["quick"] and one.quick) or one.pictures
        speed = (
            min(asked["speed"] or one.speed, one.speed) if one.lane == "sync" else asked["speed"]
        )
        found.append(replace(one, pictures=pictures, speed=speed or one.speed))
    return found


def _quick(scenarios: Sequence[Scenario]) -> list[Scenario]:
    """Fewer clients where a scene has its full cast elsewhere."""
    return [
        one if one.name in ("clean", "mild") else replace(one, clients=("report-cap", "ours"))
        for one in scenarios
    ]


def _proof(scenarios: Sequence[Scenario], asked: dict[str, Any]) -> list[Scenario]:
    """Those that the targets are about, each beside whom it has to be seen."""
    from redloom.bench.scenarios import PROOF

    return [
        replace(
            one, clients=PROOF[one.name][0], pictures=asked["pictures"] or PROOF[one.name][1] or one.pictures
        )
        for one in scenarios
        if one.name in PROOF
    ]  # fmt: skip


def _clients(common: Common, asked: Sequence[str], scenarios: Sequence[Scenario]) -> list[str]:
    """The clients that can run here; says what is missing."""
    from redloom.bench.table import CLIENTS

    for name in asked:
        if name not in CLIENTS:
            raise BadInput(
                f"没有叫“{name}”的客户端；有：{'、'.join(CLIENTS)}。",
                f"There is no client “{name}”; there are {', '.join(CLIENTS)}.",
            )
    wanted = asked or list(dict.fromkeys(client for one in scenarios for client in one.clients))
    absent = [c for c in wanted if c in NEEDS and importlib.util.find_spec(NEEDS[c]) is None]
    if absent:
        common.hint(
            f"{'、'.join(absent)} 没有跑：先 pip install 'redloom[bench]'。",
            f"{', '.join(absent)}: not run; pip install 'redloom[bench]' first.",
        )
    return [client for client in wanted if client not in absent]


def _told(common: Common) -> Callable[[Row], None]:
    """Tell of every race as it ends."""
    from redloom.bench.table import CLIENTS

    def told(row: Row) -> None:
        common.emit({"event": "race", **row.record()})
        if not common.json and not common.quiet:
            above = f"{row.above_pct:+.1f} %" if row.whole else f"{row.delivered}/{row.wanted}"
            click.echo(f"· {row.scenario} {CLIENTS[row.client]} {above}", err=True)

    return told


def _run(common: Common, out: Path, plan: Plan, told: Callable[[Row], None]) -> int:
    """Run, show, keep; 1 where ours misses what it must show."""
    from redloom.bench import drawing, machine, race, table

    about = machine.about()
    rows = asyncio.run(race.run(replace(plan, told=told)))
    missed = False
    for scenario in plan.scenarios:
        judged = table.verdicts(scenario, rows)
        missed = missed or not all(met for met, _ in judged)
        if not common.json:
            click.echo("\n" + "\n".join(table.lines(scenario, rows)))
    race.keep(out / "bench.json", rows, about)
    (out / "bench.svg").write_text(drawing.svg(plan.scenarios, rows, _note(about, plan)), "utf-8")
    common.hint(f"\n* 为计算值。结果：{out}/bench.json，图：{out}/bench.svg",
                f"\n* computed, not waited for. Results: {out}/bench.json, picture: {out}/bench.svg")  # fmt: skip
    return 1 if missed else 0


def _note(about: dict[str, Any], plan: Plan) -> str:
    """The picture's last line."""
    speeds = "/".join(f"{one:g}" for one in sorted({s.speed for s in plan.scenarios}))
    return str(
        Text(
            f"模拟服务，时钟 ×{speeds}，{plan.repeats} 次取中位数 · {about['cores']} 核，负载 {about['load_before']} · {about['day']} · redloom bench",
            f"emulated service, clock ×{speeds}, median of {plan.repeats} · {about['cores']} cores, load {about['load_before']} · {about['day']} · redloom bench",
        )
    )


def _table(common: Common, asked: dict[str, Any]) -> int:
    """The report's own table, the clock sped up."""
    from redloom.bench import machine, race, report_table
    from redloom.bench.scenarios import TABLE, TABLE_SIZES

    sized = [replace(TABLE.sized(n), speed=asked["speed"] or TABLE.speed) for n in TABLE_SIZES]
    about = machine.about()
    plan = race.Plan(
        sized, (), asked["repeat"] or 3, asked["seed"], asked["at_once"] or 2, False, _told(common)
    )
    rows = asyncio.run(race.run(plan))
    race.keep(asked["out"] / "table.json", rows, about)
    common.say(
        f"到最后一个文件的时间（分:秒，名义时间；时钟快 {sized[0].speed:g} 倍，模拟服务，同时 5 张）",
        f"Time to the last file (minutes:seconds, nominal; the clock ran {sized[0].speed:g} times as fast; emulated service, 5 at once)",
    )
    common.say("\n".join(report_table.markdown(rows)), "\n".join(report_table.markdown(rows)))
    return 0 if all(row.whole for row in rows) else 1
