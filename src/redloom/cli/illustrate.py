"""The engine as a note's illustrator: picture prompts become a run, its results pictures.

May import: engine, settings, note, money.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from redloom.endpoint import Price
from redloom.engine import Engine, RunOptions
from redloom.events import Watcher
from redloom.note.from_run import illustrated, label_card, price_of
from redloom.note.illustrator import Illustrated, PictureWanted
from redloom.prompt import Prompt
from redloom.settings import Settings

__all__ = ["EngineIllustrator", "SayPrice", "label_card"]

SayPrice = Callable[[int, Price, str], None]
"""Called with the number of pictures, the price of one, and the endpoint, before anything is
spent; it may raise to stop."""


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

    async def __call__(self, wanted: Sequence[PictureWanted], /) -> Sequence[Illustrated]:
        """Pictures in the order wanted; one that fails says why. Raises BadSettings, or what
        ``say_price`` raises, before anything is spent.
        """
        async with Engine(list(self.endpoints) or None, settings=self.settings) as engine:
            for watcher in self.watchers:
                engine.stream_of_events.watch(watcher)
            live = engine.lives[0]
            price = price_of(live, wanted[0])
            self.say_price(len(wanted), price, live.name)
            results = await engine.generate(
                [Prompt(one.prompt, id=one.purpose, size=one.ratio) for one in wanted],
                options=RunOptions(take=self.take),
                kind="note",
                budget=self.budget,
                currency=price.currency,
                priority=10,
            )
            rows = (
                await engine.records.rows(results[0].run, (0, 0), len(results)) if results else []
            )
        by_row = {result.row: result for result in results}
        return [
            await illustrated(one, by_row.get(number), rows) for number, one in enumerate(wanted, 1)
        ]
