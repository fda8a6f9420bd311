"""ComfyUI's websocket: how far each prompt is, told by the server while it works.

``/ws?clientId=`` sends JSON ``{type, data}`` (docs.comfy.org, "Server messages"); binary frames
are previews. It is a convenience: where it cannot be had, polling does all the same.

May import: endpoint.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from redloom.endpoint import Wire

log = logging.getLogger("redloom")
AGAIN_S = 5.0
"""Real seconds before a broken socket is opened again, if somebody still asks."""
KEPT = 512


class Socket:
    """One listening connection. ``progress`` in [0, 1] of what the server is working on."""

    def __init__(
        self,
        wire: Wire,
        client: str,
        headers: Mapping[str, str],
        told: Callable[[str, float], None] = lambda _id, _fraction: None,
    ) -> None:
        self._wire, self._client, self._headers = wire, client, dict(headers)
        self._told = told
        self._progress: OrderedDict[str, float] = OrderedDict()
        self._listening: asyncio.Task[None] | None = None
        self._not_before = 0.0

    def listen(self) -> None:
        """Open the socket in the background, if it is not open."""
        loop = asyncio.get_running_loop()
        idle = self._listening is None or self._listening.done()
        if idle and loop.time() >= self._not_before:
            self._not_before = loop.time() + AGAIN_S
            self._listening = loop.create_task(self._hear())

    def progress(self, prompt_id: str) -> float | None:
        """How far a prompt that runs now is; None where nothing is known of it."""
        return self._progress.get(prompt_id)

    async def close(self) -> None:
        """Stop listening."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    async def _hear(self) -> None:
        import aiohttp

        try:
            async with self._wire.session() as session:
                opening = session.ws_connect(
                    f"{self._wire.base_url}/ws",
                    params={"clientId": self._client},
                    headers=self._headers,
                    heartbeat=30.0,
                    max_msg_size=64 * 1024 * 1024,
                )
                socket = await opening
            try:
                async for message in socket:
                    if message.type is aiohttp.WSMsgType.TEXT:
                        self.take(message.data)
            finally:
                await socket.close()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            log.debug("ComfyUI's websocket is not to be had (%s)", type(error).__name__)
        finally:
            # What was running when the socket broke may have ended since.
            self._progress.clear()

    def take(self, text: str) -> None:
        """One message. What cannot be read is passed over: it decides nothing."""
        with contextlib.suppress(ValueError, AttributeError, TypeError):
            message = json.loads(text)
            self._note(message.get("type"), message.get("data") or {})

    def _note(self, kind: str, data: Mapping[str, Any]) -> None:
        prompt_id = data.get("prompt_id")
        if not isinstance(prompt_id, str):
            return
        if kind in _ENDS or (kind == "executing" and data.get("node") is None):
            self._progress.pop(prompt_id, None)
        elif kind == "execution_start":
            self._set(prompt_id, 0.0)
        elif kind == "progress" and data.get("max"):
            self._set(prompt_id, min(1.0, max(0.0, data["value"] / data["max"])))

    def _set(self, prompt_id: str, fraction: float) -> None:
        self._progress[prompt_id] = fraction
        self._told(prompt_id, fraction)
        self._progress.move_to_end(prompt_id)
        while len(self._progress) > KEPT:
            self._progress.popitem(last=False)


_ENDS = frozenset({"execution_success", "execution_error", "execution_interrupted"})
