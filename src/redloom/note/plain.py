"""Plain text into blocks, the way that Chinese authors lay it out.

Blank lines part paragraphs; where there are none, every line is one. Two or more neighbouring
lines that begin like a list are one; a short line alone is a heading only where the text has
several such lines, or marks it (【】, 一、, #): a line of dialogue must not become one.
May import: typeset.content.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from redloom.typeset.content import Block, Heading, ListBlock, ListItem, Paragraph, Rule, Span

_NUMBER = r"\d{1,2}\s?[.、)）．](?!\d)|[①-⑳]|[(（]\d{1,2}[)）]"
_CHINESE_NUMBER = r"(?:[一二三四五六七八九十]{1,3}[、.．]|[(（][一二三四五六七八九十]{1,3}[)）]、?)"
_BULLET = r"[-*•·●▪◦–](?=\s|[^\s\d\-*·•—–])"
_ITEM = re.compile(
    rf"(?:(?P<number>{_NUMBER})|(?P<chinese>{_CHINESE_NUMBER})|(?P<bullet>{_BULLET}))\s*(?P<text>\S.*)"
)
_BRACKETED = re.compile(r"[【〖](?P<text>[^】〗]{1,24})[】〗]")
_HASHED = re.compile(r"#{1,4}\s+(?P<text>\S.{0,39})")
_CHAPTER = re.compile(
    r"(?:第[一二三四五六七八九十百\d]{1,4}[章节回部篇步]|Part\s?\d+|PART\s?\d+).{0,24}"
)
_RULE = re.compile(r"(?:[-*_=—~]\s?){3,}")
_ENDS = "。！？…”」』）)!?.；;：:，,、—～~”"
_SENTENCE_END = "。！？!?…"

MAX_TITLE = 40
MAX_HEADING = 16


class Line(NamedTuple):
    """One line: its words, and whether a blank line stands before it."""

    text: str
    after_blank: bool


def parse(text: str) -> tuple[str, tuple[Block, ...]]:
    """The title (empty where the text has none) and the blocks of ``text``."""
    lines = _lines(text)
    title = ""
    if len(lines) > 1 and _is_title(lines):
        title = _bare_title(lines[0].text)
        lines = lines[1:]
    return title, tuple(_blocks(lines))


def _lines(text: str) -> list[Line]:
    lines, blank = [], True
    for raw in text.split("\n"):
        stripped = raw.strip(" \t\u3000\xa0\ufeff")
        if stripped:
            lines.append(Line(stripped, blank))
        blank = not stripped
    return lines


def _is_title(lines: Sequence[Line]) -> bool:
    """A short first line, not a sentence's or a list's, with more behind it than it has itself."""
    first, second = lines[0].text, lines[1]
    if len(first) > MAX_TITLE or first[-1] in "。；;，,、：:" or _ITEM.fullmatch(first):
        return False
    stands_alone = second.after_blank or len(second.text) > len(first) or len(lines) > 2
    behind = sum(len(line.text) for line in lines[1:])
    return stands_alone and behind > len(first) and not _is_verse(lines)


def _is_verse(lines: Sequence[Line]) -> bool:
    """Whether the first paragraph is several short lines: then the first is not above the rest."""
    first = [lines[0]]
    for line in lines[1:]:
        if line.after_blank:
            break
        first.append(line)
    return len(first) > 2 and all(len(line.text) <= 20 for line in first)


def _bare_title(line: str) -> str:
    bare = re.sub(r"^(?:#+\s*|标题\s*[:：]\s*|题目\s*[:：]\s*)", "", line)
    whole = re.fullmatch(r"[《【](.+)[》】]", bare)
    return (whole[1] if whole and not re.search(r"[《》【】]", whole[1]) else bare).strip()


def _blocks(lines: Sequence[Line]) -> Iterator[Block]:
    headings = _headings(lines)
    at = 0
    while at < len(lines):
        count = _list_length(lines, at)
        if count >= 2:
            yield _list(lines[at : at + count])
            at += count
        elif at in headings:
            yield Heading((Span(headings[at]),), 1)
            at += 1
        elif _RULE.fullmatch(lines[at].text):
            yield Rule()
            at += 1
        else:
            count = _paragraph_length(lines, at, headings)
            yield Paragraph((Span(_joined(lines[at : at + count])),))
            at += count


def _kind(line: str) -> str | None:
    found = _ITEM.fullmatch(line)
    return found.lastgroup and _marker(found) if found else None


def _marker(found: re.Match[str]) -> str:
    return next(kind for kind in ("number", "chinese", "bullet") if found[kind])


def _list_length(lines: Sequence[Line], at: int) -> int:
    """How many lines from ``at`` on are items of one list; 0 where that line is none.

    ``一、`` items that are long paragraphs or stand apart are headings or prose, not a list.
    """
    kind = _kind(lines[at].text)
    count = 0
    while kind and at + count < len(lines) and _kind(lines[at + count].text) == kind:
        count += 1
    if kind == "chinese" and at + count < len(lines) and count < 2:
        return 0
    return count


def _list(lines: Sequence[Line]) -> ListBlock:
    found = [match for line in lines if (match := _ITEM.fullmatch(line.text))]
    ordered = _marker(found[0]) != "bullet"
    digits = re.search(r"\d+", found[0]["number"] or "")
    items = tuple(ListItem((Span(match["text"]),)) for match in found)
    return ListBlock(items, ordered, int(digits[0]) if digits else 1)


def _headings(lines: Sequence[Line]) -> dict[int, str]:
    """Which lines are headings, and their words: the marked ones, and the short ones if several."""
    marked = {at: text for at, line in enumerate(lines) if (text := _marked_heading(line.text))}
    for at, line in enumerate(lines):
        alone = (
            _kind(line.text) == "chinese" and _list_length(lines, at) < 2 and at + 1 < len(lines)
        )
        if alone and len(line.text) <= 20 and line.text[-1] not in _SENTENCE_END:
            marked[at] = line.text
    short = [at for at in range(len(lines)) if at not in marked and _may_head(lines, at)]
    if len(short) >= 2 or (short and marked):
        marked |= {at: lines[at].text for at in short}
    return marked


def _marked_heading(line: str) -> str:
    for pattern in (_BRACKETED, _HASHED):
        if found := pattern.fullmatch(line):
            return found["text"].strip()
    return line if _CHAPTER.fullmatch(line) and line[-1] not in _SENTENCE_END else ""


def _may_head(lines: Sequence[Line], at: int) -> bool:
    """A short line, alone between blank lines, without an end mark, above a list or a paragraph."""
    line = lines[at]
    if at + 1 >= len(lines) or len(line.text) > MAX_HEADING or _kind(line.text):
        return False
    alone = line.after_blank and lines[at + 1].after_blank
    below = lines[at + 1].text
    leads = len(below) > len(line.text) + 8 or _kind(below) is not None
    return (
        alone and leads and line.text[-1] not in _ENDS and not re.match(r"[“「『\"(（]", line.text)
    )


def _paragraph_length(lines: Sequence[Line], at: int, headings: dict[int, str]) -> int:
    """How many lines from ``at`` on are one paragraph.

    A line that ends its sentence ends its paragraph too; long lines that do not are a text
    wrapped by its editor; short ones side by side are verse and stay together, break by break.
    """
    count = 1
    while at + count < len(lines):
        line, before = lines[at + count], lines[at + count - 1].text
        if line.after_blank or (at + count) in headings or _kind(line.text):
            break
        if before[-1] in _ENDS[:9] and len(before) > 20:
            break
        count += 1
    return count


def _joined(lines: Sequence[Line]) -> str:
    text = lines[0].text
    for before, line in itertools.pairwise(lines):
        wrapped = len(before.text) >= 28 and before.text[-1] not in _SENTENCE_END
        latin = before.text[-1].isascii() and line.text[0].isascii()
        text += ((" " if latin else "") if wrapped else "\n") + line.text
    return text
