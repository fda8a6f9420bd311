"""What is said when a request cannot be served, in the shape that OpenAI's clients read.

May import: errors, lang.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from redloom.errors import (
    AccountEmpty,
    ContentRefused,
    MissingExtra,
    RedloomError,
    Refused,
    ServiceError,
    Throttled,
    Usage,
    WorkspaceError,
    WouldOverwrite,
)
from redloom.lang import Text

log = logging.getLogger("redloom.studio")


class Problem(HTTPException):
    """A request that is not served. It passes through FastAPI's own body reading unharmed."""

    def __init__(
        self,
        status: int,
        code: str,
        text: Text,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        spent: str = "no",
    ) -> None:
        super().__init__(status, code, dict(headers or {}))
        self.code, self.text, self.kind, self.param, self.spent = code, text, kind, param, spent

    def response(self) -> Response:
        """As it is sent."""
        body = error_body(str(self.text), self.kind, self.code, self.param, self.spent)
        return JSONResponse(body, self.status_code, headers=dict(self.headers or {}))


def error_body(
    message: str, kind: str, code: str, param: str | None = None, spent: str = "no"
) -> dict[str, Any]:
    """``{"error": {…}}``."""
    error = {"message": message, "type": kind, "code": code, "param": param, "spent": spent}
    return {"error": error}


def not_found(zh: str, en: str, code: str = "not_found") -> Problem:
    """404."""
    return Problem(404, code, Text(zh, en))


def wrong(param: str, zh: str, en: str, code: str = "invalid_value") -> Problem:
    """422: something in the request is wrong."""
    return Problem(422, code, Text(zh, en), param=param)


def too_many(zh: str, en: str, wait_s: float, code: str = "rate_limit_exceeded") -> Problem:
    """429, with the seconds to wait."""
    headers = {"Retry-After": str(max(1, math.ceil(wait_s)))}
    return Problem(429, code, Text(zh, en), kind="rate_limit_error", headers=headers)


def of_error(error: RedloomError) -> Problem:
    """The answer for one of our own errors."""
    status, kind, code = _KINDS[
        next(one for one in type(error).__mro__ if one in _KINDS)  # RedloomError is in it
    ]
    headers = {}
    if isinstance(error, Throttled):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s or 1)))
    return Problem(
        status, code or error.code, error.text, kind=kind, headers=headers, spent=error.spent
    )


_KINDS: dict[type, tuple[int, str, str]] = {
    WouldOverwrite: (409, "invalid_request_error", ""),
    MissingExtra: (501, "invalid_request_error", ""),
    Usage: (422, "invalid_request_error", ""),
    ContentRefused: (400, "image_generation_user_error", "content_policy_violation"),
    Refused: (400, "image_generation_user_error", ""),
    Throttled: (429, "rate_limit_error", "rate_limit_exceeded"),
    AccountEmpty: (402, "insufficient_quota", "insufficient_quota"),
    ServiceError: (502, "server_error", ""),
    WorkspaceError: (503, "server_error", ""),
    RedloomError: (500, "server_error", ""),
}


def install(app: FastAPI) -> None:
    """Every error that a route raises leaves in one shape."""

    async def ours(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RedloomError)
        return of_error(error).response()

    async def http(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if isinstance(error, Problem):
            return error.response()
        body = error_body(str(error.detail), "invalid_request_error", _CODES.get(error.status_code, "error"))  # fmt: skip
        return JSONResponse(body, error.status_code, headers=dict(error.headers or {}))

    async def invalid(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _invalid(error).response()

    async def accident(request: Request, error: Exception) -> Response:
        log.error("%s %s", request.method, request.url.path, exc_info=error)
        return accident_response()

    app.add_exception_handler(RedloomError, ours)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, accident)


def accident_response() -> Response:
    """500, saying nothing of the inside."""
    text = Text(
        "服务内部出错，已写进日志；已付款的都在账上。",
        "An internal error; the log has it. What is paid for is on record.",
    )
    return JSONResponse(error_body(str(text), "server_error", "internal", spent="maybe"), 500)


_CODES = {404: "not_found", 405: "method_not_allowed", 400: "bad_request", 413: "too_large"}


_WRONG = {
    "missing": "缺了这一项", "list_type": "要是一个列表", "string_type": "要是文字",
    "int_parsing": "要是整数", "int_type": "要是整数", "int_from_float": "要是整数",
    "float_parsing": "要是数字", "float_type": "要是数字", "bool_parsing": "要是 true 或 false",
    "dict_type": "要是一个对象", "model_attributes_type": "要是一个对象", "json_invalid": "不是 JSON",
    "greater_than_equal": "不能小于 {ge}", "less_than_equal": "不能大于 {le}", "greater_than": "要大于 {gt}",
    "string_too_long": "最多 {max_length} 个字", "string_too_short": "至少 {min_length} 个字",
    "too_long": "最多 {max_length} 项", "too_short": "至少 {min_length} 项",
    "literal_error": "要是 {expected} 之一", "string_pattern_mismatch": "写法不对",
}  # fmt: skip
"""What pydantic finds wrong, by its type, for readers of Chinese (docs.pydantic.dev, errors)."""


def _invalid(error: RequestValidationError) -> Problem:
    first: Mapping[str, Any] = next(iter(error.errors()), {})
    where = ".".join(str(part) for part in first.get("loc", ()) if part != "body")
    said = str(first.get("msg", ""))
    kind = str(first.get("type", ""))
    zh = _WRONG.get(kind, said).format(**first.get("ctx") or {}) if kind in _WRONG else said
    return Problem(
        422,
        "invalid_value",
        Text(f"请求里的 {where or '内容'} 不对：{zh}", f"{where or 'The body'} is wrong: {said}"),
        param=where or None,
    )
