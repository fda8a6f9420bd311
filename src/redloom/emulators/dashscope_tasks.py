"""DashScope's queue: who runs when, worked out from the clock when somebody looks.

No coroutine sleeps for a task. A lane (one account's one model) keeps its waiting tasks in
order and the ends of its running ones; `Lane.advance` starts, at the moment that a slot was
free, everything that could have started by now.
May import: nothing of the package.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .ledger import Purchase

DISPATCH_S = 0.014
"""From submit to schedule on an idle service, as recorded."""


@dataclass(slots=True, kw_only=True, eq=False)
class Task(Purchase):
    """An accepted request with all that will become of it, drawn when it was accepted."""

    request_id: str
    path: str
    width: int
    height: int
    cut_prompt: str
    """The part of the prompt that the model reads."""
    drawn: str
    """SHA-256 of ``cut_prompt``: what its pictures show."""
    extend: bool = False
    takes_s: float = 0.0
    ready: float = 0.0
    """When it may start at the earliest."""
    fate: str = ""
    """The fault of its end, '' for success."""
    problem: str = ""
    """The message of a request found wrong only after it was accepted."""
    labels: tuple[str, ...] = ()
    cancelled: bool = False
    polls: int = 0
    fetches: int = 0

    def status(self, now: float) -> str:
        """``task_status`` at ``now``; the task's lane must have been advanced."""
        if self.cancelled:
            return "CANCELED"
        if self.started is None:
            return "PENDING"
        if self.ended is not None and now < self.ended:
            return "RUNNING"
        return "FAILED" if self.fate in ("failed", "refused", "timeout", "wrong") else "SUCCEEDED"

    def broken(self) -> dict[int, str]:
        """Pictures of a SUCCEEDED task that did not come: by number, why."""
        if self.fate == "partial":
            return {
                self.n - 1: "DataInspectionFailed" if self.n % 2 == 0 else "InternalError.Timeout"
            }
        if self.fate == "empty":
            return dict.fromkeys(range(self.n), "")
        return {}


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds in a lane, by the nominal time. The defaults never change."""

    slots: Callable[[float], int | None]
    """How many tasks may run at a moment; None: as many as come."""
    slower: Callable[[float], float] = lambda _at: 1.0
    """How many times as long a task takes that starts then."""
    turns: Callable[[], tuple[float, ...]] = tuple
    """The moments at which ``slots`` may change."""


class Lane:
    """One account's one model: its slots and who waits for them."""

    def __init__(self, terms: Terms, told: Callable[[Task, int], None]) -> None:
        self.waiting: deque[Task] = deque()
        self._ends: list[float] = []
        self._latest = 0.0
        self._terms = terms
        self._told = told

    def add(self, task: Task) -> None:
        """Queue a task; tasks come in the order of their submission."""
        self.waiting.append(task)

    def advance(self, now: float) -> None:
        """Start whatever could have started by ``now``."""
        while self.waiting:
            task = self.waiting[0]
            if not task.cancelled:
                start = self._start(task.ready)
                if start > now:
                    return
                task.started = start
                task.ended = start + task.takes_s * self._terms.slower(start)
                while self._ends and self._ends[0] <= start:
                    heapq.heappop(self._ends)
                heapq.heappush(self._ends, task.ended)
                self._latest = start
                task.state = task.status(task.ended)
                self._told(task, len(self._ends))
            self.waiting.popleft()

    def _start(self, ready: float) -> float:
        """When the next in line can start: never before the one ahead of it."""
        earliest, ends = max(ready, self._latest), self._ends
        while ends and ends[0] <= earliest:
            heapq.heappop(ends)
        slots = self._terms.slots(earliest)
        if slots is None or len(ends) < slots:
            return earliest
        # Nothing is taken off the heap here: the start may lie ahead, and be worked out again.
        for moment in sorted({*ends, *(at for at in self._terms.turns() if at > earliest)}):
            slots = self._terms.slots(moment)
            if slots is None or sum(end > moment for end in ends) < slots:
                return moment
        return math.inf

    def outstanding(self, now: float) -> int:
        """Tasks accepted and not ended."""
        self.advance(now)
        return sum(not task.cancelled for task in self.waiting) + sum(
            end > now for end in self._ends
        )


class Bucket:
    """A limit of ``count`` requests in ``period_s``: a bucket that refills steadily.

    It holds at least one request and a half, so that a client which paces exactly at the limit
    is not refused for the network's jitter.
    """

    def __init__(self, count: float, period_s: float, now: float) -> None:
        self._holds = max(count, 1.5)
        self._per_s = count / period_s
        self._left, self._at = self._holds, now

    def wait_s(self, now: float) -> float:
        """Take one: 0.0 if it was there, else how long until it will be (none is taken)."""
        self._left = min(self._holds, self._left + max(0.0, now - self._at) * self._per_s)
        self._at = max(now, self._at)
        if self._left >= 1 - 1e-9:
            self._left -= 1
            return 0.0
        return (1 - self._left) / self._per_s

    def told(self, now: float) -> tuple[int, int, float]:
        """What it holds at most, what is left of it, and seconds until it is whole again."""
        left = min(self._holds, self._left + max(0.0, now - self._at) * self._per_s)
        return int(self._holds), int(left), (self._holds - left) / self._per_s
