"""The real ``redloom`` command with a machine's clock that the test can set.

The file named by ``REDLOOM_TEST_SKEW`` holds one double: real seconds by which this machine's clock
is off, read at every look at the clock. With ``REDLOOM_TEST_DEAF`` its limiter learns nothing.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path

from redloom import clock, limit
from redloom.errors import Throttled


def set_by(skew_file: Path, seconds: float) -> None:
    """Set the machine's clock, for every program that was started with this file."""
    with skew_file.open("r+b") as file:
        file.write(struct.pack("d", seconds))


def skewed(place: str) -> None:
    """Let `SystemClock` read the time of a machine whose clock is off."""
    with Path(place).open("r+b") as file:
        shown = mmap.mmap(file.fileno(), 8)

    def now(self: clock.SystemClock) -> float:
        (off,) = struct.unpack("d", shown)
        real = time.time() + float(off)
        return self.start + (real - self.start) * self.speed

    clock.SystemClock.now = now  # type: ignore[method-assign]


def deafened() -> None:
    """Let nobody learn from a refusal: a fault planted to see whether the oracle notices it."""

    def unheard(_self: limit.Gate, _error: Throttled, _pause_s: float, now: float) -> float:
        return now

    limit.Gate.refused = unheard  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    if os.environ.get("REDLOOM_TEST_DEAF"):
        deafened()
    if os.environ.get("REDLOOM_TEST_SKEW"):
        skewed(os.environ["REDLOOM_TEST_SKEW"])
    from redloom.cli import main

    main()
