"""Every provider's real answers, recorded from its emulator, and a line that plays others back.

The bytes go through `Wire` itself, as they would from a socket: its decoding, its spilling of long
strings, its errors.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from email.message import Message
from pathlib import Path
from typing import Any

import aiohttp
from multidict import CIMultiDict

from redloom import conformance
from redloom.conformance import Subject
from redloom.conformance.rig import KEY, Rig
from redloom.endpoint import Answer, Asked, Lane, Made, Provider, Ticket, Tools, Waiting, Wire
from redloom.errors import ServiceError
from redloom.testing import JumpingClock, picture_of, run

MOST_REQUESTS = 2000
"""Requests of one call at which it is said to go on for ever."""


class Endless(AssertionError):
    """A call that asks and asks."""


@dataclass(frozen=True)
class Raw:
    """One answer as bytes."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Recorded:
    """A subject's real answers by what was asked: submit, waiting, poll, look, cancel, check, key."""

    subject: Subject
    lane: Lane
    asked: Asked
    ticket: Ticket | None = None
    calls: dict[str, list[Raw]] = field(default_factory=dict)


class _Recording(Wire):
    """A wire that keeps what it heard."""

    def __init__(self, heard: list[Raw], base_url: str, **more: Any) -> None:
        more.pop("spill", None)
        super().__init__(base_url, **more)
        self._heard = heard

    async def _exchange(self, *what: Any) -> Answer:
        answer = await super()._exchange(*what)
        kept = {k: v for k, v in answer.headers.items() if k.lower() != "content-length"}
        self._heard.append(Raw(answer.text.encode(), answer.status, kept))
        return answer


_FOLDER = tempfile.TemporaryDirectory(prefix="redloom-replay-")
"""Holds the reference pictures for as long as the tests run."""
_KNOWN: dict[str, Recorded] = {}


def recorded(subject: Subject) -> Recorded:
    """The subject's answers to one picture's whole way, from its emulator; recorded once."""
    if str(subject) not in _KNOWN:
        _KNOWN[str(subject)] = _recorded(subject)
    return _KNOWN[str(subject)]


def _recorded(subject: Subject) -> Recorded:
    folder = Path(_FOLDER.name)
    rig = Rig(subject.name, subject.provider, subject.emulator, subject.endpoint, folder)
    rig.settings.update(subject.variant.settings)
    rig.lane = subject.capabilities().lanes[0]
    found: list[Recorded] = []

    async def body(rig: Rig) -> None:
        found.append(await _record(rig, subject))

    run(rig.through(body))
    return found[0]


async def _record(rig: Rig, subject: Subject) -> Recorded:
    heard: list[Raw] = []

    def provider(key: str = KEY) -> Provider:
        tools = Tools(key=key, clock=rig.clock, wire=functools.partial(_Recording, heard))
        made: Provider = subject.provider.create(subject.endpoint(rig.url), tools)
        rig._providers.append(made)
        return made

    await rig.stand_in()
    sound = provider()
    asked = rig.asked(sound)
    kept = Recorded(subject, rig.lane, asked)

    def note(name: str) -> None:
        kept.calls[name] = list(heard)
        heard.clear()

    heard.clear()
    answer = await sound.submit(asked, rig.lane)
    note("submit")
    if isinstance(answer, Ticket):
        kept.ticket = answer
        await sound.poll(answer)
        note("waiting")
        while isinstance(await sound.poll(answer), Waiting):
            await rig.clock.sleep(2.0)
            heard.clear()
        note("poll")
        await sound.look(rig.clock.now() - 3600, rig.clock.now() + 3600)
        note("look")
        other = await sound.submit(replace(asked, prompt="另一张", key="other"), rig.lane)
        heard.clear()
        assert isinstance(other, Ticket)
        await _quietly(sound.cancel(other))
        note("cancel")
    await _quietly(sound.check())
    note("check")
    await _quietly(provider("wrong-key").submit(asked, rig.lane))
    note("key")
    return kept


async def _quietly(doing: Any) -> None:
    try:
        await doing
    except ServiceError:
        return


class _Content:
    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    async def read(self, most: int = -1) -> bytes:
        taken, self._raw = (self._raw, b"") if most < 0 else (self._raw[:most], self._raw[most:])
        return taken

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        while chunk := await self.read(size):
            yield chunk


class _Response:
    """As much of aiohttp's as `Wire` and the providers read."""

    def __init__(self, raw: Raw) -> None:
        self.status, self.headers = raw.status, CIMultiDict(raw.headers)
        self.content = _Content(raw.body)
        head = Message()
        head["Content-Type"] = self.headers.get("Content-Type", "application/octet-stream")
        charset = head.get_param("charset")
        self.charset = charset if isinstance(charset, str) else None
        self.content_type = head.get_content_type()

    async def __aenter__(self) -> _Response:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def read(self) -> bytes:
        return await self.content.read()

    async def json(self, content_type: str | None = None) -> Any:
        import json

        return json.loads(await self.read())


class _Session:
    """Plays answers back, the last one for ever."""

    closed = False

    def __init__(self, line: Line) -> None:
        self._line = line

    def request(self, *_: Any, trace_request_ctx: Any = None, **__: Any) -> _Response:
        if trace_request_ctx is not None:
            trace_request_ctx.headers = True
        return _Response(self._line.next())

    def get(self, *_: Any, **__: Any) -> _Response:
        return _Response(Raw(picture_of("x"), 200, {"Content-Type": "image/png"}))

    def post(self, *_: Any, **__: Any) -> _Response:
        return _Response(Raw(b'{"name": "x.png"}'))

    async def ws_connect(self, *_: Any, **__: Any) -> Any:
        raise aiohttp.ClientError("no socket here")

    async def close(self) -> None:
        return None


class Line:
    """What the far side says next."""

    def __init__(self, answers: Sequence[Raw]) -> None:
        self._answers, self.asked = list(answers), 0

    def next(self) -> Raw:
        """The next answer."""
        self.asked += 1
        if self.asked > MOST_REQUESTS:
            raise Endless(f"{MOST_REQUESTS} requests for one call")
        return self._answers[min(self.asked, len(self._answers)) - 1]


class _Playing(Wire):
    def __init__(self, line: Line, base_url: str, **more: Any) -> None:
        super().__init__(base_url, **more)
        self._line = line

    async def _open(self) -> Any:
        return _Session(self._line)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Any]:
        yield _Session(self._line)


def playing(subject: Subject, answers: Sequence[Raw], folder: Path) -> Provider:
    """A provider whose service says ``answers``."""
    line = Line(answers)
    tools = Tools(
        key=KEY, clock=JumpingClock(), wire=functools.partial(_Playing, line), folder=folder
    )
    provider: Provider = subject.provider.create(subject.endpoint("http://127.0.0.1:9"), tools)
    return provider


def subjects() -> list[Subject]:
    """Every provider that has an emulator, in each of its variants."""
    from redloom import providers

    return [one for name in providers.names() for one in conformance.subjects(name)]


__all__ = ["Endless", "Line", "Made", "Raw", "Recorded", "playing", "recorded", "subjects"]
