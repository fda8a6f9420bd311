"""``redloom bench --real``: the race on the configured service, after its price.

May import: settings, cli.common, errors, lang, clock, endpoint, providers, bench.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from redloom.errors import BadInput
from redloom.lang import Text

from .common import Common

if TYPE_CHECKING:
    from redloom.bench.measure import Row
    from redloom.bench.real import Service
    from redloom.settings import EndpointConfig

TALKERS = ("report-3", "report-cap", "gather", "ours")
TRIES = 3
"""How often the usual ways may buy one picture."""


def real(common: Common, asked: Mapping[str, Any]) -> int:
    """The command, with the options of `bench`."""
    from redloom.bench.scenarios import REAL

    settings = common.settings()
    config = settings.endpoint(asked["endpoint"] or settings.default_endpoint)
    if config.provider != "dashscope":
        raise BadInput(
            f"--real 目前只能在 DashScope 的端点上跑，「{config.name}」是 {config.provider} 的；没有花钱。",
            f"--real runs on DashScope's endpoints only so far; “{config.name}” is {config.provider}'s. Nothing was spent.",
        )
    clients = list(asked["client"] or REAL.clients)
    for name in clients:
        if name not in TALKERS:
            raise BadInput(
                f"--real 可跑的客户端：{'、'.join(TALKERS)}；没有花钱。",
                f"Clients for --real are {', '.join(TALKERS)}. Nothing was spent.",
            )
    pictures = asked["pictures"] or REAL.pictures
    service, price = _service(config)
    common.confirm(_question(config, clients, pictures, price), yes=asked["yes"])
    rows = [asyncio.run(_race(service, name, pictures, asked["seed"])) for name in clients]
    return _show(common, service, rows, pictures, asked["out"])


async def _race(service: Service, client: str, pictures: int, seed: int) -> Row:
    from redloom.bench.real import race

    return await race(service, client, pictures, seed)


def _service(config: EndpointConfig) -> tuple[Service, tuple[float | None, str]]:
    """What to race on, and what one picture costs there."""
    from redloom import providers
    from redloom.bench.real import Service
    from redloom.bench.scenarios import Place
    from redloom.clock import clock_from_environment
    from redloom.endpoint import Asked, Tools
    from redloom.settings import check_clock

    clock = clock_from_environment()
    check_clock(clock, [config])
    provider = providers.load(config.provider).create(config.endpoint(), Tools(key=config.api_key))
    if "async" not in provider.capabilities().lanes:
        raise BadInput(
            f"模型 {config.model} 没有提交后查询的通道；没有花钱。",
            f"The model {config.model} has no submit-and-poll lane. Nothing was spent.",
        )
    limits = provider.limits()
    rate = config.limits.submit_per_second or limits.submit_per_second or 1.0
    slots = config.limits.concurrency or limits.concurrency or 5
    price = config.price or provider.price(
        provider.fit(Asked("a lane in the rain", model="")).asked
    )
    place = Place(concurrency=slots, rate=rate, burst=max(1.0, rate))
    service = Service(
        config.base_url, config.api_key, config.model, place, clock.speed, clock.start
    )
    return service, (price.amount, price.currency)


def _question(
    config: EndpointConfig, clients: list[str], pictures: int, price: tuple[float | None, str]
) -> Text:
    """What it will cost: at best, and where the usual ways buy again."""
    amount, currency = price
    usual = sum(name != "ours" for name in clients)
    least, most = len(clients) * pictures, (len(clients) - usual + usual * TRIES) * pictures
    cost = "?" if amount is None else f"{least * amount:.2f}"
    worst = "?" if amount is None else f"{most * amount:.2f}"
    return Text(
        f"将在 {config.name}（{config.model}，{config.base_url}）用 {len(clients)} 个客户端各做 {pictures} 张，"
        f"约 {cost} {currency}；常见写法会重复购买，最坏 {worst} {currency}。继续吗？",
        f"{len(clients)} clients will make {pictures} pictures each at {config.name} ({config.model}, {config.base_url}): "
        f"{cost} {currency}, or {worst} {currency} at worst, because the usual ways buy again. Go on?",
    )


def _show(common: Common, service: Service, rows: list[Row], pictures: int, out: Path) -> int:
    from redloom.bench import machine, race, table
    from redloom.bench.real import scenario_of

    scenario = scenario_of(service, pictures)
    for row in rows:
        common.emit({"event": "race", **row.record()})
    if not common.json:
        click.echo("\n".join(table.lines(scenario, rows)))
    about = {
        **machine.about(),
        "emulated": False,
        "service": service.base_url,
        "model": service.model,
    }
    race.keep(out / "real.json", rows, about)
    common.hint(f"结果：{out}/real.json", f"Results: {out}/real.json")
    return 0 if all(row.whole for row in rows) else 1
