"""``redloom probe``: settle with a real key what only the real service can tell.

May import: settings, cli.common, errors, lang, clock, endpoint, providers, bench.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from redloom.errors import BadInput
from redloom.lang import Text

from .common import Common, command, option

if TYPE_CHECKING:
    from redloom.bench.probe import Finding, Probe
    from redloom.settings import EndpointConfig


@command(
    "probe",
    zh="用真密钥弄清真服务的行为：超额是排队还是被拒、列表延迟和页长、链接寿命、文件里的标识。要花一点钱，先报价。",
    en="With a real key: does the service queue or refuse, list lag and page size, link life, labels "
    "in its files. Costs a little; the price is told first.",
)
@option(
    "--endpoint",
    default=None,
    metavar="NAME",
    zh="问哪个端点（默认端点）",
    en="which endpoint (the default one)",
)
@option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("out/probe"),
    metavar="DIR",
    zh="结果和脱敏的记录放哪里",
    en="where findings and scrubbed recordings go",
)
@option("--yes", is_flag=True, zh="不再问价钱", en="do not ask about the price")
def probe(common: Common, endpoint: str | None, out: Path, yes: bool) -> int:
    """The command."""
    settings = common.settings()
    config = settings.endpoint(endpoint or settings.default_endpoint)
    if config.provider != "dashscope":
        raise BadInput(
            f"目前只能探查 DashScope 的端点，「{config.name}」是 {config.provider} 的；没有花钱。",
            f"Only DashScope's endpoints can be probed so far; “{config.name}” is {config.provider}'s. Nothing was spent.",
        )
    return asyncio.run(_probe(common, config, out, yes=yes))


async def _probe(common: Common, config: EndpointConfig, out: Path, *, yes: bool) -> int:
    made = prepared(config)
    try:
        common.confirm(_question(config, made), yes=yes)
        findings = await made.run()
    finally:
        if made.recorder.exchanges:
            _keep_recordings(out, made)
        await made.provider.close()
    _tell(common, findings, out, made)
    return 0


def prepared(config: EndpointConfig) -> Probe:
    """A probe of one endpoint, its wire recorded. Raises BadInput where it has no such lane."""
    from redloom import providers
    from redloom.bench.probe import Probe
    from redloom.bench.recording import Recorder
    from redloom.clock import clock_from_environment
    from redloom.endpoint import Tools
    from redloom.settings import check_clock

    clock = clock_from_environment()
    check_clock(clock, [config])
    wires: list[Recorder] = []

    def wire(*args: Any, **how: Any) -> Recorder:
        wires.append(Recorder(*args, **how))
        return wires[-1]

    provider = providers.load(config.provider).create(
        config.endpoint(), Tools(key=config.api_key, clock=clock, wire=wire)
    )
    if "async" not in provider.capabilities().lanes:
        raise BadInput(
            f"模型 {config.model} 只有同步通道，没有任务可查；换一个模型，如 dashscope:wan2.6-t2i。",
            f"The model {config.model} has only the synchronous lane and no tasks to look at; try another, such as dashscope:wan2.6-t2i.",
        )
    slots = config.limits.concurrency or provider.limits().concurrency or 5
    return Probe(provider, wires[0], clock, slots)


def _question(config: EndpointConfig, made: Probe) -> Text:
    from redloom.endpoint import Asked

    asked = made.provider.fit(Asked("a red paper lantern", model="")).asked
    price = config.price or made.provider.price(asked)
    each = "?" if price.amount is None else f"{price.amount:g}"
    most = "?" if price.amount is None else f"{price.amount * made.tasks:.2f}"
    return Text(
        f"将在 {config.name}（{config.model}，{config.base_url}）提交 {made.tasks} 张，每张 {each} {price.currency}，"
        f"至多 {most} {price.currency}；排队的会取消，不计费。继续吗？",
        f"{made.tasks} pictures will be submitted to {config.name} ({config.model}, {config.base_url}) at {each} {price.currency} each, "
        f"{most} {price.currency} at most; what queues is cancelled unbilled. Go on?",
    )


def _keep_recordings(out: Path, made: Probe) -> None:
    """Also after a failure: an exchange that went wrong tells most."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "recordings.jsonl").write_text(made.recorder.lines(), "utf-8")
    if made.data:
        (out / "picture.png").write_bytes(made.data)


def _tell(common: Common, findings: Sequence[Finding], out: Path, made: Probe) -> None:
    records = [{"question": f.name, "answer": f.value, "text": str(f.text)} for f in findings]
    text = json.dumps(records, ensure_ascii=False, indent=1, default=str)
    (out / "probe.json").write_text(text + "\n", "utf-8")
    for found, record in zip(findings, records, strict=True):
        common.emit(record)
        if not common.json:
            mark = "?" if found.value is None else "·"
            click.echo(f"{mark} {found.name:<15} {found.text}")
    common.hint(
        f"记录了 {len(made.recorder.exchanges)} 次来往（已脱敏）：{out}/recordings.jsonl",
        f"{len(made.recorder.exchanges)} exchanges recorded, scrubbed: {out}/recordings.jsonl",
    )
