"""What a picture's file is called: its row, a few of its words, its take.

Names are safe on ext4, APFS, NTFS and exFAT, sort in input order, and never leave the folder
they are meant for.
May import: nothing of the package.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
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
_FIELD = re.compile(r"\{([^{}/]+)\}")
_EXTENSIONS = {"jpeg": "jpg"}


def slug(words: str, limit: int = SLUG_BYTES, *, words_only: bool = True) -> str:
    r"""The words as a part of a file name; Chinese is kept, ``\/:*?"<>|`` and blanks become ``-``.

    Control, bidi and unassigned characters go. At most ``limit`` bytes of UTF-8, cut between
    characters; may be empty. Never a name that Windows reserves, nor, where it is of a prompt's
    words, one that ends like a take.
    """
    # Enough for any limit, and a prompt of a megabyte costs no more than a line.
    plain = words[: limit * 8]
    if plain.isascii() and plain.isprintable():
        shown = plain
    else:
        plain = unicodedata.normalize("NFC", plain)
        shown = "".join(c for c in plain if c.isspace() or unicodedata.category(c)[0] != "C")
    text = _DASHES.sub("-", _FORBIDDEN.sub("-", shown))
    text = _cut(text.strip("-. _"), limit).rstrip("-. _")
    if words_only:
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
    return named_file("{row}-{words}", {"words": prompt}, row, take, takes, total, kind)


def named_file(
    pattern: str,
    values: Mapping[str, str],
    row: int,
    take: int,
    takes: int,
    total: int,
    kind: str,
    folder: str = "",
) -> Path:
    """The file of a row under a pattern such as ``{id}-{words}``; ``/`` in it makes folders.

    ``values`` by field, beside ``{row}`` and ``{take}``; a field without a value is left out.
    Every part is made safe by itself, so that no value leads out of the folder. A take that the
    pattern does not name gets its ``_2`` all the same, and what comes to nothing is the row.
    """
    width = max(5, len(str(total)))
    number = f"{row:0{width}d}"
    known = {**values, "row": number, "take": str(take)}
    parts = [
        slug(_filled(part, known), 2 * SLUG_BYTES, words_only=False) for part in pattern.split("/")
    ]
    stem = parts.pop() or number
    if takes > 1 and take > 1 and "{take}" not in pattern:
        stem += f"_{take}"
    inside = [part for part in (slug(one) for one in re.split(r"[/\\]", folder)) if part]
    if total > FOLDER_ROWS and len(parts) == 0:
        first = (row - 1) // FOLDER_ROWS * FOLDER_ROWS + 1
        inside.append(f"{first:0{width}d}-{first + FOLDER_ROWS - 1:0{width}d}")
    return Path(*inside, *filter(None, parts), f"{stem}.{extension(kind)}")


def fields_of(pattern: str) -> list[str]:
    """The fields that a pattern names."""
    return _FIELD.findall(pattern)


def told_apart(pattern: str) -> bool:
    """Whether two rows can never get the same name by this pattern."""
    return "{row}" in pattern.rsplit("/", 1)[-1]


def with_row(name: Path, row: int) -> Path:
    """The same name with the row's number, for a second row that would be called the same."""
    return name.with_name(f"{name.stem}-{row:05d}{name.suffix}")


def _filled(part: str, values: Mapping[str, str]) -> str:
    return _FIELD.sub(lambda m: slug(values.get(m[1], "")), part)


def _cut(text: str, limit: int) -> str:
    return text.encode()[:limit].decode(errors="ignore")
