"""The note in other shapes."""

from __future__ import annotations

import asyncio
import json
import zipfile
from pathlib import Path

import pytest

from redloom.errors import BadInput, WouldOverwrite
from redloom.note.export import export_note
from redloom.note.make import NoteSettings, make_note
from redloom.note.source import parse_source
from redloom.note.writer_local import LocalWriter


@pytest.fixture
def note(tmp_path: Path) -> Path:
    """A small note."""
    source = parse_source("在前门吃面\n\n我在前门吃了一碗19块的面，站着吃完的。".encode(), "s.txt")
    asyncio.run(make_note(source, NoteSettings(tmp_path / "我的笔记"), writer=LocalWriter()))
    return tmp_path / "我的笔记"


def test_a_zip_holds_the_note_under_relative_paths(note: Path) -> None:
    """Every file of the note, no history, nothing absolute; the same note, the same bytes."""
    (note / "history").mkdir()
    (note / "history/old.txt").write_text("old")
    path = export_note(note, "zip")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
    assert "我的笔记/01-cover.png" in names
    assert "我的笔记/post.json" in names
    assert not any(name.startswith("/") or ".." in name or "history" in name for name in names)
    first = path.read_bytes()
    assert export_note(note, "zip").read_bytes() == first


def test_for_xiaohongshu_mcp_paths_are_absolute(note: Path) -> None:
    """Title, content, images, tags; the images exist where they are said to be."""
    data = json.loads(export_note(note, "xiaohongshu-mcp").read_text())
    assert set(data) == {"title", "content", "images", "tags"}
    assert all(Path(image).is_absolute() and Path(image).is_file() for image in data["images"])


def test_as_json_paths_are_relative(note: Path, tmp_path: Path) -> None:
    """The same with paths inside the folder, to wherever is asked."""
    path = export_note(note, "json", tmp_path / "x" / "out.json")
    data = json.loads(path.read_text())
    assert data["images"][0] == "01-cover.png"
    with pytest.raises(WouldOverwrite):
        export_note(note, "json", path)


def test_what_cannot_be_exported_is_told(note: Path, tmp_path: Path) -> None:
    """An unknown shape and a folder that is no note are BadInput."""
    with pytest.raises(BadInput):
        export_note(note, "docx")
    with pytest.raises(BadInput):
        export_note(tmp_path, "zip")


def test_a_json_is_named_once(note: Path) -> None:
    """Beside the folder: its name and .json, not .json twice; another shape's name stays in it."""
    assert export_note(note, "json").name == f"{note.name}.json"
    assert export_note(note, "xiaohongshu-mcp").name == f"{note.name}.xiaohongshu-mcp.json"
