"""Event streams: many at once in little memory, readers that do not read, ends without a gap."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from helpers.waiting import until
from redloom.events import Advanced
from redloom.studio.feed import RING, Channel, Frame, Reader, frame, mark_of
from redloom.studio.options import Options
from redloom.studio.streams import Events
from studio_rig import Rig, rig

CLIENTS = 1000


def open_stream(made: Rig, path: str, after: str = "") -> socket.socket:
    """A client that has asked for a stream and reads nothing by itself."""
    host, _, port = made.url.removeprefix("http://").partition(":")
    plug = socket.create_connection((host, int(port)), timeout=20)
    mark = f"Last-Event-ID: {after}\r\n" if after else ""
    plug.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n{mark}\r\n".encode())
    return plug


def read_until(plug: socket.socket, words: bytes, seconds: float = 20.0) -> bytes:
    """What came up to ``words``."""
    data, ends = b"", time.monotonic() + seconds
    plug.settimeout(seconds)
    while words not in data and time.monotonic() < ends:
        block = plug.recv(65536)
        if not block:
            break
        data += block
    return data


@pytest.mark.slow
def test_a_thousand_streams_in_bounded_memory(tmp_path: Path) -> None:
    """1,000 clients of one run, most of which never read: each that reads has every row, and the
    process grows by less than 200 KB a client (a connection, its request, its unread bytes); beyond the cap a client is told to come later.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(limit[1], 4096)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, limit[1]))
    with (
        rig(tmp_path / "ws", Options(most_streams=CLIENTS)) as made,
        contextlib.ExitStack() as held,
    ):
        made.client.post("/v1/images/generations", json={"prompt": "warm"})
        form = {"prompts": [f"p{k}" for k in range(40)], "priority": 1}
        run = made.client.post("/api/runs", json=form).json()["id"]
        before = memory()
        plugs = [
            held.enter_context(contextlib.closing(open_stream(made, f"/api/runs/{run}/events")))
            for _ in range(CLIENTS)
        ]
        until(lambda: made.house.feed.clients == CLIENTS, "every stream open", within_s=60)
        assert made.client.get(f"/api/runs/{run}/events").status_code == 503
        made.wait_run(run)
        for plug in plugs[:: CLIENTS // 5]:
            data = read_until(plug, b"event: finish").decode()
            rows = [
                json.loads(line[6:])["row"]["row"]
                for line in data.splitlines()
                if line.startswith("data: ") and '"image_url"' in line
            ]
            assert sorted(rows) == list(range(1, 41))
        assert (memory() - before) / CLIENTS < 200_000
    assert made.house.feed.clients == 0


def memory() -> int:
    """Bytes that this process holds now (the clients' own sockets are the kernel's)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_a_reader_that_does_not_read_is_let_go() -> None:
    """One write may wait so long, then the stream ends and its source is closed."""
    closed = []

    async def frames() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"data: x\n\n"
        finally:
            closed.append(True)

    async def main() -> float:
        async def send(message: dict[str, object]) -> None:
            if message["type"] == "http.response.body":
                await asyncio.sleep(3600)

        async def receive() -> dict[str, object]:
            await asyncio.sleep(3600)
            return {}

        began = time.monotonic()
        await Events(frames(), slowest_s=0.05)({"type": "http"}, receive, send)  # type: ignore[arg-type]
        return time.monotonic() - began

    assert asyncio.run(main()) < 5
    assert closed == [True]


def test_a_slow_reader_falls_back_to_the_record() -> None:
    """The ring forgets; the reader is told so and never given a hole."""

    async def main() -> None:
        channel = Channel()
        reader = Reader(channel, 0, (0, 0))
        for number in range(RING + 5):
            channel.push(frame("complete", {}, (number + 1, 1)))
        assert reader.take() is None
        fresh = Reader(channel, channel.end - 3, (RING, 1))
        assert [one.mark for one in fresh.take() or []] == [(RING + k, 1) for k in (3, 4, 5)]
        assert fresh.take() == []

    asyncio.run(main())


def test_a_reader_sees_nothing_twice_and_nothing_of_others() -> None:
    """Marks that it has are passed over; frames of another caller too."""

    async def main() -> None:
        channel = Channel()
        mine = Reader(channel, 0, (5, 0), owner="me")
        for one in (
            Frame(b"old", (4, 9), "me"),
            Frame(b"theirs", (6, 1), "you"),
            Frame(b"new", (6, 2), "me"),
        ):
            channel.push(one)
        assert [one.data for one in mine.take() or []] == [b"new"]

    asyncio.run(main())


def test_marks_are_read_back() -> None:
    """An id of ours is its mark; anything else the beginning."""
    assert mark_of("17.203") == (17, 203)
    for text in (None, "", "17", "a.b", "-1.2", "1.2.3", "9" * 30 + ".1"):
        assert mark_of(text) == (0, 0)


def test_a_picture_in_the_making_is_told_with_a_look_at_it(tmp_path: Path) -> None:
    """While somebody watches, steps come with their fraction and the address of a preview; with
    nobody there, none is wanted."""
    with rig(tmp_path / "ws") as made:
        engine = made.house.engine
        run = made.client.post("/api/runs", json={"prompts": ["p"], "priority": 1}).json()["id"]
        before = engine.previews.wanted
        with contextlib.closing(open_stream(made, f"/api/runs/{run}/events")) as plug:
            read_until(plug, b"event: snapshot")
            assert (before, engine.previews.wanted) == (False, True)
            engine.previews.keep("r1:abc", b"\xff\xd8jpeg")
            steps = Advanced(at=0.0, run=run, row=1, take=1, fraction=0.25, preview="r1:abc")
            made.loop.call_soon_threadsafe(made.house.feed._notice, steps)
            said = read_until(plug, b'"preview"')
            assert b'"fraction":0.25' in said.replace(b" ", b"")
        seen = made.client.get("/api/previews/r1%3Aabc")
        assert (seen.status_code, seen.content) == (200, b"\xff\xd8jpeg")
        assert made.client.get("/api/previews/r1%3Anone").status_code == 404


def test_a_run_that_was_over_before_anybody_looked_says_so(tmp_path: Path) -> None:
    """A page that comes back after the end has every row and the finish, and need not guess."""
    with rig(tmp_path / "ws") as made:
        run = made.client.post("/api/runs", json={"prompts": ["p", "q"]}).json()["id"]
        made.wait_run(run)
        events = f"/api/runs/{run}/events"
        with contextlib.closing(open_stream(made, events, "0.0")) as plug:
            said = read_until(plug, b"event: finish")
            assert said.count(b"event: complete") == 2
            assert said.index(b"event: snapshot") < said.index(b"event: finish")
