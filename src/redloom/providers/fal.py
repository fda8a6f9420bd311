"""fal.ai's queue: submit, poll a status, fetch the response; hundreds of models, one protocol.

Protocol: fal.ai/docs, model APIs, queue (November 2026), and the vendor's clients. The addresses
for status, response and cancel come with the submit and are used as they are (they lack the
model's sub-path, and may lie elsewhere), but the key goes only to hosts of fal's or to the
endpoint's own. A COMPLETED status may hold an error. There is no list of one's requests: a lost
answer stays in doubt (rule 2).

May import: endpoint, errors, lang.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from redloom.endpoint import (
    Answer,
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
    Tools,
    Unknown,
    Waiting,
    Wire,
)
from redloom.errors import ContentRefused, Refused, TaskFailed
from redloom.lang import Text

from ._fal_errors import kind_of, of_task, read
from ._fal_models import AREA, AS_OF, SHAPES, SIZES, URL_LIFE_S, Model, model, nearest_shape
from ._reference import data_url
from ._requests import (
    changed,
    refuse_unfit,
    reseeded,
    resized,
    with_options,
    without_negative,
)
from ._voice import Kind, Said, Voice, withheld

__all__ = ["DEFAULTS", "create"]

DEFAULTS = Defaults(
    key_variables=("FAL_KEY",),
    url_variables=("FAL_BASE_URL",),
    base_url="https://queue.fal.run",
    model="fal-ai/flux/dev",
    label=Text("fal.ai", "fal.ai"),
)

_HOSTS = (".fal.run", ".fal.ai", "fal.run", "fal.ai")
_NO_REQUEST = "00000000-0000-0000-0000-000000000000"
_CONCURRENCY = 10
"""Requests that run at once for a new account; more are queued."""


def create(endpoint: Endpoint, tools: Tools) -> Provider:
    """The provider for one endpoint; no network."""
    return Fal(endpoint, tools)


class Fal:
    """One account and model of fal. See `endpoint.Provider` for each method's promise."""

    def __init__(self, endpoint: Endpoint, tools: Tools) -> None:
        self._endpoint, self._tools = endpoint, tools
        self._url = (endpoint.base_url or DEFAULTS.base_url).strip().rstrip("/")
        self._wires: dict[str, Wire] = {}
        self._wire = self._wire_to(self._url)
        hints: Mapping[Kind, Text] = {"key": _KEY_HINT, "closed": _MODEL_HINT}
        self._voice = Voice(_WHERE, read, kind_of, tools.key, hints)

    def capabilities(self) -> Capabilities:
        """What the endpoint's model can do; no network."""
        table = self._model()
        return Capabilities(
            lanes=("async",),
            queues_excess=True,
            prompt_in_result=True,
            cancels=True,
            sizes=() if table.shape else SIZES,
            ratios=SHAPES if table.shape else (),
            references=1 if table.reference else 0,
            url_life_s=URL_LIFE_S,
            record_life_s=URL_LIFE_S,
            typical_s=table.typical_s,
            picture_hosts=(".fal.media", ".fal.run", ".fal.ai"),
            formats=("png", "jpeg"),
        )

    def limits(self) -> Limits:
        """Ten at once for a new account, the rest queued; no submit rate is published."""
        return Limits(concurrency=_CONCURRENCY, poll_per_second=20.0)

    def price(self, asked: Asked) -> Price:
        """The listed price of one such picture, USD; unknown for models outside the table."""
        if self._endpoint.price is not None:
            return self._endpoint.price
        amount = self._model(asked).price(asked.size)
        return Price(amount, "USD", "unknown" if amount is None else "estimated", AS_OF)

    def fit(self, asked: Asked) -> Fitted:
        """The request as the model accepts it; every change is named in the notes.

        Raises Refused for an empty prompt and for references that the model does not take.
        """
        name, table = self._name(asked), self._model(asked)
        refuse_unfit(asked, name, 1 if table.reference else 0)
        takes = table.options | ({"aspect_ratio"} if table.shape else frozenset())
        return changed(
            asked,
            lambda it: _shaped(it, name) if table.shape else _sized(it, name),
            lambda it: reseeded(it, name, takes=True),
            lambda it: without_negative(it, name),
            lambda it: with_options(it, name, takes, self._endpoint.options),
        )

    async def submit(self, asked: Asked, lane: Lane) -> Ticket | Made:
        """One POST to the queue. See `endpoint.Provider.submit` for its errors."""
        if lane != "async":
            raise Refused(
                "fal 在这里只用排队通道；没有发出，没有花钱。",
                "fal is used by its queue only; nothing was sent or spent.",
            )
        body = self._body(asked, [await data_url(item) for item in asked.references])
        answer = await self._wire.post(f"/{self._name(asked)}", body, timeout_s=60.0)
        found = answer.body or {}
        request_id = found.get("request_id")
        if answer.status >= 300 or not isinstance(request_id, str) or not request_id:
            raise self._voice.submit_error(answer)
        urls = {name: str(found[name]) for name in _URLS if isinstance(found.get(name), str)}
        return Ticket(request_id, request_id, urls)

    async def poll(self, ticket: Ticket) -> Outcome:
        """The status, and for a completed request its response. It buys nothing."""
        answer = await self._get(ticket, "status_url", "/status")
        body = answer.body or {}
        match body.get("status"):
            case "IN_QUEUE":
                return Waiting(False)
            case "IN_PROGRESS":
                return Waiting(True)
            case "COMPLETED" if (said := of_task(body)) is not None:
                return self._failed(said)
            case "COMPLETED":
                return await self._response(ticket)
        if answer.status == 404:
            return Unknown()
        raise self._voice.query_error(answer)

    async def look(self, since: float, until: float) -> Sequence[Seen]:
        """There is no list; capabilities say so, and nobody asks."""
        return ()

    async def cancel(self, ticket: Ticket) -> bool:
        """Ask to cancel; True only where the status then says that nothing will be made.

        CANCELLATION_REQUESTED alone does not: a running request may finish all the same.
        """
        wire, path = self._place(ticket, "cancel_url", "/cancel")
        answer = await self._voice.query(wire.put(path))
        status = (answer.body or {}).get("status")
        if status in ("ALREADY_COMPLETED", "NOT_FOUND") or answer.status in (400, 404):
            return False
        if answer.status >= 300:
            raise self._voice.query_error(answer)
        return isinstance(await self.poll(ticket), Canceled | Unknown)

    async def check(self) -> None:
        """Query a request that cannot exist: free, and 401 tells a bad key."""
        answer = await self._get(Ticket(_NO_REQUEST), "status_url", "/status")
        if answer.status != 404 or self._voice.said(answer) is None:
            raise self._voice.query_error(answer)

    async def close(self) -> None:
        """Give connections back."""
        for wire in self._wires.values():
            await wire.close()

    # parts

    def _name(self, asked: Asked | None = None) -> str:
        name = (asked.model if asked else "") or self._endpoint.model or DEFAULTS.model
        return name.strip().strip("/")

    def _model(self, asked: Asked | None = None) -> Model:
        return model(self._name(asked))

    def _body(self, asked: Asked, references: Sequence[str]) -> dict[str, Any]:
        """``num_images`` is always sent: each one is billed. Bytes are never asked for."""
        table = self._model(asked)
        taken = {k: v for k, v in self._endpoint.options.items() if k in table.options}
        body: dict[str, Any] = {"output_format": "png", **taken, **asked.options}
        body.update(prompt=asked.prompt, num_images=1, sync_mode=False)
        if asked.size is not None and not table.shape:
            body["image_size"] = {"width": asked.size[0], "height": asked.size[1]}
        if asked.seed is not None:
            body["seed"] = asked.seed
        if references:
            body[table.reference] = references[0]
        return body

    async def _response(self, ticket: Ticket) -> Outcome:
        answer = await self._get(ticket, "response_url", "")
        said = self._voice.said(answer)
        if said is not None and (said.code in _OWN or answer.status in (400, 422)):
            # A stored result may be an error of the model's, with that error's HTTP status.
            return self._failed(Said(said.code, said.message))
        if answer.status != 200 or answer.body is None:
            raise self._voice.query_error(answer)
        return self._made(answer.body)

    def _made(self, body: Mapping[str, Any]) -> Outcome:
        """``images``, or ``image`` from models that make one. Without a link that can be read only
        an empty list says that there is none."""
        images = body.get("images")
        rows = images if isinstance(images, list) and images else [body.get("image")]
        links = [one.get("url") if isinstance(one, dict) else one for one in rows]
        seed = _seed(body)
        pictures = [Picture(link, seed=seed) for link in links if isinstance(link, str) and link]
        prompt = str(body.get("prompt") or "")
        flagged = body.get("has_nsfw_concepts")
        if isinstance(flagged, list) and flagged and flagged[0] is True:
            return Failed(ContentRefused(*_BLACK), billed=True, original_prompt=prompt)
        if pictures:
            return Made(pictures[0], original_prompt=prompt, extra=tuple(pictures[1:]))
        if images == []:
            return Failed(TaskFailed(*_NONE), original_prompt=prompt)
        return Failed(withheld(_WHERE), billed=None, original_prompt=prompt)

    def _failed(self, said: Said) -> Outcome:
        if "cancel" in said.code:
            return Canceled()
        return Failed(self._voice.task_error(said))

    async def _get(self, ticket: Ticket, name: str, end: str) -> Answer:
        wire, path = self._place(ticket, name, end)
        return await self._voice.query(wire.get(path))

    def _place(self, ticket: Ticket, name: str, end: str) -> tuple[Wire, str]:
        """Where to ask: the told address where the key may go there, else the documented one."""
        told = str(ticket.data.get(name) or "")
        if self._trusted(told):
            parts = urlsplit(told)
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            return self._wire_to(f"{parts.scheme}://{parts.netloc}"), path
        owner_and_app = "/".join(self._name().split("/")[:2])
        return self._wire, f"/{owner_and_app}/requests/{ticket.id}{end}"

    def _trusted(self, url: str) -> bool:
        try:
            told, own = urlsplit(url), urlsplit(self._url)
            host = told.hostname or ""
        except ValueError:
            return False
        if told.username or told.scheme != own.scheme:
            return False
        if host in _LOOPBACK and own.hostname in _LOOPBACK:
            return True
        same = told.netloc == own.netloc
        return same or (told.scheme == "https" and host.endswith(_HOSTS[:2]) and not told.port)

    def _wire_to(self, origin: str) -> Wire:
        if origin not in self._wires:
            headers = {
                "Authorization": f"Key {self._tools.key}",
                "Content-Type": "application/json",
            }
            self._wires[origin] = self._tools.wire(origin, headers=headers, clock=self._tools.clock)
        return self._wires[origin]


_URLS = ("status_url", "response_url", "cancel_url")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_OWN = frozenset({"content_policy_violation", "no_media_generated", "generation_timeout"})
"""Types that only a model's own result has, whatever the HTTP status."""
_WHERE = Text("fal ", "fal")
_KEY_HINT = Text("请检查 FAL_KEY。", "Check FAL_KEY.")
_MODEL_HINT = Text(
    "模型名是“所有者/应用”，如 fal-ai/flux/dev。",
    "A model is called OWNER/APP, such as fal-ai/flux/dev.",
)
_BLACK = Text(
    "fal 的安全检查把图涂黑了；这张已计费，所以不会自动再要：换个种子或改写提示词再试。",
    "fal's safety check blacked the picture out. It is billed, so it is not asked for again by "
    "itself: another seed or other words may do.",
)
_NONE = Text(
    "fal 说完成了，却没有给出图；会再试。",
    "fal calls the request completed but handed over no picture; it is tried again.",
)


def _sized(asked: Asked, name: str) -> tuple[Asked, list[Text]]:
    return resized(asked, AREA.nearest(asked.size or SIZES[0]), name)


def _shaped(asked: Asked, name: str) -> tuple[Asked, list[Text]]:
    """A size becomes a shape by name, for a model that takes only that."""
    if asked.size is None:
        return asked, []

    shape = nearest_shape(asked.size)
    note = Text(
        "{model} 只按比例出图：{asked} 改为 {shape}。",
        "{model} makes pictures by ratio only: {asked} becomes {shape}.",
    ).format(model=name, asked=f"{asked.size[0]}×{asked.size[1]}", shape=shape)
    return replace(asked, size=None, options={**asked.options, "aspect_ratio": shape}), [note]


def _seed(body: Mapping[str, Any]) -> int | None:
    seed = body.get("seed")
    return seed if isinstance(seed, int) and not isinstance(seed, bool) else None
