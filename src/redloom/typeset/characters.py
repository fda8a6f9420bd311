"""Which characters the faces have, which emoji belong together, and what stands in for the rest.

A face is asked before anything is drawn: `faces/characters.json` holds what each face has, written
by tools/build_faces.py. What none has becomes `STAND_IN` and is named to the user.
May import: nothing of the package.
"""

from __future__ import annotations

import json
import re
import unicodedata
from bisect import bisect_right
from functools import cache
from importlib.resources import files

STAND_IN = "〓"
"""The geta mark, by which Chinese and Japanese printers have always shown a missing sort."""

_VS16 = "\ufe0f"
_ZWJ = "\u200d"
_TONE = "[\U0001f3fb-\U0001f3ff]"
# Drawn in colour without being asked (Unicode 16, emoji-data.txt, Emoji_Presentation=Yes).
_COLOUR = (
    "\u231a\u231b\u23e9-\u23ec\u23f0\u23f3\u25fd\u25fe\u2614\u2615\u2648-\u2653\u267f\u2693\u26a1"
    "\u26aa\u26ab\u26bd\u26be\u26c4\u26c5\u26ce\u26d4\u26ea\u26f2\u26f3\u26f5\u26fa\u26fd\u2705"
    "\u270a\u270b\u2728\u274c\u274e\u2753-\u2755\u2757\u2795-\u2797\u27b0\u27bf\u2b1b\u2b1c\u2b50"
    "\u2b55\U0001f004\U0001f0cf\U0001f18e\U0001f191-\U0001f19a\U0001f201\U0001f21a\U0001f22f"
    "\U0001f232-\U0001f236\U0001f238-\U0001f23a\U0001f250\U0001f251\U0001f300-\U0001f64f"
    "\U0001f680-\U0001f6ff\U0001f7e0-\U0001f7eb\U0001f7f0\U0001f90c-\U0001f9ff\U0001fa70-\U0001faff"
)
_ONE = f"(?:[{_COLOUR}]{_VS16}?|[\u00a9\u00ae\u203c-\u3299\U0001f170-\U0001f265]{_VS16}){_TONE}?"
EMOJI = re.compile(
    "[\U0001f1e6-\U0001f1ff]{2}"  # a flag is two letters
    f"|[0-9#*]{_VS16}?\u20e3"  # a keycap
    "|\U0001f3f4[\U000e0020-\U000e007f]+"  # a flag of a region, spelt in tags
    f"|{_ONE}(?:{_ZWJ}(?:{_ONE}|[\u2640\u2642\u2695\u2696\u2708\u2764\u27a1]{_VS16}?))*"
)
"""One emoji as people see it: a person of three code points is one, and so is a flag."""


@cache
def _edges() -> tuple[int, ...]:
    """Where the union of all faces begins and ends, for one bisection per question."""
    source = files(__package__).joinpath("faces", "characters.json").read_text("utf-8")
    spans = sorted(span for face in json.loads(source).values() for span in face)
    edges: list[int] = []
    for first, last in spans:
        if edges and first <= edges[-1]:
            edges[-1] = max(edges[-1], last + 1)
        else:
            edges += [first, last + 1]
    return tuple(edges)


@cache
def drawable(character: str) -> bool:
    """Whether some face has this one character."""
    return bisect_right(_edges(), ord(character)) % 2 == 1


def _is_silent(character: str) -> bool:
    """Controls and formatting marks: nothing to draw, so nothing to miss."""
    return unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp") or character in (
        _VS16,
        "\ufe0e",
    )


def clean(text: str) -> str:
    """The text as it can be set: composed, without controls, with plain spaces for odd ones."""
    composed = unicodedata.normalize("NFC", text.replace("\t", "    "))
    return "".join(_clean_piece(piece, is_emoji) for piece, is_emoji in pieces(composed))


def _clean_piece(piece: str, is_emoji: bool) -> str:
    return piece if is_emoji else "".join(_clean_character(c) for c in piece)


def _clean_character(c: str) -> str:
    if c == "\n":
        return c
    if unicodedata.category(c) == "Zs":
        return c if c == "\u3000" else " "
    return "" if _is_silent(c) else c


def pieces(text: str) -> list[tuple[str, bool]]:
    """The text cut into what is emoji (one cluster a piece) and what is not."""
    found: list[tuple[str, bool]] = []
    at = 0
    for match in EMOJI.finditer(text):
        if match.start() > at:
            found.append((text[at : match.start()], False))
        found.append((match.group(), True))
        at = match.end()
    if at < len(text):
        found.append((text[at:], False))
    return found


def missing_characters(text: str) -> tuple[str, ...]:
    """The characters that no face has, each once, in the order in which they appear."""
    return tuple(
        dict.fromkeys(
            c
            for piece, is_emoji in pieces(unicodedata.normalize("NFC", text))
            for c in piece
            if not (is_emoji and c in (_ZWJ, _VS16))
            and not _is_silent(c)
            and not c.isspace()
            and not drawable(c)
        )
    )


def stand_in(text: str) -> str:
    """The text with `STAND_IN` for every character that no face has."""
    lacking = missing_characters(text)
    return text.translate({ord(c): STAND_IN for c in lacking}) if lacking else text
