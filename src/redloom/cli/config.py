"""``redloom config``: every setting with its source, secrets masked.

May import: config_files, cli.common, errors, lang, settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from redloom.lang import Text

from .common import Common, command

if TYPE_CHECKING:
    from redloom.settings import EndpointConfig, Settings


class Row(NamedTuple):
    """One setting as it is shown."""

    key: str
    value: str
    source: Text


@command(
    "config",
    zh="列出每项设置、它的值和来源，密钥打码。config path：读了哪些文件。",
    en="Every setting, its value and its source, keys masked. config path: the files that were read.",
)
@click.argument("what", type=click.Choice(["show", "path"]), default="show")
def config(common: Common, what: str) -> None:
    """The command."""
    settings = common.settings()
    if what == "path":
        _paths(common, settings)
        return
    rows = list(rows_of(settings))
    width = max(len(row.key) for row in rows)
    room = min(48, max(len(row.value) for row in rows))
    for row in rows:
        common.emit({"key": row.key, "value": row.value, "source": str(row.source)})
        if not common.json:
            click.echo(f"{row.key:<{width}}  {row.value or '-':<{room}}  {row.source}")


def rows_of(settings: Settings) -> Iterator[Row]:
    """Every setting, endpoints last, secrets masked."""
    from redloom.settings import BUILT_IN, DEFAULTS, masked

    shown = (
        "workspace", *DEFAULTS, "endpoint", "theme", "size", "jobs", "max_wait_s", "poll_interval_s", "lang",
    )  # fmt: skip
    for key in sorted(set(shown)):
        value = settings.default_endpoint if key == "endpoint" else getattr(settings, key)
        yield Row(key, "" if value is None else str(value), settings.sources.get(key, BUILT_IN))
    if settings.chat is not None:
        source = Text(settings.chat.key_variable, settings.chat.key_variable)
        yield Row("chat.model", settings.chat.model, settings.sources.get("chat.model", BUILT_IN))
        yield Row(
            "chat.base_url", settings.chat.base_url, settings.sources.get("chat.base_url", BUILT_IN)
        )
        yield Row("chat.api_key", masked(settings.chat.api_key), source)
    for endpoint in settings.endpoints.values():
        yield from _endpoint_rows(settings, endpoint)


def _endpoint_rows(settings: Settings, endpoint: EndpointConfig) -> Iterator[Row]:
    from redloom.settings import BUILT_IN, masked

    above = f"endpoints.{endpoint.name}"
    values: dict[str, Any] = {
        "provider": endpoint.provider, "model": endpoint.model, "base_url": endpoint.base_url,
        "region": endpoint.region, "account": endpoint.account, "share": endpoint.share,
    }  # fmt: skip
    if endpoint.needs_key:
        values["api_key"] = masked(endpoint.api_key)
    limits = {one.name: getattr(endpoint.limits, one.name) for one in fields(endpoint.limits)}
    values |= {
        name: limit for name, limit in limits.items() if f"{above}.{name}" in settings.sources
    }
    if endpoint.price is not None:
        values["price"] = f"{endpoint.price.amount} {endpoint.price.currency}"
    for name, value in values.items():
        if value != "":
            yield Row(
                f"{above}.{name}", str(value), settings.sources.get(f"{above}.{name}", BUILT_IN)
            )
        elif name == "api_key":
            missing = Text(
                f"缺：请设置 {endpoint.key_variable}", f"missing: set {endpoint.key_variable}"
            )
            yield Row(f"{above}.{name}", "", missing)


def _paths(common: Common, settings: Settings) -> None:
    from redloom.config_files import user_file

    read = [str(path) for path in settings.files]
    usual = str(user_file(settings.environ))
    common.emit({"read": read, "user_file": usual, "workspace": str(settings.workspace)})
    if common.json:
        return
    for path in read:
        click.echo(path)
    if not read:
        common.hint(
            f"没有读到设置文件。可以写当前文件夹的 redloom.toml，或 {usual}。",
            f"No settings file was read. There may be a redloom.toml here, or {usual}.",
        )
