"""The stand-in for OpenAI's API and its kin: each refuses, answers and bills in its own way."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import aiohttp
import pytest

from redloom.clock import SystemClock
from redloom.emulators.openai import Emulated, OpenAIEmulator, ServiceTime, parse_faults
from redloom.emulators.openai_dialects import DIALECTS, REFUSALS, read, refusal

AT_ONCE = ServiceTime(0, 0, 0, 0)


def asked(
    dialect: str,
    *bodies: dict[str, Any],
    key: str = "sk-emulated",
    faults: str = "",
    path: str = "",
) -> tuple[list[tuple[int, Any]], OpenAIEmulator, int]:
    """The answers to these create calls, the stand-in, and what it billed."""

    async def main() -> tuple[list[tuple[int, Any]], OpenAIEmulator, int]:
        settings = Emulated(dialect=dialect, latency=AT_ONCE, faults=parse_faults(faults))
        emulator = OpenAIEmulator(settings, SystemClock())
        root = (await emulator.start()).split("//")[1].split("/")[0]
        known = emulator.dialect
        name = known.key_header
        headers = {name: f"Bearer {key}" if name == "Authorization" else key}
        answers = []
        async with aiohttp.ClientSession(headers=headers) as session:
            for body in bodies:
                url = f"http://{root}{path or known.path}"
                async with session.post(url, json=body) as response:
                    answers.append((response.status, await response.json()))
        billed = emulator.ledger.billed()
        await emulator.stop()
        return answers, emulator, billed

    return asyncio.run(main())


def test_the_shape_of_openai() -> None:
    """Base64 only, usage beside it; response_format is refused by name and costs nothing."""
    body = {"model": "gpt-image-1", "prompt": "a", "n": 1, "size": "1024x1536"}
    answers, _, billed = asked("openai", body, {**body, "response_format": "url"})
    (status, made), (other, refused) = answers
    assert (status, other) == (200, 400)
    assert base64.b64decode(made["data"][0]["b64_json"]).startswith(b"\x89PNG")
    assert made["usage"]["output_tokens"] > 0
    assert refused["error"]["param"] == "response_format"
    assert billed == 1


@pytest.mark.parametrize(
    ("dialect", "status"),
    [("openai", 401), ("xai", 400), ("minimax", 200), ("siliconflow", 401), ("zhipu", 401),
     ("relay-200", 200), ("azure", 401), ("openrouter", 401)],
)  # fmt: skip
def test_a_wrong_key_looks_different_everywhere(dialect: str, status: int) -> None:
    """401 here, 400 or 200 there, once a bare string; nothing is billed."""
    answers, _, billed = asked(dialect, {"model": "m", "prompt": "a"}, key="wrong")
    assert answers[0][0] == status
    assert billed == 0


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_every_refusal_has_words(dialect: str) -> None:
    """Each of the stand-in's words is a status and a body in every dialect."""
    for word in REFUSALS:
        status, body = refusal(DIALECTS[dialect], word, "", "")
        assert 200 <= status < 600
        assert body


@pytest.mark.parametrize(
    ("dialect", "body", "problem"),
    [
        ("openai", {"size": "1080x1440"}, "size"),
        ("openai", {"seed": 1}, "parameter"),
        ("openai", {"n": 11}, "parameter"),
        ("xai", {"size": "1024x1024"}, "parameter"),
        ("xai", {"aspect_ratio": "5:7"}, "size"),
        ("together", {"width": 1001, "height": 1000}, "size"),
        ("relay", {"anything": 1}, ""),
        ("relay-strict", {"response_format": "url"}, "parameter"),
        ("relay-ratio", {"size": "1024x1024"}, "parameter"),
        ("relay-ratio", {"aspect_ratio": "3:4"}, ""),
        ("siliconflow", {"image_size": "1140x1472", "batch_size": 1}, ""),
    ],
)
def test_parameters_are_judged(dialect: str, body: dict[str, Any], problem: str) -> None:
    """What is refused is named, so that it can be learnt."""
    got = read(DIALECTS[dialect], body)
    assert got.problem == problem
    assert bool(got.param) == bool(problem)


def test_every_post_is_a_purchase() -> None:
    """Equal requests are bought as often as they are sent: there is no idempotency."""
    body = {"model": "any", "prompt": "same"}
    _, emulator, billed = asked("relay", body, body, body)
    assert billed == 3
    assert emulator.ledger.bought_twice() == ["same"]


def test_a_body_that_is_not_called_json_is_refused() -> None:
    """The content type is looked at, as the services do."""

    async def main() -> int:
        emulator = OpenAIEmulator(Emulated(latency=AT_ONCE), SystemClock())
        url = await emulator.start()
        headers = {"Authorization": "Bearer sk-emulated", "Content-Type": "text/plain"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(f"{url}/images/generations", data=b'{"prompt": "a"}') as response,
        ):
            status = response.status
        await emulator.stop()
        return status

    assert asyncio.run(main()) == 400


def test_pictures_in_markdown() -> None:
    """The chat relay puts a data URL into its words."""
    body = {"model": "m", "messages": [{"role": "user", "content": "a"}]}
    answers, _, _ = asked("relay-chat", body)
    said = answers[0][1]["choices"][0]["message"]["content"]
    assert "![picture](data:image/png;base64," in said
