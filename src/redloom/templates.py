"""Prompts with choices in them: ``{red|green}``, ``__colour__`` lists, ``{column}``.

The choice is drawn from the row's number and words, so that the same file gives the same
prompts again. ``\\{`` and ``\\}`` stand for braces. Forms as in Dynamic Prompts
(github.com/adieyal/sd-dynamic-prompts).

May import: errors, lang, prompt.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .encodings import open_text
from .errors import BadInput

_CHOICE = re.compile(r"(?<!\\)\{([^{}]*\|[^{}]*)(?<!\\)\}")
_FILE = re.compile(r"__([\w/-]+?)__|<wildcard:([\w/-]+)>")
_NAME = re.compile(r"(?<!\\)\{(\w[\w .-]*)(?<!\\)\}")
DEPTH = 16
"""Lists that name lists that name lists: after so many rounds what is left stays as written."""


@dataclass
class Templates:
    """Where lists are looked for: ``folder`` itself and ``wildcards`` in it."""

    folder: Path = field(default_factory=Path.cwd)
    _lists: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def fill(self, text: str, row: int, values: Mapping[str, str], *, strict: bool) -> str:
        """``text`` with everything filled in; ``strict``: an unknown ``{name}`` is a mistake.

        Raises BadInput for a list that is not there, or an unknown name under ``strict``.
        """
        if not any(mark in text for mark in "{_<"):
            return text
        rng = random.Random(_draw(text, row))
        filled = text
        for _ in range(DEPTH):
            before = filled
            filled = _NAME.sub(lambda m: _value(m, values, strict=strict), filled)
            filled = _FILE.sub(lambda m: rng.choice(self._list(m[1] or m[2])), filled)
            filled = _CHOICE.sub(lambda m: _chosen(m[1], rng), filled)
            if filled == before:
                break
        return filled.replace("\\{", "{").replace("\\}", "}")

    def _list(self, name: str) -> tuple[str, ...]:
        if name not in self._lists:
            self._lists[name] = self._read(name)
        return self._lists[name]

    def _read(self, name: str) -> tuple[str, ...]:
        name = name.lstrip("/")  # never a path of its own: the words may be a stranger's
        for path in (self.folder / "wildcards" / f"{name}.txt", self.folder / f"{name}.txt"):
            if path.is_file():
                with open_text(path) as file:
                    lines = tuple(line.strip() for line in file)
                wanted = tuple(line for line in lines if line and not line.startswith("#"))
                if wanted:
                    return wanted
        raise BadInput(
            f"找不到词表 wildcards/{name}.txt（提示词里写了 __{name}__），或它是空的。",
            f"The list wildcards/{name}.txt that __{name}__ asks for is missing or empty.",
        )


def _draw(text: str, row: int) -> int:
    digest = hashlib.sha256(f"{row}\n{text}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")


def _value(match: re.Match[str], values: Mapping[str, str], *, strict: bool) -> str:
    name = match[1].strip()
    if name in values:
        return values[name]
    if strict:
        known = "、".join(values) or "-"
        raise BadInput(
            f"提示词里的 {{{name}}} 不是这张表的列（有：{known}）；真要写花括号就写 \\{{{name}\\}}。",
            f"{{{name}}} is no column of this table (there are: {known}); for plain braces write \\{{{name}\\}}.",
        )
    return match[0]


def _chosen(inside: str, rng: random.Random) -> str:
    """One of ``a|b``; ``3::a|1::b`` weighs them."""
    options, weights = [], []
    for option in inside.split("|"):
        weight, colons, words = option.partition("::")
        heavy = bool(colons) and re.fullmatch(r"\s*\d{1,6}(\.\d{1,6})?\s*", weight) is not None
        options.append(words.strip() if heavy else option.strip())
        weights.append(float(weight) if heavy else 1.0)
    return rng.choices(options, weights if sum(weights) > 0 else None)[0]
