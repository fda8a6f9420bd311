"""``redloom doctor``: is everything set up; every check is free.

May import: cli.common, cli.models, errors, lang, clock, settings, providers.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import click

from redloom.errors import MissingExtra, RedloomError
from redloom.lang import Text

from .common import Common, command, option

if TYPE_CHECKING:
    from redloom.settings import EndpointConfig, Settings

State = Literal["ok", "absent", "wrong"]
_MARKS = {"ok": "✓", "absent": "–", "wrong": "✗"}


class Finding(NamedTuple):
    """What one check found. ``absent`` is no fault: a part that is not set up."""

    what: str
    state: State
    text: Text


@command(
    "doctor",
    zh="检查是否就绪：密钥在不在、管不管用，字体、工作区、时钟。全部免费。",
    en="Is everything set up: keys there and working, faces, workspace, clock. All of it free.",
)
@option("--offline", is_flag=True, zh="不联网，不试密钥", en="no network: keys are not tried")
def doctor(common: Common, offline: bool) -> int:
    """The command."""
    settings = common.settings()
    findings = [*_ground(settings), *asyncio.run(_endpoints(settings, offline=offline))]
    width = max(len(found.what) for found in findings)
    for found in findings:
        common.emit({"check": found.what, "state": found.state, "text": str(found.text)})
        if not common.json:
            click.echo(f"{_MARKS[found.state]} {found.what:<{width}}  {found.text}")
    wrong = [found for found in findings if found.state == "wrong"]
    if not any(c.ready and c.needs_key for c in settings.endpoints.values()):
        common.hint(
            "还没有任何图片服务的密钥：redloom note 仍可离线排版（--offline）。要用模型画图，先 export DASHSCOPE_API_KEY=…",
            "There is no key for any picture service: `redloom note --offline` works all the same. "
            "For pictures by a model: export DASHSCOPE_API_KEY=…",
        )
    return 2 if wrong else 0


def _ground(settings: Settings) -> Iterator[Finding]:
    yield _workspace(settings.workspace)
    yield _clock(settings)
    yield _faces()


def _workspace(folder: Path) -> Finding:
    """Whether it can be written; a workspace that is not there yet is not made."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        if place == folder:
            with tempfile.TemporaryFile(dir=folder):
                pass
        elif not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
            raise PermissionError(13, os.strerror(13))
    except OSError as error:
        text = Text(
            f"{folder} 写不进去：{error.strerror}", f"{folder} cannot be written: {error.strerror}"
        )
        return Finding("workspace", "wrong", text)
    return Finding("workspace", "ok", Text(str(folder), str(folder)))


def _clock(settings: Settings) -> Finding:
    from redloom.clock import clock_from_environment
    from redloom.settings import check_clock

    try:
        clock = clock_from_environment()
        check_clock(clock, [c for c in settings.endpoints.values() if c.ready])
    except RedloomError as error:
        return Finding("clock", "wrong", error.text)
    if clock.speed == 1.0:
        return Finding("clock", "ok", Text("正常速度", "normal speed"))
    return Finding("clock", "ok", Text(f"{clock.speed:g} 倍速", f"{clock.speed:g} times as fast"))


def _faces() -> Finding:
    """Whether the faces for cards are there and can draw Chinese."""
    from redloom.typeset.characters import missing_characters

    try:
        missing = missing_characters("永和九年，ABC 123")
    except (OSError, RedloomError) as error:
        return Finding(
            "faces", "wrong", Text(f"字体读不了：{error}", f"The faces cannot be read: {error}")
        )
    if missing:
        return Finding(
            "faces", "wrong", Text("字体不完整，请重装", "The faces are incomplete; install again")
        )
    return Finding("faces", "ok", Text("自带字体齐全", "the bundled faces are complete"))


async def _endpoints(settings: Settings, *, offline: bool) -> list[Finding]:
    from .models import every

    found = [
        _endpoint(config, offline=offline, asked_for=config.name in settings.endpoints)
        for config in every(settings)
    ]
    return list(await asyncio.gather(*found))


async def _endpoint(config: EndpointConfig, *, offline: bool, asked_for: bool) -> Finding:
    """Whether the key is there and the service takes it.

    A server of one's own that nobody asked for is not set up, and no fault; so is an extra.
    """
    from redloom import providers
    from redloom.clock import clock_from_environment
    from redloom.endpoint import Tools
    from redloom.settings import check_clock

    if not config.ready:
        text = Text(f"没有设置 {config.key_variable}", f"{config.key_variable} is not set")
        return Finding(config.name, "absent", text)
    if not asked_for and config.base_url:
        variable = next(iter(providers.load(config.provider).DEFAULTS.url_variables), "")
        text = Text(f"没有设置 {variable}", f"{variable} is not set")
        return Finding(config.name, "absent", text)
    if offline and config.base_url:
        there = ("密钥在（没有试）", "the key is there (not tried)")
        kept = ("已设置（没有试）", "set up (not tried)")
        return Finding(config.name, "ok", Text(*(there if config.needs_key else kept)))
    try:
        clock = clock_from_environment()
        check_clock(clock, [config])
        tools = Tools(key=config.api_key, clock=clock)
        provider = providers.load(config.provider).create(config.endpoint(), tools)
        try:
            await provider.check()
            if hasattr(provider, "about"):  # what a provider of this machine's own has found
                return Finding(config.name, "ok", provider.about())
        finally:
            await provider.close()
    except MissingExtra as error:
        return Finding(config.name, "wrong" if asked_for else "absent", error.text)
    except RedloomError as error:
        return Finding(config.name, "wrong", error.text)
    what = ("密钥可用", "the key works") if config.needs_key else ("可用", "works")
    return Finding(
        config.name, "ok", Text(f"{what[0]}，{config.model}", f"{what[1]}, {config.model}")
    )
