"""Which endpoint gets the next job: pull by least expected completion, and what it would send.

May import: errors, lang, prompt, job, endpoint, limit, poll.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from .endpoint import Asked, Capabilities, Endpoint, Fitted, Lane, Price, Provider, Size
from .errors import Refused
from .job import Request
from .limit import Gate, Pace, Slots, submit_ahead
from .poll import Polls, Timing
from .prompt import parse_ratio, parse_size

REACTION_S = 5.0
"""Detection delay that submit-ahead has to cover, nominal seconds."""


@dataclass(eq=False)
class Live:
    """An endpoint in use: its provider, its gate, what was learnt of it."""

    endpoint: Endpoint
    provider: Provider
    gate: Gate
    timing: Timing
    polls: Polls
    place: str
    """Provider, address and fingerprint of the key: where a ticket is good."""
    lane: Lane = "async"
    capabilities: Capabilities = field(init=False)

    def __post_init__(self) -> None:
        self.capabilities = self.provider.capabilities()

    @property
    def name(self) -> str:
        """The endpoint's name."""
        return self.endpoint.name

    def price(self, asked: Asked) -> Price:
        """What one such picture costs here."""
        return self.endpoint.price or self.provider.price(asked)

    def expected_s(self, now: float) -> float | None:
        """Nominal seconds until a job given to it now is finished; None while it is stopped.

        Wait for the next token, work queued ahead of it, and its own work:
        ``wait + queued * E[S] / c + E[S]``.
        """
        if self.gate.stopped:
            return None
        slots = self.gate.slots.limit or max(1, self.gate.outstanding + 1)
        queued = max(0, self.gate.outstanding + 1 - slots)
        wait = max(self.gate.pace.ready_in(now), self.gate.parked_until - now, 0.0)
        return wait + (queued / slots) * self.timing.mean + self.timing.mean

    def takes(self, request: Request) -> bool:
        """Whether the request's model, where it names one, is this endpoint's."""
        return request.model in ("", self.endpoint.model)


def gate_for(
    endpoint: Endpoint, provider: Provider, lane: Lane, ceiling: int | None, *, timing: Timing
) -> Gate:
    """The gate of a quota: what was set, else what is published, times this machine's share."""
    published, own = provider.limits(), endpoint.limits
    rate = own.submit_per_second or published.submit_per_second
    slots = _slots(own.concurrency, published.concurrency)
    if lane == "sync":
        slots = _slots(own.sync_concurrency, published.sync_concurrency)
    if slots is not None:
        slots = max(1, int(slots * endpoint.share))
    capabilities = provider.capabilities()
    ahead = 0
    if slots is not None and lane == "async" and capabilities.queues_excess:
        ahead = submit_ahead(slots, REACTION_S, timing.mean)
    pace = Pace(None if rate is None else rate * endpoint.share)
    return Gate(pace, Slots(slots, ahead, ceiling, known=slots is not None))


def _slots(own: int | None, published: int | None) -> int | None:
    return own if own is not None else published


def choose(lives: Iterable[Live], request: Request, now: float) -> Live | None:
    """The endpoint on which the job would be finished first, if it can be asked now.

    The best one may be busy while a worse one is free: the job goes to the worse only if it is
    expected to finish there before the better one would; otherwise it waits (end-game rule).
    """
    able = [live for live in lives if live.takes(request) and not live.gate.stopped]
    if not able:
        return None
    best = min(able, key=lambda live: (live.expected_s(now) or 0.0, live.name))
    return best if best.gate.wait_s(now) == 0.0 else None


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
        references=request.references,
        options={**live.endpoint.options, **request.options},
        key=request.key,
    )
    return live.provider.fit(asked)


def nearest(ratio: tuple[int, int], sizes: Sequence[Size]) -> Size:
    """The size whose shape is closest to ``ratio``, the larger of two equals.

    Without a table: about 1.3 million pixels in that shape, sides in steps of 16.
    """
    wanted = ratio[0] / ratio[1]
    if sizes:
        return min(sizes, key=lambda s: (abs(s[0] / s[1] / wanted - 1.0), -s[0] * s[1]))
    height = (1_300_000 / wanted) ** 0.5
    return int(height * wanted) // 16 * 16, int(height) // 16 * 16


def fits(request: Request, lives: Iterable[Live]) -> Refused | None:
    """None where at least one endpoint could make it; else the last one's reason."""
    reason: Refused | None = None
    for live in lives:
        try:
            asked_of(request, live)
        except Refused as refused:
            reason = refused
        else:
            return None
    return reason


def with_seed(request: Request, seed: int | None) -> Request:
    """The request with another seed, for a new try after moderation blocked the output."""
    return replace(request, seed=seed)
