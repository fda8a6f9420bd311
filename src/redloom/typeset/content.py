"""What is typeset, as data: spans, blocks, cards. No drawing here.

A note's text is a sequence of *blocks*; a *deck* is what becomes pictures: a cover, the flow of
blocks that the typesetter cuts into pages, pictures with captions, a closing page.
May import: nothing of the package.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of text in one style."""

    text: str
    bold: bool = False
    italic: bool = False
    code: bool = False
    mark: bool = False
    """Highlighted, as with a marker pen."""


Inline = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading; ``level`` from 1, the highest."""

    text: Inline
    level: int = 1
    """1 is the largest inside a page."""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph of running text."""

    text: Inline


@dataclass(frozen=True, slots=True)
class ListItem:
    """One entry of a list."""

    text: Inline
    items: tuple[ListItem, ...] = ()
    """A list inside this item; ordered like its parent."""


@dataclass(frozen=True, slots=True)
class ListBlock:
    """A list, with bullets or numbers."""

    items: tuple[ListItem, ...]
    ordered: bool = False
    start: int = 1


@dataclass(frozen=True, slots=True)
class Quote:
    """What somebody else said."""

    blocks: tuple[Block, ...]
    source: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table: one row of heads, then the rows."""

    header: tuple[Inline, ...]
    rows: tuple[tuple[Inline, ...], ...]


@dataclass(frozen=True, slots=True)
class Code:
    """Program text, set as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A thematic break."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture inside the flow, with a caption; gets a page of its own."""

    picture: bytes
    caption: Inline = ()
    title: str = ""


Block = Heading | Paragraph | ListBlock | Quote | Table | Code | Rule | Figure

Ratio = Literal["3:4", "1:1", "4:3"]


@dataclass(frozen=True, slots=True)
class Cover:
    """The first card. ``title`` may hold line breaks proposed by the writer (``\\n``)."""

    title: str
    subtitle: str = ""
    kicker: str = ""
    """A word or two above the title: the topic, the place, the series."""
    tags: tuple[str, ...] = ()
    author: str = ""
    picture: bytes | None = None
    """A text-free photograph or drawing under the title (PNG, JPEG or WebP bytes)."""


@dataclass(frozen=True, slots=True)
class Closing:
    """The last card: a sentence to leave with, and what to do next."""

    text: str
    action: str = ""
    tags: tuple[str, ...] = ()
    author: str = ""


@dataclass(frozen=True, slots=True)
class Deck:
    """Everything of one note that is drawn. Pages are cut from ``blocks`` by the typesetter."""

    cover: Cover
    blocks: tuple[Block, ...] = ()
    closing: Closing | None = None
    page_breaks: tuple[int, ...] = field(default=())
    """Indexes into ``blocks`` before which a new page must begin (a writer's own cut)."""
