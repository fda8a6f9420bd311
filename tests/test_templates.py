"""Choices, lists and columns in prompts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redloom.errors import BadInput
from redloom.templates import COMBINATIONS, Templates, variants


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


def test_several_of_a_list() -> None:
    """``{2$$…}`` draws two different ones, ``{1-2$$ and $$…}`` one or two with their own link."""
    for row in range(50):
        two = fill("{2$$a|b|c}", row).split(", ")
        assert len(set(two)) == 2
        assert set(two) <= set("abc")
        assert fill("{1-2$$ and $$a|b}", row) in {"a", "b", "a and b", "b and a"}
    assert fill("{9$$a|b}", 1) in {"a, b", "b, a"}


@pytest.mark.parametrize(
    ("text", "matrix", "expected"),
    [
        ("a cat", True, ["a cat"]),
        ("[[red, green]] fox", False, ["red fox", "green fox"]),
        ("[[a, b]] [[c, d]]", False, ["a c", "a d", "b c", "b d"]),
        ("[[soft]] (light)", False, ["[[soft]] (light)"]),
        ("{red, green} fox", False, ["{red, green} fox"]),
        ("{red, green} fox", True, ["red fox", "green fox"]),
        ("fox|snow|night", False, ["fox|snow|night"]),
        ("fox|snow|night", True, ["fox", "fox, snow", "fox, night", "fox, snow, night"]),
    ],
)
def test_matrices(text: str, matrix: bool, expected: list[str]) -> None:
    """Arrays always, Midjourney's and A1111's forms where they are asked for, in a fixed order."""
    assert variants(text, matrix=matrix) == expected


@given(st.text(st.sampled_from("ab[],{}| "), max_size=40), st.booleans())
def test_a_matrix_ends(text: str, matrix: bool) -> None:
    """Whatever stands there: a few different prompts, or one BadInput."""
    try:
        found = variants(text, matrix=matrix)
    except BadInput:
        return
    assert 1 <= len(found) == len(set(found)) <= COMBINATIONS


def test_too_many_combinations_are_refused() -> None:
    """A thousand pictures of one prompt is the most."""
    with pytest.raises(BadInput):
        variants("|".join("abcdefghijklm"), matrix=True)
    with pytest.raises(BadInput):
        variants(" ".join(["[[a, b, c, d, e, f, g, h, i, j]]"] * 4))


def test_a_list_is_looked_for_beside_the_file_only(tmp_path: Path) -> None:
    """An absolute name is taken as one below the folder."""
    secret = tmp_path / "secret.txt"
    secret.write_text("hidden")
    with pytest.raises(BadInput):
        Templates(tmp_path / "elsewhere").fill(f"__{secret.with_suffix('')}__", 1, {}, strict=False)
