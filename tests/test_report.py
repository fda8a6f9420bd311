"""The report: one file, true figures, and a page that a real browser draws."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from helpers.desk import engine
from redloom.image import Store
from redloom.journal import Journal
from redloom.records import Records
from redloom.report import write_report
from redloom.testing import FakeProvider, JumpingClock, fake_endpoint, run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """The report of twelve pictures, one prompt of which would like to be markup."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now, slots=3)
    prompts = [f"picture {n}" for n in range(11)] + ["</script><b>{{data}}</b>"]
    out = tmp_path / "夜&<i>"

    async def go() -> str:
        async with engine(tmp_path, (fake_endpoint(), provider), clock=clock) as one:
            return (await one.generate(prompts, out=out))[0].run

    run_id = run(go())
    root = next(path.parent for path in tmp_path.rglob("journal.db"))
    journal = Journal(root / "journal.db").open()

    async def draw() -> None:
        found = await Records(journal).run(run_id)
        assert found is not None
        write_report(journal, Store(root), found, out / "report.html")

    run(draw())
    journal.close()
    return out / "report.html"


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


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_draws_it(drawn: Path, width: int, tmp_path: Path) -> None:
    """Headless Chromium: every section is there, the first pictures are, and no script failed."""
    done = subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900", "--virtual-time-budget=3000",
         "--enable-logging=stderr", "--dump-dom", drawn.as_uri()],
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    for section in ("hero", "lost", "fall", "times", "trouble", "sheet0"):
        assert f'id="{section}"' in done.stdout, section
    assert done.stdout.count("<article>") == 12
    assert "data:image/webp" in done.stdout
    assert "Uncaught" not in done.stderr
