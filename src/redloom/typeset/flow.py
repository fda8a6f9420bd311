"""Blocks into data for the press, and pages of which none is nearly empty.

A deck's blocks are cut into sections: a writer's own page break and every picture begin a new one.
Each section flows over pages by itself; `settle` then looks at the layout and evens it out.
May import: content, characters, words, titles, press.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from .characters import clean, pieces, stand_in
from .content import (
    Block,
    Code,
    Deck,
    Figure,
    Heading,
    Inline,
    ListBlock,
    ListItem,
    Paragraph,
    Quote,
    Rule,
    Span,
    Table,
)
from .press import Layout
from .words import GLUE, SEAM, glue_atoms, glue_end, glue_phrases, seam_long_words

LONGEST_WORD = 22
"""Letters; longer words get seams. At body size a line holds about 38."""
LONGEST_CELL_WORD = 9

THIN = 0.5
"""A last page filled less than this is worth evening out."""

_SENTENCE = re.compile(r"[^。！？!?\n]*[。！？!?]+[」』”’）》】\"')]*|[^。！？!?\n]+|\n")
"""A sentence with its closing marks; joined, the pieces are the whole text again."""


@dataclass
class Text:
    """The words of a deck as they are handed out, piece by piece, so that cards can name theirs."""

    pieces: list[str] = field(default_factory=list)
    firsts: set[int] = field(default_factory=set)
    """The pieces that begin a line of their own."""

    def note(self, text: str, *, first: bool = False) -> int:
        """Remember a piece; its number goes with it to the press."""
        if first:
            self.firsts.add(len(self.pieces))
        self.pieces.append(text)
        return len(self.pieces) - 1


Runs = list[dict[str, Any]]
Shaper = Callable[[str], str]


def body_shape(text: str) -> str:
    """Running text: numbers glued, long words seamed."""
    return seam_long_words(glue_atoms(text), LONGEST_WORD)


def large_shape(text: str) -> str:
    """Headings and other large type: broken between phrases only."""
    return seam_long_words(glue_phrases(glue_atoms(text)), LONGEST_WORD)


def cell_shape(text: str) -> str:
    """A table's cell, which may be narrow."""
    return seam_long_words(text, LONGEST_CELL_WORD)


def runs(inline: Inline, words: Text | None, shape: Shaper = body_shape) -> Runs:
    """Spans as the press takes them: cleaned, shaped, emoji apart, sentences numbered."""
    out: Runs = []
    for span in inline:
        for sentence in _sentences(clean(span.text)) if words is not None else [clean(span.text)]:
            out += _sentence_runs(span, sentence, words, shape, first=not out)
    if shape is body_shape and sum(len(run["t"]) for run in out) >= 10:
        out[-1]["t"] = glue_end(out[-1]["t"])
    return out


def _sentences(text: str) -> list[str]:
    return [found.group() for found in _SENTENCE.finditer(text)]


def _sentence_runs(
    span: Span, sentence: str, words: Text | None, shape: Shaper, *, first: bool
) -> Runs:
    style = {
        letter: True
        for letter, on in (("b", span.bold), ("i", span.italic), ("c", span.code), ("m", span.mark))
        if on
    }
    out: Runs = []
    for piece, is_emoji in pieces(stand_in(sentence)):
        shown = piece if is_emoji or span.code else shape(piece)
        if span.code:
            shown = seam_long_words(piece, LONGEST_CELL_WORD)
        out.append({"t": shown, **style, **({"e": True} if is_emoji else {})})
    if out and words is not None:
        out[0]["k"] = words.note(sentence, first=first)
    return out


def text_runs(text: str, words: Text | None, shape: Shaper = large_shape) -> Runs:
    """Plain text as runs."""
    return runs((Span(text),), words, shape) if text.strip() else []


def block_data(block: Block, words: Text) -> dict[str, Any]:
    """One block as the press takes it."""
    match block:
        case Heading():
            return {
                "kind": "heading",
                "level": block.level,
                "text": runs(block.text, words, large_shape),
            }
        case Paragraph():
            return {"kind": "paragraph", "text": runs(block.text, words)}
        case ListBlock():
            items = [_item(item, words) for item in block.items]
            return {"kind": "list", "items": items, "ordered": block.ordered, "start": block.start}
        case Quote():
            inner = [block_data(b, words) for b in block.blocks if not isinstance(b, Figure)]
            return {
                "kind": "quote",
                "blocks": inner,
                "source": text_runs(block.source, words, body_shape),
            }
        case Table():
            return _table(block, words)
        case Code():
            lines = [_code_line(line, words) for line in _code_lines(block)]
            return {"kind": "code", "lines": lines, "whole": len(lines) <= 8}
        case Rule():
            return {"kind": "rule"}
        case Figure():
            raise AssertionError("a figure is a section, not a block of one")


def _item(item: ListItem, words: Text) -> dict[str, Any]:
    return {"text": runs(item.text, words), "items": [_item(inner, words) for inner in item.items]}


def _table(block: Table, words: Text) -> dict[str, Any]:
    rows = [[runs(cell, words, cell_shape) for cell in row] for row in block.rows]
    header = [runs(cell, words, cell_shape) for cell in block.header]
    count = max([len(header), *(len(row) for row in rows), 1])
    least = [_least_em([row[i] for row in [header, *rows] if i < len(row)]) for i in range(count)]
    letters = sum(len(run["t"]) for row in [header, *rows] for cell in row for run in cell)
    whole = len(rows) <= 5 and letters <= 120
    return {"kind": "table", "header": header, "rows": rows, "least": least, "whole": whole}


def _least_em(cells: list[Runs]) -> float:
    """The narrowest that a column can be: its longest unbreakable word, at least three characters."""
    found = [1.0]
    for cell in cells:
        text = "".join(run["t"] for run in cell)
        found += [0.62 * len(word) for word in re.findall(r"[!-~À-ɏ]+", text)]
        found.append(min(3.0, float(len(text))))
    return max(found)


def _code_lines(block: Code) -> list[str]:
    return stand_in(clean(block.text)).rstrip("\n").split("\n")


def _code_line(line: str, words: Text) -> dict[str, Any]:
    indent = len(line) - len(line.lstrip(" "))
    seamed = re.sub(
        r"[!-~]{13,}",
        lambda m: SEAM.join(m.group()[i : i + 6] for i in range(0, len(m.group()), 6)),
        line[indent:],
    )
    return {
        "t": "\u00a0" * indent + seamed.replace("  ", "\u00a0 ").replace("-", "-" + GLUE),
        "k": words.note(line),
    }


def _is_empty(block: Block) -> bool:
    """Whether a block has nothing to draw, so that it takes no room."""
    match block:
        case Heading() | Paragraph():
            return not any(span.text.strip() for span in block.text)
        case ListBlock():
            return not block.items
        case Quote():
            return all(_is_empty(inner) for inner in block.blocks)
        case Table():
            return not any(block.header) and not any(any(row) for row in block.rows)
        case Code():
            return not block.text.strip()
        case _:
            return False


def sections(deck: Deck, words: Text) -> list[dict[str, Any]]:
    """The deck's blocks as sections: runs of text, and pictures by themselves."""
    out: list[dict[str, Any]] = []
    cuts = set(deck.page_breaks)
    fresh = True
    for index, block in enumerate(deck.blocks):
        if isinstance(block, Figure):
            out.append({"kind": "picture", "figure": block})
            fresh = True
            continue
        if _is_empty(block):
            fresh = fresh or index in cuts
            continue
        if fresh or index in cuts:
            out.append({"kind": "text", "blocks": [], "scale": 1.0, "inset": 0.0, "centre": False})
            fresh = False
        out[-1]["blocks"].append(block_data(block, words))
    return out


@dataclass(frozen=True)
class Stand:
    """How one section came to stand: its pages, and how full the last one is (0 to 1)."""

    pages: int
    last: float

    @property
    def whole(self) -> float:
        """Its length in full pages."""
        return self.pages - 1 + self.last


def stand(layout: Layout, index: int) -> Stand:
    """Read one section's stand off a layout."""
    first, start_y = layout.starts[index]
    page, end_y = layout.ends[index]
    top = start_y if page == first else layout.top
    return Stand(page - first + 1, (end_y - top) / layout.depth)


Section = dict[str, Any]
LayOut = Callable[[], Layout]


def settle(parts: list[Section], lay_out: LayOut) -> Layout:
    """Even the sections out, looking at the layout after each change; the last layout.

    Short sections are set larger and placed by the optical middle; a section whose last page
    would be nearly empty is drawn in, or spread evenly over its pages. Sections begin on pages of
    their own, so one look judges a change to each of them.
    """
    layout = lay_out()
    texts = [index for index, part in enumerate(parts) if part["kind"] == "text"]
    stands = {index: stand(layout, index) for index in texts}
    short = {index: found for index, found in stands.items() if found.pages == 1}
    if short:
        _enlarge(parts, short)
        layout = lay_out()
        burst = [index for index in short if stand(layout, index).pages > 1]
        for index in burst:
            parts[index].update(scale=1.0, centre=False)
        layout = lay_out() if burst else layout
    thin = {i: found for i, found in stands.items() if found.pages > 1 and found.last < THIN}
    return _even_out(parts, thin, lay_out, layout.depth) if thin else layout


def _enlarge(parts: list[Section], stands: dict[int, Stand]) -> None:
    """One size for all short sections, so that pages match; a lone sentence may be larger."""
    fullest = max(s.last for s in stands.values())
    common = min(1.18, max(1.0, (0.82 / max(fullest, 0.01)) ** 0.5))
    for index, found in stands.items():
        own = min(1.5, max(common, (0.42 / max(found.last, 0.01)) ** 0.5))
        scale = round(own if found.last < 0.3 else common, 2)
        parts[index].update(scale=scale, centre=found.last * scale**2 < 0.8)


def _even_out(
    parts: list[Section], thin: dict[int, Stand], lay_out: LayOut, depth: float
) -> Layout:
    """Try the changes in turn; keep the first that leaves no page nearly empty, else the best."""
    best = {i: (found.last, {"scale": 1.0, "inset": 0.0}) for i, found in thin.items()}
    waiting = {i: list(_changes(found, depth)) for i, found in thin.items()}
    while waiting:
        tried = {index: changes.pop(0) for index, changes in waiting.items()}
        for index, change in tried.items():
            parts[index].update(change)
        layout = lay_out()
        for index, change in tried.items():
            now = stand(layout, index)
            last = 1.0 if now.pages == 1 else now.last
            if now.pages <= thin[index].pages and last > best[index][0]:
                best[index] = (last, change)
            if best[index][0] >= THIN or not waiting[index]:
                del waiting[index]
                parts[index].update(best[index][1])
    return lay_out()


def _changes(found: Stand, depth: float) -> Iterable[dict[str, float]]:
    """Draw in by a few percent; or set a little larger and end every page at the same height."""
    drawn_in = ((found.pages - 1) / found.whole) ** 0.5
    for less in (0.985, 0.965):
        if drawn_in * less >= 0.91:
            yield {"scale": round(drawn_in * less, 3), "inset": 0.0}
    larger = min(1.14, (0.86 * found.pages / found.whole) ** 0.5)
    for scale in (larger, (1 + larger) / 2, 1.0):
        share = found.whole * scale**2 / found.pages
        for slack in (0.03, 0.08, 0.16):
            if share + slack < 1:
                yield {"scale": round(scale, 3), "inset": round(depth * (1 - share - slack))}


def shown(layout: Layout, words: Text) -> dict[int, str]:
    """Page -> the words on it, by the sentence: one that runs on belongs where it begins."""
    found: dict[int, str] = {}
    for piece, page in layout.pieces:
        gap = "\n" if piece in words.firsts and page in found else ""
        found[page] = found.get(page, "") + gap + words.pieces[piece]
    return found
