"""Words, sentences and clauses of a story: where its text may be cut, and what a block says.

May import: typeset.content.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from redloom.typeset.content import (
    Block,
    Code,
    Figure,
    Heading,
    Inline,
    ListBlock,
    ListItem,
    Paragraph,
    Quote,
    Table,
)

SENTENCE = re.compile(r"[^。！？!?…\n]*(?:[。！？!?…]+|\.(?=\s|$)|\n|$)[”’」』）)》\"]*")
CLAUSE = re.compile(
    r"(?:[^，,；;：:。！？!?…—\n]|(?<=\d)[,:：](?=\d))+(?:[，,；;：:。！？!?…—]+[”’」』）)》]*|\n|$)"
)
NUMBER = re.compile(r"\d+(?:[.,:：/／~～–-]\d+)*[%％‰]?")
OPENERS, CLOSERS = "“‘「『（(《【〈", "”’」』）)》】〉"
EDGES = " \t\n\u3000，,。；;：:、—-–·…|｜"
_JOINERS = re.compile(r"[\u200d\ufe0f\U0001f3fb-\U0001f3ff\u20e3]")


class Word(NamedTuple):
    """One word and its part of speech in jieba's letters (``n``, ``ns``, ``m``, ``x`` …)."""

    text: str
    part: str


def said(inline: Inline) -> str:
    """The words of a run of spans, without their styles."""
    return "".join(span.text for span in inline)


def sentences(text: str) -> list[str]:
    """``text`` cut behind each sentence's end mark (and the quotation mark that closes it)."""
    return [found[0].strip() for found in SENTENCE.finditer(text) if found[0].strip()]


def clauses(sentence: str) -> list[str]:
    """A sentence cut behind each comma, colon and end mark, marks kept; never inside a number."""
    return [found[0].strip() for found in CLAUSE.finditer(sentence) if found[0].strip()]


@lru_cache(maxsize=4096)
def words(text: str) -> tuple[Word, ...]:
    """``text`` as words; joined they are the text again.

    A number stays whole and keeps its measure word (``496米``, ``1.2 万张``); an emoji keeps
    what modifies it.
    """
    import rjieba

    found: list[Word] = []
    at = 0
    for number in NUMBER.finditer(text):
        found += [Word(*pair) for pair in rjieba.tag(text[at : number.start()])]
        found.append(Word(number[0], "m"))
        at = number.end()
    found += [Word(*pair) for pair in rjieba.tag(text[at:])]
    return tuple(_merged(found))


def _merged(found: Sequence[Word]) -> Iterator[Word]:
    """Numbers with their measure words, emoji with their joiners."""
    held: Word | None = None
    for word in found:
        if held is not None and _belongs(held, word):
            held = Word(held.text + word.text, held.part)
            continue
        if held is not None:
            yield held
        held = word
    if held is not None:
        yield held


def _belongs(before: Word, word: Word) -> bool:
    if _JOINERS.match(word.text[:1]) or before.text[-1:] == "\u200d":
        return True
    if before.part != "m" or not before.text.strip():
        return False
    if word.text == " ":
        return bool(NUMBER.fullmatch(before.text))
    counted = (
        word.part in ("m", "q")
        or word.text[:1] in "块元个张年月日号岁克米斤度杯碗次分秒层家位句页条万亿千百"
    )
    unit = NUMBER.match(before.text) and (word.text.isascii() and word.text.isalpha())
    return bool((counted or unit) and len(word.text) <= 4)


def trimmed(text: str) -> str:
    """``text`` without commas and the like at its edges and without a lone bracket or quote."""
    text = text.strip(EDGES)
    if text.count('"') % 2:
        text = text.strip('"')
    if text.endswith(".") and not text.endswith(".."):
        text = text[:-1]
    for opener, closer in zip(OPENERS, CLOSERS, strict=True):
        if text.count(opener) != text.count(closer):
            text = text.replace(opener, "", 1) if text.startswith(opener) else text
            text = text[:-1] if text.endswith(closer) else text
            if text.count(opener) > text.count(closer):
                text = text[: text.rindex(opener)]
            elif text.count(closer) > text.count(opener):
                text = text[text.index(closer) + 1 :]
    return text.strip(EDGES)


def squeezed(text: str) -> str:
    """``text`` without spaces and punctuation: what two wordings are compared by."""
    return re.sub(r"[\W_]+", "", text)


def lines_of(block: Block) -> list[str]:
    """What a block says, as the lines that a post's body shows. Pictures say their caption."""
    if isinstance(block, Heading):
        return [f"【{said(block.text)}】"]
    if isinstance(block, Paragraph):
        return said(block.text).split("\n")
    if isinstance(block, ListBlock):
        return _item_lines(block.items, block.ordered, block.start, "")
    if isinstance(block, Quote):
        return _quote_lines(block)
    if isinstance(block, Table):
        return ["｜".join(said(cell) for cell in row) for row in (block.header, *block.rows)]
    if isinstance(block, Code):
        return block.text.split("\n")
    if isinstance(block, Figure):
        return [said(block.caption)] if block.caption else []
    return []


def _item_lines(items: Sequence[ListItem], ordered: bool, start: int, indent: str) -> list[str]:
    lines = []
    for number, item in enumerate(items, start):
        mark = f"{number}. " if ordered else "· "
        lines.append(indent + mark + said(item.text).replace("\n", "\n" + indent))
        lines += _item_lines(item.items, ordered, 1, indent + "　")
    return lines


def _quote_lines(block: Quote) -> list[str]:
    lines = [line for inner in block.blocks for line in lines_of(inner)]
    if len(lines) == 1 and lines[0][:1] not in OPENERS:
        lines = [f"“{lines[0]}”"]
    return [*lines, f"—— {block.source}"] if block.source else lines


def phrases_of(block: Block) -> list[str]:
    """The separate wordings of a block (an item, a cell, a paragraph), none with added marks."""
    if isinstance(block, Heading | Paragraph):
        return said(block.text).split("\n")
    if isinstance(block, ListBlock):
        return [text for item in block.items for text in _item_phrases(item)]
    if isinstance(block, Quote):
        return [text for inner in block.blocks for text in phrases_of(inner)]
    if isinstance(block, Table):
        return [said(cell) for row in (block.header, *block.rows) for cell in row]
    if isinstance(block, Code):
        return block.text.split("\n")
    return [said(block.caption)] if isinstance(block, Figure) else []


def _item_phrases(item: ListItem) -> list[str]:
    inner = [text for child in item.items for text in _item_phrases(child)]
    return [*said(item.text).split("\n"), *inner]


def letters_of(blocks: Sequence[Block]) -> str:
    """Everything that blocks say, squeezed, sources of quotations included."""
    sources = [block.source for block in blocks if isinstance(block, Quote)]
    return squeezed(" ".join([*(text for block in blocks for text in phrases_of(block)), *sources]))
