"""`redloom bench` and `redloom probe` as a person meets them: options, wrong input, the price."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from redloom.bench.scenarios import PROOF, SCENARIOS
from redloom.cli import cli


def test_the_list_names_every_scene() -> None:
    """For people and as JSON Lines."""
    told = CliRunner().invoke(cli, ["bench", "--list"])
    assert told.exit_code == 0
    assert all(one.name in told.stdout for one in SCENARIOS)
    lines = CliRunner().invoke(cli, ["bench", "--list", "--json"]).stdout.splitlines()
    assert [json.loads(line)["scenario"] for line in lines] == [one.name for one in SCENARIOS]


@pytest.mark.parametrize(
    "words",
    [
        ["--scenario", "nothing"],
        ["--client", "nobody"],
        ["--speed", "100"],
        ["--part", "x"],
        ["--seeds", "x"],
        ["--seeds", "9-2"],
        ["--seeds", "1-99999"],
        ["--seeds", "-3"],
        ["--seeds", "1", "--scenario", "sync"],
    ],
)
def test_wrong_input_is_said_and_nothing_runs(words: list[str]) -> None:
    """Exit 2, without a traceback."""
    told = CliRunner().invoke(cli, ["--lang", "en", "bench", *words])
    assert told.exit_code == 2
    assert "Traceback" not in told.output


@pytest.mark.slow
def test_one_race_leaves_table_json_and_picture(tmp_path: Path) -> None:
    """A race of four pictures by one client, kept and shown."""
    words = ["--lang", "en", "bench", "--scenario", "clean", "--client", "ours"]
    told = CliRunner().invoke(
        cli, [*words, "--pictures", "4", "--repeat", "1", "--out", str(tmp_path)]
    )
    assert "above never-idle" in told.stdout
    assert "4/4" in told.stdout
    kept = json.loads((tmp_path / "bench.json").read_text("utf-8"))
    assert kept["rows"][0]["delivered"] == 4
    assert (tmp_path / "bench.svg").read_text("utf-8").startswith("<svg")


@pytest.mark.slow
def test_seeds_are_run_shown_and_kept(tmp_path: Path) -> None:
    """Two seeds of one scene: a line for its figure, and the rows as JSON."""
    words = ["--lang", "en", "bench", "--seeds", "11-12", "--scenario", "reject"]
    told = CliRunner().invoke(cli, [*words, "--pictures", "6", "--out", str(tmp_path)])
    assert "| reject | % above never-idle |" in told.stdout
    kept = json.loads((tmp_path / "seeds.json").read_text("utf-8"))
    assert [one["seed"] for one in kept["rows"]] == [11, 12]
    assert {one["delivered"] for one in kept["rows"]} == {6}


def test_the_proof_has_every_target_of_the_issue() -> None:
    """Each scene with a target that the proof runs keeps ours in it, and the report's way beside."""
    names = {one.name for one in SCENARIOS}
    assert set(PROOF) <= names
    assert all("ours" in clients for clients, _ in PROOF.values())
    assert all("report-cap" in PROOF[name][0] for name in ("clean", "mild"))
    must = {"clean", "mild", "unequal", "slows", "reject", "unknown", "sync", "polls"}
    assert must <= set(PROOF)


def test_the_probe_asks_before_it_spends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody there to answer: exit 2 with the price, and no request was made."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-x")
    monkeypatch.setenv("DASHSCOPE_BASE_URL", "http://127.0.0.1:9/api/v1")
    told = CliRunner().invoke(cli, ["--lang", "en", "probe"])
    assert told.exit_code == 2
    assert "1.60 CNY at most" in told.output
    assert "Nothing was spent" in told.output


def test_the_probe_needs_a_key_and_a_service_with_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key, and for a model without tasks: exit 2."""
    assert CliRunner().invoke(cli, ["--lang", "en", "probe"]).exit_code == 2
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-x")
    told = CliRunner().invoke(cli, ["--lang", "en", "probe", "--endpoint", "dashscope:qwen-image-2.0"])  # fmt: skip
    assert told.exit_code == 2
    assert "synchronous lane" in told.output


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "4.00 CNY, or 8.00 CNY at worst"),
        (["--client", "ours", "--pictures", "5"], "1.00 CNY, or 1.00 CNY at worst"),
        (["--client", "serial"], "Nothing was spent"),
        (["--endpoint", "dashscope:qwen-image-2.0"], "Nothing was spent"),
    ],
)
def test_the_real_race_tells_its_price_first(
    more: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody there to answer: exit 2; the usual ways are priced with what they buy again."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-x")
    monkeypatch.setenv("DASHSCOPE_BASE_URL", "http://127.0.0.1:9/api/v1")
    told = CliRunner().invoke(cli, ["--lang", "en", "bench", "--real", *more])
    assert told.exit_code == 2
    assert said in told.output
