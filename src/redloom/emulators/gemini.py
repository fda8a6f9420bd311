"""A stand-in for Gemini's image models: synchronous, base64, refusals inside 200, odd errors.

``redloom emulate gemini`` runs it. Traps: a 200 with words and no picture; moderation as
``finishReason`` or ``promptFeedback``; a bad key as 400; how long to wait only in the body, and
sometimes no details at all; a thinking model's draft before its picture; steps with a capital K.

Sources: ai.google.dev/gemini-api/docs (November 2026), the google-genai SDK's types, 429 bodies
recorded in python-genai 2044 and 2065 and gemini-cli 8437.
May import: errors, lang, clock (and aiohttp).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiohttp import web

from .contract import Variant
from .dashscope_tasks import Task
from .faults import parse
from .service_time import ServiceTime
from .shop import ShopEmulator, Terms, Wanted
from .shop_faults import COMMON, INLINE

__all__ = [
    "FAULTS",
    "Emulated",
    "Emulator",
    "GeminiEmulator",
    "ServiceTime",
    "parse_faults",
]

FAULTS = {**COMMON, **INLINE}
parse_faults = partial(parse, known=FAULTS)
"""Reads ``--faults``; raises BadInput for unknown names, saying the known ones."""
MODELS = ("gemini-2.5-flash-image", "gemini-3-pro-image-preview", "gemini-3.1-flash-image")
_CALL = re.compile(r"/v1beta/models/([^/:]+):generateContent")
_ABOUT = re.compile(r"/v1beta/models/([^/:]+)")
_SHAPES = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
_STEPS = {"1K": 1, "2K": 2, "4K": 4}
_OLDER = {
    "2:3": (832, 1248),
    "3:4": (864, 1184),
    "4:5": (896, 1152),
    "9:16": (768, 1344),
    "21:9": (1536, 672),
}
_NEWER = {
    "2:3": (848, 1264),
    "3:4": (896, 1200),
    "4:5": (928, 1152),
    "9:16": (768, 1376),
    "21:9": (1584, 672),
}

REFUSALS: Mapping[str, tuple[int, str, str, str]] = {
    "no-key": (403, "PERMISSION_DENIED", "CREDENTIALS_MISSING", "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of API consumer identity to call this API."),
    "wrong-key": (400, "INVALID_ARGUMENT", "API_KEY_INVALID", "API key not valid. Please pass a valid API key."),
    "key": (400, "INVALID_ARGUMENT", "API_KEY_INVALID", "API key expired. Please renew the API key."),
    "arrears": (429, "RESOURCE_EXHAUSTED", "", "You exceeded your current quota, please check your plan and billing details. Quota exceeded for metric: generate_content_free_tier_requests, limit: 0"),
    "exhausted": (429, "RESOURCE_EXHAUSTED", "", "You exceeded your current quota, please check your plan and billing details."),
    "body": (400, "INVALID_ARGUMENT", "", "Invalid JSON payload received."),
    "prompt": (400, "INVALID_ARGUMENT", "", "* GenerateContentRequest.contents: contents is not specified"),
    "parameter": (400, "INVALID_ARGUMENT", "", "Request contains an invalid argument."),
    "model": (404, "NOT_FOUND", "", "The model is not found for API version v1beta, or is not supported for generateContent."),
    "missing": (404, "NOT_FOUND", "", "Requested entity was not found."),
    "rate": (429, "RESOURCE_EXHAUSTED", "", "You exceeded your current quota, please check your plan and billing details."),
    "concurrency": (429, "RESOURCE_EXHAUSTED", "", "Resource has been exhausted (e.g. check quota)."),
    "quota": (429, "RESOURCE_EXHAUSTED", "MODEL_CAPACITY_EXHAUSTED", "No capacity available for the model on the server."),
    "error": (500, "INTERNAL", "", "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting"),
    "busy": (503, "UNAVAILABLE", "", "The model is overloaded. Please try again later."),
}  # fmt: skip
"""By our word for it: HTTP status, status, reason (in an ErrorInfo), message."""
_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel"
_QUOTAS = {"arrears": _DAY, "exhausted": _DAY, "rate": _MINUTE}
_TYPE = "type.googleapis.com/google.rpc."


@dataclass(frozen=True, kw_only=True)
class Emulated(Terms):
    """See `Terms`. Limits depend on the account's tier, so there are none unless told."""

    latency: ServiceTime = field(default_factory=lambda: ServiceTime(12, 0.3, 5, 60))


class GeminiEmulator(ShopEmulator):
    """The service, on one port."""

    prefix = "/v1beta"

    def key_of(self, request: web.BaseRequest) -> str:
        """The key in its own header, or in the query as older programs send it."""
        return request.headers.get("x-goog-api-key", "") or request.rel_url.query.get("key", "")

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """generateContent, and a model's description."""
        call, about = _CALL.fullmatch(request.path), _ABOUT.fullmatch(request.path)
        if request.method == "POST" and call:
            return await self._generate(request, call[1])
        if request.method == "GET" and about:
            self.ledger.counts["about"] += 1
            _, word = self.account(request)
            if word or about[1] not in MODELS:
                return self.refused(request, word or "model")
            return _json({"name": f"models/{about[1]}", "version": "001"})
        return self.refused(request, "missing")

    def refuse(self, request: web.BaseRequest, word: str, message: str = "") -> web.Response:
        """``{error: {code, status, message, details}}``; every fourth 429 lacks its details."""
        status, name, reason, said = REFUSALS[word]
        details: list[dict[str, Any]] = []
        if reason:
            details.append({"@type": f"{_TYPE}ErrorInfo", "reason": reason})
        if word in _QUOTAS:
            violation = {"quotaMetric": "generate_content_requests", "quotaId": _QUOTAS[word]}
            details.append({"@type": f"{_TYPE}QuotaFailure", "violations": [violation]})
            details.append({"@type": f"{_TYPE}Help", "links": []})
            delay = max(1, round(self.wait_s))
            details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{delay}s"})
        error: dict[str, Any] = {"code": status, "message": message or said, "status": name}
        if details and not (word == "rate" and self.ledger.counts["429 rate"] % 4 == 3):
            error["details"] = details
        return _json({"error": error}, status)

    async def _generate(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        task = await self.sell(request, lambda body: _read(name, body))
        if not isinstance(task, Task):
            return task
        return await self.answered(request, task, lambda: self._say(task))

    def refused(self, request: web.BaseRequest, word: str, message: str = "") -> web.Response:
        """As everywhere, but refused words are a 200 that holds a reason."""
        if word == "words":
            feedback = {"blockReason": "PROHIBITED_CONTENT"}
            return _json({"promptFeedback": feedback, "usageMetadata": {"promptTokenCount": 8}})
        return super().refused(request, word, message)

    def _say(self, task: Task) -> web.Response:
        parts: list[dict[str, Any]] = []
        finish = {"failed": "IMAGE_OTHER", "refused": "IMAGE_SAFETY"}.get(task.fate, "STOP")
        if task.fate == "empty":
            parts.append({"text": "I can describe the picture for you: a scene in soft light."})
        elif finish == "STOP":
            data = base64.b64encode(self.files.data(task)).decode()
            if "3-pro" in task.model:
                draft = {"mimeType": "image/png", "data": data[:-8] + "AAAAAAA="}
                parts.append({"thought": True, "inlineData": draft})
            parts.append({"inlineData": {"mimeType": "image/png", "data": data}})
        content = {"role": "model", "parts": parts}
        candidate = {"content": content, "finishReason": finish, "index": 0}
        usage = {"promptTokenCount": 8, "candidatesTokenCount": 1290 * task.billed}
        return _json(
            {"candidates": [candidate], "usageMetadata": usage, "modelVersion": task.model,
             "responseId": task.request_id}
        )  # fmt: skip


Emulator = GeminiEmulator
VARIANTS = {"": Variant(), "3-pro": Variant("gemini-3-pro-image-preview")}
"""See `contract`."""


def _read(name: str, body: dict[str, Any]) -> Wanted:
    contents = body.get("contents")
    parts = [
        part
        for content in (contents if isinstance(contents, list) else [])
        for part in (content.get("parts", []) if isinstance(content, dict) else [])
    ]
    words = "".join(str(part["text"]) for part in parts if "text" in part)
    pictures = sum("inlineData" in part for part in parts)
    if name not in MODELS:
        return Wanted(name, words, problem="model")
    if not words:
        return Wanted(name, words, problem="prompt")
    size = _size(name, (body.get("generationConfig") or {}).get("imageConfig") or {})
    if size is None or pictures > (3 if "2.5" in name else 14):
        return Wanted(name, words, problem="parameter")
    return Wanted(name, words, size, references=pictures)


def _size(name: str, shape: Mapping[str, Any]) -> tuple[int, int] | None:
    """The pixels of a shape and a step; None where the model does not know one of them."""
    ratio, step = shape.get("aspectRatio", "1:1"), shape.get("imageSize", "1K")
    if ratio not in _SHAPES or step not in _STEPS or ("2.5" in name and "imageSize" in shape):
        return None
    table = _OLDER if "2.5" in name else _NEWER
    turned = ":".join(reversed(ratio.split(":")))
    width, height = table.get(ratio) or table.get(turned, (1024, 1024))[::-1]
    return width * _STEPS[step], height * _STEPS[step]


def _json(body: Mapping[str, Any], status: int = 200) -> web.Response:
    """JSON as Google writes it: indented, never compressed here."""
    return web.Response(
        text=json.dumps(body, indent=2, ensure_ascii=False),
        status=status,
        content_type="application/json",
    )
