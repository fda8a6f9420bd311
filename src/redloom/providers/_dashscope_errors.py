"""What DashScope's error codes mean for the money and for the next step: a table and its reading.

Codes: help.aliyun.com/zh/model-studio/error-code (November 2026). An error may sit in an HTTP
body (flat ``{code, message, request_id}``, or an envelope ``{error: {...}}`` from another layer of
the same host), in a FAILED task, or in the place of one picture. The snake_case codes are aliases.
Messages end now and then with a help link or a blank: they are searched, never compared.

May import: errors, lang.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from redloom.errors import (
    AccountEmpty,
    AnswerLost,
    ContentRefused,
    KeyRefused,
    NotAllowed,
    Refused,
    ServiceError,
    TaskFailed,
    Throttled,
    Unavailable,
)
from redloom.lang import Text

Kind = Literal[
    "rate",
    "burst",
    "concurrency",
    "quota",
    "refused",
    "content",
    "key",
    "empty",
    "closed",
    "unavailable",
    "lost",
]
"""``closed``: model, workspace or address not open to this account. ``lost``: perhaps made."""

CODES: dict[str, Kind] = {
    # 400: never as asked
    "InvalidParameter": "refused",
    "InvalidParameter.DataInspection": "content",
    "BadRequest": "refused",
    "BadRequest.EmptyInput": "refused",
    "BadRequest.EmptyParameters": "refused",
    "BadRequest.EmptyModel": "closed",
    "BadRequest.IllegalInput": "refused",
    "BadRequest.InputDownloadFailed": "refused",
    "BadRequest.TooLarge": "refused",
    "InvalidURL": "refused",
    "InvalidURL.Timeout": "refused",
    "InvalidURL.ConnectionRefused": "refused",
    "UnsupportedOperation": "refused",
    "DataInspectionFailed": "content",
    "data_inspection_failed": "content",
    "IPInfringementSuspect": "content",
    "FaqRuleBlocked": "content",
    "CustomRoleBlocked": "content",
    "Arrearage": "empty",
    "ServiceUnavailableError": "unavailable",
    # the envelope's own words
    "invalid_request_error": "refused",
    "invalid_parameter_error": "refused",
    "invalid_api_key": "key",
    "access_denied": "closed",
    "model_not_found": "closed",
    "internal_error": "unavailable",
    # 401
    "InvalidApiKey": "key",
    "NOT AUTHORIZED": "key",
    # 403
    "AccessDenied": "closed",
    "AccessDenied.Unpurchased": "closed",
    "Model.AccessDenied": "closed",
    "Workspace.AccessDenied": "closed",
    "AllocationQuota.FreeTierOnly": "empty",
    # 404
    "ModelNotFound": "closed",
    "WorkSpaceNotFound": "closed",
    "NotFound": "closed",
    # 409
    "Conflict": "refused",
    # 429
    "Throttling": "rate",
    "Throttling.RateQuota": "rate",
    "LimitRequests": "rate",
    "limit_requests": "rate",
    "Throttling.BurstRate": "burst",
    "limit_burst_rate": "burst",
    "Throttling.AllocationQuota": "quota",
    "insufficient_quota": "quota",
    "Throttling.Concurrency": "concurrency",
    "CommodityNotPurchased": "empty",
    "PrepaidBillOverdue": "empty",
    "PostpaidBillOverdue": "empty",
    "BudgetLimitExceeded": "empty",
    # 500
    "InternalError": "unavailable",
    "InternalError.Algo": "unavailable",
    "InternalError.FileUpload": "unavailable",
    "InternalError.Upload": "unavailable",
    "InternalError.Timeout": "lost",
    "SystemError": "unavailable",
    "ModelServiceFailed": "unavailable",
    "RewriteFailed": "unavailable",
    "RequestTimeOut": "lost",
    # 503
    "ModelServingError": "unavailable",
    "ModelUnavailable": "unavailable",
}

_BY_STATUS: dict[int, Kind] = {401: "key", 403: "closed", 404: "closed", 429: "rate"}
_BILL = re.compile(r"bill|overdue|purchase|budget|arrear|freetier", re.IGNORECASE)
_WRONG_PLACE = re.compile(r"model not exist|url error|model .*(not found|not exist)", re.IGNORECASE)
_OUTPUT = re.compile(r"output|输出", re.IGNORECASE)
_USED_UP = re.compile(r"exhaust|used up|will reset|resets? (at|on)|用尽|用完|耗尽", re.IGNORECASE)
_CONGESTED = re.compile(r"too many requests|throttl|capacity", re.IGNORECASE)
_SECONDS = re.compile(
    r"(?:again|retry|reset)\w*\s+(?:in|after)\s+(?:(\d+)\s*m(?:in\w*)?\s*)?(\d+(?:\.\d+)?)\s*(ms|s)",
    re.IGNORECASE,
)
_SECONDS_ZH = re.compile(r"(\d+(?:\.\d+)?)\s*秒(?:钟)?(?:之?后)")

QUOTA_WAIT_S = 15 * 60.0
"""A quota that opens again within this is a rate; beyond, a plan used up (1 849 295 s was seen)."""


@dataclass(frozen=True, slots=True)
class Said:
    """An error in the service's own words. ``retry_after_s`` in nominal seconds, if told."""

    code: str
    message: str = ""
    request_id: str = ""
    status: int = 0
    """The HTTP status it came with; 0 inside a task."""
    retry_after_s: float | None = None

    def __post_init__(self) -> None:
        # Whatever length came: the journal keeps it, people read it.
        object.__setattr__(self, "code", self.code[:120])
        object.__setattr__(self, "message", self.message[:600])


def said(body: Mapping[str, Any] | None, status: int, header_s: float | None) -> Said | None:
    """The error in an HTTP body, flat or in an envelope; None where the service said none.

    ``header_s`` is the Retry-After header; without it the body and the message are searched.
    """
    if body is None:
        return None
    inner = body.get("error")
    holder = inner if isinstance(inner, dict) else body
    code = holder.get("code") or (holder.get("type") if holder is inner else None)
    if not isinstance(code, str) or not code.strip():
        return None
    message = str(holder.get("message") or "").strip()
    wait = header_s if header_s is not None else _told(holder, message)
    return Said(code.strip(), message, str(body.get("request_id") or "")[:120], status, wait)


def kind_of(error: Said) -> Kind:
    """What an error means. Codes that the table lacks are read by family, then by status.

    An unknown error outside 400-499 counts as perhaps made: a doubt costs less than a second
    picture.
    """
    found = CODES.get(error.code) or _family(error)
    match found:
        case "quota" if _used_up(error):
            return "empty"
        case "refused" if _WRONG_PLACE.search(error.message):
            return "closed"
    return found


def submit_error(error: Said, where: Text, region_hint: Text) -> ServiceError:
    """What to raise for a create call that was answered with ``error``; nothing was accepted.

    ``where`` names host and region, ``region_hint`` says to whom else the key may belong.
    """
    words = _Words(error, where)
    match kind_of(error):
        case "lost":
            return words.make(AnswerLost, _LOST)
        case "unavailable" if _CONGESTED.search(error.message) and error.status == 503:
            return _throttled(error, words, "congestion")
        case "unavailable":
            zh, en = words.filled(_UNAVAILABLE)
            return Unavailable(zh, en, retry_after_s=error.retry_after_s, service_code=error.code)
        case "content":
            return _content(error, words, error.message)
        case "key":
            return words.make(KeyRefused, Text(_KEY.zh + region_hint.zh, _KEY.en + region_hint.en))
        case "empty":
            return words.make(AccountEmpty, _EMPTY)
        case "closed":
            return words.make(NotAllowed, _CLOSED)
        case "refused":
            return words.make(Refused, _REFUSED)
        case "rate" | "burst" | "concurrency" | "quota" as kind:
            return _throttled(error, words, kind)


def task_error(error: Said, where: Text) -> ServiceError:
    """What became of an accepted task, or of one of its pictures, that ended with ``error``.

    A failed picture is not billed (model-pricing), so that a try after it is no second payment.
    """
    kind = kind_of(error) if error.code in CODES or _is_family(error.code) else "unavailable"
    words = _Words(error, where)
    if kind in ("unavailable", "lost"):
        return words.make(TaskFailed, _TASK_FAILED)
    if kind == "content":
        # Words are inspected before a task starts, so what names neither side was the picture.
        only_input = "input" in error.message.lower() and not _OUTPUT.search(error.message)
        return _content(error, words, "" if only_input else "output")
    return submit_error(error, where, Text("", ""))


@dataclass(frozen=True, slots=True)
class _Words:
    """An error's words filled into our sentences; the service's own are quoted as they are."""

    error: Said
    where: Text

    def filled(self, text: Text) -> Text:
        quoted = f"{self.error.code}: {self.error.message}".rstrip(": ")
        return Text(
            text.zh.replace("{where}", self.where.zh).replace("{said}", quoted),
            text.en.replace("{where}", self.where.en).replace("{said}", quoted),
        )

    def make(self, kind: type[ServiceError], text: Text) -> ServiceError:
        zh, en = self.filled(text)
        return kind(zh, en, service_code=self.error.code)


_LOST = Text(
    "{where}没有给出结果（{said}）；图可能已经生成并计费，先核对，不会重复提交。",
    "{where} gave no result ({said}); the picture may be made and billed, so it is looked for "
    "before anything is sent again.",
)
_UNAVAILABLE = Text(
    "{where}暂时不能服务（{said}）；没有花钱，稍后再试。",
    "{where} cannot serve just now ({said}); nothing was spent, it is asked again later.",
)
_KEY = Text(
    "{where}不认这个密钥（{said}）；没有花钱。",
    "{where} did not accept the key ({said}); nothing was spent. ",
)
_EMPTY = Text(
    "{where}说账户不能再用：欠费、套餐或免费额度用完（{said}）；没有花钱。请到控制台处理后再 resume。",
    "{where} says that the account cannot go on: arrears, or a plan or free quota used up "
    "({said}); nothing was spent. Settle it in the console, then resume.",
)
_CLOSED = Text(
    "{where}不向这个账户开放该模型、业务空间或地址（{said}）；没有花钱。请核对模型名、地域和权限。",
    "{where} does not open this model, workspace or address to the account ({said}); nothing was "
    "spent. Check the model's name, the region and the permissions.",
)
_REFUSED = Text(
    "{where}不接受这个请求（{said}）；没有花钱，请改提示词或参数。",
    "{where} does not accept the request ({said}); nothing was spent. Change the prompt or its "
    "parameters.",
)
_CONTENT = Text(
    "{where}的内容审核没有通过（{said}）；没有花钱，请改写提示词。",
    "{where} refused the content ({said}); nothing was spent. Reword the prompt.",
)
_THROTTLED = Text(
    "{where}要求放慢（{said}）；没有花钱，等一等自动继续。",
    "{where} asks to slow down ({said}); nothing was spent, it goes on by itself.",
)
_TASK_FAILED = Text(
    "{where}接受了任务但没有做成（{said}）；失败不计费。",
    "{where} took the task but failed to make the picture ({said}); failures are not billed.",
)


def _content(error: Said, words: _Words, message: str) -> ServiceError:
    zh, en = words.filled(_CONTENT)
    may_pass = CODES.get(error.code) == "content" and bool(_OUTPUT.search(message))
    if error.code in ("IPInfringementSuspect", "FaqRuleBlocked", "CustomRoleBlocked"):
        may_pass = False
    return ContentRefused(zh, en, other_seed_may_pass=may_pass, service_code=error.code)


def _throttled(error: Said, words: _Words, kind: Throttled.Kind) -> ServiceError:
    zh, en = words.filled(_THROTTLED)
    wait = error.retry_after_s
    if wait is not None:
        wait = min(wait, QUOTA_WAIT_S)
    return Throttled(zh, en, kind=kind, retry_after_s=wait, service_code=error.code)


def _used_up(error: Said) -> bool:
    if error.retry_after_s is not None:
        return error.retry_after_s > QUOTA_WAIT_S
    return bool(_USED_UP.search(error.message))


def _is_family(code: str) -> bool:
    return code.split(".", 1)[0] in CODES or code.startswith("Throttling")


def _family(error: Said) -> Kind:
    if _BILL.search(error.code):
        return "empty"
    if error.code.startswith("Throttling"):
        return "rate"
    if parent := CODES.get(error.code.split(".", 1)[0]):
        return parent
    if error.status >= 500 or error.status < 400:
        return "lost"
    return _BY_STATUS.get(error.status, "refused")


def _told(holder: Mapping[str, Any], message: str) -> float | None:
    """Seconds to wait from a body's field, or from words such as "try again in 52 s"."""
    for name in ("retry_after", "retryAfter"):
        value = holder.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return float(value)
    if found := _SECONDS.search(message):
        minutes, number, unit = found.groups()
        return 60.0 * float(minutes or 0) + float(number) / (1000.0 if unit == "ms" else 1.0)
    if found := _SECONDS_ZH.search(message):
        return float(found[1])
    return None
