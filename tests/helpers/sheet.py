"""A run's folder as it is left, with its journal, for the contact sheet."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

from PIL import Image

from redloom.contact import write_sheet
from redloom.examine import webp
from redloom.job import JobStatus, Request
from redloom.journal import Journal
from redloom.naming import file_name
from redloom.records import JobEnding, NewJob, Records, Run

THINGS = ("a red scarf on snow", "青花瓷杯，窗台上", "a cat in a hutong", "羊毛毯，暖光")


def folder_of_pictures(folder: Path, rows: int) -> tuple[Path, float]:
    """Write pictures, thumbnails and journal; the sheet, and the seconds that it took to write."""
    out = folder / "pictures"
    out.mkdir(parents=True)
    journal = Journal(folder / "journal.db").open()
    run = Run("r1", 0.0, "batch", "d", str(out), {}, {}, "done", 0, None, "", rows, True, "me")
    files = [_pictures(out, row, rows) for row in range(1, rows + 1)]
    asyncio.run(_record(Records(journal), run, files))
    began = time.perf_counter()
    write_sheet(journal, run)
    wrote_s = time.perf_counter() - began
    journal.close()
    return out / "index.html", wrote_s


def _pictures(out: Path, row: int, rows: int) -> str:
    if row % 37 == 0:
        return ""
    name = file_name(row, 1, 1, rows, THINGS[row % len(THINGS)], "png").as_posix()
    raw = random.Random(row).randbytes(4 * 5 * 3)
    picture = Image.frombytes("RGB", (4, 5), raw).resize((270, 360), Image.Resampling.BICUBIC)
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    picture.save(out / name, compress_level=1)
    thumb = out / ".thumbs" / f"{name}.webp"
    thumb.parent.mkdir(parents=True, exist_ok=True)
    thumb.write_bytes(webp(picture))
    return name


async def _record(records: Records, run: Run, files: list[str]) -> None:
    await records.add_run(run)
    for start in range(0, len(files), 500):
        jobs = [
            NewJob(row, 1, Request(f"{THINGS[row % len(THINGS)]}, number {row}"), {"id": f"SKU-{row // 3}"})
            for row in range(start + 1, min(len(files), start + 500) + 1)
        ]  # fmt: skip
        await records.add_jobs(run.id, jobs, 1.0)
    waiting = await records.waiting(run.id, 0, len(files))
    await asyncio.gather(
        *(records.end_job(_ending(job.id, files[job.row - 1], job.row)) for job in waiting)
    )
    await records.complete_run(run.id)


def _ending(job: int, file: str, row: int) -> JobEnding:
    flags = {1: "near-duplicate:1", 2: "blank", 3: "wrong-size softened"}.get(row % 29, "")
    status: JobStatus = "ok" if file else "refused"
    code, error = (
        ("", "")
        if file
        else ("DataInspectionFailed", "Output data may contain inappropriate content.")
    )
    return JobEnding(
        id=job, status=status, ended=2.0, file=file, flags=flags if file else "", code=code, error=error
    )  # fmt: skip
