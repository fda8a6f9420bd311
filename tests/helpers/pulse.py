"""When a part of a test was held up: by a stall that the test plays, or because the machine was busy.

What is sent in the meantime arrives together afterwards, however well it was paced; a service that
counts by arrival refuses it, and nobody is to blame.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

BEAT_S = 0.02
LONGEST_BEAT_S = 0.08
"""Real seconds between two beats of an event loop that has nothing in its way, and a little more:
at thirty times the speed three nominal ones."""
AFTER_S = 0.3
"""Real seconds in which what was held up arrives."""

Held = tuple[float, float]
"""From when to when, real Unix seconds."""


class Pulse:
    """Watches the event loop that it is started on."""

    def __init__(self) -> None:
        self.held: list[Held] = []
        self._beating: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin on the running loop; it ends with the loop or by `stop`."""
        self._beating = asyncio.get_running_loop().create_task(self._beat())

    def stop(self) -> None:
        """Watch no more. Safe to call twice."""
        if self._beating is not None:
            self._beating.cancel()

    async def _beat(self) -> None:
        while True:
            before = time.time()
            await asyncio.sleep(BEAT_S)
            now = time.time()
            if now - before > LONGEST_BEAT_S:
                self.held.append((before, now))


def held_up(moment: float, held: Iterable[Held]) -> bool:
    """Whether what arrived at ``moment``, real Unix seconds, may have been sent one after another."""
    return any(begin <= moment <= end + AFTER_S for begin, end in held)
