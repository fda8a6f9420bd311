"""The race on a service that keeps no ledger for us, tried on one that does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from redloom.bench import race
from redloom.bench.clients.talk import moment
from redloom.bench.real import Service, bounds_of
from redloom.bench.real import race as real_race
from redloom.bench.scenarios import KEY, Place, scenario

PLACE = Place(concurrency=2, rate=5.0, burst=5.0)


def test_bounds_come_from_the_services_own_times() -> None:
    """A failed try counts, a second purchase does not, and a task without times counts nothing."""
    bought: list[dict[str, Any]] = [
        {"prompt": "a", "started": 10.0, "ended": 14.0, "billed": 0},
        {"prompt": "a", "started": 14.0, "ended": 24.0, "billed": 1},
        {"prompt": "a", "started": 24.0, "ended": 34.0, "billed": 1},
        {"prompt": "b", "started": None, "ended": None, "billed": 1},
    ]
    found = bounds_of(PLACE, ["a", "b"], bought)
    assert found.never_idle_s == found.clairvoyant_s == 14.0


def test_times_are_beijings() -> None:
    """With and without milliseconds; nothing where there is nothing."""
    assert moment("2026-11-01 08:00:00") == moment("2026-11-01 08:00:00.000") == 1793491200.0
    assert moment(None) is moment("") is None


@pytest.mark.slow
@pytest.mark.parametrize("client", ["ours", "report-3"])
def test_a_client_tells_what_the_ledger_says(client: str) -> None:
    """Told by the client, the bound and the purchases are those of the service's own ledger."""
    wanted = replace(scenario("table"), name="polls", pictures=4)

    async def both() -> None:
        environment = race.environment_of(wanted.speed)
        told = {"scenario": "polls", "seed": 1}
        async with race.child("host", told, environment) as host:
            url = (await race.line_of(host, 60.0))["urls"][0]
            start = float(environment["REDLOOM_CLOCK_START"])
            service = Service(url, KEY, wanted.model, PLACE, wanted.speed, start)
            row = await real_race(service, client, 4, 1)
            ledger = await asyncio.to_thread(race._ledger, url)
        assert (row.delivered, row.bought, row.bought_twice) == (4, 4, 0)
        works = [one["ended"] - one["started"] for one in ledger["purchases"]]
        assert row.never_idle_s >= max(works)
        assert row.makespan_s >= row.clairvoyant_s
        bound = bounds_of(
            PLACE, [one["prompt"] for one in ledger["purchases"]], ledger["purchases"]
        )
        assert row.never_idle_s == pytest.approx(bound.never_idle_s, rel=0.02)

    asyncio.run(both())
