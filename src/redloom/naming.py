"""What a picture's file is called: its row, a few of its words, its take.

Names are safe on ext4, APFS, NTFS and exFAT, sort in input order, and never leave the folder
they are meant for.
May import: nothing of the package.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

SLUG_BYTES = 80
"""UTF-8 bytes of the words in a name; 255 is the limit of ext4, paths on Windows end at 260."""
FOLDER_ROWS = 1000
"""Rows in one folder of a run that has more than so many."""

_RESERVED = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
    + [f"{device}{digit}" for device in ("COM", "LPT") for digit in "0123456789¹²³"]
)
_FORBIDDEN = re.compile(r'[\\/:*?"<>|\s]+')
_DASHES = re.compile(r"-{2,}")
_TAKE_LIKE = re.compile(r"_(\d+)$")
_EXTENSIONS = {"jpeg": "jpg"}


def slug(words: str, limit: int = SLUG_BYTES) -> str:
    r"""The words as a part of a file name; Chinese is kept, ``\/:*?"<>|`` and blanks become ``-``.

    Control, bidi and unassigned characters go. At most ``limit`` bytes of UTF-8, cut between
    characters; may be empty. Never a name that Windows reserves, nor one that ends like a take.
    """
    # Enough for any limit, and a prompt of a megabyte costs no more than a line.
    plain = unicodedata.normalize("NFC", words[: limit * 8])
    shown = "".join(c for c in plain if c.isspace() or unicodedata.category(c)[0] != "C")
    text = _DASHES.sub("-", _FORBIDDEN.sub("-", shown))
    text = _cut(text.strip("-. _"), limit).rstrip("-. _")
    text = _TAKE_LIKE.sub(r"-\1", text)
    if text.split(".", 1)[0].strip().upper() in _RESERVED:
        text = _cut("x-" + text, limit).rstrip("-. _")
    return text


def extension(kind: str) -> str:
    """A format's usual extension, without the dot."""
    return _EXTENSIONS.get(kind, kind)


def file_name(row: int, take: int, takes: int, total: int, prompt: str, kind: str) -> Path:
    """Where row ``row`` (from 1) of ``total`` lies below the run's folder, as a relative path.

    ``00001-slug.png``; take 2 of several is ``00001-slug_2.png``; with more than 1,000 rows in
    folders ``00001-01000`` and so on. ``kind`` is the picture's format.
    """
    width = max(5, len(str(total)))
    words = slug(prompt)
    stem = f"{row:0{width}d}" + (f"-{words}" if words else "")
    if takes > 1 and take > 1:
        stem += f"_{take}"
    name = Path(f"{stem}.{extension(kind)}")
    if total <= FOLDER_ROWS:
        return name
    first = (row - 1) // FOLDER_ROWS * FOLDER_ROWS + 1
    return Path(f"{first:0{width}d}-{first + FOLDER_ROWS - 1:0{width}d}") / name


def _cut(text: str, limit: int) -> str:
    return text.encode()[:limit].decode(errors="ignore")
