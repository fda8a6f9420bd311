"""Volcengine Ark (火山方舟): Seedream. One synchronous call, no task, no list.

Protocol: volcengine.com/docs/82379/1541523 and the vendor's SDK (November 2026). The POST answers
when the picture is made; a lost answer cannot be looked up and stays in doubt (rule 2). A 200
may hold an error in the place of the picture. The service draws a visible mark unless told not
to, and decides by itself on a series of pictures when allowed: both are always sent as "no".

May import: endpoint, errors, lang.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from redloom.endpoint import (
    Answer,
    Asked,
    Capabilities,
    Defaults,
    Endpoint,
    Fitted,
    Lane,
    Limits,
    Made,
    Picture,
    Price,
    Provider,
    Ticket,
    Tools,
)
from redloom.errors import AnswerLost, Refused, TaskFailed
from redloom.lang import Text

from ._ark_errors import kind_of, of_entry, read
from ._ark_models import (
    AS_OF,
    PICTURES_PER_SECOND,
    URL_LIFE_S,
    Model,
    model,
)
from ._inline import inline, keep_only
from ._reference import data_url
from ._requests import (
    changed,
    is_on,
    refuse_unfit,
    reseeded,
    resized,
    with_options,
    without_negative,
)
from ._sync import Synchronous
from ._voice import Kind, Voice

__all__ = ["DEFAULTS", "create"]

DEFAULTS = Defaults(
    key_variables=("ARK_API_KEY",),
    url_variables=("ARK_BASE_URL",),
    base_url="https://ark.cn-beijing.volces.com/api/v3",
    model="doubao-seedream-5-0-260128",
    label=Text("火山方舟 Ark（Seedream）", "Volcengine Ark (Seedream)"),
)

_TIMEOUT_S = 600.0
"""The vendor's SDK waits as long; cutting first would lose the answer."""
_PATH = "/images/generations"
_FIXED = frozenset({"watermark", "response_format"})
_HINT = Text(
    "请检查 ARK_API_KEY；国内站与 BytePlus（国际站）的密钥互不通用，地址由 ARK_BASE_URL 指定。",
    "Check ARK_API_KEY; keys of Volcengine and of BytePlus (international) are not "
    "interchangeable, ARK_BASE_URL names the address.",
)


def create(endpoint: Endpoint, tools: Tools) -> Provider:
    """The provider for one endpoint; no network."""
    return Ark(endpoint, tools)


class Ark(Synchronous):
    """One account and model of Ark. See `endpoint.Provider` for what each method promises."""

    def __init__(self, endpoint: Endpoint, tools: Tools) -> None:
        self._endpoint = endpoint
        self._url = (endpoint.base_url or DEFAULTS.base_url).strip().rstrip("/")
        self._wire = tools.wire(
            self._url,
            headers={"Authorization": f"Bearer {tools.key}", "Content-Type": "application/json"},
            clock=tools.clock,
            timeout_s=_TIMEOUT_S,
            spill=tools.folder,
        )
        where = Text("火山方舟", "Volcengine Ark")
        hints: Mapping[Kind, Text] = {"key": _HINT, "closed": _MODEL_HINT}
        self._voice = Voice(where, read, kind_of, tools.key, hints)

    def capabilities(self) -> Capabilities:
        """What the endpoint's model can do; no network."""
        table = self._model()
        return Capabilities(
            lanes=("sync",),
            sizes=table.sizes,
            seed=table.seed,
            references=table.references,
            url_life_s=URL_LIFE_S,
            typical_s=table.typical_s,
            picture_hosts=(".volces.com", ".bytepluses.com"),
            formats=("png", "jpeg"),
            gives_links=self._endpoint.options.get("response_format") != "b64_json",
            regions=("cn-beijing", "ap-southeast"),
        )

    def limits(self) -> Limits:
        """500 pictures a minute of each model and account; no concurrency is published."""
        return Limits(submit_per_second=PICTURES_PER_SECOND)

    def price(self, asked: Asked) -> Price:
        """The listed price of one picture: CNY on Volcengine, USD on BytePlus."""
        if self._endpoint.price is not None:
            return self._endpoint.price
        abroad = (urlsplit(self._url).hostname or "").endswith("bytepluses.com")
        currency = "USD" if abroad else "CNY"
        amount = self._model(asked).price.get(currency)
        return Price(amount, currency, "unknown" if amount is None else "estimated", AS_OF)

    def fit(self, asked: Asked) -> Fitted:
        """The request as the model accepts it; every change is named in the notes.

        Raises Refused for an empty prompt and for too many references.
        """
        name, table = self._name(asked), self._model(asked)
        refuse_unfit(asked, name, table.references)
        size = table.area.nearest(asked.size or table.sizes[0])
        return changed(
            asked,
            lambda it: resized(it, size, name),
            lambda it: reseeded(it, name, takes=table.seed),
            lambda it: without_negative(it, name),
            lambda it: with_options(it, name, table.options, self._endpoint.options),
        )

    async def submit(self, asked: Asked, lane: Lane) -> Ticket | Made:
        """One POST, answered with the picture. Its errors say what became of the money."""
        if lane != "sync":
            raise Refused(
                "火山方舟只有同步通道；没有发出，没有花钱。",
                "Volcengine Ark has only the synchronous lane; nothing was sent or spent.",
            )
        references = [await data_url(item) for item in asked.references]
        body = self._body(asked, references)
        headers = {"X-Client-Request-Id": f"redloom-{asked.key[:40]}"} if asked.key else None
        answer = await self._wire.post(_PATH, body, headers=headers)
        return self._made(answer)

    async def check(self) -> None:
        """Ask for a picture without a prompt: refused before anything is made, so it is free.

        The key is looked at before the parameters; 401 tells a bad one, 404 a closed model.
        """
        asking = self._wire.post(_PATH, {"model": self._name()}, timeout_s=30.0)
        answer = await self._voice.query(asking)
        said = self._voice.said(answer)
        if said is None or kind_of(said) != "refused":
            raise self._voice.query_error(answer)

    async def close(self) -> None:
        """Give connections back."""
        await self._wire.close()

    def _name(self, asked: Asked | None = None) -> str:
        return (asked.model if asked else "") or self._endpoint.model or DEFAULTS.model

    def _model(self, asked: Asked | None = None) -> Model:
        return model(self._name(asked))

    def _body(self, asked: Asked, references: Sequence[str]) -> dict[str, Any]:
        table = self._model(asked)
        taken = {k: v for k, v in self._endpoint.options.items() if k in table.options}
        options = {**taken, **asked.options}
        width, height = asked.size or table.sizes[0]
        body: dict[str, Any] = {
            "model": self._name(asked),
            "prompt": asked.prompt,
            "size": f"{width}x{height}",
            "watermark": is_on(options.get("watermark")),
            "response_format": str(options.get("response_format") or "url"),
        }
        if "optimize_prompt_options" in table.options:  # from 4.0 on
            body["sequential_image_generation"] = "disabled"
        if "output_format" in table.options:
            body["output_format"] = "png"
        body.update({key: value for key, value in options.items() if key not in _FIXED})
        if asked.seed is not None:
            body["seed"] = asked.seed
        if references:
            body["image"] = references[0] if len(references) == 1 else list(references)
        return body

    def _made(self, answer: Answer) -> Made:
        """The picture in an answer; what is neither picture nor a plain no is lost."""
        data = (answer.body or {}).get("data")
        if answer.status != 200 or not isinstance(data, list):
            raise self._voice.submit_error(answer)
        entries = [entry for entry in data if isinstance(entry, dict)]
        pictures = [p for entry in entries if (p := _picture(answer, entry)) is not None]
        keep_only(answer, pictures[0] if pictures else None)
        if pictures:
            request_id = answer.headers.get("X-Request-Id", "")
            return Made(
                pictures[0], request_id=request_id, extra=tuple(p for p in pictures[1:] if p.url)
            )
        said = next((s for entry in entries if (s := of_entry(entry)) is not None), None)
        if said is not None:
            raise self._voice.task_error(said)
        raise self._none(answer.body or {})

    def _none(self, body: Mapping[str, Any]) -> AnswerLost | TaskFailed:
        """A 200 without a picture and without a reason: billed where it counts one."""
        usage = body.get("usage")
        if isinstance(usage, dict) and usage.get("generated_images") == 0:
            return TaskFailed(
                "火山方舟没有给出图，也没有计数；不计费，会再试。",
                "Volcengine Ark handed over no picture and counts none; not billed, tried again.",
            )
        return self._voice.lost(200)


_MODEL_HINT = Text(
    "模型名要带日期（如 doubao-seedream-5-0-260128），并先在方舟控制台开通。",
    "The model's name ends in a date (such as doubao-seedream-5-0-260128) and has to be opened "
    "in the Ark console first.",
)


def _picture(answer: Answer, entry: Mapping[str, Any]) -> Picture | None:
    url, data = entry.get("url"), entry.get("b64_json")
    if isinstance(url, str) and url:
        return Picture(url)
    return inline(answer, data) if isinstance(data, str) and data else None
