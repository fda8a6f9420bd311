"""A server for tests: the real one on a free port, in a thread, over a service in memory."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from helpers.waiting import until
from redloom.clock import SystemClock
from redloom.endpoint import Capabilities
from redloom.engine import Engine
from redloom.studio.house import House
from redloom.studio.options import Options
from redloom.studio.patience import Patient
from redloom.studio.server import Server, bound, drain, opened
from redloom.testing import FakeProvider, fake_endpoint

SPEED = 200.0
"""Nominal seconds in a real one: a picture of ten takes 50 ms."""
CAPS = Capabilities(
    lanes=("async",), queues_excess=True, lists_tasks=True, list_lag_s=2.0, typical_s=10.0, references=4
)  # fmt: skip


@dataclass
class Rig:
    """A running server, its service and a client."""

    url: str
    house: House
    provider: FakeProvider
    client: httpx.Client
    loop: asyncio.AbstractEventLoop
    stop: Callable[[], None]

    def wait_run(self, run: str, state: str = "done") -> dict[str, Any]:
        """The run once it is over."""
        return self._wait(f"/api/runs/{run}", state)

    def wait_note(self, note: str, state: str = "done") -> dict[str, Any]:
        """The note once it is in this state."""
        return self._wait(f"/api/notes/{note}", state)

    def _wait(self, path: str, state: str) -> dict[str, Any]:
        shown: dict[str, Any] = {}

        def there() -> bool:
            shown.update(self.client.get(path).json())
            return shown.get("state") == state

        until(there, f"{path} in state {state}")
        return shown


@dataclass
class _Life:
    ready: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None
    house: House | None = None
    server: Server | None = None
    loop: asyncio.AbstractEventLoop | None = None


@contextmanager
def rig(
    root: Path,
    options: Options | None = None,
    change: Callable[[FakeProvider], None] = lambda _provider: None,
    provider: FakeProvider | None = None,
    headers: dict[str, str] | None = None,
    also: str = "",
) -> Iterator[Rig]:
    """A server on the workspace ``root`` for as long as the block lasts; ``also`` names a second
    endpoint, another service like the first.
    """
    clock = SystemClock(SPEED, time.time() - 1)
    made = provider or FakeProvider(clock.now, caps=CAPS)
    if provider is not None:
        clock = getattr(provider.now, "__self__", clock)
    change(made)
    plug = bound("127.0.0.1", 0)
    port = plug.getsockname()[1]
    wanted = replace(options or Options(), port=port)
    life = _Life()

    async def main() -> None:
        equipped = [(fake_endpoint(), made)]
        if also:
            other = FakeProvider(clock.now, caps=CAPS)
            equipped.append((fake_endpoint(also, f"{also}-1"), other))
        engine = Engine(workspace=root, equipped=equipped, clock=clock)
        async with opened(wanted, None, engine) as (house, guard):
            config = uvicorn.Config(
                guard, lifespan="off", proxy_headers=False, log_config=None, ws="none", access_log=False,
                timeout_graceful_shutdown=2, http=Patient,
            )  # fmt: skip
            server = Server(config, lambda: drain(house, guard))
            life.house, life.server, life.loop = house, server, asyncio.get_running_loop()
            life.ready.set()
            await server.serve(sockets=[plug])

    def work() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            life.error = error
        finally:
            life.ready.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    life.ready.wait(20)
    if life.error is not None or life.house is None or life.loop is None:
        raise AssertionError("the server did not start") from life.error

    def stop() -> None:
        if life.server is not None and thread.is_alive():
            assert life.loop is not None
            life.loop.call_soon_threadsafe(life.server.handle_exit, 15, None)
            thread.join(20)

    url = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=url, timeout=30, headers=headers, trust_env=False) as client:
        try:
            yield Rig(url, life.house, made, client, life.loop, stop)
        finally:
            stop()
    if life.error is not None:
        raise life.error
