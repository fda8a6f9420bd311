"""How long pictures take: the hazard, the next look, what is learnt and kept."""

from __future__ import annotations

import json
import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redloom.timing import (
    CALM,
    COVERED,
    EAGER,
    LEAST_SIGMA,
    LONGEST_S,
    SHORTEST_S,
    Timing,
    Timings,
)

medians = st.floats(0.01, 5000)
sigmas = st.floats(LEAST_SIGMA, 1.5)
ages = st.floats(0, 1e7)


def survival(timing: Timing, age: float) -> float:
    """The chance that a picture is not ready at ``age``: a log-normal's."""
    return 1.0 - statistics.NormalDist(math.log(timing.median), timing.sigma).cdf(math.log(age))


@given(medians, sigmas, st.floats(-4, 4))
def test_the_hazard_is_the_slope_of_the_log_survival(median: float, sigma: float, z: float) -> None:
    """-d/dt ln S(t), by a central difference, wherever doubles can form one."""
    timing = Timing(median, sigma)
    age = median * math.exp(z * sigma)
    step = age * sigma * 1e-4
    slope = (math.log(survival(timing, age - step)) - math.log(survival(timing, age + step))) / (
        2 * step
    )
    # Where almost nothing is ever ready, 1 - S is below what a difference of logarithms shows.
    assert timing.hazard(age) == pytest.approx(slope, rel=2e-3, abs=1e-8 / (age * sigma))


@given(medians, sigmas)
def test_the_tail_goes_over_into_its_asymptote(median: float, sigma: float) -> None:
    """No jump where the closed form gives way: within a few per cent on both sides."""
    timing = Timing(median, sigma)
    before, after = (timing.hazard(median * math.exp(z * sigma)) for z in (4.999, 5.001))
    assert 0.9 < after / before < 1.1


@given(medians, sigmas, ages, st.floats(1e-3, 10), st.floats(1, 100))
def test_a_dearer_query_is_made_later(
    median: float, sigma: float, age: float, cost: float, times: float
) -> None:
    """The interval never shrinks as its cost grows, and stays within its bounds."""
    timing = Timing(median, sigma)
    cheap, dear = timing.next_poll(age, cost), timing.next_poll(age, cost * times)
    assert 0 < cheap <= dear
    scale = max(median / 60.0, 1e-3)
    assert cheap >= SHORTEST_S * min(1.0, scale)
    assert dear <= max(LONGEST_S * max(1.0, scale), timing.first())
    assert EAGER < CALM < COVERED


@given(
    st.floats(1e-3, 1e15),
    st.floats(LEAST_SIGMA, 3),
    st.one_of(st.floats(1e-9, 1e300), st.floats(max_value=0, allow_infinity=False)),
)
def test_extreme_values_stay_finite(median: float, sigma: float, age: float) -> None:
    """Whatever a clock or a service says, down to what a clock can tell: no overflow, no NaN."""
    timing = Timing(median, sigma, mean=1.0)
    assert 0 <= timing.hazard(age) < math.inf
    assert 0 < timing.next_poll(age) < math.inf


@given(st.lists(st.floats(-1e6, 1e9), min_size=1, max_size=100))
def test_whatever_is_learnt_stays_usable(seconds: list[float]) -> None:
    """Negative times, zero, years: median, spread and mean stay positive and finite."""
    timing = Timing()
    for one in seconds:
        timing.learn(one)
    assert all(0 < value < math.inf for value in (timing.median, timing.mean))
    assert LEAST_SIGMA <= timing.sigma < 10
    assert timing.seen == len(seconds)


@pytest.mark.parametrize(("median", "sigma"), [(60.0, 0.42), (8.0, 0.2), (300.0, 0.8), (0.02, 0.3)])
def test_learning_comes_to_the_truth(median: float, sigma: float) -> None:
    """From the published minute to the service's own time and spread within 200 pictures."""
    rng, timing = random.Random(3), Timing(60.0)
    for _ in range(200):
        timing.learn(rng.lognormvariate(math.log(median), sigma))
    assert timing.median == pytest.approx(median, rel=0.25)
    assert timing.sigma == pytest.approx(sigma, rel=0.5)
    assert timing.mean > median * 0.8


def test_a_service_that_slows_down_is_followed() -> None:
    """Memory fades: a service twice as slow since noon is known as such by the evening."""
    rng, timing = random.Random(5), Timing(60.0)
    for middle in (30.0, 60.0):
        for _ in range(300):
            timing.learn(rng.lognormvariate(math.log(middle), 0.3))
    assert timing.median == pytest.approx(60.0, rel=0.2)


def test_one_look_at_a_stranger_moves_most_of_the_way() -> None:
    """A service a hundred times as fast as its prior is believed at the first picture."""
    timing = Timing(60.0)
    timing.learn(0.5)
    assert timing.median < 1.0


def test_kinds_are_learnt_apart_and_kept() -> None:
    """A size's time is its own; a new size begins as the whole; JSON brings it all back."""
    timings = Timings(60.0)
    assert timings.learnt() == {}
    for _ in range(40):
        timings.learn("1024x1024", 20.0)
        timings.learn("2048x2048", 80.0)
    assert timings.of("1024x1024").median < 25 < 70 < timings.of("2048x2048").median
    assert timings.of("512x512").median == timings.all.median
    fresh = Timings(60.0)
    fresh.recall(json.loads(json.dumps(timings.learnt())))
    assert fresh.learnt() == timings.learnt()
    assert fresh.of("2048x2048") == timings.of("2048x2048")


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        {"all": None},
        {"all": {"median": "x"}},
        {"all": {"median": 5.0}},
        {"kinds": {}},
        {"all": 3},
    ],
)
def test_what_cannot_be_read_is_left_out(damaged: dict[str, object]) -> None:
    """A journal of another release, or a damaged one, leaves a usable timing."""
    timings = Timings(60.0)
    timings.recall(damaged)
    assert 0 < timings.all.median < math.inf
    assert 0 < timings.all.next_poll(10.0) < math.inf
