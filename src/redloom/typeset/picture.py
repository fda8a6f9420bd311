"""A photograph made ready for a card: decoded, cut to its place, and darkened as far as words need.

typst has no blur and measures no pixels, so what stands behind words is settled here: the picture
is cut to the exact pixels of its place, and where words lie over it, a scrim of the strength that
this picture needs is baked in.
May import: errors.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from redloom.errors import BadInput

if TYPE_CHECKING:
    from PIL.Image import Image

CONTRAST = 6.8
"""Wanted between pure white (black) words and the pixels behind them.

WCAG 2.2 asks 4.5; the rest is for tinted inks, down to a relative luminance of 0.7, and for what
JPEG and rounding take.
"""

Box = tuple[int, int, int, int]
"""x, y, width, height in pixels of the card."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a picture stands on a card, and where words lie over it."""

    box: Box
    words: tuple[Box, ...] = ()
    ink: Literal["light", "dark"] = "light"
    feather: int = 160
    """Over how many pixels the scrim runs out beyond the words."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture cut to its place, as a data URI that typst's SVG reader draws pixel for pixel."""

    uri: str
    box: Box


def open_picture(data: bytes, what: str = "") -> Image:
    """The picture in RGB, turned as its EXIF says, on white where it is transparent.

    Raises BadInput where the bytes are no whole picture that Pillow can decode.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data)) as opened:
            turned = ImageOps.exif_transpose(opened)
            if turned.mode in ("RGBA", "LA", "PA") or "transparency" in turned.info:
                whole = turned.convert("RGBA")
                ground = Image.new("RGBA", whole.size, "white")
                return Image.alpha_composite(ground, whole).convert("RGB")
            return turned.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadInput(
            f"图片{what}读不出来（{error}）。请换一张完整的 PNG、JPEG 或 WebP；没有花钱。",
            f"The picture{what and ' ' + what} cannot be read ({error}). "
            "Give a whole PNG, JPEG or WebP; nothing was spent.",
        ) from None


def cut_to(image: Image, size: tuple[int, int]) -> Image:
    """The middle of the picture at exactly ``size``, a little above the middle when it is tall."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    return ImageOps.fit(image, size, method=Pillow.Resampling.LANCZOS, centering=(0.5, 0.42))


def relative_luminance(rgb: tuple[float, float, float]) -> float:
    """WCAG's relative luminance of an sRGB colour (0-255 a channel)."""
    r, g, b = (_linear(channel / 255) for channel in rgb)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)


def contrast(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    """WCAG's contrast ratio of two sRGB colours, 1 to 21."""
    high, low = sorted((relative_luminance(one), relative_luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def scrim_strength(image: Image, words: Box, ink: Literal["light", "dark"]) -> float:
    """How opaque a black (white) scrim must be there for white (black) words to stand clear.

    Judged by the brightest (darkest) pixels, because that is where a stroke gets lost.
    """
    x, y, width, height = words
    grey = image.crop((x, y, x + width, y + height)).convert("L")
    low, high = grey.getextrema()
    if ink == "light":
        limit = _grey_for((1.0 + 0.05) / CONTRAST - 0.05)
        worst = float(high)  # type: ignore[arg-type]
        return max(0.0, 1 - limit / worst) if worst else 0.0
    limit = _grey_for(CONTRAST * 0.055 - 0.05)
    worst = float(low)  # type: ignore[arg-type]
    return max(0.0, (limit - worst) / (255 - worst)) if worst < limit else 0.0


def _grey_for(luminance: float) -> float:
    """The grey (0-255) whose relative luminance this is."""
    channel = (
        luminance * 12.92 if luminance <= 0.0031308 else 1.055 * luminance ** (1 / 2.4) - 0.055
    )
    return 255 * channel


def with_scrim(image: Image, place: Place, least: float = 0.18) -> Image:
    """The picture with a scrim under each stretch of words, as strong as this picture needs."""
    from PIL import Image as Pillow
    from PIL import ImageChops

    mask = Pillow.new("L", image.size, 0)
    for words in place.words:
        strength = max(least, scrim_strength(image, words, place.ink))
        mask = ImageChops.lighter(mask, _feathered(image.size, words, place.feather, strength))
    veil = Pillow.new("RGB", image.size, "black" if place.ink == "light" else "white")
    return Pillow.composite(veil, image, mask)


def _feathered(size: tuple[int, int], words: Box, feather: int, strength: float) -> Image:
    """A mask, full where the words lie, running out smoothly above and below them."""
    from PIL import Image as Pillow

    _, y, _, height = words
    full = min(255, round(255 * strength + 0.5))
    column = Pillow.new("L", (1, size[1]))
    column.putdata([round(full * _ease(row, y, y + height, feather)) for row in range(size[1])])
    return column.resize(size)


def _ease(row: int, top: int, bottom: int, feather: int) -> float:
    away = max(top - row, row - bottom, 0)
    if away >= feather:
        return 0.0
    share = 1 - away / feather
    return share * share * (3 - 2 * share)


def prepare(data: bytes, place: Place) -> Prepared:
    """Decode, cut, darken where words lie, and encode for the press. Raises BadInput."""
    x, y, width, height = place.box
    image = cut_to(open_picture(data), (width, height))
    if place.words:
        moved = tuple((wx - x, wy - y, w, h) for wx, wy, w, h in place.words)
        image = with_scrim(image, Place(place.box, moved, place.ink, place.feather))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=93, subsampling=0)
    return Prepared(
        "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode(), place.box
    )
