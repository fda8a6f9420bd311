"""typst, kept warm: lay a deck out and look at it, then draw its pages.

Everything that a user wrote reaches typst as JSON in `sys.inputs`, never as source. A layout costs
about two milliseconds a card, a drawn card about thirty, so looking several times before drawing
is cheap. typst releases the GIL; every deck has a compiler of its own on shared faces, so threads
need no lock.
May import: themes, errors.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from redloom.errors import BadInput

from .theme import Theme

if TYPE_CHECKING:
    import typst

ROOM = Path(__file__).parent
MAIN = ROOM / "typ" / "main.typ"
PACKAGES = ROOM / "typ"


@dataclass(frozen=True)
class Layout:
    """Where everything came to stand, before anything is drawn. Lengths in pixels."""

    pages: int
    starts: dict[int, tuple[int, float]]
    """Section -> page (from 1) and height on it at which it begins."""
    ends: dict[int, tuple[int, float]]
    pieces: tuple[tuple[int, int], ...]
    """(piece of text, page) in reading order."""
    titles: tuple[tuple[float, float], ...]
    """(size set, smallest good size) of every title."""
    top: float
    """Where a page's column of text begins."""
    depth: float
    """How high a page's column of text is."""


@cache
def _faces() -> typst.Fonts:
    import typst

    return typst.Fonts(
        include_system_fonts=False, include_embedded_fonts=True, font_paths=[str(ROOM / "faces")]
    )


class Galley:
    """One deck in one theme, laid out and ready to be drawn."""

    def __init__(self, theme: Theme, deck: dict[str, Any]) -> None:
        self.theme = theme
        self._inputs = {"deck": json.dumps(deck, ensure_ascii=False, sort_keys=True)}

    def _compiler(self) -> typst.Compiler:
        """A compiler for one use: given its source as bytes, it forgets it after the first."""
        import typst

        return typst.Compiler(
            MAIN.read_bytes(),
            root=self.theme.info.folder,
            font_paths=_faces(),
            ignore_system_fonts=True,
            package_path=PACKAGES,
            package_cache_path=PACKAGES,
            sys_inputs=self._inputs,
        )

    def layout(self) -> Layout:
        """Lay the deck out. Raises BadInput where the theme's own code fails."""
        try:
            found = json.loads(self._compiler().query("<report>", field="value", one=True))
        except RuntimeError:
            self.draw()  # fails alike, and says where
            raise
        return Layout(
            pages=found["pages"],
            starts={index: (page, y) for index, page, y in found["starts"]},
            ends={index: (page, y) for index, page, y in found["ends"]},
            pieces=tuple((piece, page) for piece, page in found["pieces"]),
            titles=tuple((size, floor) for size, floor in found["titles"]),
            top=found["top"],
            depth=found["depth"],
        )

    def draw(self, form: Literal["png", "pdf"] = "png") -> list[bytes]:
        """The cards as PNG, one pixel a point; or all of them as one PDF, for looking inside.

        Raises BadInput where the theme's own code fails.
        """
        import typst

        try:
            drawn = self._compiler().compile(format=form, ppi=72, timestamp=0)
        except typst.TypstError as error:
            raise _theme_fails(self.theme, error) from None
        return drawn if isinstance(drawn, list) else [drawn or b""]


NEEDED = "look, cover, ground, picture-page, closing"
"""What a theme.typ must define."""


def _theme_fails(theme: Theme, error: typst.TypstError) -> BadInput:
    where = re.search(r"theme\.typ:\d+:\d+", str(getattr(error, "diagnostic", "")))
    place = f" ({where.group()})" if where else ""
    why = error.message
    if why == "unresolved import":
        why = f"unresolved import; theme.typ must define {NEEDED}"
    return BadInput(
        f"主题“{theme.info.name}”的代码出错{place}：{why}。没有花钱。",
        f"The code of theme “{theme.info.name}” fails{place}: {why}. Nothing was spent.",
    )
