"""The report's own table: 3, 5 and 10 pictures, one by one, three at once, and ours.

May import: lang, bench.
"""

from __future__ import annotations

from collections.abc import Sequence

from redloom.lang import Text

from .measure import Row
from .table import CLIENTS


def minutes(seconds: float) -> str:
    """As the report writes times: ``4:57``."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02}"


def markdown(rows: Sequence[Row]) -> list[str]:
    """Time to the last file by number of pictures; the saving against one by one."""
    sizes = sorted({row.wanted for row in rows})
    clients = list(dict.fromkeys(row.client for row in rows))
    found = {(row.wanted, row.client): row for row in rows}
    head = [str(Text("图片", "pictures")), *(str(CLIENTS[one]) for one in clients)]
    said = ["| " + " | ".join(head) + " |", "|--:" * len(head) + "|"]
    for size in sizes:
        first = found[size, clients[0]].makespan_s
        cells = [str(size)]
        for client in clients:
            row = found[size, client]
            saved = (
                f" (−{100 * (1 - row.makespan_s / first):.0f} %)" if row.makespan_s < first else ""
            )
            cells.append((minutes(row.makespan_s) if row.whole else "–") + saved)
        said.append("| " + " | ".join(cells) + " |")
    return said
