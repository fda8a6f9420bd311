"""One paid try: intent, submit, ticket, end. The order here is the promise (rule 1).

    intend -> POST -> accept (a ticket) or made (a picture at once)
                  \\-> void (the service said no, or nothing left)
                   \\-> doubt (the answer was lost)

Nothing downstream can come back to the POST: polling, downloading and saving have only the
task's id.

May import: journal, errors, clock, lang, job, records, endpoint, route.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .clock import Clock
from .endpoint import Asked, Failed, Made, Picture, Ticket
from .errors import AnswerLost, Refused, ServiceError, Withheld, WorkspaceError
from .journal import Row
from .lang import Text
from .records import Ending, Intent, Job, Records
from .route import Live

STALE_INTENT_S = 5.0
"""An intent this much older than now, in nominal seconds, is not acted upon: this process may
have slept while another engine settled it."""


REPEATED = "repeated"
"""The code of a doubt whose answer was the ticket of another task: a list cannot tell them apart."""
_NOT_OURS = Text(
    "服务的回答记不下来（例如给了别的任务的编号）；图可能已生成并计费，不会重复提交。",
    "The service's answer cannot be put on record (it may be another task's number); the picture "
    "may be made and billed, so it is not sent again.",
)


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """What is recorded of a task beside its picture."""

    intent_at: float
    size: str
    seed: int | None
    price: float | None
    currency: str
    price_source: str
    ticket_id: str = ""
    notes: tuple[str, ...] | None = None
    """What was changed for the model, said; None where the request has to be fitted again."""

    @classmethod
    def of(cls, row: Row) -> TaskFacts:
        """From the journal's row of the task."""
        return cls(
            row["intent_at"], row["size"] or "", row["seed"], row["price"], row["currency"],
            row["price_source"], row["ticket_id"] or "",
        )  # fmt: skip


@dataclass
class Attempt:
    """One task of a job, from before it exists until the service has it."""

    records: Records
    clock: Clock
    live: Live
    job: Job
    asked: Asked
    epoch: int
    id: int = 0
    intent: Intent | None = None

    async def submit(self) -> Ticket | Made:
        """Record the intent, send the POST once, record what came of it.

        Raises what the provider raised, after it is on record: AnswerLost left a doubt, any
        other ServiceError left nothing. Run it shielded: being cancelled half-way is a crash.
        """
        before = self.clock.now()
        self.intent = self._intent(before)
        self.id = await self.records.intend(self.intent)
        if abs(self.clock.now() - before) > STALE_INTENT_S * max(1.0, 1.0 / self.clock.real(1.0)):
            await self._void("stale")
            return await self.submit()
        try:
            answer = await self.live.provider.submit(self.asked, self.live.lane)
        except (AnswerLost, Withheld) as error:
            await self.records.doubt(self.id, self.clock.now(), error.code, str(error))
            if isinstance(error, AnswerLost):
                raise
            raise AnswerLost(*error.text) from error
        except ServiceError as error:
            await self._void(error.service_code or error.code, str(error))
            raise
        except (Exception, asyncio.CancelledError) as error:
            await self.records.doubt(self.id, self.clock.now(), "broken", type(error).__name__)
            raise
        try:
            await self._record(answer)
        except WorkspaceError:
            raise
        except Exception as error:
            code = REPEATED if isinstance(error, sqlite3.IntegrityError) else "broken"
            await self.records.doubt(self.id, self.clock.now(), code, type(error).__name__)
            raise AnswerLost(*_NOT_OURS) from error
        return answer

    def facts(self, answer: Ticket | Made, notes: Sequence[object]) -> TaskFacts:
        """Of the task that has just been accepted."""
        one = self.intent
        assert one is not None
        ticket = answer.id if isinstance(answer, Ticket) else ""
        said = tuple(str(note) for note in notes)
        return TaskFacts(
            one.intent_at, one.size, one.seed, one.price, one.currency, one.price_source, ticket, said
        )  # fmt: skip

    async def adopt(self, made: Made) -> None:
        """Record a picture that was made outside the journal, where it cost nothing (see `hedge`)."""
        self.intent = self._intent(self.clock.now())
        self.id = await self.records.intend(self.intent)
        await self._record(made)

    async def _record(self, answer: Ticket | Made) -> None:
        now = self.clock.now()
        if isinstance(answer, Ticket):
            await self.records.accept(self.id, answer.id, ticket_to_json(answer), now)
        elif answer.picture.data is None:
            await self.records.made(self.id, made_ending(answer, now))

    async def _void(self, code: str, error: str = "") -> None:
        ending = Ending(state="void", billed="no", at=self.clock.now(), code=code, error=error)
        await self.records.end_task(self.id, ending, uncount=True)

    def _intent(self, now: float) -> Intent:
        price, size = self.live.price(self.asked), self.asked.size
        endpoint = self.live.endpoint
        return Intent(
            job=self.job.id,
            run=self.job.run,
            key=self.job.key,
            endpoint=endpoint.name,
            place=self.live.place,
            account="|".join(endpoint.quota[:2]),
            model=endpoint.model,
            lane=self.live.lane,
            epoch=self.epoch,
            seed=self.asked.seed,
            size="" if size is None else f"{size[0]}x{size[1]}",
            intent_at=now,
            price=price.amount,
            currency=price.currency,
            price_source=price.source,
        )


def ticket_to_json(ticket: Ticket) -> str:
    """A ticket as the journal keeps it."""
    return json.dumps({"id": ticket.id, "request_id": ticket.request_id, "data": dict(ticket.data)})


def ticket_from_json(text: str) -> Ticket:
    """The ticket that `ticket_to_json` wrote."""
    return Ticket(**json.loads(text))


def picture_to_json(picture: Picture) -> str:
    """A picture's link and words as the journal keeps them; bytes are never written there."""
    values = {name: getattr(picture, name) for name in picture.__dataclass_fields__}
    del values["data"]
    return json.dumps(values, ensure_ascii=False)


def picture_from_json(text: str) -> Picture:
    """The picture that `picture_to_json` wrote."""
    return Picture(**json.loads(text))


def made_ending(
    made: Made,
    now: float,
    polls: int = 0,
    seen_at: float | None = None,
    fetched_at: float | None = None,
) -> Ending:
    """The record of a finished picture; a price only where the service reported one."""
    price = made.price
    return Ending(
        state="stored",
        billed="yes",
        at=now,
        result=picture_to_json(made.picture),
        queued=made.times.queued,
        started=made.times.started,
        ended=made.times.ended,
        polls=polls,
        seen_at=seen_at,
        fetched_at=fetched_at,
        price=None if price is None else price.amount,
        currency=None if price is None else price.currency,
        price_source=None if price is None else price.source,
    )


_BILLED: Mapping[bool | None, Literal["yes", "no", "maybe"]] = {
    True: "yes", False: "no", None: "maybe",
}  # fmt: skip


def failed_ending(failed: Failed, now: float) -> Ending:
    """The record of a task that ended without a picture."""
    error = failed.error
    return Ending(
        state="refused" if isinstance(error, Refused) else "failed",
        billed=_BILLED[failed.billed],
        at=now,
        code=error.service_code or error.code,
        error=str(error),
        queued=failed.times.queued,
        started=failed.times.started,
        ended=failed.times.ended,
    )
