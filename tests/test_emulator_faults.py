"""Faults: how they are written, when they fall."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redloom.emulators.faults import Fault, Faults, names_table, parse
from redloom.errors import BadInput
from redloom.lang import Text

KNOWN = {
    "poll_error": Fault("poll", "error", Text("错", "error")),
    "poll_reset": Fault("poll", "reset", Text("断", "reset")),
    "submit_reset": Fault("submit", "reset", Text("断", "reset")),
    "arrears_from": Fault("submit", "arrears", Text("欠", "arrears"), "from"),
    "key_from": Fault("submit", "key", Text("钥", "key"), "from"),
    "outage": Fault("", "outage", Text("停", "outage"), "window"),
}


def test_everything_at_once() -> None:
    """Rates, scripts, ranges, from-on and windows in one line."""
    faults = parse(
        "poll_error=0.25, poll_reset=0.5,@7:submit=reset,@2-4:poll=reset,arrears_from=9,key_from=12,outage=10-20.5",
        KNOWN,
    )
    assert faults.rates == {"poll": (("error", 0.25), ("reset", 0.5))}
    assert faults.at(0, "submit", 7, "x", 1) == "reset"
    assert [faults.at(0, "submit", number, "x", 1) for number in (6, 8)] == ["", ""]
    assert [faults.at(0, "poll", number, "x", 1) for number in (2, 3, 4)] == ["reset"] * 3
    assert [faults.standing(number) for number in (8, 9, 12)] == ["", "arrears", "arrears"]
    assert [faults.window(at) for at in (9.9, 10, 20.4, 20.5)] == ["", "outage", "outage", ""]


def test_rates_hold_and_repeat_whatever_the_order() -> None:
    """A share of requests fails, always the same ones; another try is another throw."""
    faults = parse("poll_error=0.2,poll_reset=0.1", KNOWN)
    throws = [faults.at(5, "poll", 0, str(number), 1) for number in range(3000)]
    assert abs(throws.count("error") / 3000 - 0.2) < 0.03
    assert abs(throws.count("reset") / 3000 - 0.1) < 0.02
    assert throws[::-1] == [
        faults.at(5, "poll", 9, str(number), 1) for number in range(2999, -1, -1)
    ]
    assert throws != [faults.at(5, "poll", 0, str(number), 2) for number in range(3000)]
    assert throws != [faults.at(6, "poll", 0, str(number), 1) for number in range(3000)]


def test_nothing_asked_nothing_falls() -> None:
    """The empty text is a faultless service."""
    faults = parse(" , ", KNOWN)
    assert faults == Faults()
    assert (faults.at(0, "poll", 1, "x", 1), faults.standing(10**6), faults.window(5)) == (
        "",
        "",
        "",
    )


def test_unknown_names_name_the_known() -> None:
    """A typing slip is answered with what there is."""
    with pytest.raises(BadInput, match="poll_reset"):
        parse("pol_error=0.1", KNOWN)
    with pytest.raises(BadInput, match="submit=reset"):
        parse("@3:submit=rest", KNOWN)


@pytest.mark.parametrize(
    "text",
    [
        "poll_error", "poll_error=", "poll_error=2", "poll_error=-1", "poll_error=nan",
        "poll_error=0.6,poll_reset=0.6", "@0:poll=error", "@9-3:poll=error", "@1:poll",
        "@x:poll=error", "@1-999999999:poll=error", "arrears_from=0", "arrears_from=x",
        "outage=5", "outage=9-3", "outage=a-b", "@1:submit=arrears",
    ],
)  # fmt: skip
def test_bad_values_are_bad_input(text: str) -> None:
    """What makes no sense is refused in words, in both languages."""
    with pytest.raises(BadInput) as caught:
        parse(text, KNOWN)
    assert caught.value.text.zh != caught.value.text.en


@given(st.text(alphabet="@:=,-.0123456789 abcdefpollrstuim_\n", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text ends in anything but faults or BadInput."""
    with suppress(BadInput):
        assert isinstance(parse(text, KNOWN), Faults)


def test_table_has_a_row_for_each() -> None:
    """The documentation's table is made from the names."""
    for lang in ("zh", "en"):
        table = names_table(KNOWN, lang)
        assert len(table.splitlines()) == len(KNOWN) + 2
    assert "| `poll_error=P` | `@N:poll=error` | error |" in names_table(KNOWN, "en")
    assert "| `outage=START-END` |  | outage |" in names_table(KNOWN, "en")


def test_documentation_names_every_fault() -> None:
    """The table in docs/emulators.md is the one made from the code."""
    from pathlib import Path

    from redloom.emulators.dashscope import FAULTS

    page = Path(__file__).parent.parent / "docs" / "emulators.md"
    assert names_table(FAULTS, "en") in page.read_text(encoding="utf-8")
