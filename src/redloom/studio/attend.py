"""Sees the server's runs through: manifests, the end, webhooks; and takes them up after a restart.

May import: records, engine, manifest, contact, errors, studio.{memory,show,feed,webhooks,chores}.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

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
                with contextlib.suppress(RedloomError):
                    await keeper.stop()
        self.feed.changed(run)
        self._hooks_now.set()

    async def _keeper(self, run: Run) -> Keeper | None:
        if not run.out or not Path(run.out).parent.is_dir():
            return None
        keeper = Keeper(self.engine.journal, self.engine.store, run, write_sheet)
        await keeper.start()
        return keeper

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
