"""Remake part of a note: a page's words or picture, the title, the theme.

Words and themes cost nothing. What is not asked for stays byte for byte; what is replaced goes
to ``history/``.
May import: errors, lang, clock, typeset, and everything of note but the writers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from redloom.clock import offload
from redloom.errors import BadInput, RedloomError
from redloom.lang import Text
from redloom.typeset.content import Block, Figure

from . import folder, markdown
from .bundle import Label, Note, as_is, bundle, internalised
from .deck import Drawn, Look, draw
from .illustrator import Illustrated, Illustrator, PictureWanted, usable
from .make import NoteResult, opened
from .plan import NotePlan, PicturePrompt, Title
from .rules import utf16_length
from .text import squeezed


@dataclass(frozen=True, slots=True)
class Change:
    """What to do. ``page`` is a card's number from 1; ``text`` is Markdown for that card;
    ``prompt`` words for its picture (the empty string: the same words, another picture)."""

    page: int | None = None
    text: str | None = None
    prompt: str | None = None
    title: str | None = None
    theme: str | None = None
    cover: int | None = None
    """The row of the picture that the cover shall show; what the cover showed takes its place."""
    body: str | None = None
    tags: tuple[str, ...] | None = None


@dataclass(frozen=True)
class _State:
    """A note as read back from its folder."""

    record: dict[str, Any]
    plan: NotePlan
    pictures: tuple[Illustrated, ...]
    look: Look
    cards: tuple[bytes, ...]
    names: tuple[str, ...]
    drawn: Drawn


async def redo_note(
    note: Path,
    change: Change,
    *,
    illustrate: Illustrator | None = None,
    label: Label = as_is,
    made_at: str | None = None,
) -> NoteResult:
    """Apply ``change`` to the note in ``note``.

    Raises BadInput where there is no such note or page, nothing is asked for, or the words do
    not fit one card (with how many characters do); what the illustrator's service said where a
    picture failed; DiskFull. The note is then as it was.
    """
    state = await offload(_read, note, change)
    asked = await offload(_asked, state, change)
    if change.prompt is not None:
        asked = await _painted(note, asked, change, illustrate)
    made = await offload(_made, state, asked, change, label, made_at)
    await offload(folder.put, note, made.files)
    pictures = asked.pictures
    return NoteResult(
        note, made.post, False, made.warnings, pictures, tuple(made.manifest), made.findings
    )


def _read(note: Path, change: Change) -> _State:
    record = folder.open_record(note)
    own = record["redloom"]
    try:
        plan = NotePlan.from_json(internalised(own["plan"], lambda name: _part(note, name)))
        pictures = tuple(_picture(note, stored) for stored in own["pictures"])
        look = Look(own["look"]["theme"], own["look"]["ratio"])
        cards = tuple((note / name).read_bytes() for name in record["images"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{note} 里的 post.json 或图片不完整，没法在它上面改；请重新生成这篇笔记。",
            f"post.json or a picture in {note} is incomplete, so it cannot be redone; make the note again.",
        ) from error
    if all(value is None for name, value in _described(change).items() if name != "page"):
        raise BadInput(
            "没有说要改什么：用 --text、--prompt、--title 或 --theme。",
            "Nothing to change was named: use --text, --prompt, --title or --theme.",
        )
    if (change.text is not None or change.prompt is not None) and not 1 <= (
        change.page or 0
    ) <= len(cards):
        raise BadInput(
            f"请用 --page 指出第几张（1 到 {len(cards)}）。",
            f"Name a card with --page (1 to {len(cards)}).",
        )
    drawn = draw(plan, usable(pictures), look)
    return _State(record, plan, pictures, look, cards, tuple(record["images"]), drawn)


def _part(note: Path, name: object) -> bytes:
    """A file of the note's own. Raises ValueError for a name that leads out of its folder."""
    if not folder.inside(name):
        raise ValueError("the record names a file outside of the note")
    return (note / str(name)).read_bytes()


def _picture(note: Path, stored: dict[str, Any]) -> Illustrated:
    data = _part(note, stored["file"]) if stored["file"] else None
    error = Text(*stored["error"]) if stored["error"] else None
    return Illustrated(stored["row"], stored["ok"], data, stored["record"], error)


def _asked(state: _State, change: Change) -> _State:
    """The state with the new words and theme, not yet drawn."""
    plan, look = state.plan, state.look
    if change.theme is not None:
        look = replace(look, theme=change.theme)
    if change.title is not None:
        plan = retitled(plan, change.title)
    if change.body is not None:
        plan = plan.model_copy(update={"body": change.body})
    if change.tags is not None:
        plan = plan.model_copy(update={"tags": change.tags})
    if change.cover is not None:
        state, plan = _covered(state, plan, change.cover)
    if change.text is not None and change.page is not None:
        plan = _reworded(state, plan, change.page, change.text)
    return replace(state, plan=plan, look=look)


def retitled(plan: NotePlan, title: str) -> NotePlan:
    """The plan with ``title`` first and on the cover, exactly as typed. Raises BadInput if blank."""
    title = title.strip()
    if not title:
        raise BadInput("标题不能为空。", "The title is empty.")
    others = tuple(one for one in plan.titles if squeezed(one.text) != squeezed(title))
    cover = plan.cover.model_copy(update={"title": title})
    return plan.model_copy(update={"titles": (Title(text=title), *others)[:5], "cover": cover})


def _covered(state: _State, plan: NotePlan, row: int) -> tuple[_State, NotePlan]:
    """Picture ``row`` and the cover's change places, words and all. Raises BadInput."""
    first = next((at for at, one in enumerate(plan.prompts) if one.purpose == "cover"), None)
    made = {one.row: one for one in state.pictures if one.ok}
    if first is None or row not in made or not 1 <= row <= len(plan.prompts):
        raise BadInput(
            f"没有第 {row} 幅做好的配图可以放上封面。",
            f"There is no finished picture {row} to put on the cover.",
        )
    here, there = plan.prompts[first], plan.prompts[row - 1]
    prompts = _with(plan.prompts, first, here.model_copy(update={"prompt": there.prompt}))
    prompts = (
        _with(prompts, row - 1, there.model_copy(update={"prompt": here.prompt}))
        if row - 1 != first
        else prompts
    )
    places = {first + 1: row, row: first + 1}
    pictures = tuple(replace(one, row=places.get(one.row, one.row)) for one in state.pictures)
    ordered = tuple(sorted(pictures, key=lambda one: one.row))
    return replace(state, pictures=ordered), plan.model_copy(update={"prompts": prompts})


def card_markdown(note: Path, page: int) -> tuple[str, tuple[Block, ...], str, str]:
    """Card ``page`` as it is edited: its kind, its blocks or (cover, closing, picture) its text,
    and its picture's words. For a thread. Raises BadInput where there is no such note or page.
    """
    state = _read(note, Change(page=page, prompt=""))
    card, shown = state.drawn.cards[page - 1], state.drawn.shows[page - 1]
    plan = state.plan
    prompt = "" if shown is None else plan.prompts[shown].prompt
    if card.kind == "cover":
        return "cover", (), f"{plan.cover.title}\n{plan.cover.subtitle}".strip(), prompt
    if card.kind == "closing":
        return "closing", (), plan.closing, prompt
    if shown is not None:
        return "picture", (), plan.prompts[shown].caption, prompt
    return "page", tuple(state.drawn.blocks[page - 1]), "", prompt


def _reworded(state: _State, plan: NotePlan, page: int, text: str) -> NotePlan:
    """The plan with card ``page`` saying ``text``. On a cover the first line is its title, the
    rest its subtitle; a page's cuts are fixed first, so that its neighbours stay as they are."""
    if not squeezed(text):
        raise BadInput("新文字是空的。", "The new text is empty.")
    card = state.drawn.cards[page - 1]
    if card.kind == "cover":
        first, _, rest = text.strip().partition("\n")
        cover = {
            "title": first.strip().lstrip("# "),
            "subtitle": " ".join(rest.split()) or plan.cover.subtitle,
        }
        return plan.model_copy(update={"cover": plan.cover.model_copy(update=cover)})
    if card.kind == "closing":
        return plan.model_copy(update={"closing": text.strip()})
    shown = state.drawn.shows[page - 1]
    if shown is not None:
        prompt = plan.prompts[shown].model_copy(update={"caption": text.strip()})
        return plan.model_copy(update={"prompts": _with(plan.prompts, shown, prompt)})
    return _paged(state, plan, page, markdown.parse(text))


def _with(
    prompts: Sequence[PicturePrompt], index: int, prompt: PicturePrompt
) -> tuple[PicturePrompt, ...]:
    return (*prompts[:index], prompt, *prompts[index + 1 :])


def _paged(state: _State, plan: NotePlan, page: int, blocks: Sequence[Block]) -> NotePlan:
    """The plan with every page's cut written down and card ``page`` holding ``blocks``."""
    out: list[Block] = []
    breaks: list[int] = []
    moved: dict[int, int] = {}
    for at, (card, mine) in enumerate(zip(state.drawn.cards, state.drawn.blocks, strict=True)):
        shown = state.drawn.shows[at]
        if card.kind != "page":
            continue
        if shown is not None:
            moved[shown] = len(out)
            continue
        breaks += [len(out)] if out else []
        out += blocks if at == page - 1 else mine
    prompts = tuple(
        one.model_copy(update={"before": min(moved.get(at, one.before), len(out))})
        for at, one in enumerate(plan.prompts)
    )
    cuts = tuple(at for at in breaks if not isinstance(out[at], Figure))
    return plan.model_copy(update={"blocks": tuple(out), "page_breaks": cuts, "prompts": prompts})


def _reference(note: Path, state: _State, row: int) -> bytes | None:
    """What picture ``row`` of a consistent note is drawn after: the same picture as before, even
    where the cover has another one by now. None for the first picture itself. For a thread.
    """
    first = next((at for at, one in enumerate(state.plan.prompts) if one.purpose == "cover"), 0)
    if not state.record["redloom"]["settings"].get("consistent") or row == first + 1:
        return None
    ranked = sorted(state.pictures, key=lambda one: one.row != row)
    known = (one.record.get("reference_sha256") for one in ranked)
    sha = next((one for one in known if one), None)
    kept = folder.picture_by_digest(note, sha) if sha else None
    return kept or usable(state.pictures).get(first)


async def _painted(
    note: Path, state: _State, change: Change, illustrate: Illustrator | None
) -> _State:
    """The state with a new picture on card ``change.page``. Raises what the service said."""
    page = change.page or 1
    if illustrate is None:
        raise BadInput(
            "重画配图需要一个画图服务；请先配置密钥，或用 --text 只改文字。",
            "A new picture needs an image service: set up a key, or change only words with --text.",
        )
    index, plan = _prompt_of(state, page, change.prompt or "")
    one = plan.prompts[index]
    shown = await offload(_reference, note, state, index + 1)
    wanted = PictureWanted(index + 1, one.purpose, one.prompt, state.look.ratio, reference=shown)
    made = opened(await illustrate([wanted]))
    got = next((picture for picture in made if picture.row == index + 1), None)
    if got is None or not got.ok or got.data is None:
        why = (got.error if got else None) or Text("原因不明", "for an unknown reason")
        raise RedloomError(
            f"第 {page} 张的配图没有画成（{why.zh.rstrip('。')}）；笔记没有改动。",
            f"The picture of card {page} was not made ({why.en.rstrip('.')}); the note is as it was.",
        )
    others = tuple(picture for picture in state.pictures if picture.row != index + 1)
    ordered = tuple(sorted((*others, got), key=lambda picture: picture.row))
    return replace(state, plan=plan, pictures=ordered)


def _prompt_of(state: _State, page: int, words: str) -> tuple[int, NotePlan]:
    """The prompt whose picture card ``page`` shows or shall show, with new ``words`` if any."""
    plan = state.plan
    index = state.drawn.shows[page - 1]
    if index is None and state.drawn.cards[page - 1].kind == "cover":
        index = next((at for at, one in enumerate(plan.prompts) if one.purpose == "cover"), None)
    if index is None:
        raise BadInput(
            f"第 {page} 张是文字卡，没有配图；--prompt 只用于封面和配图页。",
            f"Card {page} is text and has no picture; --prompt is for the cover and picture pages.",
        )
    prompt = plan.prompts[index]
    if words.strip():
        prompt = prompt.model_copy(update={"prompt": words.strip()})
    return index, plan.model_copy(update={"prompts": _with(plan.prompts, index, prompt)})


def _made(state: _State, asked: _State, change: Change, label: Label, made_at: str | None) -> Any:
    drawn = draw(asked.plan, usable(asked.pictures), asked.look)
    only_page = change.theme is None and change.title is None and change.page is not None
    kept: set[int] = set()
    if change.theme is None:
        kept = _unchanged(state, drawn, change, only_page)
    own = state.record["redloom"]
    what = {key: value for key, value in _described(change).items() if value is not None}
    note = Note(
        drawn=drawn,
        look=asked.look,
        source=own["source"],
        settings=own["settings"],
        writer=own["writer"],
        pictures=asked.pictures,
        versions=[*own["versions"], {"made_at": made_at, "what": "redone"} | what],
        kept={at: state.cards[at] for at in kept},
        kept_names={at: state.names[at] for at in kept},
    )
    return bundle(note, label)


def _described(change: Change) -> dict[str, Any]:
    names = ("page", "text", "prompt", "title", "theme", "cover", "body", "tags")
    return {key: getattr(change, key) for key in names}


def _unchanged(state: _State, drawn: Drawn, change: Change, only_page: bool) -> set[int]:
    """Which cards stay as they are on disk. Raises BadInput where new words need more cards."""
    if len(drawn.cards) != len(state.cards):
        if only_page and change.text is not None:
            raise _does_not_fit(drawn, change)
        return set()
    changed = {change.page - 1} if change.page is not None else set()
    changed |= {0} if change.title is not None or change.tags is not None else set()
    if change.cover is not None:
        changed |= {0, *(at for at, shown in enumerate(drawn.shows) if shown == change.cover - 1)}
    if change.tags is not None:
        changed |= {at for at, card in enumerate(drawn.cards) if card.kind == "closing"}
    return set(range(len(drawn.cards))) - changed


def _does_not_fit(drawn: Drawn, change: Change) -> BadInput:
    fits = utf16_length(drawn.cards[(change.page or 1) - 1].text)
    length = utf16_length(change.text or "")
    return BadInput(
        f"第 {change.page} 张放不下这 {length} 字，一张约能放 {fits} 字；请删短一些，或分给相邻的一张；"
        "要多一张，就改故事再运行 redloom note（文字卡不花钱，同样的图不再付钱）。笔记没有改动。",
        f"Card {change.page} cannot hold these {length} characters, about {fits} fit; shorten them, or move some to the next card. "
        "For one card more, change the story and run redloom note again (text cards are free, the same pictures are not paid for again). The note is as it was.",
    )
