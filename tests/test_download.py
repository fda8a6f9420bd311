"""Downloads: whole and verified or not at all, never bought again, never led inward."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import os
import random
import resource
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from yarl import URL

from redloom.clock import is_held
from redloom.download import Downloads, Fetched, Gate, Rules, own_host, sweep
from redloom.endpoint import Picture
from redloom.errors import DiskFull, FetchFailed, LinkExpired, NotAPicture, UnsafeLink
from redloom.links import admit, is_public, parse, proxy_for

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
EXPIRED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Request has expired."


def make(kind: str = "png", size: tuple[int, int] = (48, 32)) -> bytes:
    """Noise, which does not compress, so that half a file is half a picture."""
    noise = random.Random(7).randbytes(size[0] * size[1] * 3)
    out = io.BytesIO()
    Image.frombytes("RGB", size, noise).save(out, kind)
    return out.getvalue()


PNG = make()
BIG = make(size=(700, 500))


class StillClock:
    """A clock on which pauses take no time and are written down."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> float:
        return 1000.0 + sum(self.slept)

    async def sleep(self, seconds: float) -> None:
        assert not is_held()
        self.slept.append(seconds)
        await asyncio.sleep(0)

    def real(self, seconds: float) -> float:
        return seconds


class Server:
    """Answers the n-th request with the n-th handler, the last one ever after."""

    def __init__(self, handlers: Sequence[Handler]) -> None:
        self.handlers = list(handlers)
        self.seen: list[web.Request] = []
        self.asked = asyncio.Event()
        self.base = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        self.asked.set()
        return await self.handlers[min(len(self.seen), len(self.handlers)) - 1](request)

    def ranges(self) -> list[str | None]:
        return [request.headers.get("Range") for request in self.seen]


def whole(data: bytes = PNG, status: int = 200, **headers: Any) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=data, status=status, headers=headers)

    return handler


def cut(data: bytes, keep: int, folder: Path | None = None) -> Handler:
    """The true length promised, fewer bytes sent, then the connection dropped.

    With ``folder``, not before a part of them lies there.
    """

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"ETag": '"a"'})
        response.content_length = len(data)
        await response.prepare(request)
        await response.write(data[:keep])
        if folder is not None:
            await asyncio.to_thread(wait_for_part, folder)
        assert request.transport is not None
        request.transport.close()
        return response

    return handler


def wait_for_part(folder: Path) -> None:
    while not any(path.stat().st_size for path in folder.glob("*.part")):
        os.sched_yield()


def ranged(data: bytes, etag: str = '"a"', shift: int = 0) -> Handler:
    """Honours Range; ``shift`` makes it answer with another part than asked for."""

    async def handler(request: web.Request) -> web.StreamResponse:
        start = request.http_range.start or 0
        if not start:
            return web.Response(body=data, headers={"ETag": etag})
        start += shift
        stated = f"bytes {start}-{len(data) - 1}/{len(data)}"
        headers = {"ETag": etag, "Content-Range": stated}
        return web.Response(body=data[start:], status=206, headers=headers)

    return handler


def moved(where: str) -> Handler:
    return whole(b"", 302, Location=where)


async def stalled(request: web.Request) -> web.StreamResponse:
    """Promises a body and sends none, for as long as anybody listens."""
    response = web.StreamResponse()
    response.content_length = 100
    await response.prepare(request)
    await asyncio.Event().wait()
    return response


@asynccontextmanager
async def serving(*handlers: Handler) -> AsyncIterator[Server]:
    server = Server(handlers)
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


class Case:
    """One Downloads against one server."""

    def __init__(self, folder: Path, server: Server, tries: int = 4, **options: Any) -> None:
        self.clock = StillClock()
        self.server = server
        self.folder = folder
        self.rules = Rules(own_host(server.base), stall_s=5.0)
        self.downloads = Downloads(
            folder,
            clock=self.clock,
            pauses=lambda k: float(k) if k < tries else None,
            **options,
        )

    async def fetch(self, path: str = "/a.png", **options: Any) -> Fetched:
        picture = options.pop("picture", None) or Picture(url=self.server.base + path)
        rules = options.pop("rules", self.rules)
        return await self.downloads.fetch(
            picture, rules, name=options.pop("name", "one"), size=None, **options
        )


@asynccontextmanager
async def case(folder: Path, *handlers: Handler, **options: Any) -> AsyncIterator[Case]:
    async with serving(*handlers) as server:
        made = Case(folder, server, **options)
        try:
            yield made
        finally:
            await made.downloads.close()


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 20))


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_picture_arrives_whole(tmp_path: Path, kind: str) -> None:
    """A good answer becomes one measured file with the right digest, whatever its name says."""

    async def body() -> None:
        data = make(kind)
        async with case(tmp_path, whole(data)) as it:
            got = await it.fetch("/wrong.gif")
        assert got.path.read_bytes() == data
        assert got.sha256 == hashlib.sha256(data).hexdigest()
        assert (got.format, got.width, got.height, got.size_bytes) == (kind, 48, 32, len(data))
        assert names(tmp_path) == [got.path.name]

    run(body())


def test_wrong_size_is_a_flag(tmp_path: Path) -> None:
    """A picture of another size than asked is kept and flagged."""

    async def body() -> None:
        async with case(tmp_path, whole()) as it:
            picture = Picture(url=it.server.base)
            for size, flags in [((48, 32), ()), ((32, 48), ("wrong-size",))]:
                got = await it.downloads.fetch(picture, it.rules, name="n", size=size)
                assert got.flags == flags

    run(body())


def test_signed_query_goes_out_as_it_came(tmp_path: Path) -> None:
    """Percent-encoding in a signed link is neither added nor taken away, and only GET is used."""

    async def body() -> None:
        path = "/a%2Fb/c.png?Expires=1&OSSAccessKeyId=L%2B&Signature=x%2Fy%3D%3D+%7e&sp=a%20b"
        async with case(tmp_path, whole()) as it:
            await it.fetch(path)
            assert it.server.seen[0].raw_path == path
            assert it.server.seen[0].method == "GET"

    run(body())


@pytest.mark.parametrize(
    "bad",
    [
        whole(b"<html>sorry</html>", ETag='"x"'),
        whole(PNG[:-20]),
        whole(b""),
        whole(PNG[:100] + b"\0" + PNG[101:]),
        whole(b"GIF89a" + b"\0" * 50),
        whole(b"busy", 503),
        whole(b"slow down", 429),
        cut(PNG, 200),
        cut(PNG, 0),
    ],
)
def test_bad_bytes_are_fetched_again(tmp_path: Path, bad: Handler) -> None:
    """Truncated, wrong, empty, damaged bytes and busy servers cost another try, with pauses."""

    async def body() -> None:
        async with case(tmp_path, bad, bad, whole()) as it:
            got = await it.fetch()
            assert got.path.read_bytes() == PNG
            assert it.clock.slept == [1.0, 2.0]
            assert names(tmp_path) == [got.path.name]

    run(body())


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (whole(b"<html>"), NotAPicture),
        (whole(b"", 500), FetchFailed),
        (cut(PNG, 200), FetchFailed),
        (moved("/again"), FetchFailed),
    ],
)
def test_giving_up_says_that_it_is_paid(
    tmp_path: Path, bad: Handler, error: type[Exception]
) -> None:
    """When the pauses end, the last error is raised; nothing that looks finished is left."""

    async def body() -> None:
        async with case(tmp_path, bad, tries=3) as it:
            with pytest.raises(error) as caught:
                await it.fetch("/a?Signature=secret")
            assert it.clock.slept == [1.0, 2.0]
            assert "paid for" in caught.value.args[1]
            assert "secret" not in repr(caught.value) + repr(caught.value.__cause__)
            assert all(name.endswith(".part") for name in names(tmp_path))

    run(body())


def test_broken_download_is_resumed(tmp_path: Path) -> None:
    """Where the bytes are the same ones, the next try asks only for the rest."""

    async def body() -> None:
        half = len(BIG) // 2
        async with case(tmp_path, cut(BIG, half, tmp_path), ranged(BIG)) as it:
            got = await it.fetch()
            assert got.path.read_bytes() == BIG
            asked = it.server.ranges()
        assert asked[0] is None
        assert asked[1] is not None
        assert 0 < int(asked[1].removeprefix("bytes=").rstrip("-")) <= half

    run(body())


@pytest.mark.parametrize(
    "second",
    [whole(BIG, ETag='"a"'), ranged(BIG, '"b"'), ranged(BIG, shift=7), whole(b"", 416)],
    ids=["ignored", "changed", "shifted", "416"],
)
def test_resuming_falls_back_to_the_start(tmp_path: Path, second: Handler) -> None:
    """A server that ignores Range, or has other bytes now, never leads to a mixed file."""

    async def body() -> None:
        async with case(tmp_path, cut(BIG, 300_000, tmp_path), second, ranged(BIG, '"b"')) as it:
            got = await it.fetch()
            assert got.path.read_bytes() == BIG
            assert names(tmp_path) == [got.path.name]
            assert it.clock.slept == [1.0]  # starting over is no failed try

    run(body())


def test_a_part_left_by_a_crash_is_resumed(tmp_path: Path) -> None:
    """A new process goes on with the file that a killed one left."""

    async def body() -> None:
        async with serving(cut(BIG, 400_000, tmp_path), ranged(BIG)) as server:
            first = Case(tmp_path, server, tries=1)
            with pytest.raises(FetchFailed):
                await first.fetch()
            await first.downloads.close()
            assert sweep(tmp_path, keep=["one"]) == 0
            second = Case(tmp_path, server, tries=1)
            assert (await second.fetch()).path.read_bytes() == BIG
            await second.downloads.close()
            assert server.ranges()[1] is not None

    run(body())


def test_the_first_downloads_of_a_process_begin_at_once(tmp_path: Path) -> None:
    """Several ask at one moment what an earlier process left: none of them forgets what it left
    itself since, so that a broken first try is found by the second and nothing half is left."""

    async def body() -> None:
        first = [cut(BIG, 300_000, tmp_path)] * 3
        async with case(tmp_path, *first, ranged(BIG, '"b"')) as it:
            it.clock.sleep = lambda _s: asyncio.sleep(0)  # type: ignore[assignment, method-assign]
            got = await asyncio.gather(*(it.fetch(f"/{k}", name=f"n{k}") for k in range(3)))
            assert sorted(names(tmp_path)) == sorted(one.path.name for one in got)

    run(body())


def test_another_link_starts_over(tmp_path: Path) -> None:
    """A part of one link is not continued with the bytes of another."""

    async def body() -> None:
        async with case(tmp_path, cut(BIG, 400_000, tmp_path), ranged(BIG), tries=1) as it:
            with pytest.raises(FetchFailed):
                await it.fetch("/a")
            assert (await it.fetch("/b")).path.read_bytes() == BIG

    run(body())


@pytest.mark.parametrize(
    "gone",
    [whole(EXPIRED, 403), whole(b"", 404), whole(b"", 410), whole(EXPIRED, 400), whole(EXPIRED)],
)
def test_expired_link_is_renewed(tmp_path: Path, gone: Handler) -> None:
    """A link that has ended is replaced by asking the task, at once and without buying."""

    async def body() -> None:
        async with case(tmp_path, gone, whole()) as it:
            asked = 0

            async def renew() -> Picture:
                nonlocal asked
                asked += 1
                return Picture(url=f"{it.server.base}/new")

            got = await it.fetch("/old", renew=renew)
            assert got.path.read_bytes() == PNG
            assert (asked, it.clock.slept) == (1, [])
            assert [request.path for request in it.server.seen] == ["/old", "/new"]

    run(body())


def test_expired_link_that_cannot_be_renewed(tmp_path: Path) -> None:
    """Without a task to ask, or with only dead links from it, LinkExpired comes out in the end."""

    async def body() -> None:
        async with case(tmp_path, whole(EXPIRED, 403), tries=6) as it:
            with pytest.raises(LinkExpired):
                await it.fetch()
            assert len(it.server.seen) == 1
            links = iter(range(100))

            async def renew() -> Picture:
                return Picture(url=f"{it.server.base}/{next(links)}")

            with pytest.raises(LinkExpired):
                await it.fetch(renew=renew)
            assert it.clock.slept == [3.0, 4.0, 5.0]

    run(body())


def test_renewal_may_bring_the_bytes(tmp_path: Path) -> None:
    """A service may answer the second time with the picture itself."""

    async def body() -> None:
        async with case(tmp_path, whole(b"", 404)) as it:

            async def renew() -> Picture:
                return Picture(data=PNG)

            assert (await it.fetch(renew=renew)).path.read_bytes() == PNG

    run(body())


def test_bytes_take_the_same_way(tmp_path: Path) -> None:
    """Pictures that come as bytes are verified too, and broken ones are not tried again."""

    async def body() -> None:
        async with case(tmp_path, whole()) as it:
            got = await it.fetch(picture=Picture(data=PNG))
            assert got.path.read_bytes() == PNG
            for data in (PNG[:-5], b"", b"no"):
                with pytest.raises(NotAPicture):
                    await it.fetch(picture=Picture(data=data), name="two")
            assert it.clock.slept == []

    run(body())


def test_a_file_that_came_with_the_answer_takes_the_same_way(tmp_path: Path) -> None:
    """It is verified, stays until its outcome is on record, and serves again after a crash."""

    async def body() -> None:
        async with case(tmp_path, whole()) as it:
            came = tmp_path / "spill-1.part"
            for picture in (PNG, PNG):
                came.write_bytes(picture)
                got = await it.fetch(picture=Picture(file=str(came)))
                assert got.path.read_bytes() == PNG
                assert came.read_bytes() == PNG
            await it.downloads.let_go(Picture(file=str(came)))
            await it.downloads.let_go(Picture(file=str(came)))
            assert not came.exists()
            with pytest.raises(NotAPicture, match=r"no longer|不在"):
                await it.fetch(picture=Picture(file=str(came)))
            came.write_bytes(PNG[:-5])
            with pytest.raises(NotAPicture):
                await it.fetch(picture=Picture(file=str(came)))
            assert it.clock.slept == []

    run(body())


def test_stalled_server_is_left(tmp_path: Path) -> None:
    """A server that sends nothing more is given up within the stall limit, a drip within the try."""

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"\x89")
            await asyncio.sleep(0.01)

    async def body() -> None:
        async with case(tmp_path, stalled, drip, whole()) as it:
            rules = Rules(it.rules.own_host, stall_s=0.2, timeout_s=0.4)
            assert (await it.fetch(rules=rules)).path.read_bytes() == PNG
            assert len(it.server.seen) == 3

    run(body())


def test_caps_hold(tmp_path: Path) -> None:
    """Too many bytes (stated or not) and too many pixels are refused without another try."""

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"\0" * 65536)

    async def body() -> None:
        for handler, most, pixels in (
            (whole(BIG), 1000, 10**6),
            (endless, 10**6, 10**6),
            (whole(make("webp")), 10**6, 48 * 32 - 1),
            (whole(PNG), 10**6, 48 * 32 - 1),
        ):
            async with case(tmp_path, handler) as it:
                rules = Rules(it.rules.own_host, max_bytes=most, max_pixels=pixels)
                with pytest.raises(NotAPicture):
                    await it.fetch(rules=rules)
                assert len(it.server.seen) == 1
        sweep(tmp_path)
        async with case(tmp_path, whole(PNG)) as it:
            exact = Rules(it.rules.own_host, max_bytes=len(PNG), max_pixels=48 * 32)
            assert (await it.fetch(rules=exact)).path.read_bytes() == PNG

    run(body())


INWARD = [
    "http://127.0.0.1:1/a",
    "https://127.0.0.1/a",
    "https://localhost/a",
    "https://10.0.0.8/a",
    "https://169.254.169.254/latest/meta-data",
    "https://100.100.100.200/latest/meta-data",
    "https://0.0.0.0/a",
    "https://[::1]/a",
    "https://[::ffff:10.0.0.1]/a",
    "https://[64:ff9b::7f00:1]/a",
    "https://[2002:7f00:1::]/a",
    "https://[fe80::1%25eth0]/a",
    "https://2130706433/a",
    "https://0x7f000001/a",
    "https://0x7f.1/a",
    "https://127.1/a",
    "https://0177.0.0.1/a",
    "https://127.0.0.1./a",
    "https://intranet/a",
    "https://user:pw@example.com/a",
    "https://user@example.com/a",
    "http://example.com/a",
    "ftp://example.com/a",
    "file:///etc/passwd",
    "data:image/png;base64,AAAA",
    "gopher://127.0.0.1/",
    "//example.com/a",
    "https://evil-aliyuncs.com.10.0.0.1/a",
    "http://x.aliyuncs.com:8080/a",
    "https:///a",
    "https://exa mple.com/",
    "https://example.com\\@10.0.0.1/",
    "",
]


@pytest.mark.parametrize("link", INWARD)
def test_inward_links_are_refused(tmp_path: Path, link: str) -> None:
    """No answer of a service makes this machine ask its own network, in whatever spelling."""

    async def never(host: str, port: int) -> Sequence[str]:
        raise AssertionError(f"{host} was looked up")

    async def body() -> None:
        async with case(tmp_path, whole(), resolve=never) as it:
            rules = Rules(suffixes=(".aliyuncs.com",))
            with pytest.raises(UnsafeLink) as caught:
                await it.downloads.fetch(Picture(url=link), rules, name="a", size=None)
            assert "meta-data" not in str(caught.value)
            assert it.server.seen == []

    run(body())


@pytest.mark.parametrize("link", [link for link in INWARD if link.startswith("http")])
def test_redirects_inward_are_refused(tmp_path: Path, link: str) -> None:
    """A redirect is judged like the first link, wherever it starts."""

    async def body() -> None:
        async with case(tmp_path, moved("/hop"), moved(link)) as it:
            with pytest.raises(UnsafeLink):
                await it.fetch()
            assert len(it.server.seen) == 2
            assert it.clock.slept == []

    run(body())


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["8.8.8.8", "10.1.2.3"], ["198.18.0.7"], ["::ffff:127.0.0.1"], []]
)
def test_names_that_resolve_inward_are_refused(tmp_path: Path, addresses: list[str]) -> None:
    """A public-looking name is judged by what it resolves to when it is connected to."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        assert host == "pictures.example.com"
        return addresses

    async def body() -> None:
        async with case(tmp_path, whole(), resolve=resolve) as it:
            port = URL(it.server.base).port
            link = f"https://pictures.example.com:{port}/a"
            with pytest.raises(UnsafeLink):
                await it.fetch(picture=Picture(url=link))
            assert it.server.seen == []

    run(body())


def test_proxied_names_are_judged_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a proxy, whose address is not the picture's, an inward name is refused all the same."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["192.168.1.1"]

    async def body() -> None:
        async with case(tmp_path, whole(), resolve=resolve) as it:
            monkeypatch.setenv("HTTPS_PROXY", it.server.base)
            with pytest.raises(UnsafeLink):
                await it.fetch(picture=Picture(url="https://pictures.example.com/a"))
            assert it.server.seen == []

    run(body())


def test_proxy_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY, ALL_PROXY and NO_PROXY count; this machine itself is asked directly."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    outside = URL("https://x.aliyuncs.com/a")
    assert proxy_for(outside) is None
    monkeypatch.setenv("ALL_PROXY", "socks5://10.0.0.2:1080")
    with pytest.raises(FetchFailed):
        proxy_for(outside)
    monkeypatch.setenv("HTTPS_PROXY", "10.0.0.2:7890")
    assert proxy_for(outside) == "http://10.0.0.2:7890"
    assert proxy_for(URL("https://127.0.0.1/a")) is None
    monkeypatch.setenv("NO_PROXY", ".aliyuncs.com")
    assert proxy_for(outside) is None


def test_ways_in() -> None:
    """Own host and port, told hosts by https whatever they resolve to, and public hosts."""
    rules = Rules(
        "10.1.1.1:8000", (".aliyuncs.com", "cdn.example.net"), rewrite={"a.cdn.cn": "oss.internal"}
    )

    def way(link: str) -> tuple[str, str]:
        name, url = admit(parse(link), rules)
        return name, str(url)

    assert way("http://10.1.1.1:8000/a") == ("own", "http://10.1.1.1:8000/a")
    assert way("https://b.aliyuncs.com/a?s=%2F")[0] == "listed"
    assert way("http://b.aliyuncs.com/a?s=%2F") == ("listed", "https://b.aliyuncs.com/a?s=%2F")
    assert way("https://cdn.example.net/a")[0] == "listed"
    assert way("https://aliyuncs.com/a")[0] == "public"
    assert way("https://evil-aliyuncs.com/a")[0] == "public"
    assert way("https://8.8.8.8/a")[0] == "public"
    assert way("https://a.cdn.cn/x?y=%3D") == ("own", "https://oss.internal/x?y=%3D")
    with pytest.raises(UnsafeLink):
        way("http://10.1.1.1:8001/a")
    here = Rules("localhost:9")
    assert admit(parse("http://127.0.0.1:9/a"), here)[0] == "own"
    assert own_host("https://dashscope.aliyuncs.com/api/v1") == "dashscope.aliyuncs.com:443"


def test_rewritten_host_is_asked_in_its_place(tmp_path: Path) -> None:
    """A CDN or an internal address stands in for the link's host, path and query unchanged."""

    async def body() -> None:
        async with case(tmp_path, whole()) as it:
            rules = Rules(rewrite={"result.oss.com": it.server.base})
            await it.fetch(picture=Picture(url="https://result.oss.com/a?b=%2F"), rules=rules)
            assert it.server.seen[0].raw_path == "/a?b=%2F"

    run(body())


@given(st.ip_addresses(v=4))
def test_disguised_addresses_are_judged_by_what_they_hide(address: Any) -> None:
    """An IPv4 address in IPv6 clothes is as public as the address itself, never more."""
    plain = is_public(str(address))
    number = int(address)
    assert is_public(f"::ffff:{address}") == plain
    nat = f"64:ff9b::{number >> 16:x}:{number & 0xFFFF:x}"
    six = f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1"
    assert is_public(nat) == plain
    assert plain or not is_public(six)


def test_folder_that_cannot_be_written_is_disk_full(tmp_path: Path) -> None:
    """A disk that takes nothing is DiskFull, at once, and not the picture's fault."""

    async def body() -> None:
        blocked = tmp_path / "file"
        blocked.write_bytes(b"")
        async with case(blocked / "folder", whole()) as it:
            with pytest.raises(DiskFull):
                await it.fetch()
            with pytest.raises(DiskFull):
                await it.fetch(picture=Picture(data=PNG))
            assert it.clock.slept == []

    run(body())


def test_full_disk_is_disk_full(tmp_path: Path) -> None:
    """A disk that takes no more of a picture held in memory is DiskFull, in the system's own words."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    async def body() -> None:
        async with case(tmp_path, whole(BIG)) as it:
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(PNG) // 2, before[1]))
            try:
                with pytest.raises(DiskFull) as caught:
                    await it.fetch(picture=Picture(data=PNG))
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
            assert os.strerror(errno.EFBIG) in str(caught.value)

    run(body())


def test_disk_that_fills_up_while_streaming(tmp_path: Path) -> None:
    """What was written before the disk was full is good: the next start goes on from there."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    async def body() -> None:
        async with case(tmp_path, ranged(BIG)) as it:
            resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, before[1]))
            try:
                with pytest.raises(DiskFull):
                    await it.fetch()
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
            assert (await it.fetch()).path.read_bytes() == BIG
            assert it.server.ranges()[1] == "bytes=600000-"

    run(body())


def test_gate_lets_the_earliest_expiry_in_first() -> None:
    """When more wait than may go, the link that ends first is fetched first."""

    async def body() -> None:
        gate = Gate(1)
        order: list[float | None] = []

        async def one(expires: float | None) -> None:
            async with gate.turn(expires):
                order.append(expires)
                await asyncio.sleep(0)

        await asyncio.gather(*(one(e) for e in (50.0, None, 30.0, 10.0, 20.0)))
        assert order == [50.0, 10.0, 20.0, 30.0, None]

    run(body())


@given(st.integers(1, 3), st.lists(st.booleans(), min_size=1, max_size=12), st.integers())
def test_gate_loses_no_place(room: int, cancelled: list[bool], seed: int) -> None:
    """Whoever is cancelled, waiting or inside, every place comes back and none is doubled."""

    async def body() -> None:
        gate, inside, dice = Gate(room), 0, random.Random(seed)

        async def one() -> None:
            nonlocal inside
            async with gate.turn(dice.random()):
                inside += 1
                assert inside <= room
                try:
                    await asyncio.sleep(0)
                finally:
                    inside -= 1

        doing = [asyncio.ensure_future(one()) for _ in cancelled]
        for work, stop in zip(doing, cancelled, strict=True):
            if dice.random() < 0.5:
                await asyncio.sleep(0)
            if stop:
                work.cancel()
        await asyncio.gather(*doing, return_exceptions=True)
        async with asyncio.timeout(1):
            for _ in range(room):
                await gate.turn(None).__aenter__()

    asyncio.run(body())


def test_limit_on_transfers_holds(tmp_path: Path) -> None:
    """Never more at once than allowed, and all of them arrive."""

    async def body() -> None:
        now = most = 0

        async def counted(request: web.Request) -> web.StreamResponse:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.005)
            now -= 1
            return web.Response(body=PNG)

        async with case(tmp_path, counted, at_once=3) as it:
            got = await asyncio.gather(*(it.fetch(name=f"n{n}") for n in range(12)))
            assert len({one.path for one in got}) == 12
        assert most == 3

    run(body())


def test_cancelled_download_leaves_nothing_finished(tmp_path: Path) -> None:
    """A second Ctrl-C in the middle leaves at most a part, and the place goes to the next."""

    async def body() -> None:
        async with case(tmp_path, stalled, whole(), at_once=1) as it:
            doing = asyncio.ensure_future(it.fetch())
            await it.server.asked.wait()
            doing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await doing
            assert not is_held()
            assert all(name.endswith(".part") for name in names(tmp_path))
            assert (await it.fetch()).path.read_bytes() == PNG

    run(body())


def test_sweep_removes_strays(tmp_path: Path) -> None:
    """What earlier processes left goes, except parts that are still to be resumed."""
    for name in ("a.00.part", "b.00.part", "c.png"):
        (tmp_path / name).write_bytes(b"12345")
    assert sweep(tmp_path, keep=["b"]) == 10
    assert names(tmp_path) == ["b.00.part"]
    assert sweep(tmp_path / "none") == 0


def test_odd_names_stay_in_the_folder(tmp_path: Path) -> None:
    """A name is never a path."""

    async def body() -> None:
        folder = tmp_path / "in"
        async with case(folder, whole()) as it:
            got = await it.fetch(name="../../x y/画")
            assert got.path.parent == folder

    run(body())
