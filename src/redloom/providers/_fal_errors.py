"""What fal's error types mean for the money and for the next step.

Sources: fal.ai/docs/documentation/model-apis/request-errors and .../errors (November 2026). Two
shapes: ``{detail: words, error_type}`` for what went wrong around a model, the same in the header
``X-Fal-Error-Type``; ``{detail: [{loc, msg, type}]}`` for what a model says. Server errors are not
billed. The queue itself tries again up to ten times before it tells of one.

May import: endpoint.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from redloom.endpoint import Answer

from ._voice import Kind, Said, by_status

CODES: dict[str, Kind] = {
    # around the model
    "request_timeout": "failed",
    "startup_timeout": "failed",
    "runner_scheduling_failure": "failed",
    "runner_connection_timeout": "failed",
    "runner_disconnected": "failed",
    "runner_connection_refused": "failed",
    "runner_connection_error": "failed",
    "runner_incomplete_response": "failed",
    "runner_server_error": "failed",
    "client_disconnected": "failed",
    "client_cancelled": "failed",
    "bad_request": "refused",
    "internal_error": "failed",
    # what a model says
    "internal_server_error": "failed",
    "generation_timeout": "failed",
    "downstream_service_error": "failed",
    "downstream_service_unavailable": "failed",
    "no_media_generated": "failed",
    "content_policy_violation": "output",
    "image_too_small": "refused",
    "image_too_large": "refused",
    "image_load_error": "refused",
    "file_download_error": "refused",
    "file_too_large": "refused",
    "face_detection_error": "refused",
    "unsupported_image_format": "refused",
    "feature_not_supported": "refused",
    "invalid_archive": "refused",
    "one_of": "refused",
    "greater_than": "refused",
    "greater_than_equal": "refused",
    "less_than": "refused",
    "less_than_equal": "refused",
    "multiple_of": "refused",
    "sequence_too_short": "refused",
    "sequence_too_long": "refused",
    "missing": "refused",
    "value_error": "refused",
    "string_too_long": "refused",
    "string_too_short": "refused",
}
"""At a submit ``failed`` cannot come true, as nothing was taken: `kind_of` reads it as a no."""

_WORDS = re.compile(r"\binput\b|\bprompt\b", re.IGNORECASE)
_BALANCE = re.compile(r"balance|exhausted|credit|billing|locked", re.IGNORECASE)


def read(answer: Answer) -> Said | None:
    """The error in a body or a header; None where the service said none."""
    if answer.status < 400:
        return None
    body = answer.body or {}
    code, words = _of_detail(body.get("detail"))
    typed = body.get("error_type") or answer.headers.get("X-Fal-Error-Type")
    code = str(typed or code or "")
    if not code and not words:
        return None
    words = words or str(body.get("error") or "")
    return Said(code or f"HTTP {answer.status}", words, answer.status, answer.retry_after_s())


def of_task(body: Mapping[str, Any]) -> Said | None:
    """The error inside a COMPLETED status, or None."""
    error, typed = body.get("error"), body.get("error_type")
    if not error and not typed:
        return None
    code, words = _of_detail(error if not isinstance(error, dict) else error.get("detail"))
    return Said(str(typed or code or "error"), words or str(error or ""))


def kind_of(said: Said) -> Kind:
    """What an error means; unknown types by the HTTP status."""
    found = CODES.get(said.code)
    if found == "output" and _WORDS.search(said.message):
        return "content"
    if found == "failed" and said.status:
        return "unavailable"  # told of a call, not of a task: a plain no
    if found is not None:
        return found
    if said.status == 403 and _BALANCE.search(said.message):
        return "empty"
    if said.status in (500, 503):
        return "unavailable"
    return by_status(said.status) if said.status else "failed"


def _of_detail(detail: object) -> tuple[str, str]:
    """Type and words of a ``detail``, a string or a list of errors."""
    if isinstance(detail, str):
        return "", detail
    if isinstance(detail, list):
        for item in detail:
            if isinstance(item, dict):
                return str(item.get("type") or ""), str(item.get("msg") or "")
    return "", ""
