"""Our client on the clock that jumps: the same figures as in the race, by the service's ledger."""

from __future__ import annotations

import pytest

from redloom.bench.bounds import bounds_of
from redloom.bench.jumped import jump
from redloom.bench.scenarios import scenario

SIZES = {"clean": 20, "mild": 20, "polls": 10, "reject": 20}


@pytest.mark.parametrize("name", sorted(SIZES))
def test_a_run_is_whole_and_close_to_the_bound(name: str) -> None:
    """Everything delivered and nothing bought twice, in about the time that the bound says."""
    one = scenario(name).sized(SIZES[name])
    row = jump(one, 2)
    assert (row.delivered, row.bought, row.bought_twice) == (one.pictures, one.pictures, 0)
    assert row.never_idle_s == bounds_of(one, 2).never_idle_s
    assert row.above_pct < 25
    assert row.makespan_s >= row.clairvoyant_s - 1e-6


def test_what_keeps_a_call_open_cannot_be_jumped_over() -> None:
    """A synchronous call is a socket in use, during which time goes as it does: refused."""
    with pytest.raises(ValueError, match="sync"):
        jump(scenario("sync").sized(2), 1)


@pytest.mark.slow
def test_the_end_game_of_unequal_endpoints_stays_close() -> None:
    """Many more pictures than slots at four endpoints: no slow one is left with a late last one."""
    assert jump(scenario("unequal").sized(200), 41).above_pct <= 12.0
