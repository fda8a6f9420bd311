"""Pictures as they are handed out: under addresses that nobody can guess, labelled, kept at hand.

An address is the picture's digest and a MAC over it, so that it lasts, needs no table and cannot
be made up. What is sent is the store's picture with its metadata and AIGC label spliced in, made
once and kept under ``served/`` (a cache: it may be emptied at any time).

May import: errors, clock, journal, image, metadata, manifest, studio.memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import io
import json
import re
from collections import OrderedDict
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from redloom.clock import offload
from redloom.errors import RedloomError
from redloom.image import Delivery, Store, deliver, write_whole
from redloom.metadata import About

from .memory import Memory

THUMB = 400
"""Pixels of a thumbnail's longer side."""
HOT_BYTES = 96 * 1024 * 1024
"""Pictures kept in memory at most."""
AT_ONCE = 2
_NAME = re.compile(
    r"([0-9a-f]{64})([0-9a-f]{32})(\.thumb)?(?:\.q(100|[1-9][0-9]?))?\.(png|jpg|webp)"
)
KINDS = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
_EXTENSIONS = {"png": "png", "jpeg": "jpg", "jpg": "jpg", "webp": "webp"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A picture by its digest, as ``kind`` (png, jpg, webp), or small. ``quality`` (1 to 100) of
    JPEG and WebP where it was asked for, else 0.
    """

    sha256: str
    kind: str
    thumb: bool = False
    quality: int = 0

    @property
    def name(self) -> str:
        """Its file below ``served/``."""
        return f"{self.sha256[:2]}/{self.sha256}{self.variant}.{self.kind}"

    @property
    def variant(self) -> str:
        """What its names have between digest and kind."""
        return ".thumb" if self.thumb else f".q{self.quality}" if self.quality else ""


@dataclass
class Pictures:
    """Hands pictures out."""

    root: Path
    store: Store
    memory: Memory
    secret: bytes
    _hot: OrderedDict[str, bytes] = field(default_factory=OrderedDict)
    _hot_bytes: int = 0
    _under_way: dict[str, asyncio.Task[bytes | None]] = field(default_factory=dict)
    _turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    def path(self, sha256: str, kind: str = "png", *, thumb: bool = False, quality: int = 0) -> str:
        """The address below our root: ``/pictures/….png``."""
        kind = "webp" if thumb else _EXTENSIONS.get(kind, "png")
        wanted = Wanted(sha256, kind, thumb, 0 if kind == "png" else quality)
        return f"/pictures/{sha256}{self._mark(wanted)}{wanted.variant}.{kind}"

    def wanted(self, name: str) -> Wanted | None:
        """What an address asks for, or None where it was not ours."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        wanted = Wanted(found[1], found[5], bool(found[3]), int(found[4] or 0))
        return wanted if hmac.compare_digest(found[2], self._mark(wanted)) else None

    async def bytes_of(self, wanted: Wanted) -> bytes | None:
        """The file, or None where the store has no such picture."""
        name = wanted.name
        data = self._hot.get(name)
        if data is not None:
            self._hot.move_to_end(name)
            return data
        task = self._under_way.get(name)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._fetch(wanted))
            self._under_way[name] = task
            task.add_done_callback(lambda _task: self._under_way.pop(name, None))
        return await asyncio.shield(task)

    async def _fetch(self, wanted: Wanted) -> bytes | None:
        async with self._turn:
            row = await self.memory.image(wanted.sha256)
            about = "{}" if row is None else str(row["about"])
            data = await offload(self._made, wanted, about)
        if data is not None:
            self._keep(wanted.name, data)
        return data

    def _made(self, wanted: Wanted, about: str) -> bytes | None:
        """From ``served/``, else made and put there. For a thread."""
        path = self.root / "served" / wanted.name
        if path.is_file():
            return path.read_bytes()
        image = self.store.find(wanted.sha256)
        if image is None:
            return None
        if wanted.thumb:
            data = thumbnail(image.path.read_bytes())
            write_whole(path, data)
            return data
        kind = "jpeg" if wanted.kind == "jpg" else wanted.kind
        options = Delivery(format=None if kind == image.format else kind, sidecar=False)
        if wanted.quality and kind != "png":
            options = Delivery(format=kind, sidecar=False, quality=wanted.quality, anew=True)
        deliver(image, path, _about(about), options)
        return path.read_bytes()

    def _keep(self, name: str, data: bytes) -> None:
        if len(data) > HOT_BYTES // 8:
            return
        self._hot_bytes += len(data) - len(self._hot.pop(name, b""))
        self._hot[name] = data
        while self._hot_bytes > HOT_BYTES:
            self._hot_bytes -= len(self._hot.popitem(last=False)[1])

    def _mark(self, wanted: Wanted) -> str:
        """Of the picture, and of a quality where one was asked for: others are not made on demand."""
        named = f"picture|{wanted.sha256}" + (f"|q{wanted.quality}" if wanted.quality else "")
        return hmac.new(self.secret, named.encode(), hashlib.sha256).hexdigest()[:32]


def thumbnail(data: bytes, side: int = THUMB) -> bytes:
    """A small WebP of a picture that we made or checked ourselves. For a thread."""
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as picture:
        picture.draft("RGB", (side, side))
        small = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    small.thumbnail((side, side))
    out = io.BytesIO()
    small.save(out, "WEBP", quality=78, method=2)
    return out.getvalue()


def _about(text: str) -> About:
    """What the journal knows of a picture, without the rows of whoever asked first."""
    known = {one.name for one in fields(About)}
    values: dict[str, Any] = {k: v for k, v in json.loads(text).items() if k in known}
    for name in ("size_asked", "references", "flags"):
        if values.get(name) is not None:
            values[name] = tuple(values[name])
    values.setdefault("prompt", "")
    return About(**values)


async def thumb_of_file(path: Path, cache: Path) -> bytes | None:
    """A thumbnail of a file that is no store picture (a note's card), kept at ``cache``."""

    def made() -> bytes | None:
        try:
            if cache.is_file():
                return cache.read_bytes()
            data = thumbnail(path.read_bytes())
            write_whole(cache, data)
        except (OSError, RedloomError):
            return None
        return data

    return await offload(made)
