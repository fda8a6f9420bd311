"""The order of money as a small model: every interleaving and crash of two engines, breadth first.

The model has the journal's rules (one live task a key, the epoch, what each statement's WHERE
allows), two engines that crash, sleep and lose their lock, and a service that accepts, denies,
loses requests and answers, and lists with a lag. Each way of breaking a rule is planted once, to
show that the model would notice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

LIVE = ("intent", "accepted", "doubt", "made")


class Task(NamedTuple):
    """A row of the journal, and where its POST is: none, flying, gone."""

    job: int
    state: str
    epoch: int
    ticket: int | None = None
    post: str = "none"
    link: int | None = None
    """Whose picture it is to be, once it is made."""


class Sold(NamedTuple):
    """A task at the service; ``listed`` once the list's lag is over; what failed is not billed."""

    job: int
    listed: bool = False
    failed: bool = False


class Engine(NamedTuple):
    """A process. ``mind``: what it knows of the tasks it carries; ``todo``: jobs it would begin."""

    epoch: int = 0
    asleep: bool = False
    slept: bool = False
    todo: frozenset[int] = frozenset()
    mind: tuple[tuple[int, str, int], ...] = ()
    look: tuple[int, frozenset[int], frozenset[int]] | None = None
    """The doubt looked at, ids listed, and tickets known when the list was read."""


class Left(NamedTuple):
    """How many of each may still come."""

    losses: int = 0
    crashes: int = 0
    sleeps: int = 0
    thefts: int = 0
    """The lock is lost while its holder lives."""
    fails: int = 0
    """An accepted task ends without a picture, not billed."""
    unfetched: int = 0
    """A picture is made and its bytes cannot be had for now."""
    forgotten: int = 0
    """The service no longer knows a task that it has billed."""
    given_up: int = 0
    """A doubt that looking cannot settle is abandoned, as the run's policy says."""
    cancels: int = 0
    retries: int = 0
    """A person takes up again what ended without a picture."""


class World(NamedTuple):
    """Everything. ``rows``: each job's outcome, empty while it has none; ``done``: its picture is
    in the store.
    """

    epoch: int
    lock: int | None
    tasks: tuple[Task, ...]
    rows: tuple[str, ...]
    done: frozenset[int]
    sold: tuple[Sold, ...]
    engines: tuple[Engine, Engine]
    left: Left
    wrong: str = ""

    def engine(self, number: int, **changes: object) -> World:
        """With one engine changed."""
        both = list(self.engines)
        both[number] = both[number]._replace(**changes)  # type: ignore[arg-type]
        return self._replace(engines=(both[0], both[1]))

    def task(self, number: int, **changes: object) -> World:
        """With one task changed."""
        rows = list(self.tasks)
        rows[number] = rows[number]._replace(**changes)  # type: ignore[arg-type]
        return self._replace(tasks=tuple(rows))

    def close(self, number: int, state: str) -> World:
        """With one task ended, if it has not ended before (``close_task``)."""
        return self.task(number, state=state) if self.tasks[number].state in LIVE else self

    def outcome(self, job: int, status: str) -> World:
        """With one row ended, if it has no outcome yet (``end_job``)."""
        if self.rows[job]:
            return self
        return self._replace(rows=(*self.rows[:job], status, *self.rows[job + 1 :]))

    def reopened(self, job: int) -> World:
        """With one row pending again."""
        return self._replace(rows=(*self.rows[:job], "", *self.rows[job + 1 :]))

    def live(self, job: int) -> int | None:
        """The live task of a job."""
        return next((k for k, t in enumerate(self.tasks) if t.job == job and t.state in LIVE), None)

    def knows(self, number: int, task: int, phase: str, sold: int = -1) -> World:
        """With an engine's mind about a task changed; no phase: forgotten."""
        rest = [m for m in self.engines[number].mind if m[0] != task]
        now = sorted([*rest, (task, phase, sold)] if phase else rest)
        return self.engine(number, mind=tuple(now))

    def spend(self, which: str) -> World:
        """With one of these fewer to come."""
        return self._replace(left=self.left._replace(**{which: getattr(self.left, which) - 1}))


class Model:
    """The protocol for ``jobs`` jobs. ``words``: results carry prompts. ``sync``: the answer is the
    picture, and nothing can be looked up. ``fault``: what is broken.
    """

    def __init__(
        self, jobs: int, left: Left, *, words: bool = False, sync: bool = False, fault: str = ""
    ) -> None:
        self.jobs, self.words, self.sync, self.fault = jobs, words, sync, fault
        both = (Engine(), Engine())
        self.first = World(0, None, (), ("",) * jobs, frozenset(), (), both, left)

    # what may happen next

    def steps(self, w: World) -> Iterator[World]:
        """What can happen by itself: work that goes on if nothing goes wrong."""
        for number, engine in enumerate(w.engines):
            if engine.asleep:
                continue
            if w.lock is None and not all(w.rows):
                yield self.lead(w, number)
            if engine.epoch:
                yield from self.begin(w, number, engine)
                yield from self.go_on(w, number, engine)
                yield from self.settle(w, number, engine)
        yield from self.service(w)

    def mishaps(self, w: World) -> Iterator[World]:
        """Crashes, sleep, waking, a lock that is lost; a person who cancels or retries."""
        for number, engine in enumerate(w.engines):
            if engine.asleep:
                yield w.engine(number, asleep=False, slept=True)
            elif engine.epoch:
                if w.left.crashes:
                    free = None if w.lock == number else w.lock
                    after = w.spend("crashes").engine(number, **Engine()._asdict())
                    yield after._replace(lock=free)
                if w.left.sleeps:
                    yield w.spend("sleeps").engine(number, asleep=True)
            elif w.left.thefts and w.lock == 1 - number:
                yield self.lead(w.spend("thefts"), number)
        yield from self.person(w)

    def person(self, w: World) -> Iterator[World]:
        """``cancel`` ends what nobody works on; ``retry`` takes up what has no picture."""
        for job, status in enumerate(w.rows):
            busy = w.live(job) is not None and self.fault != "cancel whatever it is"
            if w.left.cancels and not status and not busy:
                yield w.spend("cancels").outcome(job, "cancelled")
            if w.left.retries and status in ("failed", "cancelled", "in-doubt"):
                after = w.spend("retries").reopened(job)
                for number, engine in enumerate(w.engines):
                    if engine.epoch == w.epoch:
                        after = self.again(after, number, job)
                yield after

    def lead(self, w: World, number: int) -> World:
        """Take the lock, a new epoch; intents from before become doubts, tickets are taken up, and
        rows in doubt are looked at again.
        """
        epoch = w.epoch + 1
        tasks = tuple(
            t._replace(state="doubt") if t.state == "intent" and t.epoch < epoch else t for t in w.tasks
        )  # fmt: skip
        rows = tuple("" if row == "in-doubt" else row for row in w.rows)
        after = w._replace(epoch=epoch, lock=number, tasks=tasks, rows=rows)
        todo = frozenset(k for k, row in enumerate(rows) if not row and after.live(k) is None)
        after = after.engine(number, epoch=epoch, slept=False, todo=todo, mind=(), look=None)
        for task, row in enumerate(tasks):
            if row.state in LIVE and not rows[row.job]:
                after = self.resume(after, number, task)
        return after

    def resume(self, w: World, number: int, task: int) -> World:
        """Go on with a live task, from what the journal says of it."""
        row = w.tasks[task]
        phase = {"accepted": "polling", "doubt": "doubt", "made": "fetching", "intent": "doubt"}
        known = row.link if row.link is not None else row.ticket
        return w.knows(number, task, phase[row.state], -1 if known is None else known)

    def begin(self, w: World, number: int, engine: Engine) -> Iterator[World]:
        """The intent's commit: the row waits, the epoch is checked, one live task a key."""
        for job in engine.todo:
            after = w.engine(number, todo=engine.todo - {job})
            live = w.live(job)
            if w.rows[job] and self.fault != "outcome unchecked":
                yield after  # Withdrawn
            elif job in w.done:
                yield after.outcome(job, "ok")
            elif live is not None:
                row = w.tasks[live]
                # A doubt that has a ticket can only be a mistake: it is left to show as one.
                if (row.state != "doubt" or row.ticket is None) and row.epoch <= engine.epoch:
                    mine = any(m[0] == live for m in engine.mind)
                    yield after if mine else self.resume(after, number, live)
            elif engine.epoch == w.epoch or self.fault == "epoch unchecked":
                wrong = "a stale engine began a task" if engine.epoch != w.epoch else w.wrong
                if w.rows[job]:
                    wrong = "a row with an outcome was begun"
                after = after._replace(
                    tasks=(*w.tasks, Task(job, "intent", engine.epoch)), wrong=wrong
                )
                yield after.engine(number, slept=False).knows(number, len(w.tasks), "intended")

    def go_on(self, w: World, number: int, engine: Engine) -> Iterator[World]:
        """POST, record what came of it, poll, fetch."""
        for task, phase, sold in engine.mind:
            row = w.tasks[task]
            if phase == "intended" and engine.slept:
                yield self.again(w.close(task, "void"), number, row.job).knows(number, task, "")
            elif phase == "intended":
                yield w.task(task, post="flying").knows(number, task, "sent")
            elif phase == "got" and self.fault == "ticket after poll":
                yield w._replace(wrong="polled before the ticket was on record")
            elif phase == "got":
                kept = row.state in ("intent", "doubt")
                after = w.task(task, state="accepted", ticket=sold) if kept else w
                yield after.knows(number, task, "polling", sold)
            elif phase == "picture":
                after = w.task(task, state="made", link=sold) if row.state in LIVE else w
                yield after.knows(number, task, "fetching", sold)
            elif phase == "denied":
                yield self.again(w.close(task, "void"), number, row.job).knows(number, task, "")
            elif phase == "lost":
                may = ("intent", "accepted") if self.fault == "late doubt" else ("intent",)
                kept_w = w.task(task, state="doubt") if row.state in may else w
                yield kept_w.knows(number, task, "doubt")
            elif phase in ("polling", "fetching"):
                yield from self.end(w, number, task, sold)

    def end(self, w: World, number: int, task: int, sold: int) -> Iterator[World]:
        """What a poll and a download come to."""
        job = w.tasks[task].job
        gone = w.knows(number, task, "")
        if w.sold[sold].failed:
            yield self.again(gone.close(task, "failed"), number, job)
            return
        wrong = w.wrong if w.sold[sold].job == job else "another prompt's picture"
        stored = gone.close(task, "stored")._replace(done=w.done | {job}, wrong=wrong)
        yield stored.outcome(job, "ok")
        if w.left.unfetched:
            after = gone.spend("unfetched").outcome(job, "failed")
            state = "lost" if self.fault == "unfetched is lost" else "made"
            live = w.tasks[task].state in LIVE
            yield after.task(task, state=state, link=sold) if live else after
        if w.left.forgotten and w.tasks[task].state == "accepted":
            yield gone.spend("forgotten").close(task, "lost").outcome(job, "failed")

    def again(self, w: World, number: int, job: int) -> World:
        """A job goes back to an engine's queue."""
        return w.engine(number, todo=w.engines[number].todo | {job})

    def settle(self, w: World, number: int, engine: Engine) -> Iterator[World]:
        """Read the list, then judge by it; two steps, so that others may come between."""
        known = frozenset(t.ticket for t in w.tasks if t.ticket is not None)
        if self.sync:
            for task, phase, _ in engine.mind:
                if phase == "doubt":
                    yield from self.unsettled(w, number, task)
            return
        if engine.look is None:
            for task, phase, _ in engine.mind:
                if phase == "doubt" and self.ripe(w, task):
                    listed = [k for k, s in enumerate(w.sold) if s.listed]
                    if self.fault == "part of the list":
                        listed = listed[1:]
                    yield w.engine(number, look=(task, frozenset(listed), known))
            return
        yield from self.judged(w, number, engine.look, known)

    def judged(
        self,
        w: World,
        number: int,
        look: tuple[int, frozenset[int], frozenset[int]],
        known: frozenset[int],
    ) -> Iterator[World]:
        """What the list that was read says about one doubt."""
        task, listed_ids, known_then = look
        strangers = listed_ids - (known_then if self.fault == "tickets read first" else known)
        strangers = frozenset(s for s in strangers if not w.sold[s].failed)
        after = w.engine(number, look=None).knows(number, task, "")
        if self.words:
            strangers = frozenset(s for s in strangers if w.sold[s].job == w.tasks[task].job)
        rival = ("intent", "doubt", "abandoned")
        if self.fault == "given up is no rival":
            rival = ("intent", "doubt", "")
        rivals = [k for k, t in enumerate(w.tasks) if k != task and t.state in rival]
        if not strangers:
            yield self.prove(after, number, task)
        elif len(strangers) == 1 and (self.words or not rivals):
            yield self.adopt(after, number, task, min(strangers))
        else:
            yield w.engine(number, look=None)
            yield from self.unsettled(w.engine(number, look=None), number, task)

    def unsettled(self, w: World, number: int, task: int) -> Iterator[World]:
        """Looking could not tell: in doubt, or given up as the run's policy says, if it is a doubt
        without a ticket still.
        """
        row, gone = w.tasks[task], w.knows(number, task, "")
        yield gone.outcome(row.job, "in-doubt")
        if not w.left.given_up:
            return
        still = row.state == "doubt" and row.ticket is None
        if not still and self.fault != "give up whatever it is":
            yield self.take_up(gone, number, task)
            return
        after = gone.spend("given_up").close(task, "abandoned")
        if not still:
            after = after._replace(wrong="a task with a ticket was given up")
        yield after.outcome(row.job, "failed")
        yield self.again(after, number, row.job)

    def prove(self, w: World, number: int, task: int) -> World:
        """Nothing was accepted: void, if the task is still a doubt without a ticket."""
        row = w.tasks[task]
        if self.fault != "void whatever it is" and (row.state != "doubt" or row.ticket is not None):
            return self.take_up(w, number, task)
        return self.again(w.task(task, state="void"), number, row.job)

    def adopt(self, w: World, number: int, task: int, sold: int) -> World:
        """The task found becomes ours, as if its answer had come; its id is there only once."""
        unique = self.fault != "tickets read first" and any(t.ticket == sold for t in w.tasks)
        if unique or w.tasks[task].state != "doubt":
            return self.take_up(w, number, task)
        wrong = w.wrong if w.sold[sold].job == w.tasks[task].job else "adopted another job's task"
        after = w.task(task, state="accepted", ticket=sold)._replace(wrong=wrong)
        return after.knows(number, task, "polling", sold)

    def take_up(self, w: World, number: int, task: int) -> World:
        """Somebody was quicker: go on from what the journal says now."""
        row = w.tasks[task]
        if row.state in ("accepted", "made"):
            return self.resume(w, number, task)
        return w if w.rows[row.job] else self.again(w, number, row.job)

    def ripe(self, w: World, task: int) -> bool:
        """Old enough: its POST has arrived or never will, and what arrived is in the list."""
        if self.fault == "list younger than its lag":
            return True
        held = any(m[0] == task and m[1] == "intended" and not e.slept and not e.asleep
                   for e in w.engines for m in e.mind)  # fmt: skip
        return not held and w.tasks[task].post != "flying" and all(s.listed for s in w.sold)

    def service(self, w: World) -> Iterator[World]:
        """A POST arrives or not, its answer arrives or not, the list catches up."""
        for task, row in enumerate(w.tasks):
            if row.post != "flying":
                continue
            gone = w.task(task, post="gone")
            sold = gone._replace(sold=(*w.sold, Sold(row.job)))
            answer = "picture" if self.sync else "got"
            yield self.hear(sold, task, answer, len(w.sold))
            if w.left.fails and not self.sync:
                failing = gone.spend("fails")._replace(sold=(*w.sold, Sold(row.job, failed=True)))
                yield self.hear(failing, task, answer, len(w.sold))
            if w.left.losses:
                yield self.hear(gone.spend("losses"), task, "denied")
                yield self.hear(gone.spend("losses"), task, "lost")
                yield self.hear(sold.spend("losses"), task, "lost")
        if not all(s.listed for s in w.sold):
            yield w._replace(sold=tuple(s._replace(listed=True) for s in w.sold))

    def hear(self, w: World, task: int, phase: str, sold: int = -1) -> World:
        """The answer reaches whoever waits for it, if anybody still does."""
        for number, engine in enumerate(w.engines):
            if any(m[0] == task and m[1] == "sent" for m in engine.mind):
                return w.knows(number, task, phase, sold)
        return w

    # what must hold

    def violation(self, w: World, over: bool) -> str:
        """What is wrong in a state, or ''. ``over``: nothing more will happen by itself."""
        if w.wrong:
            return w.wrong
        for job in range(self.jobs):
            bought = sum(s.job == job and not s.failed for s in w.sold)
            # Only a person, or the policy that a person chose, pays again for what was lost.
            excused = sum(
                t.job == job and (t.state == "abandoned" or (t.state == "lost" and t.link is None))
                for t in w.tasks
            )
            if bought > 1 + excused:
                return "bought twice"
        if any(status == "ok" and job not in w.done for job, status in enumerate(w.rows)):
            return "ok without a picture"
        if any(row == "cancelled" and w.live(job) is not None for job, row in enumerate(w.rows)):
            return "cancelled though it may be paid for"
        awake = any(e.epoch == w.epoch and not e.asleep for e in w.engines)
        for job in [k for k, row in enumerate(w.rows) if not row] if over and awake else ():
            live = w.live(job)
            doubt = live is not None and w.tasks[live].state == "doubt"
            if not doubt or self.jobs == 1:
                return f"job {job} has no outcome"
        return ""

    def explore(self, most: int = 200_000) -> tuple[int, str]:
        """How many states there are, and the first violation."""
        seen, queue = {self.first}, deque([self.first])
        while queue:
            world = queue.popleft()
            steps = [s for s in self.steps(world) if s != world]
            wrong = self.violation(world, over=not steps)
            if wrong:
                return len(seen), wrong
            for after in [*steps, *self.mishaps(world)]:
                if after not in seen:
                    seen.add(after)
                    queue.append(after)
            assert len(seen) < most, "the model has grown too large to be explored"
        return len(seen), ""


@pytest.mark.parametrize(
    ("jobs", "left", "how"),
    [
        (1, Left(1, 1, 1, 1), {}),
        (1, Left(2, 1), {"words": True}),
        (2, Left(1, 1), {}),
        (2, Left(1, 1), {"words": True}),
        (1, Left(losses=2, crashes=1, given_up=1, retries=1), {}),
        (1, Left(losses=1, sleeps=1, thefts=1, given_up=1), {}),
        (2, Left(losses=2, given_up=1), {}),
        (1, Left(losses=1, crashes=1, fails=1, unfetched=1, retries=1), {}),
        (1, Left(crashes=1, sleeps=1, thefts=1, cancels=1, retries=1), {}),
        (1, Left(losses=1, crashes=1, forgotten=1, retries=1, cancels=1), {}),
        (1, Left(losses=1, crashes=1, given_up=1), {"sync": True}),
        (1, Left(losses=1, sleeps=1, thefts=1), {"sync": True}),
        (1, Left(losses=1, crashes=1, unfetched=1, cancels=1, retries=2), {"sync": True}),
        (2, Left(crashes=1, losses=1, unfetched=1), {"sync": True}),
    ],
)  # fmt: skip
def test_no_interleaving_buys_twice_or_loses_a_job(
    jobs: int, left: Left, how: dict[str, Any]
) -> None:
    """Every state within the bound: paid at most once, its own picture, one outcome."""
    states, wrong = Model(jobs, left, **how).explore()
    assert wrong == ""
    assert states > 200


@pytest.mark.parametrize(
    ("fault", "jobs", "left", "found"),
    [
        ("ticket after poll", 1, Left(), "polled before the ticket was on record"),
        ("epoch unchecked", 1, Left(sleeps=1, thefts=1), "a stale engine began a task"),
        ("list younger than its lag", 1, Left(losses=1), "bought twice"),
        ("part of the list", 1, Left(losses=1), "bought twice"),
        ("void whatever it is", 1, Left(sleeps=1, thefts=1), "bought twice"),
        ("late doubt", 1, Left(2, 1, 1, 1), "job 0 has no outcome"),
        ("tickets read first", 2, Left(losses=1), "adopted another job's task"),
        ("outcome unchecked", 1, Left(cancels=1), "a row with an outcome was begun"),
        ("cancel whatever it is", 1, Left(cancels=1), "cancelled though it may be paid for"),
        ("unfetched is lost", 1, Left(unfetched=1, retries=1), "bought twice"),
        ("given up is no rival", 2, Left(losses=2, given_up=1), "adopted another job's task"),
        ("give up whatever it is", 2, Left(losses=1, sleeps=1, thefts=1, given_up=1), "a task with a ticket was given up"),
    ],
)  # fmt: skip
def test_the_model_notices_a_broken_rule(fault: str, jobs: int, left: Left, found: str) -> None:
    """Each rule of the protocol, broken on purpose, shows as the harm it is there against."""
    _, wrong = Model(jobs, left, fault=fault).explore()
    assert wrong == found
