"""DashScope without the wire: accounts, limits, queues, and what becomes of each request.

May import: clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path as FilePath
from typing import Any, Literal

from redloom.clock import Clock

from .changes import Change, value_at
from .dashscope_models import Model, Path, Wanted, models_of
from .dashscope_tasks import DISPATCH_S, Bucket, Lane, Task, Terms
from .faults import Faults
from .ledger import Ledger, prompt_sha
from .service_time import ServiceTime, draw

EXTENDS_S = (3.0, 4.0)
"""What rewriting the prompt adds, by the published page."""
STRAGGLE = 8.0
TASK_TIMEOUT_S = 3 * 3600.0
"""An asynchronous task unfinished after this is InternalError.Timeout, by the published page."""


@dataclass(frozen=True, slots=True)
class Emulated:
    """How the emulated service is to behave. Seconds are nominal."""

    port: int = 0
    latency: ServiceTime = field(default_factory=ServiceTime)
    submit_per_second: float | None = None
    """None: the published figure of each model; 0: no limit."""
    concurrency: int | None = None
    """Tasks at once per account and model. None: the published figure; 0: no limit."""
    over: Literal["queue", "reject"] = "queue"
    """What becomes of tasks beyond ``concurrency``: they wait as PENDING, or get a 429."""
    task_calls_per_second: float | None = 20.0
    """Limit of each of poll, list and cancel, per account. None: no limit."""
    faults: Faults = field(default_factory=Faults)
    stragglers: float = 0.0
    """The part of prompts whose tasks take `STRAGGLE` times as long."""
    changes: tuple[Change, ...] = ()
    """What changes in the middle, in seconds after the first accepted request."""
    keys: Mapping[str, str] = field(default_factory=lambda: {"sk-emulated": "emulated"})
    """Whose account each key belongs to."""
    region: str = "cn-beijing"
    ledger_path: FilePath | None = None
    list_lag_s: float = 2.0
    """How long after its submit a task is missing from the list."""
    list_page_most: int = 100
    other_tasks_per_minute: float = 0.0
    """Other programs' tasks on the first account: they take slots and rate, and are listed."""
    other_model: str = "wan2.6-t2i"
    original_prompt: bool | None = None
    """Whether a finished task tells its prompt. None: ``results`` do, ``choices`` do not."""
    picture_size: Literal["asked", "small"] = "asked"
    """``small``: 64 pixels at the longer side, for speed."""
    labels: tuple[str, ...] = ()
    """Marks of origin that every picture carries (`pictures.LABELS`)."""
    url_life_s: float = 86400.0
    fresh_links: bool = True
    """Whether each poll of a finished task signs its links anew."""
    record_life_s: float = 86400.0
    """How long a task can be polled and listed; UNKNOWN after that."""
    late_validation: bool = True
    """A request without a prompt is accepted and its task FAILS, instead of a 400."""
    task_timeout_s: float = TASK_TIMEOUT_S
    refused_words: tuple[str, ...] = ()
    """A prompt with one of these ends in DataInspectionFailed."""
    chat: Callable[[dict[str, Any]], dict[str, Any] | str] | None = None
    """Answers chat requests: a whole answer, or the words of one."""
    seed: int = 0

    def takes_s(self, prompt: str) -> float:
        """Seconds of service time for ``prompt``, before it is rewritten or fails."""
        slow = self.stragglers > 0 and draw(self.seed, "straggles", prompt) < self.stragglers
        return self.latency.of(self.seed, prompt) * (STRAGGLE if slow else 1.0)


class Service:
    """The state of the service. Everything that happens in it is worked out when looked at."""

    def __init__(self, settings: Emulated, clock: Clock) -> None:
        self.settings = settings
        self.ledger = Ledger(settings.ledger_path, self.settle)
        self.models = models_of(settings.region)
        self.tasks: dict[str, Task] = {}
        self.asked: Counter[str] = Counter()
        """How often each prompt was asked for, by its SHA."""
        self.started = clock.now()
        self.place = ""
        """The address, which makes ids unlike those of another emulator."""
        self._clock = clock
        self._listed: dict[str, list[Task]] = {}
        self._lanes: dict[tuple[str, str, str], Lane] = {}
        self._buckets: dict[tuple[str, str], Bucket] = {}
        self._ids = 0
        self._others = 0
        self._began_at: float | None = None
        """When the first request was accepted; `changes` count from it."""

    def accept(
        self, account: str, name: str, path: Path, wanted: Wanted, prompt: str, number: int
    ) -> Task:
        """From here on it is bought. All that will become of it is drawn now."""
        self.make_others()
        settings, now = self.settings, self._clock.now()
        sha = prompt_sha(prompt)
        lane = "sync" if path == "multimodal" else "async"
        width, height = wanted.size
        mark = self.fault("picture", number, sha, self.asked[sha])
        task = Task(
            task_id=self.new_id(),
            request_id=self.new_id(),
            account=account,
            model=name,
            prompt=prompt,
            sha=sha,
            cut_prompt=wanted.prompt,
            drawn=sha if wanted.prompt == prompt else prompt_sha(wanted.prompt),
            size=f"{width}*{height}",
            width=width,
            height=height,
            n=wanted.n,
            seed=wanted.seed,
            references=wanted.references,
            lane=lane,
            path=path,
            submitted=now,
            ready=now if settings.latency.zero or lane == "sync" else now + DISPATCH_S,
            extend=wanted.extend,
            fate=self._fate(wanted, sha, number),
            problem=wanted.problem,
            takes_s=self._takes_s(wanted, prompt),
            labels=(*settings.labels, mark) if mark else settings.labels,
        )
        self._time_and_bill(task)
        self._queue(task)
        return task

    def _fate(self, wanted: Wanted, sha: str, number: int) -> str:
        if wanted.problem:
            return "wrong"
        if any(word in wanted.prompt for word in self.settings.refused_words):
            return "refused"
        fate = self.fault("task", number, sha, self.asked[sha])
        return "refused" if fate == "partial" and wanted.n == 1 else fate

    def _takes_s(self, wanted: Wanted, prompt: str) -> float:
        settings = self.settings
        if settings.latency.zero:
            return 0.0
        takes = settings.takes_s(prompt)
        if wanted.extend:
            low, high = EXTENDS_S
            takes += low + (high - low) * draw(settings.seed, "extend", prompt)
        return takes

    def _time_and_bill(self, task: Task) -> None:
        """A failed try ends somewhere on its way; only pictures that come are billed."""
        if task.fate == "timeout":
            task.takes_s = self.settings.task_timeout_s
        elif task.fate == "wrong":
            task.takes_s = 0.0
        elif task.fate in ("failed", "refused"):
            task.takes_s *= draw(self.settings.seed, "fails", task.prompt)
        if task.fate not in ("failed", "refused", "timeout", "wrong"):
            task.billed = task.n - len(task.broken())

    def _queue(self, task: Task) -> None:
        """Put a task in its lane and write it down."""
        if self._began_at is None:
            self._began_at = task.submitted
        self.tasks[task.task_id] = task
        if task.lane == "async":
            self._listed.setdefault(task.account, []).append(task)
        self.ledger.accepted(task)
        lane = self.lane_of(task)
        lane.add(task)
        lane.advance(task.submitted)

    def fault(self, where: str, number: int, identity: str, tried: int) -> str:
        """The fault that hits a request, or ''; see `Faults.at`."""
        return self.settings.faults.at(self.settings.seed, where, number, identity, tried)

    def new_id(self) -> str:
        """An id like a UUID, unlike those of any other emulator or run."""
        self._ids += 1
        text = f"{self.place} {self.started!r} {self._ids}".encode()
        digest = blake2b(text, digest_size=16).hexdigest()
        return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"

    def age_s(self, moment: float) -> float:
        """Seconds from the first accepted request to ``moment``; below 0 before it."""
        return -1.0 if self._began_at is None else moment - self._began_at

    def has_room(self, account: str, name: str, kind: str) -> bool:
        """Whether a task would be taken now: always, unless ``over`` is ``reject``."""
        now = self._clock.now()
        slots = self._slots(self.models[name], kind, now)
        if self.settings.over == "queue" or slots is None:
            return True
        return self._lane(account, name, kind).outstanding(now) < slots

    def wait_s(self, account: str, name: str) -> float:
        """Take a submit of the account's model, or say how long until there will be one."""
        bucket = self._bucket(account, name, self.models[name])
        return 0.0 if bucket is None else bucket.wait_s(self._clock.now())

    def call_wait_s(self, account: str, kind: str) -> float:
        """The same for a task call of ``kind`` (poll, list, cancel)."""
        rate = self.settings.task_calls_per_second
        if rate is None:
            return 0.0
        now = self._clock.now()
        return self._buckets.setdefault((account, f"/{kind}"), Bucket(rate, 1, now)).wait_s(now)

    def listed(self, account: str) -> list[Task]:
        """The account's asynchronous tasks in the order of their submission, up to date."""
        self.settle()
        return self._listed.get(account, [])

    def cancel(self, task: Task) -> bool:
        """Cancel a task that is still PENDING; whether it was."""
        now = self._clock.now()
        self.lane_of(task).advance(now)
        if task.status(now) != "PENDING":
            return False
        task.cancelled, task.state, task.billed, task.ended = True, "CANCELED", 0, now
        self.ledger.changed(task)
        return True

    def quota(self, name: str) -> dict[str, Any]:
        """A model's limits as the list of quotas has them; a limit that is not there is null."""
        model, now = self.models[name], self._clock.now()
        asked = self.settings.submit_per_second
        count, period = model.rate if asked is None else (asked, 1.0)
        rate = value_at(self.settings.changes, "rps", self.age_s(now), count / period)
        period = 1.0 if rate >= 1.0 else 60.0
        limits = {
            "request_limit": round(rate * period, 3) or None,
            "request_limit_period": int(period),
            "usage_limit": None,
            "async_user_queue_limit": None,
            "async_user_concurrency_limit": self._slots(model, "async", now),
        }
        named = {"model": name, "workspace_id": "ws-emulated"}
        return {**named, "model_limit": limits, "workspace_limit": None}

    def _slots(self, model: Model, kind: str, moment: float) -> int | None:
        slots = model.sync_slots if kind == "sync" else model.concurrency
        if slots is None:
            return None
        if self.settings.concurrency is not None:
            slots = self.settings.concurrency or None
        now = value_at(self.settings.changes, "concurrency", self.age_s(moment), float(slots or 0))
        return int(now) or None

    def _terms(self, model: Model, kind: str) -> Terms:
        """What holds in a lane of ``model``, with the settings' changes on their way."""
        changes = self.settings.changes
        if not changes:
            slots = self._slots(model, kind, 0.0)
            return Terms(lambda _at: slots)
        return Terms(
            lambda at: self._slots(model, kind, at),
            lambda at: value_at(changes, "slower", self.age_s(at), 1.0),
            lambda: tuple((self._began_at or 0.0) + change.at_s for change in changes),
        )

    def _bucket(self, account: str, name: str, model: Model) -> Bucket | None:
        asked = self.settings.submit_per_second
        count, period = model.rate if asked is None else (asked, 1.0)
        now = value_at(self.settings.changes, "rps", self.age_s(self._clock.now()), count / period)
        if now != count / period:
            count, period = now, 1.0
        if not count:
            return None
        # A rate of another height is another bucket.
        key = (account, f"{model.family or name} {count}/{period}")
        if key not in self._buckets:
            self._buckets[key] = Bucket(count, period, self.started)
        return self._buckets[key]

    def _lane(self, account: str, name: str, kind: str) -> Lane:
        """The slots of an account's model: one set for both ways of asking, where both have one."""
        model = self.models[name]
        endless = self._slots(model, kind, self._clock.now()) is None
        key = (account, model.family or name, kind if endless else "")
        if key not in self._lanes:
            self._lanes[key] = Lane(self._terms(model, kind), self._began)
        return self._lanes[key]

    def lane_of(self, task: Task) -> Lane:
        """Where a task waits or runs."""
        return self._lane(task.account, task.model, task.lane)

    def _began(self, task: Task, running: int) -> None:
        self.ledger.running(running)
        self.ledger.changed(task)

    def settle(self) -> None:
        """Start whatever could have started by now."""
        now = self._clock.now()
        for lane in self._lanes.values():
            lane.advance(now)

    def make_others(self) -> None:
        """Other programs' tasks that were submitted since somebody last looked."""
        rate = self.settings.other_tasks_per_minute / 60
        now = self._clock.now()
        while rate and (at := self.started + (self._others + 0.5) / rate) <= now:
            self._others += 1
            self._make_other(f"another program's picture {self._others}", at)

    def _make_other(self, prompt: str, at: float) -> None:
        name, account = self.settings.other_model, next(iter(self.settings.keys.values()))
        model = self.models[name]
        bucket = self._bucket(account, name, model)
        if bucket is not None and bucket.wait_s(at):
            return
        sha, (width, height) = prompt_sha(prompt), model.default
        self._queue(
            Task(
                task_id=self.new_id(),
                request_id=self.new_id(),
                account=account,
                model=name,
                prompt=prompt,
                sha=sha,
                cut_prompt=prompt,
                drawn=sha,
                size=f"{width}*{height}",
                width=width,
                height=height,
                n=1,
                seed=None,
                path=model.asynchronous or "image",
                submitted=at,
                ready=at + DISPATCH_S,
                takes_s=self.settings.latency.of(self.settings.seed, prompt),
                billed=1,
                other=True,
            )
        )
