"""The DashScope provider against a scripted server: what is sent, and what each answer means."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from redloom.clock import SystemClock
from redloom.emulators.dashscope import (
    DashScopeEmulator,
    Emulated,
    ServiceTime,
    parse_faults,
)
from redloom.endpoint import (
    Asked,
    Canceled,
    Endpoint,
    Failed,
    Made,
    Price,
    Provider,
    Ticket,
    Tools,
    Unknown,
    Waiting,
)
from redloom.errors import (
    AccountEmpty,
    AnswerLost,
    ContentRefused,
    KeyRefused,
    NotAllowed,
    NotSent,
    Refused,
    ServiceError,
    TaskFailed,
    Throttled,
    Unavailable,
    Withheld,
)
from redloom.lang import Text
from redloom.providers import dashscope
from redloom.providers._dashscope_errors import CODES, Said, said, submit_error, task_error
from redloom.providers._dashscope_fit import body_of
from redloom.providers._dashscope_models import (
    IMAGE_GENERATION,
    MODELS,
    MULTIMODAL,
    TEXT2IMAGE,
    Area,
    Ratios,
    Sides,
    model,
)
from redloom.providers._dashscope_sizes import is_legal, nearest

T = TypeVar("T")
KEY = "sk-test-0123456789"
WHERE = Text("某处", "Somewhere")
ACCEPTED = {"output": {"task_status": "PENDING", "task_id": "t-1"}, "request_id": "r-1"}


@dataclass
class Reply:
    """One canned answer. ``body`` that is no string is sent as JSON; ``cut`` drops the line."""

    body: Any = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False


@dataclass
class Heard:
    """One request as the server saw it."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class Script:
    """A server that answers from a list (the last one for ever after), or from a function."""

    def __init__(self, *replies: Reply, answer: Callable[[Heard], Reply] | None = None) -> None:
        self.heard: list[Heard] = []
        self._replies = list(replies)
        self._answer = answer
        self.url = ""

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.text()
        heard = Heard(
            request.method,
            request.path,
            dict(request.query),
            dict(request.headers),
            json.loads(raw) if raw else None,
        )
        self.heard.append(heard)
        if self._answer is not None:
            reply = self._answer(heard)
        else:
            reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        if reply.cut:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        text = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
        return web.Response(status=reply.status, text=text, headers=dict(reply.headers))

    @asynccontextmanager
    async def running(self) -> Any:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/api/v1"
        try:
            yield self
        finally:
            await runner.cleanup()


def speak(
    script: Script,
    work: Callable[[Provider], Awaitable[T]],
    model_name: str = "wan2.6-t2i",
    **settings: Any,
) -> T:
    """Run ``work`` with a provider that speaks to the script."""

    async def main() -> T:
        async with script.running():
            endpoint = Endpoint(
                "ds", "dashscope", model=model_name, base_url=script.url, **settings
            )
            tools = Tools(key=KEY, clock=SystemClock(100.0, 1_700_000_000.0))
            provider = dashscope.create(endpoint, tools)
            try:
                return await work(provider)
            finally:
                await provider.close()

    return asyncio.run(main())


def alone(model_name: str = "wan2.6-t2i", **settings: Any) -> Provider:
    """A provider that is not asked to speak to anybody."""
    return dashscope.create(Endpoint("ds", "dashscope", model=model_name, **settings), Tools())


def submit(reply: Reply, lane: Any = "async", **asked: Any) -> Ticket | Made:
    """Submit one picture to a service that answers ``reply``."""
    request = Asked("a red scarf", "", **asked)
    return speak(Script(reply), lambda provider: provider.submit(request, lane))


def poll(body: Any, status: int = 200) -> Any:
    """Poll one ticket at a service that answers ``body``."""
    return speak(Script(Reply(body, status)), lambda provider: provider.poll(Ticket("t-1")))


def sent(model_name: str, asked: Asked, lane: Any = "async", **settings: Any) -> Heard:
    """What a submit puts on the wire."""
    script = Script(Reply(ACCEPTED))
    speak(script, lambda provider: provider.submit(asked, lane), model_name, **settings)
    (heard,) = script.heard
    return heard


# What is sent


def test_old_shape_on_the_wire() -> None:
    """wan2.2 gets input.prompt and input.negative_prompt, n=1 and both switches set to false."""
    asked = Asked("红围巾", "", size=(1024, 768), seed=7, negative_prompt="雨")
    heard = sent("wan2.2-t2i-flash", asked)
    assert (heard.method, heard.path) == ("POST", "/api/v1" + TEXT2IMAGE)
    assert heard.headers["X-DashScope-Async"] == "enable"
    assert heard.headers["Authorization"] == f"Bearer {KEY}"
    assert heard.body == {
        "model": "wan2.2-t2i-flash",
        "input": {"prompt": "红围巾", "negative_prompt": "雨"},
        "parameters": {
            "n": 1,
            "size": "1024*768",
            "seed": 7,
            "prompt_extend": False,
            "watermark": False,
        },
    }


def test_new_shape_on_the_wire() -> None:
    """wan2.6 gets one message with one text, the negative prompt among the parameters."""
    asked = Asked("红围巾", "", size=(1280, 1280), negative_prompt="雨")
    heard = sent("wan2.6-t2i", asked)
    assert heard.path == "/api/v1" + IMAGE_GENERATION
    assert heard.body == {
        "model": "wan2.6-t2i",
        "input": {"messages": [{"role": "user", "content": [{"text": "红围巾"}]}]},
        "parameters": {
            "n": 1,
            "size": "1280*1280",
            "prompt_extend": False,
            "watermark": False,
            "negative_prompt": "雨",
        },
    }


def test_sync_lane_has_no_async_header() -> None:
    """The synchronous lane goes to the multimodal path without the asynchronous header."""
    script = Script(Reply({"request_id": "r", "output": {"choices": [_choice("https://x/1.png")]}}))
    speak(script, lambda p: p.submit(Asked("a", ""), "sync"), "qwen-image")
    assert script.heard[0].path == "/api/v1" + MULTIMODAL
    assert "X-DashScope-Async" not in script.heard[0].headers


@pytest.mark.parametrize("name", sorted(MODELS))
def test_n_is_always_sent(name: str) -> None:
    """Every model gets n=1: the default of 4 (12 in sequences) would be billed."""
    table = MODELS[name]
    references = ("https://x/1.png",) * table.references_needed
    provider = alone(name)
    asked = provider.fit(Asked("a", "", references=references)).asked
    heard = sent(name, asked, provider.capabilities().lanes[0])
    assert heard.body["parameters"]["n"] == 1
    assert ("prompt_extend" in heard.body["parameters"]) == table.extends
    assert ("watermark" in heard.body["parameters"]) == table.watermark


def test_options_switch_on_what_is_off() -> None:
    """prompt_extend and watermark are on where the job or the endpoint says so; n never moves."""
    asked = Asked("a", "", options={"prompt_extend": "true", "n": 4})
    heard = sent("wan2.6-t2i", asked, options={"watermark": True, "unheard_of": 1})
    parameters = heard.body["parameters"]
    assert parameters == {"n": 1, "prompt_extend": True, "watermark": True}


def test_references_travel(tmp_path: Any) -> None:
    """An address goes as it is, a file as a data URL; an oss address asks to be resolved."""
    file = tmp_path / "cat.png"
    file.write_bytes(b"\x89PNG")
    asked = Asked("a", "", references=(str(file), "oss://b/1.png"))
    heard = sent("wan2.6-image", asked)
    content = heard.body["input"]["messages"][0]["content"]
    assert content[1:] == [{"image": "data:image/png;base64,iVBORw=="}, {"image": "oss://b/1.png"}]
    assert heard.headers["X-DashScope-OssResourceResolve"] == "enable"


def test_missing_reference_is_refused_before_anything_is_sent(tmp_path: Any) -> None:
    """A reference that cannot be read costs nothing and names the file without its folder."""
    script = Script(Reply(ACCEPTED))
    asked = Asked("a", "", references=(str(tmp_path / "gone.png"),))
    with pytest.raises(Refused, match=r"gone\.png") as caught:
        speak(script, lambda p: p.submit(asked, "async"), "wan2.6-image")
    assert not script.heard
    assert str(tmp_path) not in str(caught.value)


def test_missing_lane_sends_nothing() -> None:
    """A lane that the model lacks is refused without a request."""
    script = Script(Reply(ACCEPTED))
    with pytest.raises(Refused):
        speak(script, lambda p: p.submit(Asked("a", ""), "sync"), "wan2.2-t2i-flash")
    assert not script.heard


# What a create call's answer means


def test_accepted_gives_the_task_id() -> None:
    """The ticket is the task's id, not the request's."""
    assert submit(Reply(ACCEPTED)) == Ticket("t-1", "r-1")


def test_exactly_one_post_even_when_the_line_breaks() -> None:
    """A broken line after sending is AnswerLost, and no second POST leaves."""
    script = Script(Reply(cut=True))
    with pytest.raises(AnswerLost):
        speak(script, lambda p: p.submit(Asked("a", ""), "async"))
    assert len(script.heard) == 1


def test_nobody_listening_is_not_sent() -> None:
    """A refused connection is NotSent."""

    async def main() -> None:
        provider = alone(base_url="http://127.0.0.1:9/api/v1")
        try:
            await provider.submit(Asked("a", ""), "async")
        finally:
            await provider.close()

    with pytest.raises(NotSent):
        asyncio.run(main())


LOST = {
    "500 RequestTimeOut": Reply({"code": "RequestTimeOut", "message": "m"}, 500),
    "500 InternalError.Timeout": Reply({"code": "InternalError.Timeout", "message": "m"}, 500),
    "502 json": Reply({"code": "InternalError", "message": "m"}, 502),
    "504 json": Reply({"code": "InternalError", "message": "m"}, 504),
    "502 html": Reply("<html>Bad Gateway</html>", 502),
    "500 html": Reply("<html>oops</html>", 500),
    "503 empty": Reply("", 503),
    "500 empty": Reply("", 500),
    "500 unknown code": Reply({"code": "Nonesuch", "message": "m"}, 500),
    "408 html": Reply("<html>", 408),
    "200 empty": Reply("", 200),
    "200 html": Reply("<html>hello</html>", 200),
    "200 without task_id": Reply({"request_id": "r", "output": {"task_status": "PENDING"}}),
    "200 without output": Reply({"request_id": "r"}),
    "200 list": Reply([1], 200),
    "200 broken json": Reply('{"output": {"task_id": "t', 200),
    "202 accepted": Reply(ACCEPTED, 202),
}


@pytest.mark.parametrize("name", sorted(LOST))
def test_answers_that_prove_nothing_are_lost(name: str) -> None:
    """Whatever does not plainly say no may have bought a picture."""
    with pytest.raises(AnswerLost) as caught:
        submit(LOST[name])
    assert caught.value.spent == "maybe"


SAID_NO: dict[str, tuple[Reply, type[ServiceError]]] = {
    "500 InternalError": (Reply({"code": "InternalError", "message": "m"}, 500), Unavailable),
    "500 SystemError": (Reply({"code": "SystemError", "message": "m"}, 500), Unavailable),
    "503 ModelUnavailable": (Reply({"code": "ModelUnavailable", "message": ""}, 503), Unavailable),
    "503 congested": (
        Reply({"code": "ModelServingError", "message": "Too many requests."}, 503),
        Throttled,
    ),
    "400 parameter": (Reply({"code": "InvalidParameter", "message": "bad size"}, 400), Refused),
    "400 no such model": (
        Reply({"code": "InvalidParameter", "message": "Model not exist. "}, 400),
        NotAllowed,
    ),
    "400 content": (
        Reply({"code": "DataInspectionFailed", "message": "Input"}, 400),
        ContentRefused,
    ),
    "400 arrears": (Reply({"code": "Arrearage", "message": "m"}, 400), AccountEmpty),
    "401 flat": (Reply({"code": "InvalidApiKey", "message": "m"}, 401), KeyRefused),
    "401 envelope": (
        Reply({"error": {"code": "invalid_api_key", "message": "m", "type": "t"}}, 401),
        KeyRefused,
    ),
    "401 empty": (Reply("", 401), KeyRefused),
    "403 denied": (Reply({"code": "Model.AccessDenied", "message": "m"}, 403), NotAllowed),
    "403 free tier": (
        Reply({"code": "AllocationQuota.FreeTierOnly", "message": "m"}, 403),
        AccountEmpty,
    ),
    "404 html": (Reply("<html>404</html>", 404), NotAllowed),
    "429 html": (Reply("<html>slow</html>", 429), Throttled),
    "429 bill": (Reply({"code": "PostpaidBillOverdue", "message": "m"}, 429), AccountEmpty),
    "302 portal": (Reply("", 302, {"Location": "http://127.0.0.1:9/"}), Unavailable),
    "200 with code": (Reply({"code": "Throttling", "message": "m"}, 200), Throttled),
}


@pytest.mark.parametrize("name", sorted(SAID_NO))
def test_answers_that_say_no(name: str) -> None:
    """A recognisable refusal is of its own class, and nothing was spent."""
    reply, kind = SAID_NO[name]
    with pytest.raises(kind) as caught:
        submit(reply)
    assert caught.value.spent == "no"
    assert type(caught.value) is kind


def test_task_id_wins_over_a_code() -> None:
    """A body with both a task and a code is a task: it may be paid for."""
    assert submit(Reply({**ACCEPTED, "code": "InternalError"})) == Ticket("t-1", "r-1")


def test_key_refused_names_the_regions_and_hides_the_key() -> None:
    """A refused key's message names other regions, quotes the service, never shows the key."""
    reply = Reply({"code": "InvalidApiKey", "message": f"Invalid {KEY} provided."}, 401)
    with pytest.raises(KeyRefused) as caught:
        submit(reply)
    text = caught.value.text
    assert "Singapore" in text.en
    assert "新加坡" in text.zh
    assert "Invalid *** provided." in text.en
    assert KEY not in text.zh + text.en + repr(caught.value)
    assert caught.value.service_code == "InvalidApiKey"


# Throttling


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("Throttling", "rate"),
        ("Throttling.RateQuota", "rate"),
        ("LimitRequests", "rate"),
        ("limit_requests", "rate"),
        ("Throttling.BurstRate", "burst"),
        ("limit_burst_rate", "burst"),
        ("Throttling.Concurrency", "concurrency"),
        ("Throttling.AllocationQuota", "quota"),
        ("insufficient_quota", "quota"),
        ("Throttling.SomethingNew", "rate"),
    ],
)
def test_kinds_of_429(code: str, kind: str) -> None:
    """The kinds of 429 are told apart."""
    with pytest.raises(Throttled) as caught:
        submit(Reply({"code": code, "message": "m"}, 429))
    assert caught.value.kind == kind
    assert caught.value.retry_after_s is None


@pytest.mark.parametrize(
    ("headers", "message", "seconds"),
    [
        ({"Retry-After": "12"}, "try again in 52 s", 12.0),
        ({}, "Rate limit reached, try again in 52 s.", 52.0),
        ({}, "please try again in 1m30s", 90.0),
        ({}, "retry after 250 ms", 0.25),
        ({}, "请在 7 秒后重试", 7.0),
        ({"Retry-After": "soon"}, "nothing told", None),
        ({"Retry-After": "800000"}, "", 900.0),
    ],
)
def test_retry_after(headers: dict[str, str], message: str, seconds: float | None) -> None:
    """The wait comes from the header, else the message, and is believed within reason."""
    body = {"code": "Throttling.RateQuota", "message": message}
    with pytest.raises(Throttled) as caught:
        submit(Reply(body, 429, headers))
    assert caught.value.retry_after_s == seconds


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"Retry-After": "1849295"}, "Allocated quota exceeded."),
        ({}, "Your weekly quota is exhausted; it will reset at 2026-12-01."),
    ],
)
def test_allocation_quota_of_an_empty_plan(headers: dict[str, str], message: str) -> None:
    """The same code means an empty plan where the wait is days or the message says so."""
    body = {"code": "Throttling.AllocationQuota", "message": message}
    with pytest.raises(AccountEmpty):
        submit(Reply(body, 429, headers))


# Every code

DOCUMENTED = (
    "InvalidParameter",
    "BadRequest.EmptyInput",
    "BadRequest.EmptyParameters",
    "BadRequest.EmptyModel",
    "BadRequest.IllegalInput",
    "BadRequest.InputDownloadFailed",
    "BadRequest.TooLarge",
    "InvalidURL",
    "InvalidURL.Timeout",
    "InvalidURL.ConnectionRefused",
    "UnsupportedOperation",
    "DataInspectionFailed",
    "InvalidParameter.DataInspection",
    "IPInfringementSuspect",
    "FaqRuleBlocked",
    "CustomRoleBlocked",
    "Arrearage",
    "InvalidApiKey",
    "AccessDenied",
    "AccessDenied.Unpurchased",
    "Model.AccessDenied",
    "Workspace.AccessDenied",
    "AllocationQuota.FreeTierOnly",
    "ModelNotFound",
    "WorkSpaceNotFound",
    "NotFound",
    "Conflict",
    "Throttling",
    "Throttling.RateQuota",
    "LimitRequests",
    "limit_requests",
    "Throttling.BurstRate",
    "limit_burst_rate",
    "Throttling.AllocationQuota",
    "insufficient_quota",
    "Throttling.Concurrency",
    "CommodityNotPurchased",
    "PrepaidBillOverdue",
    "PostpaidBillOverdue",
    "BudgetLimitExceeded",
    "InternalError",
    "InternalError.Algo",
    "InternalError.FileUpload",
    "InternalError.Upload",
    "InternalError.Timeout",
    "SystemError",
    "ModelServiceFailed",
    "RewriteFailed",
    "RequestTimeOut",
    "ModelServingError",
    "ModelUnavailable",
    "ServiceUnavailableError",
    "NOT AUTHORIZED",
)

CLASS_OF = {
    "rate": Throttled,
    "burst": Throttled,
    "concurrency": Throttled,
    "quota": Throttled,
    "refused": Refused,
    "content": ContentRefused,
    "key": KeyRefused,
    "empty": AccountEmpty,
    "closed": NotAllowed,
    "unavailable": Unavailable,
    "lost": AnswerLost,
}


@pytest.mark.parametrize("code", DOCUMENTED)
@pytest.mark.parametrize("envelope", [False, True])
def test_every_documented_code(code: str, envelope: bool) -> None:
    """Each documented code, flat or in an envelope, has its class; both languages quote it."""
    inner = {"code": code, "message": "the words"}
    body = {"error": inner, "request_id": "r"} if envelope else {**inner, "request_id": "r"}
    error = said(body, 400, None)
    assert error == Said(code, "the words", "r", 400)
    raised = submit_error(error, WHERE, WHERE)
    assert type(raised) is CLASS_OF[CODES[code]]
    assert raised.service_code == code
    for words in raised.text:
        assert f"{code}: the words" in words
        assert "{" not in words


BY_STATUS: dict[int, dict[type[ServiceError], str]] = {
    400: {
        Refused: "InvalidParameter BadRequest.EmptyInput BadRequest.EmptyParameters "
        "BadRequest.IllegalInput BadRequest.InputDownloadFailed BadRequest.TooLarge InvalidURL "
        "InvalidURL.Timeout InvalidURL.ConnectionRefused UnsupportedOperation",
        NotAllowed: "BadRequest.EmptyModel",
        ContentRefused: "DataInspectionFailed InvalidParameter.DataInspection "
        "IPInfringementSuspect FaqRuleBlocked CustomRoleBlocked",
        AccountEmpty: "Arrearage",
        Unavailable: "ServiceUnavailableError",
    },
    401: {KeyRefused: "InvalidApiKey invalid_api_key"},
    403: {
        NotAllowed: "AccessDenied AccessDenied.Unpurchased Model.AccessDenied "
        "Workspace.AccessDenied",
        AccountEmpty: "AllocationQuota.FreeTierOnly",
    },
    404: {NotAllowed: "ModelNotFound WorkSpaceNotFound NotFound"},
    409: {Refused: "Conflict"},
    429: {
        Throttled: "Throttling Throttling.RateQuota LimitRequests limit_requests "
        "Throttling.BurstRate limit_burst_rate Throttling.AllocationQuota insufficient_quota "
        "Throttling.Concurrency",
        AccountEmpty: "CommodityNotPurchased PrepaidBillOverdue PostpaidBillOverdue "
        "BudgetLimitExceeded",
    },
    500: {
        Unavailable: "InternalError InternalError.Algo InternalError.FileUpload "
        "InternalError.Upload SystemError ModelServiceFailed RewriteFailed",
        AnswerLost: "InternalError.Timeout RequestTimeOut",
    },
    503: {Unavailable: "ModelServingError ModelUnavailable"},
}
"""The published table of error codes (Model Studio, error-code), written down a second time."""


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (status, code, kind)
        for status, kinds in BY_STATUS.items()
        for kind, codes in kinds.items()
        for code in codes.split()
    ],
)
@pytest.mark.parametrize("shape", ["flat", "envelope"])
def test_the_published_table_of_codes(
    status: int, code: str, kind: type[ServiceError], shape: str
) -> None:
    """Every documented code at its status, in both shapes of body, is the error it should be."""
    flat = {"code": code, "message": "words with a link: https://help.example/ ", "request_id": "r"}
    body = flat if shape == "flat" else {"error": {**flat, "type": code, "param": None}}
    error = said(body, status, None)
    assert error is not None
    assert type(submit_error(error, WHERE, WHERE)) is kind


@pytest.mark.parametrize(
    ("key", "words"),
    [("sk-sp-1", "Token Plan"), ("st-1", "temporary"), ("sk-ws-1", "workspace"), ("sk-1", "")],
)
def test_a_401_tells_what_kind_of_key_it_is(key: str, words: str) -> None:
    """The hint names the other regions, and what the key's first letters say; never the key."""
    endpoint = Endpoint("ds", "dashscope", base_url="https://dashscope.aliyuncs.com/api/v1")
    hint = dashscope.create(endpoint, Tools(key=key))._region_hint()  # type: ignore[attr-defined]
    assert words in hint.en
    for text in hint:
        assert "DASHSCOPE_BASE_URL" in text
        assert key not in text
    assert "Singapore" in hint.en
    assert "Beijing" not in hint.en


def test_an_editing_model_has_a_shape_of_its_own() -> None:
    """wanx2.1-imageedit wants a function and one base picture inside ``input``."""
    table = model("wanx2.1-imageedit")
    asked = Asked("add a hat", table.name, references=("u",))
    body = body_of(table, table.queued, asked, ["data:x"], {"function": "stylization_all"})
    assert body["input"] == {
        "prompt": "add a hat", "base_image_url": "data:x", "function": "stylization_all",
    }  # fmt: skip
    assert "function" not in body["parameters"]
    assert body_of(table, table.queued, asked, ["u"], {})["input"]["function"] == "description_edit"


@pytest.mark.parametrize(
    ("code", "kind", "retry"),
    [
        ("InternalError", TaskFailed, True),
        ("InternalError.Timeout", TaskFailed, True),
        ("InternalError.Algo", TaskFailed, True),
        ("RewriteFailed", TaskFailed, True),
        ("RequestTimeOut", TaskFailed, True),
        ("NeverHeardOf", TaskFailed, True),
        ("InvalidParameter", Refused, False),
        ("DataInspectionFailed", ContentRefused, False),
        ("Arrearage", AccountEmpty, False),
        ("Throttling.RateQuota", Throttled, True),
    ],
)
def test_task_codes(code: str, kind: type[ServiceError], retry: bool) -> None:
    """A failed task's code says whether to try again, and never that money is gone."""
    raised = task_error(Said(code, "m"), WHERE)
    assert type(raised) is kind
    assert raised.spent == "no"
    if isinstance(raised, TaskFailed):
        assert raised.retry is retry


@pytest.mark.parametrize(
    ("message", "may_pass"),
    [
        ("Output data may contain inappropriate content.", True),
        ("Input data may contain inappropriate content.", False),
        ("Input or output data may contain inappropriate content.", True),
        ("", True),
    ],
)
def test_output_side_blocks_may_pass_with_another_seed(message: str, may_pass: bool) -> None:
    """Moderation of the picture, unlike that of the words, leaves a try with another seed."""
    raised = task_error(Said("DataInspectionFailed", message), WHERE)
    assert isinstance(raised, ContentRefused)
    assert raised.other_seed_may_pass is may_pass


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.lists(st.text())))
def test_reading_errors_never_fails(body: dict[str, Any]) -> None:
    """Any JSON object reads as an error or as none, without raising."""
    error = said(body, 500, None)
    if error is not None:
        assert isinstance(submit_error(error, WHERE, WHERE), ServiceError)


@given(st.text(min_size=1), st.text(), st.integers(100, 599))
def test_any_code_has_a_meaning(code: str, message: str, status: int) -> None:
    """Unknown codes and odd messages (braces included) are quoted, and class by status."""
    raised = submit_error(Said(code, message, "", status), WHERE, WHERE)
    assert message.rstrip(": ") in raised.text.en
    assert isinstance(task_error(Said(code, message), WHERE), ServiceError)


# Polling


def _choice(url: str, **more: Any) -> dict[str, Any]:
    content = [{"image": url, **more}]
    return {"finish_reason": "stop", "message": {"role": "assistant", "content": content}}


def _output(status: str, **more: Any) -> dict[str, Any]:
    return {"request_id": "r", "output": {"task_id": "t-1", "task_status": status, **more}}


def test_pending_and_running() -> None:
    """PENDING waits unscheduled, RUNNING scheduled; Beijing times, with or without ms."""
    pending = poll(_output("PENDING", submit_time="2026-11-24 08:00:00.250"))
    assert isinstance(pending, Waiting)
    assert not pending.running
    assert pending.times.queued == 1795478400.25
    running = poll(_output("RUNNING", scheduled_time="2026-11-24 08:00:01"))
    assert isinstance(running, Waiting)
    assert running.running
    assert running.times.started == 1795478401.0


def test_old_result() -> None:
    """results[] gives picture, the prompt as asked and as rewritten."""
    body = _output(
        "SUCCEEDED",
        results=[{"orig_prompt": "a", "actual_prompt": "a, much longer", "url": "https://x/1.png"}],
    )
    made = poll({**body, "usage": {"image_count": 1}})
    assert isinstance(made, Made)
    assert made.picture.url == "https://x/1.png"
    assert made.picture.revised_prompt == "a, much longer"
    assert made.original_prompt == "a"
    assert made.extra == ()
    assert made.request_id == "r"


def test_new_result() -> None:
    """choices[] give the picture, with or without a content type; the signature stays as it is."""
    url = "https://dashscope-7c2c.oss-cn-shanghai.aliyuncs.com/1.png?Signature=a%2Fb%3D"
    for more in ({"type": "image"}, {}):
        made = poll(_output("SUCCEEDED", choices=[_choice(url, **more)], finished=True))
        assert isinstance(made, Made)
        assert made.picture.url == url


def test_several_pictures_keep_their_order_and_lose_their_twins() -> None:
    """The first picture is the picture, the others are extra, a repeated address is one."""
    choices = [_choice("https://x/1"), _choice("https://x/1"), _choice("https://x/2")]
    made = poll(_output("SUCCEEDED", choices=choices))
    assert isinstance(made, Made)
    assert made.picture.url == "https://x/1"
    assert [picture.url for picture in made.extra] == ["https://x/2"]


def test_partial_failure_is_a_picture() -> None:
    """One failed entry does not hide the picture beside it."""
    results = [{"code": "InternalError.Timeout", "message": "m"}, {"url": "https://x/2"}]
    made = poll(_output("SUCCEEDED", results=results))
    assert isinstance(made, Made)
    assert made.picture.url == "https://x/2"


def test_success_without_a_picture() -> None:
    """SUCCEEDED with nothing to show is a failed try only where the answer counts no picture: a
    success has made one, so whatever else it says or leaves out, it is never bought again."""
    for none in (
        {"usage": {"image_count": 0}},
        {"task_metrics": {"TOTAL": 1, "SUCCEEDED": 0, "FAILED": 1}},
    ):
        failed = poll(_succeeded(none))
        assert isinstance(failed, Failed)
        assert type(failed.error) is TaskFailed
        assert failed.error.retry
        assert failed.billed is False
    entry = {"code": "InternalError.Timeout", "message": "m"}
    for spoilt, told in (
        ({"usage": {"image_count": 1}}, True),
        ({"usage": {"image_count": 1}, "results": [entry]}, True),
        ({"task_metrics": {"TOTAL": 1, "SUCCEEDED": 1, "FAILED": 0}}, True),
        ({"usage": None}, None),
        ({"usage": {"image_count": "one"}}, None),
        ({"usage": {"image_count": True}}, None),
        ({"usage": {"image_count": -1}, "results": [{"url": 7}]}, None),
        ({"results": [{"orig_prompt": "a"}]}, None),
        ({"results": {"url": "https://x/1.png"}}, None),
    ):
        withheld = poll(_succeeded(spoilt))
        assert isinstance(withheld, Failed)
        assert isinstance(withheld.error, Withheld)
        assert not withheld.error.retry
        assert withheld.billed is told


def _succeeded(parts: dict[str, Any]) -> dict[str, Any]:
    """A success without a picture that says these things beside it."""
    output = {name: value for name, value in parts.items() if name != "usage"}
    body = _output("SUCCEEDED", **{"results": [], **output})
    return {**body, "usage": parts["usage"]} if "usage" in parts else body


def test_success_whose_only_entry_failed() -> None:
    """An entry with a code is a failure of that code's class."""
    entry = {"code": "DataInspectionFailed", "message": "Output data may be bad."}
    failed = poll(_output("SUCCEEDED", results=[entry]))
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, ContentRefused)
    assert failed.error.other_seed_may_pass


def test_failed_canceled_unknown() -> None:
    """The other ends of a task."""
    failed = poll(_output("FAILED", code="InternalError.Timeout", message="m"))
    assert isinstance(failed, Failed)
    assert failed.error.service_code == "InternalError.Timeout"
    assert isinstance(poll(_output("FAILED")), Failed)
    assert isinstance(poll(_output("CANCELED")), Canceled)
    assert isinstance(poll(_output("UNKNOWN")), Unknown)


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ("<html>", 200, Unavailable),
        ("", 200, Unavailable),
        ("", 500, Unavailable),
        ({"code": "InternalError", "message": "m"}, 500, Unavailable),
        ({"code": "RequestTimeOut", "message": "m"}, 500, Unavailable),
        ({"code": "InvalidParameter", "message": "m"}, 400, Unavailable),
        ({"request_id": "r"}, 200, Unavailable),
        ({"output": {"task_status": "SURPRISE"}}, 200, Unavailable),
        ({"code": "Throttling.RateQuota", "message": "m"}, 429, Throttled),
        ({"code": "InvalidApiKey", "message": "m"}, 401, KeyRefused),
    ],
)
def test_polls_that_fail_say_nothing_about_the_task(
    body: Any, status: int, kind: type[ServiceError]
) -> None:
    """A poll without a usable answer is asked again; it is never the end of a task."""
    with pytest.raises(kind) as caught:
        poll(body, status)
    assert caught.value.spent == "no"


def test_broken_poll_is_unavailable() -> None:
    """A poll whose line breaks is only asked again: a query buys nothing."""
    with pytest.raises(Unavailable):
        speak(Script(Reply(cut=True)), lambda p: p.poll(Ticket("t-1")))


# The synchronous lane


def test_sync_made_at_once() -> None:
    """The recorded 2026 shape (task_metric, no content type) is a picture at once."""
    body = {
        "request_id": "r",
        "output": {"choices": [_choice("https://x/1.png")], "task_metric": {"TOTAL": 1}},
        "usage": {"width": 1, "height": 1, "image_count": 1},
    }
    made = submit(Reply(body), "sync")
    assert isinstance(made, Made)
    assert made.picture.url == "https://x/1.png"


def test_sync_without_a_picture() -> None:
    """No picture and none counted is a no; one counted, or no word of it, is in doubt."""
    empty: dict[str, Any] = {"request_id": "r", "output": {"choices": []}}
    with pytest.raises(Unavailable):
        submit(Reply({**empty, "usage": {"image_count": 0}}), "sync")
    for lost in (empty, {**empty, "usage": {"image_count": 1}}):
        with pytest.raises(AnswerLost):
            submit(Reply(lost), "sync")


def test_rewritten_prompt_beside_a_sync_picture() -> None:
    """z-image's rewritten prompt is kept."""
    content = [{"image": "https://x/1"}, {"text": "a, rewritten"}]
    body = {"output": {"choices": [{"message": {"content": content}}]}}
    made = submit(Reply(body), "sync")
    assert isinstance(made, Made)
    assert made.picture.revised_prompt == "a, rewritten"


# Looking


class TaskList:
    """The account's tasks behind GET /tasks/, newest first, ``largest`` a page at most."""

    def __init__(self, count: int, largest: int = 100) -> None:
        self.rows = [self.row(number) for number in range(count)]
        self.largest = largest
        self.before: Callable[[Heard], None] = lambda _heard: None

    @staticmethod
    def row(number: int) -> dict[str, Any]:
        return {
            "task_id": f"t-{number}",
            "status": "SUCCEEDED",
            "model_name": "wan2.6-t2i",
            "gmt_create": 1_700_000_000_000 + number * 1000,
        }

    def __call__(self, heard: Heard) -> Reply:
        self.before(heard)
        size, page = int(heard.query["page_size"]), int(heard.query["page_no"])
        if size > self.largest:
            return Reply({"code": "InvalidParameter", "message": "page_size too large"}, 400)
        newest = self.rows[::-1]
        return Reply(
            {
                "request_id": "r",
                "total": len(newest),
                "total_page": -(-len(newest) // size),
                "page_no": page,
                "page_size": size,
                "data": newest[(page - 1) * size : page * size],
            }
        )


START = 1_700_000_000.0


def test_look_reads_every_page() -> None:
    """Every page is read, in Beijing time, without a model filter, as large as accepted."""
    tasks = TaskList(45, largest=20)
    script = Script(answer=tasks)
    seen = speak(script, lambda p: p.look(START, START + 60))
    assert [task.id for task in seen] == [f"t-{number}" for number in range(45)]
    assert seen[0].created == START
    assert {task.state for task in seen} == {"made"}
    assert script.heard[0].query["start_time"] == "20231115061320"
    assert script.heard[0].query["end_time"] == "20231115061420"
    assert [heard.query["page_size"] for heard in script.heard] == ["100", "50", "20", "20", "20"]
    assert not any("model_name" in heard.query for heard in script.heard)


def test_look_reads_again_when_tasks_come_between_pages() -> None:
    """A task that appears between two pages makes the reading start over; none is missed."""
    tasks = TaskList(25, largest=10)

    def insert(heard: Heard) -> None:
        if heard.query["page_no"] == "2" and len(tasks.rows) == 25:
            tasks.rows.append(tasks.row(25))

    tasks.before = insert
    seen = speak(Script(answer=tasks), lambda p: p.look(START, START + 60))
    assert len(seen) == 26


def test_look_gives_up_on_a_list_that_never_holds_still() -> None:
    """A list that cannot be read whole is Unavailable, never a part of it."""
    tasks = TaskList(25, largest=10)
    tasks.before = lambda _heard: tasks.rows.append(tasks.row(len(tasks.rows)))
    with pytest.raises(Unavailable):
        speak(Script(answer=tasks), lambda p: p.look(START, START + 60))


def test_look_notices_a_missing_row() -> None:
    """Fewer rows than the total is not whole."""
    short = Reply({"total": 3, "total_page": 1, "data": [TaskList.row(1)]})
    with pytest.raises(Unavailable):
        speak(Script(short), lambda p: p.look(START, START + 60))


def test_look_splits_long_windows() -> None:
    """Windows over a day are asked for in parts that together leave no second out."""
    script = Script(answer=TaskList(0))
    speak(script, lambda p: p.look(START, START + 60 * 3600))
    edges = [(heard.query["start_time"], heard.query["end_time"]) for heard in script.heard]
    assert edges == [
        ("20231115061320", "20231116061319"),
        ("20231116061320", "20231117061319"),
        ("20231117061320", "20231117181320"),
    ]


def test_look_ignores_what_lies_outside() -> None:
    """A service that ignores the window does not widen what was asked for."""
    seen = speak(Script(answer=TaskList(50)), lambda p: p.look(START + 10, START + 20))
    assert [task.id for task in seen] == [f"t-{number}" for number in range(10, 21)]


@pytest.mark.parametrize("created", [None, "soon", 1_700_000_015.0, 0, -5, True, 1e18, [1]])
def test_a_row_without_a_time_that_can_be_makes_no_whole_list(created: Any) -> None:
    """Seconds in the place of milliseconds, no time at all: the task may be the one that is looked
    for, so that the list proves nothing; it is never left out as one from another day."""
    tasks = TaskList(3)
    tasks.rows[1]["gmt_create"] = created
    with pytest.raises(Unavailable):
        speak(Script(answer=tasks), lambda p: p.look(START, START + 20))


def test_a_time_in_digits_is_a_time() -> None:
    """The same milliseconds as text."""
    tasks = TaskList(3)
    tasks.rows[1]["gmt_create"] = str(tasks.rows[1]["gmt_create"])
    seen = speak(Script(answer=tasks), lambda p: p.look(START, START + 20))
    assert [task.created - START for task in seen] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("odd", ["twice", "nameless", "short"])
def test_a_list_that_does_not_add_up_is_not_whole(odd: str) -> None:
    """An id that comes twice, a row without one, fewer rows than are counted: no proof of absence."""
    tasks = TaskList(5)
    if odd == "twice":
        tasks.rows[1]["task_id"] = tasks.rows[2]["task_id"]
    elif odd == "nameless":
        tasks.rows[1]["task_id"] = 17
    else:
        tasks.rows[1] = None  # type: ignore[call-overload]
    with pytest.raises(Unavailable):
        speak(Script(answer=tasks), lambda p: p.look(START, START + 20))


def test_look_that_is_refused() -> None:
    """A list that is throttled or broken raises; it is never an empty list."""
    throttled = Reply({"code": "Throttling.RateQuota", "message": "m"}, 429)
    for reply, kind in ((throttled, Throttled), (Reply("<html>"), Unavailable)):
        with pytest.raises(kind):
            speak(Script(reply), lambda p: p.look(START, START + 60))


# Cancelling and checking


def test_cancel() -> None:
    """True where the service did it, False where it was too late."""
    too_late = Reply({"code": "UnsupportedOperation", "message": "m"}, 400)
    script = Script(Reply({"request_id": "r"}))
    assert speak(script, lambda p: p.cancel(Ticket("t-1"))) is True
    assert (script.heard[0].method, script.heard[0].path) == ("POST", "/api/v1/tasks/t-1/cancel")
    assert speak(Script(too_late), lambda p: p.cancel(Ticket("t-1"))) is False
    with pytest.raises(Unavailable):
        speak(Script(Reply(cut=True)), lambda p: p.cancel(Ticket("t-1")))


def test_check_is_a_query() -> None:
    """The key is checked by a query for a task that cannot exist: nothing is bought."""
    script = Script(Reply(_output("UNKNOWN")))
    speak(script, lambda p: p.check())
    assert [heard.method for heard in script.heard] == ["GET"]
    with pytest.raises(KeyRefused):
        speak(Script(Reply("", 401)), lambda p: p.check())


# Fitting


@pytest.mark.parametrize(
    ("name", "asked", "fitted"),
    [
        ("wan2.6-t2i", (1080, 1440), (1152, 1536)),
        ("wan2.6-t2i", (1080, 1920), (1080, 1920)),
        ("wan2.6-t2i", (720, 1280), (1008, 1792)),
        ("wan2.6-t2i", (1280, 1280), (1280, 1280)),
        ("wan2.6-t2i", (1104, 1472), (1104, 1472)),
        ("wan2.6-t2i", None, (1280, 1280)),
        ("wan2.2-t2i-plus", (1080, 1440), (1080, 1440)),
        ("qwen-image", (1080, 1440), (1104, 1472)),
        ("wanx-v1", (1080, 1920), (720, 1280)),
        ("z-image-turbo", (1080, 1440), (1080, 1440)),
    ],
)
def test_nearest_size(name: str, asked: Any, fitted: tuple[int, int]) -> None:
    """The usual sizes become what each model takes, and a change is said."""
    result = alone(name).fit(Asked("a", "", size=asked))
    assert result.asked.size == fitted
    assert bool(result.notes) == (asked is not None and asked != fitted)
    for note in result.notes:
        assert f"{fitted[0]}×{fitted[1]}" in note.zh
        assert f"{fitted[0]}×{fitted[1]}" in note.en


SIZED = sorted(name for name, table in MODELS.items() if not isinstance(table.rule, Ratios))


@given(st.sampled_from(SIZED), st.integers(1, 9000), st.integers(1, 9000))
def test_fitted_sizes_are_legal(name: str, width: int, height: int) -> None:
    """Any size becomes a legal one; a legal one is left alone; a possible shape is kept."""
    table = MODELS[name]
    fitted = nearest(table, (width, height))
    assert is_legal(table, fitted)
    assert nearest(table, fitted) == fitted
    widest = 1.0
    match table.rule:
        case Area(_, _, ratio):
            widest = ratio
        case Sides(least, most):
            widest = most / least
    if max(width, height) <= 0.9 * widest * min(width, height):
        assert fitted[0] / fitted[1] == pytest.approx(width / height, rel=0.05)


def test_kling_takes_ratios() -> None:
    """A model without sizes gets the nearest ratio, and it is said."""
    result = alone("kling/kling-v3-image-generation").fit(Asked("a", "", size=(1080, 1920)))
    assert result.asked.size is None
    assert result.asked.options == {"aspect_ratio": "9:16", "resolution": "1k"}
    assert "9:16" in result.notes[0].en


def test_too_long_is_refused_not_cut() -> None:
    """A prompt over the limit is refused with the limit; one at the limit passes unchanged."""
    provider = alone("wan2.2-t2i-flash")
    assert provider.fit(Asked("字" * 500, "")).asked.prompt == "字" * 500
    with pytest.raises(Refused, match="500"):
        provider.fit(Asked("字" * 501, ""))
    with pytest.raises(Refused, match="500"):
        provider.fit(Asked("a", "", negative_prompt="字" * 501))
    with pytest.raises(Refused):
        provider.fit(Asked("  \n", ""))


def test_what_the_model_lacks_is_said() -> None:
    """Missing features are refused or left out by name, never silently."""
    with pytest.raises(Refused, match=r"wan2\.6-t2i"):
        alone().fit(Asked("a", "", references=("https://x/1.png",)))
    with pytest.raises(Refused, match=r"wan2\.6-image"):
        alone("wan2.6-image").fit(Asked("a", ""))
    fitted = alone("wan2.7-image").fit(
        Asked("a", "", negative_prompt="b", options={"prompt_extend": True, "style": "x"})
    )
    assert fitted.asked.negative_prompt == ""
    assert fitted.asked.options == {}
    assert len(fitted.notes) == 2
    assert "prompt_extend, style" in fitted.notes[1].en


def test_seeds_out_of_range() -> None:
    """A negative seed is a random one, a large one is folded; both are said."""
    provider = alone()
    assert provider.fit(Asked("a", "", seed=5)).notes == ()
    negative = provider.fit(Asked("a", "", seed=-1))
    assert (negative.asked.seed, len(negative.notes)) == (None, 1)
    large = provider.fit(Asked("a", "", seed=2**31 + 4))
    assert (large.asked.seed, len(large.notes)) == (4, 1)


# Tables


def test_limits_by_region() -> None:
    """wan2.6-t2i takes 1 a second in Beijing and 5 elsewhere; qwen-image-max 2 a minute."""
    assert alone().limits().submit_per_second == 1.0
    intl = alone(base_url="https://dashscope-intl.aliyuncs.com/api/v1")
    assert intl.limits().submit_per_second == 5.0
    assert alone(region="us").limits().submit_per_second == 5.0
    assert alone("qwen-image-max").limits().submit_per_second == pytest.approx(2 / 60)
    assert alone().limits().concurrency == 5
    assert alone("qwen-image").limits().sync_concurrency is None


def test_prices_by_region() -> None:
    """Prices are of the region; z-image doubles with rewriting; what is not listed is unknown."""
    asked = Asked("a", "")
    assert alone().price(asked).amount == 0.20
    workspace = alone(base_url="https://w1.ap-southeast-1.maas.aliyuncs.com/api/v1")
    assert workspace.price(asked).amount == 0.220177
    extended = Asked("a", "", options={"prompt_extend": True})
    assert alone("z-image-turbo").price(asked).amount == 0.10
    assert alone("z-image-turbo").price(extended).amount == 0.20
    unknown = alone(region="us").price(asked)
    assert (unknown.amount, unknown.source) == (None, "unknown")
    assert alone(price=Price(1.0, "USD")).price(asked) == Price(1.0, "USD")


@pytest.mark.parametrize(
    ("name", "path", "price"),
    [
        ("wan2.6-t2i-us", IMAGE_GENERATION, 0.20),
        ("wan2.9-t2i", IMAGE_GENERATION, None),
        ("wanx9", TEXT2IMAGE, None),
        ("something-else", IMAGE_GENERATION, None),
    ],
)
def test_unknown_models_are_guessed_by_family(name: str, path: str, price: float | None) -> None:
    """An unknown name speaks its family's protocol, and its price is unknown, not zero."""
    assert model(name).queued == path
    assert alone(name).price(Asked("a", "")).amount == price
    assert sent(name, Asked("a", "")).body["model"] == name


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_table_is_sound(name: str) -> None:
    """Each model has a lane, a default size it takes, and capabilities that say the same."""
    table = MODELS[name]
    capabilities = alone(name).capabilities()
    strict = table.sizes if isinstance(table.rule, Area | Sides) else ()
    assert table.sizes or table.edits
    assert capabilities.lanes
    assert capabilities.lists_tasks == ("async" in capabilities.lanes)
    assert all(is_legal(replace(table, sizes=()), size) for size in strict)
    assert not table.prompt_in_result or table.queued == TEXT2IMAGE or "i2i" in name


def test_addresses_are_understood() -> None:
    """The compatible-mode address and a bare host, which people also set, become the native."""
    native = re.compile(r"/api/v1$")
    for given_url in (
        "https://dashscope.aliyuncs.com/compatible-mode/v1",
        "https://dashscope.aliyuncs.com",
        "https://dashscope.aliyuncs.com/api/v1/",
    ):
        assert native.search(dashscope._native(given_url))


# Against the whole emulator: queue, times, ledger, traps

EMULATED_KEY = "sk-emulated"
QUICK = ServiceTime(8.0, 0.3, 4.0, 16.0)


def live(
    work: Callable[[Provider, DashScopeEmulator, SystemClock], Awaitable[T]],
    model_name: str = "wan2.6-t2i",
    key: str = EMULATED_KEY,
    **settings: Any,
) -> T:
    """Run ``work`` with a provider that speaks to an emulator, a hundred seconds in one."""

    async def main() -> T:
        clock = SystemClock(100.0, 1_700_000_000.0)
        plain: dict[str, Any] = {"latency": QUICK, "submit_per_second": 0, "list_lag_s": 0.0}
        emulator = DashScopeEmulator(Emulated(picture_size="small", **{**plain, **settings}), clock)
        endpoint = Endpoint("ds", "dashscope", model=model_name, base_url=await emulator.start())
        provider = dashscope.create(endpoint, Tools(key=key, clock=clock))
        try:
            return await work(provider, emulator, clock)
        finally:
            await provider.close()
            await emulator.stop()

    return asyncio.run(main())


async def ended(provider: Provider, ticket: Ticket, clock: SystemClock) -> Any:
    """Poll until something else than waiting."""
    while isinstance(outcome := await provider.poll(ticket), Waiting | Unknown):
        await clock.sleep(1.0)
    return outcome


@pytest.mark.parametrize("name", ["wan2.6-t2i", "wan2.2-t2i-flash", "qwen-image-plus", "wanx-v1"])
def test_emulated_pictures_in_both_shapes(name: str) -> None:
    """Submit, poll, done: one picture, billed once, with the service's own times."""

    async def work(provider: Provider, emulator: DashScopeEmulator, clock: SystemClock) -> None:
        asked = provider.fit(Asked("红围巾", name, size=(1080, 1440))).asked
        before = clock.now()
        ticket = await provider.submit(asked, "async")
        assert isinstance(ticket, Ticket)
        made = await ended(provider, ticket, clock)
        assert isinstance(made, Made)
        assert made.picture.url.startswith("http")
        assert made.extra == ()
        if provider.capabilities().prompt_in_result:
            assert made.original_prompt == "红围巾"
        times = made.times
        assert times.queued is not None
        assert times.started is not None
        assert times.ended is not None
        assert before - 1 <= times.queued <= times.started <= times.ended <= clock.now()
        bill = emulator.ledger
        assert (len(bill.purchases), bill.bought_twice()) == (1, [])

    live(work, name)


@pytest.mark.parametrize("name", ["wan2.6-t2i", "qwen-image-max", "z-image-turbo"])
def test_emulated_sync_lane(name: str) -> None:
    """The synchronous lane answers with the picture."""

    async def work(provider: Provider, _emulator: DashScopeEmulator, _clock: SystemClock) -> None:
        made = await provider.submit(provider.fit(Asked("a", name)).asked, "sync")
        assert isinstance(made, Made)
        assert made.picture.url

    live(work, name)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_emulated_service_takes_every_suggested_size(name: str) -> None:
    """What we suggest and fit is accepted by a service that keeps the published rules."""

    async def work(provider: Provider, _emulator: DashScopeEmulator, clock: SystemClock) -> None:
        table = MODELS[name]
        references = ("https://x/1.png",) * table.references_needed
        lane = provider.capabilities().lanes[0]
        for size in (*table.sizes, (1080, 1440), (1080, 1920)):
            asked = provider.fit(Asked(f"a {size}", name, size=size, references=references)).asked
            answer = await provider.submit(asked, lane)
            made = answer if isinstance(answer, Made) else await ended(provider, answer, clock)
            assert isinstance(made, Made)

    if name not in {"wan2.1-t2i-plus", "wan2.1-t2i-turbo"}:
        live(work, name, latency=ServiceTime(0.0, 0.0, 0.0, 0.0), task_calls_per_second=None)


@pytest.mark.parametrize("fault", ["lost", "504", "html", "empty"])
def test_emulated_lost_answers_are_found_by_looking(fault: str) -> None:
    """Accepted but not answered: AnswerLost, billed once, and the list shows exactly that task."""

    async def work(provider: Provider, emulator: DashScopeEmulator, clock: SystemClock) -> None:
        since = clock.now()
        with pytest.raises(AnswerLost):
            await provider.submit(Asked("a", "wan2.6-t2i"), "async")
        assert len(emulator.ledger.purchases) == 1
        (seen,) = await provider.look(since - 1, clock.now() + 5)
        assert seen.model == "wan2.6-t2i"
        assert since - 1 <= seen.created <= clock.now()
        assert isinstance(await ended(provider, Ticket(seen.id), clock), Made)

    live(work, faults=parse_faults(f"answer_{fault}=1"))


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("error", Unavailable),
        ("busy", (Unavailable, Throttled)),
        ("throttled", Throttled),
        ("burst", Throttled),
        ("concurrency", Throttled),
        ("quota", Throttled),
        ("exhausted", AccountEmpty),
        ("unpaid", AccountEmpty),
        ("refused", ContentRefused),
    ],
)
def test_emulated_refusals_buy_nothing(fault: str, kind: Any) -> None:
    """Whatever is answered with no has bought nothing."""

    async def work(provider: Provider, emulator: DashScopeEmulator, _clock: SystemClock) -> None:
        with pytest.raises(kind):
            await provider.submit(Asked("a", "wan2.6-t2i"), "async")
        assert not emulator.ledger.purchases

    live(work, faults=parse_faults(f"submit_{fault}=1"))


@pytest.mark.parametrize("fault", ["error", "busy", "throttled", "reset", "html", "empty", "json"])
def test_emulated_polls_that_fail_are_asked_again(fault: str) -> None:
    """No failure of a poll ends a task."""

    async def work(provider: Provider, _emulator: DashScopeEmulator, _clock: SystemClock) -> None:
        ticket = await provider.submit(Asked("a", "wan2.6-t2i"), "async")
        assert isinstance(ticket, Ticket)
        with pytest.raises((Unavailable, Throttled)):
            await provider.poll(ticket)

    live(work, faults=parse_faults(f"poll_{fault}=1"))


@pytest.mark.parametrize(
    ("fault", "kind"), [("failed", TaskFailed), ("refused", ContentRefused), ("empty", TaskFailed)]
)
def test_emulated_tasks_that_fail(fault: str, kind: type[ServiceError]) -> None:
    """A task's own failure is of its class."""

    async def work(provider: Provider, _emulator: DashScopeEmulator, clock: SystemClock) -> None:
        ticket = await provider.submit(Asked("a", "wan2.6-t2i"), "async")
        assert isinstance(ticket, Ticket)
        failed = await ended(provider, ticket, clock)
        assert isinstance(failed, Failed)
        assert type(failed.error) is kind

    live(work, faults=parse_faults(f"task_{fault}=1"))


def test_emulated_list_of_many() -> None:
    """More tasks than fit on a page are all seen, while others keep coming."""

    async def work(provider: Provider, _emulator: DashScopeEmulator, clock: SystemClock) -> None:
        since = clock.now()
        tickets = [
            await provider.submit(Asked(f"a{number}", "wan2.6-t2i"), "async")
            for number in range(130)
        ]
        seen = await provider.look(since - 1, clock.now() + 5)
        assert {task.id for task in seen} == {
            ticket.id for ticket in tickets if isinstance(ticket, Ticket)
        }

    live(work, task_calls_per_second=None)


def test_emulated_short_list_is_never_taken_for_whole() -> None:
    """A page that lacks rows is noticed."""

    async def work(provider: Provider, _emulator: DashScopeEmulator, clock: SystemClock) -> None:
        for number in range(3):
            await provider.submit(Asked(f"a{number}", "wan2.6-t2i"), "async")
        with pytest.raises(Unavailable):
            await provider.look(clock.now() - 600, clock.now() + 5)

    live(work, faults=parse_faults("list_short=1"))


def test_emulated_cancel() -> None:
    """A waiting task can be cancelled, one under way cannot."""

    async def work(provider: Provider, _emulator: DashScopeEmulator, clock: SystemClock) -> None:
        first, second = [
            await provider.submit(Asked(text, "wan2.6-t2i"), "async") for text in ("a", "b")
        ]
        assert isinstance(first, Ticket)
        assert isinstance(second, Ticket)
        await clock.sleep(1.0)
        assert await provider.cancel(first) is False
        assert await provider.cancel(second) is True
        assert isinstance(await provider.poll(second), Canceled)

    live(work, concurrency=1, latency=ServiceTime(600.0, 0.1, 500.0, 700.0))


def test_emulated_keys() -> None:
    """A good key passes the free check, another region's is refused, at no cost."""

    async def check(provider: Provider, emulator: DashScopeEmulator, _clock: SystemClock) -> None:
        await provider.check()
        assert not emulator.ledger.purchases

    live(check)
    for key in ("sk-of-another-region", ""):
        with pytest.raises(KeyRefused):
            live(check, key=key)
