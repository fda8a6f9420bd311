"""A stand-in for OpenAI's images API, and for all who speak like it: vendors and relays.

``redloom emulate openai`` runs it; ``dialect`` says who it is (`openai_dialects.DIALECTS`). Traps:
no idempotency, base64 only, parameters refused by name, errors inside HTTP 200, pictures in the
Markdown of a chat, a wrong key that is 400 (xAI) or a bare string (SiliconFlow).

Sources: `openai_dialects`.
May import: errors, lang, clock (and aiohttp).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiohttp import web

from redloom.clock import Clock

from .contract import Variant
from .dashscope_tasks import Task
from .faults import parse
from .openai_dialects import DIALECTS, Dialect, Read, read, refusal
from .server import json_answer
from .service_time import ServiceTime
from .shop import ShopEmulator, Terms, Wanted
from .shop_faults import COMMON, INLINE, LINKS

__all__ = [
    "DIALECTS",
    "FAULTS",
    "VARIANTS",
    "Emulated",
    "Emulator",
    "OpenAIEmulator",
    "ServiceTime",
    "parse_faults",
    "speaking",
]

FAULTS = {**COMMON, **LINKS, **INLINE}
parse_faults = partial(parse, known=FAULTS)
"""Reads ``--faults``; raises BadInput for unknown names, saying the known ones."""


@dataclass(frozen=True, kw_only=True)
class Emulated(Terms):
    """See `Terms`."""

    latency: ServiceTime = field(default_factory=lambda: ServiceTime(25, 0.4, 8, 90))
    dialect: str = "openai"
    """Who it is: a name of `openai_dialects.DIALECTS`."""


def speaking(name: str) -> type[Emulated]:
    """The settings of a vendor's stand-in: its own dialect unless another is asked for."""

    @dataclass(frozen=True, kw_only=True)
    class Spoken(Emulated):
        dialect: str = name

    return Spoken


class OpenAIEmulator(ShopEmulator):
    """The service, on one port."""

    def __init__(self, settings: Emulated, clock: Clock) -> None:
        super().__init__(settings, clock)
        self.dialect = DIALECTS[settings.dialect]
        self.prefix = _root(self.dialect)
        self.heard: list[dict[str, Any]] = []
        """The bodies of create calls, without the bytes of references."""
        self._param = ""

    def key_of(self, request: web.BaseRequest) -> str:
        """The key in a request, in whichever header this service reads."""
        if self.dialect.key_header == "Authorization":
            return super().key_of(request)
        return request.headers.get(self.dialect.key_header, "").strip()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Create, edit, or list the models."""
        dialect, path = self.dialect, request.path
        if request.method == "GET" and path == dialect.list_path:
            word = self.account(request)[1]
            body = {"object": "list", "data": [{"id": name} for name in dialect.listed]}
            return self.refused(request, word) if word else json_answer(request, body)
        if request.method == "POST" and path == dialect.path:
            return await self._create(request, None)
        if request.method == "POST" and path == dialect.edits:
            return await self._create(request, await _form(request))
        return self.refused(request, "missing")

    def refuse(self, request: web.BaseRequest, word: str, message: str = "") -> web.Response:
        """A refusal in this service's shape."""
        status, body = refusal(self.dialect, word, message, self._param)
        self._param = ""
        headers = {"x-request-id": f"req_{self.new_id()}"}
        if status == 429 and self.dialect.errors == "openai" and word in ("rate", "quota"):
            headers["Retry-After"] = "12"
        if isinstance(body, str):
            return web.json_response(body, status=status, headers=headers)
        return json_answer(request, body, status, headers=headers)

    async def _create(
        self, request: web.BaseRequest, form: dict[str, Any] | None
    ) -> web.StreamResponse:
        asked: dict[str, Any] = {}

        def wanted(body: dict[str, Any]) -> Wanted:
            asked.update(body)
            self.heard.append({k: v for k, v in body.items() if k != "files"})
            return self._read(body)

        task = await self.sell(request, wanted, form)
        if not isinstance(task, Task):
            return task
        told = self._allowance(task)
        return await self.answered(request, task, lambda: self._say(request, task, asked, told))

    def _allowance(self, task: Task) -> dict[str, str]:
        """OpenAI's headers about requests, as they are when one is let in."""
        told = self.allowance(task) if self.dialect.errors == "openai" else None
        if told is None:
            return {}
        limit, left, reset_s = told
        span = f"{reset_s * 1000:.0f}ms" if reset_s < 1 else f"{reset_s:.3f}s"
        names = ("limit", "remaining", "reset")
        values = (str(limit), str(left), span)
        pairs = zip(names, values, strict=True)
        return {f"x-ratelimit-{name}-requests": value for name, value in pairs}

    def _read(self, body: dict[str, Any]) -> Wanted:
        dialect = self.dialect
        model, prompt = str(body.get("model", "")), _prompt(body)
        files = int(body.pop("files", 0))
        got = read(dialect, body)
        if dialect.models and not model.startswith(dialect.models):
            got = Read(problem="model")
        elif not prompt:
            got = Read(problem="prompt")
        elif len(prompt) > dialect.characters:
            got = Read(problem="parameter", message="The prompt is too long.", param="prompt")
        self._param = got.param
        return Wanted(
            model, prompt, got.size, _whole(body.get("seed")), int(body.get("n", 1)),
            files + _references(dialect, body), got.problem, got.message,
        )  # fmt: skip

    def _say(
        self, request: web.BaseRequest, task: Task, asked: dict[str, Any], told: dict[str, str]
    ) -> web.Response:
        if task.fate == "failed":
            return self.refused(request, "error")
        if task.fate == "refused":
            return self.refused(request, "output")
        pictures = (
            [] if task.fate == "empty" else [self._entry(task, n, asked) for n in range(task.n)]
        )
        body = self._body(task, pictures)
        headers = {"x-request-id": f"req_{task.request_id}", **told}
        return json_answer(request, body, headers=headers)

    def _entry(self, task: Task, number: int, asked: Mapping[str, Any]) -> dict[str, str]:
        """A picture as ``{url}`` or ``{b64_json}``, as asked where there is a choice."""
        how = self.dialect.answers
        bytes_asked = asked.get("response_format") in ("b64_json", "base64")
        if how in ("base64", "chat-images", "chat-markdown") or (how == "either" and bytes_asked):
            return {"b64_json": base64.b64encode(self.files.data(task, number)).decode()}
        return {"url": self.files.urls(task, self.clock.now())[number]}

    def _body(self, task: Task, pictures: list[dict[str, str]]) -> dict[str, Any]:
        created = int(self.clock.now())
        match self.dialect.answers:
            case "images":
                data = {"images": pictures, "data": pictures, "timings": {"inference": 3.1}}
                return {**data, "seed": task.seed or 0}
            case "minimax":
                urls = [picture["url"] for picture in pictures]
                metadata = {"success_count": str(len(urls)), "failed_count": "0"}
                data = {"image_urls": urls}
                return {
                    "id": task.task_id, "data": data, "metadata": metadata,
                    "base_resp": {"status_code": 0, "status_msg": "success"},
                }  # fmt: skip
            case "chat-images" | "chat-markdown":
                return {"id": task.task_id, "created": created, **_chat(self.dialect, pictures)}
        if self.dialect.answers == "base64" and self.dialect.edits:
            tokens = {"text_tokens": 10, "image_tokens": 0}
            usage = {"input_tokens": 10, "input_tokens_details": tokens, "output_tokens": 1056}
            return {"created": created, "data": pictures, "usage": {**usage, "total_tokens": 1066}}
        return {"created": created, "data": pictures}


def _root(dialect: Dialect) -> str:
    """What the base URL ends in: the path without the call."""
    for call in ("/images/generations", "/chat/completions", "/image_generation"):
        if dialect.path.endswith(call):
            root = dialect.path.removesuffix(call)
            return "" if root.startswith("/openai/deployments") else root
    return ""


async def _form(request: web.BaseRequest) -> dict[str, Any]:
    """A multipart form as a body: its plain fields, and how many files came."""
    if not request.content_type.startswith("multipart/"):
        return {}
    fields: dict[str, Any] = {"files": 0}
    for name, value in (await request.post()).items():
        if isinstance(value, str):
            fields[name] = json.loads(value) if value.isdecimal() else value
        else:
            fields["files"] += 1
    return fields


def _prompt(body: Mapping[str, Any]) -> str:
    """The words, from ``prompt`` or from a chat's only message."""
    prompt = body.get("prompt")
    if isinstance(prompt, str):
        return prompt
    try:
        content = body["messages"][0]["content"]
    except (KeyError, IndexError, TypeError):
        return ""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _references(dialect: Dialect, body: Mapping[str, Any]) -> int:
    given = [body[name] for name in dialect.references if name in body]
    count = sum(len(value) if isinstance(value, list) else 1 for value in given)
    try:
        content = body["messages"][0]["content"]
        count += sum(part.get("type") == "image_url" for part in content)
    except (KeyError, IndexError, TypeError, AttributeError):
        pass
    return count


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _chat(dialect: Dialect, pictures: list[dict[str, str]]) -> dict[str, Any]:
    """A chat's answer with pictures as data URLs, in their own field or in Markdown."""
    urls = [f"data:image/png;base64,{picture['b64_json']}" for picture in pictures]
    message: dict[str, Any] = {"role": "assistant"}
    if dialect.answers == "chat-images":
        images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        message |= {"content": "", **({"images": images} if images else {})}
        usage = {"usage": {"cost": 0.039 * len(urls), "total_tokens": 1300}}
    else:
        message["content"] = "\n\n".join(["Here it is:", *(f"![picture]({u})" for u in urls)])
        usage = {}
    return {"choices": [{"index": 0, "finish_reason": "stop", "message": message}], **usage}


Emulator = OpenAIEmulator
VARIANTS = {
    "": Variant(options={"vendor": "openai"}),
    "dall-e-3": Variant("dall-e-3", {"dialect": "dall-e-3"}, {"vendor": "openai"}),
    **{
        name: Variant("any-model", {"dialect": name})
        for name in ("relay", "relay-base64", "relay-200", "relay-zh")
    },
    "relay-chat": Variant("any-model", {"dialect": "relay-chat"}, {"vendor": "chat-relay"}),
}
"""See `contract`. Relays that have to be learnt first are tried in the provider's own tests."""
