"""One pooled HTTP session per endpoint; tells what never left from what may have arrived.

The difference decides about money: a POST whose bytes never left may be repeated, one whose
answer was lost may not (rule 2). aiohttp's tracing signal ``on_request_headers_sent`` marks the
moment; before it nothing can have reached the service.

May import: errors, clock, lang, spill.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .clock import Clock, SystemClock, held
from .errors import AnswerLost, NotSent
from .spill import Spill

if TYPE_CHECKING:
    import aiohttp

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""An answer larger than this is no answer: ten base64 pictures stay well below it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer. ``body`` is the decoded JSON object, or None where it is not one."""

    status: int
    headers: Mapping[str, str]
    text: str
    body: dict[str, Any] | None
    files: Mapping[str, Path] = field(default_factory=dict)
    """Long base64 strings of the body, decoded on disk, by the names that stand for them."""

    def discard(self, keep: str = "") -> None:
        """Remove the files that nobody takes; ``keep`` is the name of the one that is taken."""
        for name, path in self.files.items():
            if name != keep:
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    def retry_after_s(self) -> float | None:
        """Seconds from a ``Retry-After`` header, in either of its forms (RFC 9110, 10.2.3).

        A date counts from the answer's own ``Date``, so that no clock has to agree with ours.
        """
        told = self.headers.get("Retry-After", "")
        try:
            return max(0.0, float(told))
        except ValueError:
            pass
        try:
            until, now = (parsedate_to_datetime(t) for t in (told, self.headers["Date"]))
            return max(0.0, (until - now).total_seconds())
        except (KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True, slots=True)
class Part:
    """A file in a multipart form (RFC 7578)."""

    field: str
    name: str
    kind: str
    """Its MIME type."""
    data: bytes


class Form(dict[str, Any]):
    """A request's plain fields with files beside them: sent as a multipart form, not as JSON."""

    def __init__(self, fields: Mapping[str, Any], parts: Sequence[Part]) -> None:
        super().__init__(fields)
        self.parts = tuple(parts)


@dataclass(slots=True)
class _Sent:
    """Whether the request's head has been written to the socket."""

    headers: bool = field(default=False)


class Wire:
    """HTTP to one service: keep-alive, proxies from the environment, timeouts in nominal time.

    ``connections`` bounds the pool. With ``spill``, a folder, long base64 strings in the answers
    to a POST go there instead of into memory (`Answer.files`). Times out after ``timeout_s`` nominal seconds, but never
    under 10 real ones, because sockets do not run faster when the clock does.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        connections: int = 256,
        timeout_s: float = 300.0,
        spill: Path | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._headers = dict(headers or {})
        self._clock = clock or SystemClock()
        self._connections = connections
        self._timeout_s = timeout_s
        self._spill = spill
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self,
        path: str,
        payload: Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """POST JSON, or a `Form`.

        Raises NotSent where nothing left, AnswerLost where the answer broke off.
        """
        return await self._exchange("POST", path, payload, None, headers, timeout_s)

    async def get(
        self,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """GET. The same errors as `post`; for a GET both mean only: ask again."""
        return await self._exchange("GET", path, None, query, headers, timeout_s or 60.0)

    async def put(self, path: str, *, timeout_s: float | None = None) -> Answer:
        """PUT without a body, such as a cancel. The same errors as `post`."""
        return await self._exchange("PUT", path, None, None, None, timeout_s or 60.0)

    async def close(self) -> None:
        """Close the pool. Safe to call twice."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _exchange(
        self,
        method: str,
        path: str,
        payload: Mapping[str, Any] | None,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        timeout_s: float | None,
    ) -> Answer:
        import aiohttp

        sent = _Sent()
        limit = aiohttp.ClientTimeout(
            total=max(10.0, self._clock.real(timeout_s or self._timeout_s)),
            sock_connect=max(5.0, self._clock.real(15.0)),
        )
        with held(), _translated(self.base_url, sent):
            session = await self._open()
            async with session.request(
                method,
                self.base_url + path,
                data=_encoded(payload),
                params=query,
                headers={**self._headers, **(headers or {})},
                timeout=limit,
                trace_request_ctx=sent,
                allow_redirects=False,
            ) as response:
                if method != "POST" or self._spill is None:
                    raw = await _read(response)
                    return Answer(response.status, response.headers, raw, _object(raw))
                spill = Spill(self._spill)
                raw = await _read_spilling(response, spill)
                return Answer(response.status, response.headers, raw, _object(raw), spill.files)

    async def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            import aiohttp

            trace = aiohttp.TraceConfig()
            trace.on_request_headers_sent.append(_mark_sent)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=30),
                trace_configs=[trace],
                proxy=proxy_for(self.base_url),
            )
        return self._session

    @asynccontextmanager
    async def session(self) -> AsyncIterator[aiohttp.ClientSession]:
        """The pooled session itself, for a provider that streams or uses a websocket."""
        with held():
            yield await self._open()


def proxy_for(address: str) -> str | None:
    """The proxy that the environment names for an address; none for this machine itself.

    ``HTTPS_PROXY`` or ``HTTP_PROXY`` by the address's scheme, else ``ALL_PROXY``, but for what
    ``NO_PROXY`` names. Looked up once a session: aiohttp's own way reads the environment and
    ~/.netrc again for every request, and knows no ALL_PROXY. Raises NotSent for a proxy that is
    no http proxy (socks).
    """
    parts = urllib.parse.urlsplit(address)
    host = parts.hostname or ""
    if _is_here(host):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(host):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    if not proxy.startswith(("http://", "https://")):
        raise NotSent(
            "用不了环境变量里的代理：只支持 http 代理（多数代理软件另有一个 http 端口）。请求没有发出，没有花钱。",
            "The proxy in the environment cannot be used: only http proxies can (most proxy programs "
            "have an http port too). Nothing was sent, nothing was spent.",
        )
    return proxy


def _is_here(host: str) -> bool:
    """Whether a host is this machine: no proxy could reach our own 127.0.0.1."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _encoded(payload: Mapping[str, Any] | None) -> aiohttp.BytesPayload | aiohttp.FormData | None:
    """JSON under its own name (bytes alone go out as application/octet-stream), or a form."""
    import aiohttp

    if payload is None:
        return None
    if not isinstance(payload, Form):
        raw = json.dumps(payload, ensure_ascii=False).encode()
        return aiohttp.BytesPayload(raw, content_type="application/json")
    form = aiohttp.FormData()
    for name, value in payload.items():
        form.add_field(name, value if isinstance(value, str) else json.dumps(value))
    for part in payload.parts:
        form.add_field(part.field, part.data, filename=part.name, content_type=part.kind)
    return form


async def _mark_sent(_session: Any, context: Any, _params: Any) -> None:
    sent = context.trace_request_ctx
    if isinstance(sent, _Sent):
        sent.headers = True


async def _read(response: aiohttp.ClientResponse) -> str:
    raw = await response.content.read(MAX_ANSWER_BYTES + 1)
    while chunk := await response.content.read(MAX_ANSWER_BYTES + 1 - len(raw)):
        raw += chunk
    if len(raw) > MAX_ANSWER_BYTES:
        raise AnswerLost(
            "服务的回答大得离谱，没有收下。", "The service's answer was absurdly large."
        )
    return _decoded(raw, response.charset)


async def _read_spilling(response: aiohttp.ClientResponse, spill: Spill) -> str:
    pieces = response.content.iter_chunked(64 * 1024)
    raw = await spill.read(pieces, MAX_ANSWER_BYTES)
    return _decoded(raw, response.charset)


def _decoded(raw: bytes, charset: str | None) -> str:
    """The words of an answer; a character set that nobody knows is taken for UTF-8."""
    try:
        return raw.decode(charset or "utf-8", errors="replace")
    except LookupError:
        return raw.decode("utf-8", errors="replace")


def _object(text: str) -> dict[str, Any] | None:
    value = read_json(text)
    return value if isinstance(value, dict) else None


def read_json(text: str) -> Any:
    """What a service's JSON says, as the journal can keep it; None where it is none.

    Python takes more for JSON than the journal, a sum or another program can bear: NaN, numbers
    without end (both become null, RFC 8259 has neither) and halves of surrogate pairs (replaced).
    """
    try:
        value = json.loads(
            text, parse_constant=_no_number, parse_float=_finite, parse_int=_countable
        )
        if _HALF_PAIR.search(text):
            value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return value


_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
"""Perhaps one: whole pairs are written so, too."""


def _no_number(_name: str) -> None:
    return None


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _countable(text: str) -> int | None:
    return int(text) if len(text) <= 20 else None


class _translated:  # noqa: N801 - used like a function
    """Turns what aiohttp raises into NotSent or AnswerLost; the cause is kept.

    The message names the host, never the URL: a query may hold a signature.
    """

    def __init__(self, base_url: str, sent: _Sent) -> None:
        self._sent, self._base_url = sent, base_url

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _tb: object
    ) -> None:
        import aiohttp

        if not isinstance(
            error, aiohttp.ClientError | OSError | TimeoutError | UnicodeError | ValueError
        ):
            return
        host = self._base_url.split("//", 1)[-1].split("/", 1)[0].rsplit("@", 1)[-1]
        what = type(error).__name__
        if isinstance(error, aiohttp.ClientHttpProxyError | aiohttp.ClientProxyConnectionError):
            raise _proxy_fails(host, getattr(error, "status", what)) from error
        if not self._sent.headers:
            raise NotSent(
                f"连不上 {host}（{what}）；请求没有发出，没有花钱。",
                f"Could not reach {host} ({what}); nothing was sent, nothing was spent.",
            ) from error
        raise AnswerLost(
            f"请求已发给 {host}，但没有收到完整的回答（{what}）。",
            f"The request went to {host}, but no whole answer came back ({what}).",
        ) from error


def _proxy_fails(host: str, said: object) -> NotSent:
    """A proxy that did not lead on; its address may hold a password, so it is not named."""
    return NotSent(
        f"环境变量里的代理没有接通 {host}（{said}）；请查 HTTPS_PROXY、NO_PROXY。请求没有发出，没有花钱。",
        f"The proxy in the environment did not lead to {host} ({said}); check HTTPS_PROXY and "
        "NO_PROXY. Nothing was sent, nothing was spent.",
    )
