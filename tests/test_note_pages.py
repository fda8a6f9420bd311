"""Which blocks stand on which page."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from redloom.note.pages import breaks_for, paginate, split
from redloom.note.text import letters_of, phrases_of, squeezed
from redloom.typeset.content import (
    Block,
    Code,
    Heading,
    ListBlock,
    ListItem,
    Paragraph,
    Span,
    Table,
)

WORDS = st.text(alphabet="山水今天走了很远，。 ab", min_size=1, max_size=40)
BLOCKS: st.SearchStrategy[Block] = st.one_of(
    st.builds(lambda text: Paragraph((Span(text[:9]), Span(text[9:], bold=True))), WORDS),
    st.builds(
        lambda texts: ListBlock(tuple(ListItem((Span(text),)) for text in texts), True),
        st.lists(WORDS, min_size=1, max_size=4),
    ),
    st.builds(
        lambda rows: Table(((Span("甲"),),), tuple(((Span(row),),) for row in rows)),
        st.lists(WORDS, min_size=1, max_size=4),
    ),
    st.builds(Code, WORDS),
    st.builds(lambda text: Heading((Span(text[:8]),)), WORDS),
)


@given(st.lists(BLOCKS, min_size=1, max_size=8), st.integers(1, 5))
def test_no_letter_is_lost(blocks: list[Block], count: int) -> None:
    """However the cards cut the text, the pages together say all of it, in order."""
    flat = letters_of(blocks)
    step = max(1, -(-len(flat) // count))
    texts = [flat[at : at + step] for at in range(0, len(flat), step)] or [""]
    pages = paginate(blocks, texts)
    assert len(pages) == len(texts)
    said = "".join(letters_of(page) for page in pages)
    assert said.replace("甲", "") == flat.replace("甲", "")


def test_a_page_break_is_found_where_the_card_ends() -> None:
    """A paragraph that runs over is parted behind the mark that ends the card."""
    pages = paginate(
        [Paragraph((Span("甲乙丙丁戊己。“庚辛壬癸子丑。”"),))],
        ["甲乙丙丁戊己。", "“庚辛壬癸子丑。”"],
    )
    assert [phrases_of(page[0]) for page in pages] == [["甲乙丙丁戊己。"], ["“庚辛壬癸子丑。”"]]


@given(BLOCKS, st.integers(0, 60))
def test_split_keeps_everything(block: Block, room: int) -> None:
    """The two parts say what the whole said; a list counts on."""
    first, second = split(block, room)
    said = letters_of([first]) + (letters_of([second]) if second is not None else "")
    assert said.replace("甲", "") == letters_of([block]).replace("甲", "")
    if isinstance(first, ListBlock) and isinstance(second, ListBlock):
        assert second.start == 1 + len(first.items)


@given(st.lists(BLOCKS, min_size=1, max_size=12), st.integers(1, 8))
def test_breaks_rise_and_spare_headings(blocks: list[Block], pages: int) -> None:
    """Breaks rise, are at most one fewer than the pages, and never stand behind a heading."""
    breaks = breaks_for(blocks, pages)
    assert list(breaks) == sorted(set(breaks))
    assert len(breaks) <= pages - 1
    assert all(not isinstance(blocks[at - 1], Heading) for at in breaks)
    assert squeezed("".join(map(str, breaks))).isdigit() or not breaks
