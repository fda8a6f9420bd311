"""The order of money as a small model: every interleaving and crash of two engines, breadth first.

The model has the journal's rules (one live task a key, the epoch, what each statement's WHERE
allows), two engines that crash, sleep and lose their lock, and a service that accepts, denies,
loses requests and answers, and lists with a lag. Each way of breaking a rule is planted once, to
show that the model would notice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import pytest

LIVE = ("intent", "accepted", "doubt")


class Task(NamedTuple):
    """A row of the journal, and where its POST is: none, flying, gone."""

    job: int
    state: str
    epoch: int
    ticket: int | None = None
    post: str = "none"


class Sold(NamedTuple):
    """A task at the service; ``listed`` once the list's lag is over."""

    job: int
    listed: bool = False


class Engine(NamedTuple):
    """A process. ``mind``: what it knows of the tasks it carries; ``todo``: jobs it would begin."""

    epoch: int = 0
    asleep: bool = False
    slept: bool = False
    todo: frozenset[int] = frozenset()
    mind: tuple[tuple[int, str, int], ...] = ()
    look: tuple[int, frozenset[int], frozenset[int]] | None = None
    """The doubt looked at, ids listed, and tickets known when the list was read."""


class World(NamedTuple):
    """Everything. ``left``: how many losses, crashes, sleeps, thefts of the lock may still come."""

    epoch: int
    lock: int | None
    tasks: tuple[Task, ...]
    done: frozenset[int]
    sold: tuple[Sold, ...]
    engines: tuple[Engine, Engine]
    left: tuple[int, int, int, int]
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

    def knows(self, number: int, task: int, phase: str, sold: int = -1) -> World:
        """With an engine's mind about a task changed; no phase: forgotten."""
        rest = [m for m in self.engines[number].mind if m[0] != task]
        now = sorted([*rest, (task, phase, sold)] if phase else rest)
        return self.engine(number, mind=tuple(now))

    def spend(self, which: int) -> World:
        """With one mishap fewer to come."""
        left = list(self.left)
        left[which] -= 1
        return self._replace(left=(left[0], left[1], left[2], left[3]))


class Model:
    """The protocol for ``jobs`` jobs. ``words``: results carry prompts. ``fault``: what is broken."""

    def __init__(
        self, jobs: int, left: tuple[int, int, int, int], words: bool = False, fault: str = ""
    ) -> None:
        self.jobs, self.words, self.fault = jobs, words, fault
        self.first = World(0, None, (), frozenset(), (), (Engine(), Engine()), left)

    # what may happen next

    def steps(self, w: World) -> Iterator[World]:
        """What can happen by itself: work that goes on if nothing goes wrong."""
        for number, engine in enumerate(w.engines):
            if engine.asleep:
                continue
            if w.lock is None and w.done != frozenset(range(self.jobs)):
                yield self.lead(w, number)
            if engine.epoch:
                yield from self.begin(w, number, engine)
                yield from self.go_on(w, number, engine)
                yield from self.settle(w, number, engine)
        yield from self.service(w)

    def mishaps(self, w: World) -> Iterator[World]:
        """Crashes, sleep, waking, a lock that is lost."""
        for number, engine in enumerate(w.engines):
            if engine.asleep:
                yield w.engine(number, asleep=False, slept=True)
            elif engine.epoch:
                if w.left[1]:
                    free = None if w.lock == number else w.lock
                    yield w.spend(1).engine(number, **Engine()._asdict())._replace(lock=free)
                if w.left[2]:
                    yield w.spend(2).engine(number, asleep=True)
            elif w.left[3] and w.lock == 1 - number:
                yield self.lead(w.spend(3), number)

    def lead(self, w: World, number: int) -> World:
        """Take the lock, a new epoch; intents from before become doubts, tickets are taken up."""
        epoch = w.epoch + 1
        tasks = tuple(
            t._replace(state="doubt") if t.state == "intent" and t.epoch < epoch else t for t in w.tasks
        )  # fmt: skip
        carried = {"accepted": "polling", "doubt": "doubt"}
        mind = tuple(
            (k, carried[t.state], -1 if t.ticket is None else t.ticket)
            for k, t in enumerate(tasks) if t.state in carried
        )  # fmt: skip
        todo = frozenset(range(self.jobs)) - w.done - {t.job for t in tasks if t.state in LIVE}
        changed = w._replace(epoch=epoch, lock=number, tasks=tasks)
        return changed.engine(number, epoch=epoch, slept=False, todo=todo, mind=mind, look=None)

    def begin(self, w: World, number: int, engine: Engine) -> Iterator[World]:
        """The intent's commit: the epoch is checked, one live task a key."""
        for job in engine.todo:
            if engine.epoch != w.epoch and self.fault != "epoch unchecked":
                continue
            if any(t.job == job and t.state in LIVE for t in w.tasks):
                continue
            wrong = "a stale engine began a task" if engine.epoch != w.epoch else w.wrong
            after = w._replace(tasks=(*w.tasks, Task(job, "intent", engine.epoch)), wrong=wrong)
            after = after.engine(number, todo=engine.todo - {job}, slept=False)
            yield after.knows(number, len(w.tasks), "intended")

    def go_on(self, w: World, number: int, engine: Engine) -> Iterator[World]:
        """POST, record what came of it, poll."""
        for task, phase, sold in engine.mind:
            row = w.tasks[task]
            if phase == "intended" and engine.slept:
                void = w.task(task, state="void") if row.state in LIVE else w
                yield self.again(void, number, row.job).knows(number, task, "")
            elif phase == "intended":
                yield w.task(task, post="flying").knows(number, task, "sent")
            elif phase == "got" and self.fault == "ticket after poll":
                yield w._replace(wrong="polled before the ticket was on record")
            elif phase == "got":
                kept = (
                    w.task(task, state="accepted", ticket=sold)
                    if row.state in ("intent", "doubt")
                    else w
                )
                yield kept.knows(number, task, "polling", sold)
            elif phase == "denied":
                void = w.task(task, state="void") if row.state in LIVE else w
                yield self.again(void, number, row.job).knows(number, task, "")
            elif phase == "lost":
                may = ("intent", "accepted") if self.fault == "late doubt" else ("intent",)
                kept = w.task(task, state="doubt") if row.state in may else w
                yield kept.knows(number, task, "doubt")
            elif phase == "polling":
                stored = w.task(task, state="stored") if row.state in LIVE else w
                stored = stored._replace(done=w.done | {row.job})
                wrong = w.wrong if w.sold[sold].job == row.job else "another prompt's picture"
                yield stored._replace(wrong=wrong).knows(number, task, "")

    def again(self, w: World, number: int, job: int) -> World:
        """A job goes back to an engine's queue."""
        return w.engine(number, todo=w.engines[number].todo | {job})

    def settle(self, w: World, number: int, engine: Engine) -> Iterator[World]:
        """Read the list, then judge by it; two steps, so that others may come between."""
        known = frozenset(t.ticket for t in w.tasks if t.ticket is not None)
        if engine.look is None:
            for task, phase, _ in engine.mind:
                if phase == "doubt" and self.ripe(w, task):
                    listed = [k for k, s in enumerate(w.sold) if s.listed]
                    if self.fault == "part of the list":
                        listed = listed[1:]
                    yield w.engine(number, look=(task, frozenset(listed), known))
            return
        task, listed_ids, known_then = engine.look
        strangers = listed_ids - (known_then if self.fault == "tickets read first" else known)
        after = w.engine(number, look=None).knows(number, task, "")
        if self.words:
            strangers = frozenset(s for s in strangers if w.sold[s].job == w.tasks[task].job)
        rivals = [k for k, t in enumerate(w.tasks) if k != task and t.state in ("intent", "doubt")]
        if not strangers:
            yield self.prove(after, number, task)
        elif len(strangers) == 1 and (self.words or not rivals):
            yield self.adopt(after, number, task, min(strangers))
        else:
            yield w.engine(number, look=None)

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
        if row.state == "accepted":
            return w.knows(number, task, "polling", row.ticket or 0)
        return w if row.job in w.done else self.again(w, number, row.job)

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
            yield self.hear(sold, task, "got", len(w.sold))
            if w.left[0]:
                yield self.hear(gone.spend(0), task, "denied")
                yield self.hear(gone.spend(0), task, "lost")
                yield self.hear(sold.spend(0), task, "lost")
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
        if len({s.job for s in w.sold}) < len(w.sold):
            return "bought twice"
        awake = any(e.epoch == w.epoch and not e.asleep for e in w.engines)
        for job in set(range(self.jobs)) - w.done if over and awake else ():
            doubts = [
                t for t in w.tasks if t.job == job and t.state == "doubt" and t.ticket is None
            ]
            if not doubts or self.jobs == 1:
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
    ("jobs", "left", "words"),
    [(1, (1, 1, 1, 1), False), (1, (2, 1, 0, 0), True), (2, (1, 1, 0, 0), False), (2, (1, 1, 0, 0), True)],
)  # fmt: skip
def test_no_interleaving_buys_twice_or_loses_a_job(
    jobs: int, left: tuple[int, int, int, int], words: bool
) -> None:
    """Every state within the bound: paid at most once, its own picture, one outcome."""
    states, wrong = Model(jobs, left, words).explore()
    assert wrong == ""
    assert states > 500


@pytest.mark.parametrize(
    ("fault", "jobs", "left", "found"),
    [
        ("ticket after poll", 1, (0, 0, 0, 0), "polled before the ticket was on record"),
        ("epoch unchecked", 1, (0, 0, 1, 1), "a stale engine began a task"),
        ("list younger than its lag", 1, (1, 0, 0, 0), "bought twice"),
        ("part of the list", 1, (1, 0, 0, 0), "bought twice"),
        ("void whatever it is", 1, (0, 0, 1, 1), "bought twice"),
        ("late doubt", 1, (2, 1, 1, 1), "job 0 has no outcome"),
        ("tickets read first", 2, (1, 0, 0, 0), "adopted another job's task"),
    ],
)
def test_the_model_notices_a_broken_rule(
    fault: str, jobs: int, left: tuple[int, int, int, int], found: str
) -> None:
    """Each rule of the protocol, broken on purpose, shows as the harm it is there against."""
    _, wrong = Model(jobs, left, fault=fault).explore()
    assert wrong == found
