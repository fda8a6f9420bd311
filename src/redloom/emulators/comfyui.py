"""A stand-in for ComfyUI: its queue, history, websocket, uploads, cache, and its traps.

One graph at a time; the history is empty until a graph has ended and is gone after a restart
(``restart()``); a graph carried out before is answered from the cache and saves nothing; a
cancelled one ends as interrupted. Sources: docs.comfy.org, "Server routes", "Server messages";
ComfyUI's server.py.

May import: errors, lang, clock (and aiohttp).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import struct
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from aiohttp import web

from redloom.clock import Clock

from .comfyui_graph import CHECKPOINTS, Wanted, read, refusal
from .contract import Variant
from .faults import Faults, parse
from .ledger import Ledger, Purchase, prompt_sha
from .local_faults import LOST, NO, SLOW_S, faults_of
from .pictures import SMALLEST, picture
from .server import HTML, LocalServer, json_answer, lie, reset, text_answer
from .service_time import ServiceTime

__all__ = [
    "FAULTS",
    "Emulated",
    "Emulator",
    "parse_faults",
]

FAULTS = faults_of("submit", "answer", "task", "poll", "download", "picture")
parse_faults = partial(parse, known=FAULTS)
"""Reads ``--faults``; raises BadInput for unknown names, saying the known ones."""
PREVIEW_STEP = 4
"""A preview is sent every so many steps."""


@dataclass(frozen=True, slots=True)
class Emulated:
    """How the emulated server is to behave. Seconds are nominal."""

    port: int = 0
    latency: ServiceTime = field(default_factory=lambda: ServiceTime(12.0, 0.2, 6.0, 30.0))
    concurrency: int = 1
    """Always one: the program carries out one graph at a time. 0, no limit, changes nothing."""
    over: Literal["queue"] = "queue"
    """What exceeds it always waits."""
    faults: Faults = field(default_factory=Faults)
    keys: Mapping[str, str] = field(default_factory=dict)
    """Whose account each key is, for a login in front; empty: anybody may."""
    ledger_path: Path | None = None
    picture_size: str = "asked"
    """``small``: 64 pixels at the longer side, for speed."""
    own_ids: bool = False
    """An older server: it makes ids of its own, whatever ``prompt_id`` asks for."""
    whole_interrupt: bool = False
    """An older server: an interrupt stops whatever runs, whichever it names."""
    history_most: int = 10_000
    seed: int = 0


@dataclass(slots=True, kw_only=True, eq=False)
class Graph(Purchase):
    """A queued graph."""

    number: int
    graph: dict[str, Any]
    extra: dict[str, Any]
    wanted: Wanted
    client: str
    fate: str = ""
    takes_s: float = 0.0
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    messages: list[list[Any]] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)

    def row(self) -> list[Any]:
        """As it stands in the queue and in the history."""
        return [self.number, self.task_id, self.graph, self.extra, list(self.wanted.saves)]


class Emulator:
    """The server, on one port."""

    def __init__(self, settings: Emulated, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        self.ledger = Ledger(settings.ledger_path)
        self._server = LocalServer(self._handle)
        self._began = 0.0
        self._pending: list[Graph] = []
        self._running: Graph | None = None
        self._history: dict[str, Graph] = {}
        self._files: dict[str, tuple[Graph, int]] = {}
        self.uploads: set[str] = {"example.png"}
        self._cached: set[str] = set()
        self._sockets: dict[str, web.WebSocketResponse] = {}
        self._asked: Counter[str] = Counter()
        self._wake = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Listen; returns the base URL."""
        self._began = self._clock.now()
        base = await self._server.start(self.settings.port)
        self._worker = asyncio.get_running_loop().create_task(self._work())
        return base

    async def stop(self) -> None:
        """Close the port and the ledger's file. Safe to call twice."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
            self._worker = None
        await self._server.stop()
        self.ledger.close()

    async def restart(self) -> None:
        """Forget queue, history and cache, as the program does when it is started again."""
        assert self._worker is not None
        for socket in list(self._sockets.values()):
            await socket.close()
        self._worker.cancel()
        self._pending, self._running, self._history = [], None, {}
        self._cached.clear()
        self._worker = asyncio.get_running_loop().create_task(self._work())

    # What comes in

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path.removeprefix("/api")
        if path == "/emulator/ledger":
            return json_answer(request, self.ledger.as_json())
        window = self.settings.faults.window(self._clock.now() - self._began)
        if window:
            return reset(request) if window == "outage" else text_answer(HTML, 503)
        if not self._may(request):
            return text_answer("Unauthorized", 401, "text/plain")
        if request.method == "POST":
            return await self._posted(request, path)
        return await self._got(request, path)

    def _may(self, request: web.BaseRequest) -> bool:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        return not self.settings.keys or (scheme == "Bearer" and key in self.settings.keys)

    async def _posted(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        if path == "/prompt":
            return await self._submit(request)
        if path == "/upload/image":
            return await self._upload(request)
        body = _object(await request.read()) or {}
        if path == "/queue":
            gone = set(body.get("delete") or ())
            dropped = [g for g in self._pending if body.get("clear") or g.task_id in gone]
            for graph in dropped:
                self._pending.remove(graph)
                self._cancelled(graph)
            return web.Response()
        if path == "/interrupt":
            named = body.get("prompt_id")
            if self._running and (
                self.settings.whole_interrupt or named in (None, self._running.task_id)
            ):
                self._running.stop.set()
            return web.Response()
        return web.Response() if path in ("/free", "/history") else web.Response(status=404)

    async def _got(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        if path == "/ws":
            return await self._listen(request)
        if path == "/view":
            return await self._view(request)
        hit = self._poll_fault(path)
        if hit:
            if hit == "reset":
                return reset(request)
            return text_answer("" if hit == "empty" else HTML, NO.get(hit, 200))
        body = self._told(path)
        return web.Response(status=404) if body is None else json_answer(request, body)

    def _poll_fault(self, path: str) -> str:
        """The fault that hits a question about the queue or the history, or ''."""
        if not path.startswith(("/queue", "/history")):
            return ""
        self.ledger.counts["poll"] += 1
        number = self.ledger.counts["poll"]
        return self.settings.faults.at(self.settings.seed, "poll", number, path, number)

    def _told(self, path: str) -> dict[str, Any] | None:
        running = [] if self._running is None else [self._running.row()]
        pending = [graph.row() for graph in self._pending]
        if path == "/queue":
            return {"queue_running": running, "queue_pending": pending}
        if path == "/prompt":
            return {"exec_info": {"queue_remaining": len(running) + len(pending)}}
        if path == "/system_stats":
            return {"system": {"os": "posix", "comfyui_version": "0.3.75"}, "devices": []}
        if path.startswith("/object_info"):
            names = {"input": {"required": {"ckpt_name": [list(CHECKPOINTS), {}]}}}
            return {"CheckpointLoaderSimple": names}
        if path == "/history":
            return {key: _entry(graph) for key, graph in self._history.items()}
        if path.startswith("/history/"):
            key = path.removeprefix("/history/")
            return {key: _entry(self._history[key])} if key in self._history else {}
        return None

    # Submit

    async def _submit(self, request: web.BaseRequest) -> web.StreamResponse:
        self.ledger.counts["submit"] += 1
        number = self.ledger.counts["submit"]
        body = _object(await request.read())
        graph = (body or {}).get("prompt")
        wrong = refusal(graph, self.uploads)
        wanted = None if wrong else read(graph)  # type: ignore[arg-type]
        sha = prompt_sha(wanted.prompt if wanted else "")
        self._asked[sha] += 1
        hit = self._fault("submit", number, sha)
        standing = self.settings.faults.standing(number)
        if hit == "slow":
            await self._clock.sleep(SLOW_S)
        elif hit == "reset":
            return reset(request)
        elif hit or standing:
            if hit in ("invalid", "closed") and not standing:
                return json_answer(request, refusal(_BAD[hit], set()) or {}, 400)
            return text_answer(HTML, 401 if standing else NO[hit])
        if wrong or wanted is None or body is None:
            return json_answer(request, wrong or {}, 400)
        return self._queued(request, body, wanted, sha, number)

    def _queued(
        self, request: web.BaseRequest, body: dict[str, Any], wanted: Wanted, sha: str, number: int
    ) -> web.StreamResponse:
        given = body.get("prompt_id")
        key = given if isinstance(given, str) and not self.settings.own_ids else str(uuid.uuid4())
        now = self._clock.now()
        client = str(body.get("client_id") or "")
        extra = {
            **(body.get("extra_data") or {}),
            "client_id": client,
            "create_time": int(now * 1000),
        }
        graph = Graph(
            task_id=key, account="local", model=wanted.model, prompt=wanted.prompt, sha=sha,
            size=f"{wanted.size[0]}x{wanted.size[1]}", n=wanted.n, seed=wanted.seed,
            submitted=now, number=number, graph=body["prompt"], extra=extra, wanted=wanted,
            client=client,
            references=sum(n["class_type"] == "LoadImage" for n in body["prompt"].values()), fate=self._fault("task", number, sha),
            takes_s=self.settings.latency.of(self.settings.seed, wanted.prompt),
        )  # fmt: skip
        graph.billed = 0 if graph.fate else wanted.n
        self.ledger.accepted(graph)
        self._pending.append(graph)
        self._wake.set()
        hit = self._fault("answer", number, sha)
        if hit == "lost":
            return reset(request)
        if hit:
            return text_answer(*LOST[hit])
        return json_answer(request, {"prompt_id": key, "number": number, "node_errors": {}})

    def _fault(self, where: str, number: int, sha: str) -> str:
        return self.settings.faults.at(self.settings.seed, where, number, sha, self._asked[sha])

    async def _upload(self, request: web.BaseRequest) -> web.StreamResponse:
        name = ""
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            data = await part.read(decode=False)  # type: ignore[union-attr]
            if getattr(part, "name", "") == "image":
                name = getattr(part, "filename", "") or ""
                self.ledger.counts["upload"] += 1
                if not bytes(data):
                    name = ""
        if not name:
            return web.Response(status=400)
        self.uploads.add(name)
        return json_answer(request, {"name": name, "subfolder": "", "type": "input"})

    # Work

    async def _work(self) -> None:
        while True:
            self._wake.clear()
            if not self._pending:
                await self._wake.wait()
                continue
            graph = self._running = self._pending.pop(0)
            graph.started = self._clock.now()
            graph.state = "RUNNING"
            self.ledger.running(1)
            self.ledger.changed(graph)
            await self._carry_out(graph)
            self._running = None
            self._history[graph.task_id] = graph
            while len(self._history) > self.settings.history_most:
                del self._history[next(iter(self._history))]

    async def _carry_out(self, graph: Graph) -> None:
        await self._say(graph, "execution_start", {})
        mark = hashlib.sha256(json.dumps(graph.graph, sort_keys=True).encode()).hexdigest()
        known = mark in self._cached
        await self._say(graph, "execution_cached", {"nodes": list(graph.graph) if known else []})
        if not known and not await self._steps(graph):
            self._cancelled(graph)
            await self._say(
                graph, "execution_interrupted", {"node_id": "5", "node_type": "KSampler"}
            )
            return
        graph.ended = self._clock.now()
        if graph.fate in ("failed", "memory"):
            graph.state = "FAILED"
            self.ledger.changed(graph)
            await self._say(graph, "execution_error", _FAILURES[graph.fate])
            return
        if graph.fate != "empty" and not known:
            self._save(graph)
        self._cached.add(mark)
        graph.state = "SUCCEEDED"
        self.ledger.changed(graph)
        await self._say(graph, "execution_success", {})
        await self._tell(graph, "executing", {"node": None})

    async def _steps(self, graph: Graph) -> bool:
        """Step by step; False where it was interrupted between two."""
        steps = max(1, min(50, graph.wanted.steps))
        done = steps // 2 if graph.fate in ("failed", "memory") else steps
        for step in range(1, done + 1):
            await self._clock.sleep(graph.takes_s / steps)
            if graph.stop.is_set():
                return False
            await self._tell(graph, "progress", {"value": step, "max": steps, "node": "5"})
            if step % PREVIEW_STEP == 0:
                await self._preview(graph)
        return True

    def _save(self, graph: Graph) -> None:
        for node in graph.wanted.saves:
            inputs = graph.graph[node]["inputs"]
            saved = graph.graph[node]["class_type"] == "SaveImage"
            prefix = str(inputs.get("filename_prefix") or "ComfyUI") if saved else "ComfyUI_temp"
            images = []
            for number in range(graph.wanted.n):
                name = f"{prefix}_{len(self._files) + 1:05}_.png"
                self._files[name] = (graph, number)
                kind = "output" if saved else "temp"
                images.append({"filename": name, "subfolder": "", "type": kind})
            graph.outputs[node] = {"images": images}

    def _cancelled(self, graph: Graph) -> None:
        graph.state, graph.billed, graph.ended = "CANCELED", 0, self._clock.now()
        self.ledger.changed(graph)

    # The websocket

    async def _listen(self, request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        client = request.query.get("clientId", "")
        self._sockets[client] = socket
        status = {"status": {"exec_info": {"queue_remaining": len(self._pending)}}}
        await socket.send_json({"type": "status", "data": {**status, "sid": client}})
        async for _ in socket:
            pass
        self._sockets.pop(client, None)
        return socket

    async def _say(self, graph: Graph, kind: str, data: dict[str, Any]) -> None:
        """A message that the history keeps too."""
        data = {"prompt_id": graph.task_id, **data, "timestamp": int(self._clock.now() * 1000)}
        graph.messages.append([kind, data])
        await self._tell(graph, kind, data)

    async def _tell(self, graph: Graph, kind: str, data: dict[str, Any]) -> None:
        text = json.dumps({"type": kind, "data": {"prompt_id": graph.task_id, **data}})
        socket = self._sockets.get(graph.client)
        if socket is not None:
            with contextlib.suppress(ConnectionError, RuntimeError):
                await socket.send_str(text)

    async def _preview(self, graph: Graph) -> None:
        """A binary frame: event 1 (preview), kind 2 (PNG), then the bytes."""
        socket = self._sockets.get(graph.client)
        if socket is not None:
            data = struct.pack(">II", 1, 2) + picture(graph.sha, graph.task_id, 64, 64)
            with contextlib.suppress(ConnectionError, RuntimeError):
                await socket.send_bytes(data)

    # Pictures

    async def _view(self, request: web.BaseRequest) -> web.StreamResponse:
        self.ledger.counts["download"] += 1
        found = self._files.get(request.query.get("filename", ""))
        if found is None:
            return web.Response(status=404)
        graph, number = found
        hit = self._fault("download", self.ledger.counts["download"], graph.sha)
        if hit == "reset":
            return reset(request)
        if hit in ("expired", "error"):
            return web.Response(status=404 if hit == "expired" else 500)
        if hit == "html":
            return text_answer(HTML, 200)
        width, height = graph.wanted.size
        if self.settings.picture_size == "small":
            longest = max(width, height)
            width, height = (max(SMALLEST, side * 64 // longest) for side in (width, height))
        data = picture(graph.sha, f"{graph.task_id}/{number}", width, height)
        if self._fault("picture", self.ledger.counts["download"], graph.sha) == "broken":
            data = data[: len(data) // 2]
        self.ledger.fetched(graph, hashlib.sha256(data).hexdigest())
        kind = {"Content-Type": "image/png"}
        if hit == "truncated":
            return await lie(request, data[: len(data) // 2], len(data), kind)
        return web.Response(body=data, headers=kind)


def _entry(graph: Graph) -> dict[str, Any]:
    """A history entry."""
    good = graph.state == "SUCCEEDED"
    status = {
        "status_str": "success" if good else "error",
        "completed": good,
        "messages": graph.messages,
    }
    return {"prompt": graph.row(), "outputs": graph.outputs, "status": status, "meta": {}}


_BAD: Mapping[str, Any] = {
    "invalid": {"1": {"class_type": "SaveImage", "inputs": {}}},
    "closed": {"1": {"class_type": "MissingNode", "inputs": {}}},
}
"""Graphs that are refused as ``invalid`` and as ``closed``."""
_IMG2IMG: Mapping[str, Any] = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": CHECKPOINTS[0]}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "words", "clip": ["1", 1]}},
    "3": {"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["2", 0]}},
    "4": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
    "5": {"class_type": "VAEEncode", "inputs": {"pixels": ["4", 0], "vae": ["1", 2]}},
    "6": {
        "class_type": "KSampler",
        "inputs": {
            "model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["5", 0],
            "seed": 1, "steps": 8, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple",
            "denoise": 0.6,
        },
    },
    "7": {"class_type": "VAEDecode", "inputs": {"samples": ["6", 0], "vae": ["1", 2]}},
    "8": {"class_type": "SaveImage", "inputs": {"images": ["7", 0], "filename_prefix": "x"}},
}  # fmt: skip
VARIANTS = {"": Variant(), "image": Variant(options={"workflow": _IMG2IMG})}
"""The plain graph, and an exported one without placeholders that takes a reference picture."""

_FAILURES: Mapping[str, dict[str, Any]] = {
    "failed": {
        "node_id": "5", "node_type": "KSampler", "exception_type": "RuntimeError",
        "exception_message": "CUDA error: an illegal memory access was encountered",
        "traceback": [], "executed": [],
    },
    "memory": {
        "node_id": "6", "node_type": "VAEDecode", "exception_type": "torch.OutOfMemoryError",
        "exception_message": "Allocation on device 0 would exceed allowed memory. (out of memory)",
        "traceback": [], "executed": [],
    },
}  # fmt: skip


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
