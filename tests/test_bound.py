"""The bounds: known cases, and what must hold whatever the pictures are."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redloom.bound import (
    Change,
    Live,
    Place,
    above,
    clairvoyant,
    never_idle,
    percent,
    releases,
    schedule,
    simple,
)

seconds = st.floats(0.5, 500.0, allow_nan=False)
pictures = st.lists(st.lists(seconds, min_size=1, max_size=3), min_size=1, max_size=25)
places = st.builds(
    Place,
    slots=st.integers(1, 7),
    per_second=st.none() | st.floats(0.03, 5.0),
    burst=st.integers(1, 3),
    slowness=st.floats(0.3, 4.0),
)
NEAR = 1e-9


def no_more(small: float, large: float) -> bool:
    """Whether ``small <= large`` but for rounding."""
    return small <= large * (1 + NEAR) + NEAR


def test_no_pictures_take_no_time() -> None:
    """An empty run is bounded by nothing."""
    assert never_idle([], Place(2)) == simple([], Place(2)) == clairvoyant([], Place(2)) == 0.0
    assert never_idle([()], Place(2)) == clairvoyant([()], Place(2)) == 0.0


def test_one_slot_does_one_after_the_other() -> None:
    """On one slot every bound is the sum."""
    some = [(3.0,), (1.0,), (2.0, 4.0)]
    assert never_idle(some, Place(1)) == simple(some, Place(1)) == clairvoyant(some, Place(1)) == 10


def test_the_given_order_is_kept() -> None:
    """Two slots, 1 1 2: the long one last takes 3, and foresight takes 2."""
    some = [(1.0,), (1.0,), (2.0,)]
    assert never_idle(some, Place(2)) == 3.0
    assert clairvoyant(some, Place(2)) == 2.0
    assert never_idle(some[::-1], Place(2)) == 2.0


def test_the_rate_limit_counts() -> None:
    """Without a limit on slots, the tenth picture cannot leave before 9 / r."""
    some = [(60.0,)] * 10
    assert never_idle(some, Place(None, 0.5)) == pytest.approx(60 + 9 / 0.5)
    assert simple(some, Place(None, 0.5)) == pytest.approx(60 + 9 / 0.5)
    assert simple(some, Place(None, 0.5, burst=4)) == pytest.approx(60 + 6 / 0.5)
    assert releases(Place(None, 2.0, burst=2), 4) == [0.0, 0.0, 0.5, 1.0]


def test_a_saved_up_burst_is_not_saved_twice() -> None:
    """After a rest as many as the burst leave at once, and then one at a time."""
    turns = list(schedule([(10.0,), (10.0,), (1.0,), (1.0,), (1.0,)], Place(2, 1.0, burst=2)))
    assert [turn.start for turn in turns] == [0.0, 0.0, 10.0, 10.0, 11.0]


def test_a_repeat_goes_before_what_was_not_begun() -> None:
    """The slot that a failed try leaves is its repeat's."""
    turns = list(schedule([(1.0, 5.0), (3.0,), (4.0,)], Place(2)))
    assert [(turn.picture, turn.attempt, turn.start) for turn in turns] == [
        (0, 0, 0.0), (1, 0, 0.0), (0, 1, 1.0), (2, 0, 3.0),
    ]  # fmt: skip


def test_a_change_holds_for_what_begins_after_it() -> None:
    """A place that slows fourfold at 5: what runs goes on, what begins takes four times as long."""
    slow = Place(1, changes=(Change(5.0, slowness=4.0),))
    assert never_idle([(10.0,), (10.0,)], slow) == 50.0
    cut = Place(2, changes=(Change(5.0, slots=1),))
    assert never_idle([(10.0,), (10.0,), (10.0,), (10.0,)], cut) == 30.0
    grown = Place(1, changes=(Change(5.0, slots=2),))
    assert never_idle([(10.0,), (10.0,), (10.0,)], grown) == 20.0
    assert no_more(clairvoyant([(10.0,), (10.0,)], slow), 50.0)


def test_unequal_places_share() -> None:
    """A picture goes where it is finished first, not where a slot happens to be free."""
    fast, slow = Place(1), Place(1, slowness=10.0)
    assert never_idle([(1.0,)] * 4, [fast, slow]) == 4.0
    assert never_idle([(1.0,)] * 20, [fast, slow]) < 20.0


@pytest.mark.parametrize(
    "wrong", [Place(0), Place(1, 0.0), Place(1, burst=0), Place(1, slowness=0.0)]
)
def test_a_place_that_makes_nothing_is_an_error(wrong: Place) -> None:
    """No slot, no rate, no speed: said at once, never an endless wait."""
    with pytest.raises(ValueError, match="a "):
        never_idle([(1.0,)], wrong)
    with pytest.raises(ValueError, match="no place"):
        never_idle([(1.0,)], [])


@given(pictures, places)
def test_the_bounds_stand_in_their_order(some: list[list[float]], place: Place) -> None:
    """Foresight is no slower than order; formula (1) looks at less; none is under the work."""
    idle, seen = never_idle(some, place), clairvoyant(some, place)
    assert no_more(seen, idle)
    assert no_more(simple(some, place), idle)
    work = [sum(tries) * place.slowness for tries in some]
    assert no_more(max(work), seen)
    assert no_more(sum(work) / (place.slots or 1), seen)


@given(pictures, st.integers(1, 7))
def test_grahams_bound_holds(some: list[list[float]], slots: int) -> None:
    """Never idle is at most ``sum / c + (1 - 1 / c) max`` (Graham 1966), repeats as chains."""
    work = [sum(tries) for tries in some]
    graham = sum(work) / slots + (1 - 1 / slots) * max(work)
    assert no_more(never_idle(some, Place(slots)), graham)


@settings(max_examples=60)
@given(st.lists(seconds, min_size=1, max_size=6), places)
def test_no_order_beats_the_clairvoyant_bound(some: list[float], place: Place) -> None:
    """Tried with every order of a few pictures."""
    best = min(never_idle([(s,) for s in order], place) for order in itertools.permutations(some))
    assert no_more(clairvoyant([(s,) for s in some], place), best)


@given(pictures, st.lists(places, min_size=2, max_size=4))
def test_several_places_keep_the_order_of_bounds(
    some: list[list[float]], several: list[Place]
) -> None:
    """Also over unequal places foresight is never slower."""
    assert no_more(clairvoyant(some, several), never_idle(some, several))


@given(
    pictures,
    st.integers(1, 5),
    st.floats(0.0, 300.0),
    st.integers(1, 5),
    st.floats(0.3, 4.0),
)
def test_changes_keep_the_order_of_bounds(
    some: list[list[float]], slots: int, at: float, then: int, slowness: float
) -> None:
    """A limit that changes, a place that slows or quickens in the middle."""
    place = Place(slots, changes=(Change(at, then, slowness),))
    assert no_more(clairvoyant(some, place), never_idle(some, place))


@given(pictures, places)
def test_the_schedule_keeps_the_limits(some: list[list[float]], place: Place) -> None:
    """Never more at once than slots, never faster than the rate, each try once and in order."""
    turns = sorted(schedule(some, place), key=lambda turn: turn.start)
    assert len(turns) == sum(map(len, some))
    for turn in turns:
        running = sum(o.start <= turn.start < o.end - NEAR for o in turns)
        assert running <= (place.slots or len(turns))
    if place.per_second:
        for early, late in zip(turns, turns[place.burst :], strict=False):
            assert no_more(1 / place.per_second, late.start - early.start + 1e-6)
    ends = {(turn.picture, turn.attempt): turn.end for turn in turns}
    assert all(t.attempt == 0 or t.start >= ends[t.picture, t.attempt - 1] for t in turns)


@given(st.lists(seconds, min_size=1, max_size=30), st.integers(1, 5))
def test_the_live_bound_ends_where_the_bound_is(some: list[float], slots: int) -> None:
    """Told all working times in order, it says what `never_idle` says; running ones count too."""
    whole, half = Live([Place(slots)]), Live([Place(slots)])
    for one in some:
        whole.ended(one)
    for one in some[: len(some) // 2]:
        half.ended(one)
    bound = never_idle([(s,) for s in some], Place(slots))
    assert whole.bound() == pytest.approx(bound)
    assert half.bound(some[len(some) // 2 :]) == pytest.approx(bound)
    assert half.done == len(some) // 2


def test_a_hundred_thousand_pictures_are_quick() -> None:
    """Large runs are bounded in a moment: the work grows with N log c."""
    rng = random.Random(4)
    some = [(rng.lognormvariate(4.0, 0.4),) for _ in range(20_000)]
    bound = never_idle(some, Place(131, 2.0))
    assert no_more(simple(some, Place(131, 2.0)), bound)
    assert above(bound, simple(some, Place(131, 2.0))) < 3.0


def test_percents() -> None:
    """110 s against 100 s is 10 % above, and 90.9 % of the bound."""
    assert above(110.0, 100.0) == pytest.approx(10.0)
    assert above(5.0, 0.0) == 0.0
    assert percent(110.0, 100.0) == pytest.approx(90.909, abs=1e-3)
    assert percent(0.0, 0.0) == 100.0


@given(st.lists(st.floats(0.1, 90), min_size=2, max_size=40), st.integers(1, 5))
def test_the_long_ones_that_share_a_slot(work: list[float], slots: int) -> None:
    """Of the ``k c + 1`` longest some slot has ``k + 1``: the least of these sums, by hand."""
    ranked = sorted(work, reverse=True)
    shared = [sum(ranked[k * slots - k : k * slots + 1]) for k in range(1, (len(work) - 1) // slots + 1)]  # fmt: skip
    found = clairvoyant([[seconds] for seconds in work], Place(slots))
    assert found == pytest.approx(max([ranked[0], sum(work) / slots, *shared]))
