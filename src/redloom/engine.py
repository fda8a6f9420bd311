"""The engine as a program meets it: add runs, follow their outcomes, pause, resume, cancel.

::

    async with Engine(endpoint="dashscope") as engine:
        async for result in engine.stream(["a red scarf", "a blue one"], out="pictures"):
            print(result.status, result.path)

Whoever holds the workspace's lock carries the runs of every process that is alive; the others
follow through the journal and take over at once when it ends (rule 10).

May import: everything on the way before it, providers, settings.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .carrier import Carrier
from .clock import Clock, clock_from_environment, offload
from .diary import Diarist, limits_of, lists_of
from .download import Downloads, sweep
from .endpoint import Endpoint, Lane, Provider, Tools
from .equip import Terms, equip, keep_what_was_learnt
from .errors import BadInput, BadSettings, WorkspaceError
from .events import Ended, Event, Stopped, Stream, Watcher
from .finish import Finisher, pauses
from .image import Store
from .job import AGAIN
from .journal import Journal, Row, Witness
from .making import Soften
from .manifest import write_manifests
from .memory import share_pools
from .previews import Previews
from .prompt import Prompt, prompts_of
from .records import NewJob, Records, Run, new_run_id
from .result import Result, result_of
from .retry import Policy
from .route import Live
from .takeover import check_age, unfinished_files
from .told import Quotas
from .wanted import RunOptions, jobs_of
from .workspace import Workspace

if TYPE_CHECKING:
    from .settings import EndpointConfig, Settings

NO_BUDGET: tuple[float | None, str] = (None, "")
"""A run's budget and its currency, where a run goes on with what it had."""
CHUNK = 500
"""Rows written to the journal in one operation."""
REMEMBERED = 1000
"""Runs whose last end this process remembers without asking the journal."""
FOLLOW_S = 0.4
"""Real seconds between looks of a follower at the journal."""
GATHER_S = 0.02
"""The same where results come fast: one look brings them all."""


class Engine:
    """One process's way to the workspace. Use as an asynchronous context manager.

    ``endpoint``: names of endpoints from the settings (default: the configured one), or
    ``equipped`` ones made by the caller (tests, plugins). ``settings`` and ``workspace`` take the
    place of what would be read; ``clock`` that of nominal time. ``on_event`` is told everything
    (`events`). ``jobs``: ceiling on tasks in flight. ``lane``: ``sync`` or ``async`` instead of the
    recoverable one. ``policy``: how often is tried again. ``soften`` rewrites a refused prompt, for
    runs that allow it. ``rng`` and ``witness`` are for tests.

    Entering raises BadSettings (no such endpoint, no key) and WorkspaceError (disk, journal, lock);
    leaving finishes what is paid for.
    """

    def __init__(
        self,
        endpoint: str | Sequence[str] | None = None,
        *,
        settings: Settings | None = None,
        workspace: Path | str | None = None,
        equipped: Sequence[tuple[Endpoint, Provider]] | None = None,
        clock: Clock | None = None,
        on_event: Watcher | None = None,
        jobs: int | None = None,
        lane: Lane | None = None,
        policy: Policy | None = None,
        rng: random.Random | None = None,
        witness: Witness | None = None,
        soften: Soften | None = None,
    ) -> None:
        self.clock = clock or clock_from_environment()
        self._soften = soften
        self.previews = Previews()
        """Small pictures of what is being made, for who watches them; see event `Advanced`."""
        self.stream_of_events = Stream()
        if on_event is not None:
            self.stream_of_events.watch(on_event)
        self._names = [endpoint] if isinstance(endpoint, str) else list(endpoint or ())
        self._settings, self._equipped = settings, equipped
        self._root = Path(workspace) if workspace is not None else None
        self._jobs, self._lane = jobs, lane
        self._policy, self._rng = policy or Policy(), rng or random.Random()
        self._witness = witness
        self._carrier: Carrier | None = None
        self._lead: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._gone: dict[str, str] = {}
        self._taken: dict[str, float] = {}
        """When a run was last taken up again, nominal time."""
        self._adding: set[asyncio.Task[None]] = set()

    # life

    async def __aenter__(self) -> Engine:
        if self._settings is None and (self._root is None or self._equipped is None):
            from .settings import load_settings

            self._settings = load_settings(workspace=self._root)
        root = self._root or (self._settings.workspace if self._settings else None)
        assert root is not None
        share_pools()
        self.workspace = Workspace(root).prepare()
        self.journal = Journal(self.workspace.journal, witness=self._witness)
        self._open_journal()
        self.records = Records(self.journal)
        self.store = Store(self.workspace.root)
        self.downloads = Downloads(self.workspace.partial, clock=self.clock, pauses=pauses())
        self.lives = await self._equip()
        self.stream_of_events.watch(self._notice)
        self._quotas = Quotas(self.lives, self.clock)
        self.stream_of_events.watch(self._quotas.notice)
        diarist = Diarist(self.records, limits_of(self.lives), lists_of(self.lives))
        self.stream_of_events.watch(diarist)
        self._lead = asyncio.get_running_loop().create_task(self._lead_when_possible())
        return self

    def _open_journal(self) -> None:
        """Raises WorkspaceError where it cannot be used; nothing stays open then."""
        try:
            self.journal.open()
            check_age(self.journal, self.workspace.last_epoch)
        except BaseException:
            self.journal.close()
            self.workspace.close()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for adding in self._adding:
            adding.cancel()
        if self._carrier is not None:
            await self._carrier.settle_down()
        if self._lead is not None:
            self._lead.cancel()
            await asyncio.gather(self._lead, *self._adding, return_exceptions=True)
        await self._quotas.close()
        await keep_what_was_learnt(self.lives, self.records, self.clock.now())
        await self.stream_of_events.drain()
        for live in self.lives:
            await live.provider.close()
        await self.downloads.close()
        await asyncio.to_thread(self.journal.close)
        self.workspace.close()

    @property
    def leads(self) -> bool:
        """Whether this process is the workspace's engine."""
        return self._carrier is not None and self._carrier.epoch > 0

    async def wait_to_lead(self, within_s: float = 5.0) -> bool:
        """Wait up to ``within_s`` real seconds to be the workspace's engine; whether it is."""
        for _ in range(max(1, int(within_s / 0.05))):
            if self.leads:
                return True
            await asyncio.sleep(0.05)
        return self.leads

    async def broken(self) -> WorkspaceError:
        """Wait until this process's engine has stopped by itself (a full disk); why it did."""
        assert self._lead is not None
        await asyncio.shield(self._lead)
        assert self._carrier is not None
        assert self._carrier.fault is not None
        return self._carrier.fault

    async def _lead_when_possible(self) -> None:
        """Become the engine of the workspace as soon as nobody else is."""
        while True:
            if self.workspace.try_lock():
                named = unfinished_files(await self.records.live_tasks())
                await offload(sweep, self.workspace.partial, named)
                self._carrier = Carrier(
                    self.records, self.clock, self.stream_of_events, self.lives,
                    Finisher(self.records, self.clock, self.stream_of_events, self.store, self.downloads),
                    self.workspace.lives, self._policy, self._rng,
                )  # fmt: skip
                self._carrier.maker.soften = self._soften
                await self._carrier.carry()
                self.workspace.unlock()
                self._changed.set()
                return
            await asyncio.sleep(FOLLOW_S)

    async def _equip(self) -> list[Live]:
        equipped = list(self._equipped or ())
        keys: dict[str, str] = {}
        if self._equipped is None:
            for config in self._configs():
                keys[config.name] = config.api_key
                equipped.append((config.endpoint(), self._create(config)))
        terms = Terms(self.clock, self._jobs, self._lane, self._rng)
        return await equip(equipped, keys, self.records, terms)

    def _configs(self) -> list[EndpointConfig]:
        from .settings import check_clock

        assert self._settings is not None
        names = self._names or [self._settings.default_endpoint]
        configs = [self._settings.endpoint(name) for name in names]
        check_clock(self.clock, configs)
        return configs

    def _create(self, config: EndpointConfig) -> Provider:
        from . import providers

        tools = Tools(
            key=config.api_key, clock=self.clock, folder=self.workspace.partial,
            progress=self._advanced, previews=self.previews,
        )  # fmt: skip
        made: Provider = providers.load(config.provider).create(config.endpoint(), tools)
        return made

    def _advanced(self, key: str, fraction: float) -> None:
        if self._carrier is not None:
            preview = key if self.previews.of(key) else ""
            self._carrier.advanced(key, fraction, preview)

    # runs

    async def add(
        self,
        prompts: Iterable[str | Prompt | Mapping[str, Any]],
        *,
        out: Path | str | None = None,
        options: RunOptions | None = None,
        kind: str = "library",
        digest: str | None = None,
        budget: float | None = None,
        currency: str = "",
        priority: int = 0,
        wait: bool = True,
        extend: str | None = None,
        endpoints: Sequence[str] | None = None,
    ) -> str:
        """Write a run to the journal; its id. The same run again (digest, folder) is resumed.

        ``out``: the run's folder. ``options``: what holds for all of it. ``kind``: who asks, for
        lists. ``digest``: identity of the prompts where the caller knows a better one. ``budget``:
        what the run may cost, resumptions included, in ``currency`` (three letters). ``priority``:
        -100 to 100, higher first.

        ``extend``: append what run ``extend`` does not have yet to it, behind its last row.
        ``endpoints``: names of those of this engine that the run may be made at (None: all).

        With ``wait`` False the rows are written while the first of them are already made.
        Raises BadInput where the prompts cannot be read.
        """
        options, endpoints = self._chained(options or RunOptions(), endpoints)
        folder = "" if out is None else absolute(out)
        if digest is None:
            prompts, digest = _digested(prompts, options)
        if extend is not None:
            return await self._extend(
                extend, prompts, options, digest, (budget, currency), endpoints
            )
        known = await self._known(folder, digest)
        if known is not None:
            await self.records.set_policy(known.id, options.in_doubt)
            await self._take_again(known, (budget, currency), endpoints)
            if not known.complete:
                await self._begin_filling(known.id, prompts, options, wait)
            return known.id
        run = Run(
            new_run_id(self.clock.now()), self.clock.now(), kind, digest, folder,
            options.record(), self.environment(endpoints), "open", priority, budget, currency, 0, False,
            self.workspace.token,
        )  # fmt: skip
        await self.records.add_run(run)
        await self._begin_filling(run.id, prompts, options, wait)
        return run.id

    def _chained(
        self, options: RunOptions, endpoints: Sequence[str] | None
    ) -> tuple[RunOptions, list[str] | None]:
        """The run's fallback without what it asks first anyway, and all that it may touch."""
        own = set(endpoints or ())
        spare = tuple(name for name in dict.fromkeys(options.fallback) if name not in own)
        if endpoints is None and all(live.name in spare for live in self.lives):
            spare = ()
        options = replace(options, fallback=spare)
        return options, None if endpoints is None else [*endpoints, *spare]

    async def _begin_filling(
        self,
        run: str,
        prompts: Iterable[str | Prompt | Mapping[str, Any]],
        options: RunOptions,
        wait: bool,
    ) -> None:
        adding = asyncio.get_running_loop().create_task(self._fill(run, prompts, options))
        self._adding.add(adding)
        adding.add_done_callback(self._adding.discard)
        if wait:
            await adding

    async def _known(self, folder: str, digest: str) -> Run | None:
        """The run that this one continues: same folder, same digest."""
        if not folder:
            return None
        for run in await self.records.runs_into(folder):
            if run.digest == digest:
                return run
        return None

    async def _extend(
        self,
        run: str,
        prompts: Iterable[str | Prompt | Mapping[str, Any]],
        options: RunOptions,
        digest: str,
        budget: tuple[float | None, str],
        endpoints: Sequence[str] | None,
    ) -> str:
        """Append to a run the prompts that it does not have yet."""
        record = await self._must(run)
        have = await self.records.keys_of(run)
        row = await self.records.last_row(run)
        fresh: list[NewJob] = []
        for prompt in prompts_of(prompts):
            jobs = jobs_of(row + 1, prompt, options)
            wanted = [j for j in jobs if j.request is None or j.request.key not in have]
            row += bool(wanted)
            fresh.extend(wanted)
        await self.records.extend_run(run, digest)
        for start in range(0, len(fresh), CHUNK):
            await self.records.add_jobs(run, fresh[start : start + CHUNK], self.clock.now())
        await self.records.complete_run(run)
        await self.records.set_policy(run, options.in_doubt)
        await self._take_again(record, budget, endpoints)
        return run

    async def _take_again(
        self, run: Run, budget: tuple[float | None, str], endpoints: Sequence[str] | None
    ) -> None:
        self._taken[run.id] = self.clock.now()
        self._gone.pop(run.id, None)
        await self.records.reopen(run.id, ("in-doubt", "unpaid", "cancelled"))
        await self.records.reopen_unfetched(run.id)
        environment = json.dumps(self.environment(endpoints), sort_keys=True)
        await self.records.own_run(
            run.id, self.workspace.token, environment, budget=budget[0], currency=budget[1]
        )
        if self._carrier is not None:
            self._carrier.places.ask_again(await self._must(run.id))
        self._look()

    async def _fill(
        self, run: str, prompts: Iterable[str | Prompt | Mapping[str, Any]], options: RunOptions
    ) -> None:
        """Write the rows, a chunk at a time, so that the input is never whole in memory."""
        chunk: list[NewJob] = []
        for row, prompt in enumerate(prompts_of(prompts), 1):
            chunk.extend(jobs_of(row, prompt, options))
            if len(chunk) >= CHUNK:
                await self.records.add_jobs(run, chunk, self.clock.now())
                chunk = []
                self._look()
        if chunk:
            await self.records.add_jobs(run, chunk, self.clock.now())
        await self.records.complete_run(run)
        self._look()

    def environment(self, endpoints: Sequence[str] | None = None) -> dict[str, Any]:
        """What runs of this process may touch: each endpoint's name and place, or of some."""
        lives = [live for live in self.lives if endpoints is None or live.name in endpoints]
        return {"places": {live.name: live.place for live in lives}}

    def _own_of(self, run: Run) -> list[str] | None:
        """The run's endpoints that this process has; None, for all, where it has none of them."""
        places = run.environment.get("places", {})
        return [live.name for live in self.lives if live.name in places] or None

    async def stream(
        self,
        prompts: Iterable[str | Prompt | Mapping[str, Any]],
        *,
        on_event: Watcher | None = None,
        **how: Any,
    ) -> AsyncIterator[Result]:
        """Add a run and yield its results as they finish. Keywords as in `add`.

        A run with a folder has its ``manifest.jsonl`` and ``manifest.csv`` when this ends, also
        where the caller stops listening or is cancelled.
        """
        leave = self.stream_of_events.watch(on_event) if on_event is not None else None
        try:
            run = await self.add(prompts, **how)
            try:
                async for result in self.follow(run):
                    yield result
            except BaseException:
                with contextlib.suppress(Exception):  # what happened is worth more
                    await self._leave_manifests(run)
                raise
            await self._leave_manifests(run)
        finally:
            if leave is not None:
                await self.stream_of_events.drain()
                leave()

    async def _leave_manifests(self, run: str) -> None:
        """Into the run's folder, where it has one, what became of every row. Raises DiskFull."""
        record = await self.records.run(run)
        if record is not None and record.out:
            await offload(write_manifests, self.journal, run, Path(record.out))

    async def generate(
        self, prompts: Iterable[str | Prompt | Mapping[str, Any]], **how: Any
    ) -> list[Result]:
        """Add a run, wait for its end, and return its results in the order asked."""
        results = [result async for result in self.stream(prompts, **how)]
        return sorted(results, key=lambda result: (result.row, result.take))

    async def follow(self, run: str, after: int = 0) -> AsyncIterator[Result]:
        """Results of a run as they come, whoever carries it, until nothing more will.

        Raises the error that stopped this process's engine, if one did.
        """
        self._gone.pop(run, None)
        last = 2**62  # behind every row of outcome number `after`
        while True:
            self._changed.clear()
            over = await self.over(run)
            rows = await self.journal.read(
                lambda db: db.all("outcomes_since", run=run, seq=after, id=last, limit=1000)  # noqa: B023
            )
            for row in rows:
                after, last = row["seq"], row["id"]
                yield self.result_of(row)
            if self._carrier is not None and self._carrier.fault is not None:
                raise self._carrier.fault
            if self._lead and self._lead.done() and not self._lead.cancelled():
                self._lead.result()  # it ended by a mistake of ours: say so
            if over and not rows:
                return
            if rows:
                await asyncio.sleep(GATHER_S)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FOLLOW_S):
                        await self._changed.wait()

    async def over(self, run: str) -> bool:
        """Whether nothing more will happen in a run for now: done, paused, or waiting for a person."""
        if run in self._gone:
            return True
        record = await self.records.run(run)
        if record is None or record.note:
            return True
        if record.state in ("paused", "cancelled"):
            carried = self._carrier is not None and self._carrier.carries(run)
            return not carried and await self.records.live_of_run(run) == 0
        return record.complete and not await self.records.any_waiting(run)

    def result_of(self, row: Row) -> Result:
        """A result from a row of the journal's ``outcomes_since``."""
        return result_of(row, self.store)

    # control, from this process or another

    async def pause(self, run: str) -> bool:
        """Buy nothing more for a run; what is paid for is finished. Whether it was open."""
        return await self._control(run, "paused", "open")

    async def resume(self, run: str) -> None:
        """Carry a run on from here. Raises BadInput where there is none."""
        record = await self._must(run)
        await self._take_again(record, NO_BUDGET, self._own_of(record))

    async def cancel(self, run: str) -> bool:
        """Give up what is not paid for yet."""
        return await self._control(run, "cancelled", "open", "paused")

    async def retry(self, run: str, *, soften: bool = False) -> int:
        """Take up again what did not become a picture; how many rows.

        ``soften``: what is refused from now on may be rewritten (`RunOptions.soften`).
        """
        record = await self._must(run)
        if soften:
            await self.records.allow_softening(run)
        number = await self.records.reopen(run, AGAIN)
        await self._take_again(record, NO_BUDGET, self._own_of(record))
        return number

    async def _control(self, run: str, state: str, *from_states: str) -> bool:
        await self._must(run)
        changed = await self.records.set_state(run, state, *from_states)
        if state == "cancelled":
            await self.records.cancel_jobs(run, self.clock.now())
        self._look()
        return changed

    async def _must(self, run: str) -> Run:
        record = await self.records.run(run)
        if record is None:
            raise BadInput(
                f"没有叫「{run}」的批次；用 redloom runs 看有哪些。",
                f"There is no run “{run}”; `redloom runs` lists them.",
            )
        return record

    def _look(self) -> None:
        if self._carrier is not None:
            self._carrier.look_now()
        self._changed.set()

    def _notice(self, event: Event) -> None:
        if event.kind == "started" and self._carrier is not None:
            self.workspace.remember_epoch(self._carrier.epoch)
        if isinstance(event, Ended) and event.at > self._taken.get(event.run, float("-inf")):
            # The end of an earlier carriage may be told after the run was taken up again.
            self._gone[event.run] = event.state
            for kept in (self._gone, self._taken):  # a server sees thousands of runs a day
                if len(kept) > REMEMBERED:
                    del kept[next(iter(kept))]
        if isinstance(event, Ended | Stopped) or event.kind == "done":
            self._changed.set()


def absolute(folder: Path | str) -> str:
    """The folder's absolute path, links resolved: how the journal knows it."""
    return str(Path(folder).resolve())


def _digested(
    prompts: Iterable[str | Prompt | Mapping[str, Any]], options: RunOptions
) -> tuple[Iterable[str | Prompt | Mapping[str, Any]], str]:
    """The digest of prompts given as a sequence; of anything else a new one each time."""
    if not isinstance(prompts, Sequence):
        return prompts, random.randbytes(16).hex()
    changing = {**options.of_run(), "delivery": dict(options.delivery), "take": options.take}
    digest = hashlib.sha256(json.dumps(changing, sort_keys=True, default=str).encode())
    for prompt in prompts_of(prompts):
        digest.update(repr(prompt).encode("utf-8", "surrogatepass"))
    return prompts, digest.hexdigest()


async def generate(
    prompts: Iterable[str | Prompt | Mapping[str, Any]],
    *,
    endpoint: str | Sequence[str] | None = None,
    out: Path | str | None = None,
    on_event: Watcher | None = None,
    **how: Any,
) -> list[Result]:
    """Make pictures of ``prompts``; results in the order asked, one for each wanted picture.

    ``endpoint``: one name or several that share the work; ``out``: the run's folder (None: the
    pictures stay in the store); ``how``: ``options``, ``budget``, ``currency`` and whatever else
    `Engine.add` takes. One picture's failure raises nothing: it is in its result. Raises
    BadSettings where no key is set, BadInput where the prompts cannot be read, WorkspaceError.
    """
    async with Engine(endpoint, on_event=on_event) as engine:
        return await engine.generate(prompts, out=out, **how)


__all__ = ["BadSettings", "Engine", "Result", "RunOptions", "generate"]
