"""Story to note, end to end: the folder, its rules, and what happens when something fails."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from redloom.errors import BadInput, DiskFull, WouldOverwrite
from redloom.lang import Text
from redloom.note import folder
from redloom.note.bundle import FIELDS
from redloom.note.illustrator import Illustrated, PictureWanted
from redloom.note.make import NoteEvent, NoteResult, NoteSettings, make_note
from redloom.note.rules import title_length
from redloom.note.source import Source, parse_source, read_source
from redloom.note.writer_local import LocalWriter

EXAMPLES = Path(__file__).parents[1] / "examples"
SHORT = "在前门吃面\n\n我在前门吃了一碗19块的面，站着吃完的。\n\n为什么站着？因为没有空位子。\n"


def short() -> Source:
    """A story of a few lines."""
    return parse_source(SHORT.encode(), "short.txt")


def make(source: Source, out: Path, **options: Any) -> NoteResult:
    """A note by the local writer."""
    painter = options.pop("illustrate", None)
    label = options.pop("label", lambda data: data)
    settings = NoteSettings(out, **options)
    return asyncio.run(
        make_note(source, settings, writer=LocalWriter(), illustrate=painter, label=label)
    )


def tree(path: Path) -> dict[str, bytes]:
    """Every file under ``path`` with its bytes."""
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def picture(colour: str = "red") -> bytes:
    """A small JPEG."""
    out = BytesIO()
    Image.new("RGB", (90, 120), colour).save(out, "JPEG")
    return out.getvalue()


class Painter:
    """An illustrator that makes pictures but for the rows it is told to fail."""

    def __init__(self, *fails: int) -> None:
        self.fails = fails
        self.wanted: list[PictureWanted] = []

    async def __call__(self, wanted: Sequence[PictureWanted], /) -> Sequence[Illustrated]:
        self.wanted += wanted
        return [self._one(one.row) for one in reversed(wanted)]

    def _one(self, row: int) -> Illustrated:
        if row in self.fails:
            return Illustrated(
                row, False, None, {"error_code": "refused"}, Text("没画成", "not made")
            )
        return Illustrated(
            row,
            True,
            picture(),
            {"endpoint": "fake", "model": "m1", "price": 0.2, "currency": "CNY"},
        )


@pytest.mark.parametrize("name", ["hutong.txt", "recipe.md", "article.md"])
def test_examples_become_whole_notes(name: str, tmp_path: Path) -> None:
    """Each example gives every file of a note, cards of 1080×1440, and nothing the platform refuses."""
    result = make(read_source(EXAMPLES / name), tmp_path / "note", offline=True)
    files = tree(tmp_path / "note")
    post = json.loads(files["post.json"])
    cards = sorted(name for name in files if name.endswith(".png") and "/" not in name)
    assert post["images"] == cards
    assert cards[0] == "01-cover.png"
    for card in cards:
        assert Image.open(BytesIO(files[card])).size == (1080, 1440)
    assert {
        "title.txt",
        "titles.txt",
        "body.txt",
        "tags.txt",
        "preview.html",
        "prompts.jsonl",
        "manifest.jsonl",
    } <= set(files)
    assert files["title.txt"].decode().strip() == post["title"] == result.post.title
    assert len(files["titles.txt"].decode().splitlines()) == 5
    assert all(title_length(title) <= 20 for title in files["titles.txt"].decode().splitlines())
    assert "#" not in files["tags.txt"].decode()
    assert files["body.txt"].decode() == post["content"] + "\n"
    assert result.warnings == ()
    assert str(tmp_path) not in files["post.json"].decode() + files["manifest.jsonl"].decode()


def test_the_manifest_has_a_line_for_each_card(tmp_path: Path) -> None:
    """Cards are rows by the endpoint ``cards``, free, with the digest of the file beside them."""
    make(short(), tmp_path / "note")
    rows = [
        json.loads(line) for line in (tmp_path / "note/manifest.jsonl").read_text().splitlines()
    ]
    for row in rows:
        assert tuple(row) == FIELDS
        assert (row["endpoint"], row["price"], row["status"]) == ("cards", 0, "ok")
        assert row["sha256"] == folder.digest((tmp_path / "note" / row["file"]).read_bytes())


def test_the_same_again_is_left_as_it_is(tmp_path: Path) -> None:
    """Unchanged story and settings: not a byte, not a time of change differs."""
    make(short(), tmp_path / "note")
    before = tree(tmp_path / "note"), (tmp_path / "note").stat().st_mtime_ns
    again = make(short(), tmp_path / "note")
    assert again.unchanged
    assert again.post.images
    assert (tree(tmp_path / "note"), (tmp_path / "note").stat().st_mtime_ns) == before


def test_the_same_elsewhere_is_the_same(tmp_path: Path) -> None:
    """Another folder, another locale, another hash seed: the same bytes."""
    make(short(), tmp_path / "a")
    code = (
        "import asyncio;from pathlib import Path;from redloom.note.make import *;from redloom.note.source import *;"
        "from redloom.note.writer_local import LocalWriter;"
        f"asyncio.run(make_note(parse_source({SHORT!r}.encode(),'short.txt'),NoteSettings(Path({str(tmp_path / 'b')!r})),writer=LocalWriter()))"
    )
    env = os.environ | {"PYTHONHASHSEED": "7", "LC_ALL": "C", "TZ": "Asia/Shanghai"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env, cwd=tmp_path)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_offline_imports_no_network(tmp_path: Path) -> None:
    """Making a note offline does not even load the HTTP library."""
    code = (
        "import asyncio,sys;from pathlib import Path;from redloom.note.make import *;from redloom.note.source import *;"
        "from redloom.note.writer_local import LocalWriter;"
        f"asyncio.run(make_note(parse_source({SHORT!r}.encode(),'s.txt'),NoteSettings(Path({str(tmp_path / 'b')!r}),offline=True),writer=LocalWriter()));"
        "assert 'aiohttp' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_another_story_is_not_written_over(tmp_path: Path) -> None:
    """Another story, or somebody's files, stop it with exit status 2 and nothing changed."""
    make(short(), tmp_path / "note")
    before = tree(tmp_path / "note")
    other = parse_source("另一个故事，写的是别的事。".encode(), "other.txt")
    with pytest.raises(WouldOverwrite) as caught:
        make(other, tmp_path / "note")
    assert caught.value.exit_status == 2
    assert tree(tmp_path / "note") == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    with pytest.raises(WouldOverwrite):
        make(short(), tmp_path / "mine")
    (tmp_path / "file").write_text("x")
    with pytest.raises(WouldOverwrite):
        make(short(), tmp_path / "file")


def test_overwriting_keeps_what_was_there(tmp_path: Path) -> None:
    """With overwrite the old note goes to history and foreign files stay where they are."""
    make(short(), tmp_path / "note")
    (tmp_path / "note/mine.txt").write_text("mine")
    old = (tmp_path / "note/post.json").read_bytes()
    other = parse_source("另一个故事，写的是别的事。".encode(), "other.txt")
    make(other, tmp_path / "note", overwrite=True)
    assert (tmp_path / "note/history/0001/post.json").read_bytes() == old
    assert (tmp_path / "note/mine.txt").read_text() == "mine"
    make(short(), tmp_path / "note", overwrite=True)
    assert (tmp_path / "note/history/0001/post.json").read_bytes() == old
    assert (tmp_path / "note/history/0002/post.json").exists()


def test_other_settings_make_it_anew(tmp_path: Path) -> None:
    """The same story with another theme replaces the cards and keeps the old ones."""
    make(short(), tmp_path / "note", theme="paper")
    cover = (tmp_path / "note/01-cover.png").read_bytes()
    assert not make(short(), tmp_path / "note", theme="night").unchanged
    assert (tmp_path / "note/history/0001/01-cover.png").read_bytes() == cover
    assert (tmp_path / "note/01-cover.png").read_bytes() != cover


def test_a_missing_card_is_made_again(tmp_path: Path) -> None:
    """A note with a file gone is not unchanged."""
    make(short(), tmp_path / "note")
    (tmp_path / "note/01-cover.png").unlink()
    assert not make(short(), tmp_path / "note").unchanged
    assert (tmp_path / "note/01-cover.png").exists()


def test_a_failed_write_leaves_the_old_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the disk gives out half way, the folder is as it was and nothing is left beside it."""
    make(short(), tmp_path / "note")
    before = tree(tmp_path / "note")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        make(short(), tmp_path / "note", theme="night")
    monkeypatch.undo()
    assert tree(tmp_path / "note") == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_crash_between_two_renames_is_put_right(tmp_path: Path) -> None:
    """A note stranded under its other name is found again by the next command."""
    make(short(), tmp_path / "note")
    (tmp_path / "note").rename(tmp_path / ".note.before")
    assert make(short(), tmp_path / "note").unchanged
    assert not (tmp_path / ".note.before").exists()


def test_pictures_stand_on_cards_with_their_price(tmp_path: Path) -> None:
    """A model's pictures lie verbatim in the folder, their cards are labelled and priced."""
    painter = Painter()
    source = read_source(EXAMPLES / "hutong.txt")
    result = make(
        source, tmp_path / "note", illustrate=painter, images=3, label=lambda data: data + b"AI"
    )
    assert painter.wanted[0].row == 1
    assert len(painter.wanted) == 3
    made = [row for row in result.manifest if row["endpoint"] == "fake"]
    assert len(made) == 3
    assert all((row["price"], row["model"]) == (0.2, "m1") for row in made)
    for row in result.manifest:
        labelled = (tmp_path / "note" / row["file"]).read_bytes().endswith(b"AI")
        assert labelled == (row["endpoint"] == "fake")
    assert len(list((tmp_path / "note/pictures").iterdir())) == 3
    assert "AI" in (tmp_path / "note/preview.html").read_text()


def test_a_failed_picture_leaves_a_whole_note(tmp_path: Path) -> None:
    """A picture that fails is replaced by words and said; the note is complete."""
    source = read_source(EXAMPLES / "hutong.txt")
    result = make(source, tmp_path / "note", illustrate=Painter(1), images=2)
    assert any("封面配图没有画成" in warning.zh for warning in result.warnings)
    assert result.manifest[0]["endpoint"] == "cards"
    assert result.manifest[0]["error_code"] == "refused"
    assert sum(row["endpoint"] == "fake" for row in result.manifest) == 1


def test_a_failed_picture_is_asked_for_again(tmp_path: Path) -> None:
    """The same command after a failure is no "unchanged": what failed is tried once more."""
    source = read_source(EXAMPLES / "hutong.txt")
    make(source, tmp_path / "note", illustrate=Painter(1), images=2)
    again = make(source, tmp_path / "note", illustrate=Painter(), images=2)
    assert not again.unchanged
    assert again.warnings == ()
    assert make(source, tmp_path / "note", illustrate=Painter(), images=2).unchanged


def test_a_picture_that_is_none_counts_as_failed(tmp_path: Path) -> None:
    """Bytes that no one can open leave a text card, a warning and a whole note."""

    async def broken(wanted: Sequence[PictureWanted], /) -> Sequence[Illustrated]:
        return [Illustrated(one.row, True, b"<html>", {}) for one in wanted]

    result = make(read_source(EXAMPLES / "hutong.txt"), tmp_path / "note", illustrate=broken)
    assert len(result.warnings) == 2
    assert all(row["endpoint"] == "cards" for row in result.manifest)


@pytest.mark.parametrize("options", [{"theme": "none"}, {"ratio": "9:16"}])
def test_nothing_is_bought_for_a_note_that_cannot_be(
    options: dict[str, Any], tmp_path: Path
) -> None:
    """A theme or ratio that there is not is told before a picture is paid for."""
    painter = Painter()
    with pytest.raises(BadInput):
        make(short(), tmp_path / "note", illustrate=painter, **options)
    assert painter.wanted == []


def test_offline_and_no_images_ask_for_none(tmp_path: Path) -> None:
    """``offline`` and ``images=0`` never call the illustrator."""
    for options in ({"offline": True}, {"images": 0}):
        painter = Painter()
        make(
            short(),
            tmp_path / str(len(options)) / next(iter(options)),
            illustrate=painter,
            **options,
        )
        assert painter.wanted == []


def test_too_much_text_is_cut_and_said(tmp_path: Path) -> None:
    """More than 18 cards: as many as the platform takes, and where the text ends is said."""
    story = "很长的故事\n\n" + "".join(
        f"第{n}天，我们走了很远，看见了山和水，也看见了许多赶路的人，谁也没有停下来。\n\n"
        for n in range(400)
    )
    result = make(parse_source(story.encode(), "long.txt"), tmp_path / "note")
    assert 16 <= len(result.post.images) <= 18
    said = next(text for text in result.warnings if "放得下" in text.zh)
    record = json.loads((tmp_path / "note/post.json").read_text())["redloom"]
    last_page = [card for card in record["cards"] if card["kind"] == "page"][-1]
    ending = said.zh.split("到“")[1].split("”为止")[0]
    assert ending in last_page["text"]


@pytest.mark.parametrize("pages", [2, 6])
def test_pages_as_many_as_asked(pages: int, tmp_path: Path) -> None:
    """``pages`` is the number of text cards, whether the text would fill more or fewer."""
    result = make(read_source(EXAMPLES / "hutong.txt"), tmp_path / "note", pages=pages)
    record = json.loads((tmp_path / "note/post.json").read_text())["redloom"]
    assert sum(card["kind"] == "page" for card in record["cards"]) == pages
    assert bool(result.warnings) == (pages == 2)


def test_the_users_title_is_kept_and_a_shorter_one_proposed(tmp_path: Path) -> None:
    """A title over the limit stays as typed; the finding says by how much and proposes."""
    title = "在前门大街的一条小胡同里，站着吃完了一碗十九块钱的炸酱面"
    result = make(short(), tmp_path / "note", title=title)
    assert result.post.title == title
    (finding,) = result.findings
    assert finding.length - finding.most == 8
    assert title_length(str(finding.proposal)) <= 20
    assert finding.message in result.warnings


@pytest.mark.parametrize(
    "options",
    [
        {"pages": 0},
        {"pages": 18},
        {"images": -1},
        {"images": 99},
        {"style": " "},
        {"theme": "none"},
        {"ratio": "9:16"},
    ],
)
def test_bad_settings_are_told(options: dict[str, Any], tmp_path: Path) -> None:
    """Settings out of range are BadInput before anything is written."""
    with pytest.raises(BadInput):
        make(short(), tmp_path / "note", **options)
    assert not (tmp_path / "note").exists()


def test_the_preview_needs_nothing_beside_it(tmp_path: Path) -> None:
    """The page has no links outward, escapes the story's words, and keeps its line breaks."""
    source = parse_source(
        "标题 <b>&\n\n第一行写了 <script>alert(1)</script> 这样的字。\n\n第二行。".encode(), "a.txt"
    )
    make(source, tmp_path / "note")
    html = (tmp_path / "note/preview.html").read_text()
    assert 'src="http' not in html
    assert "href=" not in html
    assert "<script>alert" not in html
    assert "{{" not in html
    assert "这样的字。\n\n第二行。" in html


def test_watchers_hear_every_stage(tmp_path: Path) -> None:
    """The stages come in order, painting only where pictures are wanted."""
    heard: list[NoteEvent] = []
    asyncio.run(
        make_note(
            short(),
            NoteSettings(tmp_path / "note"),
            writer=LocalWriter(),
            illustrate=Painter(),
            on_event=heard.append,
        )
    )
    assert [event.stage for event in heard] == ["writing", "painting", "setting", "saving", "done"]
