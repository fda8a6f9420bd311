"""`redloom batch` as a person runs it: a process of its own against an emulator in another."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.terminal import Service, manifest, prompts, run
from helpers.waiting import until


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service that is not begun yet; it ends with the test."""
    made = Service(tmp_path, str(int(time.time())))
    yield made
    made.end()


def test_a_run_and_the_same_again(service: Service) -> None:
    """Every row once, in order, with file and sidecar; the same command again buys nothing."""
    service.begin()
    path = prompts(service.folder, 4)
    path.write_text(path.read_text() + "picture number 1\n")
    first = run(service, "batch", "p.txt", "--out", "X")
    assert first.returncode == 0, first.stderr
    rows = manifest(service.folder / "X")
    assert [row["row"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["status"] for row in rows] == ["ok"] * 4 + ["duplicate"]
    assert rows[4]["file"] == rows[1]["file"]
    for row in rows:
        assert (service.folder / "X" / row["file"]).is_file()
        assert (service.folder / "X" / f"{row['file']}.json").is_file()
    (service.folder / "X" / rows[0]["file"]).unlink()
    (service.folder / "X" / ".half.part").write_text("x")
    again = run(service, "batch", "p.txt", "--out", "X")
    assert again.returncode == 0
    assert service.bought() == 4
    assert (service.folder / "X" / rows[0]["file"]).is_file()
    assert not list((service.folder / "X").glob(".*.part"))


def test_the_service_has_its_bad_day(service: Service) -> None:
    """Resets, lost answers and 5xx: every row ends once and nothing is bought twice."""
    service.begin(
        "--faults",
        "submit_reset=0.1,submit_busy=0.1,answer_lost=0.1,task_failed=0.1,bad_download=0.1",
    )
    prompts(service.folder, 12)
    done = run(service, "batch", "p.txt", "--out", "X")
    assert done.returncode in (0, 1), done.stderr
    assert len(manifest(service.folder / "X")) == 12
    assert service.bought() <= 12


def test_the_budget_stops_and_more_goes_on(service: Service) -> None:
    """Exit 3 when the budget ends it; the same command with a larger one finishes, bought once."""
    service.begin()
    prompts(service.folder, 5)
    short = run(service, "batch", "p.txt", "--out", "X", "--budget", "0.5")
    assert short.returncode == 3, short.stderr
    states = [row["status"] for row in manifest(service.folder / "X")]
    assert (states.count("ok"), states.count("unpaid")) == (2, 3)
    more = run(service, "batch", "p.txt", "--out", "X", "--budget", "2")
    assert more.returncode == 0, more.stderr
    assert service.bought() == 5


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_loses_nothing(service: Service, presses: int) -> None:
    """Interrupted once or twice it exits 130 with manifests; the same command ends it, paid once."""
    service.begin("--latency", "60,0.1,50,70", "--concurrency", "1")
    prompts(service.folder, 8)
    going = subprocess.Popen(
        service.command("batch", "p.txt", "--out", "X", "-j", "2"), env=service.env(), cwd=service.folder,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert going.stderr is not None
    until(lambda: list((service.folder / "X").glob("0*.png")) or going.poll() is not None)
    assert going.poll() is None, going.stderr.read()
    going.send_signal(signal.SIGINT)
    heard = next(line for line in going.stderr if "Ctrl-C" in line)
    if presses == 2:
        going.send_signal(signal.SIGINT)
    _, said = going.communicate(timeout=60)
    assert going.returncode == 130, said
    assert "Traceback" not in heard + said
    assert len(manifest(service.folder / "X")) == 8
    assert run(service, "batch", "p.txt", "--out", "X").returncode == 0
    assert {row["status"] for row in manifest(service.folder / "X")} == {"ok"}
    assert service.bought() == 8


def test_a_gbk_table_with_everything_nasty(service: Service) -> None:
    """A table as Excel in China saves it: exit 1 for its invalid rows, own columns carried, guarded."""
    service.begin()
    text = 'id,提示词,数量,备注\r\n=1+1,"一只猫,""胖""\r\n坐着",2,"@SUM(a1)\r\n二"\r\n,,,\r\nb,,1,空\r\nc,海,x,\r\n'
    (service.folder / "t.csv").write_bytes(text.encode("gbk"))
    done = run(service, "batch", "t.csv", "--out", "X", "--format", "webp")
    assert done.returncode == 1, done.stderr
    rows = manifest(service.folder / "X")
    assert [(row["row"], row["take"], row["status"]) for row in rows] == [
        (1, 1, "ok"), (1, 2, "ok"), (2, 1, "invalid"), (3, 1, "invalid"),
    ]  # fmt: skip
    assert all(row["file"].endswith(".webp") for row in rows[:2])
    assert rows[0]["备注"] == "@SUM(a1)\r\n二"
    raw = (service.folder / "X" / "manifest.csv").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    table = list(csv.reader(raw.decode("utf-8-sig").splitlines(keepends=True)))
    assert table[1][2] == "'=1+1"
    assert table[1][-1] == "'@SUM(a1)\n二"


def test_a_dry_run_needs_no_service(service: Service) -> None:
    """Count and price without a socket; nothing is written."""
    service.url = "http://127.0.0.1:9/api/v1"
    prompts(service.folder, 3)
    done = run(service, "batch", "p.txt", "--out", "X", "--dry-run", "-n", "2", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout.splitlines()[0])
    assert (plan["wanted"], plan["to_make"], plan["total"]) == (6, 6, {"CNY": 1.2})
    assert not (service.folder / "X").exists()


def test_another_input_into_the_same_folder(service: Service) -> None:
    """Exit 2 and nothing bought; --extend adds what is new, --overwrite takes the folder."""
    service.begin()
    prompts(service.folder, 2)
    assert run(service, "batch", "p.txt", "--out", "X").returncode == 0
    prompts(service.folder, 3)
    refused = run(service, "batch", "p.txt", "--out", "X")
    assert (refused.returncode, service.bought()) == (2, 2)
    assert "--extend" in refused.stderr
    assert run(service, "batch", "p.txt", "--out", "X", "--extend").returncode == 0
    assert [row["row"] for row in manifest(service.folder / "X")] == [1, 2, 3]
    (service.folder / "p.txt").write_text("something else\npicture number 1\n")
    assert run(service, "batch", "p.txt", "--out", "X", "--overwrite").returncode == 0
    assert [row["status"] for row in manifest(service.folder / "X")] == ["ok", "ok"]
    assert service.bought() == 4


def test_a_plan_leaves_out_what_the_run_has_ended(service: Service) -> None:
    """A refused row is not asked for again by the same command: its plan says so, and no price."""
    service.begin("--faults", "@2:submit=refused")
    prompts(service.folder, 3)
    assert run(service, "batch", "p.txt", "--out", "X").returncode == 1
    prompts(service.folder, 4)

    def plan(*words: str) -> tuple[int, int, int]:
        done = run(service, "batch", "p.txt", "--dry-run", "--json", *words)
        event = json.loads(done.stdout.splitlines()[0])
        return event["stored"], event["ended"], event["to_make"]

    assert plan("--out", "X", "--extend") == (2, 1, 1)
    assert plan("--out", "X", "--overwrite") == (2, 0, 2)
    assert plan("--out", "Y") == (2, 0, 2)
    assert run(service, "batch", "p.txt", "--out", "X", "--extend").returncode == 1
    assert service.bought() == 3
    assert plan("--out", "X") == (3, 1, 0)


def test_a_limit_is_only_a_beginning(service: Service) -> None:
    """With --limit the first rows are made; without it the same run goes on."""
    service.begin()
    prompts(service.folder, 4)
    assert run(service, "batch", "p.txt", "--out", "X", "--limit", "2").returncode == 0
    assert len(manifest(service.folder / "X")) == 2
    assert run(service, "batch", "p.txt", "--out", "X").returncode == 0
    assert [row["status"] for row in manifest(service.folder / "X")] == ["ok"] * 4
    assert service.bought() == 4


def test_standard_input(service: Service) -> None:
    """``-`` is read to its end; the same words again are the same run."""
    service.begin()
    for _ in range(2):
        done = run(service, "batch", "-", "--out", "X", stdin='{"prompt": "a cat", "id": "k"}\n')
        assert done.returncode == 0, done.stderr
    assert manifest(service.folder / "X")[0]["id"] == "k"
    assert service.bought() == 1


@pytest.mark.parametrize(
    "words",
    [
        ["none.txt"], ["p.txt", "--size", "big"], ["p.txt", "--endpoint", "nowhere"], ["p.txt", "--budget", "much"],
        ["p.txt", "--extend", "--overwrite"], ["p.txt", "-j", "0"], ["empty.txt"],
    ],
)  # fmt: skip
def test_wrong_usage_is_two(service: Service, words: list[str]) -> None:
    """What cannot be done as asked ends in exit 2 and a sentence, and nothing is begun."""
    prompts(service.folder, 2)
    (service.folder / "empty.txt").write_text("# nothing\n")
    service.url = "http://127.0.0.1:9/api/v1"
    done = run(service, "batch", *words)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert not (service.folder / "out").exists()


def test_a_dear_run_is_asked_about(service: Service) -> None:
    """Above the set sum somebody has to say yes; nobody there means exit 2."""
    service.url = "http://127.0.0.1:9/api/v1"
    prompts(service.folder, 200)
    done = run(service, "batch", "p.txt", "--out", "X", stdin="")
    assert done.returncode == 2
    assert "--yes" in done.stderr


def test_a_ratio_comes_near_what_the_model_takes(service: Service) -> None:
    """Shapes that no suggested size has are made where the model takes any; what comes of it is said."""
    service.url = "http://127.0.0.1:9/api/v1"
    (service.folder / "p.csv").write_text("prompt,model\na,wan2.2-t2i-flash\nb,qwen-image\n")
    done = run(service, "--lang", "en", "batch", "p.csv", "--ar", "7:3", "--dry-run", "--json")
    plan = json.loads(done.stdout.splitlines()[0])
    notes = [change["note"] for change in plan["changes"]]
    assert notes == ["wan2.2-t2i-flash 7:3 → 1424×608", "qwen-image 7:3 → 1664×928"]
