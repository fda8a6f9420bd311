"""Files of prompts that somebody sent: kept for a day, looked into, their columns given meaning.

A stranger's file names no other file: what it holds is written down once as plain records
(``records.jsonl``), and only those are read from then on. No references, no ``promptFiles``.

May import: endpoint, image, errors, encodings, money, job, prompt, prompt_tables, prompt_files,
route, studio.problems.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import re
import secrets
import shutil
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from redloom.endpoint import Price
from redloom.errors import BadInput, RedloomError
from redloom.image import write_whole
from redloom.job import request_of
from redloom.money import Estimate
from redloom.prompt import Prompt
from redloom.prompt_files import kind_of, records_as_written, rows_as_written
from redloom.prompt_tables import Reader, cell_text, column_of
from redloom.route import Live, asked_of

from .problems import not_found

Json = dict[str, Any]
FIELDS = (
    "prompt", "id", "n", "size", "width", "height", "seed", "negative", "model", "filename",
)  # fmt: skip
"""What a column may mean. Folders and references are not among them: they name files."""
TABLES = ("csv", "tsv", "xlsx")
KEPT_S = 86400.0
UNPACKED = 256 * 1024 * 1024
"""Bytes that a .gz or .xlsx may unpack to."""
SHOWN = 50
_ID = re.compile(r"u_[0-9a-f]{20}")
_SUFFIX = re.compile(r"\.(txt|csv|tsv|xlsx|jsonl|ndjson|json)(\.gz)?$", re.IGNORECASE)


@dataclass(frozen=True)
class Upload:
    """A file of prompts as it lies in its folder. ``columns`` are empty where it has none."""

    id: str
    name: str
    kind: str
    columns: tuple[str, ...]
    folder: Path

    def columns_json(self) -> list[Json]:
        """Each column with what its name means."""
        return [{"name": name, "field": field_of(name)} for name in self.columns]


@dataclass
class Uploads:
    """The folder of uploads."""

    root: Path
    most: int

    def take(self, name: str, data: Path) -> Upload:
        """Read what lies at ``data`` into an upload of its own. For a thread. Raises BadInput."""
        self._sweep()
        made = f"u_{secrets.token_hex(10)}"
        folder = self.root / made
        folder.mkdir(parents=True, mode=0o700)
        suffix = _SUFFIX.search(name)
        source = folder / f"source{suffix[0].lower() if suffix else '.txt'}"
        try:
            shutil.copyfile(data, source)
            kind, columns = self._write_down(source)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            source.unlink(missing_ok=True)
        facts = {"name": name[:200], "kind": kind, "columns": columns}
        write_whole(folder / "upload.json", json.dumps(facts, ensure_ascii=False).encode())
        return self.get(made)

    def get(self, upload: str) -> Upload:
        """An upload by its id. Raises Problem 404."""
        folder = self.root / upload
        if not _ID.fullmatch(upload) or not (folder / "upload.json").is_file():
            raise not_found("没有这个上传，或它已过期（保留一天）。", "There is no such upload, or it has expired (kept for a day).")  # fmt: skip
        facts = json.loads((folder / "upload.json").read_text("utf-8"))
        return Upload(upload, facts["name"], facts["kind"], tuple(facts["columns"]), folder)

    def prompts(self, upload: Upload, mapping: Mapping[str, str | None]) -> Iterator[Prompt]:
        """Its prompts, columns meaning what ``mapping`` says, else what their names say."""
        fields = {name: mapping[name] if name in mapping else field_of(name) for name in upload.columns}  # fmt: skip
        reader = Reader(upload.folder)
        table = bool(upload.columns)
        for row, record in enumerate(_lines(upload.folder / "records.jsonl"), 1):
            cells, aside = _meant(record["cells"], fields) if table else (record["cells"], {})
            if record["problem"]:
                words = cell_text(cells.get("prompt", ""))
                yield Prompt(words, line=record["line"], problem=record["problem"])
                continue
            prompt = reader.prompt(cells, row, record["line"], table=table)
            yield replace(prompt, folder="", references=(), extra={**prompt.extra, **aside})

    def _write_down(self, source: Path) -> tuple[str, list[str]]:
        """The file's records in plain; its kind and columns."""
        _check_unpacked(source)
        kind = kind_of(source)
        columns: list[str] = []
        with (source.parent / "records.jsonl").open("w", encoding="utf-8") as out:
            for number, (line, cells, problem) in enumerate(_read(source, kind, columns)):
                if number >= self.most:
                    raise BadInput(
                        f"最多 {self.most:,} 行；请分成几个文件。没有花钱。",
                        f"At most {self.most:,} rows; split the file. Nothing was spent.",
                    )
                record = {"line": line, "cells": cells, "problem": problem}
                out.write(json.dumps(record, ensure_ascii=True) + "\n")
        return kind, columns

    def _sweep(self) -> None:
        """Uploads older than a day go."""
        with contextlib.suppress(OSError):
            for folder in self.root.glob("u_*"):
                if folder.stat().st_mtime < time.time() - KEPT_S:
                    shutil.rmtree(folder, ignore_errors=True)


def field_of(column: str) -> str | None:
    """What a column's name means, or None."""
    ours = column_of(column)
    ours = "prompt" if ours == "text" else ours
    return ours if ours in FIELDS else None


def preview(prompts: Iterable[Prompt], lives: list[Live], options: Mapping[str, Any]) -> Json:
    """The first rows, and sums and the price over all. For a thread."""
    shown: list[Json] = []
    total = invalid = pictures = 0
    prices: dict[tuple[str, str], Price] = {}
    wanted: list[tuple[str, Price, int]] = []
    for total, prompt in enumerate(prompts, 1):
        number = prompt.n if prompt.n > 1 else int(options.get("n") or 1)
        if total <= SHOWN:
            shown.append(_row(total, prompt, number))
        if prompt.problem:
            invalid += 1
            continue
        pictures += number
        wanted.append((prompt.model or "", _price(prompt, lives, options, prices), number))
    each = ((model, price) for model, price, number in wanted for _ in range(number))
    estimate = Estimate.of(each)
    return {"rows": shown, "total": total, "invalid": invalid, "pictures": pictures,
            "estimate": estimate_json(estimate)}  # fmt: skip


def estimate_json(estimate: Estimate) -> Json:
    """What a run would cost."""
    total = {code: float(amount) for code, amount in estimate.total.parts if code}
    return {"text": str(estimate.text()), "total": total, "unknown": estimate.unknown}


def price_of(live: Live, prompt: Prompt, options: Mapping[str, Any]) -> Price:
    """What one picture costs at an endpoint; unknown where it would refuse to make it."""
    try:
        return live.price(asked_of(request_of(prompt, size=options.get("size", "")), live).asked)
    except RedloomError:
        return Price(None, "", "unknown")


def _price(
    prompt: Prompt, lives: list[Live], options: Mapping[str, Any], known: dict[tuple[str, str], Price]
) -> Price:  # fmt: skip
    """The dearest of the endpoints that may make it, asked once for each size and model."""
    at = (prompt.size, prompt.model)
    if at not in known:
        able = [live for live in lives if prompt.model in ("", live.endpoint.model)]
        found = [price_of(live, prompt, options) for live in able]
        unknown = any(price.amount is None for price in found) or not found
        known[at] = Price(None, "", "unknown") if unknown else max(found, key=lambda p: p.amount or 0)  # fmt: skip
    return known[at]


def _row(number: int, prompt: Prompt, n: int) -> Json:
    return {
        "row": number, "prompt": prompt.text, "id": prompt.id, "n": n, "size": prompt.size,
        "seed": prompt.seed, "negative": prompt.negative, "model": prompt.model,
        "extra": dict(prompt.extra), "problem": prompt.problem,
    }  # fmt: skip


def _read(source: Path, kind: str, columns: list[str]) -> Iterator[tuple[int, Json, str]]:
    """Line, cells and what is wrong of each record; fills ``columns`` for a table."""
    if kind not in TABLES:
        for line, cells, problem in records_as_written(source, kind) if kind != "json" else _json(source):  # fmt: skip
            kept = {n: c for n, c in cells.items() if column_of(n) not in ("references", "folder")}
            yield line, kept, problem
        return
    rows: Iterator[tuple[int, Sequence[Any]]] = (row for row in rows_as_written(source, kind) if any(cell_text(c).strip() for c in row[1]))  # fmt: skip
    first, header = next(rows, (0, ()))
    names = [cell_text(name).strip() for name in header]
    while names and not names[-1]:
        names.pop()
    if len(names) == 1 and field_of(names[0]) is None:
        rows, names = itertools.chain([(first, header)], rows), ["prompt"]
    columns += [name or f"#{at}" for at, name in enumerate(names, 1)]
    for line, row in rows:
        spare = any(cell_text(cell).strip() for cell in row[len(columns) :])
        problem = "格子比表头多 / more cells than the header" if spare else ""
        yield line, {n: cell_text(c) for n, c in zip(columns, row, strict=False)}, problem


def _json(source: Path) -> Iterator[tuple[int, Json, str]]:
    """A .json file without the part that reads other files."""
    try:
        data = json.loads(source.read_text("utf-8-sig"))
    except (ValueError, RecursionError):
        raise BadInput("不是完好的 JSON（UTF-8）。", "It is no sound JSON (UTF-8).") from None
    if isinstance(data, dict):
        data = data.get("tasks", data.get("prompts"))
    if not isinstance(data, list):
        raise BadInput("JSON 应是一个列表，或带 tasks 列表的对象。", "The JSON should be a list, or an object with a list “tasks”.")  # fmt: skip
    for number, one in enumerate(data, 1):
        if isinstance(one, str):
            yield number, {"prompt": one}, ""
        elif isinstance(one, dict) and "promptFiles" not in one:
            yield number, {str(name): cell for name, cell in one.items()}, ""
        else:
            yield number, {"prompt": ""}, "看不懂，或要读别的文件 / not understood, or names other files"  # fmt: skip


def _meant(cells: Mapping[str, Any], fields: Mapping[str, str | None]) -> tuple[Json, Json]:
    """Cells under our own names; and those aside whose names would be taken for one of ours."""
    meant: Json = {}
    aside: Json = {}
    for name, cell in cells.items():
        field = fields.get(name)
        if field in FIELDS:
            meant.setdefault(field, cell)
        elif column_of(name) is None:
            meant[name] = cell
        else:
            aside[name] = cell
    return meant, aside


def _lines(path: Path) -> Iterator[Json]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _check_unpacked(source: Path) -> None:
    """Raises BadInput for a bomb: small here, vast unpacked."""
    with source.open("rb") as file:
        head = file.read(4)
    size = 0
    try:
        if head.startswith(b"\x1f\x8b"):
            with gzip.open(source) as packed:
                while block := packed.read(1 << 20):
                    size += len(block)
                    if size > UNPACKED:
                        break
        elif head == b"PK\x03\x04":
            with zipfile.ZipFile(source) as book:
                size = sum(entry.file_size for entry in book.infolist())
    except (OSError, EOFError, zipfile.BadZipFile, ValueError):
        raise BadInput("文件打不开，可能已损坏。", "The file cannot be opened; it may be damaged.") from None  # fmt: skip
    if size > UNPACKED:
        raise BadInput("文件解开后太大，没有读。", "The file unpacks to too much; it was not read.")
