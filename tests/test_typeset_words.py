"""Glue and seams: what may not be broken, and what may."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redloom.typeset.words import (
    GLUE,
    SEAM,
    glue_atoms,
    glue_end,
    glue_phrases,
    phrases,
    plain,
    seam_long_words,
)


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("走3步", f"3{GLUE}步"),
        ("第 03 期", GLUE.join("第\u00a003\u00a0期")),
        ("花¥1,986元", GLUE.join("¥1,986元")),
        ("两个月", f"两{GLUE}个{GLUE}月"),
        ("涨到3.4%", "3.4%"),
        ("128GB内存", "128GB"),
    ],
)
def test_a_number_holds_its_measure_word(text: str, held: str) -> None:
    """No line may end between a number and what it counts."""
    assert held in glue_atoms(text)


def test_long_words_get_seams_and_short_ones_none() -> None:
    """An address of eighty letters may break; a word that fits may not."""
    address = "https://example.com/" + "a" * 60
    assert SEAM in seam_long_words(address, 22)
    assert SEAM not in seam_long_words("extraordinary words 很多", 22)


def test_headings_break_between_phrases() -> None:
    """Inside a phrase there is glue, between phrases none."""
    text = "今天的天气真好，我们去散步吧"
    glued = glue_phrases(text)
    assert [part.replace(GLUE, "") for part in glued.split("\n")] == [text]
    assert all(GLUE.join(phrase) in glued for phrase in phrases(text) if 1 < len(phrase) <= 7)


def test_no_character_is_left_alone_on_the_last_line() -> None:
    """The last three characters of a paragraph hold together, marks not counted."""
    assert glue_end("氛围感立刻拉满。").endswith(GLUE.join("刻拉满。"))


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="胡同3步12个。「」，a-/. GB¥第期", max_size=60))
def test_what_is_written_is_not_changed(text: str) -> None:
    """Glue and seams taken out again, the text is what it was."""
    for shape in (glue_atoms, glue_phrases, glue_end, lambda t: seam_long_words(t, 9)):
        assert plain(shape(text)) == text
