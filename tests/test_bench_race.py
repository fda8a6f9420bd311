"""The race itself, small: real processes, the service's ledger, the table, the picture."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from redloom.bench import drawing, race, report_table, table
from redloom.bench.bounds import bounds_of
from redloom.bench.measure import Row, middle
from redloom.bench.scenarios import TABLE, scenario

SMALL = replace(scenario("clean"), pictures=6)


def row(client: str, makespan_s: float = 110.0, **more: object) -> Row:
    """A row as a race would give it."""
    given: dict[str, object] = {
        "scenario": "clean", "client": client, "seed": 1, "wanted": 6, "delivered": 6, "bought": 6,
        "bought_twice": 0, "makespan_s": makespan_s, "never_idle_s": 100.0, "clairvoyant_s": 90.0,
        "restart_s": 95.0, "asked": 7.0, "lists": 1.0, "refused": 0.0, "delay_s": 1.0,
        "drain_delay_s": 1.5, "cpu_ms": 20.0, "peak_mb": 50.0,
    }  # fmt: skip
    return Row(**{**given, **more})  # type: ignore[arg-type]


@pytest.mark.slow
def test_ours_and_the_reports_way_race_in_processes_of_their_own() -> None:
    """Both deliver everything, buy nothing twice, and are measured by the service's ledger."""
    plan = race.Plan([SMALL], ("report-3", "ours", "serial"), side_by_side=3)
    serial, report, ours = asyncio.run(race.run(plan))
    assert serial.computed
    assert [one.client for one in (serial, report, ours)] == ["serial", "report-3", "ours"]
    for one in (report, ours):
        assert (one.problem, one.delivered, one.bought, one.bought_twice) == ("", 6, 6, 0)
        assert one.makespan_s >= one.clairvoyant_s
        assert one.peak_mb is not None
        assert one.peak_mb > 10
    assert ours.makespan_s < report.makespan_s < serial.makespan_s
    assert abs(sum(ours.losses.values()) - (ours.makespan_s - ours.never_idle_s)) < 1e-6


def test_a_client_that_fails_is_a_row_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client which cannot even start is said to have had a problem."""
    one = replace(SMALL, pictures=1)
    found = asyncio.run(race.race(one, "nobody", 1, bounds_of(one, 1)))
    assert "nobody" in found.problem
    assert not found.whole


def test_serial_is_worked_out() -> None:
    """One by one: each picture's time rounded up to the next poll of five seconds."""
    found = race.serial(SMALL, 1, bounds_of(SMALL, 1))
    assert found.makespan_s % 5 == 0
    assert found.makespan_s > 5 * found.never_idle_s / 2
    assert found.delay_s is not None
    assert 0 < found.delay_s < 5


def test_the_middle_is_the_median_and_the_worst_of_what_must_be_none() -> None:
    """Median by distance; a second purchase in one race is not outvoted; a failed race is last."""
    rows = [row("ours", 101.0), row("ours", 103.0, bought_twice=1), row("ours", 102.0, asked=9.0)]
    chosen = middle(rows)
    assert (chosen.makespan_s, chosen.bought_twice, chosen.asked) == (102.0, 1, 7.0)
    broken = [row("ours", 50.0, delivered=1), row("ours", 102.0), row("ours", 103.0)]
    assert middle(broken).makespan_s == 103.0


def test_targets_are_judged() -> None:
    """10 % above is no 1 %; nothing bought twice is met; an incomplete run meets nothing."""
    assert [met for met, _ in table.verdicts(SMALL, [row("ours")])] == [False, True]
    assert [met for met, _ in table.verdicts(SMALL, [row("ours", 100.5)])] == [True, True]
    partly = row("ours", 50.0, delivered=5)
    assert [met for met, _ in table.verdicts(SMALL, [partly])] == [False, False]


def test_the_table_is_aligned_and_says_what_was_not_delivered() -> None:
    """As text and as Markdown, every row has every column."""
    rows = [row("report-3", 170.0), row("sdk", 99.0, delivered=3), row("ours", 100.5)]
    lines = table.lines(SMALL, rows)
    assert len({table._width(line) for line in lines[1:5]}) == 1
    assert "+70.0 %" in lines[2]
    assert "3/6" in lines[3]
    marked = table.markdown(SMALL, rows)
    assert {line.count("|") for line in marked} == {len(table.COLUMNS) + 1}
    assert "**+0.5 %**" in marked[-1]


@pytest.mark.parametrize(
    ("value", "said"), [(-0.04, "+0.0 %"), (0.46, "+0.5 %"), (-1.0, "−1.0 %"), (409.2, "+409 %")]
)
def test_percentages_have_a_sign_that_means_something(value: float, said: str) -> None:
    """Nothing is not negative."""
    assert table.percent(value) == said


def test_the_picture_is_an_svg_that_says_it_all() -> None:
    """Well-formed, a bar for each client, and no bar for one that did not deliver."""
    rows = [row("serial", 500.0), row("report-3", 170.0), row("sdk", 99.0, delivered=3), row("ours", 100.5)]  # fmt: skip
    text = drawing.svg([SMALL], rows, "a note & more")
    tree = ElementTree.fromstring(text)
    said = "".join(tree.itertext())
    assert "a note & more" in said
    assert "+400 %" in said
    assert "+0.5 %" in said
    assert "−1.0 %" not in said


def test_the_reports_table_has_a_line_for_each_number_of_pictures() -> None:
    """Minutes and seconds, and the saving against one by one."""
    rows = [
        row(client, seconds * n / 3, wanted=n, delivered=n)
        for n in (3, 5)
        for client, seconds in (("serial", 180.0), ("report-3", 60.0))
    ]
    lines = report_table.markdown(rows)
    assert lines[2] == "| 3 | 3:00 | 1:00 (−67 %) |"
    assert lines[3].startswith("| 5 | 5:00 |")
    assert TABLE.clients[0] == "serial"


def test_results_are_kept(tmp_path: Path) -> None:
    """The JSON file has the rows with their percentages, and where they were measured."""
    race.keep(tmp_path / "deep" / "bench.json", [row("ours", 100.5)], {"cores": 2})
    kept = json.loads((tmp_path / "deep" / "bench.json").read_text("utf-8"))
    assert kept["cores"] == 2
    assert kept["rows"][0]["above_pct"] == pytest.approx(0.5)
