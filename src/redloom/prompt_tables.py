"""From a record with named cells to a `Prompt`: columns by the names that people give them.

A record that cannot be asked for keeps its place as a `Prompt` with a ``problem``.

May import: errors, lang, prompt, encodings, templates, prompt_flags.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .encodings import is_file
from .errors import BadInput
from .prompt import Prompt, parse_ratio, parse_size, with_digest
from .prompt_flags import take_flags
from .templates import Templates, variants

LONGEST = 20_000
"""Characters of a prompt; more than any service takes, and a sign of a broken quote."""
MOST = 1000
"""Pictures of one prompt."""
_NAMES = {
    "text": "prompt prompts text 提示词 提示语 文本 描述 画面 画面描述 正向提示词 positive positiveprompt description",
    "id": "id customid 编号 序号 key",
    "n": "n count num number iterations numimages 数量 张数",
    "size": "size 尺寸 大小 分辨率 resolution ar aspect aspectratio ratio 比例 宽高比 画幅",
    "width": "width 宽 宽度",
    "height": "height 高 高度",
    "seed": "seed 种子 随机种子",
    "negative": "negativeprompt negative neg 反向提示词 负向提示词 负面提示词",
    "model": "model 模型",
    "references": "ref refs reference references 参考图 垫图 参考",
    "filename": "filename file output image 文件名",
    "folder": "folder dir 文件夹 目录",
}
COLUMNS = {name: ours for ours, names in _NAMES.items() for name in names.split()}
_INVISIBLE = re.compile(r"[\s_\-\u200b\ufeff（）()]+")


@dataclass
class Reader:
    """How records of one file become prompts. ``plain`` takes the words as they are written."""

    folder: Path
    plain: bool = False
    matrix: bool = False
    """Whether ``a|b|c`` and ``{a, b}`` ask for every combination."""
    templates: Templates = field(init=False)
    _digests: dict[tuple[str, int, int], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.templates = Templates(self.folder)

    def prompt(self, cells: Mapping[str, Any], row: int, line: int, *, table: bool) -> Prompt:
        """The prompt of one record; never raises for what the record holds."""
        ours, extra = sorted_out(cells)
        written = ours.get("text", "")
        base: dict[str, Any] = {
            name: ours.get(name, "") for name in ("id", "model", "filename", "folder")
        }
        try:
            columns = {cell_text(name).strip(): cell_text(cell) for name, cell in cells.items()}
            known = {**ours, **columns, **extra}
            words = self._words(written, row, known, strict=table and len(columns) > 1)
            if words.ignored:
                extra["ignored_flags"] = words.ignored
            if words.filled:
                extra["template"] = written
            wanted = _wanted({**words.said, **{k: v for k, v in ours.items() if v}})
            references = self._references(ours.get("references", ""))
            options = {**words.options, **_options(cells.get("options"))}
        except BadInput as error:
            return Prompt(written, extra=extra, line=line, problem=_at(line, str(error)), **base)
        return Prompt(
            words.text, extra=extra, line=line, references=references, options=options,
            variants=words.variants, **wanted, **base,
        )  # fmt: skip

    def _words(
        self,
        written: str,
        row: int,
        known: Mapping[str, str],
        *,
        strict: bool,
    ) -> _Words:
        if len(written) > LONGEST:
            raise BadInput(
                f"提示词有 {len(written)} 个字符，超过 {LONGEST}（是不是引号没有配对？）。",
                f"The prompt has {len(written)} characters, more than {LONGEST} (is a quote left open?).",
            )
        if self.plain:
            words = _Words(written.strip())
        else:
            values = {name: value for name, value in known.items() if column_of(name) != "text"}
            text = self.templates.fill(written, row, values, strict=strict)
            flagged = take_flags(text)
            made = [one.strip() for one in variants(flagged.text, matrix=self.matrix)]
            several = tuple(one for one in made if one) if len(made) > 1 else ()
            words = _Words(
                several[0] if several else flagged.text.strip(), flagged.found, flagged.ignored,
                flagged.options, several, bool(several) or text != written,
            )  # fmt: skip
        if not words.text:
            raise BadInput("提示词是空的。", "The prompt is empty.")
        return words

    def _references(self, cell: str) -> tuple[str, ...]:
        found = []
        for part in re.split(r"[;|\n]+", cell):
            name = part.strip()
            if not name:
                continue
            if not re.match(r"(https?|data|oss):", name):
                name = self._file(name)
            found.append(name)
        return tuple(found)

    def _file(self, name: str) -> str:
        """A reference by its path and what is in it: other bytes are another picture."""
        path = self.folder / Path(name)
        if not is_file(path):
            raise BadInput(
                f"找不到参考图 {name[:200]}。", f"The reference {name[:200]} is not there."
            )
        try:
            facts = path.stat()
            key = (str(path), facts.st_mtime_ns, facts.st_size)
            if key not in self._digests:
                with path.open("rb") as file:
                    self._digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise BadInput(
                f"读不到参考图 {name[:200]}（{error.strerror}）。",
                f"The reference {name[:200]} cannot be read ({error.strerror}).",
            ) from error
        return with_digest(str(path.resolve()), self._digests[key])


@dataclass(frozen=True, slots=True)
class _Words:
    """The words of one record, and what was found among them."""

    text: str
    said: Mapping[str, str] = field(default_factory=dict)
    ignored: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    variants: tuple[str, ...] = ()
    filled: bool = False
    """A template: what was written is kept beside what it came to."""


def _options(cell: object) -> Mapping[str, Any]:
    """Options of the endpoint's own: a mapping in JSON, or text that holds one; else none."""
    if isinstance(cell, str) and cell.lstrip().startswith("{"):
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError):
            cell = None
    return {str(k): v for k, v in cell.items()} if isinstance(cell, dict) else {}


def column_of(name: str) -> str | None:
    """Our field for a column's name, whatever its case, blanks and dashes; None for others."""
    plain = unicodedata.normalize("NFKC", name).lower()
    return COLUMNS.get(_INVISIBLE.sub("", plain))


def sorted_out(cells: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Our fields, and the input's own columns. The first of two columns for one field wins."""
    ours: dict[str, str] = {}
    extra: dict[str, str] = {}
    for name, value in cells.items():
        if name == "options" and _options(value):
            continue
        text, known = cell_text(value), column_of(name)
        if known is None or (ours.get(known)):
            extra[cell_text(name).strip()] = text
        else:
            ours[known] = text if known == "text" else text.strip()
    extra.pop("", None)
    return ours, extra


def cell_text(value: object) -> str:
    """A cell as text: whole numbers without ``.0``, JSON for what is nested, no lone surrogates."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False)
    return str(value).encode("utf-8", "replace").decode()


def _wanted(ours: Mapping[str, str]) -> dict[str, Any]:
    """Count, size, seed and negative words as a `Prompt` takes them. Raises BadInput."""
    size = ours.get("size", "")
    if not size and ours.get("width") and ours.get("height"):
        size = f"{ours['width']}x{ours['height']}"
    if size and parse_ratio(size) is None:
        parse_size(size)
    number = _whole(ours.get("n", ""), "n")
    if number is not None and not 1 <= number <= MOST:
        raise BadInput(
            f"n 应在 1 到 {MOST} 之间，不是 {number}。", f"n is {number}, not from 1 to {MOST}."
        )
    seed = _whole(ours.get("seed", ""), "seed")
    return {
        "n": number or 1, "size": size, "negative": ours.get("negative", ""),
        "seed": None if seed is None or seed < 0 else seed,
    }  # fmt: skip


def _whole(text: str, name: str) -> int | None:
    plain = unicodedata.normalize("NFKC", text).strip()
    if not plain:
        return None
    if re.fullmatch(r"-?\d{1,18}(\.0*)?", plain) is None:
        raise BadInput(
            f"{name} 应是整数，不是“{text[:40]}”。",
            f"{name} should be a whole number, not “{text[:40]}”.",
        )
    return int(plain.split(".")[0])


def _at(line: int, message: str) -> str:
    from .lang import Text

    return f"{Text(f'第 {line} 行：', f'line {line}: ')}{message}" if line else message
