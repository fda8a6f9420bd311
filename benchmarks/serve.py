"""Cached pictures for 200 clients: our server beside a bare FastAPI route with the same bytes.

Each server runs in a process of its own on one uvicorn worker; one process of plain sockets asks.
Prints requests a second and the 50th and 99th percentile of both, and their ratio, for
``GET /pictures/…`` (the bytes) and ``POST /v1/images/generations`` with ``cache`` (the address).
The bare route for the second answers a JSON of the same length without looking at anything.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response

from redloom.studio.server import bound

CLIENTS = 200
SECONDS = 4.0
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))


def ours(root: str, out: Any) -> None:
    """Our server; tells its address and what can be asked."""
    import httpx

    from studio_rig import rig

    with rig(Path(root)) as made:
        body = {"prompt": "a red scarf", "cache": True}
        answer = made.client.post("/v1/images/generations", json=body)
        url = answer.json()["data"][0]["url"]
        data = httpx.get(url, trust_env=False).content
        answer = made.client.post("/v1/images/generations", json=body)
        out.put((made.url, url.removeprefix(made.url), json.dumps(body), data, answer.text))
        time.sleep(3600)


def bare(data: bytes, answer: str, out: Any) -> None:
    """A bare FastAPI application that has nothing but these bytes."""
    app = FastAPI()

    @app.get("/picture")
    async def picture() -> Response:
        return Response(data, media_type="image/png")

    @app.post("/answer")
    async def say(request: Request) -> Response:
        await request.json()
        return Response(answer, media_type="application/json")

    plug = bound("127.0.0.1", 0)
    out.put(f"http://127.0.0.1:{plug.getsockname()[1]}")
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
    asyncio.run(uvicorn.Server(config).serve(sockets=[plug]))


async def asked(url: str, method: str, path: str, body: str = "") -> tuple[float, float, float]:
    """Requests a second, and two percentiles in milliseconds, of CLIENTS that ask again and again."""
    host, _, port = url.removeprefix("http://").partition(":")
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    request = f"{head}\r\n{body}".encode()
    took: list[float] = []
    ends = time.perf_counter() + SECONDS

    async def client() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        while time.perf_counter() < ends:
            began = time.perf_counter()
            writer.write(request)
            told = await reader.readuntil(b"\r\n\r\n")
            assert told.startswith(b"HTTP/1.1 200"), told[:200]
            at = told.lower().index(b"content-length:") + 15
            await reader.readexactly(int(told[at : told.index(b"\r\n", at)]))
            took.append(time.perf_counter() - began)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    seconds = time.perf_counter() - began
    took.sort()
    return len(took) / seconds, took[len(took) // 2] * 1000, took[int(len(took) * 0.99)] * 1000


def main() -> None:
    """Start both, ask both, print."""
    context = multiprocessing.get_context("spawn")
    from_ours, from_bare = context.Queue(), context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        first = context.Process(target=ours, args=(folder, from_ours), daemon=True)
        first.start()
        url, path, body, data, answer = from_ours.get(timeout=60)
        second = context.Process(target=bare, args=(data, answer, from_bare), daemon=True)
        second.start()
        other = from_bare.get(timeout=60)
        print(f"{CLIENTS} clients, {SECONDS:g} s each, {len(data):,} bytes a picture")
        rows = [
            ("picture", (url, "GET", path), (other, "GET", "/picture")),
            ("cache: true", (url, "POST", "/v1/images/generations", body), (other, "POST", "/answer", body)),
        ]  # fmt: skip
        for name, mine, theirs in rows:
            a, b = asyncio.run(asked(*mine)), asyncio.run(asked(*theirs))
            print(f"{name:<12} ours {a[0]:7.0f}/s  p50 {a[1]:6.1f} ms  p99 {a[2]:6.1f} ms")
            print(f"{'':<12} bare {b[0]:7.0f}/s  p50 {b[1]:6.1f} ms  p99 {b[2]:6.1f} ms   ours/bare {a[0] / b[0]:.2f}")  # fmt: skip
        for process in (first, second):
            process.kill()
            process.join()


if __name__ == "__main__":
    main()
