"""A run while it is carried: what of it is ready, in hand, waiting; and its purse.

May import: errors, lang, job, records, retry, route.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from .job import JobStatus
from .lang import Text
from .records import Job, Run
from .retry import Policy
from .route import Live

WINDOW = 256
"""Jobs of one run held in memory at most; the rest wait in the journal (rule 9)."""


@dataclass(slots=True)
class Purse:
    """A run's money: what is spent or may be never exceeds ``cap``. Amounts in millionths."""

    cap: int | None = None
    committed: int = 0
    spent: int = 0
    """Of the committed, what finished pictures have cost."""

    def commit(self, price: float | None) -> bool:
        """Set ``price`` aside; False, and nothing set aside, where the cap would be passed."""
        amount = millionths(price)
        if self.cap is not None and self.committed + amount > self.cap:
            return False
        self.committed += amount
        return True

    def release(self, price: float | None) -> None:
        """It was not spent after all."""
        self.committed -= millionths(price)

    def left(self) -> float | None:
        """What may still be committed; None where there is no cap."""
        return None if self.cap is None else (self.cap - self.committed) / 1e6


@dataclass(frozen=True, slots=True)
class Paid:
    """What was set aside for one task, and the purse that it came from."""

    purse: Purse
    price: float | None

    def back(self) -> None:
        """It was not spent after all."""
        self.purse.release(self.price)

    def really(self, price: float | None) -> None:
        """The service told what it cost."""
        if price is not None:
            self.purse.release(self.price)
            self.purse.committed += millionths(price)


def millionths(amount: float | None) -> int:
    """An amount as an integer; an unknown price counts as nothing (the user was asked before)."""
    return 0 if amount is None else round(amount * 1_000_000)


@dataclass(frozen=True, slots=True)
class GivenUp:
    """How a job would have ended, had the run no fallback left to ask for it."""

    status: JobStatus
    code: str
    text: Text
    task: int | None
    live: Live


@dataclass(slots=True)
class Tally:
    """What a job has been through since it was taken up, at this step of the run's chain."""

    noes: int = 0
    """POSTs answered with no, 429s not counted."""
    failures: int = 0
    """Tasks that were accepted and failed."""
    seed: int | None = None
    """Another seed, after moderation blocked the output of the first."""
    step: int = 0
    """How far down the run's chain it is: 0 the run's own endpoints, k the k-th fallback."""
    given_up: GivenUp | None = None
    """How it would have ended at the step before, where that was asked."""
    asked: float | None = None
    """When it was last asked for, nominal time."""


FRESH = Tally()
"""The tally of a job that nobody was asked for yet; never written to."""


@dataclass(eq=False)
class Carried:
    """One run that this engine carries."""

    run: Run
    purse: Purse
    ready: deque[Job] = field(default_factory=deque)
    parked: list[Job] = field(default_factory=list)
    """Jobs that only stopped endpoints could go on with; they stay pending, the others go on."""
    hand: dict[int, Job] = field(default_factory=dict)
    """Jobs that have left ``ready`` and have no outcome yet."""
    tallies: dict[int, Tally] = field(default_factory=dict)
    cursor: int = 0
    exhausted: bool = False
    """Every pending job has been read from the journal."""
    stopping: bool = False
    """Paused or cancelled: nothing new is bought for it."""
    shown: bool = False
    """It has its first picture since it was taken up."""
    unpaid: bool = False
    """The budget is used up."""
    ending: int = 0
    """Jobs of the hand that are being ended for want of budget: many share one commit."""
    pending: int = 0
    """Jobs without an outcome when it was taken up and not read from the journal since."""
    skipped: int = 0
    """Dispatches that went to runs of higher priority since this one last had its turn."""

    def tally(self, job: Job) -> Tally:
        """The tally of a job."""
        return self.tallies.setdefault(job.id, Tally())

    def policy(self, usual: Policy) -> Policy:
        """How often this run tries; a run may have its own number of retries."""
        tries = self.run.options.get("retries")
        return usual if tries is None else replace(usual, tries=int(tries))

    @property
    def chain(self) -> tuple[str, ...]:
        """The fallback's endpoints in the order in which they are asked."""
        return tuple(self.run.options.get("fallback", ()))

    def give_up(self, job: Job, ending: GivenUp) -> bool:
        """Whether the chain goes on for a job that would end so; the next step counts anew."""
        step = self.tally(job).step
        if step >= len(self.chain):
            return False
        self.tallies[job.id] = Tally(step=step + 1, given_up=ending)
        return True

    def asked_at(self, job: Job, endpoint: str) -> None:
        """The job is at ``endpoint``: its step, and a fresh count where it came there just now."""
        step = self.chain.index(endpoint) + 1 if endpoint in self.chain else 0
        tally = self.tally(job)
        if tally.step != step:
            self.tallies[job.id] = Tally(step=step, given_up=tally.given_up)

    def take(self) -> Job:
        """The next ready job, in hand from now on."""
        job = self.ready.popleft()
        self.hand[job.id] = job
        return job

    def bring_forward(self, index: int) -> None:
        """The ready job at ``index`` becomes the next to go."""
        if index:
            job = self.ready[index]
            del self.ready[index]
            self.ready.appendleft(job)

    def put_back(self, job: Job) -> None:
        """A job from the hand becomes the next to go; while stopping it is left to the journal."""
        self.hand.pop(job.id, None)
        if not self.stopping:
            self.ready.appendleft(job)

    def set_aside(self, job: Job) -> None:
        """A job from the hand that only a stopped endpoint could go on with: it stays pending."""
        self.hand.pop(job.id, None)
        if not self.stopping:
            self.parked.append(job)

    def done(self, job: Job) -> float | None:
        """A job has its outcome; when it was last asked for, where it was asked for at all."""
        self.hand.pop(job.id, None)
        return self.tallies.pop(job.id, FRESH).asked

    @property
    def remaining(self) -> int:
        """Jobs not given out yet: those ready, and those still in the journal."""
        unread = 0 if self.exhausted else self.pending
        return len(self.ready) + (unread if self.run.complete else max(WINDOW, unread))

    @property
    def wants_more(self) -> bool:
        """Whether jobs should be read from the journal."""
        return not self.exhausted and len(self.ready) < WINDOW // 2

    @property
    def idle(self) -> bool:
        """Nothing ready, nothing in hand, nothing left to read."""
        return self.exhausted and not self.ready and not self.hand


def turn(runs: list[Carried]) -> list[Carried]:
    """In which order the runs may take the next free slot.

    By priority, then age; but a run passed over eight times goes first once (no starvation).
    """
    waiting = [c for c in runs if c.ready and not c.stopping]
    waiting.sort(key=lambda c: (c.skipped < 8, -c.run.priority, c.run.created))
    return waiting


def took_turn(taker: Carried, runs: list[Carried]) -> None:
    """Count that ``taker`` was served while the others were not."""
    for one in runs:
        one.skipped = 0 if one is taker else one.skipped + 1
