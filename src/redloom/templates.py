"""Prompts with choices in them: ``{red|green}``, ``__colour__`` lists, ``{column}``, matrices.

``{2$$a|b|c}`` draws two of them, ``{1-2$$ and $$a|b|c}`` one or two with `` and `` between. The choice is drawn from the row's number and words, so that the same file gives the same
prompts again. ``\\{`` and ``\\}`` stand for braces. Forms as in Dynamic Prompts
(github.com/adieyal/sd-dynamic-prompts).

May import: encodings, errors, lang, prompt.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .encodings import is_file, open_text
from .errors import BadInput

_CHOICE = re.compile(r"(?<!\\)\{([^{}]*\|[^{}]*)(?<!\\)\}")
_FILE = re.compile(r"__([\w/-]+?)__|<wildcard:([\w/-]+)>")
_SEVERAL = re.compile(r"\s*(\d{1,3})(?:-(\d{1,3}))?\$\$(?:([^$|]*)\$\$)?(.*)", re.DOTALL)
_ARRAY = re.compile(r"\[\[([^\[\]]*,[^\[\]]*)\]\]")
_PERMUTATION = re.compile(r"(?<!\\)\{([^{}|]*,[^{}|]*)(?<!\\)\}")
_NAME = re.compile(r"(?<!\\)\{(\w[\w .-]*)(?<!\\)\}")
COMBINATIONS = 1000
"""Pictures that one prompt matrix may ask for."""
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
        plain = name.strip("/")
        for path in (self.folder / "wildcards" / f"{plain}.txt", self.folder / f"{plain}.txt"):
            if is_file(path):
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
    """One of ``a|b``, or several of them; ``3::a|1::b`` weighs them."""
    several = _SEVERAL.fullmatch(inside)
    if several is None:
        options, weights = _options(inside)
        return rng.choices(options, weights if sum(weights) > 0 else None)[0]
    least, most, between, rest = several.groups()
    options, _ = _options(rest)
    low, high = sorted((int(least), int(most or least)))
    number = min(len(options), rng.randint(low, high))
    return (", " if between is None else between).join(rng.sample(options, number))


def _options(inside: str) -> tuple[list[str], list[float]]:
    options, weights = [], []
    for option in inside.split("|"):
        weight, colons, words = option.partition("::")
        heavy = bool(colons) and re.fullmatch(r"\s*\d{1,6}(\.\d{1,6})?\s*", weight) is not None
        options.append(words.strip() if heavy else option.strip())
        weights.append(float(weight) if heavy else 1.0)
    return options, weights


def variants(text: str, *, matrix: bool = False) -> list[str]:
    """Every combination that a prompt asks for, in order; itself where it asks for none.

    ``[[red, green]]`` (Fooocus) is always an array. With ``matrix`` also Midjourney's
    ``{red, green}`` and A1111's ``a|b|c``: ``a`` with every choice of the others. Raises BadInput
    for more than a thousand.
    """
    found = [text]
    for mark in (_ARRAY, _PERMUTATION) if matrix else (_ARRAY,):
        while any(mark.search(one) for one in found):
            found = [made for one in found for made in _spread(one, mark)]
            _few_enough(len(found))
    if matrix:
        found = [made for one in found for made in _subsets(one)]
        _few_enough(len(found))
    return list(dict.fromkeys(found))


def _spread(text: str, mark: re.Pattern[str]) -> list[str]:
    match = mark.search(text)
    if match is None:
        return [text]
    choices = match[1].split(",")
    return [f"{text[: match.start()]}{one.strip()}{text[match.end() :]}" for one in choices]


def _subsets(text: str) -> list[str]:
    first, *rest = (part.strip() for part in text.split("|"))
    rest = [part for part in rest if part]
    _few_enough(2 ** min(len(rest), 20))
    return [
        ", ".join([first, *(part for at, part in enumerate(rest) if chosen >> at & 1)])
        for chosen in range(2 ** len(rest))
    ]


def _few_enough(number: int) -> None:
    if number > COMBINATIONS:
        raise BadInput(
            f"这条提示词矩阵会要超过 {COMBINATIONS} 张图。",
            f"This prompt matrix would ask for more than {COMBINATIONS} pictures.",
        )
