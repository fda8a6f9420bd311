"""The manifests: whole, in input order, flat in memory, harmless in Excel."""

from __future__ import annotations

import asyncio
import csv
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redloom import manifest
from redloom.image import Store
from redloom.job import Request
from redloom.journal import Journal
from redloom.manifest import COLUMNS, OURS, put_right, rows_of, safe_cell, write_manifests
from redloom.records import JobEnding, NewJob, Records, Run


def a_run(folder: Path, jobs: list[NewJob]) -> tuple[Journal, Run]:
    """A journal with one run of these rows."""
    journal = Journal(folder / "journal.db").open()
    out = str(folder / "out")
    run = Run("r1", 0.0, "batch", "d", out, {}, {}, "open", 0, None, "", 0, False, "me")
    records = Records(journal)

    async def write() -> None:
        await records.add_run(run)
        await records.add_jobs("r1", jobs, 1.0)
        await records.complete_run("r1")

    asyncio.run(write())
    return journal, run


def job(row: int, words: str, **extra: str) -> NewJob:
    return NewJob(row, 1, Request(words), {"extra": extra} if extra else {})


def table(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def test_columns_stand_in_their_order_then_the_inputs_own(tmp_path: Path) -> None:
    """Ours first, as documented; the input's own behind them; a column called like ours keeps apart."""
    journal, _ = a_run(tmp_path, [job(1, "猫", 风格="水彩"), job(2, "海", status="mine")])
    counts = write_manifests(journal, "r1", tmp_path)
    journal.close()
    lines = [
        json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text("utf-8").splitlines()
    ]
    assert tuple(lines[0])[: len(COLUMNS)] == COLUMNS
    assert (lines[0]["风格"], lines[1]["input_status"], lines[1]["status"]) == (
        "水彩",
        "mine",
        "pending",
    )
    assert tuple(table(tmp_path / "manifest.csv")[0]) == (*OURS, "风格", "input_status")
    assert counts == {"pending": 2}


def test_an_invalid_row_keeps_its_place_and_words(tmp_path: Path) -> None:
    """What could not be asked for says why, with what was written."""
    jobs = [job(1, "a"), NewJob(2, 1, None, {"prompt": "b", "id": "x"}, "why not")]
    journal, _ = a_run(tmp_path, jobs)
    write_manifests(journal, "r1", tmp_path)
    journal.close()
    line = json.loads((tmp_path / "manifest.jsonl").read_text().splitlines()[1])
    assert (line["status"], line["prompt"], line["id"], line["error"]) == (
        "invalid",
        "b",
        "x",
        "why not",
    )


def test_a_failure_leaves_the_old_manifest(tmp_path: Path) -> None:
    """Whatever breaks while it is written, the file that was there stays whole."""
    journal, _ = a_run(tmp_path, [job(1, "a")])
    write_manifests(journal, "r1", tmp_path)
    before = (tmp_path / "manifest.csv").read_bytes()

    journal.do_now(lambda db: db.connection.execute("UPDATE jobs SET input = '{'"))
    with pytest.raises(ValueError, match="Expecting"):
        write_manifests(journal, "r1", tmp_path)
    journal.close()
    assert (tmp_path / "manifest.csv").read_bytes() == before
    assert not list(tmp_path.glob(".*.part"))


def test_memory_is_flat(tmp_path: Path) -> None:
    """Twenty thousand rows are written in a few megabytes."""
    journal, _ = a_run(tmp_path, [job(row, f"picture {row}") for row in range(1, 20_001)])
    tracemalloc.start()
    write_manifests(journal, "r1", tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    journal.close()
    assert peak < 8_000_000


def test_a_folder_is_put_right(tmp_path: Path) -> None:
    """Half files go; a picture that neither folder nor store has is counted as lost."""
    journal, run = a_run(tmp_path, [job(1, "a")])
    asyncio.run(
        Records(journal).end_job(
            JobEnding(id=1, status="ok", ended=2.0, image="ab" * 32, file="00001-a.png")
        )
    )
    (tmp_path / "out" / "sub").mkdir(parents=True)
    (tmp_path / "out" / "sub" / ".x.png.1-2.part").write_text("half")
    assert put_right(journal, Store(tmp_path), run) == (0, 1)
    journal.close()
    assert not list((tmp_path / "out").rglob("*.part"))


@given(st.text(max_size=30))
def test_no_cell_is_a_formula(text: str) -> None:
    """No cell begins a formula unless it is a plain number; nothing else is changed but line ends."""
    safe = safe_cell(text)
    assert isinstance(safe, str)
    if safe[:1] in ("=", "@", "\t", "\r", "+", "-"):
        float(safe)
    plain = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    assert safe in (plain, f"'{plain}")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), min_size=1, max_size=4)
)
def test_a_table_reads_back(tmp_path: Path, cells: list[str]) -> None:
    """Whatever is in the cells, the table has as many as were written."""
    path = tmp_path / "t.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, lineterminator="\r\n").writerow([safe_cell(cell) for cell in cells])
    assert [len(row) for row in table(path)] == [len(cells)]


def test_rows_are_read_a_page_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the page: each row once, in order, from where it is asked, of the statuses asked."""
    bad = [NewJob(row, 1, None, {"prompt": "b"}, "no") for row in (3, 6, 7, 11)]
    jobs = sorted(
        [*bad, *(job(row, "a") for row in (1, 2, 4, 5, 8, 9, 10))], key=lambda one: one.row
    )
    journal, _ = a_run(tmp_path, jobs)
    for page in (1, 2, 3, 500):
        monkeypatch.setattr(manifest, "PAGE", page)
        assert [row["row"] for row in rows_of(journal, "r1")] == list(range(1, 12))
        invalid = rows_of(journal, "r1", statuses=["invalid"], after=(3, 1))
        assert [row["row"] for row in invalid] == [6, 7, 11]
        both = rows_of(journal, "r1", statuses=["invalid", "pending"])
        assert [row["row"] for row in both] == list(range(1, 12))
    journal.close()
