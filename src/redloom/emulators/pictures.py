"""Pictures that show which prompt they were made for, cheap enough to make thousands a second.

A picture is a quilt of triangles over a strip of sixteen plain patches. The pixels' numbers are
the same for every picture of a size and are compressed once; what differs is the palette, which
comes from the prompt's SHA-256: two bytes of it stand in the red and green of each patch, and a
``prompt-sha256`` text chunk says it again. So a test can tell from the finished file, from its
pixels alone if need be, whose picture it is.

PNG layout: W3C Portable Network Graphics, third edition. Labels: GB 45438-2025 and its practice
guide TC260-PG-20259A; ``caBX`` is C2PA's chunk.
May import: nothing of the package.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable
from functools import cache, lru_cache
from hashlib import sha256
from io import BytesIO
from xml.sax.saxutils import escape

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PATCHES = 16
_CELLS = 6
_FIRST_PATCH = 2 * _CELLS * _CELLS
_COLOURS = _FIRST_PATCH + PATCHES
LABELS = ("xmp", "text", "exif", "c2pa", "late")
SMALLEST = 32
"""Sides below this leave the patches no room."""


def picture(sha: str, identity: str, width: int, height: int, labels: Iterable[str] = ()) -> bytes:
    """A PNG of ``width`` x ``height`` for the prompt whose SHA-256 is ``sha`` (hex).

    ``identity`` makes its bytes unlike those of any other picture of the same prompt.
    ``labels``: which marks of origin it carries (`LABELS`): AIGC in XMP, in tEXt, in Exif, a
    C2PA box, or XMP after the pixels ("late").
    """
    labels = tuple(labels)
    before, after = _labelled(labels, identity)
    return b"".join(
        (
            SIGNATURE,
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", palette(sha, identity)),
            _chunk(b"tEXt", b"prompt-sha256\0" + sha.encode()),
            _chunk(b"tEXt", b"task\0" + identity.encode("latin-1", "replace")),
            *before,
            _pixels(width, height),
            *after,
            _chunk(b"IEND", b""),
        )
    )


def palette(sha: str, identity: str) -> bytes:
    """The colours: one warm or cool family per picture, and the prompt's SHA in the patches."""
    digest = bytes.fromhex(sha)
    stream = sha256(digest + identity.encode("utf-8", "surrogatepass")).digest() * 5
    hue = digest[0]
    colours = bytearray()
    for at in range(_FIRST_PATCH):
        light, drift = stream[at], stream[at + 40]
        tone = (hue + drift % 72) % 256
        colours += _colour(tone, 70 + light // 4 * 170 // 63)
    for at in range(PATCHES):
        red, green = digest[2 * at], digest[2 * at + 1]
        colours += bytes((red, green, (red + green) // 2))
    return bytes(colours)


@cache
def _colour(hue: int, light: int) -> bytes:
    """A soft colour: ``hue`` round the circle and ``light``, both 0 to 255."""
    sector, along = divmod(hue * 3, 256)
    faded = [light, light - light * along // 400, light * 3 // 4 - (255 - along) * light // 1600]
    order = ((0, 1, 2), (2, 0, 1), (1, 2, 0))[sector % 3]
    return bytes(max(0, min(255, faded[place])) for place in order)


def prompt_of_picture(data: bytes) -> str:
    """The SHA-256 (hex) of the prompt that a lossless picture was made for, from its pixels.

    Raises ValueError where the pixels are no such picture, or say another prompt than its text.
    """
    from PIL import Image

    with Image.open(BytesIO(data)) as image:
        said = image.info.get("prompt-sha256")
        pixels = image.convert("RGB")
    width, height = pixels.size
    row = height - max(1, height // 16)
    digest = bytearray()
    for at in range(PATCHES):
        colour = pixels.getpixel(((2 * at + 1) * width // (2 * PATCHES), row))
        red, green, blue = colour if isinstance(colour, tuple) else (0, 0, 0)
        if blue != (red + green) // 2:
            raise ValueError("not a picture of the emulator: its patches are not there")
        digest += bytes((int(red), int(green)))
    shown = digest.hex()
    if said is not None and said != shown:
        raise ValueError("the picture's pixels and its text name different prompts")
    return shown


@lru_cache(maxsize=64)
def _pixels(width: int, height: int) -> bytes:
    """The IDAT chunk of a size: the numbers of the colours, the same for every prompt."""
    strip = height - max(2, height // 8)
    patches = bytes(_FIRST_PATCH + at * PATCHES // width for at in range(width))
    rows = [b"\0" + (patches if y >= strip else _quilt(y, width, strip)) for y in range(height)]
    return _chunk(b"IDAT", zlib.compress(b"".join(rows), 6))


def _quilt(y: int, width: int, height: int) -> bytes:
    """A row of the quilt: every cell is cut in two along one of its diagonals."""
    row, down = divmod(y * _CELLS, height)
    parts = []
    for column in range(_CELLS):
        left = column * width // _CELLS
        wide = (column + 1) * width // _CELLS - left
        cut = wide * down // height
        first = 2 * (row * _CELLS + column)
        if (row + column) % 2:
            parts.append(bytes((first,)) * (wide - cut) + bytes((first + 1,)) * cut)
        else:
            parts.append(bytes((first + 1,)) * cut + bytes((first,)) * (wide - cut))
    return b"".join(parts)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _labelled(labels: tuple[str, ...], identity: str) -> tuple[list[bytes], list[bytes]]:
    """The chunks before and after the pixels that carry ``labels``."""
    before: list[bytes] = []
    after: list[bytes] = []
    for label in labels:
        if label == "text":
            before.append(_chunk(b"tEXt", b"AIGC\0" + aigc(identity).encode()))
        elif label == "exif":
            before.append(_chunk(b"eXIf", _exif(identity)))
        elif label == "c2pa":
            before.append(_chunk(b"caBX", _jumbf(identity)))
        else:
            (after if label == "late" else before).append(_xmp(identity))
    return before, after


def aigc(identity: str) -> str:
    """The implicit label of GB 45438-2025 as JSON."""
    return json.dumps(
        {
            "Label": "1",
            "ContentProducer": "Redloom emulator",
            "ProduceID": identity,
            "ReservedCode1": "",
            "ContentPropagator": "",
            "PropagateID": "",
            "ReservedCode2": "",
        }
    )


def _xmp(identity: str) -> bytes:
    packet = (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/">'
        f"<TC260:AIGC>{escape(aigc(identity), {chr(34): '&quot;'})}</TC260:AIGC>"
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    )
    return _chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet.encode())


def _exif(identity: str) -> bytes:
    """A TIFF with one Exif entry: UserComment holding ``{"AIGC": …}`` (Exif 2.32, 4.6.5)."""
    comment = b"ASCII\0\0\0" + f'{{"AIGC":{aigc(identity)}}}'.encode()
    header = b"MM\0*" + struct.pack(">I", 8)
    first = struct.pack(">HHHIII", 1, 0x8769, 4, 1, 26, 0)
    inner = struct.pack(">HHHIII", 1, 0x9286, 7, len(comment), 44, 0)
    return header + first + inner + comment


def _jumbf(identity: str) -> bytes:
    """The outer boxes of a C2PA manifest store (ISO 19566-5); its content signs nothing."""
    description = (
        bytes.fromhex("63327061 00110010 80000 0AA00389B71".replace(" ", "")) + b"\x03c2pa\0"
    )
    inner = struct.pack(">I", len(description) + 8) + b"jumd" + description
    note = f"emulated manifest of {identity}".encode("utf-8", "replace")
    inner += struct.pack(">I", len(note) + 8) + b"free" + note
    return struct.pack(">I", len(inner) + 8) + b"jumb" + inner
