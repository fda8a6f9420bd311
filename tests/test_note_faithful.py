"""What a writer may not lose and may not invent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redloom.note.faithful import chinese_number, facts_of, problems

STORY = "1987年，王秀兰在北京读《骆驼祥子》，花了12,406元。她说：“第二锅我就没心气儿了。” 后来用 Photoshop 修图。"


def test_the_story_itself_is_faithful() -> None:
    """A text that says everything has no problems."""
    assert problems(STORY, STORY, ["《骆驼祥子》", "花了12406元"]) == []


@pytest.mark.parametrize(
    ("gone", "kind"),
    [
        ("1987", "数字"),
        ("12,406", "数字"),
        ("Photoshop", "英文词"),
        ("《骆驼祥子》", "书名"),
        ("“第二锅我就没心气儿了。”", "原话"),
        ("北京", "人名地名"),
    ],
)
def test_what_is_lost_is_named(gone: str, kind: str) -> None:
    """Each kind of fact that is gone gives one problem that names it."""
    (found,) = problems(STORY, STORY.replace(gone, ""), [])
    assert kind in found
    assert gone in found


@pytest.mark.parametrize(
    ("added", "kind"),
    [
        ("还有500块", "数字"),
        ("Lightroom", "英文词"),
        ("《茶馆》", "书名"),
        ("“谁也不许走”", "引语"),
    ],
)
def test_what_is_invented_is_named(added: str, kind: str) -> None:
    """A number, name, title or quotation that the story has not is found, in titles too."""
    for shown, titles in ((STORY + added, []), (STORY, [added])):
        (found,) = problems(STORY, shown, titles)
        assert kind in found


def test_numbers_are_compared_by_what_they_mean() -> None:
    """三十九 may become 39, 12,406 may lose its comma, list numbers are no facts."""
    assert problems("坐了三十九年，12,406张。", "1. 坐了39年\n2. 12406张", []) == []
    assert problems("坐了39年。", "坐了三十九年。", []) == []


@given(st.integers(1, 99_999_999))
def test_chinese_numbers(number: int) -> None:
    """Every number under a hundred million is read from its characters."""
    assert chinese_number(spoken(number)) == number


def spoken(number: int) -> str:
    """A number as it is read out."""
    if number >= 10_000:
        rest = number % 10_000
        return (
            spoken(number // 10_000)
            + "万"
            + ((("零" if rest < 1000 else "") + spoken(rest)) if rest else "")
        )
    out, zero = "", False
    for unit, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // unit % 10
        if digit:
            out += ("零" if zero and out else "") + "零一二三四五六七八九"[digit] + name
        zero = not digit
    return out


@given(st.text(max_size=60))
def test_facts_of_anything(text: str) -> None:
    """Looking for facts never breaks, and what is found stands in the text."""
    assert problems(text, text, []) == []
    facts_of(text)
