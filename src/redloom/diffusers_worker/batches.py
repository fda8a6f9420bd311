"""Which waiting pictures go together in one batch, and when it may leave.

Pictures share a batch if everything but words and seed is equal (`Call`). A batch leaves full;
or, to an idle worker, when its oldest picture has waited ``wait_s``; never to a busy one before
it must. The oldest picture is never overtaken for long, and a worker keeps to the model that it
has loaded for a while, because loading another costs seconds.

May import: nothing of the package.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

WAIT_S = 0.02
"""How long an idle worker waits for more, real seconds; the prototype's figure."""
PATIENCE_S = 60.0
"""How long a picture of another model may be passed over for the loaded one."""


@dataclass(frozen=True, slots=True)
class Call:
    """What all pictures of a batch share."""

    model: str
    size: tuple[int, int]
    steps: int | None = None
    """None: the family's own number."""
    negative: bool = False
    """Whether there are negative prompts: with and without are different computations."""
    options: tuple[tuple[str, Any], ...] = ()
    """Further arguments of the pipeline's call, sorted by name."""

    def record(self) -> dict[str, Any]:
        """As JSON for the worker."""
        return {
            "model": self.model, "width": self.size[0], "height": self.size[1],
            "steps": self.steps, "options": dict(self.options),
        }  # fmt: skip


@dataclass(eq=False, slots=True)
class Item:
    """One picture that waits or is being made."""

    id: int
    call: Call
    prompt: str
    seed: int
    negative: str = ""
    key: str = ""
    since: float = 0.0
    """When it came, seconds of the pool's clock."""
    alone: bool = False
    """It was in a batch that took its worker down: it is tried by itself."""
    deaths: int = 0
    returns: int = 0
    """How often it came back from another machine without an answer."""
    epoch: int = 0
    """Of its latest try; an answer to an earlier one comes too late."""

    def record(self) -> dict[str, Any]:
        """As JSON for the worker."""
        return {
            "id": self.id, "prompt": self.prompt, "negative": self.negative, "seed": self.seed,
            "alone": self.alone,
        }  # fmt: skip


@dataclass
class Batches:
    """The waiting pictures. ``most``: the user's cap on a batch."""

    most: int = 8
    wait_s: float = WAIT_S
    room: dict[tuple[str, tuple[int, int]], int] = field(default_factory=dict)
    """What memory allows, by model and size, as the workers found out."""
    _groups: OrderedDict[Call, list[Item]] = field(default_factory=OrderedDict)

    def add(self, item: Item, *, first: bool = False) -> None:
        """Let a picture wait; ``first``: it comes back and goes before the others."""
        group = self._groups.setdefault(item.call, [])
        group.insert(0, item) if first else group.append(item)

    def drop(self, item: Item) -> bool:
        """Take a picture out; whether it was waiting."""
        group = self._groups.get(item.call, [])
        if item not in group:
            return False
        group.remove(item)
        if not group:
            del self._groups[item.call]
        return True

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def waiting(self) -> list[Item]:
        """Every waiting picture."""
        return [item for group in self._groups.values() for item in group]

    def cap(self, call: Call) -> int:
        """The largest batch of this call."""
        return max(1, min(self.most, self.room.get((call.model, call.size), self.most)))

    def next(self, now: float, loaded: Iterable[str], *, idle: bool) -> tuple[list[Item], float]:
        """A batch to leave now and 0.0, or nothing and how long to wait for one (inf: nothing
        waits). ``loaded``: the worker's models; ``idle``: it has nothing to do meanwhile.
        """
        if not self._groups:
            return [], float("inf")
        group = self._chosen(now, set(loaded))
        size = self.cap(group[0].call)
        wait = group[0].since + self.wait_s - now
        if len(group) < size and not group[0].alone and wait > 0:
            return [], wait
        if len(group) < size and not idle and not group[0].alone:
            # The worker is busy: the group may still fill until it asks again.
            return [], float("inf")
        return self._taken(group, size), 0.0

    def _chosen(self, now: float, loaded: set[str]) -> list[Item]:
        """The group to go next: the oldest of the loaded models unless another waits too long."""
        groups = list(self._groups.values())
        oldest = min(groups, key=_age)
        if now - oldest[0].since > PATIENCE_S:
            return oldest
        here = [group for group in groups if group[0].call.model in loaded] or groups
        full = [group for group in here if len(group) >= self.cap(group[0].call)]
        return min(full or here, key=_age)

    def _taken(self, group: list[Item], size: int) -> list[Item]:
        if group[0].alone:
            size = 1
        else:
            marked = next((n for n, item in enumerate(group) if item.alone), size)
            size = min(size, marked)
        taken = group[:size]
        del group[:size]
        if not group:
            del self._groups[taken[0].call]
        return taken


_age: Callable[[list[Item]], float] = lambda group: group[0].since  # noqa: E731
