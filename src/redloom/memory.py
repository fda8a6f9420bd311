"""What keeps memory flat over a long run, where the C library would not.

glibc gives each thread that allocates a pool of its own, up to eight for each core, and freed
memory of one is no use to another: with some thirty threads that is 10 MB and more of nothing,
growing with the run (measured: benchmarks/hundred_thousand.py).
May import: nothing of the package.
"""

from __future__ import annotations

import functools
import gc
import os
import sys

POOLS = 2
_M_ARENA_MAX = -8
"""From glibc's malloc.h."""


@functools.cache
def share_pools() -> bool:
    """Let all threads share `POOLS` pools, unless MALLOC_ARENA_MAX says otherwise. Whether it was
    done: other C libraries keep no pools. To be called before threads are started.
    """
    if sys.platform != "linux" or "MALLOC_ARENA_MAX" in os.environ:
        return False
    import ctypes

    library = ctypes.CDLL(None)
    if not (hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt")):
        return False
    return bool(library.mallopt(_M_ARENA_MAX, POOLS))


def collect_rarely() -> None:
    """For a process of our own that carries a run: its modules are never garbage, and the rest
    makes hardly any cycles; collecting as often as Python does takes a tenth of a fast run's time.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
