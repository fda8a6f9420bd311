"""Where an emulated service's pictures lie: links that expire, and what goes wrong on the way.

The object store and its misbehaviour are DashScope's; here are other addresses and, for services
whose links are public, no signature.
May import: clock.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from aiohttp import web

from redloom.clock import Clock

from .dashscope_files import Files, Terms, _xml
from .dashscope_tasks import Task
from .ledger import Ledger

_PATH = re.compile(r"/files/([0-9a-f-]{36})/(\d{1,2})\.png")
_SECRET = b"emulated"


class ShopFiles(Files):
    """The store beside a service. ``signed``: a link is good for GET alone, as TOS and OSS do."""

    def __init__(self, terms: Terms, clock: Clock, ledger: Ledger, *, signed: bool) -> None:
        super().__init__(terms, clock, ledger)
        self._signed = signed
        self.broken: set[str] = set()
        """Tasks whose pictures are cut short."""

    def named(self, path: str) -> tuple[str, int] | None:
        """The task and the number of the picture that lies at ``path``."""
        match = _PATH.fullmatch(path)
        return None if match is None else (match[1], int(match[2]))

    def data(self, task: Task, number: int = 0) -> bytes:
        """The picture's bytes, for a service that hands them over inside its answer."""
        data = self._bytes(task, number)
        if task.task_id in self.broken:
            return data[: len(data) * 2 // 3]
        self._ledger.fetched(task, hashlib.sha256(data).hexdigest())
        return data

    def _url(self, task: Task, number: int, now: float) -> str:
        path = f"/files/{task.task_id}/{number}.png"
        if not self._signed:
            return self.base + path
        expires = int(now + self._terms.url_life_s)
        return f"{self.base}{path}?X-Expires={expires}&X-Signature={_sign('GET', expires, path)}"

    async def answer(
        self, request: web.BaseRequest, task: Task | None, number: int
    ) -> web.StreamResponse:
        """Serve picture ``number`` of ``task``; public links die with the task's time."""
        ended = None if self._signed or task is None else task.ended
        if ended is not None and self._clock.now() > ended + self._terms.url_life_s:
            return _xml(404, "NoSuchKey", "The specified key does not exist.")
        return await super().answer(request, task, number)

    def _refused(self, request: web.BaseRequest) -> web.Response | None:
        if not self._signed:
            return None
        query = request.rel_url.query
        try:
            expires = int(query.get("X-Expires", ""))
        except ValueError:
            return _xml(403, "AccessDenied", "You have no right to access this object.")
        if query.get("X-Signature") != _sign(request.method, expires, request.path):
            said = "The request signature we calculated does not match the signature you provided."
            return _xml(403, "SignatureDoesNotMatch", said)
        if self._clock.now() > expires:
            return _xml(403, "AccessDenied", "Request has expired.")
        return None


def _sign(method: str, expires: int, path: str) -> str:
    return hmac.new(_SECRET, f"{method} {expires} {path}".encode(), hashlib.sha256).hexdigest()
