"""``redloom emulate PROVIDER``: a local stand-in for a service, to try everything without money.

May import: providers, cli.common, errors, lang, clock, emulators.
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from redloom.errors import BadInput

from .common import Common, command, option


@command(
    "emulate",
    zh="在本机模拟一家服务：协议、限额、坑和账本都照它的样子，不花一分钱。",
    en="A stand-in for a service on this machine: its protocol, limits, traps and ledger, for free.",
)
@click.argument("provider")
@option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    default=0,
    zh="端口（0：任一空闲的）",
    en="port (0: any free one)",
)
@option(
    "--latency", metavar="MEDIAN,SIGMA,LOW,HIGH", default=None,
    zh="出图时间：中位数、对数标准差、下限、上限（秒）", en="service time: median, log sigma, least, most (seconds)",
)  # fmt: skip
@option(
    "--rps",
    type=click.FloatRange(min=0),
    metavar="N",
    default=None,
    zh="每秒可提交数（0：不限）",
    en="submits a second (0: no limit)",
)
@option(
    "--concurrency",
    type=click.IntRange(min=0),
    metavar="N",
    default=None,
    zh="同时处理数（0：不限）",
    en="tasks at once (0: no limit)",
)
@option(
    "--over", type=click.Choice(["queue", "reject"]), default=None,
    zh="超出的排队还是拒绝", en="whether what exceeds it queues or is refused",
)  # fmt: skip
@option("--faults", default=None, metavar="NAME=RATE,…", zh="要出的故障", en="what is to go wrong")
@option(
    "--stragglers", type=click.FloatRange(0, 1), default=None, metavar="RATE",
    zh="这一部分提示词慢八倍", en="the part of prompts that take eight times as long",
)  # fmt: skip
@option(
    "--mid-run", default=None, metavar="SECONDS:WHAT=VALUE,…",
    zh="中途的变化，秒数从第一次受理算起：concurrency=3、rps=1、slower=4",
    en="what changes so long after the first accepted request: concurrency=3, rps=1, slower=4",
)  # fmt: skip
@option(
    "--keys", default=None, metavar="KEY[=ACCOUNT],…", zh="认哪些密钥", en="the keys that it takes"
)
@option(
    "--dialect", default=None, metavar="NAME",
    zh="学哪一家（openai：relay-strict、relay-chat、dall-e-3 等）",
    en="whom it is like (openai: relay-strict, relay-chat, dall-e-3, …)",
)  # fmt: skip
@option(
    "--ledger", type=click.Path(path_type=Path, dir_okay=False), default=None, metavar="FILE",
    zh="把卖出的每张图记进这个文件", en="write every picture sold into this file",
)  # fmt: skip
def emulate(common: Common, provider: str, **options: Any) -> None:
    """The command."""
    module = _module(provider)
    settings = module.Emulated(**_settings(module, options))
    from redloom.clock import clock_from_environment
    from redloom.emulators.contract import serve_until_cancelled

    clock = clock_from_environment()
    key = next(iter(settings.keys)) if getattr(settings, "keys", None) else ""
    try:
        emulator = module.Emulator(settings, clock)
        asyncio.run(serve_until_cancelled(emulator, lambda url: _tell(common, provider, url, key)))
    except KeyboardInterrupt:  # the ordinary way to end it
        return
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        port = options["port"]
        raise BadInput(
            f"端口 {port} 用不了：已被占用，或没有权限；换一个 --port，或不写（自动选空闲的）。",
            f"Port {port} cannot be used: it is taken, or not allowed. Name another --port, or none for any free one.",
        ) from error


def names() -> list[str]:
    """The services that can be emulated."""
    from redloom import emulators, providers

    found = {module.name for module in pkgutil.iter_modules(emulators.__path__)}
    return sorted(found.intersection(providers.names()))


def _module(provider: str) -> Any:
    known = names()
    if provider not in known:
        raise BadInput(
            f"还不能模拟“{provider}”；可选：{'、'.join(known)}。",
            f"“{provider}” cannot be emulated; there are {', '.join(known)}.",
        )
    return importlib.import_module(f"redloom.emulators.{provider}")


def _settings(module: Any, options: dict[str, Any]) -> dict[str, Any]:
    """What was asked for, under the names of ``Emulated``."""
    from redloom.emulators.service_time import parse_service_time

    given = {key: value for key, value in options.items() if value is not None}
    readers: dict[str, tuple[str, Callable[[Any], Any]]] = {
        "latency": ("latency", parse_service_time),
        "rps": ("submit_per_second", float),
        "faults": ("faults", lambda text: module.parse_faults(text)),
        "mid_run": ("changes", lambda text: module.parse_changes(text)),
        "keys": ("keys", _keys),
        "ledger": ("ledger_path", Path),
        "dialect": ("dialect", lambda name: _dialect(module, name)),
    }
    known = module.Emulated.__dataclass_fields__
    settings = {}
    for option_name, value in given.items():
        name, read = readers.get(option_name, (option_name, _as_it_is))
        if name not in known:
            said = option_name.replace("_", "-")
            raise BadInput(f"这家服务的模拟没有 --{said}。", f"This stand-in has no --{said}.")
        settings[name] = read(value)
    return settings


def _dialect(module: Any, name: str) -> str:
    known = getattr(module, "DIALECTS", {})
    if known and name not in known:
        raise BadInput(
            f"没有叫“{name}”的一家；可选：{'、'.join(known)}。",
            f"It cannot be like “{name}”; there are {', '.join(known)}.",
        )
    return name


def _as_it_is(value: Any) -> Any:
    return value


def _keys(text: str) -> dict[str, str]:
    """``KEY`` or ``KEY=ACCOUNT``, joined by commas; each key its own account if none is named."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    return {
        key.strip(): account.strip() or f"account-{at}"
        for at, (key, _, account) in enumerate(pairs, 1)
    }


def _tell(common: Common, provider: str, url: str, key: str) -> None:
    from redloom import providers

    key_name, url_name = f"{provider.upper()}_API_KEY", f"{provider.upper()}_BASE_URL"
    if provider in providers.names():
        defaults = providers.load(provider).DEFAULTS
        key_name = next(iter(defaults.key_variables), "")
        url_name = next(iter(defaults.url_variables), url_name)
    lines = {name: value for name, value in ((url_name, url), (key_name, key)) if name and value}
    common.emit({"event": "listening", "provider": provider, "base_url": url, "environment": lines})
    common.hint(
        f"{provider} 的替身在 {url}。在另一个终端里这样用（Ctrl-C 结束）：",
        f"The stand-in for {provider} is at {url}. Use it from another terminal (Ctrl-C ends it):",
    )
    if not common.json:
        for name, value in lines.items():
            click.echo(f"export {name}={value}")
