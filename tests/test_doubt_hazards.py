"""Lost answers that meet something else: another lane, a clock that is set, a cancelled run."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.desk import engine
from redloom.endpoint import Asked, Endpoint, Lane, Made, Provider, Seen, Ticket
from redloom.engine import Engine, Result
from redloom.errors import AccountEmpty, AnswerLost, Throttled, Unavailable
from redloom.testing import FakeProvider, JumpingClock, fake_endpoint, run


def words(number: int) -> list[str]:
    """So many different prompts."""
    return [f"p{k}" for k in range(number)]


class TwoLanes(FakeProvider):
    """A service whose list has only what was asked for asynchronously, as DashScope's."""

    async def submit(self, asked: Asked, lane: Lane) -> Ticket | Made:
        if lane == "async":
            return await super().submit(asked, lane)
        self.submits += 1
        self._accept(asked, "made")
        raise AnswerLost("没有回答", "no answer")

    async def look(self, since: float, until: float) -> list[Seen]:
        return []


def test_what_was_asked_for_on_the_other_lane_is_not_proved_absent(tmp_path: Path) -> None:
    """Lost on the synchronous lane, resumed on the asynchronous one: its list says nothing."""
    clock = JumpingClock()
    provider = TwoLanes(clock.now)
    provider.caps = replace(provider.caps, lanes=("async", "sync"))

    async def once(lane: Lane) -> list[Result]:
        equipped: list[tuple[Endpoint, Provider]] = [(fake_endpoint(), provider)]
        async with Engine(
            workspace=tmp_path / "ws", equipped=equipped, clock=clock, lane=lane
        ) as one:
            return await one.generate(["a red scarf"], out=tmp_path / "out")

    async def main() -> list[Result]:
        await once("sync")
        return await once("async")

    assert [result.status for result in run(main())] == ["in-doubt"]
    assert provider.submits == 1


@pytest.mark.parametrize("jump_s", [-7200.0, -300.0, -20.0, 20.0, 300.0, 1700.0, 7200.0])
@pytest.mark.parametrize("lost", [1, 12])
def test_a_clock_set_beside_the_only_bearings(tmp_path: Path, lost: int, jump_s: float) -> None:
    """The first or the last answer of a run is lost and the clock is set beside it, so that the
    tasks that tell how the service's clock stands all lie on the other side: it proves nothing.
    """
    clock, true = JumpingClock(), JumpingClock()
    provider = FakeProvider(true.now, rate=0.5)
    provider.script = lambda _a, n: "no-answer" if n == lost else "made"

    async def once(*, jumps: bool) -> list[Result]:
        async with engine(tmp_path / "ws", (fake_endpoint(), provider), clock=clock) as one:
            work = asyncio.ensure_future(one.generate(words(12), out=tmp_path / "out"))
            while jumps and provider.submits < min(lost, 11):
                await true.sleep(0.01)
            await true.sleep(0.5 if lost == 1 else 0.0)
            clock.skew = jump_s if jumps else 0.0
            return await work

    async def main() -> list[Result]:
        true.now()
        await once(jumps=True)
        return await once(jumps=False)

    results = run(main())
    assert provider.bought_twice() == []
    assert [r.status for r in results].count("ok") >= 11
    assert {r.status for r in results} <= {"ok", "in-doubt"}


def test_a_clock_set_back_delays_no_request(tmp_path: Path) -> None:
    """Two hours back in mid-run: paces, polls and retries wait no longer than they had to."""
    clock, true = JumpingClock(), JumpingClock()
    provider = FakeProvider(true.now, rate=0.5)
    away = Unavailable("不在", "away")
    provider.script = lambda _a, n: away if n in (4, 5) else "made"

    async def main() -> float:
        began = true.now()
        async with engine(tmp_path / "ws", (fake_endpoint(), provider), clock=clock) as one:
            work = asyncio.ensure_future(one.generate(words(12), out=tmp_path / "out"))
            while provider.submits < 5:
                await true.sleep(0.05)
            clock.skew = -7200.0
            assert [r.status for r in await work] == ["ok"] * 12
        return true.now() - began

    assert run(main()) < 120.0


@pytest.mark.parametrize("how", ["throttled", "away", "lost"])
def test_cancelled_while_requests_leave(tmp_path: Path, how: str) -> None:
    """A no, or no answer, that comes after the run was cancelled: every row has its outcome."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now)

    async def submit(asked: Asked, lane: Lane) -> Ticket | Made:
        await asyncio.sleep(3.0)
        if how == "throttled":
            raise Throttled("慢点", "slow down", kind="rate")
        raise Unavailable("不在", "away") if how == "away" else AnswerLost("没有回答", "no answer")

    provider.submit = submit  # type: ignore[method-assign]

    async def main() -> tuple[list[Result], dict[str, int]]:
        async with engine(tmp_path / "ws", (fake_endpoint(), provider), clock=clock) as one:
            added = await one.add(words(3), out=tmp_path / "out")
            await asyncio.sleep(1.3)
            assert await one.cancel(added)
            return [r async for r in one.follow(added)], await one.records.counts(added)

    results, counts = run(main())
    assert counts == {"cancelled": 3}
    assert len(results) == 3


def test_cancelled_with_a_doubt_open(tmp_path: Path) -> None:
    """What may have been bought ends in doubt, with a sentence; resuming looks again and finds it."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now)
    provider.script = lambda _a, n: "no-answer" if n == 1 else "made"

    async def main() -> tuple[list[Result], list[Result]]:
        async with engine(tmp_path / "ws", (fake_endpoint(), provider), clock=clock) as one:
            added = await one.add(words(1), out=tmp_path / "out")
            await asyncio.sleep(2.0)
            assert await one.cancel(added)
            first = [r async for r in one.follow(added)]
            await one.resume(added)
            return first, [r async for r in one.follow(added, after=1)]

    first, second = run(main())
    assert [(r.status, bool(r.error)) for r in first] == [("in-doubt", True)]
    assert [r.status for r in second] == ["ok"]
    assert provider.bought_twice() == []


def test_a_clock_set_ahead_makes_no_list_whole(tmp_path: Path) -> None:
    """The list lags by twenty seconds, and between two programs the clock was set ahead by more: a
    lost answer is looked for when the list can have it, not when the clock says so.
    """
    clock, true = JumpingClock(), JumpingClock()
    provider = FakeProvider(true.now)
    provider.caps = replace(provider.caps, list_lag_s=20.0)
    provider.script = lambda _a, n: "no-answer" if n == 1 else "made"

    async def main() -> list[Result]:
        true.now()
        async with engine(tmp_path / "ws", (fake_endpoint(), provider), clock=clock) as one:
            await one.add(words(1), out=tmp_path / "out")
            await true.sleep(1.0)
        clock.skew = 300.0
        async with engine(tmp_path / "ws", (fake_endpoint(), provider), clock=clock) as one:
            return await one.generate(words(1), out=tmp_path / "out")

    results = run(main())
    assert provider.bought_twice() == []
    assert [r.status for r in results] == ["ok"]


def test_a_stopped_endpoint_is_tried_again_when_a_person_resumes(tmp_path: Path) -> None:
    """In a process that lives on, as `redloom serve`: the bill is paid, the run resumed, all made."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now)
    provider.script = lambda _a, n: AccountEmpty("欠费", "in arrears") if n <= 2 else "made"

    async def main() -> tuple[dict[str, int], dict[str, int]]:
        async with engine(tmp_path / "ws", (fake_endpoint(), provider), clock=clock) as one:
            added = await one.add(words(1), out=tmp_path / "out")
            for _ in range(2):
                _ = [r async for r in one.follow(added)]
                before = await one.records.counts(added)
                await one.resume(added)
            _ = [r async for r in one.follow(added)]
            return before, await one.records.counts(added)

    before, after = run(main())
    assert before == {"pending": 1}
    assert after == {"ok": 1}
