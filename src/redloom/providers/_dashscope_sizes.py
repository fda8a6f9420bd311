"""The nearest size that a DashScope model takes. Rules are data in `_dashscope_models`.

May import: nothing of the package.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from ._dashscope_models import Area, Listed, Model, Ratios, Sides, Size

_STEP = 16
"""Sizes of our own choosing are multiples of this, as all suggested ones are."""


def is_legal(model: Model, size: Size) -> bool:
    """Whether the model takes exactly this size."""
    return size in model.sizes or size in model.also or _keeps(model, size)


def _keeps(model: Model, size: Size) -> bool:
    """Whether a size keeps the written rule."""
    width, height = size
    match model.rule:
        case Area(least, most, ratio):
            longer, shorter = max(size), min(size)
            return least <= width * height <= most and longer <= ratio * shorter
        case Sides(least, most):
            return least <= min(size) and max(size) <= most
        case Listed() | Ratios():
            return False
        case _:
            return True


def nearest(model: Model, size: Size) -> Size:
    """The legal size whose shape, then whose pixel count, comes nearest to ``size``."""
    if is_legal(model, size):
        return size
    return min(_candidates(model, size), key=lambda other: _distance(size, other))


def nearest_ratio(names: tuple[str, ...], size: Size) -> str:
    """The name such as ``9:16`` nearest in shape to ``size``."""

    def off(name: str) -> float:
        width, height = (int(part) for part in name.split(":"))
        return abs(math.log(width / height * size[1] / size[0]))

    return min(names, key=off)


def _candidates(model: Model, size: Size) -> Iterator[Size]:
    yield from model.sizes
    if isinstance(model.rule, Area | Sides):
        for width, height in _around(_scaled(model.rule, size)):
            if _keeps(model, (width, height)):
                yield width, height


def _scaled(rule: Area | Sides, size: Size) -> tuple[float, float]:
    """``size`` shrunk, grown and squeezed until the rule holds, before rounding."""
    width, height = (float(max(1, side)) for side in size)
    widest = rule.ratio if isinstance(rule, Area) else rule.most / rule.least
    shape = min(widest, max(1 / widest, width / height))
    if isinstance(rule, Area):
        area = min(rule.most, max(rule.least, width * height))
        return math.sqrt(area * shape), math.sqrt(area / shape)
    height = math.sqrt(width * height / shape)
    lowest = max(rule.least, rule.least / shape)
    highest = min(rule.most, rule.most / shape)
    height = min(highest, max(lowest, height))
    return height * shape, height


def _around(exact: tuple[float, float], reach: int = 3) -> Iterator[Size]:
    """Multiples of the step near an exact size."""
    columns, rows = (round(side / _STEP) for side in exact)
    for column in range(columns - reach, columns + reach + 1):
        for row in range(rows - reach, rows + reach + 1):
            yield column * _STEP, row * _STEP


def _distance(asked: Size, other: Size) -> tuple[float, float]:
    """How far apart in shape, in steps of a thousandth, then in pixels."""
    shape = abs(math.log(other[0] / other[1] * asked[1] / max(1, asked[0])))
    pixels = abs(math.log(other[0] * other[1] / max(1, asked[0] * asked[1])))
    return round(shape, 3), pixels
