"""Metadata: spliced in without touching a pixel, labels kept as others wrote them."""

from __future__ import annotations

import io
import json
import struct
import zlib
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from redloom.errors import NotAPicture
from redloom.metadata import (
    SOURCE_TYPE,
    About,
    Label,
    carry_over,
    describe,
    description,
    label_for,
    parameters,
    read_label,
    sidecar,
    write_label,
)
from redloom.splice import Jpeg, Png, Webp, take_apart

FORMATS = ("png", "jpeg", "webp")
THEIRS = {
    "Label": "1",
    "ContentProducer": "001191110102MACQD9K64010000",
    "ProduceID": "7f & <b> 画",
    "ReservedCode1": "",
}
LABEL = Label(producer="dashscope/wan2.6-t2i", produce_id="task-1")
TC260 = 'xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/"'
words = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=60)


def make(kind: str, size: tuple[int, int] = (13, 7), mode: str = "RGB", **extra: Any) -> bytes:
    """A small picture in which every pixel differs."""
    picture = Image.new("RGB", size)
    wide = size[0]
    picture.putdata([(n % 256, n * 7 % 256, n // wide * 3 % 256) for n in range(wide * size[1])])
    out = io.BytesIO()
    picture.convert(mode).save(out, kind, **extra)
    return out.getvalue()


def pixels(data: bytes) -> tuple[str, tuple[int, int], bytes]:
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        return picture.mode, picture.size, picture.tobytes()


def xmp(properties: str, attributes: str = "") -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        f"{attributes}>{properties}</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(FORMATS),
    st.sampled_from(["RGB", "L", "RGBA"]),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    words,
    words,
)
def test_splicing_changes_no_pixel(
    kind: str,
    mode: str,
    size: tuple[int, int],
    text: str,
    producer: str,
) -> None:
    """Whatever words and label go in, Pillow decodes the same pixels and finds both again."""
    plain = make(kind, size, "RGB" if (kind, mode) == ("jpeg", "RGBA") else mode)
    label = Label(producer=producer, produce_id="1")
    made = write_label(describe(plain, text), label)
    assert pixels(made) == pixels(plain)
    assert description(made) == text
    assert read_label(made) == label.fields()
    assert made == write_label(describe(plain, text), label)
    assert write_label(describe(made, "other"), Label(producer="other")) == made


@pytest.mark.parametrize("kind", FORMATS)
def test_taking_apart_and_writing_is_the_same_file(kind: str) -> None:
    """A container that nothing was added to is written back byte for byte, tail included."""
    for data in (make(kind), make(kind, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0")):
        assert take_apart(data).write() == data
        assert take_apart(data + b"trailing").write() == data + b"trailing"


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FORMATS), st.data())
def test_damage_never_gets_past_as_another_error(kind: str, data: st.DataObject) -> None:
    """Cut or altered bytes are read, or refused as NotAPicture; nothing else is raised."""
    whole = bytearray(write_label(describe(make(kind), "words"), LABEL))
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        read_label(cut)
        description(cut)
        write_label(describe(cut, "again"), LABEL)
    except NotAPicture:
        pass


@pytest.mark.parametrize("kind", FORMATS)
def test_every_cut_is_noticed(kind: str) -> None:
    """A file that ends early is refused wherever it ends."""
    whole = make(kind, (40, 40))
    for end in range(len(whole)):
        with pytest.raises(NotAPicture):
            take_apart(whole[:end])


def test_png_checksum_is_checked() -> None:
    """A flipped bit in a PNG chunk is damage, even where a decoder would not notice."""
    whole = bytearray(describe(make("png"), "parameters here"))
    whole[whole.index(b"here")] ^= 1
    with pytest.raises(NotAPicture):
        take_apart(bytes(whole))


def png_with(*parts: tuple[bytes, bytes], after: bool = False) -> bytes:
    container = Png.read(make("png"))
    place = len(container.parts) - 1 if after else 1
    container.parts[place:place] = parts
    return container.write()


def jpeg_with(marker: bytes, body: bytes) -> bytes:
    container = Jpeg.read(make("jpeg"))
    container.parts.insert(1, (marker, body))
    return container.write()


def exif_of(tag: int, value: object, inner: bool) -> bytes:
    exif = Image.Exif()
    (exif.get_ifd(0x8769) if inner else exif)[tag] = value
    return exif.tobytes()


def labelled_files() -> dict[str, bytes]:
    """One file for each way in which labels have been seen."""
    text = json.dumps(THEIRS, ensure_ascii=False)
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    element = xmp(f"<TC260:AIGC>{escaped}</TC260:AIGC>", TC260)
    attribute = xmp("", f'{TC260} TC260:AIGC="{escaped}"')
    cdata = xmp(f"<TC260:AIGC><![CDATA[{text}]]></TC260:AIGC>", TC260)
    packet = b"XML:com.adobe.xmp\0\0\0\0\0"
    packed = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(element)
    wrapped = json.dumps({"AIGC": THEIRS}, ensure_ascii=True)
    comment = exif_of(0x9286, b"ASCII\0\0\0" + wrapped.encode(), inner=True)
    return {
        "png element": png_with((b"iTXt", packet + element)),
        "png attribute": png_with((b"iTXt", packet + attribute)),
        "png cdata": png_with((b"iTXt", packet + cdata)),
        "png after the pixels": png_with((b"iTXt", packet + element), after=True),
        "png compressed": png_with((b"iTXt", packed)),
        "png text": png_with((b"tEXt", b"AIGC\0" + json.dumps(THEIRS).encode())),
        "png exif": make("png", exif=comment),
        "jpeg xmp": make("jpeg", xmp=attribute),
        "jpeg comment": make("jpeg", exif=comment),
        "jpeg description": make("jpeg", exif=exif_of(0x010E, wrapped, inner=False)),
        "jpeg bare": jpeg_with(b"\xff\xe9", b"AIGC" + json.dumps(THEIRS).encode()),
        "webp xmp": make("webp", xmp=element),
        "webp comment": make("webp", exif=comment),
        "utf-16": make("webp", xmp=element.decode().encode("utf-16")),
    }


@pytest.mark.parametrize("case", labelled_files())
def test_their_label_is_read_and_never_changed(case: str) -> None:
    """A provider's label is found in every form seen in the wild, kept, and not doubled."""
    data = labelled_files()[case]
    assert read_label(data) == THEIRS
    again = write_label(data, LABEL)
    assert read_label(again) == THEIRS
    assert b"dashscope" not in again
    assert pixels(again) == pixels(data)
    assert write_label(again, LABEL) == again


@pytest.mark.parametrize("case", labelled_files())
@pytest.mark.parametrize("kind", FORMATS)
def test_their_label_survives_another_format(case: str, kind: str) -> None:
    """Re-encoded into any kind, a picture still says what its provider said."""
    carried = carry_over(labelled_files()[case], make(kind))
    assert read_label(carried) == THEIRS
    assert pixels(carried) == pixels(make(kind))


def test_unreadable_label_is_not_doubled() -> None:
    """A TC260 property in a form that we cannot read still counts as a label."""
    odd = xmp('<TC260:AIGC rdf:parseType="Resource"/>', TC260)
    made = write_label(make("webp", xmp=odd), LABEL)
    assert b"ContentProducer" not in made


@pytest.mark.parametrize("kind", FORMATS)
def test_xmp_is_merged_without_loss(kind: str) -> None:
    """An XMP packet that was there keeps every word, stays XML, and gains label and source type."""
    theirs = xmp("<dc:rights>© 画家</dc:rights>", 'xmlns:dc="http://purl.org/dc/elements/1.1/"')
    plain = make(kind) if kind == "png" else make(kind, xmp=theirs)
    if kind == "png":
        plain = png_with((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + theirs), after=True)
    label = Label(producer='<画 & "室">', produce_id="task-1")
    container = take_apart(write_label(plain, label))
    ((_, packet),) = container.xmp()
    assert "© 画家" in packet.decode()
    tree = ElementTree.fromstring(packet)
    value = tree.find(".//{http://www.tc260.org.cn/ns/AIGC/1.0/}AIGC")
    assert value is not None
    assert json.loads(value.text or "") == label.fields()
    source = tree.find(".//{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
    assert source is not None
    assert source.text == SOURCE_TYPE


def test_jpeg_packet_without_room_gets_a_second_one() -> None:
    """Where a JPEG's packet cannot grow, the label stands in one of its own; nothing is lost."""
    full = xmp("<a>" + "x" * 64_800 + "</a>")
    made = write_label(make("jpeg", xmp=full), LABEL)
    assert read_label(made) == LABEL.fields()
    assert full in made


@pytest.mark.parametrize("kind", FORMATS)
def test_broken_packet_is_kept(kind: str) -> None:
    """Something that is no RDF stays where it is, and the label is still written."""
    broken = b"<not rdf"
    data = (
        make(kind, xmp=broken)
        if kind != "png"
        else png_with((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + broken))
    )
    made = write_label(data, LABEL)
    assert broken in made
    assert read_label(made) == LABEL.fields()


def test_what_came_with_the_picture_survives() -> None:
    """Foreign chunks, a C2PA manifest, a colour profile and physical size all stay."""
    parts = [(b"caBX", b"jumbf"), (b"prVt", b"own"), (b"pHYs", struct.pack(">IIB", 1, 1, 1))]
    made = write_label(describe(png_with(*parts), "画"), LABEL)
    assert [part for part in Png.read(made).parts if part in parts] == parts
    jpeg = write_label(describe(jpeg_with(b"\xff\xeb", b"JP jumbf"), "画"), LABEL)
    assert (b"\xff\xeb", b"JP jumbf") in Jpeg.read(jpeg).parts


def test_exif_that_was_there_keeps_its_offsets() -> None:
    """Words added to a JPEG's EXIF leave every other entry readable where it was."""
    exif = Image.Exif()
    exif[0x010F] = "A camera maker with a long name"
    inner = exif.get_ifd(0x8769)
    inner[0x927C] = b"maker's note " * 5
    inner[0x829A] = (1, 125)
    for data in (make("jpeg", exif=exif), make("webp", exif=exif)):
        made = describe(data, "一只猫\nSeed: 7")
        with Image.open(io.BytesIO(made)) as picture:
            found = picture.getexif()
            assert found[0x010F] == exif[0x010F]
            camera = found.get_ifd(0x8769)
        assert camera[0x927C] == b"maker's note " * 5
        assert camera[0x829A] == (1, 125)
        assert camera[0x9286].startswith(b"UNICODE\0")
        assert description(made) == "一只猫\nSeed: 7"


def test_their_parameters_stay() -> None:
    """A picture that says how it was made (A1111 and others do) is not contradicted."""
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "theirs")
    assert describe(make("png", pnginfo=info), "ours") == make("png", pnginfo=info)


def test_a_prompt_that_looks_like_a_label_is_none() -> None:
    """Words in a prompt cannot pass for a label."""
    for format_ in FORMATS:
        assert read_label(describe(make(format_), 'a sign: AIGC{"Label":"1"}')) is None


def test_parameters_in_the_form_readers_know() -> None:
    """Prompt, negative prompt, then one line of `Key: value` pairs, quoted where needed."""
    about = About("a cat", sent_prompt="a cat, 4k", negative_prompt="dog", seed=7, model="a:b")
    lines = parameters(about, (1024, 768)).split("\n")
    assert lines[:2] == ["a cat, 4k", "Negative prompt: dog"]
    assert lines[2].startswith('Seed: 7, Size: 1024x768, Model: "a:b", Version: Redloom ')
    assert "Seed" not in parameters(About("x"), (1, 1))


def test_sidecar_is_stable_and_shows_no_folder() -> None:
    """The sidecar has every field in one order, real characters, and no absolute path."""
    about = About(
        "红围巾",
        size_asked=(1280, 720),
        references=("/home/me/a.png", r"C:\Users\me\b.png", "refs/c.png", "file:///tmp/d.png"),
        price=None,
    )
    made = sidecar(about, {"sha256": "ab", "size": "1280x720"})
    assert made == sidecar(about, {"sha256": "ab", "size": "1280x720"})
    read = json.loads(made)
    assert read["references"] == ["a.png", "b.png", "refs/c.png", "d.png"]
    assert (read["prompt"], read["size_asked"], read["price"]) == ("红围巾", "1280x720", None)
    assert "红围巾".encode() in made


def test_label_for_names_model_and_task() -> None:
    """A label of our own names the model as producer and the task as number."""
    label = label_for(About("x", provider="dashscope", model="wan2.6-t2i", task_id="t"), "sha")
    assert label.fields()["ContentProducer"] == "dashscope/wan2.6-t2i"
    assert list(label.fields()) == [
        "Label", "ContentProducer", "ProduceID", "ReservedCode1",
        "ContentPropagator", "PropagateID", "ReservedCode2",
    ]  # fmt: skip
    assert label_for(About("x"), "sha").produce_id == "sha"


@given(st.integers(1, 16383), st.integers(1, 16383), st.booleans())
def test_webp_size_is_read_from_every_header(wide: int, high: int, lossless: bool) -> None:
    """The canvas size is known before anything is allocated, in all three kinds of header."""
    if lossless:
        bits = (wide - 1) | (high - 1) << 14
        simple = Webp([(b"VP8L", b"\x2f" + bits.to_bytes(4, "little"))])
    else:
        simple = Webp([(b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", wide, high))])
    assert simple.size() == (wide, high)
    simple.put_exif(b"MM")
    assert simple.parts[0][0] == b"VP8X"
    assert simple.size() == (wide, high)


@pytest.mark.parametrize("alpha", [0, 0x10])
def test_webp_header_says_what_is_there(alpha: int) -> None:
    """An extended header names EXIF, XMP and transparency, or readers would not look for them."""
    plain = make("webp", lossless=True)
    if alpha:
        out = io.BytesIO()
        Image.new("RGBA", (9, 9), (1, 2, 3, 100)).save(out, "webp", lossless=True)
        plain = out.getvalue()
    container = Webp.read(plain)
    container.parts = [part for part in container.parts if part[0] != b"VP8X"]
    made = Webp.read(write_label(describe(container.write(), "words"), LABEL))
    assert made.parts[0][0] == b"VP8X"
    assert made.parts[0][1][0] == 0x0C | alpha
    assert [tag for tag, _ in made.parts] == [b"VP8X", b"VP8L", b"EXIF", b"XMP "]
