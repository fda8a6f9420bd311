"""Carries jobs down the way: sequencing, draining and cancelling only.

One carrier works in the process that holds the workspace's lock. It reads pending jobs from the
journal by the window, hands each to an endpoint as soon as a slot and a rate token are free, and
sees it through: submit, poll, download, outcome. What a stage does is in the stage's file.

Nobody waits holding a slot (rule 5): it is given back when the service has finished, before the
download; a job that has to wait goes back to a timed heap.

May import: everything on the way before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import logging
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from .carried import WINDOW, Carried, Purse, millionths, took_turn, turn
from .clock import Clock, Setting, offload
from .drain import Drain
from .errors import WorkspaceError
from .events import Advanced, Done, Ended, Note, Started, Stream
from .finish import Finisher
from .floor import money_told
from .hedge import Hedges
from .image import clear_parts
from .journal import Row
from .lang import Text
from .looking import Lost
from .making import Maker
from .places import Places
from .records import Job, JobEnding, Records, Run
from .retry import Policy
from .route import Live, able_for, asked_of, choose, clock_set_back
from .settle import CRASH_S

log = logging.getLogger("redloom")
T = TypeVar("T")
UNFINISHED = 256
"""Pictures made but not yet on record at which nothing new is begun: where the service is faster
than our line or disk, what is paid for must not pile up in memory."""
HEARTBEAT_S = 0.5
"""Real seconds between looks at what other processes wrote into the journal."""


@dataclass
class Carrier:
    """The engine at work. `carry` runs until cancelled; `settle_down` ends it cleanly."""

    records: Records
    clock: Clock
    stream: Stream
    lives: list[Live]
    finisher: Finisher
    owner_lives: Callable[[str], bool]
    policy: Policy = field(default_factory=Policy)
    rng: random.Random = field(default_factory=random.Random)
    epoch: int = 0
    fault: WorkspaceError | None = None
    """Why the carrier stopped by itself: the disk, the journal, another engine."""
    _runs: dict[str, Carried] = field(default_factory=dict)
    _later: list[tuple[float, int, Carried, Job]] = field(default_factory=list)
    _count: itertools.count[int] = field(default_factory=itertools.count)
    _keys: dict[str, list[tuple[Carried, Job]]] = field(default_factory=dict)
    """Keys being made, and the jobs that wait for the same picture (single flight)."""
    _work: set[asyncio.Task[Any]] = field(default_factory=set)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _looked: float = -1.0
    _leaving: bool = False
    _delivering: int = 0
    """Rows that are being delivered from the store."""

    def __post_init__(self) -> None:
        self.places = Places(self.clock, self.lives)
        self.hedges = Hedges(self, self.records, self.clock, self.places.able, self._start_work)
        self.maker = Maker(
            self, self.records, self.clock, self.stream, self.finisher, self.policy, self.rng,
            self.hedges,
        )  # fmt: skip
        self.drain = Drain(self.clock, self.lives, self.maker.flights, self.places.able)
        self._setting = Setting(self.clock)

    # the loop

    async def carry(self) -> None:
        """Take over: settle what an earlier engine left, then work until cancelled."""
        try:
            self.epoch = await self.records.next_epoch()
            self.maker.lookout.steady_from = await self.records.last_task() + 1
            self._setting.moved()
            await self.records.orphans_to_doubt(self.epoch, CRASH_S)
            while True:
                await self._turn()
        except WorkspaceError as error:
            self._break(error)
        except Exception as error:
            self.broken(error)

    async def _turn(self) -> None:
        self._wake.clear()
        if by_s := self._setting.moved():
            await self._clock_set(by_s)
        loop_now = asyncio.get_running_loop().time()
        if loop_now - self._looked >= HEARTBEAT_S or self._looked < 0:
            self._looked = loop_now
            await self._look_at_runs()
        await self._refill()
        self._due()
        self._dispatch()
        self.places.note_backlog(list(self._runs.values()))
        self.drain.take_back(self._runs.values(), self._start_work)
        self.hedges.look(self._runs.values())
        await self._end_idle_runs()
        if self.fault is not None:
            raise self.fault
        await self._rest()

    async def _clock_set(self, by_s: float) -> None:
        """Somebody set the clock: doubts are judged with care, and nobody waits longer for it."""
        log.warning("the clock was set by %.1f s", by_s)
        self.maker.lookout.clock_set(await self.records.last_task())
        if by_s > 0:
            return  # what was waited for comes early; some of it may already have been set anew
        self._later = [(at + by_s, n, carried, job) for at, n, carried, job in self._later]
        clock_set_back(self.lives, by_s)

    async def _rest(self) -> None:
        """Until something changes, a retry or a rate token is due, or the heartbeat."""
        if any(c.wants_more and c.ready for c in self._runs.values()):
            await asyncio.sleep(0)
        now, waits = self.clock.now(), [HEARTBEAT_S]
        if self._later:
            waits.append(self.clock.real(self._later[0][0] - now))
        if any(c.ready and not c.stopping for c in self._runs.values()):
            gates = [live.wait_s(now) for live in self.lives]
            waits += [self.clock.real(wait) for wait in gates if wait]
        # Not wait_for: in Python 3.11 it may swallow a cancel, and the engine would never let go.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(waits)) + 0.0005):
                await self._wake.wait()

    def broken(self, error: Exception) -> None:
        """Something that every run needs has failed: stop."""
        if isinstance(error, WorkspaceError):
            self._break(error)
        else:
            log.error("the engine cannot go on", exc_info=error)
            self._break(
                WorkspaceError(
                    f"程序内部出错（{type(error).__name__}: {error}），已停下；已付款的任务都已记下，用同一条命令继续。",
                    f"An internal error ({type(error).__name__}: {error}) stopped the engine. What was paid for is on record; the same command goes on.",
                )
            )

    def advanced(self, key: str, fraction: float, preview: str = "") -> None:
        """A service says how far it is with the job of ``key``; it is only passed on."""
        now, hands = self.clock.now(), [carried.hand for carried in self._runs.values()]
        for job in [job for hand in hands for job in hand.values() if job.key == key]:
            told = Advanced(at=now, run=job.run, row=job.row, take=job.take, fraction=fraction, preview=preview)  # fmt: skip
            self.stream.tell(told)

    def wake(self) -> None:
        """Something changed: look again at once."""
        self._wake.set()

    def look_now(self) -> None:
        """A run was added or changed: read the runs again at once."""
        self._looked = -1.0
        self._wake.set()

    def carries(self, run: str) -> bool:
        """Whether a run is in hand here: something of it may still end."""
        return self.fault is None and run in self._runs

    async def settle_down(self, limit_s: float = 10.0) -> None:
        """Start nothing more; wait for what must be written, then drop the rest.

        What the service works on stays accepted in the journal, for the next engine.
        """
        self._leaving = True
        if self.maker.critical:
            await asyncio.wait(self.maker.critical, timeout=limit_s)
        for task in list(self._work):
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await self.hedges.close()
        await self.maker.lookout.close()
        if self.maker.critical:  # begun while we waited, and not stopped by a cancel
            await asyncio.wait(self.maker.critical, timeout=limit_s)
        for polls in {id(live.polls): live.polls for live in self.lives}.values():
            await polls.close()

    # runs

    async def _look_at_runs(self) -> None:
        open_runs = {run.id: run for run in await self.records.open_runs()}
        for run in open_runs.values():
            if run.id not in self._runs and self.owner_lives(run.owner) and self._may_carry(run):
                await self._take_up(run)
        for carried in list(self._runs.values()):
            await self._refresh(carried, open_runs.get(carried.run.id))

    def _may_carry(self, run: Run) -> bool:
        """Whether this process has an endpoint of the run's own: same name, same place. One of
        its fallback alone will not do: nobody would have been asked before.
        """
        return bool(self.places.of(Carried(run, Purse())))

    async def _take_up(self, run: Run) -> None:
        cap = None if run.budget is None else millionths(run.budget)
        spent = sum((await self.records.spending(run.id)).billed.values())
        purse = Purse(cap, millionths(await self.records.committed(run.id)), millionths(spent))
        carried = self._runs[run.id] = Carried(run, purse)
        self.places.ask_again(run)
        if run.out:
            await offload(clear_parts, Path(run.out))
        counts = await self.records.counts(run.id)
        carried.pending = counts.get("pending", 0)
        counts.pop("invalid", None)  # nobody waits for those, and more of them may follow
        self.stream.tell(
            Started(
                at=self.clock.now(), run=run.id, total=sum(counts.values()),
                done=sum(counts.values()) - counts.get("pending", 0),
                endpoints=tuple(live.name for live in self.places.of(carried)),
            )
        )  # fmt: skip
        for row in await self.records.live_tasks():
            if row["run"] == run.id and row["job_status"] == "pending":
                self.resume(carried, row)

    async def _refresh(self, carried: Carried, now: Run | None) -> None:
        """What other processes changed about a run: paused, cancelled, resumed, orphaned."""
        if now is not None and self.owner_lives(now.owner):
            if now.owner != carried.run.owner:
                self.places.ask_again(now)
            if not carried.run.complete:
                carried.exhausted = False
            carried.run, carried.stopping = now, False
            carried.purse.cap = None if now.budget is None else millionths(now.budget)
            return
        if not carried.stopping:
            carried.stopping = True
            self._let_go(carried)
        state = now or await self.records.run(carried.run.id)
        if state is not None and state.state == "cancelled":
            await self.records.cancel_jobs(carried.run.id, self.clock.now())

    def _let_go(self, carried: Carried) -> None:
        """Nothing new for this run: what waits goes back to the journal, what is paid stays."""
        waiting = [job for _, _, owner, job in self._later if owner is carried]
        self._later = [entry for entry in self._later if entry[2] is not carried]
        heapq.heapify(self._later)
        doubts = [lost.job for lost in self.maker.lookout.drop(carried)]
        for job in [*waiting, *doubts]:
            carried.hand.pop(job.id, None)
            self.free_key(job)
        carried.ready.clear()
        carried.parked.clear()
        carried.exhausted, carried.cursor = False, 0

    async def _end_idle_runs(self) -> None:
        for carried in list(self._runs.values()):
            if carried.stopping and not carried.hand:
                await self._end(carried, "stopped")
            elif carried.run.complete and (carried.idle or self.places.stuck(carried)):
                await self._end(carried, "done")

    async def _end(self, carried: Carried, state: str) -> None:
        waiting = await self.records.count_waiting(carried.run.id)
        if state == "stopped":
            await self.records.end_cancelled(carried.run.id, self.clock.now())
        if state == "done" and waiting and not self.places.stuck(carried):
            carried.exhausted, carried.cursor = False, 0
            return
        if state == "done" and not waiting and not await self.records.finish_run(carried.run.id):
            carried.exhausted, carried.cursor = False, 0  # taken up again in this very moment
            return
        del self._runs[carried.run.id]
        if state == "done" and waiting:
            state = "stuck"
            await self.records.set_note(carried.run.id, self.places.reasons(carried))
        counts = await self.records.counts(carried.run.id)
        self.stream.tell(Ended(at=self.clock.now(), run=carried.run.id, counts=counts, state=state))

    # jobs into hand

    async def _refill(self) -> None:
        for carried in list(self._runs.values()):
            if not carried.wants_more or carried.stopping:
                continue
            jobs = await self.records.waiting(carried.run.id, carried.cursor, WINDOW)
            if jobs:
                carried.cursor = jobs[-1].id
            carried.exhausted = len(jobs) < WINDOW
            carried.pending = max(0, carried.pending - len(jobs))
            for job in jobs:
                self._take_in(carried, job)

    def _take_in(self, carried: Carried, job: Job) -> None:
        """Sort a job just read: already stored, being made, or ready to be made."""
        if job.id not in carried.hand:
            carried.ready.append(job)

    def _due(self) -> None:
        """Jobs whose pause is over become the next to go."""
        now = self.clock.now()
        while self._later and self._later[0][0] <= now:
            _, _, carried, job = heapq.heappop(self._later)
            if carried.run.id in self._runs and job.id in carried.hand:
                carried.put_back(job)

    def _dispatch(self) -> None:
        """Give out jobs for as long as some run has one that some endpoint can take now."""
        if self._leaving:
            return
        runs = list(self._runs.values())
        progress = True
        while progress and not self._behind():
            progress = False
            for carried in turn(runs):
                if self._place_next(carried):
                    took_turn(carried, runs)
                    progress = True
                    break

    def _behind(self) -> bool:
        """Whether downloads and files are too far behind the service to ask for more."""
        gates = {id(live.gate): live.gate for live in self.lives}.values()
        return len(self._work) - sum(gate.outstanding for gate in gates) >= UNFINISHED

    def _place_next(self, carried: Carried) -> bool:
        """Start the run's next job if it can be started; whether it was."""
        self.drain.longest_first(carried)
        self.places.bring_forward(carried)
        job = carried.ready[0]
        if job.key in self._keys:
            if len(self._keys[job.key]) >= WINDOW:
                return False
            self._keys[job.key].append((carried, carried.take()))
            return True
        if job.stored is not None:
            if self._delivering >= WINDOW:
                return False
            self.begin(carried, carried.take(), self._delivered(carried, job))
            return True
        if job.live_task is not None:
            self.begin(carried, carried.take(), self.maker.being_made(carried, job))
            return True
        lives, request = self.places.able(carried, job)
        given_up = None if lives else carried.tally(job).given_up
        if given_up is not None:
            work = self.maker.end_given_up(carried, job, given_up)
            self.begin(carried, carried.take(), work)
            return True
        able, refused = able_for(request, lives)
        if not able:
            self.begin(carried, carried.take(), self.maker.cannot(carried, job, refused))
            return True
        live = choose(
            able, request, self.clock.now(),
            remaining=carried.remaining, affordable=self.places.affordable(carried, able),
        )  # fmt: skip
        if live is None:
            return self.places.park(carried, lives, able)
        if self.records.stored_now(job.key):
            # An equal row was made after this one had been read.
            self.begin(carried, carried.take(), self.maker.from_store(carried, job))
            return True
        return self._start(carried, job, live)

    async def _delivered(self, carried: Carried, job: Job) -> None:
        """From the store; counted, so that memory stays flat however many rows are there."""
        self._delivering += 1
        try:
            await self.maker.from_store(carried, job)
        finally:
            self._delivering -= 1

    def _start(self, carried: Carried, job: Job, live: Live) -> bool:
        fitted = asked_of(job.request, live, seed=carried.tally(job).seed)
        if not carried.purse.commit(live.price(fitted.asked).amount):
            return self._cannot_pay(carried)
        carried.asked_at(job, live.name)
        live.gate.take(self.clock.now())
        live.breaker.began(job.id)
        self.begin(carried, carried.take(), self.maker.make(carried, job, live, fitted))
        return True

    def _cannot_pay(self, carried: Carried) -> bool:
        """The cap is reached: finish what is paid for; when nothing can come back, say unpaid."""
        if len(carried.hand) > carried.ending or carried.ending >= WINDOW:
            return False
        carried.unpaid = True
        job = carried.ready[0]
        carried.ending += 1
        self.begin(carried, carried.take(), self._end_unpaid(carried, job))
        return True

    async def _end_unpaid(self, carried: Carried, job: Job) -> None:
        message = Text(
            "预算已用完，没有为它花钱。", "The budget is used up; nothing was spent on it."
        )
        try:
            await self.maker.end_job(carried, job, "unpaid", "budget", message)
        finally:
            carried.ending -= 1

    def begin(self, carried: Carried, job: Job, work: Coroutine[Any, Any, None]) -> None:
        """Run one job's work; its key is taken until it has its outcome."""
        self._keys.setdefault(job.key, [])
        task = asyncio.get_running_loop().create_task(self._guarded(carried, job, work))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    def _start_work(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _guarded(self, carried: Carried, job: Job, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except WorkspaceError as error:
            self._break(error)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("row %s of run %s", job.row, job.run)
            await self.maker.end_job(
                carried, job, "failed", "bug",
                Text("程序内部出错，详情在日志里。", "An internal error; the log has the details."),
            )  # fmt: skip
        finally:
            self.wake()

    def _break(self, error: WorkspaceError) -> None:
        """Stop everything: the journal cannot be trusted to remember what would be bought."""
        if self.fault is None:
            self.fault = error
            self._leaving = True
            log.error("%s", error)
            self.stream.tell(Note(at=self.clock.now(), text=error.text))
        self.wake()

    # tasks from before

    def resume(self, carried: Carried, row: Row, job: Job | None = None) -> bool:
        """Go on with a task that an earlier engine left live; whether this process can."""
        there = [one for one in self.places.allowed(carried) if one.place == row["place"]]
        live = next((one for one in there if one.name == row["endpoint"]), next(iter(there), None))
        if live is None or row["key"] in self._keys:
            return False
        known = job or Job.of_task(row)
        carried.asked_at(known, live.name)
        carried.tally(known).asked = row["intent_at"]
        carried.hand[known.id] = known
        if row["state"] in ("doubt", "intent"):
            self.begin(carried, known, self.maker.lookout.add(Lost.of(row, live, carried, known)))
        else:
            self.begin(carried, known, self.maker.resume_live(carried, known, live, row))
        return True

    # outcomes

    def outcome(
        self,
        carried: Carried,
        job: Job,
        ending: JobEnding,
        live: Live | None,
        price: tuple[float | None, str],
    ) -> None:
        """Tell the watchers, and let those who waited for the same picture go on."""
        asked = carried.done(job)
        carried.shown = carried.shown or ending.status == "ok"
        money = money_told(carried, ending, price)
        if money is not None:
            self.stream.tell(money)
        self.stream.tell(
            Done(
                at=ending.ended, run=job.run, row=job.row, take=job.take, status=ending.status,
                file=ending.file, endpoint=live.name if live else "", error=ending.error,
                code=ending.code, price=price[0], currency=price[1],
                seconds=0.0 if asked is None else round(ending.ended - asked, 3),
            )
        )  # fmt: skip
        for waiting, twin in self._keys.pop(job.key, []):
            if ending.status == "ok":
                self.begin(waiting, twin, self.maker.from_store(waiting, twin))
            elif waiting is carried and ending.status in ("refused", "failed", "in-doubt"):
                text = Text(ending.error, ending.error)
                self.begin(
                    waiting,
                    twin,
                    self.maker.end_job(waiting, twin, ending.status, ending.code, text),
                )
            else:
                waiting.put_back(twin)
        self.wake()

    def later(self, carried: Carried, job: Job, at: float) -> None:
        """The job goes back to the queue at nominal time ``at``."""
        self.free_key(job)
        heapq.heappush(self._later, (at, next(self._count), carried, job))

    def free_key(self, job: Job) -> None:
        """Nobody makes this picture for now; those who waited for it try for themselves."""
        for waiting, twin in self._keys.pop(job.key, []):
            waiting.put_back(twin)
