"""Downloads against a bare loop: pictures per second of both in one run, and the loop's lag.

    python benchmarks/downloads.py [--pictures 300] [--at-once 8] [--rounds 3]

A server in a process of its own serves one 1.5 MB PNG on loopback. The bare loop is what one
would write by hand: aiohttp, streamed into memory, hashed and decoded with Pillow in a thread
pool of equal size; it checks no structure, writes no file and syncs nothing. Rounds alternate,
so that both meet the same weather. Lag is how late a 5 ms timer on the event loop wakes.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import json
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import aiohttp
from aiohttp import web
from PIL import Image

from redloom.clock import SystemClock
from redloom.download import Downloads, Rules, own_host
from redloom.endpoint import Picture

DECODERS = min(8, os.cpu_count() or 2)


def picture() -> bytes:
    """A 1024x1024 PNG of about 1.5 MB: soft shapes with a little seeded grain."""
    dice = random.Random(1)
    soft = Image.frombytes("RGB", (32, 32), dice.randbytes(32 * 32 * 3)).resize((1024, 1024))
    grain = Image.frombytes("L", (1024, 1024), dice.randbytes(1024 * 1024)).point(lambda v: v >> 5)
    out = io.BytesIO()
    Image.blend(soft, Image.merge("RGB", [grain] * 3), 0.3).save(out, "png", compress_level=6)
    return out.getvalue()


def serve(pipe: Connection) -> None:
    """Serve the picture until the process is ended."""

    async def main() -> None:
        data = picture()

        async def answer(_request: web.Request) -> web.Response:
            return web.Response(body=data, headers={"ETag": '"x"'})

        app = web.Application()
        app.router.add_get("/{n}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        pipe.send((f"http://127.0.0.1:{runner.addresses[0][1]}", len(data)))
        await asyncio.Event().wait()

    asyncio.run(main())


async def ours(base: str, pictures: int, at_once: int) -> None:
    """The stage as the engine uses it: whole files on disk, verified, fsynced, renamed."""
    with tempfile.TemporaryDirectory() as folder:
        downloads = Downloads(
            Path(folder),
            at_once=at_once,
            clock=SystemClock(),
            pauses=lambda _k: None,
            decoders=DECODERS,
        )
        rules = Rules(own_host(base))

        async def one(n: int) -> None:
            asked = Picture(url=f"{base}/{n}")
            got = await downloads.fetch(asked, rules, name=f"n{n}", size=(1024, 1024))
            got.path.unlink()

        await in_hand(one, pictures, at_once * 2)
        await downloads.close()


async def bare(base: str, pictures: int, at_once: int) -> None:
    """The hand-written loop: memory only."""
    pool = ThreadPoolExecutor(DECODERS)
    places = asyncio.Semaphore(at_once)
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession(read_bufsize=256 * 1024) as session:

        async def one(n: int) -> None:
            async with places, session.get(f"{base}/{n}") as response:
                data = bytearray()
                async for piece in response.content.iter_chunked(256 * 1024):
                    data += piece
            await loop.run_in_executor(pool, hash_and_decode, bytes(data))

        await in_hand(one, pictures, at_once * 2)
    pool.shutdown()


def hash_and_decode(data: bytes) -> str:
    """What the bare loop does with the bytes."""
    with Image.open(io.BytesIO(data)) as opened:
        opened.load()
    return hashlib.sha256(data).hexdigest()


async def in_hand(one: Callable[[int], Awaitable[None]], pictures: int, window: int) -> None:
    """Run ``one`` for every number, ``window`` of them in hand."""
    numbers = iter(range(pictures))

    async def worker() -> None:
        for n in numbers:
            await one(n)

    await asyncio.gather(*(worker() for _ in range(window)))


async def timed(work: Awaitable[None], pictures: int) -> tuple[float, list[float]]:
    """Pictures per second, and how late a 5 ms timer woke, in ms."""
    lags: list[float] = []

    async def watch() -> None:
        while True:
            due = time.perf_counter() + 0.005
            await asyncio.sleep(0.005)
            lags.append((time.perf_counter() - due) * 1000)

    watching = asyncio.ensure_future(watch())
    began = time.perf_counter()
    await work
    spent_s = time.perf_counter() - began
    watching.cancel()
    return pictures / spent_s, lags


async def compare(base: str, options: argparse.Namespace) -> dict[str, float]:
    """Both ways in turn; medians of the rounds."""
    rates: dict[str, list[float]] = {"ours": [], "bare": []}
    lags: dict[str, list[float]] = {"ours": [], "bare": []}
    await bare(base, 20, options.at_once)
    for _ in range(options.rounds):
        for name, way in (("bare", bare), ("ours", ours)):
            work = way(base, options.pictures, options.at_once)
            rate, late = await timed(work, options.pictures)
            rates[name].append(rate)
            lags[name] += late
    middle = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "ours_per_s": round(middle["ours"], 1),
        "bare_per_s": round(middle["bare"], 1),
        "ratio": round(middle["ours"] / middle["bare"], 3),
        "lag_p99_ms": round(statistics.quantiles(lags["ours"], n=100)[98], 2),
        "bare_lag_p99_ms": round(statistics.quantiles(lags["bare"], n=100)[98], 2),
    }


def main() -> None:
    """Run it and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    near, far = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(far,), daemon=True)
    server.start()
    base, size = near.recv()
    found = asyncio.run(compare(base, options))
    server.terminate()
    facts = {"pictures": options.pictures, "at_once": options.at_once, "picture_bytes": size}
    sys.stdout.write(json.dumps({**facts, **found}) + "\n")


if __name__ == "__main__":
    main()
