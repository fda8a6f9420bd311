"""Changes in the middle of a run: how they are written, and what holds when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redloom.emulators.changes import Change, parse_changes, value_at
from redloom.errors import BadInput


def test_changes_are_read() -> None:
    """Several, joined by commas, blanks allowed."""
    assert parse_changes("300:concurrency=3, 600:slower=4,0:rps=0.5") == (
        Change(300, "concurrency", 3),
        Change(600, "slower", 4),
        Change(0, "rps", 0.5),
    )


@pytest.mark.parametrize(
    "text",
    ["x", "300", "300:speed=2", "-1:rps=2", "1:concurrency=0", "1:concurrency=1.5", "1:rps=inf", "nan:rps=1"],
)  # fmt: skip
def test_what_is_no_change_is_refused(text: str) -> None:
    """The message says how it is written."""
    with pytest.raises(BadInput, match="SECONDS:WHAT=VALUE"):
        parse_changes(text)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(1, 9)), max_size=5), st.floats(-1, 200))
def test_the_latest_change_holds(pairs: list[tuple[float, float]], age: float) -> None:
    """Before the first change what was before; then always the latest one that is past."""
    changes = [Change(at, "slower", value) for at, value in pairs]
    past = [(at, value) for at, value in pairs if at <= age]
    found = value_at(changes, "slower", age, 7.5)
    if not past:
        assert found == 7.5
    else:
        latest = max(at for at, _ in past)
        assert found in {value for at, value in past if at == latest}
    assert value_at(changes, "rps", age, 2.0) == 2.0
