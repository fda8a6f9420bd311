"""An answer that goes on: server-sent events, with an end for readers that do not read.

May import: nothing of the package.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "server-sent events; docs/api.md lists them",
        "content": {"text/event-stream": {"example": 'id: 17.203\nevent: complete\ndata: {"run": "…", "row": {}}\n\n'}},
    }
}  # fmt: skip
"""For the OpenAPI document."""
SLOWEST_S = 60.0
"""Real seconds that one write may wait for its reader."""


class Events(Response):
    """Sends what ``frames`` yields until it ends, the client goes, or stops reading."""

    def __init__(self, frames: AsyncIterator[bytes], slowest_s: float = SLOWEST_S) -> None:
        super().__init__(
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"},
        )
        del self.headers["content-length"]
        self.frames, self.slowest_s = frames, slowest_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        sending = asyncio.create_task(self._send(send))
        leaving = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
        if not sending.cancelled() and (error := sending.exception()) is not None:
            raise error

    async def _send(self, send: Send) -> None:
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(head)
        try:
            async for data in self.frames:
                try:
                    async with asyncio.timeout(self.slowest_s):
                        await send({"type": "http.response.body", "body": data, "more_body": True})
                except TimeoutError:
                    return  # the connection is closed by the server for want of an end
        finally:
            close = getattr(self.frames, "aclose", None)
            if close is not None:
                await close()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
