"""A picture that is called made and not handed over: asked for again, in doubt, never bought twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers.desk import engine
from redloom.audit import Audit, Finding
from redloom.clock import SystemClock
from redloom.emulators.dashscope import DashScopeEmulator, Emulated, parse_faults
from redloom.emulators.ledger import prompt_sha
from redloom.emulators.pictures import prompt_of_picture
from redloom.emulators.service_time import ServiceTime
from redloom.endpoint import Asked, Endpoint, Failed, Lane, Made, Ticket, Tools
from redloom.engine import Engine, Result, RunOptions
from redloom.errors import Withheld
from redloom.poll import WITHHELD_S
from redloom.providers import dashscope
from redloom.testing import START, FakeProvider, JumpingClock, fake_endpoint, run


def withholding(provider: FakeProvider, times: int, billed: bool | None = None) -> None:
    """The first ``times`` polls of a finished task call it made and have no picture."""
    poll = provider.poll
    left: dict[str, int] = {}

    async def bare(ticket: Ticket) -> Any:
        outcome = await poll(ticket)
        number = left.setdefault(ticket.id, times)
        if isinstance(outcome, Made) and number > 0:
            left[ticket.id] -= 1
            return Failed(Withheld("没有图", "no picture"), outcome.times, billed=billed)
        return outcome

    provider.poll = bare  # type: ignore[method-assign]


def told(
    folder: Path,
    times: int,
    main: Callable[[Engine], Awaitable[Any]],
    billed: bool | None = None,
) -> tuple[Any, FakeProvider]:
    """Run ``main`` with an engine on a service that withholds; what it returned, the service."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now)
    withholding(provider, times, billed)

    async def whole() -> Any:
        async with engine(folder / "ws", (fake_endpoint(), provider), clock=clock) as one:
            return await asyncio.wait_for(main(one), 100_000)

    return run(whole()), provider


def asking(policy: str, retries: int | None = None) -> Callable[[Engine], Awaitable[list[Result]]]:
    """One picture, with this policy for doubts."""

    async def main(one: Engine) -> list[Result]:
        return await one.generate(["a"], options=RunOptions(in_doubt=policy, retries=retries))

    return main


@pytest.mark.parametrize("times", range(len(WITHHELD_S) + 1))
def test_a_picture_that_comes_late_is_taken(tmp_path: Path, times: int) -> None:
    """The service is asked a few times more, and the one purchase is the picture."""
    results, provider = told(tmp_path, times, asking("wait"))
    assert [r.status for r in results] == ["ok"]
    assert provider.submits == 1


@pytest.mark.parametrize("billed", [None, True])
@pytest.mark.parametrize("policy", ["wait", "fail"])
def test_one_that_never_comes_is_bought_once(
    tmp_path: Path, policy: str, billed: bool | None
) -> None:
    """In doubt, or failed where the user says so; either way one task, at most one payment."""
    results, provider = told(tmp_path, 1000, asking(policy), billed)
    assert [(r.status, r.code) for r in results] == [
        ("in-doubt" if policy == "wait" else "failed", "withheld")
    ]
    assert provider.submits == 1


@pytest.mark.parametrize(("billed", "submits"), [(None, 3), (True, 1)])
def test_who_says_resubmit_has_it_bought_again_a_few_times(
    tmp_path: Path, billed: bool | None, submits: int
) -> None:
    """Only what may not be billed, and as often as a failed task is tried: never without an end."""
    results, provider = told(tmp_path, 1000, asking("resubmit", 2), billed)
    assert [r.status for r in results] == ["in-doubt"]
    assert provider.submits == submits


def test_the_next_start_asks_the_same_task_again(tmp_path: Path) -> None:
    """Withheld in one run, there in the next: the same purchase, and it is paid for once."""

    async def main(one: Engine) -> list[Result]:
        first = await one.generate(["a"])
        return [*first, *await one.generate(["a"])]

    results, provider = told(tmp_path, len(WITHHELD_S) + 1, main)
    assert [r.status for r in results] == ["in-doubt", "ok"]
    assert provider.submits == 1


def test_a_run_that_gives_up_ends_its_own_row_only(tmp_path: Path) -> None:
    """The task is another run's, which waits: it asks the same purchase again and has the picture."""

    async def main(one: Engine) -> list[Result]:
        first = await one.add(["a"], digest="one")
        said = [result async for result in one.follow(first)]
        said += await one.generate(["a"], options=RunOptions(in_doubt="fail"))
        await one.resume(first)
        return said + [result async for result in one.follow(first)]

    results, provider = told(tmp_path, 2 * (len(WITHHELD_S) + 1), main)
    assert [r.status for r in results] == ["in-doubt", "failed", "ok"]
    assert provider.submits == 1


def test_the_budget_counts_it(tmp_path: Path) -> None:
    """What may be billed stays set aside: there is no money for a second picture."""

    async def main(one: Engine) -> list[Result]:
        return await one.generate(["a", "b"], budget=0.3, currency="CNY")

    results, provider = told(tmp_path, 1000, main)
    assert sorted(r.status for r in results) == ["in-doubt", "unpaid"]
    assert provider.submits == 1


def test_an_audit_leaves_it_open(tmp_path: Path) -> None:
    """Not closed as failed: its ticket is still good for the picture, once the service has it."""
    found: list[Finding] = []

    async def main(one: Engine) -> list[Result]:
        results = await one.generate(["a"])
        await Audit(one, found.append).run()
        return [*results, *await one.generate(["a"])]

    results, provider = told(tmp_path, len(WITHHELD_S) + 2, main)
    assert [one.what for one in found] == ["doubt"]
    assert [r.status for r in results] == ["in-doubt", "ok"]
    assert provider.submits == 1


def test_a_submit_that_withholds_is_a_doubt(tmp_path: Path) -> None:
    """A synchronous service says so in its very answer: perhaps billed, so never sent again."""
    clock = JumpingClock()

    class AtOnce(FakeProvider):
        """Calls it made, and has nothing to show."""

        async def submit(self, asked: Asked, lane: Lane) -> Ticket | Made:
            self.submits += 1
            raise Withheld("没有图", "no picture")

    provider = AtOnce(clock.now)
    provider.caps = replace(provider.caps, lanes=("sync",), lists_tasks=False)

    async def main() -> list[Result]:
        async with engine(tmp_path / "ws", (fake_endpoint(), provider), clock=clock) as one:
            return await one.generate(["a"])

    results = run(main())
    assert [r.status for r in results] == ["in-doubt"]
    assert provider.submits == 1


@pytest.mark.parametrize("model", ["wan2.2-t2i-flash", "wan2.6-t2i"])
def test_a_real_protocol_whose_links_come_late(tmp_path: Path, model: str) -> None:
    """DashScope's own shapes: every task is called made and billed twenty seconds before it has its
    link. Every prompt has its own picture, and each is paid for once."""
    clock = SystemClock(100.0, START)
    settings = Emulated(
        picture_size="small", submit_per_second=0, concurrency=0, faults=parse_faults("task_late=1"),
        latency=ServiceTime(8.0, 0.3, 4.0, 16.0),
    )  # fmt: skip

    async def main() -> tuple[list[Result], int]:
        emulator = DashScopeEmulator(settings, clock)
        endpoint = Endpoint("ds", "dashscope", model, await emulator.start())
        provider = dashscope.create(endpoint, Tools(key="sk-emulated", clock=clock))
        try:
            async with Engine(
                workspace=tmp_path / "ws", equipped=[(endpoint, provider)], clock=clock
            ) as one:
                results = await one.generate([f"p{n}" for n in range(4)])
        finally:
            await emulator.stop()
        return results, emulator.ledger.billed()

    results, billed = asyncio.run(main())
    assert [r.status for r in results] == ["ok"] * 4
    assert billed == 4
    for result in results:
        assert result.path is not None
        assert prompt_of_picture(result.path.read_bytes()) == prompt_sha(result.prompt)
