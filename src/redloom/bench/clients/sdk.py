"""The official ``dashscope`` SDK: `ImageGeneration.call` in as many threads as the cap.

Its own loop waits 1, 2, 4, then 5 s between polls; those sleeps are put on the bench's clock, the
rest of it is as published. Three tries of the whole, as its examples do.

May import: bench.course.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

from redloom.bench.course import Client, Course

TRIES = 3


def _on_the_clock(course: Course) -> None:
    """Let the SDK's sleeps last as long as the bench's clock says."""

    def sleep(seconds: float) -> None:
        time.sleep(course.clock.real(seconds))

    api = importlib.import_module("dashscope.client.base_api")
    api.time = SimpleNamespace(sleep=sleep, time=time.time)  # type: ignore[attr-defined]


def _picture(course: Course, number: int) -> bytes:
    aigc: Any = importlib.import_module("dashscope.aigc.image_generation")
    messages = [{"role": "user", "content": [{"text": course.prompts[number]}]}]
    task = aigc.ImageGeneration.async_call(
        model=course.scenario.model, messages=messages, n=1, prompt_extend=False, api_key=course.key
    )
    if task.status_code != 200:
        raise RuntimeError(task.code)
    done = aigc.ImageGeneration.wait(task, api_key=course.key)
    if done.status_code != 200 or done.output["task_status"] != "SUCCEEDED":
        raise RuntimeError(done.code)
    link = done.output["choices"][0]["message"]["content"][0]["image"]
    with urllib.request.urlopen(link) as answer:
        data: bytes = answer.read()
    if not data.startswith(b"\x89PNG"):
        raise RuntimeError("not a picture")
    return data


def _one(course: Course, number: int) -> None:
    for tried in range(TRIES):
        try:
            data = _picture(course, number)
        except Exception:
            time.sleep(course.clock.real(2.0**tried))
            continue
        course.file(number).write_bytes(data)
        course.got(number)
        return


async def _race(course: Course) -> None:
    # Read when the SDK is imported; its ``wait`` knows no other way to another address.
    os.environ["DASHSCOPE_HTTP_BASE_URL"] = course.urls[0]
    importlib.import_module("dashscope")
    _on_the_clock(course)
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(course.scenario.places[0].concurrency or 3) as pool:
        course.start()
        works = [
            loop.run_in_executor(pool, _one, course, number)
            for number in range(len(course.prompts))
        ]
        await asyncio.gather(*works)


CLIENTS: dict[str, Client] = {"sdk": _race}
