"""kill -9 at any moment: one outcome a row, nothing bought twice, nothing lost, no half file."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from helpers.chaos import World, finished, judge_world
from helpers.oracle import TASKS, query, same_money
from helpers.waiting import until
from redloom.emulators.ledger import prompt_sha
from redloom.emulators.pictures import prompt_of_picture
from redloom.task import STALE_INTENT_S

pytestmark = pytest.mark.slow
EARLY = ("add run", "add jobs", "complete run", "epoch", "orphans")
MONEY = ("intent", "ticket", "end task and job")
UNHAPPY = ("doubt", "void", "end task")
WORDS_IN_RESULT = "wan2.2-t2i-flash"
"""A model whose results carry the prompt as asked, so that every doubt can be settled."""


def prompts(number: int, mark: str = "") -> list[str]:
    """Prompts unlike each other."""
    return [f"a red thread {mark} number {k}" for k in range(number)]


def stop_between_commits(program: subprocess.Popen[str], workspace: Path) -> None:
    """SIGSTOP at a moment when the program does not hold the journal's write lock."""

    def stopped() -> bool:
        program.send_signal(signal.SIGSTOP)
        connection = sqlite3.connect(workspace / "journal.db", timeout=0.1, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            program.send_signal(signal.SIGCONT)
            return False
        finally:
            connection.close()
        return True

    until(stopped)


def killed_often(folder: Path, seed: int, kills: int, number: int = 50) -> int:
    """Runs of ``number`` killed at random moments, until ``kills`` kills have hit one."""
    rng, hit, runs = random.Random(seed), 0, 0
    faults = "answer_lost=0.04,submit_error=0.03,poll_error=0.03,download_truncated=0.05,download_reset=0.03"
    while hit < kills:
        model = WORDS_IN_RESULT if (seed + runs) % 2 else "wan2.6-t2i"
        service = {"faults": faults, "seed": seed + 1000 * runs}
        where = folder / f"world-{runs}"
        with World(where, prompts(number), service, {"model": model}) as world:
            world.kill_at_random(rng, kills - hit, 2.6)
            rows = world.until_over()
            judge_world(world, rows, doubts=model != WORDS_IN_RESULT)
            hit, runs = hit + world.kills, runs + 1
    return hit


@pytest.mark.parametrize("seed", range(5))
def test_killed_at_random_moments(tmp_path: Path, seed: int) -> None:
    """Runs of fifty, killed wherever they happened to be: thirty kills in all."""
    assert killed_often(tmp_path, seed, kills=6) == 6


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(100, 120))
def test_killed_at_random_moments_for_long(tmp_path: Path, seed: int) -> None:
    """The same, two hundred kills."""
    assert killed_often(tmp_path, seed, kills=10) == 10


@pytest.mark.parametrize("number", [1, 3])
def test_killed_at_every_commit_on_the_way(tmp_path: Path, number: int) -> None:
    """Before and after every commit of a run's beginning and of a picture's way."""
    with World(tmp_path, prompts(40)) as world:
        missed = [
            (when, label)
            for label in (EARLY if number == 1 else ()) + MONEY
            for when in ("before", "after")
            if not world.die_at(when, label, number)
        ]
        judge_world(world, world.until_over())
        assert missed == []


def test_killed_at_every_commit_of_a_doubt(tmp_path: Path) -> None:
    """Before and after the commits that follow lost answers, lost requests and failed tasks."""
    service = {"faults": "answer_lost=0.3,submit_reset=0.3,task_failed=0.3"}
    with World(tmp_path, prompts(60), service, {"model": WORDS_IN_RESULT}) as world:
        missed = [
            (when, label)
            for label in UNHAPPY
            for when in ("before", "after")
            if not world.die_at(when, label)
        ]
        judge_world(world, world.until_over(), doubts=False)
        assert missed == []


def test_killed_on_the_synchronous_lane(tmp_path: Path) -> None:
    """Nothing can be looked up there: what was under way stays in doubt and is never rebought."""
    driver = {"lane": "sync", "model": "wan2.6-t2i"}
    with World(tmp_path, prompts(30), {}, driver) as world:
        missed = [
            (when, label)
            for label in ("intent", "made", "end task and job")
            for when in ("before", "after")
            if not world.die_at(when, label)
        ]
        statuses = judge_world(world, world.until_over())
        assert missed == []
        assert statuses["in-doubt"] <= 6 * 5


def test_two_programs_share_a_workspace_and_one_is_killed(tmp_path: Path) -> None:
    """The other takes its run over at once; quotas hold; no picture is bought twice."""
    with World(tmp_path, prompts(30, "shared"), {}, {"model": WORDS_IN_RESULT}) as world:
        first = world.program()
        until(
            lambda: (
                world.ledger_path.exists() and world.ledger_path.read_text().count("accepted") > 3
            )
        )
        mine = prompts(20, "mine") + prompts(5, "shared")
        second = world.program(prompts=mine, out=str(tmp_path / "out2"))
        until(lambda: len(list((world.workspace / "owners").glob("*.lock"))) == 2)
        epoch = query(world.workspace, "SELECT value FROM meta WHERE name = 'epoch'")[0]["value"]
        first.kill()
        first.communicate()
        until(
            lambda: query(world.workspace, "SELECT value FROM meta WHERE name='epoch'")[0]["value"] != epoch,
            "another engine", within_s=5.0,
        )  # fmt: skip
        rows = finished(second)
        assert [row[1] for row in rows] == ["ok"] * 25
        for _row, _status, file, prompt, _code in rows:
            assert prompt_of_picture((tmp_path / "out2" / file).read_bytes()) == prompt_sha(prompt)
        judge_world(world, world.until_over(), doubts=False)


def test_two_programs_at_once_keep_to_one_quota(tmp_path: Path) -> None:
    """Both at work from the start: one engine, so the service sees the pace of one."""
    with World(tmp_path, prompts(15, "one"), {}, {"model": WORDS_IN_RESULT}) as world:
        both = [
            world.program(),
            world.program(prompts=prompts(15, "two"), out=str(tmp_path / "two")),
        ]
        for program in both:
            assert [row[1] for row in finished(program)] == ["ok"] * 15
        ledger = world.ledger()
        assert ledger.bought_twice() == []
        assert ledger.billed() == 30
        refused = {name: n for name, n in ledger.counts.items() if name.startswith("429")}
        assert sum(refused.values()) <= 1 + ledger.counts["submit"] // 10, refused
        same_money(query(world.workspace, TASKS), ledger)


def test_a_sleeper_that_wakes_spends_nothing(tmp_path: Path) -> None:
    """Stopped in mid-work while its lock is lost to another engine; woken, it buys no more."""
    with World(tmp_path, prompts(40), {}, {"model": WORDS_IN_RESULT}) as world:
        sleeper = world.program()
        until(
            lambda: (
                world.ledger_path.exists() and world.ledger_path.read_text().count("accepted") > 4
            )
        )
        stop_between_commits(sleeper, world.workspace)
        fell_asleep = time.monotonic()
        (world.workspace / "engine.lock").unlink()
        other = world.program()
        try:
            rows = finished(other)
            # An intent is too old to act upon after STALE_INTENT_S real seconds, however fast
            # the clock runs; nobody could have settled it sooner on a clock that runs true.
            until(lambda: time.monotonic() > fell_asleep + STALE_INTENT_S + 0.5)
        finally:
            sleeper.send_signal(signal.SIGCONT)
        try:
            sleeper.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            os.kill(sleeper.pid, signal.SIGKILL)
            sleeper.communicate()
            raise
        judge_world(world, rows, doubts=False)
