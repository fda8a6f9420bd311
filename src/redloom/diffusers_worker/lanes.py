"""In the worker: one batch denoises while the one before it is decoded.

Two threads carry batches. Each takes the *turn* to denoise, gives it on when it begins to decode
and so lets the other denoise meanwhile. A decoder that is short of memory asks for the turn again
and goes before anybody else; who needs the device for himself waits until nothing is decoded.
No thread waits for another that waits for it: the turn is never held while waiting for a decoder
that wants it.

May import: nothing of the package.
"""

from __future__ import annotations

import threading


class Lanes:
    """Whose turn it is, and how many decode beside it."""

    def __init__(self) -> None:
        self._state = threading.Condition()
        self._owner: int | None = None
        self._decoding: set[int] = set()
        self._wanting: set[int] = set()
        self.decoder = threading.Lock()
        """Held while pictures are decoded: one batch at a time, for the memory's sake."""

    def take(self) -> None:
        """The turn to denoise; at once where this thread has it."""
        me = threading.get_ident()
        with self._state:
            if self._owner == me:
                return
            self._state.wait_for(lambda: self._owner is None and not self._wanting)
            self._owner = me

    def give(self) -> None:
        """Let somebody else denoise; nothing where the turn is not this thread's."""
        with self._state:
            if self._owner == threading.get_ident():
                self._owner = None
                self._state.notify_all()

    def hand_over(self) -> None:
        """From denoising to decoding beside the next batch, until `finished`."""
        with self._state:
            self._decoding.add(threading.get_ident())
        self.give()

    def finished(self) -> None:
        """This thread decodes no more."""
        with self._state:
            self._decoding.discard(threading.get_ident())
            self._state.notify_all()

    def alone(self) -> None:
        """For a decoder: the turn as well, before all others, so that nothing denoises."""
        me = threading.get_ident()
        with self._state:
            if self._owner == me:
                return
            self._decoding.discard(me)
            self._wanting.add(me)
            self._state.notify_all()
            self._state.wait_for(lambda: self._owner is None)
            self._owner = me
            self._wanting.discard(me)

    def settle(self) -> bool:
        """For who has the turn: wait until nothing is decoded; whether anything was."""
        me = threading.get_ident()
        with self._state:
            busy = bool(self._decoding or self._wanting)
            while self._decoding or self._wanting or self._owner != me:
                if self._wanting and self._owner == me:
                    self._owner = None
                    self._state.notify_all()
                if not self._decoding and not self._wanting and self._owner is None:
                    self._owner = me
                    break
                self._state.wait()
            return busy
