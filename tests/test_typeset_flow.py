"""Blocks into pages: none nearly empty, no heading at a foot, nothing lost."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redloom.typeset.cards import Composition
from redloom.typeset.content import (
    Block,
    Cover,
    Deck,
    Figure,
    Heading,
    ListBlock,
    ListItem,
    Paragraph,
    Span,
    Table,
)
from redloom.typeset.flow import Text, block_data, runs, sections, settle, stand
from redloom.typeset.press import Galley, Layout
from redloom.typeset.theme import find
from redloom.typeset.words import plain

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8ffff3f0005fe02fea735"
    "81840000000049454e44ae426082"
)


def words(text: str) -> tuple[Span, ...]:
    """Plain text as spans."""
    return (Span(text),)


def laid_out(
    blocks: tuple[Block, ...], breaks: tuple[int, ...] = (), theme: str = "paper"
) -> tuple[Composition, dict, Layout]:  # type: ignore[type-arg]
    """A deck of these blocks, evened out but not drawn."""
    job = Composition(find(theme), "3:4")
    deck = Deck(Cover("题"), blocks, page_breaks=breaks)
    data = job.deck(deck.cover, sections(deck, job.words), None)
    return job, data, settle(data["sections"], lambda: Galley(job.theme, data).layout())


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(4, 260), min_size=1, max_size=14))
def test_no_page_is_nearly_empty(lengths: list[int]) -> None:
    """However long the paragraphs, the last of several pages is at least a third full."""
    _, _, layout = laid_out(tuple(Paragraph(words("路上的风，" * (n // 5 + 1))) for n in lengths))
    found = stand(layout, 0)
    assert found.pages == 1 or found.last >= 0.33


@pytest.mark.parametrize("theme", ["paper", "guochao", "ink"])
def test_no_heading_stands_at_a_foot(theme: str) -> None:
    """What a heading heads begins on the heading's page, wherever the pages fall."""
    for length in (60, 75, 90, 105, 120):
        blocks = tuple(
            block
            for i in range(12)
            for block in (
                Heading(words(f"第{i}个题目")),
                Paragraph(words("走在路上" * (length // 4))),
            )
        )
        job, _, layout = laid_out(blocks, theme=theme)
        pages = dict(layout.pieces)
        for piece, text in enumerate(job.words.pieces):
            if text.endswith("个题目"):
                assert pages[piece + 1] == pages[piece]


def test_a_lone_sentence_is_set_larger_and_centred() -> None:
    """A page of one sentence is a statement, not a line on top of an empty page."""
    _, data, layout = laid_out((Paragraph(words("慢一点，也没关系。")),))
    part = data["sections"][0]
    assert part["centre"]
    assert part["scale"] > 1.2
    assert layout.starts[0][1] > layout.top + 0.25 * layout.depth


def test_page_breaks_and_pictures_begin_pages() -> None:
    """A writer's cut and every picture begin a new page; text after a picture too."""
    blocks = (Paragraph(words("一")), Paragraph(words("二")), Figure(PIXEL), Paragraph(words("三")))
    _, _, layout = laid_out(blocks, breaks=(1,))
    assert [layout.starts[i][0] for i in range(4)] == [2, 3, 4, 5]


def test_nothing_is_lost_on_the_way_to_the_press() -> None:
    """Runs hold exactly what was written, glue and seams aside; emoji are apart."""
    inline = (
        Span("走3步，看👨‍👩‍👧‍👦。", bold=True),
        Span("https://example.com/" + "a" * 50),
        Span("完", mark=True),
    )
    found = runs(inline, Text())
    assert plain("".join(run["t"] for run in found)) == "".join(span.text for span in inline)
    assert [run["t"] for run in found if run.get("e")] == ["👨‍👩‍👧‍👦"]
    assert found[0]["b"]
    assert found[-1]["m"]


def test_pieces_are_sentences_in_order() -> None:
    """The pieces noted are the sentences, marks and closing quotes with them."""
    text = Text()
    block_data(Paragraph(words("一句。「两句！」三句？没完")), text)
    assert text.pieces == ["一句。", "「两句！」", "三句？", "没完"]


def test_nested_lists_and_ragged_tables() -> None:
    """Depth is kept; a table's rows may be of different lengths."""
    text = Text()
    inner = ListItem(words("内"), (ListItem(words("里")),))
    made = block_data(ListBlock((ListItem(words("外"), (inner,)),), ordered=True, start=3), text)
    assert made["start"] == 3
    assert made["items"][0]["items"][0]["items"][0]["text"][0]["t"] == "里"
    table = block_data(Table((words("a"),), ((words("b"), words("cc")), ())), text)
    assert len(table["least"]) == 2
    assert re.match(r"[a-z]", table["rows"][0][1][0]["t"])
