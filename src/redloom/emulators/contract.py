"""What a stand-in must offer so that `conformance` can try a provider against it.

A module of this room (or of another package) with the provider's name, holding::

    Emulated        a dataclass of settings, those among them that the suite sets
    Emulator        a class: Emulator(settings, clock), see `Emulator` below
    FAULTS          what can go wrong, by name; `standard` gives the names that the suite uses
    parse_faults    reads ``--faults``: ``partial(faults.parse, known=FAULTS)``
    VARIANTS        optional: several of it, such as one for each model that differs

The suite sets ``faults``; ``keys``, which maps each good key to its account (a keyless service may
leave it out); ``latency``, a `service_time.ServiceTime`; ``submit_per_second`` and ``concurrency``, 0
for no limit, and ``over``, ``queue`` or ``reject`` (not in one that is never too busy).

Its pictures are drawn by `pictures.picture`, so that a finished file tells whose prompt it is of,
and everything accepted goes into its `ledger.Ledger` at the moment when it is bought.

May import: lang.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from redloom.lang import Text

from .faults import Fault
from .ledger import Ledger


class Emulator(Protocol):
    """A stand-in that runs. ``ledger.counts`` counts requests by kind; ``submit`` is one."""

    ledger: Ledger

    async def start(self) -> str:
        """Listen on a free local port; returns the base URL that the provider is given."""

    async def stop(self) -> None:
        """Close the port. Safe to call twice."""


async def serve_until_cancelled(
    emulator: Emulator, ready: Callable[[str], None] = lambda url: None
) -> None:
    """Run an emulator; ``ready`` is told its base URL."""
    ready(await emulator.start())
    try:
        await asyncio.Event().wait()
    finally:
        await emulator.stop()


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to set up the service, and the endpoint that goes with it."""

    model: str = ""
    """Empty: the provider's default."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Fields of ``Emulated``."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The endpoint's options."""
    region: str = ""


_STANDARD = (
    ("submit", "reset", "提交时连接被重置，没有受理", "connection reset at submit; nothing accepted"),
    ("submit", "error", "提交得到服务自己的 500，没有受理", "the service's own 500 at submit; nothing accepted"),
    ("submit", "busy", "提交得到 503，没有受理", "503 at submit; nothing accepted"),
    ("submit", "throttled", "提交得到“太快”", "refused as too fast"),
    ("submit", "unpaid", "欠费、额度用完", "the account is empty"),
    ("submit", "closed", "模型没有对这个账户开放", "the model is not open to the account"),
    ("submit", "invalid", "参数不对", "the parameters are not accepted"),
    ("submit", "refused", "用词被拦", "moderation refuses the words"),
    ("answer", "lost", "已受理（会计费），回答未到连接就断了", "accepted (and billed), then the connection breaks instead of an answer"),
    ("answer", "504", "已受理，回答是网关的 504", "accepted, then a gateway's 504"),
    ("answer", "html", "已受理，回答是代理的 HTML", "accepted, then a proxy's HTML page"),
    ("answer", "empty", "已受理，回答是空的 200", "accepted, then an empty 200"),
    ("poll", "error", "查询得到 500", "500 on a poll"),
    ("poll", "busy", "查询得到 503", "503 on a poll"),
    ("poll", "throttled", "查询得到 429", "429 on a poll"),
    ("poll", "reset", "查询时连接被重置", "connection reset on a poll"),
    ("poll", "html", "查询得到 HTML", "HTML in the place of the task's state"),
    ("poll", "empty", "查询得到空的回答", "an empty 200 on a poll"),
    ("task", "failed", "受理后没有做成，不计费", "accepted, ends without a picture, not billed"),
    ("task", "refused", "出图被拦，不计费", "moderation refuses the picture, not billed"),
    ("task", "empty", "说成功，但没有图", "called a success, but there is no picture"),
    ("download", "truncated", "下载到一半断开", "cut off half way"),
    ("download", "html", "200，但内容是 HTML", "200 with an HTML page"),
    ("download", "expired", "链接已过期", "the link has expired"),
    ("download", "reset", "下载时连接被重置", "connection reset"),
    ("download", "error", "下载得到 500", "500"),
    ("picture", "broken", "直接给出的图是坏的", "the bytes handed over are no whole picture"),
)  # fmt: skip
"""By place and kind. ``picture`` is for services that hand over bytes, ``download`` for links,
``poll`` for those with an asynchronous lane."""


def standard(*places: str) -> dict[str, Fault]:
    """The suite's faults at these places (all of them without any), by name: ``submit_reset``, …"""
    return {
        f"{where}_{what}": Fault(where, what, Text(zh, en))
        for where, what, zh, en in _STANDARD
        if not places or where in places
    }
