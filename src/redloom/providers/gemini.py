"""Google Gemini's image models (“nano banana”), by ``generateContent``: synchronous, base64.

Protocol: ai.google.dev/gemini-api/docs/image-generation and the google-genai SDK (November 2026).
The picture comes inside the answer, so it goes to disk as it arrives. A 200 may hold words and no
picture, or a reason for refusing. Nothing can be looked up afterwards: a lost answer stays in
doubt (rule 2). Google marks these pictures invisibly (SynthID); nothing here touches that.

May import: endpoint, errors, lang.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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
from redloom.errors import ContentRefused, Refused, ServiceError, TaskFailed
from redloom.lang import Text

from ._gemini_errors import BLOCKS, FINISHES, kind_of, read
from ._gemini_models import AS_OF, Model, model
from ._inline import inline, keep_only
from ._reference import is_address, opened
from ._requests import (
    changed,
    nearest_of,
    refuse_unfit,
    reseeded,
    resized,
    with_options,
    without_negative,
)
from ._sync import Synchronous
from ._voice import Kind, Said, Voice

__all__ = ["DEFAULTS", "create"]

DEFAULTS = Defaults(
    key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    url_variables=("GEMINI_BASE_URL", "GOOGLE_GEMINI_BASE_URL"),
    base_url="https://generativelanguage.googleapis.com/v1beta",
    model="gemini-2.5-flash-image",
    label=Text("谷歌 Gemini", "Google Gemini"),
)

_TIMEOUT_S = 600.0
_OPTIONS = frozenset({"resolution", "temperature"})
_AT_ONCE = 24
"""Requests at once where no limit is set: Google's depend on the account's tier."""


def create(endpoint: Endpoint, tools: Tools) -> Provider:
    """The provider for one endpoint; no network."""
    return Gemini(endpoint, tools)


class Gemini(Synchronous):
    """One account and model of Gemini. See `endpoint.Provider` for each method's promise."""

    def __init__(self, endpoint: Endpoint, tools: Tools) -> None:
        self._endpoint = endpoint
        self._wire = tools.wire(
            _versioned(endpoint.base_url or DEFAULTS.base_url),
            headers={"x-goog-api-key": tools.key, "Content-Type": "application/json"},
            clock=tools.clock,
            timeout_s=_TIMEOUT_S,
            spill=tools.folder,
        )
        hints: Mapping[Kind, Text] = {"key": _KEY_HINT, "empty": _TIER_HINT}
        self._voice = Voice(_WHERE, read, kind_of, tools.key, hints)

    def capabilities(self) -> Capabilities:
        """What the endpoint's model can do; no network."""
        table = self._model()
        return Capabilities(
            lanes=("sync",),
            sizes=table.sizes(),
            ratios=tuple(table.shapes),
            seed=False,
            references=table.references,
            typical_s=table.typical_s,
            gives_links=False,
        )

    def limits(self) -> Limits:
        """Google's limits belong to the account's tier and are not published as figures."""
        return Limits(sync_concurrency=_AT_ONCE)

    def price(self, asked: Asked) -> Price:
        """The listed price of one picture of the asked size, USD; unknown where none is listed."""
        if self._endpoint.price is not None:
            return self._endpoint.price
        table = self._model(asked)
        named = table.named(asked.size) if asked.size else None
        step = named[1] if named else self._step(asked, table) or "1K"
        amount = table.price.get(step)
        return Price(amount, "USD", "unknown" if amount is None else "estimated", AS_OF)

    def fit(self, asked: Asked) -> Fitted:
        """The request as the model accepts it; every change is named in the notes.

        Raises Refused for an empty prompt, too many references, and references by address.
        """
        name, table = self._name(asked), self._model(asked)
        refuse_unfit(asked, name, table.references)
        if any(is_address(item) and not item.startswith("data:") for item in asked.references):
            raise Refused(*_NO_ADDRESS)
        return changed(
            asked,
            lambda it: self._sized(it, table, name),
            lambda it: reseeded(it, name, takes=False),
            lambda it: without_negative(it, name),
            lambda it: with_options(it, name, _OPTIONS, self._endpoint.options),
        )

    async def submit(self, asked: Asked, lane: Lane) -> Ticket | Made:
        """One POST, answered with the picture. Its errors say what became of the money."""
        if lane != "sync":
            raise Refused(
                "Gemini 只有同步通道；没有发出，没有花钱。",
                "Gemini has only the synchronous lane; nothing was sent or spent.",
            )
        body = self._body(asked, [await _part(item) for item in asked.references])
        path = f"/models/{self._name(asked).removeprefix('models/')}:generateContent"
        return self._made(await self._wire.post(path, body))

    async def check(self) -> None:
        """Ask for the model's description: free, and it tells a bad key and a closed model."""
        path = f"/models/{self._name().removeprefix('models/')}"
        answer = await self._voice.query(self._wire.get(path))
        if answer.status != 200 or answer.body is None or "name" not in answer.body:
            raise self._voice.query_error(answer)

    async def close(self) -> None:
        """Give connections back."""
        await self._wire.close()

    def _name(self, asked: Asked | None = None) -> str:
        return (asked.model if asked else "") or self._endpoint.model or DEFAULTS.model

    def _model(self, asked: Asked | None = None) -> Model:
        return model(self._name(asked))

    def _step(self, asked: Asked, table: Model) -> str:
        """The step that an option asks for, ``2k`` too; empty where none does."""
        options = {**self._endpoint.options, **asked.options}
        step = str(options.get("resolution") or "").upper()
        return step if step in table.steps else ""

    def _sized(self, asked: Asked, table: Model, name: str) -> tuple[Asked, list[Text]]:
        if asked.size is None:
            return asked, []
        step = self._step(asked, table)
        among = [size for one in ([step] if step else table.steps) for size in table.sizes(one)]
        return resized(asked, nearest_of(among, asked.size), name)

    def _body(self, asked: Asked, references: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        table = self._model(asked)
        options = {**self._endpoint.options, **asked.options}
        shape: dict[str, str] = {}
        named = table.named(asked.size) if asked.size else None
        if named:
            shape["aspectRatio"] = named[0]
        step = named[1] if named else self._step(asked, table)
        if step and len(table.steps) > 1:
            shape["imageSize"] = step
        config: dict[str, Any] = {"responseModalities": ["IMAGE"]}
        if shape:
            config["imageConfig"] = shape
        if "temperature" in options:
            config["temperature"] = options["temperature"]
        parts = [{"text": asked.prompt}, *references]
        return {"contents": [{"role": "user", "parts": parts}], "generationConfig": config}

    def _made(self, answer: Answer) -> Made:
        """The picture in an answer; what is neither picture nor a reason is lost."""
        body = answer.body or {}
        if answer.status != 200 or not ("candidates" in body or "promptFeedback" in body):
            keep_only(answer, None)
            raise self._voice.submit_error(answer)
        found = [picture for part in _parts(body) if (picture := _picture(answer, part))]
        kept = found[-1] if found else None
        keep_only(answer, kept)
        if kept is None:
            raise self._voice.lost(200) if _perhaps_made(body) else self._reason(body)
        return Made(kept, request_id=str(body.get("responseId") or "")[:200])

    def _reason(self, body: Mapping[str, Any]) -> ServiceError:
        """Why a 200 holds no picture."""
        feedback = body.get("promptFeedback")
        block = feedback.get("blockReason") if isinstance(feedback, dict) else None
        if isinstance(block, str):
            told = str(feedback.get("blockReasonMessage") or "") if feedback else ""
            return self._refused(Said(block, told), again=False)
        candidates = _objects(body.get("candidates"))
        finish = next((str(c["finishReason"]) for c in candidates if c.get("finishReason")), "STOP")
        told = next((str(c["finishMessage"]) for c in candidates if c.get("finishMessage")), "")
        words = told or " ".join(part["text"] for part in _parts(body) if _is_text(part))
        said = Said(finish, words[:200])
        kind = FINISHES.get(finish, "failed")
        if kind in ("content", "output"):
            return self._refused(said, again=kind == "output")
        if kind == "refused":
            return Refused(*_filled(_NOT_TAKEN, said), service_code=finish)
        return TaskFailed(*_filled(_ONLY_WORDS, said), service_code=finish)

    def _refused(self, said: Said, *, again: bool) -> ContentRefused:
        known = said.code in BLOCKS or said.code in FINISHES
        text = _filled(_BLOCKED, said)
        return ContentRefused(*text, other_seed_may_pass=again and known, service_code=said.code)


_WHERE = Text("Gemini ", "Gemini")
_KEY_HINT = Text(
    "请检查 GEMINI_API_KEY（或 GOOGLE_API_KEY；两个都设了时用前者）。",
    "Check GEMINI_API_KEY (or GOOGLE_API_KEY; with both set the former is used).",
)
_TIER_HINT = Text(
    "免费层不含生图；在 Google AI Studio 开通计费，或等次日额度恢复。",
    "The free tier has no pictures: enable billing in Google AI Studio, or wait for the next "
    "day's quota.",
)
PICTURE_TOKENS = 1000
"""A picture is at least 1,120 output tokens, words instead of one a few dozen
(ai.google.dev/gemini-api/docs/pricing, November 2026)."""
_NO_ADDRESS = Text(
    "Gemini 的参考图要用本机文件，不收网址；没有发出，没有花钱。",
    "Gemini takes reference pictures as files of this machine, not as addresses; nothing was "
    "sent or spent.",
)
_BLOCKED = Text(
    "Gemini 的内容审核没有通过（{said}）；没有花钱，请改写提示词。",
    "Gemini refused the content ({said}); nothing was spent. Reword the prompt.",
)
_NOT_TAKEN = Text(
    "Gemini 不接受这个请求（{said}）；没有花钱，请改提示词。",
    "Gemini does not accept the request ({said}); nothing was spent. Change the prompt.",
)
_ONLY_WORDS = Text(
    "Gemini 回答了却没有给出图（{said}）；图不计费，只按文字计几个令牌，会再试。",
    "Gemini answered without a picture ({said}); no picture is billed, only a few tokens of text; "
    "it is tried again.",
)


def _filled(text: Text, said: Said) -> Text:
    quoted = f"{said.code}: {said.message}".rstrip(": ")
    return Text(text.zh.replace("{said}", quoted), text.en.replace("{said}", quoted))


def _versioned(url: str) -> str:
    """The address with its version: Google's own SDK wants it without."""
    url = url.strip().rstrip("/")
    return url if url.rsplit("/", 1)[-1].startswith("v1") else f"{url}/v1beta"


async def _part(item: str) -> dict[str, Any]:
    if item.startswith("data:"):
        head, _, data = item.partition(",")
        kind = head.removeprefix("data:").partition(";")[0] or "image/png"
        return {"inlineData": {"mimeType": kind, "data": data}}
    picture = await opened(item)
    return {"inlineData": {"mimeType": picture.kind, "data": picture.url.partition(",")[2]}}


def _parts(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The parts of every candidate, without the drafts that a thinking model shows."""
    for candidate in _objects(body.get("candidates")):
        content = candidate.get("content")
        for part in _objects(content.get("parts")) if isinstance(content, dict) else ():
            if not part.get("thought"):
                yield part


def _objects(value: object) -> list[Mapping[str, Any]]:
    rows = value if isinstance(value, list) else []
    return [row for row in rows if isinstance(row, dict)]


def _perhaps_made(body: Mapping[str, Any]) -> bool:
    """Whether an answer without a readable picture may stand for one that was made and billed: it
    has the place of a picture, counts the tokens of one, or gives no reason that there is none.
    """
    usage = body.get("usageMetadata")
    tokens = usage.get("candidatesTokenCount") if isinstance(usage, dict) else 0
    if isinstance(tokens, int) and tokens >= PICTURE_TOKENS:
        return True
    if any("inlineData" in part or "inline_data" in part for part in _parts(body)):
        return True
    feedback = body.get("promptFeedback")
    blocked = isinstance(feedback, dict) and isinstance(feedback.get("blockReason"), str)
    told = any(row.get("finishReason") for row in _objects(body.get("candidates")))
    words = any(_is_text(part) for part in _parts(body))
    return not (blocked or told or words or body.get("candidates") == [])


def _picture(answer: Answer, part: Mapping[str, Any]) -> Picture | None:
    data = part.get("inlineData") or part.get("inline_data")
    value = data.get("data") if isinstance(data, dict) else None
    return inline(answer, value) if isinstance(value, str) and value else None


def _is_text(part: Mapping[str, Any]) -> bool:
    return isinstance(part.get("text"), str)
