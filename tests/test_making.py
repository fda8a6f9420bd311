"""One picture's way through an engine, where it is not the usual one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers.desk import engine
from redloom.carrier import UNFINISHED
from redloom.endpoint import Asked, Canceled, Lane, Made, Outcome, Picture, Ticket, Unknown
from redloom.engine import Result, RunOptions
from redloom.errors import (
    AccountEmpty,
    AnswerLost,
    ContentRefused,
    KeyRefused,
    ServiceError,
    Throttled,
    Unavailable,
)
from redloom.events import Done, Event, Held, Stopped
from redloom.testing import FakeProvider, Fate, JumpingClock, fake_endpoint, picture_of, run

Change = Callable[[FakeProvider], None]


def made_by(
    tmp_path: Path, prompts: list[Any], change: Change, **options: Any
) -> tuple[list[Result], FakeProvider, list[Event]]:
    """One run on a fresh engine, in at most a nominal day; results, service, events."""
    clock, events = JumpingClock(), list[Event]()
    provider = FakeProvider(clock.now)
    change(provider)

    async def main() -> list[Result]:
        async with engine(
            tmp_path / "ws", (fake_endpoint(), provider), clock=clock, on_event=events.append
        ) as one:
            async with asyncio.timeout(86400):
                return await one.generate(
                    prompts, out=tmp_path / "o", options=RunOptions(**options)
                )

    return run(main()), provider, events


def answers(*first: Fate | ServiceError) -> Change:
    """The fates of the first submits; every later one is made."""

    def change(provider: FakeProvider) -> None:
        provider.script = lambda _a, n: first[n - 1] if n <= len(first) else "made"

    return change


@pytest.mark.parametrize(
    "then",
    [
        Throttled("", "", kind="rate"),
        Throttled("", "", kind="congestion"),
        "no-answer",
        "never-arrived",
    ],
    ids=["429", "congestion", "lost", "unsent"],
)
def test_an_endpoint_left_alone_is_tried_until_it_is_well(
    tmp_path: Path, then: Fate | ServiceError
) -> None:
    """Five failures open its breaker; the one that tries it then is answered neither well nor
    badly (a 429, no answer): another tries, and the run ends."""
    busy = Unavailable("忙", "busy")
    results, provider, _ = made_by(
        tmp_path, [f"p{k}" for k in range(6)], answers(*[busy] * 5, then)
    )
    assert [r.status for r in results] == ["ok"] * 6
    assert provider.bought_twice() == []


def test_a_429_is_told_and_counts_no_try(tmp_path: Path) -> None:
    """Watchers hear until when the endpoint is held; the row's attempts stay one."""
    results, _, events = made_by(tmp_path, ["a"], answers(Throttled("慢", "slow", kind="rate")))
    held = [e for e in events if isinstance(e, Held)]
    assert [h.why for h in held] == ["rate"]
    assert held[0].until > held[0].at
    assert results[0].attempts == 1


def test_a_cancelled_task_is_asked_for_again(tmp_path: Path) -> None:
    """Somebody cancelled it in the service's console: nothing was billed, it is made anew."""

    def change(provider: FakeProvider) -> None:
        poll = provider.poll

        async def cancelled(ticket: Ticket) -> Outcome:
            if ticket.id == "task-00001":
                provider.tasks[ticket.id].canceled = True
                return Canceled()
            return await poll(ticket)

        provider.poll = cancelled  # type: ignore[method-assign]

    results, provider, _ = made_by(tmp_path, ["a", "b"], change)
    assert [r.status for r in results] == ["ok", "ok"]
    assert provider.submits == 3
    assert provider.billed() == 2


def test_a_task_the_service_no_longer_knows_is_not_bought_again(tmp_path: Path) -> None:
    """Unknown for longer than its grace: failed, maybe billed, said so."""

    def change(provider: FakeProvider) -> None:
        async def unknown(_ticket: Ticket) -> Outcome:
            return Unknown()

        provider.poll = unknown  # type: ignore[assignment, method-assign]

    results, provider, _ = made_by(tmp_path, ["a"], change)
    assert [(r.status, r.code) for r in results] == [("failed", "unknown")]
    assert provider.submits == 1


def test_a_key_that_dies_while_polling_stops_and_keeps_the_ticket(tmp_path: Path) -> None:
    """The paid task stays in the journal; the same command with a good key delivers it."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now)
    events: list[Event] = []

    async def main() -> list[Result]:
        provider.poll_errors = lambda _n: KeyRefused("钥匙失效", "the key is dead")
        async with engine(
            tmp_path / "ws", (fake_endpoint(), provider), clock=clock, on_event=events.append
        ) as one:
            first = await one.generate(["a", "b"], out=tmp_path / "o")
            assert not any(r.ok for r in first)
        bought = provider.submits
        provider.poll_errors = lambda _n: None
        async with engine(tmp_path / "ws", (fake_endpoint(), provider), clock=clock) as one:
            results = await one.generate(["a", "b"], out=tmp_path / "o")
        assert bought == provider.submits == 2
        return results

    assert [r.status for r in run(main())] == ["ok", "ok"]
    assert [e for e in events if isinstance(e, Stopped)]


def test_arrears_reported_by_a_failed_task_stop_the_endpoint(tmp_path: Path) -> None:
    """A task that fails because the account is empty is not tried again by itself."""

    def change(provider: FakeProvider) -> None:
        provider.script = lambda _a, _n: "failed"
        provider.failure = AccountEmpty("欠费", "in arrears")
        provider.slots = 1

    results, provider, events = made_by(tmp_path, ["a", "b", "c"], change)
    assert not any(r.ok for r in results)
    assert [e for e in events if isinstance(e, Stopped)]
    assert provider.submits <= 3


def test_a_providers_own_mistake_after_the_post_is_a_doubt(tmp_path: Path) -> None:
    """An exception nobody foresaw, after acceptance: found by looking, not bought again."""

    def change(provider: FakeProvider) -> None:
        submit = provider.submit

        async def broken(asked: Asked, lane: Lane) -> Ticket | Made:
            answer = await submit(asked, lane)
            if provider.submits == 2:
                raise KeyError("answer without an id")
            return answer

        provider.submit = broken  # type: ignore[method-assign]
        provider.rate = 0.2

    results, provider, _ = made_by(tmp_path, ["a", "b", "c"], change)
    assert [r.status for r in results] == ["ok"] * 3
    assert provider.submits == 3


@pytest.mark.parametrize(
    ("policy", "status", "submits"),
    [("wait", "in-doubt", 1), ("fail", "failed", 1), ("resubmit", "ok", 2)],
)
def test_a_doubt_that_looking_cannot_settle_follows_the_users_policy(
    tmp_path: Path, policy: str, status: str, submits: int
) -> None:
    """Without a list nothing can be found: wait, give up, or pay again knowingly."""

    def change(provider: FakeProvider) -> None:
        answers("no-answer")(provider)
        provider.caps = replace(provider.caps, lists_tasks=False)

    results, provider, _ = made_by(tmp_path, ["a"], change, in_doubt=policy)
    assert [r.status for r in results] == [status]
    assert provider.submits == submits


def test_a_network_that_swallows_every_request_is_given_up(tmp_path: Path) -> None:
    """Proved absent again and again: failed with advice, nothing spent."""

    def change(provider: FakeProvider) -> None:
        provider.script = lambda _a, _n: "never-arrived"

    results, provider, _ = made_by(tmp_path, ["a"], change)
    assert [(r.status, r.code) for r in results] == [("failed", "never-arrived")]
    assert provider.billed() == 0


def test_a_blocked_output_gets_another_seed_once(tmp_path: Path) -> None:
    """Moderation blocked the picture, not the words: one other seed, which is on record."""
    blocked = ContentRefused("出图被拦", "blocked", other_seed_may_pass=True)
    results, provider, _ = made_by(tmp_path, [{"prompt": "a", "seed": 5}], answers(blocked))
    assert results[0].ok
    assert [t.asked.seed for t in provider.tasks.values()] != [5]


def test_a_picture_at_once_needs_no_poll(tmp_path: Path) -> None:
    """The synchronous lane: made at submit, delivered; a lost answer there stays in doubt."""

    def change(provider: FakeProvider) -> None:
        provider.caps = replace(provider.caps, lanes=("sync",), lists_tasks=True)
        submit = provider.submit

        async def at_once(asked: Asked, lane: Lane) -> Ticket | Made:
            answer = await submit(asked, lane)
            assert isinstance(answer, Ticket)
            return Made(Picture(data=picture_of(asked.prompt)))

        provider.submit = at_once  # type: ignore[method-assign]
        provider.script = lambda _a, n: "no-answer" if n == 2 else "made"

    results, provider, _ = made_by(tmp_path, ["a", "b", "c"], change)
    assert sorted(r.status for r in results) == ["in-doubt", "ok", "ok"]
    assert provider.polls == 0
    assert provider.looks == 0


def test_a_failed_row_may_be_billed_and_counts_in_the_budget(tmp_path: Path) -> None:
    """A row whose answer stays lost keeps its price set aside: nothing is bought with it."""

    def change(provider: FakeProvider) -> None:
        provider.script = lambda _a, n: "no-answer" if n == 1 else "made"
        provider.caps = replace(provider.caps, lists_tasks=False)
        provider.rate = 0.05

    clock = JumpingClock()
    provider = FakeProvider(clock.now)
    change(provider)

    async def main() -> list[Result]:
        async with engine(tmp_path / "ws", (fake_endpoint(), provider), clock=clock) as one:
            return await one.generate(
                ["a", "b", "c"], budget=0.4, currency="CNY", out=tmp_path / "o"
            )

    assert sorted(r.status for r in run(main())) == ["in-doubt", "ok", "unpaid"]
    assert provider.billed() == 2


def test_what_is_paid_for_does_not_pile_up(tmp_path: Path) -> None:
    """A service faster than the disk: while downloads stand still nothing new is bought beyond a
    bound, and all are delivered once they go on."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now, seconds=lambda _p: 0.0, slots=100_000)
    prompts = [f"p{k}" for k in range(UNFINISHED * 2)]

    async def main() -> list[Result]:
        async with engine(tmp_path / "ws", (fake_endpoint(), provider), clock=clock) as one:
            fetch, go_on = one.downloads.fetch, asyncio.Event()

            async def held_up(*args: Any, **how: Any) -> Any:
                await go_on.wait()
                return await fetch(*args, **how)

            one.downloads.fetch = held_up  # type: ignore[method-assign]
            work = asyncio.ensure_future(one.generate(prompts))
            await clock.sleep(600.0)
            assert UNFINISHED <= provider.submits < UNFINISHED * 1.5
            go_on.set()
            return await work

    assert {r.status for r in run(main())} == {"ok"}


def test_an_answer_lost_while_the_run_is_paused_is_kept(tmp_path: Path) -> None:
    """Paused with a doubt open: the doubt waits in the journal, and resuming settles it."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now)
    lost = AnswerLost("", "")
    assert isinstance(lost, ServiceError)
    provider.script = lambda _a, n: "no-answer" if n == 1 else "made"

    async def main() -> list[Result]:
        async with engine(tmp_path / "ws", (fake_endpoint(), provider), clock=clock) as one:
            added = await one.add(["a", "b", "c"], out=tmp_path / "o")
            while provider.submits == 0:
                await clock.sleep(0.05)
            await one.pause(added)
            await clock.sleep(1.0)
            await one.resume(added)
            return [r async for r in one.follow(added)]

    results = run(main())
    assert {r.row: r.status for r in results} == {1: "ok", 2: "ok", 3: "ok"}
    assert provider.bought_twice() == []
    assert provider.submits == 3


def test_an_outcome_tells_how_long_it_took(tmp_path: Path) -> None:
    """Seconds from the request to the outcome, as beside the picture; a twin asked for nothing."""
    results, _, events = made_by(tmp_path, ["a", "b", "a"], lambda _provider: None)
    told = {event.row: event.seconds for event in events if isinstance(event, Done)}
    beside = json.loads(Path(f"{results[0].path}.json").read_text())
    assert [result.status for result in results] == ["ok", "ok", "duplicate"]
    assert told[1] == pytest.approx(beside["seconds"], abs=1.0)
    assert told[1] > 1.0
    assert told[3] == 0.0
