"""Gemini: what is sent, what each answer means, every documented code and reason."""

from __future__ import annotations

import asyncio
import base64
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from canned import CLASSES, KEY, Reply, against, asked, run, scripted
from redloom import spill
from redloom.download import Fetched
from redloom.emulators.dashscope_tasks import Task
from redloom.emulators.gemini import Emulated, GeminiEmulator, ServiceTime, parse_faults
from redloom.emulators.ledger import prompt_sha
from redloom.emulators.pictures import picture, prompt_of_picture
from redloom.endpoint import Asked, Endpoint, Made, Provider, Ticket, Tools, Unknown
from redloom.engine import Engine
from redloom.errors import (
    AccountEmpty,
    AnswerLost,
    ContentRefused,
    FetchFailed,
    KeyRefused,
    NotAllowed,
    Refused,
    ServiceError,
    TaskFailed,
    Throttled,
    Unavailable,
)
from redloom.providers import gemini
from redloom.providers._gemini_errors import BLOCKS, CODES, FINISHES, kind_of, read
from redloom.providers._gemini_models import FAMILIES, model
from redloom.testing import JumpingClock
from redloom.testing import run as jump

FLASH, PRO = "gemini-2.5-flash-image", "gemini-3-pro-image-preview"
PNG = picture(prompt_sha("x"), "x", 64, 64)
DATA = base64.b64encode(PNG).decode()


def candidate(*parts: Any, finish: str = "STOP", **more: Any) -> Reply:
    """A 200 with one candidate."""
    return Reply(
        {"candidates": [{"content": {"parts": list(parts)}, "finishReason": finish, **more}]}
    )


def inline(data: str = DATA, **more: Any) -> dict[str, Any]:
    return {"inlineData": {"mimeType": "image/png", "data": data}, **more}


async def submitted(provider: Provider, wish: Asked) -> object:
    return await provider.submit(wish, "sync")


def refusal(status: str, code: int, message: str = "no", *details: Any) -> Reply:
    return Reply(
        {"error": {"code": code, "status": status, "message": message, "details": list(details)}},
        code,
    )


def test_what_is_sent(tmp_path: Path) -> None:
    """Shape and step by name, references as bytes, pictures only; the key only in its header."""
    file = tmp_path / "page.webp"
    file.write_bytes(b"reference")
    provider, heard = scripted("gemini", candidate(inline()), model=PRO)
    wish = asked(PRO, size=(1792, 2400), references=(str(file), "data:image/png;base64,QUJD"))
    made = run(lambda: provider.submit(provider.fit(wish).asked, "sync"))
    assert isinstance(made, Made)
    assert made.picture.data == PNG
    assert heard[0].url.endswith(f"/v1beta/models/{PRO}:generateContent")
    assert heard[0].headers["x-goog-api-key"] == KEY
    assert KEY not in heard[0].url
    config = heard[0].body["generationConfig"]
    assert config == {
        "responseModalities": ["IMAGE"],
        "imageConfig": {"aspectRatio": "3:4", "imageSize": "2K"},
    }
    kinds = [p["inlineData"]["mimeType"] for p in heard[0].body["contents"][0]["parts"][1:]]
    assert kinds == ["image/webp", "image/png"]


def test_the_older_model_knows_no_steps() -> None:
    """2.5-flash takes a shape alone; without a size it is left to the model."""
    provider, heard = scripted("gemini", candidate(inline()))
    for size in ((1080, 1440), None):
        fitted = provider.fit(asked(FLASH, size=size)).asked
        asyncio.run(submitted(provider, fitted))
    assert heard[0].body["generationConfig"]["imageConfig"] == {"aspectRatio": "3:4"}
    assert "imageConfig" not in heard[1].body["generationConfig"]


@given(width=st.integers(1, 9000), height=st.integers(1, 9000), name=st.sampled_from([*FAMILIES]))
def test_every_size_has_a_shape_and_a_step(width: int, height: int, name: str) -> None:
    """Whatever is asked for becomes a size that the model has, and stays so."""
    provider, _ = scripted("gemini", model=name)
    fitted = provider.fit(asked(name, size=(width, height))).asked
    assert fitted.size is not None
    assert model(name).named(fitted.size) is not None
    assert provider.fit(fitted).asked == fitted


def test_a_step_may_be_asked_for_and_costs_more() -> None:
    """``resolution`` chooses the step, a small k too; the price is that of the step."""
    provider, _ = scripted("gemini", model=PRO)
    plain = provider.fit(asked(PRO, size=(900, 1200))).asked
    large = provider.fit(asked(PRO, size=(900, 1200), options={"resolution": "4k"})).asked
    assert (plain.size, large.size) == ((896, 1200), (3584, 4800))
    prices = [provider.price(it) for it in (plain, large)]
    assert [p.amount for p in prices] == [0.134, 0.24]
    assert {p.currency for p in prices} == {"USD"}
    assert all(p.as_of for p in prices)
    assert provider.price(asked("gemini-3.1-flash-image", size=(3584, 4800))).source == "unknown"


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_documented_code_has_its_class(code: str) -> None:
    """Each status and each reason raises the class of its kind, and hides the key."""
    kind = CODES[code]
    detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code}
    for reply in (
        refusal(code, 400, f"words {KEY}"),
        refusal("INVALID_ARGUMENT", 400, f"words {KEY}", detail),
    ):
        provider, _ = scripted("gemini", reply)
        with pytest.raises(ServiceError) as caught:
            asyncio.run(submitted(provider, asked(FLASH)))
        assert type(caught.value) is CLASSES[kind]
        assert caught.value.service_code == code
        assert KEY not in str(caught.value)


def quota(name: str) -> dict[str, Any]:
    return {"violations": [{"quotaId": name}]}


@pytest.mark.parametrize(
    ("reply", "kind", "wait"),
    [
        (refusal("RESOURCE_EXHAUSTED", 429), "rate", None),
        (refusal("RESOURCE_EXHAUSTED", 429, "no", {"retryDelay": "26s"}), "rate", 26.0),
        (refusal("RESOURCE_EXHAUSTED", 429, "no", {"retryDelay": "1.5s"}), "rate", 1.5),
        (refusal("RESOURCE_EXHAUSTED", 429, "Please retry in 52.4s."), "rate", 52.4),
        (refusal("RESOURCE_EXHAUSTED", 429, "retry in 300ms"), "rate", 0.3),
        (refusal("RESOURCE_EXHAUSTED", 429, "no", quota("RequestsPerMinute")), "rate", None),
        (refusal("RESOURCE_EXHAUSTED", 429, "no", quota("RequestsPerDay-FreeTier")), "empty", None),
        (refusal("RESOURCE_EXHAUSTED", 429, "limit: 0, model: x"), "empty", None),
        (refusal("RESOURCE_EXHAUSTED", 429, "limit: 10"), "rate", None),
        (refusal("PERMISSION_DENIED", 403, "Your API key was reported as leaked."), "key", None),
        (refusal("INVALID_ARGUMENT", 400, "API key not valid."), "key", None),
        (refusal("SOMETHING_NEW", 500), "lost", None),
        (refusal("SOMETHING_NEW", 403), "closed", None),
        (Reply(json.dumps([{"error": {"status": "INTERNAL"}}]), 500), "unavailable", None),
    ],
)
def test_errors_are_read_from_the_body(reply: Reply, kind: str, wait: float | None) -> None:
    """How long to wait, a day's quota, a bad key: all of it stands in the body."""
    said = read(reply.answer())
    assert said is not None
    assert (kind_of(said), said.retry_after_s) == (kind, wait)


@pytest.mark.parametrize("finish", sorted(FINISHES))
def test_every_finish_reason_without_a_picture(finish: str) -> None:
    """A 200 without a picture: moderation, a request not taken, or a failure to repeat."""
    provider, _ = scripted("gemini", candidate({"text": "只有文字"}, finish=finish))
    kind = {"failed": TaskFailed, "refused": Refused}.get(FINISHES[finish], ContentRefused)
    with pytest.raises(ServiceError) as caught:
        run(lambda: provider.submit(asked(FLASH), "sync"))
    assert type(caught.value) is kind
    assert finish in str(caught.value)
    if isinstance(caught.value, ContentRefused):
        assert caught.value.other_seed_may_pass == (FINISHES[finish] == "output")


@pytest.mark.parametrize("block", sorted({*BLOCKS, "SOMETHING_NEW"}))
def test_every_block_reason(block: str) -> None:
    """Refused words come as a 200 with feedback, and another try does not help."""
    provider, _ = scripted("gemini", Reply({"promptFeedback": {"blockReason": block}}))
    with pytest.raises(ContentRefused) as caught:
        run(lambda: provider.submit(asked(FLASH), "sync"))
    assert not caught.value.other_seed_may_pass
    assert caught.value.service_code == block


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply({}), AnswerLost),
        (Reply(""), AnswerLost),
        (Reply("<html>", 502), AnswerLost),
        (Reply({"candidates": []}), TaskFailed),
        (candidate(inline("no base64 !")), AnswerLost),
        (candidate(inline(thought=True)), TaskFailed),
        (candidate(finish="NEWLY_CALLED"), TaskFailed),
        (Reply({"candidates": [None, {"content": None}]}), AnswerLost),
        (Reply({"candidates": None}), AnswerLost),
    ],
)
def test_answers_without_a_picture(reply: Reply, error: type[ServiceError]) -> None:
    """An answer that is none, or a picture that cannot be read, is a doubt; drafts and words are
    no picture.
    """
    provider, _ = scripted("gemini", reply)
    with pytest.raises(error) as caught:
        run(lambda: provider.submit(asked(FLASH), "sync"))
    assert type(caught.value) is error


def test_the_last_picture_that_is_no_draft_is_taken() -> None:
    """A thinking model shows drafts before its picture; both spellings of the part are read."""
    draft = inline(base64.b64encode(b"draft").decode(), thought=True)
    part = {"inline_data": {"mime_type": "image/png", "data": DATA}}
    provider, _ = scripted("gemini", candidate(draft, {"text": "here"}, part))
    made = run(lambda: provider.submit(asked(FLASH), "sync"))
    assert isinstance(made, Made)
    assert made.picture.data == PNG


def test_what_it_is_not() -> None:
    """No asynchronous lane, no tickets, no list, no cancel, no references by address."""
    provider, heard = scripted("gemini")
    with pytest.raises(Refused):
        run(lambda: provider.submit(asked(FLASH), "async"))
    with pytest.raises(Refused, match=r"files|本机"):
        provider.fit(asked(FLASH, references=("https://example.com/a.png",)))
    assert isinstance(run(lambda: provider.poll(Ticket("x"))), Unknown)
    assert run(lambda: provider.cancel(Ticket("x"))) is False
    assert list(run(lambda: provider.look(0, 1))) == []
    assert heard == []


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://generativelanguage.googleapis.com", "/v1beta/models/"),
        ("https://relay.example/v1beta/", "relay.example/v1beta/models/"),
        ("https://relay.example/v1", "relay.example/v1/models/"),
    ],
)
def test_addresses_with_and_without_a_version(url: str, sent: str) -> None:
    """Google's own SDK wants the address without its version; both are taken."""
    provider, heard = scripted("gemini", Reply({"name": "models/x"}), base_url=url)
    run(provider.check)
    assert sent in heard[0].url


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (refusal("INVALID_ARGUMENT", 400, "API key not valid."), KeyRefused),
        (refusal("NOT_FOUND", 404), NotAllowed),
        (refusal("UNAVAILABLE", 503), Throttled),
        (Reply("<html>"), Unavailable),
        (Reply({"hello": 1}), Unavailable),
    ],
)
def test_the_key_is_checked_for_free(reply: Reply, error: type[ServiceError]) -> None:
    """The model's description tells key and model; nothing is made."""
    provider, heard = scripted("gemini", reply)
    with pytest.raises(error):
        run(provider.check)
    assert heard[0].method == "GET"


def test_an_empty_free_tier_says_what_to_do() -> None:
    """The sentence names the free tier, which has no pictures."""
    provider, _ = scripted("gemini", refusal("RESOURCE_EXHAUSTED", 429, "limit: 0"))
    with pytest.raises(AccountEmpty, match=r"free tier|免费层"):
        run(lambda: provider.submit(asked(FLASH), "sync"))


def peak(folder: Path | None) -> int:
    """The most memory, in bytes, while twenty answers of 3.4 MB are in flight at once."""
    clock = JumpingClock()
    big = base64.b64encode(bytes(range(256)) * 10_000).decode()
    body = json.dumps({"candidates": [{"content": {"parts": [inline(big)]}}]}).encode()

    class Large(GeminiEmulator):
        def _say(self, task: Task) -> web.Response:
            return web.Response(body=body, content_type="application/json")

    async def work() -> int:
        emulator = Large(Emulated(latency=ServiceTime(0, 0, 0, 0)), clock)
        async with against(emulator, "gemini", clock, model=PRO, folder=folder) as provider:
            tracemalloc.start()
            made = await asyncio.gather(
                *(provider.submit(asked(PRO, f"p{k}"), "sync") for k in range(20))
            )
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        for answer in made:
            assert isinstance(answer, Made)
            assert bool(answer.picture.file) == bool(folder)
            assert (answer.picture.data is None) == bool(folder)
        return most

    return jump(work())


def test_many_large_answers_at_once_lie_on_disk(tmp_path: Path) -> None:
    """With a folder they go there: what is left in memory is the stand-in's own buffers."""
    on_disk, in_memory = peak(tmp_path), peak(None)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 20 * 2_560_000
    assert in_memory - on_disk > 20 * 1_500_000


def test_a_picture_that_came_is_on_record_before_it_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes wrong after the answer costs no picture: the next start finds the file."""
    monkeypatch.setattr(spill, "LONG", 1000)  # the stand-in's pictures pack well
    clock = JumpingClock()

    async def broken(*_all: Any, **_named: Any) -> Fetched:
        raise FetchFailed("中断", "interrupted")

    async def work() -> None:
        emulator = GeminiEmulator(Emulated(latency=ServiceTime(5, 0, 5, 5)), clock)
        url = await emulator.start()
        endpoint = Endpoint("gemini", "gemini", FLASH, url, account="a")

        def engine() -> Engine:
            tools = Tools(key=KEY, clock=clock, folder=tmp_path / "ws" / "partial")
            return Engine(
                workspace=tmp_path / "ws", equipped=[(endpoint, gemini.create(endpoint, tools))],
                clock=clock,
            )  # fmt: skip

        async with engine() as first:
            first.downloads.fetch = broken  # type: ignore[method-assign]
            (result,) = await first.generate(["一条红围巾"], out=tmp_path / "out")
            assert result.status == "failed"
            (row,) = await first.records.live_tasks()
            run_id = row["run"]
            assert "spill-" in row["result"]
            assert len(row["result"]) < 400
        stray = tmp_path / "ws" / "partial" / f"spill-{'0' * 32}.part"
        await asyncio.to_thread(stray.write_bytes, b"of a crash before the record")
        async with engine() as second:
            await second.retry(run_id)
            (result,) = [one async for one in second.follow(run_id)]
        assert result.status == "ok", result.error
        assert result.path is not None
        assert prompt_of_picture(result.path.read_bytes()) == prompt_sha("一条红围巾")
        assert emulator.ledger.billed() == len(emulator.ledger.own()) == 1
        assert list((tmp_path / "ws" / "partial").iterdir()) == []
        await emulator.stop()

    jump(work())


@pytest.mark.parametrize("prompt", ["字" * 20_000, 'a\n"b"\\'])
def test_words_are_taken_whole(prompt: str) -> None:
    """No length is published; nothing is cut."""
    provider, heard = scripted("gemini", candidate(inline()))
    run(lambda: provider.submit(provider.fit(Asked(prompt, FLASH)).asked, "sync"))
    assert heard[0].body["contents"][0]["parts"] == [{"text": prompt}]


def test_faults_have_names() -> None:
    """The stand-in's script takes the common names."""
    assert parse_faults("@1:task=empty,answer_lost=0.1,key_from=3") is not None
