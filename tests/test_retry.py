"""What follows each error: decided for every kind, money first."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redloom import errors
from redloom.errors import (
    AnswerLost,
    ContentRefused,
    EndpointStopped,
    NotSent,
    Refused,
    ServiceError,
    TaskFailed,
    Throttled,
    Unavailable,
)
from redloom.retry import (
    LONGEST_PAUSE_S,
    Again,
    Allowance,
    GiveUp,
    Look,
    Policy,
    StopEndpoint,
    after_failure,
    after_submit,
    believed,
    download_pause,
    pause,
    poll_again,
)

RNG = random.Random(1)
POLICY = Policy()
KINDS = sorted(
    (k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, ServiceError)),
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_a_decision(kind: type[ServiceError]) -> None:
    """After a POST and after a task; where money may be gone it is never another POST."""
    error = kind("坏", "bad")
    first = after_submit(error, 0, 0, POLICY, RNG)
    later = after_failure(error, 0, POLICY, RNG)
    assert isinstance(first, Again | Look | GiveUp | StopEndpoint)
    assert isinstance(later, Again | GiveUp | StopEndpoint)
    if kind.spent != "no":
        assert first == Look()
    if issubclass(kind, EndpointStopped):
        assert first == later == StopEndpoint()
    elif issubclass(kind, Refused):
        assert first == later == GiveUp("refused")


def test_a_submit_is_repeated_only_after_a_no() -> None:
    """Not sent, or the service said no; a 429 for ever, the others up to a limit."""
    for error in (NotSent("", ""), Unavailable("", "")):
        again = after_submit(error, 0, 0, POLICY, RNG)
        assert isinstance(again, Again)
        assert not again.counts
        assert after_submit(error, POLICY.submit_tries, 0, POLICY, RNG) == GiveUp("failed")
    assert isinstance(after_submit(Throttled("", ""), 10_000, 0, POLICY, RNG), Again)
    told = after_submit(Unavailable("", "", retry_after_s=7.0), 0, 0, POLICY, RNG)
    assert told == Again(7.0, counts=False, elsewhere=True)
    assert after_submit(AnswerLost("", ""), 0, 0, POLICY, RNG) == Look()
    assert after_submit(ServiceError("", ""), 0, 0, POLICY, RNG) == GiveUp("failed")


def test_a_failed_task_uses_up_tries() -> None:
    """As many as the policy has; none where the code's class forbids it."""
    again = after_failure(TaskFailed("", ""), 0, POLICY, RNG)
    assert isinstance(again, Again)
    assert again.counts
    assert after_failure(TaskFailed("", ""), POLICY.tries, POLICY, RNG) == GiveUp("failed")
    assert after_failure(TaskFailed("", "", retry=False), 0, POLICY, RNG) == GiveUp("failed")
    assert after_failure(Refused("", ""), 0, POLICY, RNG) == GiveUp("refused")


def test_a_synchronous_failure_is_a_failed_task() -> None:
    """A service that took the request and made no picture uses up tries, at submit as after it."""
    rng, policy = random.Random(1), Policy(tries=2)
    error = TaskFailed("没做成", "failed")
    assert isinstance(after_submit(error, 9, 0, policy, rng), Again)
    assert after_submit(error, 0, 2, policy, rng) == GiveUp("failed")


def test_blocked_output_gets_one_other_seed() -> None:
    """Blocked words do not; and once is enough."""
    output = ContentRefused("", "", other_seed_may_pass=True)
    assert after_failure(output, 0, POLICY, RNG) == Again(0.0, counts=True, new_seed=True)
    assert after_submit(output, 0, 0, POLICY, RNG) == Again(0.0, counts=True, new_seed=True)
    assert after_failure(output, 1, POLICY, RNG) == GiveUp("refused")
    assert after_failure(output, 0, Policy(tries=0), RNG) == GiveUp("refused")


@given(st.integers(0, 10_000), st.floats(0.01, 10), st.floats(0.01, 600), st.integers())
def test_a_pause_is_bounded_and_never_nothing(
    attempt: int, base_s: float, cap_s: float, seed: int
) -> None:
    """Between a tenth of the ceiling and the ceiling."""
    found = pause(attempt, Policy(base_s=base_s, cap_s=cap_s), random.Random(seed))
    ceiling = min(cap_s, base_s * 2.0 ** min(attempt, 30))
    assert ceiling / 10 - 1e-9 <= found <= ceiling + 1e-9


@given(st.one_of(st.none(), st.floats(-1e9, 1e9)))
def test_a_service_is_believed_within_reason(told: float | None) -> None:
    """At least a tenth of a second, at most five minutes."""
    assert 0.1 <= believed(told) <= LONGEST_PAUSE_S


def test_polls_and_downloads_pause_too() -> None:
    """Polls for ever, downloads eight times."""
    assert 0 < poll_again(50, RNG) <= 30
    pauses = [download_pause(attempt, RNG) for attempt in range(9)]
    assert pauses[8] is None
    assert all(p is not None and 0 < p <= 20 for p in pauses[:8])


def test_an_outage_is_not_hammered_by_everybody() -> None:
    """Ten retries at once, then a slow one each; a success earns a tenth of one."""
    allowance = Allowance()
    assert [allowance.stretch(1.0) for _ in range(12)] == [1.0] * 10 + [15.0] * 2
    for _ in range(11):
        allowance.success()
    assert allowance.stretch(1.0) == 1.0
    for _ in range(1000):
        allowance.success()
    assert allowance.tokens == allowance.most
