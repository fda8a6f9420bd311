"""The web UI provider against its stand-in: one blocking call, progress, interrupt, errors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from redloom.clock import SystemClock
from redloom.emulators.a1111 import Emulated, Emulator, ServiceTime, parse_faults
from redloom.endpoint import Answer, Asked, Endpoint, Lane, Made, Ticket, Tools, Unknown
from redloom.errors import (
    AnswerLost,
    KeyRefused,
    NotAllowed,
    Refused,
    ServiceError,
    TaskFailed,
    Throttled,
    Unavailable,
)
from redloom.providers import a1111
from redloom.settings import load_settings
from redloom.testing import picture_of

SYNC: Lane = "sync"
FAST = Emulated(latency=ServiceTime(20.0, 0.0, 20.0, 20.0), picture_size="small")


def asked(prompt: str = "a red scarf", **more: Any) -> Asked:
    """A request."""
    return Asked(prompt, more.pop("model", ""), key=prompt, **more)


def against(
    body: Callable[[Any, Emulator, SystemClock], Awaitable[None]],
    settings: Emulated = FAST,
    key: str = "",
    told: Callable[[str, float], None] = lambda _key, _fraction: None,
    model: str = "",
) -> None:
    """Run ``body`` with a provider that speaks to a stand-in, a hundred seconds in one."""

    async def through() -> None:
        clock = SystemClock(100.0, time.time())
        emulator = Emulator(settings, clock)
        endpoint = Endpoint("a1111", "a1111", model, await emulator.start())
        provider = a1111.create(endpoint, Tools(key=key, clock=clock, progress=told))
        try:
            await body(provider, emulator, clock)
        finally:
            await provider.close()
            await emulator.stop()

    asyncio.run(through())


def test_progress_is_told_while_the_call_blocks() -> None:
    """Growing fractions under the job's key, then the picture with its seed."""
    heard: list[tuple[str, float]] = []

    async def body(provider: Any, emulator: Emulator, clock: SystemClock) -> None:
        made = await provider.submit(asked(seed=5), SYNC)
        assert isinstance(made, Made)
        assert made.picture.seed == 5
        assert made.picture.data is not None

    against(body, told=lambda key, fraction: heard.append((key, fraction)))
    fractions = [fraction for key, fraction in heard if key == "a red scarf"]
    assert fractions
    assert fractions == sorted(fractions)
    assert 0 < fractions[0] <= fractions[-1] <= 1


def test_a_random_seed_is_read_from_the_answer() -> None:
    """-1 goes out; ``info``, JSON inside a string, says which seed it was."""

    async def body(provider: Any, emulator: Emulator, clock: SystemClock) -> None:
        made = await provider.submit(asked(), SYNC)
        assert made.picture.seed is not None
        assert emulator.ledger.purchases[0].seed == -1

    against(body)


def test_an_interrupted_call_is_no_picture() -> None:
    """The server answers 200 with half a picture; it is never taken for a whole one."""

    async def body(provider: Any, emulator: Emulator, clock: SystemClock) -> None:
        making = asyncio.ensure_future(provider.submit(asked(), SYNC))
        await clock.sleep(5.0)
        assert await provider.cancel(Ticket("a red scarf")) is True
        with pytest.raises(TaskFailed) as caught:
            await making
        assert not caught.value.retry
        assert await provider.cancel(Ticket("a red scarf")) is False
        assert emulator.ledger.billed() == 0

    against(body)


def test_a_cancelled_submit_stops_the_server() -> None:
    """Nobody waits for it any more: the GPU is given free at once."""

    async def body(provider: Any, emulator: Emulator, clock: SystemClock) -> None:
        making = asyncio.ensure_future(provider.submit(asked(), SYNC))
        await clock.sleep(5.0)
        making.cancel()
        with pytest.raises(asyncio.CancelledError):
            await making
        await clock.sleep(3.0)
        assert emulator.ledger.purchases[0].state == "CANCELED"

    against(body)


def test_a_reference_goes_to_img2img(tmp_path: Path) -> None:
    """One picture as base64; two are refused before anything is sent."""
    path = tmp_path / "first.png"
    path.write_bytes(picture_of("reference"))

    async def body(provider: Any, emulator: Emulator, clock: SystemClock) -> None:
        request = provider.fit(asked(references=(str(path),))).asked
        assert isinstance(await provider.submit(request, SYNC), Made)
        assert emulator.ledger.purchases[0].references == 1
        with pytest.raises(Refused):
            provider.fit(asked(references=(str(path), str(path))))

    against(body)


def test_a_login() -> None:
    """``user:password`` is sent as Basic; a wrong one stops the endpoint and is not shown."""
    settings = Emulated(latency=FAST.latency, picture_size="small", keys={"me:secret": "me"})

    async def body(provider: Any, emulator: Emulator, clock: SystemClock) -> None:
        await provider.check()
        assert isinstance(await provider.submit(asked(), SYNC), Made)

    against(body, settings, key="me:secret")

    async def wrong(provider: Any, emulator: Emulator, clock: SystemClock) -> None:
        for call in (provider.check(), provider.submit(asked(), SYNC)):
            with pytest.raises(KeyRefused) as caught:
                await call
            assert "wrong" not in caught.value.text.en

    against(wrong, settings, key="me:wrong")


def test_checks_name_what_is_missing() -> None:
    """No ``--api``, and a checkpoint that is not there: one sentence each."""

    async def closed(provider: Any, emulator: Emulator, clock: SystemClock) -> None:
        with pytest.raises(NotAllowed) as caught:
            await provider.check()
        assert "--api" in caught.value.text.en

    against(closed, Emulated(api=False))

    async def no_model(provider: Any, emulator: Emulator, clock: SystemClock) -> None:
        with pytest.raises(NotAllowed) as caught:
            await provider.check()
        assert "mine.safetensors" in caught.value.text.en
        with pytest.raises(NotAllowed):
            await provider.submit(asked(model="mine.safetensors"), SYNC)

    against(no_model, model="mine.safetensors")


def test_out_of_memory_is_said() -> None:
    """The server's 500 for it is a failed task, with what helps."""

    async def body(provider: Any, emulator: Emulator, clock: SystemClock) -> None:
        with pytest.raises(TaskFailed) as caught:
            await provider.submit(asked(), SYNC)
        assert "smaller" in caught.value.text.en

    against(body, Emulated(latency=FAST.latency, faults=parse_faults("task_memory=1")))


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"detail": "Incorrect username or password"}, KeyRefused),
        (404, {"detail": "Not Found"}, NotAllowed),
        (404, {"detail": "Sampler not found"}, Refused),
        (405, {"detail": "Method Not Allowed"}, NotAllowed),
        (422, {"detail": [{"loc": ["body", "width"], "msg": "not an integer"}]}, Refused),
        (429, {}, Throttled),
        (500, {"error": "OutOfMemoryError", "errors": "CUDA out of memory"}, TaskFailed),
        (500, {"error": "RuntimeError", "errors": "Unknown checkpoint: x"}, NotAllowed),
        (500, {"error": "NansException", "errors": "NaNs"}, Unavailable),
        (500, {"detail": 7}, Unavailable),
        (502, {}, AnswerLost),
        (503, {}, Unavailable),
        (504, {}, AnswerLost),
        (200, {}, AnswerLost),
        (200, {"images": "no list"}, AnswerLost),
        (200, {"images": []}, TaskFailed),
        (200, {"images": ["***"]}, TaskFailed),
    ],
)
def test_every_answer_without_a_picture_has_a_meaning(
    status: int, body: dict[str, Any], kind: type[ServiceError]
) -> None:
    """By status and the server's own words; a sentence in both languages."""

    class Canned:
        """A wire with one answer."""

        base_url = "http://127.0.0.1:7860"

        def __init__(self, *_args: object, **_more: object) -> None: ...

        async def post(self, *_args: object, **_more: object) -> Answer:
            return Answer(status, {}, "", body)

    async def through() -> None:
        tools = Tools(wire=Canned)  # type: ignore[arg-type]
        provider = a1111.create(Endpoint("a", "a1111"), tools)
        with pytest.raises(kind) as caught:
            await provider.submit(asked(), SYNC)
        assert type(caught.value) is kind
        assert caught.value.text.zh
        assert isinstance(await provider.poll(Ticket("x")), Unknown)

    asyncio.run(through())


def test_options_go_through_but_cannot_cost_more() -> None:
    """Steps and samplers are the user's; the number of pictures is not an option's."""
    provider = a1111.create(Endpoint("a", "a1111"), Tools())
    fitted = provider.fit(asked(size=(1001, 501), seed=-5, options={"steps": 4, "n_iter": 9}))
    assert fitted.asked.options == {"steps": 4}
    assert fitted.asked.size == (1000, 504)
    assert fitted.asked.seed is None


def test_the_address_alone_makes_the_endpoint(tmp_path: Path) -> None:
    """A1111_URL in the environment, nothing else."""
    settings = load_settings(environ={"A1111_URL": "http://127.0.0.1:7860"}, folder=tmp_path)
    assert settings.endpoint("a1111").ready
