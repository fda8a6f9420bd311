"""The writer that asks a model, against a small chat service in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from redloom.clock import SystemClock
from redloom.errors import (
    AccountEmpty,
    AnswerLost,
    BadSettings,
    KeyRefused,
    NotAllowed,
    NotSent,
    RedloomError,
    Refused,
    Throttled,
    Unavailable,
)
from redloom.note.chat import Chat
from redloom.note.rules import title_length
from redloom.note.source import parse_source
from redloom.note.writer import Wish, Written
from redloom.note.writer_llm import ChatWriter, object_in

KEY = "sk-secret-0123456789"
STORY = parse_source(
    "在前门吃面\n\n我在前门吃了一碗19块的面。她说：“不香就别卖。”\n\n走了496米才到。".encode(),
    "a.txt",
)


def answer(**changes: Any) -> str:
    """A faultless answer, but for ``changes``."""
    good = {
        "titles": [
            {"text": f"第{mark}个标题", "hook": "number"} for mark in ("甲", "乙", "丙", "丁", "戊")
        ],
        "body": "我在前门吃了一碗19块的面。\n她说：“不香就别卖。”",
        "tags": ["前门", "#吃面"],
        "cover": {"title": "在前门吃面", "subtitle": "", "kicker": "前门"},
        "pages": [
            "## 前门\n\n我在前门吃了一碗19块的面。",
            "## 路\n\n走了496米才到。\n\n- **不香**就别卖",
        ],
        "pictures": [{"page": 2, "prompt": "一条路"}, {"page": 0, "prompt": "一碗面"}],
        "closing": "不香就别卖",
    }
    return json.dumps(good | changes, ensure_ascii=False)


Reply = tuple[int, Any, dict[str, str]]


def said(text: str) -> Reply:
    """A chat completion that says ``text``."""
    return (
        200,
        {
            "choices": [{"message": {"content": text}}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5},
        },
        {},
    )


@dataclass
class Service:
    """A chat service that gives scripted replies, the last one over and over."""

    replies: Sequence[Reply]
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(await request.json())
        self.keys.append(request.headers["Authorization"])
        status, body, headers = self.replies[min(len(self.asked), len(self.replies)) - 1]
        if status == 0:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(
            status=status, text=text, headers=headers, content_type="application/json"
        )

    def now(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def real(self, seconds: float) -> float:
        return seconds


def write(service: Service, wish: Wish | None = None, prompts: Path | None = None) -> Written:
    """Write `STORY` through ``service``."""

    async def go() -> Written:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", service.chat)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            port = runner.addresses[0][1]
            writer = ChatWriter(
                KEY, base_url=f"http://127.0.0.1:{port}", clock=service, prompts=prompts
            )
            return await writer.write(STORY, wish or Wish())
        finally:
            await runner.cleanup()

    return asyncio.run(go())


def test_a_good_answer_becomes_a_plan() -> None:
    """Titles, body, tags, pages and prompts stand in the plan; usage and model are recorded."""
    service = Service([said(f"好的：\n```json\n{answer()}\n```")])
    written = write(service, Wish(style="ink", pages=2))
    plan = written.plan
    assert [title.text for title in plan.titles][:2] == ["第甲个标题", "第乙个标题"]
    assert plan.tags == ("前门", "吃面")
    assert plan.page_breaks == (2,)
    assert [(one.purpose, one.before) for one in plan.prompts] == [("cover", 0), ("page", 5)]
    assert written.usage == {"model": "qwen-plus", "prompt_tokens": 10, "completion_tokens": 5}
    system, story = service.asked[0]["messages"]
    assert "水墨" in system["content"]
    assert "一共 2 页" in system["content"]
    assert "{{" not in system["content"] + story["content"]
    assert STORY.plain in story["content"]
    assert service.asked[0]["response_format"] == {"type": "json_object"}
    assert service.keys == [f"Bearer {KEY}"]


def test_one_repair_round_gets_all_errors_at_once() -> None:
    """Limits, lost facts and inventions are fed back together, and the repaired answer counts."""
    bad = answer(
        body="我吃了一碗面，花了500块。#前门",
        pages=["## 前门\n\n“谁也别走”"],
        titles=[{"text": "长" * 21}] * 5,
    )
    service = Service([said(bad), said(answer())])
    written = write(service)
    assert len(service.asked) == 2
    repair = service.asked[1]["messages"][-1]["content"]
    for word in ("21 字", "各不相同", "话题", "496", "19", "不香就别卖", "500", "谁也别走"):
        assert word in repair, word
    assert written.usage["prompt_tokens"] == 20


@pytest.mark.parametrize(
    "bad", ["对不起，我不能。", "{", answer(titles=[]), answer(body="还有300块"), answer(pages=[])]
)
def test_twice_wrong_is_a_plain_failure(bad: str) -> None:
    """A second wrong answer ends it: what is wrong, that it is billed, what to do."""
    service = Service([said(bad)])
    with pytest.raises(Refused, match="--writer local") as caught:
        write(service)
    assert len(service.asked) == 2
    assert "已计费" in caught.value.text.zh


def test_long_titles_alone_are_cut_and_said() -> None:
    """If only titles are still too long, they are cut at a word and a warning says so."""
    titles = [
        {"text": f"{mark}那天我在前门吃了一碗特别特别特别好吃的面条"} for mark in "甲乙丙丁戊"
    ]
    written = write(Service([said(answer(titles=titles))]))
    assert all(title_length(title.text) <= 20 for title in written.plan.titles)
    assert len(written.warnings) == 5


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (
            401,
            {"error": {"message": f"Incorrect API key provided: {KEY}", "code": "invalid_api_key"}},
            KeyRefused,
        ),
        (403, {"code": "AccessDenied", "message": f"no {KEY}"}, NotAllowed),
        (404, {"error": {"message": "model not found"}}, NotAllowed),
        (400, {"code": "Arrearage", "message": "overdue"}, AccountEmpty),
        (429, {"error": {"message": "quota", "code": "insufficient_quota"}}, AccountEmpty),
        (400, {"error": {"message": f"bad {KEY}"}}, Refused),
        (429, {"error": {"message": "slow down"}}, Throttled),
        (503, "<html>busy</html>", Unavailable),
        (200, "<html>welcome</html>", Unavailable),
        (0, "", AnswerLost),
    ],
)
def test_failures_by_what_to_do(status: int, body: Any, kind: type[RedloomError]) -> None:
    """Each failure has its class and a way out, and none tells the key."""
    service = Service([(status, body, {})])
    with pytest.raises(kind) as caught:
        write(service)
    assert (
        KEY
        not in repr(caught.value)
        + caught.value.text.zh
        + caught.value.text.en
        + caught.value.service_code
    )
    assert "--writer local" in caught.value.text.en
    assert len(service.asked) == (3 if kind in (Throttled, Unavailable) else 1)


def test_throttled_waits_as_told() -> None:
    """Retry-After is obeyed, and the answer after it counts."""
    slow: Reply = (429, {"error": {"message": "slow"}}, {"Retry-After": "7"})
    service = Service([slow, slow, said(answer())])
    assert write(service).plan.titles
    assert service.slept == [7.0, 7.0]


def test_a_long_wait_is_not_waited() -> None:
    """Being told to come back in an hour is an answer, not a wait."""
    service = Service([(429, {"error": {"message": "slow"}}, {"Retry-After": "3600"})])
    with pytest.raises(Throttled):
        write(service)
    assert service.slept == []


def test_a_service_without_json_mode() -> None:
    """A relay that does not know ``response_format`` is asked again without it."""
    service = Service(
        [(400, {"error": {"message": "Unknown parameter: response_format"}}, {}), said(answer())]
    )
    assert write(service).plan.titles
    assert "response_format" not in service.asked[1]


def test_nobody_listening_is_said() -> None:
    """An address where nothing listens is NotSent: nothing was spent."""
    writer = ChatWriter(KEY, base_url="http://127.0.0.1:9/v1")
    with pytest.raises(NotSent) as caught:
        asyncio.run(writer.write(STORY, Wish()))
    assert caught.value.spent == "no"


def test_no_key_and_no_folder_are_bad_settings(tmp_path: Path) -> None:
    """A blank key and a missing prompt folder are told before anything is sent."""
    with pytest.raises(BadSettings):
        ChatWriter("  ")
    with pytest.raises(BadSettings):
        ChatWriter(KEY, prompts=tmp_path / "none")


def test_own_prompts_are_used_and_change_the_identity(tmp_path: Path) -> None:
    """A template in the user's folder is sent, and the writer counts as another one."""
    (tmp_path / "story.md").write_text("只说：{{story}}", encoding="utf-8")
    service = Service([said(answer())])
    write(service, prompts=tmp_path)
    assert service.asked[0]["messages"][1]["content"].startswith("只说：")
    assert ChatWriter(KEY).identity != ChatWriter(KEY, prompts=tmp_path).identity
    assert KEY not in ChatWriter(KEY).identity


@pytest.mark.parametrize(
    "base", ["http://h", "http://h/", "http://h/v1", "http://h/v1/", "http://h/v1/chat/completions"]
)
def test_addresses_with_and_without_v1(base: str) -> None:
    """However the address is written, chats go to one place."""
    assert Chat(KEY, SystemClock(), base_url=base).url == "http://h/v1/chat/completions"
    assert KEY not in repr(Chat(KEY, SystemClock()))


@given(
    st.dictionaries(st.text(max_size=4), st.text(max_size=9), max_size=3),
    st.sampled_from(["", "想一想 ", "<think>{不是}</think>", "```json\n"]),
)
def test_objects_are_found_in_talk(data: dict[str, str], before: str) -> None:
    """The object is found behind thoughts and fences, with talk after it."""
    assert object_in(f"{before}{json.dumps(data)}\n```\n就这样") == data
