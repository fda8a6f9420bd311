"""Themes as folders: found, copied, changed, and wrong ones said so."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from redloom.errors import BadInput
from redloom.typeset.cards import card_image
from redloom.typeset.content import Cover
from redloom.typeset.theme import OURS, SIZES, find, themes

DOC = Path(__file__).parent.parent / "docs" / "themes.md"


def copied(tmp_path: Path, name: str = "mine") -> Path:
    """A copy of a theme of ours, as a user makes it."""
    return shutil.copytree(OURS / "paper", tmp_path / name)


def test_there_are_at_least_six_themes_with_names() -> None:
    """Every theme has a name and a description in both languages and pictures' places."""
    found = themes()
    assert len(found) >= 6
    for info in found:
        assert all([info.title.zh, info.title.en, info.description.zh, info.description.en])
        theme = find(info.name)
        assert set(theme.cover_places) == set(theme.page_places) == set(SIZES)


def test_a_users_folder_joins_ours_and_may_hide_one(tmp_path: Path) -> None:
    """Themes in a folder of the user's own are listed; the same name hides ours."""
    copied(tmp_path)
    copied(tmp_path, "night")
    found = {info.name: info.folder for info in themes(tmp_path)}
    assert found["mine"] == tmp_path / "mine"
    assert found["night"] == tmp_path / "night"
    assert found["paper"] == OURS / "paper"


def test_the_documents_example_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps in docs/themes.md, run as they stand there, make another card than ours."""
    monkeypatch.chdir(tmp_path)
    [code] = re.findall(r"```python\n(.*?)```", DOC.read_text("utf-8"), re.DOTALL)
    exec(compile(code, str(DOC), "exec"), {})
    made = (tmp_path / "card.png").read_bytes()
    assert made != card_image(Cover("把日子过慢，是成年人最体面的浪漫"), theme="paper").cards[0].png
    assert (
        made
        == card_image(Cover("把日子过慢，是成年人最体面的浪漫"), theme=tmp_path / "mine")
        .cards[0]
        .png
    )


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("theme.toml", "not toml [", "TOML"),
        ("theme.toml", "[name]\nzh = '一'\nen = 'One'\n", "description"),
        ("theme.typ", "#let look = (", "theme.typ"),
        ("theme.typ", "#let nothing = 1", "look"),
    ],
)
def test_a_broken_folder_is_said_so(tmp_path: Path, file: str, text: str, said: str) -> None:
    """What is wrong with a theme is named, in both languages, without a traceback."""
    folder = copied(tmp_path)
    (folder / file).write_text(text, "utf-8")
    with pytest.raises(BadInput) as caught:
        card_image(Cover("好"), theme=folder)
    assert "mine" in caught.value.text.zh
    assert said in caught.value.text.en


def test_a_picture_off_the_card_is_refused(tmp_path: Path) -> None:
    """A place for a picture must lie on the card."""
    folder = copied(tmp_path)
    toml = (folder / "theme.toml").read_text("utf-8")
    (folder / "theme.toml").write_text(toml.replace("92, 92, 896", "92, 92, 1896"), "utf-8")
    with pytest.raises(BadInput, match="1080"):
        find(folder)


def test_a_folder_without_a_theme_is_unknown(tmp_path: Path) -> None:
    """A path that is no theme names those that are."""
    with pytest.raises(BadInput, match="paper"):
        find(tmp_path)
