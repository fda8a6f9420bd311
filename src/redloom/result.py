"""What a caller gets of one wanted picture.

May import: job, journal, image.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from .image import Store
from .job import JobStatus
from .journal import Row


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one wanted picture."""

    run: str
    row: int
    take: int
    status: JobStatus
    prompt: str
    """The words as asked."""
    path: Path | None = None
    """The verified file: in the run's folder, else in the store."""
    image_url: str = ""
    """The service's own link; it expires."""
    file: str = ""
    """The delivered file, relative to the run's folder; empty without a folder or a picture."""
    endpoint: str = ""
    model: str = ""
    task_id: str = ""
    attempts: int = 0
    """Paid tries that were begun, the last included."""
    price: float | None = None
    currency: str = ""
    code: str = ""
    """Why there is no picture: the error's code, as troubleshooting has it."""
    error: str = ""
    """The same as a sentence, in the language that the run was recorded in."""
    flags: str = ""
    """Doubts about a picture that is there, joined by blanks, such as ``blank
    near-duplicate:17``."""

    @property
    def ok(self) -> bool:
        """Whether there is a picture."""
        return self.status in ("ok", "duplicate")


def result_of(row: Row, store: Store) -> Result:
    """A result from a row of the journal's ``outcomes_since``; its file in ``store`` where no folder has it."""
    about = json.loads(row["result"]) if row["result"] else {}
    request = json.loads(row["request"])
    return Result(
        run=row["run"], row=row["row"], take=row["take"], status=row["status"],
        prompt=request.get("prompt", ""), path=_path(row, store), image_url=about.get("url", ""),
        file=row["file"], endpoint=row["endpoint"] or "", model=row["served"] or "",
        task_id=row["ticket_id"] or "", attempts=row["tries"], price=row["price"],
        currency=row["currency"] or "", code=row["code"], error=row["error"], flags=row["flags"],
    )  # fmt: skip


def _path(row: Row, store: Store) -> Path | None:
    if row["file"] and row["out"]:
        return Path(str(row["out"]), str(row["file"]))
    if not row["image"]:
        return None
    image = store.find(row["image"])
    return None if image is None else image.path
