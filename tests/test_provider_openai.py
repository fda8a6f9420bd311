"""OpenAI and whoever speaks like it: relays learnt as they are asked, vendors by their tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canned import CLASSES
from redloom.conformance.rig import KEY, PROMPT, Rig
from redloom.emulators import openai as emulator
from redloom.emulators.ledger import prompt_sha
from redloom.emulators.openai import OpenAIEmulator
from redloom.emulators.pictures import prompt_of_picture
from redloom.endpoint import Answer, Asked, Endpoint, Made, Provider, Tools
from redloom.engine import Engine, Result
from redloom.errors import (
    AccountEmpty,
    AnswerLost,
    ContentRefused,
    KeyRefused,
    NotAllowed,
    Refused,
    ServiceError,
    TaskFailed,
    Throttled,
    Unavailable,
)
from redloom.lang import Text
from redloom.prompt import Prompt
from redloom.providers import openai
from redloom.providers._openai_answers import pictures, says_none, words
from redloom.providers._openai_errors import TABLES, duration_s, kinds, read, wait_s
from redloom.providers._openai_learnt import Learnt
from redloom.providers._openai_vendors import VENDORS, vendor_of
from redloom.providers._voice import Said, Voice
from redloom.settings import load_settings
from redloom.testing import JumpingClock, picture_of, run


def answer(body: Any, status: int = 200, **headers: str) -> Answer:
    """An answer as the wire hands it over."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, str(body), body if isinstance(body, dict) else None)


def provider(url: str = "", model: str = "", name: str = "openai", **options: Any) -> Provider:
    """A provider that is not spoken to."""
    return openai.create(Endpoint(name, name, model, url, options=options), Tools(key="k"))


# relays


@dataclass
class Sold:
    """What the relay heard and sold."""

    heard: list[dict[str, Any]]
    billed: int
    twice: list[str]
    references: list[int]


def through(
    dialect: str,
    folder: Path,
    *,
    size: str = "1080x1440",
    references: tuple[str, ...] = (),
    vendor: str = "",
    address: str = "",
) -> tuple[list[Result], Sold, list[str]]:
    """Two pictures from a relay by a whole engine; what was told on the way."""

    async def main() -> tuple[list[Result], Sold, list[str]]:
        clock = JumpingClock()
        quick = emulator.ServiceTime(0, 0, 0, 0)
        service = OpenAIEmulator(
            emulator.Emulated(dialect=dialect, latency=quick, keys={KEY: "a"}), clock
        )
        url = await service.start()
        url = f"http://{url.split('/')[2]}{address}" if address else url
        endpoint = Endpoint(
            "relay", "openai", "some-model", url, options={"vendor": vendor} if vendor else {}
        )
        told: list[str] = []
        speaking = openai.create(endpoint, Tools(key=KEY, clock=clock))
        async with Engine(
            workspace=folder / "ws", equipped=[(endpoint, speaking)], clock=clock,
            on_event=lambda event: told.append(str(getattr(event, "reason", ""))),
        ) as engine:  # fmt: skip
            prompts = [
                Prompt(text, size=size, references=references) for text in ("红围巾", "a blue one")
            ]
            results = await engine.generate(prompts, out=folder / "out")
        bill = service.ledger
        came = [purchase.references for purchase in bill.own()]
        sold = Sold(service.heard, bill.billed(), bill.bought_twice(), came)
        await service.stop()
        return results, sold, [text for text in told if text]

    return run(main())


def judged(results: list[Result], service: Sold) -> None:
    """Every picture is there, of its own words, and paid once."""
    for result in results:
        assert result.status == "ok", result.error
        assert result.path is not None
        assert prompt_of_picture(result.path.read_bytes()) == prompt_sha(result.prompt)
    assert service.billed == len(results)
    assert service.twice == []


@pytest.mark.parametrize(
    ("dialect", "learns"),
    [
        ("relay", ""),
        ("relay-base64", ""),
        ("relay-strict", "response_format"),
        ("relay-ratio", "ratio"),
        ("relay-sizes", "sizes"),
        ("relay-zh", ""),
    ],
)
def test_every_relay_yields_its_pictures(dialect: str, learns: str, tmp_path: Path) -> None:
    """Links only, base64 only, no response_format, ratios only, listed sizes: pictures all the same."""
    results, service, told = through(dialect, tmp_path)
    judged(results, service)
    assert bool(told) == bool(learns)
    assert any(learns in text for text in told) or not learns
    assert len(service.heard) <= 8, "what was learnt is not asked again for every picture"


def test_a_chat_with_a_picture_in_its_markdown(tmp_path: Path) -> None:
    """A data URL inside a chat's words is the picture, byte for byte."""
    results, service, _ = through("relay-chat", tmp_path, size="", vendor="chat-relay")
    judged(results, service)
    asked = [body["messages"] for body in service.heard]
    assert [{"role": "user", "content": "红围巾"}] in asked


def test_a_picture_from_a_chat_is_on_the_disk_first(tmp_path: Path) -> None:
    """Its bytes lie in the workspace's folder before the engine hears of it: a crash keeps them."""
    files: list[Path] = []

    async def made(rig: Rig) -> None:
        await rig.stand_in()
        tools = Tools(key=KEY, clock=rig.clock, folder=tmp_path / "partial")
        speaking = openai.create(rig.endpoint_at(rig.url), tools)
        answer = await speaking.submit(rig.asked(speaking), "sync")
        await speaking.close()
        assert isinstance(answer, Made)
        assert answer.picture.data is None
        files.append(Path(answer.picture.file))

    def endpoint(url: str) -> Endpoint:
        return Endpoint("relay", "openai", "m", url, options={"vendor": "chat-relay"})

    rig = Rig("relay", openai, emulator, endpoint, tmp_path, "sync")
    rig.settings["dialect"] = "relay-chat"
    run(rig.through(made))
    assert prompt_of_picture(files[0].read_bytes()) == prompt_sha(PROMPT)


def test_an_error_inside_a_200_is_one_clear_sentence(tmp_path: Path) -> None:
    """HTTP 200 with an error in it is no picture and no doubt, but what it says."""

    async def refused(rig: Rig) -> None:
        speaking = await rig.start("@1:submit=refused,@2:submit=unpaid,@3:submit=throttled")
        for kind in (ContentRefused, AccountEmpty, Throttled):
            error = await rig.raised(speaking.submit(rig.asked(speaking), "sync"))
            assert type(error) is kind
            assert error.text.zh.count("。") <= 3
        rig.accepted(0)

    endpoint = lambda url: Endpoint("relay", "openai", "m", url)  # noqa: E731
    rig = Rig("relay", openai, emulator, endpoint, tmp_path, "sync")
    rig.settings["dialect"] = "relay-200"
    run(rig.through(refused))


@pytest.mark.parametrize(
    ("dialect", "address"),
    [
        ("relay", "/v1"),
        ("relay", ""),
        ("relay", "/v1/"),
        ("relay", "/v1/images/generations"),
        ("relay-no-v1", "/api"),
        ("relay-no-v1", "/api/v1"),
    ],
)
def test_with_or_without_v1(dialect: str, address: str, tmp_path: Path) -> None:
    """However people write the address, the pictures come, or a sentence about the address."""
    results, service, _ = through(dialect, tmp_path, address=address)
    judged(results, service)


def test_a_wrong_address_is_one_sentence(tmp_path: Path) -> None:
    """Neither spelling leads anywhere: refused, nothing spent, and what to look at."""
    results, service, _ = through("relay", tmp_path, address="/wrong")
    assert {result.status for result in results} == {"refused"}
    assert all("Invalid URL" in result.error for result in results)
    assert service.billed == 0


def test_references_find_their_way(tmp_path: Path) -> None:
    """Through /images/edits as a form; where there is none, inside the request."""
    reference = tmp_path / "a.png"
    reference.write_bytes(picture_of("a"))
    for dialect, told in (("relay", 0), ("relay-no-edits", 1)):
        results, service, reasons = through(
            dialect, tmp_path / dialect, references=(str(reference),)
        )
        judged(results, service)
        assert service.references == [1, 1]
        assert len(reasons) >= told


@pytest.mark.parametrize(
    ("dialect", "key", "kind"),
    [
        ("relay", KEY, None),
        ("relay", "wrong", KeyRefused),
        ("relay-no-v1", KEY, None),
        ("relay-no-v1", "wrong", KeyRefused),
        ("minimax", KEY, None),
        ("minimax", "wrong", KeyRefused),
    ],
)
def test_keys_are_tried_for_free_everywhere(
    dialect: str, key: str, kind: type[ServiceError] | None, tmp_path: Path
) -> None:
    """By the list of models, or where there is none by a request that is refused before any work."""

    async def tried(rig: Rig) -> None:
        await rig.stand_in()
        speaking = rig.provider(key=key)
        if kind is None:
            await speaking.check()
        else:
            assert isinstance(await rig.raised(speaking.check()), kind)
        rig.accepted(0)

    name = "minimax" if dialect == "minimax" else "openai"
    rig = Rig(name, openai, emulator, lambda url: Endpoint(name, name, "image-01", url), tmp_path)
    rig.settings["dialect"] = dialect
    run(rig.through(tried))


# what is sent


def test_the_official_shape() -> None:
    """What OpenAI is sent is what its own client sends: no parameter that it refuses."""
    speaking = provider(model="gpt-image-1", vendor="openai")
    asked = speaking.fit(Asked("a red scarf", "gpt-image-1", size=(1080, 1440))).asked
    form = speaking._form(asked)  # type: ignore[attr-defined]
    body = form.body(asked, {"output_format": "webp"}, [])
    assert body == {
        "model": "gpt-image-1", "prompt": "a red scarf", "n": 1, "size": "1024x1536",
        "quality": "medium", "output_format": "webp",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("siliconflow", {"image_size": "1140x1472", "batch_size": 1, "seed": 7}),
        ("together", {"width": 1072, "height": 1424, "n": 1, "seed": 7}),
        ("xai", {"aspect_ratio": "3:4", "resolution": "1k", "n": 1}),
        ("minimax", {"width": 1080, "height": 1440, "n": 1, "seed": 7, "prompt_optimizer": False}),
        ("zhipu", {"quality": "standard"}),
        ("openrouter", {"modalities": ["image", "text"], "image_config": {"aspect_ratio": "3:4"}}),
    ],
)
def test_every_vendor_is_asked_in_its_own_words(name: str, expected: dict[str, Any]) -> None:
    """The same picture as each vendor wants to be asked for it; the count is always one."""
    speaking = provider(name=name)
    model = VENDORS[name].default
    asked = speaking.fit(Asked("红围巾", model, size=(1080, 1440), seed=7)).asked
    body = speaking._form(asked).body(asked, asked.options, [])  # type: ignore[attr-defined]
    for key, value in expected.items():
        if key in ("width", "height"):
            assert abs(body[key] - value) <= 16
        else:
            assert body[key] == value
    assert "size" not in body or name == "zhipu"
    assert "红围巾" in str(body)


def test_several_references_in_json_have_fields_of_their_own() -> None:
    """SiliconFlow's editing model takes image, image2, image3."""
    speaking = provider(name="siliconflow", model="Qwen/Qwen-Image-Edit-2509")
    asked = Asked("a", "Qwen/Qwen-Image-Edit-2509")
    body = speaking._form(asked).body(asked, {}, ["u1", "u2"])  # type: ignore[attr-defined]
    assert (body["image"], body["image2"]) == ("u1", "u2")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", ("https://api.openai.com", "/v1")),
        ("https://relay.example", ("https://relay.example", "/v1")),
        ("https://relay.example/", ("https://relay.example", "/v1")),
        ("https://relay.example/v1/", ("https://relay.example", "/v1")),
        ("relay.example/v1", ("https://relay.example", "/v1")),
        ("https://relay.example/v1/images/generations", ("https://relay.example", "/v1")),
        ("https://relay.example/v1/chat/completions?x=1", ("https://relay.example", "/v1")),
        ("http://127.0.0.1:3000/api", ("http://127.0.0.1:3000", "/api")),
        ("https://name.openai.azure.com", ("https://name.openai.azure.com", "/openai/v1")),
        ("https://api.minimaxi.com", ("https://api.minimaxi.com", "/v1")),
        ("https://open.bigmodel.cn", ("https://open.bigmodel.cn", "/api/paas/v4")),
    ],
)
def test_addresses_as_people_write_them(url: str, expected: tuple[str, str]) -> None:
    """With or without the version, a final slash, a scheme, or with a whole call at the end."""
    speaking = provider(url)
    assert (speaking._origin, speaking._root) == expected  # type: ignore[attr-defined]


def test_the_address_says_who_it_is() -> None:
    """A known host has its table, whatever the provider is called; any other is a relay."""
    assert vendor_of("", "openai", "api.siliconflow.cn").name == "siliconflow"
    assert vendor_of("", "openai", "api.openai.com").name == "openai"
    assert vendor_of("", "openai", "myapi.openai.com.example").name == "relay"
    assert vendor_of("", "xai", "127.0.0.1").name == "xai"
    assert vendor_of("azure", "openai", "gateway.example").name == "azure"


def test_azure_without_an_address_says_so() -> None:
    """A key alone is not enough there: the sentence names the variable."""
    speaking = provider(name="azure", model="my-pictures")
    with pytest.raises(NotAllowed, match="AZURE_OPENAI_ENDPOINT"):
        run(speaking.check())


# money


@pytest.mark.parametrize(
    ("name", "model", "size", "quality", "amount"),
    [
        ("openai", "gpt-image-1", (1024, 1024), "", 0.042),
        ("openai", "gpt-image-1", (1024, 1536), "high", 0.25),
        ("openai", "gpt-image-1-mini", (1024, 1024), "low", 0.005),
        ("openai", "gpt-image-2-2026-04-21", (1024, 1024), "", None),
        ("openai", "dall-e-3", (1024, 1792), "hd", 0.12),
        ("siliconflow", "Kwai-Kolors/Kolors", (1024, 1024), "", 0.0),
        ("xai", "grok-imagine-image", None, "", 0.02),
    ],
)
def test_prices_by_model_size_and_quality(
    name: str, model: str, size: Any, quality: str, amount: float | None
) -> None:
    """From a dated table; a price that no page named is unknown, never nothing."""
    speaking = provider(name=name, model=model, vendor=name)
    price = speaking.price(Asked("a", model, size, options={"quality": quality} if quality else {}))
    assert price.amount == amount
    assert (price.source == "unknown") == (amount is None)
    assert price.as_of


def test_what_the_answer_says_was_paid() -> None:
    """Tokens at the listed price, or the sum that the service names; nothing where it says nothing."""
    speaking = provider(model="gpt-image-1", vendor="openai")
    form = speaking._form()  # type: ignore[attr-defined]
    details = {"text_tokens": 10, "image_tokens": 0}
    usage = {"input_tokens_details": details, "output_tokens": 1056}
    paid = speaking._paid(answer({"usage": usage}), form)  # type: ignore[attr-defined]
    assert paid.amount == pytest.approx((10 * 5 + 1056 * 40) / 1e6)
    assert paid.source == "estimated"
    said = speaking._paid(answer({"usage": {"cost": 0.039}}), form)  # type: ignore[attr-defined]
    assert (said.amount, said.source) == (0.039, "reported")
    for nothing in ({}, {"usage": None}, {"usage": {"output_tokens": "many"}}):
        assert speaking._paid(answer(nothing), form) is None  # type: ignore[attr-defined]
    for absurd in (
        {"cost": 1e308}, {"cost": 10**19}, {"cost": -1}, {"cost": True},
        {"input_tokens_details": details, "output_tokens": 10**18},
    ):  # fmt: skip
        assert speaking._paid(answer({"usage": absurd}), form) is None  # type: ignore[attr-defined]


# errors


@pytest.mark.parametrize(
    ("vendor", "code"),
    [(vendor, code) for vendor in [*TABLES, "openai"] for code in TABLES.get(vendor, {})]
    + [("openai", code) for code in TABLES["azure"]],
)
def test_every_documented_code_has_its_class(vendor: str, code: str) -> None:
    """Each code of each table, in the shape of an answer, is the error that the table says."""
    voice = Voice(Text("某处", "somewhere"), read, kinds(vendor), "secret-key")
    body = {"error": {"code": code, "message": "secret-key said it"}}
    error = voice.submit_error(answer(body, 418))
    kind = kinds(vendor)(Said(code, "", 418))
    assert type(error) is CLASSES[kind]
    assert "secret-key" not in str(error.text)
    assert error.service_code == code


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"error": {"message": "该令牌额度已用尽", "type": "new_api_error"}}, 403, AccountEmpty),
        ({"error": {"message": "无效的令牌", "type": "new_api_error"}}, 401, KeyRefused),
        ({"error": "Incorrect API key provided", "code": "bad request"}, 400, KeyRefused),
        ({"error": {"message": "当前分组上游负载已饱和，请稍后再试"}}, 429, Throttled),
        ({"error": {"message": "context deadline exceeded", "type": "api_error"}}, 500, AnswerLost),
        ({"error": {"message": "boom", "type": "api_error"}}, 500, Unavailable),
        ({"error": {"message": "something odd"}}, 200, TaskFailed),
        ({"base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}}, 200, ContentRefused),
        ({"code": 20012, "message": "Model does not exist."}, 400, NotAllowed),
        ({"detail": [{"loc": ["body", "size"], "msg": "extra"}]}, 422, Refused),
        ({"success": False, "message": "余额不足"}, 200, AccountEmpty),
        ({"error": {"message": "Unknown parameter: 'max_tokens'.", "code": "unknown_parameter"}}, 400, Refused),
        ({"error": {"message": "Unknown parameter: 'moderation'.", "type": "invalid_request_error"}}, 400, Refused),
        ({"error": {"message": "不支持的参数 moderation"}}, 400, Refused),
        ("", 504, AnswerLost),
        ("<html>", 200, AnswerLost),
        ("", 401, KeyRefused),
    ],
)  # fmt: skip
def test_what_relays_say_in_any_shape(body: Any, status: int, kind: type[ServiceError]) -> None:
    """Five shapes of error, two languages, errors in 200: each is one of ours."""
    vendor = "minimax" if isinstance(body, dict) and "base_resp" in body else "relay"
    voice = Voice(Text("某处", "somewhere"), read, kinds(vendor))
    assert type(voice.submit_error(answer(body, status))) is kind


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("6m30s", 390.0),
        ("120ms", 0.12),
        ("1h2m3s", 3723.0),
        ("soon", None),
        ("", None),
    ],
)
def test_durations_in_headers(text: str, seconds: float | None) -> None:
    """x-ratelimit-reset-* are durations."""
    assert duration_s(text) == seconds


def test_how_long_to_wait() -> None:
    """Headers first, then the words; milliseconds too."""
    assert wait_s(answer({}, 429, Retry_After="7")) == 7.0
    assert wait_s(answer({}, 429, retry_after_ms="1500")) == 1.5
    headers = {"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "6m0s"}
    assert wait_s(answer({}, 429, **headers)) == 360.0
    for message, seconds in (
        ("Please try again in 12s.", 12.0),
        ("Please retry after 26 seconds.", 26.0),
        ("try again in 1m30s", 90.0),
        ("请 20 秒后再试", 20.0),
        ("limit 5 per minute", None),
    ):
        said = read(answer({"error": {"message": message, "code": "rate_limit_exceeded"}}, 429))
        assert said is not None
        assert said.retry_after_s == seconds


# answers

PNG = "iVBORw0KGgo" + "A" * 40
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=30)
NAMES = (
    "data url b64_json images choices message content error code base_resp image_url usage detail x"
)


def deeper(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One level more of lists and objects, under the names that mean something."""
    names = st.sampled_from(NAMES.split())
    return inner | st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4)


JSONS = deeper(deeper(deeper(deeper(LEAVES))))


@pytest.mark.parametrize(
    "body",
    [
        {"data": [{"url": "https://x/a.png"}]},
        {"images": [{"url": "https://x/a.png"}], "data": [{"url": "https://x/a.png"}]},
        {"data": {"image_urls": ["https://x/a.png"]}},
        {"output": ["https://x/a.png"]},
        {"choices": [{"message": {"content": "![a](https://x/a.png)"}}]},
        {"choices": [{"message": {"content": [{"type": "image_url", "image_url": {"url": "https://x/a.png"}}]}}]},
        {"choices": [{"message": {"content": "Done: https://x/a.png?k=1 enjoy"}}]},
    ],
)  # fmt: skip
def test_links_wherever_they_are(body: dict[str, Any]) -> None:
    """One picture, once, wherever a relay puts its address."""
    (picture,) = pictures(answer(body))
    assert picture.url.startswith("https://x/a.png")


@pytest.mark.parametrize(
    "body",
    [
        {"data": [{"b64_json": PNG, "revised_prompt": "r"}]},
        {"data": {"image_base64": [PNG]}},
        {"choices": [{"message": {"images": [{"image_url": {"url": f"data:image/png;base64,{PNG}"}}]}}]},
        {"choices": [{"message": {"content": f"Here: ![p](data:image/png;base64,{PNG})"}}]},
    ],
)  # fmt: skip
def test_bytes_wherever_they_are(body: dict[str, Any]) -> None:
    """Base64, data URLs, Markdown: the bytes."""
    found = pictures(answer(body))
    assert len(found) == 1
    assert found[0].data is not None
    assert found[0].data.startswith(b"\x89PNG")


@given(JSONS)
def test_any_answer_is_read_without_a_fall(body: Any) -> None:
    """Whatever JSON comes, reading it raises nothing."""
    whole = answer(body if isinstance(body, dict) else {"data": body})
    for picture in pictures(whole):
        assert picture.url or picture.data is not None
    read(whole)
    words(whole)


@pytest.mark.parametrize(
    ("content", "none"),
    [
        ("I cannot draw that.", True),
        ("Here it is: https://relay.example/picture/17 (valid for one hour)", False),
        ("Here it is: data:image/avif-sequence;charset=x,AAAA", False),
    ],
)
def test_words_that_hold_an_address_are_no_plain_no(content: str, none: bool) -> None:
    """A link that cannot be told from others may be the picture: a doubt, not another purchase."""
    whole = answer({"choices": [{"message": {"content": content}}]})
    assert pictures(whole) == []
    assert says_none(whole) is none


def test_a_chat_without_a_picture_is_quoted() -> None:
    """What it said instead of drawing reaches the user."""
    body = {"choices": [{"message": {"content": "I cannot draw that."}}]}
    speaking = provider("https://relay.example", "m")
    error = speaking._not_made(answer(body), openai._Sent({}))  # type: ignore[attr-defined]
    assert isinstance(error, TaskFailed)
    assert "I cannot draw that." in error.text.en


# learning

SENT = {
    "model": "m",
    "prompt": "p",
    "n": 1,
    "size": "1080x1440",
    "response_format": "url",
    "seed": 7,
}


@pytest.mark.parametrize(
    ("message", "parameter", "after"),
    [
        ("Unknown parameter: 'seed'.", "seed", {"refused": {"seed"}}),
        ("seed is not supported", "", {"refused": {"seed"}}),
        ("response_format must be 'b64_json'", "", {"values": {"response_format": "b64_json"}}),
        ("Supported sizes: 1024x1024, 1024x1536", "size", {"sizes": ((1024, 1024), (1024, 1536))}),
        (
            "use aspect_ratio, one of 1:1, 3:4",
            "size",
            {"sizing": "ratio", "ratios": ("1:1", "3:4")},
        ),
        ("请使用宽高比", "", {"sizing": "ratio"}),
        ("size is not allowed", "", {"sizing": "none"}),
        ("prompt is too long", "prompt", {}),
        ("the model is bad", "model", {}),
    ],
)
def test_lessons(message: str, parameter: str, after: dict[str, Any]) -> None:
    """What a refusal teaches, from its own field or from its words; the prompt is never at fault."""
    learnt = Learnt()
    lesson = learnt.learn(Said("invalid_value", message, 400), parameter, SENT)
    assert (lesson is not None) == bool(after)
    for name, value in after.items():
        assert getattr(learnt, name) == value


@given(st.lists(st.tuples(st.text(max_size=60), st.sampled_from(["", *SENT])), max_size=30))
def test_learning_comes_to_an_end(refusals: list[tuple[str, str]]) -> None:
    """The same refusal never teaches for ever: after a few lessons it is simply refused."""
    learnt = Learnt()
    for message, parameter in refusals:
        said = Said("x", message, 400)
        lessons = 0
        while learnt.learn(said, parameter, SENT) is not None:
            lessons += 1
            assert lessons <= 3


# endpoints without a file


@pytest.mark.parametrize(
    ("variables", "name", "model", "url"),
    [
        ({"OPENAI_API_KEY": "k", "OPENAI_IMAGE_MODEL": "dall-e-3"}, "openai", "dall-e-3", "https://api.openai.com/v1"),
        ({"ZHIPUAI_API_KEY": "k"}, "zhipu", "cogview-4", "https://open.bigmodel.cn/api/paas/v4"),
        ({"MINIMAX_API_KEY": "k", "MINIMAX_API_HOST": "https://api.minimax.io"}, "minimax", "image-01", "https://api.minimax.io"),
        ({"XAI_API_KEY": "k"}, "xai", "grok-imagine-image", "https://api.x.ai/v1"),
        ({"OPENROUTER_API_KEY": "k"}, "openrouter", "google/gemini-2.5-flash-image", "https://openrouter.ai/api/v1"),
        ({"TOGETHER_API_KEY": "k"}, "together", "black-forest-labs/FLUX.1-schnell", "https://api.together.xyz/v1"),
        ({"SILICONFLOW_API_KEY": "k"}, "siliconflow", "Qwen/Qwen-Image", "https://api.siliconflow.cn/v1"),
        ({"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": "https://n.openai.azure.com"}, "azure", "gpt-image-1", "https://n.openai.azure.com"),
    ],
)  # fmt: skip
def test_a_key_makes_an_endpoint(
    variables: dict[str, str], name: str, model: str, url: str, tmp_path: Path
) -> None:
    """With the variables that the vendor's own tools use, the endpoint is there."""
    settings = load_settings(environ=variables, folder=tmp_path)
    config = settings.endpoint(name)
    assert config.ready
    assert (config.model, config.base_url) == (model, url)


def test_azure_takes_its_version_from_the_environment(tmp_path: Path) -> None:
    """AZURE_API_VERSION leads to the path of deployments; the file's own word goes before it."""
    variables = {"AZURE_OPENAI_API_KEY": "k", "AZURE_API_VERSION": "2025-04-01-preview"}
    config = load_settings(environ=variables, folder=tmp_path).endpoint("azure")
    assert config.options == {"api_version": "2025-04-01-preview"}
    speaking = openai.create(config.endpoint(), Tools(key="k"))
    path = speaking._path("/images/generations", "mine")  # type: ignore[attr-defined]
    assert path == "/openai/deployments/mine/images/generations?api-version=2025-04-01-preview"
