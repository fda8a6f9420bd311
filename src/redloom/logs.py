"""Log lines for people or for machines, with secrets masked. ``REDLOOM_LOG=json`` or ``text``,
``--verbose``, and for warnings a file in the workspace.

One line of JSON a record: ``at`` (ISO 8601, UTC), ``level``, ``logger``, ``message``, ``error``
where there is one. Whatever looks like a key, a bearer token or a signed query never gets out.

May import: private, events.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from . import private
from .events import (
    Done,
    Doubtful,
    Downloaded,
    Ended,
    Event,
    Held,
    Retrying,
    Running,
    Started,
    Stopped,
    Submitted,
    Worked,
)

log = logging.getLogger("redloom")
FILE = "redloom.log"
LARGEST = 1_000_000
"""Bytes."""

_SECRETS = (
    (re.compile(r"(?i)\b(bearer|token|authorization|api[-_ ]?key)(\W{1,3}(?:(?:bearer|key|token)\s+)?)(?!(?:bearer|key|token)\b)[^\s\"',;&]{6,}"), r"\1\2***"),
    (re.compile(r"\b(sk|r8|hf|ak|pk)[-_][A-Za-z0-9_-]{6,}"), r"\1-***"),
    (re.compile(r"\bAIza[A-Za-z0-9_-]{10,}"), "***"),
    (re.compile(r"(https?://[^\s?\"']+)\?[^\s\"']+"), r"\1?***"),
    (re.compile(r"(https?://)[^/\s:@]+:[^/\s@]+@"), r"\1***@"),
)  # fmt: skip


def masked(text: str) -> str:
    """``text`` without anything that looks like a secret. Masking twice changes nothing."""
    for pattern, stand_in in _SECRETS:
        text = pattern.sub(stand_in, text)
    return text


class Lines(logging.Formatter):
    """Records as text, or one line of JSON each."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self.as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """One record, secrets masked, its exception with it."""
        if not self.as_json:
            return masked(super().format(record))
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(), "logger": record.name,
            "message": masked(record.getMessage()),
        }  # fmt: skip
        if record.exc_info:
            line["error"] = masked(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


class _Ours:
    """Marks the handlers that `set_up` and `keep` have put up, so that they are put up once."""


class _Terminal(logging.StreamHandler[TextIO], _Ours):
    """Lines on standard error."""


class _Kept(logging.FileHandler, _Ours):
    """Lines in a private file; made when there is something to say, turned over when it is large."""

    def _open(self) -> TextIOWrapper:
        path = Path(self.baseFilename)
        private.own_folder(path.parent)
        if path.is_file() and path.stat().st_size > LARGEST:
            path.replace(path.with_name(f"{path.name}.1"))
        return open(path, "a", encoding="utf-8", opener=private.opener)

    def emit(self, record: logging.LogRecord) -> None:
        """Write it down. Where that cannot be (a full disk) it is no reason to stop."""
        with contextlib.suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """What the disk refuses is said by those whose work it stops, without a traceback of ours."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def set_up(
    *, verbose: bool = False, stream: TextIO | None = None, names: Sequence[str] = ("redloom",),
    always: bool = False,
) -> logging.Handler | None:  # fmt: skip
    """Show the records of ``names`` as ``REDLOOM_LOG`` or ``verbose`` wants; None: nothing is shown.

    ``verbose``: every step; else what is worth knowing, and with ``always`` (a server) at least
    warnings. What an earlier call put up goes. Returns the handler, so that a caller can take it
    off again.
    """
    wanted = os.environ.get("REDLOOM_LOG", "").lower()
    told = wanted in ("json", "text") or verbose
    for name in names:
        _take_off(logging.getLogger(name), _Terminal)
        logging.getLogger(name).setLevel(logging.NOTSET)
    if not told and not always:
        return None
    handler = _Terminal(stream or sys.stderr)
    handler.setFormatter(Lines(as_json=wanted == "json"))
    handler.setLevel(logging.DEBUG if verbose else logging.INFO if told else logging.WARNING)
    for name in names:
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(min(handler.level, logging.WARNING))
    return handler


def keep(folder: Path) -> None:
    """Keep warnings and faults of ours in ``redloom.log`` in ``folder``, secrets masked.

    The file is there once there is something in it; beyond `LARGEST` bytes the next start puts
    it aside as ``redloom.log.1``.
    """
    logger = logging.getLogger("redloom")
    _take_off(logger, _Kept)
    handler = _Kept(folder / FILE, delay=True, encoding="utf-8")
    handler.setFormatter(Lines(as_json=False))
    handler.setLevel(logging.WARNING)
    logger.addHandler(handler)


def _take_off(logger: logging.Logger, kind: type[_Ours]) -> None:
    for handler in [one for one in logger.handlers if isinstance(one, kind)]:
        logger.removeHandler(handler)
        with contextlib.suppress(OSError):  # its last words find no room
            handler.close()


def narrate(event: Event) -> None:
    """One event of an engine as a log line: what happened to which row, where, with which code.

    No prompt and nothing of what a service said is in it, but the reason of a pause, for ``--verbose``.
    """
    match event:
        case Submitted() | Running() | Downloaded() | Doubtful():
            log.debug("%s", _of_row(event, getattr(event, "endpoint", "")))
        case Worked():
            log.debug("%s", _of_row(event, event.endpoint, event.outcome, f"{event.polls} polls"))
        case Done():
            level = logging.DEBUG if event.status in ("ok", "duplicate") else logging.INFO
            code = f"[{event.code}]" if event.code else ""
            log.log(level, "%s", _of_row(event, event.endpoint, event.status, code))
        case Retrying():
            log.info("%s", _of_row(event, event.endpoint, f"in {event.until - event.at:.1f} s"))
            log.debug("because: %s", event.reason)
        case Held():
            wait = event.until - event.at
            log.info("held %s for %.1f s %s", event.endpoint, wait, event.why)
            log.debug("because: %s", event.reason)
        case Stopped():
            log.warning("stopped %s: %s", event.endpoint, event.reason)
        case Started():
            where = ", ".join(event.endpoints)
            log.info("started run %s: %d of %d done, %s", event.run, event.done, event.total, where)
        case Ended():
            counts = ", ".join(f"{number} {name}" for name, number in event.counts.items())
            log.info("ended run %s, %s: %s", event.run, event.state, counts)
        case _:
            pass


def _of_row(event: Event, *more: str) -> str:
    row, take = getattr(event, "row", 0), getattr(event, "take", 1)
    number = f"{row}_{take}" if take > 1 else str(row)
    return " ".join((f"{event.kind} run {event.run} row {number}", *(one for one in more if one)))
