"""Ours: the Engine, as a program uses it, with its journal, store and verified files.

May import: endpoint, engine, providers, bench.course.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

from redloom.bench.course import Client, Course
from redloom.endpoint import Endpoint, Limits, Provider, Tools
from redloom.engine import Engine
from redloom.providers import dashscope

_TASKS = """
SELECT jobs.request, tasks.billed, tasks.lane, tasks.started, tasks.ended, tasks.seen_at, tasks.polls
FROM tasks JOIN jobs ON jobs.id = tasks.job WHERE tasks.state != 'void' ORDER BY tasks.id
"""


class _Untold(dashscope.DashScope):
    """The provider without its published limits: what an unknown model or plan looks like."""

    def limits(self) -> Limits:
        """Only what holds for every account."""
        known = super().limits()
        return Limits(poll_per_second=known.poll_per_second, list_per_second=known.list_per_second)

    async def quota(self) -> None:
        """The service does not tell either."""


def _equipped(course: Course) -> list[tuple[Endpoint, Provider]]:
    found: list[tuple[Endpoint, Provider]] = []
    for k, (url, place) in enumerate(zip(course.urls, course.scenario.places, strict=True)):
        told = Limits(
            submit_per_second=place.rate, concurrency=place.concurrency,
            sync_concurrency=place.concurrency,
        )  # fmt: skip
        endpoint = Endpoint(
            name=f"place-{k}",
            provider="dashscope",
            model=course.scenario.model,
            base_url=url,
            account=f"account-{k}",
            limits=told if course.scenario.told else Limits(),
            share=course.share,
        )
        tools = Tools(key=course.key, clock=course.clock)
        kind = dashscope.DashScope if course.scenario.told else _Untold
        found.append((endpoint, kind(endpoint, tools)))
    return found


async def _race(course: Course) -> None:
    engine = Engine(
        equipped=_equipped(course),
        workspace=course.folder / "workspace",
        clock=course.clock,
        lane=course.scenario.lane,
        jobs=course.jobs,
    )
    async with engine:
        course.start()
        async for result in engine.stream(course.prompts, out=course.folder / "out"):
            if result.ok:
                course.got(result.row - 1)
    _bought(course)


def _bought(course: Course) -> None:
    """What the journal says was bought, for a service without a ledger of ours."""
    with closing(sqlite3.connect(course.folder / "workspace" / "journal.db")) as db:
        for request, billed, lane, started, ended, seen, polls in db.execute(_TASKS):
            course.purchases.append(
                {
                    "prompt": json.loads(request)["prompt"], "billed": int(billed != "no"),
                    "lane": lane, "started": started, "ended": ended, "seen": seen,
                }
            )  # fmt: skip
            course.count("poll", polls)


CLIENTS: dict[str, Client] = {"ours": _race}
