"""Markdown into blocks, with the habits of Chinese authors."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from redloom.note.markdown import parse, parse_inline
from redloom.note.text import phrases_of
from redloom.typeset.content import (
    Code,
    Heading,
    ListBlock,
    ListItem,
    Paragraph,
    Quote,
    Rule,
    Span,
    Table,
)


@given(st.text(alphabet="#*_`->|![]()=~\\ \n1.一二，“”ab"))
def test_any_text_parses(text: str) -> None:
    """CommonMark has no errors, and neither have we."""
    parse(text)


@given(st.text(alphabet="山水今天走了很远ab12，。", min_size=1).filter(lambda text: text.strip()))
def test_words_survive(text: str) -> None:
    """Text without marks is one paragraph that says exactly that text."""
    if not text[0].isdigit():
        assert parse(text) == (Paragraph((Span(text.strip()),)),)


def test_every_kind_of_block() -> None:
    """Headings, nested lists, tables, quotations with their source, code and rules."""
    text = "# 一\n\n- a\n  1. b\n\n|甲|乙|\n|-|-|\n|1|2|\n\n> 话。\n>\n> —— 我妈\n\n```\nx = 1\n```\n\n---\n"
    assert parse(text) == (
        Heading((Span("一"),), 1),
        ListBlock((ListItem((Span("a"),), (ListItem((Span("b"),)),)),)),
        Table(((Span("甲"),), (Span("乙"),)), (((Span("1"),), (Span("2"),)),)),
        Quote((Paragraph((Span("话。"),)),), "我妈"),
        Code("x = 1"),
        Rule(),
    )


def test_inline_styles_and_links() -> None:
    """Bold, italic, code and marks are styles; a link is its text."""
    assert parse_inline("**粗** *斜* `码` ==亮== [字](http://x)") == (
        Span("粗", bold=True),
        Span(" "),
        Span("斜", italic=True),
        Span(" "),
        Span("码", code=True),
        Span(" "),
        Span("亮", mark=True),
        Span(" 字"),
    )


def test_bold_beside_chinese_marks() -> None:
    """Bold that touches Chinese punctuation is bold, though CommonMark leaves asterisks."""
    assert parse_inline("他说**“分两次放。”**我信") == (
        Span("他说"),
        Span("“分两次放。”", bold=True),
        Span("我信"),
    )


def test_line_ends_inside_a_paragraph() -> None:
    """Between Chinese characters a line end is nothing, between Latin words a space."""
    assert phrases_of(parse("今天\n走了")[0]) == ["今天走了"]
    assert phrases_of(parse("one\ntwo")[0]) == ["one two"]


def test_a_source_right_under_the_quotation_is_one() -> None:
    """``—— somebody`` on the next line of the same paragraph, as people type it; alone it is words."""
    (quote,) = parse("> 房子是租来的，\n> 但**生活**不是。\n> —— 某本书的扉页\n")
    assert isinstance(quote, Quote)
    assert quote.source == "某本书的扉页"
    (said,) = quote.blocks
    assert isinstance(said, Paragraph)
    assert "".join(span.text for span in said.text) == "房子是租来的，但生活不是。"
    (alone,) = parse("> —— 某人\n")
    assert isinstance(alone, Quote)
    assert alone.source == ""
