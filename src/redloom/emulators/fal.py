"""A stand-in for fal.ai's queue: status, response and cancel at addresses of their own.

``redloom emulate fal`` runs it. Traps: the addresses lack the model's sub-path and may lie on
another port (``regional``); a COMPLETED status that holds an error; a result whose HTTP status is
the model's error; a picture blacked out by the safety check and billed (``task_nsfw``); cancelling
that comes too late; no list; error types in the body and in a header.

Sources: fal.ai/docs, model APIs, queue, errors, request-errors (November 2026).
May import: errors, lang, clock (and aiohttp).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiohttp import web

from redloom.clock import Clock
from redloom.lang import Text

from .contract import Variant
from .dashscope_tasks import Task
from .faults import Fault, parse
from .server import LocalServer, json_answer
from .service_time import ServiceTime
from .shop import ShopEmulator, Terms, Wanted
from .shop_faults import COMMON, LINKS, QUEUED

__all__ = [
    "FAULTS",
    "Emulated",
    "Emulator",
    "FalEmulator",
    "ServiceTime",
    "parse_faults",
]

FAULTS = {
    **COMMON,
    **QUEUED,
    **LINKS,
    "task_nsfw": Fault(
        "task",
        "nsfw",
        Text("图被涂黑，照样计费", "the picture is blacked out and billed all the same"),
    ),
}
parse_faults = partial(parse, known=FAULTS)
"""Reads ``--faults``; raises BadInput for unknown names, saying the known ones."""
MODELS = (
    "fal-ai/flux/schnell",
    "fal-ai/flux/dev",
    "fal-ai/flux-pro/v1.1",
    "fal-ai/flux-pro/kontext",
)
_CALL = re.compile(r"/([\w.-]+/[\w.-]+)/requests/([0-9a-f-]{36})(/status|/cancel)?")
_SHAPES = {
    "1:1": (1024, 1024),
    "3:4": (864, 1152),
    "4:3": (1152, 864),
    "9:16": (768, 1344),
    "16:9": (1344, 768),
}
_NAMED = {"square_hd": (1024, 1024), "portrait_4_3": (768, 1024), "landscape_4_3": (1024, 768)}

REFUSALS: Mapping[str, tuple[int, str, str]] = {
    "no-key": (401, "", "Authentication is required to access this application."),
    "wrong-key": (401, "", "Invalid API key."),
    "key": (401, "", "Invalid API key."),
    "arrears": (403, "", "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing."),
    "exhausted": (403, "", "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing."),
    "body": (400, "bad_request", "Could not parse the request body."),
    "parameter": (422, "value_error", "Input should be a valid value"),
    "prompt": (422, "missing", "Field required"),
    "words": (422, "content_policy_violation", "The input prompt was flagged by a content checker."),
    "model": (404, "", "Application not found"),
    "missing": (404, "", "Not Found"),
    "unknown": (404, "", "Request not found"),
    "rate": (429, "", "Rate limit exceeded. Please try again later."),
    "concurrency": (429, "", "Maximum concurrent requests reached."),
    "quota": (429, "", "Rate limit exceeded. Please try again later."),
    "error": (500, "internal_error", "Internal Server Error"),
    "busy": (503, "runner_scheduling_failure", "No runner could be allocated."),
}  # fmt: skip
"""By our word for it: status, type, words."""
_LISTED = frozenset({"value_error", "missing", "content_policy_violation"})
"""Types that models use: their ``detail`` is a list."""


@dataclass(frozen=True, kw_only=True)
class Emulated(Terms):
    """See `Terms`. ``regional``: status, response and cancel lie on another port."""

    latency: ServiceTime = field(default_factory=lambda: ServiceTime(6, 0.4, 2, 40))
    url_life_s: float = 7 * 86400.0
    record_life_s: float = 7 * 86400.0
    regional: bool = True


class FalEmulator(ShopEmulator):
    """The service, on one port, or two."""

    lane = "async"
    slots = 10
    signed_links = False

    def __init__(self, settings: Emulated, clock: Clock) -> None:
        super().__init__(settings, clock)
        self._region = LocalServer(self._handle) if settings.regional else None
        self._place = ""
        self._asked_of: dict[str, dict[str, Any]] = {}

    async def start(self) -> str:
        """Listen; returns the base URL."""
        base = await super().start()
        self._place = await self._region.start(0) if self._region else base
        return base

    async def stop(self) -> None:
        """Close both ports. Safe to call twice."""
        await super().stop()
        if self._region:
            await self._region.stop()

    def key_of(self, request: web.BaseRequest) -> str:
        """``Authorization: Key …``."""
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        return key.strip() if scheme.lower() == "key" else ""

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """A submit, or a call about a request."""
        if match := _CALL.fullmatch(request.path):
            return await self._about(request, match[2], match[3] or "")
        if request.method == "POST":
            return await self._submit(request, request.path.strip("/"))
        return self.refused(request, "missing")

    def refuse(self, request: web.BaseRequest, word: str, message: str = "") -> web.Response:
        """Words with a type, or a list of a model's errors."""
        status, kind, said = REFUSALS[word]
        body: dict[str, Any] = {"detail": message or said}
        headers = {"X-Fal-Error-Type": kind} if kind else {}
        if kind in _LISTED:
            error = {"loc": ["body", "prompt"], "msg": message or said, "type": kind}
            body, headers = {"detail": [error]}, {}
        elif kind:
            body["error_type"] = kind
        return json_answer(request, body, status, headers=headers)

    async def _submit(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        asked: dict[str, Any] = {}

        def read(body: dict[str, Any]) -> Wanted:
            asked.update(body)
            return _read(name, body)

        task = await self.sell(request, read)
        if not isinstance(task, Task):
            return task
        self._asked_of[task.task_id] = asked
        return await self.answered(request, task, lambda: self._accepted(request, task))

    def _accepted(self, request: web.BaseRequest, task: Task) -> web.Response:
        urls = self._urls(task)
        body = {"request_id": task.task_id, **urls, "status": "IN_QUEUE", "queue_position": 0}
        return json_answer(request, body)

    def _urls(self, task: Task) -> dict[str, str]:
        """Without the model's sub-path: ``fal-ai/flux/dev`` is asked as ``fal-ai/flux``."""
        app = "/".join(task.model.split("/")[:2])
        root = f"{self._place}/{app}/requests/{task.task_id}"
        return {
            "status_url": f"{root}/status",
            "response_url": root,
            "cancel_url": f"{root}/cancel",
        }

    async def _about(self, request: web.BaseRequest, task_id: str, verb: str) -> web.StreamResponse:
        if (request.method == "PUT") != (verb == "/cancel"):
            return self.refused(request, "missing")
        account, word = self.called(request, "cancel" if verb == "/cancel" else "poll")
        if word:
            return self.refused(request, word)
        if verb == "/cancel":
            return self._cancel(request, self.tasks.get(task_id))
        task = await self.polled(request, account, task_id)
        if not isinstance(task, Task):
            return task
        return self._status(request, task) if verb else self._response(request, task)

    def _status(self, request: web.BaseRequest, task: Task) -> web.Response:
        now = self.clock.now()
        state = task.status(now)
        body: dict[str, Any] = {"request_id": task.task_id, **self._urls(task)}
        if state == "PENDING":
            return json_answer(request, {**body, "status": "IN_QUEUE", "queue_position": 0}, 202)
        if state == "RUNNING":
            return json_answer(request, {**body, "status": "IN_PROGRESS", "logs": None}, 202)
        body["status"] = "COMPLETED"
        if state == "CANCELED":
            body.update(error="Request was cancelled", error_type="client_cancelled")
        elif task.fate == "failed":
            body.update(error="Runner error", error_type="runner_server_error")
        else:
            body["metrics"] = {"inference_time": round(task.takes_s, 3)}
        return json_answer(request, body)

    def _response(self, request: web.BaseRequest, task: Task) -> web.Response:
        if task.status(self.clock.now()) in ("PENDING", "RUNNING"):
            return json_answer(request, {"detail": "Request is still in progress"}, 400)
        if task.fate == "refused":
            said = "The generated content was flagged by a content checker."
            error = {"loc": ["body"], "msg": said, "type": "content_policy_violation"}
            return json_answer(request, {"detail": [error]}, 422)
        images = [] if task.fate == "empty" else self._images(task)
        body = {
            "images": images, "timings": {"inference": round(task.takes_s, 3)},
            "seed": task.seed or 0, "has_nsfw_concepts": [task.fate == "nsfw"] * len(images),
            "prompt": task.prompt,
        }  # fmt: skip
        return json_answer(request, body)

    def _images(self, task: Task) -> list[dict[str, Any]]:
        links = self.files.urls(task, self.clock.now())
        size = {"width": task.width, "height": task.height, "content_type": "image/png"}
        return [{"url": link, **size} for link in links]

    def _cancel(self, request: web.BaseRequest, task: Task | None) -> web.StreamResponse:
        struck = self.struck(request, "cancel")
        if struck is not None:
            return struck
        if task is None:
            return json_answer(request, {"status": "NOT_FOUND"}, 404)
        if self.call_off(task) or task.status(self.clock.now()) == "RUNNING":
            return json_answer(request, {"status": "CANCELLATION_REQUESTED"}, 202)
        return json_answer(request, {"status": "ALREADY_COMPLETED"}, 400)


Emulator = FalEmulator
VARIANTS = {"": Variant(), "kontext": Variant("fal-ai/flux-pro/kontext")}
"""See `contract`."""


def _read(name: str, body: dict[str, Any]) -> Wanted:
    words = str(body.get("prompt") or "")
    if name not in MODELS:
        return Wanted(name, words, problem="model")
    if not words:
        return Wanted(name, words, problem="prompt")
    count = body.get("num_images", 1)
    size = _size(name, body)
    if size is None or not isinstance(count, int) or not 1 <= count <= 4:
        return Wanted(name, words, problem="parameter")
    references = sum(bool(body.get(key)) for key in ("image_url", "image_urls"))
    return Wanted(name, words, size, body.get("seed"), count, references)


def _size(name: str, body: Mapping[str, Any]) -> tuple[int, int] | None:
    if name.endswith("kontext"):
        return _SHAPES.get(body.get("aspect_ratio", "1:1"), (1024, 768))
    wanted = body.get("image_size", "landscape_4_3")
    if isinstance(wanted, str):
        return _NAMED.get(wanted)
    try:
        width, height = int(wanted["width"]), int(wanted["height"])
    except (KeyError, TypeError, ValueError):
        return None
    # The model works in steps of sixteen and rounds what it is asked for.
    width, height = width // 16 * 16, height // 16 * 16
    return (width, height) if min(width, height) >= 64 and max(width, height) <= 4096 else None
