"""Samples of the card themes, drawn once and kept.

May import: version, image, lang, typeset.
"""

from __future__ import annotations

import re
from pathlib import Path

from redloom.image import write_whole
from redloom.typeset.content import Cover, Deck, Heading, ListBlock, ListItem, Paragraph, Span
from redloom.typeset.theme import themes
from redloom.version import __version__

from .pictures import thumbnail

SIDE = 640


def sample_of(theme: str, card: str, cache: Path) -> bytes | None:
    """A WebP of a theme's ``cover`` or ``page``, or None where there is neither. For a thread."""
    if card not in ("cover", "page") or not re.fullmatch(r"[a-z0-9_]{1,40}", theme):
        return None
    if theme not in {one.name for one in themes()}:
        return None
    path = cache / "themes" / f"{theme}-{card}-{__version__}.webp"
    if not path.is_file():
        _draw(theme, path.parent)
    return path.read_bytes()


def _draw(theme: str, folder: Path) -> None:
    from redloom.typeset.cards import typeset

    for card in typeset(_deck(), theme=theme).cards[:2]:
        kind = "cover" if card.kind == "cover" else "page"
        data = thumbnail(card.png, SIDE)
        write_whole(folder / f"{theme}-{kind}-{__version__}.webp", data)


def _deck() -> Deck:
    items = ("天没亮，蒸笼先冒了白气", "第一笼总是给赶早班的人", "八点一过，巷子又静下来")
    return Deck(
        Cover("胡同里的早晨", subtitle="六点半，豆浆铺刚掀开锅盖", kicker="城市散步", tags=("北京", "早餐")),
        (
            Heading((Span("豆浆铺的三件小事"),)),
            Paragraph((Span("老板姓马，在这条胡同里磨了二十年豆浆。他说味道没有秘密，只有时间。"),)),
            ListBlock(tuple(ListItem((Span(item),)) for item in items), ordered=True),
            Paragraph((Span("我坐在门口那张矮凳上，看光从屋檐一点点爬下来。"),)),
        ),
    )  # fmt: skip
