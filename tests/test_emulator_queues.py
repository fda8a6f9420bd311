"""The stand-ins of fal and Replicate: their traps, over real sockets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from canned import HandClock, run
from redloom.emulators import fal, replicate
from redloom.emulators.service_time import ServiceTime
from redloom.emulators.shop import ShopEmulator

TAKES = ServiceTime(5, 0, 5, 5)
FLUX = "/v1/models/black-forest-labs/flux-dev/predictions"


class Talk:
    """A client that says what it is told."""

    def __init__(self, emulator: ShopEmulator, url: str, session: aiohttp.ClientSession) -> None:
        self.emulator, self.url, self._session = emulator, url, session

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        url = path if path.startswith("http") else self.url + path
        async with self._session.request(method, url, json=body) as answer:
            return answer.status, await answer.json(content_type=None)


def talk(emulator: ShopEmulator, work: Any, scheme: str, key: str = "sk-emulated") -> None:
    """Run ``work`` with a client of this emulator."""

    async def main() -> None:
        url = await emulator.start()
        headers = {"Authorization": f"{scheme} {key}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            await work(Talk(emulator, url, session))
        await emulator.stop()

    run(main)


def fal_stand_in(faults: str = "", **more: Any) -> fal.FalEmulator:
    settings = fal.Emulated(latency=TAKES, faults=fal.parse_faults(faults), **more)
    return fal.FalEmulator(settings, HandClock())


def replicate_stand_in(faults: str = "", **more: Any) -> replicate.ReplicateEmulator:
    settings = replicate.Emulated(latency=TAKES, faults=replicate.parse_faults(faults), **more)
    return replicate.ReplicateEmulator(settings, HandClock())


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/fal-ai/flux/nothing", {"prompt": "a"}, 404),
        ("/fal-ai/flux/dev", {}, 422),
        ("/fal-ai/flux/dev", {"prompt": "a", "num_images": 5}, 422),
        ("/fal-ai/flux/dev", {"prompt": "a", "image_size": {"width": 9, "height": 9}}, 422),
        ("/fal-ai/flux/dev", {"prompt": "a", "image_size": "unheard_of"}, 422),
        ("/fal-ai/flux/dev", [], 400),
    ],
)
def test_fal_refuses(path: str, body: Any, status: int) -> None:
    """Unknown apps, missing words, too many pictures, sizes that no model has."""

    async def work(it: Talk) -> None:
        got, said = await it.ask("POST", path, body)
        assert got == status
        assert "detail" in said
        assert it.emulator.ledger.own() == []

    talk(fal_stand_in(), work, "Key")


def test_fal_wants_its_own_scheme() -> None:
    """Bearer is no key."""

    async def work(it: Talk) -> None:
        status, said = await it.ask("POST", "/fal-ai/flux/dev", {"prompt": "a"})
        assert status == 401
        assert "Authentication" in said["detail"]

    talk(fal_stand_in(), work, "Bearer")


def test_fal_s_queue() -> None:
    """Ten run, the eleventh waits; cancelled while it waits, too late once it is done."""

    async def work(it: Talk) -> None:
        said = [
            (await it.ask("POST", "/fal-ai/flux/dev", {"prompt": f"p{k}"}))[1] for k in range(11)
        ]
        status, last = await it.ask("GET", said[10]["status_url"])
        assert (status, last["status"]) == (202, "IN_QUEUE")
        assert (await it.ask("GET", said[0]["status_url"]))[1]["status"] == "IN_PROGRESS"
        assert (await it.ask("GET", said[0]["response_url"]))[0] == 400
        status, cancelled = await it.ask("PUT", said[10]["cancel_url"])
        assert (status, cancelled["status"]) == (202, "CANCELLATION_REQUESTED")
        await it.emulator.clock.sleep(6)
        assert (await it.ask("PUT", said[0]["cancel_url"]))[1]["status"] == "ALREADY_COMPLETED"
        made = (await it.ask("GET", said[0]["response_url"]))[1]
        assert made["prompt"] == "p0"
        assert it.emulator.ledger.max_running == 10
        assert it.emulator.ledger.billed() == 10

    talk(fal_stand_in(), work, "Key")


@pytest.mark.parametrize(
    ("path", "body", "status", "title"),
    [
        ("/v1/models/nobody/nothing/predictions", {"input": {"prompt": "a"}}, 404, "Not found"),
        ("/v1/predictions", {"version": "x", "input": {"prompt": "a"}}, 422, "Invalid version or not permitted"),
        (FLUX, {"input": {}}, 422, "Input validation failed"),
        (FLUX, {"input": {"prompt": "a", "aspect_ratio": "7:3"}}, 422, "Input validation failed"),
        (FLUX, {"input": {"prompt": "a", "num_outputs": 9}}, 422, "Input validation failed"),
        (FLUX, {"input": "a"}, 422, "Input validation failed"),
    ],
)  # fmt: skip
def test_replicate_refuses(path: str, body: Mapping[str, Any], status: int, title: str) -> None:
    """Problems with a title, and nothing is taken."""

    async def work(it: Talk) -> None:
        got, said = await it.ask("POST", path, body)
        assert (got, said["title"], said["status"]) == (status, title, status)
        assert it.emulator.ledger.own() == []

    talk(replicate_stand_in(), work, "Bearer")


def test_replicate_s_throttle_has_words_alone() -> None:
    """No title and no header: the wait stands in the sentence."""

    async def work(it: Talk) -> None:
        for _ in range(2):
            status, said = await it.ask("POST", FLUX, {"input": {"prompt": "a"}})
        assert (status, list(said)) == (429, ["detail"])
        assert "resets in ~" in said["detail"]

    talk(replicate_stand_in(submit_per_second=0.05), work, "Bearer")


def test_replicate_s_list_and_its_hour() -> None:
    """Newest first, a hundred a page, a cursor; words and links are gone after an hour."""

    async def work(it: Talk) -> None:
        for number in range(103):
            await it.ask("POST", FLUX, {"input": {"prompt": f"p{number}"}})
        await it.emulator.clock.sleep(10)
        _, first = await it.ask("GET", "/v1/predictions")
        _, second = await it.ask("GET", first["next"])
        assert [len(page["results"]) for page in (first, second)] == [100, 3]
        assert first["results"][0]["input"]["prompt"] == "p102"
        assert second["next"] is None
        await it.emulator.clock.sleep(3700)
        _, old = await it.ask("GET", f"/v1/predictions/{first['results'][0]['id']}")
        assert (old["status"], old["output"], old["data_removed"]) == ("succeeded", None, True)
        link = first["results"][0]["output"][0]
        assert link.endswith(".png")

    talk(replicate_stand_in(submit_per_second=0, task_calls_per_second=None), work, "Bearer")
