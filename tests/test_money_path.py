"""Faults planted by hand in the path of the money: the oracle catches every one of them.

The scenarios are whole engines on a fake service: clean, with lost answers, killed, asleep while
another engine leads, out of money. The oracle compares journal, service and files afterwards.
Unbroken, all scenarios pass; each planted fault makes at least the named one fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from helpers.desk import engine
from redloom import journal as journal_module
from redloom import looking as looking_module
from redloom import settle as settle_module
from redloom import task as task_module
from redloom.carried import Purse
from redloom.endpoint import Asked, Lane, Made, Picture, Seen, Ticket
from redloom.engine import Engine, Result
from redloom.errors import AnswerLost, EpochPassed, NotSent, ServiceError, WorkspaceError
from redloom.finish import Finisher
from redloom.journal import Statements, statements
from redloom.looking import Lookout
from redloom.making import Maker
from redloom.records import Records
from redloom.settle import Bearing
from redloom.task import Attempt
from redloom.testing import FakeProvider, Fate, JumpingClock, fake_endpoint, picture_of, run


@dataclass
class Case:
    """One workspace and one service, and everything that was seen to be wrong."""

    folder: Path
    clock: JumpingClock = field(default_factory=JumpingClock)
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.service = FakeProvider(self.clock.now, rate=0.5)
        self._submit, self._poll = self.service.submit, self.service.poll

    def engine(self) -> Engine:
        """A process in the workspace."""
        return engine(self.folder / "ws", (fake_endpoint(), self.service), clock=self.clock)

    def watch(self, one: Engine) -> None:
        """Compare every request from now on with what the journal holds by then (rule 1)."""

        def rows(query: str, value: str) -> list[Any]:
            def find(db: Any) -> Any:
                return db.connection.execute(query, (value,)).fetchall()

            return list(one.journal.read_now(find))

        async def submit(asked: Asked, lane: Lane) -> Ticket | Made:
            if not rows("SELECT 1 FROM tasks WHERE key = ? AND state = 'intent'", asked.key):
                self.wrong.append("money before intent")
            return await self._submit(asked, lane)

        async def poll(ticket: Ticket) -> Any:
            if not rows("SELECT 1 FROM tasks WHERE ticket_id = ?", ticket.id):
                self.wrong.append("poll before ticket")
            return await self._poll(ticket)

        self.service.submit = submit  # type: ignore[method-assign]
        self.service.poll = poll  # type: ignore[method-assign]

    async def generate(self, prompts: Sequence[str], **how: Any) -> list[Result]:
        """One process makes the pictures, in time, or it is said that it did not."""
        async with self.engine() as one:
            return await in_time(one.generate(list(prompts), out=self.folder / "out", **how))

    def judge(self, results: Sequence[Result], allowed: set[str]) -> None:
        """One outcome each, the right picture in every file, nothing bought twice."""
        for result in results:
            if result.status not in allowed:
                self.wrong.append(f"row {result.row} ended {result.status}")
            if result.ok and result.path is not None:
                source = picture_of(result.prompt)
                if _pixels(result.path.read_bytes()) != _pixels(source):
                    self.wrong.append("another prompt's picture")
        if self.service.bought_twice():
            self.wrong.append("bought twice")


def _pixels(data: bytes) -> bytes:
    import io

    from PIL import Image

    with Image.open(io.BytesIO(data)) as picture:
        return picture.convert("RGB").tobytes()


def words(number: int) -> list[str]:
    """Prompts unlike each other."""
    return [f"thread {k}" for k in range(number)]


async def in_time(work: Awaitable[list[Result]]) -> list[Result]:
    """Its results; TimeoutError after three nominal days. For use inside an open engine: closing
    one waits for a thread, and a pending timer would make the clock jump meanwhile."""
    async with asyncio.timeout(3 * 86400):
        return await work


async def crash(one: Engine) -> None:
    """End a process's engine as a power cut would: nothing more is written, its locks are free."""
    one.journal.close()
    for waiting in [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]:
        waiting.cancel()
    await asyncio.sleep(0)
    one.workspace.close()


# the scenarios


async def clean(case: Case) -> None:
    """Ten pictures; every request is compared with the journal."""
    async with case.engine() as one:
        case.watch(one)
        results = await in_time(one.generate(words(10), out=case.folder / "out"))
    case.judge(results, {"ok"})


async def lost_answers(case: Case) -> None:
    """Every fourth answer is lost after acceptance, every seventh request never arrives."""

    def script(_asked: Asked, number: int) -> Fate | ServiceError:
        return "no-answer" if number % 4 == 0 else "never-arrived" if number % 7 == 0 else "made"

    case.service.script = script
    case.service.rate = 0.05
    case.service.caps = replace(case.service.caps, list_lag_s=30.0)
    case.judge(await case.generate(words(12)), {"ok"})


async def crowded_doubts(case: Case) -> None:
    """Two answers lost at one moment, and no words in the results: no guess may be made."""
    case.service.rate = 5.0
    case.service.script = lambda _a, n: "no-answer" if n in (4, 5) else "made"
    case.judge(await case.generate(words(8)), {"ok", "in-doubt"})


async def killed(case: Case) -> None:
    """Dies just after the third request was accepted, before its answer; then starts anew."""
    one = case.engine()
    await one.__aenter__()
    died = asyncio.Event()

    async def before_answer() -> None:
        if case.service.submits == 3:
            died.set()
            await asyncio.Event().wait()

    case.service.before_answer = before_answer
    work = asyncio.ensure_future(one.generate(words(6), out=case.folder / "out"))
    await died.wait()
    await crash(one)
    with contextlib.suppress(asyncio.CancelledError, WorkspaceError):
        await work
    case.service.before_answer = None
    case.judge(await case.generate(words(6)), {"ok"})


async def asleep(case: Case) -> None:
    """The leader sleeps an hour between intent and POST; its lock is lost to another engine."""
    first = case.engine()
    await first.__aenter__()
    intend, began = first.records.intend, itertools.count(1)
    fell_asleep = asyncio.Event()

    async def sleepy(intent: Any) -> int:
        task = await intend(intent)
        if next(began) == 3:
            fell_asleep.set()
            await case.clock.sleep(3600)
        return task

    first.records.intend = sleepy  # type: ignore[method-assign]
    mine = asyncio.ensure_future(first.generate(words(30), out=case.folder / "out"))
    await fell_asleep.wait()
    (case.folder / "ws" / "engine.lock").unlink()
    async with case.engine() as other:
        results = await in_time(other.generate(words(30), out=case.folder / "out"))
        await case.clock.sleep(7200)
        case.judge(results, {"ok"})
    with contextlib.suppress(EpochPassed, asyncio.CancelledError):
        await mine
    await first.__aexit__(None, None, None)
    case.judge([], set())


async def stale_leader(case: Case) -> None:
    """An engine whose epoch is over goes on to work as if nothing had happened."""
    async with case.engine() as one:
        await one.generate(["first"], out=case.folder / "a")
        await one.records.next_epoch()
        before = case.service.submits
        with contextlib.suppress(EpochPassed):
            await asyncio.wait_for(one.generate(["second"], out=case.folder / "b"), 600)
        if case.service.submits > before:
            case.wrong.append("a stale engine spent")


async def broken_bytes(case: Case) -> None:
    """What was paid for is no picture: the row fails, and is not bought again by itself."""
    poll = case.service.poll

    async def broken(ticket: Ticket) -> Any:
        outcome = await poll(ticket)
        return (
            replace(outcome, picture=Picture(data=b"?")) if isinstance(outcome, Made) else outcome
        )

    case.service.poll = broken  # type: ignore[method-assign]
    case.judge(await case.generate(words(2)), {"failed"})


async def forgotten(case: Case) -> None:
    """The answer was lost, the machine stayed off for two days, the service forgot the task."""
    case.service.script = lambda _a, _n: "no-answer"
    async with case.engine() as one:
        added = await one.add(["a"], out=case.folder / "out")
        while case.service.submits == 0:
            await case.clock.sleep(0.1)
        await one.pause(added)
        _ = [r async for r in one.follow(added)]
    await case.clock.sleep(2 * 86400)
    case.judge(await case.generate(["a"]), {"in-doubt"})


async def twins(case: Case) -> None:
    """Equal rows, far apart and side by side, in two runs at once: each key is bought once."""
    case.service.rate = None
    same = [*words(3), *words(3)]
    async with case.engine() as one:
        both = await asyncio.gather(
            one.generate(same, out=case.folder / "out"), one.generate(words(3))
        )
    for results in both:
        case.judge(results, {"ok", "duplicate"})


async def out_of_money(case: Case) -> None:
    """Money for four pictures of eight."""
    results = await case.generate(words(8), budget=0.8, currency="CNY")
    case.judge(results, {"ok", "unpaid"})
    if case.service.billed() > 4:
        case.wrong.append("over the budget")


Scenario = Callable[[Case], Coroutine[Any, Any, None]]
SCENARIOS: dict[str, Scenario] = {
    one.__name__: one
    for one in (
        clean, lost_answers, crowded_doubts, killed, asleep, stale_leader, broken_bytes,
        forgotten, twins, out_of_money,
    )
}  # fmt: skip


def play(scenario: Scenario, folder: Path) -> list[str]:
    """What the oracle finds wrong; a scenario that comes to no end is wrong too."""
    case = Case(folder)

    async def main() -> None:
        try:
            await scenario(case)
        except TimeoutError:
            case.wrong.append("no end")
        except Exception as error:
            case.wrong.append(f"{type(error).__name__}: {error}")

    run(main())
    return case.wrong


# the planted faults


def sql(name: str, old: str, new: str) -> Callable[[pytest.MonkeyPatch], None]:
    """A statement of the journal, changed."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        known = statements()
        assert old in known.named[name]
        named = {**known.named, name: known.named[name].replace(old, new)}
        changed = Statements(named, known.migrations)
        patch.setattr(journal_module, "statements", lambda: changed)

    return plant


def ticket_after_poll(patch: pytest.MonkeyPatch) -> None:
    """The ticket is written down when the picture is there."""
    finish = Finisher.finish

    async def late(self: Finisher, run: Any, job: Any, live: Any, task: int, heard: Any, ticket: Any) -> Any:  # fmt: skip
        if ticket is not None:
            await self.records.accept(task, ticket.id, task_module.ticket_to_json(ticket), heard.at)
        return await finish(self, run, job, live, task, heard, ticket)

    async def nothing(_self: Attempt, _answer: Any) -> None:
        return None

    patch.setattr(Finisher, "finish", late)
    patch.setattr(Attempt, "_record", nothing)


def intent_after_post(patch: pytest.MonkeyPatch) -> None:
    """First the POST, then the record."""

    async def submit(self: Attempt) -> Ticket | Made:
        answer = await self.live.provider.submit(self.asked, self.live.lane)
        self.id = await self.records.intend(self._intent(self.clock.now()))
        await self._record(answer)
        return answer

    patch.setattr(Attempt, "submit", submit)


def lost_answer_is_a_no(patch: pytest.MonkeyPatch) -> None:
    """A retry loop: no answer means that nothing was bought."""
    submit = Attempt.submit

    async def hasty(self: Attempt) -> Ticket | Made:
        try:
            return await submit(self)
        except AnswerLost as error:
            await self._void("lost")
            raise NotSent("", "") from error

    patch.setattr(Attempt, "submit", hasty)


def settled_too_early(patch: pytest.MonkeyPatch) -> None:
    """The list is believed before it is whole."""
    early = lambda doubt, _lag: doubt.until  # noqa: E731
    patch.setattr(settle_module, "ripe_at", early)
    patch.setattr(Lookout, "_ripe_in", lambda self, lost: lost.doubt.until - self.clock.now())


def part_of_the_list(patch: pytest.MonkeyPatch) -> None:
    """The list's first page is taken for the whole."""
    read = Lookout._read

    async def page(self: Lookout, live: Any, losts: Any, *, wide: bool) -> Sequence[Seen]:
        return (await read(self, live, losts, wide=wide))[:2]

    patch.setattr(Lookout, "_read", page)


def no_rivals(patch: pytest.MonkeyPatch) -> None:
    """One stranger in the window is ours, whatever else is in doubt."""
    judge = settle_module.judge

    def alone(doubt: Any, seen: Any, known: Any, _others: Any, **how: Any) -> Any:
        verdict = judge(doubt, seen, known, [], **how)
        if isinstance(verdict, settle_module.Ambiguous):
            return settle_module.Adopt(verdict.candidates[-1])
        return verdict

    patch.setattr(looking_module, "judge", alone)


def adopted_twice(patch: pytest.MonkeyPatch) -> None:
    """A ticket may belong to several doubts: neither the look nor the database forbids it."""
    no_rivals(patch)
    known = statements()
    first = known.migrations[0].replace("CREATE UNIQUE INDEX one_task_a_ticket", "CREATE INDEX one_task_a_ticket")  # fmt: skip
    changed = Statements(known.named, (first, *known.migrations[1:]))
    patch.setattr(journal_module, "statements", lambda: changed)

    async def none(_self: Records, _ids: Sequence[str]) -> dict[str, tuple[float, float]]:
        return {}

    patch.setattr(Records, "known_tickets", none)


def known_ones_not_left_out(patch: pytest.MonkeyPatch) -> None:
    """Tasks of the journal's own are candidates too."""
    judge = settle_module.judge

    def blind(doubt: Any, seen: Any, _known: Any, others: Any, **how: Any) -> Any:
        return judge(doubt, seen, (), others, **how)

    patch.setattr(looking_module, "judge", blind)


def absence_for_ever(patch: pytest.MonkeyPatch) -> None:
    """Not in the list after two days is taken for never bought."""
    patch.setattr(settle_module, "DAY_S", 1e9)


def sleep_unnoticed(patch: pytest.MonkeyPatch) -> None:
    """An intent of an hour ago is acted upon."""
    patch.setattr(task_module, "STALE_INTENT_S", 1e9)


def bought_again_when_broken(patch: pytest.MonkeyPatch) -> None:
    """A download that fails for good brings the job back to the POST."""
    finish = Maker._finish

    async def again(self: Maker, flight: Any, task: int, heard: Any) -> None:
        outcome, carried, job = self.floor.outcome, flight.carried, flight.job
        if carried.tally(job).noes:
            await finish(self, flight, task, heard)
            return
        carried.tally(job).noes += 1

        def back(_carried: Any, _job: Any, ending: Any, *rest: Any) -> None:
            if ending.status != "failed":
                outcome(_carried, _job, ending, *rest)
                return
            patch.setattr(self.floor, "outcome", outcome)  # once is harm enough
            # The journal lets no ended row be bought for: the fault has to undo its end as well.
            self.records.journal.do_now(lambda db: db.run("reopen_job", id=job.id))
            self.floor.free_key(job)
            carried.put_back(job)

        patch.setattr(self.floor, "outcome", back)
        await finish(self, flight, task, heard)

    patch.setattr(Maker, "_finish", again)


def no_single_flight(patch: pytest.MonkeyPatch) -> None:
    """Equal keys run side by side, and the database lets them."""
    from redloom.carrier import Carrier

    known = statements()
    first = known.migrations[0].replace("CREATE UNIQUE INDEX one_live_task", "CREATE INDEX one_live_task")  # fmt: skip
    changed = Statements(known.named, (first, *known.migrations[1:]))
    patch.setattr(journal_module, "statements", lambda: changed)
    begin = Carrier.begin

    def forgetful(self: Carrier, carried: Any, job: Any, work: Awaitable[None]) -> None:
        begin(self, carried, job, work)  # type: ignore[arg-type]
        self._keys.pop(job.key, None)

    patch.setattr(Carrier, "begin", forgetful)


def purse_without_bottom(patch: pytest.MonkeyPatch) -> None:
    """The cap is not looked at."""
    patch.setattr(Purse, "commit", lambda _self, _price: True)


def wide_open_clock(patch: pytest.MonkeyPatch) -> None:
    """The window of a doubt is a second wide and lies where no task can be, and nothing is late."""
    patch.setattr(Bearing, "window", lambda _self, doubt: (doubt.since - 900, doubt.since - 899))
    patch.setattr(Bearing, "late", lambda _self, _doubt, _moment: False)


PLANTED: list[tuple[Callable[[pytest.MonkeyPatch], None], str, str]] = [
    (ticket_after_poll, "clean", "poll before ticket"),
    (intent_after_post, "clean", "money before intent"),
    (intent_after_post, "killed", "bought twice"),
    (sql("add_intent", "= :epoch\n", "IS NOT NULL\n"), "stale_leader", "a stale engine spent"),
    (lost_answer_is_a_no, "lost_answers", "bought twice"),
    (settled_too_early, "lost_answers", "bought twice"),
    (part_of_the_list, "lost_answers", "bought twice"),
    (wide_open_clock, "lost_answers", "bought twice"),
    (no_rivals, "crowded_doubts", "another prompt's picture"),
    (adopted_twice, "crowded_doubts", "another prompt's picture"),
    (known_ones_not_left_out, "lost_answers", "ended in-doubt"),
    (absence_for_ever, "forgotten", "bought twice"),
    (sleep_unnoticed, "asleep", "bought twice"),
    (sql("doubt_orphans", "SET state = 'doubt'", "SET state = 'void'"), "killed", "bought twice"),
    (bought_again_when_broken, "broken_bytes", "bought twice"),
    (no_single_flight, "twins", "bought twice"),
    (purse_without_bottom, "out_of_money", "over the budget"),
]


@pytest.mark.parametrize("name", SCENARIOS)
def test_unbroken_nothing_is_wrong(tmp_path: Path, name: str) -> None:
    """Every scenario passes the oracle as the code is."""
    assert play(SCENARIOS[name], tmp_path) == []


@pytest.mark.parametrize(
    ("plant", "name", "found"),
    PLANTED,
    ids=[f"{getattr(p, '__name__', 'sql')}-{name}" for p, name, _ in PLANTED],
)
def test_a_planted_fault_is_caught(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None],
    name: str,
    found: str,
) -> None:
    """With the fault in place the scenario's oracle names the harm."""
    plant(monkeypatch)
    wrong = play(SCENARIOS[name], tmp_path)
    assert any(found in one for one in wrong), wrong
