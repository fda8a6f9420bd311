"""The pages: files of ``web/``, with the path that we are mounted under filled in.

``web/NAME.html`` is served as ``/NAME`` (``index.html`` as ``/``), ``web/static/…`` as
``/static/…``. In a page ``{{base}}`` becomes the path prefix (empty, or ``/path`` behind a proxy),
``{{lang}}`` ``zh`` or ``en``, ``{{version}}`` the release. Scripts and styles must be files: the
Content-Security-Policy allows nothing inline.

May import: lang, version.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import mimetypes
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fastapi import APIRouter, Request, Response

from redloom.lang import language
from redloom.version import __version__

WEB = Path(__file__).parent / "web"
_TEXT = {".html", ".css", ".js", ".svg", ".json", ".webmanifest", ".txt"}
_FOREVER = "public, max-age=31536000, immutable"

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of ``static/`` as it is sent."""

    data: bytes
    packed: bytes | None
    kind: str
    tag: str


@router.get("/")
async def index(request: Request) -> Response:
    """The studio."""
    return _page(request, "index")


@router.get("/static/{name:path}")
async def static(request: Request, name: str) -> Response:
    """A script, a style, an icon. With ``?v=…`` it may be kept for ever."""
    found = asset(WEB / "static", name)
    if found is None:
        return Response(status_code=404)
    headers = {
        "ETag": found.tag,
        "Cache-Control": _FOREVER if "v" in request.query_params else "no-cache",
        "Vary": "Accept-Encoding",
    }
    if request.headers.get("if-none-match") == found.tag:
        return Response(status_code=304, headers=headers)
    data = found.data
    if found.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        data, headers["Content-Encoding"] = found.packed, "gzip"
    return Response(data, headers=headers, media_type=found.kind)


@router.get("/{name}")
async def page(request: Request, name: str) -> Response:
    """Another page."""
    return _page(request, name)


def page_names() -> frozenset[str]:
    """The pages that there are."""
    return frozenset(path.stem for path in WEB.glob("*.html"))


@lru_cache(maxsize=256)
def asset(folder: Path, name: str) -> Asset | None:
    """A file below ``folder`` by its relative name; None for any other, whatever its spelling."""
    path = folder.joinpath(name)
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
        if "\0" in name or not inside or not path.is_file():
            return None
        data = path.read_bytes()
    except (OSError, ValueError):
        return None
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    packed = gzip.compress(data, 9, mtime=0) if path.suffix in _TEXT else None
    return Asset(data, packed, kind, f'"{hashlib.sha256(data).hexdigest()[:24]}"')


def _page(request: Request, name: str) -> Response:
    if name not in page_names():
        return Response("404", status_code=404, media_type="text/plain")
    text = (WEB / f"{name}.html").read_text("utf-8")
    base = html.escape(request.scope.get("redloom.base", ""), quote=True)
    for word, value in (("base", base), ("lang", language()), ("version", __version__)):
        text = text.replace("{{" + word + "}}", value)
    return Response(text, media_type="text/html", headers={"Cache-Control": "no-cache"})
