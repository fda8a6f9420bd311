"""Remaking part of a note: only what was asked for changes, and the version before is kept."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from redloom.errors import BadInput, RedloomError
from redloom.note.illustrator import Illustrated, Illustrator, PictureWanted
from redloom.note.make import NoteResult, NoteSettings, make_note
from redloom.note.redo import Change, redo_note
from redloom.note.source import read_source
from redloom.note.writer_local import LocalWriter

EXAMPLES = Path(__file__).parents[1] / "examples"


def picture(colour: str) -> bytes:
    """A small PNG."""
    out = BytesIO()
    Image.new("RGB", (90, 120), colour).save(out, "PNG")
    return out.getvalue()


def painter(colour: str) -> Illustrator:
    """An illustrator that paints everything in one colour, or fails for no colour."""

    async def paint(wanted: Sequence[PictureWanted], /) -> Sequence[Illustrated]:
        return [
            Illustrated(
                one.row, bool(colour), picture(colour) if colour else None, {"model": colour}
            )
            for one in wanted
        ]

    return paint


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The walk through the hutong with two pictures in it, made once."""
    folder = tmp_path_factory.mktemp("made") / "note"
    settings = NoteSettings(folder, images=2)
    asyncio.run(
        make_note(
            read_source(EXAMPLES / "hutong.txt"),
            settings,
            writer=LocalWriter(),
            illustrate=painter("red"),
        )
    )
    return folder


@pytest.fixture
def note(made: Path, tmp_path: Path) -> Path:
    """A copy of the note for one test."""
    return Path(shutil.copytree(made, tmp_path / "note"))


def cards(note: Path) -> dict[str, bytes]:
    """The note's cards by name."""
    return {path.name: path.read_bytes() for path in sorted(note.glob("*.png"))}


def redo(note: Path, paint: Illustrator | None = None, **change: Any) -> NoteResult:
    """Apply a change."""
    return asyncio.run(redo_note(note, Change(**change), illustrate=paint))


def kinds(note: Path) -> list[tuple[str, bool]]:
    """Kind of each card, and whether it shows a model's picture."""
    return [
        (card["kind"], card["by_model"])
        for card in json.loads((note / "post.json").read_text())["redloom"]["cards"]
    ]


def text_page(note: Path) -> int:
    """The number of a text card in the middle."""
    return [at for at, kind in enumerate(kinds(note), 1) if kind == ("page", False)][1]


def test_new_words_change_one_card_only(note: Path) -> None:
    """The page says the new words; every other card is byte for byte as it was."""
    before, page = cards(note), text_page(note)
    redo(note, page=page, text="## 新的小标题\n\n换成这一段**新文字**，短短的一段。")
    after = cards(note)
    same = {name for name in before if after.get(name) == before[name]}
    assert len(same) == len(before) - 1
    record = json.loads((note / "post.json").read_text())["redloom"]
    assert "换成这一段新文字" in record["cards"][page - 1]["text"]
    assert len(record["versions"]) == 2
    assert len(list((note / "history/0001").glob("*.png"))) == 1


def test_the_theme_is_free_and_keeps_the_words(note: Path) -> None:
    """Another theme redraws every card, keeps texts and pictures, and buys nothing."""
    before = json.loads((note / "post.json").read_text())
    redo(note, theme="night")
    after = json.loads((note / "post.json").read_text())
    assert [card["text"] for card in after["redloom"]["cards"] if card["kind"] == "cover"] == [
        card["text"] for card in before["redloom"]["cards"] if card["kind"] == "cover"
    ]
    assert (after["title"], after["content"], after["tags"]) == (
        before["title"],
        before["content"],
        before["tags"],
    )
    assert after["redloom"]["pictures"] == before["redloom"]["pictures"]
    assert set(cards(note).values()).isdisjoint(
        path.read_bytes() for path in (note / "history/0001").glob("*.png")
    )


def test_the_title_changes_cover_and_texts(note: Path) -> None:
    """A new title stands in title.txt, first of the titles, and on the cover; pages stay."""
    before = cards(note)
    result = redo(note, title="一碗面的工夫")
    after = cards(note)
    assert result.post.title == "一碗面的工夫"
    assert (note / "titles.txt").read_text().splitlines()[0] == "一碗面的工夫"
    assert len((note / "titles.txt").read_text().splitlines()) == 5
    assert [name for name in after if after[name] != before.get(name)] == ["01-cover.png"]


def test_cover_and_closing_take_words(note: Path) -> None:
    """Text for the first card is its title and subtitle, for the last its sentence."""
    last = len(kinds(note))
    redo(note, page=1, text="新封面\n新的副标题")
    redo(note, page=last, text="走吧")
    plan = json.loads((note / "post.json").read_text())["redloom"]["plan"]
    assert (plan["cover"]["title"], plan["cover"]["subtitle"]) == ("新封面", "新的副标题")
    assert plan["closing"] == "走吧"


def test_a_new_picture_changes_its_card_only(note: Path) -> None:
    """A prompt buys one picture, for that card; the others are untouched."""
    page = kinds(note).index(("page", True)) + 1
    before = cards(note)
    redo(note, painter("blue"), page=page, prompt="一只橘猫")
    after = cards(note)
    assert [name for name in after if after[name] != before[name]] == [sorted(after)[page - 1]]
    record = json.loads((note / "post.json").read_text())["redloom"]
    assert any(one["prompt"] == "一只橘猫" for one in record["plan"]["prompts"])
    assert (note / "manifest.jsonl").read_text().count('"blue"') == 1


def test_a_failed_picture_changes_nothing(note: Path) -> None:
    """If the picture is not made, the note is as it was and the reason is said."""
    before = cards(note)
    with pytest.raises(RedloomError, match="没有改动"):
        redo_zh(note)
    assert cards(note) == before
    assert not (note / "history").exists()


def redo_zh(note: Path) -> None:
    """Ask a failing illustrator, in Chinese."""
    from redloom.lang import use_language

    use_language("zh")
    redo(note, painter(""), page=1, prompt="一碗面")


def test_words_that_do_not_fit_are_refused(note: Path) -> None:
    """Text for more than one card is refused with how much fits; the note stays."""
    before = cards(note)
    with pytest.raises(BadInput, match="about"):
        redo(note, page=text_page(note), text="很长的一段话，" * 200)
    assert cards(note) == before


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"page": 2},
        {"page": 99, "text": "x"},
        {"page": 0, "text": "x"},
        {"text": "x"},
        {"page": 2, "text": " "},
        {"title": " "},
        {"theme": "none"},
        {"page": 1, "prompt": "x"},
    ],
)
def test_what_cannot_be_done_is_told(change: dict[str, Any], note: Path) -> None:
    """A change that makes no sense is BadInput, and nothing is written."""
    before = cards(note)
    with pytest.raises(BadInput):
        redo(note, **change)
    assert cards(note) == before


def test_no_note_is_told(tmp_path: Path) -> None:
    """A folder without a note, or with a broken one, is BadInput."""
    with pytest.raises(BadInput):
        redo(tmp_path, title="x")
    (tmp_path / "post.json").write_text('{"redloom": {"format": 1}}')
    with pytest.raises(BadInput):
        redo(tmp_path, title="x")


def test_a_record_that_could_not_be_written_again_is_told(note: Path) -> None:
    """Half of a surrogate pair, escaped: BadInput, and the record is left as it is."""
    record = note / "post.json"
    damaged = record.read_text().replace('"content": "', '"content": "\\ud800', 1)
    assert "\\ud800" in damaged
    record.write_text(damaged)
    with pytest.raises(BadInput):
        redo(note, title="x")
    assert record.read_text() == damaged


def test_two_redos_keep_two_versions(note: Path) -> None:
    """Each redo leaves the version before it, whole enough to see what it was."""
    first = (note / "post.json").read_bytes()
    redo(note, title="第一次改")
    second = (note / "post.json").read_bytes()
    redo(note, title="第二次改")
    assert (note / "history/0001/post.json").read_bytes() == first
    assert (note / "history/0002/post.json").read_bytes() == second
    assert (note / "history/0002/01-cover.png").exists()


def test_making_it_from_the_story_again_says_that_changes_give_way(note: Path) -> None:
    """A note changed with redo and then made anew: said once, and the changed one is kept."""
    redo(note, title="改过的标题")
    settings = NoteSettings(note, images=2, theme="night")
    source = read_source(EXAMPLES / "hutong.txt")
    arguments: dict[str, Any] = {"writer": LocalWriter(), "illustrate": painter("red")}
    made = asyncio.run(make_note(source, settings, **arguments))
    assert [text for text in made.warnings if "redo" in text.zh]
    kept = [path.read_text() for path in (note / "history").glob("*/title.txt")]
    assert any("改过的标题" in title for title in kept)
    plain = NoteSettings(note, images=2, theme="memo")
    again = asyncio.run(make_note(source, plain, **arguments))
    assert not [text for text in again.warnings if "redo" in text.zh]
