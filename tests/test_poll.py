"""Polls: under the account's budget, together where it pays, and no ticket is ever forgotten."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redloom.endpoint import (
    Asked,
    Capabilities,
    Made,
    Outcome,
    Seen,
    Ticket,
    Times,
    Unknown,
    Waiting,
)
from redloom.errors import KeyRefused, NotSent, ServiceError, Throttled, Unavailable
from redloom.limit import Pace
from redloom.poll import FORGETS_S, GRACE_S, LATE_LISTS, Heard, Polls
from redloom.testing import START, FakeProvider, JumpingClock, run
from redloom.timing import CALM, EAGER, Timing

TALKATIVE = Capabilities(lists_tasks=True, list_lag_s=0.0, list_page=100, typical_s=60.0)
SILENT = Capabilities(lists_tasks=False, typical_s=60.0)


@dataclass
class Listener(FakeProvider):
    """The fake service, with a note of every question: when, about what, how many at once."""

    asked: list[tuple[float, str]] = field(default_factory=list)
    listed: list[float] = field(default_factory=list)
    under_way: Counter[str] = field(default_factory=Counter)
    overlaps: int = 0
    answer_s: float = 0.2
    behind_s: float = 0.0
    """By how much its list is behind, when it speaks of states."""
    list_error: ServiceError | None = None

    async def poll(self, ticket: Ticket) -> Outcome:
        """As the fake does, after a moment."""
        self.asked.append((self.now(), ticket.id))
        self.under_way[ticket.id] += 1
        self.overlaps += self.under_way[ticket.id] > 1
        await asyncio.sleep(self.answer_s)
        self.under_way[ticket.id] -= 1
        return await super().poll(ticket)

    async def look(self, since: float, until: float) -> Sequence[Seen]:
        """The list, perhaps of a moment ago."""
        self.looks += 1
        self.listed.append(self.now())
        await asyncio.sleep(self.answer_s)
        if self.list_error is not None:
            raise self.list_error
        then = self.now() - self.behind_s
        return [
            Seen(
                t.id, "fake-1",
                "made" if t.ends <= then else "running" if t.starts <= then else "queued",
                t.created, t.starts if t.starts <= then else None,
            )
            for t in self.tasks.values()
            if since <= t.created <= until
        ]  # fmt: skip


@dataclass
class Watched:
    """What came of a set of tickets that were all watched at once."""

    service: Listener
    polls: Polls
    heard: list[Heard]
    began: float
    reaction: list[float]


def watch(
    number: int = 20,
    *,
    caps: Capabilities = SILENT,
    pace: Pace | None = None,
    lists: Pace | None = None,
    cost: float = CALM,
    seconds: Any = None,
    **service: Any,
) -> Watched:
    """Submit ``number`` pictures and watch them all to their end."""
    clock, rng = JumpingClock(), random.Random(11)
    times = {f"p{k}": rng.lognormvariate(4.0, 0.4) for k in range(number)}
    fake = Listener(
        clock.now, seconds=seconds or times.__getitem__, slots=number, caps=caps, **service
    )
    polls = Polls(clock, pace or Pace(None), random.Random(1), lists=lists or Pace(None))

    async def one(ticket: Ticket) -> Heard:
        return await polls.wait(fake, ticket, clock.now(), Timing(60.0), cost=lambda: cost)

    async def main() -> Watched:
        began = clock.now()
        tickets = [await fake.submit(Asked(f"p{k}", "fake-1"), "async") for k in range(number)]
        heard = await asyncio.gather(*(one(t) for t in tickets if isinstance(t, Ticket)))
        await polls.close()
        late = [h.at - fake.tasks[t.id].ends for h, t in zip(heard, tickets, strict=True)]  # type: ignore[union-attr]
        return Watched(fake, polls, heard, began, late)

    return run(main())


@pytest.mark.parametrize("rate", [0.5, 2.0, 20.0])
def test_all_queries_together_keep_to_the_budget(rate: float) -> None:
    """Sixty tickets at once: no second holds more queries than the pace allows, all are heard."""
    found = watch(60, pace=Pace(rate))
    moments = [at for at, _ in found.service.asked]
    for first, at in enumerate(moments):
        inside = sum(at <= other < at + 10.0 for other in moments[first:])
        assert inside <= rate * 10.0 + 1
    assert all(isinstance(one.outcome, Made) for one in found.heard)


def test_a_budget_is_shared_out_and_nobody_starves() -> None:
    """Half a query a second for sixty tickets: each is asked about, none fifty times as often."""
    found = watch(60, pace=Pace(0.5))
    asked = Counter(ticket for _, ticket in found.service.asked)
    assert len(asked) == 60
    assert max(asked.values()) <= 10


def test_without_a_budget_the_answer_comes_within_seconds() -> None:
    """A picture is noticed a few seconds after it is made, with few queries each."""
    found = watch(60)
    assert sum(found.reaction) / 60 < 5.0
    assert found.polls.polls / 60 < 14


def test_eagerness_buys_reaction_with_queries() -> None:
    """What a query is worth decides: eager asks more and hears sooner than lazy."""
    eager, lazy = watch(60, cost=EAGER), watch(60, cost=1.3)
    assert eager.polls.polls > lazy.polls.polls
    assert sum(eager.reaction) < sum(lazy.reaction)


def test_one_list_call_takes_the_place_of_many_queries() -> None:
    """Eighty tickets of a service that lists: fewer requests in all, nobody hears later for it."""
    single, together = watch(80), watch(80, caps=TALKATIVE)
    assert together.polls.list_calls > 0
    assert together.polls.polls + together.polls.list_calls < 0.7 * single.polls.polls
    assert sum(together.reaction) < 1.5 * sum(single.reaction) + 80


@pytest.mark.parametrize("number", [1, 2])
def test_no_list_call_for_what_two_queries_can_do(number: int) -> None:
    """A call that saves nothing is not made."""
    assert watch(number, caps=TALKATIVE).polls.list_calls == 0


def test_lists_keep_to_their_own_budget() -> None:
    """One list call in ten seconds, and the rest by single queries."""
    found = watch(80, caps=TALKATIVE, lists=Pace(0.1))
    moments = found.service.listed
    assert len(moments) >= 2
    assert min(b - a for a, b in itertools.pairwise(moments)) >= 10.0 - 1e-6
    assert all(isinstance(one.outcome, Made) for one in found.heard)


def test_a_list_that_is_behind_is_given_up() -> None:
    """It shows as running what ended half a minute ago: after a few such, single queries only."""
    found = watch(80, caps=TALKATIVE, behind_s=30.0)
    assert all(isinstance(one.outcome, Made) for one in found.heard)
    assert found.polls._late >= LATE_LISTS
    last_list = max(found.service.listed)
    ends = sorted(task.ends for task in found.service.tasks.values())
    assert last_list < ends[-1]
    assert max(found.reaction) < 30.0 + 15.0


@pytest.mark.parametrize("error", [Throttled("", "", kind="rate"), Unavailable("", "")])
def test_a_list_that_fails_starves_nobody(error: ServiceError) -> None:
    """Every list call fails: the single queries carry on, and the lists' pace is lowered by 429."""
    found = watch(40, caps=TALKATIVE, list_error=error)
    assert all(isinstance(one.outcome, Made) for one in found.heard)
    assert found.polls.list_calls >= 1
    assert (found.polls.lists.rate is not None) == isinstance(error, Throttled)


def test_never_two_queries_about_one_ticket_at_once() -> None:
    """Slow answers, lists and an eager cost: still one question at a time for each."""
    for caps in (SILENT, TALKATIVE):
        found = watch(60, caps=caps, cost=EAGER, answer_s=7.0)
        assert found.service.overlaps == 0


def test_hurry_plans_lazy_waits_anew() -> None:
    """The run's end hangs on it now: the next query comes sooner than was planned."""

    def reaction(hurried: bool) -> float:
        clock, cost = JumpingClock(), [60.0]
        fake = Listener(clock.now, seconds=lambda _p: 100.0, caps=SILENT)
        polls = Polls(clock, Pace(None), random.Random(1))

        async def main() -> float:
            ticket = await fake.submit(Asked("p", "fake-1"), "async")
            assert isinstance(ticket, Ticket)
            timing = Timing(60.0, seen=9)
            waiting = asyncio.ensure_future(
                polls.wait(fake, ticket, clock.now(), timing, cost=lambda: cost[0])
            )
            await clock.sleep(96.0)
            if hurried:
                cost[0] = 1e-4
                polls.hurry()
            heard = await waiting
            await polls.close()
            return heard.at - fake.tasks[ticket.id].ends

        return run(main())

    assert reaction(hurried=True) < min(2.0, reaction(hurried=False))


def test_a_refused_key_is_told_to_all_who_ask_and_stops() -> None:
    """KeyRefused is raised to the one who waits, and `on_stop` hears of it."""
    stopped: list[Any] = []
    clock = JumpingClock()
    fake = FakeProvider(clock.now, poll_errors=lambda _n: KeyRefused("钥匙", "key"))
    polls = Polls(clock, Pace(None), on_stop=stopped.append)

    async def main() -> None:
        ticket = await fake.submit(Asked("p", "fake-1"), "async")
        assert isinstance(ticket, Ticket)
        with pytest.raises(KeyRefused):
            await polls.wait(fake, ticket, clock.now(), Timing(10.0))
        await polls.close()

    run(main())
    assert len(stopped) == 1


def test_a_providers_mistake_reaches_the_one_who_waits() -> None:
    """An exception that nobody foresaw ends this wait with it, and no other."""
    clock = JumpingClock()
    fake = FakeProvider(clock.now)

    async def broken(ticket: Ticket) -> Outcome:
        if ticket.id == "bad":
            raise ZeroDivisionError
        return await FakeProvider.poll(fake, ticket)

    fake.poll = broken  # type: ignore[method-assign]
    polls = Polls(clock, Pace(None))

    async def main() -> list[Any]:
        ticket = await fake.submit(Asked("p", "fake-1"), "async")
        assert isinstance(ticket, Ticket)
        waits = (polls.wait(fake, t, clock.now(), Timing(10.0)) for t in (Ticket("bad"), ticket))
        ends = await asyncio.gather(*waits, return_exceptions=True)
        await polls.close()
        return list(ends)

    bad, good = run(main())
    assert isinstance(bad, ZeroDivisionError)
    assert isinstance(good, Heard)


def test_unknown_gets_a_grace_period_and_no_more() -> None:
    """A ticket the service never heard of: asked about for a minute, then it is so."""
    clock = JumpingClock()
    fake = FakeProvider(clock.now)
    polls = Polls(clock, Pace(None))

    async def main() -> float:
        began = clock.now()
        heard = await polls.wait(fake, Ticket("nobody's"), began, Timing(10.0))
        await polls.close()
        assert type(heard.outcome).__name__ == "Unknown"
        return heard.at - began

    assert GRACE_S <= run(main()) <= GRACE_S * 1.5


def hiccup(seconds: float, times: Times | None = None) -> tuple[Heard, float, FakeProvider]:
    """One task of a hundred seconds that the service does not know for a while in the middle, and
    whose times are these; what was heard, after how long."""
    clock = JumpingClock()
    fake = FakeProvider(clock.now, seconds=lambda _p: 100.0)
    polls = Polls(clock, Pace(None), random.Random(1))
    poll = fake.poll

    async def forgetful(ticket: Ticket) -> Outcome:
        outcome = await poll(ticket)
        age = clock.now() - fake.tasks[ticket.id].created
        if 70.0 <= age < 70.0 + seconds:
            return Unknown()
        if times is not None and isinstance(outcome, Waiting | Made):
            return replace(outcome, times=times)
        return outcome

    fake.poll = forgetful  # type: ignore[method-assign]

    async def main() -> tuple[Heard, float, FakeProvider]:
        began = clock.now()
        ticket = await fake.submit(Asked("a", "fake-1"), "async")
        assert isinstance(ticket, Ticket)
        async with asyncio.timeout(100_000):
            heard = await polls.wait(fake, ticket, began, Timing(60.0))
        await polls.close()
        return heard, heard.at - began, fake

    return run(main())


def test_a_hiccup_of_the_service_loses_no_picture() -> None:
    """It has spoken of the task, then knows nothing of it for five minutes: that is no end."""
    heard, after, _ = hiccup(300.0)
    assert isinstance(heard.outcome, Made)
    assert after < 420.0


def test_a_task_that_stays_unknown_comes_to_an_end() -> None:
    """What it goes on not knowing is gone."""
    heard, after, _ = hiccup(1e9)
    assert isinstance(heard.outcome, Unknown)
    assert FORGETS_S <= after <= FORGETS_S + 150.0


@pytest.mark.parametrize("moment", [-1e10, 0.0, 1e10, 1e12])
def test_impossible_times_delay_nothing(moment: float) -> None:
    """A task created, begun or ended in 1970 or in the year 33,000: asked about all the same."""
    for times in (
        Times(moment, moment, moment), Times(moment), Times(None, moment), Times(START, moment),
    ):  # fmt: skip
        heard, after, fake = hiccup(0.0, times)
        assert isinstance(heard.outcome, Made)
        assert after < 120.0
        assert fake.polls < 60


@pytest.mark.parametrize("error", [Unavailable("乱", "garbage"), Throttled("慢", "slow")])
def test_queries_that_fail_for_good_come_to_an_end(error: ServiceError) -> None:
    """Nothing readable for longer than the service keeps its tasks: it is lost, and nobody waits."""
    clock = JumpingClock()
    fake = FakeProvider(clock.now, poll_errors=lambda _n: error)
    fake.caps = replace(fake.caps, record_life_s=7200.0)
    polls = Polls(clock, Pace(None), random.Random(1))

    async def main() -> float:
        began = clock.now()
        ticket = await fake.submit(Asked("a", "fake-1"), "async")
        assert isinstance(ticket, Ticket)
        async with asyncio.timeout(10 * 86400):
            heard = await polls.wait(fake, ticket, began, Timing(60.0))
        await polls.close()
        assert isinstance(heard.outcome, Unknown)
        return heard.at - began

    life = fake.caps.record_life_s
    assert life <= run(main()) <= life + 400.0


def test_a_given_up_wait_is_forgotten() -> None:
    """Cancelled waits take their queries with them."""
    clock = JumpingClock()
    fake = FakeProvider(clock.now, seconds=lambda _p: 50.0)
    polls = Polls(clock, Pace(2.0))

    async def main() -> int:
        ticket = await fake.submit(Asked("p", "fake-1"), "async")
        assert isinstance(ticket, Ticket)
        waiting = asyncio.ensure_future(polls.wait(fake, ticket, clock.now(), Timing(10.0)))
        await clock.sleep(1.0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        before = fake.polls
        await clock.sleep(500.0)
        await polls.close()
        assert polls._demand == 0.0
        return fake.polls - before

    assert run(main()) == 0


moods = st.sampled_from(["well", "429", "busy", "unsent", "silent"])


@dataclass
class Moody(Listener):
    """A service that answers each question as the next of its moods."""

    moods: tuple[str, ...] = ()
    tells_times: bool = True

    async def poll(self, ticket: Ticket) -> Outcome:
        """In a mood, and in the end well again."""
        mood = self.moods[self.polls] if self.polls < len(self.moods) else "well"
        if mood == "429":
            self.polls += 1
            raise Throttled("", "", kind="rate", retry_after_s=3.0)
        if mood in ("busy", "unsent"):
            self.polls += 1
            raise Unavailable("", "") if mood == "busy" else NotSent("", "")
        outcome = await super().poll(ticket)
        if isinstance(outcome, Waiting) and (mood == "silent" or not self.tells_times):
            return Waiting(outcome.running, Times())
        return outcome


@settings(max_examples=30, deadline=None)
@given(
    st.lists(moods, max_size=60),
    st.lists(st.floats(0.0, 600.0), min_size=1, max_size=12),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, 0.2, 5.0]),
    st.sampled_from([0.0, 5.0, 1e6]),
    st.integers(1, 30),
)
def test_every_watch_ends(
    moods: list[str],
    lengths: list[float],
    lists: bool,
    times: bool,
    rate: float | None,
    behind_s: float,
    slots: int,
) -> None:
    """Whatever the service's moods, times, list and slots: every ticket is heard in the end,
    no sooner than it ended, and no two queries for one overlap."""
    clock = JumpingClock()
    by_prompt = {f"p{k}": length for k, length in enumerate(lengths)}
    fake = Moody(
        clock.now, seconds=by_prompt.__getitem__, slots=slots, moods=tuple(moods),
        caps=TALKATIVE if lists else SILENT, tells_times=times, behind_s=behind_s,
    )  # fmt: skip
    polls = Polls(clock, Pace(rate), random.Random(2))
    timing = Timing(60.0)

    async def one(prompt: str) -> None:
        ticket = await fake.submit(Asked(prompt, "fake-1"), "async")
        assert isinstance(ticket, Ticket)
        heard = await polls.wait(fake, ticket, clock.now(), timing)
        assert isinstance(heard.outcome, Made)
        assert heard.at >= fake.tasks[ticket.id].ends
        assert heard.polls >= 1

    async def main() -> None:
        async with asyncio.timeout(10_000_000):
            await asyncio.gather(*map(one, by_prompt))
        assert not polls._watches
        await polls.close()

    run(main())
    assert fake.overlaps == 0
