"""What became of every job: one SQLite file, one writer thread, group commit.

Whatever is written while a commit is under way goes into the next one together, so that the cost
of an fsync is shared. WAL with ``synchronous=FULL``: what a caller awaited is on the disk.
The statements are in ``journal.sql`` under names; the typed operations in `records`.

May import: errors, clock, lang, private, upgrade.
"""

from __future__ import annotations

import asyncio
import functools
import queue
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from . import private
from .clock import held
from .errors import DiskFull, JournalDamaged, RedloomError, WorkspaceError
from .upgrade import check_place, migrate

T = TypeVar("T")
Row = sqlite3.Row
PATIENCE_S = 30.0
"""Real seconds that one process waits for another's lock on the file."""
GROUP = 1000
"""Operations in one commit at most, so that the first of them does not wait for ever."""


_BLOCK = re.compile(
    r"^-- (name|migration): (\S+)\n(.*?)(?=^-- (?:name|migration): |\Z)", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Statements:
    """The parsed ``journal.sql``."""

    named: Mapping[str, str]
    migrations: tuple[str, ...]


@functools.cache
def statements() -> Statements:
    """Read ``journal.sql``: blocks begin with ``-- name: x`` or ``-- migration: n``."""
    named: dict[str, str] = {}
    migrations: list[str] = []
    text = resources.files(__package__).joinpath("journal.sql").read_text("utf-8")
    for kind, label, body in _BLOCK.findall(text):
        if kind == "name":
            named[label] = body.strip().rstrip(";")
            continue
        migrations.append(body)
        if int(label) != len(migrations):
            raise ValueError(f"migration {label} is number {len(migrations)}: one is missing")
    return Statements(named, tuple(migrations))


class Db:
    """One connection, spoken to by statement names. Not for use in two threads at once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def run(self, name: str, **values: Any) -> int:
        """Execute a statement; how many rows it changed."""
        return self.connection.execute(statements().named[name], values).rowcount

    def many(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Execute a statement once for each of ``rows``."""
        self.connection.executemany(statements().named[name], rows)

    def one(self, name: str, **values: Any) -> Row | None:
        """The first row of a query, or None."""
        found: Row | None = self.connection.execute(statements().named[name], values).fetchone()
        return found

    def all(self, name: str, **values: Any) -> list[Row]:
        """Every row of a query."""
        return self.connection.execute(statements().named[name], values).fetchall()

    def value(self, name: str, **values: Any) -> Any:
        """The first column of the first row, or None."""
        row = self.one(name, **values)
        return None if row is None else row[0]


Operation = Callable[[Db], T]


@dataclass(slots=True)
class _Wish:
    """An operation on its way to the writer, and where its answer goes."""

    operation: Operation[Any]
    label: str
    loop: asyncio.AbstractEventLoop | None
    answer: Any
    """An asyncio future of ``loop``, or a concurrent one where there is no loop."""
    result: Any = None
    error: BaseException | None = None

    def settle(self) -> None:
        if self.answer.done():
            return
        if self.error is not None:
            self.answer.set_exception(self.error)
        else:
            self.answer.set_result(self.result)


Witness = Callable[[str, tuple[str, ...]], None]


@dataclass
class Journal:
    """The open journal. ``witness`` is called around each commit with "before" or "after" and
    the labels of what is in it; fault tests kill the process there.
    """

    path: Path
    witness: Witness | None = None
    _wishes: queue.SimpleQueue[_Wish | None] = field(default_factory=queue.SimpleQueue)
    _thread: threading.Thread | None = None
    _read_lock: threading.Lock = field(default_factory=threading.Lock)
    _reader: Db | None = None
    _glancer: Db | None = None

    def open(self) -> Journal:
        """Open or create the file and bring its schema up to date.

        Raises DiskFull where it cannot be written, JournalDamaged where it cannot be read or
        was written by a newer release.
        """
        ready: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._serve, args=(ready,), name="redloom-journal", daemon=True
        )
        self._thread.start()
        ready.result()
        return self

    def close(self) -> None:
        """Write what is waiting, then close. Safe to call twice."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._wishes.put(None)
            thread.join()
        with self._read_lock:
            reader, self._reader = self._reader, None
            if reader is not None:
                reader.connection.close()
        glancer, self._glancer = self._glancer, None
        if glancer is not None:
            glancer.connection.close()

    async def do(self, operation: Operation[T], label: str = "") -> T:
        """Run ``operation`` in the next commit; returns once it is durable.

        Raises what the operation raised (its changes alone are undone), or DiskFull and the like
        where the commit failed. If the caller is cancelled meanwhile the operation still happens.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        with held():
            self._put(_Wish(operation, label, loop, answer))
            return await answer

    def do_now(self, operation: Operation[T], label: str = "") -> T:
        """`do` for a caller without an event loop; blocks until durable."""
        answer: Future[T] = Future()
        self._put(_Wish(operation, label, None, answer))
        return answer.result()

    async def read(self, operation: Operation[T]) -> T:
        """Run a query on the reading connection, in a worker thread."""
        with held():
            return await asyncio.to_thread(self.read_now, operation)

    def read_now(self, operation: Operation[T]) -> T:
        """Run a query on the reading connection here; sees all that is committed."""
        with self._read_lock, _translated(self.path):
            if self._reader is None:
                self._reader = Db(connect(self.path, 500))
            return operation(self._reader)

    def glance(self, operation: Operation[T]) -> T:
        """A query of a row or two by its key, on the caller's thread: some tens of microseconds,
        where handing it to a worker thread would cost several times that.
        """
        with _translated(self.path):
            if self._glancer is None:
                self._glancer = Db(connect(self.path, 500))
            return operation(self._glancer)

    def _put(self, wish: _Wish) -> None:
        if self._thread is None:
            raise WorkspaceError("账本已经关上。", "The journal is closed.")
        self._wishes.put(wish)

    def _serve(self, ready: Future[None]) -> None:
        try:
            with _translated(self.path):
                check_place(self.path)  # before the file is made
                _shut(self.path)
                db = Db(connect(self.path))
                migrate(db.connection, self.path, statements().migrations)
        except BaseException as error:
            ready.set_exception(error)
            return
        ready.set_result(None)
        while batch := self._gather():
            self._commit(db, batch)
            _answer(batch)
        with _quiet():
            db.connection.close()

    def _gather(self) -> list[_Wish]:
        """Wait for one wish, then take all that is there. Empty: time to close."""
        first = self._wishes.get()
        if first is None:
            return []
        batch = [first]
        while len(batch) < GROUP:
            try:
                wish = self._wishes.get_nowait()
            except queue.Empty:
                break
            if wish is None:
                self._wishes.put(None)
                break
            batch.append(wish)
        return batch

    def _commit(self, db: Db, batch: list[_Wish]) -> None:
        labels = tuple(wish.label for wish in batch)
        try:
            with _translated(self.path):
                _perform_all(db, batch)
                if self.witness is not None:
                    self.witness("before", labels)
                db.connection.execute("COMMIT")
                if self.witness is not None:
                    self.witness("after", labels)
        except BaseException as error:
            with _quiet():
                db.connection.execute("ROLLBACK")
            for wish in batch:
                wish.error = wish.error or error


_ALONE = (RedloomError, sqlite3.IntegrityError, KeyError, ValueError, TypeError)
"""What an operation may raise without taking the others of its group with it."""


def _perform_all(db: Db, batch: Sequence[_Wish]) -> None:
    """Every operation of the group in one transaction, begun here and not committed.

    First without savepoints, which cost as much as the operations; where one raises, all of it
    is undone and done again with them.
    """
    db.connection.execute("BEGIN IMMEDIATE")
    try:
        for wish in batch:
            wish.result = wish.operation(db)
    except _ALONE:
        db.connection.execute("ROLLBACK")
        db.connection.execute("BEGIN IMMEDIATE")
        for wish in batch:
            _perform(db, wish)


def _perform(db: Db, wish: _Wish) -> None:
    """One operation inside the group: if it raises, it alone is undone."""
    db.connection.execute("SAVEPOINT one")
    try:
        wish.result = wish.operation(db)
    except _ALONE as error:
        db.connection.execute("ROLLBACK TO one")
        wish.error = error
    db.connection.execute("RELEASE one")


def _answer(batch: list[_Wish]) -> None:
    """Hand the answers over, one call for each event loop instead of one for each wish."""
    by_loop: dict[asyncio.AbstractEventLoop | None, list[_Wish]] = {}
    for wish in batch:
        by_loop.setdefault(wish.loop, []).append(wish)
    for loop, wishes in by_loop.items():
        if loop is None:
            _settle(wishes)
        else:
            with _quiet():
                loop.call_soon_threadsafe(_settle, wishes)


def _settle(wishes: list[_Wish]) -> None:
    for wish in wishes:
        wish.settle()


def _shut(path: Path) -> None:
    """Nobody else reads the journal: SQLite gives its side files the mode of the main one."""
    private.own_file(path)
    for side in ("-wal", "-shm"):
        private.shut_file(path.with_name(f"{path.name}{side}"))


def connect(path: Path, cache_kib: int = 2000) -> sqlite3.Connection:
    """A connection as the journal wants it: WAL, FULL, patient with other processes."""
    connection = sqlite3.connect(
        path,
        timeout=PATIENCE_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    connection.row_factory = sqlite3.Row
    _write_ahead(connection)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 4000")
    connection.execute(f"PRAGMA cache_size = -{cache_kib}")
    return connection


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to WAL. SQLite does not wait for this one as it waits for locks: two programs that
    open a new workspace in the same moment would refuse each other.
    """
    ends = time.monotonic() + PATIENCE_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > ends:
                raise
            time.sleep(0.01)


class _translated:  # noqa: N801 - used like a function
    """Turns SQLite's errors into ours; most specific first, the cause kept."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _tb: object) -> None:
        if not isinstance(error, sqlite3.Error | OSError):
            return
        raise translate(error) from error


def translate(error: sqlite3.Error | OSError) -> WorkspaceError:
    """Our error for what SQLite or the system said about the journal's file."""
    said = str(error).lower()
    full = ("disk is full", "readonly", "read-only", "unable to open", "disk i/o", "permission")
    if isinstance(error, OSError) or any(word in said for word in full):
        return DiskFull(
            "账本写不进去（磁盘满了，或没有写权限）。已付款的任务都已记下，腾出空间后用同一条命令继续。",
            "The journal cannot be written (disk full, or no right to write). What was paid for is on record; make room and run the same command again.",
        )
    if isinstance(error, sqlite3.DatabaseError) and (
        any(word in said for word in ("malformed", "not a database", "file format"))
    ):
        return JournalDamaged(
            "账本文件已损坏，没有再发出任何请求；图片还在图库里。运行 redloom cache rebuild 图片文件夹… 另建账本，什么都不删。",
            "The journal file is damaged; nothing more was sent, and the pictures are still in the store. `redloom cache rebuild DIR…` (the folders of your pictures) builds a new one and deletes nothing.",
        )
    return WorkspaceError(
        f"账本出错（{error}），没有再发出任何请求；请稍后用同一条命令重试。",
        f"The journal failed ({error}); nothing more was sent. Run the same command again later.",
    )


class _quiet:  # noqa: N801 - used like a function
    """Lets a clean-up fail: the first error is the one that counts."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, _error: object, _tb: object) -> bool:
        return kind is not None and issubclass(kind, sqlite3.Error | RuntimeError)
