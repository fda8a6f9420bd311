"""The engine as a note's illustrator: picture prompts become a run, its results pictures.

May import: engine, settings, note, money.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from redloom.clock import iso, offload
from redloom.endpoint import Price
from redloom.engine import Engine, Result, RunOptions
from redloom.events import Watcher
from redloom.job import Request
from redloom.journal import Row
from redloom.lang import Text
from redloom.metadata import About, label_for, write_label
from redloom.note.illustrator import Illustrated, PictureWanted
from redloom.prompt import Prompt
from redloom.route import Live, asked_of
from redloom.settings import Settings

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
            await _illustrated(one, by_row.get(number), rows)
            for number, one in enumerate(wanted, 1)
        ]


def price_of(live: Live, wanted: PictureWanted) -> Price:
    """What one of these pictures costs at an endpoint; its amount is None where unknown."""
    fitted = asked_of(Request(wanted.prompt, size=wanted.ratio), live)
    return live.price(fitted.asked)


async def _illustrated(
    wanted: PictureWanted, result: Result | None, rows: Sequence[Row]
) -> Illustrated:
    if result is None:
        text = Text(
            "这张图还没有结果：端点停用，或已中断；再运行一次会接着做，不会重复付款。",
            "No result for this picture yet: the endpoint is out of use, or the run was interrupted; the same command goes on without paying twice.",
        )
        return Illustrated(wanted.row, False, error=text, record={"status": "pending"})
    row = next(r for r in rows if r["row"] == result.row)
    record = _record(result, row)
    if not result.ok or result.path is None:
        return Illustrated(wanted.row, False, record=record, error=Text(result.error, result.error))
    data = await offload(result.path.read_bytes)
    return Illustrated(wanted.row, True, data, record)


def _record(result: Result, row: Row) -> dict[str, Any]:
    """The manifest's fields of one picture, as the journal knows them."""
    mine = row["task_job"] == row["id"]
    return {
        "status": result.status,
        "source_sha256": row["source_sha256"],
        "prompt": result.prompt,
        "endpoint": result.endpoint,
        "model": result.model,
        "size": row["sent_size"] or "",
        "seed": row["seed"],
        "task_id": result.task_id,
        "attempts": result.attempts,
        "submitted_at": iso(row["intent_at"]),
        "finished_at": iso(row["ended"]),
        "seconds": round(row["ended"] - row["intent_at"], 1) if mine and row["ended"] else None,
        "price": result.price if mine else 0.0,
        "currency": result.currency,
        "price_source": row["price_source"],
        "error_code": result.code,
        "error": result.error,
    }


def label_card(data: bytes) -> bytes:
    """A card that shows a model's picture, with the implicit AIGC label (GB 45438-2025)."""
    digest = hashlib.sha256(data).hexdigest()
    return write_label(data, label_for(About(prompt="", provider="redloom"), digest))
