"""Models on Replicate: what their input is called, shapes, prices, from a dated table.

Every model has an input of its own; these are the text-to-image ones that the table knows. Any
other is asked with ``prompt``, ``seed`` and ``aspect_ratio``, which nearly all of them share.
Prices are USD for one picture of official models (replicate.com/pricing, read through a list of
May 2026); what no source gives is unknown.

May import: nothing of the package.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

AS_OF = "2026-05-25"
SUBMITS_PER_SECOND = 600 / 60
CALLS_PER_SECOND = 3000 / 60
DATA_LIFE_S = 3600.0
"""Input, output and files of a prediction made by the API are removed after an hour."""

SHAPES = (
    "1:1", "4:5", "5:4", "3:4", "4:3", "2:3", "3:2", "9:16", "16:9", "9:21", "21:9",
)  # fmt: skip
_COMMON = frozenset({"output_format", "output_quality", "aspect_ratio"})
_OPEN = _COMMON | {
    "num_inference_steps", "guidance", "go_fast", "megapixels", "disable_safety_checker",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Model:
    """What one model takes. ``reference``: the field of its one reference picture."""

    price: float | None = None
    options: frozenset[str] = _COMMON
    reference: str = ""
    count: str = "num_outputs"
    """The field that says how many pictures; empty where there is none: it makes one."""
    typical_s: float = 8.0


MODELS: Mapping[str, Model] = {
    "black-forest-labs/flux-schnell": Model(0.003, _OPEN, typical_s=2.0),
    "black-forest-labs/flux-dev": Model(0.025, _OPEN, "image", typical_s=6.0),
    "black-forest-labs/flux-1.1-pro": Model(
        None, _COMMON | {"safety_tolerance", "prompt_upsampling"}, "image_prompt", ""
    ),
    "black-forest-labs/flux-kontext-pro": Model(
        None, _COMMON | {"safety_tolerance", "prompt_upsampling"}, "input_image", ""
    ),
}

OTHER = Model(options=_OPEN | {"guidance_scale", "safety_tolerance"}, count="")
"""A model that the table lacks: asked in the words that most share, price unknown."""


def model(name: str) -> Model:
    """The table of a model, its version left out."""
    return MODELS.get(name.partition(":")[0].strip().lower(), OTHER)


def nearest_shape(size: tuple[int, int]) -> str:
    """The shape of `SHAPES` nearest to a size."""

    def off(name: str) -> float:
        width, height = (int(part) for part in name.split(":"))
        return abs(math.log(width / height * size[1] / size[0]))

    return min(SHAPES, key=off)
