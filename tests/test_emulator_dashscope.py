"""DashScope's stand-in over real sockets on this machine, on a clock that the test turns."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from canned import HandClock
from redloom.emulators.contract import serve_until_cancelled
from redloom.emulators.dashscope import (
    FAULTS,
    DashScopeEmulator,
    Emulated,
    ServiceTime,
    parse_faults,
    read_ledger,
)
from redloom.emulators.ledger import prompt_sha
from redloom.emulators.pictures import prompt_of_picture
from redloom.errors import BadInput

START = 1_767_225_600.0  # 2026-01-01 08:00:00 in Beijing
WAN, OLD, QWEN = "wan2.6-t2i", "wanx2.1-t2i-turbo", "qwen-image"
PATHS = {"text": "text2image/image-synthesis", "image": "image-generation/generation"}
SYNC = "multimodal-generation/generation"
BASE = Emulated(latency=ServiceTime(60, 0, 60, 60))
FREE = replace(BASE, submit_per_second=0, concurrency=0, task_calls_per_second=None, list_lag_s=0)

TWICE = "-2"
"""aiohttp repeats a GET once by itself when its connection breaks, so a reset has to come twice."""


@dataclass
class Said:
    """An answer, read."""

    status: int
    raw: bytes
    headers: Mapping[str, str]
    body: Any = field(default=None)

    @property
    def output(self) -> dict[str, Any]:
        found = self.body["output"]
        assert isinstance(found, dict)
        return found

    @property
    def task_id(self) -> str:
        return str(self.output["task_id"])

    @property
    def url(self) -> str:
        output = self.output
        if "results" in output:
            return str(output["results"][0]["url"])
        return str(output["choices"][0]["message"]["content"][0]["image"])


class Talk:
    """A client that says what it is told, and the emulator that it talks to."""

    def __init__(
        self,
        emulator: DashScopeEmulator,
        clock: HandClock,
        base: str,
        session: aiohttp.ClientSession,
    ) -> None:
        self.emulator, self.clock, self.base, self._session = emulator, clock, base, session
        self.ledger = emulator.ledger

    async def ask(
        self,
        method: str,
        url: str,
        *,
        key: str | None = "sk-emulated",
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> Said:
        sent = {
            **({"Authorization": f"Bearer {key}"} if key is not None else {}),
            **(headers or {}),
        }
        full = url if url.startswith("http") else self.base + url
        async with self._session.request(method, full, headers=sent, **more) as answer:
            raw = await answer.read()
            try:
                body = json.loads(raw)
            except ValueError:
                body = None
            return Said(answer.status, raw, answer.headers, body)

    async def submit(
        self,
        prompt: str = "红围巾",
        model: str = WAN,
        *,
        key: str = "sk-emulated",
        asynchronous: bool = True,
        path: str = "",
        headers: dict[str, str] | None = None,
        **parameters: Any,
    ) -> Said:
        old = model in (OLD, QWEN, "wanx-v1", "wan2.5-t2i-preview")
        given = (
            {"prompt": prompt}
            if old and asynchronous
            else {"messages": [{"role": "user", "content": [{"text": prompt}]}]}
        )
        path = path or (PATHS["text" if old else "image"] if asynchronous else SYNC)
        body = {
            "model": model,
            "input": given,
            "parameters": {"n": 1, "prompt_extend": False, **parameters},
        }
        said = {"X-DashScope-Async": "enable"} if asynchronous else {}
        return await self.ask(
            "POST",
            f"/services/aigc/{path}",
            key=key,
            headers={**said, **(headers or {})},
            json=body,
        )

    async def poll(self, task_id: str, key: str = "sk-emulated") -> Said:
        return await self.ask("GET", f"/tasks/{task_id}", key=key)

    async def made(self, prompt: str = "红围巾", model: str = WAN, **parameters: Any) -> Said:
        """Submit, let an hour pass, poll."""
        task_id = (await self.submit(prompt, model, **parameters)).task_id
        self.clock.moment += 3600
        return await self.poll(task_id)


def run(settings: Emulated, play: Callable[[Talk], Awaitable[None]]) -> None:
    """Play against an emulator, which must leave nothing behind."""

    async def whole() -> None:
        clock = HandClock()
        emulator = DashScopeEmulator(settings, clock)
        base = await emulator.start()
        try:
            limit = aiohttp.ClientTimeout(total=20)
            async with aiohttp.ClientSession(timeout=limit) as session:
                await play(Talk(emulator, clock, base, session))
        finally:
            await emulator.stop()
            await emulator.stop()
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []

    asyncio.run(whole())


def with_faults(text: str, settings: Emulated = FREE) -> Emulated:
    """The settings with these faults."""
    return replace(settings, faults=parse_faults(text))


# The way of one task


def test_new_protocol_from_submit_to_picture() -> None:
    """PENDING, RUNNING, SUCCEEDED with choices; the picture is the prompt's and of the size asked."""

    async def play(talk: Talk) -> None:
        accepted = await talk.submit("红围巾", size="1104*1472")
        assert accepted.output["task_status"] == "PENDING"
        assert accepted.task_id != accepted.body["request_id"] == accepted.headers["x-request-id"]
        assert accepted.headers["Content-Type"] == "application/json"
        waiting = await talk.poll(accepted.task_id)
        assert waiting.headers["Content-Type"] == "application/json;charset=UTF-8"
        assert waiting.output["task_status"] == "PENDING"
        assert "scheduled_time" not in waiting.output
        talk.clock.moment += 1
        running = await talk.poll(accepted.task_id)
        assert running.output["task_status"] == "RUNNING"
        assert "usage" not in running.body
        talk.clock.moment += 60
        done = await talk.poll(accepted.task_id)
        assert done.output["submit_time"] == "2026-01-01 08:00:00.000"
        assert done.output["scheduled_time"] == "2026-01-01 08:00:00.014"
        assert done.output["end_time"] == "2026-01-01 08:01:00.014"
        assert done.output["finished"] is True
        assert done.output["choices"][0]["message"]["content"][0]["type"] == "image"
        assert done.body["usage"] == {
            "image_count": 1,
            "size": "1104*1472",
            "input_tokens": 0,
            "output_tokens": 0,
            "total_tokens": 0,
        }
        assert "orig_prompt" not in json.dumps(done.body)
        picture = await talk.ask("GET", done.url, key=None)
        assert prompt_of_picture(picture.raw) == prompt_sha("红围巾")
        assert picture.headers["Content-Type"] == "image/png"

    run(BASE, play)


def test_old_protocol_tells_the_prompt() -> None:
    """results with orig_prompt, task_metrics while running; actual_prompt only with prompt_extend."""

    async def play(talk: Talk) -> None:
        task_id = (await talk.submit("红围巾", OLD, n=2, prompt_extend=False)).task_id
        talk.clock.moment += 1
        assert (await talk.poll(task_id)).output["task_metrics"] == {
            "TOTAL": 2,
            "SUCCEEDED": 0,
            "FAILED": 0,
        }
        talk.clock.moment += 60
        done = await talk.poll(task_id)
        assert [set(result) for result in done.output["results"]] == [{"orig_prompt", "url"}] * 2
        assert done.output["results"][0]["orig_prompt"] == "红围巾"
        assert done.output["task_metrics"] == {"TOTAL": 2, "SUCCEEDED": 2, "FAILED": 0}
        assert done.body["usage"] == {"image_count": 2}
        first, second = (
            re.sub(r"\d\.png.*", "", result["url"]) for result in done.output["results"]
        )
        assert first.split("/")[3] != second.split("/")[3], (
            "one task's pictures lie in different buckets"
        )
        assert (
            "actual_prompt"
            in (await talk.made("蓝围巾", OLD, prompt_extend=True)).output["results"][0]
        )
        assert set((await talk.made("x", "wanx-v1")).output["results"][0]) == {"url"}

    run(FREE, play)


def test_synchronous_lane() -> None:
    """The answer comes after the service time, in the model's own shape; there is no task to poll."""

    async def play(talk: Talk) -> None:
        wan = await talk.submit("红围巾", asynchronous=False)
        assert talk.clock.moment == START + 60
        assert wan.output["finished"] is True
        assert wan.headers["x-dashscope-timeout"] == "298"
        qwen = await talk.submit("红围巾", QWEN, asynchronous=False, prompt_extend=False)
        assert qwen.output["task_metric"]["SUCCEEDED"] == 1
        assert qwen.output["choices"][0]["message"]["content"] == [{"image": qwen.url}]
        assert qwen.body["usage"] == {"width": 1664, "height": 928, "image_count": 1}
        assert prompt_of_picture((await talk.ask("GET", qwen.url)).raw) == prompt_sha("红围巾")
        task_id = talk.ledger.purchases[0].task_id
        assert (await talk.poll(task_id)).output["task_status"] == "UNKNOWN"
        assert (await talk.ask("GET", "/tasks/")).body["total"] == 0

    run(replace(BASE, task_calls_per_second=None), play)


def test_synchronous_call_is_cut_but_billed() -> None:
    """Beyond 298 s the gateway gives up; the picture is made and paid for all the same."""

    async def play(talk: Talk) -> None:
        cut = await talk.submit(asynchronous=False)
        assert (cut.status, cut.body["code"]) == (500, "RequestTimeOut")
        assert talk.clock.moment == pytest.approx(START + 298)
        assert talk.ledger.billed() == 1

    run(replace(BASE, latency=ServiceTime(400, 0, 400, 400)), play)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [("failed", 500, "InternalError.Algo"), ("refused", 400, "DataInspectionFailed")],
)
def test_synchronous_failures(fault: str, status: int, code: str) -> None:
    """On the synchronous lane a failed task is an HTTP error and costs nothing."""

    async def play(talk: Talk) -> None:
        said = await talk.submit(asynchronous=False)
        assert (said.status, said.body["code"]) == (status, code)
        assert talk.ledger.billed() == 0

    run(with_faults(f"@1:task={fault}"), play)


def test_every_post_is_a_new_paid_task() -> None:
    """There is no deduplication: the same bytes twice are bought twice, and the ledger says so."""

    async def play(talk: Talk) -> None:
        first, second = await talk.submit("a"), await talk.submit("a")
        await talk.submit("b", n=3)
        assert first.task_id != second.task_id
        assert talk.ledger.billed() == 5
        assert talk.ledger.bought_twice() == ["a"]

    run(FREE, play)


# Requests that do not go together


@pytest.mark.parametrize(
    ("model", "path", "asynchronous", "status", "code"),
    [
        (WAN, PATHS["image"], False, 403, "AccessDenied"),
        (OLD, PATHS["text"], False, 403, "AccessDenied"),
        ("z-image-turbo", SYNC, True, 403, "AccessDenied"),
        (WAN, PATHS["text"], True, 400, "InvalidParameter"),
        (OLD, PATHS["image"], True, 400, "InvalidParameter"),
        (OLD, SYNC, False, 400, "InvalidParameter"),
        ("wan9-t2i", PATHS["image"], True, 400, "InvalidParameter"),
        ("wan2.1-t2i-plus", PATHS["text"], True, 400, "InvalidParameter"),
    ],
)
def test_model_path_and_header_must_match(
    model: str, path: str, asynchronous: bool, status: int, code: str
) -> None:
    """The wrong pairing is refused and nothing is bought."""

    async def play(talk: Talk) -> None:
        headers = {"X-DashScope-Async": "enable"} if asynchronous else {}
        said = await talk.submit(model=model, path=path, asynchronous=False, headers=headers)
        assert (said.status, said.body["code"]) == (status, code)
        assert set(said.body) == {"code", "message", "request_id"}
        assert talk.ledger.purchases == []

    run(FREE, play)


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (WAN, {"size": "1280x1280"}),
        (WAN, {"size": "1024*1024"}),
        (WAN, {"size": "640*3000"}),
        (WAN, {"n": 5}),
        (WAN, {"n": 0}),
        (WAN, {"n": "1"}),
        (WAN, {"seed": -1}),
        (WAN, {"seed": 2**31}),
        (OLD, {"size": "1441*800"}),
        ("wanx-v1", {"size": "800*800"}),
        (QWEN, {"n": 2}),
        (QWEN, {"size": "1024*1024"}),
    ],
)
def test_parameters_out_of_range_are_refused(model: str, parameters: dict[str, Any]) -> None:
    """Each model has its own ranges; a size is written with an asterisk."""

    async def play(talk: Talk) -> None:
        said = await talk.submit(model=model, **parameters)
        assert (said.status, said.body["code"]) == (400, "InvalidParameter")
        assert talk.ledger.billed() == 0

    run(FREE, play)


def test_n_is_four_where_it_is_left_out() -> None:
    """The wan family makes, and bills, four; a sequence twelve; Qwen one."""

    async def play(talk: Talk) -> None:
        for model, more, count in (
            (WAN, {}, 4),
            ("wan2.7-image", {"enable_sequential": True}, 12),
            ("z-image-turbo", {}, 1),
        ):
            body = {
                "model": model,
                "input": {"messages": [{"role": "user", "content": [{"text": "x"}]}]},
                "parameters": more,
            }
            path = SYNC if count == 1 else PATHS["image"]
            headers = {} if count == 1 else {"X-DashScope-Async": "enable"}
            await talk.ask("POST", f"/services/aigc/{path}", json=body, headers=headers)
            assert talk.ledger.purchases[-1].n == count

    run(FREE, play)


def test_long_prompts_are_cut_without_a_word() -> None:
    """The model reads the first 2100 characters; the picture shows only those."""

    async def play(talk: Talk) -> None:
        prompt = "长" * 2100 + "尾"
        done = await talk.made(prompt)
        picture = await talk.ask("GET", done.url)
        assert prompt_of_picture(picture.raw) == prompt_sha("长" * 2100)
        assert talk.ledger.purchases[0].prompt == prompt

    run(FREE, play)


def test_missing_prompt_fails_late_or_at_once() -> None:
    """An accepted task is no proof of a valid request, unless the setting says so."""

    async def play(talk: Talk) -> None:
        done = await talk.made("")
        assert (done.output["task_status"], done.output["code"]) == ("FAILED", "InvalidParameter")
        assert "Field required" in done.output["message"]
        assert talk.ledger.billed() == 0

    async def strict(talk: Talk) -> None:
        assert (await talk.submit("")).status == 400

    run(FREE, play)
    run(replace(FREE, late_validation=False), strict)


def test_broken_bodies_are_refused() -> None:
    """What is no JSON object is 400; odd objects inside never break the emulator."""

    async def play(talk: Talk) -> None:
        url = f"/services/aigc/{PATHS['image']}"
        headers = {"X-DashScope-Async": "enable"}
        for data in (b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000):
            said = await talk.ask("POST", url, data=data, headers=headers)
            assert (said.status, said.body["code"]) == (400, "BadRequest.IllegalInput")
        for given in (
            None,
            3,
            "x",
            {"messages": 3},
            {"messages": [{"content": "x"}]},
            {"messages": [{"content": [{"text": 5}]}]},
        ):
            said = await talk.ask(
                "POST", url, json={"model": WAN, "input": given, "parameters": []}, headers=headers
            )
            assert said.status == 200
        assert (await talk.ask("POST", url, json={"model": None}, headers=headers)).status == 400
        assert (await talk.ask("GET", "/nowhere")).status == 404
        assert talk.ledger.billed() == 0

    run(FREE, play)


# Keys, regions, the compatible layer


def test_keys_belong_to_accounts_and_regions() -> None:
    """No key, a wrong key, another account's task; the 401 has no content type."""

    async def play(talk: Talk) -> None:
        none, wrong = (
            await talk.ask("GET", "/tasks/x", key=None),
            await talk.poll("x", key="sk-other-region"),
        )
        assert (none.status, none.body["code"], none.body["message"]) == (
            401,
            "InvalidApiKey",
            "No API-key provided.",
        )
        assert (wrong.status, wrong.body["message"]) == (401, "Invalid API-key provided.")
        assert "Content-Type" not in none.headers
        assert (await talk.submit(key="sk-other-region")).status == 401
        task_id = (await talk.submit(key="sk-1")).task_id
        talk.clock.moment += 5
        assert (await talk.poll(task_id, key="sk-2")).output["task_status"] == "RUNNING"
        assert (await talk.poll(task_id, key="sk-3")).output["task_status"] == "UNKNOWN"
        listed = [
            (await talk.ask("GET", "/tasks/", key=key)).body["total"]
            for key in ("sk-1", "sk-2", "sk-3")
        ]
        assert listed == [1, 1, 0]

    run(replace(FREE, keys={"sk-1": "one", "sk-2": "one", "sk-3": "two"}), play)


def test_region_decides_names_and_limits() -> None:
    """Singapore calls wanx2.1 wan2.1 and lets wan2.6-t2i in five times a second."""

    async def play(talk: Talk) -> None:
        assert [(await talk.submit(str(number))).status for number in range(6)] == [200] * 5 + [429]
        assert (await talk.submit(model="wan2.1-t2i-plus", path=PATHS["text"])).status == 200
        assert (await talk.submit(model=OLD)).status == 400

    run(replace(BASE, region="ap-southeast-1"), play)


def test_models_and_chat() -> None:
    """A free check of the key; chat answers come from the callable, 404 without one."""

    def answer(body: dict[str, Any]) -> dict[str, Any] | str:
        last = str(body["messages"][-1]["content"])
        return {"whole": last} if last == "whole" else last.upper()

    async def play(talk: Talk) -> None:
        root = talk.base.removesuffix("/api/v1") + "/compatible-mode/v1"
        assert WAN in [row["id"] for row in (await talk.ask("GET", f"{root}/models")).body["data"]]
        refused = await talk.ask("GET", f"{root}/models", key="sk-x")
        assert (refused.status, refused.body["error"]["code"]) == (401, "InvalidApiKey")
        for words, expected in (("hello", "HELLO"), ("whole", "")):
            said = await talk.ask(
                "POST",
                f"{root}/chat/completions",
                json={"model": "q", "messages": [{"content": words}]},
            )
            if expected:
                assert said.body["choices"][0]["message"] == {
                    "role": "assistant",
                    "content": expected,
                }
            else:
                assert said.body == {"whole": "whole"}
        assert talk.ledger.counts["chat"] == 2

    async def silent(talk: Talk) -> None:
        root = talk.base.removesuffix("/api/v1") + "/compatible-mode/v1"
        assert (await talk.ask("POST", f"{root}/chat/completions", json={})).status == 404

    run(replace(FREE, chat=answer), play)
    run(FREE, silent)


def test_answers_are_packed_only_for_who_takes_it() -> None:
    """gzip and chunks for clients that accept them, a plain length for the others."""

    async def play(talk: Talk) -> None:
        packed = await talk.poll("x")
        plain = await talk.ask("GET", "/tasks/x", headers={"Accept-Encoding": "identity"})
        assert (
            packed.headers.get("Content-Encoding"),
            packed.headers.get("Transfer-Encoding"),
        ) == ("gzip", "chunked")
        assert "Content-Encoding" not in plain.headers
        assert (
            packed.body["output"]
            == plain.body["output"]
            == {"task_id": "x", "task_status": "UNKNOWN"}
        )

    run(FREE, play)


# Limits


def test_submit_rate_of_the_published_table() -> None:
    """wan2.6-t2i in Beijing: one a second; a client that paces, with jitter, is never refused."""

    async def play(talk: Talk) -> None:
        burst = [await talk.submit(str(number)) for number in range(3)]
        assert [said.status for said in burst] == [200, 429, 429]
        assert all("Retry-After" not in said.headers for said in burst)
        talk.clock.moment += 5
        for number in range(40):
            assert (await talk.submit(f"paced {number}")).status == 200
            talk.clock.moment += 1.3 if number % 2 else 0.7
        assert (await talk.submit(model=OLD)).status == 200, "each model has its own limit"
        assert talk.ledger.billed() == 42

    run(BASE, play)


def test_names_of_too_fast_vary() -> None:
    """The same refusal has several codes, one of them in the envelope; all are counted."""

    async def play(talk: Talk) -> None:
        await talk.submit()
        codes = set()
        for number in range(40):
            body = (await talk.submit(str(number))).body
            codes.add(body["code"] if "code" in body else body["error"]["code"])
        assert codes == {"Throttling", "Throttling.RateQuota", "LimitRequests", "limit_requests"}
        refused = {
            name: count for name, count in talk.ledger.counts.items() if name.startswith("429 ")
        }
        assert sum(refused.values()) == 40
        assert talk.ledger.billed() == 1

    run(BASE, play)


def test_two_a_minute() -> None:
    """qwen-image-max takes two requests, then one every half minute."""

    async def play(talk: Talk) -> None:
        async def once() -> int:
            return (await talk.submit(model="qwen-image-max", asynchronous=False)).status

        assert [await once() for _ in range(3)] == [200, 200, 429]
        talk.clock.moment += 30
        assert [await once() for _ in range(2)] == [200, 429]

    run(replace(BASE, latency=ServiceTime(0, 0, 0, 0)), play)


def test_gateway_waits_where_asked_to() -> None:
    """X-DashScope-Wait-Timeout holds a request that is too early instead of refusing it."""

    async def play(talk: Talk) -> None:
        await talk.submit()
        before = talk.clock.moment
        assert (await talk.submit(headers={"X-DashScope-Wait-Timeout": "5"})).status == 200
        assert 0 < talk.clock.moment - before <= 1
        assert (await talk.submit(headers={"X-DashScope-Wait-Timeout": "1000"})).status == 429

    run(BASE, play)


def test_excess_tasks_queue_in_order() -> None:
    """Five run at once; the sixth waits as PENDING and starts the moment that a slot is free."""

    async def play(talk: Talk) -> None:
        ids = [(await talk.submit(str(number))).task_id for number in range(7)]
        talk.clock.moment += 1
        states = [(await talk.poll(task_id)).output["task_status"] for task_id in ids]
        assert states == ["RUNNING"] * 5 + ["PENDING"] * 2
        talk.clock.moment += 600
        last = (await talk.poll(ids[-1])).output
        assert last["scheduled_time"] == "2026-01-01 08:01:00.014"
        assert last["end_time"] == "2026-01-01 08:02:00.014"
        assert talk.ledger.max_running == 5

    run(replace(BASE, submit_per_second=0), play)


def test_excess_tasks_can_be_refused() -> None:
    """over=reject: 429 Throttling.Concurrency until a slot is free."""

    async def play(talk: Talk) -> None:
        said = [await talk.submit(str(number)) for number in range(3)]
        assert [answer.status for answer in said] == [200, 200, 429]
        assert said[2].body["code"] == "Throttling.Concurrency"
        talk.clock.moment += 61
        assert (await talk.submit("again")).status == 200

    run(replace(BASE, submit_per_second=0, concurrency=2, over="reject"), play)


def test_synchronous_calls_share_the_slots_where_the_model_has_some() -> None:
    """A wan model's slots count both ways of asking; qwen-image's synchronous lane has no limit."""

    async def play(talk: Talk) -> None:
        await talk.submit("first")
        await talk.submit("second", asynchronous=False)
        assert talk.clock.moment - START == pytest.approx(120.014, abs=0.3)
        start = talk.clock.moment
        await talk.submit("third", QWEN, prompt_extend=False)
        await talk.submit("fourth", QWEN, asynchronous=False, prompt_extend=False)
        assert talk.clock.moment == pytest.approx(start + 60)

    run(replace(BASE, submit_per_second=0, concurrency=1), play)


def test_task_calls_have_twenty_a_second_each() -> None:
    """Polls, lists and cancels are limited by account, not by key or task, and apart."""

    async def play(talk: Talk) -> None:
        polls = [
            (await talk.poll(f"t{number}", key=f"sk-{number % 2}")).status for number in range(22)
        ]
        assert polls == [200] * 20 + [429] * 2
        lists = [(await talk.ask("GET", "/tasks/", key="sk-0")).status for _ in range(21)]
        assert lists == [200] * 20 + [429]
        cancels = [
            (await talk.ask("POST", "/tasks/x/cancel", key="sk-0")).status for _ in range(21)
        ]
        assert cancels == [400] * 20 + [429]
        talk.clock.moment += 0.5
        assert [(await talk.poll("t", key="sk-0")).status for _ in range(11)] == [200] * 10 + [429]

    run(replace(BASE, keys={"sk-0": "one", "sk-1": "one"}), play)


# List and cancel


def test_list_pages_newest_first_without_prompts_or_links() -> None:
    """Epoch milliseconds, ten a page, filters, a total that every page agrees on."""

    async def play(talk: Talk) -> None:
        ids = []
        for number in range(23):
            ids.append(
                (await talk.submit(f"秘密 {number}", OLD if number % 5 == 0 else WAN)).task_id
            )
            talk.clock.moment += 1
        pages = [await talk.ask("GET", f"/tasks/?page_no={page}") for page in (1, 2, 3, 4)]
        assert [len(page.body["data"]) for page in pages] == [10, 10, 3, 0]
        assert {page.body["total"] for page in pages} == {23}
        assert pages[0].body["total_page"] == 3
        rows = [row for page in pages for row in page.body["data"]]
        assert [row["task_id"] for row in rows] == ids[::-1]
        assert rows[-1]["gmt_create"] == START * 1000
        assert "end_time" not in rows[-1]
        text = "".join(page.raw.decode() for page in pages)
        assert "http" not in text
        assert "秘密" not in text
        old = await talk.ask("GET", f"/tasks/?model_name={OLD}&page_size=100")
        assert [row["task_id"] for row in old.body["data"]] == ids[::-5][::1] or old.body[
            "total"
        ] == 5
        assert (await talk.ask("GET", f"/tasks/?task_id={ids[3]}")).body["total"] == 1
        talk.clock.moment += 100
        assert (await talk.ask("GET", "/tasks/?status=SUCCEEDED")).body["total"] == 23
        assert (await talk.ask("GET", "/tasks/?status=RUNNING")).body["total"] == 0

    run(FREE, play)


def test_list_windows() -> None:
    """A window is at most a day, in Beijing time; without one, the last day."""

    async def play(talk: Talk) -> None:
        for _ in range(3):
            await talk.submit()
            talk.clock.moment += 3600
        window = "/tasks/?start_time={}&end_time={}"
        found = await talk.ask("GET", window.format("20260101083000", "20260101093000"))
        assert [row["gmt_create"] for row in found.body["data"]] == [(START + 3600) * 1000]
        for start, end in (
            ("20260101000000", "20260102000001"),
            ("20260101100000", "20260101090000"),
            ("yesterday", "x"),
            ("20261301000000", ""),
        ):
            assert (await talk.ask("GET", window.format(start, end))).status == 400
        assert (await talk.ask("GET", "/tasks/?page_no=0")).status == 400
        assert (await talk.ask("GET", "/tasks/?start_time=20260101090000")).body["total"] == 2
        talk.clock.moment = START + 86400 + 1800
        assert (await talk.ask("GET", "/tasks/")).body["total"] == 2

    run(FREE, play)


def test_list_lags() -> None:
    """A task just submitted is not in the list yet, but can be polled."""

    async def play(talk: Talk) -> None:
        task_id = (await talk.submit()).task_id
        talk.clock.moment += 9
        assert (await talk.ask("GET", "/tasks/")).body["total"] == 0
        assert (await talk.poll(task_id)).output["task_status"] == "RUNNING"
        talk.clock.moment += 1
        assert (await talk.ask("GET", "/tasks/")).body["total"] == 1

    run(replace(FREE, list_lag_s=10), play)


def test_cancel_only_before_it_is_scheduled() -> None:
    """Fourteen milliseconds decide; a cancelled task in the queue frees its place and is not billed."""

    async def play(talk: Talk) -> None:
        async def cancel(task_id: str) -> int:
            return (await talk.ask("POST", f"/tasks/{task_id}/cancel")).status

        ids = [(await talk.submit(str(number))).task_id for number in range(4)]
        assert await cancel(ids[3]) == 200
        talk.clock.moment += 0.02
        late = await talk.ask("POST", f"/tasks/{ids[0]}/cancel")
        assert (late.status, late.body["code"]) == (400, "UnsupportedOperation")
        assert [await cancel(task_id) for task_id in (ids[1], ids[1], "t")] == [200, 400, 400]
        assert (await talk.poll(ids[1])).output["task_status"] == "CANCELED"
        talk.clock.moment += 70
        assert (await talk.poll(ids[2])).output["scheduled_time"] == "2026-01-01 08:01:00.014"
        assert talk.ledger.billed() == 2
        assert [purchase.state for purchase in talk.ledger.purchases] == [
            "SUCCEEDED",
            "CANCELED",
            "SUCCEEDED",
            "CANCELED",
        ]

    run(replace(FREE, concurrency=1), play)


def test_records_and_links_expire() -> None:
    """After a day the task is UNKNOWN; an old link is 403 XML, a poll before that gives a new one."""

    async def play(talk: Talk) -> None:
        done = await talk.made()
        talk.clock.moment += 7201
        expired = await talk.ask("GET", done.url)
        assert expired.status == 403
        assert b"<Code>AccessDenied</Code>" in expired.raw
        fresh = await talk.poll(done.task_id)
        assert (await talk.ask("GET", fresh.url)).status == 200
        talk.clock.moment = START + 86401
        assert (await talk.poll(done.task_id)).output == {
            "task_id": done.task_id,
            "task_status": "UNKNOWN",
        }

    async def stale(talk: Talk) -> None:
        done = await talk.made()
        talk.clock.moment += 7201
        assert (await talk.ask("GET", (await talk.poll(done.task_id)).url)).status == 403

    run(replace(FREE, url_life_s=7200), play)
    run(replace(FREE, url_life_s=7200, fresh_links=False), stale)


def test_other_programs_share_the_account() -> None:
    """Their tasks take slots and are listed, but are none of our money."""

    async def play(talk: Talk) -> None:
        talk.clock.moment += 120
        mine = await talk.submit("mine")
        talk.clock.moment += 5
        assert (await talk.ask("GET", "/tasks/")).body["total"] == 14
        assert (await talk.poll(mine.task_id)).output["task_status"] == "PENDING"
        assert talk.ledger.billed() == 1
        assert len(talk.ledger.purchases) == 14

    run(replace(FREE, concurrency=2, other_tasks_per_minute=6), play)


# Downloads


def test_links_are_signed_for_get_alone() -> None:
    """HEAD, a changed signature and another path are refused; ranges are served."""

    async def play(talk: Talk) -> None:
        done = await talk.made()
        assert "Signature=" in done.url
        assert "%" in done.url.split("Signature=")[1]
        whole = await talk.ask("GET", done.url)
        assert (await talk.ask("HEAD", done.url)).status == 403
        changed = await talk.ask("GET", done.url.replace("Signature=", "Signature=A"))
        assert b"SignatureDoesNotMatch" in changed.raw
        assert (await talk.ask("GET", done.url.replace("/0.png", "/1.png"))).status == 403
        assert (await talk.ask("GET", done.url.split("?")[0])).status == 403
        part = await talk.ask("GET", done.url, headers={"Range": "bytes=10-19"})
        assert (part.status, part.raw) == (206, whole.raw[10:20])
        assert part.headers["Content-Range"] == f"bytes 10-19/{len(whole.raw)}"
        rest = await talk.ask("GET", done.url, headers={"Range": "bytes=100-"})
        tail = await talk.ask("GET", done.url, headers={"Range": "bytes=-5"})
        assert (rest.raw, tail.raw) == (whole.raw[100:], whole.raw[-5:])
        beyond = await talk.ask("GET", done.url, headers={"Range": "bytes=99999999-"})
        assert beyond.status == 416
        assert len(talk.ledger.purchases[0].pictures) == 1

    run(FREE, play)


def test_small_pictures_keep_the_shape() -> None:
    """For speed a picture may be 64 pixels long; it still says whose it is."""

    async def play(talk: Talk) -> None:
        done = await talk.made(size="960*1696")
        raw = (await talk.ask("GET", done.url)).raw
        assert prompt_of_picture(raw) == prompt_sha("红围巾")
        assert int.from_bytes(raw[20:24]) == 64
        assert len(raw) < 3000

    run(replace(FREE, picture_size="small", labels=("text",)), play)


# Faults


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("error", 500, "InternalError"),
        ("busy", 503, "ModelServingError"),
        ("burst", 429, "Throttling.BurstRate"),
        ("concurrency", 429, "Throttling.Concurrency"),
        ("quota", 429, "Throttling.AllocationQuota"),
        ("exhausted", 429, "Throttling.AllocationQuota"),
        ("unpaid", 429, "CommodityNotPurchased"),
        ("refused", 400, "DataInspectionFailed"),
    ],
)
def test_submit_faults_buy_nothing(fault: str, status: int, code: str) -> None:
    """The second submit is refused with the service's words; the third passes."""

    async def play(talk: Talk) -> None:
        said = [await talk.submit(str(number)) for number in range(3)]
        assert [answer.status for answer in said] == [200, status, 200]
        assert said[1].body["code"] == code
        assert ("Retry-After" in said[1].headers) == (fault == "exhausted")
        assert talk.ledger.billed() == 2

    run(with_faults(f"@2:submit={fault}"), play)


def test_resets_before_and_after_acceptance() -> None:
    """Both look the same to the client; only the ledger knows which one was bought."""

    async def play(talk: Talk) -> None:
        for number in range(2):
            with pytest.raises(
                (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, ConnectionError)
            ):
                await talk.submit(str(number))
        assert [purchase.prompt for purchase in talk.ledger.purchases] == ["1"]

    run(with_faults("@1:submit=reset,@2:answer=lost"), play)


@pytest.mark.parametrize(
    ("fault", "status", "start"),
    [("504", 504, b"upstream"), ("html", 502, b"<html>"), ("empty", 200, b"")],
)
def test_lost_answers_are_bought(fault: str, status: int, start: bytes) -> None:
    """The task exists although the answer says nothing of it; the list shows it."""

    async def play(talk: Talk) -> None:
        said = await talk.submit()
        assert (said.status, said.body) == (status, None)
        assert said.raw.startswith(start)
        assert (await talk.ask("GET", "/tasks/")).body["total"] == 1

    run(with_faults(f"@1:answer={fault}"), play)


@pytest.mark.parametrize(
    ("fault", "status", "raw"),
    [
        ("error", 500, b"InternalError"),
        ("busy", 503, b"ModelServingError"),
        ("throttled", 429, b"Throttling"),
        ("html", 200, b"<html>"),
        ("empty", 200, b""),
        ("json", 200, b"task_metrics"),
        ("reset", 0, b""),
    ],
)
def test_poll_faults_pass(fault: str, status: int, raw: bytes) -> None:
    """One poll goes wrong; the task does not mind."""

    async def play(talk: Talk) -> None:
        task_id = (await talk.submit()).task_id
        talk.clock.moment += 100
        if status:
            said = await talk.poll(task_id)
            assert said.status == status
            assert raw in said.raw
        else:
            with pytest.raises((aiohttp.ClientError, ConnectionError)):
                await talk.poll(task_id)
        assert (await talk.poll(task_id)).output["task_status"] == "SUCCEEDED"

    run(with_faults(f"@1{TWICE if fault == 'reset' else ''}:poll={fault}"), play)


@pytest.mark.parametrize("fault", ["failed", "refused", "timeout"])
def test_failed_tasks_cost_nothing(fault: str) -> None:
    """FAILED with a code and a message, no results, no usage, not billed."""
    codes = {
        "failed": "InternalError",
        "refused": "DataInspectionFailed",
        "timeout": "InternalError.Timeout",
    }

    async def play(talk: Talk) -> None:
        task_id = (await talk.submit(n=2)).task_id
        talk.clock.moment += 3 * 3600 + 1
        said = await talk.poll(task_id)
        assert (said.status, said.output["task_status"], said.output["code"]) == (
            200,
            "FAILED",
            codes[fault],
        )
        assert "choices" not in said.output
        assert "usage" not in said.body
        assert (talk.ledger.billed(), talk.ledger.purchases[0].state) == (0, "FAILED")

    run(with_faults(f"@1:task={fault}"), play)


def test_partial_empty_and_repeated_results() -> None:
    """SUCCEEDED does not mean that every picture came."""

    async def play(talk: Talk) -> None:
        partial = await talk.made("a", OLD, n=2)
        assert partial.output["results"][1]["code"] == "DataInspectionFailed"
        assert partial.output["task_metrics"] == {"TOTAL": 2, "SUCCEEDED": 1, "FAILED": 1}
        assert partial.body["usage"]["image_count"] == 1
        empty = await talk.made("b")
        assert (empty.output["task_status"], empty.output["choices"]) == ("SUCCEEDED", [])
        repeated = await talk.made("c", OLD, n=2)
        assert repeated.output["results"][0]["url"] == repeated.output["results"][1]["url"]
        alone = await talk.made("d")
        assert alone.output["task_status"] == "FAILED"
        assert [purchase.billed for purchase in talk.ledger.purchases] == [1, 0, 2, 0]

    run(with_faults("@1:task=partial,@2:task=empty,@3:task=repeat,@4:task=partial"), play)


@pytest.mark.parametrize("model", [OLD, WAN])
def test_links_that_come_late(model: str) -> None:
    """Called a success and billed, but for twenty seconds without the links."""

    async def play(talk: Talk) -> None:
        task_id = (await talk.submit(model=model)).task_id
        early = await talk.poll(task_id)
        while early.output["task_status"] != "SUCCEEDED":
            talk.clock.moment += 5
            early = await talk.poll(task_id)
        assert early.body["usage"]["image_count"] == 1
        assert "https" not in json.dumps(early.body)
        assert "http:" not in json.dumps(early.body)
        talk.clock.moment += 20
        assert "http" in json.dumps((await talk.poll(task_id)).body)
        assert talk.ledger.billed() == 1

    run(with_faults("task_late=1"), play)


def test_unknown_for_a_while_after_creation() -> None:
    """An id just given may not be known yet."""

    async def play(talk: Talk) -> None:
        task_id = (await talk.submit()).task_id
        assert (await talk.poll(task_id)).output["task_status"] == "UNKNOWN"
        talk.clock.moment += 10
        assert (await talk.poll(task_id)).output["task_status"] == "RUNNING"

    run(with_faults("task_unknown=1"), play)


@pytest.mark.parametrize(
    "fault", ["truncated", "length", "html", "expired", "missing", "reset", "error", "bad"]
)
def test_broken_downloads_pass(fault: str) -> None:
    """The first try gives no whole picture, the second does; neither costs anything."""

    async def play(talk: Talk) -> None:
        url = (await talk.made()).url
        try:
            raw = (await talk.ask("GET", url)).raw
        except (aiohttp.ClientError, ConnectionError):
            raw = b""
        assert not raw.endswith(b"IEND\xaeB`\x82")
        assert prompt_of_picture((await talk.ask("GET", url)).raw) == prompt_sha("红围巾")
        assert talk.ledger.billed() == 1

    run(with_faults(f"@1{TWICE if fault == 'reset' else ''}:download={fault}"), play)


@pytest.mark.parametrize("where", ["submit", "answer", "poll", "download"])
def test_slow_ones_are_slow_but_whole(where: str) -> None:
    """Twenty seconds later everything is as it should be."""

    async def play(talk: Talk) -> None:
        done = await talk.made()
        assert prompt_of_picture((await talk.ask("GET", done.url)).raw) == prompt_sha("红围巾")
        assert talk.clock.moment == pytest.approx(START + 3600 + 20)

    run(with_faults(f"@1:{where}=slow"), play)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("arrears", 400, "Arrearage"),
        ("free_tier", 403, "AllocationQuota.FreeTierOnly"),
        ("key", 401, "InvalidApiKey"),
    ],
)
def test_account_stops_in_mid_run(fault: str, status: int, code: str) -> None:
    """From the third submit on the account refuses; what was bought can still be polled."""

    async def play(talk: Talk) -> None:
        said = [await talk.submit(str(number)) for number in range(5)]
        assert [answer.status for answer in said] == [200, 200, status, status, status]
        assert said[2].body["code"] == code
        assert (await talk.poll(said[0].task_id)).status == 200

    run(with_faults(f"{fault}_from=3"), play)


@pytest.mark.parametrize("fault", ["error", "throttled", "reset", "short"])
def test_list_faults(fault: str) -> None:
    """A list may fail, or lack rows that its total counts."""

    async def play(talk: Talk) -> None:
        for number in range(4):
            await talk.submit(str(number))
        if fault == "reset":
            with pytest.raises((aiohttp.ClientError, ConnectionError)):
                await talk.ask("GET", "/tasks/")
        else:
            said = await talk.ask("GET", "/tasks/")
            assert said.status == {"error": 500, "throttled": 429, "short": 200}[fault]
            assert fault != "short" or (said.body["total"], len(said.body["data"])) == (4, 2)
        assert len((await talk.ask("GET", "/tasks/")).body["data"]) == 4

    run(with_faults(f"@1{TWICE if fault == 'reset' else ''}:list={fault}"), play)


def test_cancel_faults() -> None:
    """A cancel that fails cancels nothing."""

    async def play(talk: Talk) -> None:
        task_id = (await talk.submit()).task_id
        assert (await talk.ask("POST", f"/tasks/{task_id}/cancel")).status == 500
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await talk.ask("POST", f"/tasks/{task_id}/cancel")
        assert talk.ledger.billed() == 1
        assert (await talk.ask("POST", f"/tasks/{task_id}/cancel")).status == 200

    run(with_faults("@1:cancel=error,@2:cancel=reset"), play)


def test_windows_of_outage() -> None:
    """In the window nothing gets through, before and after everything does."""

    async def play(talk: Talk) -> None:
        assert (await talk.submit()).status == 200
        talk.clock.moment += 10
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await talk.submit()
        talk.clock.moment += 10
        assert (await talk.ask("GET", "/tasks/")).status == 503
        talk.clock.moment += 10
        assert (await talk.submit()).status == 200
        assert talk.ledger.billed() == 2

    run(with_faults("outage=10-20,down=20-30"), play)


@pytest.mark.parametrize(
    ("fault", "mark"),
    [("xmp", b"iTXt"), ("text", b"AIGC"), ("exif", b"eXIf"), ("c2pa", b"caBX"), ("late", b"iTXt")],
)
def test_pictures_with_marks_of_origin(fault: str, mark: bytes) -> None:
    """Some pictures carry a label; they stay the same however often they are fetched."""

    async def play(talk: Talk) -> None:
        url = (await talk.made()).url
        first, second = await talk.ask("GET", url), await talk.ask("GET", url)
        assert mark in first.raw
        assert first.raw == second.raw

    run(with_faults(f"@1:picture={fault}"), play)


def test_faults_by_rate_repeat_from_run_to_run() -> None:
    """Two runs in different orders fail on the same prompts."""

    def failures(order: list[int]) -> dict[int, str]:
        found: dict[int, str] = {}

        async def play(talk: Talk) -> None:
            for number in order:
                said = await talk.submit(str(number))
                if said.status == 200:
                    talk.clock.moment += 100
                    found[number] = (await talk.poll(said.task_id)).output["task_status"]
                else:
                    found[number] = said.body["code"]

        run(with_faults("submit_busy=0.3,task_failed=0.3"), play)
        return found

    forth = failures(list(range(30)))
    assert forth == failures(list(range(29, -1, -1)))
    assert set(forth.values()) == {"SUCCEEDED", "FAILED", "ModelServingError"}


def test_refused_words() -> None:
    """A prompt with such a word never comes out."""

    async def play(talk: Talk) -> None:
        assert (await talk.made("一条红龙")).output["code"] == "DataInspectionFailed"
        assert (await talk.made("一条红围巾")).output["task_status"] == "SUCCEEDED"

    run(replace(FREE, refused_words=("红龙",)), play)


def test_original_prompt_can_be_forced_and_withheld() -> None:
    """The setting overrides what the model does by itself."""

    async def told(talk: Talk) -> None:
        assert (await talk.made("甲")).output["orig_prompt"] == "甲"

    async def withheld(talk: Talk) -> None:
        assert set((await talk.made("甲", OLD, prompt_extend=False)).output["results"][0]) == {
            "url"
        }

    run(replace(FREE, original_prompt=True), told)
    run(replace(FREE, original_prompt=False), withheld)


# The whole of it


def test_ledger_for_people_and_for_other_processes(tmp_path: Path) -> None:
    """Over HTTP and in a file, the same account of what was bought."""
    path = tmp_path / "ledger.jsonl"

    async def play(talk: Talk) -> None:
        done = await talk.made("甲")
        await talk.ask("GET", done.url)
        await talk.submit("乙")
        root = talk.base.removesuffix("/api/v1")
        seen = (await talk.ask("GET", f"{root}/emulator/ledger", key=None)).body
        assert (seen["billed"], seen["bought_twice"], seen["counts"]["poll"]) == (2, [], 1)
        state = (await talk.ask("GET", f"{root}/emulator/state", key=None)).body
        assert state["lanes"] == {f"emulated {WAN} async": {"SUCCEEDED": 1, "PENDING": 1}}
        assert (await talk.ask("GET", f"{root}/emulator/x", key=None)).status == 404
        assert read_ledger(path).billed() == 2

    run(replace(FREE, ledger_path=path), play)
    read = read_ledger(path)
    assert [(purchase.prompt, purchase.state) for purchase in read.purchases] == [
        ("甲", "SUCCEEDED"),
        ("乙", "PENDING"),
    ]
    assert len(read.purchases[0].pictures) == 1
    assert read.counts["download"] == 1


def test_serve_runs_until_cancelled() -> None:
    """The command's function tells its address and goes when told to."""

    async def whole() -> None:
        address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(
            serve_until_cancelled(DashScopeEmulator(FREE, HandClock()), address.set_result)
        )
        base = await address
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/api/v1", base)
        async with aiohttp.ClientSession() as session, session.get(f"{base}/tasks/") as answer:
            assert answer.status == 401
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving

    asyncio.run(whole())


def test_clients_that_hang_up_are_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """Half a request, a gone listener, a stop in mid-answer: nothing logged, nothing left."""

    class Stuck(HandClock):
        async def sleep(self, seconds: float) -> None:
            await asyncio.sleep(3600)

    async def whole() -> None:
        emulator = DashScopeEmulator(with_faults("@1:download=slow"), Stuck())
        base = await emulator.start()
        port = int(base.split(":")[2].split("/")[0])
        body = json.dumps(
            {"model": WAN, "input": {"messages": [{"content": [{"text": "x"}]}]}}
        ).encode()
        head = b"POST /api/v1/services/aigc/%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer sk-emulated\r\nContent-Length: %d\r\n\r\n"
        for data in (
            b"",
            b"GET /api",
            b"\x16\x03\x01 nonsense\r\n\r\n",
            head % (SYNC.encode(), 5000) + b"{",
            head % (SYNC.encode(), len(body)) + body,
        ):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(0.02)
            if data != head % (SYNC.encode(), len(body)) + body:
                writer.transport.abort()
        assert [purchase.state for purchase in emulator.ledger.purchases] == ["SUCCEEDED"]
        await emulator.stop()
        writer.transport.abort()
        await asyncio.sleep(0)

    with caplog.at_level(logging.WARNING):
        asyncio.run(whole())
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_many_tasks_in_little_memory() -> None:
    """A task is a few hundred bytes and no coroutine: twenty thousand at once are no matter."""
    import tracemalloc

    clock = HandClock()
    emulator = DashScopeEmulator(replace(BASE, submit_per_second=0), clock)
    from redloom.emulators.dashscope_models import Wanted

    tracemalloc.start()
    wanted = Wanted(prompt="x", size=(1280, 1280))
    for number in range(20_000):
        emulator._service.accept("emulated", WAN, "image", wanted, f"prompt {number}", number)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used / 20_000 < 2500
    clock.moment += 61
    assert emulator.ledger.billed() == 20_000
    assert sum(purchase.started is not None for purchase in emulator.ledger.purchases) == 10


def test_unknown_fault_names_the_known() -> None:
    """The command line's typing slips are answered with what there is."""
    with pytest.raises(BadInput, match="answer_lost"):
        parse_faults("answer_lots=1")
    assert {fault.where for fault in FAULTS.values()} >= {
        "submit",
        "answer",
        "poll",
        "task",
        "download",
        "list",
        "cancel",
    }
