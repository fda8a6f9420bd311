"""Gemini's image models: shapes, sizes, references, prices, from dated tables.

Sources: ai.google.dev/gemini-api/docs/image-generation (shapes and pixel sizes, input images) and
the google-genai SDK (November 2026). A shape and a step (``1K`` …, capital K) are asked for, never
pixels. Prices are USD for one picture of a step, by a price map of 2026 (HeyPuter/puter 2562);
where it gives two figures the higher is taken, so that a budget holds.

May import: endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from redloom.endpoint import Size

AS_OF = "2026-03-31"

_OLDER: Mapping[str, Size] = {
    "1:1": (1024, 1024), "2:3": (832, 1248), "3:2": (1248, 832), "3:4": (864, 1184),
    "4:3": (1184, 864), "4:5": (896, 1152), "5:4": (1152, 896), "9:16": (768, 1344),
    "16:9": (1344, 768), "21:9": (1536, 672),
}  # fmt: skip
_NEWER: Mapping[str, Size] = {
    "1:1": (1024, 1024), "2:3": (848, 1264), "3:2": (1264, 848), "3:4": (896, 1200),
    "4:3": (1200, 896), "4:5": (928, 1152), "5:4": (1152, 928), "9:16": (768, 1376),
    "16:9": (1376, 768), "21:9": (1584, 672),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Model:
    """What one family takes. ``steps``: how many times the sides of ``1K`` each step has."""

    shapes: Mapping[str, Size]
    steps: Mapping[str, int] = field(default_factory=lambda: {"1K": 1})
    references: int = 3
    price: Mapping[str, float] = field(default_factory=dict)
    """USD by step; a step that is missing is unknown."""
    typical_s: float = 12.0

    def sizes(self, step: str = "1K") -> tuple[Size, ...]:
        """The pixel sizes of a step."""
        times = self.steps[step]
        return tuple((width * times, height * times) for width, height in self.shapes.values())

    def named(self, size: Size) -> tuple[str, str] | None:
        """Shape and step of a pixel size; None where it is none of theirs."""
        for step, times in self.steps.items():
            for shape, (width, height) in self.shapes.items():
                if size == (width * times, height * times):
                    return shape, step
        return None


_STEPS: Mapping[str, int] = {"1K": 1, "2K": 2, "4K": 4}

FAMILIES: Mapping[str, Model] = {
    "gemini-2.5-flash-image": Model(_OLDER, price={"1K": 0.039}),
    "gemini-3.1-flash-image": Model(_NEWER, _STEPS, 14, {"1K": 0.067}, 15.0),
    "gemini-3-pro-image": Model(_NEWER, _STEPS, 14, {"1K": 0.134, "2K": 0.156, "4K": 0.24}, 25.0),
}
"""By the beginning of the name; names may end in ``-preview`` or a date."""

OTHER = Model(_NEWER, references=3)
"""A model that no table has."""


def model(name: str) -> Model:
    """The table of a model."""
    bare = name.strip().lower().removeprefix("models/")
    return next((table for start, table in FAMILIES.items() if bare.startswith(start)), OTHER)
