"""Choices, lists and columns in prompts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redloom.errors import BadInput
from redloom.templates import Templates


def fill(text: str, row: int = 1, **values: str) -> str:
    return Templates(Path("/nowhere")).fill(text, row, values, strict=bool(values))


def test_rows_draw_differently_and_evenly() -> None:
    """A hundred rows see all of the options; a weight makes one rarer."""
    drawn = Counter(fill("{a|b|c}", row) for row in range(300))
    assert set(drawn) == {"a", "b", "c"}
    assert min(drawn.values()) > 60
    weighed = Counter(fill("{9::a|1::b}", row) for row in range(300))
    assert weighed["a"] > 5 * weighed["b"] > 0


def test_nested_choices_and_columns() -> None:
    """An option may hold a column; braces with a backslash stay braces."""
    assert fill("{{who}|{who}}", who="cat") == "cat"
    assert fill(r"\{a|b\}") == "{a|b}"


def test_unknown_names() -> None:
    """In a table they are a mistake; elsewhere braces are just braces."""
    assert fill("a {thing}") == "a {thing}"
    with pytest.raises(BadInput, match="thing"):
        fill("a {thing}", who="cat")
    with pytest.raises(BadInput, match="none"):
        fill("__none__")


@given(st.text(st.sampled_from("ab{}|_:\\3<>wildcr猫"), max_size=40), st.integers(1, 10**6))
def test_the_same_again_or_a_sentence(text: str, row: int) -> None:
    """Whatever stands there, the answer is the same each time, or one BadInput."""
    try:
        first = fill(text, row)
    except BadInput:
        return
    assert fill(text, row) == first
