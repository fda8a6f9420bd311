"""The journal's typed operations: runs, jobs, tasks, images, money.

Each is one operation in a group commit. The order in which the engine calls them is the
protocol (rule 1): `intend` before the POST leaves, `accept` before the first poll.

May import: rows, errors, clock, lang, events, prompt, job, journal, spending.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .errors import EpochPassed, Withdrawn
from .journal import Db, Journal, Row
from .lang import Text
from .rows import (
    Ending,
    ImageRecord,
    Intent,
    Job,
    JobEnding,
    Known,
    NewJob,
    Run,
    new_run_id,
)
from .spending import Spending, spending_of

_CANCELLED_IN_DOUBT = Text(
    "已取消；请求发出后没有收到回答，可能已计费。继续或核对（audit）时会再查。",
    "Cancelled; the answer to its request was lost, so it may be billed. Resuming the run or an audit looks again.",
)
LIVE = ("intent", "accepted", "doubt", "made")
"""States in which a task may still become a picture, or may have cost money."""


__all__ = [
    "Ending",
    "ImageRecord",
    "Intent",
    "Job",
    "JobEnding",
    "Known",
    "NewJob",
    "Records",
    "Run",
    "new_run_id",
]


def _slots(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


class Records:
    """The typed face of a journal."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    # runs

    async def add_run(self, run: Run) -> None:
        """Write a new run; its rows follow with `add_jobs`."""
        values = _slots(run)
        values["options"] = json.dumps(run.options, ensure_ascii=False, sort_keys=True)
        values["environment"] = json.dumps(run.environment, sort_keys=True)
        await self.journal.do(lambda db: db.run("add_run", **values), "add run")

    async def add_jobs(self, run: str, jobs: Sequence[NewJob], now: float) -> None:
        """Write rows of a run; those already there stay as they are."""
        rows = [_job_values(run, job, now) for job in jobs]

        def add(db: Db) -> None:
            seq = db.value("next_seq", run=run)
            for row in rows:
                row["seq"] = seq if row["status"] == "invalid" else None
                db.run("add_job", **row)

        await self.journal.do(add, "add jobs")

    async def complete_run(self, run: str) -> None:
        """The run's input has been read to its end."""
        await self.journal.do(lambda db: db.run("set_run_complete", id=run), "complete run")

    async def run(self, run: str) -> Run | None:
        """One run, or None."""
        row = self.journal.glance(lambda db: db.one("run", id=run))
        return None if row is None else Run.of(row)

    async def runs(self, limit: int = 1000) -> list[Run]:
        """The newest runs first."""
        rows = await self.journal.read(lambda db: db.all("runs", limit=limit))
        return [Run.of(row) for row in rows]

    async def runs_into(self, out: str) -> list[Run]:
        """Runs whose files go to ``out``, newest first."""
        rows = await self.journal.read(lambda db: db.all("runs_into", out=out))
        return [Run.of(row) for row in rows]

    async def open_runs(self) -> list[Run]:
        """Runs that want work, by priority, then age."""
        rows = self.journal.glance(lambda db: db.all("open_runs"))
        return [Run.of(row) for row in rows]

    async def set_state(self, run: str, state: str, *from_states: str) -> bool:
        """Move a run to ``state`` if it is in one of ``from_states``; whether it was."""
        known = json.dumps(from_states)
        changed = await self.journal.do(
            lambda db: db.run("set_run_state", id=run, state=state, from_states=known),
            f"run {state}",
        )
        return changed > 0

    async def finish_run(self, run: str) -> bool:
        """An open run without pending jobs is done; whether it was such a one."""
        return await self.journal.do(lambda db: db.run("finish_run", id=run), "run done") > 0

    async def own_run(
        self,
        run: str,
        owner: str,
        environment: str,
        *,
        budget: float | None = None,
        currency: str = "",
    ) -> None:
        """``owner`` wants the run carried in its environment; a ``budget`` replaces the old one,
        with its ``currency``."""
        await self.journal.do(
            lambda db: db.run(
                "own_run", id=run, owner=owner, environment=environment,
                set_budget=budget is not None, budget=budget,
                currency=currency if budget is not None else "",
            ),
            "own run",
        )  # fmt: skip

    async def set_note(self, run: str, note: str) -> None:
        """Why a run waits for a person; empty: it no longer does."""
        await self.journal.do(lambda db: db.run("set_note", id=run, note=note), "note")

    async def live_of_run(self, run: str) -> int:
        """Tasks of a run that the service may be working on."""
        return int(self.journal.glance(lambda db: db.value("live_of_run", run=run)))

    async def set_priority(self, run: str, priority: int) -> None:
        """Higher goes first."""
        await self.journal.do(lambda db: db.run("set_priority", id=run, priority=priority))

    async def leave_out(self, run: str) -> None:
        """The run's folder belongs to another run from now on."""
        await self.journal.do(lambda db: db.run("leave_out", id=run), "leave out")

    async def extend_run(self, run: str, digest: str) -> None:
        """More rows follow; the run is known by its new input from now on."""
        await self.journal.do(lambda db: db.run("extend_run", id=run, digest=digest), "extend")

    # jobs

    async def keys_of(self, run: str) -> set[str]:
        """The keys of all jobs of a run."""
        rows = await self.journal.read(lambda db: db.all("keys_of", run=run))
        return {row["key"] for row in rows}

    async def last_row(self, run: str) -> int:
        """The number of a run's last row."""
        return int(await self.journal.read(lambda db: db.value("last_row", run=run)))

    async def waiting(self, run: str, after: int, limit: int) -> list[Job]:
        """The next pending jobs of a run behind job id ``after``, in input order."""
        rows = await self.journal.read(
            lambda db: db.all("waiting_jobs", run=run, after=after, limit=limit)
        )
        return [Job.of(row) for row in rows]

    async def any_waiting(self, run: str) -> bool:
        """Whether a run has pending jobs."""
        return bool(self.journal.glance(lambda db: db.value("any_waiting", run=run)))

    async def count_waiting(self, run: str) -> int:
        """Pending jobs of a run."""
        found = await self.journal.read(lambda db: db.value("count_waiting", run=run))
        return int(found)

    async def counts(self, run: str) -> dict[str, int]:
        """How many jobs of a run have each status."""
        rows = await self.journal.read(lambda db: db.all("counts", run=run))
        return {row["status"]: row["number"] for row in rows}

    async def end_job(self, ending: JobEnding) -> None:
        """Give a pending job its outcome."""
        await self.journal.do(lambda db: _end_job(db, ending), "end job")

    async def end_task_and_job(
        self, task: int, ending: Ending, job: JobEnding, image: ImageRecord | None = None
    ) -> None:
        """A task's end, its picture, and the outcome of its job, in one commit."""

        def end(db: Db) -> None:
            db.run("close_task", id=task, **_slots(ending))
            if image is not None:
                db.run("add_image", **_slots(image))
            _end_job(db, job)

        await self.journal.do(end, "end task and job")

    async def reopen(self, run: str, statuses: Sequence[str]) -> int:
        """Jobs of a run with these outcomes become pending again; how many."""
        wanted = json.dumps(list(statuses))
        return await self.journal.do(
            lambda db: db.run("reopen_jobs", run=run, statuses=wanted), "reopen"
        )

    async def reopen_unfetched(self, run: str) -> int:
        """Jobs of a run whose pictures are paid for and could not be fetched become pending again."""
        return await self.journal.do(lambda db: db.run("reopen_unfetched", run=run), "reopen")

    async def reopen_job(self, job: int) -> bool:
        """A job that ended without a picture is pending again; whether it was such a one."""
        return await self.journal.do(lambda db: db.run("reopen_job", id=job), "reopen") > 0

    async def cancel_jobs(self, run: str, now: float) -> int:
        """Cancel the pending jobs of a run that have no live task; how many."""

        def cancel(db: Db) -> int:
            return db.run("cancel_jobs", run=run, ended=now, seq=db.value("next_seq", run=run))

        return await self.journal.do(cancel, "cancel")

    async def end_cancelled(self, run: str, now: float) -> None:
        """Nothing of a run is in hand any more: where it was cancelled, its rows end. What the
        service is not known to have stays in doubt; what it has is left for an audit.
        """

        def end(db: Db) -> None:
            if db.value("run_state", id=run) == "cancelled":
                seq = db.value("next_seq", run=run)
                db.run("cancel_jobs", run=run, ended=now, seq=seq)
                db.run("doubt_jobs", run=run, ended=now, seq=seq, error=str(_CANCELLED_IN_DOUBT))

        await self.journal.do(end, "cancel")

    async def twin(self, run: str, key: str) -> tuple[int, str] | None:
        """Row and file of the job of this run that already has the picture of ``key``."""
        row = self.journal.glance(lambda db: db.one("twin", run=run, key=key))
        return None if row is None else (row["row"], row["file"])

    async def soften(self, job: int, asked: str, words: str) -> None:
        """The job will be asked for in these words; ``asked`` is kept beside them."""
        await self.journal.do(
            lambda db: db.run("soften_job", id=job, asked=asked, words=words), "soften"
        )

    async def allow_softening(self, run: str) -> None:
        """Refused prompts of this run may be rewritten from now on."""
        await self.journal.do(lambda db: db.run("allow_softening", id=run), "allow softening")

    async def set_policy(self, run: str, in_doubt: str) -> None:
        """What the run does from now on where nobody can tell whether a picture was bought."""
        await self.journal.do(
            lambda db: db.run("set_policy", id=run, in_doubt=in_doubt), "set policy"
        )

    def file_taken(self, run: str, file: str, job: int) -> bool:
        """Whether another picture of this run is called so, capitals aside. For a thread."""
        return bool(
            self.journal.read_now(lambda db: db.value("file_taken", run=run, file=file, id=job))
        )

    async def fingerprints(self, run: str) -> list[tuple[str, int, int]]:
        """Fingerprint, row and take of the pictures that this run has, the latest 20,000."""
        rows = await self.journal.read(lambda db: db.all("fingerprints", run=run))
        return [(row["mark"], row["row"], row["take"]) for row in rows if row["mark"]]

    async def rows(self, run: str, after: tuple[int, int], limit: int) -> list[Row]:
        """Rows of a run for its manifest, in input order, behind (row, take) ``after``."""
        return await self.journal.read(
            lambda db: db.all("rows", run=run, row=after[0], take=after[1], limit=limit)
        )

    # tasks: the protocol

    async def next_epoch(self) -> int:
        """A new engine begins: older ones may not spend from here on."""
        return int(await self.journal.do(lambda db: db.value("next_epoch"), "epoch"))

    async def intend(self, intent: Intent) -> int:
        """Record that a POST is about to leave; the task's id.
        Raises EpochPassed (another engine has taken over), Withdrawn (the job is not pending any
        more), sqlite3.IntegrityError (a live task of the same key exists: a caller's mistake).
        """

        def add(db: Db) -> int:
            row = db.one("add_intent", **_slots(intent))
            if row is None:
                if not db.value("job_waits", id=intent.job):
                    raise Withdrawn
                raise EpochPassed(
                    "另一个 Redloom 进程已接手这个工作区；本进程不再花钱。",
                    "Another Redloom process has taken over this workspace; this one spends no more.",
                )
            db.run("count_try", job=intent.job)
            return int(row["id"])

        return await self.journal.do(add, "intent")

    async def accept(self, task: int, ticket_id: str, ticket: str, at: float) -> None:
        """Record what the service handed back; before the first poll."""
        await self.journal.do(
            lambda db: db.run("set_ticket", id=task, ticket_id=ticket_id, ticket=ticket, at=at),
            "ticket",
        )

    async def made(self, task: int, ending: Ending) -> None:
        """Record a finished picture whose bytes are not here yet."""
        values = _slots(ending)
        for name in ("state", "billed", "code", "error", "fetched_at"):
            del values[name]
        await self.journal.do(lambda db: db.run("set_made", id=task, **values), "made")

    async def doubt(self, task: int, at: float, code: str, error: str) -> None:
        """The answer was lost: the picture may be made and billed."""
        await self.journal.do(
            lambda db: db.run("set_doubt", id=task, at=at, code=code, error=error), "doubt"
        )

    async def back_to_doubt(self, task: int, code: str) -> None:
        """A ticket that turned out to belong to somebody else is given back."""
        await self.journal.do(lambda db: db.run("unset_ticket", id=task, code=code), "doubt")

    async def end_task(self, task: int, ending: Ending, *, uncount: bool = False) -> None:
        """A task's end without an end of its job. ``uncount``: it was never accepted."""

        def end(db: Db) -> None:
            if uncount:
                db.run("uncount_try", id=task)
            db.run("close_task", id=task, **_slots(ending))

        await self.journal.do(end, "end task")

    async def orphans_to_doubt(self, epoch: int, reach_s: float) -> int:
        """Intents that an earlier engine left behind become doubts; how many.

        Their requests may have arrived up to ``reach_s`` nominal seconds after the intent.
        """
        rows = await self.journal.do(
            lambda db: db.all("doubt_orphans", epoch=epoch, reach=reach_s), "orphans"
        )
        return len(rows)

    async def live_tasks(self) -> list[Row]:
        """Every live task, joined with its job."""
        return await self.journal.read(lambda db: db.all("live_tasks"))

    async def task(self, task: int) -> Row | None:
        """One task, or None."""
        return self.journal.glance(lambda db: db.one("task", id=task))

    async def live_task_of(self, key: str) -> Row | None:
        """The live task of a key, joined with its job, or None."""
        return self.journal.glance(lambda db: db.one("live_task_of", key=key))

    async def last_task(self) -> int:
        """The id of the newest task; 0 where there is none."""
        return int(self.journal.glance(lambda db: db.value("last_task")))

    async def known_tickets(self, ids: Sequence[str]) -> dict[str, Known]:
        """Which of these task ids the journal knows, with the times of intent and ticket.

        Asked of the whole journal, not of one place: two keys may belong to one account.
        """
        wanted = json.dumps(list(ids))
        rows = await self.journal.read(lambda db: db.all("known_tickets", ids=wanted))
        return {
            row["ticket_id"]: Known(row["intent_at"], row["accepted_at"], row["id"]) for row in rows
        }

    async def prove_void(self, task: int, at: float) -> bool:
        """Looking proved that a doubt was never accepted; False where it has a ticket by now."""

        def prove(db: Db) -> bool:
            proved = db.run("prove_void", id=task, at=at) > 0
            if proved:
                db.run("uncount_try", id=task)
            return proved

        return await self.journal.do(prove, "void")

    async def abandon(self, task: int, at: float, job: JobEnding | None) -> bool:
        """A doubt is given up unsettled, and its job ends so, in one commit: between two, a crash
        would have the job asked for again. None: it is to be. False, and nothing changed, where the
        task has a ticket, a picture, an end by now.
        """

        def give_up(db: Db) -> bool:
            gone = db.run("abandon", id=task, at=at) > 0
            if gone and job is not None:
                _end_job(db, job)
            return gone

        return await self.journal.do(give_up, "abandon")

    async def open_intents(self, account: str, since: float, until: float, now: float) -> list[Row]:
        """Intents and doubts, given up ones too, whose window overlaps [since, until]."""
        return await self.journal.read(
            lambda db: db.all("open_intents", account=account, since=since, until=until, now=now)
        )

    # images, money, what was learnt

    async def image(self, key: str) -> Row | None:
        """The stored picture of a key, or None."""
        return self.journal.glance(lambda db: db.one("image", key=key))

    def stored_now(self, key: str) -> bool:
        """Whether a key has its picture at this moment; a glance, without waiting."""
        return self.journal.glance(lambda db: db.one("image", key=key)) is not None

    async def forget_image(self, key: str) -> None:
        """The store has lost this picture."""
        await self.journal.do(lambda db: db.run("forget_image", key=key), "forget")

    async def spending(self, run: str) -> Spending:
        """What a run has cost."""
        return await self.journal.read(lambda db: spending_of(db.all("spent", run=run)))

    async def committed(self, run: str) -> float:
        """Spent and possibly spent, doubts at their highest price."""
        return float(await self.journal.read(lambda db: db.value("committed", run=run)))

    async def learn(self, what: str, whom: str, value: Any, at: float) -> None:
        """Keep something worth knowing after a restart."""
        text = json.dumps(value)
        await self.journal.do(lambda db: db.run("learn", what=what, whom=whom, value=text, at=at))

    async def learnt(self, what: str, whom: str) -> Any:
        """What `learn` kept, or None."""
        text = await self.journal.read(lambda db: db.value("learnt", what=what, whom=whom))
        return None if text is None else json.loads(text)

    async def salt(self) -> str:
        """The workspace's salt for fingerprints of keys."""
        return str(await self.journal.read(lambda db: db.value("meta", item="salt")))


def _end_job(db: Db, ending: JobEnding) -> None:
    db.run("end_job", seq=db.value("next_seq_of_job", id=ending.id), **_slots(ending))


def _job_values(run: str, job: NewJob, now: float) -> dict[str, Any]:
    invalid = job.request is None
    return {
        "run": run, "row": job.row, "take": job.take, "seq": None, "error": job.problem,
        "key": "" if job.request is None else job.request.key,
        "request": "{}" if job.request is None else job.request.canonical(),
        "input": json.dumps(job.input, ensure_ascii=False),
        "status": "invalid" if invalid else "pending", "code": "bad-input" if invalid else "",
        "ended": now if invalid else None,
    }  # fmt: skip
