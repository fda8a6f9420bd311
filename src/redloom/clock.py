"""Time as a seam: nominal seconds, so that engine and emulator can run 20 of them in one.

``REDLOOM_CLOCK_SPEED=N`` with ``REDLOOM_CLOCK_START=UNIXTIME`` makes nominal time
``START + (real - START) * N``, the same in every process given the same two. Waits, rates,
service timeouts and recorded times are nominal; locks and socket timeouts are real.

`held` marks work that happens outside the event loop (a thread, a socket): the jumping clock
of `redloom.testing` does not jump while anything is held.
May import: errors.
"""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from .errors import BadSettings

T = TypeVar("T")


class Clock(Protocol):
    """What the engine knows of time. Units are nominal seconds."""

    def now(self) -> float:
        """Nominal seconds since 1970 (UTC)."""

    async def sleep(self, seconds: float) -> None:
        """Wait ``seconds`` nominal seconds (none or less: give way once)."""

    def real(self, seconds: float) -> float:
        """How many real seconds ``seconds`` nominal ones last."""


class SystemClock:
    """The machine's clock, run ``speed`` times as fast from ``start`` on."""

    def __init__(self, speed: float = 1.0, start: float = 0.0) -> None:
        self.speed = speed
        self.start = start

    def now(self) -> float:
        """See `Clock`."""
        return self.start + (time.time() - self.start) * self.speed

    async def sleep(self, seconds: float) -> None:
        """See `Clock`; real seconds are fewer by the speed."""
        await asyncio.sleep(max(0.0, seconds) / self.speed)

    def real(self, seconds: float) -> float:
        """See `Clock`."""
        return seconds / self.speed


SET_S = 1.0
"""Real seconds by which a clock that somebody sets jumps at least; less is its own keeping of time."""


@dataclass
class Setting:
    """Notices that the clock was set, or the machine slept: it jumps against the event loop's time,
    which nobody can set.
    """

    clock: Clock
    _ahead: float | None = None

    def moved(self) -> float:
        """By how many nominal seconds the clock was set since this was last asked; 0.0: not at all."""
        second = self.clock.real(1.0)
        ahead = self.clock.now() - asyncio.get_running_loop().time() / second
        before, self._ahead = self._ahead, ahead
        if before is None or abs(ahead - before) < SET_S / second:
            return 0.0
        return ahead - before


def clock_from_environment() -> SystemClock:
    """The clock that REDLOOM_CLOCK_SPEED and REDLOOM_CLOCK_START ask for.

    Raises BadSettings where they are not numbers, the speed is not positive, or a speed other
    than 1 comes without a start (two processes would then disagree about the time).
    """
    speed_text = os.environ.get("REDLOOM_CLOCK_SPEED", "1")
    start_text = os.environ.get("REDLOOM_CLOCK_START", "")
    try:
        speed, start = float(speed_text), float(start_text or "0")
    except ValueError:
        speed, start = 0.0, 0.0
    if not (0 < speed < 1e6) or (speed != 1 and not start_text):
        raise BadSettings(
            "REDLOOM_CLOCK_SPEED 要是正数，且不为 1 时须同时给出 REDLOOM_CLOCK_START（Unix 时间）。",
            "REDLOOM_CLOCK_SPEED must be positive, and other than 1 it needs REDLOOM_CLOCK_START (Unix time).",
        )
    return SystemClock(speed, start)


def iso(moment: float | None) -> str | None:
    """A nominal Unix time as ISO 8601 in UTC with milliseconds, for manifests."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")


_held = 0


class held:  # noqa: N801 - used like a function
    """While inside, something real (thread, socket) is under way: a jumping clock must wait."""

    __slots__ = ()

    def __enter__(self) -> None:
        global _held
        _held += 1

    def __exit__(self, *_: object) -> None:
        global _held
        _held -= 1


def is_held() -> bool:
    """Whether anything real is under way."""
    return _held > 0


THREADS = 32
"""Most of what is handed to a thread waits for the disk, and waits overlap: many are cheap."""


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Made when it is first needed; idle threads end with the process."""
    return ThreadPoolExecutor(THREADS, thread_name_prefix="redloom")


async def offload(work: Callable[..., T], *args: object) -> T:
    """Run ``work(*args)`` in a worker thread, holding the clock. Raises what ``work`` raises."""
    with held():
        return await asyncio.get_running_loop().run_in_executor(_threads(), work, *args)
