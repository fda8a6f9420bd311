"""Emulated services beside the test, in a thread of their own, for commands called in-process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redloom.clock import SystemClock
from redloom.emulators.contract import serve_until_cancelled
from redloom.emulators.ledger import Purchase, read_ledger
from redloom.emulators.service_time import ServiceTime

QUICK = ServiceTime(0.02, 0.1, 0.01, 0.05)


class Beside:
    """A service with its address and what it has sold."""

    def __init__(self, ledger: Path, url: str) -> None:
        self.ledger, self.url = ledger, url

    def sold(self) -> list[Purchase]:
        """Every purchase in order; none before the first."""
        return list(read_ledger(self.ledger).purchases) if self.ledger.exists() else []


@contextlib.contextmanager
def beside(module: Any, ledger: Path, **options: Any) -> Iterator[Beside]:
    """``module``'s emulator at a free port of loopback until the block ends."""
    emulated = module.Emulated(
        latency=QUICK, submit_per_second=0, ledger_path=ledger, picture_size="small", **options
    )
    emulator = module.Emulator(emulated, SystemClock())
    loop, up = asyncio.new_event_loop(), threading.Event()
    addresses: list[str] = []

    def ready(url: str) -> None:
        addresses.append(url)
        up.set()

    work = loop.create_task(serve_until_cancelled(emulator, ready))
    thread = threading.Thread(target=loop.run_until_complete, args=(asyncio.wait([work]),))
    thread.start()
    try:
        assert up.wait(10)
        yield Beside(ledger, addresses[0])
    finally:
        loop.call_soon_threadsafe(work.cancel)
        thread.join(10)
        loop.close()
