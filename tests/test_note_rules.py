"""The platform's limits, its way of counting, and proposals that fit."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redloom.note.rules import (
    LIMITS,
    Post,
    check,
    shorten_body,
    shorten_title,
    tidy_tags,
    title_length,
    utf16_length,
)
from redloom.note.text import squeezed

TEXT = st.text(alphabet="在胡同里走了一碗面，。！“”（） ab19.8%👨‍👩‍👧🔥", max_size=80)


@pytest.mark.parametrize(
    ("title", "length"),
    [
        ("", 0),
        ("OOTD穿搭分享", 6),
        ("a" * 40, 20),
        ("a", 1),
        ("🔥", 2),
        ("字" * 20, 20),
        ("字a", 2),
        ("…", 1),
        ("👨‍👩‍👧", 8),
    ],
)
def test_titles_count_as_the_platform_counts(title: str, length: int) -> None:
    """ASCII halves, anything else whole by UTF-16 unit, rounded up."""
    assert title_length(title) == length


@given(TEXT)
def test_a_shorter_title_fits_and_is_the_beginning(title: str) -> None:
    """A proposal fits, adds nothing, and stands in the title as it is."""
    short = shorten_title(title)
    assert title_length(short) <= LIMITS["title"]
    assert squeezed(short) in squeezed(title)
    assert squeezed(short) or not squeezed(title) or title_length(title) > LIMITS["title"]


@given(st.integers(0, 10**9), st.integers(1, 19))
def test_no_number_is_cut(number: int, before: int) -> None:
    """However a title runs over, a number in it is whole or absent."""
    short = shorten_title("走" * before + f"了{number:,}块钱的路，后来又走了很久很久很久")
    assert all(found == f"{number:,}" for found in re.findall(r"[\d,]*\d", short))


@pytest.mark.parametrize(
    ("title", "proposal"),
    [
        ("在杨梅竹斜街吃一碗面，花了我整整一个上午的时间", "在杨梅竹斜街吃一碗面"),
        (
            "How I finally finished the longest walk of my life in one day",
            "How I finally finished the longest walk",
        ),
    ],
)
def test_titles_are_cut_where_a_reader_pauses(title: str, proposal: str) -> None:
    """At a comma if enough is left, else between words, never behind an article or 的."""
    assert shorten_title(title) == proposal


@given(
    st.lists(
        st.sampled_from(["他说好。", "我们走了很远！", "为什么？\n", "价格是19.5元。\n\n"]),
        max_size=300,
    )
)
def test_a_shorter_body_is_whole_sentences(parts: list[str]) -> None:
    """A body is cut behind a sentence and keeps its line breaks."""
    body = "".join(parts).strip()
    short = shorten_body(body)
    assert utf16_length(short) <= LIMITS["content"]
    assert body.startswith(short)
    assert not short or short[-1] in "。！？"


def test_a_good_post_has_no_findings() -> None:
    """At the limits exactly nothing is found."""
    post = Post("字" * 20, "文" * 1000, tuple(f"标签{n}" for n in range(10)), ("a.png",) * 18)
    assert check(post) == []


def test_every_breach_is_found_with_a_proposal() -> None:
    """One over each limit gives one finding each, whose proposal is within it."""
    post = Post("字" * 21, "文" * 1001, tuple(f"标签{n}" for n in range(11)), ("a.png",) * 19)
    found = {one.field: one for one in check(post)}
    assert set(found) == {"title", "content", "tags", "images"}
    assert all(one.length == one.most + 1 for one in found.values())
    assert len(found["tags"].proposal) == 10
    assert title_length(str(found["title"].proposal)) <= 20


def test_tags_inside_the_body_are_found() -> None:
    """``#话题`` in a body is a finding whose proposal has none; a price list's # is not."""
    (found,) = check(Post("题", "第一段\n#胡同 #面馆[话题]#\n", ()))
    assert "#" not in str(found.proposal)
    assert check(Post("题", "C# 和 1#楼", ())) == []


def test_tags_are_tidied() -> None:
    """No ``#``, spaces or marks, each once, at most ten."""
    assert tidy_tags(["#胡 同", "胡同", "City Walk!", "citywalk", "#", *map(str, range(20))]) == (
        *("胡同", "CityWalk"),
        *map(str, range(8)),
    )
