"""Bytes to a verified picture: every part read, every pixel decoded, measured and hashed.

May import: errors, splice, naming, parts.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import LinkExpired, NotAPicture, PictureError
from .naming import extension
from .parts import on_disk, remove
from .splice import Webp, broken, kind_of, open_picture, take_apart

if TYPE_CHECKING:
    from PIL.Image import Image as Pixels

Look = Callable[["Pixels"], Any]
EXPIRED_WORDS = re.compile(rb"AccessDenied|ExpiredToken|[Rr]equest has expired|NoSuchKey")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A verified picture in the downloads folder. ``flags``: ``wrong-size``."""

    path: Path
    """Where its file is; where it would be, if ``data`` has the bytes."""
    sha256: str
    size_bytes: int
    format: str
    width: int
    height: int
    flags: tuple[str, ...] = ()
    seen: Any = None
    """What the caller's ``look`` made of the decoded picture."""
    data: bytes = b""
    """The bytes, where they have not been put on the disk: only for a caller's ``keep``."""


class Hopeless(NotAPicture):
    """Bytes that another try would not make better: over a cap."""


def verify(
    part: Path,
    name: str,
    size: tuple[int, int] | None,
    max_pixels: int,
    look: Look | None = None,
) -> Fetched:
    """Decode a whole file, measure, hash, fsync and rename it. For a worker thread.

    ``look`` is shown the decoded picture while it is there anyway.

    Raises NotAPicture (the file is gone then), LinkExpired where it is an error page saying so,
    DiskFull.
    """
    with on_disk(), part.open("rb") as file:
        try:
            data = file.read()
            found = verify_bytes(data, part.with_name(name), size, max_pixels, look)
        except PictureError:
            remove(part)
            raise
        os.fsync(file.fileno())
    with on_disk():
        part.replace(found.path)
    return replace(found, data=b"")


def verify_bytes(
    data: bytes,
    place: Path,
    size: tuple[int, int] | None,
    max_pixels: int,
    look: Look | None = None,
) -> Fetched:
    """`verify` for bytes in memory, which stay there. ``place``: its path, without the suffix."""
    kind = _structure(data)
    (width, height), seen = _decode(data, kind, max_pixels, look)
    flags = ("wrong-size",) if size is not None and size != (width, height) else ()
    digest = hashlib.sha256(data).hexdigest()
    path = place.with_name(f"{place.name}.{extension(kind)}")
    return Fetched(path, digest, len(data), kind, width, height, flags, seen, data)


def _structure(data: bytes) -> str:
    """The kind by magic bytes, its parts read to the end, so that a cut or a bad CRC shows."""
    kind = kind_of(data[:12])
    if kind is None and EXPIRED_WORDS.search(data[:4096]):
        raise expired()
    return take_apart(data).format


def _decode(
    data: bytes, kind: str, max_pixels: int, look: Look | None
) -> tuple[tuple[int, int], Any]:
    """Every pixel decoded; width and height, and what ``look`` made of it."""
    if kind == "webp":  # its decoder allocates the canvas at once
        _check_pixels(Webp.read(data).size(), max_pixels)
    try:
        with open_picture(io.BytesIO(data), kind) as picture:
            _check_pixels(picture.size, max_pixels)
            picture.load()
            size = picture.size
            return size, None if look is None else look(picture)
    except PictureError:
        raise
    except Exception as error:
        raise broken("无法解码", "it cannot be decoded") from error


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise Hopeless(
            f"图片有 {size[0]}×{size[1]} 像素，超过上限，没有收下。图片已付费；可调高上限后重新运行。",
            f"The picture has {size[0]}×{size[1]} pixels, over the cap, and was not taken. It is "
            "paid for; raise the cap and run again.",
        )


def expired() -> LinkExpired:
    """The error for a link that no longer gives the picture."""
    return LinkExpired(
        "图片链接已失效。图片已付费；任务记录还在时可以取得新链接，不会重新购买。",
        "The picture's link is no longer good. It is paid for; while the task's record lives a "
        "new link can be had, without buying again.",
    )
