"""A wire that answers from a list, and emulators in the test's own loop: for providers' tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from redloom.clock import Clock
from redloom.endpoint import Answer, Asked, Endpoint, Provider, Tools, Wire
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
from redloom.providers import load
from redloom.providers._voice import Kind

T = TypeVar("T")
KEY = "sk-emulated"
CLASSES: dict[Kind, type[ServiceError]] = {
    "rate": Throttled,
    "burst": Throttled,
    "concurrency": Throttled,
    "quota": Throttled,
    "congestion": Throttled,
    "refused": Refused,
    "content": ContentRefused,
    "output": ContentRefused,
    "key": KeyRefused,
    "empty": AccountEmpty,
    "closed": NotAllowed,
    "unavailable": Unavailable,
    "failed": TaskFailed,
    "lost": AnswerLost,
}
"""What each kind in a provider's table becomes."""


class HandClock:
    """A clock that only the test, or a sleep, moves."""

    def __init__(self) -> None:
        self.moment = 1_767_225_600.0

    def now(self) -> float:
        return self.moment

    async def sleep(self, seconds: float) -> None:
        self.moment += max(0.0, seconds)
        await asyncio.sleep(0)

    def real(self, seconds: float) -> float:
        return seconds


@dataclass
class Reply:
    """One canned answer; ``body`` that is no string is sent as JSON, an error is raised."""

    body: Any = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def answer(self) -> Answer:
        if isinstance(self.body, Exception):
            raise self.body
        text = self.body if isinstance(self.body, str) else json.dumps(self.body)
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        return Answer(self.status, self.headers, text, value if isinstance(value, dict) else None)


@dataclass
class Heard:
    """One request as the service would see it."""

    method: str
    url: str
    body: Any
    headers: Mapping[str, str]
    query: Mapping[str, str]


class CannedWire(Wire):
    """Answers from a list, the last one for ever after; writes down what it is asked."""

    def __init__(
        self, replies: list[Reply], heard: list[Heard], base_url: str, **more: Any
    ) -> None:
        super().__init__(base_url)
        self._replies, self._heard = replies, heard
        self._always: Mapping[str, str] = more.get("headers") or {}

    async def _exchange(
        self,
        method: str,
        path: str,
        payload: Mapping[str, Any] | None,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        timeout_s: float | None,
    ) -> Answer:
        sent = {**self._always, **(headers or {})}
        url = path if path.startswith("http") else self.base_url + path
        self._heard.append(Heard(method, url, payload, sent, query or {}))
        reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        return reply.answer()


def scripted(
    name: str, *replies: Reply, model: str = "", **endpoint: Any
) -> tuple[Provider, list[Heard]]:
    """A provider whose service answers from a list, and what that service heard."""
    heard: list[Heard] = []
    answers = list(replies) or [Reply({})]

    def wire(base_url: str, **more: Any) -> Wire:
        return CannedWire(answers, heard, base_url, **more)

    module = load(name)
    made = Endpoint(name, name, model=model or module.DEFAULTS.model, **endpoint)
    return module.create(made, Tools(key=KEY, wire=wire)), heard


def asked(model: str, prompt: str = "一条红围巾", **more: Any) -> Asked:
    """A request for one picture."""
    return Asked(prompt, model, **more)


@asynccontextmanager
async def against(
    emulator: Any, name: str, clock: Clock, *, key: str = KEY, model: str = "", **tools: Any
) -> AsyncIterator[Provider]:
    """A provider of an emulator that runs in this loop."""
    module = load(name)
    url = await emulator.start()
    endpoint = Endpoint(name, name, model=model or module.DEFAULTS.model, base_url=url)
    provider = module.create(endpoint, Tools(key=key, clock=clock, **tools))
    try:
        yield provider
    finally:
        await provider.close()
        await emulator.stop()


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function to its end on an ordinary loop."""
    return asyncio.run(work())
