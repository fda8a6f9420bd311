"""What can still be read of a damaged journal, into a new one.

First as SQLite reads it, every table from both ends to where it breaks; then, for rows that are
missing, page by page (`pages`). Intents and tickets are money: a task that can be read is kept, and
where only an older version of it can, it stays open rather than closed. What must have been there
and cannot be read any more is counted, and a row whose task is lost is held in doubt: looking in
the account may settle it, buying it again will not.

May import: errors, upgrade, journal, pages.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .pages import Record, records

TABLES = ("meta", "runs", "jobs", "tasks", "images", "learnt", "callers", "asked", "repeats", "notes", "feedback")  # fmt: skip
LOST = "journal-lost"
"""Code of what a damaged journal no longer tells."""
_STATES = frozenset(("intent", "accepted", "doubt", "made", "stored", "failed", "refused", "canceled", "cancelled", "void", "lost", "abandoned"))  # fmt: skip
Row = dict[str, Any]


@dataclass
class Salvaged:
    """How many rows of each table were read, by SQLite and from loose pages; what is missing."""

    whole: Counter[str] = field(default_factory=Counter)
    loose: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    """Tables that SQLite could not read to their end."""
    missing_rows: int = 0
    """Rows of runs that nothing is left of."""
    held: int = 0
    """Rows whose task is lost: in doubt from now on."""
    live: int = 0
    """Open tasks that were saved."""


@dataclass
class Table:
    """One table of the new journal: its columns, its key, and what a row of it looks like."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    kinds: tuple[tuple[type, ...], ...]
    """Of each column what it may hold."""
    least: int
    """A row has as many columns as this: those that the table was first released with."""

    @classmethod
    def of(cls, connection: sqlite3.Connection, name: str, least: int) -> Table:
        """As the schema has it."""
        found = connection.execute(f"PRAGMA table_info({name})").fetchall()
        names, kinds = [], []
        for _, column, declared, needed, _, key in found:
            number = declared in ("REAL", "INTEGER")
            own = (int, float) if number else (str,)
            alias = declared == "INTEGER" and key  # kept as the row's number, not in the row
            kinds.append(own if (needed or key) and not alias else (*own, type(None)))
            names.append(column)
        key_names = tuple(row[1] for row in sorted(found, key=lambda row: row[5]) if row[5])
        return cls(name, tuple(names), key_names, tuple(kinds), least)

    @property
    def numbered(self) -> bool:
        """Whether its key is the number of the row."""
        return self.key == ("id",) and self.name in ("jobs", "tasks")

    def row_of(self, record: Record) -> Row | None:
        """The row that a loose record is; None where it is none of this table."""
        values = record.values
        if (record.rowid is None) is self.numbered or not self.least <= len(values) <= len(self.columns):  # fmt: skip
            return None
        if not all(isinstance(v, k) for v, k in zip(values, self.kinds, strict=False)):
            return None
        row = dict(zip(self.columns, values, strict=False))
        if self.numbered:
            row["id"] = record.rowid
        return row if _LOOKS[self.name](row) else None


_LOOKS: dict[str, Any] = {
    "meta": lambda row: row["name"] in ("epoch", "salt", "studio"),
    "runs": lambda row: row["state"] in ("open", "paused", "cancelled", "done"),
    "jobs": lambda row: row["key"][:1] in ("", "r") and row["request"][:1] == "{",
    "tasks": lambda row: row["state"] in _STATES and row["key"][:1] == "r",
    "images": lambda row: row["key"][:1] == "r" and len(row["sha256"]) == 64,
    "learnt": lambda row: row["value"][:1] in "{[\"0123456789-tfn",
    "callers": lambda row: len(row["hash"]) == 64,
    "asked": lambda row: row["about"][:1] == "{",
    "repeats": lambda row: len(row["digest"]) == 64,
    "notes": lambda row: row["asked"][:1] == "{",
    "feedback": lambda row: len(row["image"]) == 64,
}  # fmt: skip


def first_widths(steps: Sequence[str]) -> dict[str, int]:
    """With how many columns each table was first released, by the migrations in their order."""
    widths: dict[str, int] = {}
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        for step in steps:
            connection.executescript(step)
            for name in TABLES:
                if found := connection.execute(f"PRAGMA table_info({name})").fetchall():
                    widths.setdefault(name, len(found))
    return widths


def salvage(damaged: Path, new: sqlite3.Connection, steps: Sequence[str]) -> Salvaged:
    """Read all that can be read of ``damaged`` (a copy: it is written to) into ``new``.

    ``steps`` are all migrations; ``new`` has this release's empty schema; one transaction. Its meta is replaced where that
    could be read.
    """
    found = Salvaged()
    tables = {name: Table.of(new, name, least) for name, least in first_widths(steps).items()}
    _pad(damaged)
    loose = records(damaged)
    new.execute("BEGIN")
    for table in tables.values():
        if not _read_whole(damaged, table, new, found):
            found.broken.append(table.name)
    if found.broken:
        _read_loose(loose, tables, new, found)
    new.execute("COMMIT")
    return found


def _pad(path: Path) -> None:
    """A file that was cut short is made as long as its header says: SQLite refuses it else."""
    with path.open("r+b") as file:
        head = file.read(100)
        if head[:16] != b"SQLite format 3\0" or len(head) < 100:
            return
        size, count = struct.unpack(">H", head[16:18])[0], struct.unpack(">I", head[28:32])[0]
        file.seek(0, 2)
        wanted = count * (65536 if size == 1 else size)
        if file.tell() < wanted < 1 << 40:
            file.truncate(wanted)


# as SQLite reads it


def _read_whole(
    damaged: Path, table: Table, new: sqlite3.Connection, found: Salvaged
) -> bool:  # fmt: skip
    """The table from its first row on, and where it breaks, from its last row back; whether it
    could be read to its end.
    """
    whole = True
    for order in ("ASC", "DESC"):
        try:
            for row in _rows(damaged, table, order):
                found.whole[table.name] += _put(new, table, row)
        except sqlite3.DatabaseError:
            whole = False
            continue
        break
    return whole


def _rows(damaged: Path, table: Table, order: str) -> Iterator[Row]:
    """Rows by key; NOT INDEXED, so that a sound index does not hide a broken table."""
    connection = sqlite3.connect(damaged)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA cell_size_check = ON")
        by = ", ".join(f"{name} {order}" for name in table.key)
        for row in connection.execute(f"SELECT * FROM {table.name} NOT INDEXED ORDER BY {by}"):
            yield dict(row)
    finally:
        connection.close()


def _put(new: sqlite3.Connection, table: Table, row: Mapping[str, Any]) -> int:
    """Insert a row unless one of its key is there; how many rows that made."""
    names = [name for name in table.columns if name in row]
    marks = ", ".join(f":{name}" for name in names)
    verb = "REPLACE" if table.name == "meta" else "IGNORE"
    line = f"INSERT OR {verb} INTO {table.name} ({', '.join(names)}) VALUES ({marks})"
    try:
        return new.execute(line, row).rowcount
    except sqlite3.Error:
        return 0  # a value that the schema forbids: no row of ours


# from loose pages


def _read_loose(
    loose: Iterable[Record], tables: Mapping[str, Table], new: sqlite3.Connection, found: Salvaged
) -> None:
    """Rows that SQLite could not reach; of several versions of one the furthest."""
    broken = [tables[name] for name in found.broken]
    best: dict[tuple[str, tuple[Any, ...]], Row] = {}
    for record in loose:
        for table in broken:
            row = table.row_of(record)
            if row is None:
                continue
            key = (table.name, tuple(row[name] for name in table.key))
            if _is_there(new, table, row):
                break
            if key not in best or _far(table.name, row) > _far(table.name, best[key]):
                best[key] = row
            break
    for (name, _), row in best.items():
        found.loose[name] += _put_loose(new, tables[name], row)


def _is_there(new: sqlite3.Connection, table: Table, row: Row) -> bool:
    if table.name == "meta":
        return False
    where = " AND ".join(f"{name} = :{name}" for name in table.key)
    return new.execute(f"SELECT 1 FROM {table.name} WHERE {where}", row).fetchone() is not None


def _far(name: str, row: Row) -> tuple[Any, ...]:
    """How far a version of a row has come: rows only ever go on."""
    if name == "tasks":
        return tuple(row.get(part) is not None for part in ("closed_at", "result", "ticket", "lost_at"))  # fmt: skip
    if name == "jobs":
        return (row["status"] in ("ok", "duplicate"), row["tries"], row.get("seq") or 0)
    if name == "runs":
        return (row["seq"], row["complete"])
    if name == "meta":
        return (int(row["value"]) if str(row["value"]).isdigit() else 0,)
    return (row.get("made") or row.get("at") or row.get("updated") or 0,)


def _put_loose(new: sqlite3.Connection, table: Table, row: Row) -> int:
    """A version of a task may be an old one: beside a live task of its key it is not live too."""
    put = _put(new, table, row)
    if not put and table.name == "tasks":
        put = _put(new, table, {**row, "state": "abandoned", "closed_at": row["intent_at"]})
    return put


# what follows from it


def mend(new: sqlite3.Connection, found: Salvaged, now: float) -> None:
    """Make a whole of what was read: rows for tasks, runs for rows, doubts for lost tasks."""
    new.execute("BEGIN")
    for statement in _MENDS:
        new.execute(statement, {"now": now, "code": LOST, "said": _SAID})
    found.missing_rows = _count(new, _MISSING)
    new.execute(_REOPEN_INPUT)
    found.held = new.execute(_HOLD, {"now": now, "code": LOST}).rowcount
    found.live = _count(new, _LIVE)
    new.execute("COMMIT")


def _count(new: sqlite3.Connection, query: str) -> int:
    return int(new.execute(query).fetchone()[0])


_SAID = "账本损坏时丢了这一行的记录 / lost with the damaged journal"
_LIVE = "SELECT count(*) FROM tasks WHERE state IN ('intent', 'accepted', 'doubt', 'made')"
_PROMPT = json.dumps({"prompt": _SAID}, ensure_ascii=False)
_MENDS = (
    # A run that is lost, of rows or tasks that are not: nobody carries it by itself.
    """INSERT OR IGNORE INTO runs (id, created, kind, digest, out, options, environment, state, complete)
       SELECT run, min(at), 'rebuilt', '', '', '{}', '{}', 'cancelled', 1 FROM
         (SELECT run, coalesce(ended, :now) AS at FROM jobs UNION ALL SELECT run, intent_at FROM tasks
          UNION ALL SELECT 'rebuilt', intent_at FROM tasks WHERE job NOT IN (SELECT id FROM jobs))
       WHERE run NOT IN (SELECT id FROM runs) GROUP BY run""",
    # A task whose row is lost keeps its key taken, and can be collected. Its row stands in a run of
    # its own: the row that it had is read again from the input.
    f"""INSERT OR IGNORE INTO jobs (id, run, row, take, key, request, input, status, task, code, error, ended)
       SELECT job, 'rebuilt', job, 1, key, '{_PROMPT}', '{{}}', 'in-doubt', max(id), :code, :said, :now
       FROM tasks WHERE job NOT IN (SELECT id FROM jobs) GROUP BY job""",
    # Pictures that rows speak of.
    """INSERT OR IGNORE INTO images (key, sha256, task, format, width, height, bytes, made, about)
       SELECT key, image, task, '', 0, 0, 0, coalesce(ended, :now), '{}' FROM jobs
       WHERE status = 'ok' AND image IS NOT NULL AND key != '' AND key NOT IN (SELECT key FROM images)""",
    "UPDATE runs SET owner = '', seq = max(seq, coalesce((SELECT max(seq) FROM jobs WHERE run = runs.id), 0))",
    """UPDATE meta SET value = 1 + max(CAST(value AS INTEGER), coalesce((SELECT max(epoch) FROM tasks), 0))
       WHERE name = 'epoch'""",
)
_MISSING = """
SELECT coalesce(sum(total - there), 0) FROM
  (SELECT total, (SELECT count(*) FROM jobs WHERE run = runs.id) AS there FROM runs WHERE complete)
WHERE total > there
"""
# Rows that are missing are read again from the input by the same command.
_REOPEN_INPUT = """
UPDATE runs SET complete = 0, state = CASE state WHEN 'done' THEN 'paused' ELSE state END
WHERE complete AND total > (SELECT count(*) FROM jobs WHERE run = runs.id)
"""
# Where a row counts more tries than tasks are left, one is lost: it may have been paid for. It is
# asked after like any lost answer, at the endpoint that the run last used, from its beginning on.
_HOLD = """
INSERT OR IGNORE INTO tasks (job, run, key, endpoint, place, account, model, lane, state, epoch, intent_at, lost_at, code)
SELECT jobs.id, jobs.run, jobs.key, coalesce(seen.endpoint, ''), coalesce(seen.place, ''), coalesce(seen.account, ''),
  coalesce(seen.model, ''), coalesce(seen.lane, 'async'), 'doubt', 0, runs.created, :now, :code
FROM jobs JOIN runs ON runs.id = jobs.run
  LEFT JOIN tasks AS seen ON seen.id = (SELECT max(id) FROM tasks WHERE run = jobs.run AND code != :code)
WHERE jobs.status IN ('pending', 'in-doubt') AND jobs.key != '' AND jobs.tries >
  (SELECT count(*) FROM tasks WHERE job = jobs.id AND tasks.state NOT IN ('void', 'canceled'))
"""


def sound(path: Path) -> bool:
    """Whether SQLite finds nothing wrong with a journal. It is only read."""
    if not path.is_file() or path.stat().st_size == 0:
        return False
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        try:
            told = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        except sqlite3.DatabaseError:
            return False
    return told == "ok" and {"meta", "runs", "jobs", "tasks", "images"} <= names
