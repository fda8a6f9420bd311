"""Sees the server's runs through: manifests, the end, webhooks; and takes them up after a restart.

May import: clock, private, records, engine, manifest, contact, errors, studio.{memory,show,feed,webhooks,chores}.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redloom import private
from redloom.clock import offload
from redloom.contact import write_sheet
from redloom.engine import Engine
from redloom.errors import RedloomError, WorkspaceError
from redloom.manifest import Keeper
from redloom.records import Run

from .chores import Chores
from .feed import Feed
from .memory import Memory
from .show import Show
from .webhooks import PAUSES_S, Webhooks

log = logging.getLogger("redloom.studio")
KINDS = ("studio", "api", "mcp")
"""Runs that a server began: the next one takes them up by itself."""
HOOKS_S = 5.0
"""Real seconds between looks for webhooks whose time has come."""
MARK = ".redloom-open"
"""A file with the run's number, in its folder until the last manifest is written: a server that is
killed between a run's end and that leaves it, and the next one writes what is missing."""


@dataclass
class Attendants:
    """One attendant for each run that this server carries."""

    engine: Engine
    memory: Memory
    show: Show
    feed: Feed
    hooks: Webhooks
    chores: Chores
    root: str = ""
    """What addresses in webhooks begin with."""
    _by_run: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _hooks_now: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        """Take up what an earlier server left, and watch for webhooks."""
        for row in await self.memory.unfinished(KINDS):
            if row["state"] == "open" and not self.engine.workspace.lives(row["owner"]):
                await self.engine.resume(row["id"])
                self.attend(row["id"])
        for mark in await offload(_marks, self.engine.workspace.root / "runs"):
            self.chores.begin(self._finish(mark), f"manifests of {mark.parent.name}")
        self.chores.begin(self._tell_hooks(), "webhooks")

    def attend(self, run: str) -> asyncio.Task[None]:
        """See a run to its end; ends when nothing more will happen in it for now."""
        known = self._by_run.get(run)
        if known is None or known.done():
            known = self._by_run[run] = self.chores.begin(self._attend(run), f"run {run}")
            known.add_done_callback(lambda task: self._forget(run, task))
        return known

    async def until_over(self, run: str) -> None:
        """Wait for a run's end. Cancelling the wait leaves the run as it is."""
        await asyncio.shield(self.attend(run))

    def _forget(self, run: str, task: asyncio.Task[None]) -> None:
        if self._by_run.get(run) is task:
            del self._by_run[run]

    async def _attend(self, run: str) -> None:
        record = await self.engine.records.run(run)
        if record is None:
            return
        keeper = await self._keeper(record)
        try:
            async for _ in self.engine.follow(run):
                pass
        except WorkspaceError as error:
            log.info("run %s is left for the next start (%s)", run, error.code)
        finally:
            if keeper is not None:
                await _to_the_end(self._closed(keeper))
        self.feed.changed(run)
        self._hooks_now.set()

    async def _keeper(self, run: Run) -> Keeper | None:
        if not run.out or not Path(run.out).parent.is_dir():
            return None
        keeper = Keeper(self.engine.journal, self.engine.store, run, write_sheet)
        with contextlib.suppress(OSError):
            await offload(_mark, run)
        await keeper.start()
        return keeper

    async def _closed(self, keeper: Keeper) -> None:
        """The last manifests of a run, which is over or left for another start."""
        try:
            await keeper.stop()
            await offload((Path(keeper.run.out) / MARK).unlink, True)
        except (RedloomError, OSError) as error:
            log.warning("the manifests of run %s: %s", keeper.run.id, error)

    async def _finish(self, mark: Path) -> None:
        """What an earlier server did not come to, for a run that is over."""
        run = await self.engine.records.run((await offload(mark.read_text, "utf-8")).strip())
        if run is not None and run.state not in ("open", "paused") and Path(run.out) == mark.parent:
            keeper = Keeper(self.engine.journal, self.engine.store, run, write_sheet)
            await _to_the_end(self._closed(keeper))

    # webhooks

    async def _tell_hooks(self) -> None:
        while True:
            for row in await self.memory.hooks_due(time.time()):
                await self._tell_hook(row["run"], row["hook"], row["hook_tries"])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HOOKS_S):
                    await self._hooks_now.wait()
            self._hooks_now.clear()

    async def _tell_hook(self, run: str, address: str, tries: int) -> None:
        shown = await self.show.run(run, self.root)
        now = time.time()
        body = {"type": "run.finished", "timestamp": now, "data": {"run": shown}}
        if await self.hooks.send(address, run, body, now):
            await self.memory.set_hook(run, "told", tries + 1, None)
        elif tries >= len(PAUSES_S):
            await self.memory.set_hook(run, "given-up", tries + 1, None)
        else:
            await self.memory.set_hook(run, "waiting", tries + 1, now + PAUSES_S[tries])


def _mark(run: Run) -> None:
    mark = Path(run.out) / MARK
    if not mark.exists():
        private.write(mark, run.id.encode())


def _marks(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*/{MARK}"))


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Do it wholly, also where the server is told to end meanwhile."""
    doing = asyncio.ensure_future(work)
    try:
        await asyncio.shield(doing)
    except asyncio.CancelledError:
        await doing
        raise
