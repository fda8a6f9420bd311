"""What a run wants: the options that hold for all of it, and the jobs of each row.

May import: errors, prompt, job, records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .errors import BadInput
from .job import Request, request_of
from .prompt import Prompt
from .records import NewJob


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What holds for every picture of a run unless its prompt says otherwise."""

    model: str = ""
    """Another model of the endpoints; empty: their own."""
    size: str = ""
    """``1024x1024``, ``1024*1024`` or a ratio such as ``3:4``; empty: the endpoint's own."""
    seed: int | None = None
    negative: str = ""
    n: int = 1
    """How many different pictures of each prompt."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the endpoint's own, handed on as they are."""
    in_doubt: str = "wait"
    """``wait``, ``resubmit`` or ``fail``: what to do where nobody knows whether it was bought."""
    delivery: Mapping[str, Any] = field(default_factory=dict)
    """How files are delivered: ``format``, ``also``, ``metadata`` (`image.Delivery`)."""
    take: int = 1
    """Another number asks for fresh pictures of prompts that the store already has."""
    retries: int | None = None
    """More tries of a picture whose task failed; None: the engine's own (3)."""
    fallback: tuple[str, ...] = ()
    """Endpoints asked in this order, and only for what would end refused or failed or whose
    endpoints are stopped; the last one often ``cards``. What they make is flagged ``fallback``."""
    name: str = ""
    """Pattern of the files' names (`naming.named_file`); empty: ``{row}-{words}``."""
    rows: int = 0
    """Rows of the whole input where they are known beforehand: names are as wide as that."""
    soften: bool = False
    """Whether a refused prompt may be rewritten more mildly and asked for once more."""

    hedge: float = 0.0
    """Percent of the run's pictures that may get a twin in the drain, where they are free (see
    `hedge`); 0: none."""

    def of_run(self) -> dict[str, Any]:
        """The part that a request takes over."""
        return {
            "model": self.model, "size": self.size, "seed": self.seed,
            "negative": self.negative, "options": dict(self.options),
        }  # fmt: skip

    def record(self) -> dict[str, Any]:
        """As the journal keeps it."""
        return {
            **self.of_run(), "in_doubt": self.in_doubt, "delivery": dict(self.delivery),
            "take": self.take, "retries": self.retries, "fallback": list(self.fallback),
            "name": self.name, "rows": self.rows, "soften": self.soften,
            "hedge": self.hedge,
        }  # fmt: skip


def jobs_of(row: int, prompt: Prompt, options: RunOptions) -> list[NewJob]:
    """The jobs of one row: n takes of each of its variants, or one invalid row."""
    number_wanted = prompt.n if prompt.n > 1 else options.n
    variants = prompt.expanded()
    given = {
        "id": prompt.id, "n": number_wanted * len(variants), "filename": prompt.filename,
        "folder": prompt.folder, "extra": dict(prompt.extra), "line": prompt.line, "prompt": prompt.text,
    }  # fmt: skip
    kept = {name: value for name, value in given.items() if value not in ("", 0, {}, 1)}
    if prompt.problem:
        return [NewJob(row, 1, None, kept, prompt.problem)]
    jobs: list[NewJob] = []
    first = max(prompt.take, options.take)
    for variant in variants:
        for number in range(1, number_wanted + 1):
            try:
                request = request_of(variant, take=first + number - 1, **options.of_run())
            except BadInput as error:
                return [NewJob(row, 1, None, kept, str(error))]
            jobs.append(NewJob(row, len(jobs) + 1, _reseeded(request, number), kept))
    return jobs


def _reseeded(request: Request, number: int) -> Request:
    """The same seed twice would be the same picture twice: the k-th of n gets ``seed + k - 1``."""
    if request.seed is None or number == 1:
        return request
    return replace(request, seed=(request.seed + number - 1) % 2**31)
