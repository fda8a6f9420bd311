"""Result to bytes on disk, whole and verified or not at all.

A stage with its own limit, so that no slot at a service waits for it, earliest expiry first. A
picture streams into a ``.part`` file, whose name says which bytes it holds (a digest of link,
ETag and length), so that it is resumed by Range only where they are the same. Then it is
decoded wholly in a worker thread, measured, hashed from the disk, fsynced and renamed.
Truncated or wrong bytes are fetched again and an expired link is renewed; nothing here can buy.
A body of a known, bearable length stays in memory until then, and goes to its place at once.
May import: errors, clock, private, endpoint, links, parts, verify, version.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import itertools
import os
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from . import private
from .clock import Clock, held, offload
from .endpoint import Picture
from .errors import FetchFailed, LinkExpired, NotAPicture, PictureError, UnsafeLink
from .links import (
    Resolve,
    Rules,
    admit,
    guarded_connector,
    own_host,
    parse,
    proxy_for,
    public_addresses,
    system_resolve,
    unsafe,
)
from .parts import (
    finish_part,
    left_over,
    names_in,
    on_disk,
    open_part,
    remove,
    set_down,
    size_of,
    write_all,
)
from .verify import EXPIRED_WORDS, Fetched, Hopeless, Look, expired, verify, verify_bytes
from .version import __version__

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

__all__ = ["Downloads", "Fetched", "Rules", "own_host", "sweep", "verify"]

CHUNK = 256 * 1024
IN_MEMORY = 32 * 1024 * 1024
"""Bytes of bodies that may wait in memory, all together, to be verified; others go to the disk."""
WRITERS = 4
"""Threads that may wait for the disk while others decode."""
MAX_REDIRECTS = 5
FRESH_LINKS = 2
"""Renewed links that are followed at once; later ones wait like any other try."""

Keep = Callable[["Fetched"], None]
Renew = Callable[[], Awaitable[Picture]]
Pauses = Callable[[int], float | None]
_EXPIRED_STATUS = frozenset({401, 403, 404, 410})
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)$")


@dataclass(frozen=True, slots=True)
class Body:
    """A whole body in memory, and the length that was set aside for it."""

    data: bytes | bytearray


class _Kept(Exception):
    """What the caller's ``keep`` raised: nothing that another download would mend."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class _StartOver(Exception):
    """What lies on the disk is no beginning of what the link gives now."""


class Downloads:
    """Fetches pictures into ``folder``, ``at_once`` at a time, and verifies them.

    ``pauses(k)`` is the pause in nominal seconds before try k+1, None to give up after try k.
    ``decoders`` bounds the worker threads that decode and hash at one time. ``resolve`` replaces the
    system's resolver in judging public hosts.
    """

    def __init__(
        self,
        folder: Path,
        *,
        at_once: int = 8,
        clock: Clock,
        pauses: Pauses,
        decoders: int = min(8, os.cpu_count() or 2),
        resolve: Resolve = system_resolve,
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._pauses = pauses
        self._gate = Gate(at_once)
        self._at_once = at_once
        self._decoding = threading.BoundedSemaphore(decoders)
        self._finishing = asyncio.Semaphore(decoders + WRITERS)
        self._resolve = resolve
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._in_memory = 0
        self._earlier: set[str] | None = None
        """Names of which there may be an unfinished file; None: the folder was not read yet."""

    async def fetch(
        self,
        picture: Picture,
        rules: Rules,
        *,
        name: str,
        size: tuple[int, int] | None,
        renew: Renew | None = None,
        expires: float | None = None,
        look: Look | None = None,
        keep: Keep | None = None,
    ) -> Fetched:
        """The picture's bytes on disk, whole and verified. ``name`` is unique to the picture.

        ``look`` is shown the decoded picture, and ``keep`` takes what was fetched to its place, both
        in the thread that decoded it; what ``keep`` raises is raised. ``expires`` is the nominal
        time when the link ends: the earliest goes first. Raises FetchFailed, LinkExpired,
        NotAPicture when the pauses end; UnsafeLink and DiskFull at once.
        """
        how = (name := _plain(name), size, rules.max_pixels, look, keep)
        try:
            return await self._fetch(picture, rules, name, renew, expires, how)
        except _Kept as kept:
            raise kept.error from None

    async def _fetch(
        self,
        picture: Picture,
        rules: Rules,
        name: str,
        renew: Renew | None,
        expires: float | None,
        how: tuple[Any, ...],
    ) -> Fetched:
        renewed = 0
        for attempt in itertools.count(1):
            try:
                came = await self._bring(picture, rules, name, expires, how[-1] is not None)
                return await self._taken(came, name, how)
            except (UnsafeLink, Hopeless):
                raise
            except LinkExpired as error:
                if renew is None:
                    raise
                before, picture = picture.url, await renew()
                renewed += 1
                if picture.url == before or renewed > FRESH_LINKS:
                    await self._pause(attempt, error)
            except PictureError as error:
                if picture.data is not None or picture.file:
                    raise  # the same bytes again are no better
                await self._pause(attempt, error)
        raise AssertionError  # count() has no end

    async def _taken(self, came: Path | Body, name: str, how: tuple[Any, ...]) -> Fetched:
        """Verified, and where the caller wants it; its place among those is given back."""
        try:
            fetched = await offload(self._take, came, *how)
        finally:
            self._finishing.release()
            self._forget(came)
        if self._earlier is not None:
            self._earlier.discard(name)
        return fetched

    def _take(
        self,
        came: Path | Body,
        name: str,
        size: tuple[int, int] | None,
        max_pixels: int,
        look: Look | None,
        keep: Keep | None,
    ) -> Fetched:
        """Verify what came and hand it to ``keep``. For a thread."""
        with self._decoding:
            if isinstance(came, Body):
                place = self._folder / name
                fetched = verify_bytes(bytes(came.data), place, size, max_pixels, look)
            else:
                fetched = verify(came, name, size, max_pixels, look)
        if keep is not None:
            try:
                keep(fetched)
            except Exception as error:
                raise _Kept(error) from error
        return fetched

    async def let_go(self, picture: Picture) -> None:
        """The outcome is on record: the file that the answer was set down in may go."""
        if picture.file:
            await offload(remove, Path(picture.file))

    async def close(self) -> None:
        """Give the connections back. Safe to call twice."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    async def _pause(self, attempt: int, error: PictureError) -> None:
        pause_s = self._pauses(attempt)
        if pause_s is None:
            raise error
        await self._clock.sleep(pause_s)

    async def _bring(
        self, picture: Picture, rules: Rules, name: str, expires: float | None, memory: bool
    ) -> Path | Body:
        """The bytes, not looked at yet: on disk, or where ``memory`` allows it there. Returns with
        a place among those that are verified.
        """
        if picture.file:
            part = self._folder / f"{name}.0.part"
            await offload(_take_over, Path(picture.file), part, rules)
            return await self._admitted(part)
        if picture.data is not None:
            return await self._admitted(await self._set_down(picture.data, name, rules, memory))
        # Nobody holds the gate while pausing or decoding. Whoever waits to be decoded does: where
        # that is slower than the line, no more bodies are fetched to lie about in memory, and those
        # that wait do so in the order in which their links end.
        async with self._gate.turn(expires):
            return await self._admitted(await self._transfer(picture.url, rules, name, memory))

    async def _admitted(self, came: Path | Body) -> Path | Body:
        """What came, once there is a place to verify it."""
        try:
            await self._finishing.acquire()
        except BaseException:
            self._forget(came)
            raise
        return came

    def _forget(self, came: Path | Body | None) -> None:
        """Memory set aside for a body is free again."""
        if isinstance(came, Body):
            self._in_memory -= len(came.data)

    async def _set_down(self, data: bytes, name: str, rules: Rules, memory: bool) -> Path | Body:
        if len(data) > rules.max_bytes:
            raise _too_big(rules)
        if memory:  # it is there anyway
            self._in_memory += len(data)
            return Body(data)
        part = self._folder / f"{name}.0.part"
        await offload(set_down, part, data)
        return part

    async def _transfer(self, link: str, rules: Rules, name: str, memory: bool) -> Path | Body:
        import aiohttp

        host = "?"
        try:
            with held():
                url = parse(link)
                host = url.host or host
                async with asyncio.timeout(rules.timeout_s):
                    return await self._receive(url, rules, name, memory)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # `from None`: the cause may hold the signed link.
            raise _failed(host, type(error).__name__) from None

    async def _receive(self, url: URL, rules: Rules, name: str, memory: bool) -> Path | Body:
        left = await self._left_over(name)
        if left is not None:
            try:
                return await self._receive_from(url, rules, name, left, memory)
            except _StartOver:
                await offload(remove, left)
        return await self._receive_from(url, rules, name, None, memory)

    async def _left_over(self, name: str) -> Path | None:
        """An unfinished file of this name; the disk is asked only where there can be one."""
        if self._earlier is None:
            names = await offload(names_in, self._folder)
            # Others may have read the folder meanwhile, and left files of their own since.
            self._earlier = names if self._earlier is None else self._earlier | names
        if name in self._earlier:
            return await offload(left_over, self._folder, name)
        self._earlier.add(name)
        return None

    async def _receive_from(
        self, url: URL, rules: Rules, name: str, left: Path | None, memory: bool
    ) -> Path | Body:
        offset = await offload(size_of, left) if left else 0
        came: Path | Body | None = None
        try:
            async with self._open(url, rules, offset) as response:
                await _check_status(response, resuming=left is not None)
                part = self._folder / f"{name}.{_fingerprint(url, response)}.part"
                if response.status == 200:
                    offset = 0
                elif part != left or _starts_at(response) != offset:
                    raise _StartOver  # other bytes than the ones that we have
                if (response.content_length or 0) + offset > rules.max_bytes:
                    raise _too_big(rules)
                if left and left != part:
                    await offload(remove, left)
                room = self._room_for(response) if memory and not offset else 0
                came = await self._pour(response, part, offset, rules, room)
        except BaseException:
            self._forget(came)  # the connection would not be given back
            raise
        return came

    def _room_for(self, response: aiohttp.ClientResponse) -> int:
        """The body's length, set aside, where it may stay in memory; else 0."""
        length = response.content_length or 0
        if self._in_memory + length > IN_MEMORY:
            return 0
        self._in_memory += length
        return length

    async def _pour(
        self, response: aiohttp.ClientResponse, part: Path, offset: int, rules: Rules, room: int
    ) -> Path | Body:
        """The body as it comes: ``room`` bytes stay in memory, else no more than a few chunks."""
        began, gathered, whole = offset, bytearray(), False
        file: BinaryIO | None = None
        try:
            async for piece in response.content.iter_chunked(CHUNK):
                offset += len(piece)
                if offset > rules.max_bytes:
                    raise _too_big(rules)
                gathered += piece
                if len(gathered) >= max(CHUNK, room + 1):
                    file = file or await offload(open_part, part, began)
                    full, gathered = gathered, bytearray()
                    await _to_the_end(write_all, file, full)
            whole = bool(room) and len(gathered) == room
        finally:
            if not whole:
                self._in_memory -= room
                # What came is kept also when the rest did not: the next try goes on from there.
                await _to_the_end(finish_part, file, part, began, gathered)
        return Body(gathered) if whole else part

    @asynccontextmanager
    async def _open(
        self, url: URL, rules: Rules, offset: int
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer at the end of at most five redirects, every hop judged like the first."""
        for _ in range(MAX_REDIRECTS + 1):
            way, target = admit(url, rules)
            proxy = proxy_for(target)
            guarded = way == "public" and proxy is None
            if way == "public" and proxy is not None:
                # The proxy connects, so its address cannot be judged: the name is, beforehand.
                await public_addresses(self._resolve, target.host or "", target.port or 443)
            async with self._session(guarded).get(
                target,
                headers={"Range": f"bytes={offset}-"} if offset else None,
                timeout=_timeout(rules),
                proxy=proxy,
                allow_redirects=False,
            ) as response:
                if response.status not in (301, 302, 303, 307, 308):
                    yield response
                    return
                url = _next_hop(url, response.headers.get("Location", ""))
        raise _failed(url.host or "?", "redirects")

    def _session(self, guarded: bool) -> aiohttp.ClientSession:
        if guarded not in self._sessions:
            import aiohttp

            limit = self._at_once + 1
            plain = aiohttp.TCPConnector(limit=limit)
            self._sessions[guarded] = aiohttp.ClientSession(
                connector=guarded_connector(self._resolve, limit) if guarded else plain,
                headers={"Accept-Encoding": "identity", "User-Agent": f"redloom/{__version__}"},
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=CHUNK,
            )
        return self._sessions[guarded]


class Gate:
    """So many at once; when more wait, the one whose link ends first goes first."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._order = itertools.count()
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def turn(self, expires: float | None) -> AsyncIterator[None]:
        """A place, given back at the end. ``expires`` None goes after all that have a time."""
        if self._room > 0:
            self._room -= 1
        else:
            await self._wait(float("inf") if expires is None else expires)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, expires: float) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (expires, next(self._order), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()  # the place came in the same instant
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self._room += 1


def sweep(folder: Path, keep: Collection[str] = ()) -> int:
    """Remove what earlier processes left in a downloads folder; returns the bytes freed.

    Unfinished files of the names in ``keep`` stay, to be gone on with. Only for whoever holds the
    workspace: another's downloads would lose their files. Raises DiskFull.
    """
    kept = {_plain(name) for name in keep}
    freed = 0
    with on_disk():
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.is_file() and not (path.suffix == ".part" and path.name.split(".")[0] in kept):
                freed += path.stat().st_size
                path.unlink(missing_ok=True)
    return freed


async def _check_status(response: aiohttp.ClientResponse, *, resuming: bool) -> None:
    if response.status == 200 or (resuming and response.status == 206):
        return
    if resuming and response.status == 416:
        raise _StartOver
    body = await response.content.read(4096)
    if response.status in _EXPIRED_STATUS or EXPIRED_WORDS.search(body):
        raise expired()
    raise _failed(response.url.host or "?", f"HTTP {response.status}")


def _fingerprint(url: URL, response: aiohttp.ClientResponse) -> str:
    """Which bytes these are; ``0`` where they cannot be told and so never be resumed."""
    headers = response.headers
    total: str | int | None = response.content_length
    if response.status == 206:
        stated = _RANGE.match(headers.get("Content-Range", ""))
        total = int(stated[2]) if stated else None
    if total is None or headers.get("Content-Encoding", "identity") != "identity":
        return "0"
    tag = headers.get("ETag", "")
    facts = f"{url}|{'' if tag.startswith('W/') else tag}|{headers.get('Last-Modified')}|{total}"
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def _starts_at(response: aiohttp.ClientResponse) -> int | None:
    stated = _RANGE.match(response.headers.get("Content-Range", ""))
    return int(stated[1]) if stated else None


def _next_hop(url: URL, location: str) -> URL:
    from yarl import URL

    try:
        return parse(str(url.join(URL(location, encoded=True))))
    except ValueError:
        raise unsafe(url.host or "?", "它转向的不是网址", "it redirects to no URL") from None


def _timeout(rules: Rules) -> aiohttp.ClientTimeout:
    import aiohttp

    return aiohttp.ClientTimeout(total=None, sock_connect=rules.stall_s, sock_read=rules.stall_s)


def _plain(name: str) -> str:
    """A name that is one plain part of a file name; it has no dot."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:120] or "_"


def _failed(host: str, what: str) -> FetchFailed:
    return FetchFailed(
        f"从 {host} 下载图片没有成功（{what}）。图片已付费，重新运行同一命令会再次下载，不会重新购买。",
        f"Fetching the picture from {host} failed ({what}). It is paid for; the same command "
        "fetches it again and does not buy it again.",
    )


def _too_big(rules: Rules) -> NotAPicture:
    cap = rules.max_bytes // (1024 * 1024)
    return Hopeless(
        f"图片超过 {cap} MiB 的上限，没有收下。图片已付费；可调高上限后重新运行。",
        f"The picture is over the cap of {cap} MiB and was not taken. It is paid for; raise the "
        "cap and run again.",
    )


async def _to_the_end(work: Callable[..., None], *args: object) -> None:
    """`offload`, but a cancelled caller waits too: no file is closed under a thread's hands."""
    doing = asyncio.ensure_future(offload(work, *args))
    try:
        await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait([doing])
        doing.exception()  # looked at: being cancelled says more
        raise


def _take_over(file: Path, part: Path, rules: Rules) -> None:
    """A second name for a file received with the answer, which stays until the outcome is on
    record: whatever happens in between, the picture is found again.
    """
    with on_disk():
        if not file.is_file():
            raise NotAPicture(
                "随回答收下的图片文件已不在磁盘上。这张图已付费，取不回来了。",
                "The file that the picture came in is no longer on the disk. It is paid for and "
                "cannot be had again.",
            )
        if file.stat().st_size > rules.max_bytes:
            raise _too_big(rules)
        part.unlink(missing_ok=True)
        try:
            part.hardlink_to(file)
        except OSError:  # a file system without hard links
            private.write(part, file.read_bytes())
