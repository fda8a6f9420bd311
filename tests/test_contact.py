"""The contact sheet: one self-contained page, nothing of the input becomes markup."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from redloom.contact import page
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
    shown = page([{"p": words, "e": "</script><!--{{title}}", "s": "ok"}], RUN)
    rows = data_of(shown)["rows"]
    assert rows[0]["p"] == words
    assert shown.count("</script>") == 2


def test_nothing_comes_from_outside() -> None:
    """No address, no absolute path: the folder can be handed on."""
    shown = page([], RUN, left_out=3)
    assert "http" not in shown
    assert "/nowhere" not in shown
    assert data_of(shown)["left"] == 3
