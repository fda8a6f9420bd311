"""Lost answers to the same words: a picture is somebody's only where it can be nobody else's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redloom.job import Request
from redloom.twins import Wanted, surely

SIZES = ("", "64x64", "96x64", "64x96", "3:2", "1:1")


def wanted(size: str = "", seed: int | None = None, words: str = "a", sent: str = "") -> Wanted:
    """What a request asked for."""
    return Wanted.of(Request(words, size=size, seed=seed), sent, seed)


requests = st.builds(
    wanted, st.sampled_from(SIZES), st.sampled_from([None, 1, 2]), st.sampled_from("ab")
)
seen_sizes = st.sampled_from([None, (64, 64), (96, 64), (64, 96)])


@given(requests, st.lists(requests, max_size=4), seen_sizes, st.sampled_from([None, 1, 2]))
def test_a_picture_is_never_surely_two_requests(
    mine: Wanted, others: list[Wanted], size: tuple[int, int] | None, seed: int | None
) -> None:
    """If it is surely mine, it is surely none of those from whom it had to be told."""
    rivals = mine.rivals(others)
    if rivals and surely(mine, rivals, size, seed):
        for one in rivals:
            assert not surely(one, one.rivals([mine]), size, seed)


def test_takes_are_no_rivals() -> None:
    """Two takes of one request, and other words, have nothing to be told from."""
    one, other = (Wanted.of(Request("a", take=take), "", None) for take in (1, 2))
    assert one.rivals([other, wanted(words="b"), one]) == []
    assert one.rivals([wanted(seed=1)]) != []


@pytest.mark.parametrize(
    ("mine", "rival", "size", "seed", "sure"),
    [
        (wanted("96x64", sent="96x64"), wanted("64x96", sent="64x96"), (96, 64), None, True),
        (wanted("96x64", sent="96x64"), wanted("64x96", sent="64x96"), (64, 96), None, False),
        (wanted("96x64", sent="96x64"), wanted("64x96", sent="64x96"), (64, 64), None, False),
        (wanted("96x64", sent="96x64"), wanted("64x96", sent="64x96"), None, None, False),
        (wanted("3:2"), wanted("2:3"), (1250, 832), None, True),
        (wanted("96x64"), wanted(""), (96, 64), None, False),
        (wanted("", 1), wanted("", 2), (64, 64), 1, True),
        (wanted("", 1), wanted("", 2), (64, 64), 2, False),
        (wanted("", 1), wanted("", 2), (64, 64), None, False),
        (wanted("", 1), wanted(""), None, 1, False),
        (wanted("96x64", 1), wanted("64x96", 1), (64, 96), 1, False),
    ],
)
def test_what_tells(
    mine: Wanted, rival: Wanted, size: tuple[int, int] | None, seed: int | None, sure: bool
) -> None:
    """A size or a shape that only mine asked for, a seed that only mine was sent."""
    assert surely(mine, [rival], size, seed) is sure
