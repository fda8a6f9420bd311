"""Endpoints put to use: their gates, lanes and poll schedulers, shared where the quota is shared.

Limits belong to (account, region, model): endpoints of one quota and lane get one gate, those of
one account one poll scheduler. What earlier processes learnt of each is taken up from the
journal, and written back at the end.

May import: everything on the way before it, providers, settings.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .clock import Clock
from .endpoint import Endpoint, Lane, Provider
from .errors import RedloomError
from .lang import Text
from .limit import Gate, Pace
from .poll import Polls
from .records import Records
from .route import Live, concurrency, gate_for
from .timing import Timings
from .workspace import fingerprint

POLL_MARGIN = 0.9
"""Part of the account's query limits that is used: other programs of the account ask too."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How endpoints are used in this process."""

    clock: Clock
    jobs: int | None = None
    """The user's ceiling on tasks in flight."""
    lane: Lane | None = None
    rng: random.Random = field(default_factory=random.Random)


async def equip(
    equipped: Sequence[tuple[Endpoint, Provider]],
    keys: Mapping[str, str],
    records: Records,
    terms: Terms,
) -> list[Live]:
    """The endpoints in use. ``keys`` by endpoint name: only their salted fingerprints go on."""
    salt = await records.salt()
    gates: dict[tuple[str, ...], Gate] = {}
    polls: dict[str, Polls] = {}
    lives = []
    for endpoint, provider in equipped:
        mark = fingerprint(keys.get(endpoint.name, ""), salt)
        live = _live(endpoint, provider, mark, gates, polls, terms)
        await _recall(live, records)
        lives.append(live)
    return lives


def lane_of(provider: Provider, wanted: Lane | None) -> Lane:
    """The lane to use: the one asked for where there is it, else the recoverable one."""
    lanes = provider.capabilities().lanes
    if wanted in lanes:
        return wanted
    return "async" if "async" in lanes else lanes[0]


def lane_advice(live: Live, pictures: int) -> Text | None:
    """What the other lane would gain and put at risk; None where there is no choice to speak of.

    Sources of the estimate: formula (1), ``max(N / r + E[S], N * E[S] / c)``.
    """
    lanes, mean = live.capabilities.lanes, live.timing.mean
    if len(lanes) < 2 or pictures < 2:
        return None
    took = {lane: _makespan_s(live, lane, pictures, mean) for lane in ("async", "sync")}
    slow, quick = took["async"], took["sync"]
    if live.lane == "async" and quick < 0.7 * slow:
        at_once = min(pictures, _open_calls(live, mean))
        return Text(
            f"{live.name} 走可恢复的异步通道，{pictures} 张约 {_minutes(slow)}；--lane sync 约 {_minutes(quick)}，但断线或崩溃时会有至多 {at_once} 张付了钱却查不清。",
            f"{live.name} uses the recoverable lane: {pictures} pictures take about {_minutes(slow)}. --lane sync would take about {_minutes(quick)}, but a broken connection or a crash leaves up to {at_once} paid pictures in doubt for good.",
        )
    if live.lane == "sync":
        at_once = min(pictures, _open_calls(live, mean))
        return Text(
            f"{live.name} 走同步通道：断线或崩溃时，至多 {at_once} 张可能已付款而无从查证；--lane async 可恢复，约 {_minutes(slow)}。",
            f"{live.name} uses the synchronous lane: after a broken connection or a crash up to {at_once} pictures may be paid for and cannot be looked up. --lane async is recoverable and takes about {_minutes(slow)}.",
        )
    return None


def _makespan_s(live: Live, lane: str, pictures: int, mean: float) -> float:
    """The shortest time for so many pictures on a lane, nominal seconds."""
    own, published = live.endpoint.limits, live.provider.limits()
    slots = concurrency(own, published, "sync" if lane == "sync" else "async")
    rate = own.submit_per_second or published.submit_per_second
    by_rate = 0.0 if rate is None else (pictures - 1) / (rate * live.endpoint.share)
    by_slots = 0.0 if slots is None else pictures * mean / max(1.0, slots * live.endpoint.share)
    return max(by_rate + mean, by_slots)


def _open_calls(live: Live, mean: float) -> int:
    """Synchronous calls open at once: Little's law, ``r * E[S]``."""
    rate = live.gate.pace.rate
    return 10_000 if rate is None else max(1, round(rate * mean))


def _minutes(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _live(
    endpoint: Endpoint,
    provider: Provider,
    mark: str,
    gates: dict[tuple[str, ...], Gate],
    polls: dict[str, Polls],
    terms: Terms,
) -> Live:
    lane = lane_of(provider, terms.lane)
    timings = Timings(provider.capabilities().typical_s)
    gate = gates.setdefault(
        (*endpoint.quota, lane),
        gate_for(endpoint, provider, lane, terms.jobs, timing=timings.all),
    )
    account = "|".join(endpoint.quota[:2])
    shared = polls.setdefault(account, _polls_for(endpoint, provider, terms))
    place = f"{endpoint.provider} {endpoint.base_url} {mark}"
    return Live(endpoint, provider, gate, timings, shared, place, lane)


def _polls_for(endpoint: Endpoint, provider: Provider, terms: Terms) -> Polls:
    """The account's poll scheduler under its query limits, times this machine's share."""
    own, published = endpoint.limits, provider.limits()

    def pace(limit: float | None) -> Pace:
        rate = None if limit is None else limit * endpoint.share * POLL_MARGIN
        return Pace(rate, most=rate)

    return Polls(
        terms.clock,
        pace(own.poll_per_second or published.poll_per_second),
        terms.rng,
        lists=pace(own.list_per_second or published.list_per_second),
    )


async def _recall(live: Live, records: Records) -> None:
    """Take up what earlier processes learnt of an endpoint."""
    gate = await records.learnt("gate", _quota_of(live))
    if gate:
        live.gate.recall(gate)
    times = await records.learnt("times", _kind_of_work(live))
    if times:
        live.timings.recall(times)


async def keep_what_was_learnt(lives: Sequence[Live], records: Records, now: float) -> None:
    """Write down limits and service times for the next process; a full disk is not said twice."""
    with contextlib.suppress(RedloomError):
        for live in lives:
            gate, times = live.gate.learnt(), live.timings.learnt()
            if gate["rate"] or gate["slots"] or gate["queues"] is not None:
                await records.learn("gate", _quota_of(live), gate, now)
            if times:
                await records.learn("times", _kind_of_work(live), times, now)


def _quota_of(live: Live) -> str:
    """What learnt limits are about: the quota, and the lane, since each lane has its own."""
    return "|".join((*live.endpoint.quota, live.lane))


def _kind_of_work(live: Live) -> str:
    """What a learnt service time is about: who makes it where, with which model, on which lane."""
    return "|".join((live.endpoint.provider, *live.endpoint.quota, live.lane))
