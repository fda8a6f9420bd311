"""From a finished task to a file: fetch, verify, store, deliver, and the outcome on record.

The order keeps every crash harmless: bytes into the store, then the file into ``--out``, then
one commit with the task's end, the picture and the job's outcome. Dying before the commit costs
another download, never another purchase.

May import: everything on the way before it.
"""

from __future__ import annotations

import json
import random
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .clock import Clock, offload
from .download import Downloads, Fetched, Rules, own_host
from .endpoint import Failed, Made, Picture, Ticket, Unknown, Waiting
from .errors import (
    FetchFailed,
    LinkExpired,
    PictureError,
    Refused,
    ServiceError,
    Withheld,
)
from .events import Downloaded, Stream
from .examine import Likeness, Look, examine, keep_thumb, thumb_name
from .image import Delivery, Image, Store, deliver, deliver_also
from .metadata import About
from .naming import named_file, told_apart, with_row
from .poll import Heard
from .prompt import parse_size
from .records import ImageRecord, Job, JobEnding, Records, Run
from .retry import download_pause
from .route import Live, asked_of
from .takeover import download_name
from .task import TaskFacts, made_ending

RUNS = 4
"""Runs whose pictures are compared with each other at one time."""
PATTERN = "{row}-{words}"
"""How a file is called unless the run says otherwise."""

if TYPE_CHECKING:
    from PIL.Image import Image as Pixels


@dataclass(eq=False)
class Finisher:
    """Downloads, stores and delivers finished pictures."""

    records: Records
    clock: Clock
    stream: Stream
    store: Store
    downloads: Downloads
    _alike: OrderedDict[str, Likeness] = field(default_factory=OrderedDict)
    _claims: dict[str, int] = field(default_factory=dict)
    """Names that a job is about to take, where the pattern does not tell rows apart."""
    _naming: threading.Lock = field(default_factory=threading.Lock)
    """Names are claimed in threads."""

    async def finish(
        self,
        run: Run,
        job: Job,
        live: Live,
        task: int,
        heard: Heard,
        ticket: Ticket | None,
        facts: TaskFacts | None = None,
    ) -> tuple[JobEnding, tuple[float | None, str]]:
        """The outcome of a job whose task has its picture, on record when this returns; its price."""
        began, made = self.clock.now(), heard.outcome
        assert isinstance(made, Made)
        if facts is None:
            row = await self.records.task(task)
            assert row is not None
            facts = TaskFacts.of(row)
        about = about_of(job, live, facts, made, began)
        price = (about.price, about.currency)
        handover = await self._handover(run, job, live, about, task)
        try:
            await self._fetch(run, job, live, task, facts, made, ticket, handover)
        except PictureError as error:
            if handover.begun:
                raise  # the picture is here: its task stays as it is, and is finished another time
            return await self._not_fetched(job, task, heard, error), price
        image, ending, about = handover.done()
        record = self._image_record(job, image, task, about)
        closing = made_ending(made, self.clock.now(), heard.polls, heard.at, about.finished_at)
        await self.records.end_task_and_job(task, closing, ending, record)
        await self.downloads.let_go(made.picture)
        self._release(job)
        self.stream.tell(
            Downloaded(
                at=self.clock.now(), run=job.run, row=job.row, take=job.take,
                size_bytes=image.size_bytes, seconds=self.clock.now() - began,
            )
        )  # fmt: skip
        return ending, price

    async def from_store(self, run: Run, job: Job) -> JobEnding | None:
        """Deliver the picture that the store has for the job's key; None where it is gone."""
        kept = await self.records.image(job.key)
        image = None if kept is None else await offload(self.store.find, kept["sha256"])
        if kept is None or image is None:
            if kept is not None:
                await self.records.forget_image(job.key)
            return None
        twin = await self.records.twin(job.run, job.key)
        if twin is not None:
            ending = JobEnding(
                id=job.id, status="duplicate", ended=self.clock.now(), task=kept["task"],
                image=image.sha256, file=twin[1],
            )  # fmt: skip
        else:
            about = _about_from_json(kept["about"], job)
            handover = await self._handover(run, job, None, about, kept["task"])
            await offload(handover, image)
            ending = handover.done()[1]
        await self.records.end_job(ending)
        self._release(job)
        return ending

    def _release(self, job: Job) -> None:
        """The names that it claimed are on record now."""
        with self._naming:
            for claim in [claim for claim, owner in self._claims.items() if owner == job.id]:
                del self._claims[claim]

    async def _fetch(
        self,
        run: Run,
        job: Job,
        live: Live,
        task: int,
        facts: TaskFacts,
        made: Made,
        ticket: Ticket | None,
        handover: _Handover,
    ) -> None:
        expires = self.clock.now() + live.capabilities.url_life_s

        async def renew() -> Picture:
            age_s = self.clock.now() - facts.intent_at
            return await _renewed(live, ticket, age_s > live.capabilities.record_life_s)

        await self.downloads.fetch(
            made.picture,
            rules_for(live),
            name=download_name(task),
            size=parse_size(facts.size),
            renew=renew if ticket is not None else None,
            expires=expires,
            look=_looker(run),
            keep=handover,
        )

    async def _not_fetched(
        self, job: Job, task: int, heard: Heard, error: PictureError
    ) -> JobEnding:
        """Paid for, and not here. A far side that is down leaves the task for the next start;
        a link that is gone for good, or bytes that are no picture, end it.
        """
        ending = JobEnding(
            id=job.id, status="failed", ended=self.clock.now(), task=task,
            code=error.code, error=str(error),
        )  # fmt: skip
        assert isinstance(heard.outcome, Made)
        closing = made_ending(heard.outcome, self.clock.now())
        closing = replace(closing, polls=heard.polls, seen_at=heard.at)
        if isinstance(error, FetchFailed):
            await self.records.made(task, closing)
            await self.records.end_job(ending)
            return ending
        lost = replace(closing, state="lost", code=error.code, error=str(error))
        await self.records.end_task_and_job(task, lost, ending)
        await self.downloads.let_go(heard.outcome.picture)
        return ending

    async def _handover(
        self, run: Run, job: Job, live: Live | None, about: About, task: int | None
    ) -> _Handover:
        """What a thread does with the job's picture once it is whole."""
        likeness = await self._likeness(run) if run.out else None
        return _Handover(self.store, self.clock, run, job, live, about, task, likeness, self._name)

    async def _likeness(self, run: Run) -> Likeness:
        """The pictures that this run has so far, as they look."""
        known = self._alike.get(run.id)
        if known is None:
            known = Likeness()
            for mark, row, take in await self.records.fingerprints(run.id):
                known.add(mark, row, take)
            known = self._alike.setdefault(run.id, known)
        self._alike.move_to_end(run.id)
        while len(self._alike) > RUNS:
            self._alike.popitem(last=False)
        return known

    def _name(self, run: Run, job: Job, about: About, kind: str) -> Path:
        """The file's name below the run's folder; never that of another row's picture."""
        pattern = str(run.options.get("name") or PATTERN)
        name = name_of(run, job, about, pattern, kind)
        if told_apart(pattern):
            return name
        claim = f"{run.id} {name.as_posix().casefold()}"
        with self._naming:
            mine = self._claims.setdefault(claim, job.id) == job.id
        if mine and not self.records.file_taken(run.id, name.as_posix(), job.id):
            return name
        return with_row(name, job.row)

    def _image_record(self, job: Job, image: Image, task: int, about: About) -> ImageRecord:
        return ImageRecord(
            key=job.key, sha256=image.sha256, task=task, format=image.format, width=image.width,
            height=image.height, bytes=image.size_bytes, made=self.clock.now(),
            about=_about_to_json(about),
        )  # fmt: skip


@dataclass(eq=False, slots=True)
class _Handover:
    """A whole picture into the store, and its file into the run's folder, where it has one; the
    outcome is ``ok``. Called once, in the thread that has the picture: every step by itself would
    cost another turn of that thread and of the event loop.
    """

    store: Store
    clock: Clock
    run: Run
    job: Job
    live: Live | None
    """Where it was made just now; None where it was in the store."""
    about: About
    task: int | None
    likeness: Likeness | None
    name: Callable[[Run, Job, About, str], Path]
    begun: bool = False
    """The picture is whole and here: what goes wrong from now on is no failed download."""
    result: tuple[Image, JobEnding] | None = None

    def __call__(self, source: Fetched | Image) -> None:
        """Raises DiskFull; NotAPicture where the store's file is damaged."""
        self.begun, thumb = True, b""
        if self.live is not None and isinstance(source, Fetched):
            self._describe(self.live, source)
            thumb = source.seen.thumb
        self._compare()
        image = self.store.put(source) if isinstance(source, Fetched) else source
        file, sha = self._deliver(image, source, thumb) if self.run.out else ("", "")
        ending = JobEnding(
            id=self.job.id, status="ok", ended=self.clock.now(), task=self.task,
            image=image.sha256, file=file, sha256=sha, flags=" ".join(self.about.flags),
        )  # fmt: skip
        self.result = image, ending

    def done(self) -> tuple[Image, JobEnding, About]:
        """What came of it."""
        assert self.result is not None
        return (*self.result, self.about)

    def _describe(self, live: Live, fetched: Fetched) -> None:
        """What is known of the picture only now."""
        now, look, submitted = self.clock.now(), fetched.seen, self.about.submitted_at
        self.about = replace(
            self.about,
            finished_at=now,
            seconds=None if submitted is None else round(now - submitted, 3),
            flags=(*_own_doubts(self.run, self.job, live, fetched), *look.flags),
            fingerprint=look.fingerprint,
        )

    def _compare(self) -> None:
        """A doubt where it looks like the picture of another row of its run."""
        mark, flags = self.about.fingerprint, self.about.flags
        if self.likeness is None or not mark or "blank" in flags:
            return
        other = self.likeness.add(mark, self.job.row, self.job.take)
        if other is not None:
            twin = f"{other[0]}_{other[1]}" if other[1] > 1 else str(other[0])
            self.about = replace(self.about, flags=(*flags, f"near-duplicate:{twin}"))

    def _deliver(self, image: Image, source: Fetched | Image, thumb: bytes) -> tuple[str, str]:
        """The file's name and its digest."""
        options = Delivery.of(self.run.options.get("delivery", {}))
        kind = options.format or image.format
        file = self.name(self.run, self.job, self.about, kind).as_posix()
        data = source.data if isinstance(source, Fetched) else b""
        folder = Path(self.run.out)
        delivered = deliver(image, folder / file, self.about, options, data)
        deliver_also(image, folder, file, self.about, options)
        if thumb:
            keep_thumb(thumb, folder / thumb_name(file))
        return file, delivered.sha256


async def _renewed(live: Live, ticket: Ticket | None, gone: bool) -> Picture:
    """A fresh link from the task itself. Raises FetchFailed where the service has none just now;
    LinkExpired where it has none for good: the task failed, or its record's life is over (``gone``).
    """
    assert ticket is not None
    try:
        outcome = await live.provider.poll(ticket)
    except ServiceError as error:
        raise FetchFailed(error.text.zh, error.text.en) from error
    if isinstance(outcome, Made):
        return outcome.picture
    silent = isinstance(outcome, Waiting | Unknown)
    if not gone and (
        silent or (isinstance(outcome, Failed) and isinstance(outcome.error, Withheld))
    ):
        raise FetchFailed(
            "图片链接已过期，服务此刻给不出新的；图片已付费，重新运行同一命令会再取，不会重新购买。",
            "The picture's link has expired and the service gives no new one just now; it is paid "
            "for, and the same command fetches it again and does not buy it again.",
        )
    raise LinkExpired(
        "图片链接已过期，服务也给不出新的链接；这张图已付款但取不回来。",
        "The picture's link has expired and the service gives no new one; it is paid for and cannot be fetched.",
    )


def pauses() -> Callable[[int], float | None]:
    """The pauses between tries of one download, in nominal seconds."""
    rng = random.Random()
    return lambda attempt: download_pause(attempt, rng)


def rules_for(live: Live) -> Rules:
    """Where this endpoint's pictures may lie."""
    return Rules(
        own_host=own_host(live.endpoint.base_url) if live.endpoint.base_url else "",
        suffixes=live.capabilities.picture_hosts,
        rewrite=live.endpoint.options.get("rewrite_hosts", {}),
    )


def name_of(run: Run, job: Job, about: About, pattern: str, kind: str) -> Path:
    """The file's name below the run's folder by the run's pattern."""
    from datetime import UTC, datetime

    given = job.input
    total = int(run.options.get("rows") or 0) or (run.total if run.complete else 99_999)
    prompt = about.prompt or job.request.prompt
    values = {
        **{str(k): str(v) for k, v in given.get("extra", {}).items()},
        "words": str(given.get("filename") or prompt), "prompt": prompt,
        "id": str(given.get("id", "")), "filename": str(given.get("filename", "")),
        "folder": str(given.get("folder", "")), "model": about.model, "size": job.request.size,
        "seed": "" if about.seed is None else str(about.seed),
        "date": f"{datetime.fromtimestamp(run.created, UTC):%Y-%m-%d}",
    }  # fmt: skip
    folder = "" if "{folder}" in pattern else str(given.get("folder", ""))
    takes = int(given.get("n", 1))
    return named_file(pattern, values, job.row, job.take, takes, max(total, job.row), kind, folder)


def _looker(run: Run) -> Callable[[Pixels], Look]:
    """What is looked for in a decoded picture: doubts where it has a folder to go to."""

    def look(picture: Pixels) -> Look:
        return examine(picture, thumb=run.kind == "batch") if run.out else Look((), "")

    return look


def _own_doubts(run: Run, job: Job, live: Live, image: Fetched) -> tuple[str, ...]:
    """``wrong-size`` where it is not what the model was asked for, or not what the user wrote;
    ``softened`` where other words were sent; ``fallback`` where the run's fallback made it.
    """
    found = image.flags
    exact = parse_size(job.request.size) if "x" in job.request.size else None
    if "wrong-size" not in found and exact not in (None, (image.width, image.height)):
        found = (*found, "wrong-size")
    found = (*found, "softened") if "softened" in job.input else found
    return (*found, "fallback") if live.name in run.options.get("fallback", ()) else found


def _notes(job: Job, live: Live, seed: int | None) -> tuple[str, ...]:
    """What was changed for the model, as it was said."""
    try:
        return tuple(str(note) for note in asked_of(job.request, live, seed=seed).notes)
    except Refused:
        return ()


def about_of(job: Job, live: Live, task: TaskFacts, made: Made, now: float) -> About:
    """All that is recorded beside a picture just made."""
    return About(
        prompt=job.words,
        sent_prompt=job.request.prompt,
        revised_prompt=made.picture.revised_prompt,
        negative_prompt=job.request.negative,
        row=job.row,
        take=job.take,
        id=str(job.input.get("id", "")),
        endpoint=live.name,
        provider=live.endpoint.provider,
        model=live.endpoint.model,
        size_asked=parse_size(task.size),
        size_wanted=job.request.size,
        notes=_notes(job, live, task.seed) if task.notes is None else task.notes,
        seed=made.picture.seed if made.picture.seed is not None else task.seed,
        references=job.request.references,
        options=dict(job.request.options),
        task_id=task.ticket_id,
        request_id=made.request_id,
        submitted_at=task.intent_at,
        finished_at=now,
        seconds=round(now - task.intent_at, 3),
        attempts=job.tries + 1,
        price=made.price.amount if made.price is not None else task.price,
        currency=made.price.currency if made.price is not None else task.currency,
        price_source=made.price.source if made.price is not None else task.price_source,
        made_by_model=live.capabilities.made_by_model,
        key=job.key,
    )


def _about_to_json(about: About) -> str:
    return json.dumps(about.fields(), ensure_ascii=False)


def _about_from_json(text: str, job: Job) -> About:
    """What is known of a stored picture, as the about of another job that wants it."""
    values: dict[str, Any] = json.loads(text)
    size = values.get("size_asked")
    values["size_asked"] = tuple(size) if size else None
    values["references"] = tuple(values.get("references") or ())
    values["flags"] = tuple(values.get("flags") or ())
    values["notes"] = tuple(values.get("notes") or ())
    values["row"], values["take"], values["id"] = job.row, job.take, str(job.input.get("id", ""))
    values["key"] = job.key
    return About(**values)
