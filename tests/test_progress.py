"""What a person watches: the line, the remarks, JSON; from records only."""

from __future__ import annotations

import io
import json

from redloom.events import Advanced, Done, Ended, Event, Held, Started, Status, Stopped, Submitted
from redloom.lang import Text, use_language
from redloom.progress import JsonLines, PlainLines, Tally, clock_text, remark_on


def done(row: int, at: float, status: Status = "ok", price: float = 0.2) -> Done:
    """An outcome."""
    return Done(
        at=at,
        run="r",
        row=row,
        take=1,
        status=status,
        price=price,
        currency="CNY",
        error="why",
        code="c",
    )


def seen(*events: Event) -> Tally:
    """A tally that has seen these."""
    tally = Tally()
    for event in events:
        tally.see(event)
    return tally


def test_the_line_counts() -> None:
    """Done of total, not made, in flight, money: each from its records."""
    use_language("en")
    tally = seen(
        Started(at=0, run="r", total=10, done=2),
        *(Submitted(at=1, run="r", row=k, take=1, endpoint="e", task_id="t") for k in (3, 4, 5)),
        done(3, 60),
        done(4, 70, "refused", 0.0),
    )
    assert tally.line().startswith("4/10 · 1 not made · 1 in flight")
    assert "¥0.20" in tally.line()


def test_steps_of_pictures_in_the_making_are_shown() -> None:
    """Pictures whose service tells its steps: their average share, only while they are made."""
    use_language("en")
    started = Started(at=0, run="r", total=3)
    steps = [Advanced(at=1, run="r", row=k, take=1, fraction=0.3 * k) for k in (1, 2)]
    assert seen(started, *steps).line() == "0/3 · 2 in flight (45%)"
    assert "in flight (60%)" in seen(started, *steps, done(1, 2.0)).line()
    assert "%" not in seen(started, *steps, done(1, 2.0), done(2, 3.0)).line()
    use_language("zh")
    assert "在途 2 (45%)" in seen(started, *steps).line()


def test_the_end_is_foretold() -> None:
    """Five pictures a minute and ten left: two minutes."""
    tally = seen(Started(at=0, run="r", total=16), *(done(k, 12.0 * k) for k in range(1, 7)))
    assert tally.per_minute() == 5
    assert tally.eta_s() == 120


def test_waiting_for_quota_is_said() -> None:
    """A held endpoint shows a countdown, and no more once its time has come."""
    use_language("zh")
    held = Held(at=10, run="r", endpoint="e", reason=Text("慢", "slow"), until=52)
    assert "等配额 42 s" in seen(held).line()
    assert "等配额" not in seen(held, done(1, 60)).line()


def test_what_matters_is_said_at_once() -> None:
    """Rows not made and stopped endpoints are remarks; pictures are not."""
    assert remark_on(done(3, 1)) == ""
    assert remark_on(done(3, 1, "unpaid")) == ""
    assert remark_on(done(3, 1, "refused")) == "#3 refused: why [c]"
    assert "arrears" in remark_on(
        Stopped(at=1, endpoint="e", reason=Text("欠费 arrears", "arrears"))
    )


def test_a_status_is_told_in_the_readers_language() -> None:
    """The remark on a row not made names its status as the end of the run does."""
    use_language("zh")
    try:
        assert remark_on(done(3, 1, "refused")) == "#3 被拒：why [c]"
    finally:
        use_language("en")
    assert remark_on(done(3, 1, "in-doubt")) == "#3 in doubt: why [c]"


def test_rows_that_nobody_worked_on_are_no_speed() -> None:
    """Thousands of unpaid rows in one second are not a thousand pictures a second."""
    unpaid = seen(*(done(row, 1.0 + row / 100, "unpaid") for row in range(1, 100)))
    assert unpaid.per_minute() is None


def test_plain_lines_are_few() -> None:
    """In a pipe: now and then one line, the end always, the same line never twice."""
    out = io.StringIO()
    lines = PlainLines(out, clock=lambda: 0.0)
    for row in range(1, 101):
        lines(done(row, float(row)))
    lines(Ended(at=101, run="r", counts={"ok": 100}, state="done"))
    assert len(out.getvalue().splitlines()) == 2


def test_json_lines_hold_the_records() -> None:
    """Each event is a JSON object with its kind."""
    out = io.StringIO()
    JsonLines(out)(done(1, 2.0))
    record = json.loads(out.getvalue())
    assert (record["event"], record["row"], record["status"]) == ("done", 1, "ok")


def test_times_read_well() -> None:
    """Seconds, minutes, hours."""
    assert [clock_text(s) for s in (42, 185, 7380)] == ["42 s", "3:05", "2:03:00"]
