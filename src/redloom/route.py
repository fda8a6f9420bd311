"""Which endpoint gets the next job: pull by least expected completion, and what it would send.

An endpoint with a free slot pulls the next job, the one expected to finish it first before the
others. Near the end a slow slot is left idle where the others would be done with everything
before it would be done with one (end-game rule). Where a run has a budget, an endpoint that is
dearer than the cheapest pulls only what the budget could pay for at its price.

May import: errors, lang, prompt, job, endpoint, limit, timing, poll.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .endpoint import Asked, Capabilities, Endpoint, Fitted, Lane, Limits, Price, Provider, Size
from .errors import Refused
from .job import Request
from .limit import FIRST_RATE, Gate, Pace, Slots, submit_ahead
from .poll import Polls
from .prompt import parse_ratio, parse_size, place_of
from .timing import CALM, COVERED, EAGER, Timing, Timings

NEAR_SHAPE = 0.04
"""How far a suggested size's shape may be from the ratio that was asked for."""
REACTION_S = 5.0
"""Detection delay that submit-ahead has to cover, nominal seconds."""
OPEN_AFTER = 5
"""Failures of an endpoint in a row after which it is left alone for a while."""
RESERVE = 2.0
"""Standard deviations of its time that an endpoint must have in hand to be given one of the last
jobs: the slots left idle meanwhile cost well under a percent, a late last picture several."""
FIRST_BREAK_S, LONGEST_BREAK_S = 15.0, 300.0


@dataclass(slots=True)
class Breaker:
    """Keeps an endpoint that fails again and again out of use, and lets one job try it later.

    Closed: in use. Open until ``until``: left alone. Then half open: one job at a time, whose
    success closes it and whose failure doubles the break. A 429 is no failure, and neither is
    a picture that the service refuses: both are answers of a service that is well.
    """

    failures: int = 0
    until: float = 0.0
    break_s: float = FIRST_BREAK_S
    trial: int | None = None
    """The job that tries it, while its answer is not known; others may still be on their way back,
    begun before it opened.
    """

    @property
    def open(self) -> bool:
        """Whether it has failed too often in a row."""
        return self.failures >= OPEN_AFTER

    def wait_s(self, now: float) -> float | None:
        """Nominal seconds until a job may try it; None while one is trying."""
        if not self.open:
            return 0.0
        return None if self.trial is not None else max(0.0, self.until - now)

    def began(self, job: int) -> None:
        """A job is on its way there."""
        if self.open:
            self.trial = job

    def succeeded(self) -> None:
        """The service did its work."""
        self.failures, self.break_s, self.trial = 0, FIRST_BREAK_S, None

    def ended(self, job: int) -> None:
        """A job is done with it. One that tried it and tells nothing (a 429, a lost answer, a
        cancelled task) leaves the next one to try.
        """
        self.trial = None if self.trial == job else self.trial

    def failed(self, now: float, job: int) -> None:
        """It could not be reached, or answered ``job`` with an error of its own.

        What left before it was closed and fails after says nothing new.
        """
        self.failures += 1
        if self.failures == OPEN_AFTER or (self.open and self.trial == job):
            self.until = now + self.break_s
            self.break_s = min(LONGEST_BREAK_S, self.break_s * 2.0)
        self.ended(job)


@dataclass(eq=False)
class Live:
    """An endpoint in use: its provider, its gate, what was learnt of it."""

    endpoint: Endpoint
    provider: Provider
    gate: Gate
    timings: Timings
    polls: Polls
    place: str
    """Provider, address and fingerprint of the key: where a ticket is good."""
    lane: Lane = "async"
    breaker: Breaker = field(default_factory=Breaker)
    backlog: bool = False
    """Whether jobs wait that it could be given: then nothing idles while a task waits there."""
    capabilities: Capabilities = field(init=False)

    def __post_init__(self) -> None:
        self.capabilities = self.provider.capabilities()

    @property
    def name(self) -> str:
        """The endpoint's name."""
        return self.endpoint.name

    @property
    def timing(self) -> Timing:
        """How long it takes for a picture of any kind."""
        return self.timings.all

    def price(self, asked: Asked) -> Price:
        """What one such picture costs here."""
        return self.endpoint.price or self.provider.price(asked)

    def poll_cost(self) -> float:
        """Seconds of delay that one status query is worth here and now (see `timing`)."""
        covered = self.gate.slots.ahead > 0 or self.gate.slots.limit is None
        if not self.backlog:
            return EAGER
        return COVERED if covered else EAGER if self.gate.slots.queues is False else CALM

    def wait_s(self, now: float) -> float | None:
        """Nominal seconds until it may be given one more job; None while it has no room."""
        wait, rest = self.gate.wait_s(now), self.breaker.wait_s(now)
        return None if wait is None or rest is None else max(wait, rest)

    @property
    def at_once(self) -> int:
        """Tasks that it works on at once, as far as is known."""
        slots = self.gate.slots
        limit = slots.limit or max(1, self.gate.running, self.gate.outstanding)
        return limit if slots.ceiling is None else min(limit, slots.ceiling)

    def mean_s(self, now: float) -> float:
        """What a picture takes here, as learnt and as the tasks under way show."""
        return self.timing.expected([now - slot.since for slot in self.gate.working])

    def per_second(self, now: float) -> float:
        """Pictures per nominal second while it is kept busy: min(rate, c / E[S])."""
        speed = self.at_once / max(self.mean_s(now), 1e-3)
        rate = self.gate.pace.rate
        return speed if rate is None else min(speed, rate)

    def expected_s(self, now: float) -> float | None:
        """Nominal seconds until a job given to it now is finished; None while it is stopped.

        Wait for the next token, work queued ahead of it, and its own work:
        ``wait + queued * E[S] / c + E[S]``.
        """
        idle = self.idle_s(now)
        queued = max(0, self.gate.outstanding + 1 - self.at_once)
        return None if idle is None else idle + queued / self.at_once * self.mean_s(now)

    def idle_s(self, now: float) -> float | None:
        """The same for a job that finds nothing ahead of it there."""
        rest = self.breaker.wait_s(now)
        if self.gate.stopped or rest is None:
            return None
        wait = max(self.gate.pace.ready_in(now), self.gate.parked_until - now, rest)
        return wait + self.mean_s(now)

    def takes(self, request: Request) -> bool:
        """Whether the request's model, where it names one, is this endpoint's."""
        return request.model in ("", self.endpoint.model)


def clock_set_back(lives: Iterable[Live], by_s: float) -> None:
    """The clock was set back by ``-by_s``: no endpoint is waited for longer than it was."""
    gates, polls = {id(live.gate): live.gate for live in lives}, {}
    for live in lives:
        live.breaker.until += by_s
        polls[id(live.polls)] = live.polls
    for gate in gates.values():
        gate.clock_set(by_s)
    for poll in polls.values():
        poll.clock_set(by_s)


def gate_for(
    endpoint: Endpoint, provider: Provider, lane: Lane, ceiling: int | None, *, timing: Timing
) -> Gate:
    """The gate of a quota: what was set, else what is published, times this machine's share."""
    published = provider.limits()
    capabilities = provider.capabilities()
    pace = _pace(endpoint, published, capabilities)
    slots = concurrency(endpoint.limits, published, lane)
    if slots is not None:
        slots = max(1, int(slots * endpoint.share))
    ahead = submit_ahead(slots or 8, REACTION_S, timing.mean) if lane == "async" else 0
    queues = capabilities.queues_excess if lane == "async" else False
    return Gate(
        pace,
        Slots(
            slots, ahead if queues and slots is not None else 0, ceiling, known=slots is not None,
            growing=slots is None and lane == "async" and not capabilities.local,
            queues=queues, wait_ahead=ahead, shared=endpoint.share < 1.0,
        ),
    )  # fmt: skip


def _pace(endpoint: Endpoint, published: Limits, capabilities: Capabilities) -> Pace:
    rate = endpoint.limits.submit_per_second or published.submit_per_second
    if rate is not None:
        return Pace(rate * endpoint.share, most=rate * endpoint.share)
    unknown = not (capabilities.local or capabilities.free)
    return Pace(FIRST_RATE, growing=True) if unknown else Pace(None)


def concurrency(own: Limits, published: Limits, lane: Lane) -> int | None:
    """Tasks at once on a lane: what was set, else what is published; None: no limit known."""
    if lane == "sync":
        return published.sync_concurrency if own.sync_concurrency is None else own.sync_concurrency
    return published.concurrency if own.concurrency is None else own.concurrency


def choose(
    lives: Iterable[Live],
    request: Request,
    now: float,
    *,
    remaining: int = 1_000_000,
    affordable: float | None = None,
) -> Live | None:
    """The endpoint that is to be given the job now; None where it is better to wait.

    ``remaining``: jobs not given out yet, this one included. ``affordable``: what the run may
    still spend for one picture on average; None: as much as it likes.
    """
    able = [live for live in lives if live.takes(request) and not live.gate.stopped]
    # Not waited for either: where the money does not reach, being quicker is of no use.
    able = [live for live in able if not _too_dear(live, able, affordable)]
    free = [live for live in able if live.wait_s(now) == 0.0]
    for live in sorted(free, key=lambda one: (one.expected_s(now) or 0.0, _cost(one), one.name)):
        if _worth(live, able, now, remaining):
            return live
    return None


def better_elsewhere(here: Live, lives: Iterable[Live], request: Request, now: float) -> bool:
    """Whether a task that still waits ``here`` would be done sooner at an idle endpoint that
    `choose` would give it to: else it would come back here, and be taken back again.

    At best it is the next to start here: after ``E[S] / c`` on average, and then takes ``E[S]``.
    """
    stay = here.mean_s(now) * (1.0 + 1.0 / here.at_once)
    able = [live for live in lives if live.takes(request) and not live.gate.stopped]
    for live in able:
        sound = live is not here and not live.breaker.open
        idle = sound and live.wait_s(now) == 0.0
        expected = live.expected_s(now) if idle else None
        if expected is None or live.gate.outstanding >= live.at_once or expected >= stay:
            continue
        if _worth(live, able, now, 0):  # the task itself is among those outstanding here
            return True
    return False


def payable(request: Request, lives: Iterable[Live], here: Live, left: float | None) -> list[Live]:
    """Where a job could go that is taken back from ``here``: its price there is free again then.

    ``left``: what its run may still spend; None: as much as it likes.
    """
    able, _ = able_for(request, lives)
    if here not in able:
        return []
    if left is None:
        return able
    prices = [one.price(asked_of(request, one).asked).amount or 0.0 for one in able]
    left += prices[able.index(here)] + 1e-9
    return [one for one, price in zip(able, prices, strict=True) if price <= left]


def _cost(live: Live) -> float:
    """What a picture costs there, to choose between equals; unknown counts as the dearest."""
    price = live.endpoint.price or live.provider.price(Asked("", live.endpoint.model))
    return float("inf") if price.amount is None else price.amount


def _too_dear(live: Live, able: Sequence[Live], affordable: float | None) -> bool:
    """Whether it would eat up what cheaper endpoints could make of the budget."""
    if affordable is None or len(able) == 1:
        return False
    cost = _cost(live)
    return cost > affordable and cost > min(_cost(one) for one in able)


def _worth(live: Live, able: Sequence[Live], now: float, remaining: int) -> bool:
    """Whether it would be done with the job before the others were done with everything.

    With a reserve for its spread: what it is late by at the very end, the whole run is late by.
    """
    others = [one for one in able if one is not live and one.expected_s(now) is not None]
    speed = sum(one.per_second(now) for one in others)
    mine = live.expected_s(now)
    if not others or speed <= 0 or mine is None:
        return True
    if mine <= min(one.expected_s(now) or 0.0 for one in others):
        return True  # nobody would be done with it sooner
    work = remaining + sum(one.gate.outstanding for one in others)
    at_once = sum(one.at_once for one in others)
    last = min(one.idle_s(now) or 0.0 for one in others)
    reserve = RESERVE * live.timing.sigma * live.mean_s(now)
    return mine + reserve <= max(0, work - at_once) / speed + last


def asked_of(request: Request, live: Live, *, seed: int | None = None) -> Fitted:
    """What ``live`` would be sent for ``request``. Raises Refused where it never could make it."""
    ratio = parse_ratio(request.size)
    size = nearest(ratio, live.capabilities.sizes) if ratio else parse_size(request.size)
    asked = Asked(
        prompt=request.prompt,
        model=live.endpoint.model or request.model,
        size=size,
        seed=request.seed if seed is None else seed,
        negative_prompt=request.negative,
        references=tuple(map(place_of, request.references)),
        options={**live.endpoint.options, **request.options},
        key=request.key,
    )
    return live.provider.fit(asked)


def nearest(ratio: tuple[int, int], sizes: Sequence[Size]) -> Size:
    """The size whose shape is closest to ``ratio``, the larger of two equals.

    Where no suggested size comes near that shape: as many pixels in it, sides in steps of 16, for
    `Provider.fit` to bring to what the model takes. Without a table: 1.3 million pixels.
    """
    wanted, pixels = ratio[0] / ratio[1], 1_300_000
    if sizes:
        best = min(sizes, key=lambda s: (abs(s[0] / s[1] / wanted - 1.0), -s[0] * s[1]))
        if abs(best[0] / best[1] / wanted - 1.0) <= NEAR_SHAPE:
            return best
        pixels = best[0] * best[1]
    height = (pixels / wanted) ** 0.5
    return max(16, int(height * wanted) // 16 * 16), max(16, int(height) // 16 * 16)


def able_for(request: Request, lives: Iterable[Live]) -> tuple[list[Live], Refused | None]:
    """The endpoints that could make it; where there is none, the last one's reason."""
    able: list[Live] = []
    reason: Refused | None = None
    for live in lives:
        if live.takes(request):
            try:
                asked_of(request, live)
            except Refused as refused:
                reason = refused
            else:
                able.append(live)
    return able, reason
