"""Flags inside prompts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redloom.prompt_flags import take_flags


@pytest.mark.parametrize(
    ("text", "words", "found", "ignored"),
    [
        ("a fox --ar 3:4", "a fox", {"size": "3:4"}, ""),
        ("a fox —ar 16:9 —v 6.1", "a fox", {"size": "16:9"}, "—v 6.1"),
        ("a --tile fox", "a fox", {}, "--tile"),
        ("a fox --no text, hands --seed 7", "a fox", {"negative": "text, hands", "seed": "7"}, ""),
        ("rock--and--roll -- yes", "rock--and--roll -- yes", {}, ""),
        ("a fox --unknown 3", "a fox --unknown 3", {}, ""),
        ('--prompt "a" --n_iter 2 --batch_size 3', "a", {"n": "6"}, ""),
        ("--prompt 'a b' --width 640", "a b", {}, "--width 640"),
    ],
)
def test_flags(text: str, words: str, found: dict[str, str], ignored: str) -> None:
    """Known ones are read, those without a meaning here set aside, all else is words."""
    flagged = take_flags(text)
    assert (flagged.text, flagged.found, flagged.ignored) == (words, found, ignored)


@given(st.text(max_size=60))
def test_words_without_flags_stay(text: str) -> None:
    """A prompt without two dashes is left as it is, to the character."""
    if not any(dash in text for dash in ("--", "—", "–")):
        assert take_flags(text).text == text


@given(
    st.lists(
        st.sampled_from(["fox", "--ar", "3:4", "--v", "6", "--tile", "snow", "--no", "x", '"']),
        max_size=9,
    )
)
def test_no_word_is_lost(parts: list[str]) -> None:
    """Every word ends in the prompt, in a setting, or among what is set aside."""
    flagged = take_flags(" ".join(parts))
    kept = f"{flagged.text} {' '.join(flagged.found.values())} {flagged.ignored}"
    assert kept.count("snow") + kept.count("fox") == parts.count("snow") + parts.count("fox") or (
        parts.count("--no") + parts.count("--ar") > 1
    )


def test_settings_of_a1111_are_options() -> None:
    """Steps and the like go to endpoints that know them, as numbers; the rest is as before."""
    line = take_flags('--prompt "a" --steps 20 --cfg_scale 6.5 --sampler_name "DPM++ 2M"')
    assert line.options == {"steps": 20, "cfg_scale": 6.5, "sampler_name": "DPM++ 2M"}
    inside = take_flags("a fox --steps 30 --v 6")
    assert (inside.text, inside.options, inside.ignored) == ("a fox", {"steps": 30}, "--v 6")
