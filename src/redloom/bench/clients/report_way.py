"""The report's way: a semaphore, a poll every five seconds, everything inside the slot.

As RedBookContentGen's asynchronous service does it: Semaphore(3) (or at the cap), one retry loop
round the whole picture with 2^k seconds between tries, max_wait_time 180 s, three tries; the
download is part of the try, so that a broken one buys the picture again. ``serial`` is the same
with a semaphore of one.

May import: bench.course, bench.clients.talk.
"""

from __future__ import annotations

import asyncio

import aiohttp

from redloom.bench.course import Client, Course

from .talk import Talk

POLL_S = 5.0
WAIT_S = 180.0
TRIES = 3
ERRORS = (Exception,)


async def _picture(course: Course, talk: Talk, number: int) -> bytes:
    """One try, from the submit to the bytes."""
    answer = await talk.submit(course.prompts[number])
    if course.scenario.lane == "sync":
        return await talk.download(answer)
    waited = 0.0
    while waited < WAIT_S:
        await course.clock.sleep(POLL_S)
        waited += POLL_S
        if link := await talk.poll(answer):
            return await talk.download(link)
    raise TimeoutError


async def _one(course: Course, talk: Talk, number: int, gate: asyncio.Semaphore) -> None:
    async with gate:
        for tried in range(TRIES):
            try:
                data = await _picture(course, talk, number)
            except ERRORS:
                await course.clock.sleep(2.0**tried)
                continue
            course.file(number).write_bytes(data)
            course.got(number)
            return


def _with(slots: int | None) -> Client:
    async def race(course: Course) -> None:
        async with aiohttp.ClientSession() as session:
            course.start()
            works = []
            for k, numbers in enumerate(course.shares()):
                talk = Talk(session, course, k)
                gate = asyncio.Semaphore(slots or course.scenario.places[k].concurrency or 3)
                works += [_one(course, talk, number, gate) for number in numbers]
            await asyncio.gather(*works)

    return race


CLIENTS: dict[str, Client] = {
    "serial": _with(1),
    "report-3": _with(3),
    "report-cap": _with(None),
}
