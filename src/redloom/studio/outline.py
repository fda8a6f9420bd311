"""A plan as an outline that people edit: pages of Markdown, pictures by the page they stand before.

May import: note, typeset, studio.forms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from redloom.note import markdown
from redloom.note.deck import Look, draw
from redloom.note.pages import weight
from redloom.note.plan import CoverText, Hook, NotePlan, PicturePrompt, Title
from redloom.note.rules import title_length
from redloom.typeset.content import (
    Block,
    Code,
    Figure,
    Heading,
    Inline,
    ListBlock,
    ListItem,
    Paragraph,
    Quote,
    Ratio,
    Rule,
    Table,
)

from .forms import OutlineForm

Json = dict[str, Any]
_HOOKS = frozenset(get_args(Hook))


def outline_json(plan: NotePlan, theme: str, ratio: str, pages: int | None) -> Json:
    """The outline of ``plan`` as it would be set without its pictures. Draws it: for a thread."""
    shape: Ratio = "1:1" if ratio == "1:1" else "4:3" if ratio == "4:3" else "3:4"
    drawn = draw(plan, {}, Look(theme, shape), pages=pages)
    texts = [
        blocks
        for card, blocks in zip(drawn.cards, drawn.blocks, strict=True)
        if card.kind == "page"
    ]
    ends, total = [], 0
    for blocks in texts:
        total += sum(map(weight, blocks))
        ends.append(total)
    return {
        "titles": titles_json(plan), "cover": plan.cover.model_dump(), "body": plan.body,
        "tags": list(plan.tags), "closing": plan.closing,
        "pages": [markdown_of(blocks) for blocks in texts],
        "pictures": [_picture(at, one, plan, ends) for at, one in enumerate(plan.prompts, 1)],
    }  # fmt: skip


def titles_json(plan: NotePlan) -> list[Json]:
    """Titles with what the platform counts of them."""
    return [{"text": t.text, "hook": t.hook, "length": title_length(t.text)} for t in plan.titles]


def _picture(row: int, one: PicturePrompt, plan: NotePlan, ends: Sequence[int]) -> Json:
    before = sum(map(weight, plan.blocks[: one.before]))
    page = next((at for at, end in enumerate(ends, 1) if before < end), max(1, len(ends)))
    return {
        "row": row, "purpose": one.purpose, "prompt": one.prompt, "caption": one.caption,
        "page": 0 if one.purpose == "cover" else page,
    }  # fmt: skip


def plan_of(outline: OutlineForm, before: NotePlan) -> NotePlan:
    """The plan that an edited outline describes; what it does not hold stays as it was."""
    blocks: list[Block] = []
    starts: list[int] = []
    for page in outline.pages:
        starts.append(len(blocks))
        blocks += markdown.parse(page)
    pictures = tuple(
        PicturePrompt(
            purpose=one.purpose, prompt=one.prompt, caption=one.caption,
            before=0 if one.purpose == "cover" else _start(starts, one.page, len(blocks)),
        )
        for one in outline.pictures
    )  # fmt: skip
    titles = tuple(
        Title.model_validate({"text": one.text.strip() or "…", "hook": one.hook if one.hook in _HOOKS else "own"})
        for one in outline.titles
    )  # fmt: skip
    return before.model_copy(
        update={
            "titles": titles, "cover": CoverText(**outline.cover.model_dump()), "body": outline.body,
            "tags": tuple(tag.strip().lstrip("#") for tag in outline.tags if tag.strip()),
            "closing": outline.closing, "blocks": tuple(blocks), "prompts": pictures,
            "page_breaks": tuple(sorted({at for at in starts if 0 < at < len(blocks)})),
        }
    )  # fmt: skip


def _start(starts: Sequence[int], page: int, end: int) -> int:
    if not starts:
        return 0
    return starts[page - 1] if 1 <= page <= len(starts) else end


def markdown_of(blocks: Sequence[Block]) -> str:
    """The blocks as Markdown that `note.markdown` reads back."""
    return "\n\n".join(text for block in blocks if (text := _block(block)))


def _block(block: Block) -> str:
    match block:
        case Heading():
            return f"{'#' * max(1, block.level)} {_inline(block.text)}"
        case Paragraph():
            return _inline(block.text)
        case ListBlock():
            return "\n".join(_items(block.items, block.ordered, block.start, ""))
        case Quote():
            inner = markdown_of(block.blocks) + (f"\n\n—— {block.source}" if block.source else "")
            return "\n".join(f"> {line}".rstrip() for line in inner.split("\n"))
        case Table():
            rows = [block.header, tuple(() for _ in block.header), *block.rows]
            lines = [f"| {' | '.join(_inline(cell) for cell in row)} |" for row in rows]
            lines[1] = f"|{'---|' * len(block.header)}"
            return "\n".join(lines)
        case Code():
            return f"```\n{block.text}\n```"
        case Figure():
            return _inline(block.caption)
        case Rule():
            return "---"


def _items(items: Sequence[ListItem], ordered: bool, start: int, indent: str) -> list[str]:
    lines = []
    for number, item in enumerate(items, start):
        mark = f"{number}. " if ordered else "- "
        lines.append(f"{indent}{mark}{_inline(item.text)}")
        lines += _items(item.items, False, 1, indent + " " * len(mark))
    return lines


def _inline(spans: Inline) -> str:
    out = []
    for span in spans:
        text = span.text.replace("\n", "  \n")
        for on, mark in (
            (span.code, "`"),
            (span.mark, "=="),
            (span.italic, "*"),
            (span.bold, "**"),
        ):
            if on and text.strip():
                text = f"{mark}{text}{mark}"
        out.append(text)
    return "".join(out)
