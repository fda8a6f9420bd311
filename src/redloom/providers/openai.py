"""OpenAI's images API, and whoever speaks like it: Azure, relays, vendors with small differences.

Protocol: openai-python and openai-openapi (images), August 2026. One synchronous POST, no task, no
list: an answer that is lost stays in doubt. Who differs how is data in `_openai_vendors`; what a
relay does not take is learnt from its refusals (`_openai_learnt`), each of which costs nothing.

An endpoint's ``vendor`` option names the table; without it the address decides, and an address that
nobody knows is a relay.
May import: endpoint, errors, lang.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from redloom.endpoint import (
    Answer,
    Asked,
    Capabilities,
    Endpoint,
    Fitted,
    Lane,
    Limits,
    Made,
    Part,
    Price,
    Provider,
    Ticket,
    Told,
    Tools,
)
from redloom.endpoint import Form as UploadForm
from redloom.errors import (
    NotAllowed,
    Refused,
    ServiceError,
    TaskFailed,
    Unavailable,
)
from redloom.lang import Text

from ._inline import keep_only, set_down
from ._openai_answers import pictures, says_none, told_beside, words
from ._openai_errors import kinds, parameter_of, read
from ._openai_learnt import Learnt
from ._openai_requests import Form
from ._openai_vendors import AS_OF, OPENAI, Vendor, vendor_of
from ._reference import data_url, is_address, opened
from ._sync import Synchronous
from ._voice import Voice

__all__ = ["DEFAULTS", "MODELS", "create"]

DEFAULTS = OPENAI.defaults()
MODELS = OPENAI.suggested()

_ABSURD = 1000.0
"""USD that no picture costs: a mistake in an answer must not use up a budget."""
_TIMEOUT_S = 600.0
"""OpenAI's own client waits as long; cutting first would lose the answer."""
_CALLS = (
    "/images/generations",
    "/images/edits",
    "/chat/completions",
    "/image_generation",
    "/models",
)
"""What people leave at the end of an address."""


def create(endpoint: Endpoint, tools: Tools) -> Provider:
    """The provider for one endpoint; no network."""
    return OpenAI(endpoint, tools)


class OpenAI(Synchronous):
    """One model at one address of OpenAI's shape. See `endpoint.Provider`."""

    def __init__(self, endpoint: Endpoint, tools: Tools) -> None:
        self._endpoint = endpoint
        url = endpoint.base_url.strip()
        host = urlsplit(url).hostname or ""
        named = str(endpoint.options.get("vendor") or "")
        self._vendor = vendor_of(named, endpoint.provider, host)
        self._origin, self._root = _split(url or self._vendor.base_url, self._vendor)
        key = tools.key.strip()
        bearer = self._vendor.key_header == "Authorization"
        headers = {self._vendor.key_header: f"Bearer {key}" if bearer else key} if key else {}
        self._wire = tools.wire(
            self._origin, headers=headers, clock=tools.clock, timeout_s=_TIMEOUT_S,
            # A relay may hide a picture inside a chat's words, which only memory can be searched for.
            spill=tools.folder if self._vendor.known else None,
        )  # fmt: skip
        self._folder = tools.folder
        self.on_told: Callable[[Told], None] = lambda _told: None
        """See `endpoint.TellsQuota`."""
        self._learnt = Learnt()
        where = Text(host or self._vendor.label.zh, host or self._vendor.label.en)
        self._voice = Voice(
            where, read, kinds(self._vendor.name), key,
            {"key": self._key_hint(endpoint.provider), "closed": _MODEL_HINT},
        )  # fmt: skip

    def capabilities(self) -> Capabilities:
        """What the endpoint's model can do, from the vendor's table."""
        form, vendor = self._form(), self._vendor
        table = form.table
        return Capabilities(
            lanes=("sync",),
            sizes=self._learnt.sizes or table.sizes,
            ratios=(self._learnt.ratios or table.ratios) if form.sizing == "ratio" else (),
            seed=table.seed and "seed" not in self._learnt.refused,
            negative_prompt=table.negative and "negative_prompt" not in self._learnt.refused,
            references=table.references,
            prompt_characters=table.characters,
            formats=table.formats,
            gives_links=table.gives_links,
            url_life_s=vendor.url_life_s,
            typical_s=table.typical_s,
            picture_hosts=vendor.picture_hosts,
            regions=vendor.regions,
        )

    def limits(self) -> Limits:
        """Published limits where there are some; OpenAI's depend on the account's tier."""
        vendor = self._vendor
        return Limits(
            submit_per_second=vendor.submit_per_second, sync_concurrency=vendor.sync_concurrency
        )

    def price(self, asked: Asked) -> Price:
        """The listed price of one picture by quality and shape; unknown where no page named one."""
        if self._endpoint.price is not None:
            return self._endpoint.price
        return self._form(asked).price(asked, self._options(asked))

    def fit(self, asked: Asked) -> Fitted:
        """The request as the service takes it, as far as is known; every change is named.

        Raises Refused for an empty or overlong prompt, and for too many references.
        """
        return self._form(asked).fit(asked, self._endpoint.options)

    async def submit(self, asked: Asked, lane: Lane) -> Ticket | Made:
        """One POST, answered with the picture. Its errors say what became of the money.

        Raises Unavailable, to be asked again at once, where the refusal taught something.
        """
        if lane != "sync":
            raise Refused(
                "这家服务只有同步通道；没有发出，没有花钱。",
                "This service has only the synchronous lane; nothing was sent or spent.",
            )
        self._need_address()
        form, options = self._form(asked), self._options(asked)
        as_form = bool(asked.references and self._vendor.edits and self._learnt.edits)
        urls = [] if as_form else [await data_url(item) for item in asked.references]
        files = await self._parts(asked.references) if as_form else []
        sent = _Sent(form.body(asked, options, urls), as_form, self._learnt.lessons)
        path = self._vendor.edits if as_form else self._vendor.path
        body = UploadForm(sent.body, files) if as_form else sent.body
        answer = await self._wire.post(self._path(path, form.name), body)
        if (told := told_beside(answer)) is not None:
            self.on_told(told)
        made = self._made(answer, form, sent)
        return replace(made, picture=await set_down(made.picture, self._folder))

    async def check(self) -> None:
        """Try the key for free: by the list of models, or by a request without a prompt."""
        self._need_address()
        if not self._vendor.checks:
            return await self._check_by_refusal()
        path = self._path(self._vendor.checks, self._form().name)
        answer = await self._voice.query(self._wire.get(path, timeout_s=30.0))
        if answer.status in (404, 405) and not self._vendor.known:
            return await self._check_by_refusal()  # a relay without a list of models
        if answer.status != 200 or answer.body is None or read(answer) is not None:
            raise self._voice.query_error(answer)
        return None

    async def close(self) -> None:
        """Give connections back."""
        await self._wire.close()

    async def _check_by_refusal(self) -> None:
        """A request without a prompt is refused before any work, but after the key is read."""
        form = self._form()
        path = self._path(self._vendor.path, form.name)
        asking = self._wire.post(path, {"model": form.name}, timeout_s=30.0)
        answer = await self._voice.query(asking)
        said = self._voice.said(answer)
        if said is None or self._voice.kind_of(said) != "refused":
            raise self._voice.query_error(answer)

    # the request

    def _form(self, asked: Asked | None = None) -> Form:
        vendor = self._vendor
        name = (asked.model if asked else "") or self._endpoint.model or vendor.default
        return Form(vendor, vendor.model(name), name, self._learnt)

    def _options(self, asked: Asked) -> dict[str, Any]:
        takes = self._form(asked).options
        own = {key: value for key, value in self._endpoint.options.items() if key in takes}
        return {**own, **asked.options}

    async def _parts(self, references: Sequence[str]) -> list[Part]:
        """References as files of a form: ``image[]`` where there are several (openai-python)."""
        if any(is_address(item) for item in references):
            raise Refused(
                "这家服务的参考图要用本机文件，不能用网址；没有发出，没有花钱。",
                "This service takes reference pictures as files, not as addresses; nothing was "
                "sent or spent.",
            )
        files = [await opened(item) for item in references]
        name = "image" if len(files) == 1 else "image[]"
        return [Part(name, file.name, file.kind, file.data) for file in files]

    def _path(self, call: str, model: str) -> str:
        version = str(self._endpoint.options.get("api_version") or "")
        if self._vendor.versioned and version:
            root = self._vendor.versioned.format(model=model) if call != "/models" else "/openai"
            return f"{root}{call}?api-version={version}"
        return (self._learnt.root or self._root).rstrip("/") + call

    def _need_address(self) -> None:
        if not self._origin:
            names = " / ".join(self._vendor.url_variables)
            raise NotAllowed(
                f"还没有 {self._vendor.label.zh} 的地址：请设置 {names}；没有花钱。",
                f"There is no address for {self._vendor.label.en}: set {names}; nothing was spent.",
            )

    # the answer

    def _made(self, answer: Answer, form: Form, sent: _Sent) -> Made:
        """The picture in an answer; what is neither picture nor a plain no is lost."""
        found = pictures(answer) if 200 <= answer.status < 300 else []
        keep_only(answer, found[0] if found else None)
        if found:
            return Made(
                found[0], price=self._paid(answer, form),
                extra=tuple(picture for picture in found[1:] if not picture.file),
                request_id=answer.headers.get("x-request-id", ""),
            )  # fmt: skip
        raise self._wrong_way(answer, sent) or self._not_made(answer, sent)

    def _wrong_way(self, answer: Answer, sent: _Sent) -> ServiceError | None:
        """A relay that has no such address: what is tried next, each once."""
        about_model = "model" in answer.text.lower() or "模型" in answer.text
        if self._vendor.known or answer.status not in (404, 405) or about_model:
            return None
        learnt = self._learnt
        if learnt.lessons > sent.lessons:
            return _again(_MEANWHILE, str(answer.status))
        if sent.as_form and learnt.edits:
            learnt.edits, lesson = False, _NO_EDITS
        elif not learnt.root:
            with_v1 = self._root.endswith("/v1")
            other = self._root.removesuffix("/v1") if with_v1 else f"{self._root}/v1"
            learnt.root, lesson = other or "/", _OTHER_ROOT
        else:
            return None
        learnt.lessons += 1
        return _again(lesson, str(answer.status))

    def _not_made(self, answer: Answer, sent: _Sent) -> ServiceError:
        said = self._voice.said(answer)
        if said is not None:
            error = self._voice.error(said)
            if type(error) is not Refused:
                return error
            lesson = self._learnt.learn(said, parameter_of(answer), sent.body)
            if lesson is None and self._learnt.lessons > sent.lessons:
                lesson = _MEANWHILE
            return error if lesson is None else _again(lesson, said.code)
        if 200 <= answer.status < 300 and says_none(answer):
            return _none(self._voice.where, words(answer))
        return self._voice.submit_error(answer)

    def _paid(self, answer: Answer, form: Form) -> Price | None:
        """What the answer says was paid: a sum (OpenRouter), or tokens at the listed price."""
        usage = (answer.body or {}).get("usage")
        if not isinstance(usage, dict):
            return None
        cost = usage.get("cost")
        if isinstance(cost, int | float) and not isinstance(cost, bool) and 0 <= cost < _ABSURD:
            return Price(float(cost), "USD", "reported", AS_OF)
        tokens = form.table.tokens
        details = usage.get("input_tokens_details")
        out = usage.get("output_tokens")
        if tokens is None or not isinstance(details, dict) or not isinstance(out, int):
            return None
        counts = [details.get("text_tokens"), details.get("image_tokens"), out]
        paid = [n * price for n, price in zip(counts, tokens, strict=True) if isinstance(n, int)]
        amount = sum(paid) / 1e6
        if len(paid) < len(counts) or not out or min(paid) < 0 or amount >= _ABSURD:
            return None
        return Price(round(amount, 6), "USD", "estimated", AS_OF)

    def _key_hint(self, provider: str) -> Text:
        from ._openai_vendors import VENDORS

        vendor = self._vendor if self._vendor.known else VENDORS.get(provider, OPENAI)
        names = " / ".join(vendor.key_variables)
        at = " / ".join(vendor.url_variables)
        hint = self._vendor.region_hint
        return Text(
            f"请检查 {names}，以及 {at} 是不是发这个密钥的那家。{hint.zh}",
            f"Check {names}, and that {at} is whoever issued this key. {hint.en}".strip(),
        )


@dataclass(frozen=True, slots=True)
class _Sent:
    """A request as it left."""

    body: Mapping[str, Any]
    as_form: bool = False
    lessons: int = 0
    """What had been learnt by then."""


def _split(url: str, vendor: Vendor) -> tuple[str, str]:
    """(origin, root) of an address with or without ``/v1``, a final slash, or a whole call."""
    url = url.split("?", 1)[0].rstrip("/")
    for call in _CALLS:
        url = url.removesuffix(call)
    if url and "://" not in url:
        url = f"https://{url}"
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
    return origin, parts.path.rstrip("/") or vendor.root


def _again(lesson: Text, code: str) -> Unavailable:
    return Unavailable(lesson.zh, lesson.en, retry_after_s=0.0, service_code=code)


def _none(where: Text, said: str) -> TaskFailed:
    told = Text(f"，只说了“{said}”", f" but only said “{said}”") if said else Text("", "")
    return TaskFailed(
        f"{where.zh}回答成功，却没有给出图{told.zh}；会再试几次。",
        f"{where.en} answered with success and no picture{told.en}; it is tried a few times more.",
    )


_MODEL_HINT = Text(
    "请核对模型名、地址（多数服务以 /v1 结尾）和账户权限。",
    "Check the model's name, the address (most end in /v1) and the account's permissions.",
)
_MEANWHILE = Text(
    "这个请求发出之后才知道这家服务要什么；没有花钱，照新知道的再问。",
    "What this service wants was learnt after this request had left; nothing was spent, it is "
    "asked again with what is known now.",
)
_NO_EDITS = Text(
    "这家服务没有 /images/edits，参考图改放进请求本身；没有花钱，马上再问。",
    "This service has no /images/edits; references go into the request itself. Nothing was spent, "
    "it is asked again at once.",
)
_OTHER_ROOT = Text(
    "这个地址没有图片接口，换一种写法（加或去掉 /v1）再试；没有花钱。",
    "There is no images endpoint at this address; it is tried with the other spelling (with or "
    "without /v1). Nothing was spent.",
)
