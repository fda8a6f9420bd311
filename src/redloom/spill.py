"""Pictures inside a JSON answer go to disk as they arrive; memory never holds a whole one.

Some services hand a picture over as base64 in the middle of their JSON: two to thirty megabytes,
four times over once it is text, parsed and decoded. `Spill` reads such an answer in pieces. Every
string longer than `LONG` is decoded into a file, and an unguessable name takes its place, so that
what is parsed stays small and a text of the service's can never name a file of ours.

JSON strings end at the first quote that no backslash precedes (RFC 8259, 7); base64 is RFC 4648.
May import: errors, clock, private.
"""

from __future__ import annotations

import binascii
import contextlib
import os
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from . import private
from .clock import offload
from .errors import AnswerLost

LONG = 32 * 1024
"""Bytes from which on a string is taken for a picture."""
_PIECE = 256 * 1024
_SHOWN = 200
"""Characters that stay of a long string that is no base64."""
_MARK = re.compile(rb'["\\]')
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_PLAIN = {b"/": b"/", b"n": b"", b"r": b"", b"t": b""}


class Spill:
    """One answer's way to disk. ``files`` maps the names left in the text to files."""

    def __init__(self, folder: Path) -> None:
        self.files: dict[str, Path] = {}
        self._folder = folder
        self._text = bytearray()
        self._inside = self._escaped = False
        self._string = bytearray()
        self._target: _Target | None = None

    async def read(self, pieces: AsyncIterator[bytes], most: int) -> bytes:
        """The answer's text with names in the place of long strings.

        Raises AnswerLost for an answer over ``most`` bytes, or where the disk refuses it: it is
        paid for then, and nothing of it stays on the disk.
        """
        total, gathered = 0, bytearray()
        try:
            async for piece in pieces:
                total += len(piece)
                if total > most:
                    raise AnswerLost(
                        "服务的回答大得离谱，没有收下。",
                        "The service's answer was absurdly large.",
                    )
                gathered += piece
                if len(gathered) >= _PIECE:
                    full, gathered = bytes(gathered), bytearray()
                    await offload(self._feed, full)
            await offload(self._feed, bytes(gathered))
            if self._inside:
                self._text += self._string  # cut off: no JSON, and whoever reads it will say so
        except OSError as error:
            await offload(self.discard)
            raise _refused(error) from error
        except BaseException:
            self.discard()
            raise
        if self._target is not None:
            await offload(self._target.discard)
        return bytes(self._text)

    def discard(self, keep: str = "") -> None:
        """Remove what was written, but for the file called ``keep``."""
        for name in [name for name in self.files if name != keep]:
            with contextlib.suppress(OSError):
                self.files.pop(name).unlink(missing_ok=True)
        if self._target is not None:
            self._target.discard()

    def _feed(self, piece: bytes) -> None:
        at = 0
        while at < len(piece):
            if not self._inside:
                quote = piece.find(b'"', at)
                end = len(piece) if quote < 0 else quote + 1
                self._text += piece[at:end]
                self._inside = quote >= 0
            else:
                quote = self._end_of_string(piece, at)
                end = len(piece) if quote < 0 else quote
                self._take(piece[at:end])
                if quote >= 0:
                    self._close()
                    end = quote + 1
            at = end

    def _end_of_string(self, piece: bytes, at: int) -> int:
        """Where the closing quote is, or -1; an escape may straddle two pieces."""
        if self._escaped:
            at, self._escaped = at + 1, False
        while match := _MARK.search(piece, at):
            if match[0] == b'"':
                return match.start()
            at = match.end() + 1
            self._escaped = at > len(piece)
        return -1

    def _take(self, part: bytes) -> None:
        if self._target is None:
            self._string += part
            if len(self._string) <= LONG:
                return
            self._target = _Target(self._folder)
            part, self._string = bytes(self._string), bytearray()
        self._target.write(part)

    def _close(self) -> None:
        target, self._target, self._inside = self._target, None, False
        if target is None:
            self._text += self._string
        elif target.finish():
            self.files[target.name] = target.path
            self._text += target.name.encode()
        else:
            self._text += target.shown
        self._string = bytearray()
        self._text += b'"'


class _Target:
    """A long string on its way into a file."""

    def __init__(self, folder: Path) -> None:
        self.name = f"spill-{secrets.token_hex(16)}"
        self.path = folder / f"{self.name}.part"
        self.shown = b""
        """The beginning of a string that is no base64."""
        private.folder(folder)
        self._file: BinaryIO | None = open(self.path, "xb", buffering=0, opener=private.opener)  # noqa: SIM115
        self._begun = False
        self._left = b""

    def write(self, part: bytes) -> None:
        if self._file is None:
            return
        data = self._left + part
        cut = len(data) - 1 if _ends_in_escape(data) else len(data)
        data, rest = data[:cut], data[cut:]
        if not self._begun:
            self._begun = True
            head = data[:_SHOWN]
            if head.startswith(b"data:") and b"base64," in head:
                data = data.partition(b"base64,")[2]
        if b"\\" in data:
            data = _ESCAPE.sub(lambda match: _PLAIN.get(match[1], match[0]), data)
        whole = len(data) // 4 * 4
        self._left = data[whole:] + rest
        self._decode(data[:whole])

    def _decode(self, data: bytes) -> None:
        try:
            decoded = memoryview(binascii.a2b_base64(data, strict_mode=True))
        except binascii.Error:
            beginning = data[:_SHOWN].partition(b"\\")[0]
            self.shown = beginning.decode("utf-8", "ignore").encode()
            self.discard()
            return
        while decoded and self._file is not None:
            decoded = decoded[self._file.write(decoded) :]

    def finish(self) -> bool:
        """The string has ended: whether it was base64, and so a file that will last."""
        if self._left:
            self._decode(self._left + b"=" * (-len(self._left) % 4))
        file, self._file = self._file, None
        if file is None:
            return False
        with file:
            os.fsync(file.fileno())
        return True

    def discard(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)


def _ends_in_escape(data: bytes) -> bool:
    """Whether the last byte is a backslash whose second half is still to come."""
    return (len(data) - len(data.rstrip(b"\\"))) % 2 == 1


def _refused(error: OSError) -> AnswerLost:
    return AnswerLost(
        f"图收到了却写不进磁盘（{error.strerror}）；已计费，这一张取不回来了。请腾出空间。",
        f"The picture came but could not be written to the disk ({error.strerror}); it is billed "
        "and cannot be had again. Make room.",
    )
