"""What happened, as frozen records on one stream; watchers subscribe.

The journal is not a watcher: it is awaited. A watcher that is slow or raises never slows or
breaks a run: each has a bounded queue of its own, and what does not fit is dropped and counted,
progress records first (an outcome is never dropped while memory lasts).

May import: errors, clock, lang.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .errors import WorkspaceError
from .lang import Text

log = logging.getLogger("redloom")

Status = Literal[
    "ok",
    "duplicate",
    "invalid",
    "refused",
    "failed",
    "in-doubt",
    "cancelled",
    "unpaid",
    "pending",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened at nominal time ``at`` in run ``run``."""

    at: float
    """Nominal Unix seconds."""
    run: str = ""

    @property
    def kind(self) -> str:
        """The record's name in lower case, as it stands in JSON Lines."""
        return type(self).__name__.lower()

    def record(self) -> dict[str, Any]:
        """A plain mapping for JSON; texts become the language in force."""
        fields = {k: str(v) if isinstance(v, Text) else v for k, v in asdict(self).items()}
        for name in type(self).__dataclass_fields__:
            value = getattr(self, name)
            if isinstance(value, Text):
                fields[name] = str(value)
        return {"event": self.kind, **fields}


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Event):
    """A run is carried: ``total`` wanted pictures, ``done`` of them from before."""

    total: int
    """Pictures that the run wants."""
    done: int = 0
    """Of them, those with an outcome from before."""
    endpoints: tuple[str, ...] = ()
    """Names of those that it may be made at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted(Event):
    """A task was accepted by an endpoint; it is paid for from here on."""

    row: int
    take: int
    endpoint: str
    task_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Running(Event):
    """The service has begun to work on it."""

    row: int
    take: int
    endpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked(Event):
    """We have learnt that the service's work on a task is over: now, ``at``.

    ``queued``, ``started`` and ``ended`` are the service's own times, nominal Unix seconds, None
    where it tells none; ``polls`` the status queries made for this task.
    """

    row: int
    take: int
    endpoint: str
    outcome: Literal["made", "failed", "canceled", "unknown"]
    """How it ended at the service."""
    queued: float | None = None
    started: float | None = None
    ended: float | None = None
    polls: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Advanced(Event):
    """The service is this far with it: ``fraction`` of its steps, 0 to 1."""

    row: int
    take: int
    fraction: float
    """0 to 1."""
    preview: str = ""
    """The name of a small JPEG of it as it is now, for `Engine.previews`; mostly there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloaded(Event):
    """The picture is whole and verified in the store."""

    row: int
    take: int
    size_bytes: int
    """Bytes of the picture."""
    seconds: float
    """Nominal seconds from the link to the verified file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Event):
    """A wanted picture has its outcome."""

    row: int
    take: int
    status: Status
    file: str = ""
    """The delivered file, relative to the run's folder."""
    endpoint: str = ""
    error: str = ""
    """The same as a sentence."""
    code: str = ""
    """Why there is no picture: the error's code."""
    seconds: float = 0.0
    """Nominal, from the request that brought the outcome; 0 where nobody was asked."""
    price: float | None = None
    currency: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrying(Event):
    """A try ended without a picture; another follows at ``until``."""

    row: int
    take: int
    endpoint: str
    reason: Text
    """What went wrong."""
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Held(Event):
    """An endpoint may not be asked before ``until``: quota, rate, outage."""

    endpoint: str
    reason: Text
    """Why it has to wait."""
    until: float
    why: str = ""
    """Of a 429 its kind: rate, burst, concurrency, quota, congestion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped(Event):
    """An endpoint is out of use until a person acts."""

    endpoint: str
    reason: Text
    """What a person has to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubtful(Event):
    """An answer was lost; the account is looked through before anything is bought again."""

    row: int
    take: int
    endpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Money(Event):
    """What the run has cost so far, and what is committed but not settled."""

    spent: float
    """What is paid for, in ``currency``."""
    committed: float
    """The same and what is under way or in doubt, at its highest price."""
    currency: str
    cap: float | None = None
    """The run's budget; None: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note(Event):
    """Something a person should know; no outcome by itself."""

    text: Text
    """The sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Event):
    """Nothing is left to do in the run for now. ``counts`` maps each status to its number."""

    counts: dict[str, int]
    """Pictures by status."""
    state: str
    """``done``; ``stuck`` where the rest waits for a person; ``stopped`` by pause, cancel, Ctrl-C."""


Watcher = Callable[[Event], Awaitable[None] | None]

_DROPPABLE = (Submitted, Running, Advanced, Worked, Downloaded, Money, Held, Retrying)
QUEUE = 10_000


class Stream:
    """One stream of events; `watch` subscribes, `tell` publishes without ever waiting."""

    def __init__(self) -> None:
        self._seats: list[_Seat] = []

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Call ``watcher`` with every event from now on; returns the way to stop."""
        seat = _Seat(watcher)
        self._seats.append(seat)

        def leave() -> None:
            if seat in self._seats:
                self._seats.remove(seat)

        return leave

    def tell(self, event: Event) -> None:
        """Publish. Returns at once; watchers run later on the loop."""
        for seat in self._seats:
            seat.put(event)

    async def drain(self) -> None:
        """Wait until every watcher has seen what was told, at most a few real seconds."""
        waits = [seat.idle() for seat in self._seats]
        if waits:
            await asyncio.gather(*waits)


class _Seat:
    """One watcher with its queue; the loop task lives only while there is something to see."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._queue: deque[Event] = deque()
        self._worker: asyncio.Task[None] | None = None
        self.dropped = 0

    def put(self, event: Event) -> None:
        if len(self._queue) >= QUEUE and isinstance(event, _DROPPABLE):
            self.dropped += 1
            return
        self._queue.append(event)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        while self._queue:
            await self._show(self._queue.popleft())

    async def _show(self, event: Event) -> None:
        try:
            answer = self._watcher(event)
            if answer is not None:
                await answer
        except WorkspaceError as error:  # a full disk stops the engine by itself, and is told once
            log.info("a watcher could not write (%s)", error.code)
        except Exception:
            log.warning("a watcher failed on %s; the run goes on", event.kind, exc_info=True)

    async def idle(self, limit_s: float = 3.0) -> None:
        """Until the queue is empty, or ``limit_s`` seconds have gone; a slow watcher is left."""
        if self._worker is not None and not self._worker.done():
            await asyncio.wait([self._worker], timeout=limit_s)
        if self._worker is not None and not self._worker.done():
            self._worker.cancel()
