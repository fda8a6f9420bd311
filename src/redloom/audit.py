"""The account's tasks of the last day against the ledger; what nobody collected is collected.

Three things can be found. A task of ours that was paid for and never fetched (its run was
abandoned): fetched now, as `finish` does it. A lost answer: settled by looking, as `looking` does
it, once. A task that the journal does not know: another program's, or a lost journal's; it is
told of, and its picture fetched into a folder where the user asks for that. Nothing is bought.

Only for the workspace's engine, and only tasks of runs that nobody carries.

May import: everything on the way before it, engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .carried import Carried, Purse
from .clock import offload
from .endpoint import Failed, Made, Outcome, Seen, Ticket, Unknown, Waiting
from .engine import Engine
from .errors import PictureError, ServiceError, Withheld
from .finish import Finisher, rules_for
from .image import write_whole
from .journal import Row
from .looking import Lookout, Lost
from .measured import measure_by
from .naming import extension
from .poll import Heard
from .records import Ending, Job, Run
from .route import Live
from .task import failed_ending, picture_from_json, ticket_from_json, ticket_to_json

What = Literal[
    "collected",
    "adopted",
    "void",
    "doubt",
    "failed",
    "waiting",
    "lost",
    "busy",
    "stranger",
    "unreadable",
]
DAY_S = 86_400.0
"""How far back a service keeps its tasks."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one task. Times are nominal Unix seconds; ``price`` None: unknown."""

    what: What
    """What became of it, in one word."""
    endpoint: str
    task_id: str = ""
    model: str = ""
    state: str = ""
    """Where the service says that it stands."""
    created: float | None = None
    run: str = ""
    row: int = 0
    take: int = 1
    file: str = ""
    """The picture's file, where it was collected."""
    price: float | None = None
    currency: str = ""
    error: str = ""
    """Why it could not be."""


@dataclass(eq=False)
class Audit:
    """One audit by an engine that leads its workspace."""

    engine: Engine
    """An engine that leads its workspace."""
    tell: Callable[[Finding], None]
    """Called with each finding as it is made."""
    collect: Path | None = None
    """Where finished strangers' pictures go; None: they are left alone."""
    listed: int = 0
    """Tasks that the services listed."""
    _runs: dict[str, Run | None] = field(default_factory=dict)

    async def run(self) -> None:
        """Everything in its order: ours first, so that what is adopted is no stranger."""
        engine = self.engine
        self._finisher = Finisher(
            engine.records, engine.clock, engine.stream_of_events, engine.store, engine.downloads
        )
        for live in engine.lives:
            await self._ours(live)
        for live in {one.place: one for one in engine.lives}.values():
            await self._strangers(live)

    # ours

    async def _ours(self, live: Live) -> None:
        doubts = []
        for row in await self.engine.records.live_tasks():
            if row["endpoint"] != live.name or row["place"] != live.place:
                continue
            if await self._carried(row["run"]):
                self._say("busy", live, row)
            elif row["state"] == "doubt":
                doubts.append(row)
            else:
                await self._fetch(live, row)
        await self._settle(live, doubts)

    async def _carried(self, run: str) -> bool:
        """Whether somebody alive wants the run carried: then it is the engine's, not ours."""
        record = await self._run(run)
        if record is None or record.state != "open":
            return False
        return self.engine.workspace.lives(record.owner)

    async def _run(self, run: str) -> Run | None:
        if run not in self._runs:
            self._runs[run] = await self.engine.records.run(run)
        return self._runs[run]

    async def _fetch(self, live: Live, row: Row) -> None:
        """Ask what became of a task with a ticket, and take its picture if it has one."""
        ticket = ticket_from_json(row["ticket"]) if row["ticket"] else None
        try:
            outcome: Outcome = (
                Made(picture_from_json(row["result"]))
                if ticket is None
                else await live.provider.poll(ticket)
            )
        except ServiceError as error:
            self._say("unreadable", live, row, error=str(error))
            return
        await self._close(live, row, outcome, ticket)

    async def _close(self, live: Live, row: Row, outcome: Outcome, ticket: Ticket | None) -> None:
        records, now = self.engine.records, self.engine.clock.now()
        if isinstance(outcome, Waiting):
            self._say("waiting", live, row)
        elif isinstance(outcome, Made):
            await self._keep(live, row, outcome, ticket)
        elif isinstance(outcome, Failed) and isinstance(outcome.error, Withheld):
            self._say("doubt", live, row, error=str(outcome.error))
        elif isinstance(outcome, Failed):
            await records.end_task(row["id"], failed_ending(outcome, now))
            self._say("failed", live, row, error=str(outcome.error))
        elif (
            isinstance(outcome, Unknown)
            and now - row["intent_at"] < live.capabilities.record_life_s
        ):
            # It should know it still: a hiccup is no reason to give up what is paid for.
            self._say("unreadable", live, row)
        elif isinstance(outcome, Unknown):
            ending = Ending(state="lost", billed="maybe", at=now, code="unknown")
            await records.end_task(row["id"], ending)
            self._say("lost", live, row)
        else:
            ending = Ending(state="canceled", billed="no", at=now, code="canceled")
            await records.end_task(row["id"], ending, uncount=True)
            self._say("failed", live, row)

    async def _keep(self, live: Live, row: Row, made: Made, ticket: Ticket | None) -> None:
        run = await self._run(row["run"])
        assert run is not None
        await self.engine.records.reopen_job(row["job"])
        heard = Heard(made, 1, self.engine.clock.now())
        ending, _ = await self._finisher.finish(
            run, Job.of_task(row), live, row["id"], heard, ticket
        )
        what: What = "collected" if ending.status == "ok" else "lost"
        self._say(what, live, row, file=ending.file, error=ending.error)

    # lost answers

    async def _settle(self, live: Live, rows: Sequence[Row]) -> None:
        """One look at every doubt of an endpoint."""
        if not rows:
            return

        async def adopt(lost: Lost, ticket: Ticket) -> None:
            now = self.engine.clock.now()
            await self.engine.records.accept(lost.task, ticket.id, ticket_to_json(ticket), now)
            row = await self.engine.records.live_task_of(lost.job.key)
            assert row is not None
            self._say("adopted", live, row)
            await self._fetch(live, row)

        async def proved(lost: Lost) -> None:
            await self.engine.records.prove_void(lost.task, self.engine.clock.now())
            await self.engine.records.reopen_job(lost.job.id)
            self._say("void", live, by_task[lost.task])

        async def unsettled(lost: Lost) -> None:
            self._say("doubt", live, by_task[lost.task])

        by_task = {row["id"]: row for row in rows}
        failures: list[Exception] = []
        lookout = Lookout(
            self.engine.records,
            self.engine.clock,
            adopt,
            proved,
            unsettled,
            failures.append,
            measure_by(self.engine.downloads),
            most=1,
        )
        for row in rows:
            run = await self._run(row["run"])
            assert run is not None
            await lookout.add(Lost.of(row, live, Carried(run, Purse()), Job.of_task(row)))
        await lookout.settled()
        if failures:
            raise failures[0]

    # strangers

    async def _strangers(self, live: Live) -> None:
        if not live.capabilities.lists_tasks:
            return
        now = self.engine.clock.now()
        try:
            seen = await live.provider.look(now - DAY_S, now)
        except ServiceError as error:
            self.tell(Finding("unreadable", live.name, error=str(error)))
            return
        self.listed += len(seen)
        known = await self.engine.records.known_tickets([one.id for one in seen])
        for one in seen:
            if one.id not in known:
                await self._stranger(live, one)

    async def _stranger(self, live: Live, seen: Seen) -> None:
        file = error = ""
        if self.collect is not None and seen.state == "made":
            try:
                file = await self._take(live, seen, self.collect)
            except (ServiceError, PictureError) as problem:
                error = str(problem)
        self.tell(
            Finding(
                "stranger", live.name, seen.id, seen.model, seen.state, seen.created,
                file=file, error=error,
            )
        )  # fmt: skip

    async def _take(self, live: Live, seen: Seen, folder: Path) -> str:
        """A stranger's picture into ``folder``; the file's name, empty where it has none."""
        outcome = await live.provider.poll(Ticket(seen.id))
        if not isinstance(outcome, Made):
            return ""
        fetched = await self.engine.downloads.fetch(
            outcome.picture, rules_for(live), name=f"audit-{seen.id}", size=None
        )
        image = await offload(self.engine.store.put, fetched)
        name = f"{seen.id}.{extension(image.format)}"
        await offload(lambda: write_whole(folder / name, image.path.read_bytes()))
        return name

    def _say(self, what: What, live: Live, row: Row, *, file: str = "", error: str = "") -> None:
        self.tell(
            Finding(
                what, live.name, row["ticket_id"] or "", row["model"], row["state"],
                row["intent_at"], row["run"], row["row"], row["take"], file, row["price"],
                row["currency"], error,
            )
        )  # fmt: skip
