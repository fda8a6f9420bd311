"""Seedream on Ark: what is sent, what each answer means, and every documented error code."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canned import CLASSES, KEY, Reply, against, asked, run, scripted
from redloom.emulators.ark import ArkEmulator, Emulated, ServiceTime, parse_faults
from redloom.emulators.ledger import prompt_sha
from redloom.emulators.pictures import prompt_of_picture
from redloom.endpoint import Made, Ticket, Unknown
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
)
from redloom.providers._ark_errors import CODES, kind_of
from redloom.providers._ark_models import FAMILIES, SIZES_2K, model
from redloom.providers._requests import Area
from redloom.providers._voice import Said
from redloom.testing import JumpingClock
from redloom.testing import run as jump

M5, M4, M45 = (
    "doubao-seedream-5-0-260128",
    "doubao-seedream-4-0-250828",
    "doubao-seedream-4-5-251128",
)
URL = "https://ark-content-generation-v2-cn-beijing.tos-cn-beijing.volces.com/a.png?X-Tos-Expires=86400"
MADE = Reply({"data": [{"url": URL, "size": "2048x2048"}], "usage": {"generated_images": 1}})
_STATUS = {"key": 401, "empty": 403, "closed": 404, "unavailable": 500}


def refusal(code: str, message: str = "no", status: int = 400) -> Reply:
    return Reply({"error": {"code": code, "message": message, "type": "x", "param": ""}}, status)


def shows(file: str, prompt: str) -> bool:
    """Whether the file is the picture of the prompt."""
    return prompt_of_picture(Path(file).read_bytes()) == prompt_sha(prompt)


def test_what_is_sent() -> None:
    """One picture, no mark, no series, the exact size; the key only in its header."""
    provider, heard = scripted("ark", MADE)
    made = run(lambda: provider.submit(asked(M5, size=(1728, 2304), key="k1"), "sync"))
    assert isinstance(made, Made)
    assert made.picture.url == URL
    assert heard[0].url.endswith("/api/v3/images/generations")
    assert heard[0].headers["Authorization"] == f"Bearer {KEY}"
    assert heard[0].body == {
        "model": M5,
        "prompt": "一条红围巾",
        "size": "1728x2304",
        "watermark": False,
        "response_format": "url",
        "sequential_image_generation": "disabled",
        "output_format": "png",
    }


def test_older_models_get_what_they_know() -> None:
    """4.x has no output format; 3.0 takes a seed and knows no series."""
    provider, heard = scripted("ark", MADE, model="doubao-seedream-3-0-t2i-250415")
    fitted = provider.fit(
        asked("doubao-seedream-3-0-t2i-250415", seed=7, options={"watermark": "on"})
    )
    run(lambda: provider.submit(fitted.asked, "sync"))
    body = heard[0].body
    assert (body["seed"], body["watermark"]) == (7, True)
    assert "sequential_image_generation" not in body
    provider, heard = scripted("ark", MADE, model=M4)
    run(lambda: provider.submit(provider.fit(asked(M4)).asked, "sync"))
    assert "output_format" not in heard[0].body


def test_references_are_sent_as_they_must_be(tmp_path: Path) -> None:
    """A link as it is, a file as a data URL; one alone, several as a list; too many are refused."""
    file = tmp_path / "page.png"
    file.write_bytes(b"not empty")
    provider, heard = scripted("ark", MADE)
    links = ("https://example.com/a.png", str(file))
    run(lambda: provider.submit(asked(M5, references=links), "sync"))
    data = base64.b64encode(b"not empty").decode()
    assert heard[0].body["image"] == [links[0], f"data:image/png;base64,{data}"]
    run(lambda: provider.submit(asked(M5, references=links[:1]), "sync"))
    assert heard[1].body["image"] == links[0]
    with pytest.raises(Refused):
        provider.fit(asked(M5, references=links[:1] * 15))
    with pytest.raises(Refused, match=r"gone\.png"):
        run(lambda: provider.submit(asked(M5, references=(str(tmp_path / "gone.png"),)), "sync"))


def test_what_does_not_fit_is_said() -> None:
    """A size, a seed, a negative prompt and options that the model has not are named in notes."""
    provider, _ = scripted("ark")
    wish = asked(
        M5, size=(1080, 1440), seed=3, negative_prompt="雨", options={"style": "x", "n": 4}
    )
    fitted = provider.fit(wish)
    assert fitted.asked.size is not None
    width, height = fitted.asked.size
    assert abs(width / height - 0.75) < 0.01
    assert width * height >= 3_686_400
    assert (fitted.asked.seed, fitted.asked.negative_prompt, fitted.asked.options) == (None, "", {})
    assert len(fitted.notes) == 4
    assert (
        provider.fit(replace(wish, size=None, seed=None, negative_prompt="", options={})).notes
        == ()
    )
    with pytest.raises(Refused):
        provider.fit(asked(M5, " "))


@given(
    width=st.integers(1, 20_000), height=st.integers(1, 20_000), name=st.sampled_from([*FAMILIES])
)
def test_every_size_becomes_a_legal_one(width: int, height: int, name: str) -> None:
    """Whatever is asked for: the size sent keeps the model's rule; a legal one is kept."""
    area = model(name).area
    fitted = area.nearest((width, height))
    assert area.takes(fitted)
    assert area.nearest(fitted) == fitted
    if area.takes((width, height)):
        assert fitted == (width, height)


def test_suggested_sizes_are_legal() -> None:
    """Every suggestion of every model keeps that model's own rule."""
    for table in FAMILIES.values():
        assert all(table.area.takes(size) for size in table.sizes)
    assert Area(3_686_400, 16_777_216).takes(SIZES_2K[0])


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_documented_code_has_its_class(code: str) -> None:
    """Each code of the table raises the class of its kind, quotes the service, hides the key."""
    kind = CODES[code]
    status = _STATUS.get(kind, 429 if CLASSES[kind] is Throttled else 400)
    provider, _ = scripted("ark", refusal(code, f"words {KEY}", status))
    with pytest.raises(ServiceError) as caught:
        run(lambda: provider.submit(asked(M5), "sync"))
    error = caught.value
    assert type(error) is CLASSES[kind]
    assert error.service_code == code
    for words in error.text:
        assert code in words
        assert KEY not in words


@pytest.mark.parametrize(
    ("code", "message", "status", "kind"),
    [
        ("QuotaExceeded", "Your free trial quota has been exhausted", 429, "empty"),
        ("QuotaExceeded", "You have exceeded the 5 hours usage quota", 429, "empty"),
        ("QuotaExceeded", "The request queue is full", 429, "concurrency"),
        ("QuotaExceeded", "quota exceeded", 429, "quota"),
        ("InvalidParameter.OversizeImage", "", 400, "refused"),
        ("OutputImageSensitiveContentDetected.PolicyViolation", "", 400, "output"),
        ("InputImageSensitiveContentDetected.PrivacyInformation", "", 400, "content"),
        ("OutputVideoRiskDetection.New", "", 400, "output"),
        ("RateLimitExceeded.Other", "", 429, "rate"),
        ("SomethingNew", "", 400, "refused"),
        ("SomethingNew", "", 429, "rate"),
        ("SomethingNew", "", 500, "lost"),
        ("SomethingNew", "", 402, "empty"),
    ],
)
def test_codes_read_by_message_family_and_status(
    code: str, message: str, status: int, kind: str
) -> None:
    """One code may mean several things; new codes are read by family, then by status."""
    assert kind_of(Said(code, message, status)) == kind


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply("<html>502</html>", 502), AnswerLost),
        (Reply("", 504), AnswerLost),
        (Reply("", 200), AnswerLost),
        (Reply({"hello": 1}, 200), AnswerLost),
        (Reply({"data": []}, 200), AnswerLost),
        (Reply({"data": [], "usage": {"generated_images": 0}}, 200), TaskFailed),
        (Reply("gone", 404), NotAllowed),
        (Reply("no", 401), KeyRefused),
        (Reply("slow", 429, {"Retry-After": "3"}), Throttled),
        (Reply("teapot", 418), Unavailable),
        (Reply(NotSent("没发出", "not sent")), NotSent),
        (Reply(AnswerLost("没回答", "lost")), AnswerLost),
    ],
)
def test_unexplained_answers(reply: Reply, error: type[ServiceError]) -> None:
    """Without words of the service: a plain no is a no, everything else is a doubt."""
    provider, _ = scripted("ark", reply)
    with pytest.raises(error) as caught:
        run(lambda: provider.submit(asked(M5), "sync"))
    assert type(caught.value) is error


def test_an_error_in_the_place_of_the_picture() -> None:
    """Inside a 200: blocked output may pass with another try, a failure is no bill."""
    entry = {"error": {"code": "OutputImageSensitiveContentDetected", "message": "no"}}
    provider, _ = scripted("ark", Reply({"data": [entry], "usage": {"generated_images": 0}}))
    with pytest.raises(ContentRefused) as caught:
        run(lambda: provider.submit(asked(M5), "sync"))
    assert caught.value.other_seed_may_pass
    entry = {"error": {"code": "InternalServiceError", "message": "no"}}
    provider, _ = scripted("ark", Reply({"data": [entry]}))
    with pytest.raises(TaskFailed):
        run(lambda: provider.submit(asked(M5), "sync"))
    provider, _ = scripted("ark", Reply({"data": [entry, {"url": URL}]}))
    made = run(lambda: provider.submit(asked(M5), "sync"))
    assert isinstance(made, Made)


def test_prices_have_currency_and_date() -> None:
    """CNY at home, USD on BytePlus; what no source gives is unknown, never zero."""
    home, _ = scripted("ark", base_url="https://ark.cn-beijing.volces.com/api/v3")
    price = home.price(asked(M5))
    assert (price.amount, price.currency, price.source) == (0.22, "CNY", "estimated")
    assert price.as_of
    abroad, _ = scripted("ark", base_url="https://ark.ap-southeast.bytepluses.com/api/v3")
    assert abroad.price(asked("seedream-4-5-251128")).currency == "USD"
    assert home.price(asked(M45)).source == "unknown"
    assert home.price(asked("ep-2026-mine")).amount is None


def test_what_it_is_not() -> None:
    """No asynchronous lane, no tickets, no list, no cancel; nothing is sent for them."""
    provider, heard = scripted("ark")
    with pytest.raises(Refused):
        run(lambda: provider.submit(asked(M5), "async"))
    ticket = Ticket("x")
    assert isinstance(run(lambda: provider.poll(ticket)), Unknown)
    assert run(lambda: provider.cancel(ticket)) is False
    assert list(run(lambda: provider.look(0, 1))) == []
    assert heard == []


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (refusal("MissingParameter"), None),
        (refusal("AuthenticationError", status=401), KeyRefused),
        (refusal("InvalidEndpointOrModel.NotFound", status=404), NotAllowed),
        (refusal("ServerOverloaded", status=429), Throttled),
        (Reply("", 502), Unavailable),
        (Reply({"data": [{"url": URL}]}), Unavailable),
        (Reply(AnswerLost("没回答", "lost")), Unavailable),
    ],
)
def test_the_key_is_checked_for_free(reply: Reply, error: type[ServiceError] | None) -> None:
    """A request that cannot be made tells whether the key and the model are good."""
    provider, heard = scripted("ark", reply)
    if error is None:
        run(provider.check)
    else:
        with pytest.raises(error):
            run(provider.check)
    assert "prompt" not in heard[0].body


def test_against_the_stand_in(tmp_path: Path) -> None:
    """Both ways of handing over a picture, against the emulator, with the bytes on disk."""
    clock = JumpingClock()

    async def work() -> None:
        emulator = ArkEmulator(Emulated(latency=ServiceTime(20, 0, 20, 20)), clock)
        async with against(emulator, "ark", clock, folder=tmp_path) as provider:
            await provider.check()
            by_link = await provider.submit(provider.fit(asked(M5)).asked, "sync")
            wish = asked(M5, "第二张", options={"response_format": "b64_json"})
            inside = await provider.submit(provider.fit(wish).asked, "sync")
            assert isinstance(by_link, Made)
            assert isinstance(inside, Made)
            assert by_link.picture.url.startswith(emulator.files.base)
            assert shows(inside.picture.file, "第二张")
            assert inside.picture.data is None
            assert emulator.ledger.billed() == 2
            assert emulator.ledger.counts["watermarked"] == 0

    jump(work())


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        ("@1:submit=throttled", Throttled),
        ("@1:submit=exhausted", AccountEmpty),
        ("@1:submit=unpaid", AccountEmpty),
        ("@1:submit=refused", ContentRefused),
        ("@1:submit=error", Unavailable),
        ("@1:submit=busy", Throttled),
        ("@1:answer=lost", AnswerLost),
        ("@1:answer=504", AnswerLost),
        ("@1:answer=html", AnswerLost),
        ("@1:answer=empty", AnswerLost),
        ("@1:task=failed", TaskFailed),
        ("@1:task=refused", ContentRefused),
        ("@1:task=empty", TaskFailed),
        ("key_from=1", KeyRefused),
        ("arrears_from=1", AccountEmpty),
    ],
)
def test_the_stand_ins_mishaps(faults: str, error: type[ServiceError]) -> None:
    """Each fault of the emulator arrives as the class that says what to do about money."""
    clock = JumpingClock()

    async def work() -> None:
        settings = Emulated(latency=ServiceTime(5, 0, 5, 5), faults=parse_faults(faults))
        async with against(ArkEmulator(settings, clock), "ark", clock) as provider:
            with pytest.raises(error) as caught:
                await provider.submit(provider.fit(asked(M5)).asked, "sync")
            assert type(caught.value) is error

    jump(work())
