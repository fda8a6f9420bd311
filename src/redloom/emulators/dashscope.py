"""A stand-in for DashScope's image API: its paths, queue, limits, traps, and what it would bill.

``redloom emulate dashscope`` runs it; tests run it in their own event loop::

    emulator = DashScopeEmulator(Emulated(latency=ServiceTime(8, 0.4, 4, 16)), clock)
    base_url = await emulator.start()          # http://127.0.0.1:PORT/api/v1
    ...
    assert emulator.ledger.bought_twice() == []
    await emulator.stop()

Sources: see `dashscope_models` and `dashscope_answers`. What the public pages leave open (how a
rate is counted, whether too many tasks queue or are refused, the list's lag) is a setting.
May import: errors, lang, clock (and aiohttp).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

from aiohttp import web

from redloom.clock import Clock

from . import dashscope_answers as answers
from .changes import Change, parse_changes
from .contract import Variant
from .dashscope_faults import FAULTS
from .dashscope_files import PATH as FILE_PATH
from .dashscope_files import SLOW_S, Files
from .dashscope_models import PATHS, Model, Path, full_prompt, read
from .dashscope_service import Emulated, Service
from .dashscope_tasks import Task
from .faults import Faults, parse
from .ledger import Ledger, Purchase, prompt_sha, read_ledger
from .server import HTML, LocalServer, is_json, json_answer, reset, text_answer
from .service_time import ServiceTime

__all__ = [
    "FAULTS",
    "Change",
    "DashScopeEmulator",
    "Emulated",
    "Emulator",
    "Faults",
    "Ledger",
    "Purchase",
    "ServiceTime",
    "parse_changes",
    "parse_faults",
    "read_ledger",
]

TASKS = "/api/v1/tasks"
QUOTAS = "/api/v1/quotas"
SYNC_LOOK_S = 0.25
SYNC_LIMIT_S = 298.0
"""A synchronous request is cut here, as a response header of the service says."""
UNKNOWN_FOR_S = 10.0
BARE_FOR_S = 20.0
parse_faults = partial(parse, known=FAULTS)
"""Reads ``--faults``; raises BadInput for unknown names, saying the known ones."""


class DashScopeEmulator:
    """The service, on one port. Two of them are two regions."""

    def __init__(self, settings: Emulated, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        self._service = Service(settings, clock)
        self.ledger = self._service.ledger
        self._files = Files(settings, clock, self.ledger)
        self._server = LocalServer(self._handle)

    async def start(self) -> str:
        """Listen; returns the base URL, ending in ``/api/v1``."""
        self._service.started = self._clock.now()
        self._service.place = self._files.base = await self._server.start(self.settings.port)
        return f"{self._files.base}/api/v1"

    async def stop(self) -> None:
        """Close the port and the ledger's file. Safe to call twice."""
        await self._server.stop()
        self.ledger.close()

    # What comes in

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path, method = request.path, request.method
        if path.startswith("/emulator/"):
            return self._for_people(request)
        window = self.settings.faults.window(self._clock.now() - self._service.started)
        if window:
            return reset(request) if window == "outage" else self._refuse(request, "busy")
        if path.startswith(TASKS) and path[len(TASKS) :][:1] in ("", "/"):
            return await self._task_call(request, path[len(TASKS) :].strip("/"))
        if method == "POST" and path in PATHS:
            return await self._create(request, PATHS[path])
        if match := FILE_PATH.fullmatch(path):
            return await self._files.answer(
                request, self._service.tasks.get(match[1]), int(match[2])
            )
        if path == QUOTAS and method == "GET":
            return self._quotas(request)
        if path.startswith("/compatible-mode/v1/"):
            return await self._compatible(request, path.removeprefix("/compatible-mode/v1/"))
        return self._refuse(request, "missing")

    def _account(self, request: web.BaseRequest) -> tuple[str, str]:
        """(account, '') or ('', the refusal's word)."""
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            return "", "no-key"
        account = self.settings.keys.get(key.strip(), "")
        return account, "" if account else "wrong-key"

    # Create

    async def _create(self, request: web.BaseRequest, path: Path) -> web.StreamResponse:
        self.ledger.counts["submit"] += 1
        number = self.ledger.counts["submit"]
        body = _object(await request.read()) if is_json(request) else None
        prompt = full_prompt(path, body or {})
        identity = prompt_sha(prompt)
        self._service.asked[identity] += 1
        hit = self._service.fault("submit", number, identity, self._service.asked[identity])
        if hit == "reset":
            return reset(request)
        if hit == "slow":
            await self._clock.sleep(SLOW_S)
        account, word = self._account(request)
        word = word or self.settings.faults.standing(number) or _SUBMIT_WORDS.get(hit, "")
        if word:
            return self._refuse(
                request, answers.rate_word(self.settings.seed, number) if word == "rate" else word
            )
        if body is None:
            return self._refuse(request, "body")
        return await self._checked(request, path, body, account, number)

    async def _checked(
        self, request: web.BaseRequest, path: Path, body: dict[str, Any], account: str, number: int
    ) -> web.StreamResponse:
        name = str(body.get("model"))
        model = self._service.models.get(name)
        word = _mismatch(model, path, request.headers.get("X-DashScope-Async") == "enable")
        if model is None or word:
            return self._refuse(request, word)
        self._service.make_others()
        word = await self._paced(request, account, name, path, number)
        if word:
            return self._refuse(request, word)
        wanted = read(model, path, body)
        if wanted.problem and not (
            wanted.late and self.settings.late_validation and path != "multimodal"
        ):
            body_of = answers.refusal("body", self._service.new_id(), wanted.problem)
            return json_answer(request, {**body_of, "code": "InvalidParameter"}, 400)
        task = self._service.accept(account, name, path, wanted, full_prompt(path, body), number)
        return await self._answered(request, task, number)

    async def _paced(
        self, request: web.BaseRequest, account: str, name: str, path: Path, number: int
    ) -> str:
        """Keep to the submit rate and, where asked, to the tasks at once: '' or a refusal's word.

        With X-DashScope-Wait-Timeout the gateway holds a request that is too early.
        """
        patience = _seconds(request.headers.get("X-DashScope-Wait-Timeout"))
        while wait := self._service.wait_s(account, name):
            if wait > patience:
                return answers.rate_word(self.settings.seed, number)
            patience -= wait
            await self._clock.sleep(wait)
        kind = "sync" if path == "multimodal" else "async"
        return "" if self._service.has_room(account, name, kind) else "concurrency"

    async def _answered(
        self, request: web.BaseRequest, task: Task, number: int
    ) -> web.StreamResponse:
        """Answer a request that is accepted and paid for, or lose the answer."""
        hit = self._service.fault("answer", number, task.sha, self._service.asked[task.sha])
        status, body = 200, answers.accepted(task)
        if task.lane == "sync":
            status, body = await self._made_at_once(task)
        if hit == "lost":
            return reset(request)
        if hit == "slow":
            await self._clock.sleep(SLOW_S)
        if hit in _LOST:
            return text_answer(*_LOST[hit])
        headers = {"x-request-id": task.request_id, "x-dashscope-call-gateway": "true"}
        if task.lane == "sync":
            headers["x-dashscope-timeout"] = str(int(SYNC_LIMIT_S))
        return json_answer(request, body, status, headers=headers)

    async def _made_at_once(self, task: Task) -> tuple[int, dict[str, Any]]:
        give_up = task.submitted + SYNC_LIMIT_S
        while (now := self._clock.now()) < give_up:
            self._service.lane_of(task).advance(now)
            if task.ended is not None and task.ended <= now:
                break
            # Waiting for a slot has no known end: look again soon.
            done = now + SYNC_LOOK_S if task.ended is None else task.ended
            await self._clock.sleep(max(0.001, min(done, give_up) - now))
        if task.ended is None or task.ended > self._clock.now():
            return 500, answers.refusal("timeout", task.request_id)
        if task.fate == "failed":
            return 500, answers.refusal("algo", task.request_id)
        if task.fate == "refused":
            said = "Output data may contain inappropriate content."
            return 400, answers.refusal("inspected", task.request_id, said)
        self.ledger.told(task, self._clock.now())
        return 200, answers.made_at_once(task, self._files.urls(task, self._clock.now()))

    # Tasks

    async def _task_call(self, request: web.BaseRequest, rest: str) -> web.StreamResponse:
        task_id, _, verb = rest.partition("/")
        kind = "cancel" if verb == "cancel" else "poll" if task_id else "list"
        self.ledger.counts[kind] += 1
        account, word = self._account(request)
        if word:
            return self._refuse(request, word)
        if (request.method != ("POST" if verb else "GET")) or verb not in ("", "cancel"):
            return self._refuse(request, "missing")
        if self._service.call_wait_s(account, kind):
            return self._refuse(request, "rate")
        self._service.make_others()
        if kind == "list":
            return self._list(request, account)
        task = self._service.tasks.get(task_id)
        if task is not None and (task.account != account or task.lane == "sync"):
            task = None
        if kind == "cancel":
            return self._cancel(request, task)
        return await self._poll(request, task_id, task)

    async def _poll(
        self, request: web.BaseRequest, task_id: str, task: Task | None
    ) -> web.StreamResponse:
        now = self._clock.now()
        if task is None or now - task.submitted > self.settings.record_life_s:
            return self._say(request, answers.unknown(task_id, self._service.new_id()))
        task.polls += 1
        hit = self._service.fault("poll", self.ledger.counts["poll"], task.sha, task.polls)
        if hit == "reset":
            return reset(request)
        if hit == "slow":
            await self._clock.sleep(SLOW_S)
            now = self._clock.now()
        elif hit in _POLL_WORDS:
            return self._refuse(request, _POLL_WORDS[hit])
        elif hit in _POLL_TEXTS:
            return text_answer(*_POLL_TEXTS[hit])
        if task.fate == "unknown" and now - task.submitted < UNKNOWN_FOR_S:
            return self._say(request, answers.unknown(task_id, self._service.new_id()))
        return self._say(request, self._state(task, now))

    def _state(self, task: Task, now: float) -> dict[str, Any]:
        self._service.lane_of(task).advance(now)
        ended = task.ended is not None and task.ended <= now
        signed = now if self.settings.fresh_links or task.ended is None else task.ended
        urls = self._files.urls(task, signed) if ended else []
        if ended:
            self.ledger.told(task, now)
        tells = self.settings.original_prompt
        if tells is None:
            tells = self._service.models[task.model].tells and task.path.startswith(
                ("text", "image2")
            )
        told = answers.state(task, now, self._service.new_id(), urls, tells)
        late = ended and task.fate == "late" and now - (task.ended or now) < BARE_FOR_S
        return answers.bare(told) if late else told

    def _cancel(self, request: web.BaseRequest, task: Task | None) -> web.StreamResponse:
        hit = self._service.fault(
            "cancel", self.ledger.counts["cancel"], "", self.ledger.counts["cancel"]
        )
        if hit:
            return reset(request) if hit == "reset" else self._refuse(request, "error")
        if task is None or not self._service.cancel(task):
            return self._refuse(request, "cancel")
        return self._say(request, {"request_id": self._service.new_id()})

    def _list(self, request: web.BaseRequest, account: str) -> web.StreamResponse:
        number = self.ledger.counts["list"]
        hit = self._service.fault("list", number, account, number)
        if hit in ("reset", "error", "throttled"):
            return reset(request) if hit == "reset" else self._refuse(request, _POLL_WORDS[hit])
        now, query = self._clock.now(), request.rel_url.query
        asked = answers.window(query, now)
        if isinstance(asked, str):
            return self._refuse(request, asked)
        newest = min(now - self.settings.list_lag_s, asked[1])
        oldest = max(now - self.settings.record_life_s, asked[0])
        found = answers.between(self._service.listed(account), oldest, newest)[::-1]
        if answers.filtered(query):
            found = [task for task in found if answers.matches(self._row(task, now), query)]
        size = min(self.settings.list_page_most, answers.whole(query, "page_size", 10))
        page = answers.whole(query, "page_no", 1)
        data = [self._row(task, now) for task in found[(page - 1) * size : page * size]]
        body = {
            "total": len(found),
            "total_page": -(-len(found) // size),
            "page_no": page,
            "page_size": size,
            "request_id": self._service.new_id(),
            "data": data[: len(data) // 2] if hit == "short" else data,
        }
        return self._say(request, body)

    def _row(self, task: Task, now: float) -> dict[str, Any]:
        return answers.listed(task, now, self.settings.region)

    def _quotas(self, request: web.BaseRequest) -> web.StreamResponse:
        """The models' limits as they hold now (help page ``list-quotas``, November 2026)."""
        self.ledger.counts["quotas"] += 1
        account, word = self._account(request)
        if not account:
            return self._refuse(request, word)
        named = request.rel_url.query.get("model", "")
        names = [name for name in self._service.models if named in ("", name)]
        quotas = [self._service.quota(name) for name in names]
        output = {"total": len(quotas), "page_no": 1, "page_size": 20, "quotas": quotas[:20]}
        return self._say(request, {"request_id": self._service.new_id(), "output": output})

    # The compatible layer, and what people read

    async def _compatible(self, request: web.BaseRequest, rest: str) -> web.StreamResponse:
        account, word = self._account(request)
        if not account:
            status, code, message = answers.REFUSALS[word]
            return json_answer(
                request, answers.envelope(code, message, self._service.new_id()), status
            )
        if rest == "models":
            data = [
                {"id": name, "object": "model", "owned_by": "system"}
                for name in self._service.models
            ]
            return json_answer(request, {"object": "list", "data": data})
        chat = self.settings.chat
        body = _object(await request.read())
        if rest != "chat/completions" or chat is None or body is None:
            return self._refuse(request, "missing")
        self.ledger.counts["chat"] += 1
        said = chat(body)
        return json_answer(
            request,
            said if isinstance(said, dict) else answers.chatted(body, said, self._service.new_id()),
        )

    def _for_people(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/emulator/ledger":
            return json_answer(request, self.ledger.as_json())
        if request.path != "/emulator/state":
            return self._refuse(request, "missing")
        self._service.settle()
        now = self._clock.now()
        lanes: dict[str, Counter[str]] = {}
        for task in self._service.tasks.values():
            lane = lanes.setdefault(f"{task.account} {task.model} {task.lane}", Counter())
            lane[task.status(now)] += 1
        return json_answer(
            request, {"now": answers.beijing(now), "lanes": lanes, "counts": self.ledger.counts}
        )

    # Parts

    def _refuse(self, request: web.BaseRequest, word: str) -> web.Response:
        status, code, _ = answers.REFUSALS[word]
        if status == 429:
            self.ledger.counts[f"429 {code}"] += 1
        request_id = self._service.new_id()
        headers = {"x-request-id": request_id}
        if word == "exhausted":
            headers["Retry-After"] = answers.PLAN_RETRY_S
        body = answers.refusal(word, request_id)
        return json_answer(request, body, status, headers=headers, bare=status == 401)

    def _say(self, request: web.BaseRequest, body: Mapping[str, Any]) -> web.Response:
        return json_answer(request, body, content_type="application/json;charset=UTF-8")


Emulator = DashScopeEmulator
VARIANTS = {
    name: Variant(name)
    for name in (
        "wan2.6-t2i",
        "wan2.2-t2i-flash",
        "wan2.7-image",
        "wan2.5-i2i-preview",
        "wanx2.1-imageedit",
        "wanx-v1",
        "qwen-image",
        "qwen-image-2.0",
        "z-image-turbo",
        "kling/kling-v3-image-generation",
    )
} | {"singapore": Variant("wan2.1-t2i-plus", {"region": "ap-southeast-1"}, region="singapore")}
"""One of each shape, lane and way of asking for a size; see `contract`."""

_SUBMIT_WORDS = {
    "error": "error",
    "busy": "busy",
    "throttled": "rate",
    "burst": "burst",
    "concurrency": "concurrency",
    "quota": "quota",
    "exhausted": "exhausted",
    "unpaid": "unpaid",
    "refused": "inspected",
    "closed": "closed",
    "invalid": "invalid",
}
_POLL_WORDS = {"error": "error", "busy": "busy", "throttled": "rate"}
_POLL_TEXTS: Mapping[str, tuple[str, int, str]] = {
    "html": (HTML, 200, "text/html"),
    "empty": ("", 200, "application/json"),
    "json": ('{"request_id":"0","output":{"task_metrics":[]}}', 200, "application/json"),
}
_LOST: Mapping[str, tuple[str, int, str]] = {
    "504": ("upstream request timeout", 504, "text/plain"),
    "html": (HTML, 502, "text/html"),
    "empty": ("", 200, "application/json"),
}


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _seconds(text: str | None) -> float:
    """X-DashScope-Wait-Timeout: 3 to 120 seconds, or 0 where it is not given or out of range."""
    try:
        seconds = float(text or 0)
    except ValueError:
        return 0.0
    return seconds if 3 <= seconds <= 120 else 0.0


def _mismatch(model: Model | None, path: Path, asynchronous: bool) -> str:
    """The refusal's word where model, path and the asynchronous header do not go together."""
    if model is None:
        return "model"
    if path == "multimodal":
        if not model.synchronous:
            return "path"
        return "async" if asynchronous else ""
    if model.asynchronous != path:
        return "path"
    return "" if asynchronous else "sync"
