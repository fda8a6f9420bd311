"""A ZIP that is made while it is read: no file of it is ever whole in memory.

May import: nothing of the package.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

BLOCK = 1 << 18
_FIRST_DAY = (1980, 1, 1, 0, 0, 0)


class _Pipe(io.RawIOBase):
    """What zipfile writes into, and we take out of again."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        part = bytes(data)  # type: ignore[call-overload]
        self._parts.append(part)
        return len(part)

    def take(self) -> bytes:
        """What was written since the last time."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data


def zipped(entries: Iterable[tuple[str, Path]]) -> Iterator[bytes]:
    """The archive in parts. A file that is not there is left out. For a thread."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w") as archive:
        for name, path in entries:
            try:
                file = path.open("rb")
            except OSError:
                continue
            with file:
                entry = zipfile.ZipInfo(name, _FIRST_DAY)
                entry.external_attr = 0o644 << 16
                small = path.suffix in (".csv", ".jsonl", ".txt", ".html", ".json")
                entry.compress_type = zipfile.ZIP_DEFLATED if small else zipfile.ZIP_STORED
                with archive.open(entry, "w", force_zip64=True) as out:
                    while block := file.read(BLOCK):
                        out.write(block)
                        if data := pipe.take():
                            yield data
    if data := pipe.take():
        yield data
