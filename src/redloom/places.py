"""Where the jobs of a run may go: its own endpoints, then its fallback's, as far as they work.

May import: everything on the way before it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .carried import FRESH, Carried, Purse
from .clock import Clock
from .job import Request
from .records import Job, Run
from .route import Live, able_for

LOOK_AHEAD = 64
"""Ready jobs among which another model's is looked for while the next one's is busy."""


@dataclass(eq=False)
class Places:
    """The endpoints of this process, as a run may use them."""

    clock: Clock
    lives: list[Live]

    def ask_again(self, run: Run) -> None:
        """Whoever begins, resumes or retries a run has perhaps paid the bill or put in a new key
        meanwhile: its stopped endpoints are asked once more. What still refuses stops again."""
        for live in self.allowed(Carried(run, Purse())):
            live.gate.stopped = ""

    def reasons(self, carried: Carried) -> str:
        """Why a person has to act, in one line for each endpoint."""
        return " ".join(f"{live.name}: {live.gate.stopped}" for live in self.of(carried))

    def of(self, carried: Carried) -> list[Live]:
        """The run's own endpoints, as far as this process has them."""
        spare = carried.chain
        return [live for live in self.allowed(carried) if live.name not in spare]

    def allowed(self, carried: Carried) -> list[Live]:
        """Every endpoint that the run may touch, its fallback's included."""
        places = carried.run.environment.get("places", {})
        return [live for live in self.lives if places.get(live.name) == live.place]

    def fallback_of(self, carried: Carried) -> list[tuple[int, Live]]:
        """The run's chain as far as it is in use: the steps with their endpoints, in order."""
        if not carried.chain:
            return []
        there = {live.name: live for live in self.allowed(carried) if not live.gate.stopped}
        return [(k, there[name]) for k, name in enumerate(carried.chain, 1) if name in there]

    def stuck(self, carried: Carried) -> bool:
        """Jobs are left, but every endpoint that could make them needs a person first."""
        lives = self.of(carried)
        if carried.parked and not carried.ready and not carried.hand and carried.exhausted:
            return True
        if self.fallback_of(carried):
            return False  # what none of the chain can make was set aside
        return bool(lives) and not carried.hand and all(live.gate.stopped for live in lives)

    def bring_forward(self, carried: Carried) -> None:
        """Where the next job's endpoints are busy, the first job of another model goes before it:
        a slow model in the input does not hold up the others.
        """
        if len(self.lives) < 2:
            return
        now, busy = self.clock.now(), set[tuple[str, int]]()
        own = self.of(carried)
        for index, job in enumerate(itertools.islice(carried.ready, LOOK_AHEAD)):
            tally = carried.tallies.get(job.id)
            kind = (job.request.model, tally.step if tally else 0)
            if kind in busy:
                continue
            lives, request = self.able(carried, job, own)
            able = [live for live in lives if live.takes(request)]
            if not able or any(live.wait_s(now) == 0.0 for live in able):
                carried.bring_forward(index)
                return
            busy.add(kind)

    def park(self, carried: Carried, lives: Sequence[Live], able: Sequence[Live]) -> bool:
        """Set the next job aside where only stopped endpoints could make it, and others go on."""
        others = self.fallback_of(carried) or not all(live.gate.stopped for live in lives)
        if not others or not all(live.gate.stopped for live in able):
            return False
        carried.parked.append(carried.ready.popleft())
        return True

    def affordable(self, carried: Carried, lives: Sequence[Live]) -> float | None:
        """What the run can spend on each picture left; None where nothing has to be chosen."""
        left = carried.purse.left()
        if left is None or len(lives) < 2:
            return None
        return left / max(1, carried.remaining)

    def note_backlog(self, runs: Iterable[Carried]) -> None:
        """Whether an endpoint has more work than it can take now: its polls may be lazier then."""
        for live in self.lives:
            backlog = any(
                c.ready and not c.stopping and live.wait_s(self.clock.now()) != 0.0
                for c in runs
                if live in self.of(c)
            )
            if live.backlog and not backlog:
                live.backlog = False
                live.polls.hurry()
            live.backlog = backlog

    def able(
        self, carried: Carried, job: Job, own: list[Live] | None = None
    ) -> tuple[list[Live], Request]:
        """The endpoints to choose from: the run's own, or the first of its chain that can make it
        where those before gave up or are stopped; none where nobody is left to ask. A fallback is
        asked whatever model was named.
        """
        own = self.of(carried) if own is None else own
        tally = carried.tallies.get(job.id, FRESH)
        able = [one for one in own if one.takes(job.request)]
        if not tally.step and not (able and all(one.gate.stopped for one in able)):
            return own, job.request
        request = replace(job.request, model="")
        for step, live in self.fallback_of(carried):
            if step >= tally.step and able_for(request, [live])[0]:
                return [live], request
        return ([] if tally.given_up else own), job.request
