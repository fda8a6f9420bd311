"""`--fallback` of the commands: names in order, prices, and a batch that goes down its chain."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from helpers.beside import beside
from redloom.cli import cli
from redloom.cli.chain import Spare, chain_of, chain_text, dearest_spare
from redloom.emulators import ark, dashscope
from redloom.endpoint import FREE, Price

NAMES = st.sampled_from(["a", "b", "c:d", "cards"])


def run(*words: str) -> Result:
    """Call the command in this process."""
    return CliRunner().invoke(cli, list(words))


@given(st.lists(st.lists(NAMES, max_size=4)), st.sets(NAMES, max_size=2))
def test_names_keep_their_order(given_words: list[list[str]], own: set[str]) -> None:
    """With commas or one by one it is the same; each once, none that is asked first anyway."""
    flat = [name for words in given_words for name in words]
    found = chain_of([" , ".join(words) for words in given_words], own)
    assert found == chain_of(flat, own)
    assert found == [name for name in dict.fromkeys(flat) if name not in own]


def test_the_chain_in_words() -> None:
    """Who, at what price, in which order; the dearest is what has to be reckoned with."""
    spares = [
        Spare("a", Price(0.2, "CNY", "estimated", "2026-11-01"), False),
        Spare("b", Price(None, "", "unknown"), False),
        Spare("cards", FREE, True),
    ]
    said = chain_text(spares).en
    assert "a (0.2 CNY each), then b (price unknown), then cards (free)" in said
    assert dearest_spare(spares) == 0.2
    assert dearest_spare([]) == 0.0


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A DashScope that refuses every prompt, and an Ark that makes them."""
    path = tmp_path / "p.txt"
    path.write_text("".join(f"第 {number} 张红围巾\n" for number in range(4)), "utf-8")
    refused = dashscope.parse_faults("submit_refused=1")
    with (
        beside(dashscope, tmp_path / "wan.jsonl", faults=refused) as wan,
        beside(ark, tmp_path / "ark.jsonl") as doubao,
    ):
        for name, service in (("DASHSCOPE", wan), ("ARK", doubao)):
            monkeypatch.setenv(f"{name}_BASE_URL", service.url)
            monkeypatch.setenv(f"{name}_API_KEY", "sk-emulated")
        yield SimpleNamespace(path=path, out=tmp_path / "X", wan=wan, ark=doubao)


def test_a_batch_goes_down_its_chain(desk: SimpleNamespace) -> None:
    """Refused by the first, made by the second, marked; the same again costs nothing."""
    words = ("batch", str(desk.path), "--out", str(desk.out), "--endpoint", "dashscope", "--yes")
    chain = ("--fallback", "ark", "--fallback", "cards")
    done = run(*words, *chain)
    assert done.exit_code == 0, done.output
    lines = [json.loads(text) for text in (desk.out / "manifest.jsonl").read_text().splitlines()]
    assert {(line["status"], line["endpoint"]) for line in lines} == {("ok", "ark")}
    assert all("fallback" in line["flags"].split() for line in lines)
    assert "ark (" in done.stderr
    assert "then cards (free)" in done.stderr
    assert run(*words, "--fallback", "ark,cards").exit_code == 0
    assert len(desk.ark.sold()) == 4
    assert desk.wan.sold() == []


def test_the_chain_stays_below_the_budget(desk: SimpleNamespace) -> None:
    """Two pictures' money at the second: two pictures, exit 3, and a larger budget goes on."""
    words = ("batch", str(desk.path), "--out", str(desk.out), "--fallback", "ark", "--size", "1024x1024")  # fmt: skip
    plan = run(*words, "--dry-run", "--json")
    assert json.loads(plan.stdout.splitlines()[-1])["fallback"] == ["ark"]
    short = run(*words, "--budget", "0.5CNY")
    assert short.exit_code == 3, short.output
    assert 0 < len(desk.ark.sold()) < 4
    assert run(*words, "--budget", "5CNY").exit_code == 0
    assert len(desk.ark.sold()) == 4


def test_a_name_that_nobody_knows(desk: SimpleNamespace) -> None:
    """A fallback that is no endpoint is a usage error, before anything is spent."""
    done = run("batch", str(desk.path), "--out", str(desk.out), "--fallback", "nobody")
    assert done.exit_code == 2, done.output
    assert "nobody" in done.stderr
