"""Whether a written note still tells the story: what must survive, and what must not appear.

Numbers (Chinese ones count as what they mean), Latin words, 《titles》, quotations, and the names
of people and places. Words are compared, never changed.
May import: note.text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .text import NUMBER, squeezed, words

MAX_WHOLE = 6_000
"""Characters up to which every fact of a story must survive; a longer one cannot fit on 18
cards, so only inventions are looked for."""

_LATIN = re.compile(r"[A-Za-z][A-Za-z'’-]+")
_BOOK = re.compile(r"《([^》\n]{1,40})》")
_QUOTED = re.compile(r"“([^”\n]{4,})”|「([^」\n]{4,})」|『([^』\n]{4,})』")
_CHINESE = re.compile(r"[零〇一二两三四五六七八九十百千万亿]+")
_ORDINAL = re.compile(r"^\s*(?:[-*·•]\s+)?(?:#+\s*)?\d{1,2}[.、)）]\s*", re.MULTILINE)
_DIGITS = {ch: at for at, ch in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_UNITS = {"十": 10, "百": 100, "千": 1_000}
_FULL_WIDTH = str.maketrans("０１２３４５６７８９．，：％", "0123456789.,:%")


@dataclass(frozen=True, slots=True)
class Facts:
    """What can be checked in a text, each in a form that can be compared."""

    numbers: dict[str, str]
    latin: dict[str, str]
    books: dict[str, str]
    quotes: dict[str, str]
    names: dict[str, str]


def facts_of(text: str) -> Facts:
    """The facts of ``text``, keyed by what they are compared by, as they were written."""
    text = text.translate(_FULL_WIDTH)
    return Facts(
        numbers={
            _number(found[0]): found[0] for found in NUMBER.finditer(_ORDINAL.sub("\n", text))
        },
        latin={found[0].casefold(): found[0] for found in _LATIN.finditer(text)},
        books={squeezed(found[1]): found[0] for found in _BOOK.finditer(text)},
        quotes={
            squeezed("".join(filter(None, found.groups()))): found[0]
            for found in _QUOTED.finditer(text)
        },
        names=_names(text),
    )


def _number(text: str) -> str:
    return re.sub(r"(?<=\d)[,，](?=\d{3})", "", text).rstrip("%％‰℃").lstrip("0") or "0"


def _names(text: str) -> dict[str, str]:
    """Words that jieba takes for people, places and institutions."""
    named = (word.text for word in words(text) if word.part in ("nr", "ns", "nt"))
    return {
        name: name
        for name in named
        if 2 <= len(name) <= 6 and re.fullmatch(r"[\u4e00-\u9fff]+", name)
    }


def chinese_number(text: str) -> int | None:
    """``三十九`` as 39, ``1987`` spelt out as 1987; ``None`` where it is no number (``千万``)."""
    if all(ch in _DIGITS for ch in text):
        return int("".join(str(_DIGITS[ch]) for ch in text))
    total = section = digit = 0
    for ch in text:
        if ch in _DIGITS:
            digit = _DIGITS[ch]
        elif ch in _UNITS:
            section += (digit or 1) * _UNITS[ch]
            digit = 0
        else:
            total = (total + section + digit) * (10_000 if ch == "万" else 100_000_000)
            section = digit = 0
    return total + section + digit or None


def _all_numbers(text: str) -> set[str]:
    """Every number that ``text`` says in digits or in characters."""
    text = text.translate(_FULL_WIDTH)
    spoken = (chinese_number(found[0]) for found in _CHINESE.finditer(text))
    written = {_number(found[0]) for found in NUMBER.finditer(text)}
    parts = {part for number in written for part in re.split(r"[:：/～~–-]", number) if part}
    return written | parts | {str(value) for value in spoken if value is not None}


def problems(story: str, shown: str, titles: Iterable[str]) -> list[str]:
    """What is wrong, in sentences for the writer: facts lost from ``shown`` (body and pages),
    and numbers, Latin words, quotations in it or in ``titles`` that the story has not."""
    everything = "\n".join([shown, *titles])
    lost = [] if len(story) > MAX_WHOLE else _lost(story, shown)
    return lost + _invented(story, everything)


def _lost(story: str, shown: str) -> list[str]:
    facts, flat, folded = facts_of(story), squeezed(shown), shown.casefold()
    said = _all_numbers(shown)
    missing = {
        "数字": [text for key, text in facts.numbers.items() if key not in said],
        "英文词": [text for key, text in facts.latin.items() if key not in folded],
        "书名": [text for key, text in facts.books.items() if key not in flat],
        "原话": [text for key, text in facts.quotes.items() if key not in flat],
        "人名地名": [text for key, text in facts.names.items() if key not in flat],
    }
    return [
        f"原文里的{kind}丢了，请放回正文或卡片：{'、'.join(found)}"
        for kind, found in missing.items()
        if found
    ]


def _invented(story: str, everything: str) -> list[str]:
    facts, flat, folded = facts_of(everything), squeezed(story), story.casefold()
    known = _all_numbers(story)
    wrong = {
        "数字": [text for key, text in facts.numbers.items() if key not in known],
        "英文词": [text for key, text in facts.latin.items() if key not in folded],
        "书名": [text for key, text in facts.books.items() if key not in flat],
        "引语": [text for key, text in facts.quotes.items() if key not in flat],
    }
    return [
        f"原文里没有这些{kind}，请删掉：{'、'.join(found)}"
        for kind, found in wrong.items()
        if found
    ]
