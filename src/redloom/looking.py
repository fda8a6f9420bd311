"""Looks through an account for requests whose answer was lost, and says what was found.

One look serves every open doubt of an account: the list is read whole over all their windows.
The decision is `settle.judge`; here are only the waiting, the reading, and the comparing of
words where a finished task carries them.

May import: errors, clock, endpoint, journal, records, rows, route, settle, task, twins, carried.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .carried import Carried, Paid, Purse
from .clock import Clock
from .endpoint import Failed, Made, Outcome, Picture, Seen, Size, Ticket, Unknown, Waiting
from .errors import EndpointStopped, Refused, ServiceError
from .journal import Row
from .records import Job, Known, Records
from .route import Live
from .rows import asked_in
from .settle import (
    CLOSE_S,
    CRASH_S,
    WIDE_S,
    Adopt,
    Ambiguous,
    Bearing,
    Doubt,
    Forgotten,
    Later,
    Nothing,
    Verdict,
    bearing,
    judge,
    ripe_at,
    span,
)
from .task import REPEATED
from .twins import Wanted, folded, surely

log = logging.getLogger("redloom")
LOOKS = 6
"""Looks at one doubt before it is left to the user's policy."""
PATIENCE_S = 3600.0
"""Nominal seconds for which a list that cannot be read is asked for again; the row then stays in
doubt until the next start, and the run is not held up by it."""
BETWEEN_S = 30.0
"""Nominal seconds between two looks."""


@dataclass(eq=False)
class Lost:
    """A task in doubt, and whose it is."""

    task: int
    live: Live
    carried: Carried
    job: Job
    doubt: Doubt
    paid: Paid
    wanted: Wanted
    lane: str = "async"
    """How it was asked for, which need not be how its endpoint is asked today."""
    repeated: bool = False
    """Its answer was another task's ticket: which of the two is ours no list can tell."""
    theirs: bool = False
    """Another run asked for it, whose own policy says what becomes of it."""
    looks: int = 0
    """Looks that could not tell."""
    unread_since: float | None = None
    """Since when the list could not be read, nominal time."""
    open_since: float = 0.0
    """When it was added, by the event loop's time, which nobody can set; real seconds."""

    @classmethod
    def of(cls, row: Row, live: Live, carried: Carried, job: Job) -> Lost:
        """From a row of ``tasks`` in state doubt."""
        until = row["lost_at"] if row["lost_at"] is not None else row["intent_at"]
        doubt = Doubt(row["id"], row["model"], row["intent_at"], until)
        wanted = Wanted.of(job.request, row["size"], row["seed"])
        return cls(
            row["id"], live, carried, job, doubt, paid_for(row, carried), wanted, row["lane"],
            row["code"] == REPEATED, row["run"] != carried.run.id,
        )  # fmt: skip


def paid_for(row: Row, carried: Carried) -> Paid:
    """What a task of ``tasks`` cost whom: that of another run is no money of this one's."""
    purse = carried.purse if row["run"] == carried.run.id else Purse()
    return Paid(purse, row["price"])


@dataclass(frozen=True, slots=True)
class Rival:
    """Another request whose task may be any that is found."""

    doubt: Doubt
    wanted: Wanted

    @classmethod
    def of(cls, row: Row) -> Rival:
        """From a row of the ``open_intents`` query."""
        doubt = Doubt(row["id"], row["model"], row["intent_at"], row["lost_at"])
        return cls(doubt, Wanted.of(asked_in(row)[0], row["size"], row["seed"]))


async def unmeasured(_live: Live, _picture: Picture, _task_id: str) -> Size | None:
    """Nobody can look at pictures."""
    return None


Found = Callable[[Lost, Ticket], Awaitable[None]]
Told = Callable[[Lost], Awaitable[None]]


@dataclass(eq=False)
class Lookout:
    """Open doubts by place, one searching loop for each place that has some."""

    records: Records
    clock: Clock
    adopt: Found
    proved: Told
    unsettled: Told
    broken: Callable[[Exception], None]
    """The search cannot go on: the journal failed, or there is a mistake in it."""
    measure: Callable[[Live, Picture, str], Awaitable[Size | None]] = unmeasured
    """The size of a finished task's picture; None where it cannot be had."""
    looks: int = 0
    most: int = LOOKS
    """Looks at one doubt that could not tell, before it is called unsettled."""
    steady_from: int = 2**62
    """The first task since when this process knows that nobody has set the clock."""
    was_set: bool = False
    """Whether the clock was set while this process looked on."""
    _open: dict[str, list[Lost]] = field(default_factory=dict)
    _loops: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _words: dict[str, str] = field(default_factory=dict)
    """The words of tasks whose results were read, by task id."""
    _sizes: dict[str, Size] = field(default_factory=dict)
    """The sizes of pictures that had to be measured, by task id."""

    async def add(self, lost: Lost) -> None:
        """Settle this doubt; one of the callbacks is called in the end."""
        if not lost.live.capabilities.lists_tasks or lost.lane == "sync" or lost.repeated:
            await self.unsettled(lost)
            return
        place, lost.open_since = lost.live.place, asyncio.get_running_loop().time()
        self._open.setdefault(place, []).append(lost)
        loop = self._loops.get(place)
        if loop is None or loop.done():
            self._loops[place] = asyncio.get_running_loop().create_task(self._search(place))

    def drop(self, carried: Carried) -> list[Lost]:
        """Leave this run's doubts for the next start; which they were."""
        dropped = [
            lost for losts in self._open.values() for lost in losts if lost.carried is carried
        ]
        for place, losts in self._open.items():
            self._open[place] = [lost for lost in losts if lost.carried is not carried]
        return dropped

    async def settled(self) -> None:
        """Wait until no doubt is open."""
        await asyncio.gather(*self._loops.values())

    async def close(self) -> None:
        """Stop looking; what is open stays in doubt in the journal."""
        for loop in self._loops.values():
            loop.cancel()
        await asyncio.gather(*self._loops.values(), return_exceptions=True)

    async def _search(self, place: str) -> None:
        try:
            await self._search_on(place)
        except Exception as error:
            self.broken(error)

    async def _search_on(self, place: str) -> None:
        while losts := self._open.get(place):
            if early := [lost for lost in losts if _set_back(lost, self.clock.now())]:
                await self._give_up(place, early)
                continue
            live = losts[0].live
            wait = min(map(self._ripe_in, losts))
            if wait > 0:
                await self.clock.sleep(min(wait, BETWEEN_S))
                continue
            await self._look(place, live)

    def _ripe_in(self, lost: Lost) -> float:
        """Nominal seconds until this doubt may be looked at: a whole list, some time between looks.

        A clock that was set ahead makes no list whole: its lag has to pass on ours as well.
        """
        lag = lost.live.capabilities.list_lag_s
        by_clock = ripe_at(lost.doubt, lag) + lost.looks * BETWEEN_S - self.clock.now()
        passed = asyncio.get_running_loop().time() - lost.open_since
        return max(by_clock, CRASH_S + CLOSE_S + lag - passed / self.clock.real(1.0))

    async def _look(self, place: str, live: Live) -> None:
        """One look, and what it says about each doubt that is ripe."""
        read_at = self.clock.now()
        losts = [lost for lost in self._open[place] if self._ripe_in(lost) <= 0]
        try:
            seen = await self._read(live, losts, wide=False)
            # Rivals before tickets: an intent that gets its ticket in between is then in both.
            others = await self._rivals(live, losts)
            known = await self.records.known_tickets([one.id for one in seen])
            if any(self._bearing(lost, seen, known).wide for lost in losts):
                seen = await self._read(live, losts, wide=True)
                others = await self._rivals(live, losts)
                known = await self.records.known_tickets([one.id for one in seen])
        except EndpointStopped as error:
            live.gate.stopped = live.gate.stopped or str(error)
            await self._give_up(place)
            return
        except Refused as error:
            log.warning("the account's list is refused (%s)", error.code)
            for lost in losts:
                await self._act(place, lost, Ambiguous(()))
            return
        except ServiceError as error:
            log.info("the account's list could not be read (%s); again later", error.code)
            await self._wait_for_the_list(place, losts, read_at)
            return
        self.looks += 1
        for lost in losts:
            lost.unread_since = None
        for lost in losts:
            if lost in self._open[place]:
                await self._judge(place, lost, others, seen, known, read_at)

    async def _wait_for_the_list(self, place: str, losts: Sequence[Lost], now: float) -> None:
        for lost in losts:
            lost.unread_since = now if lost.unread_since is None else lost.unread_since
        tired = [one for one in losts if now - (one.unread_since or now) >= PATIENCE_S]
        await self._give_up(place, [one for one in tired if one in self._open[place]])
        await self.clock.sleep(BETWEEN_S / 3)

    async def _read(self, live: Live, losts: Sequence[Lost], *, wide: bool) -> Sequence[Seen]:
        spans = [span(lost.doubt, wide=wide) for lost in losts]
        return await live.provider.look(min(s[0] for s in spans), max(s[1] for s in spans))

    async def _rivals(self, live: Live, losts: Sequence[Lost]) -> list[Rival]:
        """Open intents and doubts of this account, given up ones too: tasks that may be theirs.

        Ours are among them, so that one that is given up in the middle of a look stays a rival
        of those that are judged after it.
        """
        since = min(span(lost.doubt, wide=True)[0] for lost in losts)
        now = self.clock.now()
        account = "|".join(live.endpoint.quota[:2])
        rows = await self.records.open_intents(account, since, now, now)
        return [Rival.of(row) for row in rows]

    async def _judge(
        self,
        place: str,
        lost: Lost,
        others: Sequence[Rival],
        seen: Sequence[Seen],
        known: dict[str, Known],
        read_at: float,
    ) -> None:
        clock = self._bearing(lost, seen, known)
        ours = [Rival(one.doubt, one.wanted) for one in self._open[place]]
        every = {one.doubt.task: one for one in (*others, *ours)}
        every.pop(lost.task, None)
        rivals = [
            replace(one, doubt=self._loosened(one.doubt))
            for one in every.values()
            if one.doubt.model == lost.doubt.model
        ]
        verdict = judge(
            lost.doubt,
            seen,
            {*known, *self._of_other_words(lost)},
            [rival.doubt for rival in rivals],
            clock=clock,
            read_at=read_at,
            list_lag_s=lost.live.capabilities.list_lag_s,
            prompt_in_result=lost.live.capabilities.prompt_in_result,
        )
        if isinstance(verdict, Ambiguous) and lost.live.capabilities.prompt_in_result:
            near = [one.wanted for one in rivals if clock.overlap(lost.doubt, one.doubt)]
            verdict = await self._compare(lost, verdict, lost.wanted.rivals(near))
        if isinstance(verdict, Adopt):
            # Known from now on, so that no other doubt of this look takes it too.
            known[verdict.task_id] = Known(lost.doubt.since, read_at, lost.task)
        await self._act(place, lost, verdict)

    def _bearing(self, lost: Lost, seen: Sequence[Seen], known: Mapping[str, Known]) -> Bearing:
        """How the service's clock stood to ours when this request left.

        Tasks that were begun on the same setting of our clock tell it. Where that is not certain
        (the clock was set since, another process sent it) they must lie on both sides of the
        request and agree, or nothing is known: a clock that was set between would make the list
        say about the wrong minutes that nothing was bought.
        """
        listed = {one.id: known[one.id] for one in seen if one.id in known}
        steady = {name: one for name, one in listed.items() if one.task >= self.steady_from}
        if steady and lost.task >= self.steady_from:
            return bearing(seen, steady)
        sides = {one.task < lost.task for one in listed.values() if one.task != lost.task}
        return bearing(seen, listed) if len(sides) == 2 else Bearing()

    def _loosened(self, doubt: Doubt) -> Doubt:
        """A rival from before the clock was set: nobody knows when that was by today's."""
        if not self.was_set or doubt.task >= self.steady_from:
            return doubt
        return replace(doubt, since=doubt.since - WIDE_S, until=doubt.until + WIDE_S)

    def clock_set(self, last_task: int) -> None:
        """The clock was set just now; ``last_task`` is the newest task that began before."""
        self.steady_from, self.was_set = last_task + 1, True

    async def _compare(self, lost: Lost, verdict: Ambiguous, rivals: Sequence[Wanted]) -> Verdict:
        """Read the candidates' results: the one with our words is ours, where they are nobody
        else's (``rivals``: requests of the same words) or its picture tells whose it is.
        """
        undecided = False
        for task_id in verdict.candidates:
            await lost.live.polls.turn()
            try:
                outcome = await lost.live.provider.poll(Ticket(task_id))
            except ServiceError:
                undecided = True
                continue
            words = outcome.original_prompt if isinstance(outcome, Made | Failed) else ""
            if words:
                self._words[task_id] = words
            if words and folded(words) == lost.wanted.words:
                if not rivals or await self._surely(lost, rivals, task_id, outcome):
                    return Adopt(task_id)
                undecided = True
            elif not words and (
                isinstance(outcome, Waiting | Unknown | Made)
                or (isinstance(outcome, Failed) and outcome.billed is not False)
            ):
                undecided = True
        return Later(self.clock.now() + BETWEEN_S) if undecided else Nothing()

    async def _surely(
        self, lost: Lost, rivals: Sequence[Wanted], task_id: str, outcome: Outcome
    ) -> bool:
        """Whether a task of our words is ours; one that is not is left to whose it is."""
        if not isinstance(outcome, Made):
            return False
        if task_id not in self._sizes:
            size = await self.measure(lost.live, outcome.picture, task_id)
            if size is not None:
                self._sizes[task_id] = size
        return surely(lost.wanted, rivals, self._sizes.get(task_id), outcome.picture.seed)

    def _of_other_words(self, lost: Lost) -> list[str]:
        """Tasks whose words show that they are not this doubt's; another doubt's they may be."""
        mine = lost.wanted.words
        return [task_id for task_id, words in self._words.items() if folded(words) != mine]

    async def _act(self, place: str, lost: Lost, verdict: Verdict) -> None:
        if lost not in self._open[place]:
            return  # dropped in the meantime: it is for the next start
        if isinstance(verdict, Adopt):
            self._open[place].remove(lost)
            await self.adopt(lost, Ticket(verdict.task_id))
        elif isinstance(verdict, Nothing):
            self._open[place].remove(lost)
            await self.proved(lost)
        elif isinstance(verdict, Forgotten):
            self._open[place].remove(lost)
            await self.unsettled(lost)
        else:
            lost.looks += 1
            if lost.looks >= self.most:
                self._open[place].remove(lost)
                await self.unsettled(lost)

    async def _give_up(self, place: str, some: Sequence[Lost] | None = None) -> None:
        """Of ``some``, else of all, those that are not ripe yet included: nobody will look."""
        losts = list(self._open[place] if some is None else some)
        self._open[place] = [lost for lost in self._open[place] if lost not in losts]
        for lost in losts:
            await self.unsettled(lost)


def _set_back(lost: Lost, now: float) -> bool:
    """Whether the clock reads far earlier than when this request left: somebody has set it. Were
    it waited for, the service might drop the record meanwhile, and absence prove nothing.
    """
    return now < lost.doubt.since - WIDE_S
