"""Rows out of a SQLite file that SQLite itself cannot read any more, page by page.

Every page that looks like a leaf of a table is read for itself, whatever has become of the pages
above it, of the header or of the schema; a write-ahead log is laid over it first, frame by frame
up to its last whole commit. The formats are https://www.sqlite.org/fileformat2.html, sections 1.5
(b-tree pages), 1.6 (overflow), 2.1 (records), 4 (write-ahead log).

A page that is free again may still hold an older version of a row: several of one row may come.

May import: nothing of the way.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

Value = int | float | str | bytes | None
SIZES = frozenset(1 << power for power in range(9, 17))
MOST_COLUMNS = 200
_TABLE_LEAF, _INDEX_LEAF, _INDEX_INNER = 0x0D, 0x0A, 0x02
_WIDTHS = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 7: 8, 8: 0, 9: 0}
_LOG_MAGIC = (0x377F0682, 0x377F0683)


class Record(NamedTuple):
    """One row: ``rowid`` of a table, None where the key is in the values (WITHOUT ROWID, index)."""

    rowid: int | None
    values: tuple[Value, ...]


class Unreadable(Exception):
    """These bytes are no row."""


def records(path: Path) -> Iterator[Record]:
    """Every row, of every table, that any page of the file and its log still shows."""
    with path.open("rb") as file:
        size = page_size(file)
        log_path = path.with_name(f"{path.name}-wal")
        with Pages(file, size, log_path) as pages:
            for number in range(1, pages.count + 1):
                yield from _records_of(pages, number)


def page_size(file: BinaryIO) -> int:
    """The page size that the header states, else SQLite's default of 4,096."""
    file.seek(16)
    stated = file.read(2)
    size = struct.unpack(">H", stated)[0] if len(stated) == 2 else 0
    size = 65536 if size == 1 else size
    return size if size in SIZES else 4096


class Pages:
    """The pages of a file as its write-ahead log leaves them."""

    def __init__(self, file: BinaryIO, size: int, log: Path) -> None:
        self.size = size
        self._file = file
        self._log = log.open("rb") if log.is_file() else None
        self._newer = {} if self._log is None else committed_frames(self._log, size)
        file.seek(0, 2)
        self.count = max([file.tell() // size, *self._newer])

    def __enter__(self) -> Pages:
        return self

    def __exit__(self, *_: object) -> None:
        if self._log is not None:
            self._log.close()

    def read(self, number: int) -> bytes:
        """The page of this number (from 1); shorter where the file ends."""
        file, at = self._file, (number - 1) * self.size
        if self._log is not None and number in self._newer:
            file, at = self._log, self._newer[number]
        file.seek(at)
        return file.read(self.size)


def committed_frames(log: BinaryIO, size: int) -> dict[int, int]:
    """Page number to where its newest committed version lies in a write-ahead log."""
    log.seek(0)
    head = log.read(32)
    if len(head) < 32:
        return {}
    magic, _, stated, _, *salt = struct.unpack(">6I", head[:24])
    if magic not in _LOG_MAGIC or stated not in (size, 1 if size == 65536 else size):
        return {}
    order = ">" if magic & 1 else "<"
    check = _checksum(head[:24], order, (0, 0))
    newest: dict[int, int] = {}
    pending: dict[int, int] = {}
    while len(frame := log.read(24 + size)) == 24 + size:
        number, commit, *theirs = struct.unpack(">4I", frame[:16])
        check = _checksum(frame[24:], order, _checksum(frame[:8], order, check))
        if theirs != salt or check != struct.unpack(">2I", frame[16:24]):
            break
        pending[number] = log.tell() - size
        if commit:
            newest |= pending
            pending = {}
    return newest


def _checksum(data: bytes, order: str, start: tuple[int, int]) -> tuple[int, int]:
    one, two = start
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = (one + even + two) & 0xFFFFFFFF
        two = (two + odd + one) & 0xFFFFFFFF
    return one, two


def _records_of(pages: Pages, number: int) -> Iterator[Record]:
    page = pages.read(number)
    at = 100 if number == 1 else 0
    if len(page) < pages.size or page[at] not in (_TABLE_LEAF, _INDEX_LEAF, _INDEX_INNER):
        return
    kind, cells = page[at], struct.unpack(">H", page[at + 3 : at + 5])[0]
    first = at + (12 if kind == _INDEX_INNER else 8)
    for place in range(min(cells, (pages.size - first) // 2)):
        offset = struct.unpack_from(">H", page, first + 2 * place)[0]
        try:
            yield _cell(pages, page, offset, kind)
        except (Unreadable, IndexError, struct.error, UnicodeDecodeError):
            continue


def _cell(pages: Pages, page: bytes, at: int, kind: int) -> Record:
    at += 4 if kind == _INDEX_INNER else 0
    length, at = _number(page, at)
    rowid = None
    if kind == _TABLE_LEAF:
        rowid, at = _number(page, at)
    return Record(rowid, _values(_payload(pages, page, at, length, table=kind == _TABLE_LEAF)))


def _payload(pages: Pages, page: bytes, at: int, length: int, *, table: bool) -> bytes:
    """The whole record, what lies on overflow pages included."""
    usable = pages.size
    most = usable - 35 if table else (usable - 12) * 64 // 255 - 23
    if length <= most:
        found = page[at : at + length]
    else:
        least = (usable - 12) * 32 // 255 - 23
        here = least + (length - least) % (usable - 4)
        here = here if here <= most else least
        found = page[at : at + here]
        found += _overflow(pages, struct.unpack_from(">I", page, at + here)[0], length - here)
    if len(found) != length:
        raise Unreadable
    return found


def _overflow(pages: Pages, number: int, length: int) -> bytes:
    found = bytearray()
    while length > len(found):
        if not 0 < number <= pages.count:
            raise Unreadable
        page = pages.read(number)
        found += page[4 : 4 + length - len(found)]
        number = struct.unpack_from(">I", page)[0]
        if len(page) < pages.size:
            raise Unreadable
    return bytes(found)


def _values(record: bytes) -> tuple[Value, ...]:
    end, at = _number(record, 0)
    kinds: list[int] = []
    while at < end:
        kind, at = _number(record, at)
        kinds.append(kind)
        if len(kinds) > MOST_COLUMNS:
            raise Unreadable
    values: list[Value] = []
    for kind in kinds:
        width = (kind - 12) // 2 if kind >= 12 else _WIDTHS.get(kind, -1)
        data = record[at : at + width]
        if width < 0 or len(data) != width:
            raise Unreadable
        values.append(_value(kind, data))
        at += width
    if at != len(record):
        raise Unreadable
    return tuple(values)


def _value(kind: int, data: bytes) -> Value:
    if kind == 0:
        return None
    if kind == 7:
        return float(struct.unpack(">d", data)[0])
    if kind in (8, 9):
        return kind - 8
    if kind < 7:
        return int.from_bytes(data, "big", signed=True)
    return data if kind % 2 == 0 else data.decode("utf-8")


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length integer and where it ends."""
    value = 0
    for place in range(9):
        byte = data[at + place]
        if place == 8:
            value = (value << 8) | byte
        else:
            value = (value << 7) | (byte & 0x7F)
            if byte < 0x80:
                return value, at + place + 1
    return value - (1 << 64) if value >= 1 << 63 else value, at + 9
