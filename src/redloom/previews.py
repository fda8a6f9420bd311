"""Small pictures of what is being made, while somebody watches.

A seam between providers that have them and whoever shows them (the studio). Nobody watches: nothing
is computed, sent or kept. Event `Advanced` says under which name the newest one lies here.

May import: nothing of the package.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

KEPT = 256
"""Previews kept, of some kilobytes each; the oldest go first."""


class Previews:
    """The newest JPEG of each job in the making, by the job's key; at most 256 px a side."""

    def __init__(self) -> None:
        self._watchers = 0
        self._listeners: list[Callable[[bool], None]] = []
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    @property
    def wanted(self) -> bool:
        """Whether anybody watches."""
        return self._watchers > 0

    def watch(self) -> Callable[[], None]:
        """Previews are wanted from now on; returns the way to leave (once; again does nothing)."""
        self._count(1)
        open_ = [True]

        def leave() -> None:
            if open_:
                open_.clear()
                self._count(-1)

        return leave

    def listen(self, told: Callable[[bool], None]) -> Callable[[], None]:
        """For a provider: told now, and at every change, whether any are wanted; returns the way
        to hear no more.
        """
        self._listeners.append(told)
        told(self.wanted)

        def leave() -> None:
            if told in self._listeners:
                self._listeners.remove(told)

        return leave

    def keep(self, key: str, jpeg: bytes) -> None:
        """A newer preview of the job of ``key``; dropped where nobody watches."""
        if not self.wanted:
            return
        self._kept[key] = jpeg
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def of(self, key: str) -> bytes:
        """The newest preview of a job; empty where there is none."""
        return self._kept.get(key, b"")

    def _count(self, change: int) -> None:
        before = self.wanted
        self._watchers += change
        if self.wanted == before:
            return
        self._kept.clear()
        for told in list(self._listeners):
            told(self.wanted)
