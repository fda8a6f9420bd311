"""Models on fal: what their input is called, sizes, prices, from a dated table.

Every model is an app of its own with its own input; these are the text-to-image ones that the
table knows, and any other is spoken to in the words that nearly all of them share (``prompt``,
``image_size``, ``num_images``, ``seed``). Sources: fal.ai/models, read through a price list of
2026 that names a megapixel as 1024x1024, rounded up; where two figures were found (flux-pro v1.1:
0.04 and 0.055) the higher is taken, so that a budget holds.

May import: endpoint.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from redloom.endpoint import Size

from ._requests import Area

AS_OF = "2026-05-25"
URL_LIFE_S = 7 * 86400.0
"""How long a link lasts is not published; results are kept for days."""

SIZES: tuple[Size, ...] = (
    (1024, 1024), (864, 1152), (1152, 864), (832, 1248), (1248, 832), (768, 1344), (1344, 768),
)  # fmt: skip
_MEGAPIXEL = 1024 * 1024
_COMMON = frozenset({"enable_safety_checker", "output_format"})
_STEPS = _COMMON | {"num_inference_steps", "guidance_scale", "acceleration"}


@dataclass(frozen=True, slots=True)
class Model:
    """What one model takes. ``shape``: it wants ``aspect_ratio`` in the place of a size."""

    per_megapixel: float | None = None
    per_picture: float | None = None
    options: frozenset[str] = _COMMON
    reference: str = ""
    """The field of its one reference picture; empty where it takes none."""
    shape: bool = False
    typical_s: float = 8.0

    def price(self, size: Size | None) -> float | None:
        """USD for one picture; None where the table has none."""
        if self.per_picture is not None or self.per_megapixel is None:
            return self.per_picture
        width, height = size or SIZES[0]
        return self.per_megapixel * math.ceil(width * height / _MEGAPIXEL)


AREA = Area(256 * 256, 4 * _MEGAPIXEL, ratio=4, step=16, strict=True)
"""What FLUX works in: sides are multiples of 16; beyond four megapixels it falls apart."""

MODELS: Mapping[str, Model] = {
    "fal-ai/flux/schnell": Model(0.003, options=_STEPS, typical_s=2.0),
    "fal-ai/flux/dev": Model(0.025, options=_STEPS, typical_s=6.0),
    "fal-ai/flux-pro/v1.1": Model(0.055, options=_COMMON | {"safety_tolerance"}),
    "fal-ai/flux-pro/kontext": Model(
        per_picture=0.04,
        options=_COMMON | {"safety_tolerance", "guidance_scale"},
        reference="image_url",
        shape=True,
        typical_s=10.0,
    ),
}

OTHER = Model(options=_STEPS | {"safety_tolerance"})
"""A model that the table lacks: asked in the common words, price unknown."""

SHAPES = ("21:9", "16:9", "4:3", "3:2", "1:1", "2:3", "3:4", "9:16", "9:21")
"""Kontext's ``aspect_ratio``."""


def model(name: str) -> Model:
    """The table of a model."""
    return MODELS.get(name.strip().strip("/").lower(), OTHER)


def nearest_shape(size: Size) -> str:
    """The shape of `SHAPES` nearest to a size."""

    def off(name: str) -> float:
        width, height = (int(part) for part in name.split(":"))
        return abs(math.log(width / height * size[1] / size[0]))

    return min(SHAPES, key=off)
