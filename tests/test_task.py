"""The order of money, seen from the service's side; and that breaking it is noticed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from helpers.desk import add_run, desk, engine, intent_of, live_of
from redloom import journal as journal_module
from redloom.endpoint import (
    Asked,
    Canceled,
    Failed,
    Lane,
    Made,
    Picture,
    Price,
    Seen,
    Ticket,
    Times,
)
from redloom.errors import AnswerLost, EpochPassed, NotSent, Refused, TaskFailed
from redloom.journal import Statements, statements
from redloom.task import (
    Attempt,
    failed_ending,
    made_ending,
    picture_from_json,
    picture_to_json,
    ticket_from_json,
    ticket_to_json,
)
from redloom.testing import START, FakeProvider, JumpingClock, fake_endpoint, run


def order_broken(folder: Path) -> list[str]:
    """Run ten prompts; at every request compare with what the journal has by then."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now)
    wrong: list[str] = []
    submit, poll = provider.submit, provider.poll

    async def main() -> None:
        async with engine(folder / "ws", (fake_endpoint(), provider), clock=clock) as one:

            def rows(query: str, value: str) -> list[Any]:
                return one.journal.read_now(
                    lambda db: db.connection.execute(query, (value,)).fetchall()
                )

            async def watched_submit(asked: Asked, lane: Lane) -> Ticket | Made:
                if not rows("SELECT 1 FROM tasks WHERE key = ? AND state = 'intent'", asked.key):
                    wrong.append("money before intent")
                return await submit(asked, lane)

            async def watched_poll(ticket: Ticket) -> Any:
                if not rows("SELECT 1 FROM tasks WHERE ticket_id = ?", ticket.id):
                    wrong.append("poll before ticket")
                return await poll(ticket)

            provider.submit = watched_submit  # type: ignore[method-assign]
            provider.poll = watched_poll  # type: ignore[method-assign]
            await asyncio.wait_for(one.generate([f"p{k}" for k in range(10)]), 10_000)

    run(main())
    return wrong


def test_intent_before_money_and_ticket_before_waiting(tmp_path: Path) -> None:
    """Rule 1, at every request of a run."""
    assert order_broken(tmp_path) == []


def test_a_ticket_recorded_too_late_would_be_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: the ticket is never written down before polling."""

    async def nothing(_self: Attempt, _answer: object) -> None:
        return None

    monkeypatch.setattr(Attempt, "_record", nothing)
    assert "poll before ticket" in order_broken(tmp_path)


def stale_engine_may_spend(folder: Path) -> bool:
    """Whether an engine of a passed epoch can record an intent."""

    async def main() -> bool:
        async with desk(folder) as records:
            (job,) = await add_run(records, ["a"])
            old = await records.next_epoch()
            await records.next_epoch()
            try:
                await records.intend(intent_of(job, epoch=old))
            except EpochPassed:
                return False
            return True

    return run(main())


def test_a_stale_engine_may_not_spend(tmp_path: Path) -> None:
    """The epoch is checked in the intent's own commit."""
    assert not stale_engine_may_spend(tmp_path)


def test_an_unchecked_epoch_would_be_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: the intent's statement without its WHERE."""
    known = statements()
    sql = known.named["add_intent"]
    cut = sql[: sql.index("WHERE")] + "WHERE 1 " + sql[sql.index("RETURNING") :]
    broken = Statements({**known.named, "add_intent": cut}, known.migrations)
    monkeypatch.setattr(journal_module, "statements", lambda: broken)
    assert stale_engine_may_spend(tmp_path)


@pytest.mark.parametrize(("whole", "twice"), [(True, 0), (False, 1)])
def test_a_list_that_is_not_whole_would_buy_twice(tmp_path: Path, whole: bool, twice: int) -> None:
    """A lost answer with the whole list, and planted: with the list's newest half missing."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now)
    provider.script = lambda _asked, number: "no-answer" if number == 4 else "made"
    look = provider.look

    async def half(since: float, until: float) -> Sequence[Seen]:
        seen = await look(since, until)
        return [s for s in seen if s.id != "task-00004"]

    if not whole:
        provider.look = half  # type: ignore[method-assign]

    async def main() -> None:
        async with engine(tmp_path / "ws", (fake_endpoint(), provider), clock=clock) as one:
            for k in range(6):
                await one.generate([f"p{k}"])

    run(main())
    assert len(provider.bought_twice()) == twice


class Sleeper(JumpingClock):
    """A clock that jumps ahead once, between the intent and the POST, as if the machine slept."""

    calls = 0

    def now(self) -> float:
        self.calls += 1
        if self.calls == 2:
            self.skew += 3600
        return super().now()


def test_an_intent_from_before_a_sleep_is_not_acted_upon(tmp_path: Path) -> None:
    """It is voided and recorded anew, so that the epoch is checked once more."""
    clock = Sleeper()

    async def main() -> list[tuple[str, str]]:
        provider = FakeProvider(clock.now)
        async with desk(tmp_path) as records:
            (job,) = await add_run(records, ["a"])
            attempt = Attempt(
                records, clock, live_of(provider, clock), job, Asked("a", "fake-1", key=job.key), 0
            )
            await attempt.submit()
            assert provider.submits == 1
            rows = await records.journal.read(
                lambda db: db.connection.execute(
                    "SELECT state, code FROM tasks ORDER BY id"
                ).fetchall()
            )
            assert (await records.waiting("r1", 0, 1))[0].tries == 1
            return [tuple(row) for row in rows]

    assert run(main()) == [("void", "stale"), ("accepted", "")]


@pytest.mark.parametrize(
    ("error", "state", "billed"),
    [
        (AnswerLost("", ""), "doubt", "maybe"),
        (NotSent("", ""), "void", "no"),
        (Refused("", "", service_code="No"), "void", "no"),
        (ValueError("a bug"), "doubt", "maybe"),
        (asyncio.CancelledError(), "doubt", "maybe"),
    ],
)
def test_what_a_submit_raises_is_on_record_first(
    tmp_path: Path, error: BaseException, state: str, billed: str
) -> None:
    """Lost answers, mistakes and cancelling leave a doubt; a no leaves nothing."""

    async def main() -> None:
        clock = JumpingClock()
        provider = FakeProvider(clock.now)

        async def submit(_asked: Asked, _lane: Lane) -> Ticket:
            raise error

        provider.submit = submit  # type: ignore[assignment, method-assign]
        async with desk(tmp_path) as records:
            (job,) = await add_run(records, ["a"])
            attempt = Attempt(
                records, clock, live_of(provider, clock), job, Asked("a", "fake-1"), 0
            )
            with pytest.raises(BaseException) as caught:  # noqa: PT011 - every kind, by table
                await attempt.submit()
            assert isinstance(caught.value, (type(error), AnswerLost))
            row = await records.task(attempt.id)
            assert row is not None
            assert (row["state"], row["billed"]) == (state, billed)

    run(main())


def test_a_synchronous_link_is_on_record_before_its_download(tmp_path: Path) -> None:
    """Bytes are never written into the journal, a link is."""

    async def main() -> None:
        clock = JumpingClock()
        provider = FakeProvider(clock.now)
        answers = iter(
            [Made(Picture(url="https://x/1.png"), Times()), Made(Picture(data=b"png"), Times())]
        )

        async def submit(_asked: Asked, _lane: Lane) -> Made:
            return next(answers)

        provider.submit = submit  # type: ignore[assignment, method-assign]
        states = []
        async with desk(tmp_path) as records:
            for job in await add_run(records, ["a", "b"]):
                attempt = Attempt(
                    records, clock, live_of(provider, clock), job, Asked("a", "fake-1"), 0
                )
                await attempt.submit()
                row = await records.task(attempt.id)
                assert row is not None
                states.append((row["state"], row["result"] is not None))
        assert states == [("made", True), ("intent", False)]

    run(main())


def test_tickets_and_pictures_come_back_as_they_were() -> None:
    """Through the journal's JSON; bytes stay out of it."""
    ticket = Ticket("id", "request", {"a": [1, "二"]})
    assert ticket_from_json(ticket_to_json(ticket)) == ticket
    picture = Picture("https://x/1.png", revised_prompt="rewritten", seed=7)
    assert picture_from_json(picture_to_json(picture)) == picture
    assert "data" not in picture_to_json(Picture(data=b"x"))


def test_endings_say_what_was_billed() -> None:
    """A reported price is kept, an estimated one is left as it was; failures by what they say."""
    paid = made_ending(Made(Picture("u"), Times(1, 2, 3), Price(0.1, "USD", "reported")), START)
    assert (paid.billed, paid.price, paid.currency, paid.ended) == ("yes", 0.1, "USD", 3)
    assert made_ending(Made(Picture("u")), START).price is None
    failed = failed_ending(Failed(TaskFailed("", "", service_code="X")), START)
    assert (failed.state, failed.billed, failed.code) == ("failed", "no", "X")
    assert failed_ending(Failed(Refused("", ""), billed=True), START).state == "refused"
    assert Canceled().times == Times()
