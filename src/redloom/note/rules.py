"""What the platform takes: its limits in one table, what is over them, and a shorter proposal.

The limits and the way of counting titles are those of the platform's web editor as the public
tool xiaohongshu-mcp implements and tests them (pkg/xhsutil/title.go; pull requests 212 and 339
for body and title, social-auto-upload pull request 219 for tags). The platform may change them
at any time: look at the editor before a launch.
May import: lang.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from redloom.lang import Text

from .text import sentences, trimmed, words

Field = Literal["title", "content", "tags", "images"]

LIMITS: dict[Field, int] = {"title": 20, "content": 1000, "tags": 10, "images": 18}
"""Title in the platform's units, body in UTF-16 units, tags and pictures by number.

Sources: xiaohongshu-mcp's pkg/xhsutil/title.go (title) and its pull request 212 (content),
social-auto-upload's pull request 219 (tags), the platform's web editor (pictures of a post).
"""

MAX_TAG = 20
_INLINE_TAG = re.compile(r"(?<![A-Za-z0-9#&])[#＃](?P<tag>[^\s#＃，。！？,.!?、；;]{1,30})#?")
_WEAK_END = (
    "的",
    "了",
    "和",
    "与",
    "在",
    "是",
    "把",
    "被",
    "就",
    "也",
    "都",
    "而",
    "a",
    "an",
    "the",
    "of",
    "to",
    "and",
)


@dataclass(frozen=True, slots=True)
class Post:
    """What is published: the words and the pictures' relative paths, in order."""

    title: str
    content: str
    tags: tuple[str, ...]
    images: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One breach of a limit: how long it is, how long it may be, and a proposal that fits."""

    field: Field
    length: int
    most: int
    message: Text
    proposal: str | tuple[str, ...]


def title_length(title: str) -> int:
    """A title's length as the platform counts: over UTF-16 units ASCII is 1 and anything else
    2, the sum halved and rounded up (so 40 Latin letters are 20, and one emoji is 2)."""
    return (sum(1 if ord(ch) < 128 else 2 * utf16_length(ch) for ch in title) + 1) // 2


def utf16_length(text: str) -> int:
    """Length in UTF-16 units, which is what an editor in a browser counts."""
    return sum(2 if ord(ch) > 0xFFFF else 1 for ch in text)


def check(post: Post) -> list[Finding]:
    """Everything about ``post`` that the platform would refuse or mangle, worst first."""
    found = [_check_title(post), _check_content(post), _check_inline_tags(post)]
    found += [_check_tags(post), _check_images(post)]
    return [finding for finding in found if finding is not None]


def _check_title(post: Post) -> Finding | None:
    length, most = title_length(post.title), LIMITS["title"]
    if length <= most:
        return None
    proposal = shorten_title(post.title)
    return Finding(
        "title",
        length,
        most,
        Text(
            f"标题 {length} 字，超出 {length - most} 字（平台上限 {most}）。可改为：{proposal}",
            f"The title counts {length}, {length - most} over the platform's {most}. Shorter: {proposal}",
        ),
        proposal,
    )


def _check_content(post: Post) -> Finding | None:
    length, most = utf16_length(post.content), LIMITS["content"]
    if length <= most:
        return None
    proposal = shorten_body(post.content)
    last = proposal.rstrip().split("\n")[-1][-20:]
    return Finding(
        "content",
        length,
        most,
        Text(
            f"正文 {length} 字，超出 {length - most} 字（平台上限 {most:,}）。建议保留到“{last}”为止。",
            f"The body counts {length}, {length - most} over the platform's {most:,}. Keep it up to “{last}”.",
        ),
        proposal,
    )


def _check_inline_tags(post: Post) -> Finding | None:
    inline = tuple(found["tag"] for found in _INLINE_TAG.finditer(post.content))
    if not inline:
        return None
    names = "、".join(f"#{tag}" for tag in inline[:5])
    proposal = re.sub(r"[ \t]+$", "", _INLINE_TAG.sub("", post.content), flags=re.MULTILINE).strip()
    return Finding(
        "content",
        utf16_length(post.content),
        LIMITS["content"],
        Text(
            f"正文里有话题（{names}）；平台不认正文里的 # 话题，请移到标签里。",
            f"The body holds tags ({names}); the platform takes tags only apart from the body.",
        ),
        proposal,
    )


def _check_tags(post: Post) -> Finding | None:
    length, most = len(post.tags), LIMITS["tags"]
    if length <= most:
        return None
    return Finding(
        "tags",
        length,
        most,
        Text(
            f"标签 {length} 个，多了 {length - most} 个（平台上限 {most}）。建议留前 {most} 个。",
            f"There are {length} tags, {length - most} more than the platform's {most}. Keep the first {most}.",
        ),
        post.tags[:most],
    )


def _check_images(post: Post) -> Finding | None:
    length, most = len(post.images), LIMITS["images"]
    if length <= most:
        return None
    return Finding(
        "images",
        length,
        most,
        Text(
            f"图片 {length} 张，多了 {length - most} 张（平台上限 {most}）。请删减文字或减少配图。",
            f"There are {length} pictures, {length - most} more than the platform's {most}. Cut text or pictures.",
        ),
        post.images[:most],
    )


def shorten_title(title: str, most: int = LIMITS["title"]) -> str:
    """The longest beginning of ``title`` that fits, cut at a clause if one is long enough, else
    between words; never inside a number, a Latin word or an emoji."""
    return _shortened(title, lambda text: title_length(text) <= most, most)


def shorten_body(body: str, most: int = LIMITS["content"]) -> str:
    """The longest beginning of ``body`` that fits, in whole sentences and with its line breaks;
    a single sentence that is too long is cut between words."""
    kept, at = "", 0
    for sentence in sentences(body):
        end = body.index(sentence, at) + len(sentence)
        if utf16_length(body[:end]) > most:
            break
        kept, at = body[:end], end
    return kept or _shortened(body, lambda text: utf16_length(text) <= most, most)


def _shortened(text: str, fits: Callable[[str], bool], most: int) -> str:
    text = text.strip()
    if fits(text):
        return text
    borders = _borders(text)
    clause = _longest(borders.clause, fits)
    if title_length(clause) * 2 >= most:
        return clause
    return _longest(borders.word, fits) or clause or _by_character(text, fits)


@dataclass(frozen=True, slots=True)
class _Borders:
    clause: Sequence[str]
    word: Sequence[str]


def _borders(text: str) -> _Borders:
    """Every beginning of ``text`` that ends at a clause, and every one that ends at a word."""
    clause, word, head = [], [], ""
    for token in words(text):
        head += token.text
        if token.text.strip() == "":
            continue
        if token.text[-1] in "，,；;：:。！？!?…—｜|、)）」”～~":
            clause.append(_ended(head))
        elif not token.text.endswith(_WEAK_END):
            word.append(_ended(head))
    return _Borders(clause, word)


def _ended(head: str) -> str:
    """A beginning tidied for standing alone: an open bracket loses what it opened."""
    return trimmed(head)


def _longest(candidates: Sequence[str], fits: Callable[[str], bool]) -> str:
    return max((text for text in candidates if text and fits(text)), key=len, default="")


def _by_character(text: str, fits: Callable[[str], bool]) -> str:
    """The last resort, for one endless word."""
    kept = ""
    for ch in text:
        if not fits(kept + ch):
            break
        kept += ch
    return kept


def tidy_tag(tag: str) -> str:
    """A tag as the platform takes it: no ``#``, no spaces, no punctuation; empty if none is left."""
    return re.sub(r"[^\w\u4e00-\u9fff]+", "", tag)[:MAX_TAG]


def tidy_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Tags cleaned, each once (whatever its case), at most as many as the platform takes."""
    kept: dict[str, str] = {}
    for tag in tags:
        clean = tidy_tag(tag)
        if clean:
            kept.setdefault(clean.casefold(), clean)
    return tuple(kept.values())[: LIMITS["tags"]]
