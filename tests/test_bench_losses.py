"""Where seconds were lost, on small ledgers worked out by hand."""

from __future__ import annotations

from typing import Any

from redloom.bench.losses import losses
from redloom.bound import Place


def bought(prompt: str, start: float, end: float, billed: int = 1) -> dict[str, Any]:
    """One task of a ledger; the client began at 100."""
    return {"prompt": prompt, "started": 100 + start, "ended": 100 + end, "billed": billed}


def ledger(*purchases: dict[str, Any]) -> list[dict[str, Any]]:
    """One service's ledger."""
    return [{"purchases": list(purchases)}]


def test_losses_add_up() -> None:
    """Two slots: one starts 2 s late, one stands empty for 4 s, the last file comes 3 s late."""
    tasks = ledger(bought("a", 0, 10), bought("b", 2, 10), bought("c", 10, 20), bought("d", 14, 24))
    found = losses([Place(slots=2)], 20.0, {"began": 100.0, "ended": 127.0}, tasks)
    assert found["start"] == 1.0
    assert found["idle"] == 2.0
    assert found["again"] == 0.0
    assert found["tail"] == 3.0
    assert sum(found.values()) == 7.0


def test_a_second_purchase_is_a_loss_and_a_failed_try_is_none() -> None:
    """What was billed before counts whole; a try that failed unbilled had to be repeated."""
    tasks = ledger(
        bought("a", 0, 5, 0), bought("a", 5, 15), bought("a", 15, 25), bought("b", 25, 35)
    )
    found = losses([Place(slots=1)], 25.0, {"began": 100.0, "ended": 135.0}, tasks)
    assert found == {"start": 0.0, "idle": 0.0, "again": 10.0, "tail": 0.0, "order": 0.0}


def test_no_slots_no_idleness() -> None:
    """Where the service has no limit, only the tail and the rest remain."""
    found = losses(
        [Place(slots=None)], 10.0, {"began": 100.0, "ended": 112.0}, ledger(bought("a", 0, 11))
    )
    assert (found["idle"], found["tail"], found["order"]) == (0.0, 1.0, 1.0)
