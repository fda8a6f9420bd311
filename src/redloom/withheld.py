"""A picture that its service calls made and does not hand over: what becomes of its row.

It was asked for again a few times already (`poll`). It may be billed, so it is never bought again by
itself: the row ends in doubt, its task keeps its ticket, and the next start asks the service once
more for as long as that remembers. The user's policy may end it sooner, as with a lost answer.

May import: everything on the way before it.
"""

from __future__ import annotations

from dataclasses import replace

from .carried import Carried
from .endpoint import Failed
from .floor import Floor
from .poll import Heard
from .records import Job, JobEnding, Records
from .retry import Policy
from .route import Live
from .task import failed_ending


async def end_withheld(
    floor: Floor,
    records: Records,
    carried: Carried,
    job: Job,
    live: Live,
    task: int,
    heard: Heard,
    policy: Policy,
) -> None:
    """End a row whose task has no picture to show, by the run's policy for doubts.

    ``wait``: in doubt. ``resubmit``: asked for again where nobody can tell whether it was billed,
    as often as a failed task is. ``fail``, and what the service counts as billed: failed, for good.
    """
    failed = heard.outcome
    assert isinstance(failed, Failed)
    wish, tally = str(carried.run.options.get("in_doubt", "wait")), carried.tally(job)
    code, text = failed.error.service_code or failed.error.code, failed.error.text
    if wish == "wait":
        ending = JobEnding.of(job.id, "in-doubt", heard.at, code, text, task)
        await records.end_job(ending)
        floor.outcome(carried, job, ending, live, (None, ""))
        return
    closing = replace(
        failed_ending(failed, heard.at), state="lost", polls=heard.polls, seen_at=heard.at
    )
    if wish == "resubmit" and failed.billed is None and tally.failures < policy.tries:
        tally.failures += 1
        await records.end_task(task, closing)
        floor.free_key(job)
        carried.put_back(job)
        return
    ending = JobEnding.of(job.id, "failed", heard.at, code, text, task)
    await records.end_task_and_job(task, closing, ending)
    floor.outcome(carried, job, ending, live, (None, ""))
