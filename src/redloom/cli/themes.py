"""``redloom themes``: the card themes by name, and a look at each.

May import: cli.common, errors, lang, typeset.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from redloom.errors import DiskFull
from redloom.lang import language

from .common import Common, command, option

if TYPE_CHECKING:
    from redloom.typeset.content import Deck
    from redloom.typeset.theme import ThemeInfo


@command(
    "themes",
    zh="列出卡片主题；--preview 把每个主题的封面和内页画出来看。",
    en="List the card themes; --preview draws a cover and a page of each.",
)
@option(
    "--preview",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    zh="把样张画进这个文件夹",
    en="draw samples into this folder",
)
def themes(common: Common, preview: Path | None) -> None:
    """The command."""
    from redloom.typeset.theme import themes as known

    found = known()
    width = max((len(theme.name) for theme in found), default=0)
    for theme in found:
        files = _draw(theme, preview) if preview is not None else []
        common.emit(
            {
                "theme": theme.name,
                "zh": theme.title.zh,
                "en": theme.title.en,
                "description": str(theme.description),
                "files": [str(path) for path in files],
            }
        )
        if not common.json:
            common.say(*(_line(theme, width),) * 2)
    if preview is not None:
        common.hint(f"样张在 {preview}", f"Samples are in {preview}")


def _line(theme: ThemeInfo, width: int) -> str:
    title = theme.title.zh if language() == "zh" else f"{theme.title.en} ({theme.title.zh})"
    return f"{theme.name:<{width}}  {title}：{theme.description}" if language() == "zh" else (
        f"{theme.name:<{width}}  {title}: {theme.description}"
    )  # fmt: skip


def _draw(theme: ThemeInfo, folder: Path) -> list[Path]:
    from redloom.typeset.cards import typeset

    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for card in typeset(_sample(), theme=theme.name).cards[:2]:
            path = folder / f"{theme.name}-{card.kind}.png"
            path.write_bytes(card.png)
            paths.append(path)
    except OSError as error:
        raise DiskFull(
            f"写不进 {folder}（{error.strerror}）；没有花钱。",
            f"Cannot write to {folder} ({error.strerror}); nothing was spent.",
        ) from None
    return paths


def _sample() -> Deck:
    from redloom.typeset.content import (
        Cover,
        Deck,
        Heading,
        ListBlock,
        ListItem,
        Paragraph,
        Quote,
        Span,
    )

    def words(text: str) -> tuple[Span, ...]:
        return (Span(text),)

    return Deck(
        cover=Cover("在胡同里，慢慢走一个下午", "从鼓楼到南锣，一份不赶路的散步笔记", "北京"),
        blocks=(
            Heading(words("先去看看屋檐")),
            Paragraph(
                words(
                    "午后的光落在灰瓦上，猫从墙头走过。走得慢，才看得见门墩上的小狮子和 1920 年代的门牌。"
                )
            ),
            Quote((Paragraph(words("城市最好的样子，往往在没有路名的地方。")),)),
            Heading(words("三件小事")),
            ListBlock(
                tuple(
                    ListItem(words(t))
                    for t in ("带一壶茶", "和修鞋的师傅聊两句", "天黑前到什刹海看灯")
                )
            ),
        ),
    )
