"""Which encoding a text file is in: BOM, else strict UTF-8, else UTF-16, else GB18030.

Excel in China saves CSV as GBK without a mark; Notepad saves UTF-16. A character is never dropped
or replaced to make a file readable: what fits no encoding is refused as a whole.

May import: errors.
"""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from .errors import BadInput

BLOCK = 1 << 20
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BROKEN_ARCHIVE = (EOFError, gzip.BadGzipFile, zlib.error)


def encoding_of(path: Path) -> str:
    """The encoding in which the whole file can be read; memory is flat.

    Raises BadInput where the file cannot be opened, or is no text in any of them.
    """
    head = next(blocks(path), b"")
    for mark, name in _BOMS:
        if head.startswith(mark):
            return _only_if(path, name)
    guesses = ("utf-8", *_wide(head), "gb18030")
    for name in guesses:
        if (b"\0" not in head or name.startswith("utf-16")) and _reads(path, name):
            return name
    raise unreadable(path)


def is_file(path: Path) -> bool:
    """Whether a file is there; a name that no file can have is that of none.

    Python 3.11's own raises OSError where the name is too long for the file system.
    """
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def blocks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, unpacked where its name ends in ``.gz``. Raises BadInput."""
    try:
        with _opened(path) as file:
            while block := file.read(BLOCK):
                yield block
    except _BROKEN_ARCHIVE as error:
        raise BadInput(
            f"压缩包 {path.name} 坏了（{error}），没有花钱。请重新下载或打包。",
            f"The archive {path.name} is damaged ({error}); nothing was spent. Fetch or pack it again.",
        ) from error
    except OSError as error:
        raise BadInput(
            f"读不到 {path}（{error.strerror}），没有花钱。",
            f"{path} cannot be read ({error.strerror}); nothing was spent.",
        ) from error


def open_text(path: Path) -> IO[str]:
    """The file as text in its own encoding, line ends untouched. Raises BadInput."""
    encoding = encoding_of(path)
    if path.suffix.lower() == ".gz":
        return cast(IO[str], gzip.open(path, "rt", encoding=encoding, newline=""))
    return path.open(encoding=encoding, newline="")


def unreadable(path: Path) -> BadInput:
    """What is said of a file that is no text."""
    return BadInput(
        f"{path.name} 不是文本文件，或编码认不出（试过 UTF-8、UTF-16、GB18030）。请另存为 UTF-8，没有花钱。",
        f"{path.name} is no text in UTF-8, UTF-16 or GB18030. Save it as UTF-8; nothing was spent.",
    )


def _opened(path: Path) -> IO[bytes]:
    if path.suffix.lower() == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    return path.open("rb")


def _only_if(path: Path, name: str) -> str:
    if not _reads(path, name):
        raise unreadable(path)
    return name


def _reads(path: Path, name: str) -> bool:
    decoder = codecs.getincrementaldecoder(name)("strict")
    try:
        for block in blocks(path):
            # A zero character is in no text: such bytes are a picture or an archive.
            if "\0" in decoder.decode(block) and name.startswith("utf-16-"):
                return False
        decoder.decode(b"", True)
    except UnicodeError:
        return False
    return True


def _wide(head: bytes) -> tuple[str, ...]:
    """UTF-16 without a mark shows zero bytes on one side: those of line ends and Latin letters."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if even == odd:
        return ()
    return ("utf-16-le",) if odd > even else ("utf-16-be",)
