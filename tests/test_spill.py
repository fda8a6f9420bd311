"""Long base64 goes to disk piece by piece, and the rest of the answer stays as it was."""

from __future__ import annotations

import asyncio
import base64
import json
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redloom.errors import AnswerLost
from redloom.spill import LONG, Spill

MOST = 64 * 1024 * 1024
PICTURE = bytes(range(256)) * 400
BASE64 = base64.b64encode(PICTURE).decode()


async def in_pieces(raw: bytes, cuts: list[int]) -> AsyncIterator[bytes]:
    """``raw`` cut at ``cuts``."""
    at = 0
    for cut in [*sorted(cut for cut in cuts if cut < len(raw)), len(raw)]:
        yield raw[at:cut]
        at = cut


def spilt(raw: bytes, folder: Path, *cuts: int, most: int = MOST) -> tuple[bytes, Spill]:
    """``raw`` read through a spill, every piece fed on its own."""
    spill = Spill(folder)

    async def read() -> bytes:
        return await spill.read(in_pieces(raw, list(cuts)), most)

    return asyncio.run(read()), spill


def feed(raw: bytes, folder: Path, cuts: list[int]) -> tuple[Any, Spill]:
    """The same without gathering pieces first, so that every cut is met."""
    spill, at = Spill(folder), 0
    for cut in [*sorted(cut for cut in cuts if cut < len(raw)), len(raw)]:
        spill._feed(raw[at:cut])
        at = cut
    return json.loads(bytes(spill._text)), spill


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    before=st.text(max_size=40),
    after=st.lists(st.text(max_size=20), max_size=4),
    cuts=st.lists(st.integers(0, 2 * len(BASE64)), max_size=8),
    slashes=st.booleans(),
    prefix=st.sampled_from(["", "data:image/png;base64,"]),
)
def test_every_cut_gives_the_same(
    tmp_path: Path, before: str, after: list[str], cuts: list[int], slashes: bool, prefix: str
) -> None:
    """Wherever the pieces end, in an escape too: the file has the bytes, the rest is untouched."""
    raw = json.dumps({"before": before, "data": [{"b64_json": prefix + BASE64}], "after": after})
    if slashes:
        raw = raw.replace("/", "\\/")
    body, spill = feed(raw.encode(), tmp_path, cuts)
    name = body["data"][0]["b64_json"]
    assert (body["before"], body["after"]) == (before, after)
    assert spill.files[name].read_bytes() == PICTURE
    spill.discard()
    assert list(tmp_path.iterdir()) == []


def test_short_strings_stay_and_long_text_is_cut(tmp_path: Path) -> None:
    """A short base64 stays in the text; a long text that is no base64 leaves its beginning."""
    short = base64.b64encode(b"x" * 90).decode()
    text = "一段很长的话。" * LONG
    raw = json.dumps({"short": short, "text": text, "end": 1}, ensure_ascii=False).encode()
    body, spill = feed(raw, tmp_path, [])
    assert body["short"] == short
    assert body["end"] == 1
    assert text.startswith(body["text"][:60])
    assert spill.files == {}
    assert list(tmp_path.iterdir()) == []


def test_line_breaks_and_missing_padding_are_read(tmp_path: Path) -> None:
    """Base64 broken into lines (escaped in JSON), and without its padding."""
    lines = base64.encodebytes(PICTURE[:-1]).decode().rstrip("=\n")
    body, spill = feed(json.dumps({"data": lines}).encode(), tmp_path, [40_000])
    assert spill.files[body["data"]].read_bytes() == PICTURE[:-1]


@pytest.mark.parametrize("end", [LONG // 2, 2 * LONG])
def test_an_answer_cut_off_leaves_nothing(tmp_path: Path, end: int) -> None:
    """A connection that ends in the middle of a picture: no JSON, no file."""
    raw = json.dumps({"data": BASE64}).encode()[:end]
    text, spill = spilt(raw, tmp_path)
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    assert spill.files == {}
    assert list(tmp_path.iterdir()) == []


def test_too_large_an_answer_is_lost(tmp_path: Path) -> None:
    """Over the cap: AnswerLost, and nothing stays on the disk."""
    raw = json.dumps({"data": BASE64}).encode()
    with pytest.raises(AnswerLost):
        spilt(raw, tmp_path, 50_000, most=100_000)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_is_said(tmp_path: Path) -> None:
    """A folder that cannot be written: the picture is billed, and the sentence says so."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AnswerLost, match=r"disk|磁盘") as caught:
        spilt(json.dumps({"data": BASE64}).encode(), tmp_path / "file")
    assert caught.value.spent == "maybe"


def test_names_cannot_be_forged(tmp_path: Path) -> None:
    """A service that writes what looks like a name of ours gets no file for it."""
    body, spill = feed(json.dumps({"data": "spill-" + "0" * 32}).encode(), tmp_path, [])
    assert body["data"] not in spill.files


def test_memory_stays_flat(tmp_path: Path) -> None:
    """Forty megabytes of base64 pass through less than four of memory."""

    async def large() -> AsyncIterator[bytes]:
        yield b'{"data":"'
        for _ in range(640):
            yield BASE64[:65_536].encode()
        yield b'"}'

    async def read() -> bytes:
        return await Spill(tmp_path).read(large(), MOST)

    tracemalloc.start()
    try:
        asyncio.run(read())
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 4_000_000
