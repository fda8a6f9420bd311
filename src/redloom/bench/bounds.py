"""What could be reached at best: the never-idle finish and the clairvoyant one.

Never idle: the given order, zero delays, no slot idle while a prompt waits, forced repeats
counted at once. Clairvoyant: no schedule whatever, with perfect foresight, ends earlier.
Formulas: list scheduling (Graham 1969), fluid bound and ``max(h_i + S_i)`` over the release times
``h_i = max(0, i - b) / r`` that the rate limit allows.

May import: emulators, bench.scenarios.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from redloom.emulators.changes import Change, parse_changes, value_at
from redloom.emulators.ledger import prompt_sha
from redloom.emulators.service_time import draw

from .scenarios import Place, Scenario

TRIES = 20
MANY = 1_000_000


@dataclass(frozen=True, slots=True)
class Slots:
    """One endpoint as the bound sees it. Times are seconds since the first submit."""

    concurrency: int | None
    rate: float
    burst: float
    changes: tuple[Change, ...] = ()

    def at(self, moment: float) -> int:
        """How many tasks may run."""
        first = float(self.concurrency or MANY)
        return int(value_at(self.changes, "concurrency", moment, first))

    def slower(self, moment: float) -> float:
        """How many times as long a task takes that starts at ``moment``."""
        return value_at(self.changes, "slower", moment, 1.0)

    def released(self, number: int) -> float:
        """When the rate allows submit ``number`` (from 0)."""
        return max(0.0, number + 1 - self.burst) / self.rate


Tries = Sequence[Sequence[float]]
"""For each prompt the seconds of its tries in order; only the last one makes a picture."""


def slots_of(place: Place) -> Slots:
    """A place as the bound sees it."""
    return Slots(place.concurrency, place.rate, place.burst, parse_changes(place.changes))


def tries_of(scenario: Scenario, place: Place, seed: int) -> list[list[float]]:
    """The seconds that the emulator will take for each prompt, failed tries first.

    The emulator draws a task's fate from the seed, the prompt and how often it was asked, so a
    client that asks no more often than needed meets exactly these.
    """
    settings = scenario.emulated(place, seed)
    found = []
    for prompt in scenario.prompts(seed):
        whole = settings.takes_s(prompt)
        sha, tries = prompt_sha(prompt), []
        for number in range(1, TRIES):
            if settings.faults.at(seed, "task", number, sha, number) != "failed":
                break
            tries.append(whole * draw(seed, "fails", prompt))
        found.append([*tries, whole])
    return found


def never_idle(servers: Sequence[Slots], tries: Sequence[Tries]) -> float:
    """The never-idle finish in seconds; ``tries`` are per server. The fastest free slot is taken."""
    race = _Race(servers, tries)
    while race.unfinished:
        race.start_all()
        race.step()
    return race.now


class _Race:
    """Servers at work on one queue, event by event."""

    def __init__(self, servers: Sequence[Slots], tries: Sequence[Tries]) -> None:
        self.servers, self.tries = servers, tries
        self.queue = deque((prompt, 0) for prompt in range(len(tries[0])))
        self.running = [0] * len(servers)
        self.begun = [0] * len(servers)
        self.ends: list[tuple[float, int, int, int]] = []
        self.now = 0.0
        self.unfinished = len(tries[0])
        self.turns = sorted({change.at_s for one in servers for change in one.changes})
        mean = [sum(map(sum, one)) for one in tries]
        self.order = sorted(range(len(servers)), key=lambda k: mean[k] * servers[k].slower(0.0))

    def start_all(self) -> None:
        """Start whatever can be started now."""
        order = sorted(self.order, key=lambda k: self.servers[k].slower(self.now) > 1.0)
        for k in order:
            server = self.servers[k]
            while (
                self.queue
                and self.running[k] < server.at(self.now)
                and server.released(self.begun[k]) <= self.now
            ):
                self._start(k, *self.queue.popleft())

    def _start(self, k: int, prompt: int, number: int) -> None:
        self.running[k] += 1
        self.begun[k] += 1
        takes = self.tries[k][prompt][number] * self.servers[k].slower(self.now)
        heapq.heappush(self.ends, (self.now + takes, k, prompt, number))

    def step(self) -> None:
        """Go on to the next moment at which something can change."""
        moments = [self.ends[0][0]] if self.ends else []
        if self.queue:
            releases = (s.released(self.begun[k]) for k, s in enumerate(self.servers))
            moments += [at for at in (*releases, *self.turns) if at > self.now]
        self.now = min(moments)
        while self.ends and self.ends[0][0] <= self.now:
            _, k, prompt, number = heapq.heappop(self.ends)
            self.running[k] -= 1
            if number + 1 < len(self.tries[k][prompt]):
                self.queue.appendleft((prompt, number + 1))
            else:
                self.unfinished -= 1


def clairvoyant(servers: Sequence[Slots], tries: Sequence[Tries]) -> float:
    """A time before which nobody can be finished."""
    shortest = [
        min(sum(one[prompt]) for one in tries) for prompt in range(len(tries[0]))
    ]  # fmt: skip
    bound = max(shortest)
    if len(servers) == 1:
        ordered = sorted(shortest, reverse=True)
        late = [servers[0].released(k) + takes for k, takes in enumerate(ordered)]
        bound = max(bound, *late)
    return max(bound, _fluid(servers, tries))


def _fluid(servers: Sequence[Slots], tries: Sequence[Tries]) -> float:
    """When all work would be done if it could be cut into any pieces."""
    if any(one.concurrency is None for one in servers):
        return 0.0
    unit = sum(map(sum, tries[0]))
    cost = [sum(map(sum, one)) / unit for one in tries]
    turns = sorted({0.0, *(change.at_s for one in servers for change in one.changes)})
    left = unit
    for at, until in zip(turns, [*turns[1:], float("inf")], strict=True):
        speed = sum(
            one.at(at) / (cost[k] * one.slower(at)) for k, one in enumerate(servers)
        )  # fmt: skip
        if left <= speed * (until - at):
            return at + left / speed
        left -= speed * (until - at)
    raise AssertionError("the last turn has no end")


def restart(servers: Sequence[Slots], tries: Sequence[Tries]) -> float:
    """The finish of one who knows every time: each prompt to where it is finished first.

    A clairvoyant list schedule, the better of the given order and longest first; it knows of a
    slow-down in advance, which is a little more than a restart at that moment would.
    """
    prompts = range(len(tries[0]))
    longest = sorted(prompts, key=lambda k: -sum(tries[0][k]))
    return min(_list_schedule(servers, tries, order) for order in (prompts, longest))


def _list_schedule(servers: Sequence[Slots], tries: Sequence[Tries], order: Sequence[int]) -> float:
    free = [(0.0, k) for k, one in enumerate(servers) for _ in range(one.at(0.0))]
    if len(free) > len(order) * len(servers):
        return never_idle(servers, tries)
    for prompt in order:
        ends = [
            (at + sum(tries[k][prompt]) * servers[k].slower(at), slot)
            for slot, (at, k) in enumerate(free)
        ]
        end, slot = min(ends)
        free[slot] = (end, free[slot][1])
    return max(at for at, _ in free)
