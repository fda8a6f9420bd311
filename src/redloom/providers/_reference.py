"""A reference picture as services take it: bytes with a name, or a data URL.

May import: endpoint, errors.
"""

from __future__ import annotations

import base64
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from redloom.endpoint import offload
from redloom.errors import Refused

__all__ = ["MOST_BYTES", "Picture", "data_url", "is_address", "opened"]

MOST_BYTES = 20 * 1024 * 1024
"""What one reference may weigh; several services name this or more."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A reference read from disk."""

    name: str
    kind: str
    """Its MIME type, by its name."""
    data: bytes

    @property
    def url(self) -> str:
        """As a data URL (RFC 2397)."""
        return f"data:{self.kind};base64,{base64.b64encode(self.data).decode()}"


def is_address(item: str, *schemes: str) -> bool:
    """Whether a reference is an address that a service fetches by itself, or a data URL."""
    return item.startswith(("http://", "https://", "data:", *(f"{name}://" for name in schemes)))


async def opened(item: str, most: int = MOST_BYTES) -> Picture:
    """The file of a reference, read beside the loop. Raises Refused where it cannot be used."""
    return await offload(_read, item, most)


async def data_url(item: str, *schemes: str) -> str:
    """An address as it is, a file as a data URL. Raises Refused where it cannot be used."""
    return item if is_address(item, *schemes) else (await opened(item)).url


def _read(item: str, most: int) -> Picture:
    path = Path(item)
    try:
        size = path.stat().st_size
        raw = path.read_bytes() if size <= most else b""
    except OSError as error:
        raise Refused(
            f"读不到参考图 {path.name}（{error.strerror}）；没有发出，没有花钱。",
            f"The reference {path.name} cannot be read ({error.strerror}); nothing was sent or spent.",
        ) from error
    if not raw:
        limit = most // 1024 // 1024
        raise Refused(
            f"参考图 {path.name} 是空的，或超过 {limit} MB；没有发出，没有花钱。",
            f"The reference {path.name} is empty or over {limit} MB; nothing was sent or spent.",
        )
    return Picture(path.name, mimetypes.guess_type(path.name)[0] or "image/png", raw)
