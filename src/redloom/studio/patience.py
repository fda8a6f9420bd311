"""How long we wait for a caller who writes slowly or not at all.

uvicorn ends a connection that stands idle between two requests, but not one whose first request
never becomes whole: with a thousand of those, each a byte a minute, nobody else gets in.

May import: nothing of the package.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 20.0
"""Real seconds from a connection, or from a request's first byte, to the end of its headers."""
BODY_S = 60.0
"""Real seconds that any body may take."""
SLOWEST = 4096.0
"""Bytes a second that a larger one has to keep up beyond that."""


class Patient(H11Protocol):
    """uvicorn's protocol with an end to the waiting for headers."""

    head_s = HEAD_S
    _ends: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody is there; the clock runs."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """More has come: a whole request stops the clock, a part of one does not set it back."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        self._stop()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self._busy():
            self._stop()
        elif self._ends is None:
            self._ends = self.loop.call_later(self.head_s, self._give_up)

    def _busy(self) -> bool:
        """Whether a request is whole as far as its headers, and not yet answered."""
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def _stop(self) -> None:
        if self._ends is not None:
            self._ends.cancel()
            self._ends = None

    def _give_up(self) -> None:
        self._ends = None
        if not self._busy() and not self.transport.is_closing():
            self.transport.close()


def body_ends(began: float, seen: int) -> float:
    """When a body that has come this far has to have brought more; the clock of the loop."""
    return began + BODY_S + seen / SLOWEST
