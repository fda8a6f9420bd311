"""PNG, JPEG and WebP as lists of parts, so that metadata goes in and pixels are never touched.

Each container reads itself into parts and writes itself back byte for byte; what is spliced in
goes between parts, everything else survives. PNG: W3C PNG 3rd edition (chunks, CRC-32). JPEG:
ITU T.81 annex B (marker segments), XMP part 3 (APP1). WebP: RFC 9649 (RIFF, VP8X).

A C2PA manifest (PNG ``caBX``, JPEG APP11) survives as bytes too, but its hash covers the file,
so a validator will call it broken after a splice; the store keeps the untouched original.
May import: errors.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, ClassVar, Protocol

from .errors import NotAPicture

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

Part = tuple[bytes, bytes]
"""A chunk type, marker or four-character code, and its body."""

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
XMP_KEYWORD = b"XML:com.adobe.xmp"
XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
EXIF_HEADER = b"Exif\0\0"
TEXT_LIMIT = 8 * 1024 * 1024
"""A compressed text is read no further than this, in bytes."""
SEGMENT_LIMIT = 65533
"""What a JPEG segment's body can hold, in bytes."""


class Container(Protocol):
    """A picture file taken apart."""

    format: ClassVar[str]

    def write(self) -> bytes:
        """The file again."""

    def xmp(self) -> list[tuple[int, bytes]]:
        """Its XMP packets and where they stand."""

    def put_xmp(self, packet: bytes, at: int | None) -> bool:
        """Put a packet in place of the one at ``at``, or anew; False where it cannot hold it."""

    def exif(self) -> bytes | None:
        """Its EXIF block (a TIFF structure), if any."""

    def put_exif(self, tiff: bytes) -> bool:
        """Put the EXIF block in, in place of the one there is; False where it does not fit."""


def kind_of(head: bytes) -> str | None:
    """``png``, ``jpeg`` or ``webp`` by the first 12 bytes; None for anything else."""
    if head.startswith(PNG_MAGIC):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    return "webp" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


def take_apart(data: bytes) -> Container:
    """The file's parts. Raises NotAPicture where it is of no kind we take, or cut short."""
    readers: dict[str, Callable[[bytes], Container]]
    readers = {"png": Png.read, "jpeg": Jpeg.read, "webp": Webp.read}
    kind = kind_of(data[:12])
    if kind is None:
        raise broken("不是 PNG、JPEG 或 WebP", "neither PNG, JPEG nor WebP")
    try:
        return readers[kind](data)
    except (struct.error, IndexError) as error:
        raise broken("文件在中途断掉", "it is cut short") from error


def broken(zh: str, en: str) -> NotAPicture:
    """The error for bytes that are no whole picture; ``zh`` and ``en`` say why."""
    return NotAPicture(
        f"收到的不是完整的图片：{zh}。图片已付费，会重新下载，不会重新购买。",
        f"What came is not a whole picture: {en}. It is paid for; it is fetched again, "
        "never bought again.",
    )


def open_picture(file: BinaryIO, kind: str) -> ImageFile:
    """The picture in an open file, header read, pixels not yet.

    Pillow's plugins are used themselves, not `Image.open`: its bomb check is a setting of the
    whole process, and warns where our own cap allows.
    """
    from PIL import JpegImagePlugin, PngImagePlugin, WebPImagePlugin

    plugins: dict[str, Callable[[BinaryIO], ImageFile]] = {
        "png": PngImagePlugin.PngImageFile,
        "jpeg": JpegImagePlugin.JpegImageFile,
        "webp": WebPImagePlugin.WebPImageFile,
    }
    return plugins[kind](file)


@dataclass
class Png:
    """Signature, chunks up to IEND, and whatever follows."""

    parts: list[Part]
    tail: bytes = b""
    format: ClassVar[str] = "png"

    @classmethod
    def read(cls, data: bytes) -> Png:
        """Take apart, checking every CRC (one that is wrong means damaged bytes)."""
        parts: list[Part] = []
        at = len(PNG_MAGIC)
        while not parts or parts[-1][0] != b"IEND":
            (size,) = struct.unpack_from(">I", data, at)
            tag, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
            (crc,) = struct.unpack_from(">I", data, at + 8 + size)
            if zlib.crc32(body, zlib.crc32(tag)) != crc:
                raise broken("PNG 数据块校验不符", "a PNG chunk's checksum is wrong")
            parts.append((tag, body))
            at += 12 + size
        if parts[0][0] != b"IHDR" or not any(tag == b"IDAT" for tag, _ in parts):
            raise broken("PNG 缺少图像数据", "a PNG without image data")
        return cls(parts, data[at:])

    def write(self) -> bytes:
        """See `Container`."""
        pieces = [PNG_MAGIC]
        for tag, body in self.parts:
            crc = zlib.crc32(body, zlib.crc32(tag))
            pieces += [struct.pack(">I", len(body)), tag, body, struct.pack(">I", crc)]
        return b"".join([*pieces, self.tail])

    def texts(self) -> Iterator[tuple[int, bytes, str]]:
        """(place, keyword, text) of each tEXt, zTXt and iTXt that can be read."""
        for place, (tag, body) in enumerate(self.parts):
            if tag in (b"tEXt", b"zTXt", b"iTXt"):
                keyword, _, rest = body.partition(b"\0")
                raw = _png_text(tag, rest)
                if raw is not None:
                    coding = "utf-8" if tag == b"iTXt" else "latin-1"
                    yield place, keyword, raw.decode(coding, errors="replace")

    def put_text(self, keyword: bytes, text: str) -> None:
        """Add a text before the image data: Latin-1 where it can be, else iTXt (UTF-8)."""
        text = text.replace("\0", "")
        try:
            part = (b"tEXt", keyword + b"\0" + text.encode("latin-1"))
        except UnicodeEncodeError:
            part = (b"iTXt", keyword + b"\0\0\0\0\0" + text.encode(errors="replace"))
        self._insert(part)

    def xmp(self) -> list[tuple[int, bytes]]:
        """See `Container`."""
        return [(p, text.encode()) for p, keyword, text in self.texts() if keyword == XMP_KEYWORD]

    def put_xmp(self, packet: bytes, at: int | None) -> bool:
        """See `Container`."""
        part = (b"iTXt", XMP_KEYWORD + b"\0\0\0\0\0" + packet)
        if at is None:
            self._insert(part)
        else:
            self.parts[at] = part
        return True

    def exif(self) -> bytes | None:
        """See `Container`."""
        return next((body for tag, body in self.parts if tag == b"eXIf"), None)

    def put_exif(self, tiff: bytes) -> bool:
        """See `Container`."""
        self.parts = [part for part in self.parts if part[0] != b"eXIf"]
        self._insert((b"eXIf", tiff))
        return True

    def _insert(self, part: Part) -> None:
        first = next(place for place, (tag, _) in enumerate(self.parts) if tag == b"IDAT")
        self.parts.insert(first, part)


def _png_text(tag: bytes, rest: bytes) -> bytes | None:
    """The text after the keyword, decompressed where it is compressed; None: unreadable."""
    if tag == b"tEXt":
        return rest
    packed = tag == b"zTXt"
    if tag == b"iTXt":
        if len(rest) < 2:
            return None
        packed, rest = rest[0] == 1, rest[2:]
        fields = rest.split(b"\0", 2)
        rest = fields[-1]
    else:
        rest = rest[1:]
    if not packed:
        return rest
    try:
        return zlib.decompressobj().decompress(rest, TEXT_LIMIT)
    except zlib.error:
        return None


@dataclass
class Jpeg:
    """Marker segments up to the first scan, and everything from it on as it is."""

    parts: list[Part]
    scan: bytes
    format: ClassVar[str] = "jpeg"

    @classmethod
    def read(cls, data: bytes) -> Jpeg:
        """Take apart. A missing end marker (EOI) means that the file is cut short."""
        parts: list[Part] = []
        at = 2
        while True:
            if data[at] != 0xFF:
                raise broken("JPEG 段结构不对", "the JPEG's segments are malformed")
            while data[at + 1] == 0xFF:  # fill bytes, T.81 B.1.1.2
                at += 1
            marker = data[at : at + 2]
            if marker == b"\xff\xda":
                break
            if marker == b"\xff\xd9":
                raise broken("JPEG 没有图像数据", "a JPEG without image data")
            (size,) = struct.unpack_from(">H", data, at + 2)
            if size < 2 or at + 2 + size > len(data):
                raise broken("文件在中途断掉", "it is cut short")
            parts.append((marker, data[at + 4 : at + 2 + size]))
            at += 2 + size
        if data.rfind(b"\xff\xd9", at) < 0:
            raise broken("文件在中途断掉", "it is cut short")
        return cls(parts, data[at:])

    def write(self) -> bytes:
        """See `Container`."""
        pieces = [b"\xff\xd8"]
        for marker, body in self.parts:
            pieces += [marker, struct.pack(">H", len(body) + 2), body]
        return b"".join([*pieces, self.scan])

    def segments(self) -> Iterator[bytes]:
        """The bodies of application and comment segments, C2PA's APP11 left out."""
        for marker, body in self.parts:
            if (0xE0 <= marker[1] <= 0xEF and marker[1] != 0xEB) or marker[1] == 0xFE:
                yield body

    def xmp(self) -> list[tuple[int, bytes]]:
        """See `Container`."""
        size = len(XMP_HEADER)
        return [(p, body[size:]) for p, body in self._app1() if body.startswith(XMP_HEADER)]

    def put_xmp(self, packet: bytes, at: int | None) -> bool:
        """See `Container`."""
        return self._put(XMP_HEADER + packet, at)

    def exif(self) -> bytes | None:
        """See `Container`."""
        blocks = (body for _, body in self._app1() if body.startswith(EXIF_HEADER))
        return next((block[len(EXIF_HEADER) :] for block in blocks), None)

    def put_exif(self, tiff: bytes) -> bool:
        """See `Container`."""
        places = (place for place, body in self._app1() if body.startswith(EXIF_HEADER))
        return self._put(EXIF_HEADER + tiff, next(places, None))

    def _app1(self) -> Iterator[tuple[int, bytes]]:
        for place, (marker, body) in enumerate(self.parts):
            if marker == b"\xff\xe1":
                yield place, body

    def _put(self, body: bytes, at: int | None) -> bool:
        if len(body) > SEGMENT_LIMIT:
            return False
        if at is not None:
            self.parts[at] = (b"\xff\xe1", body)
            return True
        # After JFIF and EXIF, before the rest: where readers look (EXIF 2.32, 4.7.1).
        place = 0
        while place < len(self.parts) and (
            self.parts[place][0] == b"\xff\xe0" or self.parts[place][1].startswith(EXIF_HEADER)
        ):
            place += 1
        self.parts.insert(place, (b"\xff\xe1", body))
        return True


@dataclass
class Webp:
    """RIFF chunks, and whatever follows the file's stated size."""

    parts: list[Part]
    tail: bytes = b""
    format: ClassVar[str] = "webp"

    @classmethod
    def read(cls, data: bytes) -> Webp:
        """Take apart. Less data than the header states means that the file is cut short."""
        (size,) = struct.unpack_from("<I", data, 4)
        end = 8 + size
        if end > len(data):
            raise broken("文件在中途断掉", "it is cut short")
        parts: list[Part] = []
        at = 12
        while at + 8 <= end:
            (length,) = struct.unpack_from("<I", data, at + 4)
            if at + 8 + length > end:
                raise broken("文件在中途断掉", "it is cut short")
            parts.append((data[at : at + 4], data[at + 8 : at + 8 + length]))
            at += 8 + length + (length & 1)
        if not any(tag in (b"VP8 ", b"VP8L", b"ANMF") for tag, _ in parts):
            raise broken("WebP 没有图像数据", "a WebP without image data")
        return cls(parts, data[max(at, end) :])

    def write(self) -> bytes:
        """See `Container`."""
        pieces = [b"WEBP"]
        for tag, body in self.parts:
            pieces += [tag, struct.pack("<I", len(body)), body, b"\0" * (len(body) & 1)]
        riff = b"".join(pieces)
        return b"RIFF" + struct.pack("<I", len(riff)) + riff + self.tail

    def size(self) -> tuple[int, int]:
        """Width and height of the canvas, read from the header alone."""
        tag, body = self.parts[0]
        if tag == b"VP8X":
            return (
                1 + int.from_bytes(body[4:7], "little"),
                1 + int.from_bytes(body[7:10], "little"),
            )
        if tag == b"VP8L":
            bits = int.from_bytes(body[1:5], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        wide, high = struct.unpack_from("<HH", body, 6)
        return wide & 0x3FFF, high & 0x3FFF

    def xmp(self) -> list[tuple[int, bytes]]:
        """See `Container`."""
        return [(place, body) for place, (tag, body) in enumerate(self.parts) if tag == b"XMP "]

    def put_xmp(self, packet: bytes, at: int | None) -> bool:
        """See `Container`."""
        if at is None:
            self._flag(0x04)
            self.parts.append((b"XMP ", packet))
        else:
            self.parts[at] = (b"XMP ", packet)
        return True

    def exif(self) -> bytes | None:
        """See `Container`."""
        body = next((body for tag, body in self.parts if tag == b"EXIF"), None)
        return body.removeprefix(EXIF_HEADER) if body is not None else None

    def put_exif(self, tiff: bytes) -> bool:
        """See `Container`."""
        self._flag(0x08)
        self.parts = [part for part in self.parts if part[0] != b"EXIF"]
        place = next((p for p, (tag, _) in enumerate(self.parts) if tag == b"XMP "), None)
        self.parts.insert(len(self.parts) if place is None else place, (b"EXIF", tiff))
        return True

    def _flag(self, bit: int) -> None:
        """Say in VP8X that such a chunk is there; a simple file becomes an extended one."""
        if self.parts[0][0] != b"VP8X":
            wide, high = self.size()
            if not wide or not high:
                raise broken("WebP 的尺寸为零", "its WebP has no size")
            tag, body = self.parts[0]
            alpha = 0x10 if tag == b"VP8L" and body[4] & 0x10 else 0
            canvas = (wide - 1).to_bytes(3, "little") + (high - 1).to_bytes(3, "little")
            self.parts.insert(0, (b"VP8X", bytes([alpha, 0, 0, 0]) + canvas))
        flags, *rest = self.parts[0][1]
        self.parts[0] = (b"VP8X", bytes([flags | bit, *rest]))
