"""What a picture file says about itself: how it was made, and that a machine made it.

The words go where readers look: the PNG text ``parameters`` and the EXIF UserComment, in the form
of AUTOMATIC1111's web UI. China's implicit label (GB 45438-2025, in force since 2025-09-01) goes
into XMP as the property ``AIGC`` of http://www.tc260.org.cn/ns/AIGC/1.0/, beside IPTC's
DigitalSourceType. The standard's text is not free: field names and places follow TC260's public
practice guide and files seen in the wild. A label that a provider wrote is never changed.
May import: errors, splice, version.
"""

from __future__ import annotations

import html
import json
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from .splice import Container, Jpeg, Png, take_apart
from .version import __version__

AIGC_NAMESPACE = "http://www.tc260.org.cn/ns/AIGC/1.0/"
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_RDF_END = re.compile(rb"</(?:[\w.-]+:)?RDF\s*>")
_PADDING = re.compile(rb"\s+(?=<\?xpacket end)")
_LABEL_FIELDS = (
    "Label",
    "ContentProducer",
    "ProduceID",
    "ReservedCode1",
    "ContentPropagator",
    "PropagateID",
    "ReservedCode2",
)
_LABEL_START = re.compile(r"AIGC[^{]{0,200}(?=\{)")


@dataclass(frozen=True, slots=True)
class About:
    """All that is recorded beside a picture. Times are nominal Unix seconds; price per picture."""

    prompt: str
    sent_prompt: str = ""
    revised_prompt: str = ""
    negative_prompt: str = ""
    row: int | None = None
    take: int = 1
    id: str = ""
    endpoint: str = ""
    provider: str = ""
    model: str = ""
    size_asked: tuple[int, int] | None = None
    seed: int | None = None
    references: tuple[str, ...] = ()
    options: Mapping[str, Any] | None = None
    task_id: str = ""
    request_id: str = ""
    submitted_at: float | None = None
    finished_at: float | None = None
    seconds: float | None = None
    attempts: int = 1
    price: float | None = None
    currency: str = ""
    price_source: str = "unknown"
    made_by_model: bool = True
    """A typeset card is not, and gets no label."""
    flags: tuple[str, ...] = ()
    size_wanted: str = ""
    """Size or ratio in the user's words; ``size_asked`` is what the model was asked for."""
    notes: tuple[str, ...] = ()
    """What had to be changed for the model, said."""
    fingerprint: str = ""
    """What near-duplicates are known by (`examine.fingerprint`)."""
    key: str = ""
    """Of the request that the picture answers (`job.Request.key`): a lost journal is rebuilt by it."""

    def fields(self) -> dict[str, Any]:
        """By name; `dataclasses.asdict` would copy every value deeply."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class Label:
    """The implicit label's fields. ``label``: 1 made by AI, 2 perhaps, 3 suspected."""

    label: str = "1"
    producer: str = ""
    produce_id: str = ""
    reserved_1: str = ""
    propagator: str = ""
    propagate_id: str = ""
    reserved_2: str = ""

    def fields(self) -> dict[str, str]:
        """As the standard spells and orders them."""
        values = (getattr(self, name) for name in self.__dataclass_fields__)
        return dict(zip(_LABEL_FIELDS, values, strict=True))


def label_for(about: About, sha256: str) -> Label:
    """The label of a picture whose provider wrote none: model as producer, task as number."""
    producer = "/".join(filter(None, (about.provider, about.model))) or "redloom"
    return Label(producer=producer, produce_id=about.task_id or sha256)


def parameters(about: About, size: tuple[int, int]) -> str:
    """How it was made, in the three-part form that A1111's readers know.

    The last line holds only what is known; a value with commas or colons is quoted as JSON.
    """
    facts = {
        "Seed": about.seed,
        "Size": f"{size[0]}x{size[1]}",
        "Model": about.model or about.provider,
        "Version": f"Redloom {__version__}",
    }
    lines = [about.sent_prompt or about.prompt]
    if about.negative_prompt:
        lines.append(f"Negative prompt: {about.negative_prompt}")
    known = ((name, value) for name, value in facts.items() if value not in (None, ""))
    lines.append(", ".join(f"{name}: {_quoted(str(value))}" for name, value in known))
    return "\n".join(lines)


def sidecar(about: About, facts: Mapping[str, Any]) -> bytes:
    """``about`` and the file's own ``facts`` as JSON: stable order, UTF-8, no absolute path."""
    fields = {**about.fields(), **facts}
    fields["references"] = [_no_path(reference) for reference in about.references]
    if about.size_asked:
        fields["size_asked"] = "{}x{}".format(*about.size_asked)
    return f"{{\n  {_LINES.encode(fields)[1:-1]}\n}}\n".encode(errors="replace")


_LINES = json.JSONEncoder(ensure_ascii=False, default=str, separators=(",\n  ", ": "))
"""A value a line. Asked to indent, json would leave its C encoder, and take eight times as long."""


def describe(data: bytes, text: str) -> bytes:
    """The file with ``text`` as its generation parameters; one that has some keeps its own."""
    return mark(data, text, None)[0]


def mark(
    data: bytes, text: str, label: Label | Mapping[str, Any] | None
) -> tuple[bytes, dict[str, Any] | None]:
    """`describe` (where there is ``text``) and `write_label` (where there is ``label``) at once:
    the file is taken apart and put together once. Also the label that it has then.
    """
    container = take_apart(data)
    found = next(filter(None, map(_label_in, _places(container))), None)
    changed = bool(text) and _describe(container, text)
    if label is not None and _label(container, label):
        changed = True
        # Even where one that cannot be read stands in the file and stays.
        found = found or next(filter(None, map(_label_in, _places(container))), None)
    return (container.write() if changed else data), found


def _describe(container: Container, text: str) -> bool:
    """Put the words in; whether that changed it."""
    if not isinstance(container, Png):
        tiff = _with_comment(container.exif(), text)
        return tiff is not None and container.put_exif(tiff)
    if any(keyword == b"parameters" for _, keyword, _ in container.texts()):
        return False
    container.put_text(b"parameters", text)
    return True


def description(data: bytes) -> str | None:
    """The generation parameters that a file holds, in any of the places where they lie."""
    container = take_apart(data)
    if isinstance(container, Png):
        found = (text for _, keyword, text in container.texts() if keyword == b"parameters")
        return next(found, None)
    return next(_exif_texts(container.exif() or b"", comments_only=True), None)


def read_label(data: bytes) -> dict[str, Any] | None:
    """The AIGC label's fields, wherever and however they were written; None: there is none.

    Knows XMP as element or attribute (escaped or not, before or after the pixels), PNG text,
    EXIF UserComment and ImageDescription, and a bare ``AIGC{…}`` in a JPEG segment.
    """
    for text in _places(take_apart(data)):
        if found := _label_in(text):
            return found
    return None


def write_label(data: bytes, label: Label | Mapping[str, Any]) -> bytes:
    """The file marked as made by AI: TC260 AIGC and IPTC source type, merged into its XMP.

    What another wrote stays: an AIGC label that is there is neither changed nor doubled, and
    an XMP packet gains a description and loses nothing.
    """
    return mark(data, "", label)[0]


def _label(container: Container, label: Label | Mapping[str, Any]) -> bool:
    """Put the label in; whether that changed it."""
    wanted = label.fields() if isinstance(label, Label) else dict(label)
    packets = container.xmp()
    properties: list[str] = []
    if not _is_labelled(container, packets):
        properties.append(_property("TC260", AIGC_NAMESPACE, "AIGC", _compact(wanted)))
    if not any(b"DigitalSourceType" in _utf8(packet) for _, packet in packets):
        properties.append(_property("Iptc4xmpExt", _IPTC, "DigitalSourceType", SOURCE_TYPE))
    if properties:
        _put(container, packets, "".join(properties).encode())
    return bool(properties)


def carry_over(original: bytes, derived: bytes) -> bytes:
    """A re-encoded file with the metadata of the one it was made from.

    XMP, EXIF, parameters and the label go over; a C2PA manifest does not, because its hash
    speaks of other bytes.
    """
    before, after = take_apart(original), take_apart(derived)
    if (tiff := before.exif()) is not None:
        after.put_exif(tiff)
    for _, packet in before.xmp():
        after.put_xmp(packet, None)
    derived = after.write()
    if text := description(original):
        derived = describe(derived, text)
    if label := read_label(original):
        derived = write_label(derived, label)
    return derived


def _is_labelled(container: Container, packets: list[tuple[int, bytes]]) -> bool:
    """Whether there is a label, even one in a form that we cannot read: never a second one."""
    theirs = AIGC_NAMESPACE.encode()
    return any(theirs in _utf8(packet) for _, packet in packets) or any(
        _label_in(text) for text in _places(container)
    )


def _put(container: Container, packets: list[tuple[int, bytes]], properties: bytes) -> None:
    """Into the packet that is there; else, or where it cannot be extended, as one of its own."""
    fresh = _packet(properties)
    for place, packet in packets:
        merged = _merged(packet, properties)
        if merged and container.put_xmp(merged, place):
            return
        if merged and container.put_xmp(_PADDING.sub(b"", merged), place):
            return
    if packets and container.format == "webp":  # which holds only one
        place, packet = packets[0]
        container.put_xmp(_utf8(packet) + b"\n" + fresh, place)
    else:
        container.put_xmp(fresh, None)


def _merged(packet: bytes, properties: bytes) -> bytes | None:
    text = _utf8(packet)
    ends = [end.start() for end in _RDF_END.finditer(text)]
    if not ends:
        return None
    return text[: ends[-1]] + _about_this(properties) + text[ends[-1] :]


def _packet(properties: bytes) -> bytes:
    return (
        b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="'
        + _RDF.encode()
        + b'">'
        + _about_this(properties)
        + b'</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )


def _about_this(properties: bytes) -> bytes:
    head = f'<rdf:Description xmlns:rdf="{_RDF}" rdf:about="">'.encode()
    return head + properties + b"</rdf:Description>"


def _property(prefix: str, namespace: str, name: str, value: str) -> str:
    tag = f"{prefix}:{name}"
    return f'<{tag} xmlns:{prefix}="{namespace}">{html.escape(value, quote=False)}</{tag}>'


def _utf8(packet: bytes) -> bytes:
    """A packet as UTF-8 (XMP part 1, 7.3 allows UTF-16 and UTF-32 too)."""
    for mark, coding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if packet.startswith(mark):
            return packet.decode(coding, errors="replace").encode()
    if packet[:1] == b"\0" or packet[1:2] == b"\0":
        coding = "utf-16-be" if packet[:1] == b"\0" else "utf-16-le"
        return packet.decode(coding, errors="replace").encode()
    return packet


def _places(container: Container) -> Iterator[str]:
    """Every text in which a label may lie."""
    for _, packet in container.xmp():
        yield _utf8(packet).decode(errors="replace")
    if isinstance(container, Png):
        for _, keyword, text in container.texts():
            if keyword == b"AIGC":
                yield f"AIGC{text}"
    if isinstance(container, Jpeg):
        for body in container.segments():
            if body.lstrip(b"\0 ").startswith((b"AIGC", b'{"AIGC')):
                yield body.decode(errors="replace")
    for text in _exif_texts(container.exif() or b""):
        # A prompt may speak of labels; a label stands at the very start.
        if text.lstrip().startswith(("AIGC", "{")):
            yield text


def _label_in(text: str) -> dict[str, Any] | None:
    plain = html.unescape(text)
    # In XML the text is escaped once, but not within CDATA; some writers escape twice.
    as_xml = text.lstrip("\ufeff \n").startswith("<") and "<![CDATA[" not in text
    once = (plain, text) if as_xml else (text, plain)
    for form in (*once, html.unescape(plain)):
        for start in _LABEL_START.finditer(form):
            try:
                value, _ = json.JSONDecoder().raw_decode(form, start.end())
            except (ValueError, RecursionError):
                continue
            inner = value.get("AIGC", value)
            if isinstance(inner, dict) and any(name in inner for name in _KNOWN):
                return inner
    return None


_KNOWN = (*_LABEL_FIELDS, "ServiceProvider", "ServiceUser")


def _compact(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if re.search(r"[,:\n]", value) else value


def _no_path(reference: str) -> str:
    """A reference without the folder that it lay in, which is nobody's business."""
    plain = reference.removeprefix("file://")
    if PureWindowsPath(plain).is_absolute():
        return PureWindowsPath(plain).name
    absolute = PurePosixPath(plain).is_absolute() or plain.startswith("~")
    return PurePosixPath(plain).name if absolute else plain


# --- EXIF: just enough of TIFF 6.0 to read two texts and to add one without moving anything ---

_DESCRIPTION, _EXIF_IFD, _USER_COMMENT = 0x010E, 0x8769, 0x9286
_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_EMPTY = b"MM\0*\0\0\0\x08\0\0\0\0\0\0"
_Entry = tuple[int, int, int, bytes]
"""Tag, type, count, and the four bytes that hold the value or where it is."""


def _entries(tiff: bytes, at: int) -> tuple[list[_Entry], bytes]:
    """A directory's entries and the link to the next one. Raises struct.error where cut."""
    order = ">" if tiff[:2] == b"MM" else "<"
    (count,) = struct.unpack_from(order + "H", tiff, at)
    found = [struct.unpack_from(order + "HHI4s", tiff, at + 2 + 12 * n) for n in range(count)]
    after = at + 2 + 12 * count
    return [(e[0], e[1], e[2], e[3]) for e in found], tiff[after : after + 4].ljust(4, b"\0")


def _value(tiff: bytes, entry: _Entry) -> bytes:
    _, kind, count, raw = entry
    size = _WIDTHS.get(kind, 1) * count
    if size <= 4:
        return raw[:size]
    (at,) = struct.unpack((">" if tiff[:2] == b"MM" else "<") + "I", raw)
    return tiff[at : at + size]


def _number(tiff: bytes, raw: bytes) -> int:
    return int.from_bytes(raw, "big" if tiff[:2] == b"MM" else "little")


def _exif_texts(tiff: bytes, *, comments_only: bool = False) -> Iterator[str]:
    """UserComment, then ImageDescription; nothing where the block is damaged."""
    try:
        main, _ = _entries(tiff, _number(tiff, tiff[4:8]))
        links = (entry for entry in main if entry[0] == _EXIF_IFD)
        for link in links:
            for entry in _entries(tiff, _number(tiff, link[3]))[0]:
                if entry[0] == _USER_COMMENT:
                    yield _comment(_value(tiff, entry), tiff[:2])
        for entry in main:
            if entry[0] == _DESCRIPTION and not comments_only:
                yield _value(tiff, entry).rstrip(b"\0").decode(errors="replace")
    except struct.error:
        return


def _comment(raw: bytes, order: bytes) -> str:
    """A UserComment by its eight-byte code (EXIF 2.32, 4.6.5).

    Which byte order UNICODE means in a little-endian block is nowhere said, and writers differ:
    the reading with more ASCII is taken, A1111's (big-endian) where they are equal.
    """
    code, text = raw[:8], raw[8:]
    if code == b"UNICODE\0":
        codings = ("utf-16-be",) if order == b"MM" else ("utf-16-be", "utf-16-le")
        readings = [text.decode(coding, errors="replace") for coding in codings]
        return max(readings, key=lambda r: sum(c.isascii() for c in r)).rstrip("\0")
    body = text if code in (b"ASCII\0\0\0", b"\0" * 8) else raw
    return body.decode(errors="replace").rstrip("\0 ")


def _with_comment(tiff: bytes | None, text: str) -> bytes | None:
    """The EXIF block with a UserComment appended; None: it has one, or cannot be read.

    New directories go behind everything else, so that no offset of another (a maker's note)
    changes.
    """
    tiff = tiff or _EMPTY
    if any(_exif_texts(tiff, comments_only=True)):
        return None
    order = ">" if tiff[:2] == b"MM" else "<"
    comment = b"UNICODE\0" + text.encode("utf-16-be", errors="replace")
    try:
        main, link = _entries(tiff, _number(tiff, tiff[4:8]))
        inner = next((_number(tiff, e[3]) for e in main if e[0] == _EXIF_IFD), None)
        camera, camera_link = _entries(tiff, inner) if inner is not None else ([], b"\0" * 4)
    except struct.error:
        return None
    grown = tiff + b"\0" * (len(tiff) & 1)
    where = struct.pack(order + "I", len(grown))
    grown += comment + b"\0" * (len(comment) & 1)
    camera = [e for e in camera if e[0] != _USER_COMMENT]
    camera.append((_USER_COMMENT, 7, len(comment), where))
    main = [e for e in main if e[0] != _EXIF_IFD]
    main.append((_EXIF_IFD, 4, 1, struct.pack(order + "I", len(grown))))
    grown += _directory(order, camera, camera_link)
    start = struct.pack(order + "I", len(grown))
    return grown[:4] + start + grown[8:] + _directory(order, main, link)


def _directory(order: str, entries: list[_Entry], link: bytes) -> bytes:
    packed = [struct.pack(order + "HHI4s", *entry) for entry in sorted(entries)]
    return struct.pack(order + "H", len(packed)) + b"".join(packed) + link
