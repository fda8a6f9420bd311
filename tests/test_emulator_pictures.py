"""The emulators' pictures: decodable, whose they are, what they carry."""

from __future__ import annotations

from hashlib import sha256
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from redloom.emulators.pictures import LABELS, picture, prompt_of_picture

SHA = sha256("红围巾".encode()).hexdigest()


@given(
    st.binary(min_size=32, max_size=32),
    st.integers(min_value=32, max_value=300),
    st.integers(min_value=32, max_value=300),
    st.sets(st.sampled_from(LABELS)),
)
@settings(max_examples=60)
def test_says_whose_it_is_at_any_size(
    sha: bytes, width: int, height: int, labels: set[str]
) -> None:
    """Size as asked, and the prompt's SHA in text and pixels, whatever it carries besides."""
    data = picture(sha.hex(), "t/0", width, height, sorted(labels))
    with Image.open(BytesIO(data)) as image:
        image.load()
        assert image.size == (width, height)
        assert image.format == "PNG"
    assert prompt_of_picture(data) == sha.hex()


@pytest.mark.parametrize("size", [(1440, 1440), (1104, 1472), (960, 1696)])
def test_full_sizes_are_small_files(size: tuple[int, int]) -> None:
    """A picture as large as the service's costs little to send."""
    data = picture(SHA, "t/0", *size)
    assert len(data) < 60_000
    assert prompt_of_picture(data) == SHA


def test_pixels_speak_without_the_text() -> None:
    """A lossless copy without metadata still tells its prompt; two pictures never share bytes."""
    data = picture(SHA, "t/0", 320, 240)
    assert data != picture(SHA, "t/1", 320, 240)
    for kind in ("PNG", "WEBP"):
        copy = BytesIO()
        with Image.open(BytesIO(data)) as image:
            image.convert("RGB").save(copy, kind, lossless=True)
        assert prompt_of_picture(copy.getvalue()) == SHA


def test_swapped_pixels_are_found_out() -> None:
    """Text of one prompt over pixels of another is an error, and so is a foreign picture."""
    other = sha256(b"other").hexdigest()
    mixed = picture(SHA, "t/0", 64, 64).replace(SHA.encode(), other.encode())
    start = mixed.index(b"tEXt")
    import struct
    import zlib

    length = struct.unpack(">I", mixed[start - 4 : start])[0]
    body = mixed[start : start + 4 + length]
    mixed = (
        mixed[: start + 4 + length]
        + struct.pack(">I", zlib.crc32(body))
        + mixed[start + 8 + length :]
    )
    with pytest.raises(ValueError, match="different prompts"):
        prompt_of_picture(mixed)
    plain = BytesIO()
    Image.new("RGB", (64, 64), (1, 2, 200)).save(plain, "PNG")
    with pytest.raises(ValueError, match="not a picture"):
        prompt_of_picture(plain.getvalue())


def test_labels_stand_where_they_should() -> None:
    """AIGC in XMP, text and Exif, a C2PA box, and XMP after the pixels."""
    assert all(
        mark not in picture(SHA, "t", 64, 64) for mark in (b"AIGC", b"caBX", b"eXIf", b"iTXt")
    )
    with Image.open(BytesIO(picture(SHA, "t", 64, 64, ["text", "exif", "xmp"]))) as image:
        assert '"Label": "1"' in image.info["AIGC"]
        assert b'{"AIGC":{' in image.getexif().get_ifd(0x8769)[0x9286]
        assert "tc260.org.cn/ns/AIGC" in image.info["XML:com.adobe.xmp"]
    boxed = picture(SHA, "t", 64, 64, ["c2pa"])
    assert boxed.index(b"caBX") < boxed.index(b"IDAT")
    late = picture(SHA, "t", 64, 64, ["late"])
    assert late.index(b"iTXt") > late.index(b"IDAT")
    assert late.endswith(b"IEND\xaeB`\x82")
