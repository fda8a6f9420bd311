"""What Gemini's error codes, finish reasons and block reasons mean for the next step.

Sources: google.rpc.Code and google.api.ErrorReason, ai.google.dev/gemini-api/docs/troubleshooting,
the enumerations of the google-genai SDK, and 429 bodies recorded in issue threads (python-genai
2044 and 2065, gemini-cli 8437). Three traps: a bad key is a 400; how long to wait stands in the
body (``RetryInfo.retryDelay``), not in a header; and a 429 without details may be anything.

May import: endpoint.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from redloom.endpoint import Answer, read_json

from ._voice import Kind, Said, by_status

CODES: dict[str, Kind] = {
    # google.rpc.Code, as ``error.status``
    "INVALID_ARGUMENT": "refused",
    "OUT_OF_RANGE": "refused",
    "ALREADY_EXISTS": "refused",
    "UNIMPLEMENTED": "refused",
    "FAILED_PRECONDITION": "closed",
    "UNAUTHENTICATED": "key",
    "PERMISSION_DENIED": "closed",
    "NOT_FOUND": "closed",
    "RESOURCE_EXHAUSTED": "rate",
    "ABORTED": "unavailable",
    "INTERNAL": "unavailable",
    "UNAVAILABLE": "congestion",
    "CANCELLED": "lost",
    "UNKNOWN": "lost",
    "DATA_LOSS": "lost",
    "DEADLINE_EXCEEDED": "lost",
    # google.api.ErrorReason, as ``details[].reason``
    "API_KEY_INVALID": "key",
    "CREDENTIALS_MISSING": "key",
    "ACCESS_TOKEN_EXPIRED": "key",
    "ACCESS_TOKEN_TYPE_UNSUPPORTED": "key",
    "API_KEY_SERVICE_BLOCKED": "closed",
    "API_KEY_HTTP_REFERRER_BLOCKED": "closed",
    "API_KEY_IP_ADDRESS_BLOCKED": "closed",
    "API_KEY_ANDROID_APP_BLOCKED": "closed",
    "API_KEY_IOS_APP_BLOCKED": "closed",
    "SERVICE_DISABLED": "closed",
    "CONSUMER_INVALID": "closed",
    "CONSUMER_SUSPENDED": "closed",
    "BILLING_DISABLED": "empty",
    "RATE_LIMIT_EXCEEDED": "rate",
    "RESOURCE_QUOTA_EXCEEDED": "quota",
    "MODEL_CAPACITY_EXHAUSTED": "congestion",
}

FINISHES: dict[str, Kind] = {
    "STOP": "failed",
    "MAX_TOKENS": "failed",
    "OTHER": "failed",
    "FINISH_REASON_UNSPECIFIED": "failed",
    "MALFORMED_FUNCTION_CALL": "failed",
    "UNEXPECTED_TOOL_CALL": "failed",
    "NO_IMAGE": "failed",
    "IMAGE_OTHER": "failed",
    "SAFETY": "output",
    "RECITATION": "output",
    "IMAGE_SAFETY": "output",
    "IMAGE_RECITATION": "output",
    "IMAGE_PROHIBITED_CONTENT": "content",
    "PROHIBITED_CONTENT": "content",
    "BLOCKLIST": "content",
    "SPII": "content",
    "LANGUAGE": "refused",
}
"""``candidates[].finishReason`` of an answer without a picture."""

BLOCKS = frozenset(
    {
        "BLOCK_REASON_UNSPECIFIED",
        "SAFETY",
        "OTHER",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "IMAGE_SAFETY",
        "MODEL_ARMOR",
        "JAILBREAK",
    }
)
"""``promptFeedback.blockReason``: the words were refused, whatever the reason is called."""

_BAD_KEY = re.compile(r"api key (not valid|expired|not found)|reported as leaked", re.IGNORECASE)
_NO_FREE = re.compile(r"limit: 0\b", re.IGNORECASE)
_RETRY_IN = re.compile(r"retry in (\d+(?:\.\d+)?)\s*(ms|s)\b", re.IGNORECASE)
_DELAY = re.compile(r"(\d+(?:\.\d+)?)s")


def read(answer: Answer) -> Said | None:
    """The error in a body, in a list too (as the streaming route sends it); None: it said none."""
    error = _body(answer).get("error")
    if not isinstance(error, dict):
        return None
    details = [item for item in _list(error.get("details")) if isinstance(item, dict)]
    message = str(error.get("message") or "").strip()
    reason = next((r for item in details if isinstance(r := item.get("reason"), str)), "")
    code = reason if reason in CODES else str(error.get("status") or "")
    wait = answer.retry_after_s()
    if wait is None:
        wait = _told(details, message)
    said = Said(code or f"HTTP {answer.status}", message, answer.status, wait)
    if CODES.get(said.code) == "rate" and _used_up(details, message):
        return Said("RESOURCE_EXHAUSTED.PerDay", message, answer.status)
    return said


def kind_of(said: Said) -> Kind:
    """What an error means; unknown codes by the HTTP status."""
    if said.code == "RESOURCE_EXHAUSTED.PerDay":
        return "empty"
    found = CODES.get(said.code) or by_status(said.status)
    if found in ("refused", "closed") and _BAD_KEY.search(said.message):
        return "key"
    return found


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _body(answer: Answer) -> Mapping[str, Any]:
    if answer.body is not None:
        return answer.body
    if answer.text.lstrip().startswith("[") and len(answer.text) < 100_000:
        parts = read_json(answer.text)
        if parts and isinstance(parts, list) and isinstance(parts[0], dict):
            return parts[0]
    return {}


def _told(details: list[dict[str, Any]], message: str) -> float | None:
    """Seconds to wait, from ``RetryInfo.retryDelay`` (``26s``) or from the words."""
    for item in details:
        delay = item.get("retryDelay")
        if isinstance(delay, str) and (found := _DELAY.fullmatch(delay)):
            return float(found[1])
    if found := _RETRY_IN.search(message):
        return float(found[1]) / (1000.0 if found[2].lower() == "ms" else 1.0)
    return None


def _used_up(details: list[dict[str, Any]], message: str) -> bool:
    """Whether a day's quota is gone, or there is none at all: waiting does not help."""
    quotas = " ".join(_quota_ids(details))
    return "PerDay" in quotas or bool(_NO_FREE.search(message))


def _quota_ids(details: list[dict[str, Any]]) -> Iterator[str]:
    for item in details:
        for violation in _list(item.get("violations")):
            if isinstance(violation, dict):
                yield str(violation.get("quotaId") or "")
