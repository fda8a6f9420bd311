"""``/mcp``, or in its place what says how to install it.

May import: errors, lang, studio.{house,problems}; at the call studio.mcp_server.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING

from redloom.errors import MissingExtra
from redloom.lang import Text

from .house import House
from .problems import of_error

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from .mcp_server import Endpoint


def missing() -> MissingExtra:
    """The SDK is not installed."""
    return MissingExtra("mcp", Text("MCP ", "MCP"))


class Absent:
    """``/mcp`` where the SDK is not installed: says which line installs it."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """Nothing runs."""
        return nullcontext()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        await of_error(missing()).response()(scope, receive, send)


def endpoint_for(house: House) -> Endpoint | Absent:
    """What answers at ``/mcp``."""
    try:
        from .mcp_server import Endpoint, mcp_server
    except ImportError:
        return Absent()
    return Endpoint(mcp_server(house))
