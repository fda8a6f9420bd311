"""Reading DashScope's answers: pictures in both shapes, times, the rows of the task list.

Shapes are those of text-to-image-v2-api-reference and manage-asynchronous-tasks, and of recorded
answers (times with and without milliseconds, one address given twice, content without ``type``).

May import: endpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Literal

from redloom.endpoint import Picture, Seen, Times, Told

_BEIJING = timezone(timedelta(hours=8))
State = Literal["queued", "running", "made", "failed", "canceled", "unknown"]
_STATES: dict[str, State] = {
    "PENDING": "queued",
    "RUNNING": "running",
    "SUSPENDED": "queued",
    "SUCCEEDED": "made",
    "FAILED": "failed",
    "CANCELED": "canceled",
}


def request_id(body: Mapping[str, Any]) -> str:
    """The service's own name for one exchange; not the task's id."""
    return text_of(body, "request_id")


def text_of(entry: Mapping[str, Any], name: str) -> str:
    """A field's text, empty where it is missing or something else."""
    value = entry.get(name)
    return value if isinstance(value, str) else ""


def entries_of(output: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """One entry per picture, from either shape, as ``{url, …}`` or ``{code, message}``."""
    found = _objects(output.get("results"))
    for choice in _objects(output.get("choices")):
        found += _from_choice(choice)
    return found


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _from_choice(choice: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A choice's pictures; a text beside them is the prompt as the service rewrote it."""
    message = choice.get("message")
    items = _objects(message.get("content")) if isinstance(message, dict) else [choice]
    rewritten = next((text for item in items if (text := text_of(item, "text"))), "")
    pictures: list[Mapping[str, Any]] = [
        {"url": item["image"], "actual_prompt": rewritten}
        for item in items
        if text_of(item, "image")
    ]
    return [*pictures, *(item for item in items if text_of(item, "code"))]


def pictures_of(entries: Sequence[Mapping[str, Any]]) -> list[Picture]:
    """The pictures that came, each address once: a service was seen to repeat one."""
    found: dict[str, Picture] = {}
    for item in entries:
        url = text_of(item, "url")
        if url and url not in found:
            found[url] = Picture(url, revised_prompt=text_of(item, "actual_prompt"))
    return list(found.values())


def billed(body: Mapping[str, Any]) -> bool | None:
    """Whether the answer counts pictures made, and so charges for them; None: it counts nothing.

    ``usage.image_count`` is what is billed, ``task_metrics`` (singular in a synchronous answer)
    what came; a task that is called a success has made one picture at least.
    """
    output = body.get("output")
    metrics = [output.get(name) for name in _METRICS] if isinstance(output, dict) else []
    for counts, name in (
        (body.get("usage"), "image_count"),
        *((one, "SUCCEEDED") for one in metrics),
    ):
        count = counts.get(name) if isinstance(counts, dict) else None
        if isinstance(count, int | float) and not isinstance(count, bool) and count >= 0:
            return count > 0
    return None


_METRICS = ("task_metrics", "task_metric")


def times_of(output: Mapping[str, Any]) -> Times:
    """A task's own times as Unix seconds."""
    return Times(
        _moment(output.get("submit_time")),
        _moment(output.get("scheduled_time")),
        _moment(output.get("end_time")),
    )


def _moment(text: object) -> float | None:
    """Unix seconds of ``2026-11-24 08:00:00.123`` (with or without the fraction), Beijing time."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=_BEIJING)).timestamp()


def stamp(moment: float) -> str:
    """A moment as the task list's filters want it: Beijing time to the second."""
    return datetime.fromtimestamp(moment, UTC).astimezone(_BEIJING).strftime("%Y%m%d%H%M%S")


def is_row(row: object) -> bool:
    """Whether a member of the list's ``data`` names a task."""
    return isinstance(row, dict) and bool(text_of(row, "task_id"))


def page_count(body: Mapping[str, Any], total: int, rows: int, number: int) -> int:
    """How many pages there are: as told, else from the page size that was really used."""
    told = body.get("total_page")
    if isinstance(told, int):
        return told
    size = body.get("page_size")
    per_page = size if isinstance(size, int) and size > 0 else max(1, rows)
    return -(-total // per_page) if rows else number


def seen_of(row: Mapping[str, Any], start: float, end: float) -> Seen | None:
    """A row of the list of tasks made from ``start`` to ``end``; None where it does not tell when it
    was made, or is days off what was asked for: it might be the one that is looked for.
    """
    created, started, ended = (_epoch(row.get(name)) for name in _ROW_TIMES)
    if created is None or not start - _KEPT_S <= created <= end + _KEPT_S:
        return None
    return Seen(
        id=text_of(row, "task_id"),
        model=text_of(row, "model_name"),
        state=_STATES.get(text_of(row, "status"), "unknown"),
        created=created,
        started=started,
        ended=ended,
    )


_KEPT_S = 3 * 86400.0
"""It keeps a task for one day, in seconds: a list that heeds no window holds none from farther."""
_ROW_TIMES = ("gmt_create", "start_time", "end_time")


def _epoch(value: object) -> float | None:
    """Unix seconds from the list's epoch milliseconds, as a number or its digits."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 20:
        value = int(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return value / 1000.0
    return None


def told_of(body: Mapping[str, Any], name: str) -> Told | None:
    """A model's limits from the list of quotas: the account's, or its workspace's where lower."""
    output = body.get("output")
    rows = _objects(output.get("quotas")) if isinstance(output, dict) else []
    for row in rows:
        if text_of(row, "model") == name:
            kinds = [one for kind in _QUOTAS if isinstance(one := row.get(kind), dict)]
            return Told(
                submit_per_second=_least(map(_rate, kinds)),
                concurrency=_whole(_least(one.get("async_user_concurrency_limit") for one in kinds)),
                waiting=_whole(_least(one.get("async_user_queue_limit") for one in kinds)),
            )  # fmt: skip
    return None


_QUOTAS = ("model_limit", "workspace_limit")


def _rate(limits: Mapping[str, Any]) -> float | None:
    """Requests per second; the period is in seconds, one minute or one."""
    count = _least([limits.get("request_limit")])
    period = _least([limits.get("request_limit_period")])
    return None if count is None else count / (period or 60.0)


def _least(values: Iterable[object]) -> float | None:
    """The smallest of those that are numbers above nothing."""
    known = [
        float(value)
        for value in values
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    ]
    return min(known, default=None)


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
