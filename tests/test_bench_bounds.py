"""The race's bounds: what the emulator plays is what they were worked out from."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from redloom.bench.bounds import bounds_of, place_of, tries_of
from redloom.bench.scenarios import SCENARIOS, Place, Scenario, scenario
from redloom.bound import Change
from redloom.emulators.dashscope_models import Wanted
from redloom.emulators.dashscope_service import Service
from redloom.testing import JumpingClock


@pytest.mark.parametrize("wanted", SCENARIOS, ids=lambda one: str(one.name))
def test_nobody_is_faster_than_the_clairvoyant(wanted: Scenario) -> None:
    """Clairvoyant <= restart <= never idle, for each scenario."""
    bounds = bounds_of(wanted.sized(40), 1)
    assert 0 < bounds.clairvoyant_s <= bounds.restart_s + 1e-6
    assert bounds.restart_s <= bounds.never_idle_s


def test_the_emulator_plays_the_times_that_the_bound_was_made_of() -> None:
    """Each prompt asked for until it is made: the service's own durations, failed tries included."""
    wanted = replace(scenario("mild").sized(60), stragglers=0.05)

    async def play() -> list[list[float]]:
        service = Service(wanted.emulated(wanted.places[0], 3), JumpingClock())
        played = []
        for prompt in wanted.prompts(3):
            tries: list[float] = []
            fate = "failed"
            while fate == "failed":
                sha = service_sha(prompt)
                service.asked[sha] += 1
                task = service.accept(
                    "bench", wanted.model, "image", Wanted(prompt, (64, 64)), prompt, 1
                )
                tries.append(task.takes_s)
                fate = task.fate
            played.append(tries)
        return played

    played = asyncio.run(play())
    assert played == [list(one) for one in tries_of(wanted, 3)]
    assert any(len(one) > 1 for one in played)
    assert max(one[-1] for one in played) > 240


def service_sha(prompt: str) -> str:
    """How the service knows a prompt."""
    from redloom.emulators.ledger import prompt_sha

    return prompt_sha(prompt)


def test_a_place_takes_its_changes_over() -> None:
    """A slow-down multiplies the place's own slowness; a lower limit keeps it."""
    place = place_of(Place(changes="60:slower=4,90:concurrency=2"), 0.5)
    assert place.changes == (Change(60, slowness=2.0), Change(90, slots=2))
    assert (place.slots, place.per_second, place.burst) == (5, 5.0, 5)
