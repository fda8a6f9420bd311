"""A picture that its service calls made and does not hand over: what becomes of its row.

It was asked for again a few times already (`poll`). It may be billed, so it is never bought again by
itself: the row ends in doubt, its task keeps its ticket, and the next start asks the service once
more for as long as that remembers. The user's policy may end it sooner, as with a lost answer
(`policy_for_doubt`).

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


def policy_for_doubt(carried: Carried, job: Job, usual: Policy) -> str:
    """``wait``, ``resubmit`` or ``fail``: what the user wants done with this doubt.

    Who lets doubts be asked for again may pay for each: they are counted as failed tries are, and
    what stays in doubt after the last of them waits.
    """
    wish, tally = str(carried.run.options.get("in_doubt", "wait")), carried.tally(job)
    if wish != "resubmit":
        return wish
    tally.failures += 1
    return wish if tally.failures <= carried.policy(usual).tries else "wait"


async def end_row(
    floor: Floor,
    records: Records,
    carried: Carried,
    job: Job,
    live: Live,
    task: int,
    heard: Heard,
    usual: Policy,
) -> None:
    """End a row whose task has no picture to show, by the run's policy for doubts.

    ``resubmit`` is heeded only where nobody can tell whether it was billed: what the service
    counts as made is paid for.
    """
    failed = heard.outcome
    assert isinstance(failed, Failed)
    code, text = failed.error.service_code or failed.error.code, failed.error.text
    wish = policy_for_doubt(carried, job, usual)
    closing = replace(
        failed_ending(failed, heard.at), state="lost", polls=heard.polls, seen_at=heard.at
    )
    if wish == "resubmit" and failed.billed is None:
        await records.end_task(task, closing)
        floor.free_key(job)
        carried.put_back(job)
        return
    ending = JobEnding.of(
        job.id, "failed" if wish == "fail" else "in-doubt", heard.at, code, text, task
    )
    row = await records.task(task) if wish == "fail" else None
    if row is not None and row["run"] == carried.run.id:  # another run's task is that run's to end
        await records.end_task_and_job(task, closing, ending)
    else:
        await records.end_job(ending)
    floor.outcome(carried, job, ending, live, (None, ""))
