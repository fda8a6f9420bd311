"""Killed before and after the rarer commits: rows that end without a task, control, softening.

The way of a picture and of a doubt is in `test_chaos`; together they name every label there is.
"""

from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

import redloom.records
from helpers.chaos import World
from helpers.driver import KEY
from helpers.oracle import Evidence, judge
from test_chaos import EARLY, MONEY, UNHAPPY, WORDS_IN_RESULT, prompts

pytestmark = pytest.mark.slow
AGAIN = ("soften", "end job", "reopen", "own run", "set policy")
CONTROL = ("run cancelled", "cancel")
ELSEWHERE = {"made", "note", "forget", *EARLY, *MONEY, *UNHAPPY}
GIVEN_UP = "abandon"
NO_MONEY = {"allow softening", "leave out", "extend", "run done"}
"""One statement each, before anything is asked for or when nothing is left to be."""


def test_every_label_is_killed_at_somewhere() -> None:
    """A new kind of commit has to be named here, and killed at."""
    source = Path(redloom.records.__file__).read_text("utf-8")
    labels = set(re.findall(r'(?:, |^ +)f?"([a-z{} ]+)"\s*\)', source, re.MULTILINE))
    labels = {label for label in labels if "{" not in label} | {"run cancelled"}
    killed = {*AGAIN, *CONTROL, *ELSEWHERE, *NO_MONEY, GIVEN_UP}
    assert labels - killed == set(), labels - killed


def around(world: World, label: str, **changes: Any) -> None:
    """Killed before such a commit, and after one."""
    for when in ("before", "after"):
        assert world.die_at(when, label, **changes), (when, label)


def held(world: World, *outcomes: str, copies: int = 1) -> None:
    """The oracle at the end of it all."""
    judge(
        Evidence(
            world.folder,
            world.workspace,
            world.ledger(),
            frozenset(outcomes),
            (KEY,),
            copies=copies,
        )
    )


def test_killed_where_rows_end_and_runs_are_taken_up_again(tmp_path: Path) -> None:
    """Twins, refused prompts in milder words, the same command over and over."""
    wanted = prompts(20)
    service = {"faults": "submit_refused=0.3", "seed": 5}
    driver = {"model": WORDS_IN_RESULT, "soften": True}
    with World(tmp_path, wanted + wanted[:6], service, driver) as world:
        for label in AGAIN:
            around(world, label)
        world.until_over()
        held(world, "ok", "duplicate", "refused")


def test_killed_while_a_run_is_cancelled(tmp_path: Path) -> None:
    """Then cancelled for good: every row has an outcome; asked for again, every one is made."""
    with World(tmp_path, prompts(30), {}, {"model": WORDS_IN_RESULT}) as world:
        for label in CONTROL:
            around(world, label, cancel=True)
        rows = world.until_over(cancel=True)
        assert {row[1] for row in rows} <= {"ok", "cancelled"}
        world.until_over()
        held(world, "ok")


def test_killed_where_a_run_begins_to_wait_for_a_person(tmp_path: Path) -> None:
    """The account is in arrears; when the bill is paid the same command delivers all."""
    with World(
        tmp_path, prompts(12), {"faults": "arrears_from=4"}, {"model": WORDS_IN_RESULT}
    ) as world:
        around(world, "note")
        world.service_process.send_signal(signal.SIGUSR1)
        world.until_over()
        held(world, "ok")


def test_killed_where_a_lost_picture_is_forgotten(tmp_path: Path) -> None:
    """The store was emptied by hand: what another run wants of it is made once more, and only once."""
    with World(tmp_path, prompts(8), {}, {"model": WORDS_IN_RESULT}) as world:
        world.until_over()
        shutil.rmtree(world.workspace / "images")
        around(world, "forget", out=str(tmp_path / "out2"))
        world.until_over(out=str(tmp_path / "out2"))
        held(world, "ok", copies=2)


def test_killed_where_a_doubt_is_given_up(tmp_path: Path) -> None:
    """Who asked that doubts fail: the row ends, whatever was bought for it is bought once."""
    driver = {"in_doubt": "fail"}
    with World(tmp_path, prompts(20), {"faults": "answer_lost=0.4", "seed": 3}, driver) as world:
        around(world, GIVEN_UP)
        world.until_over()
        held(world, "ok", "failed")
