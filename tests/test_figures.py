"""A run in figures: phases, percentiles, and a distance to the bound that adds up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redloom.figures import (  # fmt: skip
    Latency,
    Limit,
    distance,
    errors_by_class,
    interruptions,
    latencies,
    level_of,
    most_at_once,
)
from redloom.losses import Held
from redloom.tries import Tries, Try, in_our_time


def made(number: int, intent: float, **changes: Any) -> Try:
    """A finished task: accepted after 0.2 s, queued 1 s, worked on for 10 s, seen 2 s late."""
    values: dict[str, Any] = {
        "task": number, "job": number, "row": number, "take": 1, "endpoint": "e", "account": "a", "lane": "async",
        "state": "stored", "billed": "yes", "code": "", "price": 0.2, "currency": "CNY", "intent": intent,
        "accepted": intent + 0.2, "queued": intent + 0.1, "started": intent + 1.2, "ended": intent + 11.2,
        "seen": intent + 13.2, "fetched": intent + 14.2, "closed": intent + 14.3, "polls": 3,
    }  # fmt: skip
    return Try(**{**values, **changes})


def test_phases_follow_on_each_other() -> None:
    """Submit, queued, running, unseen, download: each begins where the one before it ended."""
    spans = list(made(1, 100.0).spans())
    assert [name for name, _, _ in spans] == ["submit", "queued", "running", "unseen", "download"]
    assert [round(b - a, 3) for _, a, b in spans] == [0.2, 1.0, 10.0, 2.0, 1.0]


def test_what_is_unknown_is_left_out() -> None:
    """No times of the service's: its whole stay is running; nothing seen: nothing unseen."""
    bare = made(1, 0.0, queued=None, started=None, ended=None)
    assert [name for name, _, _ in bare.spans()] == ["submit", "running", "download"]
    assert bare.work_s is None
    sync = made(1, 0.0, lane="sync", queued=None, started=None, ended=None, accepted=9.0, seen=9.0)
    assert sync.work_s == 9.0
    void = made(1, 0.0, state="void", accepted=None, started=None, ended=None, seen=None)
    assert [name for name, _, _ in void.spans()] == ["submit"]


def test_a_service_whose_clock_is_wrong_is_corrected() -> None:
    """Eight hours ahead: the phases are what they would be by our clock."""
    ahead = [
        made(n, n * 5.0, queued=n * 5.0 + 28800.1, started=n * 5.0 + 28801.2, ended=n * 5.0 + 28811.2)
        for n in range(5)
    ]  # fmt: skip
    assert in_our_time(ahead)[2].started == pytest.approx(11.2)
    assert latencies(Tries.of(in_our_time(ahead)))["e"]["running"].quantiles[0] == pytest.approx(
        10.0
    )


def test_percentiles() -> None:
    """Straight between neighbours; nothing of nothing."""
    found = Latency.of([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found is not None
    assert (found.quantiles[0], found.quantiles[-1], found.mean) == (3.0, 5.0, 3.0)
    assert Latency.of([]) is None


@given(
    st.lists(
        st.tuples(st.floats(0, 300), st.floats(0.1, 90), st.floats(0, 20)), min_size=1, max_size=30
    ),
    st.integers(1, 6),
)
def test_the_causes_add_up_to_the_distance(
    given_: list[tuple[float, float, float]], slots: int
) -> None:
    """Whatever the run was like: took = bound + causes, and the bounds stand in their order."""
    tries = [
        made(n, at, ended=at + 1.2 + work, seen=at + 1.2 + work + late, fetched=None,
             closed=at + 2 + work + late)
        for n, (at, work, late) in enumerate(given_)
    ]  # fmt: skip
    far = distance(Tries.of(tries), {"e": Limit(slots, None, told=True)})
    assert far is not None
    assert far.foresight <= far.bound <= far.took + 1e-6
    assert sum(far.lost.values()) == pytest.approx(far.took - far.bound, abs=1e-6)


def test_a_slot_that_idles_unseen_is_told_as_such() -> None:
    """One slot, noticed two seconds late between two pictures: two seconds lost to that."""
    far = distance(
        Tries.of([made(1, 0.0, queued=None), made(2, 13.2, queued=None)]), {"e": Limit(1)}
    )
    assert far is not None
    assert far.lost["unseen"] == pytest.approx(2.0)
    assert far.lost["saving"] == pytest.approx(1.1)
    assert far.percent == pytest.approx(100 * 20.0 / 27.5)


def test_a_hold_and_a_pause_are_told_as_such() -> None:
    """Told to wait: a loss. Nothing under way for an hour: an interruption, and no loss."""
    tries = Tries.of([made(1, 0.0), made(2, 34.3)])
    far = distance(tries, {"e": Limit(1)}, [Held("e", 14.3, 34.3)])
    assert far is not None
    assert far.lost["held"] == pytest.approx(20.0)
    late = Tries.of([made(1, 0.0), made(2, 3600.0)])
    assert interruptions(late) == [(14.3, 3600.0)]
    far = distance(late, {"e": Limit(1)})
    assert far is not None
    assert far.took == pytest.approx(28.6)


def test_nothing_bought_has_no_distance() -> None:
    """A run from the store, or one whose every request was refused."""
    assert distance(Tries()) is None
    assert distance(Tries.of([made(1, 0.0, state="void")])) is None


def test_errors_are_counted_by_class() -> None:
    """The most frequent first; pictures and open tasks are no errors."""
    tries = [made(1, 0), made(2, 1, state="failed", code="X"), made(3, 2, state="failed", code="X"), made(4, 3, state="accepted")]  # fmt: skip
    assert errors_by_class(Tries.of(tries)) == [("e", "X", 2)]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 20)), min_size=1, max_size=30))
def test_how_many_lay_over_each_other(given_: list[tuple[int, int]]) -> None:
    """The most at once is what counting each moment finds; the steps have the whole area."""
    begins = [float(since) for since, _ in given_]
    ends = [float(since + length) for since, length in given_]
    spans = list(zip(begins, ends, strict=True))
    counted = max(sum(a <= at < b for a, b in spans) for at in begins)
    assert most_at_once(begins, ends) == counted
    levels, most = level_of(begins, ends, 7)
    assert most == counted
    width = levels[1][0] - levels[0][0]
    assert sum(level for _, level in levels) * width == pytest.approx(sum(b - a for a, b in spans))
    assert all(-1e-9 <= level <= counted + 1e-9 for _, level in levels)


def test_nothing_has_no_level() -> None:
    """No try, no line."""
    assert level_of([], [], 5) == ([], 0)


def test_tries_come_into_the_order_of_their_intents() -> None:
    """A clock that jumped back between two tasks: every column moves with its try."""
    tries = Tries.of([made(1, 50.0), made(2, 10.0, endpoint="f", code="X", polls=None), made(3, 10.0)])  # fmt: skip
    assert list(tries.intent) == [10.0, 10.0, 50.0]
    assert list(tries.job) == [2, 3, 1]
    assert [list(tries.endpoints)[number] for number in tries.endpoint] == ["f", "e", "e"]
    assert list(tries.polls) == [-1, 3, 3]
    assert list(tries.before()) == [-1, -1, -1]


def test_pictures_that_took_several_tries_are_one_piece_of_work() -> None:
    """Two tries of one job and one of another, on one slot: the bound is all three, one by one."""
    tries = Tries.of([made(1, 0.0, state="failed"), made(2, 20.0), made(3, 40.0, job=1)])
    far = distance(tries, {"e": Limit(1)})
    assert far is not None
    assert far.bound == pytest.approx(30.0)
    assert list(tries.before()) == [-1, -1, 0]
