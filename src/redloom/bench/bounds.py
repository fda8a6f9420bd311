"""The bounds of a scenario, exactly as the emulator will play it.

The emulator draws a task's time and fate from the seed, the prompt and how often it was asked, so
what a perfect client would meet is known beforehand; `bound` turns it into seconds.

May import: bound, emulators, bench.scenarios.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from redloom.bound import Change, Pictures, Place, clairvoyant, never_idle
from redloom.emulators.changes import parse_changes
from redloom.emulators.ledger import prompt_sha
from redloom.emulators.service_time import draw

from .scenarios import Place as Emulation
from .scenarios import Scenario

TRIES = 20
"""More tries than a task ever needs."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What could be reached at best, nominal seconds."""

    never_idle_s: float
    clairvoyant_s: float
    restart_s: float
    """Of one who knows every time: the better of the given order and longest first."""
    places: tuple[Place, ...]


def bounds_of(scenario: Scenario, seed: int) -> Bounds:
    """The bounds of a scenario under a seed."""
    first = scenario.places[0]
    places = [place_of(one, one.median / first.median) for one in scenario.places]
    pictures = tries_of(scenario, seed)
    longest = sorted(pictures, key=sum, reverse=True)
    given = never_idle(pictures, places)
    return Bounds(
        given, clairvoyant(pictures, places), min(given, never_idle(longest, places)), tuple(places)
    )


def place_of(emulation: Emulation, slowness: float = 1.0) -> Place:
    """An emulated endpoint as the bound sees it; ``slowness`` against the first one's times."""
    return Place(
        emulation.concurrency, emulation.rate, int(emulation.burst), slowness,
        tuple(_change(emulation.changes, slowness)),
    )  # fmt: skip


def _change(text: str, slowness: float) -> Sequence[Change]:
    found = []
    for one in parse_changes(text):
        if one.what == "concurrency":
            found.append(Change(one.at_s, slots=int(one.value)))
        elif one.what == "slower":
            found.append(Change(one.at_s, slowness=slowness * one.value))
    return found


def tries_of(scenario: Scenario, seed: int) -> Pictures:
    """Of each prompt the seconds at the first place, failed tries first.

    Those of a client that asks no more often than needed: another ask would be another draw.
    """
    settings = scenario.emulated(scenario.places[0], seed)
    found = []
    for prompt in scenario.prompts(seed):
        whole = settings.takes_s(prompt)
        sha, tries = prompt_sha(prompt), []
        for number in range(1, TRIES):
            if settings.faults.at(seed, "task", number, sha, number) != "failed":
                break
            tries.append(whole * draw(seed, "fails", prompt))
        found.append([*tries, whole])
    return found
