"""Ark's stand-in: its traps, over real sockets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from canned import HandClock, run
from redloom.emulators.ark import ArkEmulator, Emulated, ServiceTime, parse_faults

AT_ONCE = ServiceTime(0, 0, 0, 0)
BASE = {"model": "doubao-seedream-4-0-250828", "prompt": "a red scarf", "size": "1024x1024"}


def ask(
    *bodies: Mapping[str, Any], key: str = "sk-emulated", **settings: Any
) -> tuple[list[tuple[int, Any]], ArkEmulator]:
    """Status and body of each request, one after the other."""
    clock = HandClock()
    emulator = ArkEmulator(Emulated(**{"latency": AT_ONCE, **settings}), clock)

    async def work() -> list[tuple[int, Any]]:
        url = await emulator.start()
        said = []
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:
            for body in bodies:
                async with session.post(f"{url}/images/generations", json=body) as answer:
                    said.append((answer.status, await answer.json()))
        await emulator.stop()
        return said

    return run(work), emulator


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"model": "doubao-seedream-4-0"}, 404, "InvalidEndpointOrModel.NotFound"),
        ({"model": "doubao-seedream-4-5-251128"}, 400, "InvalidParameter"),
        ({"size": "1024*1024"}, 400, "InvalidParameter"),
        ({"size": "100x100"}, 400, "InvalidParameter"),
        ({"size": "4096x200"}, 400, "InvalidParameter"),
        ({"seed": 1}, 400, "InvalidParameter"),
        ({"n": 2}, 400, "InvalidParameter"),
        ({"output_format": "png"}, 400, "InvalidParameter"),
        ({"image": ["https://a/b.png"] * 15}, 400, "InvalidParameter"),
        ({"prompt": ""}, 400, "MissingParameter"),
        ({"prompt": "forbidden"}, 400, "InputTextSensitiveContentDetected"),
    ],
)
def test_refusals(change: Mapping[str, Any], status: int, code: str) -> None:
    """What the model does not take is refused with Ark's own code, and nothing is billed."""
    [(got, body)], emulator = ask({**BASE, **change}, refused_words=("forbidden",))
    assert (got, body["error"]["code"]) == (status, code)
    assert set(body["error"]) == {"code", "message", "param", "type"}
    assert emulator.ledger.billed() == 0


def test_the_mark_and_the_series_are_on_by_default_and_by_leave() -> None:
    """Without a word the mark is drawn; a series costs as many pictures as it has."""
    options = {"max_images": 4}
    series = {"sequential_image_generation": "auto", "sequential_image_generation_options": options}
    said, emulator = ask(BASE, {**BASE, "watermark": False}, {**BASE, **series})
    assert emulator.ledger.counts["watermarked"] == 2
    assert [len(body["data"]) for _, body in said] == [1, 1, 4]
    assert emulator.ledger.billed() == 6
    assert said[2][1]["usage"] == {
        "generated_images": 4,
        "output_tokens": 16384,
        "total_tokens": 16384,
    }


def test_an_error_stands_in_the_place_of_the_picture() -> None:
    """A 200 with ``data[0].error`` and nothing counted."""
    [(status, body)], emulator = ask(BASE, faults=parse_faults("@1:task=refused"))
    assert status == 200
    assert body["data"][0]["error"]["code"] == "OutputImageSensitiveContentDetected"
    assert body["usage"]["generated_images"] == emulator.ledger.billed() == 0


def test_keys_and_pace() -> None:
    """A wrong key is 401; more than the rate allows is 429 by Ark's name for it."""
    [(status, body)], _ = ask(BASE, key="sk-other")
    assert (status, body["error"]["code"]) == (401, "AuthenticationError")
    said, emulator = ask(BASE, BASE, BASE, submit_per_second=0.1)
    assert [status for status, _ in said] == [200, 429, 429]
    assert said[1][1]["error"]["code"] == "ModelAccountIpmRateLimitExceeded"
    assert emulator.ledger.counts["429 rate"] == 2


def test_links_are_for_get_and_for_a_day() -> None:
    """HEAD is refused, a changed signature too, and after a day the link is gone."""
    clock = HandClock()
    emulator = ArkEmulator(Emulated(latency=AT_ONCE), clock)
    found: list[int] = []

    async def work() -> None:
        url = await emulator.start()
        async with aiohttp.ClientSession(
            headers={"Authorization": "Bearer sk-emulated"}
        ) as session:
            async with session.post(f"{url}/images/generations", json=BASE) as answer:
                link = (await answer.json())["data"][0]["url"]
            for method, target in (("GET", link), ("HEAD", link), ("GET", link + "0")):
                async with session.request(method, target) as got:
                    found.append(got.status)
            await clock.sleep(86_401)
            async with session.get(link) as got:
                found.append(got.status)
        await emulator.stop()

    run(work)
    assert found == [200, 403, 403, 403]
