"""A stand-in for Replicate: predictions with a list, cursors, and data that is gone in an hour.

``redloom emulate replicate`` runs it. Traps: input, output and files vanish after an hour while
the prediction stays; one output is a list and another model's a plain string; a 429 says how long
to wait only in its words; errors of predictions are words with a code inside; cursors.

Sources: replicate.com/docs (HTTP API, rate limits, error codes; November 2026).
May import: errors, lang, clock (and aiohttp).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from aiohttp import web

from redloom.clock import Clock

from .contract import Variant
from .dashscope_tasks import Task
from .faults import parse
from .server import json_answer
from .service_time import ServiceTime
from .shop import ShopEmulator, Terms, Wanted
from .shop_faults import COMMON, LINKS, LISTS, QUEUED

__all__ = [
    "FAULTS",
    "Emulated",
    "Emulator",
    "ReplicateEmulator",
    "ServiceTime",
    "parse_faults",
]

FAULTS = {**COMMON, **QUEUED, **LISTS, **LINKS}
parse_faults = partial(parse, known=FAULTS)
"""Reads ``--faults``; raises BadInput for unknown names, saying the known ones."""
OFFICIAL = (
    "black-forest-labs/flux-schnell",
    "black-forest-labs/flux-dev",
    "black-forest-labs/flux-1.1-pro",
    "black-forest-labs/flux-kontext-pro",
)
VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
COMMUNITY = {VERSION: "somebody/watercolour"}
"""Models that are asked for by their version."""
_CREATE = re.compile(r"/v1/models/([\w.-]+/[\w.-]+)/predictions")
_ONE = re.compile(r"/v1/predictions/([0-9a-f-]{36})(/cancel)?")
_SHAPES = {
    "1:1": (1024, 1024), "3:4": (896, 1152), "4:3": (1152, 896), "2:3": (832, 1216), "3:2": (1216, 832),
    "4:5": (896, 1088), "5:4": (1088, 896), "9:16": (768, 1344), "16:9": (1344, 768),
    "9:21": (640, 1536), "21:9": (1536, 640),
}  # fmt: skip
_PAGE = 100

REFUSALS: Mapping[str, tuple[int, str, str]] = {
    "no-key": (401, "Unauthenticated", "You did not pass an authentication token"),
    "wrong-key": (401, "Unauthenticated", "You did not pass a valid authentication token"),
    "key": (401, "Unauthenticated", "You did not pass a valid authentication token"),
    "arrears": (402, "Insufficient credit", "You have insufficient credit to run this model."),
    "exhausted": (402, "Monthly spend limit reached", "You have reached your monthly spend limit."),
    "body": (400, "Invalid request", "The request body is not valid JSON."),
    "parameter": (422, "Input validation failed", "- input.aspect_ratio: must be one of the options"),
    "prompt": (422, "Input validation failed", "- input: prompt is required"),
    "model": (404, "Not found", "The requested resource could not be found."),
    "version": (422, "Invalid version or not permitted", "The specified version does not exist (or perhaps you don't have permission to use it?)"),
    "missing": (404, "Not found", "The requested resource could not be found."),
    "unknown": (404, "Not found", "The requested resource could not be found."),
    "rate": (429, "", "Request was throttled. Your rate limit resets in ~{wait}s."),
    "concurrency": (429, "", "Request was throttled. Your rate limit resets in ~{wait}s."),
    "quota": (429, "", "Request was throttled. Expected available in {wait} seconds."),
    "error": (500, "Internal server error", "An unexpected error occurred."),
    "busy": (503, "Service unavailable", "The service is temporarily unavailable."),
    "words": (422, "Input validation failed", "- input.prompt: the prompt was flagged as sensitive."),
}  # fmt: skip
"""By our word for it: status, title (none: a detail alone), words."""
_ENDS = {
    "failed": "Prediction failed: the model ran out of memory (E1001)",
    "refused": "NSFW content detected. Try running it again, or try a different prompt.",
}


@dataclass(frozen=True, kw_only=True)
class Emulated(Terms):
    """See `Terms`; the published 600 predictions and 3000 other calls a minute hold unless told."""

    latency: ServiceTime = field(default_factory=lambda: ServiceTime(8, 0.4, 3, 60))
    task_calls_per_second: float | None = 50.0
    url_life_s: float = 3600.0
    data_life_s: float = 3600.0
    """How long input and output of a prediction are kept."""
    record_life_s: float = 30 * 86400.0
    list_lag_s: float = 2.0


class ReplicateEmulator(ShopEmulator):
    """The service, on one port."""

    lane = "async"
    rate = 10.0
    signed_links = False

    def __init__(self, settings: Emulated, clock: Clock) -> None:
        super().__init__(settings, clock)
        self.terms = settings
        self._inputs: dict[str, dict[str, Any]] = {}

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """A create call, one prediction, the list, or the account."""
        path, method = request.path, request.method
        if method == "POST" and (match := _CREATE.fullmatch(path)):
            return await self._create(request, match[1])
        if method == "POST" and path == "/v1/predictions":
            return await self._create(request, "")
        if match := _ONE.fullmatch(path):
            return await self._one(request, match[1], bool(match[2]))
        if method == "GET" and path == "/v1/predictions":
            return self._list(request)
        if method == "GET" and path == "/v1/account":
            account, word = self.account(request)
            if word:
                return self.refused(request, word)
            return json_answer(request, {"type": "user", "username": account})
        return self.refused(request, "missing")

    def refuse(self, request: web.BaseRequest, word: str, message: str = "") -> web.Response:
        """A problem of RFC 7807; a 429 is a detail alone."""
        status, title, detail = REFUSALS[word]
        body: dict[str, Any] = {
            "detail": (message or detail).replace("{wait}", str(max(1, round(self.wait_s))))
        }
        if title:
            body = {"title": title, **body, "status": status}
        return json_answer(request, body, status, content_type="application/problem+json")

    async def _create(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        given: dict[str, Any] = {}

        def read(body: dict[str, Any]) -> Wanted:
            asked = body.get("input")
            given.update(asked if isinstance(asked, dict) else {})
            return _read(name, body, given)

        task = await self.sell(request, read)
        if not isinstance(task, Task):
            return task
        self._inputs[task.task_id] = given
        return await self.answered(
            request, task, lambda: json_answer(request, self._prediction(task), 201)
        )

    async def _one(
        self, request: web.BaseRequest, task_id: str, cancel: bool
    ) -> web.StreamResponse:
        if request.method != ("POST" if cancel else "GET"):
            return self.refused(request, "missing")
        account, word = self.called(request, "cancel" if cancel else "poll")
        if word:
            return self.refused(request, word)
        if cancel:
            return self._cancel(request, self.tasks.get(task_id))
        task = await self.polled(request, account, task_id)
        return json_answer(request, self._prediction(task)) if isinstance(task, Task) else task

    def _cancel(self, request: web.BaseRequest, task: Task | None) -> web.StreamResponse:
        struck = self.struck(request, "cancel")
        if struck is not None:
            return struck
        if task is None:
            return self.refused(request, "unknown")
        self.call_off(task)
        return json_answer(request, self._prediction(task))

    def _list(self, request: web.BaseRequest) -> web.StreamResponse:
        account, word = self.called(request, "list")
        if word:
            return self.refused(request, word)
        struck = self.struck(request, "list")
        if struck is not None:
            return struck
        self.settle()
        query = request.rel_url.query
        now, newest_first = self.clock.now(), list(self.tasks.values())[::-1]
        first, last = _moment(query.get("created_after")), _moment(query.get("created_before"))
        found = [
            task
            for task in newest_first
            if task.account == account
            and (first or 0.0) <= task.submitted <= min(last or now, now - self.terms.list_lag_s)
        ]
        at = int(base64.urlsafe_b64decode(query.get("cursor", "MA==")) or 0)
        page = [self._prediction(task) for task in found[at : at + _PAGE]]
        following = None
        if at + _PAGE < len(found):
            cursor = base64.urlsafe_b64encode(str(at + _PAGE).encode()).decode()
            following = str(request.url.update_query(cursor=cursor))
        return json_answer(request, {"next": following, "previous": None, "results": page})

    def _prediction(self, task: Task) -> dict[str, Any]:
        now = self.clock.now()
        self._lane(task.account, task.model).advance(now)
        status = _status(task, now)
        ended = task.ended is not None and task.ended <= now
        gone = ended and now > (task.ended or 0.0) + self.terms.data_life_s
        name, _, version = task.model.partition(":")
        root = f"{self.files.base}/v1/predictions/{task.task_id}"
        return {
            "id": task.task_id,
            "model": name,
            "version": version or "hidden",
            "input": {} if gone else self._inputs.get(task.task_id, {}),
            "logs": "",
            "output": None if gone else self._output(task, now, status),
            "data_removed": gone,
            "error": _ENDS.get(task.fate) if status == "failed" else None,
            "source": "api",
            "status": status,
            "created_at": _iso(task.submitted),
            "started_at": _iso(task.started) if task.started is not None else None,
            "completed_at": _iso(task.ended) if ended and task.ended is not None else None,
            "metrics": {"predict_time": round(task.takes_s, 6)} if status == "succeeded" else {},
            "urls": {"get": root, "cancel": f"{root}/cancel"},
        }

    def _output(self, task: Task, now: float, status: str) -> list[str] | str | None:
        """A list of links, or a link alone from models that make one picture."""
        if status != "succeeded":
            return None
        links = [] if task.fate == "empty" else self.files.urls(task, now)
        single = "1.1-pro" in task.model or "kontext" in task.model
        return links[0] if single and links else links


Emulator = ReplicateEmulator
VARIANTS = {
    "": Variant(),
    "single": Variant("black-forest-labs/flux-1.1-pro"),
    "version": Variant(f"{COMMUNITY[VERSION]}:{VERSION}"),
}
"""See `contract`."""


def _read(name: str, body: Mapping[str, Any], given: Mapping[str, Any]) -> Wanted:
    words = str(given.get("prompt") or "")
    if not name:
        version = str(body.get("version") or "")
        if version not in COMMUNITY:
            return Wanted(version, words, problem="version")
        name = f"{COMMUNITY[version]}:{version}"
    elif name not in OFFICIAL:
        return Wanted(name, words, problem="model")
    if not words:
        return Wanted(name, words, problem="prompt")
    size, count = _SHAPES.get(str(given.get("aspect_ratio", "1:1"))), given.get("num_outputs", 1)
    if size is None or not isinstance(count, int) or not 1 <= count <= 4:
        return Wanted(name, words, problem="parameter")
    references = sum(bool(given.get(key)) for key in ("image", "image_prompt", "input_image"))
    return Wanted(name, words, size, given.get("seed"), count, references)


def _status(task: Task, now: float) -> str:
    names = {"PENDING": "starting", "RUNNING": "processing", "CANCELED": "canceled"}
    return names.get(task.status(now), "failed" if task.fate in _ENDS else "succeeded")


def _moment(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None


def _iso(moment: float) -> str:
    return (
        datetime.fromtimestamp(moment, UTC)
        .isoformat(timespec="microseconds")
        .replace("+00:00", "Z")
    )
