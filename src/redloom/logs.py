"""Log lines for people or for machines, with secrets masked. ``REDLOOM_LOG=json`` or ``text``.

One line of JSON a record: ``at`` (ISO 8601, UTC), ``level``, ``logger``, ``message``, ``error``
where there is one. Whatever looks like a key, a bearer token or a signed query never gets out.

May import: nothing of the way.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from datetime import UTC, datetime
from typing import TextIO

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


def set_up(*, verbose: bool = False, stream: TextIO | None = None) -> logging.Handler | None:
    """Log the package's records as ``REDLOOM_LOG`` or ``verbose`` wants; None: leave all as it is.

    Returns the handler, so that a caller can take it off again.
    """
    wanted = os.environ.get("REDLOOM_LOG", "").lower()
    if wanted not in ("json", "text") and not verbose:
        return None
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Lines(as_json=wanted == "json"))
    logger = logging.getLogger("redloom")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    return handler
