"""What a client is given: prompts, where to send them, a clock; and what it has to tell.

May import: clock, bench.scenarios.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redloom.clock import Clock

from .scenarios import Scenario


@dataclass
class Course:
    """One race of one client."""

    scenario: Scenario
    prompts: list[str]
    urls: list[str]
    key: str
    folder: Path
    clock: Clock
    jobs: int | None = None
    """Our client's ceiling on tasks in flight (``-j``)."""
    share: float = 1.0
    """Our client's part of the account's quota (``account_share``)."""
    began: float = 0.0
    """When the client was ready and got the prompts, nominal time."""
    delivered: dict[int, float] = field(default_factory=dict)
    """By number of the prompt, when its file was there."""
    purchases: list[dict[str, Any]] = field(default_factory=list)
    """What it bought, by the service's own times as it was told them: all that there is to go by
    where the service keeps no ledger for us. The fields are those of `emulators.ledger.Purchase`."""
    counts: dict[str, int] = field(default_factory=dict)
    """Its requests by kind, and refusals as ``429 …``, for the same reason."""

    def start(self) -> None:
        """The client is ready: its time begins."""
        self.began = self.clock.now()

    def got(self, number: int) -> None:
        """The file of prompt ``number`` is there."""
        self.delivered.setdefault(number, self.clock.now())

    def count(self, kind: str, number: int = 1) -> None:
        """So many requests of a kind."""
        self.counts[kind] = self.counts.get(kind, 0) + number

    def file(self, number: int) -> Path:
        """Where a picture goes."""
        return self.folder / f"{number:05}.png"

    def shares(self) -> list[list[int]]:
        """The prompts dealt out in turn to the endpoints, as those do who know no better."""
        many = len(self.urls)
        return [list(range(k, len(self.prompts), many)) for k in range(many)]


Client = Callable[[Course], Awaitable[None]]
