"""Words for a text-to-image service about this story: its things, its place, no lettering.

May import: note.keywords.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .keywords import Keyword

STYLES: dict[str, tuple[str, str]] = {
    "photo": (
        "真实摄影，自然光，浅景深，色彩柔和有质感",
        "natural-light photograph, shallow depth of field, gentle colours",
    ),
    "film": (
        "35mm 胶片摄影，颗粒细腻，暖色调，日常抓拍",
        "35mm film photograph, fine grain, warm tones, candid",
    ),
    "illustration": (
        "手绘插画，线条干净，大色块，留白充足",
        "hand-drawn illustration, clean lines, flat colours, generous space",
    ),
    "watercolor": (
        "水彩画，淡雅透明，纸纹可见，留白充足",
        "watercolour, light and transparent, visible paper, generous space",
    ),
    "ink": (
        "水墨淡彩，写意笔触，大面积留白",
        "ink and light wash, loose brushwork, much empty space",
    ),
    "3d": (
        "柔和的三维黏土质感，圆润造型，干净背景",
        "soft 3D clay render, rounded shapes, clean background",
    ),
}
"""Looks by name; any other words given as a style are used as they are."""

_SEEABLE = ("n", "ns", "nz", "phrase", "eng")


def picture_prompt(subject: str, known: Sequence[Keyword], style: str, *, cover: bool) -> str:
    """A prompt about ``subject`` out of the story's own keywords, in the story's language."""
    places = [word.text for word in known if word.is_place][:2]
    things = [word.text for word in known if word.part in _SEEABLE and not word.is_place][:6]
    chinese = re.search(r"[\u4e00-\u9fff]", subject + "".join(things)) is not None
    look = STYLES.get(style, (style, style))[0 if chinese else 1]
    topic = re.sub(r"[“”\"「」『』《》]", "", subject).replace("｜", "，").rstrip("？?！!。.…")
    return (_chinese if chinese else _english)(look, topic, places, things, cover)


def in_the_look_of_it(prompt: str) -> str:
    """The same words for a model that is shown a picture of the same note: that one gives the
    look, the words what is to be seen. Without this an editing model draws the reference again.
    """
    if re.search(r"[\u4e00-\u9fff]", prompt):
        return f"与参考图保持同一画风、色调、光线和质感，但不要重复它的内容和构图；画面按以下描述来画。{prompt}"
    return (
        "Same style, palette, light and texture as the reference picture, but neither its subject "
        f"nor its composition; draw what follows. {prompt}"
    )


def _chinese(
    look: str, topic: str, places: Sequence[str], things: Sequence[str], cover: bool
) -> str:
    parts = [f"{look}。", f"主题：{topic}。"]
    parts += [f"地点：{'、'.join(places)}。"] if places else []
    parts += [f"画面元素：{'、'.join(things)}。"] if things else []
    parts += (
        ["竖幅构图，主体在下半部，上方留出干净的空白。"]
        if cover
        else ["竖幅构图，主体清晰，细节真实。"]
    )
    return "".join(
        [*parts, "画面中不要出现任何文字、字母、数字、标志或水印（no text, no letters）。"]
    )


def _english(
    look: str, topic: str, places: Sequence[str], things: Sequence[str], cover: bool
) -> str:
    parts = [f"{look}. ", f"About: {topic}. "]
    parts += [f"Place: {', '.join(places)}. "] if places else []
    parts += [f"In the picture: {', '.join(things)}. "] if things else []
    parts += (
        ["Portrait format, subject in the lower half, clear space above. "]
        if cover
        else ["Portrait format, one clear subject. "]
    )
    return "".join([*parts, "No text, no letters, no numbers, no logos, no watermark."])
