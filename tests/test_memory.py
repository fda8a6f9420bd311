"""Memory pools of the C library."""

from __future__ import annotations

import subprocess
import sys

import pytest

MANY = """
import threading
from redloom.memory import share_pools
share_pools()
def work(wait):
    held = [bytes(100_000) for _ in range(20)]
    wait.wait()
wait = threading.Event()
threads = [threading.Thread(target=work, args=(wait,)) for _ in range(24)]
[t.start() for t in threads]
import ctypes
ctypes.CDLL(None).malloc_info(0, ctypes.c_void_p.in_dll(ctypes.CDLL(None), "stdout"))
wait.set()
"""


def test_what_is_there_already_is_not_collected_again() -> None:
    """Everything alive when a run begins is left out of collections, and those are rare."""
    asked = "import gc; from redloom.memory import collect_rarely; collect_rarely(); print(gc.get_freeze_count() > 1000, gc.get_threshold()[0])"
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["True", "20000"]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_threads_share_few_pools() -> None:
    """Twenty-four threads that allocate at once have no more than two pools, unless the user asks."""
    told = {"PATH": "/usr/bin:/bin"}
    few = subprocess.run([sys.executable, "-c", MANY], env=told, capture_output=True, text=True)
    if "<heap" not in few.stdout:
        pytest.skip("another C library")
    assert few.stdout.count("<heap ") <= 2, few.stdout[:300]
    told["MALLOC_ARENA_MAX"] = "7"
    more = subprocess.run([sys.executable, "-c", MANY], env=told, capture_output=True, text=True)
    assert more.stdout.count("<heap ") > 2
