"""The server itself: session, health, settings, themes, money, tokens, metrics.

May import: see `routes`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import time
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from redloom.clock import offload
from redloom.errors import RedloomError
from redloom.lang import Text, language
from redloom.settings import masked
from redloom.studio.callers import COOKIE, LOCAL, SESSION_S, Caller, digest_of, new_token
from redloom.studio.forms import LONGEST_STORY, CallerForm, CheckForm, Token
from redloom.studio.guard import cookie_of
from redloom.studio.house import Here, House, There, Who
from redloom.studio.problems import Problem, not_found
from redloom.studio.show import rounded
from redloom.version import __version__

router = APIRouter()
Json = dict[str, Any]


@router.get("/health", tags=["server"], responses={503: {"description": "draining, or broken"}})
async def health(house: Here) -> Response:
    """Whether the server does its work; 503 where it does not."""
    carrier = house.engine._carrier
    broken = carrier is not None and carrier.fault is not None
    status = "broken" if broken else "draining" if house.draining else "ok"
    body = {
        "status": status, "version": __version__,
        "engine": "following" if carrier is None else "leading",
        "runs_open": len(await house.engine.records.open_runs()),
    }  # fmt: skip
    return JSONResponse(body, 200 if status == "ok" else 503)


@router.get("/api/session", tags=["session"])
async def session(request: Request, house: Here, place: There) -> Json:
    """Who I am here, and what a page needs to know."""
    return _session(house, request, place.base, request.scope.get("redloom.caller"))


@router.post("/api/session", tags=["session"])
async def sign_in(form: Token, request: Request, house: Here, place: There) -> Response:
    """Open a session with a token; it is kept in a cookie."""
    house.callers.check_guesses(place.client)
    caller = house.callers.by_token(form.token)
    if caller is None:
        house.callers.guessed_wrong(place.client)
        raise Problem(
            401, "invalid_api_key", Text("口令不对。", "The token is wrong."), kind="authentication_error"
        )  # fmt: skip
    cookie = house.callers.cookie_for(caller)
    answer = JSONResponse(_session(house, request, place.base, caller, cookie))
    answer.set_cookie(
        COOKIE, cookie, max_age=SESSION_S, path=place.base or "/", secure=place.scheme == "https",
        httponly=True, samesite="strict",
    )  # fmt: skip
    return answer


@router.delete("/api/session", tags=["session"], status_code=204)
async def sign_out(place: There) -> Response:
    """End the session of this browser."""
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, path=place.base or "/", httponly=True, samesite="strict")
    return answer


def _session(
    house: House, request: Request, base: str, caller: Caller | None, cookie: str | None = None
) -> Json:
    options = house.options
    told = cookie_of(request.headers) if cookie is None else cookie
    return {
        "signed_in": caller is not None, "role": caller.role if caller else None,
        "name": caller.name if caller else "", "csrf": house.callers.csrf_for(told),
        "lang": language(), "version": __version__, "base": base,
        "clock": {"now": house.now(), "speed": getattr(house.engine.clock, "speed", 1.0)},
        "features": {
            "report": has_module("redloom.report"), "metrics": house.metrics is not None,
            "mcp": has_module("mcp"), "tokens": caller is not None and caller.role == "admin",
        },
        "limits": {
            "upload_bytes": options.upload_bytes, "picture_bytes": options.picture_bytes,
            "story_characters": LONGEST_STORY, "prompts": options.most_prompts,
        },
    }  # fmt: skip


def has_module(name: str) -> bool:
    """Whether an optional part is there."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@router.get("/metrics", tags=["server"], response_class=PlainTextResponse)
async def metrics(house: Here) -> Response:
    """The engine's figures, as Prometheus reads them."""
    if house.metrics is None:
        raise not_found("这个安装没有 metrics。", "This installation has no metrics.")
    body, kind = await asyncio.to_thread(house.metrics.render)
    return Response(body, headers={"Content-Type": kind})


@router.get("/api/settings", tags=["server"])
async def settings(house: Here) -> Json:
    """Every setting with its source, secrets masked."""
    found = house.settings
    if found is None:
        return {"settings": [], "defaults": {}, "workspace": str(house.root)}
    rows = []
    for key, source in sorted(found.sources.items()):
        rows.append({"key": key, "value": _value(found, key), "source": str(source)})
    return {
        "settings": rows, "workspace": str(house.root),
        "defaults": {
            "endpoint": house.default, "theme": found.theme or "paper", "writer": found.writer,
            "size": found.size,
        },
    }  # fmt: skip


def _value(found: Any, key: str) -> Any:
    """A setting's value; of a key only its last four characters."""
    parts = key.split(".")
    if parts[-1] == "api_key":
        config = found.endpoints.get(".".join(parts[1:-1]))
        return masked(config.api_key) if config else ""
    if parts[0] == "endpoints":
        config = found.endpoints.get(".".join(parts[1:-1]))
        value = getattr(config, parts[-1], None) if config else None
        return value if isinstance(value, str | int | float | None) else str(value)
    if parts[0] == "chat":
        value = getattr(found.chat, parts[-1], None) if len(parts) > 1 else None
        return value if parts[-1] != "api_key" else masked(str(value or ""))
    value = getattr(found, {"endpoint": "default_endpoint"}.get(key, key), None)
    return value if isinstance(value, str | int | float | None) else str(value)


@router.get("/api/themes", tags=["server"])
async def themes(place: There) -> Json:
    """The card themes, with samples."""
    from redloom.typeset.theme import themes as known

    return {
        "themes": [
            {
                "name": one.name, "title": str(one.title), "description": str(one.description),
                "cover": f"{place.root}/api/themes/{one.name}/cover.webp",
                "page": f"{place.root}/api/themes/{one.name}/page.webp",
            }
            for one in await offload(known)
        ]
    }  # fmt: skip


@router.get("/api/themes/{name}/{card}.webp", tags=["server"], response_class=Response)
async def theme_sample(name: str, card: str, house: Here) -> Response:
    """A sample of a theme's cover or page."""
    from redloom.studio.samples import sample_of

    data = await offload(sample_of, name, card, house.root / "served")
    if data is None:
        raise not_found("没有这个主题。", "There is no such theme.")
    return Response(data, media_type="image/webp", headers={"Cache-Control": "max-age=86400"})


@router.get("/api/money", tags=["money"])
async def money(house: Here) -> Json:
    """What was spent: in all, today, this month, by day, by endpoint."""
    today = datetime.fromtimestamp(house.now()).astimezone().date().isoformat()
    sums: dict[str, dict[str, float]] = {"total": {}, "today": {}, "month": {}, "maybe": {}}
    days: dict[str, Json] = {}
    for row in await house.memory.days():
        whichever = ["maybe"] if row["billed"] == "maybe" else ["total"]
        if row["billed"] == "yes":
            whichever += ["today"] * (row["day"] == today)
            whichever += ["month"] * (row["day"][:7] == today[:7])
            day = days.setdefault(row["day"], {"day": row["day"], "spent": {}, "pictures": 0})
            _add(day["spent"], row["currency"], row["amount"])
            day["pictures"] += row["pictures"]
        for name in whichever:
            _add(sums[name], row["currency"], row["amount"])
    endpoints = [
        {
            "endpoint": row["endpoint"], "model": row["model"], "pictures": row["made"],
            "spent": rounded({row["currency"]: row["spent"]}),
        }
        for row in await house.memory.endpoint_records()
    ]  # fmt: skip
    return {**{name: rounded(one) for name, one in sums.items()},
            "days": list(days.values()), "endpoints": endpoints}  # fmt: skip


def _add(sums: dict[str, float], currency: str, amount: float) -> None:
    if currency:
        sums[currency] = round(sums.get(currency, 0.0) + amount, 6)


@router.post("/api/check", tags=["notes"])
async def check(form: CheckForm) -> Json:
    """A post held against the platform's limits."""
    from redloom.studio.note_show import check_json

    return await asyncio.to_thread(check_json, form.title, form.body, form.tags, form.images)


# tokens


@router.get("/api/tokens", tags=["tokens"])
async def tokens(house: Here) -> Json:
    """The callers, and what they have spent."""
    found = []
    for row in await house.memory.callers():
        spent, committed = await house.memory.spent_of(row["name"])
        found.append(
            {
                "name": row["name"], "created": row["created"], "per_minute": row["per_minute"],
                "budget": row["budget"], "currency": row["currency"], "spent": round(spent, 6),
                "reserved": round(max(0.0, committed - spent), 6), "revoked": row["revoked"] is not None,
            }
        )  # fmt: skip
    return {"tokens": found}


@router.post("/api/tokens", tags=["tokens"], status_code=201)
async def add_token(form: CallerForm, house: Here) -> Json:
    """A token for somebody else; it is shown this once."""
    token = new_token()
    taken = form.name in ("admin", LOCAL.name, "stdio") or not await house.memory.add_caller(
        form.name, digest_of(token), time.time(), per_minute=form.per_minute,
        budget=form.budget, currency=form.currency,
    )  # fmt: skip
    if taken:
        raise Problem(
            409, "name_taken",
            Text("这个名字已用过（停用的也算）。", "The name was used before (revoked ones count)."), param="name",
        )  # fmt: skip
    return {"name": form.name, "token": token, "per_minute": form.per_minute,
            "budget": form.budget, "currency": form.currency}  # fmt: skip


@router.delete("/api/tokens/{name}", tags=["tokens"], status_code=204)
async def revoke_token(name: str, house: Here) -> Response:
    """This token is good no more."""
    if not await house.memory.revoke(name, time.time()):
        raise not_found("没有这个口令。", "There is no such token.")
    return Response(status_code=204)


@router.get("/api/webhooks/secret", tags=["tokens"])
async def webhook_secret(house: Here) -> Json:
    """What receivers check signatures with."""
    return {"secret": house.hooks.shown_secret}


# endpoints


@router.get("/api/endpoints", tags=["endpoints"])
async def endpoints(house: Here, caller: Who) -> Json:
    """Every endpoint: key (masked), price, limits published and learnt, what it made."""
    from redloom.studio.endpoint_show import endpoints_json

    return await endpoints_json(house, caller)


@router.post("/api/endpoints/{name}/test", tags=["endpoints"])
async def test_endpoint(name: str, house: Here, caller: Who) -> Json:
    """Whether the key works and the service answers; free of charge."""
    live = house.live(name)
    if live is None:
        config = house.settings.implied(name) if house.settings else None
        known = house.settings.endpoints.get(name) if house.settings else None
        if config is None and known is None:
            raise not_found("没有这个端点。", "There is no such endpoint.")
        missing = (known or config).key_variable  # type: ignore[union-attr]
        text = Text(f"没有设置 {missing}，设好后重启", f"{missing} is not set; set it and start again")  # fmt: skip
        return {"ok": False, "text": str(text), "seconds": 0.0}
    began = time.monotonic()
    try:
        async with asyncio.timeout(30):
            await live.provider.check()
        said, ok = Text("可用", "it works"), True
    except RedloomError as error:
        said, ok = error.text, False
    except TimeoutError:
        said, ok = Text("30 秒没有回答", "no answer in 30 s"), False
    return {"ok": ok, "text": str(said), "seconds": round(time.monotonic() - began, 2)}
