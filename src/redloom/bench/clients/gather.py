"""A naive gather: everything at once, paced by aiolimiter, polled every five seconds.

Where the service queues without end this keeps it busy by brute force: every picture is bought at
once, and every one of them is polled all the time.

May import: bench.course, bench.clients.talk.
"""

from __future__ import annotations

import asyncio

import aiohttp
from aiolimiter import AsyncLimiter

from redloom.bench.course import Client, Course

from .talk import Failed, Talk, Throttled

POLL_S = 5.0
POLLS_PER_SECOND = 20
TRIES = 3
MOST_WAITS = 12
"""Refusals that it bears before it gives a picture up."""


class _One:
    """The way of one endpoint's pictures."""

    def __init__(self, course: Course, talk: Talk, k: int) -> None:
        place = course.scenario.places[k]
        second = course.clock.real(1.0)
        # The limiter counts real seconds: a rate below one a second becomes a longer period.
        whole = max(1.0, place.rate)
        self._submits = AsyncLimiter(whole, second * whole / place.rate)
        self._polls = AsyncLimiter(POLLS_PER_SECOND, second)
        self._course, self._talk = course, talk

    async def carry(self, number: int) -> None:
        """Try a few times; every try buys."""
        for tried in range(TRIES):
            try:
                data = await self._try(number)
            except Exception:
                await self._course.clock.sleep(2.0**tried)
                continue
            self._course.file(number).write_bytes(data)
            self._course.got(number)
            return

    async def _try(self, number: int) -> bytes:
        answer = await self._submit(number)
        if self._course.scenario.lane == "sync":
            return await self._talk.download(answer)
        while True:
            await self._course.clock.sleep(POLL_S)
            if link := await self._poll(answer):
                return await self._talk.download(link)

    async def _poll(self, task: str) -> str:
        """The link, or '': a poll that fails is as good as one too early."""
        async with self._polls:
            try:
                return await self._talk.poll(task)
            except Failed:
                raise
            except Exception:
                return ""

    async def _submit(self, number: int) -> str:
        for waits in range(MOST_WAITS):
            async with self._submits:
                try:
                    return await self._talk.submit(self._course.prompts[number])
                except Throttled:
                    pass
            await self._course.clock.sleep(min(60.0, 2.0**waits))
        raise Throttled("429")


async def _race(course: Course) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        course.start()
        works = []
        for k, numbers in enumerate(course.shares()):
            one = _One(course, Talk(session, course, k), k)
            works += [one.carry(number) for number in numbers]
        await asyncio.gather(*works)


CLIENTS: dict[str, Client] = {"gather": _race}
