"""The front door of the typesetter: a deck in, finished pictures out.

`typeset` draws a whole deck in one go; `card_image` draws one card by itself. Both are
synchronous, may be called from any thread, and leave the interpreter free while typst works.
Same deck, same theme: same bytes, whatever the machine's locale, time or folder.
May import: everything of this room, errors, lang.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from redloom.errors import BadInput
from redloom.lang import Text

from .characters import clean, missing_characters
from .content import Closing, Cover, Deck, Figure, Ratio, Span
from .flow import Text as Words
from .flow import body_shape, runs, sections, settle, shown, text_runs
from .picture import prepare
from .press import Galley, Layout
from .theme import SIZES, Theme, ThemeInfo, find, themes
from .titles import choices, width_em
from .words import ATOM, phrases

__all__ = [
    "SIZES",
    "Card",
    "Sheet",
    "ThemeInfo",
    "card_image",
    "missing_characters",
    "proof",
    "themes",
    "typeset",
]

Kind = Literal["cover", "page", "closing"]
DEFAULT_THEME = "paper"


@dataclass(frozen=True)
class Card:
    """One finished picture. ``text`` is what can be read on it, a line a paragraph."""

    png: bytes
    kind: Kind
    width: int
    height: int
    text: str


@dataclass(frozen=True)
class Sheet:
    """All cards of a deck, in order, and what the user should know about them."""

    cards: tuple[Card, ...]
    warnings: tuple[Text, ...]


def typeset(
    deck: Deck, *, theme: str | Path = DEFAULT_THEME, ratio: Ratio = "3:4", max_cards: int = 18
) -> Sheet:
    """Draw a deck: its cover, its pages, its closing card.

    ``theme`` is the name of one of ours or the path of a folder; ``max_cards`` is how many
    pictures the platform takes: when the words need more, all are drawn all the same and a
    warning says how many. Raises BadInput for an unknown theme or ratio, a theme that does not
    work, and a picture that cannot be read.
    """
    job = Composition(find(theme), _checked(ratio))
    parts = sections(deck, job.words)
    data = job.deck(deck.cover, parts, deck.closing)
    drawn = job.draw(data)
    count = len(drawn.cards)
    if count > max_cards:
        drawn = Sheet(drawn.cards, (*drawn.warnings, _too_many(count, max_cards)))
    return drawn


def card_image(
    content: Cover | Figure | Closing, *, theme: str | Path = DEFAULT_THEME, ratio: Ratio = "3:4"
) -> Sheet:
    """One card by itself: a cover, a picture with its caption, or a closing card.

    Raises BadInput as `typeset` does.
    """
    job = Composition(find(theme), _checked(ratio))
    if isinstance(content, Cover):
        return job.draw(job.deck(content, [], None))
    if isinstance(content, Closing):
        return job.draw(job.deck(None, [], content))
    return job.draw(job.deck(None, sections(Deck(Cover(""), (content,)), job.words), None))


def proof(
    deck: Deck, *, theme: str | Path = DEFAULT_THEME, ratio: Ratio = "3:4"
) -> tuple[bytes, Sheet]:
    """The same cards as one PDF, whose words can be read out, and the sheet it is the proof of.

    For looking at what was really drawn, in which face, and for printing. Raises as `typeset` does.
    """
    job = Composition(find(theme), _checked(ratio))
    data = job.deck(deck.cover, sections(deck, job.words), deck.closing)
    sheet = job.draw(data)
    return Galley(job.theme, data).draw("pdf")[0], sheet


def _checked(ratio: Ratio) -> Ratio:
    if ratio in SIZES:
        return ratio
    raise BadInput(
        f"没有 {ratio} 这种画幅；可选 {'、'.join(SIZES)}。",
        f"There is no card of {ratio}; choose {', '.join(SIZES)}.",
    )


class Composition:
    """One deck on its way through the press: its words, its data, its pictures."""

    def __init__(self, theme: Theme, ratio: Ratio) -> None:
        self.theme = theme
        self.ratio = ratio
        self.words = Words()
        self.title_pieces: list[int] = []
        """The cover's title and the closing sentence: a theme may take them to bits."""
        self.missing: dict[str, None] = {}

    def deck(
        self, cover: Cover | None, parts: list[dict[str, Any]], closing: Closing | None
    ) -> dict[str, Any]:
        """Everything as the press takes it."""
        width, height = SIZES[self.ratio]
        author = cover.author if cover else ""
        return {
            "width": width,
            "height": height,
            "ratio": self.ratio,
            "running": text_runs(_running(cover), None, body_shape) if cover else [],
            "cover": self._cover(cover) if cover else None,
            "sections": [self._section(part) for part in parts],
            "closing": self._closing(closing, author) if closing else None,
        }

    def _cover(self, cover: Cover) -> dict[str, Any]:
        place = self.theme.cover_places[self.ratio]
        return {
            "title": self._title(cover.title, _names(cover)),
            "subtitle": text_runs(cover.subtitle, self.words),
            "kicker": text_runs(cover.kicker, self.words, body_shape),
            "tags": [
                text_runs(tag.lstrip("#＃"), None, body_shape)
                for tag in cover.tags
                if tag.strip("#＃ ")
            ],
            "author": text_runs(cover.author, None, body_shape),
            "seal": clean(cover.author),
            "picture": _picture(prepare(cover.picture, place)) if cover.picture else None,
        }

    def _title(self, title: str, names: tuple[str, ...] = ()) -> dict[str, Any]:
        title = clean(title).strip()
        self.title_pieces.append(self.words.note(title))
        striking = _striking(title)
        options = [
            {
                "lines": [_title_runs(line, striking) for line in option.lines],
                "cost": option.cost,
                "proposed": option.proposed,
            }
            for option in choices(title, names=names)
        ]
        return {"options": options, "em": width_em(_one_line(title))}

    def _section(self, part: dict[str, Any]) -> dict[str, Any]:
        if part["kind"] != "picture":
            return part
        figure: Figure = part["figure"]
        place = self.theme.page_places[self.ratio]
        return {
            "kind": "picture",
            "picture": _picture(prepare(figure.picture, place)),
            "title": text_runs(figure.title, self.words),
            "caption": runs(figure.caption, self.words),
        }

    def _closing(self, closing: Closing, author: str) -> dict[str, Any]:
        return {
            "text": self._title(closing.text),
            "action": text_runs(closing.action, self.words),
            "tags": [
                text_runs(tag.lstrip("#＃"), None, body_shape)
                for tag in closing.tags
                if tag.strip("#＃ ")
            ],
            "author": text_runs(closing.author or author, None, body_shape),
            "seal": clean(closing.author or author),
        }

    def draw(self, data: dict[str, Any]) -> Sheet:
        """Lay out, even out, draw, and say what the user should know."""
        layout = settle(data["sections"], lambda: Galley(self.theme, data).layout())
        pictures = Galley(self.theme, data).draw()
        texts = shown(self._with_titles(layout, data), self.words)
        cards = tuple(
            Card(
                png,
                _kind(page, len(pictures), data),
                data["width"],
                data["height"],
                texts.get(page, ""),
            )
            for page, png in enumerate(pictures, 1)
        )
        return Sheet(cards, tuple(self._warnings(layout)))

    def _with_titles(self, layout: Layout, data: dict[str, Any]) -> Layout:
        pages = [page for page, on in ((1, data["cover"]), (layout.pages, data["closing"])) if on]
        titles = zip(self.title_pieces, pages, strict=True)
        return replace(layout, pieces=(*titles, *layout.pieces))

    def _warnings(self, layout: Layout) -> Iterable[Text]:
        missing = missing_characters("".join(self.words.pieces))
        if missing:
            named = "、".join(f"{c}（U+{ord(c):04X}）" for c in missing[:12])
            more = len(missing) - 12
            yield Text(
                f"字体里没有这些字，卡片上以“〓”代替：{named}{f' 等 {len(missing)} 个' if more > 0 else ''}。",
                f"No face has these characters; the cards show “〓” for them: "
                f"{named.replace('、', ', ')}{f' and {more} more' if more > 0 else ''}.",
            )
        for size, floor in layout.titles:
            if size < floor:
                yield Text(
                    f"标题太长，缩到了 {size:.0f} 像素；短一些会更醒目。",
                    f"The title is long and was shrunk to {size:.0f} px; a shorter one would show better.",
                )


def _names(cover: Cover) -> tuple[str, ...]:
    """The cover's tags, as names that its title is not broken inside of."""
    return tuple(tag for raw in cover.tags if 2 <= len(tag := raw.strip("#＃ ")) <= 8)


def _one_line(title: str) -> str:
    return " ".join(title.split("\n"))


def _running(cover: Cover) -> str:
    """What stands small at the head of every page: the topic, or how the title begins."""
    if cover.kicker.strip():
        return cover.kicker
    short = ""
    for phrase in phrases(clean(_one_line(cover.title))):
        if width_em(short + phrase) > 15:
            return short.rstrip("，。、：；,.:; ") + "……"
        short += phrase
    return short


# What a reader's eye should catch: quoted words, else numbers with what they count.
_QUOTED = re.compile(r"「[^」]{1,10}」|“[^”]{1,10}”|『[^』]{1,10}』")
_COUNTED = re.compile(ATOM.pattern)


def _striking(title: str) -> list[str]:
    flat = _one_line(title)
    quoted = _QUOTED.findall(flat)
    counted = [
        found.group()
        for found in _COUNTED.finditer(flat)
        if any(c.isdigit() for c in found.group())
    ]
    return [word.strip() for word in quoted or counted if len(word) < 0.6 * len(flat)]


def _title_runs(line: str, striking: list[str]) -> list[dict[str, Any]]:
    """One line of a title, its striking words marked."""
    if not striking:
        return runs((Span(line),), None, str)
    parts = re.split(f"({'|'.join(map(re.escape, striking))})", line)
    return runs(tuple(Span(part, mark=part in striking) for part in parts if part), None, str)


def _picture(prepared: Any) -> dict[str, Any]:
    x, y, width, height = prepared.box
    return {"uri": prepared.uri, "x": x, "y": y, "width": width, "height": height}


def _kind(page: int, count: int, data: dict[str, Any]) -> Kind:
    if page == 1 and data["cover"] is not None:
        return "cover"
    return "closing" if page == count and data["closing"] is not None else "page"


def _too_many(count: int, most: int) -> Text:
    return Text(
        f"这些文字需要 {count} 张图，平台最多收 {most} 张；请删减文字，或分成两篇。",
        f"These words need {count} pictures and the platform takes {most}; cut them, or make two notes.",
    )
