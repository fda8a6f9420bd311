"""What every emulated service has, whatever its protocol: accounts, pace, slots, dice, ledger.

An emulator derives `ShopEmulator`, gives its refusals their words, and says how an accepted
request is answered; the order in which faults strike, keys are checked, limits are kept and
pictures are billed is here, the same for all, under the same names in ``--faults``.

May import: errors, lang, clock (and aiohttp).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, NamedTuple

from aiohttp import web

from redloom.clock import Clock

from .dashscope_files import SLOW_S
from .dashscope_tasks import Bucket, Lane, Task
from .dashscope_tasks import Terms as LaneTerms
from .faults import Faults
from .ledger import Ledger, prompt_sha
from .pictures import LABELS
from .server import HTML, LocalServer, is_json, json_answer, reset, text_answer
from .service_time import ServiceTime, draw
from .shop_faults import SUBMIT_WORDS
from .shop_files import ShopFiles

LOOK_S = 0.25
UNKNOWN_FOR_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How the emulated service is to behave. Seconds are nominal."""

    port: int = 0
    latency: ServiceTime = field(default_factory=ServiceTime)
    submit_per_second: float | None = None
    """None: the published figure; 0: no limit."""
    concurrency: int | None = None
    """Pictures at once per account and model. None: the published figure; 0: no limit."""
    over: Literal["queue", "reject"] = "queue"
    """What becomes of requests beyond ``concurrency``: they wait, or get a 429."""
    task_calls_per_second: float | None = None
    """Limit of polls, lists and cancels, each, per account. None: no limit."""
    faults: Faults = field(default_factory=Faults)
    keys: Mapping[str, str] = field(default_factory=lambda: {"sk-emulated": "emulated"})
    """Whose account each key belongs to."""
    ledger_path: Path | None = None
    picture_size: Literal["asked", "small"] = "asked"
    """``small``: 64 pixels at the longer side, for speed."""
    labels: tuple[str, ...] = ()
    """Marks of origin that every picture carries (`pictures.LABELS`)."""
    url_life_s: float = 86400.0
    record_life_s: float = 86400.0
    """How long a task can be polled and listed."""
    refused_words: tuple[str, ...] = ()
    """A prompt with one of these is refused by moderation of the words."""
    seed: int = 0


class Wanted(NamedTuple):
    """A create call, read. ``problem`` is a word of the emulator's refusals, or ''."""

    model: str
    prompt: str
    size: tuple[int, int] = (1024, 1024)
    seed: int | None = None
    n: int = 1
    references: int = 0
    problem: str = ""
    message: str = ""


class ShopEmulator:
    """A service on one port; two of them are two regions. Derive it, see `dashscope` for use."""

    prefix = ""
    """What the base URL ends in."""
    lane: Literal["sync", "async"] = "sync"
    rate: float | None = None
    """The published submits per second of an account and model; None: none is published."""
    slots: int | None = None
    """The published pictures at once; None: no limit."""
    signed_links = True

    def __init__(self, settings: Terms, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.ledger = Ledger(settings.ledger_path, self.settle)
        self.tasks: dict[str, Task] = {}
        self.started = 0.0
        self.wait_s = 1.0
        """How long whoever was refused last for its pace would have to wait."""
        self._asked: Counter[str] = Counter()
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._buckets: dict[tuple[str, str], Bucket] = {}
        self._ids = 0
        self.files = ShopFiles(settings, clock, self.ledger, signed=self.signed_links)
        self._server = LocalServer(self._handle)

    async def start(self) -> str:
        """Listen; returns the base URL."""
        self.started = self.clock.now()
        self.files.base = await self._server.start(self.settings.port)
        return self.files.base + self.prefix

    async def stop(self) -> None:
        """Close the port and the ledger's file. Safe to call twice."""
        await self._server.stop()
        self.ledger.close()

    # what an emulator gives

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request of the service's protocol."""
        raise NotImplementedError

    def refuse(self, request: web.BaseRequest, word: str, message: str = "") -> web.Response:
        """The service's own body and status for a refusal."""
        raise NotImplementedError

    def key_of(self, request: web.BaseRequest) -> str:
        """The key in a request."""
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        return key.strip() if scheme.lower() == "bearer" else ""

    # what comes in

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/emulator/ledger":
            return json_answer(request, self.ledger.as_json())
        if request.path == "/emulator/state":
            return json_answer(request, self._state())
        window = self.settings.faults.window(self.clock.now() - self.started)
        if window:
            return reset(request) if window == "outage" else self.refused(request, "busy")
        if (found := self.files.named(request.path)) is not None:
            task = self.tasks.get(found[0])
            if task is not None:
                await self.until_ended(task, 0.0)
            return await self.files.answer(request, task, found[1])
        return await self.answer(request)

    def account(self, request: web.BaseRequest) -> tuple[str, str]:
        """(account, '') or ('', the refusal's word)."""
        key = self.key_of(request)
        account = self.settings.keys.get(key, "")
        return account, "" if account else "wrong-key" if key else "no-key"

    def refused(self, request: web.BaseRequest, word: str, message: str = "") -> web.Response:
        """`refuse`, counted."""
        response = self.refuse(request, word, message)
        if response.status == 429:
            self.ledger.counts[f"429 {word}"] += 1
        return response

    # create

    async def sell(
        self,
        request: web.BaseRequest,
        read: Callable[[dict[str, Any]], Wanted],
        form: dict[str, Any] | None = None,
    ) -> Task | web.StreamResponse:
        """A create call as far as its acceptance: the task that is bought, or the refusal.

        ``form`` is its body where that is no JSON.
        """
        self.ledger.counts["submit"] += 1
        number = self.ledger.counts["submit"]
        body = form
        if form is None and is_json(request):
            body = json_object(await request.read())
        wanted = None if body is None else read(body)
        sha = prompt_sha(wanted.prompt if wanted else "")
        self._asked[sha] += 1
        hit = self.fault("submit", number, sha, self._asked[sha])
        if hit == "reset":
            return reset(request)
        if hit == "slow":
            await self.clock.sleep(SLOW_S)
        account, word = self.account(request)
        word = word or self.settings.faults.standing(number) or SUBMIT_WORDS.get(hit, "")
        if not word:
            word = "body" if wanted is None else wanted.problem or self._turned_away(wanted)
        if not word and wanted is not None:
            word = self._paced(account, wanted.model)
        if word or wanted is None:
            return self.refused(request, word, wanted.message if wanted else "")
        return self._accept(account, wanted, sha, number)

    def _turned_away(self, wanted: Wanted) -> str:
        return "words" if any(w in wanted.prompt for w in self.settings.refused_words) else ""

    def allowance(self, task: Task) -> tuple[int, int, float] | None:
        """Of the account's requests for a model: (held at most, left, seconds until it is whole
        again); None where there is no limit.
        """
        rate = self._rate()
        if not rate:
            return None
        return self._bucket(task.account, task.model, rate).told(self.clock.now())

    def _rate(self) -> float | None:
        asked = self.settings.submit_per_second
        return self.rate if asked is None else asked

    def _paced(self, account: str, model: str) -> str:
        rate = self._rate()
        if rate and self._bucket(account, model, rate).wait_s(self.clock.now()):
            return "rate"
        slots = self._slots()
        if self.settings.over == "queue" or slots is None:
            return ""
        lane = self._lane(account, model)
        return "concurrency" if lane.outstanding(self.clock.now()) >= slots else ""

    def _accept(self, account: str, wanted: Wanted, sha: str, number: int) -> Task:
        """From here on it is bought. All that will become of it is drawn now."""
        fate = self.fault("task", number, sha, self._asked[sha])
        mark = self.fault("picture", number, sha, self._asked[sha])
        takes_s = self.settings.latency.of(self.settings.seed, wanted.prompt)
        if fate in ("failed", "refused"):
            takes_s *= draw(self.settings.seed, "fails", wanted.prompt)
        now = self.clock.now()
        width, height = wanted.size
        labels = self.settings.labels
        task = Task(
            task_id=self.new_id(), request_id=self.new_id(), account=account, model=wanted.model,
            prompt=wanted.prompt, sha=sha, cut_prompt=wanted.prompt, drawn=sha,
            size=f"{width}x{height}", width=width, height=height, n=wanted.n, seed=wanted.seed,
            lane=self.lane, path=str(number), submitted=now, ready=now, fate=fate, takes_s=takes_s,
            labels=(*labels, mark) if mark in LABELS else labels, references=wanted.references,
        )  # fmt: skip
        if fate not in ("failed", "refused", "empty"):
            task.billed = task.n
        if mark == "broken":
            self.files.broken.add(task.task_id)
        self.tasks[task.task_id] = task
        self.ledger.accepted(task)
        lane = self._lane(account, wanted.model)
        lane.add(task)
        lane.advance(now)
        return task

    async def answered(
        self, request: web.BaseRequest, task: Task, say: Callable[[], web.StreamResponse]
    ) -> web.StreamResponse:
        """Answer a request that is accepted and paid for, or lose the answer."""
        hit = self.fault("answer", int(task.path), task.sha, self._asked[task.sha])
        if self.lane == "sync":
            await self.until_ended(task)
        if hit == "lost":
            return reset(request)
        if hit == "slow":
            await self.clock.sleep(SLOW_S)
        if hit in LOST_ANSWERS:
            return text_answer(*LOST_ANSWERS[hit])
        return say()

    async def until_ended(self, task: Task, patience_s: float = 3600.0) -> None:
        """Wait for a task's end, its time in the queue included, at most ``patience_s``."""
        lane, give_up = self._lane(task.account, task.model), self.clock.now() + patience_s
        while True:
            now = self.clock.now()
            lane.advance(now)
            if (task.ended is not None and task.ended <= now) or now >= give_up:
                return
            # Waiting for a slot has no known end: look again soon.
            done = now + LOOK_S if task.ended is None else task.ended
            await self.clock.sleep(max(0.001, min(done, give_up) - now))

    # task calls

    def called(self, request: web.BaseRequest, kind: str) -> tuple[str, str]:
        """Count a poll, list or cancel; (account, '') or ('', the refusal's word)."""
        self.ledger.counts[kind] += 1
        account, word = self.account(request)
        rate = self.settings.task_calls_per_second
        if not word and rate and self._bucket(account, f"/{kind}", rate).wait_s(self.clock.now()):
            word = "rate"
        return account, word

    async def polled(
        self, request: web.BaseRequest, account: str, task_id: str
    ) -> Task | web.StreamResponse:
        """The task that a poll asks for, up to date, or what is answered in its place."""
        task, now = self.tasks.get(task_id), self.clock.now()
        if task is None or task.account != account:
            return self.refused(request, "unknown")
        if now - task.submitted > self.settings.record_life_s:
            return self.refused(request, "unknown")
        task.polls += 1
        hit = self.fault("poll", self.ledger.counts["poll"], task.sha, task.polls)
        if hit == "reset":
            return reset(request)
        if hit == "slow":
            await self.clock.sleep(SLOW_S)
        elif hit in POLL_WORDS:
            return self.refused(request, POLL_WORDS[hit])
        elif hit in POLL_TEXTS:
            return text_answer(*POLL_TEXTS[hit])
        if task.fate == "unknown" and now - task.submitted < UNKNOWN_FOR_S:
            return self.refused(request, "unknown")
        self._lane(task.account, task.model).advance(self.clock.now())
        return task

    def struck(self, request: web.BaseRequest, where: str) -> web.StreamResponse | None:
        """What a fault at ``list`` or ``cancel`` answers; None where there is none."""
        number = self.ledger.counts[where]
        hit = self.fault(where, number, "", number)
        if hit == "reset":
            return reset(request)
        return self.refused(request, POLL_WORDS.get(hit, "error")) if hit else None

    def call_off(self, task: Task) -> bool:
        """Cancel a task that has not started; whether it had not."""
        now = self.clock.now()
        self._lane(task.account, task.model).advance(now)
        if task.status(now) != "PENDING":
            return False
        task.cancelled, task.state, task.billed, task.ended = True, "CANCELED", 0, now
        self.ledger.changed(task)
        return True

    # parts

    def settle(self) -> None:
        """Start whatever could have started by now."""
        for lane in self._lanes.values():
            lane.advance(self.clock.now())

    def fault(self, where: str, number: int, identity: str, tried: int) -> str:
        """The fault that hits a request, or ''; see `Faults.at`."""
        return self.settings.faults.at(self.settings.seed, where, number, identity, tried)

    def new_id(self) -> str:
        """An id like a UUID, unlike those of any other emulator or run."""
        self._ids += 1
        text = f"{self.files.base} {self.started!r} {self._ids}".encode()
        digest = blake2b(text, digest_size=16).hexdigest()
        return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"

    def _slots(self) -> int | None:
        if self.settings.concurrency is None:
            return self.slots
        return self.settings.concurrency or None

    def _lane(self, account: str, model: str) -> Lane:
        if (account, model) not in self._lanes:
            self._lanes[account, model] = Lane(LaneTerms(lambda _at: self._slots()), self._began)
        return self._lanes[account, model]

    def _bucket(self, account: str, what: str, rate: float) -> Bucket:
        return self._buckets.setdefault((account, what), Bucket(rate, 1.0, self.started))

    def _began(self, task: Task, running: int) -> None:
        self.ledger.running(running)
        self.ledger.changed(task)

    def _state(self) -> dict[str, Any]:
        self.settle()
        now = self.clock.now()
        states = Counter(task.status(now) for task in self.tasks.values())
        return {"now": now, "tasks": dict(states), "counts": dict(self.ledger.counts)}


POLL_WORDS = {"error": "error", "busy": "busy", "throttled": "rate"}
POLL_TEXTS: Mapping[str, tuple[str, int, str]] = {
    "html": (HTML, 200, "text/html"),
    "empty": ("", 200, "application/json"),
    "json": ('{"hello":[]}', 200, "application/json"),
}
LOST_ANSWERS: Mapping[str, tuple[str, int, str]] = {
    "504": ("upstream request timeout", 504, "text/plain"),
    "html": (HTML, 502, "text/html"),
    "empty": ("", 200, "application/json"),
}


def json_object(raw: bytes) -> dict[str, Any] | None:
    """A JSON object, or None for anything else."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
