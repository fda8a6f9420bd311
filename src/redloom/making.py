"""One picture, from its slot to its outcome: submit, wait, finish, and what follows a no.

Decisions are `retry`'s, looking is `looking`'s; here they are carried out. The order of money is
`task`'s: nothing here can come back to a POST by itself, a job only ever goes back to the queue.

May import: everything on the way before it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from .carried import Carried, GivenUp, Paid
from .clock import Clock
from .endpoint import Canceled, Failed, Fitted, Made, Ticket
from .errors import (
    AnswerLost,
    ContentRefused,
    EndpointStopped,
    RedloomError,
    Refused,
    ServiceError,
    TaskFailed,
    Throttled,
    Withdrawn,
    Withheld,
    WorkspaceError,
)
from .events import Doubtful, Held, Note, Retrying, Running, Stopped, Stream, Submitted
from .finish import Finisher
from .floor import Flight, Floor, worked
from .hedge import Hedges, Overtaken, Won
from .job import JobStatus
from .journal import Row
from .lang import Text
from .limit import Slot
from .looking import Lookout, Lost, paid_for
from .measured import measure_by
from .poll import Heard
from .records import Ending, Job, JobEnding, Records
from .retry import (
    Again,
    Allowance,
    Decision,
    GiveUp,
    Policy,
    StopEndpoint,
    after_failure,
    after_submit,
    pause,
)
from .route import Live
from .task import (
    Attempt,
    TaskFacts,
    failed_ending,
    picture_from_json,
    ticket_from_json,
    ticket_to_json,
)
from .timing import CALM
from .withheld import end_row, policy_for_doubt

log = logging.getLogger("redloom")
T = TypeVar("T")
IMPATIENT = 0.02
"""Seconds of delay that a query is worth until a run has its first picture: a person looks."""
IN_PERSON = 10
"""Priority from which a person is waiting for the run's pictures."""
Soften = Callable[[str, str], Awaitable[str]]
"""A refused prompt and the service's reason into milder words. Raises RedloomError."""


@dataclass(eq=False)
class Maker:
    """Sees pictures through, one coroutine each."""

    floor: Floor
    records: Records
    clock: Clock
    stream: Stream
    finisher: Finisher
    policy: Policy
    rng: random.Random
    hedges: Hedges
    soften: Soften | None = None
    critical: set[asyncio.Future[Any]] = field(default_factory=set)
    """What must be written even while being cancelled."""
    flights: dict[int, Flight] = field(default_factory=dict)
    """Tasks that a service has accepted and whose jobs have not gone on yet, by task."""
    _allowances: dict[str, Allowance] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lookout = Lookout(
            self.records, self.clock, self.adopt, self.proved, self.unsettled, self.floor.broken,
            measure_by(self.finisher.downloads),
        )  # fmt: skip

    async def make(self, carried: Carried, job: Job, live: Live, fitted: Fitted) -> None:
        """From a slot and a rate token, taken already, to the outcome."""
        try:
            await self._make(carried, job, live, fitted)
        finally:
            live.breaker.ended(job.id)
            self.floor.wake()

    async def _make(self, carried: Carried, job: Job, live: Live, fitted: Fitted) -> None:
        slot = Slot(live.gate)
        attempt = Attempt(self.records, self.clock, live, job, fitted.asked, self.floor.epoch)
        price = live.price(fitted.asked).amount
        carried.tally(job).asked = self.clock.now()
        if live.lane == "sync":  # it works from the call on
            slot.saw(True, self.clock.now())
        try:
            first = self.hedges.first((carried, job, live, slot), attempt.submit())
            answer = await self.surely(first)
        except Overtaken as sooner:
            self._give_back(slot)
            await self._overtaken(carried, job, attempt.id, sooner.won)
            return
        except AnswerLost:
            self._give_back(slot)
            live.breaker.failed(self.clock.now(), job.id)
            await self.into_doubt(carried, job, live, attempt.id)
            return
        except Withdrawn:
            self._give_back(slot)
            carried.purse.release(price)
            carried.done(job)
            self.floor.free_key(job)
            return
        except sqlite3.IntegrityError:
            self._give_back(slot)
            carried.purse.release(price)
            await self.being_made(carried, job)
            return
        except ServiceError as error:
            self._give_back(slot)
            carried.purse.release(price)
            await self._after_no(carried, job, live, error)
            return
        except WorkspaceError:
            self._give_back(slot)
            raise
        except Exception:
            # A mistake of the provider's after the POST: the same as no answer.
            self._give_back(slot)
            if not attempt.id:
                raise
            log.exception("provider of %s", live.name)
            await self.into_doubt(carried, job, live, attempt.id)
            return
        live.gate.accepted(self.clock.now())
        self._allowance(live).success()
        self._say_submitted(carried, job, live, answer)
        paid = Paid(carried.purse, price)
        facts = attempt.facts(answer, fitted.notes)
        await self.see_through(carried, job, live, attempt.id, answer, slot, paid, facts=facts)

    async def see_through(
        self,
        carried: Carried,
        job: Job,
        live: Live,
        task: int,
        answer: Ticket | Made,
        slot: Slot,
        paid: Paid,
        first_poll: float | None = None,
        facts: TaskFacts | None = None,
    ) -> None:
        """From the ticket to the outcome."""
        flight = Flight(live, answer, slot, carried, job, facts)
        self.flights[task] = flight
        try:
            await self._see_through(flight, task, paid, first_poll)
        except Overtaken as sooner:
            await self._overtaken(carried, job, task, sooner.won)
        finally:
            self.flights.pop(task, None)

    async def _see_through(
        self, flight: Flight, task: int, paid: Paid, first_poll: float | None
    ) -> None:
        carried, job, live, answer = flight.carried, flight.job, flight.live, flight.answer
        try:
            if isinstance(answer, Ticket):
                heard = await self._wait(flight, answer, first_poll)
            else:
                heard = self._at_once(flight, answer)
        except EndpointStopped as error:
            self._stop(live, error)
            carried.set_aside(job)
            self.floor.free_key(job)
            return
        finally:
            self._give_back(flight.slot)
        if (told := worked(carried, job, live, heard)) is not None:
            self.stream.tell(told)
        outcome = heard.outcome
        if isinstance(outcome, Made):
            live.breaker.succeeded()
            if outcome.price is not None:
                paid.really(outcome.price.amount)
            await self._finish(flight, task, heard)
        elif isinstance(outcome, Failed):
            if outcome.billed is False:
                paid.back()
            await self._after_failed(carried, job, live, task, outcome, heard)
        elif isinstance(outcome, Canceled):
            paid.back()
            await self._after_cancel(flight, task)
        else:
            await self._after_unknown(carried, job, task)

    def _at_once(self, flight: Flight, made: Made) -> Heard:
        """A picture that came with the answer; how long the call took, where it was ours."""
        now = self.clock.now()
        if flight.slot.since:
            flight.live.timings.learn(flight.job.request.size, now - flight.slot.since)
        return Heard(made, 0, now)

    async def _wait(self, flight: Flight, ticket: Ticket, first: float | None) -> Heard:
        carried, job, live = flight.carried, flight.job, flight.live

        def state(running: bool, since: float) -> None:
            if flight.slot.saw(running, since) and running:
                self.stream.tell(
                    Running(at=since, run=job.run, row=job.row, take=job.take, endpoint=live.name)
                )

        urgent = carried.run.priority >= IN_PERSON

        def cost() -> float:
            if not carried.shown:
                return IMPATIENT
            return min(live.poll_cost(), CALM) if urgent else live.poll_cost()

        kind = job.request.size
        waiting = live.polls.wait(
            live.provider, ticket, self.clock.now(), live.timings.of(kind), state, first=first,
            cost=cost,
        )  # fmt: skip
        heard = await self.hedges.first((carried, job, live, flight.slot), waiting, ticket)
        if isinstance(heard.outcome, Made):
            started, ended = heard.outcome.times.started, heard.outcome.times.ended
            if started is not None and ended is not None and ended >= started:
                asked = carried.tally(job).asked or 0.0  # it cannot have worked longer than since
                live.timings.learn(kind, min(ended - started, max(0.0, heard.at - asked)))
        return heard

    async def _overtaken(self, carried: Carried, job: Job, task: int, won: Won) -> None:
        """The twin's picture is the job's: the same way goes on with it."""
        if (attempt := await self.surely(self.hedges.go_on(carried, job, task, won))) is not None:
            won.live.gate.outstanding += 1
            paid, slot = Paid(carried.purse, None), Slot(won.live.gate)
            await self.see_through(carried, job, won.live, attempt.id, won.made, slot, paid)

    async def _finish(self, flight: Flight, task: int, heard: Heard) -> None:
        carried, job, live = flight.carried, flight.job, flight.live
        ticket = flight.answer if isinstance(flight.answer, Ticket) else None
        ending, price = await self.surely(
            self.finisher.finish(carried.run, job, live, task, heard, ticket, flight.facts)
        )
        self.floor.outcome(carried, job, ending, live, price)

    async def from_store(self, carried: Carried, job: Job) -> None:
        """The picture is there already: deliver it; if the store has lost it, make it."""
        ending = await self.finisher.from_store(carried.run, job)
        if ending is None:
            self.floor.free_key(job)
            carried.put_back(replace(job, stored=None))
            return
        self.floor.outcome(carried, job, ending, None, (0.0, ""))

    async def cannot(self, carried: Carried, job: Job, refused: Refused | None) -> None:
        text = refused.text if refused is not None else Text(
            f"没有端点能用模型「{job.request.model}」。", f"No endpoint offers the model “{job.request.model}”."
        )  # fmt: skip
        if line := job.input.get("line"):
            text = Text(f"第 {line} 行：{text.zh}", f"line {line}: {text.en}")
        await self.end_job(carried, job, "invalid", refused.code if refused else "no-model", text)

    # after a no, a failure, a doubt

    async def _after_no(self, carried: Carried, job: Job, live: Live, error: ServiceError) -> None:
        tally = carried.tally(job)
        decision = after_submit(
            error, tally.noes, tally.failures, carried.policy(self.policy), self.rng
        )
        if isinstance(error, Throttled) and isinstance(decision, Again):
            until = live.gate.refused(error, decision.pause_s, self.clock.now())
            now, why = self.clock.now(), error.kind
            self.stream.tell(
                Held(at=now, endpoint=live.name, reason=error.text, until=until, why=why)
            )
            self.floor.free_key(job)
            carried.put_back(job)
            return
        if isinstance(error, TaskFailed | ContentRefused):
            tally.failures += 1  # a synchronous lane took it, and no picture came
        else:
            tally.noes += 1
        self._count_failure(live, job, error)
        await self._act(carried, job, live, error, decision)

    def _count_failure(self, live: Live, job: Job, error: ServiceError) -> None:
        """For the breaker: a refusal of the words is a sound service's answer."""
        if isinstance(error, Refused):
            live.breaker.succeeded()
        else:
            live.breaker.failed(self.clock.now(), job.id)

    async def _after_failed(
        self, carried: Carried, job: Job, live: Live, task: int, failed: Failed, heard: Heard
    ) -> None:
        if isinstance(failed.error, Withheld):
            end = end_row(self.floor, self.records, carried, job, live, task, heard, self.policy)
            await self.surely(end)
            return
        tally, policy = carried.tally(job), carried.policy(self.policy)
        decision = after_failure(failed.error, tally.failures, policy, self.rng)
        tally.failures += 1
        self._count_failure(live, job, failed.error)
        ending = replace(failed_ending(failed, heard.at), polls=heard.polls, seen_at=heard.at)
        await self.surely(self.records.end_task(task, ending))
        await self._act(carried, job, live, failed.error, decision, task)

    async def _act(
        self,
        carried: Carried,
        job: Job,
        live: Live,
        error: ServiceError,
        decision: Decision,
        task: int | None = None,
    ) -> None:
        """Do what `retry` decided."""
        if isinstance(decision, GiveUp) and self._may_soften(carried, job, error):
            await self._softened(carried, job, live, error, task)
        elif isinstance(decision, GiveUp):
            code = error.service_code or error.code
            ending = GivenUp(decision.status, code, error.text, task, live)
            await self._given_up(carried, job, ending)
        elif isinstance(decision, StopEndpoint):
            assert isinstance(error, EndpointStopped)
            self._stop(live, error)
            self.floor.free_key(job)
            carried.put_back(job)
        elif isinstance(decision, Again):
            if decision.new_seed:
                carried.tally(job).seed = self.rng.randrange(2**31)
            self._again(carried, job, live, error, self._allowance(live).stretch(decision.pause_s))

    def _again(
        self, carried: Carried, job: Job, live: Live, error: ServiceError, pause_s: float
    ) -> None:
        now = self.clock.now()
        self.floor.later(carried, job, now + pause_s)
        self.stream.tell(
            Retrying(
                at=now, run=job.run, row=job.row, take=job.take, endpoint=live.name,
                reason=error.text, until=now + pause_s,
            )
        )  # fmt: skip

    def _stop(self, live: Live, error: EndpointStopped) -> None:
        """Every endpoint of this account is out of use until a person acts."""
        if not live.gate.stopped:
            live.gate.stopped = str(error)
            self.stream.tell(Stopped(at=self.clock.now(), endpoint=live.name, reason=error.text))

    async def into_doubt(self, carried: Carried, job: Job, live: Live, task: int) -> None:
        at = self.clock.now()
        self.stream.tell(
            Doubtful(at=at, run=job.run, row=job.row, take=job.take, endpoint=live.name)
        )
        row = await self.records.task(task)
        assert row is not None
        await self.lookout.add(Lost.of(row, live, carried, job))

    async def adopt(self, lost: Lost, ticket: Ticket) -> None:
        """Looking found the task: go on as if its answer had come."""
        carried, job, live = lost.carried, lost.job, lost.live
        await self.surely(
            self.records.accept(lost.task, ticket.id, ticket_to_json(ticket), self.clock.now())
        )
        live.gate.outstanding += 1
        slot = Slot(live.gate)
        self._say_submitted(carried, job, live, ticket)
        work = self.see_through(
            carried, job, live, lost.task, ticket, slot, lost.paid, self.clock.now()
        )
        self.floor.begin(carried, job, work)

    async def proved(self, lost: Lost) -> None:
        """Nothing was accepted, nothing was bought: the job may be asked for again."""
        if not await self.surely(self.records.prove_void(lost.task, self.clock.now())):
            self.floor.free_key(lost.job)
            await self.being_made(lost.carried, lost.job)
            return
        lost.paid.back()
        tally = lost.carried.tally(lost.job)
        tally.noes += 1
        if tally.noes >= self.policy.submit_tries:
            text = Text(
                "请求多次发出都没有到达服务；没有花钱。请检查网络或代理，再运行同一条命令。",
                "The request left many times and never arrived; nothing was spent. Check the network or the proxy and run the same command again.",
            )
            ending = GivenUp("failed", "never-arrived", text, None, lost.live)
            await self._given_up(lost.carried, lost.job, ending)
            return
        self.floor.later(
            lost.carried, lost.job, self.clock.now() + pause(tally.noes, self.policy, self.rng)
        )
        self.floor.wake()

    async def unsettled(self, lost: Lost) -> None:
        """Looking could not tell: the user's policy decides. Made on this machine, it is made again."""
        if lost.live.capabilities.local:
            await self.proved(lost)
            return
        policy = policy_for_doubt(lost.carried, lost.job, self.policy)
        text = Text(
            "请求发出后没有收到回答，也查不清是否已生成，可能已计费；下次启动会再查。",
            "The answer was lost and looking could not tell whether the picture was made; it may be billed. The next start looks again.",
        )
        if policy == "wait" or (policy == "fail" and lost.theirs):
            status: JobStatus = "in-doubt" if policy == "wait" else "failed"
            await self.end_job(
                lost.carried, lost.job, status, "answer-lost", text, lost.task, lost.live
            )
            return
        end = JobEnding.of(lost.job.id, "failed", self.clock.now(), "answer-lost", text, lost.task)
        outcome = end if policy == "fail" else None
        if not await self.surely(self.records.abandon(lost.task, end.ended, outcome)):
            self.floor.free_key(lost.job)
            await self.being_made(lost.carried, lost.job)
        elif outcome is not None:
            self.floor.outcome(lost.carried, lost.job, outcome, lost.live, (None, ""))
        else:
            self.floor.free_key(lost.job)
            lost.carried.put_back(lost.job)

    async def being_made(self, carried: Carried, job: Job) -> None:
        """The journal has a live task for this key after all: go on with it, never beside it."""
        row = await self.records.live_task_of(job.key)
        self.floor.free_key(job)
        if row is None:
            carried.put_back(replace(job, live_task=None))
        elif not self.floor.resume(carried, row, job):
            text = Text(
                "同一张图另有一个任务尚未查清，这里的端点和密钥接不上它；没有再花钱。",
                "Another task for the same picture is not settled, and this endpoint or key cannot reach it; nothing more was spent.",
            )
            await self.end_job(carried, job, "in-doubt", "elsewhere", text, row["id"])

    async def _after_unknown(self, carried: Carried, job: Job, task: int) -> None:
        text = Text(
            "服务不再认得这个任务（超过 24 小时？），图片取不回来；可能已计费。",
            "The service no longer knows the task (older than 24 hours?); the picture cannot be fetched and may be billed.",
        )
        ending = Ending(
            state="lost", billed="maybe", at=self.clock.now(), code="unknown", error=str(text)
        )
        await self.surely(self.records.end_task(task, ending))
        await self.end_job(carried, job, "failed", "unknown", text, task)

    async def _after_cancel(self, flight: Flight, task: int) -> None:
        """Called back by us it goes elsewhere; what a service cancels by itself is a failed try."""
        carried, job = flight.carried, flight.job
        ending = Ending(state="canceled", billed="no", at=self.clock.now(), code="canceled")
        await self.surely(self.records.end_task(task, ending, uncount=True))
        if (
            carried.stopping or flight.stolen
        ):  # paused, it stays pending; cancelled, its run ends it
            self.floor.free_key(job)
            carried.put_back(job)
        else:
            error = TaskFailed(
                "服务自己取消了任务，没有计费。",
                "The service cancelled the task by itself; not billed.",
            )
            tally = carried.tally(job)
            decision = after_failure(error, tally.failures, carried.policy(self.policy), self.rng)
            tally.failures += 1
            await self._act(carried, job, flight.live, error, decision, task)

    async def resume_live(self, carried: Carried, job: Job, live: Live, row: Row) -> None:
        answer: Ticket | Made
        if row["ticket"]:
            answer = ticket_from_json(row["ticket"])
        else:
            answer = Made(picture_from_json(row["result"]))
        live.gate.outstanding += 1
        slot = Slot(live.gate)
        await self.see_through(
            carried, job, live, row["id"], answer, slot, paid_for(row, carried), self.clock.now()
        )

    async def end_job(
        self,
        carried: Carried,
        job: Job,
        status: JobStatus,
        code: str,
        text: Text,
        task: int | None = None,
        live: Live | None = None,
    ) -> None:
        ending = JobEnding.of(job.id, status, self.clock.now(), code, text, task)
        await self.surely(self.records.end_job(ending))
        self.floor.outcome(carried, job, ending, live, (None, ""))

    def _say_submitted(self, carried: Carried, job: Job, live: Live, answer: Ticket | Made) -> None:
        task_id = answer.id if isinstance(answer, Ticket) else answer.request_id
        self.stream.tell(
            Submitted(
                at=self.clock.now(), run=carried.run.id, row=job.row, take=job.take,
                endpoint=live.name, task_id=task_id,
            )
        )  # fmt: skip

    def _may_soften(self, carried: Carried, job: Job, error: ServiceError) -> bool:
        """Whether a refused prompt is to be rewritten: only where the run says so, once a job."""
        allowed = self.soften is not None and carried.run.options.get("soften")
        return bool(allowed) and isinstance(error, ContentRefused) and "softened" not in job.input

    async def _softened(
        self, carried: Carried, job: Job, live: Live, error: ServiceError, task: int | None
    ) -> None:
        """Ask once more in milder words, which are on record beside the user's own."""
        assert self.soften is not None
        code = error.service_code or error.code
        try:
            words = (await self.soften(job.request.prompt, str(error))).strip()
            if not words or words == job.request.prompt:
                raise Refused("改写后没有变化。", "It came back unchanged.")
        except RedloomError as why:
            text = Text(
                f"{error.text.zh} 没能改写得更温和：{why.text.zh}",
                f"{error.text.en} It could not be put more mildly: {why.text.en}",
            )
            await self.end_job(carried, job, "refused", code, text, task, live)
            return
        await self.surely(self.records.soften(job.id, job.request.prompt, words))
        text = Text(
            f"#{job.row} 被拒（{code}），按 --soften 改写后再试：{words}",
            f"#{job.row} was refused ({code}); asked for again as --soften has it: {words}",
        )
        self.stream.tell(Note(at=self.clock.now(), run=job.run, text=text))
        self.floor.free_key(job)
        carried.put_back(job.softened(words))

    async def _given_up(self, carried: Carried, job: Job, ending: GivenUp) -> None:
        """The next of the run's chain is asked; after the last one this is the outcome."""
        if carried.give_up(job, ending):
            self.floor.free_key(job)
            carried.put_back(job)
            self.floor.wake()
            return
        await self.end_given_up(carried, job, ending)

    async def end_given_up(self, carried: Carried, job: Job, ending: GivenUp) -> None:
        """Nobody is left to ask: the job ends as the last one that was asked left it."""
        await self.end_job(
            carried, job, ending.status, ending.code, ending.text, ending.task, ending.live
        )

    def _allowance(self, live: Live) -> Allowance:
        return self._allowances.setdefault("|".join(live.endpoint.quota[:2]), Allowance())

    def _give_back(self, slot: Slot) -> None:
        """The slot is free: somebody else may go."""
        if slot.release():
            self.floor.wake()

    async def surely(self, work: Awaitable[T]) -> T:
        """Await ``work`` so that being cancelled does not stop it half-way (rule 1)."""
        task = asyncio.ensure_future(work)
        self.critical.add(task)
        task.add_done_callback(self._written)
        return await asyncio.shield(task)

    def _written(self, task: asyncio.Future[Any]) -> None:
        self.critical.discard(task)
        if not task.cancelled():
            task.exception()  # looked at: who waited for it may have been cancelled
