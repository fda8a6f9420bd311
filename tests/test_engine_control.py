"""Pause, cancel, budget, stopped endpoints, fallback, two engines on one workspace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from redloom.endpoint import Asked, Capabilities
from redloom.engine import Engine, Result, RunOptions
from redloom.errors import AccountEmpty, ServiceError
from redloom.testing import FakeProvider, Fate, JumpingClock, fake_endpoint, run

T = TypeVar("T")


def engine_on(tmp_path: Path, provider: FakeProvider, clock: JumpingClock) -> Engine:
    """An engine of one process on the test's workspace."""
    return Engine(workspace=tmp_path / "ws", equipped=[(fake_endpoint(), provider)], clock=clock)


def with_engine(
    tmp_path: Path,
    work: Callable[[Engine, FakeProvider], Awaitable[T]],
    rate: float | None = None,
) -> T:
    """Run ``work`` with a fresh engine and service."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now, rate=rate)

    async def main() -> T:
        async with engine_on(tmp_path, provider, clock) as engine:
            return await work(engine, provider)

    return run(main())


def statuses(results: list[Result]) -> list[str]:
    """The statuses in input order."""
    return [r.status for r in sorted(results, key=lambda r: (r.row, r.take))]


def test_a_budget_is_never_passed_and_resumes(tmp_path: Path) -> None:
    """Seven pictures' money for ten prompts: seven made, three unpaid; more money, the rest."""
    prompts = [f"p{k}" for k in range(10)]

    async def work(engine: Engine, provider: FakeProvider) -> None:
        first = await engine.generate(prompts, out=tmp_path / "o", budget=1.4, currency="CNY")
        assert statuses(first).count("ok") == 7
        assert statuses(first).count("unpaid") == 3
        assert provider.billed() == 7
        second = await engine.generate(prompts, out=tmp_path / "o", budget=2.0, currency="CNY")
        assert {r.status for r in second if r.row in {f.row for f in first}} == {"ok"}
        assert provider.billed() == 10

    with_engine(tmp_path, work)


def test_pause_finishes_what_is_paid_for(tmp_path: Path) -> None:
    """After a pause nothing new is bought, what runs is delivered, and resume does the rest."""

    async def work(engine: Engine, provider: FakeProvider) -> None:
        added = await engine.add([f"p{k}" for k in range(40)], out=tmp_path / "o")
        results: list[Result] = []
        async for result in engine.follow(added):
            results.append(result)
            if len(results) == 3:
                await engine.pause(added)
        bought = provider.submits
        assert len(results) == bought < 40
        await engine.resume(added)
        rest = [r async for r in engine.follow(added)]
        assert {(r.row, r.status) for r in rest} == {(k, "ok") for k in range(1, 41)}
        assert provider.submits == 40

    with_engine(tmp_path, work)


def test_cancel_gives_up_what_is_not_paid(tmp_path: Path) -> None:
    """Cancelled rows cost nothing; what the service had begun is still delivered."""

    async def work(engine: Engine, provider: FakeProvider) -> None:
        added = await engine.add([f"p{k}" for k in range(20)])
        results = []
        async for result in engine.follow(added):
            results.append(result)
            if len(results) == 1:
                await engine.cancel(added)
        found = statuses(results)
        assert len(found) == 20
        assert found.count("ok") == provider.billed()
        assert found.count("cancelled") == 20 - provider.billed()

    with_engine(tmp_path, work)


def test_an_empty_account_stops_the_endpoint_and_says_so(tmp_path: Path) -> None:
    """Arrears: one sentence, no further submit, the run waits and is resumed later."""

    def script(_asked: Asked, number: int) -> Fate | ServiceError:
        return AccountEmpty("欠费了", "in arrears") if number == 4 else "made"

    async def work(engine: Engine, provider: FakeProvider) -> None:
        provider.script = script
        results = await engine.generate([f"p{k}" for k in range(9)], out=tmp_path / "o")
        assert statuses(results).count("ok") < 9
        record = (await engine.records.runs())[0]
        assert "in arrears" in record.note
        assert provider.submits == 4

    with_engine(tmp_path, work, rate=1.0)


def test_after_the_bill_is_paid_a_resume_asks_again(tmp_path: Path) -> None:
    """The same process, which may serve for months: paid up, resumed, everything is made; while
    it is still unpaid a resume costs one request and no money."""
    unpaid = [True]

    def script(_asked: Asked, _number: int) -> Fate | ServiceError:
        return AccountEmpty("欠费了", "in arrears") if unpaid[0] else "made"

    async def work(engine: Engine, provider: FakeProvider) -> None:
        provider.script = script
        await engine.generate([f"p{k}" for k in range(5)], out=tmp_path / "o")
        (record,) = await engine.records.runs()
        asked = provider.submits
        await engine.resume(record.id)
        assert [r async for r in engine.follow(record.id)] == []
        assert provider.submits > asked
        assert provider.billed() == 0
        unpaid[0] = False
        await engine.resume(record.id)
        rest = [r async for r in engine.follow(record.id)]
        assert statuses(rest) == ["ok"] * 5

    with_engine(tmp_path, work, rate=1.0)


def test_another_process_asks_a_stopped_endpoint_again(tmp_path: Path) -> None:
    """``redloom resume`` while a server carries the runs: the server asks again."""
    clock = JumpingClock()
    unpaid = [True]
    provider = FakeProvider(clock.now)
    provider.script = lambda _asked, _n: AccountEmpty("欠费", "arrears") if unpaid[0] else "made"

    async def main() -> None:
        async with engine_on(tmp_path, provider, clock) as server:
            assert await server.wait_to_lead()
            added = await server.add(["a", "b"], out=tmp_path / "o")
            assert [r async for r in server.follow(added)] == []
            unpaid[0] = False
            async with engine_on(tmp_path, provider, clock) as command:
                await command.resume(added)
                assert not command.leads
                assert statuses([r async for r in command.follow(added)]) == ["ok", "ok"]

    run(main())


def test_a_budget_given_later_binds_and_has_its_currency(tmp_path: Path) -> None:
    """Begun without a budget, gone on with one: what was spent counts, and the currency is known."""
    prompts = [f"p{k}" for k in range(40)]

    async def work(engine: Engine, provider: FakeProvider) -> None:
        added = await engine.add(prompts, out=tmp_path / "o")
        async for _ in engine.follow(added):
            await engine.pause(added)
        before = provider.billed()
        assert 0 < before < 30
        limit = round(0.2 * (before + 3), 2)
        await engine.generate(prompts, out=tmp_path / "o", budget=limit, currency="CNY")
        assert provider.billed() == before + 3
        (record,) = await engine.records.runs()
        assert (record.budget, record.currency) == (limit, "CNY")

    with_engine(tmp_path, work)


def test_a_refused_row_falls_back(tmp_path: Path) -> None:
    """With a fallback the refused picture comes from there, marked by its endpoint."""
    clock = JumpingClock()
    main_one, spare = FakeProvider(clock.now), FakeProvider(clock.now)
    main_one.script = lambda asked, _n: "refused" if asked.prompt == "bad" else "made"

    async def main() -> list[Result]:
        engine = Engine(
            workspace=tmp_path / "ws", clock=clock,
            equipped=[(fake_endpoint(), main_one), (fake_endpoint("spare"), spare)],
        )  # fmt: skip
        async with engine:
            return await engine.generate(["a", "bad"], options=RunOptions(fallback=("spare",)))

    results = run(main())
    assert [r.status for r in results] == ["ok", "ok"]
    assert [r.endpoint for r in results] == ["fake", "spare"]
    assert spare.submits == 1


def test_two_engines_share_one_workspace(tmp_path: Path) -> None:
    """Two processes' engines, one lock: quotas hold, nothing is bought twice, both see results."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now)

    async def main() -> tuple[list[Result], list[Result]]:
        async with (
            engine_on(tmp_path, provider, clock) as one,
            engine_on(tmp_path, provider, clock) as other,
        ):
            same = [f"p{k}" for k in range(12)]
            first, second = await asyncio.gather(one.generate(same), other.generate(same))
            return first, second

    first, second = run(main())
    assert statuses(first) == statuses(second) == ["ok"] * 12
    assert provider.submits == 12
    assert provider.most_at_once <= 5


def test_the_other_takes_over(tmp_path: Path) -> None:
    """The engine that leads leaves in mid-run; the follower carries its own run on."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now)

    async def main() -> list[Result]:
        leader = engine_on(tmp_path, provider, clock)
        await leader.__aenter__()
        await leader.generate(["first"])
        async with engine_on(tmp_path, provider, clock) as follower:
            added = await follower.add([f"p{k}" for k in range(12)])
            results = []
            async for result in follower.follow(added):
                results.append(result)
                if len(results) == 2:
                    await leader.__aexit__(None, None, None)
            return results

    assert statuses(run(main())) == ["ok"] * 12
    assert provider.bought_twice() == []
    assert provider.submits == 13


def test_rows_that_cannot_be_asked_are_invalid(tmp_path: Path) -> None:
    """Empty, over-long, unreadable size: invalid with a reason; the rest runs."""

    async def work(engine: Engine, provider: FakeProvider) -> None:
        results = await engine.generate(["ok", " ", "x" * 3000, {"prompt": "y", "size": "huge"}])
        assert statuses(results) == ["ok", "invalid", "invalid", "invalid"]
        assert all(r.error for r in results if r.status == "invalid")
        assert provider.submits == 1

    with_engine(tmp_path, work)


def test_takes_are_different_pictures(tmp_path: Path) -> None:
    """n = 3 asks three times, with seeds that differ when one was given."""

    async def work(engine: Engine, provider: FakeProvider) -> None:
        results = await engine.generate([{"prompt": "a", "n": 3, "seed": 7}])
        assert [(r.row, r.take) for r in results] == [(1, 1), (1, 2), (1, 3)]
        assert sorted(t.asked.seed or 0 for t in provider.tasks.values()) == [7, 8, 9]

    with_engine(tmp_path, work)


def test_retry_takes_up_only_what_failed(tmp_path: Path) -> None:
    """After a bad day one command redoes the failed rows and nothing else."""

    async def work(engine: Engine, provider: FakeProvider) -> None:
        provider.script = lambda asked, _n: "failed" if asked.prompt == "p1" else "made"
        added = await engine.add(["p0", "p1", "p2"], out=tmp_path / "o")
        first = [r async for r in engine.follow(added)]
        assert statuses(first) == ["ok", "failed", "ok"]
        provider.script = lambda _a, _n: "made"
        before = provider.submits
        assert await engine.retry(added) == 1
        again = [r async for r in engine.follow(added)]
        assert {r.status for r in again} == {"ok"}
        assert provider.submits == before + 1

    with_engine(tmp_path, work)


def test_a_watcher_sees_every_cancelled_row(tmp_path: Path) -> None:
    """More rows than one page of outcomes, cancelled at one stroke: none is left out."""

    async def work(engine: Engine, provider: FakeProvider) -> None:
        added = await engine.add([f"p{k}" for k in range(1300)])
        await engine.cancel(added)
        rows = {result.row async for result in engine.follow(added)}
        assert rows == set(range(1, 1301))

    with_engine(tmp_path, work)


def test_a_doubt_of_yesterday_is_not_bought_again(tmp_path: Path) -> None:
    """The answer was lost, the machine stayed off for two days, the service forgot the task:
    the same command does not take its absence for proof."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now)
    provider.script = lambda _a, _n: "no-answer"

    async def main() -> list[Result]:
        async with engine_on(tmp_path, provider, clock) as engine:
            added = await engine.add(["a"], out=tmp_path / "o")
            while provider.submits == 0:
                await clock.sleep(0.1)
            await engine.pause(added)
            _ = [r async for r in engine.follow(added)]
        await clock.sleep(2 * 86400)
        async with engine_on(tmp_path, provider, clock) as engine:
            return await engine.generate(["a"], out=tmp_path / "o")

    assert statuses(run(main())) == ["in-doubt"]
    assert provider.submits == 1


def test_a_run_is_made_only_where_it_may_be(tmp_path: Path) -> None:
    """An engine with two endpoints: a run that names one is made there, also when resumed."""
    clock = JumpingClock()
    near, far = FakeProvider(clock.now), FakeProvider(clock.now)
    near.seconds = lambda _prompt: 1.0

    async def main() -> str:
        equipped = [(fake_endpoint("near"), near), (fake_endpoint("far"), far)]
        async with Engine(workspace=tmp_path / "ws", equipped=equipped, clock=clock) as engine:
            run_id = await engine.add(["a", "b", "c"], endpoints=["far"])
            await engine.pause(run_id)
            await engine.resume(run_id)
            return " ".join([result.endpoint async for result in engine.follow(run_id)])

    assert run(main()) == "far far far"
    assert (near.submits, far.submits) == (0, 3)


def test_what_waits_at_a_slow_service_goes_to_an_idle_one(tmp_path: Path) -> None:
    """In the drain a task that only waits is cancelled there, free of charge, and made elsewhere."""
    clock = JumpingClock()
    caps = Capabilities(
        lanes=("async",), queues_excess=True, lists_tasks=True, list_lag_s=2.0, typical_s=60.0,
        cancels=True,
    )  # fmt: skip
    slow = FakeProvider(clock.now, seconds=lambda _: 300.0, slots=1, caps=caps)
    quick = FakeProvider(clock.now, seconds=lambda _: 20.0, slots=1, caps=caps)

    async def main() -> list[str]:
        equipped = [(fake_endpoint("slow"), slow), (fake_endpoint("quick"), quick)]
        async with Engine(workspace=tmp_path, equipped=equipped, clock=clock) as engine:
            return [r.status for r in await engine.generate([f"p{k}" for k in range(8)])]

    assert run(main()) == ["ok"] * 8
    assert any(task.canceled for task in slow.tasks.values())
    assert slow.billed() + quick.billed() == 8


def test_a_model_that_is_closed_holds_up_no_other(tmp_path: Path) -> None:
    """Rows of a stopped endpoint wait for a person; rows of another model are made, the run ends."""
    clock = JumpingClock()
    good, closed = FakeProvider(clock.now), FakeProvider(clock.now)
    closed.script = lambda _asked, _number: AccountEmpty("欠费", "arrears")

    async def main() -> list[str]:
        equipped = [(fake_endpoint("a", "fake-1"), good), (fake_endpoint("b", "fake-2"), closed)]
        async with Engine(workspace=tmp_path / "ws", equipped=equipped, clock=clock) as engine:
            prompts = [
                {"prompt": f"p{k}", "model": "fake-2" if k % 2 == 0 else "fake-1"} for k in range(8)
            ]
            run_id = await engine.add(prompts, out=tmp_path / "o")
            seen: list[str] = [one.status async for one in engine.follow(run_id)]
            record = await engine.records.run(run_id)
            assert record is not None
            assert "arrears" in record.note or "欠费" in record.note
            return seen

    assert run(main()) == ["ok"] * 4
    assert good.billed() == 4


def test_a_busy_model_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """Rows of a slow model stand first in the input; those of another model are made meanwhile."""
    clock = JumpingClock()
    caps = Capabilities(lanes=("async",), queues_excess=False, lists_tasks=True, list_lag_s=2.0)
    slow = FakeProvider(clock.now, seconds=lambda _: 1000.0, slots=1, caps=caps)
    quick = FakeProvider(clock.now, seconds=lambda _: 10.0, slots=1, caps=caps)

    async def main() -> list[str]:
        equipped = [(fake_endpoint("a", "fake-1"), slow), (fake_endpoint("b", "fake-2"), quick)]
        async with Engine(workspace=tmp_path, equipped=equipped, clock=clock) as engine:
            prompts = [{"prompt": f"s{k}", "model": "fake-1"} for k in range(3)]
            prompts += [{"prompt": f"q{k}", "model": "fake-2"} for k in range(3)]
            return [r.prompt async for r in engine.stream(prompts)]

    assert run(main())[:3] == ["q0", "q1", "q2"]
