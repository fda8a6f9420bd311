"""What leaves by the wire: its headers, its forms, and what is known when nothing came back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from redloom.emulators.server import LocalServer
from redloom.endpoint import Answer, Form, Part, Wire
from redloom.errors import NotSent


def heard(*posts: dict[str, Any]) -> list[dict[str, Any]]:
    """What a server sees of these posts."""
    seen: list[dict[str, Any]] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        parts = None
        if request.content_type.startswith("multipart/"):
            parts = {
                name: value
                if isinstance(value, str)
                else (value.filename, value.content_type, value.file.read())  # type: ignore[union-attr]
                for name, value in (await request.post()).items()
            }
        body = None if parts else await request.text()
        seen.append({"type": request.content_type, "body": body, "parts": parts})
        return web.json_response({"ok": True})

    async def main() -> None:
        server = LocalServer(handle)
        wire = Wire(await server.start(0))
        for post in posts:
            assert (await wire.post("/x", **post)).body == {"ok": True}
        await wire.close()
        await server.stop()

    asyncio.run(main())
    return seen


def test_json_is_called_json() -> None:
    """A service that looks at the content type gets JSON, in UTF-8."""
    (seen,) = heard({"payload": {"prompt": "红围巾"}})
    assert seen["type"] == "application/json"
    assert seen["body"] == '{"prompt": "红围巾"}'


def test_files_go_as_a_form() -> None:
    """With parts it is a form: plain fields as text, files with name and type."""
    part = Part("image", "a.png", "image/png", b"\x89PNG")
    (seen,) = heard({"payload": Form({"prompt": "红", "n": 1}, [part])})
    fields = seen["parts"]
    assert (fields["prompt"], fields["n"]) == ("红", "1")
    assert fields["image"] == ("a.png", "image/png", b"\x89PNG")


def test_nobody_there_is_not_sent() -> None:
    """A closed port: nothing left, nothing was spent."""

    async def main() -> None:
        wire = Wire("http://127.0.0.1:9")
        try:
            with pytest.raises(NotSent):
                await wire.post("/x", {})
        finally:
            await wire.close()

    asyncio.run(main())


def test_retry_after_in_both_forms() -> None:
    """Seconds as they are, a date from the answer's own date; nonsense is nothing."""
    day = "Tue, 24 Nov 2026 10:00:00 GMT"
    later = "Tue, 24 Nov 2026 10:00:30 GMT"
    for headers, wanted in (
        ({"Retry-After": "2.5"}, 2.5),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": later, "Date": day}, 30.0),
        ({"Retry-After": later}, None),
        ({"Retry-After": "soon", "Date": day}, None),
        ({}, None),
    ):
        assert Answer(429, headers, "", None).retry_after_s() == wanted
