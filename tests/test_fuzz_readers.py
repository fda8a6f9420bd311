"""Every reader of files and bodies, fuzzed: odd bytes, odd structures, real ones with parts wrong.

Whatever a file holds, a reader gives what it promises or raises one of our errors; it does not
raise anything else, does not hang, does not grow without bound, and what it read can be written
into the journal.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import signal
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from helpers.hostile import ODD, PAGES, as_bytes, json_values, mutated
from redloom import metadata
from redloom.config_manager import ConfigManager
from redloom.download import verify
from redloom.endpoint import Asked
from redloom.errors import PictureError, RedloomError, Usage
from redloom.job import request_from_json
from redloom.note.make import NoteSettings, make_note
from redloom.note.redo import Change, redo_note
from redloom.note.source import parse_source
from redloom.note.writer_local import LocalWriter
from redloom.prompt_files import read_prompts
from redloom.providers._comfyui_graph import workflow_of
from redloom.records import _job_values
from redloom.settings import load_settings
from redloom.splice import take_apart
from redloom.testing import run
from redloom.wanted import RunOptions, jobs_of

BRIEF = settings(
    max_examples=60, derandomize=True, deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
LONG = settings(BRIEF, max_examples=4000, derandomize=False)
FORMS = pytest.mark.parametrize(
    "how", [BRIEF, pytest.param(LONG, marks=pytest.mark.chaos)], ids=("brief", "long")
)
WORK_S = 20.0
"""Seconds of this process's own work in which any one file here is read: a hang is an error."""


@contextmanager
def no_hang() -> Iterator[None]:
    """Raise AssertionError after `WORK_S` seconds of work (not of waiting: the machine is shared)."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"still at it after {WORK_S:g} s of work")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, WORK_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


# prompt files

KINDS = ("a.txt", "a.md", "a.csv", "a.tsv", "a.xlsx", "a.jsonl", "a.jsonl.gz", "a.json")
WORDS = st.sampled_from(
    (
        "红围巾", "a cat --ar 3:4 --seed 7", "{a|b} {x|", "[[red, green]]", "__colours__", "{prompt}",
        "--ar --seed --no", "Negative prompt: x\nSteps: 20, Seed: 99999999999999999999, Size: 0x0",
        "--prompt \"x\" --width -5 --cfg_scale nan", "a\x00b", "\u202e", "=1+1", "#", "//", "---",
        "\ufeff", "x" * 5000, "a|b|c", "{" * 200, "🧣", "--n 99999999999",
    )
)  # fmt: skip
COLUMNS = (
    "prompt",
    "提示词",
    "size",
    "seed",
    "n",
    "model",
    "ref",
    "id",
    "negative",
    "take",
    "\x00",
    "",
)
CELLS = WORDS | st.text(max_size=20) | st.sampled_from(ODD).map(str)


def _table(rows: list[list[str]], delimiter: str) -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(rows)
    return out.getvalue().encode("utf-8", "surrogatepass")


def _sheet(rows: list[list[str]]) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for number, row in enumerate(rows, 1):
        for place, cell in enumerate(row, 1):
            if cell.isprintable():
                sheet.cell(number, place, cell)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _rows() -> st.SearchStrategy[list[list[str]]]:
    header = st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=5)
    return st.tuples(header, st.lists(st.lists(CELLS, max_size=6), max_size=5)).map(
        lambda pair: [pair[0], *pair[1]]
    )


def _records() -> st.SearchStrategy[Any]:
    names = st.sampled_from((*COLUMNS, "options", "body", "promptFiles", "tasks", "prompts"))
    record = st.dictionaries(names, json_values(4) | CELLS, max_size=5) | json_values(4)
    return st.lists(record, max_size=4)


def _file(name: str) -> st.SearchStrategy[bytes]:
    """Bytes for a file of this name: well-formed with odd contents, or anything."""
    sound: st.SearchStrategy[bytes]
    if name.endswith((".csv", ".tsv")):
        delimiter = "\t" if name.endswith(".tsv") else ","
        sound = _rows().map(lambda rows: _table(rows, delimiter))
    elif name.endswith(".xlsx"):
        sound = _rows().map(_sheet)
    elif name.endswith(".json"):
        sound = (_records() | json_values()).map(as_bytes)
    elif "jsonl" in name:
        sound = _records().map(lambda rows: b"\n".join(map(as_bytes, rows)))
    else:
        sound = st.lists(CELLS, max_size=6).map(
            lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass")
        )
    encodings = st.sampled_from(("utf-8", "utf-8-sig", "utf-16", "gb18030", "latin-1"))
    recoded = st.builds(
        lambda data, code: data.decode("utf-8", "replace").encode(code, "replace"), sound, encodings
    )
    packed = sound.map(gzip.compress) if name.endswith(".gz") else sound
    cut = packed.map(lambda data: data[: len(data) * 2 // 3])
    return packed | recoded | cut | st.binary(max_size=120) | st.sampled_from(PAGES)


def read_all(path: Path, **how: Any) -> None:
    """The first rows of a prompt file, each as the journal would get it."""
    for row, prompt in enumerate(islice(read_prompts(path, **how), 50), 1):
        for job in islice(jobs_of(row, prompt, RunOptions()), 20):
            values = _job_values("r1", job, 0.0)
            for value in values.values():
                if isinstance(value, str):
                    value.encode("utf-8")
                elif isinstance(value, int):
                    assert abs(value) < 2**63
            json.loads(values["input"])
            if job.request is not None:
                assert request_from_json(values["request"]).key == job.request.key
                Asked(job.request.prompt, "m", seed=job.request.seed)


@FORMS
@pytest.mark.parametrize("name", KINDS)
def test_prompt_files(name: str, how: settings, tmp_path: Path) -> None:
    """Prompts, rows called invalid with a reason, or BadInput; all of it fit for the journal."""
    path = tmp_path / name

    @how
    @given(data=_file(name), plain=st.booleans(), matrix=st.booleans())
    def whatever_is_in_it(data: bytes, plain: bool, matrix: bool) -> None:
        path.write_bytes(data)
        with no_hang():
            try:
                read_all(path, plain=plain, matrix=matrix)
            except Usage:
                return

    whatever_is_in_it()


LONG_LINES: tuple[str, ...] = (
    "[" * 60_000, "{" * 60_000, "a|" * 30_000, "{a|" * 20_000, "[[a," * 20_000, "--ar " * 20_000,
    "__" * 30_000, "--no x " * 10_000, "(" * 60_000, "*" * 60_000, "`" * 60_000, "> " * 30_000,
    "![](" * 15_000, "[](" * 20_000, "<" * 60_000, "- " * 30_000, "\n" * 60_000, " " * 60_000,
    "，" * 30_000, "“" * 30_000, "1. " * 20_000, "|" * 60_000, "a" * 120_000, "#" * 60_000,
    "&amp" * 15_000, "\t" * 60_000, "Steps: 20, " * 6_000, "http://" * 10_000, "**a " * 15_000,
    "x\u0301" * 30_000, "<!-- " * 12_000, "~~" * 30_000, "_a" * 30_000, "\\" * 60_000,
)  # fmt: skip
"""Where a reader with a bad pattern would take the square of the length, or worse."""


@pytest.mark.parametrize("line", LONG_LINES, ids=[repr(line[:6]) for line in LONG_LINES])
def test_long_lines_do_not_hang(line: str, tmp_path: Path) -> None:
    """Long runs of a mark that means something are read in time that fits their length."""
    path = tmp_path / "a.txt"
    path.write_text(line, "utf-8")
    with no_hang():
        for matrix in (False, True):
            try:
                read_all(path, matrix=matrix)
            except Usage:
                continue
    with no_hang():
        try:
            parse_source(line.encode(), "a.md")
        except Usage:
            return


# settings

SETTINGS = {
    "workspace": "w", "currency": "CNY",
    "endpoints": {
        "dashscope": {
            "provider": "dashscope", "model": "wan2.6-t2i", "base_url": "http://127.0.0.1:1/api/v1",
            "api_key_env": "X", "account": "a", "region": "beijing", "submit_per_second": 2,
            "concurrency": 5, "poll_per_second": 20, "price": 0.2,
        }
    },
}  # fmt: skip
LEGACY = {
    "openai_api_key": "${DASHSCOPE_API_KEY:}", "openai_model": "qwen-plus",
    "image_generation": {
        "model": "wan2.6-t2i", "size": "1024*1365", "max_concurrent": 3, "max_wait_time": 180,
        "poll_interval": 5, "max_retries": 3, "api_url": "http://127.0.0.1:1/api/v1",
    },
}  # fmt: skip


def _toml(value: Any) -> str:
    """TOML of a mapping, as far as it goes: what has no spelling there is written as JSON."""
    lines: list[str] = []

    def table(name: str, holder: dict[str, Any]) -> None:
        if name:
            lines.append(f"[{name}]")
        for key, cell in holder.items():
            if not isinstance(cell, dict):
                lines.append(f"{json.dumps(key)} = {json.dumps(cell)}")
        for key, cell in holder.items():
            if isinstance(cell, dict):
                table(f"{name}.{json.dumps(key)}" if name else json.dumps(key), cell)

    table("", value if isinstance(value, dict) else {"x": value})
    return "\n".join(lines)


@FORMS
@pytest.mark.parametrize("name", ["redloom.toml", "config.json", ".env"])
def test_settings_files(name: str, how: settings, tmp_path: Path) -> None:
    """Settings, or BadSettings; the class of the older program takes or refuses them, too."""
    path = tmp_path / name
    base = LEGACY if name == "config.json" else SETTINGS
    wrong = mutated(base, most=2).map(lambda found: found[0]) | json_values()
    texts = {
        "redloom.toml": wrong.map(_toml),
        "config.json": wrong.map(json.dumps),
        ".env": st.lists(st.tuples(st.text(max_size=12), CELLS), max_size=5).map(
            lambda pairs: "\n".join(f"{name}={value}" for name, value in pairs)
        ),
    }
    encoded = texts[name].map(lambda text: text.encode("utf-8", "surrogatepass"))

    @how
    @given(data=encoded | st.binary(max_size=120) | st.sampled_from(PAGES))
    def whatever_is_in_it(data: bytes) -> None:
        path.write_bytes(data)
        with no_hang():
            try:
                found = load_settings(folder=tmp_path, environ={})
                assert found.workspace
            except Usage:
                pass
            if name == "config.json":
                _older(path)

    whatever_is_in_it()


def _older(path: Path) -> None:
    try:
        manager = ConfigManager(str(path))
        manager.validate()
        manager.get("image_generation.model", "")
        manager.get_validation_errors()
    except RedloomError:
        return


# stories and notes


@FORMS
@pytest.mark.parametrize("name", ["a.md", "a.txt"])
def test_story_sources(name: str, how: settings, tmp_path: Path) -> None:
    """A story, or BadInput."""
    lines = st.lists(CELLS | st.sampled_from(("# t", "![a](b.png)", "> q", "```", "| a | b |")))
    text = lines.map(lambda rows: "\n".join(rows).encode("utf-8", "surrogatepass"))

    @how
    @given(data=text | st.binary(max_size=200) | st.sampled_from(PAGES))
    def whatever_is_in_it(data: bytes) -> None:
        with no_hang():
            try:
                parse_source(data, name, tmp_path)
            except Usage:
                return

    whatever_is_in_it()


@pytest.fixture(scope="module")
def note(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small note made offline."""
    out = tmp_path_factory.mktemp("note") / "n"
    source = parse_source("# 巷子\n\n早上的光很好。\n\n第二段。".encode(), "a.md")
    run(make_note(source, NoteSettings(out=out, images=0, offline=True), writer=LocalWriter()))
    return out


@FORMS
def test_a_note_whose_record_is_damaged(how: settings, note: Path) -> None:
    """`redo` on a post.json with parts wrong: done, or one of our errors, and never half."""
    record = note / "post.json"
    sound = record.read_bytes()
    value = json.loads(sound)
    few = settings(how, max_examples=600 if how is LONG else 20)

    @few
    @given(
        data=mutated(value, most=2).map(lambda found: as_bytes(found[0])) | st.sampled_from(PAGES)
    )
    def whatever_is_in_it(data: bytes) -> None:
        record.write_bytes(data)
        try:
            run(redo_note(note, Change(title="新标题")))
        except RedloomError:
            assert record.read_bytes() == data

    try:
        whatever_is_in_it()
    finally:
        record.write_bytes(sound)


# workflows

GRAPH = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "x.safetensors"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "{prompt}", "clip": ["1", 1]}},
    "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 1}},
    "4": {
        "class_type": "KSampler",
        "inputs": {"seed": 1, "steps": 20, "model": ["1", 0], "positive": ["2", 0],
                   "negative": ["2", 0], "latent_image": ["3", 0]},
    },
    "5": {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "x"}},
}  # fmt: skip
NODES = {"prompt": "2.text", "seed": "4.seed", "output": "5"}


@FORMS
def test_comfyui_workflows(how: settings, tmp_path: Path) -> None:
    """A workflow that can be filled, or BadSettings; from a file and from the settings."""
    path = tmp_path / "w.json"
    values = {"prompt": "x", "negative": "", "seed": 7, "width": 8, "height": 8}

    @how
    @given(
        graph=mutated(GRAPH).map(lambda found: found[0]) | json_values(),
        nodes=mutated(NODES, most=1).map(lambda found: found[0]) | st.just(NODES) | st.none(),
        named=st.booleans(),
    )
    def whatever_is_in_it(graph: Any, nodes: Any, named: bool) -> None:
        path.write_bytes(as_bytes(graph))
        options = {"workflow": str(path) if named else graph, "nodes": nodes}
        try:
            workflow = workflow_of(options)
            json.dumps(workflow.filled(values, (), "0123"))
        except Usage:
            return

    whatever_is_in_it()


# pictures


def _pictures() -> list[bytes]:
    found = []
    for kind, how in (
        ("PNG", {}),
        ("JPEG", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}),
        ("WEBP", {}),
    ):
        out = io.BytesIO()
        Pillow.new("RGB", (16, 12), "teal").save(out, kind, **how)
        found.append(out.getvalue())
    labelled = metadata.write_label(metadata.describe(found[0], "words"), {"Label": "1"})
    return [*found, labelled]


PICTURES = _pictures()


def _damaged(data: bytes) -> st.SearchStrategy[bytes]:
    place = st.integers(0, len(data) - 1)
    cut = place.map(lambda at: data[:at])
    flipped = st.tuples(place, st.integers(0, 255)).map(
        lambda pair: data[: pair[0]] + bytes([pair[1]]) + data[pair[0] + 1 :]
    )
    longer = st.tuples(place, st.sampled_from((0, 1, 2**16 - 1, 2**31 - 1, 2**32 - 1))).map(
        lambda pair: data[: pair[0]] + struct.pack(">I", pair[1]) + data[pair[0] + 4 :]
    )
    twice = st.tuples(place, place).map(lambda pair: data[: max(pair)] + data[min(pair) :])
    return cut | flipped | longer | twice


def _bomb() -> bytes:
    """A PNG that says it is 60,000 pixels wide and high."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    body = chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body


READERS: tuple[Callable[[bytes], object], ...] = (
    take_apart, metadata.description, metadata.read_label,
    lambda data: metadata.describe(data, "words"),
    lambda data: metadata.write_label(data, {"Label": "1"}),
    lambda data: metadata.carry_over(data, PICTURES[0]),
)  # fmt: skip


@FORMS
def test_pictures(how: settings, tmp_path: Path) -> None:
    """Parts, metadata, labels, decoding of damaged pictures: done, or PictureError; caps hold."""
    every = st.sampled_from(PICTURES).flatmap(_damaged) | st.binary(max_size=120)
    magics = st.sampled_from((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x10\0\0\0WEBP"))
    headed = st.builds(lambda magic, rest: magic + rest, magics, st.binary(max_size=120))
    part = tmp_path / "x.part"

    @how
    @given(data=every | headed | st.sampled_from((*PICTURES, *PAGES, _bomb())))
    def whatever_is_in_it(data: bytes) -> None:
        with no_hang():
            for reader in READERS:
                try:
                    reader(data)
                except PictureError:
                    continue
            part.write_bytes(data)
            try:
                verify(part, "x", (16, 12), 1_000_000)
            except PictureError:
                return

    whatever_is_in_it()


def test_a_bomb_is_refused_unopened(tmp_path: Path) -> None:
    """A picture of 3.6 thousand million pixels is no picture, and no memory is taken for it."""
    part = tmp_path / "x.part"
    part.write_bytes(_bomb())
    with pytest.raises(PictureError):
        verify(part, "x", None, 100_000_000)
