"""OpenAI's image API: the official client, and what speaks like it, works unchanged.

Shapes from the public API reference (platform.openai.com/docs/api-reference/images). Ours beside
them: ``async``, ``cache``, ``seed``, ``negative_prompt``, Idempotency-Key, and ``error.spent``.

May import: see `routes`.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from redloom.engine import RunOptions
from redloom.job import Request as Wanted
from redloom.job import normal_size, request_of
from redloom.journal import Row
from redloom.lang import Text
from redloom.prompt import Prompt
from redloom.records import Run
from redloom.route import Live
from redloom.studio.callers import Caller
from redloom.studio.feed import HEARTBEAT_S
from redloom.studio.forms import GenerationForm
from redloom.studio.house import Here, House, There, Who
from redloom.studio.orders import Order, dearest, fresh_take, once, place
from redloom.studio.pictures import Wanted as Picture
from redloom.studio.problems import Problem, not_found, wrong
from redloom.studio.references import MOST as MOST_REFERENCES
from redloom.studio.references import take_reference
from redloom.studio.routes.runs import visible
from redloom.studio.streams import Events
from redloom.studio.words import outcome_words

router = APIRouter(prefix="/v1", tags=["openai"])
Json = dict[str, Any]
Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]
PERSON_WAITS = 10
_ANSWER = {
    "created": 1795515300, "data": [{"url": "https://host/pictures/….png", "revised_prompt": "…"}],
    "usage": {"total_tokens": 0, "input_tokens": 0, "output_tokens": 0, "cost": {"amount": 0.2, "currency": "CNY"}},
}  # fmt: skip
_EXAMPLES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"example": _ANSWER}}},
    202: {
        "description": "with `async`: the task",
        "content": {"application/json": {"example": {"id": "20261124-101500-7f3a", "object": "image.task", "status": "queued", "created": 1795515300}}},
    },
}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One request as we carry it out."""

    prompt: str
    model: str = ""
    n: int = 1
    size: str = ""
    seed: int | None = None
    negative: str = ""
    form: str = "url"
    kind: str = ""
    cache: bool = False
    later: bool = False
    references: tuple[str, ...] = ()
    quality: int = 0
    stream: bool = False

    def about(self) -> Json:
        """What a task remembers of how its answer is wanted."""
        return {**self.look(), "form": self.form, "name": self.prompt[:80]}

    def look(self) -> Json:
        """How its files are wanted."""
        return {"kind": self.kind, "quality": self.quality}

    def told(self) -> Json:
        """What an Idempotency-Key stands for; how the answer is sent is no part of it."""
        told = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "stream"}
        if not self.quality:
            del told["quality"]
        return told


# models


@router.get("/models")
async def models(house: Here) -> Json:
    """The models that can be asked for: every endpoint by its name and by its model."""
    return {"object": "list", "data": [_model(name, live) for name, live in _names(house)]}


@router.get("/models/{name:path}")
async def model(name: str, house: Here) -> Json:
    """One model."""
    found = next((_model(known, live) for known, live in _names(house) if known == name), None)
    if found is None:
        raise not_found(f"没有模型“{name}”。", f"There is no model “{name}”.", "model_not_found")
    return found


def _names(house: House) -> list[tuple[str, Live]]:
    found: dict[str, Live] = {}
    lives = sorted(house.engine.lives, key=lambda live: live.name != house.default)
    for live in lives:
        found.setdefault(live.endpoint.model or live.name, live)
    for live in lives:
        found.setdefault(live.name, live)
    return list(found.items())


def _model(name: str, live: Live) -> Json:
    return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": live.endpoint.provider}  # fmt: skip


# pictures


@router.post("/images/generations", responses=_EXAMPLES)
async def generations(
    form: GenerationForm, house: Here, caller: Who, there: There, idempotency_key: Key = None
) -> Response:
    """Make pictures of a prompt: fresh ones, unless ``cache`` or an Idempotency-Key says otherwise."""
    call = _call(form)
    return await _answer(house, caller, call, there.root, idempotency_key)


@router.post(
    "/images/edits",
    responses=_EXAMPLES,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["image", "prompt"],
                        "properties": {
                            "image": {"type": "array", "maxItems": 16, "items": {"type": "string", "format": "binary"}},
                            "mask": {"type": "string", "format": "binary"},
                            "prompt": {"type": "string", "maxLength": 20000}, "model": {"type": "string"},
                            "n": {"type": "integer", "minimum": 1, "maximum": 10}, "size": {"type": "string"},
                            "response_format": {"type": "string", "enum": ["url", "b64_json"]},
                            "output_format": {"type": "string", "enum": ["png", "jpeg", "webp"]},
                            "output_compression": {"type": "integer", "minimum": 0, "maximum": 100},
                            "stream": {"type": "boolean"},
                        },
                    }
                }
            },
        }
    },
)  # fmt: skip
async def edits(
    request: Request, house: Here, caller: Who, there: There, idempotency_key: Key = None
) -> Response:
    """Make pictures from pictures: up to 16 references, and a mask."""
    async with request.form(max_files=MOST_REFERENCES + 1, max_fields=50) as form:
        call = await _edit(house, form)
    return await _answer(house, caller, call, there.root, idempotency_key)


async def _edit(house: House, form: FormData) -> Call:
    files = [one for name in ("image", "image[]") for one in form.getlist(name)]
    files += form.getlist("mask")
    uploads = [one for one in files if isinstance(one, UploadFile)]
    if not uploads or len(uploads) != len(files):
        raise wrong("image", "缺少 image 文件。", "The file “image” is missing.", "missing_image")
    told = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    told = {name: value for name, value in told.items() if value}
    try:
        fields = GenerationForm.model_validate(told)
    except ValidationError as error:
        raise wrong("prompt", f"表单不对：{_first(error)}", f"The form is wrong: {_first(error)}") from None  # fmt: skip
    lives = house.lives_for([], fields.model or "")
    most = max(live.capabilities.references for live in lives)
    if len(uploads) > most:
        raise Problem(
            400, "references_not_supported",
            Text(
                f"{lives[0].name} 最多收 {most} 张参考图，这里有 {len(uploads)} 张。没有花钱。",
                f"{lives[0].name} takes {most} reference pictures at most, these are {len(uploads)}. Nothing was spent.",
            ),
            param="image",
        )  # fmt: skip
    most_bytes = house.options.picture_bytes + 1
    references = [await take_reference(house, await one.read(most_bytes)) for one in uploads]
    return _call(fields, tuple(references))


def _call(form: GenerationForm, references: tuple[str, ...] = ()) -> Call:
    kind = _kind(form.output_format)
    asked = form.output_compression
    quality = 0 if asked is None or kind == "png" else max(1, asked)
    return Call(
        form.prompt, form.model or "", form.n or 1, _size(form.size), form.seed,
        form.negative_prompt or "", form.response_format or "url", kind,
        form.cache, form.is_async, references, quality, bool(form.stream),
    )  # fmt: skip


def _first(error: ValidationError) -> str:
    one = error.errors()[0]
    return f"{'.'.join(map(str, one['loc']))}: {one['msg']}"


def _size(text: str | None) -> str:
    return "" if text is None or text.strip().lower() in ("", "auto") else normal_size(text)


def _kind(text: str | None) -> str:
    return {"jpeg": "jpg", None: ""}.get(text, text or "")


async def _answer(house: House, caller: Caller, call: Call, root: str, key: str | None) -> Response:
    if not call.prompt.strip():
        raise wrong("prompt", "提示词是空的。", "The prompt is empty.")
    lives = house.lives_for([], call.model)
    if call.cache and not key and not call.later and not call.stream:
        kept = await _kept(house, call, lives)
        if kept is not None:
            return JSONResponse(await _body(house, call.form, call.look(), kept, root, {}))

    async def make(take: int | None) -> str:
        return await _begin(house, caller, call, lives, take)

    run = await once(house, caller, key, call.told(), make)
    if call.later:
        return JSONResponse(await _task(house, run, root), 202)
    if call.stream:
        kind = "image_edit" if call.references else "image_generation"
        return Events(_streamed(house, run, root, f"{kind}.completed"))
    await house.attendants.until_over(run)
    return JSONResponse(await _finished(house, run, root))


async def _begin(
    house: House, caller: Caller, call: Call, lives: Sequence[Live], take: int | None
) -> str:
    options = _options(call, lives, 1 if call.cache and take is None else take or fresh_take())
    prompt = Prompt(call.prompt, references=call.references)
    price = dearest(lives, prompt, {"size": call.size})
    order = Order(
        prompts=[prompt], pictures=call.n, price=price, lives=lives, options=options, kind="api",
        caller=caller, name=call.prompt[:80], about=call.about(), priority=PERSON_WAITS,
        in_folder=False,
    )  # fmt: skip
    return await place(house, order)


def _options(call: Call, lives: Sequence[Live], take: int) -> RunOptions:
    models = {live.endpoint.model for live in lives}
    return RunOptions(
        model=call.model if call.model in models else "", size=call.size, seed=call.seed,
        negative=call.negative, n=call.n, take=take,
    )  # fmt: skip


async def _kept(house: House, call: Call, lives: Sequence[Live]) -> list[tuple[str, str, str]] | None:  # fmt: skip
    """Digest, format and revised words of all pictures asked for, if the store has them all."""
    options = _options(call, lives, 1)
    prompt = Prompt(call.prompt, references=call.references)
    found = []
    for take in range(1, call.n + 1):
        wanted: Wanted = request_of(prompt, take=take, **options.of_run())
        if call.seed is not None and take > 1:
            return None
        row = await house.engine.records.image(wanted.key)
        if row is None:
            return None
        about = json.loads(row["about"])
        found.append((row["sha256"], row["format"], about.get("revised_prompt", "")))
    return found


# answers


async def _streamed(house: House, run: str, root: str, event: str) -> AsyncIterator[bytes]:
    """The answer as events: comments while it is made, then each picture (base64), or an error."""
    work = asyncio.ensure_future(house.attendants.until_over(run))
    try:
        while not (await asyncio.wait({work}, timeout=HEARTBEAT_S))[0]:
            yield b": still here\n\n"
        work.result()
    finally:
        work.cancel()
    try:
        body = await _finished(house, run, root, form="b64_json")
    except Problem as problem:
        yield _event("error", {"type": "error", **json.loads(bytes(problem.response().body))})
        return
    for one in body["data"]:
        yield _event(event, {"type": event, "created_at": body["created"], **one, "usage": body["usage"]})  # fmt: skip


def _event(name: str, data: Json) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


async def _finished(house: House, run: str, root: str, form: str = "") -> Json:
    """The answer for a run that is over. Raises Problem where it has no picture at all."""
    rows = await house.engine.records.rows(run, (0, 0), 100)
    good = [row for row in rows if row["status"] in ("ok", "duplicate") and row["image"]]
    asked = house.memory.asked(run)
    about = json.loads(asked["about"]) if asked else {}
    if not good:
        record = await house.engine.records.run(run)
        raise _problem(rows[0] if rows else None, record)
    kept = [(row["image"], _format(row), _revised(row)) for row in good]
    spending = await house.engine.records.spending(run)
    cost = next(({"amount": round(s, 6), "currency": c} for c, s in spending.billed.items() if c), None)  # fmt: skip
    form = form or about.get("form", "url")
    body = await _body(house, form, about, kept, root, {"cost": cost} if cost else {})
    if len(good) < len(rows):
        body["errors"] = [
            {"index": at, "status": row["status"], "code": row["code"],
             "message": outcome_words(row["status"], row["code"], row["error"])}
            for at, row in enumerate(rows) if row not in good
        ]  # fmt: skip
    return body


def _format(row: Row) -> str:
    return str(json.loads(row["about"] or "{}").get("format", "")) or "png"


def _revised(row: Row) -> str:
    return str(json.loads(row["about"] or "{}").get("revised_prompt", ""))


async def _body(
    house: House, form: str, look: Json, kept: Sequence[tuple[str, str, str]], root: str, cost: Json
) -> Json:
    data = []
    quality = int(look.get("quality", 0))
    for sha256, native, revised in kept:
        one: Json = {}
        wanted = look.get("kind") or {"jpeg": "jpg"}.get(native, native)
        if form == "b64_json":
            found = await house.pictures.bytes_of(
                Picture(sha256, wanted, quality=quality if wanted != "png" else 0)
            )
            one["b64_json"] = base64.b64encode(found or b"").decode()
        else:
            one["url"] = root + house.pictures.path(sha256, wanted, quality=quality)
        if revised:
            one["revised_prompt"] = revised
        data.append(one)
    usage = {
        "total_tokens": 0, "input_tokens": 0, "output_tokens": 0,
        "input_tokens_details": {"text_tokens": 0, "image_tokens": 0}, **cost,
    }  # fmt: skip
    return {"created": int(house.now()), "data": data, "usage": usage}


def _problem(row: Row | None, run: Run | None) -> Problem:
    """Why there is no picture, in OpenAI's words."""
    if row is None or row["status"] == "pending":
        waits = run.note if run is not None else ""
        text = Text(
            f"还没有做成，在等人处理：{waits or '批次已停'}。",
            f"Not made; it waits for a person: {waits or 'the run was stopped'}.",
        )
        return Problem(503, "waiting", text, kind="server_error", headers={"Retry-After": "60"})
    said, code = outcome_words(row["status"], row["code"], row["error"]).text, row["code"]
    status, kind, named, spent = {
        "refused": (400, "image_generation_user_error", "content_policy_violation", "no"),
        "invalid": (400, "invalid_request_error", code or "invalid", "no"),
        "unpaid": (402, "insufficient_quota", "insufficient_quota", "no"),
        "cancelled": (409, "invalid_request_error", "cancelled", "no"),
        "in-doubt": (504, "server_error", "in_doubt", "maybe"),
    }.get(row["status"], (502, "server_error", code or "failed", "no"))
    return Problem(status, named, said, kind=kind, spent=spent)


# tasks


@router.get("/images/tasks/{task}")
async def task(task: str, house: Here, caller: Who, there: There) -> Json:
    """How far an asynchronous call has come, and its pictures."""
    run = await visible(house, caller, task)
    if run.kind != "api":
        raise not_found("没有这个任务。", "There is no such task.")
    return await _task(house, task, there.root)


@router.delete("/images/tasks/{task}")
async def cancel_task(task: str, house: Here, caller: Who, there: There) -> Json:
    """Give up what is not paid for yet."""
    run = await visible(house, caller, task)
    if run.kind != "api":
        raise not_found("没有这个任务。", "There is no such task.")
    await house.engine.cancel(task)
    house.feed.changed(task)
    return await _task(house, task, there.root)


async def _task(house: House, run: str, root: str) -> Json:
    record = await house.engine.records.run(run)
    assert record is not None
    rows = await house.engine.records.rows(run, (0, 0), 100)
    shown: Json = {"id": run, "object": "image.task", "created": int(record.created),
                   "status": await _status(house, record, rows), "error": None}  # fmt: skip
    if shown["status"] not in ("queued", "in_progress"):
        try:
            shown |= await _finished(house, run, root)
        except Problem as problem:
            shown["error"] = json.loads(bytes(problem.response().body))["error"]
    return shown


async def _status(house: House, run: Run, rows: Sequence[Row]) -> str:
    states = {row["status"] for row in rows}
    if not run.complete or ("pending" in states and run.state == "open" and not run.note):
        live = await house.engine.records.live_of_run(run.id)
        return "in_progress" if live or states - {"pending"} else "queued"
    if "pending" in states and run.state == "paused":
        return "queued"
    if states & {"ok", "duplicate"}:
        return "completed"
    return "cancelled" if "cancelled" in states or run.state == "cancelled" else "failed"
