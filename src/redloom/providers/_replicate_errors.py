"""What Replicate's errors mean for the money and for the next step.

Sources: replicate.com/docs (HTTP API, error codes, rate limits; November 2026). A refused call is
an RFC 7807 problem: ``{title, detail, status}``; 401 and 429 have a ``detail`` alone, with the
wait in its words. A failed prediction has words in ``error``, most with a code such as E1001.

May import: endpoint.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from redloom.endpoint import Answer

from ._voice import Kind, Said, by_status

CODES: dict[str, Kind] = {
    # the titles of problems
    "Unauthenticated": "key",
    "Insufficient credit": "empty",
    "Monthly spend limit reached": "empty",
    "Free time limit reached": "empty",
    "Payment required": "empty",
    "Permission denied": "closed",
    "Not found": "closed",
    "Invalid version or not permitted": "closed",
    "Model not found": "closed",
    "Input validation failed": "refused",
    "Invalid request": "refused",
    "Too many requests": "rate",
    "Internal server error": "unavailable",
    "Service unavailable": "unavailable",
    # the codes of failed predictions
    "E1000": "failed",
    "E1001": "failed",
    "E4875": "refused",
    "E6716": "failed",
    "NSFW": "output",
    "E005": "output",
}
"""``NSFW`` is ours, for words that speak of it without a code."""

_CODE = re.compile(r"\b(E\d{3,4})\b")
_NSFW = re.compile(
    r"nsfw|flagged as sensitive|content policy|safety (filter|checker)", re.IGNORECASE
)
_INPUT = re.compile(r"input (or output )?was flagged|prompt was flagged", re.IGNORECASE)
_WAIT = re.compile(r"(?:resets? in|available in)\s*~?\s*(\d+(?:\.\d+)?)\s*s", re.IGNORECASE)
_BY_STATUS: Mapping[int, Kind] = {500: "unavailable", 503: "unavailable"}


def read(answer: Answer) -> Said | None:
    """The problem in a body; None where the service said none."""
    body = answer.body or {}
    if answer.status < 400 or not ("detail" in body or "title" in body):
        return None
    title, detail = str(body.get("title") or "").strip(), str(body.get("detail") or "").strip()
    wait = answer.retry_after_s()
    if wait is None and isinstance(body.get("retry_after"), int | float):
        wait = max(0.0, float(body["retry_after"]))
    if wait is None and (found := _WAIT.search(detail)):
        wait = float(found[1])
    return Said(title or f"HTTP {answer.status}", detail, answer.status, wait)


def of_prediction(words: str) -> Said:
    """The error of a failed prediction."""
    code = _CODE.search(words)
    if code is None and _NSFW.search(words):
        return Said("NSFW", words)
    return Said(code[1] if code else "failed", words)


def kind_of(said: Said) -> Kind:
    """What an error means; what has no known title by the HTTP status."""
    if not said.status:
        found = CODES.get(said.code, "failed")
        return "content" if found == "output" and _INPUT.fullmatch(said.message) else found
    if said.status in (400, 403, 422) and _NSFW.search(said.message):
        return "content"
    return CODES.get(said.code) or _BY_STATUS.get(said.status) or by_status(said.status)
