"""Cards: the prompt's own words, typeset on this machine; no service, no key, no money.

A short prompt becomes a cover, a longer one a page. Options: ``theme`` (a name or a folder),
``title``, ``kicker``, ``author``. This is what `--fallback cards` delivers and what runs offline.

May import: endpoint, errors, lang, and typeset, at first use because it is heavy.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from redloom.endpoint import (
    FREE,
    Asked,
    Capabilities,
    Defaults,
    Endpoint,
    Fitted,
    Lane,
    Limits,
    Made,
    Picture,
    Price,
    Provider,
    Tools,
)
from redloom.errors import RedloomError, Refused
from redloom.lang import Text

from ._sync import Synchronous

if TYPE_CHECKING:
    from redloom.typeset.content import Deck, Ratio

__all__ = ["DEFAULTS", "create"]

DEFAULTS = Defaults(
    model="card",
    needs_key=False,
    label=Text("排版卡片（本机，免费）", "Typeset cards (local, free)"),
)

_SIZES: dict[tuple[int, int], Ratio] = {
    (1080, 1440): "3:4",
    (1080, 1080): "1:1",
    (1440, 1080): "4:3",
}
_COVER_EMS = 32
"""Beyond this width the words are set as a page: a cover's title would have to shrink."""
_SUBTITLE_CHARACTERS = 60
_OPTIONS = ("theme", "title", "kicker", "author")
_TYPICAL_S = 0.2


def create(endpoint: Endpoint, tools: Tools) -> Provider:
    """The provider for one endpoint; nothing is loaded yet."""
    return Cards(endpoint)


class Cards(Synchronous):
    """The typesetter as a provider. See `endpoint.Provider`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def capabilities(self) -> Capabilities:
        """Free, local, answered at submit, and not made by a model."""
        return Capabilities(
            lanes=("sync",),
            sizes=tuple(_SIZES),
            seed=False,
            typical_s=_TYPICAL_S,
            free=True,
            local=True,
            made_by_model=False,
        )

    def limits(self) -> Limits:
        """Nothing but this machine."""
        return Limits(sync_concurrency=2)

    def price(self, asked: Asked) -> Price:
        """Nothing."""
        return FREE

    def fit(self, asked: Asked) -> Fitted:
        """The card's size nearest in shape; what a card has no use for is left out and said.

        Raises Refused for an empty prompt.
        """
        if not _words(asked.prompt):
            raise Refused("没有可排的文字。", "There are no words to typeset.")
        notes = []
        size = _nearest(asked.size)
        if asked.size is not None and asked.size != size:
            notes.append(
                Text(
                    "卡片没有 {asked}，排成 {size}。",
                    "Cards are not made at {asked} but at {size}.",
                ).format(asked=_by(asked.size), size=_by(size))
            )
        if asked.references or asked.negative_prompt:
            notes.append(
                Text(
                    "卡片不用参考图和负向提示词，已略去。",
                    "Cards use no reference pictures and no negative prompt; they were left out.",
                )
            )
        fitted = replace(asked, size=size, seed=None, references=(), negative_prompt="")
        return Fitted(fitted, tuple(notes))

    async def submit(self, asked: Asked, lane: Lane) -> Made:
        """Draw it. Words that need several cards give the later ones as ``extra``.

        Raises Refused where the typesetter cannot set it (an unknown theme).
        """
        options = {**self._endpoint.options, **asked.options}
        pictures = await asyncio.to_thread(_drawn, asked, options)
        return Made(pictures[0], original_prompt=asked.prompt, extra=tuple(pictures[1:]))

    async def check(self) -> None:
        """There is no key to check."""

    async def close(self) -> None:
        """There is nothing to give back."""


def _drawn(asked: Asked, options: Mapping[str, Any]) -> list[Picture]:
    """The finished cards. Runs in a worker thread; the typesetter is loaded here."""
    from redloom.typeset.cards import DEFAULT_THEME, typeset

    theme = str(options.get("theme") or DEFAULT_THEME)
    deck = _deck(_words(asked.prompt), options)
    try:
        sheet = typeset(deck, theme=theme, ratio=_SIZES[_nearest(asked.size)])
    except RedloomError as error:
        raise Refused(error.text.zh, error.text.en) from error
    cards = [card for card in sheet.cards if card.kind == ("page" if deck.blocks else "cover")]
    return [Picture(data=card.png) for card in cards]


def _deck(words: str, options: Mapping[str, Any]) -> Deck:
    """A cover for a few words, pages for many."""
    from redloom.typeset.content import Cover, Deck, Heading, Paragraph, Span

    title, kicker, author = (str(options.get(name) or "").strip() for name in _OPTIONS[1:])
    if title and max(len(title), len(words)) <= _SUBTITLE_CHARACTERS:
        return Deck(
            Cover(title, subtitle="" if title == words else words, kicker=kicker, author=author)
        )
    if not title and _ems(words) <= _COVER_EMS:
        return Deck(Cover(words, kicker=kicker, author=author))
    heading = (Heading((Span(title),)),) if title else ()
    paragraphs = (Paragraph((Span(part),)) for part in words.split("\n"))
    # The cover is not handed over: without a title the pages repeat none of the words above them.
    cover = Cover("", kicker=kicker, author=author)
    return Deck(cover, (*heading, *paragraphs))


def _words(prompt: str) -> str:
    """The prompt's lines without the empty ones."""
    lines = (re.sub(r"\s+", " ", line).strip() for line in prompt.splitlines())
    return "\n".join(line for line in lines if line)


def _ems(words: str) -> float:
    """How wide the words are, roughly: a Latin letter is half as wide as a character."""
    return sum(0.5 if letter.isascii() else 1.0 for letter in words)


def _nearest(size: tuple[int, int] | None) -> tuple[int, int]:
    if size is None or min(size) < 1:
        return (1080, 1440)
    shape = math.log(size[0] / size[1])
    return min(_SIZES, key=lambda other: abs(math.log(other[0] / other[1]) - shape))


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"
