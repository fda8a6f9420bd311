"""The audit: what was paid for and left behind is collected, nothing is bought, strangers are told of."""

from __future__ import annotations

from pathlib import Path

from redloom.audit import Audit, Finding
from redloom.endpoint import Asked, Seen
from redloom.engine import Engine
from redloom.errors import ServiceError
from redloom.testing import FakeProvider, Fate, JumpingClock, fake_endpoint, run


def engine_of(folder: Path, provider: FakeProvider, clock: JumpingClock) -> Engine:
    return Engine(workspace=folder / "ws", equipped=[(fake_endpoint(), provider)], clock=clock)


async def leave_behind(
    folder: Path, provider: FakeProvider, clock: JumpingClock, prompts: list[str]
) -> str:
    """Ask for pictures and leave while the service works on them; the run's id."""
    async with engine_of(folder, provider, clock) as engine:
        name = await engine.add(prompts, out=folder / "out")
        while provider.submits < len(prompts):
            await clock.sleep(0.1)
        await clock.sleep(1.0)
    return name


async def audited(
    folder: Path, provider: FakeProvider, clock: JumpingClock, collect: Path | None = None
) -> list[Finding]:
    found: list[Finding] = []
    async with engine_of(folder, provider, clock) as engine:
        assert await engine.wait_to_lead()
        await Audit(engine, found.append, collect).run()
    return found


def test_what_nobody_collected_is_collected(tmp_path: Path) -> None:
    """Accepted tasks of an abandoned run are fetched into its folder, and nothing is bought."""

    async def main() -> None:
        clock = JumpingClock()
        provider = FakeProvider(clock.now, seconds=lambda _: 30.0)
        name = await leave_behind(tmp_path, provider, clock, ["a", "b", "c"])
        await clock.sleep(600)
        found = await audited(tmp_path, provider, clock)
        assert [one.what for one in found] == ["collected"] * 3
        assert len(list((tmp_path / "out").glob("*.png"))) == 3
        assert provider.submits == provider.billed() == 3
        assert await audited(tmp_path, provider, clock) == []
        async with engine_of(tmp_path, provider, clock) as engine:
            await engine.resume(name)
            results = [r async for r in engine.follow(name)]
        assert {r.status for r in results} <= {"ok"}
        assert provider.submits == 3

    run(main())


def test_a_hiccup_gives_up_nothing_that_is_paid_for(tmp_path: Path) -> None:
    """A service that knows a task of an hour ago for a moment not: it stays open, and is collected
    by the next audit. After a day it is lost, and said to be."""

    async def main() -> None:
        clock = JumpingClock()
        provider = FakeProvider(clock.now, seconds=lambda _: 30.0)
        await leave_behind(tmp_path, provider, clock, ["a"])
        await clock.sleep(3600)
        tasks = provider.tasks
        provider.tasks = {}
        assert [one.what for one in await audited(tmp_path, provider, clock)] == ["unreadable"]
        provider.tasks = tasks
        assert [one.what for one in await audited(tmp_path, provider, clock)] == ["collected"]
        assert provider.submits == 1

    async def late() -> None:
        clock = JumpingClock()
        provider = FakeProvider(clock.now, seconds=lambda _: 30.0)
        await leave_behind(tmp_path / "late", provider, clock, ["a"])
        await clock.sleep(2 * 86400)
        provider.tasks = {}
        assert [one.what for one in await audited(tmp_path / "late", provider, clock)] == ["lost"]

    run(main())
    run(late())


def test_what_the_service_still_works_on_is_left(tmp_path: Path) -> None:
    """A task that has not ended stays accepted, for the next start."""

    async def main() -> None:
        clock = JumpingClock()
        provider = FakeProvider(clock.now, seconds=lambda _: 3600.0)
        await leave_behind(tmp_path, provider, clock, ["a"])
        assert [one.what for one in await audited(tmp_path, provider, clock)] == ["waiting"]
        await clock.sleep(4000)
        assert [one.what for one in await audited(tmp_path, provider, clock)] == ["collected"]

    run(main())


def test_a_lost_answer_is_found_or_proved_nothing(tmp_path: Path) -> None:
    """One accepted without an answer is adopted and fetched; one that never arrived is void."""

    async def main() -> None:
        clock = JumpingClock()

        def script(asked: Asked, _number: int) -> Fate | ServiceError:
            return "no-answer" if asked.prompt == "lost" else "made"

        provider = FakeProvider(clock.now, seconds=lambda _: 5.0, script=script)
        await leave_behind(tmp_path, provider, clock, ["first", "lost"])
        await clock.sleep(3600)
        found = await audited(tmp_path, provider, clock)
        assert sorted(one.what for one in found) == ["adopted", "collected", "collected"]
        assert provider.billed() == 2

    run(main())


def test_strangers_are_told_of_and_taken_only_when_asked(tmp_path: Path) -> None:
    """Tasks that the ledger does not know are named with their state; --collect fetches them."""

    async def main() -> None:
        clock = JumpingClock()
        provider = FakeProvider(clock.now, seconds=lambda _: 5.0)
        await provider.submit(Asked("theirs", "fake-1"), "async")
        await clock.sleep(100)
        provider.strangers.append(Seen("gone", "fake-1", "failed", clock.now() - 50))
        found = await audited(tmp_path, provider, clock)
        assert {(one.what, one.task_id, one.state) for one in found} == {
            ("stranger", "task-00001", "made"),
            ("stranger", "gone", "failed"),
        }
        taken = await audited(tmp_path, provider, clock, tmp_path / "found")
        assert [one.file for one in taken if one.file] == ["task-00001.png"]
        assert (tmp_path / "found" / "task-00001.png").is_file()
        assert provider.billed() == 1

    run(main())


def test_a_run_that_is_carried_is_left_alone(tmp_path: Path) -> None:
    """The engine settles what it carries itself."""

    async def main() -> None:
        clock = JumpingClock()
        provider = FakeProvider(clock.now, seconds=lambda _: 100.0)
        found: list[Finding] = []
        async with engine_of(tmp_path, provider, clock) as engine:
            name = await engine.add(["a"], out=tmp_path / "out")
            while provider.submits < 1:
                await clock.sleep(0.1)
            await clock.sleep(1.0)
            await Audit(engine, found.append).run()
            results = [r async for r in engine.follow(name)]
        assert [one.what for one in found] == ["busy"]
        assert [r.status for r in results] == ["ok"]

    run(main())
