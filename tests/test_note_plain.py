"""Plain text into blocks: titles, headings and lists only where the author meant them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from redloom.note.plain import parse
from redloom.note.text import phrases_of, squeezed
from redloom.typeset.content import Block, Heading, ListBlock, Paragraph

LONG = "这一段写得比较长，有好几个逗号，讲的是那天下午我们一起走过的路和说过的话。"


def kinds(blocks: tuple[Block, ...]) -> list[str]:
    """The blocks' classes by name."""
    return [type(block).__name__ for block in blocks]


@given(st.lists(st.text(alphabet="走过一二、1.23 -·①【】，。“”：ab#", max_size=30), max_size=12))
def test_no_word_is_lost(lines: list[str]) -> None:
    """Whatever the lines look like, every letter is in the title or in a block, in order."""
    title, blocks = parse("\n".join(lines))
    said = squeezed(title + "".join(text for block in blocks for text in phrases_of(block)))
    marks = set("一二1234567890①")
    kept = [ch for ch in squeezed("".join(lines)) if ch not in marks]
    assert [ch for ch in said if ch not in marks] == kept


def test_title_and_short_headings() -> None:
    """A short first line is the title; short lines between blank ones are headings if several."""
    title, blocks = parse(f"我的标题\n\n{LONG}\n\n修鞋的小屋\n\n{LONG}\n\n面馆里的规矩\n\n{LONG}\n")
    assert title == "我的标题"
    assert kinds(blocks) == ["Paragraph", "Heading", "Paragraph", "Heading", "Paragraph"]


def test_one_short_line_is_no_heading() -> None:
    """A single short line, or dialogue, stays prose."""
    _, blocks = parse(f"{LONG}\n\n他没说话\n\n{LONG}\n\n“走吧”\n\n{LONG}")
    assert kinds(blocks) == ["Paragraph"] * 5


def test_a_sentence_is_no_title() -> None:
    """A first line that ends like a sentence belongs to the story."""
    title, blocks = parse(f"那天下雨。\n\n{LONG}")
    assert title == ""
    assert len(blocks) == 2


def test_lists_in_every_dress() -> None:
    """Numbers, circled numbers, bullets and 一、 make lists; decimals and single lines do not."""
    for first, second in (
        ("1. ", "2. "),
        ("1、", "2、"),
        ("①", "②"),
        ("- ", "- "),
        ("· ", "· "),
        ("一、", "二、"),
    ):
        _, blocks = parse(f"{LONG}\n\n{first}苹果\n{second}梨子\n")
        assert isinstance(blocks[-1], ListBlock), first
    assert kinds(parse(f"{LONG}\n\n1.5 公里以外\n2.5 公里以外\n")[1])[-1] == "Paragraph"


def test_chinese_numbers_over_prose_are_headings() -> None:
    """一、 above a paragraph is a heading, and keeps its number."""
    _, blocks = parse(f"一、出发\n\n{LONG}\n\n二、到达\n\n{LONG}\n")
    headings = [block for block in blocks if isinstance(block, Heading)]
    assert [phrases_of(block) for block in headings] == [["一、出发"], ["二、到达"]]


def test_lines_without_blank_lines() -> None:
    """Where every line is a sentence, every line is a paragraph; verse keeps its breaks."""
    _, blocks = parse(f"{LONG}\n{LONG}\n")
    assert kinds(blocks) == ["Paragraph", "Paragraph"]
    _, verse = parse("白日依山尽\n黄河入海流\n欲穷千里目\n更上一层楼\n")
    assert len(verse) == 1
    assert isinstance(verse[0], Paragraph)
    assert phrases_of(verse[0]) == ["白日依山尽", "黄河入海流", "欲穷千里目", "更上一层楼"]
