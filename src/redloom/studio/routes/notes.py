"""Notes: plan, make, edit, take away.

May import: see `routes`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from redloom.clock import offload
from redloom.money import Estimate
from redloom.note.export import export_note, zip_bytes
from redloom.note.folder import HISTORY, RECORD, record_of
from redloom.note.make import with_pictures
from redloom.note.plan import NotePlan
from redloom.note.redo import Change, card_markdown
from redloom.note.source import parse_source
from redloom.note.writer import Wish
from redloom.note.writer_local import LocalWriter
from redloom.prompt import Prompt
from redloom.studio.feed import ROOT, Looked, frame
from redloom.studio.forms import (
    CoverForm,
    NoteForm,
    OutlineForm,
    PageForm,
    PlanForm,
    PostForm,
    RethemeForm,
    RetitleForm,
    listed,
)
from redloom.studio.guard import SHUT
from redloom.studio.house import Here, House, There, Who
from redloom.studio.orders import dearest, once
from redloom.studio.outline import markdown_of, outline_json, plan_of
from redloom.studio.pictures import thumb_of_file
from redloom.studio.problems import not_found, wrong
from redloom.studio.routes.runs import check_streams
from redloom.studio.streams import EVENTS, Events
from redloom.studio.uploads import estimate_json
from redloom.typeset.theme import themes

router = APIRouter(prefix="/api/notes", tags=["notes"])
Json = dict[str, Any]
Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]
_KINDS = {
    ".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif",
    ".html": "text/html; charset=utf-8", ".json": "application/json", ".jsonl": "application/jsonl",
    ".txt": "text/plain; charset=utf-8",
}  # fmt: skip


@router.post("/plan")
async def plan(form: PlanForm, house: Here) -> Json:
    """What the note would be, by the local writer; free, and nothing is kept."""
    await _check_theme(form.theme)
    lives = _painters(house, listed(form.endpoint)) if not form.offline else []
    source = await offload(parse_source, form.story.encode("utf-8", "replace"), "story.md")
    wish = Wish(form.style, form.pages, form.author)
    written = await LocalWriter().write(source, wish)
    theme, ratio = form.theme or "paper", form.ar
    planned = with_pictures(written.plan, form.images if lives else 0)
    shown = await offload(outline_json, planned, theme, ratio, form.pages)
    wanted = planned.prompts
    prompts = [Prompt(one.prompt, size=ratio) for one in wanted]
    each = [(lives[0].endpoint.model, dearest(lives, prompt, {})) for prompt in prompts]
    cards = 1 + len(shown["pages"]) + bool(shown["closing"]) + max(0, len(wanted) - 1)
    estimate = {**estimate_json(Estimate.of(each)), "pictures": len(wanted)}
    return {"outline": shown, "cards": min(18, cards), "estimate": estimate,
            "warnings": [str(text) for text in (*source.warnings, *written.warnings)]}  # fmt: skip


def _painters(house: House, named: list[str]) -> list[Any]:
    """The endpoints that would paint; none where there are cards only."""
    if named:
        return list(house.lives_for(named, ""))
    if not any(live.capabilities.made_by_model for live in house.engine.lives):
        return []
    return list(house.lives_for([], ""))


async def _check_theme(name: str) -> None:
    """Only themes by name: a path would be read. Raises Problem 422."""
    if name and name not in {one.name for one in await offload(themes)}:
        raise wrong("theme", f"没有叫“{name}”的主题。", f"There is no theme “{name}”.")


@router.post("", status_code=202)
async def add(
    form: NoteForm, house: Here, caller: Who, there: There, idempotency_key: Key = None
) -> Json:
    """Make a note of a story, or first its outline."""
    await _check_theme(form.theme)
    if listed(form.endpoint):
        house.lives_for(listed(form.endpoint), "")
    hook = house.hooks.check(form.webhook)
    asked = form.model_dump(exclude={"story", "webhook"})
    asked["endpoint"] = listed(form.endpoint)
    house.notes.writer(asked)

    async def make(_take: int | None) -> str:
        return await house.notes.add(caller.name, form.story, asked, hook)

    note = await once(house, caller, idempotency_key, form.model_dump(), make)
    return await _full(house, note, caller.sees, there.root)


@router.get("")
async def history(
    house: Here,
    caller: Who,
    there: There,
    q: Annotated[str, Query(max_length=200)] = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 30,
    before: Annotated[str, Query(max_length=40)] = "",
) -> Json:
    """Notes, newest first; ``q`` looks in titles, body and story."""
    rows = await house.memory.notes(q, caller.sees, before, limit + 1)
    shown = [await house.notes.show.brief(row, there.root) for row in rows[:limit]]
    return {"notes": shown, "next": shown[-1]["id"] if len(rows) > limit else None}


@router.get("/{note}")
async def one(note: str, house: Here, caller: Who, there: There) -> Json:
    """A note."""
    return await _full(house, note, caller.sees, there.root)


@router.delete("/{note}", status_code=204)
async def remove(note: str, house: Here, caller: Who) -> Response:
    """Out of the history."""
    house.notes.must(note, caller.sees)
    await house.notes.remove(note)
    return Response(status_code=204)


@router.put("/{note}/outline")
async def set_outline(note: str, form: OutlineForm, house: Here, caller: Who, there: There) -> Json:
    """The outline as it shall be; while it waits."""
    row = house.notes.must(note, caller.sees)
    if not row["plan"]:
        raise not_found("还没有大纲。", "There is no outline yet.")
    before = NotePlan.from_json(json.loads(row["plan"])["plan"])
    try:
        after = await offload(plan_of, form, before)
    except ValueError as error:
        raise wrong("outline", "大纲里有不能用的内容。", f"The outline cannot be used: {error}") from None  # fmt: skip
    await house.notes.replan(note, after)
    return await _full(house, note, caller.sees, there.root)


@router.post("/{note}/make", status_code=202)
async def make(note: str, house: Here, caller: Who, there: There) -> Json:
    """Go on from the outline, or after a failure: only what is missing is made."""
    house.notes.must(note, caller.sees)
    await house.notes.again(note)
    return await _full(house, note, caller.sees, there.root)


@router.post("/{note}/cancel")
async def cancel(note: str, house: Here, caller: Who, there: There) -> Json:
    """Stop; what is paid for stays."""
    house.notes.must(note, caller.sees)
    await house.notes.cancel(note)
    return await _full(house, note, caller.sees, there.root)


# edits


@router.get("/{note}/pages/{n}")
async def page(note: str, n: int, house: Here, caller: Who) -> Json:
    """One card as it is edited: its Markdown, and its picture's words."""
    house.notes.must(note, caller.sees)
    kind, blocks, text, prompt = await offload(card_markdown, house.notes.folder(note), n)
    return {"n": n, "kind": kind, "markdown": text or markdown_of(blocks), "prompt": prompt}


@router.post("/{note}/pages/{n}", responses={202: {"description": "a picture is being made"}})
async def edit_page(
    note: str, n: int, form: PageForm, house: Here, caller: Who, there: There, response: Response
) -> Json:
    """New words for a card (free), or a new picture."""
    house.notes.must(note, caller.sees)
    if (form.text is None) == (form.prompt is None):
        raise wrong("text", "text 和 prompt 要给一个。", "Give either text or prompt.")
    if form.text is not None:
        await house.notes.change(note, Change(page=n, text=form.text))
    else:
        endpoint = listed(form.endpoint)
        house.lives_for(endpoint, "")
        record = await offload(record_of, house.notes.folder(note))
        if record is not None and not 1 <= n <= len(record["images"]):
            raise wrong("n", f"没有第 {n} 张。", f"There is no card {n}.")
        doing = {"page": n, "prompt": form.prompt, "endpoint": endpoint, "budget": form.budget}
        await house.notes.repaint(note, doing)
        response.status_code = 202
    return await _full(house, note, caller.sees, there.root)


@router.post("/{note}/title")
async def retitle(note: str, form: RetitleForm, house: Here, caller: Who, there: There) -> Json:
    """Another title, on the cover too."""
    return await _changed(house, note, caller.sees, there.root, Change(title=form.title))


@router.post("/{note}/theme")
async def retheme(note: str, form: RethemeForm, house: Here, caller: Who, there: There) -> Json:
    """Another theme for every card."""
    await _check_theme(form.theme)
    return await _changed(house, note, caller.sees, there.root, Change(theme=form.theme))


@router.post("/{note}/cover")
async def choose_cover(note: str, form: CoverForm, house: Here, caller: Who, there: There) -> Json:
    """Another of the note's pictures on the cover."""
    return await _changed(house, note, caller.sees, there.root, Change(cover=form.picture))


@router.post("/{note}/post")
async def edit_post(note: str, form: PostForm, house: Here, caller: Who, there: There) -> Json:
    """The words that are copied."""
    if form.body is None and form.tags is None:
        raise wrong("body", "body 和 tags 至少给一个。", "Give body or tags.")
    tags = None if form.tags is None else tuple(form.tags)
    return await _changed(house, note, caller.sees, there.root, Change(body=form.body, tags=tags))


async def _changed(house: House, note: str, sees: str, root: str, change: Change) -> Json:
    house.notes.must(note, sees)
    await house.notes.change(note, change)
    return await _full(house, note, sees, root)


async def _full(house: House, note: str, sees: str, root: str) -> Json:
    return await house.notes.show.full(house.notes.must(note, sees), root)


# taking away


@router.get("/{note}/files/{name:path}", response_class=Response)
async def file(note: str, name: str, house: Here, caller: Who, thumb: bool = False) -> Response:
    """A file of the note, by the name that its record lists."""
    house.notes.must(note, caller.sees)
    folder = house.notes.folder(note)
    record = await offload(record_of, folder)
    known = {*record["redloom"]["files"], RECORD} if record else set()
    path = folder / name
    if name not in known or name.split("/")[0] == HISTORY or path.suffix not in _KINDS:
        raise not_found("没有这个文件。", "There is no such file.")
    headers = {"Content-Security-Policy": SHUT, "Cache-Control": "private, max-age=31536000"}
    if thumb and path.suffix == ".png":
        mark = next((c["sha256"] for c in record["redloom"]["cards"] if c["file"] == name), None) if record else None  # fmt: skip
        cache = house.root / "served" / "cards" / f"{mark}.webp"
        data = await thumb_of_file(path, cache) if mark else None
        if data is not None:
            return Response(data, media_type="image/webp", headers=headers)
    data = await offload(_bytes, path)
    if data is None:
        raise not_found("没有这个文件。", "There is no such file.")
    return Response(data, media_type=_KINDS[path.suffix], headers=headers)


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


@router.get("/{note}/export.zip", response_class=Response)
async def export_zip(note: str, house: Here, caller: Who) -> Response:
    """The note's folder, without its history."""
    record, folder = await _record(house, note, caller.sees)
    data = await offload(zip_bytes, folder, record)
    headers = {"Content-Disposition": f'attachment; filename="{note}.zip"'}
    return Response(data, media_type="application/zip", headers=headers)


@router.get("/{note}/export.json", response_class=Response)
async def export_json(
    note: str, house: Here, caller: Who, shape: Annotated[str, Query(alias="for")] = "json"
) -> Response:
    """Title, body, tags and pictures; ``for=xiaohongshu-mcp`` with absolute paths (admin only)."""
    _, folder = await _record(house, note, caller.sees)
    if shape not in ("json", "xiaohongshu-mcp") or (shape != "json" and caller.role != "admin"):
        raise wrong("for", "只有 json 和 xiaohongshu-mcp（管理员）。", "There are json and xiaohongshu-mcp (admin).")  # fmt: skip
    target = house.root / "served" / "exports" / f"{note}.{shape}.json"
    written = await offload(lambda: export_note(folder, shape, target, overwrite=True))
    data = await offload(written.read_bytes)
    return Response(data, media_type="application/json")


async def _record(house: House, note: str, sees: str) -> tuple[Json, Path]:
    house.notes.must(note, sees)
    folder = house.notes.folder(note)
    record = await offload(record_of, folder)
    if record is None:
        raise not_found("这篇笔记还没有做好。", "The note is not done yet.")
    return record, folder


@router.get("/{note}/events", response_class=Response, responses=EVENTS)
async def events(note: str, house: Here, caller: Who, there: There) -> Response:
    """What happens to a note, as server-sent events."""
    house.notes.must(note, caller.sees)
    check_streams(house)

    async def snapshot() -> Any:
        row = house.notes.must(note, caller.sees)
        shown = await house.notes.show.watched(row, ROOT)
        return frame("snapshot", {"note": shown, "now": house.now()})

    async def look(needed: bool) -> Looked | None:
        return await house.notes.show.look(note, needed, ROOT)

    return Events(house.feed.note(note, there.root, snapshot, look))
