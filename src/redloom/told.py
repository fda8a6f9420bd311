"""Limits that a service tells of itself, put to use: asked for when a run begins, and while it lasts.

Three sources, in this order: what the user set is never changed; what the service tells replaces
the dated table of the provider; what a refusal taught stays below both until it is probed again.
A service tells by a call of its own (`PublishesQuota`) or beside its answers (`TellsQuota`).

May import: everything on the way before it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial

from .clock import Clock
from .endpoint import PublishesQuota, TellsQuota, Told
from .errors import ServiceError
from .events import Event, Started
from .limit import submit_ahead
from .route import REACTION_S, Live

log = logging.getLogger("redloom")
AGAIN_S = 3600.0
"""Nominal seconds after which an endpoint in use is asked anew: quotas are raised for a while."""


def heed(live: Live, told: Told) -> None:
    """What a service told of an endpoint's limits, times this machine's share of them."""
    own, share, gate = live.endpoint.limits, live.endpoint.share, live.gate
    if own.submit_per_second is None:
        if told.submit_per_second:
            gate.pace.told(told.submit_per_second * share, start=True)
        elif told.at_most_per_second:
            gate.pace.told(told.at_most_per_second * share, start=False)
    if live.lane == "async" and own.concurrency is None and told.concurrency:
        slots = max(1, int(told.concurrency * share))
        ahead = submit_ahead(slots, REACTION_S, live.timing.mean)
        gate.slots.told(slots, ahead if told.waiting is None else min(ahead, told.waiting))


class Quotas:
    """Keeps the endpoints of the runs that are carried here at the limits that are told."""

    def __init__(self, lives: Sequence[Live], clock: Clock) -> None:
        self._lives, self._clock = lives, clock
        self._asking: dict[str, asyncio.Task[None]] = {}
        for live in lives:
            if isinstance(live.provider, TellsQuota):
                live.provider.on_told = partial(heed, live)

    def notice(self, event: Event) -> None:
        """A watcher of the engine's events: the endpoints of a run that begins are asked."""
        if not isinstance(event, Started):
            return
        for live in self._lives:
            due = live.name not in self._asking or self._asking[live.name].done()
            if live.name in event.endpoints and due and isinstance(live.provider, PublishesQuota):
                asking = asyncio.get_running_loop().create_task(self._ask(live, live.provider))
                self._asking[live.name] = asking

    async def close(self) -> None:
        """Ask no more."""
        for asking in self._asking.values():
            asking.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def _ask(self, live: Live, provider: PublishesQuota) -> None:
        """Now, and every `AGAIN_S` while it has work; what cannot be read changes nothing."""
        while True:
            try:
                told = await provider.quota()
            except ServiceError as error:
                log.info("%s did not tell its limits: %s", live.name, error)
                return
            if told is None:
                return
            heed(live, told)
            await self._clock.sleep(AGAIN_S)
            if not live.gate.outstanding:
                return
