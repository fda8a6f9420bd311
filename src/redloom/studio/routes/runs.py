"""Runs: begin, list, look into, control, take away.

May import: see `routes`.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from redloom.clock import offload
from redloom.endpoint import Price
from redloom.engine import RunOptions
from redloom.errors import RedloomError
from redloom.job import normal_size
from redloom.lang import Text
from redloom.manifest import write_manifests
from redloom.prompt import EMPTY, Prompt
from redloom.records import Run
from redloom.route import Live
from redloom.studio.archive import zipped
from redloom.studio.callers import Caller
from redloom.studio.feed import mark_of
from redloom.studio.forms import PriorityForm, PromptItem, RunForm, listed
from redloom.studio.guard import SHUT
from redloom.studio.house import Here, House, There, Who
from redloom.studio.memory import Listing
from redloom.studio.orders import Order, dearest, fresh_take, once, place, preferred
from redloom.studio.problems import Problem, not_found, wrong
from redloom.studio.streams import EVENTS, Events

router = APIRouter(tags=["runs"])
Json = dict[str, Any]
PART_BYTES = 1 << 18
BAD = ("invalid", "refused", "failed", "in-doubt", "cancelled", "unpaid")
Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]
Take = Annotated[int, Query(ge=1, le=10**6)]


@router.post("/api/runs", status_code=202)
async def begin(
    form: RunForm, house: Here, caller: Who, there: There, idempotency_key: Key = None
) -> Json:
    """Begin a run of prompts, or of an upload's."""

    async def make(take: int | None) -> str:
        return await _begin(house, caller, form, take)

    run = await once(house, caller, idempotency_key, form.model_dump(), make)
    return await _shown(house, run, there.root)


async def _begin(house: House, caller: Caller, form: RunForm, take: int | None) -> str:
    lives = await preferred(house, house.lives_for(listed(form.endpoint), form.model), form.prefer)
    for name in form.fallback:
        house.lives_for([name], "")
    options = RunOptions(
        model=form.model if form.model in {live.endpoint.model for live in lives} else "",
        size=_size(form.size or form.ar), seed=form.seed, negative=form.negative, n=form.n,
        take=(take or fresh_take()) if form.fresh else 1, retries=form.retries,
        in_doubt=form.in_doubt, fallback=tuple(form.fallback),
        delivery={"format": form.format} if form.format else {},
    )  # fmt: skip
    prompts = await _prompts(house, form)
    pictures, price = await offload(_measured, prompts, lives, options)
    if not pictures:
        raise wrong("prompts", "没有可做的提示词。", "There is no prompt that could be made.")
    order = Order(
        prompts=prompts, pictures=pictures, price=price, lives=lives, options=options,
        kind="studio", caller=caller, name=form.name, budget=form.budget, currency=form.currency,
        priority=form.priority, webhook=form.webhook,
    )  # fmt: skip
    return await place(house, order)


async def _prompts(house: House, form: RunForm) -> list[Prompt]:
    if form.upload:
        upload = house.uploads.get(form.upload)
        found = house.uploads.prompts(upload, form.mapping)
        return await offload(lambda: list(found))
    return [_prompt(one) for one in form.prompts]


def _prompt(one: str | PromptItem) -> Prompt:
    if isinstance(one, str):
        one = PromptItem(prompt=one)
    problem = "" if one.prompt.strip() else str(EMPTY)
    return Prompt(
        one.prompt, id=one.id, n=one.n, size=_size(one.size), seed=one.seed, negative=one.negative,
        model=one.model, problem=problem,
    )  # fmt: skip


def _size(text: str) -> str:
    """A size as the journal has it; ``auto`` is none. Raises BadInput."""
    return "" if text.strip().lower() in ("", "auto") else normal_size(text)


def _measured(
    prompts: Sequence[Prompt], lives: Sequence[Live], options: RunOptions
) -> tuple[int, Price]:
    """How many pictures, and the dearest price of one: what the run may come to."""
    pictures, seen = 0, {}
    for prompt in prompts:
        if not prompt.problem:
            pictures += prompt.n if prompt.n > 1 else options.n
            if (at := (prompt.size, prompt.model)) not in seen:
                able = [live for live in lives if prompt.model in ("", live.endpoint.model)]
                seen[at] = dearest(able or lives, prompt, {"size": options.size})
    found = list(seen.values())
    if any(price.amount is None for price in found):
        return pictures, Price(None, "", "unknown")
    return pictures, max(found, key=lambda p: p.amount or 0.0, default=Price(0.0, "", "reported"))


@router.get("/api/runs")
async def runs(
    house: Here,
    caller: Who,
    there: There,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[str, Query(max_length=60)] = "",
    state: Annotated[str, Query(max_length=200)] = "",
    kind: Annotated[str, Query(max_length=200)] = "",
    q: Annotated[str, Query(max_length=200)] = "",
) -> Json:
    """Runs of all processes that share the workspace, newest first."""
    wanted = Listing(before, caller.sees, _words(state), _words(kind), q, limit + 1)
    found = await house.memory.runs(wanted)
    shown = await house.show.runs(found[:limit], there.root)
    return {"runs": shown, "next": shown[-1]["id"] if len(found) > limit else None}


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


@router.get("/api/runs/{run}")
async def one_run(run: str, house: Here, caller: Who, there: There) -> Json:
    """One run."""
    return await _shown(house, (await visible(house, caller, run)).id, there.root)


@router.get("/api/runs/{run}/rows")
async def rows(
    run: str,
    house: Here,
    caller: Who,
    there: There,
    status: Annotated[str, Query(max_length=200)] = "",
    offset: Annotated[int, Query(ge=0, le=10**7)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 200,
    q: Annotated[str, Query(max_length=200)] = "",
) -> Json:
    """Rows in input order; ``status=bad`` is all that did not become a picture."""
    await visible(house, caller, run)
    statuses = BAD if status == "bad" else _words(status)
    found, total = await house.memory.rows(run, statuses, q, offset, limit)
    return {
        "rows": await house.show.rows(run, found, there.root),
        "total": total,
        "offset": offset,
    }


@router.get("/api/runs/{run}/rows/{row}")
async def one_row(
    run: str, row: int, house: Here, caller: Who, there: There, take: Take = 1
) -> Json:
    """One row."""
    await visible(house, caller, run)
    found = await house.memory.row(run, _sane(row), take)
    if found is None:
        raise not_found("没有这一行。", "There is no such row.")
    return (await house.show.rows(run, [found], there.root))[0]


@router.get("/api/runs/{run}/images/{row}", response_class=Response)
async def image(
    run: str, row: int, house: Here, caller: Who, take: Take = 1, thumb: bool = False
) -> Response:
    """A row's picture."""
    await visible(house, caller, run)
    found = await house.memory.row(run, _sane(row), take)
    shown = None if found is None else house.show.picture(found, "")
    wanted = None
    if shown is not None:
        wanted = house.pictures.wanted(shown["thumb" if thumb else "url"].rpartition("/")[2])
    data = None if wanted is None else await house.pictures.bytes_of(wanted)
    if data is None or wanted is None:
        raise not_found("这一行还没有图。", "This row has no picture.")
    kind = "image/jpeg" if wanted.kind == "jpg" else f"image/{wanted.kind}"
    return Response(data, media_type=kind, headers={"Content-Security-Policy": SHUT})


def _sane(row: int) -> int:
    """A row's number that the database can hold."""
    return row if 0 < row < 2**62 else 0


# control


@router.post("/api/runs/{run}/pause")
async def pause(run: str, house: Here, caller: Who, there: There) -> Json:
    """Buy nothing more; what is paid for is finished."""
    await visible(house, caller, run)
    if not await house.engine.pause(run):
        raise _wrong_state("没有在进行，不能暂停。", "It is not open, so it cannot be paused.")
    return await _after(house, run, there.root)


@router.post("/api/runs/{run}/resume")
async def resume(run: str, house: Here, caller: Who, there: There) -> Json:
    """Carry it on from here."""
    await _take_over(house, await visible(house, caller, run))
    await house.engine.resume(run)
    house.attendants.attend(run)
    return await _after(house, run, there.root)


@router.post("/api/runs/{run}/cancel")
async def cancel(run: str, house: Here, caller: Who, there: There) -> Json:
    """Give up what is not paid for yet."""
    await visible(house, caller, run)
    if not await house.engine.cancel(run):
        raise _wrong_state("已经结束，没有可取消的。", "It is over; there is nothing to cancel.")
    return await _after(house, run, there.root)


@router.post("/api/runs/{run}/retry")
async def retry(run: str, house: Here, caller: Who, there: There) -> Json:
    """Take up again what did not become a picture."""
    await _take_over(house, await visible(house, caller, run))
    await house.engine.retry(run)
    house.attendants.attend(run)
    return await _after(house, run, there.root)


@router.post("/api/runs/{run}/priority")
async def priority(run: str, form: PriorityForm, house: Here, caller: Who, there: There) -> Json:
    """Higher goes first."""
    await visible(house, caller, run)
    await house.engine.records.set_priority(run, form.priority)
    return await _after(house, run, there.root)


async def _take_over(house: House, run: Run) -> None:
    """Refuse to carry what another living process carries, or what we have no endpoint for."""
    ours = run.owner == house.engine.workspace.token
    if run.state == "open" and not ours and house.engine.workspace.lives(run.owner):
        raise _wrong_state("另一个进程正在做它。", "Another process is at work on it.")
    names = {live.name for live in house.engine.lives}
    if not names & set(run.environment.get("places", {})):
        raise _wrong_state(
            "这里没有它用的端点（或缺密钥）。", "This server has none of its endpoints (or no key)."
        )


async def _after(house: House, run: str, root: str) -> Json:
    house.feed.changed(run)
    return await _shown(house, run, root)


def _wrong_state(zh: str, en: str) -> Problem:
    return Problem(409, "wrong_state", Text(zh, en))


async def visible(house: House, caller: Caller, run: str) -> Run:
    """A run that this caller may see. Raises Problem 404."""
    found = await house.engine.records.run(run)
    if found is not None and caller.sees:
        asked = house.memory.asked(run)
        found = found if asked is not None and asked["caller"] == caller.sees else None
    if found is None:
        raise not_found("没有这个批次。", "There is no such run.")
    return found


async def _shown(house: House, run: str, root: str) -> Json:
    shown = await house.show.run(run, root)
    if shown is None:
        raise not_found("没有这个批次。", "There is no such run.")
    return shown


# events


@router.get("/api/runs/{run}/events", response_class=Response, responses=EVENTS)
async def events(
    run: str,
    house: Here,
    caller: Who,
    there: There,
    last_event_id: Annotated[str | None, Header(max_length=100)] = None,
    after: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """What happens to a run, as server-sent events that resume by id."""
    await visible(house, caller, run)
    check_streams(house)
    told = last_event_id or after
    mark = None if told == "now" else mark_of(told)
    return Events(house.feed.run(run, there.root, mark))


@router.get("/api/events", response_class=Response, tags=["server"])
async def all_events(house: Here, caller: Who, there: There) -> Response:
    """What happens to all runs and notes."""
    check_streams(house)
    return Events(house.feed.everything(there.root, caller.sees))


def check_streams(house: House) -> None:
    """Raises Problem 503 where too many listen already."""
    if house.feed.clients >= house.options.most_streams or house.feed.closed:
        raise Problem(
            503, "too_many_streams", Text("同时收看的太多了，请稍后再试。", "Too many are listening; try again later."),
            headers={"Retry-After": "10"},
        )  # fmt: skip


# taking away


@router.get("/api/runs/{run}/manifest.{kind}", response_class=StreamingResponse)
async def manifest(run: str, kind: str, house: Here, caller: Who) -> Response:
    """The manifest, as ``csv`` or ``jsonl``."""
    found = await visible(house, caller, run)
    if kind not in ("csv", "jsonl"):
        raise not_found("只有 csv 和 jsonl。", "There are csv and jsonl.")
    path = await _fresh_manifests(house, found)
    file = await offload(_opened, path / f"manifest.{kind}")
    media = "text/csv; charset=utf-8" if kind == "csv" else "application/jsonl; charset=utf-8"
    size = os.fstat(file.fileno()).st_size
    return StreamingResponse(
        _in_thread(_parts(file)),
        media_type=media,
        headers={**_attached(f"{run}.{kind}"), "Content-Length": str(size)},
    )


def _opened(path: Path) -> BinaryIO:
    return path.open("rb")


def _parts(file: BinaryIO) -> Iterator[bytes]:
    """An open file's bytes: the manifest of half a million rows is 150 MB."""
    with file:
        while part := file.read(PART_BYTES):
            yield part


@router.get("/api/runs/{run}/export.zip", response_class=StreamingResponse)
async def export(run: str, request: Request, house: Here, caller: Who) -> Response:
    """All pictures and the manifests, packed while they are sent."""
    found = await visible(house, caller, run)
    path = await _fresh_manifests(house, found)
    entries = _entries(house, found, path)
    return StreamingResponse(
        _in_thread(zipped(entries)), media_type="application/zip", headers=_attached(f"{run}.zip")
    )


def _entries(house: House, run: Run, manifests: Path) -> Iterator[tuple[str, Path]]:
    """Names in the archive and the files that they are. For a thread."""
    from redloom.manifest import rows_of
    from redloom.naming import file_name

    for name in ("manifest.csv", "manifest.jsonl"):
        yield name, manifests / name
    for row in rows_of(house.engine.journal, run.id):
        if row["status"] != "ok":
            continue
        if run.out and row["file"]:
            yield row["file"], Path(run.out) / row["file"]
        elif row["image"] and (kept := house.engine.store.find(row["image"])) is not None:
            words = file_name(row["row"], row["take"], 2, run.total, "", kept.format)
            yield words.as_posix(), kept.path


async def _in_thread(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The parts, each made in a worker thread: a slow reader holds nothing but one of them."""
    end = object()
    while (part := await asyncio.to_thread(next, parts, end)) is not end:
        assert isinstance(part, bytes)
        yield part


async def _fresh_manifests(house: House, run: Run) -> Path:
    folder = house.root / "served" / "manifests" / run.id
    await offload(write_manifests, house.engine.journal, run.id, folder)
    return folder


def _attached(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


@router.get("/api/runs/{run}/report", response_class=Response)
async def report(run: str, house: Here, caller: Who) -> Response:
    """The run as one page: waterfall, latencies, money, errors."""
    found = await visible(house, caller, run)
    try:
        module = importlib.import_module("redloom.report")
    except ModuleNotFoundError:
        raise not_found("这个安装没有报告。", "This installation has no reports.") from None
    target = house.root / "served" / "reports" / f"{found.id}.html"
    try:
        await offload(_written, module, house, found, target)
    except RedloomError as error:
        raise Problem(409, "no_report", error.text) from error
    page = await offload(target.read_bytes)
    return Response(
        page, media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": _REPORT}
    )


def _written(module: Any, house: House, run: Run, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    module.write_report(house.engine.journal, house.engine.store, run, target)


_REPORT = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "font-src data:; sandbox allow-scripts"
)
"""The report is one file with its own script. The sandbox gives it an origin of its own: it can
neither ask our API nor read our cookie."""
