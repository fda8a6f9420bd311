"""``redloom models``: the endpoints there are, what each makes and costs.

May import: cli.common, errors, lang, settings, providers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from redloom.errors import RedloomError
from redloom.lang import Text

from .common import Common, command

if TYPE_CHECKING:
    from redloom.settings import EndpointConfig, Settings


@command(
    "models",
    zh="列出端点：模型、价格、限额，还缺什么密钥。换模型写 端点:模型，如 dashscope:qwen-image。",
    en="The endpoints: model, price, limits, and which key is missing. Another model of one is "
    "NAME:MODEL, such as dashscope:qwen-image.",
)
def models(common: Common) -> None:
    """The command."""
    settings = common.settings()
    rows = [described(settings, config) for config in every(settings)]
    for row in rows:
        common.emit(row)
    if common.json:
        return
    width = max(len(row["endpoint"]) for row in rows)
    for row in rows:
        mark = "*" if row["default"] else " "
        click.echo(f"{mark} {row['endpoint']:<{width}}  {'  '.join(row['facts'])}")


def every(settings: Settings) -> list[EndpointConfig]:
    """The configured endpoints, and those that only lack a key."""
    from redloom import providers

    found = list(settings.endpoints.values())
    have = {config.provider for config in found}
    others = (settings.implied(name) for name in providers.names() if name not in have)
    found.extend(config for config in others if config is not None)
    return found


def described(settings: Settings, config: EndpointConfig) -> dict[str, Any]:
    """One endpoint for people and programs."""
    price, limits = _published(config)
    facts = [config.model or "-", price, limits]
    if not config.ready:
        facts.append(str(Text(f"缺密钥 {config.key_variable}", f"needs {config.key_variable}")))
    return {
        "endpoint": config.name, "provider": config.provider, "label": str(config.label),
        "model": config.model, "ready": config.ready, "key_variable": config.key_variable,
        "default": config.name == settings.default_endpoint,
        "price": price, "limits": limits, "facts": [fact for fact in facts if fact],
    }  # fmt: skip


def _published(config: EndpointConfig) -> tuple[str, str]:
    """Price and limits in words; empty where the provider cannot say."""
    from redloom import providers
    from redloom.endpoint import Asked, Tools

    try:
        endpoint = config.endpoint()
        provider = providers.load(config.provider).create(
            endpoint, Tools(key=config.api_key or "-")
        )
        price = config.price or provider.price(Asked(prompt="", model=config.model))
        limits = provider.limits()
    except RedloomError:
        return "", ""
    rate = config.limits.submit_per_second or limits.submit_per_second
    slots = config.limits.concurrency or limits.concurrency
    words = []
    if rate:
        words.append(str(Text(f"每秒 {rate:g} 次", f"{rate:g} a second")))
    if slots:
        words.append(str(Text(f"同时 {slots} 张", f"{slots} at once")))
    return _money(price.amount, price.currency), " · ".join(words)


def _money(amount: float | None, currency: str) -> str:
    if amount is None:
        return str(Text("价格未知", "price unknown"))
    if amount == 0:
        return str(Text("免费", "free"))
    return str(Text(f"{amount:g} {currency}/张", f"{amount:g} {currency} a picture"))
