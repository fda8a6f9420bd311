"""A journal of 1,000,000 rows against one of 1,000: what grows, and by how much.

The rows are copies of a real small run's, multiplied by SQL: half of them in one run, a quarter in
runs of a thousand, a quarter in runs of five. Every command is a process of its own, so that its
peak of memory is its own. What has to read a whole run (`show`, `report`, a manifest) is
proportionate to the run; the rest must not notice. On a busy machine read the processor's seconds
(of the larger journal), which other work does not lengthen.

    python benchmarks/longevity.py [--rows 1000000] [--against 1000] [--folder DIR]
    python benchmarks/longevity.py --budget 10000 100000    # runs of so many rows stopped by their budget

Exit status 1 where a list takes a second of the processor more than with few rows, or its memory grows.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

BIG = "20260101-000000-b166"
"""The run that has half of the rows."""
AGAIN = 20
"""Rows of it that failed, for `retry`."""
MOST_MORE_S, MOST_MB, MOST_RATIO = 1.0, 250.0, 1.5
PORT = 18787


class Figure(NamedTuple):
    """What one measurement took: real seconds, processor seconds of the whole process (its start
    included), peak memory in megabytes.
    """

    seconds: float
    work: float
    peak_mb: float


class Kind(NamedTuple):
    """``whole``: it reads a whole run, and may take as long as that has rows."""

    name: str
    whole: bool
    measure: Callable[[Path], Figure]


# the journal


def build(workspace: Path, rows: int) -> None:
    """A workspace with ``rows`` rows. The small run whose rows are copied is made for real."""
    from redloom.engine import Engine

    async def seed() -> None:
        async with Engine("cards", workspace=workspace) as engine:
            await engine.generate(["a card of a fox", "a card of a hare"], out=workspace / "seed")

    asyncio.run(seed())
    connection = sqlite3.connect(workspace / "journal.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -200000")
    connection.execute("BEGIN")
    half, quarter = rows // 2, rows // 4
    first, seed = 1000, connection.execute("SELECT id FROM runs").fetchone()[0]
    for run, many, each in (
        (BIG, half, half),
        ("20260201-%06d-a000", quarter, 1000),
        ("20260301-%06d-c000", rows - half - quarter, 5),
    ):
        values = {"run": run, "many": many, "each": each, "first": first, "seed": seed}
        out = str(workspace / "big") if run == BIG else ""
        for statement in (_RUNS, _JOBS, _TASKS, _IMAGES):
            connection.execute(statement, {**values, "out": out})
        first += many
    _let_some_fail(connection)
    connection.execute("COMMIT")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    _touch(workspace / "big", half)


_RUNS = """
WITH RECURSIVE n(k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM n WHERE k < (:many - 1) / :each)
INSERT INTO runs (id, created, kind, digest, out, options, environment, state, total, complete, seq)
SELECT printf(:run, k), created - 1e6 - k, 'batch', printf(:run, k), :out, options, environment, 'done',
  min(:each, :many - k * :each), 1, :each
FROM n, (SELECT * FROM runs WHERE id = :seed)
"""
_JOBS = """
WITH RECURSIVE n(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n WHERE k < :many)
INSERT INTO jobs (id, run, row, take, key, request, input, status, tries, task, image, file, sha256, ended, seq)
SELECT :first + k, printf(:run, (k - 1) / :each), (k - 1) % :each + 1, 1, printf('r1:%064x', :first + k), json_set(request, '$.prompt', 'a card of animal ' || (:first + k)),
  input, 'ok', 1, :first + k, printf('%064x', (:first + k) * 7919),
  printf('%03d/%06d-a-card.png', (k - 1) / 1000 + 1, k), printf('%064x', k), ended, (k - 1) % :each + 1
FROM n, (SELECT * FROM jobs WHERE row = 1 AND id < 1000)
"""
# Working times differ, as a service's do: what is costly to order would not show in equal ones.
_TASKS = """
WITH RECURSIVE n(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n WHERE k < :many)
INSERT INTO tasks (id, job, run, key, endpoint, place, account, model, lane, state, epoch, size, intent_at,
  accepted_at, started, ended, closed_at, result, price, currency, price_source, billed, polls, seen_at, fetched_at)
SELECT :first + k, :first + k, printf(:run, (k - 1) / :each), printf('r1:%064x', :first + k), endpoint, place, account, model, lane, state, epoch,
  size, at + k, at + k + 0.2, at + k + 0.3, at + k + took, at + k + took + 0.5, result, 0.2, 'CNY', 'estimated', 'yes', 3,
  at + k + took + 0.2, at + k + took + 0.4
FROM (SELECT k, 3.0 + (k * 7919) % 997 / 83.0 AS took FROM n),
  (SELECT *, intent_at - 1e6 AS at FROM tasks WHERE id < 1000 LIMIT 1)
"""
_IMAGES = """
WITH RECURSIVE n(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n WHERE k < :many)
INSERT INTO images (key, sha256, task, format, width, height, bytes, made, about)
SELECT printf('r1:%064x', :first + k), printf('%064x', (:first + k) * 7919), :first + k, format, width, height, bytes,
  made - 1e6 + k, about
FROM n, (SELECT * FROM images LIMIT 1)
"""


def _let_some_fail(connection: sqlite3.Connection) -> None:
    """The last rows of the big run had no picture."""
    last = "(SELECT id FROM jobs WHERE run = ? ORDER BY row DESC LIMIT ?)"
    connection.execute(
        f"DELETE FROM images WHERE key IN (SELECT key FROM jobs WHERE id IN {last})", (BIG, AGAIN)
    )
    connection.execute(
        f"UPDATE tasks SET state = 'failed', billed = 'no' WHERE job IN {last}", (BIG, AGAIN)
    )
    connection.execute(
        f"UPDATE jobs SET status = 'failed', image = NULL, file = '', sha256 = '', code = 'InternalError' WHERE id IN {last}",
        (BIG, AGAIN),
    )


def _touch(folder: Path, many: int) -> None:
    """The big run's files, empty: only whether they are there is looked at."""
    for row in range(1, many + 1):
        if row % 1000 == 1:
            part = folder / f"{(row - 1) // 1000 + 1:03d}"
            part.mkdir(parents=True, exist_ok=True)
        os.close(os.open(f"{part}/{row:06d}-a-card.png", os.O_CREAT | os.O_WRONLY))


# the measurements, each in a process of its own


def command(*words: str) -> Callable[[Path], Figure]:
    """`redloom …` on a workspace; what it says goes nowhere."""

    def measure(workspace: Path) -> Figure:
        line = [sys.executable, "-m", "redloom", "--workspace", str(workspace), *words]
        return _timed([word.format(ws=workspace) for word in line])

    return measure


def inside(what: str) -> Callable[[Path], Figure]:
    """A function of this file in a fresh process; it prints its own seconds."""

    def measure(workspace: Path) -> Figure:
        line = [sys.executable, __file__, "--one", what, "--folder", str(workspace)]
        return _timed(line, told=True)

    return measure


def _timed(line: list[str], *, told: bool = False) -> Figure:
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(line, stdout=said, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        took = time.perf_counter() - began
        if child.returncode not in (0, 1):
            raise RuntimeError(f"{line} ended with {child.returncode}")
        if told:
            said.seek(0)
            took = float(said.read().split()[-1])
    unit = 1024 * 1024 if sys.platform == "darwin" else 1024
    return Figure(took, used.ru_utime + used.ru_stime, used.ru_maxrss / unit)


async def first_work(workspace: Path, *, fresh: bool) -> float:
    """Seconds from the engine's start to the first new picture, of a new run or of a retry."""
    from redloom.engine import Engine

    if not fresh:  # an earlier measurement may have made them
        with contextlib.closing(sqlite3.connect(workspace / "journal.db")) as connection:
            _let_some_fail(connection)
            connection.commit()
    began = time.perf_counter()
    done = asyncio.Event()
    async with Engine("cards", workspace=workspace) as engine:
        engine.stream_of_events.watch(lambda event: done.set() if event.kind == "done" else None)
        if fresh:
            await engine.add([f"a new card {time.time()}"], out=workspace / "new")
        else:
            await engine.retry(BIG)
        await done.wait()
        took = time.perf_counter() - began
        if not fresh:
            async for _ in engine.follow(BIG, after=2**40):
                pass
    return took


def manifests(workspace: Path) -> float:
    """Seconds to write the big run's manifests."""
    from redloom.journal import Journal
    from redloom.manifest import write_manifests

    journal = Journal(workspace / "journal.db").open()
    began = time.perf_counter()
    write_manifests(journal, BIG, workspace / "manifests")
    took = time.perf_counter() - began
    journal.close()
    return took


def served(workspace: Path, path: str) -> Figure:
    """Seconds from the start of `redloom serve` to the answer for ``path``; the server's peak."""
    line = [sys.executable, "-m", "redloom", "--workspace", str(workspace), "serve", "--port", str(PORT)]  # fmt: skip
    began = time.perf_counter()
    server = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health").read()
                break
            time.sleep(0.02)
        if path:
            began = time.perf_counter()
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}").read()
        took = time.perf_counter() - began
    finally:
        server.terminate()
        _, _, used = os.wait4(server.pid, 0)
        server.returncode = 0
    return Figure(took, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


# a run stopped by its budget

BUDGET, MORE_BUDGET = "40", "60"
"""CNY: 200 pictures of wan2.6-t2i at 0.2, then 100 more."""


def budgeted(folder: Path, rows: int) -> None:
    """`redloom batch` of so many rows against the emulator, stopped by its budget, then resumed.

    One line of a table for each: seconds to the first request, from the last picture to the prompt.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "p.txt").write_text("".join(f"a red scarf, number {n}\n" for n in range(rows)))
    env = {
        **os.environ, "REDLOOM_HOME": str(folder / "home"), "DASHSCOPE_API_KEY": "sk-emulated",
        "REDLOOM_CLOCK_SPEED": "20", "REDLOOM_CLOCK_START": str(int(time.time())),
    }  # fmt: skip
    line = [sys.executable, "-m", "redloom", "--json", "emulate", "dashscope"]
    line += ["--latency", "20,0.2,10,40", "--concurrency", "50", "--rps", "50"]
    service = subprocess.Popen(line, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # fmt: skip
    assert service.stdout is not None
    try:
        env["DASHSCOPE_BASE_URL"] = json.loads(service.stdout.readline())["base_url"]
        for name, budget in (("stopped", BUDGET), ("resumed with more", MORE_BUDGET)):
            begun, over, whole = _batch(folder, env, budget)
            print(
                f"| {rows} rows, {name} | {begun:.1f} s | {over:.1f} s | {whole.work:.1f} s | {whole.peak_mb:.0f} |",
                flush=True,
            )
    finally:
        service.kill()
        service.wait()


def _batch(folder: Path, env: dict[str, str], budget: str) -> tuple[float, float, Figure]:
    words = ["batch", "p.txt", "--out", "X", "--budget", budget, "--yes", "-j", "50"]
    began = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "redloom", "--json", *words],
        env=env, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    first = last = began
    for text in child.stdout:
        told = json.loads(text)
        if told["event"] == "submitted" and first == began:
            first = time.perf_counter()
        if told["event"] == "done" and told["status"] == "ok":
            last = time.perf_counter()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 3:
        raise RuntimeError(f"the budget did not stop it: {child.returncode}")
    ended = time.perf_counter()
    whole = Figure(ended - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
    return first - began, ended - last, whole


KINDS = (
    Kind("start to first new picture", False, inside("fresh")),
    Kind("`redloom runs`", False, command("runs")),
    Kind("`redloom cache`", False, command("cache")),
    Kind("`redloom cache prune`", False, command("cache", "prune")),
    Kind("`redloom cache prune --older-than 9999`", False, command("cache", "prune", "--older-than", "9999", "--yes")),
    Kind("`redloom audit`", False, command("audit", "--endpoint", "cards")),
    Kind("`redloom doctor --offline`", False, command("doctor", "--offline")),
    Kind("`redloom serve`, until it answers", False, lambda ws: served(ws, "")),
    Kind("GET /api/runs", False, lambda ws: served(ws, "/api/runs")),
    Kind("GET /api/money", True, lambda ws: served(ws, "/api/money")),
    Kind("GET /api/endpoints", True, lambda ws: served(ws, "/api/endpoints")),
    Kind("`redloom show` of the half", False, command("show", BIG)),
    Kind("`redloom show --limit 0` of the half", True, command("show", BIG, "--limit", "0")),
    Kind("`redloom show --json` of the half", True, command("show", BIG, "--json")),
    Kind("`redloom show --status failed` of the half", False, command("show", BIG, "--status", "failed")),
    Kind("manifests of the half", True, inside("manifests")),
    Kind("`redloom report` of the half", True, command("report", BIG, "--out", "{ws}/report.html")),
    Kind("retry of the half, to its first picture", True, inside("retry")),
)  # fmt: skip


def compare(folder: Path, rows: int, against: int, only: str) -> bool:
    """Both journals side by side; whether everything that must not grow did not."""
    places = []
    for number in (against, rows):
        place = folder / str(number)
        if not (place / "journal.db").is_file():
            began = time.perf_counter()
            # In a process of its own: a child's peak is never below its parent's.
            line = [sys.executable, __file__, "--one", "build", "--folder", str(place)]
            subprocess.run([*line, "--rows", str(number)], check=True)
            size = (place / "journal.db").stat().st_size / 1e6
            print(f"built {number} rows in {time.perf_counter() - began:.0f} s, {size:.0f} MB", flush=True)  # fmt: skip
        places.append(place)
    sound = True
    print(
        f"\n| | {against} rows | {rows} rows | ratio | processor | peak MB | peak MB |\n|---|--:|--:|--:|--:|--:|--:|"
    )
    for kind in KINDS:
        if only not in kind.name:
            continue
        few, many = (kind.measure(place) for place in places)
        good = kind.whole or (
            many.work - few.work < MOST_MORE_S
            and many.peak_mb < max(MOST_MB, MOST_RATIO * few.peak_mb)
        )
        sound = sound and good
        print(
            f"| {kind.name} | {few.seconds:.2f} s | {many.seconds:.2f} s | {many.seconds / few.seconds:.1f} |"
            f" {many.work:.1f} s | {few.peak_mb:.0f} | {many.peak_mb:.0f} |{'' if good else ' ✗'}",
            flush=True,
        )
    return sound


def main() -> int:
    """Run, or be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--against", type=int, default=1_000)
    parser.add_argument("--folder", type=Path, help="keep the journals here, and use them again")
    parser.add_argument("--only", default="", help="only measurements whose name has this in it")
    parser.add_argument("--budget", type=int, nargs="*", metavar="ROWS", help="time runs of so many rows (10000 100000) that their budget stops, instead")  # fmt: skip
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        return _one(asked.one, asked.folder, asked.rows)
    if asked.budget is not None:
        print(
            "| | to the first request | last picture to the prompt | processor | peak MB |\n|---|--:|--:|--:|--:|"
        )
        with tempfile.TemporaryDirectory() as place:
            for rows in asked.budget or (10_000, 100_000):
                budgeted(Path(place, str(rows)), rows)
        return 0
    if asked.folder:
        return 0 if compare(asked.folder, asked.rows, asked.against, asked.only) else 1
    with tempfile.TemporaryDirectory() as folder:
        return 0 if compare(Path(folder), asked.rows, asked.against, asked.only) else 1


def _one(what: str, workspace: Path, rows: int) -> int:
    if what == "build":
        build(workspace, rows)
    elif what == "manifests":
        print(manifests(workspace))
    else:
        print(asyncio.run(first_work(workspace, fresh=what == "fresh")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
