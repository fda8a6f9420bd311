"""What a run leaves in its folder: ``manifest.jsonl`` and ``manifest.csv``, a line per picture.

Written whole (a temporary name, then a rename) from the journal in pages, so that memory is flat.
`Keeper` rewrites them at most every ten seconds while a run goes on, and puts a folder right that
a killed process left behind: half files go, pictures that are missing are delivered again.

May import: parts, download, errors, clock, lang, journal, records, metadata, image.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import IO, Any

from .clock import iso, offload
from .errors import DiskFull
from .image import Delivery, Image, Store, deliver, deliver_also
from .journal import Journal, Row
from .metadata import About
from .parts import on_disk
from .records import Run

COLUMNS = (
    "row", "take", "id", "status", "file", "sha256", "source_sha256", "prompt", "endpoint", "model", "size",
    "seed", "task_id", "attempts", "submitted_at", "finished_at", "seconds", "price", "currency",
    "price_source", "error_code", "error",
)  # fmt: skip
OURS = (*COLUMNS, "flags")
"""``flags`` names doubts about an ok picture."""
PAGE = 500
EVERY_S = 10.0
"""Real seconds between two rewrites, more where a rewrite takes long."""
_FORMULA = frozenset("=+-@\t\r")


def rows_of(
    journal: Journal, run: str, *, after: tuple[int, int] = (0, 0), statuses: Collection[str] = ()
) -> Iterator[Row]:
    """A run's rows in input order, read from the journal a page at a time. For a thread.

    ``after``: only what lies behind this (row, take). ``statuses``: only rows of these; all of none.
    """
    while True:
        page = _page(journal, run, after, statuses)
        yield from page
        if len(page) < PAGE:
            return
        after = (page[-1]["row"], page[-1]["take"])


def rows_by_id(journal: Journal, ids: Sequence[int]) -> Iterator[Row]:
    """These rows, given in input order, a page at a time. For a thread."""
    for start in range(0, len(ids), PAGE):
        some = json.dumps(ids[start : start + PAGE])
        yield from journal.read_now(lambda db: db.all("rows_by_id", ids=some))  # noqa: B023


def _page(
    journal: Journal, run: str, after: tuple[int, int], statuses: Collection[str]
) -> list[Row]:
    values = {"run": run, "row": after[0], "take": after[1], "limit": PAGE}
    if not statuses:
        return journal.read_now(lambda db: db.all("rows", **values))
    wanted = json.dumps(list(statuses))
    found = journal.read_now(lambda db: db.all("ids_of_statuses", statuses=wanted, **values))
    return list(rows_by_id(journal, [row["id"] for row in found]))


def line_of(row: Row) -> dict[str, Any]:
    """One row as the manifest has it: our columns in their order, then the input's own.

    A picture that this row did not buy (a duplicate, or one from the store) costs it nothing.
    """
    request, given = json.loads(row["request"]), json.loads(row["input"])
    bought = row["task"] is not None and row["task_job"] == row["id"]
    made = row["status"] in ("ok", "duplicate")
    size = f"{row['width']}x{row['height']}" if made and row["width"] else request.get("size", "")
    asked_at = row["intent_at"] if bought else None
    took = row["ended"] - asked_at if asked_at is not None and row["ended"] else None
    line = {
        "row": row["row"], "take": row["take"], "id": str(given.get("id", "")),
        "status": row["status"], "file": row["file"], "sha256": row["sha256"],
        "source_sha256": (row["image"] or "") if made else "",
        "prompt": request.get("prompt", given.get("prompt", "")),
        "endpoint": row["endpoint"] or "", "model": row["served"] or request.get("model", ""),
        "size": size, "seed": row["seed"] if row["seed"] is not None else request.get("seed"),
        "task_id": row["ticket_id"] or "", "attempts": row["tries"], "submitted_at": iso(asked_at),
        "finished_at": iso(row["ended"]), "seconds": None if took is None else round(took, 3),
        **_money(row, bought), "error_code": row["code"], "error": row["error"], "flags": row["flags"],
    }  # fmt: skip
    if "softened" in given:
        line["sent_prompt"] = given["softened"]
    for name, value in given.get("extra", {}).items():
        line[name if name not in line else f"input_{name}"] = value
    return line


def _money(row: Row, bought: bool) -> dict[str, Any]:
    if bought and row["billed"] != "no":
        return {
            "price": row["price"], "currency": row["currency"] or "",
            "price_source": row["price_source"] or "unknown",
        }  # fmt: skip
    settled = row["status"] not in ("pending", "in-doubt")
    return {"price": 0.0 if settled else None, "currency": "", "price_source": ""}


def write_manifests(journal: Journal, run: str, folder: Path) -> dict[str, int]:
    """Write both files whole; how many rows have each status. For a thread. Raises DiskFull."""
    counts: dict[str, int] = {}
    names: dict[str, None] = dict.fromkeys(OURS)
    with _whole(folder / "manifest.jsonl") as lines, _whole(folder / "manifest.csv") as table:
        for row in rows_of(journal, run):
            line = line_of(row)
            names.update(dict.fromkeys(line))
            counts[line["status"]] = counts.get(line["status"], 0) + 1
            lines.write(json.dumps(line, ensure_ascii=False) + "\n")
        lines.seek(0)
        table.write("\ufeff")
        writer = csv.writer(table, lineterminator="\r\n")
        writer.writerow([safe_cell(name) for name in names])
        for text in lines:
            line = json.loads(text)
            writer.writerow([safe_cell(line.get(name)) for name in names])
    return counts


def safe_cell(value: object) -> object:
    """A cell that Excel shows and does not run: formulas get an apostrophe, CR becomes LF."""
    if not isinstance(value, str):
        return "" if value is None else value
    if "\r" in value or "\0" in value:
        value = value.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    if value[:1] in _FORMULA and not _is_number(value):
        return f"'{value}"
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text[0] in "+-" and text.isascii()


@contextlib.contextmanager
def _whole(target: Path) -> Iterator[IO[str]]:
    """A text file that appears at ``target`` only if all of it could be written."""
    part = target.with_name(f".{target.name}.{os.urandom(8).hex()}.part")
    with on_disk():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("x+", encoding="utf-8", newline="") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def put_right(journal: Journal, store: Store, run: Run) -> tuple[int, int]:
    """Half files go, missing pictures are delivered again; (delivered, lost). For a thread.

    Lost ones are neither in the folder nor in the store any more; nothing is bought for them here.
    """
    folder = Path(run.out)
    for part in folder.glob("**/.*.part") if folder.is_dir() else ():
        part.unlink(missing_ok=True)
    options = Delivery.of(run.options.get("delivery", {}))
    again = lost = 0
    for row in rows_of(journal, run.id):
        if row["status"] != "ok" or not row["file"]:
            continue
        there = (folder / row["file"]).is_file()
        if there and not options.also:
            continue
        if _deliver_again(store, run, row, options, there):
            again += not there
        else:
            lost += not there
    return again, lost


def _deliver_again(store: Store, run: Run, row: Row, options: Delivery, there: bool) -> bool:
    image = store.find(row["image"]) if row["image"] else None
    if image is None:
        return False
    try:
        _put_there(image, run, row, options, there)
    except DiskFull:
        if image.path.exists():
            raise
        return False  # pruned in this very moment
    return True


def _put_there(image: Image, run: Run, row: Row, options: Delivery, there: bool) -> None:
    if not there:
        deliver(image, Path(run.out) / row["file"], about_of_row(row), options)
    deliver_also(image, Path(run.out), row["file"], about_of_row(row), options)


def about_of_row(row: Row) -> About:
    """What is known of a delivered picture, from the journal."""
    request, given = json.loads(row["request"]), json.loads(row["input"])
    known = {one.name for one in fields(About)}
    kept: Mapping[str, Any] = json.loads(row["about"] or "{}")
    values = {name: value for name, value in kept.items() if name in known}
    values.setdefault("prompt", request.get("prompt", ""))
    for name in ("size_asked", "references", "notes"):
        if values.get(name) is not None:
            values[name] = tuple(values[name])
    values |= {"row": row["row"], "take": row["take"], "id": str(given.get("id", ""))}
    values |= {"flags": tuple(row["flags"].split()), "key": row["key"]}
    return About(**values)


@dataclass
class Keeper:
    """Keeps a folder's manifests fresh while its run goes on. ``sheet`` draws the contact sheet."""

    journal: Journal
    store: Store
    run: Run
    sheet: Callable[[Journal, Run], None] | None = None
    every_s: float = EVERY_S
    counts: dict[str, int] = field(default_factory=dict)
    _rewriting: asyncio.Task[None] | None = None

    async def start(self) -> tuple[int, int]:
        """Put the folder right and begin to keep it; (delivered again, lost)."""
        mended = await offload(put_right, self.journal, self.store, self.run)
        self._rewriting = asyncio.get_running_loop().create_task(self._keep())
        return mended

    async def stop(self) -> None:
        """The last rewrite, and the contact sheet."""
        if self._rewriting is not None:
            self._rewriting.cancel()
            await asyncio.gather(self._rewriting, return_exceptions=True)
        await self._write()

    async def _keep(self) -> None:
        wait = self.every_s
        while True:
            await asyncio.sleep(wait)
            began = time.monotonic()
            await self._write()
            wait = max(self.every_s, 10 * (time.monotonic() - began))

    async def _write(self) -> None:
        folder = Path(self.run.out)
        self.counts = await offload(write_manifests, self.journal, self.run.id, folder)
        if self.sheet is not None:
            await offload(self.sheet, self.journal, self.run)
