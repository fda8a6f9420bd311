"""A night's run in small: a GBK table with everything nasty in it, killed twice; money at every instant."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.night import morning, table
from helpers.terminal import Service, manifest, prompts, run
from helpers.waiting import until

FAULTS = "submit_reset=0.03,submit_busy=0.03,poll_error=0.05,task_failed=0.05,task_refused=0.04,bad_download=0.05"
PRICE = 0.2
REMEDIES = {
    "invalid": "add --extend",
    "refused": "With --soften",
    "in-doubt": "--in-doubt resubmit",
}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service that is not begun yet; it ends with the test."""
    made = Service(tmp_path, str(int(time.time())))
    yield made
    made.end()


def killed_when(service: Service, pictures: int, *words: str) -> None:
    """Start the command and kill it as a power cut would, once so many pictures are there."""
    going = subprocess.Popen(
        service.command(*words), env=service.env(), cwd=service.folder,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    pictures_there = (service.folder / "X").glob
    until(lambda: len(list(pictures_there("0*.png"))) >= pictures or going.poll() is not None)
    assert going.poll() is None, going.communicate()[1]
    going.send_signal(signal.SIGKILL)
    going.communicate()


@pytest.mark.slow
def test_a_night_killed_twice(service: Service) -> None:
    """Every row one outcome, the right file for each, nothing bought twice, a table for Excel."""
    night = table(130, seed=4)
    (service.folder / "t.csv").write_bytes(night.data)
    service.begin(
        "--rps", "5", "--concurrency", "20", "--latency", "20,0.4,10,45", "--faults", FAULTS
    )
    words = ("batch", "t.csv", "--out", "X", "--yes")
    killed_when(service, 25, *words)
    killed_when(service, 70, *words)
    done = run(service, *words)
    assert done.returncode == 1, done.stderr
    counts = morning(night, service.folder / "X", service.ledger, done=("refused", "in-doubt"))
    assert counts["ok"] > 90
    assert counts["duplicate"] > 1
    assert counts["invalid"] == sum(one["expected"] == "invalid" for one in night.records)
    for (
        status,
        remedy,
    ) in REMEDIES.items():  # what to do next is told of what there is, and only that
        assert (remedy in done.stderr) is (counts[status] > 0), (status, done.stderr)
    assert (service.folder / "X" / "index.html").is_file()


def most_owed(ledger: Path) -> int:
    """The most pictures that were billed, or sure to be, at any instant of the ledger."""
    billed: dict[str, int] = {}
    most = 0
    for line in ledger.read_text("utf-8").splitlines():
        record = json.loads(line)
        if "billed" in record:
            billed[record["task_id"]] = record["billed"]
        most = max(most, sum(billed.values()))
    return most


@pytest.mark.slow
@pytest.mark.parametrize(
    "faults", ["answer_lost=0.15,task_failed=0.15", "answer_504=0.2,submit_reset=0.2"]
)
def test_the_budget_holds_at_every_instant(service: Service, faults: str) -> None:
    """By the service's own ledger, with answers lost, tasks failed, a kill and a resumption."""
    service.begin(
        "--rps", "5", "--concurrency", "5", "--latency", "10,0.4,5,20", "--faults", faults
    )
    prompts(service.folder, 40)
    words = ("batch", "p.txt", "--out", "X", "--budget", "2.4")
    killed_when(service, 3, *words)
    done = run(service, *words)
    assert done.returncode == 3, done.stderr
    assert most_owed(service.ledger) <= round(2.4 / PRICE)
    states = [row["status"] for row in manifest(service.folder / "X")]
    assert len(states) == 40
    assert states.count("ok") + states.count("in-doubt") <= 12
    assert states.count("unpaid") >= 28 - states.count("failed")


NO_SOCKET = """
import sys
def hook(event, args):
    if event.startswith(("socket.", "urllib.", "http.")):
        raise RuntimeError("a socket: " + event)
sys.addaudithook(hook)
from redloom.cli import main
main()
"""


def test_a_dry_run_opens_no_socket(service: Service) -> None:
    """Not one, local or not: every attempt would end the program. Unknown prices are called so."""
    service.url = "http://127.0.0.1:9/api/v1"
    text = 'prompt,model,ar\na,,3:4\nb,wan2.2-t2i-flash,\n"",,1:1\nc,my-own-model,\n'
    (service.folder / "t.csv").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", NO_SOCKET, "--lang", "en", "batch", "t.csv", "--dry-run", "-n", "2"],
        env=service.env(), cwd=service.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert "4 prompts, 7 pictures wanted, 1 invalid" in said
    assert "wan2.6-t2i × 2 = ¥0.40" in said
    assert "wan2.2-t2i-flash × 2 = ¥0.28" in said
    assert "my-own-model × 2 = ? (price unknown: not a model known here; did you mean" in said
    assert "about ¥0.68" in said
    assert "unknown" in said.splitlines()[-1]
    assert "line 4" in said
    assert "3:4 →" in said
    assert not (service.folder / "out").exists()


def test_the_first_picture_is_there_at_once(service: Service) -> None:
    """When its outcome is told a picture lies in the folder, the run far from over."""
    service.begin("--latency", "30,0,30,30", "--concurrency", "1")
    prompts(service.folder, 6)
    with subprocess.Popen(
        service.command("--json", "batch", "p.txt", "--out", "X"), env=service.env(), cwd=service.folder,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as going:  # fmt: skip
        assert going.stdout is not None
        records = (json.loads(line) for line in going.stdout)
        first = next(record for record in records if record["event"] == "done")
        there = list((service.folder / "X").glob("0*.png"))
        going.kill()
    assert (service.folder / "X" / first["file"]) in there
    assert len(there) < 6
