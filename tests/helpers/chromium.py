"""A page in headless Chromium, spoken to by its DevTools protocol over a WebSocket.

Protocol: https://chromedevtools.github.io/devtools-protocol (Page, Runtime).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or ""
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0",
    "--allow-file-access-from-files", "--hide-scrollbars", "--disable-dev-shm-usage",
)  # fmt: skip


@dataclass
class Page:
    """One tab."""

    socket: aiohttp.ClientWebSocketResponse
    _number: int = 0
    errors: list[str] = field(default_factory=list)
    """What the page's scripts complained of."""

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method and wait for its answer."""
        self._number += 1
        await self.socket.send_json({"id": self._number, "method": method, "params": params})
        while True:
            message = await self.socket.receive_json(timeout=60)
            if message.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(message["params"])[:500])
            if message.get("id") == self._number:
                assert "error" not in message, message
                answer: dict[str, Any] = message["result"]
                return answer

    async def open(self, url: str) -> None:
        """Go to a page; returns at once."""
        await self.send("Page.navigate", url=url)

    async def eval(self, expression: str) -> Any:
        """The value of an expression in the page, a promise's value included."""
        answer = await self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, expression: str) -> Any:
        """Wait until an expression is true; its value."""
        for _ in range(1200):
            with contextlib.suppress(AssertionError):
                if value := await self.eval(expression):
                    return value
            await asyncio.sleep(0.025)
        raise AssertionError(f"never true: {expression}")

    async def picture(self, path: Path) -> None:
        """What is seen, as a PNG."""
        import base64

        shown = await self.send("Page.captureScreenshot", format="png")
        await asyncio.to_thread(path.write_bytes, base64.b64decode(shown["data"]))


@contextlib.asynccontextmanager
async def page(width: int = 1280, height: int = 900) -> AsyncIterator[Page]:
    """A fresh browser with one tab."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            BROWSER, *FLAGS, f"--window-size={width},{height}", f"--user-data-dir={profile}", "about:blank",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with aiohttp.ClientSession(trust_env=False) as session:
                port = await _port(process)
                async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                    tabs = await answer.json(content_type=None)
                target = next(tab for tab in tabs if tab["type"] == "page")
                async with session.ws_connect(
                    target["webSocketDebuggerUrl"], max_msg_size=1 << 28
                ) as socket:
                    tab = Page(socket)
                    await tab.send("Page.enable")
                    await tab.send("Runtime.enable")
                    yield tab
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()


async def _port(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    async with asyncio.timeout(60):
        async for line in process.stderr:
            if b"DevTools listening" in line:
                return line.decode().split("127.0.0.1:")[1].split("/")[0]
    raise AssertionError("the browser did not start")
