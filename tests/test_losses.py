"""Idle slot seconds: the same whether the tries are swept a few at a time or all together."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redloom import losses
from redloom.losses import Held, lost_seconds
from redloom.tries import Tries, Try

MOMENT = st.floats(0, 200).map(lambda at: round(at, 1))


def tried(number: int, intent: float, sent: float, worked: float, **changes: Any) -> Try:
    """A task accepted after ``sent`` seconds, worked on for ``worked``, seen one second later."""
    began = intent + sent
    values: dict[str, Any] = {
        "task": number, "job": number, "row": number, "take": 1, "endpoint": "e", "account": "a", "lane": "async",
        "state": "stored", "billed": "yes", "code": "", "price": 0.2, "currency": "CNY", "intent": intent,
        "accepted": began, "started": began, "ended": began + worked, "seen": began + worked + 1.0,
        "closed": began + worked + 1.5,
    }  # fmt: skip
    return Try(**{**values, **changes})


@given(
    st.lists(st.tuples(MOMENT, st.floats(0, 3), st.floats(0.1, 60)), min_size=1, max_size=40),
    st.integers(1, 4),
    st.integers(1, 7),
)
def test_a_few_at_a_time_or_all_together(
    given_: list[tuple[float, float, float]], slots: int, few: int
) -> None:
    """Long tries that reach over many later ones, repeats, holds: the pieces change no figure."""
    tries = Tries.of(tried(n, *one, job=n // 2) for n, one in enumerate(given_))
    held = [Held("e", 10.0, 30.0)]
    whole = lost_seconds(tries, slots, held, [(50.0, 60.0)], tries.before(), 5.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "AT_ONCE", few)
        pieces = lost_seconds(tries, slots, held, [(50.0, 60.0)], tries.before(), 5.0)
    assert pieces == whole
    assert all(seconds >= 0 for seconds in whole.values())


def test_each_cause_has_its_seconds() -> None:
    """One slot: four seconds on the way, one unseen, a pause between a failure and its repeat."""
    first = tried(1, 0.0, 2.0, 10.0, state="failed", billed="no", seen=13.0, closed=13.0)
    again = tried(2, 18.0, 2.0, 10.0, job=1)
    tries = Tries.of([first, again])
    lost = lost_seconds(tries, 1, [], [], tries.before(), 0.0)
    assert lost["submitting"] == pytest.approx(4.0)
    assert lost["unseen"] == pytest.approx(1.0)
    assert lost["backoff"] == pytest.approx(5.0)
    assert lost["drain"] == pytest.approx(0.0)
    assert lost["noticing"] == pytest.approx(1.0)
    assert lost["saving"] == pytest.approx(0.5)


def test_no_known_work_has_no_causes() -> None:
    """Nothing ran: there is no slot that could have stood idle."""
    tries = Tries.of([tried(1, 0.0, 2.0, 1.0, started=None, ended=None, seen=None, closed=None, state="accepted")])  # fmt: skip
    assert lost_seconds(tries, 1, [], [], tries.before(), 0.0) == {}
