"""Seedream's models on Volcengine Ark: sizes, references, prices, from dated tables.

Sources: volcengine.com/docs/82379/1541523 (image generation API; sizes, references, 500 pictures
a minute and model), read through the Ark command line's and SDK's sources in November 2026.
Prices are those of resellers that name them as the official ones (2026-06): CNY on Volcengine,
USD on BytePlus; what no source gives is unknown, never guessed.

May import: endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from redloom.endpoint import Size

from ._requests import Area

AS_OF = "2026-06-30"
PICTURES_PER_SECOND = 500 / 60
URL_LIFE_S = 86400.0

SIZES_2K: tuple[Size, ...] = (
    (2048, 2048), (1728, 2304), (2304, 1728), (1664, 2496), (2496, 1664),
    (1440, 2560), (2560, 1440), (3024, 1296),
)  # fmt: skip
"""Suggested sizes that every model from 4.0 on takes."""

_COMMON = frozenset({"watermark", "response_format", "optimize_prompt_options"})


@dataclass(frozen=True, slots=True)
class Model:
    """What one family of models takes."""

    area: Area
    sizes: tuple[Size, ...] = SIZES_2K
    references: int = 14
    seed: bool = False
    options: frozenset[str] = _COMMON
    price: Mapping[str, float] = field(default_factory=dict)
    """By currency; a currency that is missing is unknown."""
    typical_s: float = 15.0


_FROM_2K = Area(3_686_400, 16_777_216)
_OPTIONS_5 = _COMMON | {"output_format", "tools"}

FAMILIES: Mapping[str, Model] = {
    "seedream-5-0-pro": Model(
        Area(921_600, 4_624_220), references=10, options=_OPTIONS_5, typical_s=30.0
    ),
    "seedream-5-0": Model(
        _FROM_2K, options=_OPTIONS_5, price={"CNY": 0.22, "USD": 0.035}, typical_s=20.0
    ),
    "seedream-4-5": Model(_FROM_2K, price={"USD": 0.04}, typical_s=20.0),
    "seedream-4-0": Model(Area(921_600, 16_777_216), price={"CNY": 0.20, "USD": 0.03}),
    "seedream-3-0": Model(
        Area(512 * 512, 2048 * 2048),
        sizes=((1024, 1024), (864, 1152), (1152, 864), (720, 1280), (1280, 720)),
        references=0,
        seed=True,
        options=_COMMON - {"optimize_prompt_options"} | {"guidance_scale"},
        price={"USD": 0.03},
        typical_s=10.0,
    ),
}
"""By the beginning of the name, longest first. Names end in a date; without it they are refused."""

OTHER = Model(_FROM_2K, options=_OPTIONS_5)
"""A model that no table has, such as an inference endpoint of one's own (``ep-…``)."""


def model(name: str) -> Model:
    """The table of a model; BytePlus writes the names without ``doubao-``."""
    bare = name.strip().lower().removeprefix("doubao-")
    return next((table for start, table in FAMILIES.items() if bare.startswith(start)), OTHER)
