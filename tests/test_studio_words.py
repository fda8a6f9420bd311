"""Words in the reader's language: outcomes by their code, one frame for readers of both."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redloom import errors
from redloom.lang import Text, use_language
from redloom.studio.feed import ROOT, frame
from redloom.studio.words import (
    _BY_CODE,
    Said,
    in_language,
    language_of,
    outcome_words,
    stopped_words,
)


@pytest.mark.parametrize(
    ("text", "lang"),
    [
        ("内容审核没有通过（DataInspectionFailed）。没有花钱。", "zh"),
        ("HTTP 500 InternalError：服务暂时不可用，没有花钱。", "zh"),
        ("The service refused the prompt (“包含不当内容”); nothing was spent.", "en"),
        ("Cancelled.", "en"),
    ],
)
def test_a_sentence_is_known_by_its_bulk(text: str, lang: str) -> None:
    """A quoted word of the other language does not turn it."""
    assert language_of(text) == lang


def test_an_outcome_is_told_in_both_languages() -> None:
    """As recorded in its own language, by its code in the other; a service's own code stays seen."""
    recorded = "服务拒绝了“x”。没有花钱。"
    said = outcome_words("refused", "content-refused", recorded)
    assert said.text.zh == recorded
    assert language_of(said.text.en) == "en"
    said = outcome_words("refused", "DataInspectionFailed", "The service refused it.")
    assert said.text.en == "The service refused it."
    assert "DataInspectionFailed" in said.text.zh
    assert outcome_words("ok", "", "") == ""
    assert outcome_words("odd", "odd", "as it is").text == Text("as it is", "as it is")


def test_every_error_that_can_end_a_row_has_its_sentence() -> None:
    """Services' and pictures' errors, each by its code, in two languages that are what they say."""
    kinds = [*_below(errors.ServiceError), *_below(errors.PictureError)]
    for kind in kinds:
        assert kind.code in _BY_CODE or kind is errors.ServiceError, kind
    for words in _BY_CODE.values():
        assert (language_of(words.zh), language_of(words.en)) == ("zh", "en"), words


def _below(kind: type[errors.RedloomError]) -> list[type[errors.RedloomError]]:
    return [kind, *(one for direct in kind.__subclasses__() for one in _below(direct))]


def test_a_frame_speaks_to_each_reader() -> None:
    """Nested words and all; a frame without words of ours is kept once."""
    one = frame("x", {"rows": [{"error": Said(Text("一", "one"))}], "url": f"{ROOT}/a"}, (3, 4))
    zh, en = (_data(one.sent(b"http://h", lang)) for lang in ("zh", "en"))
    assert zh == {"rows": [{"error": "一"}], "url": "http://h/a"}
    assert en["rows"] == [{"error": "one"}]
    assert one.sent(b"", "en").startswith(b"id: 3.4\nevent: x\n")
    assert frame("x", {"n": 1}).english == b""


def _data(sent: bytes) -> dict[str, object]:
    line = next(one for one in sent.decode().splitlines() if one.startswith("data: "))
    found: dict[str, object] = json.loads(line[6:])
    return found


@given(st.recursive(st.none() | st.integers() | st.text(), lambda of: st.lists(of) | st.dictionaries(st.text(), of)))  # fmt: skip
def test_other_json_is_left_alone(data: object) -> None:
    """Only words of ours differ by language."""
    assert in_language(data, "zh") == in_language(data, "en") == data


def test_said_is_the_sentence_in_force() -> None:
    """A string like any other where one reader asks."""
    use_language("en")
    assert Said(Text("一", "one")) == "one"
    use_language("zh")
    assert json.dumps({"a": Said(Text("一", "one"))}, ensure_ascii=False) == '{"a": "一"}'
    use_language(None)


def test_why_an_endpoint_stopped_is_told_as_it_was_heard() -> None:
    """In both languages where the event was heard and still holds; else as it is kept."""
    heard = Text("密钥被拒", "key refused")
    assert stopped_words("key refused", heard).text == heard
    assert stopped_words("something newer", heard).text == Text("something newer", "something newer")  # fmt: skip
