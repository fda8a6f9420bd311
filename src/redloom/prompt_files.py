"""Reading prompt files: .txt .csv .tsv .xlsx .jsonl(.gz) .json and standard input, lazily.

Records are numbered as they come; a record that cannot be asked for keeps its number and says why.
BadInput is raised for a file as a whole only. Shapes understood besides our own: lines of A1111's
"Prompts from file", OpenAI Batch lines (``custom_id``, ``body.prompt``), ``{"tasks": […]}``.

May import: errors, lang, prompt, encodings, templates, prompt_flags, prompt_tables.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .encodings import blocks, is_file, open_text
from .errors import BadInput
from .prompt import Prompt
from .prompt_tables import Reader, cell_text, column_of

CELL = 1 << 24
"""Characters in one cell of a CSV at most: beyond it a quote is open."""
WHOLE = 256 << 20
"""Bytes of a .json file, which has to be read at once; .jsonl has no such limit."""
_SEPARATOR = re.compile(r"^\s*-{3,}\s*$")
_COMMENT = re.compile(r"^\s*(#|//)")
Record = tuple[int, Mapping[str, Any]]


def read_prompts(
    source: Path, *, plain: bool = False, matrix: bool = False, limit: int | None = None
) -> Iterator[Prompt]:
    """The prompts of a file, in its order. ``plain``: no templates, no flags; ``limit``: the first;
    ``matrix``: ``a|b|c`` and ``{a, b}`` ask for every combination.

    Raises BadInput where the file as a whole cannot be read, at the first record at the latest
    where its kind allows that.
    """
    reader = Reader(source.resolve().parent, plain, matrix)
    kind = kind_of(source)
    table = kind in ("csv", "tsv", "xlsx")
    for row, (line, cells) in enumerate(itertools.islice(_records(source, kind), limit), 1):
        broken = cells.get(_PROBLEM)
        if broken is not None:
            yield Prompt(cell_text(cells.get("prompt", "")), line=line, problem=str(broken))
        else:
            yield reader.prompt(cells, row, line, table=table)


def rows_as_written(source: Path, kind: str) -> Iterator[tuple[int, Sequence[Any]]]:
    """The rows of a csv, tsv or xlsx as they stand, header and all. Raises BadInput."""
    return _sheet(source) if kind == "xlsx" else _csv(source, kind)


def records_as_written(source: Path, kind: str) -> Iterator[tuple[int, Mapping[str, Any], str]]:
    """Line, cells and what is wrong, of each record of a txt, jsonl or json. Raises BadInput.

    A json file's ``promptFiles`` are read: only for files of the user's own.
    """
    for line, cells in _records(source, kind):
        kept = {name: cell for name, cell in cells.items() if name != _PROBLEM}
        yield line, kept, str(cells.get(_PROBLEM, ""))


def kind_of(source: Path) -> str:
    """``txt``, ``csv``, ``tsv``, ``xlsx``, ``jsonl`` or ``json``, by content where that is plain.

    Raises BadInput for a file that cannot be read, or an old .xls.
    """
    head = next(blocks(source), b"")[:64]
    if head.startswith(b"PK\x03\x04"):
        return "xlsx"
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        raise BadInput(
            f"{source.name} 是旧版 Excel 格式；请另存为 .xlsx 或 .csv。没有花钱。",
            f"{source.name} is an old Excel file; save it as .xlsx or .csv. Nothing was spent.",
        )
    suffixes = [one.lower() for one in source.suffixes if one.lower() != ".gz"]
    named = suffixes[-1].lstrip(".") if suffixes else ""
    if named == "xlsx":
        raise BadInput(
            f"{source.name} 不是完好的 Excel 文件，没有花钱。",
            f"{source.name} is no sound Excel file; nothing was spent.",
        )
    if named in ("csv", "tsv", "json"):
        return named
    if named in ("jsonl", "ndjson"):
        return "jsonl"
    return "jsonl" if re.match(rb'\s*\{\s*"', head) else "txt"


def spooled(source: str) -> Path:
    """A file to read again and again: the one named, or a copy of standard input for ``-``.

    Raises BadInput where the file is not there or is a folder.
    """
    if source == "-":
        with tempfile.NamedTemporaryFile(prefix="redloom-", suffix=".stdin", delete=False) as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
        return Path(copy.name)
    path = Path(source)
    if not is_file(path):
        folder = len(path.name) < 200 and path.is_dir()
        raise BadInput(
            f"找不到文件 {source}{'（那是文件夹）' if folder else ''}，没有花钱。",
            f"There is no file {source}{' (that is a folder)' if folder else ''}; nothing was spent.",
        )
    return path


def digest_of(source: Path, options: Mapping[str, Any]) -> str:
    """What tells one run from another: the file's bytes and the options that change pictures."""
    told = json.dumps(options, sort_keys=True, ensure_ascii=False, default=str)
    digest = hashlib.sha256(told.encode("utf-8", "surrogatepass"))
    for block in blocks(source):
        digest.update(block)
    return digest.hexdigest()


_OPENAI = (
    "quality", "background", "moderation", "output_format", "output_compression", "input_fidelity", "style",
)  # fmt: skip
"""Settings in the body of an OpenAI Batch line that go to the endpoint with the prompt."""
_PROBLEM = "\0problem"
"""Key of a record that could not be read as one; no column can be called so."""


def _records(source: Path, kind: str) -> Iterator[Record]:
    if kind == "xlsx":
        return _named(_sheet(source), source)
    if kind == "json":
        return _json(source)
    if kind == "jsonl":
        return _jsonl(source)
    if kind == "txt":
        return _text(source)
    return _named(_csv(source, kind), source)


# .txt


def _text(source: Path) -> Iterator[Record]:
    with open_text(source) as file:
        separated = any(_SEPARATOR.match(line) for line in file)
    with open_text(source) as file:
        lines = enumerate(file, 1)
        if separated:
            yield from _passages(lines)
        else:
            for number, line in lines:
                if line.strip() and not _COMMENT.match(line):
                    yield number, {"prompt": line.strip()}


def _passages(lines: Iterable[tuple[int, str]]) -> Iterator[Record]:
    """Prompts of several lines, with ``---`` between them."""
    held: list[str] = []
    first = 0
    for number, line in itertools.chain(lines, [(0, "---")]):
        if _SEPARATOR.match(line):
            words = "\n".join(held).strip()
            if words:
                yield first, {"prompt": words}
            held, first = [], 0
        elif not _COMMENT.match(line):
            if line.strip() and not first:
                first = number
            held.append(line.rstrip("\r\n"))


# tables


def _named(rows: Iterator[tuple[int, Sequence[Any]]], source: Path) -> Iterator[Record]:
    """Rows under their header. One column without a known name is a list of prompts."""
    filled = (row for row in rows if any(cell_text(cell).strip() for cell in row[1]))
    number, header = next(filled, (0, ()))
    names = [cell_text(name).strip() for name in header]
    while names and not names[-1]:
        names.pop()
    if not any(column_of(name) == "text" for name in names):
        if len(names) > 1:
            raise BadInput(
                f"{source.name} 的第一行没有提示词列（有：{'、'.join(names)[:200]}）。请把那一列叫 prompt 或 提示词，没有花钱。",
                f"The first row of {source.name} names no prompt column (it has: {', '.join(names)[:200]}). Call it prompt; nothing was spent.",
            )
        if names:
            yield number, {"prompt": names[0]}
        names = ["prompt"]
    for line, row in filled:
        cells = list(row)
        spare = [cell_text(cell) for cell in cells[len(names) :] if cell_text(cell).strip()]
        if spare:
            yield line, {"prompt": cells[0] if cells else "", _PROBLEM: _too_many(line)}
        else:
            yield line, _by_name(names, cells)


def _by_name(names: Sequence[str], cells: Sequence[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, cell in zip(names, [*cells, *[""] * len(names)], strict=False):
        found.setdefault(name, cell)
    return found


def _too_many(line: int) -> str:
    return str(
        BadInput(
            f"第 {line} 行的格子比表头多：提示词里有逗号时要加引号。没有为它花钱。",
            f"Line {line} has more cells than the header: a prompt with commas needs quotes. Nothing was spent on it.",
        )
    )


def _csv(source: Path, kind: str) -> Iterator[tuple[int, Sequence[str]]]:
    csv.field_size_limit(CELL)
    with open_text(source) as file:
        first = file.readline(1 << 16)
    declared = re.match(r"^sep=(.)\s*$", first)
    delimiter = declared[1] if declared else "\t" if kind == "tsv" else _delimiter(first)
    with open_text(source) as file:
        if declared:
            file.readline()
        rows = csv.reader((line.replace("\0", "") for line in file), delimiter=delimiter)
        ended = 1 if declared else 0
        try:
            for row in rows:
                yield ended + 1, row
                ended = rows.line_num + (1 if declared else 0)
        except csv.Error as error:
            raise BadInput(
                f"{source.name} 第 {ended + 1} 行起读不下去（{error}）：多半是引号没有配对。",
                f"{source.name} cannot be read from line {ended + 1} on ({error}): most likely a quote is left open.",
            ) from error


def _delimiter(header: str) -> str:
    """The one that yields most names we know; a comma where none does."""

    def known(mark: str) -> int:
        return sum(column_of(name.strip(' "\r\n')) is not None for name in header.split(mark))

    return max((",", ";", "\t"), key=lambda mark: (known(mark), header.count(mark)))


def _sheet(source: Path) -> Iterator[tuple[int, Sequence[Any]]]:
    """The first sheet whose first filled row names a prompt column, else the first sheet."""
    import openpyxl

    try:
        book = openpyxl.load_workbook(source, read_only=True, data_only=True)
        try:
            sheets = book.worksheets
            chosen = next((one for one in sheets if _names_prompt(one)), sheets[0])
            chosen.reset_dimensions()
            yield from enumerate(chosen.iter_rows(values_only=True), 1)
        finally:
            book.close()
    except Exception as error:  # openpyxl lets through whatever its parsers raise
        raise BadInput(
            f"{source.name} 不是完好的 Excel 文件（{type(error).__name__}），没有花钱。请重新另存一次。",
            f"{source.name} is no sound Excel file ({type(error).__name__}); nothing was spent. Save it anew.",
        ) from error


def _names_prompt(sheet: Any) -> bool:
    sheet.reset_dimensions()
    for row in itertools.islice(sheet.iter_rows(values_only=True), 10):
        if any(cell_text(cell).strip() for cell in row):
            return any(column_of(cell_text(cell)) == "text" for cell in row)
    return False


# JSON


def _jsonl(source: Path) -> Iterator[Record]:
    with open_text(source) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, _line(line, number)


def _line(line: str, number: int) -> Mapping[str, Any]:
    try:
        return _cells(json.loads(line))
    except (ValueError, RecursionError):
        problem = BadInput(
            f"第 {number} 行不是 JSON 对象，也不是字符串；没有为它花钱。",
            f"Line {number} is neither a JSON object nor a string; nothing was spent on it.",
        )
        return {"prompt": line.strip()[:200], _PROBLEM: str(problem)}


def _json(source: Path) -> Iterator[Record]:
    with open_text(source) as file:
        text = file.read(WHOLE)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(
            f"{source.name} 不是完好的 JSON（{error}），没有花钱。",
            f"{source.name} is no sound JSON ({error}); nothing was spent.",
        ) from error
    if isinstance(data, dict):
        data = data.get("tasks", data.get("prompts"))
    if not isinstance(data, list):
        raise BadInput(
            f"{source.name} 应是一个列表，或带 tasks 列表的对象；没有花钱。",
            f"{source.name} should be a list, or an object with a list “tasks”; nothing was spent.",
        )
    for number, one in enumerate(data, 1):
        try:
            yield number, _with_files(_cells(one), source.parent)
        except (ValueError, OSError) as error:
            yield number, {"prompt": "", _PROBLEM: f"{number}: {error}"}
        except BadInput as error:
            yield number, {"prompt": "", _PROBLEM: str(error)}


def _cells(value: object) -> Mapping[str, Any]:
    """A record from JSON: a string is a prompt, an OpenAI Batch line is unfolded. ValueError."""
    if isinstance(value, str):
        return {"prompt": value}
    if not isinstance(value, dict):
        raise ValueError("neither an object nor a string")
    body = value.get("body")
    if isinstance(body, dict) and "prompt" in body:
        rest = {k: v for k, v in value.items() if k not in ("body", "method", "url")}
        options = {name: body[name] for name in _OPENAI if name in body}
        value = {**rest, **{k: v for k, v in body.items() if k not in options}, "options": options}
    references = value.get("ref", value.get("references"))
    if isinstance(references, list):
        value = {k: v for k, v in value.items() if k != "references"}
        value["ref"] = "\n".join(map(str, references))
    return {str(name): cell for name, cell in value.items() if str(name) != _PROBLEM}


def _with_files(cells: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """``promptFiles`` of a task list are read as one prompt, paths relative to the list."""
    names = cells.get("promptFiles")
    if not isinstance(names, list) or cells.get("prompt"):
        return cells
    texts = []
    for name in names:
        with open_text(folder / str(name)) as file:
            texts.append(file.read().strip())
    rest = {k: v for k, v in cells.items() if k != "promptFiles"}
    return {**rest, "prompt": "\n\n".join(texts)}
