"""The queue at the command line: what is there, and its controls."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.terminal import Service, manifest, prompts, run


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service that refuses every second picture at first sight; it ends with the test."""
    made = Service(tmp_path, str(int(time.time()))).begin("--faults", "@2:submit=refused")
    yield made
    made.end()


def records(said: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in said.splitlines()]


def test_an_empty_queue(service: Service) -> None:
    """Nothing there is no error; an unknown run is exit 2."""
    assert run(service, "runs").returncode == 0
    assert run(service, "show", "nothing").returncode == 2
    assert run(service, "retry", "nothing").returncode == 2


def test_a_refused_row_is_shown_and_taken_again(service: Service) -> None:
    """The run ends in 1 and names the command; `retry` redoes just that row, by id or folder."""
    prompts(service.folder, 3)
    first = run(service, "batch", "p.txt", "--out", "X")
    assert first.returncode == 1, first.stderr
    assert "redloom retry" in first.stderr
    listed = records(run(service, "runs", "--json").stdout)
    assert listed[0]["counts"] == {"ok": 2, "refused": 1}
    shown = run(service, "show", "X", "--json")
    assert shown.returncode == 1
    rows = [one for one in records(shown.stdout) if one["event"] == "row"]
    assert [row["row"] for row in rows] == [1, 2, 3]
    again = run(service, "retry", str(listed[0]["run"]))
    assert again.returncode == 0, again.stderr
    assert {row["status"] for row in manifest(service.folder / "X")} == {"ok"}
    assert service.bought() == 3


def test_many_rows_are_shown_a_page_at_a_time(service: Service) -> None:
    """For a person so many and how to go on; a program gets all, or what it asked for."""
    prompts(service.folder, 5)
    assert run(service, "batch", "p.txt", "--out", "X", "-n", "2").returncode == 1
    first = run(service, "show", "X", "--limit", "3", "--lang", "en")
    listed = [line.split()[0] for line in first.stdout.splitlines()[2:]]
    assert listed == ["1", "1_2", "2", "2_2"]  # a row's takes are not torn apart
    assert "redloom show X --after 2" in first.stderr
    rest = run(service, "show", "X", "--limit", "0", "--after", "2", "--lang", "en")
    assert [line.split()[0] for line in rest.stdout.splitlines()[2:]] == ["3", "3_2", "4", "4_2", "5", "5_2"]  # fmt: skip
    assert "more rows" not in rest.stderr
    whole = records(run(service, "show", "X", "--json").stdout)
    assert [one["row"] for one in whole if one["event"] == "row"] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    refused = records(run(service, "show", "X", "--json", "--status", "refused").stdout)
    assert [(one["row"], one["take"]) for one in refused if one["event"] == "row"] == [(1, 2)]


def test_cancel_then_resume(service: Service) -> None:
    """A finished run cannot be paused; a run cut by its budget is cancelled, then resumed."""
    prompts(service.folder, 3)
    assert run(service, "batch", "p.txt", "--out", "X").returncode == 1
    assert run(service, "pause", "X").returncode == 2
    short = run(service, "batch", "p.txt", "--out", "Y", "--take", "2", "--budget", "0.2")
    assert short.returncode == 3, short.stderr
    assert run(service, "resume", "Y").returncode == 3
    assert service.bought() == 3


def test_the_cache_is_shown_and_pruned(service: Service) -> None:
    """What is older than the asked age goes from the store; delivered files stay."""
    prompts(service.folder, 1)
    assert run(service, "batch", "p.txt", "--out", "X").returncode == 0
    before = records(run(service, "cache", "--json").stdout)[-1]
    assert before["files"] == 1
    assert run(service, "cache", "prune", "--older-than", "0").returncode == 2
    done = run(service, "cache", "prune", "--older-than", "0", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    assert list((service.folder / "X").glob("*.png"))
