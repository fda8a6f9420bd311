"""What could lose money or hang for ever: rare meetings of events, each brought about on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from helpers.desk import desk, engine, live_of, run_record
from redloom.carried import Carried, Purse
from redloom.download import Downloads
from redloom.endpoint import (
    Asked,
    Fitted,
    Lane,
    Made,
    Outcome,
    Picture,
    Price,
    Seen,
    Ticket,
    Times,
)
from redloom.engine import Engine, Result, RunOptions
from redloom.errors import (
    AccountEmpty,
    FetchFailed,
    KeyRefused,
    Refused,
    ServiceError,
    TaskFailed,
    Throttled,
    Unavailable,
)
from redloom.events import Event
from redloom.finish import _renewed
from redloom.floor import Flight, to_take_back
from redloom.job import Request
from redloom.limit import Slot
from redloom.records import Job
from redloom.route import OPEN_AFTER, Live
from redloom.testing import FakeProvider, Fate, JumpingClock, fake_endpoint, picture_of, run

T = TypeVar("T")
LONG_S = 3000.0
"""Nominal seconds after which a run counts as hanging."""


def with_services(
    tmp_path: Path,
    work: Callable[[Engine, list[FakeProvider]], Awaitable[T]],
    number: int = 1,
    kind: type[FakeProvider] = FakeProvider,
    watch: Callable[[Event], None] | None = None,
    before: Callable[[list[FakeProvider]], None] | None = None,
    within_s: float = LONG_S,
    **how: Any,
) -> T:
    """Run ``work`` with an engine on ``number`` fake services; a hang is an error."""
    clock = JumpingClock()
    services = [kind(clock.now, **how) for _ in range(number)]
    names = "abcdefgh"
    if before is not None:
        before(services)

    async def main() -> T:
        equipped = [(fake_endpoint(names[k]), one) for k, one in enumerate(services)]
        one = engine(tmp_path / "ws", *equipped, clock=clock, on_event=watch)
        async with one as made, asyncio.timeout(within_s):
            return await work(made, services)

    return run(main())


def statuses(results: Sequence[Result]) -> list[str]:
    """The statuses in input order."""
    return [r.status for r in sorted(results, key=lambda r: (r.row, r.take))]


def words(number: int) -> list[str]:
    """So many different prompts."""
    return [f"p{k}" for k in range(number)]


def caps(provider: FakeProvider, **changes: Any) -> None:
    """Change what a fake service can do."""
    provider.caps = replace(provider.caps, **changes)


# paid for, and not here


def test_what_could_not_be_fetched_is_fetched_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its error says: the same run again fetches it and buys nothing; one process or two."""
    down = [True]
    bring = Downloads.fetch

    async def unwell(self: Downloads, *what: Any, **how: Any) -> Any:
        if down[0]:
            raise FetchFailed("断了", "cut")
        return await bring(self, *what, **how)

    monkeypatch.setattr(Downloads, "fetch", unwell)
    clock = JumpingClock()
    service = FakeProvider(clock.now)

    async def again() -> list[str]:
        async with engine(tmp_path / "ws", (fake_endpoint(), service), clock=clock) as one:
            first = statuses(await one.generate(["a", "b", "a"], out=tmp_path / "out"))
            down[0] = False
            return first + statuses(await one.generate(["a", "b", "a"], out=tmp_path / "out"))

    assert run(again()) == ["failed"] * 3 + ["ok", "ok", "duplicate"]
    assert service.submits == 2


# an endpoint that could not make it


class Short(FakeProvider):
    """A service that takes no prompt over ``most`` characters."""

    most = 2100

    def fit(self, asked: Asked) -> Fitted:
        if len(asked.prompt) > self.most:
            raise Refused("太长", "too long")
        return Fitted(asked)


def test_a_prompt_goes_only_where_it_fits(tmp_path: Path) -> None:
    """The quicker service could not make it: the other does, and the engine lives on."""

    def before(services: list[FakeProvider]) -> None:
        services[0].most = 5  # type: ignore[attr-defined]
        caps(services[0], typical_s=1.0)

    async def work(one: Engine, services: list[FakeProvider]) -> list[Result]:
        return await one.generate(["short", "a longer one", "p3"])

    results = with_services(tmp_path, work, 2, Short, before=before)
    assert statuses(results) == ["ok"] * 3
    assert next(r for r in results if r.row == 2).endpoint == "b"


def test_a_mistake_in_the_loop_is_told_and_hangs_nobody(tmp_path: Path) -> None:
    """A provider's mistake in pricing stops the engine with an error, and followers hear of it."""

    async def work(one: Engine, services: list[FakeProvider]) -> str:
        def price(asked: Asked) -> Price:
            raise KeyError("size")

        services[0].price = price  # type: ignore[method-assign]
        try:
            await one.generate(["a"])
        except Exception as error:
            return type(error).__name__
        return ""

    assert with_services(tmp_path, work) == "WorkspaceError"


# the breaker


def breaking(after: list[Fate | ServiceError]) -> Callable[[Asked, int], Fate | ServiceError]:
    """Five times away, then what ``after`` says, then well."""

    def script(_asked: Asked, number: int) -> Fate | ServiceError:
        if number <= OPEN_AFTER:
            return Unavailable("不在", "away")
        if number - OPEN_AFTER <= len(after):
            return after[number - OPEN_AFTER - 1]
        return "made"

    return script


def test_a_half_open_endpoint_that_says_slow_down_is_tried_again(tmp_path: Path) -> None:
    """A 429 is no verdict: the next job may try."""

    async def work(one: Engine, services: list[FakeProvider]) -> list[Result]:
        services[0].script = breaking([Throttled("慢点", "slow down", kind="rate")])
        return await one.generate(["a"])

    assert statuses(with_services(tmp_path, work)) == ["ok"]


def test_a_half_open_endpoint_whose_answer_is_lost_is_tried_again(tmp_path: Path) -> None:
    """Looking proves that nothing arrived; the job is asked for again."""

    async def work(one: Engine, services: list[FakeProvider]) -> list[Result]:
        services[0].script = breaking(["never-arrived"])
        return await one.generate(["a"])

    assert statuses(with_services(tmp_path, work)) == ["ok"]


def test_many_failures_at_once_are_one_break(tmp_path: Path) -> None:
    """Twenty requests that meet one short outage do not keep an endpoint closed for minutes."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now, slots=20, rate=1000.0)
    away_until = clock.start + 2.0

    async def main() -> float:
        async def slowly() -> None:
            await asyncio.sleep(1.0)

        async def submit(asked: Asked, lane: Lane) -> Ticket | Made:
            await slowly()
            if clock.now() < away_until:
                raise Unavailable("不在", "away")
            return await plain(asked, lane)

        plain = provider.submit
        provider.submit = submit  # type: ignore[method-assign]
        async with engine(tmp_path / "ws", (fake_endpoint(), provider), clock=clock) as one:
            began = clock.now()
            results = await one.generate(words(20))
            assert statuses(results) == ["ok"] * 20
            return clock.now() - began

    assert run(main()) < 90


def test_answers_lost_again_and_again_open_the_breaker(tmp_path: Path) -> None:
    """On a lane that cannot be looked through, an outage puts few pictures in doubt, not all."""

    async def work(one: Engine, services: list[FakeProvider]) -> list[Result]:
        away = one.clock.now() + 14.0
        services[0].script = lambda _a, _n: "no-answer" if one.clock.now() < away else "made"
        return await one.generate(words(40))

    def before(services: list[FakeProvider]) -> None:
        caps(services[0], lists_tasks=False)

    results = with_services(tmp_path, work, before=before, slots=100, rate=1.0)
    assert statuses(results).count("in-doubt") <= OPEN_AFTER + 1
    assert statuses(results).count("ok") >= 34


def test_a_broken_fast_endpoint_is_not_waited_for(tmp_path: Path) -> None:
    """The last job goes to the slow one that works, not again and again to the quick one."""

    async def work(one: Engine, services: list[FakeProvider]) -> float:
        began = one.clock.now()
        results = await one.generate(["a"])
        assert statuses(results) == ["ok"]
        return one.clock.now() - began

    def before(services: list[FakeProvider]) -> None:
        quick, slow = services
        quick.script = lambda _a, _n: Unavailable("不在", "away")
        slow.seconds = lambda _p: 120.0
        caps(slow, typical_s=120.0)

    assert with_services(tmp_path, work, 2, before=before) < 400


# a stopped endpoint that has tasks


def test_tasks_at_a_stopped_endpoint_end_the_run_and_are_not_asked_about_for_ever(
    tmp_path: Path,
) -> None:
    """One of two keys is revoked after its submits: the run ends, waiting for a person."""

    async def work(one: Engine, services: list[FakeProvider]) -> list[Result]:
        def refused(number: int) -> ServiceError:
            assert number < 50, "asked about for ever"
            return KeyRefused("密钥无效", "the key is refused")

        services[0].poll_errors = refused
        return await one.generate(words(8), out=tmp_path / "o")

    results = with_services(tmp_path, work, 2)
    assert set(statuses(results)) == {"ok"}
    assert 0 < len(results) < 8


# doubts


def test_a_stop_while_looking_settles_every_doubt(tmp_path: Path) -> None:
    """Two answers lost a while apart, then the account stops: neither row hangs."""

    async def work(one: Engine, services: list[FakeProvider]) -> list[Result]:
        provider = services[0]
        provider.script = lambda _a, _n: "no-answer"

        async def look(since: float, until: float) -> Sequence[Seen]:
            raise AccountEmpty("欠费", "in arrears")

        provider.look = look  # type: ignore[method-assign]
        return await one.generate(words(3))

    def before(services: list[FakeProvider]) -> None:
        caps(services[0], list_lag_s=12.0)

    results = with_services(tmp_path, work, before=before, rate=0.2)
    assert set(statuses(results)) <= {"in-doubt"}


def test_a_list_that_is_refused_ends_in_doubt(tmp_path: Path) -> None:
    """A service that will not list is asked a few times, not for ever."""

    async def work(one: Engine, services: list[FakeProvider]) -> list[Result]:
        services[0].script = lambda _a, _n: "no-answer"

        async def look(since: float, until: float) -> Sequence[Seen]:
            raise Refused("不行", "no")

        services[0].look = look  # type: ignore[method-assign]
        return await one.generate(["a"])

    assert statuses(with_services(tmp_path, work)) == ["in-doubt"]


def test_a_pause_in_the_middle_of_comparing_words_breaks_nothing(tmp_path: Path) -> None:
    """A doubt dropped while its candidates are read stays a doubt; the engine goes on."""

    async def work(one: Engine, services: list[FakeProvider]) -> list[Result]:
        provider = services[0]
        provider.script = lambda _a, number: "no-answer" if number == 1 else "made"
        plain, paused = provider.poll, False

        async def poll(ticket: Ticket) -> Outcome:
            nonlocal paused
            outcome = await plain(ticket)
            if not paused and ticket.id == "task-00001":
                paused = True
                await one.pause(added)
                await asyncio.sleep(2.0)
            if isinstance(outcome, Made):
                prompt = provider.tasks[ticket.id].asked.prompt
                return replace(outcome, original_prompt=prompt)
            return outcome

        provider.poll = poll  # type: ignore[method-assign]
        added = await one.add(words(1), out=tmp_path / "o")
        _ = [r async for r in one.follow(added)]
        await asyncio.sleep(5.0)
        await one.resume(added)
        return [r async for r in one.follow(added)]

    def before(services: list[FakeProvider]) -> None:
        caps(services[0], prompt_in_result=True)

    assert statuses(with_services(tmp_path, work, before=before)) == ["ok"]


# money


def test_what_a_picture_really_cost_counts_against_the_budget(tmp_path: Path) -> None:
    """The service reports twice its estimate: the run stops at its budget all the same."""

    class Dear(FakeProvider):
        async def poll(self, ticket: Ticket) -> Outcome:
            outcome = await super().poll(ticket)
            if isinstance(outcome, Made):
                return replace(outcome, price=Price(0.4, "CNY", "reported", ""))
            return outcome

    async def work(one: Engine, _services: list[FakeProvider]) -> list[Result]:
        return await one.generate(words(20), budget=2.0, currency="CNY")

    def before(services: list[FakeProvider]) -> None:
        caps(services[0], queues_excess=False)

    results = with_services(tmp_path, work, kind=Dear, before=before, slots=1)
    spent = sum(r.price or 0.0 for r in results if r.status == "ok")
    assert spent <= 2.0 + 0.4  # at most the one that was under way when it became known
    assert statuses(results).count("unpaid") >= 14


def test_a_new_budget_holds_for_a_run_that_is_carried(tmp_path: Path) -> None:
    """The same run asked for again with less money, while it goes on: less is spent."""

    async def work(one: Engine, services: list[FakeProvider]) -> int:
        added = await one.add(words(30), out=tmp_path / "o", budget=6.0, currency="CNY")
        await asyncio.sleep(25.0)
        again = await one.add(words(30), out=tmp_path / "o", budget=3.0, currency="CNY")
        assert again == added
        _ = [r async for r in one.follow(added)]
        return services[0].billed()

    assert with_services(tmp_path, work, slots=2) == 15


def test_a_task_of_another_run_gives_no_money_back(tmp_path: Path) -> None:
    """Going on with a task that another run paid for, and that fails, adds nothing to the purse."""

    async def work(one: Engine, services: list[FakeProvider]) -> None:
        provider = services[0]
        provider.script = lambda _a, number: "failed" if number == 1 else "made"
        first = await one.add(["p0"])
        await asyncio.sleep(3.0)
        await one.records.own_run(first, "nobody", "{}")
        carrier = one._carrier
        assert carrier is not None
        await asyncio.sleep(1.0)
        for task in list(carrier._work):
            task.cancel()
        carrier._runs.clear()
        carrier._keys.clear()
        results = await one.generate(words(3), budget=0.4, currency="CNY")
        assert statuses(results).count("ok") == 2
        assert statuses(results).count("unpaid") == 1

    with_services(tmp_path, work, slots=1)


def test_a_row_cancelled_from_elsewhere_is_not_bought(tmp_path: Path) -> None:
    """Another process cancelled the run a moment ago: rows still in hand spend nothing."""

    async def work(one: Engine, services: list[FakeProvider]) -> None:
        provider, plain = services[0], services[0].poll

        async def poll(ticket: Ticket) -> Outcome:
            outcome = await plain(ticket)
            if isinstance(outcome, Made):
                carrier = one._carrier
                assert carrier is not None
                await one.records.set_state(added, "cancelled", "open")
                await one.records.cancel_jobs(added, one.clock.now())
                carrier._looked = asyncio.get_running_loop().time() + 5.0
            return outcome

        provider.poll = poll  # type: ignore[method-assign]
        added = await one.add(words(5))
        results = [r async for r in one.follow(added)]
        assert statuses(results).count("ok") == provider.billed() == 1
        assert statuses(results).count("cancelled") == 4

    with_services(tmp_path, work, before=lambda s: caps(s[0], queues_excess=False), slots=1)


def test_retries_hold_on_the_synchronous_lane_too(tmp_path: Path) -> None:
    """``retries`` 0 means one try, whatever the lane."""

    async def work(one: Engine, services: list[FakeProvider]) -> int:
        services[0].script = lambda _a, _n: TaskFailed("没画成", "no picture")
        results = await one.generate(["a"], options=RunOptions(retries=0))
        assert statuses(results) == ["failed"]
        return services[0].submits

    assert with_services(tmp_path, work) == 1


def test_a_service_that_cancels_by_itself_is_not_asked_for_ever(tmp_path: Path) -> None:
    """Cancelled, and not by us: a failed try like any other."""

    async def work(one: Engine, services: list[FakeProvider]) -> list[Result]:
        async def give_up() -> None:
            for task in services[0].tasks.values():
                task.canceled = True

        services[0].before_answer = give_up
        return await one.generate(["a"])

    assert statuses(with_services(tmp_path, work)) == ["failed"]


# taking waiting tasks back


def slow_and_quick(services: list[FakeProvider]) -> None:
    """The first is slow, queues and can cancel; the second is quick and works on one at a time."""
    slow, quick = services
    caps(slow, cancels=True, typical_s=120.0)
    slow.seconds = lambda _p: 120.0
    quick.seconds = lambda _p: 30.0
    quick.slots = 1
    caps(quick, queues_excess=False, typical_s=30.0)


def test_flights_end(tmp_path: Path) -> None:
    """Nothing is kept of a task whose picture is there."""

    async def work(one: Engine, _services: list[FakeProvider]) -> int:
        await one.generate(words(10))
        assert one._carrier is not None
        return len(one._carrier.maker.flights)

    assert with_services(tmp_path, work) == 0


def slow_queue(services: list[FakeProvider]) -> None:
    """One at a time at both; the slow one keeps what exceeds that waiting, and takes it back."""
    slow, quick = services
    caps(slow, cancels=True, typical_s=60.0)
    caps(quick, cancels=True, typical_s=60.0)
    slow.slots = quick.slots = 1
    slow.seconds = lambda _p: 300.0
    quick.seconds = lambda _p: 20.0


def test_one_idle_slot_takes_one_task_back(tmp_path: Path) -> None:
    """A cancel takes a while to be heard of: meanwhile no second task is called back."""

    async def work(one: Engine, services: list[FakeProvider]) -> None:
        slow, quick = services
        plain = slow.cancel
        under_way = most = 0

        async def cancel(ticket: Ticket) -> bool:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(1.5)
            under_way -= 1
            return await plain(ticket)

        slow.cancel = cancel  # type: ignore[method-assign]
        results = await one.generate(words(8))
        assert statuses(results) == ["ok"] * 8
        assert most == 1
        assert not slow.bought_twice()
        cancelled = sum(task.canceled for task in slow.tasks.values())
        assert cancelled <= quick.submits
        assert cancelled > 0

    with_services(tmp_path, work, 2, before=slow_queue, rate=100.0)


def test_paused_while_a_task_is_taken_back(tmp_path: Path) -> None:
    """The service has cancelled it for us and the run is paused by then: the row stays pending, and
    resumed it is made."""

    async def work(one: Engine, services: list[FakeProvider]) -> None:
        slow = services[0]
        plain = slow.cancel

        async def cancel(ticket: Ticket) -> bool:
            done = await plain(ticket)
            await one.pause(added)
            await asyncio.sleep(2.0)
            return done

        slow.cancel = cancel  # type: ignore[method-assign]
        added = await one.add(words(8), out=tmp_path / "o")
        _ = [r async for r in one.follow(added)]
        assert any(task.canceled for task in slow.tasks.values())
        assert set(await one.records.counts(added)) == {"ok", "pending"}
        slow.cancel = plain  # type: ignore[method-assign]
        await one.resume(added)
        _ = [r async for r in one.follow(added)]
        assert await one.records.counts(added) == {"ok": 8}

    with_services(tmp_path, work, 2, before=slow_queue, rate=100.0)


def test_what_could_not_be_paid_elsewhere_is_not_taken_back(tmp_path: Path) -> None:
    """The quick service is dearer than the budget allows: the queue at the cheap one stands."""

    def before(services: list[FakeProvider]) -> None:
        slow_and_quick(services)
        services[1].cost = Price(2.0, "CNY", "estimated", "2026-11-01")

    async def work(one: Engine, services: list[FakeProvider]) -> None:
        results = await one.generate(words(8), budget=1.7, currency="CNY")
        assert statuses(results) == ["ok"] * 8
        assert not any(task.canceled for task in services[0].tasks.values())

    with_services(tmp_path, work, 2, before=before, rate=100.0)


# memory


@pytest.mark.parametrize("again", ["stored", "equal", "invalid", "unpaid"])
def test_rows_that_cost_nothing_do_not_fill_memory(
    again: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that are in the store, equal, refused or unpaid are taken in hand by the window."""
    window = 16
    monkeypatch.setattr("redloom.carrier.WINDOW", window)
    monkeypatch.setattr("redloom.carried.WINDOW", window)

    async def work(one: Engine, services: list[FakeProvider]) -> None:
        rows, budget, options = words(200), None, RunOptions()
        if again == "stored":
            await one.generate(rows)
        elif again == "equal":
            rows = ["the same"] * 200
        elif again == "invalid":
            options = RunOptions(model="nobody's")
        else:
            budget = 0.2
        most = 0

        def look(_event: Event) -> None:
            nonlocal most
            assert one._carrier is not None
            most = max([most, *(len(c.hand) for c in one._carrier._runs.values())])

        one.stream_of_events.watch(look)
        began = one.clock.now()
        results = await one.generate(
            rows, out=tmp_path / "o", options=options, budget=budget, currency="CNY"
        )
        assert len(results) == 200
        assert most <= 3 * window
        assert one.clock.now() - began < 60

    with_services(tmp_path, work, slots=50, rate=1000.0)


# the end of a process


def test_what_is_being_written_at_the_end_is_written(tmp_path: Path) -> None:
    """A picture whose finishing begins while the engine already settles down is on record."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now)

    async def main() -> str:
        async with engine(tmp_path / "ws", (fake_endpoint(), provider), clock=clock) as one:
            added = await one.add(["first"])
            await asyncio.sleep(8.0)
            carrier = one._carrier
            assert carrier is not None
            plain = carrier.finisher.finish

            async def slowly(*how: Any) -> Any:
                await asyncio.sleep(4.0)
                return await plain(*how)

            async def answer_late() -> None:
                await asyncio.sleep(5.0)

            carrier.finisher.finish = slowly  # type: ignore[method-assign, assignment]
            provider.before_answer = answer_late
            await one.add(["second"])
            await asyncio.sleep(1.0)
        async with desk(tmp_path / "ws") as records:
            return str((await records.rows(added, (0, 0), 10))[0]["status"])

    assert run(main()) == "ok"


def test_an_engine_that_cannot_begin_is_told_to_followers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake before the first turn hangs nobody."""

    def broken(*_how: Any) -> None:
        raise ValueError("broken")

    monkeypatch.setattr("redloom.engine.sweep", broken)

    async def work(one: Engine, _services: list[FakeProvider]) -> str:
        try:
            await one.generate(["a"])
        except ValueError as error:
            return str(error)
        return ""

    assert with_services(tmp_path, work) == "broken"


# what is learnt


def test_a_stop_while_a_link_is_renewed_leaves_the_picture_for_the_next_start() -> None:
    """It is paid for, so the row says that it could not be fetched, not that there is a bug."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now)
    provider.poll_errors = lambda _number: KeyRefused("密钥无效", "the key is refused")

    async def main() -> None:
        with pytest.raises(FetchFailed):
            await _renewed(live_of(provider, clock), Ticket("task-00001"), gone=False)

    run(main())


def test_nothing_more_is_taken_back_while_one_is_leaving() -> None:
    """Two tasks wait at a slow endpoint, one slot is idle elsewhere: one of them, not both."""
    clock = JumpingClock()

    async def main() -> None:
        slow, quick = (live_of(FakeProvider(clock.now), clock, slots=1) for _ in range(2))
        slow.capabilities = replace(slow.capabilities, cancels=True)
        slow.timing.mean = 500.0
        carried, job = Carried(run_record(), Purse()), Job(1, "r1", 1, 1, "k", Request("a"), {}, 0)
        flights = []
        for number in range(2):
            slow.gate.outstanding += 1
            slot = Slot(slow.gate)
            slot.saw(False)
            flights.append(Flight(slow, Ticket(f"t{number}"), slot, carried, job))

        def able(_carried: Carried, job: Job) -> tuple[list[Live], Request]:
            return [slow, quick], job.request

        assert to_take_back(flights, able, clock.now()) is flights[0]
        flights[0].leaving = True
        assert to_take_back(flights, able, clock.now()) is None

    run(main())


def test_a_service_that_broke_down_is_tried_by_one_job_at_a_time(tmp_path: Path) -> None:
    """Five of eight requests fail at once, three a while after: while the one that tries it then
    waits for its answer, what comes back late sends no second one after it."""
    clock = JumpingClock()
    answers_s = [0.0] * OPEN_AFTER + [16.0, 18.0, 20.0] + [60.0] * 4
    under_way: set[int] = set()
    beside: list[int] = []

    class Slow(FakeProvider):
        """Answers with an error of its own, each request after its time; later ones well."""

        async def submit(self, asked: Asked, lane: Lane) -> Ticket | Made:
            self.submits += 1
            number = self.submits
            late = number > 8
            beside.append(sum(one > 8 for one in under_way) if late and number <= 12 else 0)
            under_way.add(number)
            await asyncio.sleep(answers_s[number - 1] if number <= len(answers_s) else 0.0)
            under_way.discard(number)
            if number <= 12:
                raise Unavailable("坏了", "broken down")
            return Made(Picture(data=picture_of(asked.prompt)))

    service = Slow(clock.now)
    service.slots, service.rate = 8, 1000.0

    async def main() -> list[Result]:
        async with engine(tmp_path / "ws", (fake_endpoint(), service), clock=clock) as one:
            return await one.generate([f"p{n}" for n in range(8)])

    results = run(main())
    assert [r.status for r in results] == ["ok"] * 8
    assert max(beside) == 0


def test_a_ticket_that_is_handed_out_twice_leaves_a_doubt_that_ends(tmp_path: Path) -> None:
    """The service answers a second request with the first one's ticket: whose picture it is nobody
    can tell. The second row ends in doubt, and is neither looked for without end nor bought again."""

    class Again(FakeProvider):
        """Hands out one ticket for all."""

        async def submit(self, asked: Asked, lane: Lane) -> Ticket | Made:
            await super().submit(asked, lane)
            return Ticket("task-00001")

    async def main(one: Engine, services: list[FakeProvider]) -> list[Result]:
        return await one.generate(["a", "b"], budget=0.5, currency="CNY")

    kept: list[FakeProvider] = []
    results = with_services(tmp_path, main, kind=Again, before=kept.extend)
    assert sorted(r.status for r in results) == ["in-doubt", "ok"]
    assert {r.code for r in results if r.status == "in-doubt"} == {"answer-lost"}
    assert kept[0].submits == 2


@pytest.mark.parametrize(("policy", "ends"), [("fail", "failed"), ("resubmit", "in-doubt")])
def test_a_doubt_about_a_ticket_ends_by_the_users_policy(
    tmp_path: Path, policy: str, ends: str
) -> None:
    """However often the service repeats itself: resubmitting is counted, like any failed try."""

    class Again(FakeProvider):
        """Hands out one ticket for all."""

        async def submit(self, asked: Asked, lane: Lane) -> Ticket | Made:
            await super().submit(asked, lane)
            return Ticket("task-00001")

    async def main(one: Engine, services: list[FakeProvider]) -> list[Result]:
        first = await one.generate(["a"])
        options = RunOptions(in_doubt=policy, retries=2)
        return [*first, *await one.generate(["b"], options=options)]

    kept: list[FakeProvider] = []
    results = with_services(tmp_path, main, kind=Again, before=kept.extend)
    assert [r.status for r in results] == ["ok", ends]
    assert kept[0].submits == (2 if policy == "fail" else 4)


def test_a_ticket_that_cannot_be_written_down_is_a_doubt(tmp_path: Path) -> None:
    """A provider's mistake after the POST: what came back is no JSON. It is looked for, and found."""

    class Odd(FakeProvider):
        """Its first ticket holds what no JSON can."""

        async def submit(self, asked: Asked, lane: Lane) -> Ticket | Made:
            answer = await super().submit(asked, lane)
            assert isinstance(answer, Ticket)
            return replace(answer, data={"odd": {1, 2}}) if self.submits == 1 else answer

    async def main(one: Engine, services: list[FakeProvider]) -> list[Result]:
        return await one.generate(["a"])

    kept: list[FakeProvider] = []
    results = with_services(tmp_path, main, kind=Odd, before=kept.extend)
    assert [r.status for r in results] == ["ok"]
    assert kept[0].submits == 1


def test_resubmitting_a_lost_answer_has_an_end(tmp_path: Path) -> None:
    """A synchronous service that never answers: who lets doubts be asked for again pays for as many
    tries as a failed task has, not for as many as there are hours."""

    def silent(services: list[FakeProvider]) -> None:
        services[0].caps = replace(services[0].caps, lanes=("sync",), lists_tasks=False)
        services[0].script = lambda _asked, _number: "no-answer"
        kept.extend(services)

    async def main(one: Engine, services: list[FakeProvider]) -> list[Result]:
        return await one.generate(["a"], options=RunOptions(in_doubt="resubmit", retries=2))

    kept: list[FakeProvider] = []
    results = with_services(tmp_path, main, before=silent)
    assert [r.status for r in results] == ["in-doubt"]
    assert kept[0].submits == 3


@pytest.mark.parametrize(("started", "ended"), [(0.0, None), (None, 9e9), (9e9, 0.0)])
def test_a_time_that_cannot_be_makes_nobody_wait(
    tmp_path: Path, started: float | None, ended: float | None
) -> None:
    """The first task says that it took years, or less than nothing. What is learnt of it is no more
    than we waited: the pictures after it are asked about as soon as others are."""

    class Odd(FakeProvider):
        """Tells impossible times of its first task."""

        async def poll(self, ticket: Ticket) -> Outcome:
            outcome = await super().poll(ticket)
            if ticket.id == "task-00001" and isinstance(outcome, Made):
                own = outcome.times
                times = Times(
                    own.queued,
                    own.started if started is None else started,
                    own.ended if ended is None else ended,
                )
                return replace(outcome, times=times)
            return outcome

    async def main(one: Engine, services: list[FakeProvider]) -> float:
        await one.generate(["a"])
        began = one.clock.now()
        results = await one.generate([f"p{k}" for k in range(5)])
        assert [r.status for r in results] == ["ok"] * 5
        return one.clock.now() - began

    assert with_services(tmp_path, main, kind=Odd) < 40.0


def test_a_list_that_can_never_be_read_holds_up_no_run(tmp_path: Path) -> None:
    """A lost answer, and a service whose list is broken for good: after an hour the row stays in
    doubt, for the next start, which finds the task once the list can be read again."""

    class Blind(FakeProvider):
        """Its list is broken until somebody mends it."""

        broken = True

        async def look(self, since: float, until: float) -> Sequence[Seen]:
            if self.broken:
                raise Unavailable("坏了", "broken down")
            return await super().look(since, until)

    def lose(services: list[FakeProvider]) -> None:
        services[0].script = lambda _asked, number: "no-answer" if number == 1 else "made"
        kept.extend(services)

    async def main(one: Engine, services: list[FakeProvider]) -> list[Result]:
        began = one.clock.now()
        first = await one.generate(["a"])
        assert one.clock.now() - began < 2 * 3600
        Blind.broken = False
        return [*first, *await one.generate(["a"])]

    kept: list[FakeProvider] = []
    clock_s = 20_000.0
    results = with_services(tmp_path, main, kind=Blind, before=lose, within_s=clock_s)
    assert [r.status for r in results] == ["in-doubt", "ok"]
    assert kept[0].submits == 1
