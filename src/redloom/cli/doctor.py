"""``redloom doctor``: is everything set up; every check is free.

May import: endpoint, typeset, cli.common, cli.models, cli.bundle, errors, lang, clock, journal,
workspace, settings, providers.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import click

from redloom.errors import BadInput, RedloomError
from redloom.lang import Text

from .common import Common, command, option

if TYPE_CHECKING:
    from redloom.clock import Clock
    from redloom.journal import Row
    from redloom.settings import EndpointConfig, Settings

State = Literal["ok", "absent", "wrong"]
DAY_S = 86400.0
_MARKS = {"ok": "✓", "absent": "–", "wrong": "✗"}


class Finding(NamedTuple):
    """What one check found. ``absent`` is no fault: a part that is not set up."""

    what: str
    state: State
    text: Text
    lacks: str = ""
    """The environment variable that would set it up."""


@command(
    "doctor",
    zh="检查是否就绪：密钥在不在、管不管用，字体、工作区、时钟。全部免费。",
    en="Is everything set up: keys there and working, faces, workspace, clock. All of it free.",
)
@option("--offline", is_flag=True, zh="不联网，不试密钥", en="no network: keys are not tried")
@option(
    "--bundle", is_flag=False, flag_value="", default=None, metavar="[FILE]",
    zh="写一个问题包（zip），报 bug 时附上：密钥、账户、提示词都不在里面",
    en="write a bundle (zip) for a bug report: no keys, accounts or prompts in it",
)  # fmt: skip
@option(
    "--with-prompts", is_flag=True, zh="问题包里带上提示词和服务的原话",
    en="put prompts and services' own words into the bundle",
)  # fmt: skip
def doctor(common: Common, offline: bool, bundle: str | None, with_prompts: bool) -> int:
    """The command."""
    if with_prompts and bundle is None:
        raise BadInput(
            "--with-prompts 要和 --bundle 一起用。", "--with-prompts goes with --bundle."
        )
    settings = common.settings()
    findings = [*_ground(settings), *asyncio.run(_endpoints(settings, offline=offline))]
    for found in findings:
        common.emit({"check": found.what, "state": found.state, "text": str(found.text)})
    if not common.json:
        _show(findings)
    if bundle is not None:
        _bundle(common, settings, findings, bundle, with_prompts=with_prompts)
    wrong = [found for found in findings if found.state == "wrong"]
    if not any(c.ready and c.needs_key for c in settings.endpoints.values()):
        common.hint(
            "还没有任何图片服务的密钥：redloom note 仍可离线排版（--offline）。要用模型画图，先 export DASHSCOPE_API_KEY=…",
            "There is no key for any picture service: `redloom note --offline` works all the same. "
            "For pictures by a model: export DASHSCOPE_API_KEY=…",
        )
    return 2 if wrong else 0


def _bundle(
    common: Common, settings: Settings, findings: list[Finding], given: str, *, with_prompts: bool
) -> None:
    """Write the bundle and say where it is and what is in it."""
    from .bundle import write_bundle

    target = Path(given)
    if not given or target.is_dir():
        target /= f"redloom-bundle-{time.strftime('%Y%m%d-%H%M%S')}.zip"
    told = [{"check": one.what, "state": one.state, "text": str(one.text)} for one in findings]
    files = write_bundle(target, settings, told, with_prompts=with_prompts)
    common.emit({"event": "bundle", "file": str(target), "files": files, "prompts": with_prompts})
    common.say(f"问题包：{target.absolute()}", f"The bundle: {target.absolute()}")
    common.say(
        f"里面是 {'、'.join(files)}；密钥、账户名、图片都不在里面，"
        + ("提示词在（--with-prompts）。" if with_prompts else "提示词只有长度和散列。")
        + "发出去之前可以打开看看。",
        f"In it: {', '.join(files)}. No key, account name or picture; "
        + ("prompts are in it (--with-prompts). " if with_prompts else "of prompts only length and hash. ")
        + "Have a look before you send it.",
    )  # fmt: skip


def _show(findings: list[Finding]) -> None:
    """A line for each; what is not set up shares one."""
    shown = [found for found in findings if found.state != "absent"]
    width = max(len(found.what) for found in shown)
    for found in shown:
        click.echo(f"{_MARKS[found.state]} {found.what:<{width}}  {found.text}")
    absent = [found for found in findings if found.state == "absent"]
    if absent:
        names = " · ".join(f"{found.what} {found.lacks or found.text}" for found in absent)
        click.echo(f"{_MARKS['absent']} {Text('未设置', 'not set up')}  {names}")


def _ground(settings: Settings) -> Iterator[Finding]:
    yield _workspace(settings.workspace)
    yield _clock(settings)
    yield _faces()
    yield _cluster(settings)


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


def _cluster(settings: Settings) -> Finding:
    """Whether other machines' GPUs are set up, and Ray is there to reach them."""
    import importlib.util

    address = settings.cluster.get("address")
    there = importlib.util.find_spec("ray") is not None
    line = "pip install 'redloom[ray]'"
    if address and there:
        return Finding("cluster", "ok", Text(f"{address}（没有试）", f"{address} (not tried)"))
    if address:
        text = Text(f"集群 {address} 要先 {line}", f"the cluster {address} needs {line}")
        return Finding("cluster", "wrong", text)
    text = Text(
        f"没有设置 Ray 集群（--cluster 地址{'' if there else '；要先 ' + line}）",
        f"no Ray cluster is set up (--cluster ADDRESS{'' if there else '; needs ' + line})",
    )
    return Finding("cluster", "absent", text)


async def _endpoints(settings: Settings, *, offline: bool) -> list[Finding]:
    from .models import every

    history = await asyncio.to_thread(_history, settings)
    found = [
        _endpoint(
            config,
            history.get(config.name, ""),
            offline=offline,
            asked_for=config.name in settings.endpoints,
        )
        for config in every(settings)
    ]
    return list(await asyncio.gather(*found))


def _history(settings: Settings) -> dict[str, str]:
    """How each endpoint did in the last day, in words; empty where nothing was asked of it."""
    from redloom.clock import clock_from_environment
    from redloom.journal import Journal
    from redloom.workspace import Workspace

    path = Workspace(settings.workspace).journal
    if not path.is_file():
        return {}
    try:
        since = clock_from_environment().now() - DAY_S
        journal = Journal(path).open()
        try:
            rows = journal.read_now(lambda db: db.all("endpoint_health", since=since))
        finally:
            journal.close()
    except RedloomError:
        return {}  # a journal that cannot be read is told of by every other command
    return {row["endpoint"]: _told(row) for row in rows}


def _told(row: Row) -> str:
    """One endpoint's day: made, failed, turned away, in doubt, and how long a picture took."""
    counts = (
        ("made", Text("成", "made")),
        ("failed", Text("败", "failed")),
        ("turned_away", Text("被拒", "turned away")),
        ("doubtful", Text("存疑", "in doubt")),
    )
    words = [
        str(Text(f"{row[name]} {text.zh}", f"{row[name]} {text.en}"))
        for name, text in counts
        if row[name]
    ]
    if row["seconds"]:
        words.append(str(Text(f"平均 {row['seconds']:.0f} 秒", f"{row['seconds']:.0f} s each")))
    day = str(Text("近一天 ", "last day "))
    return day + str(Text("，", ", ")).join(words) if words else ""


async def _endpoint(
    config: EndpointConfig, history: str, *, offline: bool, asked_for: bool
) -> Finding:
    """Whether the key is there and the service takes it, and how it did lately.

    A server of one's own that nobody asked for is not set up, and no fault; so is an extra.
    """
    from redloom.clock import clock_from_environment
    from redloom.errors import MissingExtra
    from redloom.settings import check_clock

    from .models import lacking

    if variable := lacking(config, asked_for=asked_for):
        text = Text(f"没有设置 {variable}", f"{variable} is not set")
        return Finding(config.name, "absent", text, variable)
    if offline and config.base_url:
        there = ("密钥在（没有试）", "the key is there (not tried)")
        kept = ("已设置（没有试）", "set up (not tried)")
        return Finding(config.name, "ok", Text(*(there if config.needs_key else kept)))
    began = time.monotonic()
    try:
        clock = clock_from_environment()
        check_clock(clock, [config])
        what, tried = await _tried(config, clock)
    except MissingExtra as error:
        return Finding(config.name, "wrong" if asked_for else "absent", error.text)
    except RedloomError as error:
        return Finding(config.name, "wrong", error.text)
    took = f" {1000 * (time.monotonic() - began):.0f} ms" if config.base_url and tried else ""
    more = "".join(f" · {text}" for text in (config.model, history) if text)
    return Finding(config.name, "ok", Text(what.zh + took + more, what.en + took + more))


async def _tried(config: EndpointConfig, clock: Clock) -> tuple[Text, bool]:
    """What is to be said of it, and whether the service could be asked about the key.

    Raises what the service says against the key.
    """
    from redloom import providers
    from redloom.endpoint import Tools

    tools = Tools(key=config.api_key, clock=clock)
    provider = providers.load(config.provider).create(config.endpoint(), tools)
    try:
        await provider.check()
        tried = bool(provider.capabilities().checks_key)
        if hasattr(provider, "about"):  # what a provider of this machine's own has found
            return provider.about(), tried
        return _verdict(config, tried), tried
    finally:
        await provider.close()


def _verdict(config: EndpointConfig, tried: bool) -> Text:
    if not tried:
        return Text(
            "密钥在；这家没有免费的试法", "the key is there; there is no free way to try it"
        )
    return Text("密钥可用", "the key works") if config.needs_key else Text("可用", "works")
