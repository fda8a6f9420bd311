"""Who gets the next job: least expected completion, the end of a run, money, broken endpoints."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redloom.endpoint import Capabilities, Limits, Price
from redloom.job import Request
from redloom.limit import Gate, Pace, Slots
from redloom.poll import Polls
from redloom.route import (
    FIRST_BREAK_S,
    LONGEST_BREAK_S,
    OPEN_AFTER,
    Breaker,
    Live,
    able_for,
    asked_of,
    choose,
    gate_for,
    nearest,
)
from redloom.testing import FakeProvider, JumpingClock, fake_endpoint
from redloom.timing import CALM, COVERED, EAGER, Timing, Timings

NOW = 1000.0
WANTED = Request("a red thread")


def live(
    name: str,
    seconds: float = 10.0,
    slots: int | None = 5,
    *,
    price: float | None = 0.2,
    model: str = "fake-1",
    outstanding: int = 0,
    rate: float | None = None,
    **caps: object,
) -> Live:
    """An endpoint that takes ``seconds`` a picture."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now, cost=Price(price, "CNY"), caps=Capabilities(**caps))  # type: ignore[arg-type]
    gate = Gate(Pace(rate), Slots(slots, known=slots is not None), outstanding)
    made = Live(
        fake_endpoint(name, model), provider, gate, Timings(seconds),
        Polls(clock, Pace(None), random.Random(1)), f"place {name}",
    )  # fmt: skip
    made.timings.all.mean = seconds
    return made


def chosen(lives: list[Live], **how: object) -> str:
    """The name of the endpoint chosen, or ''."""
    found = choose(lives, WANTED, NOW, **how)  # type: ignore[arg-type]
    return found.name if found else ""


def test_the_soonest_done_is_asked_first() -> None:
    """A faster service before a slower one; a cheaper before a dearer equal; then by name."""
    assert chosen([live("slow", 60.0), live("fast", 5.0)]) == "fast"
    assert chosen([live("dear", price=1.0), live("cheap", price=0.1)]) == "cheap"
    assert chosen([live("unpriced", price=None), live("cheap", price=0.1)]) == "cheap"
    assert chosen([live("b"), live("a")]) == "a"


def test_work_waiting_there_counts() -> None:
    """A fast service with a long queue is slower than an idle one."""
    busy, idle = live("busy", 10.0, 2, outstanding=2), live("idle", 25.0, 2)
    busy.gate.slots.ahead = 40
    busy.gate.outstanding = 12
    assert chosen([busy, idle]) == "idle"
    assert busy.expected_s(NOW) == pytest.approx((11 / 2) * 10.0 + 10.0)


@pytest.mark.parametrize(("remaining", "name"), [(1000, "slow"), (1, ""), (12, ""), (30, "slow")])
def test_near_the_end_a_slow_slot_stays_idle(remaining: int, name: str) -> None:
    """The fast one is full. With much to do the slow one helps; the last job waits for the fast."""
    fast, slow = live("fast", 10.0, 2, outstanding=2), live("slow", 60.0, 2)
    assert chosen([fast, slow], remaining=remaining) == name


@given(st.integers(1, 400), st.floats(1, 100), st.floats(1, 100), st.integers(1, 20))
def test_leaving_a_slot_idle_never_starves_a_run(
    remaining: int, one_s: float, other_s: float, slots: int
) -> None:
    """Whenever all endpoints are free some endpoint is chosen."""
    assert chosen([live("a", one_s, slots), live("b", other_s, slots)], remaining=remaining)


def test_a_dear_endpoint_does_not_eat_the_budget() -> None:
    """It pulls only what is affordable on average; alone it is the only one, and the purse decides."""
    cheap, dear = live("cheap", 60.0, 1, price=0.1, outstanding=1), live("dear", 5.0, price=1.0)
    assert chosen([cheap, dear], affordable=0.2) == ""
    assert chosen([cheap, dear], affordable=1.0) == "dear"
    assert chosen([cheap, dear]) == "dear"
    assert chosen([dear], affordable=0.2) == "dear"
    equal = live("equal", price=1.0)
    assert chosen([dear, equal], affordable=0.2) == "dear"


def test_who_may_not_be_asked() -> None:
    """Another model, a stopped account, no slot, no token yet, a break: none is chosen."""
    other, stopped, full, early, broken = (
        live("other", model="x"), live("stopped"), live("full", slots=1, outstanding=1),
        live("early", rate=1.0), live("broken"),
    )  # fmt: skip
    stopped.gate.stopped = "arrears"
    early.gate.pace.next_at = NOW + 1
    for _ in range(OPEN_AFTER):
        broken.breaker.failed(NOW, 1)
    named = replace(WANTED, model="fake-1")
    for one in (other, stopped, full, early, broken):
        assert choose([one], named, NOW) is None
    assert choose([other], WANTED, NOW) is other
    assert stopped.expected_s(NOW) is None
    assert full.wait_s(NOW) is None
    assert broken.wait_s(NOW) == FIRST_BREAK_S


def test_the_breaker_opens_tries_and_closes() -> None:
    """Five failures in a row open it; after the break one job tries; its fate decides."""
    breaker = Breaker()
    for number in range(OPEN_AFTER):
        assert breaker.wait_s(NOW) == 0.0
        breaker.began(number)
        breaker.failed(NOW + number, number)
    opened = NOW + OPEN_AFTER - 1
    assert breaker.wait_s(opened) == FIRST_BREAK_S
    half = opened + FIRST_BREAK_S
    assert breaker.wait_s(half) == 0.0
    breaker.began(7)
    assert breaker.wait_s(half) is None
    breaker.failed(half, 7)
    assert breaker.wait_s(half) == 2 * FIRST_BREAK_S
    later = half + 2 * FIRST_BREAK_S
    breaker.began(8)
    breaker.succeeded()
    assert not breaker.open
    assert breaker.wait_s(later) == 0.0
    assert breaker.break_s == FIRST_BREAK_S


@given(st.lists(st.booleans(), max_size=60))
def test_a_breaker_always_lets_somebody_try_again(fates: list[bool]) -> None:
    """Whatever becomes of its jobs: in five minutes at most one may go."""
    breaker, now = Breaker(), NOW
    for job, well in enumerate(fates):
        wait = breaker.wait_s(now)
        assert wait is not None
        assert wait <= LONGEST_BREAK_S
        now += wait
        breaker.began(job)
        if well:
            breaker.succeeded()
        else:
            breaker.failed(now, job)


def test_a_break_between_late_failures_is_not_prolonged_while_trying() -> None:
    """Failures of jobs that were under way when it opened do not lock out the one that tries."""
    breaker = Breaker()
    for job in range(OPEN_AFTER + 3):
        breaker.failed(NOW, job)
    wait = breaker.wait_s(NOW)
    assert wait is not None
    assert 0 < wait <= LONGEST_BREAK_S


def test_one_job_tries_until_its_own_answer_is_known() -> None:
    """What left before it opened comes back while one tries it: neither its failure nor its end
    lets a second job go, and the break is not prolonged for it."""
    breaker = Breaker()
    for job in range(OPEN_AFTER):
        breaker.failed(NOW, job)
    half = NOW + FIRST_BREAK_S
    breaker.began(100)
    for late in (7, 8):
        breaker.failed(half, late)
        breaker.ended(late)
        assert breaker.wait_s(half) is None
    breaker.ended(100)
    assert breaker.wait_s(half) == 0.0
    breaker.began(101)
    breaker.failed(half, 101)
    breaker.ended(101)
    assert breaker.wait_s(half) == 2 * FIRST_BREAK_S


def test_what_a_query_is_worth() -> None:
    """Little while work is queued there, more where a slot would idle, most at the end of a run."""
    one = live("one")
    assert one.poll_cost() == EAGER
    one.backlog = True
    assert one.poll_cost() == CALM
    one.gate.slots.ahead = 3
    assert one.poll_cost() == COVERED
    one.gate.slots.ahead, one.gate.slots.queues = 0, False
    assert one.poll_cost() == EAGER
    one.gate.slots.limit = None
    assert one.poll_cost() == COVERED


def test_how_fast_an_endpoint_is() -> None:
    """The smaller of rate and slots over time; unknown slots by what is seen; the ceiling counts."""
    one = live("one", 10.0, 5)
    assert one.per_second(0.0) == pytest.approx(0.5)
    one.gate.pace.rate = 0.2
    assert one.per_second(0.0) == pytest.approx(0.2)
    one.gate.slots.ceiling = 2
    assert one.at_once == 2
    unknown = live("unknown", slots=None, outstanding=3)
    unknown.gate.running = 7
    assert unknown.at_once == 7
    assert unknown.timing.mean == 10.0


@pytest.mark.parametrize(
    ("lane", "limits", "published", "slots", "growing"),
    [
        ("async", Limits(), Limits(1.0, 3), 3, False),
        ("async", Limits(2.0, 4), Limits(1.0, 3), 4, False),
        ("sync", Limits(), Limits(1.0, 3, 9), 9, False),
        ("sync", Limits(sync_concurrency=2), Limits(1.0, 3, 9), 2, False),
        ("async", Limits(), Limits(), None, True),
        ("sync", Limits(), Limits(), None, False),
    ],
)
def test_a_gate_starts_from_what_is_set_or_published(
    lane: str, limits: Limits, published: Limits, slots: int | None, growing: bool
) -> None:
    """Settings before the table; half an account's share is half of both; else it is found out."""
    one = live("one")
    provider = one.provider
    provider.limits = lambda: published  # type: ignore[method-assign]
    endpoint = replace(one.endpoint, limits=limits)
    gate = gate_for(endpoint, provider, lane, None, timing=Timing(60.0))  # type: ignore[arg-type]
    assert gate.slots.limit == slots
    assert gate.slots.growing is growing
    rate = limits.submit_per_second or published.submit_per_second
    assert gate.pace.growing is (rate is None)
    half = gate_for(replace(endpoint, share=0.5), provider, lane, 7, timing=Timing(60.0))  # type: ignore[arg-type]
    assert half.slots.ceiling == 7
    if slots:
        assert half.slots.limit == max(1, slots // 2)
    if rate:
        assert half.pace.rate == rate / 2


def test_free_and_local_ones_are_not_paced() -> None:
    """Cards and this machine's own GPU: nothing to learn."""
    one = live("one", local=True, free=True)
    one.provider.limits = Limits  # type: ignore[method-assign]
    gate = gate_for(one.endpoint, one.provider, "async", None, timing=Timing(1.0))
    assert (gate.pace.rate, gate.pace.growing, gate.slots.growing) == (None, False, False)


@given(st.integers(1, 40), st.integers(1, 40))
def test_a_shape_becomes_a_size_of_that_shape(wide: int, high: int) -> None:
    """Without a table: steps of 16, about 1.3 million pixels, the shape kept closely."""
    width, height = nearest((wide, high), ())
    assert width % 16 == height % 16 == 0
    if 1 / 8 <= wide / high <= 8:
        assert width / height == pytest.approx(wide / high, rel=0.1)
        assert 1_000_000 < width * height <= 1_320_000
    assert nearest((1, 1), ((512, 512), (1024, 1024), (768, 1024))) == (1024, 1024)


def test_what_no_endpoint_could_make_is_said() -> None:
    """The last reason where none fits; nothing where one does; another seed is another request."""
    long = Request("x" * 3000)
    able, refused = able_for(WANTED, [live("one")])
    assert able
    assert refused is None
    able, refused = able_for(long, [live("one"), live("two")])
    assert not able
    assert refused is not None
    assert "2,100" in refused.text.en
    assert able_for(long, []) == ([], None)
    sized = asked_of(
        replace(WANTED, size="3:4"), live("one", sizes=((768, 1024), (64, 64))), seed=3
    )
    assert (sized.asked.size, sized.asked.seed) == ((768, 1024), 3)
    assert asked_of(replace(WANTED, size="64x32"), live("one")).asked.size == (64, 32)
