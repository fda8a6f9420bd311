"""The engine as a note's illustrator: picture prompts become a run, its results pictures.

May import: observe, clock, endpoint, events, lang, route, engine, image, prompt, settings, note,
money.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from redloom.clock import offload
from redloom.endpoint import Price
from redloom.engine import Engine, RunOptions
from redloom.events import Watcher
from redloom.image import write_whole
from redloom.note.bundle import extension
from redloom.note.from_run import (
    LATER,
    NO_COVER,
    SETTLED,
    able,
    illustrated,
    label_card,
    no_reference,
    price_of,
    prompt_of,
    with_reference,
)
from redloom.note.illustrator import Illustrated, PictureWanted
from redloom.observe import observing
from redloom.prompt import Prompt, with_digest
from redloom.route import Live
from redloom.settings import Settings

__all__ = ["EngineIllustrator", "SayPrice", "dearest", "label_card"]

SayPrice = Callable[[int, Price, str], None]
"""Called with the number of pictures, the price of one, and the endpoint, before anything is
spent; it may raise to stop."""
_SOME = ("reference.png",)
"""A reference as far as a price is concerned."""


def dearest(prices: Sequence[tuple[Price, str]]) -> tuple[Price, str]:
    """The price to reckon with, and whose it is: an unknown one, else the highest; of equals the
    first.
    """
    unknown = [pair for pair in prices if pair[0].amount is None]
    return unknown[0] if unknown else max(prices, key=lambda pair: pair[0].amount or 0.0)


@dataclass
class EngineIllustrator:
    """Makes a note's pictures through the configured endpoints."""

    settings: Settings
    endpoints: Sequence[str] = ()
    budget: float | None = None
    say_price: SayPrice = lambda _number, _price, _endpoint: None
    watchers: Sequence[Watcher] = ()
    take: int = 1
    """Another number asks for fresh pictures of the same prompts."""
    fallback: Sequence[str] = ()
    """Endpoints asked in this order for what the others do not make."""
    ends_in_cards: bool = False
    """Whether a card of the note's own words counts as delivered where no picture was made."""

    async def __call__(self, wanted: Sequence[PictureWanted], /) -> Sequence[Illustrated]:
        """Pictures in the order wanted; one that fails says why. Those that shall look ``like``
        another wait for it. Raises BadSettings, or what ``say_price`` raises, before anything is
        spent.
        """
        names = list(self.endpoints) or [self.settings.default_endpoint]
        async with (
            observing() as watch,
            Engine([*names, *self.fallback], settings=self.settings) as engine,
        ):
            watch(engine)
            for watcher in self.watchers:
                engine.stream_of_events.watch(watcher)
            work = _Work(
                self, engine, [one for one in engine.lives if one.name not in self.fallback]
            )
            self.say_price(len(wanted), *work.price(wanted))
            made = await work.made([one for one in wanted if one.like is None])
            rest = [one for one in wanted if one.like is not None]
            made += await work.like(rest, {one.row: one for one in made})
        found = {one.row: self._settled(one) for one in made}
        return [found[one.row] for one in wanted]

    def _settled(self, one: Illustrated) -> Illustrated:
        """A picture that was refused, failed, or whose endpoints are stopped, where a card may
        stand in for it, is marked as delivered so.
        """
        status = one.record.get("status")
        if one.ok or not self.ends_in_cards or status in ("unpaid", "in-doubt", "cancelled"):
            return one
        return replace(one, record=one.record | {"flags": "fallback", "fallback": "cards"})


@dataclass
class _Work:
    """One note's pictures at the engine: what they may still cost, and who can make them."""

    how: EngineIllustrator
    engine: Engine
    own: Sequence[Live]
    spent: float = 0.0

    def price(self, wanted: Sequence[PictureWanted]) -> tuple[Price, str]:
        """The price of one of these pictures and where; the dearer, where those with a reference
        cost otherwise.
        """
        one, plain = wanted[0], [live for live in self.own if able(live, wanted[0])]
        prices = [(price_of(live, one), live.name) for live in (plain or self.own)[:1]]
        if any(one.like is not None or one.reference is not None for one in wanted):
            leads = [live for live in self.own if able(live, one, _SOME)]
            prices += [(price_of(live, one, _SOME), live.name) for live in leads]
        return dearest(prices)

    async def like(
        self, wanted: Sequence[PictureWanted], made: dict[int, Illustrated]
    ) -> list[Illustrated]:
        """Pictures with the one that each shall look like as their reference."""
        waits = [one for one in wanted if not _is_over(made.get(one.like or 0))]
        ready = [
            replace(one, reference=made[one.like].data if one.like in made else None)
            for one in wanted
            if one not in waits
        ]
        left = [Illustrated(one.row, False, record={"status": "pending"}, error=LATER) for one in waits]  # fmt: skip
        lonely = [one for one in ready if one.reference is None]
        led = [one for one in ready if one.reference is not None]
        alone = [replace(one, remark=NO_COVER) for one in await self.made(lonely)]
        return [*left, *alone, *await self.made(led)]

    async def made(self, wanted: Sequence[PictureWanted]) -> list[Illustrated]:
        """Pictures asked for at one time, in order; all with a reference or all without."""
        if not wanted:
            return []
        kept = {one.row: await self._keep(one.reference) for one in wanted if one.reference}
        shown = tuple(kept.values())[:1]
        chosen = [live.name for live in self.own if able(live, wanted[0], shown)]
        if kept and not chosen:
            why = no_reference([live.name for live in self.own])
            plain = [replace(one, reference=None) for one in wanted]
            return [replace(one, remark=why) for one in await self.made(plain)]
        prompts = [prompt_of(one, kept.get(one.row, "")) for one in wanted]
        some = kept or 0 < len(chosen) < len(self.own)
        return await self._run(wanted, prompts, chosen if some else None)

    async def _run(
        self, wanted: Sequence[PictureWanted], prompts: list[Prompt], chosen: list[str] | None
    ) -> list[Illustrated]:
        how, engine = self.how, self.engine
        price, _ = self.price(wanted)
        run = await engine.add(
            prompts, options=RunOptions(take=how.take, fallback=tuple(how.fallback)), kind="note",
            budget=None if how.budget is None else max(0.0, how.budget - self.spent),
            currency=price.currency, priority=10, endpoints=chosen,
        )  # fmt: skip
        by_row = {result.row: result async for result in engine.follow(run)}
        self.spent += await engine.records.committed(run)
        rows = await engine.records.rows(run, (0, 0), len(prompts))
        made = [await illustrated(one, by_row.get(at), rows) for at, one in enumerate(wanted, 1)]
        return [with_reference(one, asked.reference) for one, asked in zip(made, wanted, strict=True)]  # fmt: skip

    async def _keep(self, data: bytes) -> str:
        """A reference as the request has it: a file of the workspace, known by its content."""
        sha = hashlib.sha256(data).hexdigest()
        path = self.how.settings.workspace / "references" / f"{sha}{extension(data)}"
        if not await offload(path.is_file):
            await offload(partial(write_whole, path, data))
        return with_digest(str(path.absolute()), sha)


def _is_over(leader: Illustrated | None) -> bool:
    """Whether nothing more will become of the picture that others wait for."""
    return leader is None or leader.ok or leader.record.get("status") in SETTLED
