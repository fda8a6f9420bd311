"""The store, what is delivered from it, and doubts about odd pictures."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

import redloom.image as image_module
from redloom.errors import DiskFull, NotAPicture
from redloom.image import (
    Delivery,
    Image,
    Store,
    clear_parts,
    deliver,
    write_whole,
)
from redloom.metadata import About, Label, description, read_label, write_label
from redloom.verify import Fetched, verify, verify_bytes

ABOUT = About(
    "红围巾",
    provider="dashscope",
    model="wan2.6-t2i",
    task_id="t-1",
    seed=7,
    size_asked=(60, 80),
    price=0.2,
    currency="CNY",
    price_source="estimated",
)
FORMATS = ("png", "jpeg", "webp")


def noise(size: tuple[int, int] = (60, 80), mode: str = "RGB", seed: int = 7) -> Pillow.Image:
    raw = random.Random(seed).randbytes(size[0] * size[1] * len(mode))
    return Pillow.frombytes(mode, size, raw)


def encoded(picture: Pillow.Image, kind: str = "png", **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def fetched(folder: Path, data: bytes, name: str = "x") -> Fetched:
    folder.mkdir(exist_ok=True)
    part = folder / f"{name}.0.part"
    part.write_bytes(data)
    return verify(part, name, None, 10**8)


def stored(folder: Path, data: bytes) -> Image:
    return Store(folder).put(fetched(folder, data))


def shown(path: Path) -> Pillow.Image:
    with Pillow.open(path) as picture:
        picture.load()
        return picture


@pytest.mark.parametrize("kind", FORMATS)
def test_store_keeps_the_bytes_that_came(tmp_path: Path, kind: str) -> None:
    """What is put is found by its digest, byte for byte, with its measures."""
    data = encoded(noise(), kind)
    store = Store(tmp_path)
    image = store.put(fetched(tmp_path / "in", data))
    assert image.path.read_bytes() == data
    assert image.sha256 == hashlib.sha256(data).hexdigest()
    assert store.find(image.sha256) == image
    assert (image.width, image.height, image.format) == (60, 80, kind)
    assert store.usage() == (1, len(data))
    assert list((tmp_path / "in").iterdir()) == []


def test_putting_twice_is_one_file(tmp_path: Path) -> None:
    """The same bytes are kept once, and a damaged copy is made good by a new one."""
    data = encoded(noise())
    store = Store(tmp_path)
    image = store.put(fetched(tmp_path, data))
    assert store.put(fetched(tmp_path, data, "y")) == image
    image.path.write_bytes(b"damaged")
    assert store.put(fetched(tmp_path, data, "z")) == image
    assert store.verify(image.sha256)
    assert store.usage() == (1, len(data))


def test_verify_sees_damage(tmp_path: Path) -> None:
    """A file whose bytes have changed is not the picture any more."""
    image = stored(tmp_path, encoded(noise()))
    store = Store(tmp_path)
    assert store.verify(image.sha256)
    data = bytearray(image.path.read_bytes())
    data[-20] ^= 1
    image.path.write_bytes(data)
    assert not store.verify(image.sha256)
    image.path.unlink()
    assert not store.verify(image.sha256)
    assert store.find(image.sha256) is None


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "../" + "a" * 61])
def test_only_digests_are_looked_up(tmp_path: Path, digest: str) -> None:
    """Nothing but a digest becomes a path in the store."""
    with pytest.raises(ValueError, match="digest"):
        Store(tmp_path).find(digest)


def test_prune_spares_what_is_wanted_or_new(tmp_path: Path) -> None:
    """Only pictures that nobody wants and that are old enough go; the freed bytes are told."""
    store = Store(tmp_path)
    images = [store.put(fetched(tmp_path, encoded(noise(seed=n)))) for n in range(3)]
    for image in images[:2]:
        os.utime(image.path, (100, 100))
    freed = store.prune(lambda sha256: sha256 == images[0].sha256, older_than=200)
    assert freed == images[1].size_bytes
    assert [store.find(image.sha256) is not None for image in images] == [True, False, True]


@pytest.mark.parametrize("kind", FORMATS)
def test_delivered_file_says_how_it_was_made(tmp_path: Path, kind: str) -> None:
    """Words and label are in the file, the pixels are those that came, the store is untouched."""
    data = encoded(noise(), kind)
    image = stored(tmp_path, data)
    target = tmp_path / "out" / "deep" / f"00001-红围巾.{kind}"
    got = deliver(image, target, ABOUT)
    made = target.read_bytes()
    assert got.sha256 == hashlib.sha256(made).hexdigest()
    assert shown(target).tobytes() == shown(image.path).tobytes()
    words = description(made) or ""
    assert words.startswith("红围巾\nSeed: 7, Size: 60x80, Model: wan2.6-t2i")
    label = read_label(made) or {}
    assert (label["ContentProducer"], label["ProduceID"]) == ("dashscope/wan2.6-t2i", "t-1")
    assert image.path.read_bytes() == data
    assert sorted(path.name for path in target.parent.iterdir()) == [
        target.name,
        f"{target.name}.json",
    ]


def test_sidecar_tells_all(tmp_path: Path) -> None:
    """The sidecar has what was asked, what came, what it cost, and both digests."""
    image = stored(tmp_path, encoded(noise()))
    got = deliver(image, tmp_path / "a.png", ABOUT)
    assert got.sidecar is not None
    told = json.loads(got.sidecar.read_bytes())
    assert got.sidecar.name == "a.png.json"
    assert told["sha256"] == got.sha256
    assert told["source_sha256"] == image.sha256
    assert (told["size"], told["size_asked"], told["seed"]) == ("60x80", "60x80", 7)
    assert (told["price"], told["currency"], told["price_source"]) == (0.2, "CNY", "estimated")
    assert told["label"]["Label"] == "1"
    assert str(tmp_path) not in got.sidecar.read_text()


def test_delivery_is_the_same_every_time(tmp_path: Path) -> None:
    """The same picture, words and options give the same bytes, in every format."""
    image = stored(tmp_path, encoded(noise()))
    for kind in (None, *FORMATS):
        for crop in (None, (30, 40)):
            options = Delivery(kind, crop)
            first = deliver(image, tmp_path / "a", ABOUT, options)
            second = deliver(image, tmp_path / "b", ABOUT, options)
            assert first.sha256 == second.sha256


def test_nothing_added_is_the_same_file(tmp_path: Path) -> None:
    """Without metadata and label the file is the provider's, byte for byte."""
    data = encoded(noise())
    image = stored(tmp_path, data)
    bare = Delivery(metadata=False, label=False, sidecar=False)
    got = deliver(image, tmp_path / "a.png", ABOUT, bare)
    assert got.path.read_bytes() == data
    assert got.sidecar is None
    assert not (tmp_path / "a.png.json").exists()


def test_a_card_gets_no_label(tmp_path: Path) -> None:
    """What no model made is not marked as made by one."""
    image = stored(tmp_path, encoded(noise()))
    about = About("title", made_by_model=False)
    got = deliver(image, tmp_path / "a.png", about)
    assert read_label(got.path.read_bytes()) is None


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("crop", [None, (27, 36), (40, 40)])
def test_other_formats_and_crops_keep_the_label(
    tmp_path: Path, source: str, kind: str, crop: tuple[int, int] | None
) -> None:
    """Re-encoded or cut, a picture keeps its provider's label and says how it was made."""
    theirs = Label(producer="theirs", produce_id="9")
    image = stored(tmp_path, write_label(encoded(noise(), source), theirs))
    got = deliver(image, tmp_path / "out", ABOUT, Delivery(kind, crop))
    made = got.path.read_bytes()
    assert read_label(made) == theirs.fields()
    assert "红围巾" in (description(made) or "")
    assert shown(got.path).size == (got.width, got.height) == (crop or (60, 80))
    assert (shown(got.path).format or "").lower() == kind


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "P", "1", "I;16", "CMYK"])
def test_every_mode_can_become_a_jpeg(tmp_path: Path, mode: str) -> None:
    """Palettes, grey, transparency (shown on white), sixteen bits and CMYK all convert."""
    if mode == "I;16":
        picture = Pillow.new("I;16", (8, 8), 0x8000)
    elif mode == "RGBA":
        picture = Pillow.new("RGBA", (8, 8), (200, 0, 0, 0))
    else:
        grey = Pillow.new("RGB", (8, 8), (128, 128, 128))
        picture = grey.quantize() if mode == "P" else grey.convert(mode)
    image = stored(tmp_path, encoded(picture, "jpeg" if mode == "CMYK" else "png"))
    got = deliver(image, tmp_path / "a.jpg", ABOUT, Delivery("jpg"))
    pixel = shown(got.path).convert("RGB").getpixel((4, 4))
    assert isinstance(pixel, tuple)
    wanted = {"RGBA": (255,) * 3, "1": (255,) * 3}.get(mode, (128,) * 3)
    if mode == "1":
        assert len(set(pixel)) == 1
    else:
        assert all(abs(a - b) <= 3 for a, b in zip(pixel, wanted, strict=True))


def test_attention_keeps_what_is_there(tmp_path: Path) -> None:
    """A crop by attention keeps the detail at the edge that a crop by centre cuts away."""
    picture = Pillow.new("RGB", (300, 100), "white")
    picture.paste(noise((80, 80)), (210, 10))
    image = stored(tmp_path, encoded(picture))
    white = []
    for options in (Delivery(crop=(100, 100), focus="centre"), Delivery(crop=(100, 100))):
        got = deliver(image, tmp_path / "a.png", ABOUT, options)
        white.append(shown(got.path).convert("L").histogram()[255])
    assert white[0] == 100 * 100
    assert white[1] < 0.5 * 100 * 100
    flat = stored(tmp_path, encoded(Pillow.new("RGB", (300, 100), "white")))
    assert deliver(flat, tmp_path / "flat.png", ABOUT, Delivery(crop=(10, 10))).width == 10


def test_write_whole_leaves_the_old_file_when_it_fails(tmp_path: Path) -> None:
    """A write that cannot be finished is DiskFull, and what was there is still there."""
    target = tmp_path / "folder"
    (target / "child").mkdir(parents=True)
    with pytest.raises(DiskFull):
        write_whole(target, b"new")
    assert names(tmp_path) == ["folder"]
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DiskFull):
        write_whole(tmp_path / "file" / "x", b"new")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_clear_parts_takes_only_ours(tmp_path: Path) -> None:
    """Half-written files of a killed process go; files that only look alike stay."""
    (tmp_path / "in").mkdir()
    for name in (".redloom-1.part", "in/.redloom-2.part", "redloom.part", "in/a.png"):
        (tmp_path / name).write_bytes(b"")
    clear_parts(tmp_path)
    assert names(tmp_path) == ["in", "redloom.part"]
    assert names(tmp_path / "in") == ["a.png"]


def test_damaged_store_is_told(tmp_path: Path) -> None:
    """A stored file that was damaged is an error, never a delivered picture."""
    image = stored(tmp_path, encoded(noise()))
    image.path.write_bytes(image.path.read_bytes()[:-30])
    with pytest.raises(NotAPicture):
        deliver(image, tmp_path / "a.png", ABOUT)
    assert not (tmp_path / "a.png").exists()


def test_another_engine_clearing_the_downloads_folder_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes in memory reach the store though their half file is swept away under the thread."""
    data = encoded(noise())
    came = verify_bytes(data, tmp_path / "partial" / "1-1", None, 10**8)
    store, move = Store(tmp_path), image_module._move
    swept: list[Path] = []

    def sweeping(source: Path, target: Path) -> None:
        if len(swept) <= image_module.SWEPT:  # all the tries of one move
            swept.append(source)
            source.unlink(missing_ok=True)
        move(source, target)

    monkeypatch.setattr(image_module, "_move", sweeping)
    assert store.put(came).path.read_bytes() == data
    assert swept
    assert not list((tmp_path / "partial").iterdir())


def test_a_start_that_sweeps_the_folder_is_outlived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run of the folder begins, twice, while a picture is being written into a new one."""
    image, replace = stored(tmp_path, encoded(noise())), os.replace
    swept: list[str] = []

    def sweeping(source: str, target: Path) -> None:
        if len(swept) < 2:
            swept.append(source)
            clear_parts(target.parent)
        replace(source, target)

    monkeypatch.setattr(os, "replace", sweeping)
    deliver(image, tmp_path / "new" / "1.png", About(prompt="a"))
    assert len(swept) == 2
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["1.png", "1.png.json"]


def test_a_full_disk_leaves_no_half_file_of_a_picture_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store's write fails, in the system's words, and nothing of it lies in the downloads folder."""
    came = verify_bytes(encoded(noise()), tmp_path / "partial" / "1-1", None, 10**8)

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "partial").mkdir()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        Store(tmp_path).put(came)
    assert not list((tmp_path / "partial").iterdir())
