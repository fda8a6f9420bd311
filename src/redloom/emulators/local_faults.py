"""The faults of servers on one's own machine, which ComfyUI and the web UI share.

May import: lang.
"""

from __future__ import annotations

from collections.abc import Mapping

from redloom.lang import Text

from .contract import standard
from .faults import Fault
from .server import HTML

SLOW_S = 20.0
NO: Mapping[str, int] = {"error": 500, "busy": 503, "throttled": 429}
"""What a proxy in front answers, by fault."""
LOST: Mapping[str, tuple[str, int, str]] = {
    "504": ("upstream request timeout", 504, "text/plain"),
    "html": (HTML, 502, "text/html"),
    "empty": ("", 200, "application/json"),
}
"""What comes in the place of the answer to an accepted request."""


def faults_of(*places: str) -> Mapping[str, Fault]:
    """The standard faults at these places, without those of services that take money."""
    without = {"submit_unpaid", "submit_refused", "task_refused"}
    return {
        **{name: fault for name, fault in standard(*places).items() if name not in without},
        "submit_slow": Fault(
            "submit", "slow", Text("受理之前先等 20 秒", "20 s before anything is accepted")
        ),
        "task_memory": Fault("task", "memory", Text("显存不够", "out of GPU memory")),
        "key_from": Fault(
            "submit",
            "key",
            Text("从第 N 次提交起登录失效（401）", "from the Nth submit on: 401"),
            "from",
        ),
        "outage": Fault(
            "",
            "outage",
            Text("时间窗内一切连接都被重置", "every connection is reset in this window"),
            "window",
        ),
        "down": Fault(
            "",
            "down",
            Text("时间窗内一切请求得到 503", "every request gets 503 in this window"),
            "window",
        ),
    }
