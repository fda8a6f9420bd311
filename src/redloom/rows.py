"""What the journal keeps, as values: runs, jobs, tasks and their ends, pictures.

May import: job, journal, lang.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from .job import JobStatus, Request, request_from_json
from .journal import Row
from .lang import Text


@dataclass(frozen=True, slots=True)
class Run:
    """The jobs asked for at one time."""

    id: str
    created: float
    kind: str
    digest: str
    out: str
    options: Mapping[str, Any]
    environment: Mapping[str, Any]
    state: str
    priority: int
    budget: float | None
    currency: str
    total: int
    complete: bool
    owner: str
    note: str = ""
    seq: int = 0

    @classmethod
    def of(cls, row: Row) -> Run:
        """From a row of ``runs``."""
        values = dict(row)
        values["options"] = json.loads(values["options"])
        values["environment"] = json.loads(values["environment"])
        values["complete"] = bool(values["complete"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Job:
    """One wanted picture, as it waits in the journal."""

    id: int
    run: str
    row: int
    take: int
    key: str
    request: Request
    input: Mapping[str, Any]
    tries: int
    stored: str | None = None
    """Hash of the picture that the store already has for this key."""
    live_task: int | None = None

    @property
    def words(self) -> str:
        """The prompt as asked; `request` has the softened one, where there is one."""
        return str(self.input["asked"]) if "softened" in self.input else self.request.prompt

    def softened(self, words: str) -> Job:
        """The same job, to be asked for in milder words; its key stays."""
        given = {**self.input, "asked": self.words, "softened": words}
        return replace(self, request=replace(self.request, prompt=words), input=given)

    @classmethod
    def of(cls, row: Row) -> Job:
        """From a row of the ``waiting_jobs`` query."""
        return cls(
            row["id"], row["run"], row["row"], row["take"], row["key"],
            *asked_in(row), row["tries"], row["stored"], row["live_task"],
        )  # fmt: skip

    @classmethod
    def of_task(cls, row: Row) -> Job:
        """From a row of the ``live_tasks`` query: the job that its task was begun for."""
        return cls(
            row["job"], row["run"], row["row"], row["take"], row["key"],
            *asked_in(row), row["tries"], None, row["id"],
        )  # fmt: skip


def asked_in(row: Row) -> tuple[Request, Mapping[str, Any]]:
    """Request and input of a row of ``jobs``; softened words stand in for the prompt."""
    request, given = request_from_json(row["request"]), json.loads(row["input"])
    if "softened" in given:
        request = replace(request, prompt=given["softened"])
    return request, given


@dataclass(frozen=True, slots=True)
class NewJob:
    """A row to be added to a run. ``problem`` makes it ``invalid`` from the start."""

    row: int
    take: int
    request: Request | None
    input: Mapping[str, Any]
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What is recorded just before a POST leaves."""

    job: int
    run: str
    key: str
    endpoint: str
    place: str
    account: str
    model: str
    lane: str
    epoch: int
    seed: int | None
    size: str
    intent_at: float
    price: float | None
    currency: str
    price_source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a task ended. ``state``: stored, failed, refused, cancelled, void, lost, abandoned."""

    state: str
    billed: str
    at: float
    code: str = ""
    error: str = ""
    result: str | None = None
    queued: float | None = None
    started: float | None = None
    ended: float | None = None
    price: float | None = None
    currency: str | None = None
    price_source: str | None = None
    polls: int = 0
    """Status queries spent on it since it was last written down."""
    seen_at: float | None = None
    """When we learnt that it had ended, nominal Unix seconds."""
    fetched_at: float | None = None
    """When its bytes lay whole and verified on the disk, nominal Unix seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnding:
    """How a job ended."""

    id: int
    status: JobStatus
    ended: float
    task: int | None = None
    image: str | None = None
    file: str = ""
    sha256: str = ""
    flags: str = ""
    code: str = ""
    error: str = ""

    @classmethod
    def of(
        cls, job: int, status: JobStatus, ended: float, code: str, text: Text, task: int | None
    ) -> JobEnding:
        """The end of a job that has no picture."""
        return cls(id=job, status=status, ended=ended, task=task, code=code, error=str(text))


class Known(NamedTuple):
    """A task that has a ticket: nominal times of intent and ticket by this machine, and its id."""

    intent: float
    accepted: float
    task: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """A stored picture under the key of the job that asked for it."""

    key: str
    sha256: str
    task: int | None
    format: str
    width: int
    height: int
    bytes: int
    made: float
    about: str = "{}"


def new_run_id(now: float) -> str:
    """An id that sorts by time and is easy to say: ``20261123-2341-7f3a``."""
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(now, UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"
