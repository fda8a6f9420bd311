"""What a writer is: something that turns a story into a plan.

May import: lang, note.source, note.plan.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from redloom.lang import Text

from .plan import NotePlan
from .source import Source


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user wants of the words. ``pages`` is the number of text pages, ``None`` for as
    many as it takes; ``style`` is how pictures should look."""

    style: str = "photo"
    pages: int | None = None
    author: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """A plan, what the user should hear about it, and what a service said that it used."""

    plan: NotePlan
    warnings: tuple[Text, ...] = ()
    usage: dict[str, Any] = field(default_factory=dict)


class Writer(Protocol):
    """``identity`` names everything that changes what it writes (model, prompts), no secrets."""

    @property
    def name(self) -> str:
        """What ``--writer`` calls it."""

    @property
    def identity(self) -> str:
        """What its words depend on; see the class."""

    async def write(self, source: Source, wish: Wish) -> Written:
        """The plan for ``source``. Raises `errors.RedloomError` where it cannot be written."""
        ...
