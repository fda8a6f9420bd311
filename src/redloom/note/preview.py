"""The note as a phone shows it: one page that needs nothing beside it.

Pictures are embedded, scaled to twice the width of a phone's half, so that the page can be sent
by itself. May import: lang, note.rules, note.plan.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from io import BytesIO

from redloom.lang import Lang, Text

from .plan import Title
from .rules import Post, title_length

WIDTH = 720
"""Pixels of an embedded picture's width; a phone shows it at 390 CSS pixels."""

_LABELS = {
    "l_pictures": Text("图片", "Pictures"),
    "l_prev": Text("上一张", "Previous"),
    "l_next": Text("下一张", "Next"),
    "l_copy": Text("复制到发布页", "Copy for posting"),
    "l_title": Text("复制标题", "Title"),
    "l_body": Text("复制正文", "Body"),
    "l_tags": Text("复制标签", "Tags"),
    "l_titles": Text("备选标题", "Titles to choose from"),
    "l_done": Text("已复制", "Copied"),
}
_ONE = Text("复制", "Copy")
_MADE = Text(
    "配图由 AI 生成，发布时请勾选“笔记含 AI 合成内容”。",
    "Some pictures were made by AI: declare it when you post.",
)


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page shows."""

    post: Post
    pictures: Sequence[bytes]
    titles: Sequence[Title]
    size: tuple[int, int]
    warnings: Sequence[Text] = ()
    made_by_model: bool = False


def page(shown: Shown) -> str:
    """The page as HTML, in the note's own language (so that it is the same on every machine)."""
    lang: Lang = (
        "zh" if re.search(r"[\u4e00-\u9fff]", shown.post.title + shown.post.content) else "en"
    )
    values = {name: escape(_in(text, lang)) for name, text in _LABELS.items()} | _values(
        shown, lang
    )
    template = files(__package__).joinpath("preview.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], template)


def _values(shown: Shown, lang: Lang) -> dict[str, str]:
    post, count = shown.post, len(shown.pictures)
    said = "".join(f"<p>{escape(_in(text, lang))}</p>" for text in shown.warnings)
    return {
        "lang": "zh-CN" if lang == "zh" else "en",
        "title": escape(post.title),
        "body": escape(post.content),
        "aspect": f"{shown.size[0]}/{shown.size[1]}",
        "images": "".join(
            _image(data, at, count, lang) for at, data in enumerate(shown.pictures, 1)
        ),
        "count": str(count),
        "dots": "".join(f'<button aria-label="{at}"></button>' for at in range(1, count + 1)),
        "warnings": f'<div class="say" role="note">{said}</div>' if said else "",
        "tags": "".join(f"<span>#{escape(tag)}</span>" for tag in post.tags),
        "tag_line": escape(" ".join(f"#{tag}" for tag in post.tags)),
        "label": f'<p class="label">{escape(_in(_MADE, lang))}</p>' if shown.made_by_model else "",
        "titles": "".join(_title(title, lang) for title in shown.titles),
    }


def _in(text: Text, lang: Lang) -> str:
    return text.zh if lang == "zh" else text.en


def _title(title: Title, lang: Lang) -> str:
    text = escape(title.text)
    return (
        f"<li><span>{text}</span><small>{title_length(title.text)}/20</small>"
        f'<button class="copy" data-copy="{text}">{escape(_in(_ONE, lang))}</button></li>'
    )


def _image(data: bytes, at: int, count: int, lang: Lang) -> str:
    alt = f"第 {at} 张，共 {count} 张" if lang == "zh" else f"Picture {at} of {count}"
    uri = base64.b64encode(scaled(data)).decode()
    lazy = "" if at == 1 else ' loading="lazy"'
    return f'<img src="data:image/webp;base64,{uri}" alt="{alt}"{lazy}>'


def scaled(data: bytes) -> bytes:
    """A picture at most `WIDTH` wide, as WebP."""
    from PIL import Image

    with Image.open(BytesIO(data)) as opened:
        picture = opened.convert("RGB")
        if picture.width > WIDTH:
            picture = picture.resize(
                (WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS
            )
        out = BytesIO()
        picture.save(out, "WEBP", quality=80, method=2)
        return out.getvalue()
