"""Result to bytes on disk, whole and verified or not at all.

A stage with its own limit, so that no slot at a service waits for it, earliest expiry first. A
picture streams into a ``.part`` file, whose name says which bytes it holds (a digest of link,
ETag and length), so that it is resumed by Range only where they are the same. Then it is
decoded wholly in a worker thread, measured, hashed from the disk, fsynced and renamed.
Truncated or wrong bytes are fetched again and an expired link is renewed; nothing here can buy.
May import: errors, clock, endpoint, splice, naming, links, version.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import itertools
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .clock import Clock, held, offload
from .endpoint import Picture
from .errors import DiskFull, FetchFailed, LinkExpired, NotAPicture, PictureError, UnsafeLink
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
from .naming import extension
from .splice import Webp, broken, kind_of, open_picture, take_apart
from .version import __version__

if TYPE_CHECKING:
    import aiohttp
    from PIL.Image import Image as Pixels
    from yarl import URL

__all__ = ["Downloads", "Fetched", "Rules", "on_disk", "own_host", "sweep", "verify"]

CHUNK = 256 * 1024
MAX_REDIRECTS = 5
FRESH_LINKS = 2
"""Renewed links that are followed at once; later ones wait like any other try."""

Look = Callable[["Pixels"], Any]
Renew = Callable[[], Awaitable[Picture]]
Pauses = Callable[[int], float | None]
_EXPIRED_STATUS = frozenset({401, 403, 404, 410})
_EXPIRED_WORDS = re.compile(rb"AccessDenied|ExpiredToken|[Rr]equest has expired|NoSuchKey")
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)$")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A verified picture in the downloads folder. ``flags``: ``wrong-size``."""

    path: Path
    sha256: str
    size_bytes: int
    format: str
    width: int
    height: int
    flags: tuple[str, ...] = ()
    seen: Any = None
    """What the caller's ``look`` made of the decoded picture."""


class _Hopeless(NotAPicture):
    """Bytes that another try would not make better: over a cap."""


class _StartOver(Exception):
    """What lies on the disk is no beginning of what the link gives now."""


class Downloads:
    """Fetches pictures into ``folder``, ``at_once`` at a time, and verifies them.

    ``pauses(k)`` is the pause in nominal seconds before try k+1, None to give up after try k.
    ``decoders`` bounds the worker threads that decode, hash and sync. ``resolve`` replaces the
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
        self._decoding = asyncio.Semaphore(decoders)
        self._resolve = resolve
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
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
    ) -> Fetched:
        """The picture's bytes on disk, whole and verified. ``name`` is unique to the picture.

        ``look`` is shown the decoded picture, in the thread that decoded it. ``expires`` is the nominal time when the link ends: the earliest goes first. Raises
        FetchFailed, LinkExpired, NotAPicture when the pauses end; UnsafeLink and DiskFull at once.
        """
        renewed = 0
        for attempt in itertools.count(1):
            try:
                part = await self._bring(picture, rules, _plain(name), expires)
                async with self._decoding:
                    fetched = await offload(
                        verify, part, _plain(name), size, rules.max_pixels, look
                    )
                if self._earlier is not None:
                    self._earlier.discard(_plain(name))
                return fetched
            except (UnsafeLink, _Hopeless):
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

    async def let_go(self, picture: Picture) -> None:
        """The outcome is on record: the file that the answer was set down in may go."""
        if picture.file:
            await offload(_remove, Path(picture.file))

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
        self, picture: Picture, rules: Rules, name: str, expires: float | None
    ) -> Path:
        """The bytes on disk, not looked at yet."""
        if picture.file:
            part = self._folder / f"{name}.0.part"
            await offload(_take_over, Path(picture.file), part, rules)
            return part
        if picture.data is not None:
            return await self._set_down(picture.data, name, rules)
        # The gate is for the transfer only: nobody holds a place while pausing or decoding.
        async with self._gate.turn(expires):
            return await self._transfer(picture.url, rules, name)

    async def _set_down(self, data: bytes, name: str, rules: Rules) -> Path:
        if len(data) > rules.max_bytes:
            raise _too_big(rules)
        part = self._folder / f"{name}.0.part"
        await offload(_write_whole, part, data)
        return part

    async def _transfer(self, link: str, rules: Rules, name: str) -> Path:
        import aiohttp

        host = "?"
        try:
            with held():
                url = parse(link)
                host = url.host or host
                async with asyncio.timeout(rules.timeout_s):
                    return await self._receive(url, rules, name)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # `from None`: the cause may hold the signed link.
            raise _failed(host, type(error).__name__) from None

    async def _receive(self, url: URL, rules: Rules, name: str) -> Path:
        left = await self._left_over(name)
        if left is not None:
            try:
                return await self._receive_from(url, rules, name, left)
            except _StartOver:
                await offload(_remove, left)
        return await self._receive_from(url, rules, name, None)

    async def _left_over(self, name: str) -> Path | None:
        """An unfinished file of this name; the disk is asked only where there can be one."""
        if self._earlier is None:
            names = await offload(_names_in, self._folder)
            # Others may have read the folder meanwhile, and left files of their own since.
            self._earlier = names if self._earlier is None else self._earlier | names
        if name in self._earlier:
            return await offload(_left_over, self._folder, name)
        self._earlier.add(name)
        return None

    async def _receive_from(self, url: URL, rules: Rules, name: str, left: Path | None) -> Path:
        offset = await offload(_size, left) if left else 0
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
                await offload(_remove, left)
            await self._pour(response, part, offset, rules)
            return part

    async def _pour(
        self, response: aiohttp.ClientResponse, part: Path, offset: int, rules: Rules
    ) -> None:
        """The body onto the disk, no more than a few chunks in memory."""
        began, gathered = offset, bytearray()
        file: BinaryIO | None = None
        try:
            async for piece in response.content.iter_chunked(CHUNK):
                offset += len(piece)
                if offset > rules.max_bytes:
                    raise _too_big(rules)
                gathered += piece
                if len(gathered) >= CHUNK:
                    file = file or await offload(_open_part, part, began)
                    full, gathered = gathered, bytearray()
                    await _to_the_end(_write, file, full)
        finally:
            # What came is kept also when the rest did not: the next try goes on from there.
            await _to_the_end(_finish, file, part, began, gathered)

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


def verify(
    part: Path,
    name: str,
    size: tuple[int, int] | None,
    max_pixels: int,
    look: Look | None = None,
) -> Fetched:
    """Decode a whole file, measure, hash, fsync and rename it. For a worker thread.

    ``look`` is shown the decoded picture while it is there anyway.

    Raises NotAPicture (the file is gone then), LinkExpired where it is an error page saying so,
    DiskFull.
    """
    with on_disk(), part.open("rb") as file:
        try:
            data = file.read()
            kind = _structure(data)
            file.seek(0)
            (width, height), seen = _decode(file, kind, max_pixels, look)
        except PictureError:
            _remove(part)
            raise
        os.fsync(file.fileno())
    whole = part.with_name(f"{name}.{extension(kind)}")
    with on_disk():
        part.replace(whole)
    flags = ("wrong-size",) if size is not None and size != (width, height) else ()
    digest = hashlib.sha256(data).hexdigest()
    return Fetched(whole, digest, len(data), kind, width, height, flags, seen)


def _structure(data: bytes) -> str:
    """The kind by magic bytes, its parts read to the end, so that a cut or a bad CRC shows."""
    kind = kind_of(data[:12])
    if kind is None and _EXPIRED_WORDS.search(data[:4096]):
        raise _expired()
    return take_apart(data).format


def _decode(
    file: BinaryIO, kind: str, max_pixels: int, look: Look | None
) -> tuple[tuple[int, int], Any]:
    """Every pixel decoded; width and height, and what ``look`` made of it."""
    if kind == "webp":  # its decoder allocates the canvas at once
        _check_pixels(Webp.read(file.read()).size(), max_pixels)
        file.seek(0)
    try:
        with open_picture(file, kind) as picture:
            _check_pixels(picture.size, max_pixels)
            picture.load()
            size = picture.size
            return size, None if look is None else look(picture)
    except PictureError:
        raise
    except Exception as error:
        raise broken("无法解码", "it cannot be decoded") from error


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise _Hopeless(
            f"图片有 {size[0]}×{size[1]} 像素，超过上限，没有收下。图片已付费；可调高上限后重新运行。",
            f"The picture has {size[0]}×{size[1]} pixels, over the cap, and was not taken. It is "
            "paid for; raise the cap and run again.",
        )


async def _check_status(response: aiohttp.ClientResponse, *, resuming: bool) -> None:
    if response.status == 200 or (resuming and response.status == 206):
        return
    if resuming and response.status == 416:
        raise _StartOver
    body = await response.content.read(4096)
    if response.status in _EXPIRED_STATUS or _EXPIRED_WORDS.search(body):
        raise _expired()
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


def _expired() -> LinkExpired:
    return LinkExpired(
        "图片链接已失效。图片已付费；任务记录还在时可以取得新链接，不会重新购买。",
        "The picture's link is no longer good. It is paid for; while the task's record lives a "
        "new link can be had, without buying again.",
    )


def _too_big(rules: Rules) -> NotAPicture:
    cap = rules.max_bytes // (1024 * 1024)
    return _Hopeless(
        f"图片超过 {cap} MiB 的上限，没有收下。图片已付费；可调高上限后重新运行。",
        f"The picture is over the cap of {cap} MiB and was not taken. It is paid for; raise the "
        "cap and run again.",
    )


@contextmanager
def on_disk() -> Iterator[None]:
    """File work: what the system refuses becomes DiskFull."""
    try:
        yield
    except OSError as error:
        what = error.strerror or type(error).__name__
        raise DiskFull(
            f"写不了磁盘（{what}）。已付费的图片不会丢：腾出空间或改正权限后，重新运行同一命令。",
            f"Could not write to the disk ({what}). What is paid for is not lost: make room or "
            "put the rights in order, then run the same command again.",
        ) from error


def _names_in(folder: Path) -> set[str]:
    with on_disk():
        folder.mkdir(parents=True, exist_ok=True)
        return {path.name.split(".")[0] for path in folder.iterdir()}


def _left_over(folder: Path, name: str) -> Path | None:
    """The unfinished file of this name that can be resumed; others of the name are removed."""
    with on_disk():
        folder.mkdir(parents=True, exist_ok=True)
        found = sorted(folder.glob(f"{name}.*.part"))
        usable = [p for p in found if not p.name.endswith(".0.part") and p.stat().st_size]
        for path in found:
            if path not in usable[:1]:
                path.unlink(missing_ok=True)
    return usable[0] if usable else None


def _size(path: Path) -> int:
    with on_disk():
        return path.stat().st_size


def _remove(path: Path | None) -> None:
    with on_disk():
        if path is not None:
            path.unlink(missing_ok=True)


def _open_part(part: Path, offset: int) -> BinaryIO:
    with on_disk():
        return part.open("ab" if offset else "wb", buffering=0)


def _write(file: BinaryIO, data: bytearray) -> None:
    with on_disk():
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]


def _finish(file: BinaryIO | None, part: Path, offset: int, data: bytearray) -> None:
    with on_disk(), file or _open_part(part, offset) as last:
        _write(last, data)


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
            part.write_bytes(file.read_bytes())


def _write_whole(part: Path, data: bytes) -> None:
    with on_disk():
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
