"""The faults that every emulated service has, by the names in ``--faults``.

They are called as DashScope's are, so that one script of mishaps can be played against any
service; what a service does not have (a poll, a list, a link) it leaves out.
May import: lang.
"""

from __future__ import annotations

from collections.abc import Mapping

from redloom.lang import Text

from .contract import standard
from .dashscope_faults import FAULTS as DASHSCOPE
from .faults import Fault

_SUBMIT = (
    ("concurrency", "429，同时太多", "429, too many at once"),
    ("quota", "429，一时的额度", "429, a quota for the moment"),
    ("exhausted", "免费额度用完", "the free quota is used up"),
)
_FROM = (
    ("arrears", "从第 N 次提交起余额用完", "from the Nth submit on: no credit left"),
    ("key", "从第 N 次提交起密钥失效", "from the Nth submit on: the key is no longer accepted"),
)
SUBMIT_WORDS = {
    "error": "error",
    "busy": "busy",
    "throttled": "rate",
    "concurrency": "concurrency",
    "quota": "quota",
    "exhausted": "exhausted",
    "unpaid": "arrears",
    "closed": "model",
    "invalid": "parameter",
    "refused": "words",
}
"""What is refused, by the fault's word, in the words of `ShopEmulator.refuse`."""


def _kept(*starts: str) -> dict[str, Fault]:
    """DashScope's faults whose names begin so: they are about the wire, not about the service."""
    return {name: fault for name, fault in DASHSCOPE.items() if name.startswith(starts)}


def _named(where: str, table: tuple[tuple[str, str, str], ...]) -> dict[str, Fault]:
    return {f"{where}_{what}": Fault(where, what, Text(zh, en)) for what, zh, en in table}


COMMON: Mapping[str, Fault] = {
    **standard("submit", "answer", "task"),
    **_kept("submit_slow", "answer_slow"),
    **_named("submit", _SUBMIT),
    **_kept("picture_"),
    **{f"{what}_from": Fault("submit", what, Text(zh, en), "from") for what, zh, en in _FROM},
    "outage": DASHSCOPE["outage"],
    "down": DASHSCOPE["down"],
}
"""The faults of every service."""

LINKS: Mapping[str, Fault] = _kept("download_", "bad_download")
"""The faults of pictures that lie behind links."""

INLINE: Mapping[str, Fault] = standard("picture")
"""The faults of pictures that come inside an answer."""

QUEUED: Mapping[str, Fault] = {
    **standard("poll"),
    **_kept("poll_json", "poll_slow", "cancel_"),
    "task_unknown": Fault(
        "task",
        "unknown",
        Text("受理后的头 10 秒查询得到 404", "404 on polls in the first 10 s after acceptance"),
    ),
}
"""The faults of a queue's task calls."""

LISTS: Mapping[str, Fault] = _kept("list_error", "list_throttled", "list_reset")
"""The faults of a list of tasks."""
