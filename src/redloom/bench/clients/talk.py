"""The usual client's few lines of HTTP: submit, poll, download, as the service's manual has them.

May import: bench.course.
"""

from __future__ import annotations

from typing import Any

import aiohttp

PATHS = {
    "async": "/services/aigc/image-generation/generation",
    "sync": "/services/aigc/multimodal-generation/generation",
}


class NoPicture(Exception):
    """Anything that went wrong."""


class Throttled(NoPicture):
    """The service said 429."""


class Failed(NoPicture):
    """The task itself ended without a picture."""


class Talk:
    """One service over one session."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, key: str, model: str, lane: str
    ) -> None:
        self._session, self._url, self._model, self._lane = session, url, model, lane
        self._headers = {"Authorization": f"Bearer {key}"}

    async def submit(self, prompt: str) -> str:
        """The task's id; on the synchronous lane the picture's link."""
        payload = {
            "model": self._model,
            "input": {"messages": [{"role": "user", "content": [{"text": prompt}]}]},
            "parameters": {"n": 1, "prompt_extend": False, "watermark": False},
        }
        headers = dict(self._headers)
        if self._lane == "async":
            headers["X-DashScope-Async"] = "enable"
        url = self._url + PATHS[self._lane]
        async with self._session.post(url, json=payload, headers=headers) as answer:
            body = await self._body(answer)
        if self._lane == "sync":
            return _link(body["output"])
        return str(body["output"]["task_id"])

    async def poll(self, task: str) -> str:
        """The picture's link, or '' while there is none; raises Failed where it ended without one."""
        url = f"{self._url}/tasks/{task}"
        async with self._session.get(url, headers=self._headers) as answer:
            output = (await self._body(answer))["output"]
        status = output["task_status"]
        if status == "SUCCEEDED":
            return _link(output)
        if status in ("FAILED", "CANCELED", "UNKNOWN"):
            raise Failed(status)
        return ""

    async def download(self, link: str) -> bytes:
        """The picture's bytes, unchecked but for the status and that they are a PNG."""
        async with self._session.get(link) as answer:
            data = await answer.read()
            if answer.status != 200 or not data.startswith(b"\x89PNG"):
                raise NoPicture(f"HTTP {answer.status}")
            return data

    async def _body(self, answer: aiohttp.ClientResponse) -> Any:
        if answer.status == 429:
            raise Throttled("429")
        if answer.status != 200:
            raise NoPicture(f"HTTP {answer.status}")
        return await answer.json(content_type=None)


def _link(output: Any) -> str:
    content = output["choices"][0]["message"]["content"]
    return str(next(part["image"] for part in content if "image" in part))
