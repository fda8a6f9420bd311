"""A picture that came inside an answer: on disk already, or still as base64 in the text.

May import: endpoint.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from dataclasses import replace
from pathlib import Path

from redloom.endpoint import Answer, Picture, offload


def inline(answer: Answer, value: str) -> Picture | None:
    """The picture that ``value`` stands for: a file of the answer's, a data URL, plain base64.

    None where it is nothing of the kind. `keep_only` then removes the answer's other files.
    """
    if value in answer.files:
        return Picture(file=str(answer.files[value]))
    head, comma, data = value.partition(",")
    text = data if comma and head.startswith("data:") else value
    text = "".join(text.split())
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return Picture(data=raw) if raw else None


def keep_only(answer: Answer, picture: Picture | None) -> None:
    """Remove the files of the answer but for the one of ``picture``."""
    file = picture.file if picture else ""
    answer.discard(next((name for name, path in answer.files.items() if str(path) == file), ""))


async def set_down(picture: Picture, folder: Path | None) -> Picture:
    """A picture held in memory, put on the disk before anything else is done with it.

    From then on a crash does not lose it, as with what the wire itself sets down. Where the disk
    refuses it, it stays in memory and goes on from there.
    """
    if picture.data is None or folder is None:
        return picture
    path = folder / f"spill-{secrets.token_hex(16)}.part"
    try:
        await offload(_write, path, picture.data)
    except OSError:
        return picture
    return replace(picture, data=None, file=str(path))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
