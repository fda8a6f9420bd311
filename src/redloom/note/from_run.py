"""A run's rows as a note's pictures: what the commands and the studio share.

May import: clock, endpoint, engine, errors, job, journal, lang, metadata, route, note.illustrator.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from redloom.clock import iso, offload
from redloom.endpoint import Price
from redloom.engine import Result
from redloom.errors import Refused
from redloom.job import Request
from redloom.journal import Row
from redloom.lang import Text
from redloom.metadata import About, label_for, write_label
from redloom.route import Live, asked_of

from .illustrator import Illustrated, PictureWanted


def able(live: Live, wanted: PictureWanted, references: Sequence[str] = ()) -> bool:
    """Whether an endpoint could make this picture, from these references."""
    if references and not live.capabilities.references:
        return False
    try:
        asked_of(Request(wanted.prompt, size=wanted.ratio, references=tuple(references)), live)
    except Refused:
        return False
    return True


def price_of(live: Live, wanted: PictureWanted, references: Sequence[str] = ()) -> Price:
    """What one of these pictures costs at an endpoint; its amount is None where unknown. Raises
    Refused where the endpoint could not make it.
    """
    request = Request(wanted.prompt, size=wanted.ratio, references=tuple(references))
    return live.price(asked_of(request, live).asked)


async def illustrated(
    wanted: PictureWanted, result: Result | None, rows: Sequence[Row]
) -> Illustrated:
    """What became of a wanted picture: its bytes and record, or why there are none."""
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
    flags = {"flags": "fallback"} if "fallback" in row["flags"].split() else {}
    return flags | {
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
