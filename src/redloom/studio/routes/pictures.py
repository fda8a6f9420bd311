"""Pictures under their lasting addresses, and what people think of them.

May import: see `routes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from redloom.studio.endpoint_show import models_record
from redloom.studio.forms import FeedbackForm
from redloom.studio.guard import SHUT
from redloom.studio.house import Here, House, Who
from redloom.studio.pictures import KINDS
from redloom.studio.problems import not_found

router = APIRouter()
Json = dict[str, Any]
LASTING = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Content-Security-Policy": SHUT,
    "Cross-Origin-Resource-Policy": "cross-origin",
}
"""A picture never changes under its address."""


@router.get("/pictures/{name}", tags=["pictures"], response_class=Response)
async def picture(name: str, request: Request, house: Here) -> Response:
    """A picture. Its address cannot be guessed; whoever has it may look."""
    return await answer(house, name, request.headers.get("if-none-match"))


@router.get("/api/previews/{name}", tags=["pictures"], response_class=Response)
async def preview(name: str, house: Here, caller: Who) -> Response:
    """A picture in the making, small and rough: a JPEG, another one every few steps."""
    data = house.engine.previews.of(name)
    # The name is a hash of what is asked for: whoever guesses another's prompt can work it out.
    if not data or (caller.sees and not await house.memory.is_wanted_by(name, caller.sees)):
        raise not_found("没有这张预览。", "There is no such preview.")
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": "no-store"})


async def answer(house: House, name: str, known: str | None) -> Response:
    """The picture of an address; 304 where the client has it. Raises Problem 404."""
    wanted = house.pictures.wanted(name)
    if wanted is None:
        raise not_found("没有这张图。", "There is no such picture.")
    tag = f'"{wanted.sha256[:24]}{wanted.variant}.{wanted.kind}"'
    if known == tag:
        return Response(status_code=304, headers={**LASTING, "ETag": tag})
    data = await house.pictures.bytes_of(wanted)
    if data is None:
        raise not_found("这张图已不在图库里。", "This picture is no longer in the store.")
    return Response(data, media_type=KINDS[wanted.kind], headers={**LASTING, "ETag": tag})


@dataclass(frozen=True)
class Front:
    """Answers ``/pictures/…`` by itself and hands everything else on: a page of thumbnails is
    hundreds of requests, which need none of the framework behind.
    """

    app: ASGIApp
    house: House

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        path: str = scope["path"]
        if scope["method"] != "GET" or not path.startswith("/pictures/"):
            await self.app(scope, receive, send)
            return
        known = Headers(scope=scope).get("if-none-match")
        found = await answer(self.house, path.removeprefix("/pictures/"), known)
        await found(scope, receive, send)


@router.put("/api/feedback", tags=["pictures"])
async def set_feedback(form: FeedbackForm, house: Here, caller: Who) -> Json:
    """Thumbs up, down, or used."""
    known = await house.memory.image(form.sha256) is not None
    if not known or (caller.sees and not await house.memory.is_of(form.sha256, caller.sees)):
        raise not_found("没有这张图。", "There is no such picture.")
    row = await house.memory.set_feedback(form.sha256, form.thumb, form.used, house.now())
    return {"thumb": row["thumb"], "used": bool(row["used"])}


@router.get("/api/feedback", tags=["pictures"])
async def feedback(house: Here) -> Json:
    """What each endpoint and model made, what was kept, at what price."""
    record = await models_record(house)
    return {
        "models": [
            {"endpoint": endpoint, "model": model, **one}
            for (endpoint, model), one in record.items()
        ]
    }
