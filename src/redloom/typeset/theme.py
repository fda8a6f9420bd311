"""The folders that say how a card looks: found, read, checked.

A theme is a folder with `theme.toml` (its names, where pictures stand) and `theme.typ` (what is
drawn), which a user can copy and change; docs/themes.md says how.
May import: picture, errors, lang.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from redloom.errors import BadInput
from redloom.lang import Text

from .content import Ratio
from .picture import Place

OURS = Path(__file__).parent / "themes"
SIZES: dict[Ratio, tuple[int, int]] = {
    "3:4": (1080, 1440),
    "1:1": (1080, 1080),
    "4:3": (1440, 1080),
}
"""Pixels of a card, width and height."""


@dataclass(frozen=True)
class ThemeInfo:
    """What is known of a theme without drawing it."""

    name: str
    title: Text
    description: Text
    folder: Path


@dataclass(frozen=True)
class Theme:
    """A theme ready for the press: its folder and where pictures stand on its cards."""

    info: ThemeInfo
    cover_places: dict[Ratio, Place]
    page_places: dict[Ratio, Place]


def themes(folder: Path | None = None) -> list[ThemeInfo]:
    """The themes that come with the package, and those in ``folder``, sorted by name.

    A folder of the user's own hides one of ours with the same name. Raises BadInput where a
    `theme.toml` there cannot be read.
    """
    found = {path.parent.name: path.parent for path in OURS.glob("*/theme.toml")}
    if folder is not None:
        found |= {path.parent.name: path.parent for path in folder.glob("*/theme.toml")}
    return [load(found[name]).info for name in sorted(found)]


def find(theme: str | Path) -> Theme:
    """The theme of that name, or in that folder. Raises BadInput where there is none."""
    if isinstance(theme, str) and (OURS / theme / "theme.toml").is_file() and theme.isidentifier():
        return load(OURS / theme)
    folder = Path(theme)
    if (folder / "theme.toml").is_file():
        return load(folder.resolve())
    known = "、".join(sorted(path.parent.name for path in OURS.glob("*/theme.toml")))
    raise BadInput(
        f"没有叫“{theme}”的主题，也没有放着 theme.toml 的这个文件夹。可用的主题：{known}。",
        f"There is no theme “{theme}”, nor a folder of that name with a theme.toml. "
        f"Themes: {known.replace('、', ', ')}.",
    )


def load(folder: Path) -> Theme:
    """Read one theme's folder. Raises BadInput where something is missing or wrong there."""
    try:
        stamp = (folder / "theme.toml").stat().st_mtime_ns
    except OSError as error:
        raise _bad(folder, str(error)) from None
    return _read(folder, stamp)


@cache
def _read(folder: Path, _stamp: int) -> Theme:
    if not (folder / "theme.typ").is_file():
        raise _bad(folder, "theme.typ 不在 / theme.typ is missing")
    try:
        raw = tomllib.loads((folder / "theme.toml").read_text("utf-8"))
        info = ThemeInfo(folder.name, _text(raw["name"]), _text(raw["description"]), folder)
        pictures = raw["picture"]
        return Theme(info, _places(pictures["cover"]), _places(pictures["page"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _bad(folder, f"{type(error).__name__}: {error}") from None


def _text(raw: dict[str, Any]) -> Text:
    return Text(str(raw["zh"]), str(raw["en"]))


def _places(raw: dict[str, Any]) -> dict[Ratio, Place]:
    return {ratio: _place(raw[ratio], SIZES[ratio]) for ratio in SIZES}


def _place(raw: dict[str, Any], size: tuple[int, int]) -> Place:
    box = _box(raw["box"])
    words = tuple(_box(one) for one in raw.get("words", []))
    x, y, width, height = box
    if x < 0 or y < 0 or width < 16 or height < 16 or x + width > size[0] or y + height > size[1]:
        raise ValueError(f"box {list(box)} does not lie on a card of {size[0]} x {size[1]}")
    ink = raw.get("ink", "light")
    if ink not in ("light", "dark"):
        raise ValueError(f"ink {ink!r} is neither light nor dark")
    return Place(box, words, ink, int(raw.get("feather", 160)))


def _box(raw: list[int]) -> tuple[int, int, int, int]:
    x, y, width, height = (int(number) for number in raw)
    return x, y, width, height


def _bad(folder: Path, why: str) -> BadInput:
    return BadInput(
        f"主题文件夹“{folder.name}”用不了：{why}。请对照 docs/themes.md 改正。",
        f"The theme folder “{folder.name}” cannot be used: {why}. See docs/themes.md.",
    )
