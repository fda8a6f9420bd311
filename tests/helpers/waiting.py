"""Waiting for another program: the one place where a test sleeps for real.

A program of its own (a server, a killed command, a browser) goes by the machine's clock, which no
clock of ours can jump over; a test that watches one looks again every few milliseconds, and fails
after a time that only a broken program reaches.
"""

from __future__ import annotations

import time
from collections.abc import Callable

LOOK_S = 0.02


def until(what: Callable[[], object], wanted: str = "", within_s: float = 40.0) -> None:
    """Until ``what()`` is true; AssertionError after ``within_s`` real seconds."""
    ends = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < ends, f"it did not come to that: {wanted}"
        time.sleep(LOOK_S)


def pause(seconds: float = LOOK_S) -> None:
    """Between two looks of a test that does something at each of them."""
    time.sleep(seconds)
