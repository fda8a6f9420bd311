"""What servers on one's own machine have in common: their address, a login, reference pictures.

May import: errors, lang.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from redloom.errors import Refused
from redloom.lang import Text

REFERENCE_BYTES = 64 * 1024 * 1024
_KINDS = ((b"\x89PNG", "png"), (b"\xff\xd8", "jpg"), (b"RIFF", "webp"), (b"GIF8", "gif"))


class Reference(NamedTuple):
    """A reference picture's bytes and a name made from its content, so that it is sent once."""

    data: bytes
    name: str


def login(key: str) -> dict[str, str]:
    """The header for a server behind a login: ``user:password`` is Basic, else a bearer token."""
    if not key:
        return {}
    if ":" in key:
        return {"Authorization": "Basic " + base64.b64encode(key.encode()).decode()}
    return {"Authorization": f"Bearer {key}"}


def place_of(url: str) -> str:
    """``host:port`` for sentences; a login that stands in the address is not shown."""
    return urlsplit(url).netloc.rsplit("@", 1)[-1] or url


def reference(item: str) -> Reference:
    """Read a file or a ``data:`` URL; blocking. Raises Refused, before anything is sent.

    An address elsewhere is refused: these servers would have to fetch it, and cannot.
    """
    data = _from_data_url(item) if item.startswith("data:") else _from_file(item)
    kind = next((kind for magic, kind in _KINDS if data.startswith(magic)), "")
    if not kind:
        shown = Path(item[:80]).name
        raise Refused(
            f"参考图 {shown} 不是 PNG、JPEG、WebP 或 GIF；没有发出，没有花钱。",
            f"The reference {shown} is no PNG, JPEG, WebP or GIF; nothing was sent or spent.",
        )
    return Reference(data, f"redloom-{hashlib.sha256(data).hexdigest()[:24]}.{kind}")


def _from_data_url(item: str) -> bytes:
    head, _, body = item.partition(",")
    try:
        if not head.endswith(";base64"):
            raise ValueError(head)
        return base64.b64decode(body, validate=True)
    except (ValueError, binascii.Error) as error:
        raise Refused(
            "参考图的 data: 网址读不懂；没有发出，没有花钱。",
            "A reference's data: URL cannot be read; nothing was sent or spent.",
        ) from error


def _from_file(item: str) -> bytes:
    if item.startswith(("http://", "https://", "oss://")):
        raise Refused(
            "本机的服务不会去取网上的参考图：请先下载，再给出文件；没有发出，没有花钱。",
            "A server of one's own does not fetch references from the web: download the picture "
            "and give its file; nothing was sent or spent.",
        )
    path = Path(item)
    try:
        if path.stat().st_size > REFERENCE_BYTES:
            raise OSError(27, "File too large")
        return path.read_bytes()
    except OSError as error:
        raise Refused(
            f"读不到参考图 {path.name}（{error.strerror}）；没有发出，没有花钱。",
            f"The reference {path.name} cannot be read ({error.strerror}); nothing was sent or spent.",
        ) from error


def fitted_size(
    size: tuple[int, int], step: int, least: int = 64, most: int = 8192
) -> tuple[int, int]:
    """The size with both sides a multiple of ``step`` pixels within [least, most]."""
    width, height = (min(most, max(least, round(side / step) * step)) for side in size)
    return width, height


def resized(asked: tuple[int, int], size: tuple[int, int], step: int) -> Text:
    """What is said of a changed size."""
    return Text(
        "边长要是 {step} 的倍数：{asked} 改为 {size}。",
        "Sides are multiples of {step}: {asked} becomes {size}.",
    ).format(step=step, asked=f"{asked[0]}×{asked[1]}", size=f"{size[0]}×{size[1]}")
