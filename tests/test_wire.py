"""What leaves by the wire: its headers, its forms, and what is known when nothing came back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from redloom.emulators.server import LocalServer
from redloom.endpoint import Answer, Form, Part, Wire
from redloom.errors import NotSent
from redloom.wire import proxy_for


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


def asked_through(
    monkeypatch: pytest.MonkeyPatch, address: str, proxied: web.Response
) -> tuple[list[str], NotSent | int]:
    """What a proxy in the environment is asked when a picture is wanted at ``address``, and the end of it."""
    seen: list[str] = []

    async def proxy(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(
            f"{request.method} {request.raw_path if hasattr(request, 'raw_path') else request.path}"
        )
        return proxied

    async def main() -> NotSent | int:
        server = LocalServer(proxy)
        base = await server.start(0)
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, base)
        wire = Wire(address)
        try:
            return (await wire.post("/x", {"prompt": "red"})).status
        except NotSent as error:
            return error
        finally:
            await wire.close()
            await server.stop()

    return seen, asyncio.run(main())


def test_a_company_s_proxy_is_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY gets the whole address; https is asked for by CONNECT."""
    seen, status = asked_through(monkeypatch, "http://service.example/v1", web.json_response({}))
    assert (seen, status) == (["POST http://service.example/v1/x"], 200)


@pytest.mark.parametrize("status", [403, 407, 502])
def test_a_proxy_that_does_not_lead_on_has_sent_nothing(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """A refused CONNECT is told as the proxy's; the request may be sent again, nothing was bought."""
    refused = web.Response(status=status)
    seen, error = asked_through(monkeypatch, "https://service.example", refused)
    assert len(seen) == 1
    assert seen[0].startswith("CONNECT ")
    assert isinstance(error, NotSent)
    assert f"({status})" in error.text.en
    assert "HTTPS_PROXY" in error.text.zh


def test_a_proxy_that_is_not_there_has_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A password in the proxy's address is in no message."""

    async def main() -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://someone:made-up-word@127.0.0.1:9")
        wire = Wire("https://service.example")
        with pytest.raises(NotSent) as caught:
            await wire.post("/x", {})
        await wire.close()
        assert "HTTPS_PROXY" in str(caught.value)
        assert "made-up-word" not in str(caught.value)

    asyncio.run(main())


def test_which_proxy_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """By scheme, else ALL_PROXY; not for NO_PROXY, nor for this machine, where services of one's own run."""
    monkeypatch.setenv("ALL_PROXY", "socks5://10.0.0.2:1080")
    with pytest.raises(NotSent):
        proxy_for("https://dashscope.aliyuncs.com/api/v1")
    monkeypatch.setenv("HTTPS_PROXY", "10.0.0.2:7890")
    assert proxy_for("https://dashscope.aliyuncs.com/api/v1") == "http://10.0.0.2:7890"
    monkeypatch.setenv("HTTP_PROXY", "http://10.0.0.2:7890")
    for here in ("http://127.0.0.1:8188", "http://localhost:11434/v1", "http://[::1]:7860"):
        assert proxy_for(here) is None
    assert proxy_for("http://192.168.1.5:8188") == "http://10.0.0.2:7890"
    monkeypatch.setenv("NO_PROXY", "192.168.1.5,.aliyuncs.com")
    assert proxy_for("http://192.168.1.5:8188") is None
    assert proxy_for("https://dashscope.aliyuncs.com/api/v1") is None
