"""What a budget does to a batch, said before it starts: how far it goes, or that it is used up.

May import: spending, cli.batch_plan, lang, money, and at the call journal, records, engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from redloom.lang import Text
from redloom.money import Budget, Estimate, Money
from redloom.spending import Spending

from .batch_plan import Plan

if TYPE_CHECKING:
    from redloom.records import Run


def budget_text(
    plan: Plan, estimate: Estimate, budget: Budget, workspace: Path, *, yes: bool
) -> Text:
    """One sentence: what of the budget is left, and how many of the pictures it pays for.

    What this same run has spent already counts, and what is under way or in doubt at its most.
    """
    used = asyncio.run(_spent(plan, workspace))
    spent, maybe = _money(used.billed), _money(used.maybe)
    left = budget.left(spent, maybe)
    gone = Money.of(budget.limit - left, budget.currency)
    so_far = Text(f"，已用 {gone}", f", {gone} of it used") if gone else Text("", "")
    head = Text(f"预算 {budget}{so_far.zh}：", f"Budget {budget}{so_far.en}: ")
    said = _uncounted(estimate, budget, yes) or _reach(estimate, budget.currency, left)
    return Text(head.zh + said.zh, head.en + said.en)


def _uncounted(estimate: Estimate, budget: Budget, yes: bool) -> Text | None:
    """Where prices cannot be held against the limit, and the run would not begin."""
    strange = [
        line.model
        for line in estimate.lines
        if line.each is None or any(code != budget.currency for code, _ in line.each.parts)
    ]
    if not strange:
        return None
    names = Text("、".join(strange), ", ".join(strange))
    if yes:
        return Text(f"管不到 {names.zh}（价格未知或是别的货币）。", f"it does not bind {names.en} (price unknown or in another currency).")  # fmt: skip
    return Text(
        f"{names.zh} 的价格未知或是别的货币，不会开始；在设置里写明 price，或加 --yes。",
        f"the price of {names.en} is unknown or in another currency, so it would not begin; state a price in the settings, or add --yes.",
    )


def _reach(estimate: Estimate, currency: str, left: Decimal) -> Text:
    """How many of the pictures ``left`` pays for, taken in the estimate's order."""
    total = estimate.total.in_currency(currency)
    if total <= left:
        return Text("够用。", "enough.")
    paid, rest = 0, left
    for line in estimate.lines:
        each = line.each.in_currency(currency) if line.each is not None else Decimal(0)
        fit = min(line.count, int(rest // each)) if each else line.count
        paid, rest = paid + fit, rest - fit * each
    if not paid:
        return Text("已经用完，现在什么也不会买；加大 --budget 再接着做。", "used up, so nothing would be bought now; a larger --budget goes on.")  # fmt: skip
    return Text(
        f"约够 {paid} 张，其余 {estimate.count - paid} 张记为“预算外”，以后可以接着做。",
        f"pays for about {paid}; the other {estimate.count - paid} end as unpaid and can be made later.",
    )


def another_lies_there(plan: Plan, workspace: Path) -> bool:
    """Whether the folder is another run's, so that this command would end without asking for it."""
    if plan.given["extend"] or plan.given["overwrite"]:
        return False
    there = _runs_there(plan, workspace)
    return bool(there) and all(run.digest != plan.digest for run in there)


def _runs_there(plan: Plan, workspace: Path) -> list[Run]:
    from redloom.engine import absolute
    from redloom.journal import Journal
    from redloom.records import Run

    path = workspace / "journal.db"
    if not path.is_file():
        return []
    journal = Journal(path).open()
    try:
        rows = journal.read_now(lambda db: db.all("runs_into", out=absolute(plan.out)))
        return [Run.of(row) for row in rows]
    finally:
        journal.close()


async def _spent(plan: Plan, workspace: Path) -> Spending:
    """What the same run, if there is one, has cost so far."""
    from redloom.engine import absolute
    from redloom.journal import Journal
    from redloom.records import Records

    path = workspace / "journal.db"
    if not path.is_file():
        return Spending()
    journal = Journal(path).open()
    try:
        records = Records(journal)
        there = await records.runs_into(absolute(plan.out))
        mine = [run for run in there if run.digest == plan.digest]
        if not mine and plan.given["extend"]:
            mine = list(there)
        return await records.spending(mine[0].id) if mine else Spending()
    finally:
        journal.close()


def _money(parts: Mapping[str, float]) -> Money:
    return sum((Money.of(amount, code) for code, amount in parts.items()), Money())
