"""One look at a picture: its thumbnail, blank ones, those that look like another."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from redloom.emulators.ledger import prompt_sha
from redloom.emulators.pictures import picture
from redloom.errors import NotAPicture
from redloom.examine import Likeness, Look, alike, examine, fingerprint, make_thumb, thumb_name
from redloom.image import opened_file


def noise(size: tuple[int, int], seed: int = 7) -> Image.Image:
    """Coarse clouds of colour."""
    raw = random.Random(seed).randbytes(8 * 8 * 3)
    return Image.frombytes("RGB", (8, 8), raw).resize(size, Image.Resampling.BICUBIC)


def saved(folder: Path, picture: Image.Image, name: str = "a.png", **how: Any) -> Path:
    path = folder / name
    picture.save(path, **how)
    return path


def looked_at(path: Path, *, thumb: bool = False) -> Look:
    """A file, decoded and looked at."""
    with opened_file(path) as pixels:
        return examine(pixels, thumb=thumb)


def test_thumbnails_are_small_and_made_once(tmp_path: Path) -> None:
    """A thumbnail fits its side, is not made twice, and a broken picture has none."""
    picture, thumb = tmp_path / "a.png", tmp_path / thumb_name("a.png")
    Image.new("RGBA", (900, 1200), "red").save(picture)
    make_thumb(picture, thumb)
    with Image.open(thumb) as small:
        assert (small.format, small.size) == ("WEBP", (270, 360))
    thumb.write_bytes(b"mine")
    make_thumb(picture, thumb)
    assert thumb.read_bytes() == b"mine"
    (tmp_path / "b.png").write_bytes(b"broken")
    make_thumb(tmp_path / "b.png", tmp_path / "b.webp")
    assert not (tmp_path / "b.webp").exists()


@pytest.mark.parametrize("colour", ["black", "white", "#14c85a"])
def test_blank_and_nearly_blank(tmp_path: Path, colour: str) -> None:
    """Plain pictures are doubted, also with a speck or a little grain; a page with a line is not."""
    plain = Image.new("RGB", (800, 600), colour)
    assert looked_at(saved(tmp_path, plain)).flags == ("blank",)
    speck = plain.copy()
    speck.paste("red", (400, 300, 412, 312))
    assert looked_at(saved(tmp_path, speck)).flags == ("blank",)
    line = plain.copy()
    line.paste("red", (100, 290, 700, 310))
    assert looked_at(saved(tmp_path, line)).flags == ()
    assert looked_at(saved(tmp_path, noise((800, 600)))).flags == ()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "P", "1", "I;16", "CMYK"])
def test_every_mode_can_be_looked_at(tmp_path: Path, mode: str) -> None:
    """Whatever a service sends has a thumbnail and a fingerprint."""
    kind = "jpg" if mode == "CMYK" else "png"
    path = saved(tmp_path, Image.new(mode, (300, 200)), f"a.{kind}")
    look = looked_at(path, thumb=True)
    assert look.thumb.startswith(b"RIFF")
    assert len(look.fingerprint) == 40


def test_a_damaged_picture_is_told(tmp_path: Path) -> None:
    """What cannot be decoded is no picture."""
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(NotAPicture):
        looked_at(tmp_path / "a.png")


def test_the_same_motif_is_near_another_is_not(tmp_path: Path) -> None:
    """Another size, another format, a little darker: near. Another motif or colour: not."""
    motif = noise((800, 600))
    one = looked_at(saved(tmp_path, motif)).fingerprint
    small = saved(tmp_path, motif.resize((400, 300)), "b.jpg", quality=60)
    assert alike(one, looked_at(small).fingerprint)
    assert alike(one, fingerprint(motif.point(lambda v: v * 0.97)))
    assert not alike(one, fingerprint(noise((800, 600), seed=8)))
    red, green, blue = motif.split()
    assert not alike(one, fingerprint(Image.merge("RGB", (blue, green, red))))


def test_two_thousand_pictures_of_their_own_are_not_doubted(tmp_path: Path) -> None:
    """The stand-in's pictures differ by their colours only, and hardly any two look alike."""
    likeness = Likeness()
    doubted = 0
    for number in range(2000):
        data = picture(prompt_sha(f"prompt {number}"), str(number), 64, 64)
        (tmp_path / "p.png").write_bytes(data)
        doubted += likeness.add(looked_at(tmp_path / "p.png").fingerprint, number) is not None
    assert doubted <= 4


PRINTS = st.tuples(st.integers(0, 2**64 - 1), st.binary(min_size=12, max_size=12))


@given(st.lists(PRINTS, max_size=30), st.data())
def test_the_index_finds_what_comparing_all_would(
    marks: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    """Whatever four bits differ, the index finds the earlier picture, and it finds no other; of a
    long run the latest ones are compared.
    """
    latest = data.draw(st.sampled_from([3, 1000]))
    likeness = Likeness(latest)
    kept: list[tuple[str, int]] = []
    for row, (bits, colours) in enumerate(marks, 1):
        flipped = data.draw(st.sets(st.integers(0, 63), max_size=5))
        for mark in (bits, bits ^ sum(1 << bit for bit in flipped)):
            text = f"{mark:016x}{colours.hex()}"
            near = (r for known, r in kept[-latest:] if alike(known, text) and r != row)
            expected = next(near, None)
            found = likeness.add(text, row)
            assert (found and found[0]) == expected
            if found is None:
                kept.append((text, row))
