"""For tests, ours and yours: the jumping clock and a fake provider.

`run` executes a coroutine on a loop that jumps: where every coroutine waits for time, the loop's
clock is moved to the next timer instead of waiting. Threads and sockets that are marked with
`clock.held` hold it back. An hour of backoff takes milliseconds, and order is exact.

`FakeProvider` is a whole service in memory: it bills, queues, lists, forgets, fails by script.
May import: clock, lang, errors, endpoint.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from .clock import is_held
from .endpoint import (
    Asked,
    Canceled,
    Capabilities,
    Endpoint,
    Failed,
    Fitted,
    Lane,
    Limits,
    Made,
    Outcome,
    Picture,
    Price,
    Seen,
    Ticket,
    Times,
    Unknown,
    Waiting,
)
from .errors import AnswerLost, Refused, ServiceError

T = TypeVar("T")
START = 1_700_000_000.0
"""Where a jumping clock begins, nominal Unix seconds."""


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that adds the timeout to an offset instead of blocking."""

    offset = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0 or is_held():
            # Something real is under way: give it real time, but look again soon.
            ready: list[Any] = super().select(
                timeout if timeout is not None and timeout <= 0 else 0.001
            )
            return ready
        ready = super().select(0)
        if not ready:
            self.offset += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """The time of the loop: the real one and all that was jumped over, seconds."""
        return super().time() + self._jumping.offset


@dataclass
class JumpingClock:
    """Nominal time on a `JumpingLoop`; only waiting moves it."""

    start: float = START
    """Nominal Unix seconds at the beginning."""
    _loop: asyncio.AbstractEventLoop | None = None
    _began: float = 0.0
    skew: float = 0.0
    """Added to `now`: a clock that was set while the program ran."""

    def now(self) -> float:
        """See `clock.Clock`."""
        loop = asyncio._get_running_loop() or self._loop  # a worker thread has none of its own
        assert loop is not None
        if self._loop is not loop:
            self._loop, self._began = loop, loop.time()
        return self.start + loop.time() - self._began + self.skew

    async def sleep(self, seconds: float) -> None:
        """See `clock.Clock`; takes no real time."""
        await asyncio.sleep(max(0.0, seconds))

    def real(self, seconds: float) -> float:
        """See `clock.Clock`."""
        return seconds


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a jumping loop."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(coroutine)


def picture_of(prompt: str, size: tuple[int, int] = (64, 64)) -> bytes:
    """A small PNG that shows which prompt it is of: its SHA-256 as pixels."""
    from PIL import Image

    digest = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest()
    image = Image.frombytes("RGB", (8, 4), digest * 3)
    out = io.BytesIO()
    image.resize(size, Image.Resampling.NEAREST).save(out, "PNG", compress_level=1)
    return out.getvalue()


Fate = Literal["made", "failed", "refused", "lost", "no-answer", "never-arrived", "never"]


@dataclass
class FakeTask:
    """A task at the fake service."""

    id: str
    asked: Asked
    created: float
    starts: float
    ends: float
    fate: Fate
    error: ServiceError | None = None
    canceled: bool = False


@dataclass
class FakeProvider:
    """A service in memory. ``seconds(prompt)`` is how long it works on a picture.

    ``script(asked, number)`` decides the fate of the number-th submit (from 1): a `Fate`, or an
    error to raise from submit (``AnswerLost`` after acceptance is the fate ``no-answer``).
    """

    now: Callable[[], float]
    """The clock's time, nominal Unix seconds."""
    seconds: Callable[[str], float] = lambda _prompt: 10.0
    """How long it works on a prompt's picture, nominal seconds."""
    script: Callable[[Asked, int], Fate | ServiceError] = lambda _asked, _number: "made"
    """The fate of each submit."""
    slots: int = 5
    """Tasks that it runs at once; the rest waits."""
    rate: float | None = None
    """Submits a nominal second; None: no limit."""
    caps: Capabilities = field(
        default_factory=lambda: Capabilities(
            lanes=("async",), queues_excess=True, lists_tasks=True, list_lag_s=2.0, typical_s=10.0
        )
    )
    """What it says that it can do."""
    cost: Price = field(default_factory=lambda: Price(0.2, "CNY", "estimated", "2026-11-01"))
    """What one picture costs."""
    poll_errors: Callable[[int], ServiceError | None] = lambda _number: None
    """The error of the number-th poll, or None."""
    failure: ServiceError | None = None
    """What every submit raises while it is set."""
    model: str = "fake-1"
    """Its model's name."""
    record_life_s: float = 86400.0
    """How long the service knows a task, nominal seconds."""
    tasks: dict[str, FakeTask] = field(default_factory=dict)
    """Every task, by its ticket."""
    submits: int = 0
    """Submits so far."""
    polls: int = 0
    """Polls so far."""
    looks: int = 0
    """List calls so far."""
    most_at_once: int = 0
    """Most tasks that ran at one time."""
    before_answer: Callable[[], Awaitable[None]] | None = None
    """Awaited after a submit was accepted and before it is answered."""
    strangers: list[Seen] = field(default_factory=list)
    """Tasks of another program, in its list."""

    def capabilities(self) -> Capabilities:
        """See `endpoint.Provider`."""
        return self.caps

    def limits(self) -> Limits:
        """See `endpoint.Provider`."""
        return Limits(submit_per_second=self.rate, concurrency=self.slots)

    def price(self, asked: Asked) -> Price:
        """See `endpoint.Provider`."""
        return self.cost

    def fit(self, asked: Asked) -> Fitted:
        """See `endpoint.Provider`."""
        if len(asked.prompt) > 2100:
            raise Refused("提示词超过 2100 字。", "The prompt is longer than 2,100 characters.")
        return Fitted(asked)

    async def submit(self, asked: Asked, lane: Lane) -> Ticket | Made:
        """See `endpoint.Provider`."""
        self.submits += 1
        fate = self.script(asked, self.submits)
        if isinstance(fate, ServiceError):
            raise fate
        if fate == "never-arrived":
            raise AnswerLost("没有回答", "no answer")
        task = self._accept(asked, fate)
        if self.before_answer is not None:
            await self.before_answer()
        if fate == "no-answer":
            raise AnswerLost("没有回答", "no answer")
        return Ticket(task.id, f"request-{task.id}")

    def _accept(self, asked: Asked, fate: Fate) -> FakeTask:
        now = self.now()
        ends = sorted(t.ends for t in self.tasks.values() if t.ends > now and not t.canceled)
        starts = now if len(ends) < self.slots else ends[-self.slots]
        task = FakeTask(
            f"task-{len(self.tasks) + 1:05d}", asked, now, starts,
            starts + self.seconds(asked.prompt), fate, self.failure,
        )  # fmt: skip
        self.tasks[task.id] = task
        running = sum(t.starts <= now < t.ends for t in self.tasks.values())
        self.most_at_once = max(self.most_at_once, running)
        return task

    async def poll(self, ticket: Ticket) -> Outcome:
        """See `endpoint.Provider`."""
        self.polls += 1
        error = self.poll_errors(self.polls)
        if error is not None:
            raise error
        task, now = self.tasks.get(ticket.id), self.now()
        if task is None or task.fate == "lost":
            return Unknown()
        times = Times(task.created, task.starts, task.ends)
        if task.canceled:
            return Canceled(times)
        if now < task.ends or task.fate == "never":
            return Waiting(now >= task.starts, times)
        if task.fate in ("failed", "refused"):
            return Failed(self._why(task), times)
        return Made(Picture(data=picture_of(task.asked.prompt, task.asked.size or (64, 64))), times)

    def _why(self, task: FakeTask) -> ServiceError:
        from .errors import ContentRefused, TaskFailed

        if task.error is not None:
            return task.error
        if task.fate == "refused":
            return ContentRefused(
                "内容不合规", "content refused", service_code="DataInspectionFailed"
            )
        return TaskFailed("服务内部错误", "internal error", service_code="InternalError")

    async def look(self, since: float, until: float) -> Sequence[Seen]:
        """See `endpoint.Provider`."""
        self.looks += 1
        now, lag = self.now(), self.caps.list_lag_s
        ours = [
            Seen(t.id, t.asked.model, _listed(t, now), t.created, t.starts, t.ends)
            for t in self.tasks.values()
            if max(since, now - self.record_life_s) <= t.created <= min(until, now - lag)
        ]
        return ours + [s for s in self.strangers if since <= s.created <= until]

    async def cancel(self, ticket: Ticket) -> bool:
        """See `endpoint.Provider`."""
        task = self.tasks.get(ticket.id)
        if task is None or self.now() >= task.starts:
            return False
        task.canceled = True
        return True

    async def check(self) -> None:
        """See `endpoint.Provider`."""

    async def close(self) -> None:
        """See `endpoint.Provider`."""

    def billed(self) -> int:
        """Pictures that the service has charged for."""
        return sum(
            t.fate in ("made", "no-answer", "lost") and not t.canceled for t in self.tasks.values()
        )

    def bought_twice(self) -> list[str]:
        """Prompts that were charged more than once."""
        seen: dict[str, int] = {}
        for task in self.tasks.values():
            if task.fate in ("made", "no-answer", "lost") and not task.canceled:
                seen[task.asked.key] = seen.get(task.asked.key, 0) + 1
        return [key for key, number in seen.items() if number > 1]


def _listed(task: FakeTask, now: float) -> Literal["queued", "running", "made", "canceled"]:
    """A task's state as the list has it; what failed is listed as ended, like what was made."""
    if task.canceled:
        return "canceled"
    return "queued" if now < task.starts else "running" if now < task.ends else "made"


def fake_endpoint(name: str = "fake", model: str = "fake-1") -> Endpoint:
    """An endpoint for a `FakeProvider`."""
    return Endpoint(name, "fake", model, f"fake://{name}", account=name)
