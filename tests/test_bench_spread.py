"""How figures fall over seeds: percentiles, targets, and what must never be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from redloom.bench.measure import Row
from redloom.bench.scenarios import scenario
from redloom.bench.spread import faults, markdown, spreads

REJECT = scenario("reject")


def row(seed: int, above: float) -> Row:
    return Row(
        scenario="reject", client="ours", seed=seed, wanted=10, delivered=10, bought=10,
        bought_twice=0, makespan_s=100.0 + above, never_idle_s=100.0, clairvoyant_s=95.0,
        restart_s=98.0, asked=7.0, lists=0.0, refused=0.0,
    )  # fmt: skip


ROWS = [row(seed, above) for seed, above in enumerate([1.0, 2.0, 3.0, 3.5, 9.0], 1)]


def test_the_median_and_the_tails() -> None:
    """Nearest rank; those that meet the target are counted."""
    (one,) = spreads(REJECT, ROWS)
    assert [round(value, 6) for value in (one.median, one.at(0.1), one.at(0.9), one.at(1.0))] == [
        3.0, 1.0, 3.5, 9.0,
    ]  # fmt: skip
    assert one.within == 4


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("slows", ["above_pct", "above_restart_pct"]),
        ("polls", ["above_pct", "asked", "drain_delay_s"]),
    ],
)
def test_every_target_of_a_scene_has_a_line(name: str, figures: list[str]) -> None:
    """The distance to the bound always, then what the scene is about."""
    rows = [replace(one, scenario=name) for one in ROWS]
    assert [one.figure for one in spreads(scenario(name), rows)] == figures


def test_what_must_not_be_is_named() -> None:
    """A picture missing or bought twice is said with its seed, however good the median is."""
    assert faults(ROWS) == []
    bad = [*ROWS, replace(ROWS[0], seed=6, bought_twice=1), replace(ROWS[0], seed=7, delivered=9)]
    assert [line.split(":")[0] for line in faults(bad)] == ["reject 6", "reject 7"]


def test_the_table_says_how_many_seeds_are_within() -> None:
    """One line a figure, with its target."""
    lines = markdown([REJECT], ROWS)
    assert len(lines) == 3
    assert "4/5" in lines[2]
    assert "≤ 4" in lines[2]
