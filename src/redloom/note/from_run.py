"""A run's rows as a note's pictures: what the commands and the studio share.

May import: clock, endpoint, engine, errors, job, journal, lang, metadata, prompt,
route, note.illustrator, note.pictures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from redloom.clock import iso, offload
from redloom.endpoint import Price
from redloom.engine import Result
from redloom.errors import Refused
from redloom.job import Request
from redloom.journal import Row
from redloom.lang import Text
from redloom.metadata import About, label_for, write_label
from redloom.prompt import Prompt
from redloom.route import Live, asked_of

from .illustrator import Illustrated, PictureWanted
from .pictures import in_the_look_of_it

SETTLED = ("ok", "duplicate", "refused", "failed", "invalid")
"""Outcomes of a cover after which its pages need not wait for it."""

LATER = Text(
    "要等封面画好才能照着画；再运行一次会接着做，没有花钱。",
    "It waits for the cover's picture, its reference; the same command goes on. Nothing was spent.",
)
NO_COVER = Text(
    "封面没有画成，其余的图没有可参照的，画风可能不一致。",
    "The cover's picture was not made, so the others had no reference and may differ in look.",
)


def no_reference(names: Sequence[str]) -> Text:
    """Why a note asked to be consistent is not: no endpoint's model takes a reference."""
    which = ", ".join(names)
    return Text(
        f"{which} 的模型不收参考图，其余的图没有照封面来画，画风可能不一致。",
        f"The model of {which} takes no reference picture, so the others were drawn without the cover before them and may differ in look.",
    )


def prompt_of(wanted: PictureWanted, reference: str = "") -> Prompt:
    """What is asked for: the picture's words, or, with a reference, those for a picture in its look."""
    words = in_the_look_of_it(wanted.prompt) if reference else wanted.prompt
    references = (reference,) if reference else ()
    return Prompt(words, id=wanted.purpose, size=wanted.ratio, references=references)


def with_reference(one: Illustrated, reference: bytes | None) -> Illustrated:
    """The picture with what it was drawn after on its record."""
    if reference is None:
        return one
    sha = hashlib.sha256(reference).hexdigest()
    return replace(one, record=one.record | {"reference_sha256": sha})


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
