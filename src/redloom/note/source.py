"""The story: bytes, in whatever encoding, to title and blocks.

Encodings in this order: a byte order mark, UTF-16 that shows itself by its zero bytes, strict
UTF-8, GB18030 (which is what Windows in China calls ANSI). What is no text is refused in one
sentence. Pictures named by a Markdown source are read only from beside it.
May import: errors, lang, typeset.content.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from redloom.errors import BadInput
from redloom.lang import Text
from redloom.typeset.content import Block, Heading, Quote

from . import markdown, plain

MAX_CHARACTERS = 200_000
"""The longest story taken. A note shows at most 18 cards; 200,000 characters are a book."""
MAX_BYTES = MAX_CHARACTERS * 4
MAX_PICTURE_BYTES = 30_000_000

_NOT_TEXT = {
    b"PK\x03\x04": "Word/Excel/ZIP",
    b"%PDF": "PDF",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"\xd0\xcf\x11\xe0": "Word 97",
    b"{\\rtf": "RTF",
}
_MARKDOWN_SIGNS = re.compile(
    r"^#{1,4} \S|^\|.+\|\s*$|^```|^> \S|\*\*[^*\n]+\*\*|!\[[^\]]*\]\(|^---\n[\w-]+:", re.MULTILINE
)
_PASTED = re.compile(r"[\u00ad\u200b\u2060\ufeff]")
"""What a word processor or a web page leaves between characters and nobody sees: it would stand
at the head of a title or cut a word in two. Joiners (U+200D) stay: emoji are made of them."""
_PAIR = re.compile(r"(?P<key>[\w-]{1,30}|[\u4e00-\u9fff]{1,8})\s*[:：]\s*(?P<value>.*)")


@dataclass(frozen=True, slots=True)
class Source:
    """A story as read. ``plain`` is the text as its author wrote it, newlines as ``\\n``."""

    name: str
    title: str
    blocks: tuple[Block, ...]
    plain: str
    digest: str
    author: str = ""
    tags: tuple[str, ...] = ()
    warnings: tuple[Text, ...] = ()


def read_source(path: Path) -> Source:
    """The story in the file at ``path``. Raises BadInput where it is missing or no story."""
    try:
        if path.is_dir():
            raise BadInput(
                f"{path.name} 是文件夹，不是故事；请给出一个 .txt 或 .md 文件。",
                f"{path.name} is a folder, not a story; name a .txt or .md file.",
            )
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise BadInput(
            f"找不到文件 {path}；请检查路径。", f"There is no file {path}; check the path."
        ) from None
    except OSError as error:
        raise BadInput(
            f"读不了 {path}（{error.strerror}）。", f"Cannot read {path} ({error.strerror})."
        ) from error
    return parse_source(data, path.name, path.parent)


def parse_source(data: bytes, name: str = "-", folder: Path | None = None) -> Source:
    """The story in ``data``. ``name``'s ending tells Markdown from plain text; without one the
    text itself does. Raises BadInput where it is empty, too long, or not text."""
    text = decode(data, name)
    if len(text) > MAX_CHARACTERS:
        raise _too_long(name)
    front, rest = _front_matter(text)
    pictures = _Pictures(folder)
    ending = Path(name).suffix.lower()
    if ending in (".md", ".markdown", ".mdown") or (
        ending != ".txt" and _MARKDOWN_SIGNS.search(text)
    ):
        title, blocks = _titled(markdown.parse(rest, pictures.open))
    else:
        title, blocks = plain.parse(rest)
    title = (front.get("title", [""])[0] or title).strip()
    if not blocks and title:
        title, blocks = "", plain.parse(title + "\n")[1]
    if not blocks:
        raise _empty(name)
    return Source(
        name=Path(name).name,
        title=title,
        blocks=blocks,
        plain=rest.strip(),
        digest=pictures.digest(data),
        author=front.get("author", [""])[0],
        tags=tuple(tag.lstrip("#").strip() for tag in front.get("tags", []) if tag.strip("# ")),
        warnings=tuple(pictures.warnings),
    )


def decode(data: bytes, name: str = "-") -> str:
    """``data`` as text with ``\\n`` line ends. Raises BadInput where it is not text."""
    if len(data) > MAX_BYTES:
        raise _too_long(name)
    for magic, kind in _NOT_TEXT.items():
        if data.startswith(magic):
            raise _not_text(name, kind)
    text = _decoded(data)
    if text is None or _looks_binary(text):
        raise _not_text(name, "")
    text = text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    text = re.sub(r"[\u2028\u2029\x0b\x0c\x85]", "\n", text)
    text = re.sub(r"[\x00-\x08\x0e-\x1f\x7f\ufffe\uffff]", "", text)
    text = _PASTED.sub("", text).replace("\u00a0", " ")
    if not text.strip(" \t\n\u3000\xa0\u200b"):
        raise _empty(name)
    return text


def _decoded(data: bytes) -> str | None:
    for encoding in _candidates(data):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return None


def _candidates(data: bytes) -> Sequence[str]:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return ("utf-16",)
    zeros_even, zeros_odd = data[0:2000:2].count(0), data[1:2000:2].count(0)
    if len(data) % 2 == 0 and zeros_odd > 4 * zeros_even:
        return ("utf-16-le",)
    if len(data) % 2 == 0 and zeros_even > 4 * zeros_odd:
        return ("utf-16-be",)
    return ("utf-8-sig", "gb18030")


def _looks_binary(text: str) -> bool:
    """Control and private characters beyond the odd stray one are no one's prose."""
    sample = text[:20_000]
    strange = sum(
        (ch < " " and ch not in "\t\n\r\x0b\x0c\x1a\x1b") or "\ue000" <= ch <= "\uf8ff"
        for ch in sample
    )
    return strange > max(2, len(sample) // 100)


def _front_matter(text: str) -> tuple[dict[str, list[str]], str]:
    """What stands between two ``---`` at the head, if every line there is ``key: value`` or an
    item of a list, and the text behind it; else nothing, and the text as it is."""
    lines = text.lstrip("\n").split("\n")
    ends = [at for at, line in enumerate(lines[1:60], 1) if line.rstrip() in ("---", "...")]
    if lines[0].rstrip() != "---" or not ends:
        return {}, text
    found: dict[str, list[str]] = {}
    key = ""
    for line in lines[1 : ends[0]]:
        pair, item = _PAIR.fullmatch(line.rstrip()), re.match(r"\s*-\s+(.*)", line)
        if pair:
            key = _known_key(pair["key"])
            found[key] = _values(pair["value"], key)
        elif item and key:
            found[key] = [*filter(None, found[key]), _unquoted(item[1])]
        elif line.strip() and not line.startswith((" ", "#")):
            return {}, text
    return found, "\n".join(lines[ends[0] + 1 :])


def _known_key(key: str) -> str:
    names = {"标题": "title", "作者": "author", "标签": "tags", "keywords": "tags", "tag": "tags"}
    return names.get(key.lower(), key.lower())


def _values(value: str, key: str) -> list[str]:
    value = value.strip()
    if key == "tags":
        inside = value[1:-1] if value.startswith("[") and value.endswith("]") else value
        return [_unquoted(part) for part in re.split(r"[,，、\s]+", inside)]
    return [_unquoted(value)]


def _unquoted(value: str) -> str:
    value = value.strip()
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value


def _titled(blocks: tuple[Block, ...]) -> tuple[str, tuple[Block, ...]]:
    """The first level-1 heading if it leads, and the rest with levels from 1 on."""
    title = ""
    if blocks and isinstance(blocks[0], Heading) and blocks[0].level == 1:
        title = "".join(span.text for span in blocks[0].text).replace("\n", "")
        blocks = blocks[1:]
    levels = [block.level for block in blocks if isinstance(block, Heading)]
    return title, tuple(_raised(block, min(levels, default=1) - 1) for block in blocks)


def _raised(block: Block, by: int) -> Block:
    if isinstance(block, Heading):
        return replace(block, level=min(3, block.level - by))
    if isinstance(block, Quote):
        return replace(block, blocks=tuple(_raised(inner, 0) for inner in block.blocks))
    return block


class _Pictures:
    """Opens pictures that lie beside the source, and remembers which could not be had."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder.resolve() if folder else None
        self.warnings: list[Text] = []
        self.seen: list[bytes] = []

    def open(self, path: str) -> bytes | None:
        data = self._bytes(unquote(path))
        if data is None:
            self.warnings.append(
                Text(
                    f"图片 {path} 不在故事旁边或打不开，已改用它的说明文字。",
                    f"The picture {path} does not lie beside the story or cannot be opened; its caption is used.",
                )
            )
        else:
            self.seen.append(hashlib.sha256(data).digest())
        return data

    def _bytes(self, path: str) -> bytes | None:
        if self.folder is None or re.match(r"[a-z][a-z0-9+.-]*:|//", path, re.IGNORECASE):
            return None
        try:
            file = (self.folder / path).resolve()
            if not file.is_relative_to(self.folder) or file.stat().st_size > MAX_PICTURE_BYTES:
                return None
            data = file.read_bytes()
        except (OSError, ValueError):
            return None
        return data if is_picture(data) else None

    def digest(self, data: bytes) -> str:
        """Identity of the story: its bytes and the pictures that it shows."""
        whole = hashlib.sha256(data)
        for picture in self.seen:
            whole.update(picture)
        return whole.hexdigest()


def is_picture(data: bytes) -> bool:
    """Whether ``data`` is a picture that cards can show."""
    from io import BytesIO

    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(BytesIO(data), formats=("PNG", "JPEG", "WEBP", "GIF")) as picture:
            picture.verify()
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError):
        return False
    return True


def _named(name: str) -> tuple[str, str]:
    return ("标准输入", "Standard input") if name == "-" else (name, name)


def _too_long(name: str) -> BadInput:
    zh, en = _named(name)
    return BadInput(
        f"{zh} 太长：最多读 {MAX_CHARACTERS:,} 字，一篇笔记只有 18 张图；请截取要发的那一段。",
        f"{en} is too long: at most {MAX_CHARACTERS:,} characters are read, and a note has 18 pictures; cut out the part to post.",
    )


def _empty(name: str) -> BadInput:
    zh, en = _named(name)
    return BadInput(
        f"{zh} 里没有文字；请写点什么再试。", f"{en} holds no text; write something first."
    )


def _not_text(name: str, kind: str) -> BadInput:
    zh, en = _named(name)
    return BadInput(
        f"{zh} 不是文本{f'（像是 {kind}）' if kind else ''}；请另存为 .txt 或 .md（UTF-8 或 GBK 都可以）。",
        f"{en} is not text{f' (it looks like {kind})' if kind else ''}; save it as .txt or .md (UTF-8 or GBK).",
    )
