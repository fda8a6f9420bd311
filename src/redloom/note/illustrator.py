"""What an illustrator is: something that turns picture prompts into pictures.

May import: lang, typeset.content.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from redloom.lang import Text
from redloom.typeset.content import Ratio


@dataclass(frozen=True, slots=True)
class PictureWanted:
    """One picture to be made. ``row`` counts from 1 in the order of the plan's prompts."""

    row: int
    purpose: Literal["cover", "page"]
    prompt: str
    ratio: Ratio
    like: int | None = None
    """The row of the picture whose look it shall share, made before it."""
    reference: bytes | None = None
    """The picture whose look it shall share, where that is there already."""


@dataclass(frozen=True, slots=True)
class Illustrated:
    """What became of a wanted picture: its bytes, or why there are none. ``record`` holds the
    manifest's fields as the engine knows them (endpoint, model, task_id, price, …);
    ``remark`` is what a person should know of a picture that is there all the same."""

    row: int
    ok: bool
    data: bytes | None = None
    record: dict[str, Any] = field(default_factory=dict)
    error: Text | None = None
    remark: Text | None = None


class Illustrator(Protocol):
    """Makes pictures; never raises for one picture's failure, answers in any order."""

    async def __call__(self, wanted: Sequence[PictureWanted], /) -> Sequence[Illustrated]: ...


def stands_in(record: dict[str, Any]) -> bool:
    """Whether a card of the note's own words was asked for in the place of a missing picture."""
    return bool(record.get("fallback") == "cards")


def usable(pictures: Sequence[Illustrated]) -> dict[int, bytes]:
    """The pictures that there are, by the index of their prompt in the plan."""
    return {one.row - 1: one.data for one in pictures if one.ok and one.data is not None}
