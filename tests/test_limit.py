"""Rates and concurrency: never more than allowed, never idle for nothing, 429s teach."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from redloom.errors import Throttled
from redloom.limit import (
    HOLD_S,
    LONGEST_HOLD_S,
    SLOWEST_PER_SECOND,
    Gate,
    Pace,
    Slots,
    submit_ahead,
)

rates = st.floats(0.05, 50)


@given(rates, st.lists(st.floats(0, 3), min_size=1, max_size=80))
def test_never_more_than_the_rate_in_any_window(rate: float, gaps: list[float]) -> None:
    """Whatever the arrivals: at most rate * t + 1 in every window of t seconds."""
    pace, now, left = Pace(rate), 1000.0, []
    for gap in gaps:
        now += gap
        now += pace.ready_in(now)
        assert pace.ready_in(now) <= 1e-6
        pace.take(now)
        left.append(now)
    for first in range(len(left)):
        for last in range(first, len(left)):
            assert last - first + 1 <= rate * (left[last] - left[first]) + 1 + 1e-6


@given(rates, st.integers(2, 60))
def test_a_full_queue_uses_the_whole_rate(rate: float, number: int) -> None:
    """Work that is always there leaves at exactly the rate."""
    pace, now = Pace(rate), 1000.0
    for _ in range(number):
        now += pace.ready_in(now)
        pace.take(now)
    assert now - 1000.0 == pytest.approx((number - 1) / rate, rel=1e-6)


def test_no_known_rate_waits_for_nothing() -> None:
    """Until a 429 teaches one."""
    pace = Pace()
    for now in range(100):
        assert pace.ready_in(float(now)) == 0
        pace.take(float(now))
    pace.slow_down(100.0)
    assert pace.taught
    assert 0.5 < (pace.rate or 0) <= 1.0
    assert pace.ready_in(100.0) > 0


@given(st.one_of(st.none(), rates), st.integers(1, 60))
def test_every_refusal_slows_and_none_stops(rate: float | None, refusals: int) -> None:
    """The rate only falls, and never below one a minute."""
    pace, now = Pace(rate), 1000.0
    for _ in range(refusals):
        now += pace.ready_in(now)
        pace.take(now)
        before = pace.rate
        pace.slow_down(now)
        assert pace.rate is not None
        assert before is None or pace.rate <= max(before, SLOWEST_PER_SECOND)
        assert pace.rate >= SLOWEST_PER_SECOND
        assert pace.next_at > now


@given(
    st.integers(1, 20),
    st.integers(0, 10),
    st.integers(0, 40),
    st.one_of(st.none(), st.integers(1, 15)),
)
def test_slots_never_exceed_limit_or_ceiling(
    limit: int, ahead: int, outstanding: int, ceiling: int | None
) -> None:
    """Room is what is left of limit and ahead, under the user's own ceiling; never negative."""
    slots = Slots(limit, ahead, ceiling)
    room = slots.room(outstanding)
    assert room == max(0, min(limit + ahead, ceiling or 10**9) - outstanding)


def test_probe_and_hold() -> None:
    """Full for a whole hold: one more; refused: back, and the hold doubles up to an hour."""
    slots = Slots(3)
    slots.full(3, 0.0)
    slots.full(3, HOLD_S - 1)
    assert slots.limit == 3
    slots.full(3, HOLD_S)
    assert slots.limit == 4
    slots.full(2, HOLD_S + 1)
    slots.full(4, HOLD_S + 2)
    slots.full(4, HOLD_S + 3)
    assert slots.limit == 4
    for _ in range(12):
        slots.limit = 4
        slots.rejected(3, 500.0)
    assert (slots.limit, slots.hold_s) == (3, LONGEST_HOLD_S)
    slots.rejected(0, 500.0)
    assert slots.limit == 1
    published, unknown = Slots(2, known=True), Slots()
    for moment in (0.0, 1e6):
        published.full(2, moment)
        unknown.full(99, moment)
    assert (published.limit, unknown.limit) == (2, None)
    assert unknown.room(5) > 1000


@pytest.mark.parametrize("kind", ["rate", "burst", "concurrency", "quota", "congestion"])
@pytest.mark.parametrize("told", [None, 30.0])
def test_a_429_holds_its_own_endpoint(kind: Throttled.Kind, told: float | None) -> None:
    """After each kind something waits, and after a while it goes on by itself."""
    gate = Gate(Pace(2.0), Slots(5))
    for _ in range(4):
        gate.take(100.0)
    gate.release()
    until = gate.refused(Throttled("", "", kind=kind, retry_after_s=told), told or 1.0, 100.0)
    wait = gate.wait_s(100.0)
    assert wait is None or wait > 0
    if told:
        assert until >= 130.0
    for _ in range(3):
        gate.release()
    assert gate.wait_s(100_000.0) == 0.0
    assert gate.refusals == 1


def test_a_stopped_or_full_gate_lets_nothing_through() -> None:
    """None means: no time can be named."""
    gate = Gate(Pace(), Slots(1))
    gate.take(0.0)
    gate.accepted(0.0)
    assert gate.wait_s(0.0) is None
    gate.release()
    gate.stopped = "arrears"
    assert gate.wait_s(0.0) is None


def test_what_was_taught_is_kept_over_a_restart() -> None:
    """Rates and slots that 429s taught; published ones are read afresh."""
    gate = Gate(Pace(2.0), Slots(5, ahead=2, known=True))
    assert gate.learnt()["rate"] is gate.learnt()["slots"] is None
    gate.pace.slow_down(10.0)
    gate.slots.rejected(3, 10.0)
    fresh = Gate(Pace(2.0), Slots(5, ahead=2, known=True))
    fresh.recall(gate.learnt())
    assert (fresh.pace.rate, fresh.slots.limit, fresh.slots.ahead) == (gate.pace.rate, 3, 0)
    fresh.recall({})
    assert fresh.slots.limit == 3


@given(st.integers(1, 50), st.floats(0, 60), st.floats(0.1, 200))
def test_ahead_grows_with_the_delay(concurrency: int, reaction_s: float, typical_s: float) -> None:
    """At least what is finished on average before we notice, and more for a longer delay."""
    assume(concurrency * reaction_s / typical_s < 300)
    ahead = submit_ahead(concurrency, reaction_s, typical_s)
    assert ahead >= int(concurrency * reaction_s / typical_s)
    assert submit_ahead(concurrency, reaction_s * 2, typical_s) >= ahead


def test_strays_do_not_bring_a_run_to_a_stand() -> None:
    """One request in fifty refused for no reason: neither slots nor pace bound run slower for it."""
    for every_s in (3.0, 0.2):  # held back by the slots; by the pace of five a second
        pace, now = Pace(5.0), 0.0
        for number in range(1, 2001):
            now += max(every_s, pace.ready_in(now))
            pace.take(now)
            if number % 50:
                pace.accepted(now)
            else:
                pace.slow_down(now)
        assert pace.rate is not None
        assert pace.rate >= 4.0


def test_a_lower_limit_is_still_found() -> None:
    """Where the service takes two a second, five are tried for seconds only."""
    pace, now, allowed = Pace(5.0), 0.0, 0.0
    refused = accepted = 0
    for _ in range(1000):
        now += pace.ready_in(now)
        pace.take(now)
        if now >= allowed:
            allowed, accepted = max(allowed, now - 0.5) + 0.5, accepted + 1
            pace.accepted(now)
        else:
            refused += 1
            pace.slow_down(now)
    assert accepted / now > 1.5
    assert refused < 150


def test_a_burst_is_followed_by_a_slower_climb() -> None:
    """BurstRate halves rate and slope; the rate climbs back to where it was and no further."""
    pace, now = Pace(4.0, most=4.0), 0.0
    pace.rise_slower()
    first = pace.rate
    rates = []
    for _ in range(200):
        now += pace.ready_in(now)
        pace.take(now)
        pace.accepted(now)
        rates.append(pace.rate or 0.0)
    assert first == 2.0
    assert rates == sorted(rates)
    assert rates[-1] == 4.0
    slope = pace.slope
    pace.rise_slower()
    assert pace.slope < slope
