"""Where DashScope's pictures lie: signed links that expire, and all that can go wrong on the way.

Links are signed as OSS does (version 1: HMAC-SHA1 over method, expiry and path), so HEAD on a
link signed for GET is refused. Source: Object Storage Service's page on URL signing.
May import: clock.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Protocol
from urllib.parse import quote

from aiohttp import web

from redloom.clock import Clock

from .dashscope_tasks import Task
from .faults import Faults
from .ledger import Ledger
from .pictures import SMALLEST, picture
from .server import HTML, drip, lie, reset, text_answer
from .service_time import draw

_SECRET = b"emulated"
_KEY_ID = "LTAI5tEmulated"
_BUCKETS = ("dashscope-result-bj", "dashscope-result-wlcb", "dashscope-7c2c")
PATH = re.compile(rf"/(?:{'|'.join(_BUCKETS)})/1d/\d{{8}}/([0-9a-f-]{{36}})/(\d{{1,2}})\.png")
SLOW_S = 20.0
_SMALL = 64
_BAD = ("truncated", "length", "html", "reset", "error")


class Terms(Protocol):
    """The settings that matter here."""

    @property
    def seed(self) -> int:
        """What the pictures and the ids are drawn from."""

    @property
    def url_life_s(self) -> float:
        """How long a link is good, nominal seconds."""

    @property
    def faults(self) -> Faults:
        """The traps that are set."""

    @property
    def picture_size(self) -> str:
        """``WxH`` of the files where it is not the size asked for; empty: as asked."""


class Files:
    """The object store beside the service."""

    def __init__(self, terms: Terms, clock: Clock, ledger: Ledger) -> None:
        self._terms, self._clock, self._ledger = terms, clock, ledger
        self.base = ""

    def urls(self, task: Task, now: float) -> list[str]:
        """A link for each of the task's pictures, good for the settings' ``url_life_s`` from ``now``."""
        count = task.n
        links = [self._url(task, number, now) for number in range(count)]
        if task.fate == "repeat" and count > 1:
            links[1] = links[0]
        return links

    def _url(self, task: Task, number: int, now: float) -> str:
        bucket = _BUCKETS[(int(task.sha[:2], 16) + number) % len(_BUCKETS)]
        path = f"/{bucket}/1d/20261101/{task.task_id}/{number}.png"
        expires = int(now + self._terms.url_life_s)
        signature = quote(_sign("GET", expires, path), safe="")
        query = f"Expires={expires}&OSSAccessKeyId={_KEY_ID}&Signature={signature}"
        return f"{self.base}{path}?{query}"

    async def answer(
        self, request: web.BaseRequest, task: Task | None, number: int
    ) -> web.StreamResponse:
        """Serve picture ``number`` of ``task``."""
        self._ledger.counts["download"] += 1
        refused = self._refused(request)
        if refused is not None:
            return refused
        if task is None or number >= task.n or number in task.broken():
            return _xml(404, "NoSuchKey", "The specified key does not exist.")
        data = self._bytes(task, number)
        task.fetches += 1
        hit = self._terms.faults.at(
            self._terms.seed, "download", self._ledger.counts["download"], task.sha, task.fetches
        )
        if hit == "bad":
            hit = _BAD[int(draw(self._terms.seed, "bad", task.sha, task.fetches) * len(_BAD))]
        if hit:
            return await self._spoiled(request, data, hit)
        self._ledger.fetched(task, hashlib.sha256(data).hexdigest())
        return _ranged(request, data)

    def _bytes(self, task: Task, number: int) -> bytes:
        width, height = task.width, task.height
        if self._terms.picture_size == "small":
            scale = _SMALL / max(width, height)
            width, height = (max(SMALLEST, round(side * scale)) for side in (width, height))
        return picture(task.drawn, f"{task.task_id}/{number}", width, height, task.labels)

    def _refused(self, request: web.BaseRequest) -> web.Response | None:
        query = request.rel_url.query
        try:
            expires = int(query.get("Expires", ""))
        except ValueError:
            return _xml(403, "AccessDenied", "You have no right to access this object.")
        if query.get("Signature") != _sign(request.method, expires, request.path):
            said = "The request signature we calculated does not match the signature you provided."
            return _xml(403, "SignatureDoesNotMatch", said)
        if self._clock.now() > expires:
            return _xml(403, "AccessDenied", "Request has expired.")
        return None

    async def _spoiled(self, request: web.BaseRequest, data: bytes, hit: str) -> web.StreamResponse:
        headers = {"Content-Type": "image/png", "Server": "AliyunOSS"}
        half = len(data) // 2
        if hit == "truncated":
            return await lie(request, data[:half], len(data), headers)
        if hit == "length":
            return await lie(request, data[:half], half, headers)
        if hit == "slow":
            return await drip(request, data, SLOW_S, self._clock, headers)
        if hit == "html":
            return text_answer(HTML, 200)
        if hit == "reset":
            return reset(request)
        if hit == "expired":
            return _xml(403, "AccessDenied", "Request has expired.")
        if hit == "missing":
            return _xml(404, "NoSuchKey", "The specified key does not exist.")
        return _xml(500, "InternalError", "We encountered an internal error. Please try again.")


def _sign(method: str, expires: int, path: str) -> str:
    text = f"{method}\n\n\n{expires}\n{path}".encode()
    return base64.b64encode(hmac.new(_SECRET, text, hashlib.sha1).digest()).decode()


def _xml(status: int, code: str, message: str) -> web.Response:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>\n  <Code>{code}</Code>\n  <Message>{message}</Message>\n</Error>\n'
    return web.Response(
        text=text, status=status, content_type="application/xml", headers={"Server": "AliyunOSS"}
    )


def _ranged(request: web.BaseRequest, data: bytes) -> web.Response:
    """The file, or the one part of it that a Range header asks for (RFC 9110, 14)."""
    headers = {"Content-Type": "image/png", "Server": "AliyunOSS", "Accept-Ranges": "bytes"}
    headers["ETag"] = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest().upper()}"'
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", ""))
    if match is None or not (match[1] or match[2]):
        return web.Response(body=data, headers=headers)
    first = int(match[1]) if match[1] else max(0, len(data) - int(match[2]))
    last = min(int(match[2]), len(data) - 1) if match[1] and match[2] else len(data) - 1
    if first > last:
        headers["Content-Range"] = f"bytes */{len(data)}"
        return web.Response(status=416, headers=headers)
    headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
    return web.Response(body=data[first : last + 1], status=206, headers=headers)
