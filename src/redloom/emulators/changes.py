"""What changes at a service in the middle of a run: its limits, how long it takes.

Seconds count from the first request that was accepted, so that a change falls at the same point
of every client's run, however long the client took to start.

May import: errors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from redloom.errors import BadInput

What = Literal["concurrency", "rps", "slower"]


@dataclass(frozen=True, slots=True)
class Change:
    """From ``at_s`` on, ``what`` is ``value``.

    ``concurrency``: tasks at once; ``rps``: submits a second; ``slower``: a task that starts from
    then on takes ``value`` times as long.
    """

    at_s: float
    what: What
    value: float


def value_at(changes: Iterable[Change], what: What, age_s: float, before: float) -> float:
    """What ``what`` is ``age_s`` seconds after the first accepted request; ``before`` at first."""
    past = [change for change in changes if change.what == what and change.at_s <= age_s]
    return max(past, key=lambda change: change.at_s).value if past else before


def parse_changes(text: str) -> tuple[Change, ...]:
    """Read ``SECONDS:WHAT=VALUE,…``, such as ``300:concurrency=3,600:slower=4``.

    Raises BadInput where it is not that.
    """
    return tuple(_parse_one(item.strip()) for item in text.split(",") if item.strip())


def _parse_one(item: str) -> Change:
    moment, _, rest = item.partition(":")
    name, _, number = rest.partition("=")
    what = next((word for word in get_args(What) if word == name.strip()), None)
    try:
        at_s, value = float(moment), float(number)
    except ValueError:
        at_s, value = -1.0, 0.0
    whole = what != "concurrency" or value == int(value)
    if what is None or not (0 <= at_s < math.inf) or not (0 < value < math.inf) or not whole:
        words = ", ".join(get_args(What))
        raise BadInput(
            f"看不懂的变化“{item}”。写法是 秒:项目=值（如 300:concurrency=3），项目有：{words}。",
            f"Cannot read the change '{item}'. Write SECONDS:WHAT=VALUE (such as 300:concurrency=3); WHAT is one of {words}.",
        )
    return Change(at_s, what, value)
