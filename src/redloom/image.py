"""The finished picture: kept as it came, handed over with words and label, doubted where odd.

The store holds the provider's bytes verbatim, found by their digest. What is delivered is made
from them: metadata and labels are spliced in, and only another format or an exact crop decodes.
May import: errors, private, metadata, splice, naming, parts, verify.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import itertools
import os
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from . import private
from .errors import BadInput
from .metadata import (
    About,
    carry_over,
    label_for,
    mark,
    parameters,
    sidecar,
)
from .naming import extension
from .parts import on_disk
from .splice import broken, kind_of, open_picture
from .verify import Fetched

if TYPE_CHECKING:
    from PIL.Image import Image as Pixels

Size = tuple[int, int]
SWEPT = 3
"""How often a half file may be swept from under a writer, after which it is the disk's fault."""


@dataclass(frozen=True, slots=True)
class Image:
    """A picture in the store. ``format`` is ``png``, ``jpeg`` or ``webp``; size in pixels."""

    sha256: str
    format: str
    width: int
    height: int
    size_bytes: int
    path: Path


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a picture is handed over. None for ``format`` and ``crop``: the bytes as they came."""

    format: str | None = None
    crop: Size | None = None
    focus: Literal["centre", "attention"] = "attention"
    """What a crop keeps: the middle, or the part with the most detail."""
    metadata: bool = True
    label: bool = True
    """The implicit AIGC label, where a model made the picture and nobody labelled it yet."""
    sidecar: bool = True
    quality: int = 92
    """Of JPEG and WebP, to 100."""
    anew: bool = False
    """Encoded at that quality even where the picture has the format already."""
    also: tuple[str, ...] = ()
    """Further files of every picture, such as ``webp``, ``1080x1440`` or ``1080x1440.jpg``."""

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Delivery:
        """From a run's options as the journal keeps them."""
        return cls(**{**kept, "also": tuple(kept.get("also", ()))})


@dataclass(frozen=True, slots=True)
class Delivered:
    """A file handed over, and its sidecar if any."""

    path: Path
    sha256: str
    format: str
    width: int
    height: int
    size_bytes: int
    sidecar: Path | None = None


class Store:
    """Content-addressed files: ``images/ab/ab….png`` below ``root``, for worker threads."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "images"

    def put(self, fetched: Fetched) -> Image:
        """Move a verified picture in, durably. The same bytes twice are one file. DiskFull."""
        target = self._place(fetched.sha256, fetched.format)
        # What lies there already is the same bytes, or damaged: replaced either way.
        with on_disk():
            if fetched.data:
                part = f"{fetched.path.stem}.{os.urandom(8).hex()}.0.part"
                _write_then_move(fetched.data, fetched.path.with_name(part), target)
            else:
                _in_folder(target.parent, lambda: _move(fetched.path, target), private.folder)
        width, height, size = fetched.width, fetched.height, fetched.size_bytes
        return Image(fetched.sha256, fetched.format, width, height, size, target)

    def find(self, sha256: str) -> Image | None:
        """The picture of this digest, if it is there; its bytes are not hashed again."""
        for kind in ("png", "jpeg", "webp"):
            path = self._place(sha256, kind)
            if path.is_file():
                width, height = _measure(path, kind)
                return Image(sha256, kind, width, height, path.stat().st_size, path)
        return None

    def verify(self, sha256: str) -> bool:
        """Whether the picture is there and its bytes are still those of its digest."""
        image = self.find(sha256)
        return image is not None and _digest(image.path) == sha256

    def take_in(self, data: bytes, sha256: str, kind: str) -> None:
        """Keep bytes of this digest that were found elsewhere. Raises DiskFull."""
        write_whole(self._place(sha256, kind), data)

    def digests(self) -> Iterator[str]:
        """The digest of every picture in the store, by its file's name."""
        return (path.stem for path in self._files())

    def usage(self) -> tuple[int, int]:
        """Files and bytes in the store."""
        files = size = 0
        for path in self._files():
            with contextlib.suppress(FileNotFoundError):  # pruned meanwhile
                size += path.stat().st_size
                files += 1
        return files, size

    def prune(self, keep: Callable[[str], bool], *, older_than: float) -> int:
        """Remove pictures that ``keep(sha256)`` does not want; returns the bytes freed.

        Only files last written before ``older_than`` (real Unix time), so that what another
        thread or process has just put is safe, in the very moment of its removal too: a file is
        moved out of sight, looked at again, and put back where it is new. Raises DiskFull.
        """
        freed = 0
        with on_disk():
            for path in self._files():
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime < older_than and not keep(path.stem):
                        freed += _removed(path, older_than)
        return freed

    def _place(self, sha256: str, kind: str) -> Path:
        if len(sha256) != 64 or sha256.strip("0123456789abcdef"):
            raise ValueError("not a SHA-256 digest in lower-case hexadecimal")
        return self.folder / sha256[:2] / f"{sha256}.{extension(kind)}"

    def _files(self) -> Iterator[Path]:
        """Every picture's file, a folder at a time: there may be a million."""
        for number in range(256):
            folder = self.folder / f"{number:02x}"
            if folder.is_dir():
                names = sorted(entry.name for entry in os.scandir(folder))
                yield from (folder / name for name in names if len(name.partition(".")[0]) == 64)


def _removed(path: Path, older_than: float) -> int:
    """Remove a file unless it was written anew just now; the bytes freed."""
    aside = path.with_name(f".pruned-{os.urandom(8).hex()}")
    path.replace(aside)
    facts = aside.stat()
    if facts.st_mtime >= older_than:
        aside.replace(path)
        return 0
    aside.unlink()
    return facts.st_size


def deliver(
    image: Image,
    target: Path,
    about: About,
    options: Delivery | None = None,
    original: bytes = b"",
) -> Delivered:
    """Hand a picture over as ``target``, whole or not at all, with its sidecar. For a thread.

    What lies at ``target`` is replaced: whether it may be is the caller's question. The same
    picture, words and options give the same bytes. ``original``: the store's bytes, where they
    are at hand. Raises DiskFull; NotAPicture where the store's file is damaged.
    """
    options = options or Delivery()
    if not original:
        with on_disk():
            original = image.path.read_bytes()
    data, kind, size = _derived(original, image, options)
    words = parameters(about, size) if options.metadata else ""
    wanted = label_for(about, image.sha256) if options.label and about.made_by_model else None
    data, label = mark(data, words, wanted)
    digest = hashlib.sha256(data).hexdigest()
    beside = target.with_name(f"{target.name}.json") if options.sidecar else None
    facts = {
        "file": target.name,
        "format": kind,
        "size": f"{size[0]}x{size[1]}",
        "size_bytes": len(data),
        "sha256": digest,
        "source_sha256": image.sha256,
        "label": label,
    }

    def both() -> None:
        _put(target, data)
        if beside is not None:
            _put(beside, sidecar(about, facts))

    with on_disk():
        _in_folder(target.parent, both)
    return Delivered(target, digest, kind, *size, len(data), beside)


def deliver_also(
    image: Image, folder: Path, file: str, about: About, options: Delivery
) -> list[Path]:
    """The further files of a picture delivered as ``folder / file``, each in a folder of its own.

    ``1080x1440/00001-slug.png`` beside ``00001-slug.png``, with the same words and labels, no
    sidecar. One that is there already stays. For a thread. Raises DiskFull, NotAPicture.
    """
    made = []
    for name in options.also:
        size, kind = parse_also(name)
        kind = kind or options.format or image.format
        target = (folder / name / file).with_suffix(f".{extension(kind)}")
        if not target.is_file():
            wanted = replace(options, format=kind, crop=size, sidecar=False, also=())
            deliver(image, target, about, wanted)
        made.append(target)
    return made


def parse_also(name: str) -> tuple[Size | None, str | None]:
    """Size and format of a further file: ``webp``, ``1080x1440``, ``1080x1440.jpg``. BadInput."""
    found = re.fullmatch(r"(?:(\d{2,5})[xX*](\d{2,5}))?\.?(png|jpe?g|webp)?", name)
    if not name or found is None or not (found[1] or found[3]):
        raise BadInput(
            f"看不懂“{name}”：请写 webp、1080x1440 或 1080x1440.jpg。没有花钱。",
            f"“{name}” cannot be read: write webp, 1080x1440 or 1080x1440.jpg. Nothing was spent.",
        )
    size = None if found[1] is None else (int(found[1]), int(found[2]))
    if size is not None and not all(16 <= side <= 16384 for side in size):
        raise BadInput(
            f"“{name}”的边长应在 16 到 16384 之间。没有花钱。",
            f"The sides of “{name}” should be from 16 to 16,384. Nothing was spent.",
        )
    return size, found[3]


def write_whole(target: Path, data: bytes) -> None:
    """A file that is there wholly and durably, or as it was before. Raises DiskFull."""
    with on_disk():
        _in_folder(target.parent, lambda: _put(target, data))


def _put(target: Path, data: bytes) -> None:
    """Written under another name, made durable, renamed. Few system calls: each costs a thread
    its turn at the interpreter.
    """
    part = f"{target.parent}/.redloom-{os.urandom(8).hex()}.part"
    try:
        _write_durably(part, data, 0o666)
        os.replace(part, target)  # noqa: PTH105 - a Path would be built for nothing
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)  # noqa: PTH108
        raise


def _write_then_move(data: bytes, part: Path, target: Path) -> None:
    """Bytes into the store by way of the downloads folder, which another engine, to whom this one
    seemed dead, may clear of our half file meanwhile: then once more.
    """
    for tries_left in reversed(range(SWEPT)):
        try:
            _write_durably(str(part), data, private.FILE)
            _in_folder(target.parent, lambda: _move(part, target), private.folder)
            return
        except FileNotFoundError:
            if not tries_left:
                raise
            private.folder(part.parent)
        except BaseException:
            part.unlink(missing_ok=True)  # half of it, where the disk was full
            raise


def _write_durably(part: str, data: bytes, mode: int) -> None:
    """A new file; ``mode`` is what the umask takes from."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(part, flags, mode)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _in_folder(
    folder: Path, work: Callable[[], None], make: Callable[[Path], None] | None = None
) -> None:
    """Do ``work`` in ``folder`` and make its entries durable; the folder is made where it is
    missing, or where the start of another run has swept our half file away.
    """
    made: list[Path] = []
    for tries_left in reversed(range(SWEPT + 1)):
        try:
            work()
            break
        except FileNotFoundError:
            if not tries_left:
                raise
            made += _make_folder(folder, make)
    for one in (folder, *made):
        _sync_folder(one)


def clear_parts(folder: Path) -> None:
    """Remove what a killed process left half-written below ``folder``. Raises DiskFull.

    For the start of a run, before anything is delivered there.
    """
    with on_disk():
        for path in folder.rglob(".redloom-*.part"):
            path.unlink(missing_ok=True)


def _derived(original: bytes, image: Image, options: Delivery) -> tuple[bytes, str, Size]:
    """The bytes as they came, or another format or crop of them with their metadata."""
    kind = options.format or image.format
    kind = "jpeg" if kind == "jpg" else kind
    size = options.crop or (image.width, image.height)
    if kind == image.format and size == (image.width, image.height) and not options.anew:
        return original, kind, size
    with _opened(original) as picture:
        # A profile speaks of the mode it was made for; ours is always RGB.
        profile = picture.info.get("icc_profile") if picture.mode[:3] == "RGB" else None
        pixels = _plain_mode(picture, kind)
    if size != pixels.size:
        pixels = _fitted(pixels, size, options.focus)
    out = io.BytesIO()
    pixels.info.clear()
    pixels.save(out, kind, icc_profile=profile, **_ENCODING[kind](options.quality))
    return carry_over(original, out.getvalue()), kind, size


_ENCODING: dict[str, Callable[[int], dict[str, int]]] = {
    # Level 3 is three times as fast as Pillow's own choice and a few percent larger.
    "png": lambda _quality: {"compress_level": 3},
    "jpeg": lambda quality: {"quality": quality, "subsampling": 0, "optimize": True},
    "webp": lambda quality: {"quality": quality, "method": 4},
}


def _plain_mode(picture: Pixels, kind: str) -> Pixels:
    """RGB, or RGBA where the format can; a JPEG shows what is transparent on white."""
    from PIL import Image as Pillow

    if picture.mode.startswith("I"):  # sixteen bits a channel: Pillow would clip, not scale
        picture = picture.convert("I").point(lambda value: value / 257).convert("L")
    see_through = picture.has_transparency_data
    if not see_through:
        return picture.convert("RGB")
    clear = picture.convert("RGBA")
    if kind != "jpeg":
        return clear
    ground = Pillow.new("RGBA", clear.size, "white")
    return Pillow.alpha_composite(ground, clear).convert("RGB")


def _fitted(pixels: Pixels, size: Size, focus: str) -> Pixels:
    """Scaled to cover ``size`` and cut to it, the cut along one axis only."""
    from PIL import Image as Pillow

    scale = min(pixels.width / size[0], pixels.height / size[1])
    wide, high = size[0] * scale, size[1] * scale
    across, down = (pixels.width - wide), (pixels.height - high)
    share = 0.5 if focus == "centre" else _attention(pixels, wide, high)
    box = (across * share, down * share, across * share + wide, down * share + high)
    return pixels.resize(size, Pillow.Resampling.LANCZOS, box=box)


def _attention(pixels: Pixels, wide: float, high: float) -> float:
    """Where (0 to 1) a window along the free axis holds the most edges; the middle wins ties."""
    from PIL import ImageFilter

    edges = pixels.convert("L").resize((96, 96), _box()).filter(ImageFilter.FIND_EDGES)
    edges = edges.crop((1, 1, 95, 95))  # the filter leaves the rim as it was
    sideways = wide < pixels.width
    window = max(1, round(94 * (wide / pixels.width if sideways else high / pixels.height)))
    line = edges.resize((94, 1) if sideways else (1, 94), _box()).tobytes()
    free = 94 - window
    if free == 0:
        return 0.5
    weights = {at: sum(line[at : at + window]) for at in range(free + 1)}
    # A pull to the middle, worth a tenth of the picture's detail, against jumpy crops.
    pull = sum(line) * 0.1 / free
    best = max(weights, key=lambda at: (weights[at] - abs(at - free / 2) * pull, -at))
    return best / free


def _box() -> int:
    from PIL import Image as Pillow

    return int(Pillow.Resampling.BOX)


@contextmanager
def _opened(data: bytes) -> Iterator[Pixels]:
    """A decoded picture. Its size was judged when it was fetched, not by Pillow's own cap."""
    kind = kind_of(data[:12])
    if kind is None:
        raise broken("不是 PNG、JPEG 或 WebP", "neither PNG, JPEG nor WebP")
    with open_picture(io.BytesIO(data), kind) as picture:
        picture.load()
        yield picture


@contextmanager
def opened_file(path: Path) -> Iterator[Pixels]:
    """A stored or delivered picture, decoded. Raises NotAPicture, OSError."""
    with _opened(path.read_bytes()) as picture:
        yield picture


def _measure(path: Path, kind: str) -> Size:
    with path.open("rb") as file, open_picture(file, kind) as picture:
        return picture.size


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _move(source: Path, target: Path) -> None:
    """Rename, or copy durably where the downloads lie on another file system."""
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        write_whole(target, source.read_bytes())
        source.unlink(missing_ok=True)


def _make_folder(folder: Path, make: Callable[[Path], None] | None) -> list[Path]:
    """Make it; returns the folders that gained an entry and have to be synced."""
    missing = [folder, *folder.parents]
    gained = [path.parent for path in missing if not path.exists()]
    if make is None:
        folder.mkdir(parents=True, exist_ok=True)
    else:
        make(folder)
    return gained


FOLDERS = 1000
"""Folders whose syncs are remembered; a server writes into a new one with every run."""


class _FolderSyncs:
    """fsync of folders, shared: whoever comes while one is under way waits for the next, and all
    who wait are served by that one. The entry that a caller made before is durable after.
    """

    def __init__(self) -> None:
        self._locks: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)
        self._order = itertools.count()
        self._began: dict[Path, int] = {}

    def sync(self, folder: Path) -> None:
        """Make the folder's entries durable."""
        came = next(self._order)
        with self._locks[folder]:
            if self._began.get(folder, -1) > came:
                return  # one that began after we came has ended
            began = next(self._order)
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
            self._began[folder] = began
        if len(self._began) > FOLDERS:
            # Whoever waits has its lock in hand; without an entry a folder is only synced once more.
            self._began.clear()
            self._locks.clear()


_sync_folder = _FolderSyncs().sync
