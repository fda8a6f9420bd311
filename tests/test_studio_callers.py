"""Quotas, guesses and takes as values; the hypothesis tests of the studio's parsers."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from redloom.errors import RedloomError
from redloom.note.markdown import parse
from redloom.studio.callers import Caller, Quotas
from redloom.studio.orders import FRESH, take_of
from redloom.studio.outline import markdown_of
from redloom.studio.problems import Problem
from redloom.studio.references import checked
from redloom.studio.uploads import Uploads
from redloom.testing import picture_of

SHOP = Caller("shop", "user", "token", per_minute=6)


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 4)), max_size=40))
def test_a_minute_never_holds_more_than_its_quota_twice(calls: list[tuple[float, int]]) -> None:
    """However the calls fall, any 60 s see at most twice the rate (a full bucket and its refill)."""
    now = 0.0
    quotas = Quotas(now=lambda: now)
    taken: list[tuple[float, int]] = []
    refused: list[Problem] = []
    for pause, number in calls:
        now += pause
        try:
            quotas.take(SHOP, number)
        except Problem as problem:
            refused.append(problem)
        else:
            taken.append((now, number))
    assert all(one.status_code == 429 and (one.headers or {})["Retry-After"] for one in refused)
    for start, _ in taken:
        assert sum(n for at, n in taken if start <= at < start + 60) <= 12


def test_a_retry_after_the_told_time_is_let_in() -> None:
    """The seconds in Retry-After are enough."""
    now = 0.0
    quotas = Quotas(now=lambda: now)
    quotas.take(SHOP, 6)
    with pytest.raises(Problem) as problem:
        quotas.take(SHOP, 2)
    now += int((problem.value.headers or {})["Retry-After"])
    quotas.take(SHOP, 2)
    with pytest.raises(Problem):
        quotas.take(SHOP, 7)


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_key_has_one_take_of_its_caller(one: str, other: str) -> None:
    """Equal keys, equal takes; in range; never the store's own take 1."""
    take = take_of(SHOP, one)
    assert take == take_of(SHOP, one)
    assert 2 <= take < FRESH
    if one != other:
        assert take != take_of(SHOP, other)


@given(st.binary(max_size=400))
@settings(max_examples=60)
def test_only_whole_pictures_are_references(data: bytes) -> None:
    """Bytes of any kind: a suffix or a problem, never anything else; nor does a torn picture pass."""
    with pytest.raises(Problem):
        checked(data, 1_000_000)
    whole = picture_of("x")
    with pytest.raises(Problem):
        checked(whole[: len(whole) // 2] + data[:10], 1_000_000)


def test_a_reference_is_measured_before_it_is_unpacked() -> None:
    """A picture of more pixels than allowed is refused; one of just as many is taken."""
    out = io.BytesIO()
    Image.new("L", (1000, 1000)).save(out, "PNG")
    assert checked(out.getvalue(), 1_000_000) == "png"
    with pytest.raises(Problem):
        checked(out.getvalue(), 999_999)


@pytest.mark.parametrize(
    "text",
    [
        "# 标题\n\n一段**粗**和*斜*的话。",
        "- 一\n- 二\n  - 里面\n- 三",
        "1. 一\n2. 二",
        "> 引用一句\n\n后面一段",
        "| 甲 | 乙 |\n|---|---|\n| 1 | 2 |",
        "```\ncode\n```",
    ],
)
def test_a_page_is_edited_without_loss(text: str) -> None:
    """Blocks to Markdown and back are the same blocks."""
    blocks = parse(text)
    assert parse(markdown_of(blocks)) == blocks


@given(
    st.binary(max_size=300),
    st.sampled_from(["a.csv", "a.txt", "a.json", "a.jsonl", "a.xlsx", "a.jsonl.gz", "x"]),
)
@settings(max_examples=80, deadline=None)
def test_any_upload_is_read_or_refused(data: bytes, name: str) -> None:
    """Whatever is sent: prompts, or one of our errors; its folder is gone where it was refused."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "sent"
        source.write_bytes(data)
        uploads = Uploads(Path(folder) / "uploads", 1000)
        try:
            upload = uploads.take(name, source)
            for prompt in uploads.prompts(upload, {}):
                assert not prompt.references
                assert not prompt.folder
        except (RedloomError, Problem):
            return
