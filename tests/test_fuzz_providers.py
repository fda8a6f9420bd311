"""Every provider's reading of answers, fuzzed: odd bytes, any JSON, real answers with parts wrong.

Whatever comes, a provider answers with one of the seam's values or raises a service error: no
other exception, no endless asking, nothing that the journal cannot write down. A submit that was
accepted is never called "not accepted" because its answer is spoilt, and a list with a spoilt row
is never shorter for it, because both would buy a picture twice.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.hostile import (
    HEADERS,
    ODD,
    PAGES,
    STATUSES,
    as_bytes,
    at,
    bodies,
    changed,
    json_values,
    mutated,
    paths,
    put,
    without,
)
from helpers.replay import Raw, Recorded, playing, recorded, subjects
from redloom.conformance import Subject
from redloom.endpoint import (
    Canceled,
    Failed,
    Made,
    Picture,
    Price,
    Provider,
    Seen,
    Ticket,
    Times,
    Unknown,
    Waiting,
    read_json,
)
from redloom.errors import AnswerLost, ServiceError, TaskFailed
from redloom.task import (
    failed_ending,
    made_ending,
    picture_from_json,
    picture_to_json,
    ticket_from_json,
    ticket_to_json,
)
from redloom.testing import START, run

SUBJECTS = subjects()
FAR = (START - 3600.0, START + 3600.0)
BRIEF = settings(
    max_examples=30,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
LONG = settings(BRIEF, max_examples=1500, derandomize=False)
WORDS_MOST = 1200
"""Characters of a sentence for people, however much a service talks."""

Asking = Callable[[Provider, Recorded], Coroutine[Any, Any, Any]]
CALLS: dict[str, Asking] = {
    "submit": lambda provider, known: provider.submit(known.asked, known.lane),
    "poll": lambda provider, known: provider.poll(known.ticket or Ticket("t-1")),
    "look": lambda provider, _known: provider.look(*FAR),
    "cancel": lambda provider, known: provider.cancel(known.ticket or Ticket("t-1")),
    "check": lambda provider, _known: provider.check(),
}  # fmt: skip


def ask(known: Recorded, call: str, answers: Sequence[Raw], folder: Path) -> Any:
    """What a call comes to, or the service error that it raises; anything else is a failure."""

    async def asking() -> Any:
        provider = playing(known.subject, answers, folder)
        try:
            return await CALLS[call](provider, known)
        except ServiceError as error:
            return error
        finally:
            await provider.close()

    return run(asking())


# what may come back


def hold(call: str, came: Any) -> None:
    """Hold what a call came to against the seam."""
    if isinstance(came, ServiceError):
        _sound_error(came)
        return
    match call, came:
        case "submit", Ticket():
            assert came.id
            assert ticket_from_json(_written(ticket_to_json(came))) == came
            _written(came.id, came.request_id)
        case (("submit" | "poll"), Made()):
            _sound_made(came)
        case "poll", Failed():
            _sound_error(came.error)
            _sound_times(came.times)
            _written(came.original_prompt)
            failed_ending(came, 0.0)
        case "poll", Waiting() | Canceled():
            _sound_times(came.times)
        case ("poll", Unknown()) | ("cancel", bool()) | ("check", None):
            pass
        case "look", _:
            for seen in came:
                _sound_seen(seen)
        case _:
            raise AssertionError(f"{call} came to {came!r}")


def _sound_error(error: ServiceError) -> None:
    zh, en = error.text
    assert zh.strip()
    assert en.strip()
    assert len(zh) < WORDS_MOST
    assert len(en) < WORDS_MOST
    assert len(error.service_code) < 300
    _written(zh, en, error.service_code)
    wait = getattr(error, "retry_after_s", None)
    assert wait is None or wait >= 0


def _sound_made(made: Made) -> None:
    for picture in (made.picture, *made.extra):
        _sound_picture(picture)
    _sound_times(made.times)
    _written(made.original_prompt, made.request_id)
    if made.price is not None:
        _sound_price(made.price)
    made_ending(made, 0.0)


def _sound_picture(picture: Picture) -> None:
    assert picture.url or picture.data or picture.file
    if picture.data is None:
        assert picture_from_json(_written(picture_to_json(picture))) == picture
    _written(picture.url, picture.revised_prompt)
    assert picture.seed is None or isinstance(picture.seed, int)


def _sound_price(price: Price) -> None:
    assert price.amount is None or (math.isfinite(price.amount) and price.amount >= 0)


def _sound_times(times: Times) -> None:
    for moment in (times.queued, times.started, times.ended):
        assert moment is None or (isinstance(moment, float) and math.isfinite(moment))


def _sound_seen(seen: Seen) -> None:
    assert isinstance(seen.id, str)
    assert seen.id
    assert math.isfinite(seen.created)
    assert seen.state in ("queued", "running", "made", "failed", "canceled", "unknown")
    _sound_times(Times(seen.created, seen.started, seen.ended))
    _written(seen.id, seen.model)


def _written(*texts: str) -> str:
    """The texts, which the journal has to be able to write (a lone surrogate is none)."""
    for text in texts:
        assert isinstance(text, str)
        text.encode("utf-8")
    return texts[0]


# any answer at all


def _any_answer(known: Recorded) -> st.SearchStrategy[list[Raw]]:
    real = [raw for answers in known.calls.values() for raw in answers]
    spoilt = st.sampled_from(real).flatmap(_spoilt) if real else st.nothing()
    made_up = st.builds(
        Raw, bodies([raw.body for raw in real]), st.sampled_from(STATUSES), st.sampled_from(HEADERS)
    )
    return st.lists(made_up | spoilt | st.sampled_from(real or [Raw(b"")]), min_size=1, max_size=3)


def _spoilt(raw: Raw) -> st.SearchStrategy[Raw]:
    try:
        value = json.loads(raw.body)
    except ValueError:
        return st.just(raw)
    status = st.sampled_from((raw.status, raw.status, 200, 400, 500))
    return st.builds(
        lambda found, code: replace(raw, body=as_bytes(found[0]), status=code),
        mutated(value),
        status,
    )


def _anything(subject: Subject, folder: Path, how: settings) -> None:
    known = recorded(subject)

    @how
    @given(answers=_any_answer(known), call=st.sampled_from(list(CALLS)))
    def whatever_comes(answers: list[Raw], call: str) -> None:
        hold(call, ask(known, call, answers, folder))

    whatever_comes()


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_whatever_comes_is_an_answer_or_a_service_error(subject: Subject, tmp_path: Path) -> None:
    """Odd bytes, any JSON, real answers spoilt or mixed up, to every call."""
    _anything(subject, tmp_path, BRIEF)


@pytest.mark.chaos
@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_whatever_comes_at_length(subject: Subject, tmp_path: Path) -> None:
    """The same with many more examples, other ones each time."""
    _anything(subject, tmp_path, LONG)


# real answers with one thing wrong, every one of them


def _last_spoilt(answers: Sequence[Raw], body: Any) -> list[Raw]:
    return [*answers[:-1], replace(answers[-1], body=as_bytes(body))]


def _one_wrong(value: Any) -> Iterable[tuple[tuple[str | int, ...], Any]]:
    """Where the fault is, and the answer with it: each part missing, and each part odd."""
    for where in paths(value):
        if where:
            yield where, without(value, where)
        for odd in ODD:
            yield where, put(value, where, odd)


def _value_of(answers: Sequence[Raw]) -> Any:
    """The last answer's JSON, its long strings (pictures) shortened, so that many can be tried."""
    value = json.loads(answers[-1].body)
    for where in paths(value):
        value = changed(value, where, lambda one: one[:400] if isinstance(one, str) else one)
    return value


def _safe(came: Any, body: Any, *, free: bool) -> bool:
    """Whether what a spoilt acceptance came to keeps the money safe.

    A list that is plainly empty is an answer of its own: the service made nothing. So are words
    in the place of a picture.
    """
    if isinstance(came, Ticket | Made | AnswerLost) or (free and isinstance(came, ServiceError)):
        return True
    empty = isinstance(body, dict) and [] in body.values()
    return isinstance(came, TaskFailed) and (empty or "only said" in came.text.en)


def _sample(every: Iterable[Any], most: int) -> list[Any]:
    """About ``most`` of them, evenly spread."""
    found = list(every)
    return found[:: max(1, len(found) // most)]


def _acceptances(subject: Subject, folder: Path, most: int) -> None:
    known = recorded(subject)
    free = subject.capabilities().free
    answers = known.calls["submit"]
    for where, body in _sample(_one_wrong(_value_of(answers)), most):
        came = ask(known, "submit", _last_spoilt(answers, body), folder)
        hold("submit", came)
        assert _safe(came, body, free=free), f"{where}: {came!r} of {str(body)[:300]}"


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_a_spoilt_acceptance_is_never_called_a_no(subject: Subject, tmp_path: Path) -> None:
    """Accepted, one thing wrong with the answer: a ticket, a picture or a doubt; never "again"."""
    _acceptances(subject, tmp_path, 60)


@pytest.mark.chaos
@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_every_spoilt_acceptance(subject: Subject, tmp_path: Path) -> None:
    """Each part of each acceptance, missing and in every odd shape."""
    _acceptances(subject, tmp_path, 10**9)


LISTING = [
    one for one in SUBJECTS if one.capabilities().lists_tasks and not one.capabilities().free
]


def _lists(subject: Subject, folder: Path, most: int) -> None:
    known = recorded(subject)
    answers = known.calls["look"]
    assert known.ticket is not None
    for where, body in _sample(_one_wrong(_value_of(answers)), most):
        came = ask(known, "look", _last_spoilt(answers, body), folder)
        hold("look", came)
        about_row = len(where) > 2 and "id" not in str(where[-1]) and "creat" not in str(where[-1])
        if about_row and not isinstance(came, ServiceError):
            there = known.ticket.id in {seen.id for seen in came}
            assert there, f"{where}: the task is no longer listed, of {str(body)[:300]}"


@pytest.mark.parametrize("subject", LISTING, ids=str)
def test_a_spoilt_row_never_leaves_the_list(subject: Subject, tmp_path: Path) -> None:
    """One thing wrong with a row: it is still listed, or the list is called unreadable."""
    _lists(subject, tmp_path, 120)


@pytest.mark.chaos
@pytest.mark.parametrize("subject", LISTING, ids=str)
def test_every_spoilt_list(subject: Subject, tmp_path: Path) -> None:
    """Each part of each list, missing and in every odd shape."""
    _lists(subject, tmp_path, 10**9)


@pytest.mark.parametrize("call", ["waiting", "poll", "cancel", "check", "key"])
@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_a_spoilt_answer_to_a_question(subject: Subject, call: str, tmp_path: Path) -> None:
    """Polls, cancels, checks, refusals with one thing wrong: a value of the seam, or its error."""
    known = recorded(subject)
    answers = known.calls.get(call) or []
    if not answers or not answers[-1].body.startswith(b"{"):
        pytest.skip(f"{subject} has no such answer, or none in JSON")
    asked = {"waiting": "poll", "key": "submit"}.get(call, call)
    for _, body in _sample(_one_wrong(_value_of(answers)), 25):
        hold(asked, ask(known, asked, _last_spoilt(answers, body), tmp_path))


@pytest.mark.parametrize("page", PAGES, ids=range(len(PAGES)))
def test_no_page_is_taken_for_json(page: bytes) -> None:
    """What `read_json` makes of a page can be written into the journal, or is nothing."""
    for charset in ("utf-8", "utf-16", "latin-1"):
        value = read_json(page.decode(charset, "replace"))
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode("utf-8")


@given(value=json_values())
@settings(BRIEF, max_examples=150)
def test_read_json_gives_what_the_journal_can_keep(value: Any) -> None:
    """No NaN, no endless number, no half of a pair, whatever Python's own reader would take."""
    kept = read_json(json.dumps(value))
    json.dumps(kept, allow_nan=False, ensure_ascii=False).encode("utf-8")
    for where in paths(kept):
        number = at(kept, where)
        assert not isinstance(number, int) or abs(number) < 10**20


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.text()
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    )
)  # fmt: skip
@settings(BRIEF, max_examples=150)
def test_read_json_changes_nothing_that_is_sound(value: Any) -> None:
    """Ordinary JSON comes through as it is, whole surrogate pairs included."""
    assert read_json(json.dumps(value)) == value
