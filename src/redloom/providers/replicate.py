"""Replicate: predictions, submitted, polled, listed and cancelled.

Protocol: replicate.com/docs/reference/http (November 2026) and the vendor's clients. A create call
has no idempotency key, but the account's predictions can be listed, and each carries its input
for an hour: a lost answer is found by its words (rule 2). Files are gone after an hour too.

May import: endpoint, errors, lang.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

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
    Times,
    Tools,
    Unknown,
    Waiting,
)
from redloom.errors import Refused, TaskFailed, Unavailable
from redloom.lang import Text

from ._reference import data_url
from ._replicate_errors import kind_of, of_prediction, read
from ._replicate_models import (
    AS_OF,
    CALLS_PER_SECOND,
    DATA_LIFE_S,
    SHAPES,
    SUBMITS_PER_SECOND,
    Model,
    model,
    nearest_shape,
)
from ._requests import changed, refuse_unfit, reseeded, with_options, without_negative
from ._voice import Kind, Voice, withheld

__all__ = ["DEFAULTS", "create"]

DEFAULTS = Defaults(
    key_variables=("REPLICATE_API_TOKEN",),
    url_variables=("REPLICATE_API_BASE_URL", "REPLICATE_BASE_URL"),
    base_url="https://api.replicate.com/v1",
    model="black-forest-labs/flux-dev",
    label=Text("Replicate", "Replicate"),
)

_PAGE = 100
_PAGES_MOST = 200


def create(endpoint: Endpoint, tools: Tools) -> Provider:
    """The provider for one endpoint; no network."""
    return Replicate(endpoint, tools)


class Replicate:
    """One account and model of Replicate. See `endpoint.Provider` for each method's promise."""

    def __init__(self, endpoint: Endpoint, tools: Tools) -> None:
        self._endpoint = endpoint
        self._wire = tools.wire(
            _versioned(endpoint.base_url or DEFAULTS.base_url),
            headers={"Authorization": f"Bearer {tools.key}", "Content-Type": "application/json"},
            clock=tools.clock,
        )
        hints: Mapping[Kind, Text] = {"key": _KEY_HINT, "closed": _MODEL_HINT}
        self._voice = Voice(_WHERE, read, kind_of, tools.key, hints)

    def capabilities(self) -> Capabilities:
        """What the endpoint's model can do; no network."""
        table = self._model()
        return Capabilities(
            lanes=("async",),
            queues_excess=True,
            lists_tasks=True,
            list_page=_PAGE,
            prompt_in_result=True,
            cancels=True,
            ratios=SHAPES,
            references=1 if table.reference else 0,
            url_life_s=DATA_LIFE_S,
            record_life_s=DATA_LIFE_S,
            typical_s=table.typical_s,
            picture_hosts=(".replicate.delivery", "replicate.delivery"),
            formats=("png", "webp", "jpeg"),
        )

    def limits(self) -> Limits:
        """600 predictions a minute, 3000 other calls; less while the credit runs low."""
        return Limits(
            submit_per_second=SUBMITS_PER_SECOND,
            poll_per_second=CALLS_PER_SECOND,
            list_per_second=CALLS_PER_SECOND,
        )

    def price(self, asked: Asked) -> Price:
        """The listed price of one picture, USD; unknown for models outside the table."""
        if self._endpoint.price is not None:
            return self._endpoint.price
        amount = self._model(asked).price
        return Price(amount, "USD", "unknown" if amount is None else "estimated", AS_OF)

    def fit(self, asked: Asked) -> Fitted:
        """The request as the model accepts it; every change is named in the notes.

        Raises Refused for an empty prompt and for references that the model does not take.
        """
        name, table = self._name(asked), self._model(asked)
        refuse_unfit(asked, name, 1 if table.reference else 0)
        return changed(
            asked,
            lambda it: _shaped(it, name),
            lambda it: reseeded(it, name, takes=True),
            lambda it: without_negative(it, name),
            lambda it: with_options(it, name, table.options, self._endpoint.options),
        )

    async def submit(self, asked: Asked, lane: Lane) -> Ticket | Made:
        """One POST. See `endpoint.Provider.submit` for what its errors say about money."""
        if lane != "async":
            raise Refused(
                "Replicate 在这里只用异步通道；没有发出，没有花钱。",
                "Replicate is used by its asynchronous lane only; nothing was sent or spent.",
            )
        given = self._input(asked, [await data_url(item) for item in asked.references])
        name, _, version = self._name(asked).partition(":")
        path, body = f"/models/{name}/predictions", dict[str, Any](input=given)
        if version:
            path, body = "/predictions", {"version": version, "input": given}
        answer = await self._wire.post(path, body, timeout_s=60.0)
        found = (answer.body or {}).get("id")
        if answer.status not in (200, 201, 202) or not isinstance(found, str) or not found:
            raise self._voice.submit_error(answer)
        return Ticket(found, found)

    async def poll(self, ticket: Ticket) -> Outcome:
        """One GET of the prediction. It buys nothing."""
        answer = await self._voice.query(self._wire.get(f"/predictions/{ticket.id}"))
        if answer.status == 404 and self._voice.said(answer) is not None:
            return Unknown()
        body = self._told(answer)
        times = _times(body)
        match body.get("status"):
            case "starting" | "queued":
                return Waiting(False, times)
            case "processing":
                return Waiting(True, times)
            case "succeeded" | "successful":
                return self._finished(body, times)
            case "failed":
                said = of_prediction(str(body.get("error") or ""))
                words = _words(body)
                return Failed(self._voice.task_error(said), times, original_prompt=words)
            case "canceled" | "aborted":
                return Canceled(times)
        raise self._voice.unreadable(answer.status)

    async def look(self, since: float, until: float) -> Sequence[Seen]:
        """The account's predictions created in [since, until], newest pages first, read whole.

        New ones appear before the first page, so that what is read later misses none.
        """
        query = {"created_after": _iso(since - 1.0), "created_before": _iso(until + 1.0)}
        seen: dict[str, Seen] = {}
        for _ in range(_PAGES_MOST):
            body = self._told(await self._voice.query(self._wire.get("/predictions", query=query)))
            rows = body.get("results")
            if not isinstance(rows, list):
                raise self._voice.unreadable(200)
            found = [self._seen(row) for row in rows]
            seen.update((one.id, one) for one in found)
            following = body.get("next")
            if not following or (found and min(one.created for one in found) < since):
                break
            query = self._page_of(following)
        else:
            raise Unavailable(*_ENDLESS)
        kept = (one for one in seen.values() if since <= one.created <= until)
        return sorted(kept, key=lambda one: (one.created, one.id))

    async def cancel(self, ticket: Ticket) -> bool:
        """Ask to cancel; True where the answer says that it is."""
        path = f"/predictions/{ticket.id}/cancel"
        answer = await self._voice.query(self._wire.post(path, {}, timeout_s=60.0))
        if answer.status in (404, 409, 422):
            return False
        return _STATES.get(str(self._told(answer).get("status"))) == "canceled"

    async def check(self) -> None:
        """Ask whose key it is: free."""
        answer = await self._voice.query(self._wire.get("/account"))
        if "username" not in self._told(answer):
            raise self._voice.unreadable(answer.status)

    async def close(self) -> None:
        """Give connections back."""
        await self._wire.close()

    # parts

    def _name(self, asked: Asked | None = None) -> str:
        name = (asked.model if asked else "") or self._endpoint.model or DEFAULTS.model
        return name.strip().strip("/")

    def _model(self, asked: Asked | None = None) -> Model:
        return model(self._name(asked))

    def _told(self, answer: Answer) -> Mapping[str, Any]:
        """The body of a query that was answered well."""
        if answer.status not in (200, 201, 202) or answer.body is None:
            raise self._voice.query_error(answer)
        return answer.body

    def _input(self, asked: Asked, references: Sequence[str]) -> dict[str, Any]:
        """The model's input. The count is always sent where there is one: each is billed."""
        table = self._model(asked)
        taken = {k: v for k, v in self._endpoint.options.items() if k in table.options}
        given: dict[str, Any] = {"output_format": "png", **taken, **asked.options}
        given["prompt"] = asked.prompt
        if table.count:
            given[table.count] = 1
        if asked.seed is not None:
            given["seed"] = asked.seed
        if references:
            given[table.reference] = references[0]
        return given

    def _finished(self, body: Mapping[str, Any], times: Times) -> Outcome:
        output = body.get("output")
        links = [output] if isinstance(output, str) else output if isinstance(output, list) else []
        pictures = [Picture(str(link)) for link in links if isinstance(link, str) and link]
        words = _words(body)
        if pictures:
            return Made(pictures[0], times, original_prompt=words, extra=tuple(pictures[1:]))
        if body.get("data_removed"):
            return Unknown()
        if output == []:
            return Failed(TaskFailed(*_NONE), times, original_prompt=words)
        return Failed(withheld(_WHERE), times, billed=None, original_prompt=words)

    def _page_of(self, link: object) -> dict[str, str]:
        """What to ask for to have the next page; a list whose page has no address is not whole."""
        try:
            found = dict(parse_qsl(urlsplit(str(link)).query))
        except ValueError as error:
            raise self._voice.unreadable(200) from error
        if not found:
            raise self._voice.unreadable(200)
        return found

    def _seen(self, row: object) -> Seen:
        """A row of the list. Without an id or a time it might be the one that is looked for, so
        that a list with such a row is no whole list.
        """
        times = _times(row) if isinstance(row, dict) else Times()
        if not isinstance(row, dict) or not row.get("id") or times.queued is None:
            raise self._voice.unreadable(200)
        name, version = str(row.get("model") or ""), str(row.get("version") or "")
        ours = self._name()
        if ":" in ours and ours == f"{name}:{version}":
            name = ours
        state = _STATES.get(str(row.get("status")), "unknown")
        return Seen(str(row["id"]), name, state, times.queued, times.started, times.ended)


State = Literal["queued", "running", "made", "failed", "canceled", "unknown"]
_STATES: Mapping[str, State] = {
    "starting": "queued",
    "queued": "queued",
    "processing": "running",
    "succeeded": "made",
    "successful": "made",
    "failed": "failed",
    "canceled": "canceled",
    "aborted": "canceled",
}
_WHERE = Text("Replicate ", "Replicate")
_KEY_HINT = Text("请检查 REPLICATE_API_TOKEN。", "Check REPLICATE_API_TOKEN.")
_MODEL_HINT = Text(
    "模型名是“所有者/模型”，如 black-forest-labs/flux-dev；非官方模型要带版本（所有者/模型:版本）。",
    "A model is called OWNER/NAME, such as black-forest-labs/flux-dev; one that is not official "
    "needs its version (OWNER/NAME:VERSION).",
)
_NONE = Text(
    "Replicate 说成功了，却没有给出图；会再试。",
    "Replicate calls the prediction succeeded but handed over no picture; it is tried again.",
)
_ENDLESS = Text(
    "Replicate 的任务列表长得读不完；没有花钱，稍后再核对。",
    "The list of Replicate's predictions has no end; nothing was spent, it is read again later.",
)
_FRACTION = re.compile(r"\.(\d{6})\d+")


def _versioned(url: str) -> str:
    """The address with its version: the vendor's variable has none."""
    url = url.strip().rstrip("/")
    return url if re.search(r"/v\d+$", url) else f"{url}/v1"


def _shaped(asked: Asked, name: str) -> tuple[Asked, list[Text]]:
    """A size becomes a shape by name; the models choose the pixels."""
    if asked.size is None:
        return asked, []
    shape = nearest_shape(asked.size)
    note = Text(
        "{model} 只按比例出图：{asked} 改为 {shape}。",
        "{model} makes pictures by ratio only: {asked} becomes {shape}.",
    ).format(model=name, asked=f"{asked.size[0]}×{asked.size[1]}", shape=shape)
    return replace(asked, size=None, options={**asked.options, "aspect_ratio": shape}), [note]


def _words(body: Mapping[str, Any]) -> str:
    """The prompt as asked, while the service still has it."""
    given = body.get("input")
    return str(given.get("prompt") or "") if isinstance(given, dict) else ""


def _times(body: Mapping[str, Any]) -> Times:
    return Times(*(_moment(body.get(f"{name}_at")) for name in ("created", "started", "completed")))


def _moment(text: object) -> float | None:
    """Unix seconds of ``2026-11-24T08:00:00.123456Z``, with more digits too."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(_FRACTION.sub(r".\1", text.strip()))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _iso(moment: float) -> str:
    stamp = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
    return stamp.replace("+00:00", "Z")
