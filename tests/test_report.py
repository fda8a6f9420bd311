"""The report: one file, true figures, and a page that a real browser draws."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from helpers.desk import engine
from redloom import report
from redloom.endpoint import Asked
from redloom.image import Store
from redloom.journal import Journal
from redloom.records import Records
from redloom.report import write_report
from redloom.testing import FakeProvider, Fate, JumpingClock, fake_endpoint, run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def made(_asked: Asked, _number: int) -> Fate:
    """Every picture, at the first try."""
    return "made"


def draw(folder: Path, prompts: Sequence[str], script: Callable[[Asked, int], Fate] = made) -> Path:
    """The report of these pictures, made on three slots."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now, slots=3, script=script)
    out = folder / "夜&<i>"

    async def go() -> str:
        async with engine(folder, (fake_endpoint(), provider), clock=clock) as one:
            return (await one.generate(list(prompts), out=out))[0].run

    run_id = run(go())
    root = next(path.parent for path in folder.rglob("journal.db"))
    journal = Journal(root / "journal.db").open()

    async def write() -> None:
        found = await Records(journal).run(run_id)
        assert found is not None
        write_report(journal, Store(root), found, out / "report.html")

    run(write())
    journal.close()
    return out / "report.html"


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """The report of twelve pictures, one prompt of which would like to be markup."""
    return draw(tmp_path, [f"picture {n}" for n in range(11)] + ["</script><b>{{data}}</b>"])


def data_of(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    whole: dict[str, Any] = json.loads(found[1])
    return whole


def test_the_figures_are_the_runs(drawn: Path) -> None:
    """Counts, money, limits and the distance as the journal has them; thumbnails inside."""
    text = drawn.read_text("utf-8")
    data = data_of(text)
    assert data["counts"] == {"ok": 12}
    assert data["money"]["billed"]["CNY"] == pytest.approx(2.4)
    assert data["bought"] == 12
    assert data["bought_twice"] == 0
    assert len(data["bars"]["rows"]) == len(data["cards"]) == 12
    # Told, or seen in the run itself where tasks waited at the service: three either way.
    limit = data["endpoints"][0]["limit"]
    assert (limit["slots"], limit["per_second"]) == (3, None)
    assert data["distance"]["bound"] == pytest.approx(40.0)
    assert 60 < data["distance"]["percent"] <= 100
    packs = re.findall(r'id="thumbs\d+">(.*?)</script>', text)
    assert len(json.loads(packs[0])) == 12
    assert all(json.loads(packs[0]))


def test_nothing_comes_from_outside_and_words_stay_words(drawn: Path) -> None:
    """No address but none at all; a prompt cannot end the script nor fill a template."""
    text = drawn.read_text("utf-8")
    assert "http" not in text
    assert data_of(text)["cards"][11]["p"] == "</script><b>{{data}}</b>"
    assert text.count("<b>{{data}}") == 0


def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages so small that twelve pictures are too many."""
    for name, most in {"MOST_BARS": 5, "MOST_CARDS": 6, "SAMPLE": 3, "TROUBLED": 2, "LEVELS": 4}.items():  # fmt: skip
        monkeypatch.setattr(report, name, most)


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The report of twelve pictures, of which 6 and 9 failed for good, with room for a few."""
    small_limits(monkeypatch)

    def fate(asked: Asked, _number: int) -> Fate:
        return "refused" if asked.prompt in ("picture 6", "picture 9", "picture 11") else "made"

    return draw(tmp_path, [f"picture {n}" for n in range(1, 13)], fate)


def test_a_large_runs_page_is_bounded_and_says_so(large: Path) -> None:
    """Some bars, some cards and the first failures; every figure is still that of all."""
    data = data_of(large.read_text("utf-8"))
    bars = data["bars"]
    assert len(bars["rows"]) == 4  # 1, 4, 7, 10: one in every three
    assert [bars["sampled"][name] for name in ("of", "step")] == [12, 3]
    assert len(bars["sampled"]["levels"]) == 5
    assert bars["sampled"]["most"] == 3
    assert bars["sampled"]["end"] >= max(row[4] + sum(row[5:]) for row in bars["rows"])
    assert [card["r"] for card in data["cards"]] == [1, 5, 6, 9]
    assert (data["left"], data["every"]) == (8, 4)
    assert data["bought"] == 12
    assert data["counts"] == {"ok": 9, "refused": 3}


def test_a_small_runs_page_has_all(drawn: Path) -> None:
    """Nothing sampled, nothing left out."""
    data = data_of(drawn.read_text("utf-8"))
    assert "sampled" not in data["bars"]
    assert "every" not in data
    assert data["left"] == 0


def _in_a_browser(page: Path, width: int, profile: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         f"--user-data-dir={profile}", f"--window-size={width},900", "--virtual-time-budget=3000",
         "--enable-logging=stderr", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_browser_says_what_is_sampled(large: Path, tmp_path: Path) -> None:
    """How many tasks are drawn and how many pictures are not here stand on the page."""
    done = _in_a_browser(large, 1280, tmp_path / "profile")
    assert re.search(r"12 (次任务|tasks)", done.stdout)
    assert re.search(r"(另有 8 张|8 more are)", done.stdout)
    assert "Uncaught" not in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_draws_it(drawn: Path, width: int, tmp_path: Path) -> None:
    """Headless Chromium: every section is there, the first pictures are, and no script failed."""
    done = _in_a_browser(drawn, width, tmp_path / "profile")
    for section in ("hero", "lost", "fall", "times", "trouble", "sheet0"):
        assert f'id="{section}"' in done.stdout, section
    assert done.stdout.count("<article>") == 12
    assert "data:image/webp" in done.stdout
    assert "Uncaught" not in done.stderr
