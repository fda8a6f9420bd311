"""A stand-in for AUTOMATIC1111's web UI: blocking calls behind one lock, progress, interrupt.

``info`` is JSON inside a string; an interrupted call answers 200 with half a picture; progress
is that of whatever runs; a client that hangs up does not stop the work. Source: the web UI's
modules/api/api.py.

May import: errors, lang, clock (and aiohttp).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from redloom.clock import Clock

from .faults import Faults, parse
from .ledger import Ledger, Purchase, prompt_sha
from .local_faults import LOST, NO, SLOW_S, faults_of
from .pictures import SMALLEST, picture
from .server import HTML, LocalServer, json_answer, reset, text_answer
from .service_time import ServiceTime

__all__ = [
    "FAULTS",
    "Emulated",
    "Emulator",
    "ServiceTime",
    "parse_faults",
]

FAULTS = faults_of("submit", "answer", "task", "picture")
parse_faults = partial(parse, known=FAULTS)
"""Reads ``--faults``; raises BadInput for unknown names, saying the known ones."""
CHECKPOINTS = ("sd_xl_base_1.0", "v1-5-pruned-emaonly")
SAMPLERS = ("DPM++ 2M", "Euler a", "Euler")
_ROUTES = ("/sdapi/v1/txt2img", "/sdapi/v1/img2img")


@dataclass(frozen=True, slots=True)
class Emulated:
    """How the emulated server is to behave. Seconds are nominal."""

    port: int = 0
    latency: ServiceTime = field(default_factory=lambda: ServiceTime(10.0, 0.2, 5.0, 25.0))
    faults: Faults = field(default_factory=Faults)
    keys: Mapping[str, str] = field(default_factory=dict)
    """Logins as ``user:password`` (or a proxy's token), and whose; empty: anybody may."""
    ledger_path: Path | None = None
    picture_size: str = "asked"
    api: bool = True
    """False: started without ``--api``."""
    seed: int = 0


class Emulator:
    """The server, on one port."""

    def __init__(self, settings: Emulated, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        self.ledger = Ledger(settings.ledger_path)
        self._server = LocalServer(self._handle)
        self._began = 0.0
        self._lock = asyncio.Lock()
        self._asked: Counter[str] = Counter()
        self._step = (0, 0)
        """Steps done and wanted of what runs; (0, 0): nothing runs."""
        self._interrupted = False
        self._works: set[asyncio.Task[tuple[int, dict[str, Any]]]] = set()

    async def start(self) -> str:
        """Listen; returns the base URL."""
        self._began = self._clock.now()
        return await self._server.start(self.settings.port)

    async def stop(self) -> None:
        """Close the port and the ledger's file. Safe to call twice."""
        for work in list(self._works):
            work.cancel()
        await asyncio.gather(*self._works, return_exceptions=True)
        await self._server.stop()
        self.ledger.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if path == "/emulator/ledger":
            return json_answer(request, self.ledger.as_json())
        window = self.settings.faults.window(self._clock.now() - self._began)
        if window:
            return reset(request) if window == "outage" else text_answer(HTML, 503)
        if not self.settings.api:
            return json_answer(request, {"detail": "Not Found"}, 404)
        if not self._may(request):
            return json_answer(request, {"detail": "Incorrect username or password"}, 401)
        if path in _ROUTES and request.method == "POST":
            return await self._submit(request, path)
        return self._asked_for(request, path)

    def _may(self, request: web.BaseRequest) -> bool:
        told = request.headers.get("Authorization", "")
        keys = self.settings.keys
        basic = {"Basic " + base64.b64encode(key.encode()).decode() for key in keys}
        return not keys or told in basic or told.removeprefix("Bearer ") in keys

    def _asked_for(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        if path == "/sdapi/v1/progress":
            self.ledger.counts["poll"] += 1
            done, of = self._step
            fraction = 0.01 + 0.99 * done / of if of else 0.0
            state = {"sampling_step": done, "sampling_steps": of, "interrupted": self._interrupted}
            body = {
                "progress": fraction, "eta_relative": 0.0, "state": state, "current_image": None,
                "textinfo": None,
            }  # fmt: skip
            return json_answer(request, body)
        if path in ("/sdapi/v1/interrupt", "/sdapi/v1/skip"):
            self._interrupted = bool(self._step[1])
            return json_answer(request, {})
        lists = {
            "/sdapi/v1/sd-models": [{"title": f"{n} [0]", "model_name": n} for n in CHECKPOINTS],
            "/sdapi/v1/samplers": [{"name": name} for name in SAMPLERS],
        }
        if path in lists:
            return web.json_response(lists[path])
        if path == "/sdapi/v1/options":
            return json_answer(request, {"sd_model_checkpoint": CHECKPOINTS[0]})
        return json_answer(request, {"detail": "Not Found"}, 404)

    async def _submit(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        self.ledger.counts["submit"] += 1
        number = self.ledger.counts["submit"]
        body = _object(await request.read())
        sha = prompt_sha(str((body or {}).get("prompt", "")))
        self._asked[sha] += 1
        hit = self._fault("submit", number, sha)
        if self.settings.faults.standing(number):
            return json_answer(request, {"detail": "Incorrect username or password"}, 401)
        if hit == "slow":
            await self._clock.sleep(SLOW_S)
        elif hit == "reset":
            return reset(request)
        elif hit == "error":
            return json_answer(
                request, _failed("RuntimeError", "NoneType object is not iterable"), 500
            )
        elif hit in _NO:
            return json_answer(request, _NO[hit][1], _NO[hit][0])
        elif hit:
            return text_answer(HTML, NO[hit])
        wrong = _wrong(body, path)
        if wrong is not None or body is None:
            status, said = wrong or (422, {})
            return json_answer(request, said, status)
        return await self._taken(request, body, sha, number)

    async def _taken(
        self, request: web.BaseRequest, body: dict[str, Any], sha: str, number: int
    ) -> web.StreamResponse:
        """From here on the work is done, whether or not anybody waits for it."""
        purchase = self._purchase(body, sha, number)
        fate = self._fault("task", number, sha)
        purchase.billed = 0 if fate else 1
        self.ledger.accepted(purchase)
        work = asyncio.get_running_loop().create_task(self._made(body, purchase, fate))
        self._works.add(work)
        work.add_done_callback(self._works.discard)
        status, said = await asyncio.shield(work)
        hit = self._fault("answer", number, sha)
        if hit == "lost":
            return reset(request)
        if hit:
            return text_answer(*LOST[hit])
        return json_answer(request, said, status)

    def _purchase(self, body: Mapping[str, Any], sha: str, number: int) -> Purchase:
        size = (int(body.get("width") or 512), int(body.get("height") or 512))
        return Purchase(
            task_id=f"call-{number}", account="local",
            model=str((body.get("override_settings") or {}).get("sd_model_checkpoint", "")),
            prompt=str(body.get("prompt", "")), sha=sha, size=f"{size[0]}x{size[1]}", n=1,
            seed=int(body.get("seed", -1)), lane="sync", references=len(body.get("init_images") or ()), submitted=self._clock.now(),
        )  # fmt: skip

    async def _made(
        self, body: Mapping[str, Any], purchase: Purchase, fate: str
    ) -> tuple[int, dict[str, Any]]:
        async with self._lock:
            purchase.started, purchase.state = self._clock.now(), "RUNNING"
            self._interrupted = False
            self.ledger.running(1)
            try:
                await self._steps(purchase, max(1, min(50, int(body.get("steps") or 20))))
            finally:
                self._step = (0, 0)
            purchase.ended = self._clock.now()
        if fate in ("failed", "memory"):
            purchase.state = "FAILED"
            self.ledger.changed(purchase)
            return 500, _failed(*_FAILURES[fate])
        purchase.state = "CANCELED" if self._interrupted else "SUCCEEDED"
        purchase.billed = 0 if self._interrupted else purchase.billed
        self.ledger.changed(purchase)
        return 200, self._answer(body, purchase, fate)

    async def _steps(self, purchase: Purchase, steps: int) -> None:
        takes = self.settings.latency.of(self.settings.seed, purchase.prompt)
        for step in range(steps):
            self._step = (step, steps)
            if self._interrupted:
                return
            await self._clock.sleep(takes / steps)

    def _answer(self, body: Mapping[str, Any], purchase: Purchase, fate: str) -> dict[str, Any]:
        seed = (
            purchase.seed if purchase.seed is not None and purchase.seed >= 0 else len(self._asked)
        )
        mark = self._fault("picture", self.ledger.counts["submit"], purchase.sha)
        images = [] if fate == "empty" else [self._picture(purchase, broken=mark == "broken")]
        info = {"prompt": purchase.prompt, "seed": seed, "all_seeds": [seed], "infotexts": [""]}
        return {"images": images, "parameters": dict(body), "info": json.dumps(info)}

    def _picture(self, purchase: Purchase, *, broken: bool) -> str:
        width, height = map(int, purchase.size.split("x"))
        if self.settings.picture_size == "small":
            longest = max(width, height)
            width, height = (max(SMALLEST, side * 64 // longest) for side in (width, height))
        data = picture(purchase.sha, purchase.task_id, width, height)
        if broken:
            data = data[: len(data) // 2]
        self.ledger.fetched(purchase, hashlib.sha256(data).hexdigest())
        return base64.b64encode(data).decode()

    def _fault(self, where: str, number: int, sha: str) -> str:
        return self.settings.faults.at(self.settings.seed, where, number, sha, self._asked[sha])


def _wrong(body: dict[str, Any] | None, path: str) -> tuple[int, dict[str, Any]] | None:
    """The refusal of a bad request; None for a good one."""
    if body is None:
        return 422, {
            "detail": [
                {"loc": ["body"], "msg": "value is not a valid dict", "type": "type_error.dict"}
            ]
        }
    for name in ("width", "height", "steps", "seed"):
        if name in body and not isinstance(body[name], int):
            return 422, {
                "detail": [
                    {
                        "loc": ["body", name],
                        "msg": "value is not a valid integer",
                        "type": "type_error.integer",
                    }
                ]
            }
    if body.get("sampler_name", SAMPLERS[0]) not in SAMPLERS:
        return 404, {"detail": "Sampler not found"}
    model = (body.get("override_settings") or {}).get("sd_model_checkpoint")
    if model and model not in CHECKPOINTS:
        return 500, _failed("RuntimeError", f"Unknown checkpoint: {model}")
    if path.endswith("img2img") and not body.get("init_images"):
        return 404, {"detail": "Init image not found"}
    return None


def _failed(kind: str, words: str) -> dict[str, Any]:
    return {"error": kind, "detail": "", "body": "", "errors": words}


_NO: Mapping[str, tuple[int, dict[str, Any]]] = {
    "invalid": (404, {"detail": "Sampler not found"}),
    "closed": (500, _failed("RuntimeError", "Unknown checkpoint: other")),
}
_FAILURES = {
    "failed": ("NansException", "A tensor with NaNs was produced in VAE."),
    "memory": ("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB"),
}


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
