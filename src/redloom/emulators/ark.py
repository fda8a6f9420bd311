"""A stand-in for Volcengine Ark's image API (Seedream): synchronous, strict on sizes, with traps.

``redloom emulate ark`` runs it. Traps: an error in the place of the picture inside a 200; a
visible mark unless told not to (counted as ``watermarked``); 1024x1024 refused by 4.5 and 5.0
lite; a model's name without its date unknown; a series of pictures, each billed, where
``sequential_image_generation`` is ``auto``; links that refuse HEAD.

Sources: volcengine.com/docs/82379/1541523 and /1299023 (November 2026).
May import: errors, lang, clock (and aiohttp).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiohttp import web

from .contract import Variant
from .dashscope_tasks import Task
from .faults import parse
from .server import json_answer
from .service_time import ServiceTime
from .shop import ShopEmulator, Terms, Wanted
from .shop_faults import COMMON, INLINE, LINKS

__all__ = [
    "FAULTS",
    "ArkEmulator",
    "Emulated",
    "Emulator",
    "ServiceTime",
    "parse_faults",
]

FAULTS = {**COMMON, **LINKS, **INLINE}
parse_faults = partial(parse, known=FAULTS)
"""Reads ``--faults``; raises BadInput for unknown names, saying the known ones."""
MODELS: Mapping[str, tuple[int, int]] = {
    "seedream-3-0-t2i-250415": (262_144, 4_194_304),
    "seedream-4-0-250828": (921_600, 16_777_216),
    "seedream-4-5-251128": (3_686_400, 16_777_216),
    "seedream-5-0-260128": (3_686_400, 16_777_216),
    "seedream-5-0-pro-260628": (921_600, 4_624_220),
}
"""Least and most pixels of each model, by its name without ``doubao-``."""
_SERIES_MOST = 15
_SIZE = re.compile(r"(\d{2,5})x(\d{2,5})")
_NAMED = {"1K": 1024, "1.5K": 1536, "2K": 2048, "3K": 3072, "4K": 4096}

REFUSALS: Mapping[str, tuple[int, str, str]] = {
    "no-key": (401, "AuthenticationError", "the API key or AK/SK in the request is missing or invalid"),
    "wrong-key": (401, "AuthenticationError", "the API key or AK/SK in the request is missing or invalid"),
    "key": (401, "AuthenticationError", "the API key or AK/SK in the request is missing or invalid"),
    "arrears": (403, "AccountOverdueError", "The request failed because your account has an overdue balance."),
    "body": (400, "InvalidParameter", "The request body could not be read."),
    "prompt": (400, "MissingParameter", "The request failed because it is missing the prompt parameter."),
    "size": (400, "InvalidParameter", "The parameter size specified in the request is not valid."),
    "parameter": (400, "InvalidParameter", "A parameter specified in the request is not valid."),
    "words": (400, "InputTextSensitiveContentDetected", "The request failed because the input text may contain sensitive information."),
    "model": (404, "InvalidEndpointOrModel.NotFound", "The model or endpoint does not exist or you do not have access to it."),
    "missing": (404, "NotFound", "The requested resource was not found."),
    "rate": (429, "ModelAccountIpmRateLimitExceeded", "The account has exceeded the images per minute limit of this model."),
    "concurrency": (429, "InflightBatchsizeExceeded", "The request failed because too many requests are being processed."),
    "quota": (429, "ServerOverloaded", "The service is overloaded, please retry later."),
    "exhausted": (429, "QuotaExceeded", "Your free trial quota for this model has been used up."),
    "error": (500, "InternalServiceError", "The service encountered an unexpected internal error."),
    "busy": (503, "ServerOverloaded", "The service is currently unable to handle additional requests."),
}  # fmt: skip
"""By our word for it: status, code, message."""
_ENDS = {
    "failed": ("InternalServiceError", "The service encountered an unexpected internal error."),
    "refused": (
        "OutputImageSensitiveContentDetected",
        "The request failed because the output image may contain sensitive information.",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Emulated(Terms):
    """See `Terms`; the published 500 pictures a minute of each model hold unless told."""

    latency: ServiceTime = field(default_factory=lambda: ServiceTime(15, 0.3, 6, 60))


class ArkEmulator(ShopEmulator):
    """The service, on one port."""

    prefix = "/api/v3"
    rate = 500 / 60

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The one call there is."""
        if request.method != "POST" or request.path != "/api/v3/images/generations":
            return self.refused(request, "missing")
        asked: dict[str, Any] = {}

        def read(body: dict[str, Any]) -> Wanted:
            asked.update(body)
            return _read(body)

        task = await self.sell(request, read)
        if not isinstance(task, Task):
            return task
        if asked.get("watermark", True):
            self.ledger.counts["watermarked"] += 1
        return await self.answered(request, task, lambda: self._say(request, task, asked))

    def refuse(self, request: web.BaseRequest, word: str, message: str = "") -> web.Response:
        """``{error: {code, message, param, type}}``, in every case."""
        status, code, said = REFUSALS[word]
        request_id = self.new_id()
        text = f"{message or said} Request id: {request_id}"
        error = {"code": code, "message": text, "param": "", "type": _type(status)}
        return json_answer(request, {"error": error}, status, headers={"X-Request-Id": request_id})

    def _say(self, request: web.BaseRequest, task: Task, asked: dict[str, Any]) -> web.Response:
        if task.fate in _ENDS:
            code, message = _ENDS[task.fate]
            data: list[dict[str, Any]] = [{"error": {"code": code, "message": message}}]
        elif task.fate == "empty":
            data = []
        else:
            data = [self._entry(task, number, asked) for number in range(task.n)]
        tokens = task.width * task.height // 256 * task.billed
        usage = {"generated_images": task.billed, "output_tokens": tokens, "total_tokens": tokens}
        body = {"model": task.model, "created": int(self.clock.now()), "data": data, "usage": usage}
        return json_answer(request, body, headers={"X-Request-Id": task.request_id})

    def _entry(self, task: Task, number: int, asked: dict[str, Any]) -> dict[str, Any]:
        if asked.get("response_format") == "b64_json":
            data = base64.b64encode(self.files.data(task, number)).decode()
            return {"b64_json": data, "size": task.size}
        return {"url": self.files.urls(task, self.clock.now())[number], "size": task.size}


Emulator = ArkEmulator
VARIANTS = {
    "": Variant(),
    "4.0": Variant("doubao-seedream-4-0-250828"),
    "3.0": Variant("doubao-seedream-3-0-t2i-250415"),
    "base64": Variant(options={"response_format": "b64_json"}),
}
"""See `contract`."""


def _read(body: dict[str, Any]) -> Wanted:
    model, prompt = str(body.get("model", "")), body.get("prompt")
    bare = model.removeprefix("doubao-")
    words = prompt if isinstance(prompt, str) else ""
    if bare not in MODELS:
        return Wanted(model, words, problem="model")
    if not words:
        return Wanted(model, words, problem="prompt")
    least, most = MODELS[bare]
    size = _size(str(body.get("size", "2048x2048")))
    if size is None or not least <= size[0] * size[1] <= most:
        return Wanted(model, words, problem="size")
    newer = not bare.startswith("seedream-3")
    if newer and any(name in body for name in ("n", "seed", "negative_prompt", "guidance_scale")):
        return Wanted(model, words, problem="parameter")
    if "output_format" in body and not bare.startswith("seedream-5"):
        return Wanted(model, words, problem="parameter")
    images = body.get("image", [])
    references = len(images) if isinstance(images, list) else 1
    if references > (10 if "pro" in bare else 14):
        return Wanted(model, words, problem="parameter")
    return Wanted(model, words, size, body.get("seed"), _count(body), references)


def _count(body: Mapping[str, Any]) -> int:
    """How many pictures: one, or as many as a series may have."""
    if body.get("sequential_image_generation") != "auto":
        return 1
    options = body.get("sequential_image_generation_options")
    most = options.get("max_images", _SERIES_MOST) if isinstance(options, dict) else _SERIES_MOST
    return max(1, min(_SERIES_MOST, int(most)))


def _size(text: str) -> tuple[int, int] | None:
    if text in _NAMED:
        return _NAMED[text], _NAMED[text]
    match = _SIZE.fullmatch(text)
    if match is None:
        return None
    width, height = int(match[1]), int(match[2])
    return (width, height) if max(width, height) <= 16 * min(width, height) else None


def _type(status: int) -> str:
    kinds = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 429: "TooManyRequests"}
    return kinds.get(status, "BadRequest" if status < 500 else "InternalServerError")
