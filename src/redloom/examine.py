"""One look at a finished picture: its thumbnail, and what makes it look wrong.

A picture is decoded once for all of it. *Blank*: hardly anything is on it. *Near-duplicate*: it
looks like another row's (a difference hash of brightness and the mean colours of its quarters).
Both are doubts, never verdicts: the picture is delivered all the same, with its flags.

May import: errors, image.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .errors import RedloomError
from .image import opened_file

if TYPE_CHECKING:
    from PIL.Image import Image as Pixels

THUMB = 360
"""Pixels of a thumbnail's longer side."""
SMALL = 96
"""The same of what is only looked at."""
THUMBS = ".thumbs"
"""Folder of the thumbnails below a run's folder."""
BLANK_DEVIATION = 2.0
"""Standard deviation, of 255, below which every channel of a picture counts as blank."""
BLANK_SHARE = 0.997
"""Share of a picture that may be one flat colour before it counts as nearly blank."""
FLAT = 6
"""How far from the commonest colour, of 255, still is that colour."""
VARIED = 12.0
"""Standard deviation, of 255, of the blocks of a picture that is certainly not blank."""
NEAR_BITS = 4
"""Bits of 64 in which the hashes of near-duplicates may differ."""
NEAR_COLOUR = 14
"""How far, of 255, the mean colours of their quarters may differ."""
CANDIDATES = 2000
"""Pictures of one band compared at most: where very many share it, the latest ones."""
LATEST = 1 << 15
"""Pictures of a run that a new one is compared with: beyond, memory would grow with the run."""
_BUCKETS = 5 << 13
_BANDS = ((0, 13), (13, 13), (26, 13), (39, 13), (52, 12))
"""Five bands of the hash: four bits that differ leave at least one of them equal."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a picture found."""

    flags: tuple[str, ...]
    fingerprint: str
    """64 bits of difference hash and the mean colours of the four quarters, hexadecimal."""
    thumb: bytes = b""
    """WebP; empty where none was wanted."""


def examine(picture: Pixels, *, thumb: bool = False) -> Look:
    """Look at a decoded picture once. For a thread."""
    pixels = _shrunk(picture, THUMB if thumb else SMALL)
    grey = _grey(pixels)
    flags = () if _is_varied(grey) or not is_blank(pixels) else ("blank",)
    return Look(flags, _fingerprint(pixels, grey), webp(pixels) if thumb else b"")


def thumb_name(file: str) -> str:
    """Where the thumbnail of a picture lies, relative to the run's folder."""
    return f"{THUMBS}/{file}.webp"


def keep_thumb(data: bytes, thumb: Path) -> None:
    """Write a thumbnail whole. It can be made again at any time: no fsync, no error."""
    part = thumb.with_name(f".redloom-{os.urandom(8).hex()}.part")
    with contextlib.suppress(OSError):
        thumb.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        part.replace(thumb)


def make_thumb(picture: Path, thumb: Path) -> None:
    """Make a thumbnail unless there is a newer one; a picture that cannot be read has none."""
    try:
        if thumb.is_file() and thumb.stat().st_mtime >= picture.stat().st_mtime:
            return
        with opened_file(picture) as opened:
            data = webp(_shrunk(opened, THUMB))
        keep_thumb(data, thumb)
    except (RedloomError, OSError, ValueError):
        return


def webp(pixels: Pixels) -> bytes:
    """A thumbnail's bytes."""
    import io

    out = io.BytesIO()
    pixels.save(out, "webp", quality=76, method=1)
    return out.getvalue()


def _shrunk(picture: Pixels, side: int) -> Pixels:
    """Its longer side at most ``side``; whole multiples at once, which costs least."""
    from PIL import Image

    if picture.mode not in ("RGB", "L"):
        # A palette must not be averaged; what is transparent shows on white, as a page shows it.
        clear = picture.has_transparency_data
        picture = picture.convert("RGBA" if clear else "RGB")
        if clear:
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    fold = max(picture.size) // side
    if fold > 1:
        picture = picture.reduce(fold)
    picture.thumbnail((side, side), Image.Resampling.BOX)
    return picture.convert("RGB")


def _grey(pixels: Pixels) -> bytes:
    """Brightness of 9 x 8 blocks."""
    from PIL import Image

    return pixels.convert("L").resize((9, 8), Image.Resampling.BOX).tobytes()


def _is_varied(grey: bytes) -> bool:
    """Whether the blocks differ so much that the picture cannot count as blank, which costs less
    to see. Where `BLANK_SHARE` of the pixels are within `FLAT` of one colour, the others move the
    blocks' standard deviation to some 9 at most; and it is never above that of the pixels.
    """
    mean = sum(grey) / len(grey)
    return sum((value - mean) ** 2 for value in grey) > VARIED**2 * len(grey)


def is_blank(pixels: Pixels) -> bool:
    """Whether hardly anything is on a picture: no deviation, or one flat colour nearly all over."""
    from PIL import Image, ImageStat

    small = pixels.resize((64, 64), Image.Resampling.BOX)
    statistics = ImageStat.Stat(small)
    if max(statistics.stddev) < BLANK_DEVIATION:
        return True
    return _flat_share(small, statistics.median) >= BLANK_SHARE


def _flat_share(small: Pixels, colour: Sequence[int]) -> float:
    """Share of the pixels whose every channel is within `FLAT` of ``colour``."""
    from PIL import Image, ImageChops

    away = ImageChops.difference(small, Image.new(small.mode, small.size, tuple(colour)))
    channels = [channel.point(_FAR) for channel in away.split()]
    far = functools.reduce(ImageChops.lighter, channels)
    return far.histogram()[0] / (small.width * small.height)


_FAR = [255 * (value > FLAT) for value in range(256)]


def fingerprint(pixels: Pixels) -> str:
    """Equal for equal pictures, near for those that look alike; see `alike`."""
    return _fingerprint(pixels, _grey(pixels))


def _fingerprint(pixels: Pixels, grey: bytes) -> str:
    from PIL import Image

    bits = 0
    for at in range(72):
        if at % 9 != 8:
            bits = bits << 1 | (grey[at] > grey[at + 1])
    quarters = pixels.resize((2, 2), Image.Resampling.BOX).tobytes()
    return f"{bits:016x}{quarters.hex()}"


def alike(one: str, other: str) -> bool:
    """Whether two fingerprints are those of near-duplicates."""
    if (int(one[:16], 16) ^ int(other[:16], 16)).bit_count() > NEAR_BITS:
        return False
    return _same_colours(bytes.fromhex(one[16:]), bytes.fromhex(other[16:]))


def _same_colours(one: bytes, other: bytes | memoryview[int]) -> bool:
    return all(abs(a - b) <= NEAR_COLOUR for a, b in zip(one, other, strict=True))


@dataclass
class Likeness:
    """Which pictures of a run look alike. Forty-eight bytes for each of the `LATEST`.

    Kept are pictures unlike all before; what looks like one of them is told its name. Several
    threads may add. Pictures are numbered from 0; number k lies in slot k % ``latest``.
    """

    latest: int = LATEST

    def __post_init__(self) -> None:
        self._kept = 0
        self._names = _zeros("Q", self.latest)
        """Row and take of each picture."""
        self._hashes = _zeros("Q", self.latest)
        self._colours = _zeros("B", 12 * self.latest)
        self._newest = _zeros("I", _BUCKETS)
        """By band and its bits: the number of the latest that has them, from 1; 0: none."""
        self._before = _zeros("I", len(_BANDS) * self.latest)
        """By slot and band: the number, from 1, of the one before that has the same bits."""
        self._lock = threading.Lock()

    def add(self, mark: str, row: int, take: int = 1) -> tuple[int, int] | None:
        """Row and take of an earlier picture that this one looks like; else it is kept."""
        if len(mark) != 40:
            return None
        bits, colours, name = int(mark[:16], 16), bytes.fromhex(mark[16:]), row << 16 | take
        with self._lock:
            found = self._nearest(bits, colours, name)
            if found is None:
                self._keep(bits, colours, name)
        return None if found is None else (found >> 16, found & 0xFFFF)

    def _keep(self, bits: int, colours: bytes, name: int) -> None:
        slot, number = self._kept % self.latest, self._kept + 1
        self._names[slot], self._hashes[slot] = name, bits
        self._colours[12 * slot : 12 * slot + 12] = colours
        for at, key in enumerate(_keys(bits), len(_BANDS) * slot):
            self._before[at], self._newest[key] = self._newest[key], number
        self._kept = number

    def _nearest(self, bits: int, colours: bytes, name: int) -> int | None:
        near = set[int]()
        for band, key in enumerate(_keys(bits)):
            near.update(
                number
                for number in self._chain(band, key)
                if (self._hashes[number % self.latest] ^ bits).bit_count() <= NEAR_BITS
            )
        for slot in (number % self.latest for number in sorted(near)):
            theirs = self._colours[12 * slot : 12 * slot + 12]
            if self._names[slot] != name and _same_colours(colours, theirs):
                return self._names[slot]
        return None

    def _chain(self, band: int, key: int) -> Iterator[int]:
        """Pictures that have these bits in a band, the latest first, while they are kept."""
        number, oldest = self._newest[key], max(0, self._kept - self.latest)
        for _ in range(CANDIDATES):
            if number <= oldest:
                return
            yield number - 1
            number = self._before[len(_BANDS) * ((number - 1) % self.latest) + band]


def _zeros(kind: Literal["B", "I", "Q"], count: int) -> memoryview[int]:
    """Numbers whose memory is the system's, taken as it is used: an array that grows by and by
    leaves the C library with holes of a megabyte that nothing fits into.
    """
    size = {"B": 1, "I": 4, "Q": 8}[kind]
    return memoryview(mmap(-1, size * count)).cast(kind)


def _keys(bits: int) -> list[int]:
    return [
        band << 13 | (bits >> at & ((1 << width) - 1)) for band, (at, width) in enumerate(_BANDS)
    ]
