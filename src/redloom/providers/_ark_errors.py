"""What Ark's error codes mean for the money and for the next step.

Codes: volcengine.com/docs/82379/1299023 (November 2026). A body is ``{error: {code, message,
param, type}}``; the same pair may stand in the place of one picture inside a 200. Codes have
sub-codes after a dot, read by their family where the table lacks them.

May import: endpoint.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from redloom.endpoint import Answer

from ._voice import QUOTA_WAIT_S, Kind, Said, by_status

CODES: dict[str, Kind] = {
    # 400
    "MissingParameter": "refused",
    "InvalidParameter": "refused",
    "InvalidParameter.UnsupportedModel": "closed",
    "InvalidParameter.UnsupportedParameter": "refused",
    "InvalidImageURL": "refused",
    "InputTextSensitiveContentDetected": "content",
    "InputImageSensitiveContentDetected": "content",
    "OutputImageSensitiveContentDetected": "output",
    "InputTextRiskDetection": "content",
    "InputImageRiskDetection": "content",
    "OutputImageRiskDetection": "output",
    # 401
    "AuthenticationError": "key",
    "InvalidAccountStatus": "closed",
    # 403
    "AccountOverdueError": "empty",
    "OperationDenied": "closed",
    "OperationDenied.PermissionDenied": "closed",
    "OperationDenied.ServiceNotOpen": "closed",
    "OperationDenied.ServiceOverdue": "empty",
    "AccessDenied": "closed",
    # 404
    "ModelNotOpen": "closed",
    "InvalidEndpointOrModel": "closed",
    "InvalidEndpointOrModel.NotFound": "closed",
    "InvalidEndpointOrModel.ModelIDAccessDisabled": "closed",
    "NotFound": "closed",
    # 429
    "ModelAccountIpmRateLimitExceeded": "rate",
    "ModelAccountRpmRateLimitExceeded": "rate",
    "ModelAccountTpmRateLimitExceeded": "rate",
    "APIAccountRpmRateLimitExceeded": "rate",
    "RateLimitExceeded": "rate",
    "RateLimitExceeded.EndpointRPMExceeded": "rate",
    "RateLimitExceeded.EndpointTPMExceeded": "rate",
    "AccountRateLimitExceeded": "rate",
    "QuotaExceeded": "quota",
    "SetLimitExceeded": "empty",
    "InflightBatchsizeExceeded": "concurrency",
    "ServerOverloaded": "congestion",
    "RequestBurstTooFast": "burst",
    # 500
    "InternalServiceError": "unavailable",
}
"""``QuotaExceeded`` is judged by its message; ``SetLimitExceeded`` is the user's own cap."""

_FAMILIES: tuple[tuple[str, Kind], ...] = (
    (r"^Output.*(SensitiveContent|RiskDetection)", "output"),
    (r"(SensitiveContent|RiskDetection)", "content"),
    (r"RateLimitExceeded", "rate"),
    (r"Overdue|Arrear|Balance", "empty"),
    (r"NotOpen|NotFound|AccessDenied", "closed"),
)
_WHILE_QUEUED = re.compile(r"queue|concurren|排队|并发", re.IGNORECASE)
_LATER = re.compile(r"(\d+)\s*(hour|day|week|month|小时|天|周|月)", re.IGNORECASE)
_LAST_WORD = re.compile(r"free|trial|exhaust|used up|免费|试用|用尽|用完|耗尽", re.IGNORECASE)


def read(answer: Answer) -> Said | None:
    """The error in a body; None where the service said none."""
    if answer.body is None:
        return None
    return of_entry(answer.body, answer.status, answer.retry_after_s())


def of_entry(
    holder: Mapping[str, Any], status: int = 0, wait_s: float | None = None
) -> Said | None:
    """The error that stands in a body, or in the place of one picture."""
    error = holder.get("error")
    if not isinstance(error, dict):
        return None
    code = error.get("code") or error.get("type")
    if not isinstance(code, str) or not code.strip():
        return None
    return Said(code.strip(), str(error.get("message") or "").strip(), status, wait_s)


def kind_of(said: Said) -> Kind:
    """What an error means; unknown codes by their family, then by the HTTP status."""
    found = CODES.get(said.code) or _family(said)
    return _quota(said) if found == "quota" else found


def _family(said: Said) -> Kind:
    if kind := CODES.get(said.code.split(".", 1)[0]):
        return kind
    for pattern, kind in _FAMILIES:
        if re.search(pattern, said.code):
            return kind
    return by_status(said.status)


def _quota(said: Said) -> Kind:
    """A full queue passes in moments; a free quota, or a window of hours, is used up."""
    if _WHILE_QUEUED.search(said.message):
        return "concurrency"
    if said.retry_after_s is not None:
        return "empty" if said.retry_after_s > QUOTA_WAIT_S else "quota"
    used_up = _LAST_WORD.search(said.message) or _LATER.search(said.message)
    return "empty" if used_up else "quota"
