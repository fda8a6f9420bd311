"""What a case works with: the stand-in running, the provider pointed at it, a jumping clock.

May import: prompt, clock, errors, endpoint, emulators, testing, engine.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from redloom.emulators.contract import Emulator
from redloom.emulators.ledger import Ledger, prompt_sha
from redloom.emulators.pictures import picture, prompt_of_picture
from redloom.emulators.service_time import ServiceTime
from redloom.endpoint import (
    Answer,
    Asked,
    Endpoint,
    Failed,
    Lane,
    Made,
    Outcome,
    Provider,
    Ticket,
    Tools,
    Unknown,
    Waiting,
    Wire,
)
from redloom.engine import Engine, Result
from redloom.errors import (
    AnswerLost,
    NotSent,
    RedloomError,
    ServiceError,
    Throttled,
    Unavailable,
)
from redloom.prompt import Prompt
from redloom.testing import JumpingClock

KEY = "conformance-key-0123456789"
PROMPT = "一条红围巾 🧣, “quoted” & <odd>"
TOOK_S = 10.0
"""How long the stand-in works on a picture, nominal seconds; on a synchronous lane, no time."""


AGAIN = (AnswerLost, NotSent, Throttled, Unavailable)
"""What a poll may raise that says nothing of the task."""


class NotConforming(AssertionError):
    """The provider (or its stand-in) does not do what the seam asks."""


def must(holds: object, otherwise: str) -> None:
    """Raise NotConforming with ``otherwise`` unless it holds."""
    if not holds:
        raise NotConforming(otherwise)


class Overheard(Wire):
    """A wire that notes what was asked and what came back, for the words of a failure."""

    def __init__(self, rig: Rig, base_url: str, **more: Any) -> None:
        super().__init__(base_url, **more)
        self._rig = rig

    async def _exchange(self, method: str, path: str, *more: Any) -> Answer:
        answer = await super()._exchange(method, path, *more)
        self._rig.heard.append(f"{method} {path} → {answer.status} {answer.text[:300]}".strip())
        self._rig.told_to_wait = "Retry-After" in answer.headers
        return answer


@dataclass(eq=False)
class Rig:
    """One case's world. ``settings`` are fields of ``Emulated``, changed before `start`."""

    name: str
    module: ModuleType
    emulators: ModuleType
    endpoint_at: Callable[[str], Endpoint]
    folder: Path
    lane: Lane = "async"
    clock: JumpingClock = field(default_factory=JumpingClock)
    settings: dict[str, Any] = field(default_factory=dict)
    url: str = ""
    heard: deque[str] = field(default_factory=lambda: deque(maxlen=3))
    """The last requests and what the stand-in answered, of providers that use `Tools.wire`."""
    told_to_wait: bool = False
    """Whether the last answer had a ``Retry-After``."""
    _running: list[Emulator] = field(default_factory=list)
    _providers: list[Provider] = field(default_factory=list)

    async def through(self, body: Callable[[Rig], Awaitable[None]]) -> None:
        """Run ``body`` and put everything away."""
        try:
            await body(self)
        finally:
            for provider in self._providers:
                await provider.close()
            for emulator in self._running:
                await emulator.stop()

    # the stand-in

    async def start(self, faults: str = "", **settings: Any) -> Provider:
        """Run the stand-in with these faults and settings; the provider that speaks to it."""
        await self.stand_in(faults, **settings)
        return self.provider()

    async def stand_in(self, faults: str = "", **settings: Any) -> Emulator:
        """Run the stand-in; later cases of `provider` speak to it."""
        took = TOOK_S if self.lane == "async" else 0.0
        takes = ServiceTime(took, 0.0, took, took)
        wanted: dict[str, Any] = {
            "latency": takes, "submit_per_second": 0, "concurrency": 0,
            "keys": {KEY: "conformance"}, **self.settings, **settings,
        }  # fmt: skip
        known = self.emulators.Emulated.__dataclass_fields__
        lost = sorted(set(settings) - set(known))
        must(not lost, f"Emulated of {self.name} lacks {', '.join(lost)}")
        if faults:
            wanted["faults"] = self.emulators.parse_faults(faults)
        emulated = self.emulators.Emulated(
            **{name: value for name, value in wanted.items() if name in known}
        )
        emulator: Emulator = self.emulators.Emulator(emulated, self.clock)
        self._running.append(emulator)
        self.url = await emulator.start()
        return emulator

    async def gone(self) -> None:
        """Close the stand-in's port."""
        await self._running[-1].stop()

    @property
    def ledger(self) -> Ledger:
        """What the stand-in that runs would have billed."""
        return self._running[-1].ledger

    def billed(self, pictures: int) -> None:
        """Hold the ledger to this number of pictures, none of them twice."""
        bill = self.ledger
        must(
            bill.billed() == pictures,
            f"{pictures} pictures were to be billed, not {bill.billed()}",
        )

    def accepted(self, requests: int) -> None:
        """Hold the ledger to this number of accepted requests."""
        own = self.ledger.own()
        must(len(own) == requests, f"{requests} requests were to be accepted, not {len(own)}")

    # the provider

    def provider(self, key: str = KEY, url: str = "") -> Provider:
        """One that speaks to the stand-in that runs, or to ``url``; closed at the end."""
        endpoint = self.endpoint_at(url or self.url)
        tools = Tools(key=key, clock=self.clock, wire=partial(Overheard, self))
        provider: Provider = self.module.create(endpoint, tools)
        self._providers.append(provider)
        return provider

    def asked(self, provider: Provider, prompt: str = PROMPT, **more: Any) -> Asked:
        """A request that the provider has fitted, with as many references as it must have."""
        model = self.endpoint_at(self.url).model
        plain = Asked(prompt, model, key=prompt_sha(prompt)[:32], **more)
        try:
            return provider.fit(plain).asked
        except RedloomError:
            if more.get("references") or not provider.capabilities().references:
                raise
            return provider.fit(Asked(
                prompt, model, key=plain.key, **{**more, "references": (str(self.reference()),)}
            )).asked  # fmt: skip

    def reference(self, number: int = 1) -> Path:
        """A small picture as a file."""
        path = self.folder / f"reference-{number}.png"
        if not path.exists():
            path.write_bytes(picture(prompt_sha(f"reference {number}"), str(number), 512, 512))
        return path

    async def outcome(self, provider: Provider, asked: Asked) -> Outcome:
        """Submit on the rig's lane and follow it to its end; raises what submit raises."""
        answer = await provider.submit(asked, self.lane)
        if isinstance(answer, Made):
            return answer
        must(isinstance(answer, Ticket), "submit returned neither a ticket nor a picture")
        must(answer.id, "a ticket has no id")
        return await self.ended(provider, answer)

    async def ended(self, provider: Provider, ticket: Ticket, patience_s: float = 900.0) -> Outcome:
        """Poll until it is something else than waiting; what means "ask again" is asked again."""
        end = self.clock.now() + patience_s
        while self.clock.now() < end:
            with contextlib.suppress(*AGAIN):
                outcome = await provider.poll(ticket)
                if not isinstance(outcome, Waiting | Unknown):
                    return outcome
            await self.clock.sleep(2.0)
        raise NotConforming(f"a task that takes {TOOK_S:g} s did not end in {patience_s:g} s")

    async def refusal(self, provider: Provider, asked: Asked) -> ServiceError:
        """The error that a request ends with, raised at submit or told by the task."""
        try:
            outcome = await self.outcome(provider, asked)
        except ServiceError as error:
            return _worded(error)
        if isinstance(outcome, Failed):
            must(not outcome.billed, "a failure that costs nothing was called billed")
            return _worded(outcome.error)
        raise NotConforming(f"the request was to be refused, but ended as {outcome!r}")

    async def raised(self, doing: Awaitable[object]) -> ServiceError:
        """The service error that ``doing`` raises."""
        try:
            answer = await doing
        except ServiceError as error:
            return _worded(error)
        raise NotConforming(f"an error was to be raised, but {answer!r} came back")

    # the whole way

    async def carried(self, prompts: list[str], **options: Any) -> list[Result]:
        """Make these pictures with an engine of its own on the provider."""
        provider = self.provider()
        references = bool(self.asked(provider, prompts[0]).references)
        files = (str(self.reference()),) if references else ()
        rows = [Prompt(prompt, references=files) for prompt in prompts]
        async with Engine(
            workspace=self.folder / "workspace", equipped=[(self.endpoint_at(self.url), provider)],
            clock=self.clock, lane=self.lane,
        ) as engine:  # fmt: skip
            return await engine.generate(rows, out=self.folder / "out", **options)

    def shows(self, result: Result) -> None:
        """Hold a result to being a file that shows its own prompt."""
        must(result.ok, f"“{result.prompt}” ended {result.status}: {result.error}")
        must(result.path is not None and result.path.is_file(), "an ok result has no file")
        assert result.path is not None
        shown = prompt_of_picture(result.path.read_bytes())
        must(shown == prompt_sha(result.prompt), f"the file of “{result.prompt}” shows another")


def _worded(error: ServiceError) -> ServiceError:
    """An error holds no key, and is a sentence in both languages."""
    zh, en = error.text
    must(zh.strip() and en.strip(), f"{type(error).__name__} has no words in both languages")
    must(KEY not in zh + en + repr(error), f"{type(error).__name__} holds the key")
    must(len(en) < 900, f"{type(error).__name__} is no sentence but a page: {en[:200]}…")
    return error
