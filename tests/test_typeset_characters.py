"""Which characters can be drawn, which emoji belong together, and what stands in for the rest."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redloom.typeset.characters import (
    STAND_IN,
    clean,
    drawable,
    missing_characters,
    pieces,
    stand_in,
)


def test_common_rare_and_traditional_characters_can_be_drawn() -> None:
    """Simplified, traditional and rare characters, signs and Latin all have a face."""
    assert missing_characters("汉字龘靐齉爩臺灣體驗①❶★→㎡℃✓✦✘➜€ñαЖ「」——……") == ()


def test_what_no_face_has_is_named_once_in_order() -> None:
    """Characters of plane 2 and unknown scripts are named, each once."""
    assert missing_characters("𠮷野家𠮷ꀀ好") == ("𠮷", "ꀀ")
    assert stand_in("𠮷野家") == f"{STAND_IN}野家"
    assert drawable(STAND_IN)


def test_marks_without_a_picture_are_not_missing() -> None:
    """Joiners, selectors and controls draw nothing, so nothing is missing."""
    assert missing_characters("a\u200b\ufeff\u202e\ufe0f❤️\n\t") == ()


@pytest.mark.parametrize(
    "cluster", ["👨‍👩‍👧‍👦", "🇨🇳", "1️⃣", "👍🏽", "🏳️‍🌈", "❤️‍🔥", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "☕", "👩‍⚕️", "🧑🏿‍🚀"]
)
def test_an_emoji_of_many_code_points_is_one(cluster: str) -> None:
    """A family, a flag, a keycap, a skin tone: one cluster, kept whole between words."""
    assert pieces(f"好{cluster}吗") == [("好", False), (cluster, True), ("吗", False)]
    assert clean(cluster) == cluster


def test_digits_and_signs_are_no_emoji() -> None:
    """Digits, #, * and © alone are text, though the emoji face has them."""
    assert pieces("1#*©™") == [("1#*©™", False)]


def test_clean_takes_out_what_cannot_be_set() -> None:
    """Controls, direction marks and odd spaces go; words, ideographic spaces and breaks stay."""
    assert clean("a\x00b\u202ec\u00a0d\u2003e\r\n\u3000好\u200b吗") == "abc d e\n\u3000好吗"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_anything_can_be_set_in_the_end(text: str) -> None:
    """After cleaning and standing in, nothing that is to be drawn is missing; and it is stable."""
    ready = stand_in(clean(text))
    assert missing_characters(ready) == ()
    assert stand_in(clean(ready)) == ready
    assert "".join(piece for piece, _ in pieces(ready)) == ready
