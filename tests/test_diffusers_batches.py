"""Which pictures go together: full groups first, nobody starves, equal calls only."""

from __future__ import annotations

import asyncio
import math

from hypothesis import given
from hypothesis import strategies as st

from redloom.diffusers_worker import frames
from redloom.diffusers_worker.batches import PATIENCE_S, Batches, Call, Item

A, B = Call("a", (64, 64)), Call("b", (64, 64))


def item(number: int, call: Call = A, since: float = 0.0, **more: bool) -> Item:
    """A waiting picture."""
    return Item(number, call, f"p{number}", number, since=since, alone=bool(more.get("alone")))


def filled(*items: Item, most: int = 4) -> Batches:
    """Batches with these waiting."""
    batches = Batches(most, wait_s=1.0)
    for one in items:
        batches.add(one)
    return batches


def ids(taken: tuple[list[Item], float]) -> list[int]:
    """The numbers of a batch."""
    return [one.id for one in taken[0]]


def test_a_full_batch_leaves_at_once() -> None:
    """Four of four: no waiting, the fifth stays."""
    batches = filled(*(item(n) for n in range(5)))
    assert ids(batches.next(0.0, [], idle=True)) == [0, 1, 2, 3]
    assert len(batches) == 1


def test_a_part_waits_no_longer_than_the_bound() -> None:
    """An idle worker waits out the rest of the bound, then takes what there is."""
    batches = filled(item(1))
    assert batches.next(0.25, [], idle=True) == ([], 0.75)
    assert ids(batches.next(1.0, [], idle=True)) == [1]
    assert batches.next(1.0, [], idle=True) == ([], math.inf)


def test_a_busy_worker_lets_a_part_fill() -> None:
    """While it works, a part of a batch is not sent behind it: it fills by itself."""
    batches = filled(item(1))
    assert batches.next(5.0, [], idle=False) == ([], math.inf)
    for number in range(2, 5):
        batches.add(item(number))
    assert ids(batches.next(5.0, [], idle=False)) == [1, 2, 3, 4]


def test_the_loaded_model_goes_first_but_not_for_ever() -> None:
    """Loading costs seconds: the loaded model is kept to, until another has waited too long."""
    batches = filled(item(1, B), item(2, A, since=5.0), most=1)
    assert ids(batches.next(10.0, ["a"], idle=True)) == [2]
    batches.add(item(3, A, since=5.0))
    assert ids(batches.next(PATIENCE_S + 1.0, ["a"], idle=True)) == [1]


def test_what_memory_allows_is_kept_to() -> None:
    """By model and size; another size has its own."""
    batches = filled(*(item(n) for n in range(4)))
    batches.room["a", (64, 64)] = 2
    assert ids(batches.next(0.0, [], idle=True)) == [0, 1]
    assert batches.cap(Call("a", (32, 32))) == 4
    batches.room["a", (64, 64)] = 0
    assert batches.cap(A) == 1


def test_suspects_are_tried_alone() -> None:
    """What was in a batch that died goes by itself, the others around it together."""
    batches = filled(item(1), item(2, alone=True), item(3), item(4))
    taken = []
    while len(batches):
        taken.append(ids(batches.next(9.0, [], idle=True)))
    assert taken == [[1], [2], [3, 4]]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=40),
    st.integers(1, 6),
    st.integers(0, 2),
)
def test_every_picture_leaves_exactly_once(
    rows: list[tuple[int, bool]], most: int, dropped: int
) -> None:
    """Whatever waits: each comes once, in a batch of its own call, never above the cap."""
    calls = [Call(f"m{n}", (64, 64)) for n in range(4)]
    items = [item(n, calls[kind], float(n), alone=alone) for n, (kind, alone) in enumerate(rows)]
    batches = filled(*items, most=most)
    gone = {one.id for one in items[:dropped] if batches.drop(one)}
    left: list[int] = []
    while len(batches):
        batch, _ = batches.next(1e6, ["m1"], idle=True)
        assert 1 <= len(batch) <= most
        assert len({one.call for one in batch}) == 1
        assert len(batch) == 1 or not any(one.alone for one in batch)
        left += [one.id for one in batch]
    assert sorted(left) == sorted({one.id for one in items} - gone)


@given(st.text(), st.binary(max_size=300))
def test_messages_come_out_as_they_went_in(text: str, body: bytes) -> None:
    """Any words, any bytes; lone surrogates too."""

    async def through() -> tuple[dict[str, object], bytes]:
        stream = asyncio.StreamReader()
        stream.feed_data(frames.packed({"text": text}, body))
        stream.feed_eof()
        return await frames.read(stream)

    assert asyncio.run(through()) == ({"text": text}, body)
