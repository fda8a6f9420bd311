"""The contact sheet: one self-contained page, nothing of the input becomes markup."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from redloom.contact import make_thumb, page, thumb_name
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


def test_thumbnails_are_small_and_made_once(tmp_path: Path) -> None:
    """A thumbnail fits its side, is not made twice, and a broken picture has none."""
    picture, thumb = tmp_path / "a.png", tmp_path / thumb_name("a.png")
    Image.new("RGBA", (900, 1200), "red").save(picture)
    make_thumb(picture, thumb)
    with Image.open(thumb) as small:
        assert (small.format, small.size) == ("WEBP", (270, 360))
    thumb.write_bytes(b"mine")
    make_thumb(picture, thumb)
    assert thumb.read_bytes() == b"mine"
    (tmp_path / "b.png").write_bytes(b"broken")
    make_thumb(tmp_path / "b.png", tmp_path / "b.webp")
    assert not (tmp_path / "b.webp").exists()
