"""``redloom redo DIR``: remake part of a note. Words and themes cost nothing.

May import: cli.common, cli.note, errors, note.
"""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from redloom.errors import BadInput

from .common import Common, command, option


@command(
    "redo",
    zh="重做笔记的一部分：改字、换标题、换主题不花钱，别的图一个字节都不变；旧版留在 history。",
    en="Remake part of a note: text, title and theme cost nothing, other pictures keep every byte; "
    "old versions stay in history.",
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@option(
    "--page",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    zh="第几张（封面是 1）",
    en="which card (the cover is 1)",
)
@option(
    "--text",
    default=None,
    metavar="TEXT",
    zh="这一张的新文字（Markdown，- 读标准输入）",
    en="new words for it (Markdown, - reads standard input)",
)
@option(
    "--prompt",
    default=None,
    metavar="TEXT",
    zh="重画它的图（空：同样的词再画一张）",
    en="draw its picture again (empty: the same words)",
)
@option("--title", default=None, metavar="TEXT", zh="新标题", en="new title")
@option("--theme", default=None, metavar="NAME", zh="换主题", en="another theme")
@option(
    "--endpoint",
    "endpoints",
    multiple=True,
    metavar="NAME",
    zh="用哪个端点画图",
    en="endpoint for the picture",
)
@option("--budget", default=None, metavar="X", zh="最多花多少", en="spend at most")
@option("--offline", is_flag=True, zh="完全不联网", en="no network at all")
@option("--yes", "-y", is_flag=True, zh="不再询问", en="ask nothing")
def redo(common: Common, folder: Path, endpoints: tuple[str, ...], **asked: Any) -> int:
    """The command."""
    from redloom.note.redo import Change, redo_note

    from .illustrate import label_card
    from .note import tell

    text = sys.stdin.read() if asked["text"] == "-" else asked["text"]
    change = Change(asked["page"], text, asked["prompt"], asked["title"], asked["theme"])
    illustrate = _illustrator(common, endpoints, asked) if change.prompt is not None else None
    result = asyncio.run(
        redo_note(
            folder, change, illustrate=illustrate, label=label_card,
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
    )  # fmt: skip
    return tell(common, result)


def _illustrator(common: Common, endpoints: tuple[str, ...], asked: dict[str, Any]) -> Any:
    """The way to a fresh picture: a take of its own, so that the store does not answer."""
    from .note import Purse, illustrator, names_of, parse_budget

    if asked["offline"]:
        raise BadInput(
            "--prompt 要重画一张图，--offline 时做不了。没有花钱。",
            "--prompt draws a picture anew, which --offline forbids. Nothing was spent.",
        )
    settings = common.settings()
    names = names_of(endpoints) or [settings.default_endpoint]
    purse = Purse(common, settings, parse_budget(asked["budget"]), asked["yes"])
    return illustrator(common, settings, names, purse, take=int(time.time()))
