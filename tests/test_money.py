"""Sums are exact, budgets hold, unknown is never zero."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, getcontext, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from redloom.endpoint import FREE, Price
from redloom.errors import BadInput, BadSettings
from redloom.money import Budget, Estimate, Line, Money, Priced, exact


@dataclass(frozen=True)
class Cost:
    """A price, for tests."""

    amount: float | None
    currency: str = "CNY"
    source: str = "estimated"


AMOUNTS = st.integers(0, 10**9).map(lambda millionths: millionths / 1e6)
COSTS = st.builds(Cost, st.none() | AMOUNTS, st.sampled_from(["CNY", "USD"]))


def as_fraction(amount: float) -> Fraction:
    """The number as written, counted in another arithmetic than the one under test."""
    return Fraction(repr(amount))


@given(st.lists(COSTS))
def test_sums_are_exact(costs: list[Cost]) -> None:
    """A total is the sum of the amounts as written, in each currency by itself."""
    total = Money.total(costs)
    for currency in ("CNY", "USD"):
        wanted = sum(
            as_fraction(cost.amount)
            for cost in costs
            if cost.amount is not None and cost.currency == currency
        )
        assert Fraction(total.in_currency(currency)) == wanted


@given(st.lists(COSTS), st.lists(COSTS), st.integers(0, 5000))
def test_sums_obey_arithmetic(left: list[Cost], right: list[Cost], count: int) -> None:
    """Adding totals is totalling both; multiplying is adding that often; order is no matter."""
    a, b = Money.total(left), Money.total(right)
    assert a + b == b + a == Money.total([*left, *right])
    assert (a + b) * count == a * count + b * count
    assert a * 2 == a + a
    assert bool(a) == any(cost.amount for cost in left)


def test_sums_stay_exact_in_a_narrow_context() -> None:
    """The program's own decimal context does not round money."""
    with localcontext() as context:
        context.prec = 3
        assert str(Money.of("1234.56", "CNY") + Money.of("0.01", "CNY")) == "¥1234.57"
        assert str(Money.of("0.2", "CNY") * 50001) == "¥10000.20"
    assert getcontext().prec > 3


@pytest.mark.parametrize(
    ("money", "shown"),
    [
        (Money(), "0"),
        (Money.of(0.2, "CNY"), "¥0.20"),
        (Money.of(0.220177, "CNY"), "¥0.2202"),
        (Money.of(0.014, "USD"), "$0.014"),
        (Money.of(12.3456, "CNY"), "¥12.35"),
        (Money.of(1000, "CNY"), "¥1000.00"),
        (Money.of(0.00000001, "USD"), "$0.0001"),
        (Money.of(0.99999, "CNY"), "¥1.00"),
        (Money.of(3, "AUD"), "3.00 AUD"),
        (Money.of(1, "USD") + Money.of(2, "CNY"), "¥2.00 + $1.00"),
    ],
)
def test_how_money_is_shown(money: Money, shown: str) -> None:
    """Two places, more only for small amounts; something is never shown as nothing."""
    assert str(money) == shown


@given(AMOUNTS)
def test_shown_amounts_are_near(amount: float) -> None:
    """What is shown lies within half its last place, and nothing is shown only for nothing."""
    shown = str(Money.of(amount, "CNY"))
    assert (shown == "0") == (amount == 0)
    if amount:
        assert abs(float(shown.removeprefix("¥")) - amount) <= (0.0050001 if amount >= 1 else 1e-4)


@pytest.mark.parametrize("amount", [-1, float("nan"), float("inf"), "abc", "", 1e16])
def test_no_amounts(amount: float | str) -> None:
    """What is no amount is refused, in words."""
    with pytest.raises(BadInput):
        exact(amount)


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("5", Budget(Decimal(5), "CNY")),
        (" ¥5 ", Budget(Decimal(5), "CNY")),
        ("￥5.50", Budget(Decimal("5.5"), "CNY")),
        ("5 元", Budget(Decimal(5), "CNY")),
        ("$3.50", Budget(Decimal("3.5"), "USD")),
        ("3usd", Budget(Decimal(3), "USD")),
        ("EUR .5", Budget(Decimal("0.5"), "EUR")),
        ("0", Budget(Decimal(0), "CNY")),
    ],
)
def test_budgets_as_people_write_them(text: str, budget: Budget) -> None:
    """The usual ways to write an amount are read."""
    assert Budget.parse(text) == budget


@given(st.text())
def test_budgets_of_any_text(text: str) -> None:
    """Any text is a budget or bad input, never something else."""
    try:
        budget = Budget.parse(text)
    except BadInput:
        return
    assert budget.limit >= 0
    assert len(budget.currency) == 3


@pytest.mark.parametrize("text", ["-5", "5 dollars", "1e5", "5,5", "NaN", ""])
def test_no_budgets(text: str) -> None:
    """What could be misread is refused."""
    with pytest.raises(BadInput):
        Budget.parse(text)


class BudgetHolds(RuleBasedStateMachine):
    """A run that asks before every picture: commits, settles, releases, loses answers."""

    limit = Decimal("3.5")

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(self.limit, "CNY")
        self.spent = Money()
        self.open: list[Cost] = []

    @property
    def committed(self) -> Money:
        return Money.total(self.open)

    @rule(price=st.sampled_from([0.0, 0.04, 0.1, 0.2, 0.220177, 0.5, 3.5, 4.0]))
    def ask(self, price: float) -> None:
        """One more picture, if it may be."""
        cost = Cost(price)
        used = self.spent.in_currency("CNY") + self.committed.in_currency("CNY")
        allowed = self.budget.verdict(self.spent, self.committed, cost) == "yes"
        assert allowed == (price == 0 or used + exact(price) <= self.limit)
        if allowed:
            self.open.append(cost)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), part=st.integers(0, 10))
    def settle(self, data: st.DataObject, part: int) -> None:
        """It was made, at its price or for less."""
        cost = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        self.spent += Money.of(exact(cost.amount or 0) * part / 10, "CNY")

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """It was not made. (A lost answer is neither: it stays committed.)"""
        self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))

    @invariant()
    def never_over(self) -> None:
        """Spent and committed together stay within the limit, and what is left adds up to it."""
        used = self.spent.in_currency("CNY") + self.committed.in_currency("CNY")
        assert used <= self.limit
        assert self.budget.left(self.spent, self.committed) == self.limit - used


test_budget_holds = BudgetHolds.TestCase


def test_the_last_fitting_picture_is_allowed() -> None:
    """Ten pictures of 0.1 fit into a budget of 1, exactly; an eleventh does not."""
    budget, spent = Budget(Decimal(1)), Money()
    for _ in range(10):
        assert budget.verdict(spent, Money(), Cost(0.1)) == "yes"
        spent += Money.of(0.1, "CNY")
    assert budget.verdict(spent, Money(), Cost(0.1)) == "exceeded"
    assert budget.left(spent, Money()) == 0


def test_what_cannot_be_counted_says_so() -> None:
    """Unknown prices and other currencies are told apart from a budget used up."""
    budget = Budget(Decimal(1), "CNY")
    nothing = Money()
    assert budget.verdict(nothing, nothing, Cost(None)) == "unknown-price"
    assert budget.verdict(nothing, nothing, Cost(0.1, "USD")) == "other-currency"
    allowing = Budget(Decimal(1), "CNY", unknown_allowed=True)
    assert allowing.verdict(nothing, nothing, Cost(None)) == "yes"
    assert allowing.verdict(nothing, nothing, Cost(0.1, "USD")) == "yes"
    assert allowing.verdict(nothing, nothing, Cost(1.1)) != "yes"


def test_free_pictures_need_no_budget() -> None:
    """What costs nothing may be made though the budget is used up, whatever its currency."""
    assert Budget(Decimal(0)).verdict(Money(), Money(), FREE) == "yes"


def test_starting_with_what_cannot_be_counted_is_refused() -> None:
    """The endpoints in the way are named, with exit 2; a yes from the user lets them pass."""
    prices: dict[str, Priced] = {"a": Cost(None), "b": Cost(1, "USD"), "c": Price(0.2)}
    with pytest.raises(BadSettings, match="a, b") as caught:
        Budget(Decimal(1)).require_countable(prices)
    assert caught.value.exit_status == 2
    Budget(Decimal(1), unknown_allowed=True).require_countable(prices)
    Budget(Decimal(1)).require_countable({"c": Price(0.2), "cards": FREE})


def test_estimate() -> None:
    """A dry run counts by model and price, adds what is known, and says what is not."""
    wanted: list[tuple[str, Priced]] = [("wan2.6-t2i", Price(0.2))] * 40
    assert Estimate.of(wanted).lines == (Line("wan2.6-t2i", 40, Money.of(0.2, "CNY")),)
    assert str(Estimate.of(wanted).lines[0]) == "wan2.6-t2i × 40 = ¥8.00"
    assert Estimate.of(wanted).text().en == "40 pictures, about ¥8.00."
    mixed = Estimate.of([*wanted, ("other", Cost(None))])
    assert (mixed.count, mixed.unknown, str(mixed.total)) == (41, 1, "¥8.00")
    assert "unknown" in mixed.text().en
    assert "1 张价格未知" in mixed.text().zh
    assert Estimate.of([]).text().en == "0 pictures, about 0."


@given(st.lists(st.tuples(st.sampled_from("ab"), COSTS)))
def test_estimates_count_everything(wanted: list[tuple[str, Cost]]) -> None:
    """No picture is left out of an estimate, none is counted twice."""
    estimate = Estimate.of(wanted)
    costs = [cost for _, cost in wanted]
    assert estimate.count == len(wanted)
    assert estimate.unknown == sum(cost.amount is None for cost in costs)
    assert estimate.total == Money.total(costs)
