"""Photographs on cards: cut exactly, darkened as far as words need, never a traceback."""

from __future__ import annotations

import base64
import io
from typing import Literal

import pytest
from PIL import Image

from redloom.errors import BadInput
from redloom.typeset.picture import (
    CONTRAST,
    Place,
    contrast,
    cut_to,
    open_picture,
    prepare,
    relative_luminance,
    scrim_strength,
    with_scrim,
)

WHITE, BLACK = (255.0, 255.0, 255.0), (0.0, 0.0, 0.0)


def encoded(image: Image.Image, form: str = "PNG") -> bytes:
    """The picture's bytes."""
    out = io.BytesIO()
    image.save(out, form)
    return out.getvalue()


def test_contrast_is_wcags() -> None:
    """Black on white is 21; #777777 on white is the well-known near miss of 4.48."""
    assert contrast(WHITE, BLACK) == pytest.approx(21)
    assert contrast((119, 119, 119), WHITE) == pytest.approx(4.48, abs=0.01)
    assert relative_luminance(WHITE) == pytest.approx(1)


@pytest.mark.parametrize("ink", ["light", "dark"])
@pytest.mark.parametrize("grey", [0, 60, 119, 180, 255])
def test_the_scrim_is_as_strong_as_needed(grey: int, ink: Literal["light", "dark"]) -> None:
    """Words of either ink reach the wanted contrast on any grey, and need no more than that."""
    image = Image.new("RGB", (64, 64), (grey,) * 3)
    words = (0, 0, 64, 64)
    done = with_scrim(image, Place((0, 0, 64, 64), (words,), ink), least=0)
    pixel = done.getpixel((32, 32))
    assert isinstance(pixel, tuple)
    behind = (float(pixel[0]), float(pixel[1]), float(pixel[2]))
    reached = contrast(WHITE if ink == "light" else BLACK, behind)
    assert reached >= 0.97 * CONTRAST
    if scrim_strength(image, words, ink) > 0:
        assert reached <= 1.15 * CONTRAST


def test_one_bright_spot_counts() -> None:
    """The scrim is judged by the brightest pixel under the words, where a stroke gets lost."""
    image = Image.new("RGB", (64, 64), "black")
    image.putpixel((5, 5), (255, 255, 255))
    assert scrim_strength(image, (0, 0, 64, 64), "light") > 0.5
    assert scrim_strength(image, (20, 20, 40, 40), "light") == 0


def test_a_picture_is_cut_to_its_place() -> None:
    """Any shape comes out at exactly the pixels of its place, as a JPEG that typst can draw."""
    for size in ((3000, 40), (40, 3000), (1, 1), (1664, 2218)):
        ready = prepare(encoded(Image.new("RGB", size, "teal")), Place((10, 20, 300, 400)))
        head, _, data = ready.uri.partition(",")
        assert head == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as made:
            assert made.size == (300, 400)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"])
def test_all_kinds_of_pictures_open(mode: str) -> None:
    """Every colour mode that services deliver becomes RGB."""
    form = "TIFF" if mode == "CMYK" else "PNG"
    assert open_picture(encoded(Image.new(mode, (8, 8)), form)).mode == "RGB"


def test_a_turned_photograph_stands_upright() -> None:
    """EXIF orientation is obeyed, as viewers do."""
    image = Image.new("RGB", (40, 20), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    image.save(out, "JPEG", exif=exif)
    assert open_picture(out.getvalue()).size == (20, 40)


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_bytes_that_are_no_picture(data: bytes) -> None:
    """Broken bytes are bad input, said in both languages."""
    with pytest.raises(BadInput) as caught:
        open_picture(data)
    assert caught.value.text.zh
    assert "nothing was spent" in caught.value.text.en


def test_a_truncated_picture_is_refused() -> None:
    """Half a file is not shown as half a picture."""
    whole = encoded(Image.effect_mandelbrot((200, 200), (-2, -1, 1, 1), 50).convert("RGB"))
    with pytest.raises(BadInput):
        open_picture(whole[: len(whole) // 2])


def test_cutting_keeps_the_middle() -> None:
    """What stands in the middle stays in the picture."""
    image = Image.new("RGB", (400, 100), "black")
    image.paste((255, 0, 0), (190, 40, 210, 60))
    assert (255, 0, 0) in {pixel for _, pixel in cut_to(image, (100, 100)).getcolors(100000) or ()}
