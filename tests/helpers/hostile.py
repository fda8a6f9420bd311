"""What nobody should send and somebody will: mutated JSON, odd bytes, odd headers, for fuzzing."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

Path = tuple[str | int, ...]
Change = Callable[[Any], Any]

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, -(10**30), 0.5, 1e308,
    float("nan"), float("inf"), float("-inf"),
    "", " ", "0", "nan", "x" * 70_000, "\ud800", "a\x00b", "红围巾", "\u202e", "../../etc/passwd",
    "http://127.0.0.1/", "https://[", "data:image/png;base64,", "data:image/png;base64,AAAA", "{said}{where}",
    "9999-12-31T23:59:59.999999+00:00", "0001-01-01 00:00:00", "2026-13-45", "1" * 5000, "1e999",
    [], {}, [[]], [None], {"": None}, ["x"], {"code": 7}, [1, "x", None, {}], {"url": None},
)  # fmt: skip
"""Values that a field never has, and that a reader has to survive."""

HEADERS: tuple[dict[str, str], ...] = (
    {},
    {"Content-Type": "application/json; charset=bogus"},
    {"Content-Type": "application/json; charset=hex"},
    {"Content-Type": "application/json; charset=utf-16"},
    {"Content-Type": "application/json; charset=idna"},
    {"Content-Type": "text/html"},
    {"Content-Type": ";;;"},
    {"Retry-After": "nan"},
    {"Retry-After": "-5"},
    {"Retry-After": "1e999"},
    {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT", "Date": "yesterday"},
    {"Retry-After": "Fri, 31 Dec 9999 23:59:59 -2359", "Date": "Mon, 01 Jan 0001 00:00:00 +2359"},
    {"retry-after-ms": "nan", "x-ratelimit-reset-requests": "1h1h"},
    {"Location": "http://127.0.0.1/"},
)

STATUSES: tuple[int, ...] = (
    200, 200, 200, 201, 202, 204, 301, 302, 400, 401, 402, 403, 404, 405, 408, 409, 413, 422, 425,
    429, 499, 500, 502, 503, 504, 520, 599,
)  # fmt: skip

PAGES: tuple[bytes, ...] = (
    b"", b" ", b"null", b"true", b"0", b'""', b"[]", b"{}", b"[{}]", b"[[[[", b'{"', b'{"a":',
    b"<html><body><h1>502 Bad Gateway</h1></body></html>", b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}",
    b"\x00" * 64, b"[" * 100_000, b'{"a":' * 50_000, b'{"data":' * 5_000 + b"1" + b"}" * 5_000,
    b'{"output":{"task_id":"t","task_status":"PENDING"}', b"upstream connect error",
    b'{"error":' + b"9" * 5000 + b"}", b'{"a":1}{"b":2}', b'{"code":"\\ud800","message":"\\udfff"}',
)  # fmt: skip
"""Bodies that are no answer, or almost one."""


def paths(value: Any, before: Path = ()) -> list[Path]:
    """The way to every value inside ``value``, itself first."""
    found: list[Path] = [before]
    if isinstance(value, dict):
        for name, inner in value.items():
            found += paths(inner, (*before, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            found += paths(inner, (*before, number))
    return found


def changed(value: Any, path: Path, change: Change) -> Any:
    """A copy of ``value`` with ``change`` applied at the end of ``path``."""
    if not path:
        return change(value)
    head, rest = path[0], path[1:]
    if isinstance(value, dict):
        return {k: changed(v, rest, change) if k == head else v for k, v in value.items()}
    return [changed(v, rest, change) if k == head else v for k, v in enumerate(value)]


def put(value: Any, path: Path, new: Any) -> Any:
    """A copy of ``value`` with ``new`` at the end of ``path``."""
    return changed(value, path, lambda _: new)


def without(value: Any, path: Path) -> Any:
    """A copy of ``value`` that lacks what is at ``path``."""

    def drop(holder: Any) -> Any:
        if isinstance(holder, dict):
            return {k: v for k, v in holder.items() if k != path[-1]}
        return [v for k, v in enumerate(holder) if k != path[-1]]

    return changed(value, path[:-1], drop) if path else None


def other_type(value: Any) -> Any:
    """The same thing as another type has it: a number in words, a text as a list."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int | float):
        return str(value)
    return json.dumps(value)


@st.composite
def mutated(draw: st.DrawFn, real: Any, most: int = 3) -> tuple[Any, list[Path]]:
    """``real`` with one to ``most`` things wrong, and where they are."""
    touched: list[Path] = []
    for _ in range(draw(st.integers(1, most))):
        where = draw(st.sampled_from(paths(real)))
        how = draw(
            st.sampled_from(("replace", "replace", "drop", "type", "rename", "nest", "twice"))
        )
        real = _apply(draw, real, where, how)
        touched.append(where)
    return real, touched


def _apply(draw: st.DrawFn, real: Any, where: Path, how: str) -> Any:
    if how == "drop" and where:
        return without(real, where)
    if how == "type":
        return changed(real, where, other_type)
    if how == "rename" and where and isinstance(where[-1], str):
        moved = at(real, where)
        return changed(without(real, where), where[:-1], lambda d: {**d, f"{where[-1]}_": moved})
    if how == "nest":
        return changed(real, where, lambda value: {"value": value})
    if how == "twice":
        return changed(real, where, lambda value: [value, value])
    return put(real, where, draw(st.sampled_from(ODD)))


def at(value: Any, path: Path) -> Any:
    """What is at the end of ``path``."""
    for step in path:
        value = value[step]
    return value


def json_values(leaves: int = 12) -> st.SearchStrategy[Any]:
    """Any JSON, with names that services use among its keys."""
    names = st.sampled_from(NAMES) | st.text(max_size=5)
    plain = st.sampled_from(ODD) | st.text(max_size=20) | st.integers() | st.floats()
    return st.recursive(
        plain,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=6),
        max_leaves=leaves,
    )


NAMES: Sequence[str] = (
    "output", "task_id", "task_status", "results", "url", "code", "message", "request_id", "usage",
    "image_count", "choices", "content", "image", "data", "b64_json", "error", "type", "param",
    "details", "status", "id", "images", "candidates", "parts", "inlineData", "promptFeedback",
    "finishReason", "prompt_id", "node_errors", "errors", "extra_info", "detail", "msg", "loc",
    "base_resp", "status_code", "status_msg", "metadata", "raw", "retry_after", "total",
    "total_page", "page_size", "gmt_create", "queue_running", "history", "outputs", "messages",
    "info", "seed", "prompt", "input", "urls", "next", "created_at", "logs", "cost", "violations",
)  # fmt: skip


def as_bytes(value: Any) -> bytes:
    """A JSON value as it would come over the line."""
    return json.dumps(value).encode("utf-8", "surrogatepass")


def bodies(real: Sequence[bytes] = ()) -> st.SearchStrategy[bytes]:
    """Bytes that are no answer, any JSON, and real answers cut off or with a byte changed."""
    every = st.sampled_from(PAGES) | st.binary(max_size=200) | json_values().map(as_bytes)
    if not real:
        return every
    return every | st.sampled_from(list(real)).flatmap(_damaged)


def _damaged(real: bytes) -> st.SearchStrategy[bytes]:
    cut = st.integers(0, max(0, len(real) - 1)).map(lambda at: real[:at])
    flipped = st.tuples(st.integers(0, max(0, len(real) - 1)), st.integers(0, 255)).map(
        lambda pair: real[: pair[0]] + bytes([pair[1]]) + real[pair[0] + 1 :]
    )
    return cut | flipped
