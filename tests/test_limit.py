"""Rates and concurrency: never more than allowed, never idle for nothing, 429s teach."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from redloom.errors import Throttled
from redloom.limit import (
    FIRST_RATE,
    HOLD_S,
    LONGEST_HOLD_S,
    SLOWEST_PER_SECOND,
    Gate,
    Pace,
    Slot,
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


@dataclass
class Simulated:
    """A service with a rate and a concurrency that nobody told; it refuses or queues."""

    rate: float
    concurrency: int
    queues: bool
    seconds: float = 20.0
    accepted: list[float] = field(default_factory=list)
    """When each accepted task starts, in the order of acceptance."""
    ends: list[float] = field(default_factory=list)
    refusals: int = 0
    _allowed: float = 0.0

    def submit(self, now: float) -> Throttled | None:
        """A 429 of its kind, or None: accepted."""
        if now < self._allowed - 1.0 / self.rate:
            self.refusals += 1
            return Throttled("", "", kind="rate")
        busy = sorted(end for end in self.ends if end > now)
        if len(busy) >= self.concurrency and not self.queues:
            self.refusals += 1
            return Throttled("", "", kind="concurrency")
        self._allowed = max(self._allowed, now) + 1.0 / self.rate
        start = now if len(busy) < self.concurrency else busy[-self.concurrency]
        self.accepted.append(start)
        self.ends.append(start + self.seconds)
        return None


def simulate(service: Simulated, pictures: int, gate: Gate) -> float:
    """Submit as an engine would, seeing states every second; when the last task ended."""
    now, seen, states = 0.0, 0.0, dict[int, bool]()
    slots: dict[int, Slot] = {}
    while len(service.accepted) < pictures or any(end > now for end in service.ends):
        if now >= seen:
            seen = now + 1.0
            for task in list(slots):
                if service.ends[task] <= now:
                    slots.pop(task).release()
                    states.pop(task, None)
                elif states.get(task) is not (running := service.accepted[task] <= now):
                    states[task] = running
                    slots[task].saw(running)
        wait = gate.wait_s(now)
        if wait == 0.0 and len(service.accepted) < pictures:
            gate.take(now)
            refused = service.submit(now)
            if refused is None:
                gate.accepted(now)
                slots[len(service.accepted) - 1] = Slot(gate)
            else:
                gate.release()
                gate.refused(refused, 1.0, now)
            continue
        now = min(seen, now + wait) if wait else seen
        assert now < 1e6, "it came to a stand"
    return now


@pytest.mark.parametrize("queues", [False, True])
@pytest.mark.parametrize(
    ("rate", "concurrency"), [(0.3, 100), (5.0, 2), (2.0, 5), (50.0, 12), (10.0, 60)]
)
def test_what_nobody_published_is_found_out(rate: float, concurrency: int, queues: bool) -> None:
    """Neither rate nor concurrency known, the service refuses or queues: 500 pictures with at
    most one refusal in twenty, in no more than a third more than the time it needs at best."""
    service = Simulated(rate, concurrency, queues)
    gate = Gate(
        Pace(FIRST_RATE, growing=True),
        Slots(None, growing=True, wait_ahead=submit_ahead(8, 5.0, service.seconds)),
    )
    took = simulate(service, 500, gate)
    best = max(500 / rate, 500 / concurrency * service.seconds) + service.seconds
    assert service.refusals <= 0.05 * 500
    assert took <= 1.35 * best


@pytest.mark.parametrize("told", [2, 5, 9])
def test_a_limit_set_too_high_is_found_by_refusals(told: int) -> None:
    """The table says more than this account has: what was accepted is the limit from then on."""
    service = Simulated(10.0, 3, queues=False)
    gate = Gate(Pace(5.0, most=5.0), Slots(told, known=True))
    took = simulate(service, 200, gate)
    assert service.refusals <= 0.05 * 200
    assert took <= 1.2 * (200 / min(told, 3)) * service.seconds


@given(st.floats(0.2, 20), st.integers(1, 40), st.booleans(), st.floats(1, 90))
@settings(max_examples=25, deadline=None)
def test_no_service_brings_it_to_a_stand(
    rate: float, concurrency: int, queues: bool, seconds: float
) -> None:
    """Whatever its quota: all pictures are made in the end, and refusals stay rare. A quota far
    below the first guess costs more of them before it is found: each lowers the rate by half at most.
    """
    service = Simulated(rate, concurrency, queues, seconds)
    gate = Gate(
        Pace(FIRST_RATE, growing=True),
        Slots(None, growing=True, wait_ahead=submit_ahead(8, 5.0, seconds)),
    )
    simulate(service, 120, gate)
    assert len(service.accepted) == 120
    assert service.refusals <= (0.15 if rate >= FIRST_RATE / 2 else 0.25) * 120


@pytest.mark.parametrize("known", [True, False])
def test_seen_states_raise_a_limit_that_is_too_low(known: bool) -> None:
    """Where all that should wait is seen to run, the service runs more than anybody said."""
    slots = Slots(2, ahead=1, known=known, queues=True, wait_ahead=1)
    slots.observed(running=3, queued=0, outstanding=3)
    assert slots.limit == 3
    slots.observed(running=3, queued=0, outstanding=4)
    assert slots.limit == 3


def test_a_slot_is_given_back_once() -> None:
    """Twice is harmless, and nothing is seen of it afterwards."""
    gate = Gate(Pace(), Slots(5))
    gate.take(0.0)
    slot = Slot(gate)
    assert slot.saw(running=False)
    assert not slot.saw(running=False)
    assert slot.saw(running=True)
    assert (gate.running, gate.queued) == (1, 0)
    assert slot.release()
    assert not slot.release()
    assert not slot.saw(running=True)
    assert (gate.outstanding, gate.running, gate.queued) == (0, 0, 0)


def test_a_taught_rate_is_probed_up_to_the_published_one() -> None:
    """After each hold without a refusal five per cent more, never beyond the table."""
    pace = Pace(2.0, most=2.0)
    for _ in range(3):
        pace.take(pace.next_at)
        pace.accepted(pace.next_at)
    pace.take(pace.next_at)
    pace.slow_down(pace.next_at)
    assert pace.taught
    taught = pace.rate
    assert taught is not None
    assert taught < 2.0
    now = pace.next_at
    for _ in range(10_000):
        now = max(now, pace.next_at)
        pace.take(now)
        pace.accepted(now)
    assert pace.rate == 2.0
    for _ in range(100):
        pace.accepted(now)
    assert len(pace._recent) <= 64
