"""Blocks and the pages they stand on: told from what can be read on each card.

The typesetter cuts pages where they look well; here its cuts are found again, so that one page
can be redone by itself and a text too long can be cut where a card ends.
May import: typeset.content, note.text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from redloom.typeset.content import (
    Block,
    Code,
    Figure,
    Heading,
    Inline,
    ListBlock,
    Paragraph,
    Quote,
    Span,
    Table,
)

from .text import phrases_of, squeezed

Page = tuple[Block, ...]
SLACK = 4
"""Letters by which a card's text may differ from its blocks' (a missing glyph, a list's mark)."""


def weight(block: Block) -> int:
    """How much room a block takes, about, in characters."""
    own = sum(len(text) for text in phrases_of(block))
    return own + (14 if isinstance(block, Heading) else 8)


def letters(block: Block) -> str:
    """What can be read of a block on a card, without spaces and marks."""
    source = block.source if isinstance(block, Quote) else ""
    return squeezed("".join(phrases_of(block)) + source)


def paginate(blocks: Sequence[Block], texts: Sequence[str]) -> list[Page]:
    """The blocks of each page, given what can be read on it; joined they are ``blocks`` again,
    but for those that run over a page's end, which are parted there."""
    pages: list[list[Block]] = [[] for _ in texts]
    if not pages:
        return []
    ends = list(accumulate(len(squeezed(text)) for text in texts))
    at, page = 0, 0
    for block in blocks:
        rest: Block | None = block
        while rest is not None:
            while page < len(pages) - 1 and at >= ends[page]:
                page += 1
            size = len(letters(rest))
            if ends[page] - at < min(SLACK, size) and page < len(pages) - 1:
                at, page = ends[page], page + 1
            room = ends[page] - at
            if size <= room + SLACK or page == len(pages) - 1:
                here, rest = rest, None
            else:
                here, rest = split(rest, room)
            pages[page].append(here)
            at += len(letters(here))
            if rest is not None:
                at, page = max(at, ends[page]), page + 1
    return [tuple(page_blocks) for page_blocks in pages]


def split(block: Block, room: int) -> tuple[Block, Block | None]:
    """A block parted after about ``room`` readable letters: prose between words' letters, lists,
    tables and code between their items, rows and lines. What cannot be parted stays whole."""
    if isinstance(block, Paragraph):
        first, second = split_inline(block.text, room)
        return (Paragraph(first), Paragraph(second)) if first and second else (block, None)
    if isinstance(block, ListBlock):
        count = _fitting([letters(ListBlock((item,))) for item in block.items], room)
        if 0 < count < len(block.items):
            tail = replace(block, items=block.items[count:], start=block.start + count)
            return replace(block, items=block.items[:count]), tail
    if isinstance(block, Table):
        rows = [letters(Table(row, ())) for row in block.rows]
        count = _fitting(rows, room - len(letters(Table(block.header, ()))))
        if 0 < count < len(block.rows):
            return replace(block, rows=block.rows[:count]), replace(block, rows=block.rows[count:])
    if isinstance(block, Code):
        lines = block.text.split("\n")
        count = _fitting([squeezed(line) for line in lines], room)
        if 0 < count < len(lines):
            return Code("\n".join(lines[:count])), Code("\n".join(lines[count:]))
    return block, None


def _fitting(parts: Sequence[str], room: int) -> int:
    """How many leading parts fit into ``room`` letters, the last one if at least half does."""
    count, used = 0, 0
    for part in parts:
        if used + (len(part) + 1) // 2 > room:
            break
        used += len(part)
        count += 1
    return count


def split_inline(inline: Inline, room: int) -> tuple[Inline, Inline]:
    """Spans parted after ``room`` readable letters; marks behind the last stay with it."""
    first: list[Span] = []
    second: list[Span] = []
    left = room
    for span in inline:
        cut = _cut_at(span.text, left) if not second else 0
        left -= len(squeezed(span.text[:cut]))
        first += [replace(span, text=span.text[:cut])] if cut else []
        second += [replace(span, text=span.text[cut:])] if cut < len(span.text) else []
    return tuple(first), tuple(second)


def _cut_at(text: str, room: int) -> int:
    """The index behind the ``room``-th letter of ``text`` and the marks that close it."""
    seen = 0
    for at, ch in enumerate(text):
        is_letter = bool(squeezed(ch))
        if is_letter and seen == room:
            return at
        if not is_letter and seen == room and ch in "“‘「『（(《【":
            return at
        seen += is_letter
    return len(text)


def is_picture(page: Page) -> bool:
    """Whether a page is a picture by itself."""
    return bool(page) and all(isinstance(block, Figure) for block in page)


def breaks_for(blocks: Sequence[Block], pages: int) -> tuple[int, ...]:
    """Where new pages begin so that ``blocks`` fill ``pages`` about evenly: near each page's
    share, before a heading if one is close, never behind one."""
    sums = list(accumulate(weight(block) for block in blocks))
    may = [at for at in range(1, len(blocks)) if not isinstance(blocks[at - 1], Heading)]
    chosen: list[int] = []
    for number in range(1, pages):
        share = sums[-1] * number / pages
        later = [at for at in may if not chosen or at > chosen[-1]]
        spare = later[: len(later) - (pages - 1 - number)] if pages - 1 - number else later
        if not spare:
            break
        slack = sums[-1] / pages / 3
        chosen.append(
            min(
                spare,
                key=lambda at: abs(sums[at - 1] - share) - slack * isinstance(blocks[at], Heading),
            )
        )
    return tuple(chosen)
