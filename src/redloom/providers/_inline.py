"""A picture that came inside an answer: on disk already, or still as base64 in the text.

May import: endpoint.
"""

from __future__ import annotations

import base64
import binascii

from redloom.endpoint import Answer, Picture


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
