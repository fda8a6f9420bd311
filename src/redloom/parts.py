"""Files on their way: what is unfinished of a download, and what the system refuses to write.

May import: errors, private.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from . import private
from .errors import DiskFull


@contextmanager
def on_disk() -> Iterator[None]:
    """File work: what the system refuses becomes DiskFull."""
    try:
        yield
    except OSError as error:
        what = error.strerror or type(error).__name__
        raise DiskFull(
            f"写不了磁盘（{what}）。已付费的图片不会丢：腾出空间或改正权限后，重新运行同一命令。",
            f"Could not write to the disk ({what}). What is paid for is not lost: make room or "
            "put the rights in order, then run the same command again.",
        ) from error


def names_in(folder: Path) -> set[str]:
    """Names of which the folder has something, the folder made where it is missing. Raises DiskFull."""
    with on_disk():
        private.folder(folder)
        return {path.name.split(".")[0] for path in folder.iterdir()}


def left_over(folder: Path, name: str) -> Path | None:
    """The unfinished file of this name that can be resumed; others of the name are removed."""
    with on_disk():
        private.folder(folder)
        found = sorted(folder.glob(f"{name}.*.part"))
        usable = [p for p in found if not p.name.endswith(".0.part") and p.stat().st_size]
        for path in found:
            if path not in usable[:1]:
                path.unlink(missing_ok=True)
    return usable[0] if usable else None


def size_of(path: Path) -> int:
    """Bytes of a file. Raises DiskFull."""
    with on_disk():
        return path.stat().st_size


def remove(path: Path | None) -> None:
    """Remove a file that may be gone already. Raises DiskFull."""
    with on_disk():
        if path is not None:
            path.unlink(missing_ok=True)


def open_part(part: Path, offset: int) -> BinaryIO:
    """An unfinished file, opened to go on behind ``offset`` bytes, or anew at 0. Raises DiskFull."""
    with on_disk():
        return open(part, "ab" if offset else "wb", buffering=0, opener=private.opener)


def write_all(file: BinaryIO, data: bytearray) -> None:
    """All of ``data``, however little the system takes at a time. Raises DiskFull."""
    with on_disk():
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]


def finish_part(file: BinaryIO | None, part: Path, offset: int, data: bytearray) -> None:
    """The last bytes, and the file closed; opened first where nothing was written yet. Raises DiskFull."""
    with on_disk(), file or open_part(part, offset) as last:
        write_all(last, data)


def set_down(part: Path, data: bytes) -> None:
    """Bytes that are there as a file of their own. Raises DiskFull."""
    with on_disk():
        private.folder(part.parent)
        part.unlink(missing_ok=True)
        private.write(part, data)
