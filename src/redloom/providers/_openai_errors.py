"""What the errors of OpenAI's API and its look-alikes mean: tables by vendor, words for relays.

Codes: openai-python and the error guide of developers.openai.com; docs.z.ai api-code (Zhipu);
platform.minimax.io errorcode (MiniMax); docs.siliconflow.cn error-code; openrouter.ai errors;
learn.microsoft.com (Azure). A relay passes on whatever its upstream said, in any of five shapes
and two languages, so that its words are searched where no code is known.

May import: endpoint, lang.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from redloom.endpoint import Answer

from ._voice import Kind, Said, by_status

OPENAI: Mapping[str, Kind] = {
    "invalid_api_key": "key",
    "incorrect_api_key": "key",
    "invalid_organization": "key",
    "account_deactivated": "empty",
    "access_terminated": "empty",
    "billing_not_active": "empty",
    "billing_hard_limit_reached": "empty",
    "insufficient_quota": "empty",
    "rate_limit_exceeded": "rate",
    "requests": "rate",
    "tokens": "rate",
    "slow_down": "burst",
    "server_error": "unavailable",
    "internal_error": "unavailable",
    "api_error": "unavailable",
    "service_unavailable": "unavailable",
    "overloaded_error": "congestion",
    "engine_overloaded": "congestion",
    "moderation_blocked": "content",
    "content_policy_violation": "content",
    "content_filter": "content",
    "contentFilter": "content",
    "image_generation_user_error": "refused",
    "model_not_found": "closed",
    "unsupported_country_region_territory": "closed",
    "permission_denied": "closed",
    "organization_verification_required": "closed",
    "invalid_request_error": "refused",
    "invalid_value": "refused",
    "invalid_type": "refused",
    "invalid_size": "refused",
    "unknown_parameter": "refused",
    "unsupported_parameter": "refused",
    "unsupported_value": "refused",
    "missing_required_parameter": "refused",
    "string_above_max_length": "refused",
    "billing_limit_user_error": "empty",
}
AZURE: Mapping[str, Kind] = {
    "DeploymentNotFound": "closed",
    "ResourceNotFound": "closed",
    "OperationNotSupported": "closed",
    "AccessDenied": "closed",
    "Unauthorized": "key",
    "PermissionDenied": "key",
    "401": "key",
    "403": "closed",
    "404": "closed",
    "429": "rate",
    "TooManyRequests": "rate",
    "InternalServerError": "unavailable",
    "ServiceUnavailable": "unavailable",
    "BadRequest": "refused",
}
ZHIPU: Mapping[str, Kind] = {
    "500": "unavailable",
    **dict.fromkeys(("1000", "1001", "1002", "1003", "1004", "1100"), "key"),
    **dict.fromkeys(("1110", "1111", "1112", "1113", "1121"), "empty"),
    "1120": "unavailable",
    **dict.fromkeys(("1200", "1210", "1213", "1214", "1215", "1261"), "refused"),
    **dict.fromkeys(("1211", "1212", "1220", "1221", "1222"), "closed"),
    **dict.fromkeys(("1230", "1234"), "unavailable"),
    "1231": "lost",
    **dict.fromkeys(("1300", "1301"), "content"),
    "1302": "concurrency",
    "1303": "rate",
    "1304": "empty",
    "1305": "congestion",
    **dict.fromkeys(("1308", "1309", "1310"), "empty"),
}
MINIMAX: Mapping[str, Kind] = {
    "1000": "unavailable",
    "1001": "lost",
    "1002": "rate",
    "1004": "key",
    "1008": "empty",
    "1013": "unavailable",
    "1024": "unavailable",
    "1026": "content",
    "1027": "output",
    "1033": "unavailable",
    "1039": "rate",
    "1041": "concurrency",
    "1042": "refused",
    "2013": "refused",
    "2049": "key",
    "2056": "empty",
    "2061": "closed",
}
SILICONFLOW: Mapping[str, Kind] = {
    "20012": "closed",
    "20015": "refused",
    "30001": "empty",
    "50501": "unavailable",
    "50505": "congestion",
    "50508": "congestion",
}
OPENROUTER: Mapping[str, Kind] = {
    "400": "refused",
    "401": "key",
    "402": "empty",
    "403": "content",
    "408": "unavailable",
    "429": "rate",
    "502": "unavailable",
    "503": "unavailable",
}
RELAY: Mapping[str, Kind] = {
    "insufficient_user_quota": "empty",
    "pre_consume_token_quota_failed": "empty",
    "sensitive_words_detected": "content",
    "prompt_blocked": "content",
    "get_channel_failed": "unavailable",
    "invalid_request": "refused",
    "bad_request_body": "refused",
    "bad_response": "unavailable",
    "bad_response_status_code": "unavailable",
    "channel:response_time_exceeded": "lost",
    "empty_response": "failed",
}
TABLES: Mapping[str, Mapping[str, Kind]] = {
    "azure": {**OPENAI, **AZURE},
    "zhipu": ZHIPU,
    "minimax": MINIMAX,
    "siliconflow": SILICONFLOW,
    "openrouter": OPENROUTER,
    "relay": {**OPENAI, **RELAY},
    "chat-relay": {**OPENAI, **RELAY},
}
"""By vendor; the others go by OpenAI's."""

_VAGUE = frozenset(
    {
        "",
        "invalid_request_error",
        "api_error",
        "error",
        "server_error",
        "upstream_error",
        "new_api_error",
    }
)
"""Types that say nothing by themselves: the words decide."""

_WORDS: tuple[tuple[str, Kind], ...] = (
    (
        r"\b(unknown|unsupported|unrecogni[sz]ed|unexpected|extra)\b.{0,12}\b(parameter|argument|field|input)s?\b|不支持的?参数|未知参数",
        "refused",
    ),
    (r"insufficient.{0,20}(balance|quota|credit|funds)|exceeded your current quota|not enough credit|余额不足|额度(已)?(不足|用尽|用完)|欠费", "empty"),
    (r"\b(incorrect|invalid|wrong|missing|no)\b.{0,12}(api[ _-]?key\b|\btoken\b|credential)|unauthorized|无效的?(令牌|密钥)|令牌(无效|已过期|不存在)|未提供令牌", "key"),
    (r"content.?policy|safety system|moderation|inappropriate|sensitive|nsfw|unsafe|违规|敏感|审核", "content"),
    (r"no available (channel|account|key)|无可用渠道|model.{0,40}(not (found|exist|supported)|does not exist)|模型不存在|must be verified", "closed"),
    (r"(concurren\w+|并发).{0,30}(limit|exceed|high|超|过高)|too many concurrent", "concurrency"),
    (r"rate.?limit|too many requests|requests per|请求(过于)?频繁|速率限制|频率", "rate"),
    (r"overload|capacity|saturat|饱和|负载|繁忙|busy", "congestion"),
    (r"time.?d? ?out|deadline exceeded|超时", "lost"),
)  # fmt: skip
"""For what no table knows, in this order. A parameter may be called ``moderation``, so refused
parameters come first; then money, because a 429 may be an empty account."""

_WAIT = re.compile(
    r"(?:again|retry|wait)\D{0,20}?(?:in|after|for)?\s*(?:(\d+)\s*m(?:in\w*)?\s*)?(\d+(?:\.\d+)?)\s*(ms|s\b|sec)",
    re.IGNORECASE,
)
_WAIT_ZH = re.compile(r"(\d+(?:\.\d+)?)\s*秒")
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)(ms|s))?")


def kinds(vendor: str) -> Callable[[Said], Kind]:
    """How errors of a vendor are read: by its table, by words, by the status."""
    table = TABLES.get(vendor, OPENAI)

    def kind_of(said: Said) -> Kind:
        known = table.get(said.code)
        if known is not None and said.code not in _VAGUE:
            return known
        if worded := _by_words(said.message):
            return "unavailable" if worded == "lost" and 400 <= said.status < 500 else worded
        if known is not None:
            return known
        if said.status < 400:
            return "failed"  # an error in the place of a picture, in plain words
        return "unavailable" if said.status >= 500 else by_status(said.status)

    return kind_of


def _by_words(message: str) -> Kind | None:
    return next((kind for words, kind in _WORDS if re.search(words, message, re.IGNORECASE)), None)


def read(answer: Answer) -> Said | None:
    """The error in an answer, in any of the shapes; None where it says none.

    ``{error: {message, type, code, param}}``, ``{error: "…"}``, ``{code, message}``,
    ``{base_resp: {status_code, status_msg}}``, ``{detail}``, ``{success: false, message}``.
    """
    body = answer.body
    if body is None:
        return None
    found = _in_body(body, answer.status)
    if found is None:
        return None
    wait = wait_s(answer)
    if wait is None:
        wait = _told(found.message)
    return replace(found, retry_after_s=wait)


def parameter_of(answer: Answer) -> str:
    """The parameter that an error names in a field of its own."""
    error = (answer.body or {}).get("error")
    named = error.get("param") if isinstance(error, dict) else ""
    if isinstance(named, str) and named:
        return named
    detail = (answer.body or {}).get("detail")
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        place = detail[0].get("loc")
        return str(place[-1]) if isinstance(place, list) and place else ""
    return ""


def _in_body(body: Mapping[str, Any], status: int) -> Said | None:
    error = body.get("error")
    if isinstance(error, dict):
        return _from_object(error, status)
    if isinstance(error, str) and error:
        return Said(_plain(body.get("code")), error, status)
    base = body.get("base_resp")
    if isinstance(base, dict) and _plain(base.get("status_code")) not in ("", "0"):
        return Said(_plain(base["status_code"]), str(base.get("status_msg") or ""), status)
    if (detail := body.get("detail")) and status >= 400:
        words = detail if isinstance(detail, str) else _first_message(detail)
        return Said("", words, status)
    code, message = _plain(body.get("code")), body.get("message") or body.get("msg")
    wrong = body.get("success") is False or code not in ("", "0", "200", "20000", "success")
    if isinstance(message, str) and message and (wrong or status >= 400):
        return Said(code, message, status)
    return None


def _from_object(error: Mapping[str, Any], status: int) -> Said:
    code = _plain(error.get("code")) or _plain(error.get("type"))
    message = str(error.get("message") or error.get("msg") or "")
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if isinstance(raw, str) and raw and raw not in message:
        message = f"{message}: {raw[:300]}"
    if status < 400 and code.isdecimal() and 400 <= int(code) < 600:
        status = int(code)
    return Said(code, message.strip(), status)


def _plain(value: object) -> str:
    return "" if value is None or isinstance(value, bool | dict | list) else str(value).strip()


def _first_message(detail: object) -> str:
    first = detail[0] if isinstance(detail, list) and detail else detail
    if not isinstance(first, dict):
        return str(first)
    place = first.get("loc")
    name = f"{place[-1]}: " if isinstance(place, list) and place else ""
    return f"{name}{first.get('msg') or first.get('message') or first}"


def wait_s(answer: Answer) -> float | None:
    """Seconds to wait, from the headers: Retry-After, retry-after-ms, x-ratelimit-reset-*."""
    headers = answer.headers
    try:
        return max(0.0, float(headers.get("retry-after-ms", "")) / 1000.0)
    except ValueError:
        pass
    if (told := answer.retry_after_s()) is not None:
        return told
    if answer.status != 429 or headers.get("x-ratelimit-remaining-requests") not in ("0", 0):
        return None
    return duration_s(headers.get("x-ratelimit-reset-requests", ""))


def duration_s(text: str) -> float | None:
    """Seconds of ``6m30s``, ``1s``, ``120ms``; None for anything else."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or not text.strip():
        return None
    hours, minutes, number, unit = match.groups()
    seconds = float(number or 0) / (1000.0 if unit == "ms" else 1.0)
    return 3600.0 * int(hours or 0) + 60.0 * int(minutes or 0) + seconds


def _told(message: str) -> float | None:
    """Seconds from words such as "try again in 12s" or 请 12 秒后再试."""
    if found := _WAIT.search(message):
        minutes, number, unit = found.groups()
        return 60.0 * float(minutes or 0) + float(number) / (1000.0 if unit == "ms" else 1.0)
    if found := _WAIT_ZH.search(message):
        return float(found[1])
    return None
