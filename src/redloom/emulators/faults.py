"""What goes wrong and when: by rate, by script, from some request on, or in a window of time.

Faults by rate fall the same way in every run: they depend on the seed, on what was asked and on
how often it was asked before, never on the order in which requests arrive.

May import: errors, lang.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from redloom.errors import BadInput
from redloom.lang import Text

from .service_time import draw


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that can go wrong.

    ``where`` and ``what`` are its two words in a script (``@7:submit=reset``); ``how`` says
    what its value is: a rate in [0, 1], the number of the request from which on it holds, or a
    window START-END in nominal seconds since the start.
    """

    where: str
    what: str
    text: Text
    how: Literal["rate", "from", "window"] = "rate"


@dataclass(frozen=True)
class Faults:
    """What is to go wrong. Made by `parse`; the empty one is a faultless service."""

    rates: Mapping[str, tuple[tuple[str, float], ...]] = field(default_factory=dict)
    """By place, the faults drawn there with their rates."""
    script: Mapping[tuple[str, int], str] = field(default_factory=dict)
    """By place and number of the request there (from 1)."""
    since: Mapping[str, int] = field(default_factory=dict)
    windows: tuple[tuple[str, float, float], ...] = ()

    def at(self, seed: int, where: str, number: int, identity: str, tried: int) -> str:
        """The fault's ``what`` that hits this request, or ''.

        ``number`` counts the requests at ``where``, for the script; ``identity`` and ``tried``
        (how often the same was asked before) decide about faults by rate.
        """
        if (where, number) in self.script:
            return self.script[where, number]
        rates = self.rates.get(where)
        if not rates:
            return ""
        left = draw(seed, where, identity, tried)
        for what, rate in rates:
            left -= rate
            if left < 0:
                return what
        return ""

    def standing(self, number: int) -> str:
        """The fault that holds from some request at or before ``number`` on, or ''."""
        hit = [(first, what) for what, first in self.since.items() if number >= first]
        return min(hit)[1] if hit else ""

    def window(self, elapsed_s: float) -> str:
        """The fault in whose window ``elapsed_s`` seconds after the start lie, or ''."""
        for what, start, end in self.windows:
            if start <= elapsed_s < end:
                return what
        return ""


_SCRIPTED = re.compile(r"@(\d{1,9})(?:-(\d{1,9}))?:([a-z0-9_]+)")
_SCRIPT_LONGEST = 100_000


def parse(text: str, known: Mapping[str, Fault]) -> Faults:
    """Read ``NAME=VALUE,…`` and ``@N:WHERE=WHAT`` (``@N-M:`` for several), joined by commas.

    Raises BadInput for an unknown name, saying the known ones, and for values out of range.
    """
    rates: dict[str, list[tuple[str, float]]] = {}
    script: dict[tuple[str, int], str] = {}
    since: dict[str, int] = {}
    windows: list[tuple[str, float, float]] = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = (part.strip() for part in item.partition("="))
        if name.startswith("@"):
            script.update(_scripted(name, value, known))
            continue
        fault = _look_up(name, known)
        if fault.how == "rate":
            rates.setdefault(fault.where, []).append((fault.what, _rate(item, value)))
        elif fault.how == "from":
            since[fault.what] = int(_number(item, value, 1, 1e9))
        else:
            windows.append((fault.what, *_window(item, value)))
    _check_sums(rates)
    return Faults(
        {where: tuple(drawn) for where, drawn in rates.items()}, script, since, tuple(windows)
    )


def _scripted(name: str, what: str, known: Mapping[str, Fault]) -> dict[tuple[str, int], str]:
    match = _SCRIPTED.fullmatch(name)
    words = sorted(f"{fault.where}={fault.what}" for fault in known.values() if fault.how == "rate")
    if match is None or f"{match[3]}={what}" not in words:
        raise BadInput(
            f"看不懂的故障“{name}={what}”。写法是 @第几次:位置=故障，可用的有：{'、'.join(words)}。",
            f"Cannot read the fault '{name}={what}'. Write @NUMBER:WHERE=WHAT; known: {', '.join(words)}.",
        )
    first = int(match[1])
    last = int(match[2] or first)
    if not 1 <= first <= last < first + _SCRIPT_LONGEST:
        raise _bad(f"{name}={what}")
    return {(match[3], number): what for number in range(first, last + 1)}


def _look_up(name: str, known: Mapping[str, Fault]) -> Fault:
    if name not in known:
        names = sorted(known)
        raise BadInput(
            f"没有叫“{name}”的故障。可用的有：{'、'.join(names)}。",
            f"There is no fault named '{name}'. Known: {', '.join(names)}.",
        )
    return known[name]


def _rate(item: str, value: str) -> float:
    return _number(item, value, 0, 1)


def _number(item: str, value: str, low: float, high: float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not low <= number <= high:
        raise _bad(item)
    return number


def _window(item: str, value: str) -> tuple[float, float]:
    start, _, end = value.partition("-")
    window = _number(item, start, 0, 1e12), _number(item, end, 0, 1e12)
    if window[0] >= window[1]:
        raise _bad(item)
    return window


def _check_sums(rates: Mapping[str, list[tuple[str, float]]]) -> None:
    for where, drawn in rates.items():
        if sum(rate for _, rate in drawn) > 1 + 1e-9:
            raise BadInput(
                f"“{where}”处各故障的概率加起来超过了 1。",
                f"The rates of the faults at '{where}' add up to more than 1.",
            )


def _bad(item: str) -> BadInput:
    return BadInput(
        f"故障“{item}”的值不对：概率在 0 到 1 之间，*_from 是从第几次起（从 1 数），时间窗是 开始-结束（秒）。",
        f"The fault '{item}' has a wrong value: a rate lies in 0 to 1, *_from is a request's number (from 1), a window is START-END in seconds.",
    )


def names_table(known: Mapping[str, Fault], lang: Literal["zh", "en"]) -> str:
    """The known faults as a Markdown table, for the documentation."""
    head = {"zh": "| 名称 | 脚本写法 | 含义 |", "en": "| name | in a script | what happens |"}[lang]
    rows = [head, "|---|---|---|"]
    for name, fault in known.items():
        script = f"`@N:{fault.where}={fault.what}`" if fault.how == "rate" else ""
        value = {"rate": "P", "from": "N", "window": "START-END"}[fault.how]
        rows.append(f"| `{name}={value}` | {script} | {getattr(fault.text, lang)} |")
    return "\n".join(rows)
