"""Judging a lost answer by the account's list: a wrong match is worse than a doubt."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from redloom.endpoint import Seen
from redloom.settle import (
    CLOSE_S,
    CRASH_S,
    WIDE_S,
    Adopt,
    Ambiguous,
    Bearing,
    Doubt,
    Forgotten,
    Later,
    Nothing,
    Verdict,
    bearing,
    judge,
    ripe_at,
    span,
)

LAG_S = 10.0
NOW = 1_700_000_000.0
EXACT = Bearing(0.0, CLOSE_S)

moments = st.floats(NOW - 4000, NOW + 4000)
tasks = st.builds(
    Seen, st.sampled_from("abcdefgh"), st.sampled_from(["m", "n"]), st.just("made"), moments
)
doubts = st.builds(
    lambda since, long: Doubt(1, "m", since, since + long), moments, st.floats(0, 60)
)


def judged(
    doubt: Doubt,
    seen: list[Seen],
    known: tuple[str, ...] = (),
    others: tuple[Doubt, ...] = (),
    *,
    clock: Bearing = EXACT,
    late_s: float = 0.0,
    words: bool = False,
) -> Verdict:
    """`judge` at ``late_s`` seconds after the list is whole."""
    return judge(
        doubt, seen, known, others, clock=clock, read_at=ripe_at(doubt, LAG_S) + late_s,
        list_lag_s=LAG_S, prompt_in_result=words,
    )  # fmt: skip


def at(moment: float, name: str = "a", model: str = "m") -> Seen:
    """A task created ``moment`` seconds after the doubt's intent."""
    return Seen(name, model, "made", NOW + moment)


MINE = Doubt(1, "m", NOW, NOW + 2)


def test_a_request_that_is_read_late_is_not_proved_absent() -> None:
    """A gateway may hold a request back and pass it on long after its connection broke: its words
    tell, and without words only that another doubt explains it.
    """
    for words in (True, False):
        assert judged(MINE, [at(CRASH_S)], words=words) == Ambiguous(("a",))
    other = Doubt(2, "m", NOW + CRASH_S - 1, NOW + CRASH_S + 1)
    assert judged(MINE, [at(CRASH_S)], others=(other,)) == Nothing()
    assert judged(MINE, [at(CRASH_S)], others=(other,), words=True) == Ambiguous(("a",))
    assert ripe_at(MINE, LAG_S) >= MINE.since + CRASH_S + LAG_S


@given(doubts, st.lists(tasks), st.floats(-10_000, -0.001))
def test_nothing_is_concluded_before_the_list_is_whole(
    doubt: Doubt, seen: list[Seen], early_s: float
) -> None:
    """Younger than the lag, the list says only: later."""
    verdict = judged(doubt, seen, late_s=early_s)
    assert verdict == Later(ripe_at(doubt, LAG_S)) or ripe_at(doubt, LAG_S) + early_s == ripe_at(
        doubt, LAG_S
    )


@given(
    doubts, st.lists(tasks, unique_by=lambda s: s.id), st.lists(doubts, max_size=3), st.booleans()
)
def test_only_a_lone_stranger_without_rivals_is_adopted(
    doubt: Doubt, seen: list[Seen], others: list[Doubt], wide: bool
) -> None:
    """Adopt only if exactly one unknown task fits and no other doubt could claim it."""
    clock = Bearing() if wide else EXACT
    verdict = judged(doubt, seen, others=tuple(others), clock=clock)
    since, until = clock.window(doubt)
    inside = [s for s in seen if s.model == "m" and since <= s.created <= until]
    if isinstance(verdict, Adopt):
        assert [s.id for s in inside] == [verdict.task_id]
        assert not any(clock.overlap(doubt, other) for other in others)
    if len(inside) > 1:
        assert isinstance(verdict, Ambiguous)
        late = {s.id for s in seen if s.model == "m" and clock.late(doubt, s.created)}
        fits = {s.id for s in inside}
        assert fits <= set(verdict.candidates) <= fits | late


@given(doubts, st.lists(tasks, unique_by=lambda s: s.id), st.booleans())
def test_nothing_is_proved_while_a_stranger_fits(
    doubt: Doubt, seen: list[Seen], wide: bool
) -> None:
    """Nothing only if no unknown task of the model lies in the window."""
    clock = Bearing() if wide else EXACT
    verdict = judged(doubt, seen, clock=clock)
    since, until = clock.window(doubt)
    fits = [s for s in seen if s.model == "m" and since <= s.created <= until]
    if isinstance(verdict, Nothing):
        assert fits == []
        assert not any(s.model == "m" and clock.late(doubt, s.created) for s in seen)
    if wide and any(s.model == "m" for s in seen):
        assert not isinstance(verdict, Nothing)


@given(doubts, st.lists(tasks, unique_by=lambda s: s.id))
def test_results_with_words_are_read_before_anything_is_adopted(
    doubt: Doubt, seen: list[Seen]
) -> None:
    """Where the words can be compared they are."""
    assert not isinstance(judged(doubt, seen, words=True), Adopt)


def test_the_cases_one_by_one() -> None:
    """What each neighbour of a doubt does to it."""
    assert judged(MINE, []) == Nothing()
    assert judged(MINE, [at(1)]) == Adopt("a")
    assert judged(MINE, [at(1)], ("a",)) == Nothing()
    assert judged(MINE, [at(1, model="n")]) == Nothing()
    assert judged(MINE, [Seen("a", "m", "failed", NOW + 1)]) == Nothing()
    assert judged(MINE, [at(1), Seen("b", "m", "canceled", NOW + 1)]) == Adopt("a")
    assert judged(MINE, [at(1), at(2, "b")]) == Ambiguous(("a", "b"))
    assert judged(MINE, [at(1), at(500, "b")]) == Ambiguous(("a",))
    far = Doubt(2, "m", NOW + 500, NOW + 500)
    near = Doubt(2, "m", NOW + 6, NOW + 6)
    assert judged(MINE, [at(1), at(500, "b")], others=(far,)) == Adopt("a")
    assert judged(MINE, [at(1)], others=(near,)) == Ambiguous(("a",))
    assert judged(MINE, [at(9000)], clock=Bearing()) == Ambiguous(("a",))


@given(
    st.floats(-90_000, 90_000),
    st.lists(st.tuples(moments, st.floats(0, 40), st.floats(0, 4000)), min_size=1, max_size=8),
)
def test_the_bearing_holds_the_true_offset(
    offset: float, ours: list[tuple[float, float, float]]
) -> None:
    """However late we heard of a ticket, the service's clock is within offset and margin."""
    seen, known = [], {}
    for number, (intent, created, heard) in enumerate(ours):
        seen.append(Seen(str(number), "m", "made", intent + created + offset))
        known[str(number)] = (intent, intent + created + heard)
    found = bearing(seen, known)
    if found != Bearing():
        assert abs(found.offset - offset) <= found.margin


@given(st.floats(-90_000, 90_000), st.floats(0, 30), st.floats(0, 2))
def test_a_wrong_clock_does_not_hide_a_task(offset: float, slow: float, into: float) -> None:
    """With one known task as a bearing, ours is in the window whatever the machine's clock says."""
    known = {"k": (NOW - 60, NOW - 60 + slow)}
    seen = [
        Seen("k", "m", "made", NOW - 60 + slow / 2 + offset),
        Seen("a", "m", "made", NOW + into + offset),
    ]
    clock = bearing(seen, known)
    assume(clock != Bearing())
    assert judged(MINE, seen, ("k",), clock=clock) == Adopt("a")


def test_contradicting_bearings_are_none() -> None:
    """A clock that was set in between: wide again."""
    seen = [Seen("a", "m", "made", NOW), Seen("b", "m", "made", NOW + 10_000)]
    assert bearing(seen, {"a": (NOW, NOW + 1), "b": (NOW, NOW + 1)}) == Bearing()
    assert Bearing().wide
    assert not EXACT.wide


def test_the_list_is_read_wide_enough() -> None:
    """At least the wide window; the whole day while nothing tells the service's clock."""
    near, far = span(MINE, wide=False), span(MINE, wide=True)
    assert near[0] <= MINE.since - WIDE_S
    assert near[1] >= MINE.until + WIDE_S
    assert far == (MINE.since - 86400, MINE.until + 86400)


def test_a_record_that_may_be_gone_proves_nothing() -> None:
    """Near the end of the service's memory an empty list is no proof that nothing was bought."""
    assert judged(MINE, [], late_s=82_000) == Nothing()
    assert judged(MINE, [], late_s=86_400) == Forgotten()
    assert judged(MINE, [], late_s=86_400, words=True) == Forgotten()
