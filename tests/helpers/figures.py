"""What a fault scene leaves for the table in docs/reliability.md, where somebody asks for it.

``FAULT_FIGURES=FILE`` collects a JSON line a scene; ``tools/fault_table.py FILE`` writes
the table from them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path


def note_figures(
    *, scene: str, seed: int, jobs: int, injected: Mapping[str, int], statuses: Mapping[str, int]
) -> None:
    """One scene, after the oracle has passed it: so many rows, so many faults, what they became."""
    place = os.environ.get("FAULT_FIGURES")
    if not place:
        return
    line = {
        "scene": scene, "seed": seed, "jobs": jobs, "statuses": dict(statuses),
        "injected": {name: number for name, number in injected.items() if number},
    }  # fmt: skip
    with Path(place).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
