"""``redloom models``: what can be asked for with the keys at hand: sizes, price, limits.

May import: cli.common, errors, lang, endpoint, settings, providers.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from redloom.errors import BadInput, RedloomError
from redloom.lang import Text

from .common import Common, command, option

if TYPE_CHECKING:
    from redloom.endpoint import Capabilities, Limits, Price, Provider
    from redloom.settings import EndpointConfig, Settings

Row = dict[str, Any]
_SIZES_SHOWN = 3


@command(
    "models",
    zh="列出能请求的模型：尺寸、价格、限额、能力。换模型写 端点:模型，如 dashscope:qwen-image。",
    en="What can be asked for: sizes, price, limits, abilities. Another model of an endpoint is "
    "NAME:MODEL, such as dashscope:qwen-image.",
)
@click.argument("endpoint", required=False)
@option("--all", "everything", is_flag=True, zh="没有密钥的也列出", en="those without a key too")
def models(common: Common, endpoint: str | None, everything: bool) -> None:
    """The command."""
    settings = common.settings()
    configs = every(settings)
    name, _, model = (endpoint or "").partition(":")
    if endpoint:
        configs = [config for config in configs if name in (config.name, config.provider)]
        if not configs:
            raise _unknown(endpoint, settings)
    missing = []
    for config in configs:
        rows = [described(settings, config, one) for one in ([model] if model else _names(config))]
        if lacking(config, asked_for=config.name in settings.endpoints) and not (
            everything or endpoint
        ):
            missing.append(config)
            rows = rows[:1]  # for programs: the endpoint is there, and what it lacks
        for row in rows:
            common.emit(row)
        if not common.json and config not in missing:
            _show(config, rows)
    if missing and not common.json:
        _show_missing(missing)


def every(settings: Settings) -> list[EndpointConfig]:
    """The configured endpoints, and those that only lack a key."""
    from redloom import providers

    found = list(settings.endpoints.values())
    have = {config.provider for config in found}
    others = (settings.implied(name) for name in providers.names() if name not in have)
    found.extend(config for config in others if config is not None)
    return found


def lacking(config: EndpointConfig, *, asked_for: bool) -> str:
    """The variable that would set the endpoint up; empty where it may be used.

    A server of one's own that nobody asked for is not set up, though it needs no key.
    """
    from redloom import providers

    if not config.ready:
        return config.key_variable
    if asked_for or not config.base_url:
        return ""
    return next(iter(providers.load(config.provider).DEFAULTS.url_variables), "")


def described(settings: Settings, config: EndpointConfig, model: str = "") -> Row:
    """One model of an endpoint, for people and programs."""
    config = replace(config, model=model or config.model)
    own = config.model == settings.endpoints.get(config.name, config).model
    row: Row = {
        "endpoint": config.name, "provider": config.provider, "label": str(config.label),
        "model": config.model, "ready": config.ready, "key_variable": config.key_variable,
        "default": config.name == settings.default_endpoint and own,
        "ask": config.name if own else f"{config.name}:{config.model}",
    }  # fmt: skip
    found = _published(config)
    return row if found is None else {**row, **found}


def _names(config: EndpointConfig) -> list[str]:
    """The endpoint's own model first, then what its provider suggests."""
    from redloom import providers

    suggested = getattr(providers.load(config.provider), "MODELS", ())
    return list(dict.fromkeys((config.model, *suggested)))


def _published(config: EndpointConfig) -> Row | None:
    """What the provider says of the model, without the network; None where it cannot."""
    from redloom import providers
    from redloom.endpoint import Asked, Tools

    try:
        provider: Provider = providers.load(config.provider).create(
            config.endpoint(), Tools(key=config.api_key or "-")
        )
        can, limits = provider.capabilities(), provider.limits()
        price = config.price or provider.price(Asked("", config.model))
    except RedloomError:
        return None
    rate = config.limits.submit_per_second or limits.submit_per_second
    slots = config.limits.concurrency or limits.concurrency
    return {
        **_abilities(can),
        "price": _money(price), "amount": price.amount, "currency": price.currency,
        "price_source": price.source, "price_as_of": price.as_of,
        "limits": _limits(rate, slots), "submit_per_second": rate, "concurrency": slots,
        "sync_concurrency": limits.sync_concurrency,
        "poll_per_second": _polls(limits),
    }  # fmt: skip


def _abilities(can: Capabilities) -> Row:
    return {
        "lanes": list(can.lanes), "sizes": [f"{w}x{h}" for w, h in can.sizes],
        "ratios": list(can.ratios), "formats": list(can.formats),
        "prompt_characters": can.prompt_characters, "references": can.references,
        "seed": can.seed, "negative_prompt": can.negative_prompt, "cancels": can.cancels,
        "lists_tasks": can.lists_tasks, "queues_excess": can.queues_excess,
        "url_life_s": can.url_life_s if can.gives_links is not False else None,
        "typical_s": can.typical_s,
    }  # fmt: skip


def _polls(limits: Limits) -> float | None:
    return limits.poll_per_second


def _show(config: EndpointConfig, rows: list[Row]) -> None:
    """An endpoint and the table of its models."""
    state = "" if config.ready else str(_needs(config))
    where = f" · {config.base_url}" if config.base_url else ""
    click.echo(f"{config.name}  {config.label}{where}{state}")
    cells = [_cells(row) for row in rows]
    widths = [max(_width(line[at]) for line in cells) for at in range(len(cells[0]) - 1)]
    for row, line in zip(rows, cells, strict=True):
        padded = [text + " " * (w - _width(text)) for text, w in zip(line, widths, strict=False)]
        mark = "*" if row["default"] else " "
        click.echo(f" {mark} {'  '.join((*padded, line[-1]))}".rstrip())


def _cells(row: Row) -> tuple[str, ...]:
    """A model in four columns: name, price, limits, what it can do."""
    if "price" not in row:
        return (row["model"] or "-", "", "", "")
    return (row["model"] or "-", row["price"], row["limits"], " · ".join(_abilities_told(row)))


def _abilities_told(row: Row) -> Iterator[str]:
    shapes = row["ratios"] or [size.replace("x", "×") for size in row["sizes"]]
    if shapes:
        yield " ".join(shapes[:_SIZES_SHOWN]) + (" …" if len(shapes) > _SIZES_SHOWN else "")
    if row["prompt_characters"]:
        count = row["prompt_characters"]
        yield str(Text(f"提示词 ≤{count} 字", f"prompts ≤{count}"))
    if row["references"]:
        count = row["references"]
        yield str(Text(f"参考图 ≤{count}", f"references ≤{count}"))
    if row["lanes"] == ["sync"]:
        yield str(Text("仅同步", "sync only"))


def _show_missing(missing: list[EndpointConfig]) -> None:
    lacks = {config.name: lacking(config, asked_for=False) for config in missing}
    named = "、".join(f"{name}（{variable}）" for name, variable in lacks.items())
    spoken = ", ".join(f"{name} ({variable})" for name, variable in lacks.items())
    click.echo(str(Text(f"还没设置：{named}", f"Not set up: {spoken}")))


def _needs(config: EndpointConfig) -> Text:
    return Text(f" · 缺密钥 {config.key_variable}", f" · needs {config.key_variable}")


def _limits(rate: float | None, slots: int | None) -> str:
    words = []
    if rate and rate >= 1:
        words.append(str(Text(f"每秒 {rate:g} 次", f"{rate:g} a second")))
    elif rate:
        words.append(str(Text(f"每分钟 {rate * 60:g} 次", f"{rate * 60:g} a minute")))
    if slots:
        words.append(str(Text(f"同时 {slots} 张", f"{slots} at once")))
    return " · ".join(words)


def _money(price: Price) -> str:
    if price.amount is None:
        return str(Text("价格未知", "price unknown"))
    if price.amount == 0:
        return str(Text("免费", "free"))
    return str(
        Text(
            f"{price.amount:g} {price.currency}/张", f"{price.amount:g} {price.currency} a picture"
        )
    )


def _width(text: str) -> int:
    """Columns on a terminal: a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _unknown(endpoint: str, settings: Settings) -> BadInput:
    known = sorted({config.name for config in every(settings)})
    return BadInput(
        f"没有名为“{endpoint}”的端点；现有：{'、'.join(known)}。",
        f"There is no endpoint “{endpoint}”; there are {', '.join(known)}.",
    )
