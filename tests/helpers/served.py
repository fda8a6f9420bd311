"""The stand-in for DashScope in a thread of the tests' own process."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Iterator

from redloom.clock import SystemClock
from redloom.emulators.dashscope import DashScopeEmulator, Emulated


@contextlib.contextmanager
def served(settings: Emulated, clock: SystemClock) -> Iterator[str]:
    """The stand-in for DashScope in a thread; its base URL."""
    ready: queue.Queue[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()

    async def serve() -> None:
        emulator, over = DashScopeEmulator(settings, clock), asyncio.Event()
        ready.put((await emulator.start(), asyncio.get_running_loop(), over))
        await over.wait()
        await emulator.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    url, loop, over = ready.get(timeout=30)
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
