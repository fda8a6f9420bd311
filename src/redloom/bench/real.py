"""The race on a real service: its own times in the place of the emulator's ledger.

Each client runs in a process of its own, one after the other, at the ordinary speed of time. The
bound is worked out from the working times that the service itself told of this client's tasks.

May import: bound, bench.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from redloom.bound import clairvoyant, never_idle

from .bounds import Bounds, place_of
from .measure import Row, row_of
from .race import child, environment_of, line_of
from .scenarios import KEY_VARIABLE, REAL, Place, Scenario

PATIENCE_S = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class Service:
    """What is raced on. ``key`` is handed on in the environment alone."""

    base_url: str
    key: str
    model: str
    place: Place
    speed: float = 1.0
    """Other than 1 only for an emulator on this machine."""
    start: float = 0.0


def scenario_of(service: Service, pictures: int) -> Scenario:
    """The scenario with the service's own model and limits."""
    return replace(
        REAL.sized(pictures), model=service.model, places=(service.place,), speed=service.speed
    )


async def race(service: Service, client: str, pictures: int, seed: int) -> Row:
    """One client's race. It buys ``pictures`` pictures, or more where it retries from the submit."""
    scenario = scenario_of(service, pictures)
    environment = {**environment_of(service.speed), KEY_VARIABLE: service.key}
    if service.start:
        environment["REDLOOM_CLOCK_START"] = repr(service.start)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="redloom-real-") as folder:
        told = {
            "scenario": REAL.name, "client": client, "seed": seed, "pictures": pictures,
            "folder": folder, "urls": [service.base_url], "model": service.model,
            "place": asdict(service.place),
        }  # fmt: skip
        async with child("runner", told, environment) as runner:
            ran = await line_of(runner, PATIENCE_S)
    bounds = bounds_of(service.place, scenario.prompts(seed), ran["purchases"])
    row = row_of(scenario, client, seed, bounds, ran, [ran])
    return replace(row, real_s=time.monotonic() - began, speed=service.speed)


def bounds_of(place: Place, prompts: Sequence[str], bought: Sequence[Mapping[str, Any]]) -> Bounds:
    """The bounds from what the service said each try took; a second purchase is no forced one."""
    pictures = [_tries([one for one in bought if one["prompt"] == prompt]) for prompt in prompts]
    given = place_of(place)
    found = never_idle(pictures, given)
    return Bounds(found, clairvoyant(pictures, given), found, (given,))


def _tries(bought: Sequence[Mapping[str, Any]]) -> Sequence[float]:
    """The tries up to the first that was billed, where their times are known."""
    tries: list[float] = []
    for one in bought:
        if one["started"] is not None and one["ended"] is not None:
            tries.append(max(0.0, one["ended"] - one["started"]))
        if one["billed"]:
            break
    return tries
