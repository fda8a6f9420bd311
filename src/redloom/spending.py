"""What a run has cost, added up from the journal: billed, perhaps billed, of unknown price.

May import: journal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .journal import Row


@dataclass(frozen=True, slots=True)
class Spending:
    """A run's money by currency: what is billed, what may be, what has no known price."""

    billed: Mapping[str, float] = field(default_factory=dict)
    maybe: Mapping[str, float] = field(default_factory=dict)
    unpriced: int = 0
    sources: Mapping[str, float] = field(default_factory=dict)
    """Billed amounts by how the price is known: reported, estimated."""


def spending_of(rows: Iterable[Row]) -> Spending:
    """A run's money from the rows of the ``spent`` query."""
    billed: dict[str, float] = {}
    maybe: dict[str, float] = {}
    sources: dict[str, float] = {}
    unpriced = 0
    for row in rows:
        if row["billed"] == "no":
            continue
        unpriced += row["unpriced"]
        amount = row["amount"] or 0.0
        where = billed if row["billed"] == "yes" else maybe
        where[row["currency"]] = where.get(row["currency"], 0.0) + amount
        if row["billed"] == "yes":
            sources[row["price_source"]] = sources.get(row["price_source"], 0.0) + amount
    return Spending(billed, maybe, unpriced, sources)
