"""What could lose money or hang for ever: rare meetings of events, each brought about on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from helpers.desk import engine
from redloom.endpoint import Asked, Fitted, Lane, Made, Outcome, Price, Seen, Ticket
from redloom.engine import Engine, Result
from redloom.errors import (
    AccountEmpty,
    KeyRefused,
    Refused,
    ServiceError,
    Throttled,
    Unavailable,
)
from redloom.events import Event
from redloom.route import OPEN_AFTER
from redloom.testing import FakeProvider, Fate, JumpingClock, fake_endpoint, run

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
        async with one as made, asyncio.timeout(LONG_S):
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
        def price(_asked: Asked) -> Price:
            raise KeyError("size")

        services[0].price = price  # type: ignore[method-assign, assignment]
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

        async def look(_since: float, _until: float) -> Sequence[Seen]:
            raise AccountEmpty("欠费", "in arrears")

        provider.look = look  # type: ignore[method-assign, assignment]
        return await one.generate(words(3))

    def before(services: list[FakeProvider]) -> None:
        caps(services[0], list_lag_s=12.0)

    results = with_services(tmp_path, work, before=before, rate=0.2)
    assert set(statuses(results)) <= {"in-doubt"}


def test_a_list_that_is_refused_ends_in_doubt(tmp_path: Path) -> None:
    """A service that will not list is asked a few times, not for ever."""

    async def work(one: Engine, services: list[FakeProvider]) -> list[Result]:
        services[0].script = lambda _a, _n: "no-answer"

        async def look(_since: float, _until: float) -> Sequence[Seen]:
            raise Refused("不行", "no")

        services[0].look = look  # type: ignore[method-assign, assignment]
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
