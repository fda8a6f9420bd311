"""The service's queue and its rates, against plain statements of what they promise."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from redloom.emulators.dashscope_tasks import Bucket, Lane, Task, Terms
from redloom.emulators.ledger import prompt_sha


def task(number: int, ready: float, takes_s: float) -> Task:
    """A task, short."""
    return Task(
        task_id=str(number), request_id="r", account="a", model="m", prompt="p", sha=prompt_sha("p"),
        cut_prompt="p", drawn=prompt_sha("p"), size="8*8", width=8, height=8, n=1, seed=None,
        path="image", submitted=ready, ready=ready, takes_s=takes_s,
    )  # fmt: skip


STEPS = st.lists(
    st.tuples(st.floats(0, 20), st.floats(0, 30), st.booleans(), st.booleans()), max_size=40
)


@given(STEPS, st.integers(1, 5))
def test_lane_is_a_fair_queue(steps: list[tuple[float, float, bool, bool]], slots: int) -> None:
    """In order, never more than the slots at once, never idle while a task waits, however seldom
    anybody looks; a cancelled task takes no slot."""
    lane = Lane(Terms(lambda _at: slots), lambda task, running: None)
    tasks: list[Task] = []
    now = 0.0
    for number, (gap, takes_s, look, cancel) in enumerate(steps):
        now += gap
        tasks.append(task(number, now, takes_s))
        lane.add(tasks[-1])
        if look:
            lane.advance(now)
        if cancel and tasks[-1].started is None:
            tasks[-1].cancelled = True
    lane.advance(now + 10_000)
    free = [0.0] * slots
    for one in tasks:
        if one.cancelled:
            assert one.started is None
            continue
        free.sort()
        assert one.started == max(one.ready, free[0])
        assert one.ended is not None
        free[0] = one.ended


@given(STEPS, st.integers(1, 5), st.integers(1, 5), st.floats(0, 200))
def test_a_limit_that_changes_is_kept(
    steps: list[tuple[float, float, bool, bool]], before: int, after: int, turn: float
) -> None:
    """No task starts beyond the limit of that moment, and none later than it could have."""
    terms = Terms(lambda at: before if at < turn else after, turns=lambda: (turn,))
    lane = Lane(terms, lambda task, running: None)
    tasks: list[Task] = []
    now = 0.0
    for number, (gap, takes_s, look, _) in enumerate(steps):
        now += gap
        tasks.append(task(number, now, takes_s))
        lane.add(tasks[-1])
        if look:
            lane.advance(now)
    lane.advance(now + 10_000)

    def running(moment: float, number: int) -> int:
        earlier = tasks[:number]
        return sum((one.started or 0) <= moment < (one.ended or 0) for one in earlier)

    latest = 0.0
    for number, one in enumerate(tasks):
        assert one.started is not None
        possible = {max(one.ready, latest), turn, *(t.ended or 0 for t in tasks[:number])}
        first = min(
            at
            for at in possible
            if at >= max(one.ready, latest)
            and running(at, number) < (before if at < turn else after)
        )
        assert one.started == first
        latest = one.started


def test_a_task_takes_longer_from_the_moment_on_at_which_the_service_slows() -> None:
    """What has started keeps its time; what starts later takes four times as long."""
    slowing = Terms(lambda _at: 1, lambda at: 4.0 if at >= 10 else 1.0)
    lane = Lane(slowing, lambda task, running: None)
    first, second = task(1, 5.0, 8.0), task(2, 5.0, 8.0)
    lane.add(first)
    lane.add(second)
    lane.advance(100.0)
    assert (first.started, first.ended) == (5.0, 13.0)
    assert (second.started, second.ended) == (13.0, 45.0)


@given(st.integers(1, 10), st.lists(st.floats(0, 3), max_size=80))
def test_bucket_never_lets_more_through(count: int, gaps: list[float]) -> None:
    """Whatever the arrivals: never more than one second's worth beyond the rate."""
    bucket = Bucket(count, 1.0, 0.0)
    now, passed = 0.0, 0
    for gap in gaps:
        now += gap
        wait = bucket.wait_s(now)
        passed += not wait
        assert passed <= max(count, 1.5) + now * count + 1e-6
        if wait:
            now += wait
            assert not bucket.wait_s(now + 1e-9), "what it says to wait is enough"
            passed += 1


def test_bucket_takes_a_client_that_paces() -> None:
    """At exactly the rate, half an interval early or late, nothing is refused."""
    bucket = Bucket(1, 1.0, 0.0)
    assert all(
        not bucket.wait_s(number + (0.24 if number % 2 else -0.24)) for number in range(1, 100)
    )
