"""Story to note, end to end: words, pictures, cards, folder.

May import: errors, lang, clock, version, typeset, and everything of note.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from redloom.clock import offload
from redloom.errors import BadInput
from redloom.lang import Text
from redloom.typeset.content import Ratio
from redloom.typeset.theme import SIZES, find
from redloom.version import __version__

from . import folder
from .bundle import Label, Note, as_is, bundle
from .deck import Look, draw
from .illustrator import Illustrated, Illustrator, PictureWanted, usable
from .pictures import STYLES
from .plan import NotePlan, Title
from .rules import Finding, Post
from .source import Source, is_picture
from .text import squeezed
from .writer import Wish, Writer, Written

AUTO_PAGE_PICTURES = 3
Stage = Literal["writing", "painting", "setting", "saving", "done"]


@dataclass(frozen=True)
class NoteSettings:
    """What the user asks of one note. ``pages`` counts text pages, ``images`` pictures made by a
    model, the cover's first (``None``: as many as fit the story)."""

    out: Path
    pages: int | None = None
    images: int | None = None
    theme: str = "paper"
    ratio: Ratio = "3:4"
    offline: bool = False
    title: str | None = None
    style: str = "photo"
    author: str = ""
    overwrite: bool = False
    consistent: bool = False
    """Whether the first picture is made first and shown to the model as the others' reference."""
    fallback: tuple[str, ...] = ()
    """Who is asked for a picture that the endpoints do not make, in order; part of what the note
    is known by, since other pictures may come of it."""


@dataclass(frozen=True, slots=True)
class NoteEvent:
    """How far a note has come, for whoever watches."""

    stage: Stage
    text: Text


OnEvent = Callable[[NoteEvent], None]


@dataclass(frozen=True, slots=True)
class NoteResult:
    """The note as it lies in ``dir``; ``unchanged`` where it already lay there."""

    dir: Path
    post: Post
    unchanged: bool
    warnings: tuple[Text, ...]
    pictures: tuple[Illustrated, ...] = ()
    manifest: tuple[dict[str, Any], ...] = ()
    findings: tuple[Finding, ...] = ()


async def make_note(
    source: Source,
    settings: NoteSettings,
    *,
    writer: Writer,
    illustrate: Illustrator | None = None,
    label: Label = as_is,
    on_event: OnEvent | None = None,
    made_at: str | None = None,
) -> NoteResult:
    """Turn ``source`` into a note in ``settings.out``.

    ``label`` is put over every card that shows a model's picture; ``made_at`` (ISO 8601) is
    written into the record. A picture that fails leaves its place to text, with a warning.
    Raises BadInput (settings), WouldOverwrite (something else lies there), DiskFull, and what
    ``writer`` raises; the folder is then as it was.
    """
    _check(settings)
    wish = Wish(settings.style, settings.pages, settings.author)
    paints = illustrate is not None and not settings.offline and settings.images != 0
    asked = settings_record(settings, writer, paints)
    folder.recover(settings.out)
    if folder.is_same(settings.out, source.digest, asked["digest"], __version__):
        return _unchanged(settings.out)
    if not settings.overwrite:
        folder.check_free(settings.out, source.digest)
    edited = await offload(_edited, settings.out)
    tell = on_event or (lambda _event: None)
    tell(NoteEvent("writing", Text("写标题和正文", "Writing titles and body")))
    written = await writer.write(source, wish)
    plan = _titled(written.plan, settings.title)
    wanted = _wanted(plan, settings) if paints else []
    pictures: Sequence[Illustrated] = ()
    if illustrate is not None and wanted:
        tell(
            NoteEvent(
                "painting", Text(f"画 {len(wanted)} 张配图", f"Making {len(wanted)} pictures")
            )
        )
        pictures = opened(await illustrate(wanted))
    tell(NoteEvent("setting", Text("排版卡片", "Setting the cards")))
    set_note = partial(_set, source, settings, asked, writer.name, written, plan, pictures, made_at)
    made = await offload(bundle, await offload(set_note), label)
    tell(NoteEvent("saving", Text(f"写入 {settings.out}", f"Saving to {settings.out}")))
    await offload(folder.put, settings.out, made.files)
    count = len(made.post.images)
    tell(NoteEvent("done", Text(f"{count} 张图，已完成", f"Done, {count} pictures")))
    return NoteResult(
        settings.out,
        made.post,
        unchanged=False,
        warnings=(*edited, *made.warnings),
        pictures=tuple(pictures),
        manifest=tuple(made.manifest),
        findings=made.findings,
    )


def _set(
    source: Source,
    settings: NoteSettings,
    asked: dict[str, Any],
    writer: str,
    written: Written,
    plan: NotePlan,
    pictures: Sequence[Illustrated],
    made_at: str | None,
) -> Note:
    """The cards drawn, with all that the folder records of how they came about."""
    look = Look(settings.theme, settings.ratio)
    return Note(
        drawn=draw(plan, usable(pictures), look, pages=settings.pages),
        look=look,
        source={"name": source.name, "digest": source.digest},
        settings=asked,
        writer={"name": writer, "usage": written.usage},
        pictures=pictures,
        warnings=(*source.warnings, *written.warnings),
        versions=[{"made_at": made_at, "what": "made"}],
    )


def _check(settings: NoteSettings) -> None:
    if settings.pages is not None and not 1 <= settings.pages <= 17:
        raise BadInput(
            f"--pages 要在 1 到 17 之间（封面之外，平台一共收 18 张图），不是 {settings.pages}。",
            f"--pages must be 1 to 17 (the platform takes 18 pictures, the cover is one), not {settings.pages}.",
        )
    if settings.images is not None and not 0 <= settings.images <= 9:
        raise BadInput(
            f"--images 要在 0 到 9 之间，不是 {settings.images}。",
            f"--images must be 0 to 9, not {settings.images}.",
        )
    find(settings.theme)
    if settings.ratio not in SIZES:
        raise BadInput(
            f"没有 {settings.ratio} 这种画幅；可选 {'、'.join(SIZES)}。",
            f"There is no ratio {settings.ratio}; choose {', '.join(SIZES)}.",
        )
    if not settings.style.strip():
        names = "、".join(STYLES)
        raise BadInput(
            f"画风不能为空；可选 {names}，或自己写。",
            f"The style is empty; choose {names}, or your own words.",
        )


def settings_record(settings: NoteSettings, writer: Writer, paints: bool) -> dict[str, Any]:
    """The settings that change a note, and the digest of them all."""
    shown: dict[str, Any] = {
        "theme": settings.theme,
        "ratio": settings.ratio,
        "pages": settings.pages,
        "images": settings.images if paints else 0,
        "title": settings.title,
        "style": settings.style,
        "author": settings.author,
        "writer": writer.identity,
    }
    # Left out while unset, so that a note made before they existed is known again.
    later = {"consistent": settings.consistent, "fallback": list(settings.fallback)}
    shown |= {name: value for name, value in later.items() if value and paints}
    return {"digest": folder.digest(json.dumps(shown, sort_keys=True).encode())} | shown


def _unchanged(out: Path) -> NoteResult:
    record = folder.open_record(out)
    own = record["redloom"]
    post = Post(record["title"], record["content"], tuple(record["tags"]), tuple(record["images"]))
    warnings = tuple(Text(*pair) for pair in own.get("warnings", []))
    return NoteResult(out, post, True, warnings)


def _edited(out: Path) -> tuple[Text, ...]:
    """What to say where the note that gives way was changed by hand since it was made."""
    if not (out / "post.json").is_file():
        return ()
    try:
        versions = folder.open_record(out)["redloom"]["versions"]
    except (BadInput, LookupError, TypeError):
        return ()
    if not any(one.get("what") == "redone" for one in versions):
        return ()
    return (
        Text(
            f"这篇笔记用 redo 改过；现在是照故事重新做的，改过的旧版在 {out / folder.HISTORY} 里。只换主题或标题，用 redloom redo。",
            f"This note had been changed with redo; it is now made from the story again, and the changed version is in {out / folder.HISTORY}. To change only theme or title use redloom redo.",
        ),
    )


def _titled(plan: NotePlan, title: str | None) -> NotePlan:
    """The plan with the user's own title first, on the cover too, exactly as typed."""
    if not (title and title.strip()):
        return plan
    others = tuple(one for one in plan.titles if squeezed(one.text) != squeezed(title))
    first = Title(text=title.strip(), hook="own")
    cover = plan.cover.model_copy(update={"title": title.strip()})
    return plan.model_copy(update={"titles": (first, *others)[:5], "cover": cover})


def _wanted(plan: NotePlan, settings: NoteSettings) -> list[PictureWanted]:
    """The cover's picture, then pages', as many as asked for and planned."""
    chosen, ranked = _chosen(plan, settings.images), _ranked(plan)
    leader = ranked[0] + 1 if settings.consistent and ranked else None
    return [
        PictureWanted(
            at + 1, plan.prompts[at].purpose, plan.prompts[at].prompt, settings.ratio,
            like=leader if at + 1 != leader else None,
        )
        for at in chosen
    ]  # fmt: skip


def with_pictures(plan: NotePlan, images: int | None) -> NotePlan:
    """``plan`` with those pictures alone that would be made of it where ``images`` are asked for."""
    kept = tuple(plan.prompts[at] for at in _chosen(plan, images))
    return plan.model_copy(update={"prompts": kept})


def _chosen(plan: NotePlan, images: int | None) -> list[int]:
    """Which of the plan's pictures are made, by their place in it."""
    most = 1 + AUTO_PAGE_PICTURES if images is None else images
    return sorted(_evenly(_ranked(plan), most))


def _ranked(plan: NotePlan) -> list[int]:
    """The plan's pictures, the cover's first."""
    return sorted(range(len(plan.prompts)), key=lambda at: plan.prompts[at].purpose != "cover")


def opened(pictures: Sequence[Illustrated]) -> list[Illustrated]:
    """The pictures in order; one whose bytes nobody can open counts as failed."""
    broken = Text("返回的不是图片", "what came back is no picture")
    checked = [
        replace(one, ok=False, data=None, error=broken)
        if one.ok and not is_picture(one.data or b"")
        else one
        for one in pictures
    ]
    return sorted(checked, key=lambda one: one.row)


def _evenly(ranked: Sequence[int], most: int) -> list[int]:
    """The first, and of the rest as many as fit, spread over the whole story."""
    if most >= len(ranked):
        return list(ranked)
    rest, count = ranked[1:], max(0, most - 1)
    return [*ranked[: min(1, most)], *(rest[at * len(rest) // count] for at in range(count))]
