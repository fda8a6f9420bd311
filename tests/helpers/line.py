"""A network that can be cut: a TCP line to the service, in a thread of its own.

``cut``: connections are reset and new ones refused at once. ``stall``: nothing goes through and
nothing is refused. ``mend``: all is well again.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from typing import Literal

from helpers.pulse import Pulse

How = Literal["through", "cut", "stall"]
LINGER_NOT = struct.pack("ii", 1, 0)


class Line:
    """Listens on a port of loopback and passes on to ``target``, when it is known."""

    def __init__(self) -> None:
        self.target = 0
        self.port = 0
        self._how: How = "through"
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self.pulse = Pulse()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Line:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.set("cut")
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def url(self) -> str:
        """Where programs reach the service."""
        return f"http://127.0.0.1:{self.port}"

    def set(self, how: How) -> None:
        """Cut the line, let it stall, or mend it (``through``)."""
        self._loop.call_soon_threadsafe(self._set, how)

    def _set(self, how: How) -> None:
        self._how = how
        (self._flows.clear if how == "stall" else self._flows.set)()
        if how == "cut":
            for writer in list(self._open):
                _reset(writer)

    async def _listen(self) -> None:
        self._flows.set()
        self.pulse.start()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        await asyncio.sleep(0)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._how == "cut":
            _reset(writer)
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            _reset(writer)
            return
        self._open |= {writer, back}
        try:
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        finally:
            self._open -= {writer, back}
            for one in (writer, back):
                one.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
            return
        _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    plug = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    writer.transport.abort()
