"""The engine against a bare loop on a service without latency: pictures/s, as a ratio.

The bare loop does the same three requests a picture (submit, poll, download), decodes the
picture and writes it with fsync, without a journal, at the same number of pictures at once. The
service runs in a process of its own, so that it is not what is measured.

    python benchmarks/overhead.py [--pictures 2000] [--at-once 64]
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import io
import multiprocessing
import os
import random
import resource
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any, Literal

import aiohttp
from PIL import Image

from redloom.clock import SystemClock
from redloom.emulators import dashscope_files
from redloom.emulators.dashscope import DashScopeEmulator, Emulated
from redloom.emulators.service_time import ServiceTime
from redloom.endpoint import Endpoint, Limits, Tools
from redloom.engine import Engine
from redloom.memory import collect_rarely
from redloom.providers import dashscope

KEY = "sk-emulated"


def photo(sha: str, identity: str, width: int, height: int, labels: object = ()) -> bytes:
    """A PNG as heavy as a model's: soft colours under grain, 24 bits, other bytes for each task."""
    head, rest = _photo(width, height)
    note = b"task\0" + sha.encode() + identity.encode()
    crc = zlib.crc32(b"tEXt" + note).to_bytes(4, "big")
    return head + len(note).to_bytes(4, "big") + b"tEXt" + note + crc + rest


@functools.cache
def _jpeg(width: int, height: int) -> bytes:
    """The same picture as a JPEG of quality 90, some 600 KB."""
    out = io.BytesIO()
    head, rest = _photo(width, height)
    with Image.open(io.BytesIO(head + rest)) as picture:
        picture.save(out, "JPEG", quality=90)
    return out.getvalue()


def jpeg(sha: str, identity: str, width: int, height: int, labels: object = ()) -> bytes:
    """A JPEG as heavy as a model's, other bytes for each task (a comment segment)."""
    data, note = _jpeg(width, height), sha.encode() + identity.encode()
    return data[:2] + b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note + data[2:]


@functools.cache
def _photo(width: int, height: int) -> tuple[bytes, bytes]:
    """The same pixels for all, compressed once: what comes before and after the task's own chunk."""
    rng = random.Random(7)
    soft = Image.frombytes("RGB", (12, 12), rng.randbytes(432)).resize((width, height))
    grain = Image.frombytes("RGB", (width, height), rng.randbytes(width * height * 3))
    out = io.BytesIO()
    Image.blend(soft, grain, 0.05).save(out, "PNG")
    data = out.getvalue()
    return data[:33], data[33:]  # behind the signature and IHDR


def serve(ready: Any, size: Literal["small", "photo", "jpeg"] = "small") -> None:
    """The service, until killed. ``size``: small (64 pixels), photo or jpeg (1280 x 1280, 24 bits)."""
    if size != "small":
        vars(dashscope_files)["picture"] = photo if size == "photo" else jpeg

    async def main() -> None:
        settings = Emulated(
            latency=ServiceTime(0, 0, 0, 0), concurrency=100_000, submit_per_second=1e9,
            task_calls_per_second=None, picture_size="small" if size == "small" else "asked",
        )  # fmt: skip
        emulator = DashScopeEmulator(settings, SystemClock())
        ready.put(await emulator.start())
        await asyncio.Event().wait()

    asyncio.run(main())


async def bare(url: str, number: int, at_once: int, folder: Path) -> float:
    """Seconds for ``number`` pictures by a bare loop."""
    headers = {"Authorization": f"Bearer {KEY}", "X-DashScope-Async": "enable"}
    gate = asyncio.Semaphore(at_once)

    async def one(session: aiohttp.ClientSession, k: int) -> None:
        body = {
            "model": "wan2.6-t2i",
            "input": {"messages": [{"role": "user", "content": [{"text": f"bare {k}"}]}]},
            "parameters": {"n": 1, "size": "1280*1280"},
        }
        async with gate:
            path = f"{url}/services/aigc/image-generation/generation"
            async with session.post(path, json=body, headers=headers) as answer:
                task = (await answer.json())["output"]["task_id"]
            async with session.get(f"{url}/tasks/{task}", headers=headers) as answer:
                output = (await answer.json())["output"]
            link = output["choices"][0]["message"]["content"][0]["image"]
            async with session.get(link) as answer:
                data = await answer.read()
            await asyncio.to_thread(keep, data, folder / f"{k}.png")

    began = time.perf_counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256)) as session:
        await asyncio.gather(*(one(session, k) for k in range(number)))
    return time.perf_counter() - began


def keep(data: bytes, path: Path) -> None:
    """Decode, write, fsync, rename."""
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


async def ours(url: str, number: int, at_once: int, folder: Path) -> float:
    """Seconds for ``number`` pictures by the engine, into a folder, start and end included."""
    limits = Limits(submit_per_second=1e9, concurrency=at_once, poll_per_second=1e9)
    endpoint = Endpoint("dashscope", "dashscope", "wan2.6-t2i", url, "cn-beijing", "a", limits)
    provider = dashscope.create(endpoint, Tools(key=KEY))
    began = time.perf_counter()
    async with Engine(
        workspace=folder / "ws", equipped=[(endpoint, provider)], clock=SystemClock()
    ) as engine:
        made = 0
        async for result in engine.stream((f"ours {k}" for k in range(number)), out=folder / "out"):
            made += result.ok
    assert made == number, made
    return time.perf_counter() - began


def main() -> None:
    """Three rounds of both, the best of each, their ratio, and the engine's memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", choices=["small", "jpeg", "photo"], default="small")
    asked = parser.parse_args()
    collect_rarely()  # as `redloom batch` does; the bare loop gains by it too
    ready: Any = multiprocessing.Queue()
    service = multiprocessing.Process(target=serve, args=(ready, asked.size), daemon=True)
    service.start()
    url = ready.get(timeout=30)
    bares, engines = [], []
    # Nothing is deleted before the end: for minutes after, ext4 walks past every deleted inode to
    # make a file, which is a quarter of the time of the next round.
    with tempfile.TemporaryDirectory() as name:
        for number in range(asked.rounds):
            folder = Path(name, str(number))
            folder.mkdir()
            bares.append(
                asked.pictures / asyncio.run(bare(url, asked.pictures, asked.at_once, folder))
            )
            engines.append(
                asked.pictures / asyncio.run(ours(url, asked.pictures, asked.at_once, folder))
            )
    service.kill()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"bare loop {max(bares):.0f}/s, engine {max(engines):.0f}/s, ratio {max(engines) / max(bares):.2f}, peak memory {peak:.0f} MB"
    )


if __name__ == "__main__":
    main()
