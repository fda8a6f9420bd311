"""The workers of one set of devices, seen from the engine's process; no torch here.

Each worker has at most two batches: one that runs and one that waits in its process. A ledger by
picture, not by batch: a picture is done when its own message has come, so that a worker that
dies while the last files are being encoded loses none. A worker says which batch it begins, so
that a death blames that batch and the one that is decoded beside it, not the one behind; who was
blamed is tried alone, with nothing beside.

May import: errors, lang.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from redloom.errors import NotAllowed, ServiceError, TaskFailed, Unavailable
from redloom.lang import Text

from . import frames
from .batches import Batches, Call, Item

log = logging.getLogger("redloom")
_ON_CPU = Text(
    "没有可用的 GPU：在 CPU 上画，一张要几分钟。",
    "No GPU to be had: made on the CPU, minutes a picture.",
)
DEPTH = 2
"""Batches in a worker's hands: one runs, one waits."""
DEATHS = 2
"""A picture that took its worker down alone this often fails."""
STARTS = 4
"""Deaths in a row without one picture made, after which a worker is given up."""
HANG_S = 300.0
"""Without a sign of life for this long a worker is killed: it is frozen."""
STUCK_S = 1800.0
"""A worker that is alive, but has had work for this long without a step of it being done, is
killed too; not while it loads a model, which may be downloaded first."""
WATCH_S = 5.0
Told = Callable[[str, float, bytes], None]
"""Told a job's key, how far it is (0 to 1), and a small JPEG of it, or nothing."""


@dataclass(slots=True)
class Picture:
    """A finished picture: PNG bytes, and how it was made."""

    data: bytes
    facts: Mapping[str, Any]


class Dropped(Exception):
    """The picture was cancelled."""


class Hand(Protocol):
    """What a pool asks of a worker, wherever it is."""

    loaded: list[str]
    hand: dict[int, list[Item]]
    lost: bool
    failures: int

    def kick(self) -> None:
        """There may be work."""

    def items(self) -> list[Item]:
        """What it has in hand."""

    def cancel(self, item: Item) -> None:
        """Nobody waits for this picture."""

    def watch(self, on: bool) -> None:
        """Whether somebody looks at previews."""

    async def started(self) -> dict[str, Any]:
        """Until it works; what it says of its device."""

    async def stop(self) -> None:
        """End it."""


class Pool:
    """All workers of one set of devices. `picture` is the only door for work."""

    def __init__(
        self,
        devices: Sequence[str],
        *,
        most: int = 8,
        settings: Mapping[str, Any] | None = None,
        wait_s: float | None = None,
    ) -> None:
        self.batches = Batches(most) if wait_s is None else Batches(most, wait_s)
        self.settings = dict(settings or {})
        self._workers: list[Hand] = [Worker(self, device) for device in devices]
        self._futures: dict[int, asyncio.Future[Picture]] = {}
        self._items: dict[int, Item] = {}
        self._told: dict[int, Told] = {}
        self._ids = itertools.count(1)
        self._watchers: set[object] = set()
        self.users = 0
        self.closed = False
        self.batch_sizes: list[int] = []
        """Sizes of the batches sent, the last thousand: for tests and figures."""

    async def picture(
        self,
        call: Call,
        prompt: str,
        seed: int,
        *,
        negative: str = "",
        key: str = "",
        told: Told = lambda _key, _fraction, _preview: None,
    ) -> Picture:
        """One picture. Raises TaskFailed, NotAllowed, Unavailable; cancelling it drops it."""
        item = Item(next(self._ids), call, prompt, seed, negative, key, time.monotonic())
        future: asyncio.Future[Picture] = asyncio.get_running_loop().create_future()
        self._futures[item.id] = future
        self._told[item.id], self._items[item.id] = told, item
        self.batches.add(item)
        self._kick()
        try:
            return await future
        except asyncio.CancelledError:
            self._give_up(item)
            raise
        finally:
            self._futures.pop(item.id, None)
            self._told.pop(item.id, None)
            self._items.pop(item.id, None)

    def drop(self, key: str) -> bool:
        """Cancel what waits or is made under a job's key; whether there was something."""
        found = [item for item in self._all() if item.key == key]
        for item in found:
            self._give_up(item)
            self.fail(item, Dropped())
        return bool(found)

    @property
    def watched(self) -> bool:
        """Whether anybody looks at previews."""
        return bool(self._watchers)

    def watch(self, who: object, on: bool) -> None:
        """``who`` looks at previews from now on, or no more."""
        before = self.watched
        self._watchers.add(who) if on else self._watchers.discard(who)
        if self.watched != before:
            for worker in self._workers:
                worker.watch(self.watched)

    async def ready(self) -> dict[str, Any]:
        """Start the first worker, if it does not run; what it says of its device."""
        return await self._workers[0].started()

    async def close(self) -> None:
        """End every worker."""
        self.closed = True
        await asyncio.gather(*(worker.stop() for worker in self._workers))
        for item in self._all():
            self.fail(item, Unavailable("本机的画图进程已结束。", "The local worker has ended."))

    # for the workers

    def next(self, worker: Hand) -> tuple[list[Item], float]:
        """A batch for this worker, or how long until it should ask again."""
        items, wait = self.batches.next(time.monotonic(), worker.loaded, idle=not worker.hand)
        if items:
            self.batch_sizes = [*self.batch_sizes[-999:], len(items)]
        return items, wait

    def done(self, item: Item, picture: Picture) -> None:
        """A picture has come."""
        future = self._futures.get(item.id)
        if future is not None and not future.done():
            future.set_result(picture)

    def fail(self, item: Item, error: Exception) -> None:
        """A picture will not come."""
        future = self._futures.get(item.id)
        if future is not None and not future.done():
            future.set_exception(error)

    def advanced(self, item: Item, fraction: float, preview: bytes = b"") -> None:
        """A picture's batch is this far, and looks so."""
        if (told := self._told.get(item.id)) is not None:
            told(item.key, fraction, preview)

    def wanted(self, item: Item) -> bool:
        """Whether anybody still waits for it."""
        future = self._futures.get(item.id)
        return future is not None and not future.done()

    def again(self, items: Sequence[Item]) -> None:
        """Pictures of a worker that is gone wait again, before the others."""
        for item in reversed(items):
            if self.wanted(item):
                self.batches.add(item, first=True)
        self._kick()

    def open_items(self, epoch: int) -> list[Item]:
        """Pictures still wanted whose latest try is this one."""
        return [item for item in self._items.values() if item.epoch == epoch and self.wanted(item)]

    def suspect(self, items: Sequence[Item], why: str) -> None:
        """The process making this batch died: one by one from now on; a deadly one fails."""
        for item in items:
            item.deaths += len(items) == 1 and (item.alone or not item.returns)
            item.alone = True
            if item.deaths >= DEATHS:
                self.fail(item, _deadly(item, why))
        self.again(items)

    def given_up(self, why: str) -> None:
        """A worker cannot be kept alive: nothing waits for it in vain."""
        if any(not worker.lost for worker in self._workers):
            return
        for item in self.batches.waiting():
            self.batches.drop(item)
            self.fail(
                item,
                NotAllowed(
                    f"本机的画图进程一再退出（{why}）；没有花钱。请看 docs/gpu.md。",
                    f"The local worker keeps dying ({why}); nothing was spent. See docs/gpu.md.",
                ),
            )

    def _all(self) -> list[Item]:
        held = [item for worker in self._workers for item in worker.items()]
        return [*self.batches.waiting(), *held]

    def _give_up(self, item: Item) -> None:
        if not self.batches.drop(item):
            for worker in self._workers:
                worker.cancel(item)

    def _kick(self) -> None:
        if all(worker.lost for worker in self._workers):
            # Somebody asks again: perhaps a person has mended what was wrong.
            for worker in self._workers:
                worker.lost, worker.failures = False, 0
        for worker in self._workers:
            worker.kick()


@dataclass(eq=False)
class Worker:
    """One worker process and what it has in hand."""

    pool: Pool
    device: str
    loaded: list[str] = field(default_factory=list)
    hand: dict[int, list[Item]] = field(default_factory=dict)
    """Batches sent whose denoising has not ended, by number."""
    lost: bool = False
    failures: int = 0
    deaths: int = 0
    about: dict[str, Any] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None
    _open: dict[int, Item] = field(default_factory=dict)
    """Pictures sent whose own last word has not come."""
    _of: dict[int, int] = field(default_factory=dict)
    """Which batch a picture is in."""
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _begun: set[int] = field(default_factory=set)
    """Batches that it works on, those that are only decoded any more included."""
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _life: asyncio.Task[None] | None = None
    _writer: asyncio.StreamWriter | None = None
    _heard: float = 0.0
    _moved: float = 0.0
    _loading: bool = False
    _why: str = ""

    def kick(self) -> None:
        """There may be work."""
        self._wake.set()
        if (self._life is None or self._life.done()) and not self.lost and not self.pool.closed:
            self._life = asyncio.get_running_loop().create_task(self._live())

    def items(self) -> list[Item]:
        """What it has in hand."""
        return list(self._open.values())

    def cancel(self, item: Item) -> None:
        """Tell the process that nobody waits for this picture."""
        if item.id in self._open:
            self._send({"op": "cancel", "ids": [item.id]})

    def watch(self, on: bool) -> None:
        """Tell the process whether somebody looks at previews."""
        self._send({"op": "watch", "on": on})

    async def started(self) -> dict[str, Any]:
        """Until its process runs; what it says of its device. Raises Unavailable."""
        self.kick()
        assert self._life is not None
        waiting = asyncio.ensure_future(self._ready.wait())
        await asyncio.wait({waiting, self._life}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not self._ready.is_set():
            raise Unavailable(
                f"本机的画图进程起不来（{self._why}）。",
                f"The local worker does not start ({self._why}).",
            )
        return self.about

    async def stop(self) -> None:
        """End the process; at once where it does not end by itself."""
        self._send({"op": "stop"})
        process = self.process
        if process is not None and process.returncode is None:
            try:
                async with asyncio.timeout(3.0):
                    await process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if self._life is not None:
            self._life.cancel()
            await asyncio.gather(self._life, return_exceptions=True)

    # life

    async def _live(self) -> None:
        """Start the process again for as long as there is work for it."""
        while not self.lost and not self.pool.closed:
            try:
                await self._once()
            except (OSError, EOFError, ConnectionError, ValueError) as error:
                self._why = self._why or type(error).__name__
            finally:
                await self._bury()
            if self._over():
                return
            if self.failures >= STARTS:
                self.lost = True
                self.pool.given_up(self._why)
                return
            await asyncio.sleep(min(5.0, 0.2 * 2**self.failures))

    def _over(self) -> bool:
        return self.pool.closed

    async def _once(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "redloom.diffusers_worker.worker", str(theirs.fileno()),
                pass_fds=[theirs.fileno()], stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
                env=environment(self.device),
            )  # fmt: skip
        reader, self._writer = await asyncio.open_connection(sock=ours)
        hello = {"op": "hello", "device": self.device, "watch": self.pool.watched}
        self._send({**hello, **self.pool.settings})
        self._heard = self._moved = time.monotonic()
        assert self.process.stderr is not None
        helpers = [
            asyncio.ensure_future(work)
            for work in (self._give(), self._watch(), self._listen(self.process.stderr))
        ]
        try:
            while True:
                head, body = await frames.read(reader)
                self._heard = time.monotonic()
                if head.get("ev") != "beat":
                    self._moved, self._loading = self._heard, head.get("ev") == "loading"
                self._take(head, body)
        finally:
            for helper in helpers[:2]:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    async def _give(self) -> None:
        """Send batches while there is room in the worker's hand."""
        await self._ready.wait()
        while True:
            self._wake.clear()
            wait = float("inf")
            while len(self.hand) < DEPTH:
                items, wait = self.pool.next(self)
                if not items:
                    break
                self._send_batch(items)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if wait == float("inf") else wait):
                    await self._wake.wait()

    def _send_batch(self, items: list[Item]) -> None:
        number = next(self._numbers)
        if not self.hand:
            self._moved = time.monotonic()
        self.hand[number] = items
        for item in items:
            self._open[item.id], self._of[item.id] = item, number
        records = [item.record() for item in items]
        self._send(
            {"op": "batch", "batch": number, "call": items[0].call.record(), "items": records}
        )

    def _send(self, head: Mapping[str, Any]) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(frames.packed(head))

    async def _watch(self) -> None:
        """Kill a process that gives no sign of life, or does not get on with its work."""
        while True:
            await asyncio.sleep(WATCH_S)
            now = time.monotonic()
            stuck = bool(self._open) and not self._loading and now - self._moved > STUCK_S
            if (stuck or now - self._heard > HANG_S) and self.process is not None:
                self._why = "it hung"
                self.process.kill()

    async def _listen(self, stderr: asyncio.StreamReader) -> None:
        """Keep the last thing that the process said, for the error's sentence."""
        while line := await stderr.readline():
            text = line.decode("utf-8", "replace").strip()
            if text:
                log.debug("worker %s: %s", self.device, text)
                self._why = text[-200:]

    async def _bury(self) -> None:
        """The process is gone: what it had goes back, the batch that it had begun is blamed."""
        self._ready.clear()
        if self._writer is not None:
            self._writer.close()
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
        self.deaths += 1
        self.failures += 1
        self._back(list(self._open.values()))
        self.hand.clear()
        self.loaded = []
        self._open.clear()
        self._of.clear()
        self._begun.clear()

    def _back(self, items: list[Item]) -> None:
        blamed = [item for item in items if self._of.get(item.id) in self._begun]
        self.pool.again([item for item in items if item not in blamed])
        self.pool.suspect(blamed, self._why)
        if any(item.deaths >= DEATHS for item in blamed):
            self.failures = 0

    # what it says

    def _take(self, head: Mapping[str, Any], body: bytes) -> None:
        """One message. Those that are not known, such as a sign of life, say nothing."""
        match head.get("ev"):
            case "ready":
                self._is_ready(head)
            case "models":
                self.loaded = list(head["models"])
            case "room":
                key = (head["model"], (head["width"], head["height"]))
                self.pool.batches.room[key] = head["batch"]
            case "begun":
                self._begun = {*self._begun.intersection(self._of.values()), head["batch"]}
            case "ended":
                self.hand.pop(head["batch"], None)
                self._wake.set()
            case "step":
                self._step(head, body)
            case "image" | "failed" | "cancelled" as kind:
                self._last_word(kind, head, body)

    def _is_ready(self, head: Mapping[str, Any]) -> None:
        self.about = dict(head)
        self._ready.set()
        if head.get("kind") == "cpu":
            log.warning("%s", _ON_CPU)

    def _step(self, head: Mapping[str, Any], body: bytes) -> None:
        fraction, start = head["step"] / max(1, head["of"]), 0
        sizes = head.get("previews") or [0] * len(head["ids"])
        for number, size in zip(head["ids"], sizes, strict=False):
            if (item := self._open.get(number)) is not None:
                self.pool.advanced(item, fraction, body[start : start + size])
            start += size

    def _last_word(self, kind: str, head: Mapping[str, Any], body: bytes) -> None:
        item = self._open.pop(head["id"], None)
        self._of.pop(head["id"], None)
        if item is None:
            return
        self.failures = 0
        if kind == "image":
            self.pool.done(item, Picture(body, head))
        elif kind == "cancelled":
            self.pool.fail(item, Dropped())
        else:
            self.pool.fail(item, failure(head, item))


def failure(head: Mapping[str, Any], item: Item) -> ServiceError:
    """What a worker's ``failed`` means; it never costs money."""
    said, model = str(head.get("text") or "")[:200], item.call.model
    width, height = item.call.size
    match head.get("kind"):
        case "load":
            return NotAllowed(
                f"模型“{model}”装不进来（{said}）；没有花钱。请检查名字或文件夹。",
                f"The model “{model}” cannot be loaded ({said}); nothing was spent. Check its name "
                "or folder.",
                service_code="load",
            )
        case "memory":
            return TaskFailed(
                f"{width}×{height} 一张也放不下：内存或显存不够；不花钱。请改小尺寸或换小模型。",
                f"Not even one picture of {width}×{height} fits into memory; it costs nothing. Make "
                "it smaller or take a smaller model.",
                retry=False,
                service_code="out-of-memory",
            )
        case _:
            return TaskFailed(
                f"本机没有做成（{said}）；不花钱。",
                f"It could not be made here ({said}); it costs nothing.",
                retry=False,
                service_code=str(head.get("kind") or "failed"),
            )


def _deadly(item: Item, why: str) -> TaskFailed:
    return TaskFailed(
        f"这张图单独做也让画图进程退出（{why}）；不花钱。",
        f"This picture takes the worker down even alone ({why}); it costs nothing.",
        retry=False,
        service_code="worker-died",
    )


def environment(device: str) -> dict[str, str]:
    """A worker's environment: it sees its own GPU only, and none of the user's keys."""
    secret = ("_API_KEY", "_TOKEN", "_SECRET")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") or not name.endswith(secret)
    }
    kept["DIFFUSERS_VERBOSITY"] = "error"
    kept["TRANSFORMERS_VERBOSITY"] = "error"
    if device.startswith("cuda:"):
        kept["CUDA_VISIBLE_DEVICES"] = device.removeprefix("cuda:")
    if device == "mps":
        kept.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    return kept


_SHARED: dict[tuple[Any, ...], Pool] = {}


def shared(devices: Sequence[str], most: int, settings: Mapping[str, Any]) -> Pool:
    """The pool of these devices for the running loop: endpoints of several models share it.

    Give it back with `release`.
    """
    key = (id(asyncio.get_running_loop()), tuple(devices), most, tuple(sorted(settings.items())))
    pool = _SHARED.get(key)
    if pool is None or pool.closed:
        pool = _SHARED[key] = Pool(devices, most=most, settings=settings)
    pool.users += 1
    return pool


async def release(pool: Pool) -> None:
    """One user less; the last one ends the workers."""
    pool.users -= 1
    if pool.users <= 0:
        for key in [key for key, value in _SHARED.items() if value is pool]:
            del _SHARED[key]
        await pool.close()
