"""Whether and when to ask again: decisions as values, no sleeping, no clock.

Three scopes, each with its own rules, because money hangs on only one of them:

submit    a POST is repeated only where its bytes never left or the service said no; then
          nothing was bought. A lost answer is never repeated here: it is looked for.
poll      repeated for as long as the task's record lives; a poll buys nothing.
download  repeated; a paid picture is fetched until it is whole or its link cannot be renewed.

May import: errors, lang.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from .errors import (
    AnswerLost,
    ContentRefused,
    EndpointStopped,
    NotSent,
    Refused,
    ServiceError,
    TaskFailed,
    Throttled,
    Unavailable,
    Withheld,
)

LONGEST_PAUSE_S = 300.0
"""A service's own ``Retry-After`` is believed up to this; beyond it the lane is parked instead."""


@dataclass(frozen=True, slots=True)
class Again:
    """Ask again after ``pause_s`` nominal seconds. ``counts``: it uses up one of the job's tries."""

    pause_s: float
    counts: bool
    elsewhere: bool = False
    """Another endpoint may be asked at once."""
    new_seed: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """Money may be gone: settle by looking before anything else."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """This picture will not be made; the job's outcome is ``status``."""

    status: Literal["refused", "failed"]


@dataclass(frozen=True, slots=True)
class StopEndpoint:
    """The endpoint is out of use until a person acts; the job waits or goes elsewhere."""


Decision = Again | Look | GiveUp | StopEndpoint


@dataclass(frozen=True, slots=True)
class Policy:
    """How often and how patiently. Seconds are nominal."""

    tries: int = 3
    """More tries after the first, for tasks that the service accepted and then failed."""
    submit_tries: int = 30
    """More POSTs of one job that the service answered with no (not counting 429s)."""
    base_s: float = 1.0
    cap_s: float = 60.0
    content_tries: int = 1
    """More tries with another seed where moderation blocked the output, not the words."""


def pause(attempt: int, policy: Policy, rng: random.Random) -> float:
    """Full jitter: uniform in [0, min(cap, base * 2**attempt)), in nominal seconds.

    Formula: Brooker, "Exponential Backoff And Jitter" (AWS, 2015). Its floor here is a tenth
    of the ceiling, so that a broken connection is not hammered by a lucky draw.
    """
    ceiling = min(policy.cap_s, policy.base_s * 2.0 ** min(attempt, 30))
    return rng.uniform(ceiling / 10.0, ceiling)


def after_submit(
    error: ServiceError, submits: int, tries: int, policy: Policy, rng: random.Random
) -> Decision:
    """What follows a POST that raised ``error``.

    ``submits`` POSTs of this job were answered with no before, ``tries`` tasks of it failed.
    """
    match error:
        case AnswerLost() | Withheld():
            return Look()
        case EndpointStopped():
            return StopEndpoint()
        case ContentRefused():
            return _after_moderation(error, tries, policy)
        case Refused():
            return GiveUp("refused")
        case TaskFailed():
            return after_failure(error, tries, policy, rng)
        case Throttled():
            return Again(believed(error.retry_after_s), counts=False, elsewhere=True)
        case NotSent() | Unavailable():
            if submits >= policy.submit_tries:
                return GiveUp("failed")
            told = error.retry_after_s if isinstance(error, Unavailable) else None
            wait = believed(told) if told is not None else pause(submits, policy, rng)
            return Again(wait, counts=False, elsewhere=True)
        case _:
            return GiveUp("failed")


def after_failure(error: ServiceError, tries: int, policy: Policy, rng: random.Random) -> Decision:
    """What follows an accepted task that ended without a picture; ``tries`` failed before it."""
    match error:
        case ContentRefused():
            return _after_moderation(error, tries, policy)
        case Refused():
            return GiveUp("refused")
        case EndpointStopped():
            return StopEndpoint()
        case TaskFailed(retry=False):
            return GiveUp("failed")
        case _ if tries >= policy.tries:
            return GiveUp("failed")
        case _:
            return Again(pause(tries, policy, rng), counts=True, elsewhere=True)


def _after_moderation(error: ContentRefused, tries: int, policy: Policy) -> Decision:
    if error.other_seed_may_pass and tries < min(policy.tries, policy.content_tries):
        return Again(0.0, counts=True, new_seed=True)
    return GiveUp("refused")


def believed(told_s: float | None, default_s: float = 1.0) -> float:
    """How long to wait when the service said ``told_s``: at least 0.1 s, at most five minutes."""
    if told_s is None:
        return default_s
    return min(LONGEST_PAUSE_S, max(0.1, told_s))


def poll_again(failures: int, rng: random.Random) -> float:
    """Pause before a poll is repeated after ``failures`` failed polls in a row, nominal seconds."""
    return pause(failures, Policy(base_s=2.0, cap_s=30.0), rng)


def download_pause(attempt: int, rng: random.Random, tries: int = 8) -> float | None:
    """Pause before the next try of a download; None after ``tries``: leave it for the next start."""
    if attempt >= tries:
        return None
    return pause(attempt, Policy(base_s=0.5, cap_s=20.0), rng)


@dataclass(slots=True)
class Allowance:
    """An account's retry budget: an outage must not be hammered by everybody at once.

    A success puts ``gain`` tokens in, a *scheduled* retry takes one out (Envoy learnt that
    counting at sending time lets a queue of retries through). Empty means: wait ``slow_s``.
    """

    tokens: float = 10.0
    most: float = 10.0
    gain: float = 0.1
    slow_s: float = 15.0

    def success(self) -> None:
        """One request was answered well."""
        self.tokens = min(self.most, self.tokens + self.gain)

    def stretch(self, pause_s: float) -> float:
        """Take one retry out; ``pause_s``, or a longer one while the budget is empty."""
        if self.tokens >= 1.0:
            self.tokens -= 1.0
            return pause_s
        return max(pause_s, self.slow_s)
