"""The contact sheet: one self-contained page, nothing of the input becomes markup."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.chromium import BROWSER, page
from helpers.desk import add_run, desk
from helpers.sheet import folder_of_pictures
from redloom import contact
from redloom.contact import page as page_of
from redloom.records import Run

RUN = Run("r1", 0.0, "batch", "d", "/nowhere/夜&<b>", {}, {}, "done", 0, None, "", 0, True, "")


def data_of(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    whole: dict[str, Any] = json.loads(found[1])
    return whole


@given(st.text(max_size=40))
def test_words_stay_words(words: str) -> None:
    """Prompts come through as they are and can neither end the script nor become a template."""
    shown = page_of([{"p": words, "e": "</script><!--{{title}}", "s": "ok"}], RUN)
    rows = data_of(shown)["rows"]
    assert rows[0]["p"] == words
    assert shown.count("</script>") == 2


def test_nothing_comes_from_outside() -> None:
    """No address, no absolute path: the folder can be handed on."""
    shown = page_of([], RUN, left_out=3)
    assert "http" not in shown
    assert "/nowhere" not in shown
    assert data_of(shown)["left"] == 3


def test_a_large_runs_sheet_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many cards, and how many rows have none."""
    monkeypatch.setattr(contact, "MOST", 3)

    async def rows() -> None:
        async with desk(tmp_path) as records:
            await add_run(records, [f"picture {n}" for n in range(8)])
            found = await records.run("r1")
            assert found is not None
            shown = replace(found, out=str(tmp_path))
            await asyncio.to_thread(contact.write_sheet, records.journal, shown)

    asyncio.run(rows())
    data = data_of((tmp_path / "index.html").read_text("utf-8"))
    assert [row["r"] for row in data["rows"]] == [1, 2, 3]
    assert data["left"] == 5


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="no chromium here")
def test_the_sheet_in_a_browser(tmp_path: Path) -> None:
    """Thumbnails show and are loaded as they are reached; filters, search and pairs answer."""
    index, _ = folder_of_pictures(tmp_path, 600)
    asyncio.run(_use(index))


async def _use(index: Path) -> None:
    async with page() as tab:
        await tab.open(index.as_uri())
        await tab.until("document.querySelectorAll('article').length>=100")
        assert await tab.eval("document.querySelectorAll('article').length") < 600
        await tab.until("[...document.querySelectorAll('img')].slice(0,6).every(i=>i.naturalWidth)")
        assert await tab.eval(
            "[...document.querySelectorAll('img')].filter(i=>!i.complete||!i.naturalWidth).length"
        ), "lazy: those far below are not loaded yet"
        labels = await tab.eval(
            "[...document.querySelectorAll('nav button')].map(b=>b.textContent)"
        )
        assert labels[0].endswith("600")
        assert len(labels) == 4  # all, ok, doubts, refused
        await tab.eval("document.querySelectorAll('nav button')[3].click()")
        said = await tab.eval("document.querySelector('article').textContent")
        assert "DataInspectionFailed" in said
        assert "inappropriate" in said
        await tab.eval("document.querySelectorAll('nav button')[2].click()")
        assert await tab.eval(
            "[...document.querySelectorAll('article')].every(a=>a.querySelector('.doubts'))"
        )
        await tab.eval("[...document.querySelectorAll('.doubts button')].at(-1).click()")
        rows = await tab.eval(
            "[...document.querySelectorAll('.meta span:first-child')].map(s=>+s.textContent)"
        )
        assert rows[0] == 1
        assert len(rows) == 2
        await tab.eval("document.querySelectorAll('nav button')[0].click()")
        await tab.until(
            "(scrollTo(0,document.body.scrollHeight),document.querySelectorAll('article').length===600)"
        )
        await tab.eval(
            "(()=>{const i=document.querySelector('input');i.value='number 596';"
            "i.dispatchEvent(new Event('input'))})()"
        )
        assert await tab.eval("document.querySelectorAll('article').length") == 1
        assert tab.errors == []
