"""Messages between the engine's process and a worker: two lengths, a JSON head, and bytes.

May import: nothing of the package.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

_LENGTHS = struct.Struct(">II")
MOST_BYTES = 512 * 1024 * 1024
"""A head or a body longer than this is no message."""


def packed(head: Mapping[str, Any], body: bytes = b"") -> bytes:
    """One message as bytes."""
    text = json.dumps(head, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return _LENGTHS.pack(len(text), len(body)) + text + body


def _lengths(raw: bytes) -> tuple[int, int]:
    head, body = _LENGTHS.unpack(raw)
    if max(head, body) > MOST_BYTES:
        raise EOFError("not a message")
    return head, body


def _object(raw: bytes) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(raw.decode("utf-8", "surrogatepass"))
    return value


async def read(stream: asyncio.StreamReader) -> tuple[dict[str, Any], bytes]:
    """The next message. Raises asyncio.IncompleteReadError (an EOFError) at the end."""
    head, body = _lengths(await stream.readexactly(_LENGTHS.size))
    return _object(await stream.readexactly(head)), await stream.readexactly(body)


def read_blocking(plug: socket.socket) -> tuple[dict[str, Any], bytes]:
    """The next message, waiting for it in this thread. Raises EOFError at the end."""
    head, body = _lengths(_exactly(plug, _LENGTHS.size))
    return _object(_exactly(plug, head)), _exactly(plug, body)


def _exactly(plug: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = plug.recv(min(1 << 20, count - len(parts)))
        if not part:
            raise EOFError("the other side is gone")
        parts += part
    return bytes(parts)
