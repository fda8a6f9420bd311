"""Settling by looking: found, proved absent, or left in doubt; never a second purchase."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from helpers.desk import PLACE, add_run, desk, engine, intent_of, live_of
from redloom.carried import Carried, Purse
from redloom.endpoint import Asked, Made, Seen, Ticket
from redloom.engine import Engine, Result, RunOptions
from redloom.errors import DiskFull, KeyRefused, Unavailable, WorkspaceError
from redloom.limit import Pace
from redloom.looking import Lookout, Lost
from redloom.prompt import Prompt
from redloom.records import Ending, Records
from redloom.testing import START, FakeProvider, Fate, JumpingClock, fake_endpoint, run

Change = Callable[[FakeProvider], None]


def told(
    folder: Path,
    main: Callable[[Engine, FakeProvider], Awaitable[Any]],
    change: Change = lambda _p: None,
) -> tuple[Any, FakeProvider]:
    """Run ``main`` with an engine; what it returned, and the service."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now)
    change(provider)

    async def whole() -> Any:
        async with engine(folder / "ws", (fake_endpoint(), provider), clock=clock) as one:
            return await asyncio.wait_for(main(one, provider), 100_000)

    return run(whole()), provider


def fates(*wanted: Fate) -> Callable[[Asked, int], Fate]:
    """The fates of the first submits; every later one is made."""
    return lambda _asked, number: wanted[number - 1] if number <= len(wanted) else "made"


def test_a_doubt_after_an_adopted_task_is_found_too(tmp_path: Path) -> None:
    """When we heard of an adopted task says nothing about the service's clock."""

    async def main(one: Engine, _p: FakeProvider) -> list[Result]:
        return [*await one.generate(["a"]), *await one.generate(["b"])]

    results, provider = told(
        tmp_path, main, lambda p: setattr(p, "script", fates("no-answer", "no-answer"))
    )
    assert provider.bought_twice() == []
    assert [r.status for r in results] == ["ok", "ok"]


def test_a_doubt_after_a_slow_answer_is_found_too(tmp_path: Path) -> None:
    """An answer that took twenty seconds does not move the window of the next doubt."""

    def change(provider: FakeProvider) -> None:
        async def slowly() -> None:
            if provider.submits == 1:
                await asyncio.sleep(20)

        provider.before_answer = slowly
        provider.script = fates("made", "no-answer")

    async def main(one: Engine, _p: FakeProvider) -> list[Result]:
        return [*await one.generate(["a"]), *await one.generate(["b"])]

    results, provider = told(tmp_path, main, change)
    assert provider.bought_twice() == []
    assert [r.status for r in results] == ["ok", "ok"]


def test_a_task_recorded_under_another_key_is_no_stranger(tmp_path: Path) -> None:
    """The list is the account's: our own task, sent with an older key, is never adopted again."""
    verdict, adopted = look_once(tmp_path, others_place="fake fake://fake 0ldkey")
    assert adopted == []
    assert verdict == ["proved"]


def test_a_ticket_recorded_while_looking_is_no_stranger(tmp_path: Path) -> None:
    """An intent that gets its ticket between the reads of one look is not taken for our doubt."""
    verdict, adopted = look_once(tmp_path, accept_while_reading=True)
    assert adopted == []
    assert verdict in (["proved"], ["unsettled"])


def look_once(
    folder: Path, *, others_place: str = PLACE, accept_while_reading: bool = False
) -> tuple[list[str], list[str]]:
    """One doubt that never arrived, beside another job's task at the same second; what came of it."""
    clock = JumpingClock()
    said: list[str] = []
    adopted: list[str] = []

    async def main() -> None:
        provider = FakeProvider(clock.now)
        provider.strangers.append(Seen("theirs", "fake-1", "made", START + 0.5))
        async with desk(folder) as records:
            mine, theirs = await add_run(records, ["mine", "theirs"])
            other = await records.intend(intent_of(theirs, place=others_place))
            if not accept_while_reading:
                await records.accept(other, "theirs", '{"id": "theirs"}', START + 1.0)
            task = await records.intend(intent_of(mine))
            await records.doubt(task, START + 1.0, "answer-lost", "")
            reads = records.known_tickets

            async def during(*args: Any, **how: Any) -> Any:
                found = await reads(*args, **how)
                if accept_while_reading:
                    await records.accept(other, "theirs", '{"id": "theirs"}', START + 30.0)
                return found

            records.known_tickets = during  # type: ignore[method-assign]
            lookout = watched(records, clock, said, adopted)
            row = await records.task(task)
            assert row is not None
            carried = Carried(run_of(records), Purse())
            await lookout.add(Lost.of(row, live_of(provider, clock), carried, mine))
            await asyncio.sleep(1000)
            await lookout.close()

    run(main())
    return said, adopted


@pytest.mark.parametrize("abandoned", [False, True])
def test_a_doubt_given_up_stays_a_rival(tmp_path: Path, abandoned: bool) -> None:
    """Two answers lost at one moment, one task in the list: whichever of the two is given up
    first, in the same look or by the user's policy long ago, the other does not take its task."""
    clock = JumpingClock()
    said: list[str] = []
    adopted: list[str] = []

    async def main() -> None:
        provider = FakeProvider(clock.now)
        provider.strangers.append(Seen("theirs", "fake-1", "made", START + 0.5))
        async with desk(tmp_path) as records:
            lookout = watched(records, clock, said, adopted)
            carried = Carried(run_of(records), Purse())
            for number, job in enumerate(await add_run(records, ["theirs", "mine"])):
                task = await records.intend(intent_of(job))
                await records.doubt(task, START + 1.0, "answer-lost", "")
                if abandoned and number == 0:
                    await records.end_task(
                        task, Ending(state="abandoned", billed="maybe", at=START)
                    )
                    continue
                row = await records.task(task)
                assert row is not None
                await lookout.add(Lost.of(row, live_of(provider, clock), carried, job))
            await asyncio.sleep(5000)
            await lookout.close()

    run(main())
    assert adopted == []
    assert said == ["unsettled"] * (2 - abandoned)


def test_a_doubt_from_the_future_is_not_waited_for(tmp_path: Path) -> None:
    """The clock was set back by a day: were the doubt waited for, the service would drop the
    task's record meanwhile and its absence be taken for proof. It stays in doubt at once."""
    clock = JumpingClock()
    said: list[str] = []

    async def main() -> float:
        provider = FakeProvider(clock.now)
        async with desk(tmp_path) as records:
            (job,) = await add_run(records, ["a"])
            task = await records.intend(intent_of(job, intent_at=START + 86400))
            await records.doubt(task, START + 86401, "answer-lost", "")
            row = await records.task(task)
            assert row is not None
            lookout = watched(records, clock, said, [])
            carried = Carried(run_of(records), Purse())
            await lookout.add(Lost.of(row, live_of(provider, clock), carried, job))
            await asyncio.sleep(5)
            await lookout.close()
            return clock.now()

    assert run(main()) < START + 10
    assert said == ["unsettled"]


def run_of(_records: Records) -> Any:
    """A run; what is in it does not matter here."""
    from helpers.desk import run_record

    return run_record()


def watched(records: Records, clock: JumpingClock, said: list[str], adopted: list[str]) -> Lookout:
    """A lookout that notes its verdicts."""

    async def adopt(_lost: Lost, ticket: Ticket) -> None:
        said.append("adopted")
        adopted.append(ticket.id)

    async def proved(_lost: Lost) -> None:
        said.append("proved")

    async def unsettled(_lost: Lost) -> None:
        said.append("unsettled")

    return Lookout(records, clock, adopt, proved, unsettled, lambda error: said.append(repr(error)))


def test_doubts_one_after_another_are_each_looked_at(tmp_path: Path) -> None:
    """A doubt that is not ripe yet loses none of its looks while others are looked at."""

    def change(provider: FakeProvider) -> None:
        provider.script = lambda _a, n: "no-answer" if n % 2 == 0 and n <= 24 else "made"
        provider.rate = 0.09
        provider.slots = 50
        provider.caps = replace(provider.caps, list_lag_s=100.0)

    async def main(one: Engine, _p: FakeProvider) -> list[Result]:
        return await one.generate(
            [f"p{k}" for k in range(24)], options=RunOptions(in_doubt="resubmit")
        )

    results, provider = told(tmp_path, main, change)
    assert provider.bought_twice() == []
    assert [r.status for r in results] == ["ok"] * 24


def tell_words(provider: FakeProvider) -> None:
    """From now on results carry the prompt as asked."""
    provider.caps = replace(provider.caps, prompt_in_result=True)
    poll = provider.poll

    async def with_words(ticket: Ticket) -> Any:
        outcome = await poll(ticket)
        if isinstance(outcome, Made):
            return replace(outcome, original_prompt=provider.tasks[ticket.id].asked.prompt.strip())
        return outcome

    provider.poll = with_words  # type: ignore[method-assign]


def test_doubts_with_other_words_are_each_found(tmp_path: Path) -> None:
    """Several answers lost at one time: what is not one doubt's task may be another's."""

    def change(provider: FakeProvider) -> None:
        provider.script = fates("no-answer", "no-answer", "no-answer", "never-arrived")
        tell_words(provider)

    async def main(one: Engine, _p: FakeProvider) -> list[Result]:
        return await one.generate(["a ", "b\n", "c", "d"])

    results, provider = told(tmp_path, main, change)
    assert [r.status for r in results] == ["ok"] * 4
    assert provider.bought_twice() == []


def test_reading_candidates_keeps_to_the_query_budget(tmp_path: Path) -> None:
    """A clock that was set makes many tasks worth reading: one after another at the account's pace."""
    clock, asked = JumpingClock(), list[float]()

    async def main() -> None:
        provider = FakeProvider(clock.now)
        tell_words(provider)
        provider.poll_errors = lambda _number: asked.append(clock.now())
        names = [f"s{k}" for k in range(20)]
        provider.strangers += [Seen(name, "fake-1", "made", START + 0.5) for name in names]
        async with desk(tmp_path) as records:
            (mine,) = await add_run(records, ["mine"])
            task = await records.intend(intent_of(mine))
            await records.doubt(task, START + 1.0, "answer-lost", "")
            row = await records.task(task)
            assert row is not None
            live = live_of(provider, clock)
            live.polls.pace = Pace(2.0)
            lookout = watched(records, clock, [], [])
            await lookout.add(Lost.of(row, live, Carried(run_of(records), Purse()), mine))
            await asyncio.sleep(100)
            await lookout.close()

    run(main())
    assert len(asked) >= 20
    assert min(b - a for a, b in pairwise(asked)) > 0.49


@pytest.mark.parametrize("words", [True, False])
def test_a_clock_eight_hours_off_buys_nothing_twice(tmp_path: Path, words: bool) -> None:
    """The account's very first answer is lost on a machine whose clock is wrong."""

    def change(provider: FakeProvider) -> None:
        ours = provider.now
        provider.now = lambda: ours() + 8 * 3600
        provider.script = fates("no-answer")
        if words:
            tell_words(provider)

    async def main(one: Engine, _p: FakeProvider) -> list[Result]:
        return await one.generate(["a"])

    results, provider = told(tmp_path, main, change)
    assert results[0].status == ("ok" if words else "in-doubt")
    assert provider.bought_twice() == []


def test_two_doubts_with_the_same_words_never_share_a_task(tmp_path: Path) -> None:
    """Two takes of one prompt, both answers lost, results that carry words: no hang, none twice."""

    def change(provider: FakeProvider) -> None:
        provider.script = fates("no-answer", "no-answer")
        tell_words(provider)

    async def main(one: Engine, _p: FakeProvider) -> list[Result]:
        return await one.generate(["same"], options=RunOptions(n=2))

    results, provider = told(tmp_path, main, change)
    assert {r.status for r in results} <= {"ok", "in-doubt"}
    tickets = [r.task_id for r in results if r.task_id]
    assert len(tickets) == len(set(tickets))
    assert provider.billed() == 2


def size_of(result: Result) -> str:
    """The size of a result's picture."""
    assert result.path is not None, result.status
    with Image.open(result.path) as picture:
        return f"{picture.width}x{picture.height}"


@pytest.mark.parametrize("first", [True, False])
def test_doubts_of_the_same_words_do_not_swap_their_pictures(tmp_path: Path, first: bool) -> None:
    """One prompt in two sizes, both answers lost, results that carry words: each row gets the
    picture of its own size, whichever the service began first."""
    sizes = ["96x64", "64x96"] if first else ["64x96", "96x64"]

    def change(provider: FakeProvider) -> None:
        provider.script = fates("no-answer", "no-answer")
        tell_words(provider)
        look = provider.look

        async def reversed_look(since: float, until: float) -> Sequence[Seen]:
            return list(reversed(await look(since, until)))

        provider.look = reversed_look  # type: ignore[method-assign]

    async def main(one: Engine, _p: FakeProvider) -> list[Result]:
        return await one.generate([Prompt("same", size=size) for size in sizes])

    results, provider = told(tmp_path, main, change)
    assert [r.status for r in results] == ["ok", "ok"]
    assert [size_of(r) for r in results] == sizes
    assert provider.bought_twice() == []


def test_doubts_that_nothing_tells_apart_stay_in_doubt(tmp_path: Path) -> None:
    """One prompt with two seeds, which the service does not repeat: a wrong match is worse."""

    def change(provider: FakeProvider) -> None:
        provider.script = fates("no-answer", "no-answer")
        tell_words(provider)

    async def main(one: Engine, _p: FakeProvider) -> list[Result]:
        return await one.generate([Prompt("same", seed=seed) for seed in (1, 2)])

    results, provider = told(tmp_path, main, change)
    assert [r.status for r in results] == ["in-doubt", "in-doubt"]
    assert provider.submits == 2


def test_seeds_that_the_service_repeats_tell_doubts_apart(tmp_path: Path) -> None:
    """The same with a service whose results carry the seed: each finds its own."""

    def change(provider: FakeProvider) -> None:
        provider.script = fates("no-answer", "no-answer")
        tell_words(provider)
        poll = provider.poll

        async def with_seed(ticket: Ticket) -> Any:
            outcome = await poll(ticket)
            if isinstance(outcome, Made):
                seed = provider.tasks[ticket.id].asked.seed
                return replace(outcome, picture=replace(outcome.picture, seed=seed))
            return outcome

        provider.poll = with_seed  # type: ignore[method-assign]

    async def main(one: Engine, _p: FakeProvider) -> list[Result]:
        return await one.generate([Prompt("same", seed=seed) for seed in (2, 1)])

    results, provider = told(tmp_path, main, change)
    assert [provider.tasks[r.task_id].asked.seed for r in results] == [2, 1]
    assert provider.bought_twice() == []


def test_of_two_sizes_only_one_arrived(tmp_path: Path) -> None:
    """The other's picture is not taken for it, and once that is found, it is asked for again."""

    def change(provider: FakeProvider) -> None:
        provider.script = fates("never-arrived", "no-answer")
        tell_words(provider)

    async def main(one: Engine, _p: FakeProvider) -> list[Result]:
        return await one.generate([Prompt("same", size=size) for size in ("96x64", "64x96")])

    results, provider = told(tmp_path, main, change)
    assert [size_of(r) for r in results] == ["96x64", "64x96"]
    assert provider.bought_twice() == []


def test_an_error_of_the_journal_while_settling_stops_the_engine(tmp_path: Path) -> None:
    """A full disk in the middle of settling is told, not swallowed."""

    async def main(one: Engine, _p: FakeProvider) -> list[Result]:
        async def full(*_a: Any, **_k: Any) -> None:
            raise DiskFull("满", "full")

        one.records.accept = full  # type: ignore[method-assign]
        return await asyncio.wait_for(one.generate(["a"]), 5000)

    with pytest.raises(WorkspaceError):
        told(tmp_path, main, lambda p: setattr(p, "script", fates("no-answer")))


def test_pause_and_resume_while_a_doubt_is_open(tmp_path: Path) -> None:
    """The doubt is taken up again, not bought again and not failed."""

    def change(provider: FakeProvider) -> None:
        provider.script = fates("no-answer")
        provider.caps = replace(provider.caps, list_lag_s=60.0)

    async def main(one: Engine, _p: FakeProvider) -> list[Result]:
        number = await one.add(["a"])
        await asyncio.sleep(5)
        await one.pause(number)
        await asyncio.sleep(5)
        await one.resume(number)
        return [result async for result in one.follow(number)]

    results, provider = told(tmp_path, main, change)
    assert [(r.status, r.code) for r in results] == [("ok", "")]
    assert provider.billed() == 1


def test_another_run_that_wants_a_picture_in_doubt_does_not_buy_it(tmp_path: Path) -> None:
    """A key in doubt after one run is looked for by the next run, or stays in doubt; never a bug."""

    def change(provider: FakeProvider) -> None:
        provider.script = fates("no-answer")
        provider.strangers.append(Seen("somebody", "fake-1", "made", START + 1.0))

    async def main(one: Engine, _p: FakeProvider) -> list[Result]:
        first = await one.generate(["a"])
        return [*first, *await one.generate(["a", "b"])]

    results, provider = told(tmp_path, main, change)
    assert [(r.status, r.code) for r in results] == [
        ("in-doubt", "answer-lost"), ("in-doubt", "answer-lost"), ("ok", ""),
    ]  # fmt: skip
    assert provider.bought_twice() == []


def test_two_runs_at_once_want_a_picture_that_ends_in_doubt(tmp_path: Path) -> None:
    """Who waited for the same picture in another run is told of the doubt too."""

    def change(provider: FakeProvider) -> None:
        provider.script = fates("no-answer")
        provider.strangers.append(Seen("somebody", "fake-1", "made", START + 1.0))

    async def main(one: Engine, _p: FakeProvider) -> list[list[Result]]:
        return list(await asyncio.gather(one.generate(["a"]), one.generate(["a", "b"])))

    results, provider = told(tmp_path, main, change)
    assert [r.status for r in results[0]] == ["in-doubt"]
    assert [r.status for r in results[1]] == ["in-doubt", "ok"]
    assert provider.bought_twice() == []


def test_the_next_start_settles_what_was_left_in_doubt(tmp_path: Path) -> None:
    """Ambiguous today; once the other program's task is gone from the list, found."""

    def change(provider: FakeProvider) -> None:
        provider.script = fates("no-answer")
        provider.strangers.append(Seen("somebody", "fake-1", "made", START + 1.0))

    async def main(one: Engine, provider: FakeProvider) -> list[Result]:
        first = await one.generate(["a"], out=tmp_path / "out")
        provider.strangers.clear()
        return [*first, *await one.generate(["a"], out=tmp_path / "out")]

    results, provider = told(tmp_path, main, change)
    assert [r.status for r in results] == ["in-doubt", "ok"]
    assert provider.billed() == 1


@pytest.mark.parametrize(
    ("policy", "statuses", "bought"), [("wait", ["in-doubt"], 1), ("fail", ["failed"], 1), ("resubmit", ["ok"], 2)]
)  # fmt: skip
def test_the_policy_decides_what_cannot_be_settled(
    tmp_path: Path, policy: str, statuses: list[str], bought: int
) -> None:
    """wait leaves it, fail ends it, resubmit buys again: only ever because it was asked for."""

    def change(provider: FakeProvider) -> None:
        provider.script = fates("no-answer")
        provider.caps = replace(provider.caps, lists_tasks=False)

    async def main(one: Engine, _p: FakeProvider) -> list[Result]:
        return await one.generate(["a"], options=RunOptions(in_doubt=policy))

    results, provider = told(tmp_path, main, change)
    assert [r.status for r in results] == statuses
    assert provider.billed() == bought
    assert provider.looks == 0


def test_a_doubt_is_given_up_by_its_own_run_only(tmp_path: Path) -> None:
    """Two runs want one picture, whose answer was lost. The second gives its row up at once; the
    first said wait, so resuming it looks again and buys nothing.
    """

    def change(provider: FakeProvider) -> None:
        provider.script = fates("no-answer")
        provider.caps = replace(provider.caps, lists_tasks=False)

    async def main(one: Engine, _p: FakeProvider) -> list[Result]:
        first = await one.add(["a"], digest="one")
        said = [result async for result in one.follow(first)]
        said += await one.generate(["a"], options=RunOptions(in_doubt="fail"))
        await one.resume(first)
        return said + [result async for result in one.follow(first)]

    results, provider = told(tmp_path, main, change)
    assert [r.status for r in results] == ["in-doubt", "failed", "in-doubt"]
    assert provider.submits == 1


def test_a_broken_provider_takes_no_slot_with_it(tmp_path: Path) -> None:
    """An exception that is no ServiceError is a doubt like any other; the run still ends."""

    def change(provider: FakeProvider) -> None:
        def script(asked: Asked, _number: int) -> Fate:
            if asked.prompt.startswith("bad"):
                raise RuntimeError("a bug in the provider")
            return "made"

        provider.script = script
        provider.slots = 1
        provider.caps = replace(provider.caps, queues_excess=False)

    async def main(one: Engine, _p: FakeProvider) -> list[Result]:
        return await asyncio.wait_for(one.generate(["bad 1", "bad 2", "good"]), 20_000)

    results, provider = told(tmp_path, main, change)
    assert results[2].status == "ok"
    assert provider.billed() == 1


def test_a_list_that_cannot_be_read_is_read_again(tmp_path: Path) -> None:
    """503 from the list, then an answer: nothing is concluded from no answer."""

    def change(provider: FakeProvider) -> None:
        provider.script = fates("no-answer")
        look, calls = provider.look, iter(range(100))

        async def sometimes(since: float, until: float) -> Sequence[Seen]:
            if next(calls) < 3:
                raise Unavailable("忙", "busy")
            return await look(since, until)

        provider.look = sometimes  # type: ignore[method-assign]

    async def main(one: Engine, _p: FakeProvider) -> list[Result]:
        return await one.generate(["a"])

    results, provider = told(tmp_path, main, change)
    assert results[0].status == "ok"
    assert provider.billed() == 1


def test_a_key_that_is_refused_while_looking_leaves_the_doubt(tmp_path: Path) -> None:
    """401 on the list: the endpoint stops, the row says in-doubt, nothing is bought."""

    def change(provider: FakeProvider) -> None:
        provider.script = fates("no-answer")

        async def refused(_since: float, _until: float) -> Sequence[Seen]:
            raise KeyRefused("钥匙不对", "wrong key")

        provider.look = refused  # type: ignore[assignment, method-assign]

    async def main(one: Engine, _p: FakeProvider) -> list[Result]:
        return await one.generate(["a"])

    results, provider = told(tmp_path, main, change)
    assert results[0].status == "in-doubt"
    assert provider.submits == 1
