"""The usual client's few lines of HTTP: submit, poll, download, as the service's manual has them.

May import: bench.course.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import aiohttp

from redloom.bench.course import Course

BEIJING = timezone(timedelta(hours=8))

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

    def __init__(self, session: aiohttp.ClientSession, course: Course, place: int) -> None:
        self._session, self._course, self._url = session, course, course.urls[place]
        self._model, self._lane = course.scenario.model, course.scenario.lane
        self._headers = {"Authorization": f"Bearer {course.key}"}
        self._bought: dict[str, dict[str, Any]] = {}

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
        record = {"prompt": prompt, "billed": 1, "lane": self._lane, "started": None, "ended": None}
        self._course.purchases.append({**record, "seen": None})
        if self._lane == "sync":
            return _link(body["output"])
        task = str(body["output"]["task_id"])
        self._bought[task] = self._course.purchases[-1]
        return task

    async def poll(self, task: str) -> str:
        """The picture's link, or '' while there is none; raises Failed where it ended without one."""
        url = f"{self._url}/tasks/{task}"
        async with self._session.get(url, headers=self._headers) as answer:
            self._course.count("poll")
            output = (await self._body(answer))["output"]
        status = output["task_status"]
        if status not in ("PENDING", "RUNNING"):
            self._note_end(self._bought[task], output, status)
        if status == "SUCCEEDED":
            return _link(output)
        if status in ("FAILED", "CANCELED", "UNKNOWN"):
            raise Failed(status)
        return ""

    def _note_end(self, record: dict[str, Any], output: Any, status: str) -> None:
        """The service's own times of a task, and whether it costs."""
        record["started"] = moment(output.get("scheduled_time"))
        record["ended"] = moment(output.get("end_time"))
        record["seen"] = self._course.clock.now()
        record["billed"] = int(status == "SUCCEEDED")

    async def download(self, link: str) -> bytes:
        """The picture's bytes, unchecked but for the status and that they are a PNG."""
        async with self._session.get(link) as answer:
            data = await answer.read()
            if answer.status != 200 or not data.startswith(b"\x89PNG"):
                raise NoPicture(f"HTTP {answer.status}")
            return data

    async def _body(self, answer: aiohttp.ClientResponse) -> Any:
        if answer.status == 429:
            self._course.count("429 refused")
            raise Throttled("429")
        if answer.status != 200:
            raise NoPicture(f"HTTP {answer.status}")
        return await answer.json(content_type=None)


def moment(text: Any) -> float | None:
    """A time of the service's as Unix seconds: Beijing's wall clock without a zone."""
    if not isinstance(text, str) or not text:
        return None
    return datetime.fromisoformat(text).replace(tzinfo=BEIJING).timestamp()


def _link(output: Any) -> str:
    content = output["choices"][0]["message"]["content"]
    return str(next(part["image"] for part in content if "image" in part))
