"""A run as a person watches it: one line on a terminal, plain lines in a pipe, JSON for programs.

Watchers of `events.Stream`: they see records and nothing else, and a slow terminal slows no run.

May import: eta, lang, clock, events.
"""

from __future__ import annotations

import json as jsonlib
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from .eta import Eta
from .events import (
    Advanced,
    Done,
    Doubtful,
    Ended,
    Event,
    Held,
    Money,
    Note,
    Retrying,
    Started,
    Stopped,
    Submitted,
)
from .lang import Text

if TYPE_CHECKING:
    from rich.live import Live

EVERY_S = 5.0
"""Real seconds between two plain lines of a pipe, at first; later a thirtieth of the time so far."""
REMARKS = 20
"""Rows not made that a pipe is told one by one; the end of the run and the manifest name them."""
RECENT = 50
"""Outcomes that the speed is measured over."""


def watcher(
    *, json: bool = False, quiet: bool = False, wanted: int = 0, plain: bool = False
) -> Callable[[Event], None]:
    """The watcher that fits: JSON Lines on stdout, nothing, a live line, or plain lines.

    ``wanted``: pictures of the run, where the engine does not yet know them all. ``plain``: no
    live line even on a terminal, since log lines are written between.
    """
    if json:
        return JsonLines(sys.stdout)
    if quiet:
        return _nothing
    tally = Tally(eta=Eta(total=wanted), wanted=wanted)
    return LiveLine(tally) if sys.stderr.isatty() and not plain else PlainLines(sys.stderr, tally)


def _nothing(_event: Event) -> None:
    return None


@dataclass
class JsonLines:
    """Every event as one line of JSON."""

    out: TextIO

    def __call__(self, event: Event) -> None:
        line = jsonlib.dumps(event.record(), ensure_ascii=False, default=str)
        self.out.write(line + "\n")
        self.out.flush()


@dataclass
class Tally:
    """What has happened in the runs watched so far."""

    eta: Eta = field(default_factory=Eta)
    wanted: int = 0
    total: int = 0
    done: int = 0
    good: int = 0
    bad: int = 0
    doubts: int = 0
    bills: dict[str, float] = field(default_factory=dict)
    """What each run has cost: as the engine tells, else added up from the outcomes."""
    cap: float | None = None
    currency: str = ""
    held_until: float = 0.0
    now: float = 0.0
    began: float | None = None
    flying: set[tuple[str, int, int]] = field(default_factory=set)
    making: dict[tuple[str, int, int], float] = field(default_factory=dict)
    """How far each picture is whose service says so, 0 to 1."""
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    _told: set[str] = field(default_factory=set)

    @property
    def spent(self) -> float:
        """Of all runs watched."""
        return sum(self.bills.values())

    def see(self, event: Event) -> None:
        """Take one record into account."""
        self.now = max(self.now, event.at)
        self.eta.see(event)
        if isinstance(event, Started):
            self.total = max(self.total + event.total, self.wanted)
            self.done += event.done
            self.began = event.at if self.began is None else self.began
        elif isinstance(event, Submitted):
            self.flying.add((event.run, event.row, event.take))
        elif isinstance(event, Advanced):
            self.making[event.run, event.row, event.take] = event.fraction
        elif isinstance(event, Retrying):
            self.making.pop((event.run, event.row, event.take), None)
        elif isinstance(event, Done):
            self._finished(event)
        elif isinstance(event, Held):
            self.held_until = event.until
        elif isinstance(event, Money):
            self.cap, self.currency = event.cap, event.currency
            self.bills[event.run] = event.spent
            self._told.add(event.run)
        elif isinstance(event, Doubtful):
            self.doubts += 1

    def _finished(self, event: Done) -> None:
        self.flying.discard((event.run, event.row, event.take))
        self.making.pop((event.run, event.row, event.take), None)
        self.done += 1
        self.good += event.status in ("ok", "duplicate")
        self.bad += event.status not in ("ok", "duplicate")
        if event.price and event.run not in self._told:
            self.bills[event.run] = self.bills.get(event.run, 0.0) + event.price
            self.currency = event.currency
        if event.status not in _NOBODY_WORKED:
            self.recent.append(event.at)

    def per_minute(self) -> float | None:
        """Pictures a nominal minute over the recent ones; None while too few are known."""
        if len(self.recent) < 3 or self.recent[-1] - self.recent[0] < 1.0:
            return None
        return (len(self.recent) - 1) * 60 / (self.recent[-1] - self.recent[0])

    def eta_s(self) -> float | None:
        """Nominal seconds until the end; None while unknown."""
        if (left := self.eta.left_s()) is not None:
            return left
        speed = self.per_minute()
        return None if not speed else max(0.0, (self.total - self.done) * 60 / speed)

    def _far(self) -> str:
        """How far those are, on the average, of which it is known; local pictures take long."""
        known = self.making.values()
        return f" ({sum(known) / len(known):.0%})" if known else ""

    def line(self) -> str:
        """One line with everything a person asks first."""
        parts = [f"{self.done}/{max(self.total, self.done)}"]
        if self.bad:
            parts.append(str(Text(f"未成 {self.bad}", f"{self.bad} not made")))
        if flying := len(self.flying | self.making.keys()):
            far = self._far()
            parts.append(str(Text(f"在途 {flying}{far}", f"{flying} in flight{far}")))
        if self.held_until - self.now > 1:
            wait = clock_text(self.held_until - self.now)
            parts.append(str(Text(f"等配额 {wait}", f"waiting for quota {wait}")))
        speed, eta = self.per_minute(), self.eta_s()
        if speed:
            parts.append(str(Text(f"{speed:.1f} 张/分", f"{speed:.1f}/min")))
        if eta:
            parts.append(str(Text(f"还要 {clock_text(eta)}", f"{clock_text(eta)} left")))
        if self.spent:
            cap = f"/{self.cap:.2f}" if self.cap is not None else ""
            parts.append(f"{sign(self.currency)}{self.spent:.2f}{cap}")
        return " · ".join(parts)


@dataclass
class PlainLines:
    """A line when a row is not made, when something needs a person, and now and then."""

    out: TextIO
    tally: Tally = field(default_factory=Tally)
    clock: Callable[[], float] = time.monotonic
    _said: float = float("-inf")
    _last: str = ""
    _began: float | None = None
    _rows: int = 0

    def __call__(self, event: Event) -> None:
        self.tally.see(event)
        now = self.clock()
        self._began = now if self._began is None else self._began
        remark = remark_on(event)
        if remark and isinstance(event, Done):
            self._say_row(remark)
        elif remark:
            self._say(remark)
        elif isinstance(event, Ended) or (
            (self.tally.total or self.tally.done) and now - self._said >= self._pause(now)
        ):
            self._said = now
            self._say(self.tally.line())

    def _pause(self, now: float) -> float:
        return max(EVERY_S, (now - (self._began or now)) / 30)

    def _say_row(self, remark: str) -> None:
        """A night's log stays readable: after some rows they are only counted."""
        self._rows += 1
        if self._rows <= REMARKS:
            self._say(remark)
        elif self._rows == REMARKS + 1:
            self._say(
                str(Text("……其余没成的只计数。", "… further rows not made are only counted."))
            )

    def _say(self, line: str) -> None:
        if line != self._last:
            self._last = line
            self.out.write(line + "\n")
            self.out.flush()


class LiveLine:
    """One line with a bar that stays at the foot of the terminal; remarks go above it."""

    def __init__(self, tally: Tally | None = None) -> None:
        self.tally = tally or Tally()
        self._live: Live | None = None

    def __call__(self, event: Event) -> None:
        self.tally.see(event)
        live = self._opened()
        remark = remark_on(event)
        if remark:
            live.console.print(remark, highlight=False, markup=False)
        live.update(self._picture(), refresh=isinstance(event, Ended))
        if isinstance(event, Ended):
            live.stop()
            self._live = None

    def _opened(self) -> Live:
        if self._live is None:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), refresh_per_second=8, transient=True)
            self._live.start()
        return self._live

    def _picture(self) -> Any:
        from rich.columns import Columns
        from rich.progress_bar import ProgressBar
        from rich.text import Text as Words

        total = max(self.tally.total, 1)
        bar = ProgressBar(total=total, completed=self.tally.done, width=24)
        return Columns([bar, Words(self.tally.line())], padding=(0, 2))


STATUSES = {
    "ok": Text("完成", "ok"), "duplicate": Text("重复", "twins"), "invalid": Text("有误", "invalid"),
    "refused": Text("被拒", "refused"), "failed": Text("失败", "failed"),
    "in-doubt": Text("存疑", "in doubt"), "cancelled": Text("已取消", "cancelled"),
    "unpaid": Text("预算外", "unpaid"), "pending": Text("待做", "pending"),
}  # fmt: skip
"""The outcomes' names, as a person reads them at a terminal."""

_NOBODY_WORKED = ("duplicate", "unpaid", "cancelled", "invalid")
"""Outcomes that say nothing of the speed."""

_ONLY_COUNTED = ("ok", "duplicate", "unpaid", "cancelled")
"""Outcomes that need no line each: an empty budget or a cancelled run may leave thousands."""


def remark_on(event: Event) -> str:
    """What a person has to hear at once, or an empty text."""
    if isinstance(event, Done) and event.status not in _ONLY_COUNTED:
        row = f"#{event.row}" + (f"_{event.take}" if event.take > 1 else "")
        code = f" [{event.code}]" if event.code else ""
        status = STATUSES.get(event.status, Text(event.status, event.status))
        return str(Text(f"{row} {status.zh}：{event.error}{code}", f"{row} {status.en}: {event.error}{code}"))  # fmt: skip
    if isinstance(event, Stopped):
        return f"{event.endpoint}: {event.reason}"
    if isinstance(event, Retrying) and event.until - event.at > 20:
        wait = clock_text(event.until - event.at)
        return str(Text(f"#{event.row} {wait} 后再试：{event.reason.zh}", f"#{event.row} again in {wait}: {event.reason.en}"))  # fmt: skip
    if isinstance(event, Note):
        return str(event.text)
    return ""


def clock_text(seconds: float) -> str:
    """``42 s``, ``3:05``, ``2:03:00``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minutes}:{second:02d}"


def sign(currency: str) -> str:
    """A currency's sign, or its code with a blank."""
    return {"CNY": "¥", "USD": "$", "EUR": "€"}.get(currency, f"{currency} " if currency else "")
