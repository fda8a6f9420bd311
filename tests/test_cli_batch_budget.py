"""What the plan of a batch says of its budget, before anything is spent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.terminal import Service, prompts, run


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service that is not begun yet; it ends with the test."""
    made = Service(tmp_path, str(int(time.time())))
    yield made
    made.end()


def last_line(service: Service, *words: str) -> str:
    """The last line of a dry run's answer."""
    done = run(service, "batch", "p.txt", "--out", "X", "--dry-run", "--lang", "en", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_the_plan_says_how_far_the_budget_goes(service: Service) -> None:
    """Enough, for some, or in a currency that would not let the run begin."""
    prompts(service.folder, 4)
    assert last_line(service, "--budget", "5") == "Budget ¥5.00: enough."
    some = last_line(service, "--budget", "0.5")
    assert some.startswith("Budget ¥0.50: pays for about 2; the other 2 end as unpaid")
    assert "would not begin" in last_line(service, "--budget", "3 USD")
    assert "does not bind" in last_line(service, "--budget", "3 USD", "--yes")


def test_a_budget_that_is_used_up_is_said_so(service: Service) -> None:
    """After a run that its budget ended: nothing would be bought, a larger one goes on."""
    service.begin()
    prompts(service.folder, 3)
    short = run(service, "batch", "p.txt", "--out", "X", "--budget", "0.2")
    assert short.returncode == 3, short.stderr
    assert "used up" in last_line(service, "--budget", "0.2")
    assert last_line(service, "--budget", "0.6") == "Budget ¥0.60, ¥0.20 of it used: enough."
    listed = run(service, "runs", "--lang", "en")
    assert "done  1 ok 2 unpaid  spent ¥0.20 (by the price list)  dashscope" in listed.stdout


def test_a_run_that_nobody_carries_is_not_called_under_way(service: Service) -> None:
    """A wrong key: the run waits for a person, and the list says so, in the reader's language."""
    service.begin("--keys", "sk-other=a")
    prompts(service.folder, 2)
    ended = run(service, "batch", "p.txt", "--out", "X", "--lang", "en")
    assert ended.returncode == 1
    assert "When that is settled: redloom resume" in ended.stderr
    assert "waits for you" in run(service, "runs", "--lang", "en").stdout
    assert "等你处理" in run(service, "runs", "--lang", "zh").stdout


def test_a_dry_run_says_what_would_stop_the_real_one(service: Service) -> None:
    """Another input in the same folder; a model that nobody here knows, with what was meant."""
    service.begin()
    prompts(service.folder, 1)
    assert run(service, "batch", "p.txt", "--out", "X").returncode == 0
    prompts(service.folder, 2)
    done = run(service, "batch", "p.txt", "--out", "X", "--dry-run", "--lang", "en")
    assert "X holds another run" in done.stderr
    assert "X holds" not in run(service, "batch", "p.txt", "--out", "X", "--dry-run", "--extend", "--lang", "en").stderr  # fmt: skip
    odd = run(service, "batch", "p.txt", "--out", "Y", "-m", "wan2.6-t2", "--dry-run", "--lang", "en")  # fmt: skip
    assert "did you mean wan2.6-t2i?" in odd.stdout
    assert "2 pictures of unknown price." in odd.stdout
