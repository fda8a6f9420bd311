"""The guides of `redloom batch`: their files and commands, run as they stand against the emulator."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from helpers.terminal import Service, manifest, run

DOCS = Path(__file__).resolve().parents[1] / "docs"
_FILE = re.compile(r"^```\w+ file=(\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```(console|text)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path, str(int(time.time())))
    yield made
    made.end()


@pytest.mark.slow
@pytest.mark.parametrize("page", ["batch.md", "batch.zh-CN.md"])
def test_the_examples_run_as_they_stand(service: Service, page: str) -> None:
    """Each example's files are written, its commands end well, and what it lists is there."""
    service.begin("--latency", "4,0.2,2,8")
    text = (DOCS / page).read_text("utf-8")
    examples = text.split("\n## ")[1].split("\n### ")[1:]
    assert len(examples) == 3
    for example in examples:
        for name, body in _FILE.findall(example):
            (service.folder / name).parent.mkdir(exist_ok=True)
            (service.folder / name).write_text(body, "utf-8")
        for kind, body in _BLOCK.findall(example):
            for line in body.splitlines():
                if kind == "text":
                    assert (service.folder / line).is_file(), line
                else:
                    words = shlex.split(line.removeprefix("$ "))
                    assert words[0] == "redloom"
                    done = run(service, *words[1:])
                    assert done.returncode == 0, done.stderr
    rows = {name: manifest(service.folder / name) for name in ("shop", "dataset", "comic")}
    assert [len(found) for found in rows.values()] == [3, 8, 4]
    assert {row["status"] for found in rows.values() for row in found} == {"ok"}
    _held(service.folder, rows)


def _held(folder: Path, rows: dict[str, list[dict[str, object]]]) -> None:
    """What the pages promise of the three folders."""
    for row in rows["shop"]:
        cut = folder / "shop" / "1080x1440.jpg" / Path(str(row["file"])).with_suffix(".jpg").name
        with Image.open(cut) as picture:
            assert (picture.size, picture.format) == ((1080, 1440), "JPEG")
            assert b"AIGC" in cut.read_bytes()
        assert "{" not in str(row["prompt"])
    first = folder / "dataset" / str(rows["dataset"][0]["file"])
    assert b"parameters" not in first.read_bytes()
    assert len({(row["prompt"], row["seed"]) for row in rows["dataset"]}) == 8
    sidecar = json.loads((folder / "comic" / f"{rows['comic'][0]['file']}.json").read_text("utf-8"))
    assert sidecar["size_wanted"] == "16:9"
    assert sidecar["negative_prompt"]
