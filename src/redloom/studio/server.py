"""The server's life: a free port, the engine, the door, an orderly end.

May import: everything of the studio, the engine, settings.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from functools import partial
from types import FrameType

import uvicorn
from uvicorn.server import HANDLED_SIGNALS

from redloom.engine import Engine
from redloom.errors import BadInput, WorkspaceError
from redloom.memory import collect_rarely
from redloom.observe import observing
from redloom.settings import Settings

from .app import create_app
from .guard import Guard
from .house import House, open_house, usable_endpoints, watch_metrics
from .mcp_mount import endpoint_for, missing
from .options import Options, checked
from .orders import append_to_note, buy_for_note
from .patience import Patient

log = logging.getLogger("redloom.studio")
TRIES = 20
"""Ports tried, one after another, where the one asked for is taken."""
GRACE_S = 25
"""Real seconds that requests under way get at the end; containers wait 30 by custom."""
FILES = 16_384
"""Open files that we ask the system for."""
Told = Callable[[str, Options], None]


class Server(uvicorn.Server):
    """uvicorn's, which tells us first that it is to end."""

    def __init__(self, config: uvicorn.Config, ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ending = ending

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came: no new work, streams end, what is under way may finish."""
        self._ending()
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Heed signals while serving. uvicorn's own way raises them again afterwards, which would
        end the process before the engine has been put in order.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {sig: signal.signal(sig, self.handle_exit) for sig in HANDLED_SIGNALS}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)


def bound(host: str, port: int) -> socket.socket:
    """A listening socket at ``port``, or at the next free one. Raises BadInput."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    last: OSError | None = None
    for number in [port] if port == 0 else range(port, min(port + TRIES, 65536)):
        plug = socket.socket(family, socket.SOCK_STREAM)
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            plug.bind((host, number))
            plug.listen(2048)
        except OSError as error:
            plug.close()
            last = error
            continue
        plug.set_inheritable(True)
        return plug
    why = last.strerror if last is not None else ""
    raise BadInput(
        f"{host}:{port} 起的 {TRIES} 个端口都用不了（{why}）；请换 --port 或 --host。",
        f"None of {TRIES} ports from {host}:{port} can be used ({why}); choose another --port or --host.",
    )


@contextlib.asynccontextmanager
async def opened(
    options: Options, settings: Settings | None, engine: Engine | None = None
) -> AsyncIterator[tuple[House, Guard]]:
    """The house and its door, at work; on leaving it is put in order. ``engine``: the caller's."""
    made = engine or _engine(options, settings)
    async with observing() as watch, made:
        watch(made)
        house = await open_house(options, settings, made)
        mcp = endpoint_for(house)
        guard = create_app(house, mcp)
        house.feed.start()
        watch_metrics(house)
        house.notes.buy = partial(buy_for_note, house)
        house.notes.append = partial(append_to_note, house)
        await house.attendants.start()
        await house.notes.start()
        async with mcp.running():
            try:
                yield house, guard
            finally:
                drain(house, guard)
                await house.chores.stop()


def drain(house: House, guard: Guard) -> None:
    """No new work from here on; streams end."""
    house.draining = guard.draining = True
    house.feed.close()


def _engine(options: Options, settings: Settings | None) -> Engine:
    assert settings is not None
    collect_rarely()
    names, said = usable_endpoints(settings, options.endpoints)
    for text in said:
        log.warning("%s", text)
    return Engine(names, settings=settings, jobs=settings.jobs)


def make_room() -> None:
    """Raise this process's limit on open files as far as it may: a thousand event streams are as
    many files, and the usual limit is 1,024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


async def serve(options: Options, settings: Settings, told: Told) -> None:
    """Listen until a signal ends it. ``told`` hears the address once it is open.

    Raises BadInput where the options are not safe or no port is free, WorkspaceError where the
    engine had to stop: a server that makes nothing is no use to anybody, and whoever keeps it
    running starts it again, which goes on with everything.
    """
    checked(options)
    make_room()
    plug = bound(options.host, options.port)
    options = replace(options, port=plug.getsockname()[1])
    async with opened(options, settings) as (house, guard):
        config = uvicorn.Config(
            guard, lifespan="off", proxy_headers=False, server_header=False, access_log=False,
            log_config=None, timeout_graceful_shutdown=GRACE_S, timeout_keep_alive=30,
            h11_max_incomplete_event_size=64 * 1024, ws="none", http=Patient,
        )  # fmt: skip
        server = Server(config, lambda: drain(house, guard))
        told(f"http://{_shown(options.host)}:{options.port}{options.base}/", options)
        broken = house.chores.begin(_end_with(house.engine, server), "the engine")
        await server.serve(sockets=[plug])
        if broken.done():
            raise broken.result()


async def _end_with(engine: Engine, server: Server) -> WorkspaceError:
    """End the server when its engine has stopped by itself."""
    why = await engine.broken()
    server.handle_exit(signal.SIGTERM, None)
    return why


async def serve_stdio(options: Options, settings: Settings) -> None:
    """Speak MCP on standard input and output until it closes.

    Raises MissingExtra where the SDK is not installed.
    """
    try:
        from .mcp_server import mcp_server
    except ImportError:
        raise missing() from None

    async with opened(options, settings) as (house, _guard):
        await mcp_server(house).run_stdio_async()


def _shown(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
