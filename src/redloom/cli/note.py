"""``redloom note SOURCE``: a story into a publish-ready note.

May import: endpoint, progress, providers, cli.chain, cli.common, errors, lang, clock, settings,
money, note, cli.illustrate.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from redloom.errors import BadInput, Usage
from redloom.lang import Text

from .chain import Spare, chain_of, chain_text, dearest_spare
from .common import Common, command, option

if TYPE_CHECKING:
    from redloom.endpoint import Price
    from redloom.money import Budget
    from redloom.note.illustrator import Illustrator
    from redloom.note.make import NoteEvent, NoteResult, NoteSettings
    from redloom.note.source import Source
    from redloom.note.writer import Writer
    from redloom.settings import Settings

OUT = Path("out")
OUT_OF_BUDGET = 3


@command(
    "note",
    zh="把一个故事（.txt、.md，或 - 表示标准输入）做成一篇小红书笔记：标题、正文、标签、封面和内页。",
    en="A story (.txt, .md, or - for standard input) into a Xiaohongshu note: titles, body, tags, cover, pages.",
)
@click.argument("source")
@option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    zh="放在哪个文件夹（默认 out/故事名）",
    en="folder (default: out/NAME)",
)
@option("--pages", default="auto", metavar="N|auto", zh="文字页数", en="pages of text")
@option(
    "--images",
    type=click.IntRange(0, 9),
    metavar="N",
    default=None,
    zh="让模型画几张图",
    en="pictures made by a model",
)
@option(
    "--theme",
    default=None,
    metavar="NAME",
    zh="卡片主题（redloom themes 列出）",
    en="card theme (`redloom themes` lists them)",
)
@option("--ar", type=click.Choice(["3:4", "1:1", "4:3"]), default="3:4", zh="宽高比", en="shape")
@option("--offline", is_flag=True, zh="完全不联网，不花钱", en="no network at all; costs nothing")
@option(
    "--endpoint",
    "endpoints",
    multiple=True,
    metavar="NAME",
    zh="用哪个端点画图（可多次）",
    en="endpoint for pictures (may be repeated)",
)
@option(
    "--writer",
    default=None,
    metavar="NAME",
    zh="谁来写：auto、local 或 llm",
    en="who writes: auto, local or llm",
)
@option(
    "--cluster",
    default=None,
    metavar="ADDRESS",
    zh="用这个 Ray 集群上的 GPU（local:… 端点）",
    en="the GPUs of this Ray cluster (for local:… endpoints)",
)
@option("--title", default=None, metavar="TEXT", zh="自己定标题", en="your own title")
@option("--style", default="photo", metavar="STYLE", zh="配图的画风", en="how pictures should look")
@option("--author", default="", metavar="NAME", zh="署名", en="author shown")
@option(
    "--consistent/--no-consistent",
    default=None,
    zh="先画封面，再拿它当其余各图的参考图，画风一致",
    en="make the cover's picture first and the others after it, for one look",
)
@option(
    "--fallback",
    multiple=True,
    metavar="NAME",
    zh="画不成时依次改用哪些端点，最后可以是 cards（可多次）",
    en="who is asked next for what is not made, in order, such as cards at last (repeatable)",
)
@option(
    "--budget",
    default=None,
    metavar="X",
    zh="最多花多少，如 5 或 5CNY",
    en="spend at most, such as 5 or 5CNY",
)
@option(
    "--dry-run",
    is_flag=True,
    zh="只说会做什么、要多少钱",
    en="only say what would be done and what it costs",
)
@option(
    "--overwrite",
    is_flag=True,
    zh="换掉文件夹里别的笔记（旧版留在 history）",
    en="replace another note there (kept in history)",
)
@option("--yes", "-y", is_flag=True, zh="不再询问", en="ask nothing")
def note(common: Common, source: str, endpoints: tuple[str, ...], **asked: Any) -> int:
    """The command."""
    settings = common.settings(
        writer=asked["writer"],
        theme=asked["theme"],
        consistent=asked["consistent"],
        cluster__address=asked["cluster"],
    )
    story = _story(source)
    names = names_of(endpoints)
    asked["fallback"] = chain_of(asked["fallback"], names or [settings.default_endpoint])
    wanted = _settings(settings, story, asked)
    from redloom.note.writers import writer_of

    from .chain import spare_of

    writer = writer_of(settings, offline=asked["offline"] or asked["dry_run"])
    illustrate, purse = None, Purse(common, settings, None, yes=True)
    if not asked["offline"] and asked["images"] != 0:
        purse = Purse(
            common, settings, parse_budget(asked["budget"]), asked["yes"],
            [spare_of(settings.endpoint(name)) for name in asked["fallback"]],
        )  # fmt: skip
        illustrate = illustrator(common, settings, names, purse)
    if asked["dry_run"]:
        paints = (names or [settings.default_endpoint]) if illustrate else []
        return asyncio.run(_dry_run(common, settings, story, wanted, writer, paints, purse))
    result = asyncio.run(_make(common, story, wanted, writer, illustrate))
    return tell(common, result)


def illustrator(
    common: Common, settings: Settings, names: list[str], purse: Purse, *, take: int = 1
) -> Illustrator | None:
    """The way to pictures: None, with a word about it, where no endpoint was named nor is ready."""
    if not names and not _default_is_ready(settings):
        common.hint(
            "没有图片服务的密钥，这次只用文字卡片（redloom doctor 说明怎么设置；--offline 就不再提示）。",
            "There is no key for a picture service, so this note has text cards only "
            "(`redloom doctor` says how to set one; --offline silences this).",
        )
        return None
    for name in names:
        settings.endpoint(name)
    from .illustrate import EngineIllustrator

    limit = None if purse.budget is None else float(purse.budget.limit)
    watchers = _watchers(common)
    asks = [spare.name for spare in purse.spares if not spare.sets_cards]
    cards = any(spare.sets_cards for spare in purse.spares)
    return EngineIllustrator(settings, names, limit, purse.open, watchers, take, asks, cards)


def _watchers(common: Common) -> list[Any]:
    from redloom.progress import watcher

    return [watcher(json=common.json, quiet=common.quiet)]


def _default_is_ready(settings: Settings) -> bool:
    config = settings.endpoints.get(settings.default_endpoint)
    if config is None and settings.sources["endpoint"] != Text("默认值", "default"):
        config = settings.endpoint(settings.default_endpoint)
    return config is not None and config.ready


@dataclass(frozen=True)
class Purse:
    """What may be spent, and the question before it is."""

    common: Common
    settings: Settings
    budget: Budget | None
    yes: bool
    spares: Sequence[Spare] = ()

    def open(self, number: int, price: Price, endpoint: str) -> None:
        """Say the price; ask where it is high or unknown. Raises Usage or BadSettings to stop."""
        if self.budget is not None and not self.yes:
            self.budget.require_countable({spare.name: spare.price for spare in self.spares})
        if price.amount is None:
            self._unknown(number, endpoint)
            return
        total = round(price.amount * number, 4)
        if total == 0:
            return
        sum_ = f"{total:g} {price.currency}"
        self.common.hint(
            f"{number} 张图，用 {endpoint}，预计 {sum_}。",
            f"{number} pictures from {endpoint}: about {sum_}.",
        )
        if self.spares:
            self.common.hint(*chain_text(self.spares))
        if self.budget is not None and self.budget.currency != price.currency and not self.yes:
            raise Usage(
                f"预算是 {self.budget.currency}，而 {endpoint} 收 {price.currency}；换个币种，或加 --yes。没有花钱。",
                f"The budget is in {self.budget.currency}, {endpoint} charges {price.currency}; "
                "change it or add --yes. Nothing was spent.",
            )
        worst = max(total, number * dearest_spare(self.spares))
        if worst > self.settings.ask_above:
            if worst > total:
                sum_ = f"{sum_} … {worst:g}"
            question = Text(f"这会花大约 {sum_}，继续吗？", f"This costs about {sum_}. Go on?")
            self.common.confirm(question, yes=self.yes)

    def _unknown(self, number: int, endpoint: str) -> None:
        question = Text(
            f"不知道 {endpoint} 的价格（{number} 张图），继续吗？",
            f"The price of {endpoint} is not known ({number} pictures). Go on?",
        )
        if self.budget is not None:
            self.common.confirm(question, yes=self.yes)
        else:
            self.common.hint(
                f"{number} 张图，用 {endpoint}，价格未知。",
                f"{number} pictures from {endpoint}, price unknown.",
            )


def _story(source: str) -> Source:
    from redloom.note.source import parse_source, read_source

    if source == "-":
        return parse_source(sys.stdin.buffer.read(), "-")
    return read_source(Path(source))


def _settings(settings: Settings, story: Source, asked: dict[str, Any]) -> NoteSettings:
    from redloom.note.folder import slug
    from redloom.note.make import NoteSettings

    name = slug(Path(story.name).stem, 60) if story.name not in ("", "-") else "note"
    if story.name not in ("", "-") and name == "page":
        name = "note"
    told = {"theme": settings.theme} if settings.theme else {}
    return NoteSettings(
        out=asked["out"] or OUT / name, pages=_pages(asked["pages"]), images=asked["images"],
        ratio=asked["ar"], offline=asked["offline"], title=asked["title"], style=asked["style"],
        author=asked["author"], overwrite=asked["overwrite"], consistent=settings.consistent,
        fallback=tuple(asked["fallback"]), **told,
    )  # fmt: skip


def _pages(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isascii() or not text.isdigit():
        raise BadInput(
            f"--pages 应为数字或 auto，不是 {text}。",
            f"--pages must be a number or auto, not {text}.",
        )
    return int(text)


def parse_budget(text: str | None) -> Budget | None:
    """``--budget``: an amount, with or without its currency. Raises BadInput."""
    from redloom.money import Budget

    return None if text is None else Budget.parse(text)


def names_of(endpoints: tuple[str, ...]) -> list[str]:
    """``--endpoint a,b`` is the same as naming them one by one."""
    return [name for word in endpoints for name in word.split(",") if name]


async def _make(
    common: Common,
    story: Source,
    wanted: NoteSettings,
    writer: Writer,
    illustrate: Illustrator | None,
) -> NoteResult:
    from redloom.note.make import make_note

    from .illustrate import label_card

    def tell_stage(event: NoteEvent) -> None:
        common.emit({"event": "note", "stage": event.stage, "text": str(event.text)})
        if common.verbose:
            common.hint(*event.text)

    return await make_note(
        story, wanted, writer=writer, illustrate=illustrate, label=label_card,
        on_event=tell_stage, made_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip


def tell(common: Common, result: NoteResult) -> int:
    """Say what came of it; 1 where a picture was not made, 3 where the budget forbade it. A card
    that stands in for one because `--fallback` says so counts as made.
    """
    from redloom.note.illustrator import stands_in

    failed = [one for one in result.pictures if not one.ok and not stands_in(one.record)]
    post = result.post
    common.emit(
        {
            "event": "done", "dir": str(result.dir), "title": post.title, "tags": list(post.tags),
            "images": list(post.images), "unchanged": result.unchanged,
            "warnings": [str(text) for text in result.warnings], "failed": len(failed),
        }
    )  # fmt: skip
    if result.unchanged:
        common.say(
            f"没有变化，笔记还是原样：{result.dir}",
            f"Nothing changed; the note is as it was: {result.dir}",
        )
        return 0
    for warning in result.warnings:
        common.warn(Text(f"注意：{warning.zh}", f"Note: {warning.en}"))
    common.say(
        f"《{post.title}》，{len(post.images)} 张图，在 {result.dir}（打开 preview.html 看成品）",
        f"“{post.title}”, {len(post.images)} pictures, in {result.dir} (open preview.html to see it)",
    )
    if any(one.record.get("status") == "unpaid" for one in failed):
        return OUT_OF_BUDGET
    return 1 if failed else 0


async def _dry_run(
    common: Common,
    settings: Settings,
    story: Source,
    wanted: NoteSettings,
    writer: Writer,
    endpoints: list[str],
    purse: Purse,
) -> int:
    """What would be done, by the local writer's plan; nothing is written, nothing sent."""
    from redloom.note.make import AUTO_PAGE_PICTURES
    from redloom.note.writer import Wish

    plan = (await writer.write(story, Wish(wanted.style, wanted.pages, wanted.author))).plan
    most = 1 + AUTO_PAGE_PICTURES if wanted.images is None else wanted.images
    pictures = plan.prompts[:most] if endpoints else ()
    common.emit(
        {"event": "plan", "titles": [t.text for t in plan.titles], "pictures": len(pictures)}
    )
    for title in plan.titles:
        common.say(f"标题：{title.text}", f"Title: {title.text}")
    common.say(
        f"会写进 {wanted.out}，模型画 {len(pictures)} 张图。这次什么都没有写，没有花钱。",
        f"It would go to {wanted.out} with {len(pictures)} pictures by a model. Nothing was written or spent.",
    )
    for picture in pictures:
        common.say(f"  图：{picture.prompt}", f"  picture: {picture.prompt}")
    if pictures:
        led = len(pictures) - 1 if wanted.consistent else 0
        _say_price(settings, endpoints, len(pictures), pictures[0].prompt, purse, led)
    return 0


def _say_price(
    settings: Settings, endpoints: list[str], number: int, prompt: str, purse: Purse, led: int
) -> None:
    """The price of ``number`` pictures, ``led`` of them after the first one."""
    from redloom import providers
    from redloom.endpoint import Asked, Tools
    from redloom.note.from_run import no_reference

    from .illustrate import dearest

    prices: list[tuple[Price, str]] = []
    able: list[tuple[Price, str]] = []
    for config in map(settings.endpoint, endpoints):
        made = providers.load(config.provider).create(config.endpoint(), Tools(key=config.api_key))
        price = config.price or made.price(Asked(prompt=prompt, model=config.model))
        prices.append((price, config.name))
        able += [prices[-1]] if led and made.capabilities().references else []
    if able:
        purse.common.say(
            f"先画封面，其余 {led} 张以它为参考图。",
            f"The cover's picture comes first; the other {led} have it as their reference.",
        )
    elif led:
        purse.common.say(*no_reference(endpoints))
    replace(purse, budget=None, yes=True).open(number, *dearest([prices[0], *able]))
