"""What settings cost: the cases, how work is dealt out, one measured for real."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redloom.bench.sweep import CASES, Measured, dealt, markdown, measure


@given(
    st.integers(0, 60), st.lists(st.sampled_from([0.2, 0.4, 0.5, 0.6, 1.0]), min_size=1, max_size=4)
)
def test_work_is_dealt_by_shares(number: int, shares: list[float]) -> None:
    """Nothing is lost, and nobody gets more than one above their part."""
    prompts = [str(k) for k in range(number)]
    hands = dealt(prompts, shares)
    assert sorted(word for hand in hands for word in hand) == sorted(prompts)
    for hand, share in zip(hands, shares, strict=True):
        assert abs(len(hand) - number * share / sum(shares)) <= len(shares)


@pytest.mark.parametrize("name", ["-j 3", "0.6 + 0.4", "1 + 1, queued"])
def test_a_case_is_measured(name: str) -> None:
    """A small run: all delivered, nothing bought twice, and three slots of five cost what they do."""
    case = next(one for one in CASES if one.name == name)
    found = measure(case, 5, 16)
    assert (found.delivered, found.twice) == (16, 0)
    assert (found.above_pct > 25) == (name == "-j 3")


def test_the_table_has_a_line_for_each() -> None:
    """Cases are told apart by their names; an unfinished one has no time."""
    names = {(case.group, case.name) for case in CASES}
    assert len(names) == len(CASES)
    rows = [Measured(one.group, one.name, 1.0, 0.0, 6.0, 0, 60, 60) for one in CASES]
    lines = markdown([*rows, Measured("jobs", "-j 1", 1.0, 0.0, 6.0, 0, 59, 60)])
    assert len(lines) == 3 + len(CASES)
    assert "| – |" in lines[-1]
