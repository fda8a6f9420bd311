"""What is asked: the words for one picture and how it is wanted.

Reading prompt files (.txt, .csv, .xlsx, .jsonl …) is in `prompt_files`.
May import: errors, lang.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .errors import BadInput
from .lang import Text

Size = tuple[int, int]
_SIZE = re.compile(r"^\s*(\d{1,5})\s*[xX*×:]\s*(\d{1,5})\s*$")
LARGEST_SIDE = 16384


@dataclass(frozen=True, slots=True)
class Prompt:
    """The words for one picture, and how it is wanted. What is unset, the run decides."""

    text: str
    """The words, as they are sent."""
    id: str = ""
    """The caller's own name for it; carried to the manifest."""
    n: int = 1
    """How many different pictures of it; each is asked for by itself."""
    take: int = 1
    """Which try of the same words: another number asks for another picture on purpose."""
    size: str = ""
    """``1024x1024``, ``1024*1024`` or a ratio such as ``3:4``."""
    seed: int | None = None
    negative: str = ""
    model: str = ""
    references: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the endpoint's own, handed on as they are."""
    filename: str = ""
    """How its file is to be called, without the ending; empty: by the run's pattern."""
    folder: str = ""
    """The folder below the run's that its file goes to."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """The input's own other columns, carried through to the manifest."""
    line: int = 0
    """Where it stood in its file, for messages; 0 where there was none."""
    problem: str = ""
    """Why this record cannot be asked for; such a row is ``invalid`` and the rest runs."""
    variants: tuple[str, ...] = ()
    """Several words in the place of ``text``, from a prompt matrix: ``n`` pictures of each."""

    def expanded(self) -> list[Prompt]:
        """One prompt for each variant; itself where there are none."""
        return [replace(self, text=words, variants=()) for words in self.variants] or [self]


_NAMED = ("id", "n", "take", "size", "seed", "negative", "model", "options", "filename", "folder")
"""What a mapping may say beside its words, under the names of `Prompt`."""


EMPTY = Text("提示词是空的。", "The prompt is empty.")
"""What is wrong with a prompt without words."""


def prompts_of(asked: Iterable[str | Prompt | Mapping[str, Any]]) -> Iterator[Prompt]:
    """Prompts from what a caller has at hand: strings, prompts, or mappings with ``prompt``.

    Raises BadInput for anything else, naming its position; for one string too, which would be a
    picture of each of its letters.
    """
    if isinstance(asked, str | bytes | Mapping | Prompt):
        raise BadInput(
            "要给一个列表；只要一张图就写 [提示词]。没有花钱。",
            "A list is wanted; for one picture write [prompt]. Nothing was spent.",
        )
    for number, one in enumerate(asked, 1):
        if isinstance(one, Prompt):
            yield one
        elif isinstance(one, str):
            yield Prompt(one, problem="" if one.strip() else str(EMPTY))
        elif isinstance(one, Mapping) and isinstance(one.get("prompt"), str):
            yield _from_mapping(one)
        else:
            raise BadInput(
                f"第 {number} 条不是文字，也没有 prompt 字段。",
                f"Item {number} is neither text nor a mapping with “prompt”.",
            )


def _from_mapping(one: Mapping[str, Any]) -> Prompt:
    known = {name: one[name] for name in _NAMED if name in one}
    if "references" in one:
        known["references"] = tuple(one["references"])
    return replace(Prompt(one["prompt"]), **known)


def parse_size(text: str) -> Size | None:
    """``(width, height)`` of ``1024x1024`` (also ``*`` and ``×``); None for a ratio or nothing.

    Raises BadInput for text that is neither a size nor a ratio.
    """
    if not text.strip():
        return None
    match = _SIZE.match(text)
    if match is None:
        raise BadInput(
            f"看不懂的尺寸「{text}」：请写 1024x1024 或 3:4。",
            f"Cannot read the size “{text}”: write 1024x1024 or 3:4.",
        )
    width, height = int(match[1]), int(match[2])
    if ":" in text:
        return None
    if not (16 <= width <= LARGEST_SIDE and 16 <= height <= LARGEST_SIDE):
        raise BadInput(
            f"尺寸「{text}」超出范围（每边 16 到 {LARGEST_SIDE} 像素）。",
            f"The size “{text}” is out of range (16 to {LARGEST_SIDE} pixels a side).",
        )
    return width, height


def parse_ratio(text: str) -> tuple[int, int] | None:
    """``(3, 4)`` of ``3:4``; None where the text is no ratio."""
    match = _SIZE.match(text)
    if match is None or ":" not in text or 0 in (int(match[1]), int(match[2])):
        return None
    return int(match[1]), int(match[2])


_DIGEST = "#sha256="


def with_digest(reference: str, sha256: str) -> str:
    """A reference by path that also says which bytes were meant."""
    return f"{reference}{_DIGEST}{sha256}"


def place_of(reference: str) -> str:
    """The reference's path or address, without the digest."""
    return reference.rpartition(_DIGEST)[0] or reference


def identity_of(reference: str) -> str:
    """What a reference is known by: the digest of its bytes where there is one."""
    path, mark, digest = reference.rpartition(_DIGEST)
    return f"sha256:{digest}" if path and mark else reference
