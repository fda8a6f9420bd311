"""What DashScope's image API says, word for word: bodies of answers and errors.

Sources: Model Studio's pages on task management and error codes, recorded traffic of 2024 and
2026 in the cnblogs .NET SDK's tests.
May import: nothing of the package.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from .dashscope_tasks import Task
from .service_time import draw

DAY_S = 86400.0
BEIJING = timezone(timedelta(hours=8))

REFUSALS: Mapping[str, tuple[int, str, str]] = {
    "no-key": (401, "InvalidApiKey", "No API-key provided."),
    "wrong-key": (401, "InvalidApiKey", "Invalid API-key provided."),
    "arrears": (
        400,
        "Arrearage",
        "Access denied, please make sure your account is in good standing.",
    ),
    "free_tier": (
        403,
        "AllocationQuota.FreeTierOnly",
        (
            "The free tier of the model has been exhausted. If you wish to continue access the model on a "
            'paid basis, please disable the "use free tier only" mode in the management console.'
        ),
    ),
    "key": (401, "InvalidApiKey", "Invalid API-key provided."),
    "sync": (403, "AccessDenied", "current user api does not support synchronous calls."),
    "async": (403, "AccessDenied", "current user api does not support asynchronous calls."),
    "path": (400, "InvalidParameter", "url error, please check url!"),
    "model": (400, "InvalidParameter", "Model not exist."),
    "body": (
        400,
        "BadRequest.IllegalInput",
        "Required body invalid, please check the request body format.",
    ),
    "error": (
        500,
        "InternalError",
        "An internal error has occured, please try again later or contact service support.",
    ),
    "algo": (500, "InternalError.Algo", "Receive batching backend response failed!"),
    "busy": (
        503,
        "ModelServingError",
        "Too many requests. Your requests are being throttled due to system capacity limits. Please try again later.",
    ),
    "throttled": (429, "Throttling", "Requests throttling triggered."),
    "rate": (429, "Throttling.RateQuota", "Requests rate limit exceeded, please try again later."),
    "LimitRequests": (429, "LimitRequests", "You exceeded your current requests list."),
    "limit_requests": (429, "limit_requests", "You exceeded your current requests list."),
    "burst": (
        429,
        "Throttling.BurstRate",
        "Request rate increased too quickly. To ensure system stability, please adjust your client logic to scale requests more smoothly over time.",
    ),
    "concurrency": (
        429,
        "Throttling.Concurrency",
        "Too many concurrent requests, please try again later.",
    ),
    "quota": (
        429,
        "Throttling.AllocationQuota",
        "Allocated quota exceeded, please increase your quota limit.",
    ),
    "exhausted": (
        429,
        "Throttling.AllocationQuota",
        "Your plan's quota for the current window is used up; it resets at the end of the window.",
    ),
    "unpaid": (429, "CommodityNotPurchased", "Commodity has not purchased yet."),
    "inspected": (400, "DataInspectionFailed", "Input data may contain inappropriate content. "),
    "cancel": (
        400,
        "UnsupportedOperation",
        "Failed to cancel the task, please confirm if the task is in PENDING status.",
    ),
    "timeout": (500, "RequestTimeOut", "Request timed out, please try again later."),
    "closed": (403, "Model.AccessDenied", "Model access denied."),
    "invalid": (400, "InvalidParameter", "The parameters of the request are not valid."),
    "window": (
        400,
        "InvalidParameter",
        "The time range between start_time and end_time must not exceed 24 hours.",
    ),
    "filter": (400, "InvalidParameter", "The query parameters are not valid."),
    "missing": (404, "NotFound", "Not found."),
}
"""By our word for it: status, code, message. Some messages end in a blank, as the service's do."""

RATE_VARIANTS = ("rate", "throttled", "LimitRequests", "limit_requests")
"""What too fast is called, depending on the layer that refused."""

PLAN_RETRY_S = "1849295"
"""The Retry-After once recorded with an exhausted plan: three weeks."""

_ENDS = {
    "failed": ("InternalError", "An internal error has occured, please try again later."),
    "refused": ("DataInspectionFailed", "Output data may contain inappropriate content."),
    "timeout": ("InternalError.Timeout", "An internal timeout error has occured during execution."),
}


def refusal(word: str, request_id: str, message: str = "") -> dict[str, Any]:
    """The body of an HTTP error, flat or, from the compatible layer, in an envelope."""
    _, code, text = REFUSALS[word]
    if word == "limit_requests":
        return envelope(code, message or text, request_id)
    return {"code": code, "message": message or text, "request_id": request_id}


def envelope(code: str, message: str, request_id: str) -> dict[str, Any]:
    """The error shape of the OpenAI-compatible layer."""
    error = {"message": message, "type": code, "param": None, "code": code}
    return {"error": error, "request_id": request_id}


def beijing(moment: float, milliseconds: bool = True) -> str:
    """A time as the service writes it: Beijing's wall clock, no zone."""
    text = datetime.fromtimestamp(moment, BEIJING).strftime("%Y-%m-%d %H:%M:%S.%f")
    return text[:-3] if milliseconds else text[:-7]


def accepted(task: Task) -> dict[str, Any]:
    """The answer to a create request."""
    return {
        "output": {"task_status": "PENDING", "task_id": task.task_id},
        "request_id": task.request_id,
    }


def unknown(task_id: str, request_id: str) -> dict[str, Any]:
    """The answer for an id that never was or is no more; it comes with HTTP 200."""
    return {"request_id": request_id, "output": {"task_id": task_id, "task_status": "UNKNOWN"}}


def state(
    task: Task, now: float, request_id: str, urls: Sequence[str], original_prompt: bool
) -> dict[str, Any]:
    """The answer to a poll. ``urls`` by picture; only a SUCCEEDED task's are used."""
    status = task.status(now)
    output: dict[str, Any] = {"task_id": task.task_id, "task_status": status}
    body: dict[str, Any] = {"request_id": request_id, "output": output}
    output["submit_time"] = beijing(task.submitted)
    if task.started is not None:
        output["scheduled_time"] = beijing(task.started)
    if status in ("SUCCEEDED", "FAILED") and task.ended is not None:
        # A few answers leave the milliseconds out, as one model's did in 2024.
        output["end_time"] = beijing(task.ended, milliseconds=task.sha[0] != "0")
    if status == "FAILED":
        output["code"], output["message"] = _end(task)
        output["task_metrics"] = _metrics(task, 0, task.n)
    elif status == "SUCCEEDED":
        output.update(_made(task, urls, original_prompt))
        body["usage"] = _usage(task)
    elif task.path == "text2image":
        output["task_metrics"] = _metrics(task, 0, 0)
    return body


def bare(body: dict[str, Any]) -> dict[str, Any]:
    """The same answer without its links; what it counts and charges stays."""
    output = body["output"]
    for result in output.get("results", ()):
        result.pop("url", None)
    for choice in output.get("choices", ()):
        choice["message"]["content"] = []
    return body


def made_at_once(task: Task, urls: Sequence[str]) -> dict[str, Any]:
    """The answer of the synchronous lane."""
    output: dict[str, Any] = {"choices": _choices(task, urls), "finished": True}
    if task.model.startswith("qwen"):
        output = {
            "choices": output["choices"],
            "task_metric": _metrics(task, task.billed, task.n - task.billed),
        }
    return {"output": output, "usage": _usage(task), "request_id": task.request_id}


def _end(task: Task) -> tuple[str, str]:
    return ("InvalidParameter", task.problem) if task.fate == "wrong" else _ENDS[task.fate]


def _metrics(task: Task, succeeded: int, failed: int) -> dict[str, int]:
    return {"TOTAL": task.n, "SUCCEEDED": succeeded, "FAILED": failed}


def _made(task: Task, urls: Sequence[str], original_prompt: bool) -> dict[str, Any]:
    if task.path in ("text2image", "image2image"):
        results = _results(task, urls, original_prompt)
        good = sum("url" in result for result in results)
        return {"results": results, "task_metrics": _metrics(task, good, task.n - good)}
    made: dict[str, Any] = {"finished": True, "choices": _choices(task, urls)}
    return {**made, "orig_prompt": task.prompt} if original_prompt else made


def _results(task: Task, urls: Sequence[str], original_prompt: bool) -> list[dict[str, str]]:
    results: list[dict[str, str]] = []
    broken = task.broken()
    for number in range(task.n):
        if code := broken.get(number):
            results.append(
                {"code": code, "message": "The request was not fulfilled for this picture."}
            )
            continue
        entry: dict[str, str] = {"orig_prompt": task.prompt} if original_prompt else {}
        if task.extend:
            entry["actual_prompt"] = f"{task.cut_prompt}，光线柔和，细节丰富，构图均衡"
        results.append(entry if number in broken else {**entry, "url": urls[number]})
    return results


def _choices(task: Task, urls: Sequence[str]) -> list[dict[str, Any]]:
    broken = task.broken()
    choices = []
    for number in range(task.n):
        if number in broken:
            continue
        part = {"image": urls[number]}
        if not task.model.startswith("qwen"):
            part["type"] = "image"
        message = {"role": "assistant", "content": [part]}
        choices.append({"finish_reason": "stop", "message": message})
    return choices


def _usage(task: Task) -> dict[str, Any]:
    if task.path == "text2image":
        return {"image_count": task.billed}
    if task.model.startswith("qwen"):
        return {"width": task.width, "height": task.height, "image_count": task.billed}
    return {
        "image_count": task.billed,
        "size": task.size,
        "input_tokens": 0,
        "output_tokens": 0,
        "total_tokens": 0,
    }


def listed(task: Task, now: float, region: str) -> dict[str, Any]:
    """A row of the task list: no prompt, no link; times in milliseconds since 1970."""
    row: dict[str, Any] = {
        "task_id": task.task_id,
        "status": task.status(now),
        "model_name": task.model,
        "region": region,
        "request_id": task.request_id,
        "gmt_create": int(task.submitted * 1000),
        "api_key_id": "1",
        "caller_uid": task.account,
        "caller_parent_id": task.account,
        "user_api_unique_key": f"apikey:v1:image:generation:{task.path}:{task.model}",
    }
    if task.started is not None:
        row["start_time"] = int(task.started * 1000)
        if task.ended is not None and task.ended <= now:
            row["end_time"] = int(task.ended * 1000)
    return row


def rate_word(seed: int, number: int) -> str:
    """Which of the names for "too fast" the service uses this time."""
    return RATE_VARIANTS[int(draw(seed, "429", number) * len(RATE_VARIANTS))]


def window(query: Mapping[str, str], now: float) -> tuple[float, float] | str:
    """The time window that a list request asks for, or the refusal's word."""
    try:
        start, end = (_moment(query.get(name)) for name in ("start_time", "end_time"))
        whole(query, "page_no", 1)
        whole(query, "page_size", 10)
    except ValueError:
        return "filter"
    if end is None:
        end = now if start is None else min(now, start + DAY_S)
    if start is None:
        start = end - DAY_S
    return (start, end) if 0 <= end - start <= DAY_S else "window"


def _moment(text: str | None) -> float | None:
    """``YYYYMMDDhhmmss``, Beijing's wall clock. Raises ValueError where it is not."""
    if not text:
        return None
    if len(text) != 14 or not text.isdecimal():
        raise ValueError(text)
    return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=BEIJING).timestamp()


def whole(query: Mapping[str, str], name: str, default: int) -> int:
    """A whole number from 1 on. Raises ValueError where it is none."""
    number = int(query.get(name) or default)
    if not 1 <= number <= 1_000_000:
        raise ValueError(name)
    return number


def between(tasks: Sequence[Task], oldest: float, newest: float) -> Sequence[Task]:
    """The tasks submitted in [oldest, newest]; ``tasks`` are in that order already."""
    first = bisect_left(tasks, oldest, key=lambda task: task.submitted)
    last = bisect_right(tasks, newest, key=lambda task: task.submitted)
    return tasks[first:last]


_FILTERS = ("task_id", "status", "model_name")


def filtered(query: Mapping[str, str]) -> bool:
    """Whether a list request asks for some tasks only."""
    return any(query.get(name) for name in _FILTERS)


def matches(row: Mapping[str, Any], query: Mapping[str, str]) -> bool:
    """Whether a row of the list passes the request's filters."""
    return all(not query.get(name) or query.get(name) == row[name] for name in _FILTERS)


def chatted(body: Mapping[str, Any], words: str, request_id: str) -> dict[str, Any]:
    """A chat answer in OpenAI's shape."""
    message = {"role": "assistant", "content": words}
    return {
        "id": f"chatcmpl-{request_id}",
        "object": "chat.completion",
        "created": 0,
        "model": body.get("model", ""),
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }
