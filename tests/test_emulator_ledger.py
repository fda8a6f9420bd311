"""The witness of what would have been billed, in memory and on disk."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from redloom.emulators.ledger import Ledger, Purchase, prompt_sha, read_ledger


def bought(number: int, prompt: str, *, billed: int = 1, other: bool = False) -> Purchase:
    """A purchase, short."""
    return Purchase(
        task_id=f"t-{number}", account="a", model="m", prompt=prompt, sha=prompt_sha(prompt),
        size="8*8", n=1, seed=None, submitted=float(number), billed=billed, other=other,
    )  # fmt: skip


def test_counts_only_what_is_charged_to_us() -> None:
    """Failed tries and other programs' tasks are no money of ours."""
    ledger = Ledger()
    for purchase in (
        bought(1, "one"), bought(2, "one", billed=0), bought(3, "two"), bought(4, "two"),
        bought(5, "three", billed=3), bought(6, "one", other=True),
    ):  # fmt: skip
        ledger.accepted(purchase)
    assert ledger.billed() == 6
    assert ledger.bought_twice() == ["two"]
    assert ledger.bought_twice(allowed=2) == []
    assert {prompt: len(found) for prompt, found in ledger.by_prompt().items()} == {
        "one": 2,
        "two": 2,
        "three": 1,
    }
    assert ledger.as_json()["accepted"] == 5


def test_another_process_reads_it_while_it_grows(tmp_path: Path) -> None:
    """Every line is on disk when the call returns; a torn last line does no harm."""
    path = tmp_path / "deep" / "ledger.jsonl"
    ledger = Ledger(path)
    first, second = bought(1, "红围巾\n第二行 \u2028"), bought(2, "二")
    ledger.accepted(first)
    ledger.accepted(second)
    first.started, first.ended, first.state = 1.0, 2.0, "SUCCEEDED"
    second.state, second.billed = "CANCELED", 0
    ledger.changed(first)
    ledger.changed(second)
    ledger.fetched(first, "abc")
    ledger.fetched(first, "abc")
    with path.open("a", encoding="utf-8") as file:
        file.write('{"event": "accepted", "task')
    read = read_ledger(path)
    assert [purchase.as_record() for purchase in read.purchases] == [
        first.as_record(),
        second.as_record(),
    ]
    assert read.purchases[0].pictures == ["abc"]
    assert (read.billed(), read.counts) == (1, {})
    ledger.close()


def test_counts_are_written_at_the_end(tmp_path: Path) -> None:
    """A closed ledger tells how often it was asked."""
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.counts["submit"] += 3
    ledger.running(2)
    ledger.running(1)
    ledger.close()
    ledger.close()
    read = read_ledger(tmp_path / "ledger.jsonl")
    assert (read.counts["submit"], read.max_running) == (3, 2)


@given(st.text(alphabet=st.characters()))
def test_any_prompt_survives_the_file(prompt: str) -> None:
    """Line ends, quotes and lone surrogates come back as they went."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        ledger = Ledger(path)
        ledger.accepted(bought(1, prompt))
        ledger.close()
        assert [purchase.prompt for purchase in read_ledger(path).purchases] == [prompt]
