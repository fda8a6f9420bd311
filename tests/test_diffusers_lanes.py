"""Two threads that denoise and decode: who waits for whom, and that nobody waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from redloom.diffusers_worker.lanes import Lanes

BOUND_S = 20


def together(*works: Callable[[], None]) -> None:
    """Run each in a thread; one that hangs or raises fails the test."""
    with ThreadPoolExecutor(len(works)) as threads:
        for done in [threads.submit(work) for work in works]:
            done.result(BOUND_S)


def test_one_denoises_while_another_decodes() -> None:
    """The turn goes on when decoding begins, not when it ends."""
    lanes, second_has_it = Lanes(), threading.Event()
    lanes.take()
    first_decodes = threading.Event()

    def first() -> None:
        lanes.take()
        lanes.hand_over()
        first_decodes.set()
        assert second_has_it.wait(BOUND_S)
        lanes.finished()

    def second() -> None:
        assert first_decodes.wait(BOUND_S)
        lanes.take()
        second_has_it.set()
        lanes.give()

    lanes.give()
    together(first, second)


def test_settling_waits_for_decoders() -> None:
    """Who has the turn and settles goes on only when nothing is decoded any more."""
    lanes, order = Lanes(), list[str]()
    decodes, settles = threading.Event(), threading.Event()

    def decoder() -> None:
        lanes.take()
        lanes.hand_over()
        decodes.set()
        assert settles.wait(BOUND_S)
        order.append("decoded")
        lanes.finished()

    def settler() -> None:
        assert decodes.wait(BOUND_S)
        lanes.take()
        settles.set()
        assert lanes.settle()
        order.append("settled")
        assert not lanes.settle()
        lanes.give()

    together(decoder, settler)
    assert order == ["decoded", "settled"]


def test_a_decoder_that_wants_to_be_alone_goes_first() -> None:
    """One settles with the turn in hand while a decoder asks for it: the decoder gets it, then the
    other has it back.
    """
    lanes, order = Lanes(), list[str]()
    decodes, has_turn = threading.Event(), threading.Event()

    def decoder() -> None:
        lanes.take()
        lanes.hand_over()
        decodes.set()
        assert has_turn.wait(BOUND_S)
        lanes.alone()
        order.append("alone")
        lanes.finished()
        lanes.give()

    def settler() -> None:
        assert decodes.wait(BOUND_S)
        lanes.take()
        has_turn.set()
        lanes.settle()
        order.append("settled")
        lanes.give()

    together(decoder, settler)
    assert order == ["alone", "settled"]


def test_no_order_of_events_hangs() -> None:
    """Two threads with hundreds of batches that decode beside, alone, or settle before: all end,
    and never do two denoise, nor does one denoise beside a decoder that is alone.
    """
    lanes, inside = Lanes(), list[int]()

    def carry(which: int) -> None:
        for number in range(300):
            lanes.take()
            inside.append(which)
            assert inside == [which]
            if (number + which) % 3 == 0:
                inside.clear()
                lanes.settle()
                inside.append(which)
                assert inside == [which]
            inside.clear()
            if number % 7 == 0:  # memory is short: not beside
                with lanes.decoder:
                    lanes.give()
                continue
            lanes.hand_over()
            with lanes.decoder:
                if number % 5 == 0:
                    lanes.alone()
                    inside.append(which)
                    assert inside == [which]
                    inside.clear()
            lanes.finished()
            lanes.give()

    together(lambda: carry(1), lambda: carry(2))
