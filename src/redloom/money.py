"""Money: exact sums by currency, the budget of a run, what a dry run would cost, the ledger.

Amounts are `decimal.Decimal` and are never added across currencies. Unknown is never zero: a sum
says beside its amount how many prices it does not know. What has a price is anything with
``amount``, ``currency`` and ``source``, as `endpoint.Price` has.

May import: errors, lang, clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, ROUND_UP, Context, Decimal, InvalidOperation, localcontext
from typing import Literal, Protocol

from .errors import BadInput, BadSettings
from .lang import Text

__all__ = ["Budget", "Estimate", "Line", "Money", "Priced", "Verdict", "exact"]

Verdict = Literal["yes", "exceeded", "unknown-price", "other-currency"]

_LEAST = Decimal("0.0001")
_MOST = Decimal(10) ** 15
_EXACT = Context(prec=60)
"""Enough digits for any sum of prices to be exact, whatever the program's own context is."""
_MARKS = {"CNY": "¥", "USD": "$", "EUR": "€", "GBP": "£"}
_CODES = {"¥": "CNY", "￥": "CNY", "元": "CNY", "RMB": "CNY", "$": "USD", "€": "EUR", "£": "GBP"}
_BUDGET = re.compile(r"(?P<before>[^\d.\s]*)\s*(?P<amount>\d+(?:\.\d+)?|\.\d+)\s*(?P<after>\D*)")


class Priced(Protocol):
    """What one picture costs: an amount, or None where nobody knows it."""

    @property
    def amount(self) -> float | None:
        """The amount; None: unknown."""

    @property
    def currency(self) -> str:
        """Its currency, by its ISO code."""

    @property
    def source(self) -> str:
        """Where the amount is from: reported, estimated or unknown."""


def exact(amount: float | int | str | Decimal) -> Decimal:
    """The number as it is written: 0.1 is a tenth, not the nearest binary fraction.

    Raises BadInput for what is no number from 0 to 10**15.
    """
    try:
        number = Decimal(str(amount))
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite() or not 0 <= number <= _MOST:
        raise BadInput(
            f"“{amount}”不是金额；没有花钱。",
            f"“{amount}” is no amount of money; nothing was spent.",
        )
    return number


@dataclass(frozen=True, slots=True)
class Money:
    """Amounts by currency, sorted, without zeros. ``Money()`` is nothing at all."""

    parts: tuple[tuple[str, Decimal], ...] = ()

    @classmethod
    def of(cls, amount: float | int | str | Decimal, currency: str) -> Money:
        """One amount. Raises BadInput for a negative or endless one."""
        number = exact(amount)
        return cls(((currency, number),)) if number else cls()

    @classmethod
    def total(cls, prices: Iterable[Priced]) -> Money:
        """The sum of all known prices; flat in memory."""
        sums: dict[str, Decimal] = {}
        for price in prices:
            if price.amount is not None:
                _add(sums, price.currency, exact(price.amount))
        return _money(sums)

    def __add__(self, other: Money) -> Money:
        sums = dict(self.parts)
        for currency, amount in other.parts:
            _add(sums, currency, amount)
        return _money(sums)

    def __mul__(self, count: int) -> Money:
        with localcontext(_EXACT):
            return _money({currency: amount * count for currency, amount in self.parts})

    def __bool__(self) -> bool:
        return bool(self.parts)

    def in_currency(self, currency: str) -> Decimal:
        """The part in one currency, 0 where there is none."""
        return dict(self.parts).get(currency, Decimal(0))

    def __str__(self) -> str:
        """``¥12.30 + $0.04``; ``0`` for nothing. Small amounts keep up to four places."""
        return " + ".join(_rendered(amount, currency) for currency, amount in self.parts) or "0"


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may spend, in one currency. Knows no state: the journal has what was spent."""

    limit: Decimal
    currency: str = "CNY"
    unknown_allowed: bool = False
    """The user said yes to prices that cannot be counted; they then count as nothing."""

    @classmethod
    def parse(cls, text: str, currency: str = "CNY") -> Budget:
        """From ``5``, ``¥5``, ``5 元``, ``$3.50``, ``3 USD``; a bare number is in ``currency``.

        Raises BadInput for anything else.
        """
        found = _BUDGET.fullmatch(text.strip())
        named = (found["before"] + found["after"]).strip().upper() if found else ""
        code = _CODES.get(named, named or currency)
        if found is None or not re.fullmatch(r"[A-Z]{3}", code):
            raise BadInput(
                f"看不懂预算“{text}”；请写成 5、¥5 或 3 USD。没有花钱。",
                f"The budget “{text}” cannot be read; write 5, ¥5 or 3 USD. Nothing was spent.",
            )
        return cls(exact(found["amount"]), code)

    def verdict(self, spent: Money, committed: Money, next_price: Priced) -> Verdict:
        """Whether one more picture may be asked for.

        ``committed`` holds what is under way and what is in doubt, at its highest price. "yes"
        only if all of it together stays within the limit; what is free always may.
        """
        if next_price.amount is None:
            return "yes" if self.unknown_allowed else "unknown-price"
        price = exact(next_price.amount)
        if not price:
            return "yes"
        if next_price.currency != self.currency:
            return "yes" if self.unknown_allowed else "other-currency"
        with localcontext(_EXACT):
            used = spent.in_currency(self.currency) + committed.in_currency(self.currency)
            return "yes" if used + price <= self.limit else "exceeded"

    def left(self, spent: Money, committed: Money) -> Decimal:
        """What is still free to spend; 0 where a service charged more than it had listed."""
        with localcontext(_EXACT):
            used = spent.in_currency(self.currency) + committed.in_currency(self.currency)
            return max(Decimal(0), self.limit - used)

    def require_countable(self, prices: Mapping[str, Priced]) -> None:
        """Refuse to start where a price cannot be held against the limit.

        ``prices`` by endpoint name. Raises BadSettings naming those of unknown price or of
        another currency, unless the user allowed them.
        """
        verdicts = {name: self.verdict(Money(), Money(), price) for name, price in prices.items()}
        unknown = [name for name, verdict in verdicts.items() if verdict == "unknown-price"]
        other = [name for name, verdict in verdicts.items() if verdict == "other-currency"]
        if unknown or other:
            names = ", ".join(sorted(unknown + other))
            raise BadSettings(
                f"预算以 {self.currency} 计，但这些端点的价格未知或是别的货币：{names}。"
                "请在设置里写明 price，或加 --yes；没有花钱。",
                f"The budget is in {self.currency}, but the price of {names} is unknown or in "
                "another currency. State a price in the settings, or add --yes; nothing was spent.",
            )

    def __str__(self) -> str:
        return _rendered(self.limit, self.currency)


@dataclass(frozen=True, slots=True)
class Line:
    """Pictures of one model at one price."""

    model: str
    count: int
    each: Money | None
    """None: the price is unknown."""

    def __str__(self) -> str:
        """``wan2.6-t2i × 40 = ¥8.00``."""
        price = "?" if self.each is None else str(self.each * self.count)
        return f"{self.model} × {self.count} = {price}"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would cost, told before anything is spent."""

    lines: tuple[Line, ...] = ()

    @classmethod
    def of(cls, wanted: Iterable[tuple[str, Priced]]) -> Estimate:
        """From (model, price) of each picture to be made; flat in memory."""
        counts: dict[tuple[str, Money | None], int] = {}
        for name, price in wanted:
            each = None if price.amount is None else Money.of(price.amount, price.currency)
            counts[name, each] = counts.get((name, each), 0) + 1
        return cls(tuple(Line(name, count, each) for (name, each), count in counts.items()))

    @property
    def count(self) -> int:
        """How many pictures."""
        return sum(line.count for line in self.lines)

    @property
    def unknown(self) -> int:
        """How many of them have no known price."""
        return sum(line.count for line in self.lines if line.each is None)

    @property
    def total(self) -> Money:
        """What the pictures of known price cost together."""
        known = (line.each * line.count for line in self.lines if line.each is not None)
        return sum(known, Money())

    def text(self) -> Text:
        """One sentence: how many, how much, how many unknown."""
        if not self.unknown:
            return Text(
                f"{self.count} 张，估计 {self.total}。",
                f"{_pictures(self.count)}, about {self.total}.",
            )
        if self.unknown == self.count:
            return Text(
                f"{self.count} 张，价格未知。", f"{_pictures(self.count)} of unknown price."
            )
        return Text(
            f"{self.count} 张，已知价格的部分约 {self.total}，另有 {self.unknown} 张价格未知。",
            f"{_pictures(self.count)}, about {self.total} for those of known price; "
            f"the price of {self.unknown} is unknown.",
        )


def _add(sums: dict[str, Decimal], currency: str, amount: Decimal) -> None:
    with localcontext(_EXACT):
        sums[currency] = sums.get(currency, Decimal(0)) + amount


def _money(sums: Mapping[str, Decimal]) -> Money:
    return Money(tuple(sorted((code, amount) for code, amount in sums.items() if amount)))


def _rendered(amount: Decimal, currency: str) -> str:
    """Two places from 1 upwards, up to four below; what is not nothing never looks like it."""
    with localcontext(_EXACT):
        if amount >= 1:
            text = f"{amount.quantize(Decimal('0.01'), ROUND_HALF_UP):f}"
        else:
            rounding = ROUND_UP if amount < _LEAST else ROUND_HALF_UP
            digits = f"{amount.quantize(_LEAST, rounding):f}"
            text = digits[:-2] + digits[-2:].rstrip("0")
    return f"{_MARKS[currency]}{text}" if currency in _MARKS else f"{text} {currency}".strip()


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"
