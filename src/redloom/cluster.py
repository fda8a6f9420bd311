"""GPUs of many machines: the same batches, made by Ray actors in the place of local processes.

Ray places one actor on each GPU (`num_gpus`), starts it again elsewhere when its node dies
(``max_restarts=-1``) and moves pictures back through its object store. It never repeats a call
(``max_task_retries=0``): Ray would run finished work again, and has no idea of money. What was in
a dead actor's hands goes back to the queue here; each try carries an epoch, so that a late answer
of one that was thought dead is dropped. Journal, quotas and decisions stay with the one engine.

Sources: docs.ray.io, "Actor fault tolerance" and "Token authentication" (2.52 and later).
May import: errors, lang, diffusers_worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .diffusers_worker.batches import Item
from .diffusers_worker.pool import Dropped, Picture, Pool, failure
from .errors import BadSettings, MissingExtra, Unavailable
from .lang import Text

log = logging.getLogger("redloom")
DEPTH = 2
"""Batches in an actor's hands: one is made, one waits beside it. The rest waits here."""
LOOK_S = 1.0
"""Real seconds between looks at how many GPUs the cluster has."""
BATCH_S = 1800.0
"""A batch that takes longer than this is given to another actor."""
TUNED = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}
"""Ray's own settings for its head node, with which a dead node is noticed in about 3 s instead of
16: set as RAY_NAME in the head's environment before ``ray start``."""
_WHAT = Text("多机画图（--cluster）", "Making pictures on many machines (--cluster)")


class Hands:
    """The actor: one GPU's models. Everything heavy is imported on its node."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        import threading

        self._settings = dict(settings)
        self._lock = threading.Lock()
        self._cancelled: set[int] = set()
        self._maker: Any = None
        self._here = threading.local()
        """What the batch of this thread gave: ``arrays`` and ``said``."""

    def about(self) -> dict[str, Any]:
        """Where it is and on what; loads the libraries."""
        import ray

        where = {"node": ray.get_runtime_context().get_node_id(), "pid": os.getpid()}
        return {**where, **self._ready()}

    def make(
        self, epoch: int, call: Mapping[str, Any], items: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """One batch. Denoising is one at a time; what follows is done beside the next batch."""
        from .diffusers_worker.worker import encoded

        self._ready()
        arrays = self._here.arrays = []
        said = self._here.said = []
        self._maker.make(call, items)
        models = self._maker.models.names()
        pictures = []
        for item, array, facts in arrays:
            try:
                pictures.append((item["id"], encoded(array), dict(facts)))
            except ValueError as error:
                said.append(
                    {"ev": "failed", "id": item["id"], "kind": "broken", "text": str(error)}
                )
        self._cancelled.difference_update(item["id"] for item in items)
        return {"epoch": epoch, "pictures": pictures, "said": said, "models": models}

    def cancel(self, ids: Sequence[int]) -> None:
        """Nobody waits for these: heard between two steps."""
        self._cancelled.update(ids)

    def steps(self, watched: bool = False) -> tuple[list[int], int, int, list[bytes]]:
        """The pictures being made, how many steps are done, of how many; new previews of them, if
        they are ``watched`` from now on.
        """
        steps = self._maker.steps if self._maker is not None else None
        if steps is None:
            return [], 0, 1, []
        self._maker.watched = watched
        return list(steps.ids), steps.done(), steps.of, steps.previews()

    def _ready(self) -> dict[str, Any]:
        with self._lock:
            return self._loaded()

    def _loaded(self) -> dict[str, Any]:
        if self._maker is None:
            import torch

            from .diffusers_worker.batch import Faults, Maker, beside_on
            from .diffusers_worker.models import Models, device_of

            kind = "cuda" if torch.cuda.is_available() else "cpu"
            device = device_of(kind, str(self._settings.get("dtype") or ""))
            models = Models(
                device, int(self._settings.get("keep") or 2),
                compiled=bool(self._settings.get("compile")),
            )  # fmt: skip
            self._maker = Maker(
                models, self._cancelled, lambda *one: self._here.arrays.append(one), self._note,
                Faults.from_environment(), int(self._settings.get("most") or 8),
                beside_on(device.kind, self._settings.get("overlap")),
            )  # fmt: skip
        device = self._maker.models.device
        return {"kind": device.kind, "name": device.name}

    def _note(self, head: Mapping[str, Any]) -> None:
        self._here.said.append(head)


class Stand:
    """A stand-in for `Hands` that only waits, to measure how work spreads without any GPU."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        import threading

        self._wait_s = float(settings.get("wait_s") or 0.1)
        self._lock = threading.Lock()  # one GPU, one picture at a time

    def about(self) -> dict[str, Any]:
        """Where it is."""
        import ray

        node = ray.get_runtime_context().get_node_id()
        return {"node": node, "pid": os.getpid(), "kind": "stand-in", "name": "stand-in"}

    def make(
        self, epoch: int, call: Mapping[str, Any], items: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """One batch: a wait for each picture, then plain pictures of the size asked."""
        from io import BytesIO

        from PIL import Image

        pictures = []
        for item in items:
            with self._lock:
                time.sleep(self._wait_s)
            colour = tuple(item["seed"] // 256**place % 256 for place in range(3))
            out = BytesIO()
            Image.new("RGB", (call["width"], call["height"]), colour).save(out, "PNG")
            facts = {"batch": len(items), "pid": os.getpid(), "at": time.time()}
            pictures.append((item["id"], out.getvalue(), facts))
        return {"epoch": epoch, "pictures": pictures, "said": [], "models": [call["model"]]}

    def cancel(self, ids: Sequence[int]) -> None:
        """It cannot stop."""

    def steps(self, watched: bool = False) -> tuple[list[int], int, int, list[bytes]]:
        """It takes none."""
        return [], 0, 1, []


class ClusterPool(Pool):
    """A `Pool` whose workers are Ray actors, one for each GPU that the cluster has.

    ``workers`` asks for that many, even where there are no GPUs for them yet: what waits to be
    placed is what Ray's autoscaler goes by. ``gpus`` (and ``cpus``) is what each one takes.
    """

    def __init__(
        self, address: str, *, most: int = 8, settings: Mapping[str, Any] | None = None,
        workers: int = 0, gpus: float = 1.0, cpus: float = 1.0, hands: type = Hands,
    ) -> None:  # fmt: skip
        super().__init__((), most=most, settings=settings)
        self._address, self._wanted = address, workers
        self._gpus, self._cpus, self._hands = gpus, cpus, hands
        self._joining: asyncio.Task[None] | None = None
        self._away: Unavailable | None = None
        self._ours = False

    def _kick(self) -> None:
        if self._joining is None or (self._joining.done() and not self.closed):
            self._joining = asyncio.get_running_loop().create_task(self._grow())
        for worker in self._workers:
            worker.kick()

    async def ready(self, actors: int = 1) -> dict[str, Any]:
        """Join the cluster and wait for so many actors; what the last says. Raises Unavailable."""
        self._kick()
        assert self._joining is not None
        while len(self._workers) < actors:
            if self._joining.done() and self._away is not None:
                raise self._away
            await asyncio.sleep(0.05)
        told = [await worker.started() for worker in self._workers[:actors]]
        return told[-1]

    async def close(self) -> None:
        """Let the actors go, and leave the cluster."""
        self.closed = True
        if self._joining is not None:
            self._joining.cancel()
            await asyncio.gather(self._joining, return_exceptions=True)
        await super().close()
        if self._ours:
            import ray

            await asyncio.to_thread(ray.shutdown)

    def actors(self) -> list[RayWorker]:
        """The actors, in the order in which they were asked for."""
        return [worker for worker in self._workers if isinstance(worker, RayWorker)]

    async def _grow(self) -> None:
        """Join, then one actor for each GPU that is there, also for those that come later."""
        try:
            await asyncio.to_thread(self._join)
        except (OSError, ConnectionError, RuntimeError, ValueError) as error:
            self._away = _unreachable(self._address, error)
            for item in self.batches.waiting():
                self.batches.drop(item)
                self.fail(item, self._away)
            return
        while True:
            for _ in range(len(self._workers), await asyncio.to_thread(self._places)):
                self._workers.append(self._new())
                self._workers[-1].kick()
            await asyncio.sleep(LOOK_S)

    def _join(self) -> None:
        import ray

        if not ray.is_initialized():
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            ray.init(
                address=self._address, log_to_driver=False, logging_level=logging.ERROR,
                ignore_reinit_error=True,
            )  # fmt: skip
            self._ours = True

    def _places(self) -> int:
        """How many actors there should be: the GPUs there are, at least one, at least as asked."""
        import ray

        total = ray.cluster_resources()
        each, have = (self._gpus, "GPU") if self._gpus else (self._cpus, "CPU")
        return max(1, self._wanted, int(total.get(have, 0.0) / each))

    def _new(self) -> RayWorker:
        import ray

        made = ray.remote(
            num_gpus=self._gpus, num_cpus=self._cpus, max_restarts=-1, max_task_retries=0,
            max_concurrency=DEPTH, concurrency_groups={"control": 1},
        )(self._hands)  # fmt: skip
        kept = ("REDLOOM_WORKER_FAULTS", "HF_HUB_OFFLINE", "OMP_NUM_THREADS")
        variables = {name: os.environ[name] for name in kept if name in os.environ}
        handle = made.options(runtime_env={"env_vars": variables}).remote(self.settings)
        return RayWorker(self, handle)


@dataclass(eq=False)
class RayWorker:
    """One actor and what it has in hand, seen from the engine. Takes a `pool.Worker`'s place."""

    pool: ClusterPool
    handle: Any
    loaded: list[str] = field(default_factory=list)
    hand: dict[int, list[Item]] = field(default_factory=dict)
    """Batches sent and not answered, by epoch, oldest first."""
    lost: bool = False
    failures: int = 0
    deaths: int = 0
    about: dict[str, Any] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _life: asyncio.Task[None] | None = None
    _calls: set[asyncio.Task[None]] = field(default_factory=set)

    def kick(self) -> None:
        """There may be work."""
        self._wake.set()
        if self._life is None or self._life.done():
            self._life = asyncio.get_running_loop().create_task(self._live())

    def items(self) -> list[Item]:
        """What it has in hand."""
        return [item for items in self.hand.values() for item in items]

    def cancel(self, item: Item) -> None:
        """Tell the actor that nobody waits for this picture."""
        if item in self.items():
            self.handle.cancel.options(concurrency_group="control").remote([item.id])

    def watch(self, on: bool) -> None:
        """The actor hears of it when it is asked how far it is."""

    async def started(self) -> dict[str, Any]:
        """Until Ray has placed it; what it says of its device."""
        self.kick()
        await self._ready.wait()
        return self.about

    async def stop(self) -> None:
        """Let the actor go."""
        import ray

        waiting = [task for task in (self._life, *self._calls) if task is not None]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        with contextlib.suppress(Exception):
            await asyncio.to_thread(ray.kill, self.handle)

    async def _live(self) -> None:
        """Work whenever Ray says that the actor is there; wait for it to be placed otherwise."""
        while not self.pool.closed:
            if await self._placed():
                await self._serve()

    async def _placed(self) -> bool:
        """Ask the actor where it is; an actor without a place answers when it has one."""
        import ray

        try:
            self.about = await self.handle.about.remote()
        except ray.exceptions.RayError as error:
            log.debug("an actor is not there (%s)", type(error).__name__)
            await asyncio.sleep(0.25)
            return False
        self._ready.set()
        return True

    async def _serve(self) -> None:
        """Send batches while there is room in its hand; return when the actor is gone."""
        progress = asyncio.get_running_loop().create_task(self._hear())
        try:
            while self._ready.is_set():
                self._wake.clear()
                wait = self._fill()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if wait == float("inf") else wait):
                        await self._wake.wait()
        finally:
            progress.cancel()

    def _fill(self) -> float:
        wait = float("inf")
        while len(self.hand) < DEPTH and self._ready.is_set():
            items, wait = self.pool.next(self)
            if not items:
                break
            epoch = next(_EPOCHS)
            self.hand[epoch] = items
            for item in items:
                item.epoch = epoch
            call = asyncio.get_running_loop().create_task(self._make(epoch, items))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
        return wait

    async def _make(self, epoch: int, items: list[Item]) -> None:
        """One batch: its answer, or its pictures back into the queue."""
        import ray

        records = [item.record() for item in items]
        try:
            async with asyncio.timeout(BATCH_S):
                told = await self.handle.make.remote(epoch, items[0].call.record(), records)
        except (ray.exceptions.RayError, TimeoutError) as error:
            self._dead(epoch, error)
        else:
            self.hand.pop(epoch, None)
            self.take(told)
        self._wake.set()

    def take(self, told: Mapping[str, Any]) -> None:
        """An answer. Pictures that were given to somebody else since are dropped (by epoch)."""
        self.loaded = list(told["models"])
        open_items = {item.id: item for item in self.pool.open_items(told["epoch"])}
        for number, data, facts in told["pictures"]:
            if (item := open_items.pop(number, None)) is not None:
                self.pool.done(item, Picture(data, facts))
        for head in told["said"]:
            self._said(head, open_items)
        # What the actor said nothing of is asked for again.
        self.pool.again(list(open_items.values()))

    def _said(self, head: Mapping[str, Any], open_items: dict[int, Item]) -> None:
        if head["ev"] == "room":
            key = (head["model"], (head["width"], head["height"]))
            self.pool.batches.room[key] = head["batch"]
            return
        item = open_items.pop(head.get("id", 0), None)
        if item is not None:
            cancelled = head["ev"] == "cancelled"
            self.pool.fail(item, Dropped() if cancelled else failure(head, item))

    def _dead(self, epoch: int, error: BaseException) -> None:
        """The batch has no answer: its pictures wait again, and the actor is asked where it is.

        A node's death says nothing against a picture, and cannot be told at once from a
        process's: the first time pictures simply go back, the second time each goes alone, and
        one that twice more took its actor down fails.
        """
        items = self.hand.pop(epoch, [])
        if self._ready.is_set():
            self.deaths += 1
            self._ready.clear()
        log.debug("a batch came back without an answer (%s)", type(error).__name__)
        again = [item for item in items if item.returns]
        for item in items:
            item.returns += 1
        self.pool.again([item for item in items if item not in again])
        self.pool.suspect(again, type(error).__name__)

    async def _hear(self) -> None:
        """Pass on how far the running batch is, about twice a second."""
        import ray

        with contextlib.suppress(ray.exceptions.RayError):
            while True:
                await asyncio.sleep(0.5)
                if not self.hand:
                    continue
                asked = self.handle.steps.options(concurrency_group="control")
                ids, step, of, previews = await asked.remote(self.pool.watched)
                shown = dict(zip(ids, previews, strict=False))
                for item in self.items():
                    if item.id in ids:
                        self.pool.advanced(item, step / max(1, of), shown.get(item.id, b""))


_EPOCHS = itertools.count(1)


def joined(
    address: str, most: int, settings: Mapping[str, Any], *, workers: int = 0, gpus: float = 1.0
) -> ClusterPool:
    """The pool of a cluster. Raises MissingExtra, and BadSettings where it is not guarded.

    A Ray cluster runs whatever anybody sends it: one that other machines can reach has to ask for
    its token (RAY_AUTH_MODE=token, here and on its head).
    """
    if importlib.util.find_spec("ray") is None:
        raise MissingExtra("ray", _WHAT)
    host = address.removeprefix("ray://").rsplit(":", 1)[0]
    near = host in ("auto", "local", "localhost", "127.0.0.1", "[::1]")
    if not near and os.environ.get("RAY_AUTH_MODE") != "token":
        raise BadSettings(
            f"Ray 集群 {address} 在别的机器上，要用令牌保护：两边都设 RAY_AUTH_MODE=token（见 docs/cluster.md）。没有花钱。",
            f"The Ray cluster {address} is on other machines and has to be guarded by a token: set "
            "RAY_AUTH_MODE=token on both sides (docs/cluster.md). Nothing was spent.",
        )
    return ClusterPool(address, most=most, settings=settings, workers=workers, gpus=gpus)


def _unreachable(address: str, error: Exception) -> Unavailable:
    what = str(error).strip().split("\n")[0][:160] or type(error).__name__
    return Unavailable(
        f"连不上 Ray 集群 {address}（{what}）；没有花钱，稍后再试。",
        f"The Ray cluster {address} cannot be reached ({what}); nothing was spent, it is tried "
        "again later.",
    )
