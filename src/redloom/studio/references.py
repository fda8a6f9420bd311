"""Pictures that somebody sends as references: checked to the last pixel, kept by their content.

May import: lang, errors, clock, image, splice, studio.{house,problems}.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path

from redloom.clock import offload
from redloom.image import write_whole
from redloom.lang import Text

from .house import House
from .problems import Problem, wrong

MOST = 16
_SUFFIX = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}


async def take_reference(house: House, data: bytes) -> str:
    """The path of a reference in the workspace. The same bytes are the same path, so that the
    request they belong to stays the same request. Raises Problem 413 or 422.
    """
    most = house.options.picture_bytes
    if len(data) > most:
        raise Problem(
            413, "too_large", text_of(most), param="image"
        )  # fmt: skip
    suffix = await offload(checked, data, house.options.picture_pixels)
    path = house.root / "references" / f"{hashlib.sha256(data).hexdigest()}.{suffix}"
    await offload(_keep, path, data)
    return str(path)


def text_of(most: int) -> Text:
    """Too large."""
    return Text(f"图片太大，最多 {most:,} 字节。", f"The picture is too large; {most:,} bytes at most.")  # fmt: skip


def checked(data: bytes, most_pixels: int) -> str:
    """The suffix of a whole PNG, JPEG or WebP. Raises Problem 422 for anything else, and for one
    that unpacks to more than ``most_pixels``, before it is unpacked. For a thread.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=tuple(_SUFFIX)) as picture:
                size, kind = picture.width * picture.height, picture.format or ""
                if 0 < size <= most_pixels and getattr(picture, "n_frames", 1) == 1:
                    picture.load()
                    return _SUFFIX[kind]
    except (OSError, SyntaxError, ValueError, KeyError, MemoryError, OverflowError, Image.DecompressionBombError, Image.DecompressionBombWarning):  # fmt: skip
        pass
    raise wrong(
        "image", f"image 要是一张完好的 PNG、JPEG 或 WebP，不超过 {most_pixels:,} 像素。",
        f"image must be a sound PNG, JPEG or WebP of at most {most_pixels:,} pixels.", "invalid_image",
    )  # fmt: skip


def _keep(path: Path, data: bytes) -> None:
    if not path.is_file():
        write_whole(path, data)
