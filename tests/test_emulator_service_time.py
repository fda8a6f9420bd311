"""Service times of the emulators: repeatable, within bounds, and read from the command line."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redloom.emulators.service_time import ServiceTime, draw, parse_service_time
from redloom.errors import BadInput


def test_same_prompt_takes_the_same_time_in_any_order() -> None:
    """A time depends on seed and prompt alone."""
    time = ServiceTime()
    prompts = [f"prompt {number}" for number in range(50)]
    forth = {prompt: time.of(1, prompt) for prompt in prompts}
    back = {prompt: time.of(1, prompt) for prompt in reversed(prompts)}
    assert forth == back
    assert forth != {prompt: time.of(2, prompt) for prompt in prompts}


def test_distribution_is_the_one_asked_for() -> None:
    """Median, spread and bounds are those of the setting."""
    time = ServiceTime(55, 0.4, 30, 120)
    drawn = sorted(time.of(7, str(number)) for number in range(4000))
    assert drawn[0] == 30
    assert drawn[-1] == 120
    assert abs(statistics.median(drawn) - 55) < 1.5
    # A log-normal's 84th percentile is one sigma up: 55 * e^0.4 = 82.
    assert abs(drawn[3364] - 82) < 3


@given(st.integers(), st.lists(st.text() | st.integers(), max_size=4))
def test_draw_lies_in_the_unit_interval_and_repeats(seed: int, parts: list[str | int]) -> None:
    """Any seed and any parts give one number in [0, 1)."""
    assert 0 <= draw(seed, *parts) < 1
    assert draw(seed, *parts) == draw(seed, *parts)


def test_reading_latencies() -> None:
    """Four numbers, or one for a constant, or 0 for at once."""
    assert parse_service_time("55,0.4,30,120") == ServiceTime(55, 0.4, 30, 120)
    assert parse_service_time("8").of(3, "x") == 8
    assert parse_service_time("0").zero
    assert parse_service_time("0").of(3, "x") == 0


@pytest.mark.parametrize(
    "text", ["", "x", "1,2", "60,0.4,70,120", "-1", "nan", "5,0.4,1,inf", "1,99,1,1"]
)
def test_unreadable_latencies_are_bad_input(text: str) -> None:
    """What is no latency is refused in words."""
    with pytest.raises(BadInput):
        parse_service_time(text)
