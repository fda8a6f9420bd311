"""A note's pictures as a run: the cover as the others' reference, and who stands in for whom."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from helpers.beside import beside
from redloom.cli import cli
from redloom.emulators import ark, dashscope, openai
from redloom.note.folder import digest

STORY = "# 胡同里的下午\n\n鼓楼东大街往南，有一条很窄的胡同。修鞋的师傅每天三点泡一壶茶。\n\n## 三件小事\n\n- 带一壶茶\n- 听鸽哨\n- 看灯\n\n## 天黑以后\n\n灯一盏一盏亮起来，卖糖葫芦的推着车走过。\n"
T2I, IMAGE = "dashscope", "dashscope:wan2.6-image"


def run(*words: str) -> Result:
    """Call the command in this process."""
    return CliRunner().invoke(cli, list(words))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Three services beside the test, their keys in the environment, a story in a file."""
    story = tmp_path / "hutong.md"
    story.write_text(STORY, "utf-8")
    with (
        beside(dashscope, tmp_path / "dashscope.jsonl") as wan,
        beside(openai, tmp_path / "openai.jsonl") as gpt,
        beside(ark, tmp_path / "ark.jsonl") as doubao,
    ):
        services = {"DASHSCOPE": wan, "OPENAI": gpt, "ARK": doubao}
        for name, service in services.items():
            monkeypatch.setenv(f"{name}_BASE_URL", service.url)
            monkeypatch.setenv(f"{name}_API_KEY", "sk-emulated")
        yield SimpleNamespace(story=story, out=tmp_path / "out", wan=wan, gpt=gpt, doubao=doubao)


def note(desk: SimpleNamespace, *words: str) -> Result:
    """``redloom note`` on the desk's story, four pictures by the local writer."""
    common = ("--out", str(desk.out), "--writer", "local", "--images", "3", "--yes")
    return run("note", str(desk.story), *common, *words)


def post(desk: SimpleNamespace) -> dict[str, Any]:
    """What the note's record holds of our own."""
    read: dict[str, Any] = json.loads((desk.out / "post.json").read_text("utf-8"))["redloom"]
    return read


def led_by(desk: SimpleNamespace) -> list[str]:
    """The digest of the reference of each picture, in order; empty for one without."""
    return [one["record"].get("reference_sha256", "") for one in post(desk)["pictures"]]


def cover_digest(desk: SimpleNamespace) -> str:
    """The digest of the first picture's bytes."""
    return digest((desk.out / post(desk)["pictures"][0]["file"]).read_bytes())


@pytest.mark.parametrize(("endpoint", "name"), [("openai", "gpt"), ("ark", "doubao")])
def test_the_cover_is_the_reference_of_the_others(
    desk: SimpleNamespace, endpoint: str, name: str
) -> None:
    """It is bought first and without one; the others come with its very bytes."""
    done = note(desk, "--consistent", "--endpoint", endpoint)
    assert done.exit_code == 0, done.output
    sold = getattr(desk, name).sold()
    assert [one.references for one in sold] == [0, 1, 1]
    assert led_by(desk) == ["", cover_digest(desk), cover_digest(desk)]
    assert "reference" not in json.dumps(post(desk)["warnings"])


def test_the_cover_from_one_model_and_the_pages_from_another(desk: SimpleNamespace) -> None:
    """wan2.6-image needs a reference and wan2.6-t2i takes none: each makes what it can."""
    done = note(desk, "--consistent", "--endpoint", f"{T2I},{IMAGE}")
    assert done.exit_code == 0, done.output
    made = [(one.model, one.references) for one in desk.wan.sold()]
    assert made == [("wan2.6-t2i", 0), ("wan2.6-image", 1), ("wan2.6-image", 1)]


def test_a_model_that_takes_none_is_said_in_one_sentence(desk: SimpleNamespace) -> None:
    """The note is whole, the pictures are drawn by their words alone, and the reason is told."""
    done = note(desk, "--consistent", "--endpoint", T2I)
    assert done.exit_code == 0, done.output
    assert [one.references for one in desk.wan.sold()] == [0, 0, 0]
    assert done.output.count("takes no reference picture") == 1
    assert led_by(desk) == ["", "", ""]


def test_nothing_changes_without_the_flag(desk: SimpleNamespace) -> None:
    """No reference, no word of it in the record, and the flag alone makes it another note."""
    assert note(desk, "--endpoint", "openai").exit_code == 0
    assert [one.references for one in desk.gpt.sold()] == [0, 0, 0]
    assert "consistent" not in post(desk)["settings"]
    assert "fallback" not in json.dumps(post(desk))


def test_the_same_again_buys_nothing(desk: SimpleNamespace) -> None:
    """Not as a whole, and not into another folder: a reference counts by its content."""
    words = ("--consistent", "--endpoint", "openai")
    assert note(desk, *words).exit_code == 0
    assert "Nothing changed" in note(desk, *words).output
    desk.out = desk.out.with_name("elsewhere")
    assert note(desk, *words).exit_code == 0
    assert len(desk.gpt.sold()) == 3
    assert led_by(desk)[1] == cover_digest(desk)


def test_the_setting_and_its_opposite(
    desk: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The setting is the flag; --no-consistent overrules it."""
    monkeypatch.setenv("REDLOOM_CONSISTENT", "true")
    assert note(desk, "--endpoint", "openai", "--no-consistent").exit_code == 0
    assert [one.references for one in desk.gpt.sold()] == [0, 0, 0]
    assert note(desk, "--endpoint", "openai").exit_code == 0
    assert [one.references for one in desk.gpt.sold()] == [0, 0, 0, 1, 1]


def test_a_page_redone_later_has_the_same_reference(desk: SimpleNamespace) -> None:
    """Also after the cover was drawn anew: its first picture lies in history and is found there."""
    assert note(desk, "--consistent", "--endpoint", "openai").exit_code == 0
    first, page = cover_digest(desk), _picture_page(desk)
    again = run("redo", str(desk.out), "--page", "1", "--prompt", "黄昏的胡同口", "--endpoint", "openai", "--yes")  # fmt: skip
    assert again.exit_code == 0, again.output
    assert cover_digest(desk) != first
    done = run("redo", str(desk.out), "--page", str(page), "--prompt", "", "--endpoint", "openai", "--yes")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert [one.references for one in desk.gpt.sold()] == [0, 1, 1, 0, 1]
    assert led_by(desk) == ["", first, first]


def _picture_page(desk: SimpleNamespace) -> int:
    """The number of the first card after the cover that shows a picture."""
    cards = post(desk)["cards"]
    return next(at for at, card in enumerate(cards, 1) if at > 1 and card["prompt"] is not None)


def test_a_dry_run_says_what_it_would_do(desk: SimpleNamespace) -> None:
    """Which way round, the price of all of it, who stands in; nothing is asked of anybody."""
    done = note(desk, "--consistent", "--endpoint", f"{T2I},{IMAGE}", "--dry-run", "--fallback", "ark,cards")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "the other 2 have it as their reference" in done.output
    assert "0.6 CNY" in done.output
    assert "cards (free)" in done.output
    cannot = note(desk, "--consistent", "--endpoint", T2I, "--dry-run")
    assert "takes no reference picture" in cannot.output
    assert desk.wan.sold() == []


def test_the_budget_is_one_for_cover_and_pages(desk: SimpleNamespace) -> None:
    """Two pictures' money: the cover, one page, and exit 3; more money buys the one that lacks."""
    words = ("--consistent", "--endpoint", f"{T2I},{IMAGE}")
    short = note(desk, *words, "--budget", "0.5CNY")
    assert short.exit_code == 3, short.output
    assert len(desk.wan.sold()) == 2
    more = note(desk, *words, "--budget", "5CNY")
    assert more.exit_code == 0, more.output
    assert len(desk.wan.sold()) == 3


@pytest.fixture
def refusing(
    desk: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SimpleNamespace]:
    """The same desk with a DashScope that refuses every prompt."""
    faults = dashscope.parse_faults("submit_refused=1")
    with beside(dashscope, tmp_path / "refusing.jsonl", faults=faults) as wan:
        monkeypatch.setenv("DASHSCOPE_BASE_URL", wan.url)
        desk.wan = wan
        yield desk


def test_a_note_goes_down_its_chain(refusing: SimpleNamespace) -> None:
    """What the first refuses comes from the second, marked in post.json; the third is not asked."""
    done = note(refusing, "--endpoint", T2I, "--fallback", "ark", "--fallback", "openai,cards")
    assert done.exit_code == 0, done.output
    assert (len(refusing.doubao.sold()), len(refusing.gpt.sold())) == (3, 0)
    records = [one["record"] for one in post(refusing)["pictures"]]
    assert {(one["endpoint"], one["flags"]) for one in records} == {("ark", "fallback")}
    lines = (refusing.out / "manifest.jsonl").read_text("utf-8").splitlines()
    assert json.loads(lines[0])["flags"] == "fallback"


def test_a_note_can_end_in_cards(refusing: SimpleNamespace) -> None:
    """A card of its own words stands in: exit 0, marked, and the same again asks nobody."""
    done = note(refusing, "--endpoint", T2I, "--fallback", "cards")
    assert done.exit_code == 0, done.output
    assert "a text card stands in" in done.output
    records = [one["record"] for one in post(refusing)["pictures"]]
    assert {(one["status"], one["fallback"], one["flags"]) for one in records} == {
        ("refused", "cards", "fallback")
    }
    assert "Nothing changed" in note(refusing, "--endpoint", T2I, "--fallback", "cards").output
    assert note(refusing, "--endpoint", T2I).exit_code == 1


def test_without_a_cover_the_others_are_made_and_it_is_said(refusing: SimpleNamespace) -> None:
    """A refused cover leads nobody: the pages go without a reference, in one sentence."""
    done = note(refusing, "--consistent", "--endpoint", T2I, "--fallback", "cards")
    assert done.exit_code == 0, done.output
    warnings = [text for _, text in post(refusing)["warnings"]]
    assert all(record["record"]["status"] == "refused" for record in post(refusing)["pictures"])
    assert not any("takes no reference" in text for text in warnings)


def test_a_budget_that_a_step_cannot_be_held_against(desk: SimpleNamespace) -> None:
    """A fallback in another currency than the budget: exit 2, nothing bought."""
    common = ("--out", str(desk.out), "--writer", "local", "--images", "1")
    done = run("note", str(desk.story), *common, "--endpoint", T2I, "--fallback", "openai", "--budget", "5CNY")  # fmt: skip
    assert done.exit_code == 2, done.output
    assert "openai" in done.stderr
    assert desk.wan.sold() == []


def test_pages_wait_for_a_cover_that_has_no_outcome_yet(
    desk: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty account: nothing is bought without its reference; once there is money, all of it."""
    empty = dashscope.parse_faults("submit_unpaid=1")
    words = ("--consistent", "--endpoint", "dashscope:wan2.7-image")
    full = desk.wan
    with beside(dashscope, tmp_path / "empty.jsonl", faults=empty) as wan:
        monkeypatch.setenv("DASHSCOPE_BASE_URL", wan.url)
        done = note(desk, *words)
        assert done.exit_code == 1, done.output
        assert any("waits for the cover" in text for _, text in post(desk)["warnings"])
    monkeypatch.setenv("DASHSCOPE_BASE_URL", full.url)
    again = note(desk, *words)
    assert again.exit_code == 0, again.output
    assert [one.references for one in full.sold()] == [0, 1, 1]


def test_a_fallback_that_nobody_knows(desk: SimpleNamespace) -> None:
    """Exit 2 before anything is spent."""
    done = note(desk, "--endpoint", T2I, "--fallback", "nobody")
    assert done.exit_code == 2, done.output
    assert "nobody" in done.stderr
    assert desk.wan.sold() == []
