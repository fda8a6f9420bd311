"""The faults of DashScope's emulator, by their names in ``--faults``.

May import: lang.
"""

from __future__ import annotations

from collections.abc import Mapping

from redloom.lang import Text

from .faults import Fault

_BY_RATE = (
    (
        "submit",
        "reset",
        "提交时连接被重置，没有受理",
        "connection reset at submit, before the body is read; nothing accepted",
    ),
    ("submit", "error", "提交得到 500 InternalError", "500 InternalError"),
    ("submit", "busy", "提交得到 503 ModelServingError", "503 ModelServingError"),
    (
        "submit",
        "throttled",
        "提交得到 429（各种叫法的“太快”）",
        "429, one of the names for too fast",
    ),
    (
        "submit",
        "burst",
        "429 Throttling.BurstRate（上升太急）",
        "429 Throttling.BurstRate (rising too quickly)",
    ),
    ("submit", "concurrency", "429 Throttling.Concurrency", "429 Throttling.Concurrency"),
    (
        "submit",
        "quota",
        "429 Throttling.AllocationQuota（一时的）",
        "429 Throttling.AllocationQuota (for the moment)",
    ),
    (
        "submit",
        "exhausted",
        "429 Throttling.AllocationQuota，套餐用完，Retry-After 三周",
        "429 Throttling.AllocationQuota, plan used up, Retry-After of three weeks",
    ),
    ("submit", "unpaid", "429 CommodityNotPurchased", "429 CommodityNotPurchased"),
    (
        "submit",
        "refused",
        "提交得到 400 DataInspectionFailed（用词被拦）",
        "400 DataInspectionFailed (the words)",
    ),
    (
        "submit",
        "closed",
        "提交得到 403 AccessDenied（模型没有开通）",
        "403 AccessDenied: the model is not open to the account",
    ),
    ("submit", "invalid", "提交得到 400 InvalidParameter", "400 InvalidParameter"),
    ("submit", "slow", "受理之前先等 20 秒", "20 s before anything is accepted"),
    (
        "answer",
        "lost",
        "已受理（会计费），回答未到连接就断了",
        "accepted (and billed), then the connection is reset instead of an answer",
    ),
    ("answer", "504", "已受理，回答是网关的 504", "accepted, then a gateway's 504"),
    ("answer", "html", "已受理，回答是代理的 HTML", "accepted, then a proxy's HTML page"),
    ("answer", "empty", "已受理，回答是空的", "accepted, then an empty 200"),
    ("answer", "slow", "已受理，20 秒后才回答", "accepted, answered 20 s later"),
    ("poll", "error", "查询得到 500", "500 on a poll"),
    ("poll", "busy", "查询得到 503", "503 on a poll"),
    ("poll", "throttled", "查询得到 429", "429 on a poll"),
    ("poll", "reset", "查询时连接被重置", "connection reset on a poll"),
    ("poll", "html", "查询得到 HTML", "HTML in the place of the task's state"),
    ("poll", "empty", "查询得到空的回答", "an empty 200"),
    ("poll", "json", "查询得到残缺的 JSON", "JSON of another shape"),
    ("poll", "slow", "查询 20 秒后才回答", "answered 20 s later"),
    (
        "task",
        "failed",
        "任务 FAILED，InternalError，不计费",
        "task FAILED with InternalError, not billed",
    ),
    (
        "task",
        "refused",
        "任务 FAILED，DataInspectionFailed（出图被拦），不计费",
        "task FAILED with DataInspectionFailed (the picture), not billed",
    ),
    (
        "task",
        "timeout",
        "任务拖到时限，FAILED，InternalError.Timeout",
        "task runs into its time limit, FAILED with InternalError.Timeout",
    ),
    (
        "task",
        "partial",
        "n 张里少一张（n 为 1 时同 task_refused）",
        "one of n pictures is missing (with n = 1: as task_refused)",
    ),
    ("task", "empty", "SUCCEEDED，但没有图片", "SUCCEEDED without a picture"),
    (
        "task",
        "late",
        "SUCCEEDED 并计费，头 20 秒没有链接",
        "SUCCEEDED and billed, its links missing in the first 20 s",
    ),
    (
        "task",
        "unknown",
        "受理后的头 10 秒查询得到 UNKNOWN",
        "UNKNOWN in the first 10 s after it was accepted",
    ),
    ("task", "repeat", "n 张里有一个链接出现两次", "of n links one comes twice"),
    ("download", "truncated", "下载到一半断开", "cut off half way"),
    ("download", "length", "Content-Length 只有一半", "a Content-Length of half the file"),
    ("download", "slow", "下载拖 20 秒", "dripping for 20 s"),
    ("download", "html", "200，但内容是 HTML", "200 with an HTML page"),
    ("download", "expired", "403 XML：链接已过期", "403 XML: the link has expired"),
    ("download", "missing", "404 XML", "404 XML"),
    ("download", "reset", "下载时连接被重置", "connection reset"),
    ("download", "error", "下载得到 500", "500"),
    ("list", "error", "列表得到 500", "500 on the task list"),
    ("list", "throttled", "列表得到 429", "429 on the task list"),
    ("list", "reset", "取列表时连接被重置", "connection reset on the task list"),
    ("list", "short", "列表的一页少了几行（total 不变）", "a page lacks rows that total counts"),
    ("cancel", "error", "取消得到 500", "500 on a cancel"),
    ("cancel", "reset", "取消时连接被重置", "connection reset on a cancel"),
    ("picture", "xmp", "图片带 XMP 里的 AIGC 标识", "the picture carries AIGC in XMP"),
    ("picture", "text", "图片带 tEXt 里的 AIGC 标识", "the picture carries AIGC in tEXt"),
    ("picture", "exif", "图片带 Exif 里的 AIGC 标识", "the picture carries AIGC in Exif"),
    ("picture", "c2pa", "图片带 C2PA 的 caBX 块", "the picture carries C2PA's caBX chunk"),
    ("picture", "late", "图片的 XMP 在像素之后", "the picture's XMP comes after its pixels"),
)
_BAD_DOWNLOAD = Text(
    "下载出错：截断、长度不符、HTML、重置、500 之一",
    "a download goes wrong: cut, wrong length, HTML, reset or 500",
)
_FROM = (
    ("arrears", "从第 N 次提交起欠费（400 Arrearage）", "from the Nth submit on: 400 Arrearage"),
    (
        "free_tier",
        "从第 N 次提交起免费额度用完（403 AllocationQuota.FreeTierOnly）",
        "from the Nth submit on: 403 AllocationQuota.FreeTierOnly",
    ),
    (
        "key",
        "从第 N 次提交起密钥失效（401 InvalidApiKey）",
        "from the Nth submit on: 401 InvalidApiKey",
    ),
)
_WINDOWS = (
    ("outage", "时间窗内一切连接都被重置", "every connection is reset in this window"),
    ("down", "时间窗内一切请求得到 503", "every request gets 503 in this window"),
)

FAULTS: Mapping[str, Fault] = {
    **{f"{where}_{what}": Fault(where, what, Text(zh, en)) for where, what, zh, en in _BY_RATE},
    "bad_download": Fault("download", "bad", _BAD_DOWNLOAD),
    **{f"{what}_from": Fault("submit", what, Text(zh, en), "from") for what, zh, en in _FROM},
    **{what: Fault("", what, Text(zh, en), "window") for what, zh, en in _WINDOWS},
}
"""Every fault by its name."""
