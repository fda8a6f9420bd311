"""ComfyUI: any workflow in API format, on one's own server.

Protocol: docs.comfy.org, "Server routes" and "Server messages" (November 2026), and ComfyUI's
server.py. ``POST /prompt`` queues a graph; ``/history/{id}`` is empty until it has ended; the
server works on one graph at a time and keeps its history, but not over a restart. Each graph
carries a note of ours in ``extra_data``, by which a lost answer is found again.

Options of an endpoint: ``workflow`` (file; without one a plain text-to-image graph), ``nodes``
(places by node, see `_comfyui_graph`), ``steps``, ``cfg`` and any other ``{name}`` of the graph.

May import: endpoint, errors, lang.
"""

from __future__ import annotations

import asyncio
import math
import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from redloom.endpoint import (
    FREE,
    Asked,
    Canceled,
    Capabilities,
    Defaults,
    Endpoint,
    Failed,
    Fitted,
    Lane,
    Limits,
    Made,
    Outcome,
    Picture,
    Price,
    Provider,
    Seen,
    Ticket,
    Times,
    Tools,
    Unknown,
    Waiting,
)
from redloom.errors import AnswerLost, NotAllowed, NotSent, Refused, ServiceError, Unavailable
from redloom.lang import Text

from ._comfyui_errors import forgotten, no_picture, objects, submit_error, task_error
from ._comfyui_graph import ROLES, Workflow, workflow_of
from ._comfyui_socket import Socket
from ._local_server import fitted_size, login, place_of, reference, resized

__all__ = ["DEFAULTS", "create"]

DEFAULTS = Defaults(
    key_variables=("COMFYUI_API_KEY",),
    url_variables=("COMFYUI_URL", "COMFYUI_BASE_URL"),
    base_url="http://127.0.0.1:8188",
    needs_key=False,
    label=Text("ComfyUI（自己的服务器）", "ComfyUI (your own server)"),
)
_SIZES = (
    (1024, 1024),
    (896, 1152),
    (1152, 896),
    (832, 1216),
    (1216, 832),
    (768, 1344),
    (1344, 768),
)
_STEP = 8
_SEED_MOST = 2**64 - 1
"""ComfyUI's own bound for a seed."""
_TOLD = "redloom"
_FILE_S = 120.0
_INTERRUPT_LOOKS = 8


def create(endpoint: Endpoint, tools: Tools) -> Provider:
    """The provider for one endpoint; no network. Raises BadSettings for an unusable workflow."""
    return ComfyUI(endpoint, tools)


class ComfyUI:
    """One workflow at one server. See `endpoint.Provider`."""

    def __init__(self, endpoint: Endpoint, tools: Tools) -> None:
        self._endpoint = endpoint
        self._clock = tools.clock
        self._rng = random.Random()
        self._workflow: Workflow = workflow_of(endpoint.options)
        base_url = (endpoint.base_url or DEFAULTS.base_url).rstrip("/")
        self._where = place_of(base_url)
        headers = login(tools.key.strip())
        self._headers = headers
        self._wire = tools.wire(base_url, headers=headers, clock=tools.clock)
        self._client = uuid.uuid4().hex
        self._tell = tools.progress
        self._socket = Socket(self._wire, self._client, headers, self._advanced)
        self._keys: dict[str, str] = {}
        """Keys of the jobs queued from here, by prompt id."""
        self._dropped: set[str] = set()
        """What was taken from the queue: the server keeps no trace of it."""
        self._sent: set[str] = set()
        """References that the server has."""
        self._checkpoint = endpoint.model

    def capabilities(self) -> Capabilities:
        """What the endpoint's workflow has places for."""
        workflow = self._workflow
        return Capabilities(
            lanes=("async",),
            queues_excess=True,
            lists_tasks=True,
            list_lag_s=1.0,
            prompt_in_result=True,
            cancels=True,
            sizes=_SIZES if self._sized else (),
            seed=workflow.takes("seed"),
            negative_prompt=workflow.takes("negative"),
            references=workflow.images,
            typical_s=15.0,
            free=True,
            record_life_s=math.inf,
            gives_links=False,
            moderates=False,
            throttles=False,
        )

    def limits(self) -> Limits:
        """One graph at a time; nothing is counted by the minute."""
        return Limits(concurrency=1, poll_per_second=5.0)

    def price(self, asked: Asked) -> Price:
        """Nothing, unless the endpoint names a price (a rented GPU)."""
        return self._endpoint.price or FREE

    def fit(self, asked: Asked) -> Fitted:
        """The request as the workflow takes it; what it has no place for is left out and said.

        Raises Refused for an empty prompt and for more references than the workflow takes.
        """
        if not asked.prompt.strip():
            raise Refused(
                "提示词是空的；没有发出，没有花钱。",
                "The prompt is empty; nothing was sent or spent.",
            )
        images = self._workflow.images
        if len(asked.references) > images:
            raise Refused(
                f"这个工作流用 {images} 张参考图，这里有 {len(asked.references)} 张；没有发出，没有花钱。",
                f"The workflow takes {images} reference pictures, {len(asked.references)} were "
                "given; nothing was sent or spent.",
            )
        asked, notes = self._fit_size(asked)
        if asked.negative_prompt and not self._workflow.takes("negative"):
            asked = replace(asked, negative_prompt="")
            notes.append(_NO_NEGATIVE)
        left = [name for name in asked.options if not self._takes_option(name)]
        if left:
            kept = {name: value for name, value in asked.options.items() if name not in left}
            asked = replace(asked, options=kept)
            shown = [name for name in left if name not in self._endpoint.options]
            notes += [_NO_OPTION.format(names=", ".join(sorted(shown)))] if shown else []
        return Fitted(asked, tuple(notes))

    async def submit(self, asked: Asked, lane: Lane) -> Ticket:
        """Queue one graph. See `endpoint.Provider.submit` for what its errors mean.

        References are uploaded first; until the graph itself is sent, nothing is begun.
        """
        self._socket.listen()
        images = tuple([await self._uploaded(item) for item in asked.references])
        prompt_id = str(uuid.uuid4())
        seed = self._rng.randrange(2**32) if asked.seed is None else asked.seed % _SEED_MOST
        values = await self._values(asked, seed)
        graph = self._workflow.filled(values, images, prompt_id[:8])
        note = {"prompt": asked.prompt, "model": asked.model, "created": self._clock.now()}
        body = {
            "prompt": graph,
            "client_id": self._client,
            "prompt_id": prompt_id,
            "extra_data": {_TOLD: {**note, "seed": seed}},
        }
        answer = await self._wire.post("/prompt", body, timeout_s=60.0)
        given = answer.body.get("prompt_id") if answer.body else None
        if answer.status == 200 and isinstance(given, str) and given:
            # An older server makes an id of its own.
            self._keys[given] = asked.key
            return Ticket(given, data={"seed": seed})
        raise submit_error(answer.status, answer.body, self._where, answer.retry_after_s())

    async def poll(self, ticket: Ticket) -> Outcome:
        """What became of a graph: from the history, the socket, the queue, in this order."""
        outcome = await self._asked_about(ticket)
        if not isinstance(outcome, Waiting):
            self._keys.pop(ticket.id, None)
        return outcome

    async def _asked_about(self, ticket: Ticket) -> Outcome:
        entry = await self._entry(ticket.id)
        if entry is not None:
            return await self._ended(entry, ticket)
        progress = self._socket.progress(ticket.id)
        if progress is not None:
            return Waiting(True, progress=progress)
        running, pending = await self._queue()
        if ticket.id in running:
            self._socket.listen()
            return Waiting(True)
        if ticket.id in pending:
            return Waiting(False)
        # It may have ended between the two questions.
        entry = await self._entry(ticket.id)
        if entry is not None:
            return await self._ended(entry, ticket)
        if ticket.id in self._dropped:
            return Canceled()
        if "seed" not in ticket.data:
            return Unknown()
        return Failed(forgotten(self._where))

    async def look(self, since: float, until: float) -> Sequence[Seen]:
        """Every graph of ours, queued, running or ended, that the server still knows.

        Graphs without our note are other people's and never ours.
        """
        running, pending = await self._queue()
        history = await self._get("/history")
        seen: dict[str, Seen] = {}
        for state, entries in (("queued", pending), ("running", running)):
            for key, entry in entries.items():
                _see(seen, key, _note_of(entry), state)
        for key, entry in history.items():
            if isinstance(entry, Mapping):
                _see(seen, key, _note_of(entry.get("prompt")), _state_of(entry))
        return [task for task in seen.values() if since <= task.created <= until]

    async def cancel(self, ticket: Ticket) -> bool:
        """Take it from the queue, or interrupt it between two steps; whether it was stopped."""
        running, pending = await self._queue()
        if ticket.id in pending:
            await self._post("/queue", {"delete": [ticket.id]})
            running, pending = await self._queue()
            if ticket.id not in running and ticket.id not in pending:
                gone = await self._entry(ticket.id) is None
                self._dropped.update([ticket.id] if gone else [])
                return gone
        if ticket.id not in running:
            return False
        await self._post("/interrupt", {"prompt_id": ticket.id})
        for _ in range(_INTERRUPT_LOOKS):
            entry = await self._entry(ticket.id)
            if entry is not None:
                return _state_of(entry) == "canceled"
            await self._clock.sleep(0.5)
        return False

    async def check(self) -> None:
        """Ask the server how it is; free."""
        await self._get("/system_stats")

    async def close(self) -> None:
        """Give connections back."""
        await self._socket.close()
        await self._wire.close()

    def _advanced(self, prompt_id: str, fraction: float) -> None:
        key = self._keys.get(prompt_id)
        if key is not None:
            self._tell(key, fraction)

    @property
    def _sized(self) -> bool:
        return self._workflow.takes("width") and self._workflow.takes("height")

    def _fit_size(self, asked: Asked) -> tuple[Asked, list[Text]]:
        if asked.size is None:
            return asked, []
        if not self._sized:
            return replace(asked, size=None), [_NO_SIZE]
        size = fitted_size(asked.size, _STEP)
        if size == asked.size:
            return asked, []
        return replace(asked, size=size), [resized(asked.size, size, _STEP)]

    def _takes_option(self, name: str) -> bool:
        return name not in ("workflow", "nodes", "rewrite_hosts") and self._workflow.takes(name)

    async def _values(self, asked: Asked, seed: int) -> dict[str, Any]:
        values: dict[str, Any] = {
            **{k: v for k, v in self._endpoint.options.items() if self._takes_option(k)},
            **{k: v for k, v in asked.options.items() if k not in ROLES or k in ("steps", "cfg")},
            "prompt": asked.prompt,
            "negative": asked.negative_prompt,
            "seed": seed,
        }
        if asked.size is not None:
            values["width"], values["height"] = asked.size
        if asked.model or "model" in self._workflow.words:
            values["model"] = asked.model or await self._first_checkpoint()
        return values

    async def _first_checkpoint(self) -> str:
        """The first model that the server has, for the plain graph without a model's name."""
        if not self._checkpoint:
            told = await self._get("/object_info/CheckpointLoaderSimple")
            try:
                names = told["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"][0]
                self._checkpoint = str(names[0])
            except (KeyError, IndexError, TypeError) as error:
                raise NotAllowed(
                    f"ComfyUI（{self._where}）里没有检查点模型；没有花钱。请放一个进 models/checkpoints，"
                    "或用 workflow 指明自己的工作流。",
                    f"ComfyUI at {self._where} has no checkpoint; nothing was spent. Put one into "
                    "models/checkpoints, or name a workflow of your own.",
                ) from error
        return self._checkpoint

    async def _uploaded(self, item: str) -> str:
        """Send a reference picture once; its name at the server."""
        picture = await asyncio.to_thread(reference, item)
        if picture.name not in self._sent:
            answer = await self._upload(picture.name, picture.data)
            self._sent.add(picture.name)
            return answer
        return picture.name

    async def _upload(self, name: str, data: bytes) -> str:
        import aiohttp

        form = aiohttp.FormData()
        form.add_field("image", data, filename=name)
        form.add_field("overwrite", "true")
        limit = aiohttp.ClientTimeout(total=max(10.0, self._clock.real(_FILE_S)))
        try:
            async with (
                self._wire.session() as session,
                session.post(
                    f"{self._wire.base_url}/upload/image",
                    data=form, headers=self._headers, timeout=limit,
                ) as answer,
            ):  # fmt: skip
                told = await answer.json(content_type=None) if answer.status == 200 else None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise NotSent(*_not_uploaded(self._where, type(error).__name__)) from error
        if not isinstance(told, dict) or not told.get("name"):
            raise Unavailable(*_not_uploaded(self._where, f"HTTP {answer.status}"))
        folder = told.get("subfolder")
        return f"{folder}/{told['name']}" if folder else str(told["name"])

    async def _entry(self, prompt_id: str) -> Mapping[str, Any] | None:
        """The history's entry of a graph that has ended; None before."""
        entry = (await self._get(f"/history/{prompt_id}")).get(prompt_id)
        return entry if isinstance(entry, Mapping) else None

    async def _queue(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What runs and what waits, by id."""
        told = await self._get("/queue")
        found = []
        for name in ("queue_running", "queue_pending"):
            rows = told.get(name)
            rows = rows if isinstance(rows, list) else []
            found.append({str(r[1]): r for r in rows if isinstance(r, list) and len(r) > 2})
        return found[0], found[1]

    async def _get(self, path: str) -> dict[str, Any]:
        try:
            answer = await self._wire.get(path)
        except AnswerLost as lost:
            raise Unavailable(*_query(self._where, type(lost.__cause__).__name__)) from lost
        if answer.status == 200 and answer.body is not None:
            return answer.body
        raise self._query_error(answer.status, answer.retry_after_s())

    async def _post(self, path: str, body: Mapping[str, Any]) -> None:
        """A control call; it makes nothing and costs nothing."""
        try:
            answer = await self._wire.post(path, body, timeout_s=30.0)
        except AnswerLost as lost:
            raise Unavailable(*_query(self._where, type(lost.__cause__).__name__)) from lost
        if answer.status != 200:
            raise self._query_error(answer.status, answer.retry_after_s())

    def _query_error(self, status: int, retry_after_s: float | None) -> ServiceError:
        if status in (401, 403, 404, 405, 429):
            return submit_error(status, None, self._where, retry_after_s)
        return Unavailable(*_query(self._where, f"HTTP {status}"))

    async def _ended(self, entry: Mapping[str, Any], ticket: Ticket) -> Outcome:
        status = entry.get("status")
        messages = _messages(status)
        note = _note_of(entry.get("prompt"))
        words = str(note.get("prompt") or "")
        times = _times(messages, note)
        if "execution_interrupted" in messages:
            return Canceled(times)
        if "execution_error" in messages:
            error = task_error(messages["execution_error"], self._where)
            return Failed(error, times, original_prompt=words)
        seed = note.get("seed", ticket.data.get("seed"))
        links = [self._link(image) for image in _images(entry, self._workflow.output)]
        data = await self._fetched(links[0]) if links else None
        if data is None:
            return Failed(no_picture(self._where), times, original_prompt=words)
        picture = Picture(data=data, seed=seed if isinstance(seed, int) else None)
        extra = tuple(Picture(link) for link in links[1:])
        return Made(picture, times, original_prompt=words, extra=extra)

    async def _fetched(self, link: str) -> bytes | None:
        """A saved file, with the login that a plain link could not carry; None: it is gone."""
        import aiohttp

        limit = aiohttp.ClientTimeout(total=max(10.0, self._clock.real(_FILE_S)))
        try:
            async with (
                self._wire.session() as session,
                session.get(link, headers=self._headers, timeout=limit) as answer,
            ):
                data = await answer.read() if answer.status == 200 else b""
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unavailable(*_query(self._where, type(error).__name__)) from error
        if answer.status == 404:
            return None
        if answer.status != 200 or answer.content_type.startswith("text/"):
            raise Unavailable(*_query(self._where, f"HTTP {answer.status}"))
        return data

    def _link(self, image: Mapping[str, Any]) -> str:
        named = {name: str(image.get(name) or "") for name in ("filename", "subfolder", "type")}
        return f"{self._wire.base_url}/view?{urlencode(named)}"


def _messages(status: object) -> dict[str, Mapping[str, Any]]:
    """The messages of a history entry by their names."""
    rows = status.get("messages") if isinstance(status, Mapping) else None
    return {
        str(row[0]): row[1]
        for row in (rows if isinstance(rows, list) else ())
        if isinstance(row, list) and len(row) == 2 and isinstance(row[1], Mapping)
    }


def _note_of(entry: object) -> Mapping[str, Any]:
    """Our note in a queued graph, ``[number, id, graph, extra_data, outputs]``; empty: not ours."""
    extra = entry[3] if isinstance(entry, list) and len(entry) > 3 else None
    note = extra.get(_TOLD) if isinstance(extra, Mapping) else None
    return note if isinstance(note, Mapping) else {}


def _see(seen: dict[str, Seen], key: str, note: Mapping[str, Any], state: Any) -> None:
    created = note.get("created")
    if isinstance(created, int | float):
        seen[key] = Seen(key, str(note.get("model") or ""), state, float(created))


def _state_of(entry: Mapping[str, Any]) -> str:
    messages = _messages(entry.get("status"))
    if "execution_interrupted" in messages:
        return "canceled"
    return "failed" if "execution_error" in messages else "made"


def _times(messages: Mapping[str, Mapping[str, Any]], note: Mapping[str, Any]) -> Times:
    """Epoch milliseconds in the messages; when it was queued is in our note."""

    def at(*names: str) -> float | None:
        for name in names:
            moment = messages.get(name, {}).get("timestamp")
            if isinstance(moment, int | float):
                return moment / 1000.0
        return None

    queued = note.get("created")
    return Times(
        float(queued) if isinstance(queued, int | float) else None,
        at("execution_start"),
        at("execution_success", "execution_error", "execution_interrupted"),
    )


def _images(entry: Mapping[str, Any], output: str) -> list[Mapping[str, Any]]:
    """The saved pictures; previews only where nothing was saved."""
    outputs = entry.get("outputs")
    outputs = outputs if isinstance(outputs, Mapping) else {}
    nodes = [outputs[output]] if output in outputs else list(outputs.values())
    found = [
        image
        for node in nodes
        if isinstance(node, Mapping)
        for image in objects(node.get("images"))
        if image.get("filename")
    ]
    return [image for image in found if image.get("type") == "output"] or found


def _query(where: str, what: str) -> Text:
    return Text(
        f"问 ComfyUI（{where}）没有得到可用的回答（{what}）；不花钱，会再问。",
        f"A question to ComfyUI at {where} got no usable answer ({what}); it costs nothing and is "
        "asked again.",
    )


def _not_uploaded(where: str, what: str) -> Text:
    return Text(
        f"参考图没能传到 ComfyUI（{where}；{what}）；什么都没开始，会再试。",
        f"A reference picture could not be uploaded to ComfyUI at {where} ({what}); nothing was "
        "begun, it is tried again.",
    )


_NO_NEGATIVE = Text(
    "这个工作流没有放负向提示词的地方，已略去。",
    "The workflow has no place for a negative prompt; it was left out.",
)
_NO_SIZE = Text(
    "这个工作流自己定尺寸，所要的尺寸已略去。",
    "The workflow sets the size itself; the size asked for was left out.",
)
_NO_OPTION = Text(
    "工作流里没有这些选项，已略去：{names}。",
    "Options that the workflow has no place for were left out: {names}.",
)
