"""Slow writers: half a request holds nothing for long, a whole one is answered as ever."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from redloom.studio import guard
from redloom.studio.patience import BODY_S, HEAD_S, SLOWEST, Patient, body_ends
from studio_rig import Rig, rig


@pytest.fixture
def hasty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A server that waits a fifth of a second for headers, and as long for a body."""
    monkeypatch.setattr(Patient, "head_s", 0.2)
    monkeypatch.setattr(guard, "body_ends", lambda began, _seen: began + 0.2)
    with rig(tmp_path / "ws") as made:
        yield made


def plug(url: str) -> socket.socket:
    """A connection."""
    name, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((name, int(port)), timeout=20)


def read(one: socket.socket) -> bytes:
    """All that comes until the far side closes."""
    data = b""
    while block := one.recv(65536):
        data += block
    return data


@pytest.mark.parametrize("sent", [b"", b"GET", b"GET / HTTP/1.1\r\nHost: localhost\r\n"])
def test_half_a_request_is_let_go(hasty: Rig, sent: bytes) -> None:
    """Nothing, a word, headers without an end: closed by us."""
    with plug(hasty.url) as one:
        one.sendall(sent)
        assert read(one) == b""


def test_dripping_does_not_set_the_clock_back(hasty: Rig) -> None:
    """A byte at a time: the end counts from the first."""
    with plug(hasty.url) as one:
        one.settimeout(0.01)
        assert any(is_closed(one) for _ in range(3000))


def is_closed(one: socket.socket) -> bool:
    """Whether the far side has closed it, after one more byte."""
    try:
        one.sendall(b"G")
        return one.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_half_a_body_is_refused(hasty: Rig) -> None:
    """Announced and not sent: 408, nothing done."""
    before = hasty.provider.submits
    with plug(hasty.url) as one:
        host = hasty.url.removeprefix("http://")
        one.sendall(
            f"POST /v1/images/generations HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            'Content-Length: 1000\r\n\r\n{"prompt": '.encode()
        )
        said = read(one)
    assert said.startswith(b"HTTP/1.1 408")
    assert b"too_slow" in said
    assert hasty.provider.submits == before


def test_whole_requests_and_streams_stay(hasty: Rig) -> None:
    """A picture longer in the making than that, a second request on the connection, an event stream."""
    with hasty.client.stream("GET", "/api/events") as stream:
        lines = stream.iter_lines()
        assert next(lines)
        made = hasty.client.post("/v1/images/generations", json={"prompt": "x", "n": 3})
        assert made.status_code == 200
        assert hasty.client.get("/api/runs").status_code == 200
        assert any(line.startswith("event: ") for line in lines)


def test_large_bodies_get_their_time() -> None:
    """64 MiB at the slowest speed that is taken is not cut off."""
    assert body_ends(0.0, 0) == BODY_S
    assert body_ends(0.0, 64 * 1024 * 1024) == BODY_S + 64 * 1024 * 1024 / SLOWEST
    assert HEAD_S < BODY_S
