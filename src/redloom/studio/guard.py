"""The door: every request passes here first. Plain ASGI, since it stands before every byte.

In this order: is the Host one of ours; does a page of another site send it; who calls; may a
cookie do this; is the body small enough. Every answer leaves with the same strict headers.

May import: errors, lang, studio.{options,addresses,callers,patience,problems}.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from redloom.lang import Lang, Text, use_language

from .addresses import Place, is_known, place_of
from .callers import COOKIE, LOCAL, PREFIX, Caller, Callers
from .options import Options, is_loopback
from .patience import body_ends
from .problems import Problem, accident_response, log

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "font-src 'self'; connect-src 'self'; manifest-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'self'"
)
"""For our own pages."""
SHUT = "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; sandbox"
"""For what was made elsewhere or holds a user's words: nothing in it runs."""
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"x-frame-options", b"DENY"),
]
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN = re.compile(r"^/(health|api/session|favicon\.ico|[a-z0-9_-]*|static/.*|pictures/.*)$")
_NOT_OPEN = frozenset({"/docs", "/metrics", "/mcp"})
_LARGE = re.compile(r"^/(api/uploads|v1/images/edits)$")


@dataclass
class Guard:
    """The application behind the door."""

    app: App
    options: Options
    callers: Callers | None = None
    """Set when the engine is up; nothing is let in before."""
    draining: bool = False
    _known: dict[str, bool] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        send = _with_headers(send)
        began = False

        async def noted(message: Message) -> None:
            nonlocal began
            began = began or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._admit(scope)
            await self.app(scope, self._measured(scope, receive), noted)
        except Problem as problem:
            if not began:
                await problem.response()(scope, receive, send)
        except Exception as error:
            log.error("%s %s", scope["method"], scope["path"], exc_info=error)
            if not began:
                await accident_response()(scope, receive, send)

    async def _admit(self, scope: Scope) -> None:
        """Put caller, place and language into the scope. Raises Problem."""
        headers = Headers(scope=scope)
        use_language(_language(scope, headers))
        place = place_of(scope, self.options)
        if place is None or not self._knows(place):
            raise Problem(
                421, "unknown_host",
                Text(
                    "不认识请求里的主机名；要用这个名字访问，请在启动时加 --allow-host。",
                    "This host name is not one of ours; to be called by it, start with --allow-host.",
                ),
            )  # fmt: skip
        scope["redloom.place"], scope["redloom.base"] = place, place.base
        path = _without_base(scope, place.base)
        _check_origin(scope["method"], path, headers, place)
        if self.callers is None:
            raise Problem(503, "starting", Text("正在启动。", "Starting."))
        caller = self._caller(headers, place)
        if caller is None and (path in _NOT_OPEN or not _OPEN.match(path)):
            raise _no_token(place, self.options)
        _check_role(caller, path)
        self._check_csrf(scope["method"], headers, caller)
        if self.draining and scope["method"] not in SAFE:
            raise Problem(
                503, "draining", Text("服务正在停下，请稍后再试。", "The server is stopping; try again later."),
                headers={"Retry-After": "10"},
            )  # fmt: skip
        scope["redloom.caller"] = caller

    def _knows(self, place: Place) -> bool:
        """`is_known`, remembered: clients ask by the same few names."""
        known = self._known.get(place.asked)
        if known is None:
            if len(self._known) > 1000:
                self._known.clear()
            known = self._known[place.asked] = is_known(place, self.options)
        return known

    def _caller(self, headers: Headers, place: Place) -> Caller | None:
        """Who calls, or None. Raises Problem for a wrong token."""
        assert self.callers is not None
        is_open = not self.options.token and not place.forwarded and is_loopback(place.client)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        token = token.strip() if scheme.lower() == "bearer" else ""
        if token:
            self.callers.check_guesses(place.client)
            caller = self.callers.by_token(token)
            if caller is None and not (is_open and not token.startswith(PREFIX)):
                self.callers.guessed_wrong(place.client)
                raise Problem(
                    401, "invalid_api_key", Text("口令不对。", "The token is wrong."),
                    kind="authentication_error", headers={"WWW-Authenticate": "Bearer"},
                )  # fmt: skip
            return caller or LOCAL
        cookie = cookie_of(headers)
        if cookie and (caller := self.callers.by_cookie(cookie)) is not None:
            return caller
        return LOCAL if is_open else None

    def _check_csrf(self, method: str, headers: Headers, caller: Caller | None) -> None:
        """A cookie is sent by the browser whoever asks; the page proves that it is ours."""
        if caller is None or caller.by != "cookie" or method in SAFE:
            return
        assert self.callers is not None
        told = headers.get("x-redloom-csrf", "")
        if not hmac.compare_digest(told.encode(), self.callers.csrf_for(cookie_of(headers)).encode()):  # fmt: skip
            raise Problem(
                403, "csrf", Text("缺少 X-Redloom-CSRF，请刷新页面。", "X-Redloom-CSRF is missing; reload the page.")
            )  # fmt: skip

    def _measured(self, scope: Scope, receive: Receive) -> Receive:
        """The body, no more of it than the route may take."""
        most = self.options.body_bytes
        if _LARGE.match(scope["path"]):
            most = self.options.upload_bytes
        told = Headers(scope=scope).get("content-length", "")
        if told.isdigit() and int(told) > most:
            raise _too_large(most)
        seen, whole, loop = 0, False, asyncio.get_running_loop()
        began = loop.time()

        async def measured() -> Message:
            nonlocal seen, whole
            if whole:  # only the end of the connection is still to come: a stream waits for it
                return await receive()
            try:
                async with asyncio.timeout_at(body_ends(began, seen)):
                    message = await receive()
            except TimeoutError:
                raise _too_slow() from None
            seen += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if seen > most:
                raise _too_large(most)
            return message

        return measured


def cookie_of(headers: Headers) -> str:
    """The session's cookie, or empty."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value


_FOREIGN = Text(
    "这个请求来自别的网站，没有照做。", "This request comes from another site; it was not done."
)
_FOREIGN_BEHIND = Text(
    "浏览器里的地址和代理告诉我们的不一样，请求没有照做。请让代理把 Host 连端口原样传来（nginx：$http_host），或在启动时给 --public-url。",
    "The browser's address is not the one that the proxy tells us; the request was not done. Let the "
    "proxy pass Host on with its port (nginx: $http_host), or start with --public-url.",
)


def _check_origin(method: str, path: str, headers: Headers, place: Place) -> None:
    """Any page can send requests to loopback; only our own may (and nobody's may be read).

    The page's own files hold no secret: they come even where a proxy hides the port that the
    browser sees, so that the page can show the words below.
    """
    if path.startswith(("/pictures/", "/static/")):
        return
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    if origin is not None:
        foreign = urlsplit(origin).netloc.lower() not in (place.host, place.asked)
    else:
        navigating = headers.get("sec-fetch-mode") == "navigate" and method in SAFE
        foreign = site in ("cross-site", "same-site") and not navigating
    if foreign:
        raise Problem(403, "foreign_origin", _FOREIGN_BEHIND if place.trusted else _FOREIGN)


def _check_role(caller: Caller | None, path: str) -> None:
    admins = ("/api/tokens", "/api/settings", "/api/webhooks", "/api/money", "/metrics")
    if caller is not None and caller.role != "admin" and path.startswith(admins):
        raise Problem(
            403, "not_allowed",
            Text("这个口令不能做这件事。", "This token may not do that."), kind="permission_error",
        )  # fmt: skip


def _without_base(scope: Scope, base: str) -> str:
    """The path below our base; what the proxy left of the base goes."""
    path: str = scope["path"]
    if base and (path == base or path.startswith(f"{base}/")):
        path = path[len(base) :] or "/"
        scope["path"], scope["raw_path"] = path, path.encode()
    return path


def _language(scope: Scope, headers: Headers) -> Lang:
    asked = headers.get("x-redloom-lang", "")
    if not asked and b"lang=" in scope.get("query_string", b""):
        found = re.search(rb"(?:^|&)lang=(zh|en)(?:&|$)", scope["query_string"])
        asked = found[1].decode() if found else ""
    if asked in ("zh", "en"):
        return "zh" if asked == "zh" else "en"
    first = headers.get("accept-language", "").lower()
    zh, en = first.find("zh"), first.find("en")
    return "en" if en >= 0 and (zh < 0 or en < zh) else "zh"


def _no_token(place: Place, options: Options) -> Problem:
    if place.forwarded and not options.token:
        text = Text(
            "请求是代理转来的，所以要有口令：启动时加 --token。",
            "The request came through a proxy, so a token is needed: start with --token.",
        )
    else:
        text = Text(
            "需要口令：Authorization: Bearer …",
            "A token is needed: Authorization: Bearer …",
        )
    return Problem(
        401, "missing_token", text, kind="authentication_error", headers={"WWW-Authenticate": "Bearer"}
    )  # fmt: skip


def _too_slow() -> Problem:
    text = Text("请求来得太慢，没有做。", "The request came too slowly; it was not done.")
    return Problem(408, "too_slow", text, headers={"Connection": "close"})


def _too_large(most: int) -> Problem:
    text = Text(f"请求太大，最多 {most:,} 字节。", f"The request is too large; {most:,} bytes at most.")  # fmt: skip
    return Problem(413, "too_large", text)


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            names = {name.lower() for name, _ in headers}
            headers += [pair for pair in _HEADERS if pair[0] not in names]
            if b"content-security-policy" not in names:
                headers.append((b"content-security-policy", POLICY.encode()))
            if b"cache-control" not in names:
                headers.append((b"cache-control", b"no-store"))
            message = {**message, "headers": headers}
        await send(message)

    return sent
