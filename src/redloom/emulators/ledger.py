"""What a service would have billed: every accepted request, whole, and how often it was asked.

It is the witness in tests of "paid once". It lives in memory and, where a path is given, as
JSON lines on disk, flushed one by one, so that another process can read it while it grows and
after a kill.

May import: nothing of the package.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import IO, Any


def prompt_sha(prompt: str) -> str:
    """SHA-256 of the prompt in UTF-8, as hex: what ties a picture to its words."""
    return sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(slots=True, kw_only=True, eq=False)
class Purchase:
    """One accepted request. Times are nominal Unix seconds.

    ``billed`` counts the pictures that are, or are sure to be, charged: an accepted request
    runs and is paid for whether or not anybody asks for its result. A cancelled one has 0.
    """

    task_id: str
    account: str
    model: str
    prompt: str
    sha: str
    size: str
    n: int
    seed: int | None
    lane: str = "async"
    submitted: float
    started: float | None = None
    ended: float | None = None
    seen: float | None = None
    """When a client was first told of its end."""
    state: str = "PENDING"
    billed: int = 0
    other: bool = False
    """Another program's request on the same account."""
    references: int = 0
    """Reference pictures that came with it."""
    pictures: list[str] = field(default_factory=list)
    """SHA-256 of each picture given out, in the order of the first time."""

    def as_record(self) -> dict[str, Any]:
        """As plain JSON."""
        return {name: getattr(self, name) for name in _COLUMNS}


_COLUMNS = tuple(column.name for column in fields(Purchase))


class Ledger:
    """Everything accepted, and a count of everything asked.

    ``settle`` is called before the ledger is read, for a service that works out its states
    only when looked at.
    """

    def __init__(self, path: Path | None = None, settle: Callable[[], None] = lambda: None) -> None:
        self.purchases: list[Purchase] = []
        self.counts: Counter[str] = Counter()
        """Requests by kind (``submit``, ``poll``, ``list``, ``cancel``, ``download``, ``chat``),
        and refusals as ``429 CODE``."""
        self.max_running = 0
        """The most tasks that one account's model ran at once."""
        self._settle = settle
        self._file: IO[str] | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8")

    def accepted(self, purchase: Purchase) -> None:
        """Write down a request at the moment it is accepted."""
        self.purchases.append(purchase)
        self._write("accepted", purchase.as_record())

    def changed(self, purchase: Purchase) -> None:
        """Write down that a request started, ended or was cancelled."""
        self._write(
            "changed",
            {
                "task_id": purchase.task_id,
                "started": purchase.started,
                "ended": purchase.ended,
                "state": purchase.state,
                "billed": purchase.billed,
            },
        )

    def told(self, purchase: Purchase, now: float) -> None:
        """Write down that a client was told of the end; only the first time counts."""
        if purchase.seen is None:
            purchase.seen = now
            self._write("told", {"task_id": purchase.task_id, "seen": now})

    def fetched(self, purchase: Purchase, sha: str) -> None:
        """Write down that a picture left the service; only its first time counts."""
        if sha not in purchase.pictures:
            purchase.pictures.append(sha)
            self._write(
                "fetched", {"task_id": purchase.task_id, "pictures": list(purchase.pictures)}
            )

    def running(self, count: int) -> None:
        """Note how many run at once."""
        self.max_running = max(self.max_running, count)

    def own(self) -> list[Purchase]:
        """What our side bought, without other programs' requests, in order of acceptance."""
        self._settle()
        return [purchase for purchase in self.purchases if not purchase.other]

    def billed(self) -> int:
        """Pictures charged to our side."""
        return sum(purchase.billed for purchase in self.own())

    def by_prompt(self) -> dict[str, list[Purchase]]:
        """Our requests by prompt, each list in order of acceptance."""
        found: dict[str, list[Purchase]] = {}
        for purchase in self.own():
            found.setdefault(purchase.prompt, []).append(purchase)
        return found

    def bought_twice(self, allowed: int = 1) -> list[str]:
        """Prompts that more than ``allowed`` billed requests were made for."""
        return [
            prompt
            for prompt, purchases in self.by_prompt().items()
            if sum(purchase.billed > 0 for purchase in purchases) > allowed
        ]

    def as_json(self) -> dict[str, Any]:
        """The whole of it, for a person or another process to read."""
        own = self.own()
        return {
            "billed": sum(purchase.billed for purchase in own),
            "accepted": len(own),
            "bought_twice": self.bought_twice(),
            "max_running": self.max_running,
            "counts": dict(sorted(self.counts.items())),
            "purchases": [purchase.as_record() for purchase in self.purchases],
        }

    def close(self) -> None:
        """Write the counts down and close the file. Safe to call twice."""
        self._settle()
        self._write("counts", {"counts": dict(self.counts), "max_running": self.max_running})
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _write(self, event: str, record: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        line = json.dumps({"event": event, **record}, ensure_ascii=False)
        # A lone surrogate cannot be written as UTF-8; escaped it can, and reads back the same.
        if not line.isascii():
            try:
                line.encode()
            except UnicodeEncodeError:
                line = json.dumps({"event": event, **record})
        self._file.write(line + "\n")
        self._file.flush()


def read_ledger(path: Path) -> Ledger:
    """A ledger file as a `Ledger`, whoever wrote it; a torn last line is left out."""
    ledger = Ledger()
    known: dict[str, Purchase] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        _replay(ledger, known, record)
    return ledger


def _replay(ledger: Ledger, known: dict[str, Purchase], record: dict[str, Any]) -> None:
    event = record.pop("event")
    if event == "accepted":
        purchase = Purchase(**record)
        known[purchase.task_id] = purchase
        ledger.purchases.append(purchase)
    elif event == "counts":
        ledger.counts.update(record["counts"])
        ledger.running(record["max_running"])
    else:
        for name, value in record.items():
            setattr(known[record["task_id"]], name, value)
