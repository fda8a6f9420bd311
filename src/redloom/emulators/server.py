"""A local HTTP server that can also misbehave: cut, drip, lie about lengths, vanish.

May import: clock.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from redloom.clock import Clock

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

HTML = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    "<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)
"""What a proxy puts in the place of an answer."""


class LocalServer:
    """One handler on one port of this machine."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._runner: web.ServerRunner | None = None
        self.host = ""

    async def start(self, port: int, host: str = "127.0.0.1") -> str:
        """Listen (port 0: any free one); returns ``http://HOST:PORT``."""
        server = web.Server(self._guarded, access_log=None, request_factory=_roomy)
        # A request under way at the end is somebody's test cut short: nobody waits for it.
        self._runner = web.ServerRunner(server, shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, backlog=1024)
        await site.start()
        self.host = f"{host}:{self._runner.addresses[0][1]}"
        return f"http://{self.host}"

    async def _guarded(self, request: web.BaseRequest) -> web.StreamResponse:
        """A client that hangs up in mid-request is its own business, and no error here."""
        try:
            return await self._handler(request)
        except (ConnectionError, web.RequestPayloadError):
            return web.Response(status=400)

    async def stop(self) -> None:
        """Close the port and every connection. Safe to call twice."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()


def _roomy(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    """A request that may hold a reference picture or two."""
    loop = asyncio.get_running_loop()
    return web.BaseRequest(
        message, payload, protocol, writer, task, loop, client_max_size=64 * 1024 * 1024
    )


class BareResponse(web.Response):
    """An answer without a content type, as some gateways give for a 401."""

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall("Content-Type", None)


def is_json(request: web.BaseRequest) -> bool:
    """Whether a request calls its body JSON, which every service insists on."""
    return request.content_type == "application/json"


def json_answer(
    request: web.BaseRequest,
    body: Mapping[str, Any],
    status: int = 200,
    *,
    content_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
    bare: bool = False,
) -> web.Response:
    """JSON, compressed and chunked where the client takes gzip."""
    raw = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "backslashreplace"
    )
    said = {"Server": "istio-envoy", **(headers or {})}
    if bare:
        return BareResponse(body=raw, status=status, headers=said)
    said["Content-Type"] = content_type
    if "gzip" not in request.headers.get("Accept-Encoding", ""):
        return web.Response(body=raw, status=status, headers=said)
    # A small window and memory level: bodies are short, and the default costs 256 KiB each.
    packer = zlib.compressobj(1, zlib.DEFLATED, 16 + 10, 3)
    said["Content-Encoding"] = "gzip"
    response = web.Response(body=packer.compress(raw) + packer.flush(), status=status, headers=said)
    response.enable_chunked_encoding()
    return response


def text_answer(text: str, status: int, content_type: str = "text/html") -> web.Response:
    """A body that is not JSON."""
    return web.Response(text=text, status=status, content_type=content_type)


def reset(request: web.BaseRequest) -> web.Response:
    """Break the connection with a TCP reset. What is returned reaches nobody."""
    transport = request.transport
    if transport is not None:
        plug = transport.get_extra_info("socket")
        if plug is not None:
            # Lingering for no time makes the kernel send RST in the place of a polite FIN.
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response(status=500)


async def lie(
    request: web.BaseRequest, data: bytes, said: int, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Send ``data`` under a Content-Length of ``said`` bytes, then hang up."""
    response = web.StreamResponse(headers={**headers, "Content-Length": str(said)})
    response.force_close()
    await response.prepare(request)
    try:
        await response.write(data)
    except ConnectionError:
        return response
    if request.transport is not None:
        request.transport.close()
    return response


async def drip(
    request: web.BaseRequest, data: bytes, seconds: float, clock: Clock, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Send ``data`` whole, but spread over ``seconds`` nominal seconds."""
    response = web.StreamResponse(headers={**headers, "Content-Length": str(len(data))})
    await response.prepare(request)
    parts = 8
    step = -(-len(data) // parts)
    for at in range(0, len(data), step):
        try:
            await response.write(data[at : at + step])
        except ConnectionError:
            return response
        await clock.sleep(seconds / parts)
    return response
