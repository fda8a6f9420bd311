"""A reverse proxy on a path of its own, in a thread: what nginx does before `redloom serve`."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Iterator

import aiohttp
from aiohttp import web

from redloom.emulators.server import LocalServer

_HOPS = {"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding"}


@contextlib.contextmanager
def front(target: str, prefix: str = "") -> Iterator[str]:
    """The address of a proxy before ``target``; ``prefix`` (``/red``) is taken off on the way."""
    ready: queue.Queue[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()

    async def serve() -> None:
        over = asyncio.Event()
        async with aiohttp.ClientSession(trust_env=False, auto_decompress=False) as session:

            async def handle(request: web.BaseRequest) -> web.StreamResponse:
                return await _passed(session, target, prefix, request)

            server = LocalServer(handle)
            ready.put((await server.start(0), asyncio.get_running_loop(), over))
            await over.wait()
            await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    base, loop, over = ready.get(timeout=30)
    try:
        yield f"{base}{prefix}/"
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()


async def _passed(
    session: aiohttp.ClientSession, target: str, prefix: str, request: web.BaseRequest
) -> web.StreamResponse:
    """One request there, its answer back as it comes: events are not held up."""
    headers = {
        **{name: value for name, value in request.headers.items() if name.lower() not in _HOPS},
        "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": request.headers["Host"], "X-Forwarded-Prefix": prefix,
    }  # fmt: skip
    url = target.rstrip("/") + request.rel_url.raw_path_qs.removeprefix(prefix)
    body = request.content if request.body_exists else None
    try:
        async with session.request(
            request.method, url, data=body, headers=headers, allow_redirects=False
        ) as answer:
            kept = {
                n: v
                for n, v in answer.headers.items()
                if n.lower() not in _HOPS - {"content-encoding"}
            }
            back = web.StreamResponse(status=answer.status, headers=kept)
            await back.prepare(request)
            async for chunk in answer.content.iter_any():
                await back.write(chunk)
            await back.write_eof()
            return back
    except (aiohttp.ClientConnectionError, ConnectionError):
        return web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")
