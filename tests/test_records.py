"""Typed operations: the promise held by the database itself, money, outcomes, what is learnt."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.desk import ACCOUNT, add_run, desk, intent_of, run_record
from redloom.errors import EpochPassed
from redloom.job import Request
from redloom.records import Ending, ImageRecord, JobEnding, NewJob, Records
from redloom.testing import START, run

NO = Ending(state="void", billed="no", at=START)
OK = Ending(
    state="stored", billed="yes", at=START + 9, price=0.2, currency="CNY", price_source="reported"
)


def on_desk(folder: Path, main: Callable[[Records], Awaitable[Any]]) -> Any:
    """Run ``main`` with records on a fresh journal."""

    async def whole() -> Any:
        async with desk(folder) as records:
            return await main(records)

    return run(whole())


def test_one_live_task_a_key(tmp_path: Path) -> None:
    """While a task may become a picture, no second one of its key can begin; after its end it can."""

    async def main(records: Records) -> None:
        (job,) = await add_run(records, ["a"])
        (again,) = await add_run(records, ["a"], "r2")
        for live in ("intent", "accepted", "made", "doubt"):
            task = await records.intend(intent_of(job))
            if live == "accepted":
                await records.accept(task, f"t-{task}", "{}", START)
            elif live == "made":
                await records.made(task, OK)
            elif live == "doubt":
                await records.doubt(task, START, "lost", "")
            with pytest.raises(sqlite3.IntegrityError):
                await records.intend(intent_of(again))
            await records.end_task(task, NO, uncount=True)
        assert (await records.waiting("r1", 0, 9))[0].tries == 0
        assert (await records.waiting("r2", 0, 9))[0].tries == 0

    on_desk(tmp_path, main)


def test_a_passed_epoch_stops_the_intent(tmp_path: Path) -> None:
    """A woken sleeper cannot begin a task; the new engine can; tries are not counted for nothing."""

    async def main(records: Records) -> None:
        (job,) = await add_run(records, ["a"])
        first, second = await records.next_epoch(), await records.next_epoch()
        assert second == first + 1
        with pytest.raises(EpochPassed):
            await records.intend(intent_of(job, epoch=first))
        assert (await records.waiting("r1", 0, 9))[0].tries == 0
        await records.intend(intent_of(job, epoch=second))
        assert (await records.waiting("r1", 0, 9))[0].tries == 1

    on_desk(tmp_path, main)


def test_orphans_become_doubts_with_their_reach(tmp_path: Path) -> None:
    """Intents of earlier epochs only; what has a ticket is left alone."""

    async def main(records: Records) -> None:
        a, b, c = await add_run(records, ["a", "b", "c"])
        one = await records.intend(intent_of(a))
        two = await records.intend(intent_of(b))
        await records.accept(two, "t", "{}", START)
        epoch = await records.next_epoch()
        three = await records.intend(intent_of(c, epoch=epoch))
        assert await records.orphans_to_doubt(epoch, 30.0) == 1
        rows = [await records.task(task) for task in (one, two, three)]
        assert [row["state"] for row in rows if row] == ["doubt", "accepted", "intent"]
        assert rows[0] is not None
        assert rows[0]["lost_at"] == START + 30.0

    on_desk(tmp_path, main)


def test_a_late_no_answer_does_not_undo_a_ticket(tmp_path: Path) -> None:
    """What another engine has adopted stays accepted when the sleeper reports its lost answer."""

    async def main(records: Records) -> None:
        (job,) = await add_run(records, ["a"])
        task = await records.intend(intent_of(job))
        await records.accept(task, "t", "{}", START)
        await records.doubt(task, START + 50, "lost", "")
        row = await records.task(task)
        assert row is not None
        assert row["state"] == "accepted"

    on_desk(tmp_path, main)


def test_proving_void_is_for_doubts_without_a_ticket(tmp_path: Path) -> None:
    """A ticket that arrived while looking wins over the proof that there is none."""

    async def main(records: Records) -> None:
        a, b = await add_run(records, ["a", "b"])
        one, two = await records.intend(intent_of(a)), await records.intend(intent_of(b))
        for task in (one, two):
            await records.doubt(task, START, "lost", "")
        await records.accept(one, "t", "{}", START)
        assert not await records.prove_void(one, START)
        assert await records.prove_void(two, START)
        jobs = await records.waiting("r1", 0, 9)
        assert [job.tries for job in jobs] == [1, 0]
        assert jobs[0].live_task == one
        assert jobs[1].live_task is None

    on_desk(tmp_path, main)


def test_a_ticket_belongs_to_one_task(tmp_path: Path) -> None:
    """The same id at the same place cannot be taken twice, and can be given back."""

    async def main(records: Records) -> None:
        a, b = await add_run(records, ["a", "b"])
        one, two = await records.intend(intent_of(a)), await records.intend(intent_of(b))
        await records.accept(one, "t", "{}", START + 2)
        with pytest.raises(sqlite3.IntegrityError):
            await records.accept(two, "t", "{}", START + 3)
        assert await records.known_tickets(["t", "u"]) == {"t": (START, START + 2, 1)}
        if hasattr(records, "back_to_doubt"):
            await records.back_to_doubt(one, "not-ours")
            await records.accept(two, "t", "{}", START + 3)

    on_desk(tmp_path, main)


def test_open_intents_are_those_that_overlap(tmp_path: Path) -> None:
    """Of the account, open, and in the window; an intent without an end reaches to now."""

    async def main(records: Records) -> None:
        a, b, c = await add_run(records, ["a", "b", "c"])
        one = await records.intend(intent_of(a, intent_at=START))
        await records.doubt(one, START + 10, "lost", "")
        await records.intend(intent_of(b, intent_at=START + 5))
        await records.intend(intent_of(c, account="other"))
        found = await records.open_intents(ACCOUNT, START + 20, START + 30, START + 25)
        assert [row["intent_at"] for row in found] == [START + 5]
        found = await records.open_intents(ACCOUNT, START + 8, START + 30, START + 25)
        assert len(found) == 2

    on_desk(tmp_path, main)


def test_an_outcome_is_given_once(tmp_path: Path) -> None:
    """Only a pending job ends; its number in the run's order of outcomes only grows."""

    async def main(records: Records) -> None:
        a, b = await add_run(records, ["a", "b"])
        await records.end_job(JobEnding(id=a.id, status="failed", ended=START, code="x"))
        await records.end_job(JobEnding(id=a.id, status="ok", ended=START))
        await records.end_job(JobEnding(id=b.id, status="refused", ended=START))
        rows = await records.rows("r1", (0, 0), 9)
        assert [row["status"] for row in rows] == ["failed", "refused"]
        last = max(row["seq"] for row in rows)
        assert await records.reopen("r1", ["refused"]) == 1
        await records.end_job(JobEnding(id=b.id, status="refused", ended=START))
        rows = await records.rows("r1", (0, 0), 9)
        assert rows[1]["seq"] > last
        assert await records.counts("r1") == {"failed": 1, "refused": 1}

    on_desk(tmp_path, main)


def test_rows_are_added_once_and_bad_ones_end_at_once(tmp_path: Path) -> None:
    """The same rows again change nothing; a row with a problem is invalid from the start."""

    async def main(records: Records) -> None:
        await records.add_run(run_record())
        rows = [NewJob(1, 1, Request("a"), {"id": "x"}), NewJob(2, 1, None, {}, "empty")]
        for _ in range(2):
            await records.add_jobs("r1", rows, START)
        await records.complete_run("r1")
        record = await records.run("r1")
        assert record is not None
        assert (record.total, record.complete) == (2, True)
        assert await records.counts("r1") == {"pending": 1, "invalid": 1}
        assert (await records.waiting("r1", 0, 9))[0].input == {"id": "x"}
        assert await records.count_waiting("r1") == 1

    on_desk(tmp_path, main)


def test_cancelling_leaves_what_is_paid_for(tmp_path: Path) -> None:
    """Jobs with a live task stay pending until it has ended."""

    async def main(records: Records) -> None:
        a, *_ = await add_run(records, ["a", "b", "c"])
        await records.intend(intent_of(a))
        assert await records.set_state("r1", "cancelled", "open")
        assert not await records.set_state("r1", "paused", "open")
        assert await records.cancel_jobs("r1", START) == 2
        assert await records.counts("r1") == {"pending": 1, "cancelled": 2}
        assert await records.live_of_run("r1") == 1

    on_desk(tmp_path, main)


def test_money_by_currency_and_certainty(tmp_path: Path) -> None:
    """Billed, perhaps billed, unknown; what was never accepted costs nothing."""

    async def main(records: Records) -> None:
        jobs = await add_run(records, ["a", "b", "c", "d", "e"])
        tasks = [await records.intend(intent_of(job)) for job in jobs[:3]]
        await records.end_task(tasks[0], OK)
        await records.end_task(tasks[1], NO)
        dollars = await records.intend(intent_of(jobs[3], price=0.04, currency="USD"))
        await records.end_task(dollars, Ending(state="stored", billed="yes", at=START))
        await records.intend(intent_of(jobs[4], price=None, price_source="unknown"))
        spent = await records.spending("r1")
        assert spent.billed == {"CNY": 0.2, "USD": 0.04}
        assert spent.maybe == {"CNY": 0.2}
        assert spent.unpriced == 1
        assert spent.sources == {"reported": 0.2, "estimated": 0.04}
        assert await records.committed("r1") == pytest.approx(0.44)

    on_desk(tmp_path, main)


def test_a_picture_is_found_by_its_key(tmp_path: Path) -> None:
    """Task, picture and outcome in one commit; another run's job of that key sees it stored."""

    async def main(records: Records) -> None:
        (job,) = await add_run(records, ["a"])
        task = await records.intend(intent_of(job))
        image = ImageRecord(
            key=job.key, sha256="f" * 64, task=task, format="png", width=1, height=1, bytes=9, made=START
        )  # fmt: skip
        ending = JobEnding(
            id=job.id, status="ok", ended=START, task=task, image="f" * 64, file="1.png"
        )
        await records.end_task_and_job(task, OK, ending, image)
        (other,) = await add_run(records, ["a"], "r2")
        assert other.stored == "f" * 64
        assert await records.twin("r1", job.key) == (1, "1.png")
        assert await records.twin("r2", job.key) is None
        await records.forget_image(job.key)
        assert await records.image(job.key) is None
        assert await records.live_tasks() == []

    on_desk(tmp_path, main)


def test_runs_are_owned_noted_and_ordered(tmp_path: Path) -> None:
    """Higher priority first, then age; a note takes a run out until somebody owns it again."""

    async def main(records: Records) -> None:
        await records.add_run(run_record("old"))
        await records.add_run(run_record("new", created=START + 1))
        await records.set_priority("new", 10)
        assert [r.id for r in await records.open_runs()] == ["new", "old"]
        await records.set_note("new", "the key")
        assert [r.id for r in await records.open_runs()] == ["old"]
        await records.own_run("new", "you", "{}", budget=3.0)
        record = await records.run("new")
        assert record is not None
        assert (record.owner, record.note, record.budget) == ("you", "", 3.0)
        await records.own_run("new", "you", "{}")
        again = await records.run("new")
        assert again is not None
        assert again.budget == 3.0

    on_desk(tmp_path, main)


def test_what_was_learnt_is_kept(tmp_path: Path) -> None:
    """The newest value of a thing; None where nothing is known; a salt of the workspace's own."""

    async def main(records: Records) -> None:
        assert await records.learnt("gate", "x") is None
        await records.learn("gate", "x", {"rate": 1.0}, START)
        await records.learn("gate", "x", {"rate": 2.0}, START)
        assert await records.learnt("gate", "x") == {"rate": 2.0}
        assert len(await records.salt()) == 32

    on_desk(tmp_path, main)


def test_keys_and_last_row_of_a_run(tmp_path: Path) -> None:
    """What a longer input of the same run is compared with."""

    async def main(records: Records) -> None:
        jobs = await add_run(records, ["a", "b"])
        assert await records.keys_of("r1") == {job.key for job in jobs}
        assert await records.last_row("r1") == 2
        await records.extend_run("r1", "d2")
        record = await records.run("r1")
        assert record is not None
        assert (record.digest, record.complete) == ("d2", False)
        await records.leave_out("r1")
        assert await records.runs_into("") != []

    on_desk(tmp_path, main)


def test_only_a_doubt_without_a_ticket_is_given_up(tmp_path: Path) -> None:
    """Another engine may have recorded the ticket meanwhile: its task is not abandoned."""

    async def main(records: Records) -> None:
        (job,) = await add_run(records, ["a"])
        task = await records.intend(intent_of(job))
        await records.doubt(task, START, "lost", "")
        await records.accept(task, "t-1", "{}", START)
        assert not await records.abandon(task, START, None)
        await records.back_to_doubt(task, "other-words")
        assert await records.abandon(task, START, None)
        row = await records.task(task)
        assert row is not None
        assert (row["state"], row["billed"]) == ("abandoned", "maybe")

    on_desk(tmp_path, main)
