"""Gemini's stand-in: its traps, over real sockets."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from canned import HandClock, run
from redloom.emulators.gemini import Emulated, GeminiEmulator, ServiceTime, parse_faults
from redloom.emulators.ledger import prompt_sha
from redloom.emulators.pictures import prompt_of_picture

FLASH, PRO = "gemini-2.5-flash-image", "gemini-3-pro-image-preview"
WORDS = {"contents": [{"parts": [{"text": "a red scarf"}]}]}


def ask(
    *bodies: Mapping[str, Any], model: str = FLASH, key: str = "sk-emulated", **settings: Any
) -> tuple[list[tuple[int, Any, Mapping[str, str]]], GeminiEmulator]:
    """Status, body and headers of each request, one after the other."""
    wanted = {"latency": ServiceTime(0, 0, 0, 0), **settings}
    emulator = GeminiEmulator(Emulated(**wanted), HandClock())

    async def work() -> list[tuple[int, Any, Mapping[str, str]]]:
        url = await emulator.start()
        said: list[tuple[int, Any, Mapping[str, str]]] = []
        async with aiohttp.ClientSession(headers={"x-goog-api-key": key}) as session:
            for body in bodies:
                path = f"{url}/models/{model}:generateContent"
                async with session.post(path, json=body) as answer:
                    said.append((answer.status, await answer.json(), answer.headers))
        await emulator.stop()
        return said

    return run(work), emulator


def shaped(**shape: str) -> dict[str, Any]:
    return {**WORDS, "generationConfig": {"imageConfig": shape}}


@pytest.mark.parametrize(
    ("body", "model", "status", "word"),
    [
        ({}, FLASH, 400, "INVALID_ARGUMENT"),
        (WORDS, "gemini-9", 404, "NOT_FOUND"),
        (shaped(aspectRatio="1:2"), FLASH, 400, "INVALID_ARGUMENT"),
        (shaped(imageSize="1k"), PRO, 400, "INVALID_ARGUMENT"),
        (shaped(imageSize="1K"), FLASH, 400, "INVALID_ARGUMENT"),
    ],
)
def test_refusals(body: Mapping[str, Any], model: str, status: int, word: str) -> None:
    """What it does not take is refused by Google's names, a step with a small k too."""
    [(got, said, _)], emulator = ask(body, model=model)
    assert (got, said["error"]["status"]) == (status, word)
    assert emulator.ledger.billed() == 0


def test_a_bad_key_is_a_400() -> None:
    """With the reason only in the details."""
    [(status, said, _)], _ = ask(WORDS, key="other")
    assert (status, said["error"]["details"][0]["reason"]) == (400, "API_KEY_INVALID")


def test_how_long_to_wait_stands_in_the_body() -> None:
    """RetryInfo and no header; now and then no details at all."""
    said, _ = ask(*[WORDS] * 6, submit_per_second=0.05)
    throttled = [(body["error"], headers) for status, body, headers in said if status == 429]
    assert len(throttled) == 5
    assert all("Retry-After" not in headers for _, headers in throttled)
    told = [error.get("details") for error, _ in throttled]
    assert told.count(None) == 1
    assert told[0] is not None
    assert told[0][-1]["retryDelay"].endswith("s")


def test_two_hundreds_without_a_picture() -> None:
    """Words alone, a blocked picture, blocked words: each is a 200, none is billed."""
    faults = parse_faults("@1:task=empty,@2:task=refused,@3:submit=refused")
    said, emulator = ask(WORDS, WORDS, WORDS, faults=faults)
    assert [status for status, *_ in said] == [200] * 3
    assert "text" in said[0][1]["candidates"][0]["content"]["parts"][0]
    assert said[1][1]["candidates"][0]["finishReason"] == "IMAGE_SAFETY"
    assert said[2][1]["promptFeedback"]["blockReason"] == "PROHIBITED_CONTENT"
    assert emulator.ledger.billed() == 0


def test_a_thinking_model_shows_a_draft_first() -> None:
    """The draft is marked as thought; the picture after it shows the prompt, in the asked size."""
    [(_, said, _)], _ = ask(shaped(aspectRatio="4:3", imageSize="2K"), model=PRO)
    draft, part = said["candidates"][0]["content"]["parts"]
    assert draft["thought"] is True
    data = base64.b64decode(part["inlineData"]["data"])
    assert prompt_of_picture(data) == prompt_sha("a red scarf")
    assert (int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) == (2400, 1792)
