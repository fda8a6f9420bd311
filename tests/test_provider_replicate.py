"""Replicate: what is sent, what each answer means, the list, every documented code."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canned import CLASSES, KEY, HandClock, Reply, against, asked, run, scripted
from redloom.emulators.replicate import (
    VERSION,
    Emulated,
    ReplicateEmulator,
    ServiceTime,
    parse_faults,
)
from redloom.endpoint import (
    Asked,
    Canceled,
    Failed,
    Made,
    Outcome,
    Provider,
    Seen,
    Ticket,
    Unknown,
    Waiting,
)
from redloom.errors import (
    AnswerLost,
    ContentRefused,
    KeyRefused,
    NotAllowed,
    Refused,
    ServiceError,
    TaskFailed,
    Throttled,
    Unavailable,
    Withheld,
)
from redloom.providers._replicate_errors import CODES, kind_of, of_prediction, read
from redloom.providers._replicate_models import SHAPES, nearest_shape
from redloom.providers.replicate import _moment

DEV, PRO = "black-forest-labs/flux-dev", "black-forest-labs/flux-1.1-pro"
ID = "gm3qorzdhgbfurvjtvhg6dckhu"
TICKET = Ticket(ID, ID)
LINK = "https://replicate.delivery/xezq/a.png"
AT = 1_767_225_600.0


def prediction(status: str, **more: Any) -> Reply:
    body = {"id": ID, "status": status, "created_at": iso(AT), "input": {"prompt": "p"}, **more}
    return Reply(body)


def iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")


def problem(title: str, status: int, detail: str = "no") -> Reply:
    return Reply({"title": title, "detail": detail, "status": status}, status)


async def submitted(provider: Provider, wish: Asked) -> object:
    return await provider.submit(wish, "async")


async def polled(provider: Provider) -> Outcome:
    return await provider.poll(TICKET)


def test_what_is_sent() -> None:
    """One picture, the shape by name, the seed; official models by name, others by version."""
    provider, heard = scripted("replicate", Reply({"id": ID}, 201))
    fitted = provider.fit(asked(DEV, size=(1080, 1440), seed=3))
    assert len(fitted.notes) == 1
    assert run(lambda: submitted(provider, fitted.asked)) == TICKET
    assert heard[0].url == f"https://api.replicate.com/v1/models/{DEV}/predictions"
    assert heard[0].headers["Authorization"] == f"Bearer {KEY}"
    assert heard[0].body == {
        "input": {
            "prompt": "一条红围巾",
            "output_format": "png",
            "aspect_ratio": "3:4",
            "num_outputs": 1,
            "seed": 3,
        }
    }
    run(lambda: submitted(provider, asked(f"somebody/watercolour:{VERSION}")))
    assert heard[1].url == "https://api.replicate.com/v1/predictions"
    assert heard[1].body["version"] == VERSION
    run(lambda: submitted(provider, asked(PRO, references=("https://a/b.png",))))
    assert heard[2].body["input"]["image_prompt"] == "https://a/b.png"
    assert "num_outputs" not in heard[2].body["input"]


@given(width=st.integers(1, 9000), height=st.integers(1, 9000))
def test_every_size_has_a_shape(width: int, height: int) -> None:
    """A size becomes the nearest shape; a shape's own sizes become itself."""
    assert nearest_shape((width, height)) in SHAPES
    for shape in SHAPES:
        across, down = (int(part) for part in shape.split(":"))
        assert nearest_shape((across * 100, down * 100)) == shape


def test_prices_and_limits() -> None:
    """A price from the table or unknown; 600 and 3000 calls a minute."""
    provider, _ = scripted("replicate")
    assert provider.price(asked(DEV)).amount == 0.025
    assert provider.price(asked(PRO)).source == "unknown"
    assert provider.price(asked(f"{DEV}:abc")).amount == 0.025
    limits = provider.limits()
    assert (limits.submit_per_second, limits.poll_per_second) == (10.0, 50.0)


@pytest.mark.parametrize(
    "title", sorted(code for code in CODES if not code.startswith(("E", "NSFW")))
)
def test_every_documented_title(title: str) -> None:
    """Each problem at submit raises the class of its kind, and hides the key."""
    provider, _ = scripted("replicate", problem(title, 400, f"words {KEY}"))
    with pytest.raises(ServiceError) as caught:
        asyncio.run(submitted(provider, asked(DEV)))
    assert type(caught.value) is CLASSES[CODES[title]]
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "kind"),
    [(f"Something went wrong ({code})", CODES[code]) for code in CODES if code.startswith("E")]
    + [
        ("NSFW content detected. Try running it again, or try a different prompt.", "output"),
        ("The input or output was flagged as sensitive. Please try again (E005)", "output"),
        ("CUDA out of memory", "failed"),
        ("E9999: news", "failed"),
        ("", "failed"),
    ],
)
def test_every_code_of_a_failed_prediction(words: str, kind: str) -> None:
    """A failed prediction is a failure, a refusal, or blocked output with another seed to try."""
    assert kind_of(of_prediction(words)) == kind
    provider, _ = scripted("replicate", prediction("failed", error=words))
    outcome = asyncio.run(polled(provider))
    assert isinstance(outcome, Failed)
    assert not outcome.billed
    kinds = {"failed": TaskFailed, "refused": Refused, "output": ContentRefused}
    assert type(outcome.error) is kinds[kind]


@pytest.mark.parametrize(
    ("reply", "kind", "wait"),
    [
        (
            Reply({"detail": "Request was throttled. Your rate limit resets in ~30s."}, 429),
            "rate",
            30.0,
        ),
        (
            Reply({"detail": "Request was throttled. Expected available in 1 second."}, 429),
            "rate",
            1.0,
        ),
        (Reply({"detail": "slow", "retry_after": 7}, 429), "rate", 7.0),
        (Reply({"detail": "slow"}, 429, {"Retry-After": "4"}), "rate", 4.0),
        (Reply({"detail": "no"}, 401), "key", None),
        (Reply({"detail": "no"}, 402), "empty", None),
        (Reply({"detail": "no"}, 403), "closed", None),
        (Reply({"detail": "prompt was flagged as sensitive"}, 422), "content", None),
        (Reply({"detail": "no"}, 500), "unavailable", None),
        (Reply({"detail": "no"}, 503), "unavailable", None),
        (Reply({"title": "News", "detail": "no"}, 409), "refused", None),
    ],
)
def test_problems_are_read_by_status_and_words(reply: Reply, kind: str, wait: float | None) -> None:
    """A 401 or a 429 has words alone, and the wait in them."""
    said = read(reply.answer())
    assert said is not None
    assert (kind_of(said), said.retry_after_s) == (kind, wait)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply("", 502), AnswerLost),
        (Reply("<html>", 504), AnswerLost),
        (Reply("", 201), AnswerLost),
        (Reply({"status": "starting"}, 201), AnswerLost),
        (problem("Not found", 404), NotAllowed),
    ],
)
def test_submits_that_say_nothing(reply: Reply, error: type[ServiceError]) -> None:
    """Without an id and without words it may have been taken."""
    provider, _ = scripted("replicate", reply)
    with pytest.raises(error):
        run(lambda: submitted(provider, asked(DEV)))


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (prediction("starting"), Waiting),
        (prediction("processing", started_at=iso(AT + 1)), Waiting),
        (prediction("succeeded", output=[LINK]), Made),
        (prediction("succeeded", output=LINK), Made),
        (prediction("succeeded", output=[]), Failed),
        (prediction("succeeded", output={"video": LINK}), Failed),
        (prediction("succeeded", output=None), Failed),
        (prediction("succeeded", output=None, data_removed=True), Unknown),
        (prediction("canceled"), Canceled),
        (prediction("aborted"), Canceled),
        (problem("Not found", 404), Unknown),
    ],
)
def test_what_polls_say(reply: Reply, kind: type) -> None:
    """A list or a plain string; an output that was removed is a record that has expired."""
    provider, _ = scripted("replicate", reply)
    outcome = run(lambda: polled(provider))
    assert isinstance(outcome, kind)
    if isinstance(outcome, Made):
        assert (outcome.picture.url, outcome.original_prompt) == (LINK, "p")
        assert outcome.times.queued == AT


@pytest.mark.parametrize("output", [None, {"video": LINK}, [None], [7], "", [""], 3])
def test_a_success_that_cannot_be_read_is_not_bought_again(output: Any) -> None:
    """Only an empty list says that there is no picture; anything else may be billed."""
    provider, _ = scripted("replicate", prediction("succeeded", output=output))
    outcome = run(lambda: polled(provider))
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, Withheld)
    assert outcome.billed is None


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply("<html>"), Unavailable),
        (Reply({"status": "newly-called"}), Unavailable),
        (Reply("<html>", 404), Unavailable),
        (problem("Internal server error", 500), Unavailable),
        (Reply({"detail": "slow"}, 429), Throttled),
        (problem("Unauthenticated", 401), KeyRefused),
        (Reply(AnswerLost("没回答", "lost")), Unavailable),
    ],
)
def test_polls_that_say_nothing_of_the_prediction(reply: Reply, error: type[ServiceError]) -> None:
    """What went wrong with asking is asked again, or stops the endpoint."""
    provider, _ = scripted("replicate", reply)
    with pytest.raises(error) as caught:
        run(lambda: polled(provider))
    assert type(caught.value) is error


def test_times_with_odd_fractions() -> None:
    """Nanoseconds, no fraction, no zone, nonsense."""
    assert _moment("2026-01-01T00:00:00.123456789Z") == pytest.approx(AT + 0.123456)
    assert _moment("2026-01-01T00:00:00Z") == AT
    assert _moment("2026-01-01T00:00:00") == AT
    assert _moment("soon") is None
    assert _moment(None) is None


def rows(*moments: float, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "id": f"p-{moment:.0f}",
            "status": "succeeded",
            "model": DEV,
            "created_at": iso(moment),
            **more,
        }
        for moment in moments
    ]


async def looked(provider: Provider) -> list[Seen]:
    return list(await provider.look(AT, AT + 100))


def test_the_list_is_read_to_the_window_s_beginning() -> None:
    """Pages by cursor until one reaches back far enough; what lies outside is left out."""
    following = "https://elsewhere.example/v1/predictions?cursor=abc%3D&created_after=x"
    first = Reply({"next": following, "results": rows(AT + 150, AT + 90)})
    second = Reply({"next": following, "results": rows(AT + 10, AT - 50)})
    provider, heard = scripted("replicate", first, second, Reply("never asked", 500))
    seen = run(lambda: looked(provider))
    assert [one.created for one in seen] == [AT + 10, AT + 90]
    assert {one.state for one in seen} == {"made"}
    assert all(one.url.startswith("https://api.replicate.com/v1/predictions") for one in heard)
    assert heard[1].query["cursor"] == "abc="


@pytest.mark.parametrize(
    "reply",
    [Reply({"results": "no"}), Reply("<html>"), Reply({"next": "?cursor=x", "results": []})],
)
def test_a_list_that_cannot_be_read_whole_proves_nothing(reply: Reply) -> None:
    """Another shape, no answer, a cursor that never ends: Unavailable."""
    provider, _ = scripted("replicate", reply)
    with pytest.raises(Unavailable):
        run(lambda: looked(provider))


def test_a_version_s_predictions_are_known_by_the_endpoint_s_model() -> None:
    """The list says model and version apart; the endpoint calls them one."""
    name = f"somebody/watercolour:{VERSION}"
    page = rows(AT + 1, model="somebody/watercolour", version=VERSION)
    provider, _ = scripted("replicate", Reply({"next": None, "results": page}), model=name)
    assert run(lambda: looked(provider))[0].model == name


def test_addresses_with_and_without_a_version() -> None:
    """The vendor's variable holds the bare host."""
    for url in ("https://api.replicate.com", "https://api.replicate.com/v1/"):
        provider, heard = scripted("replicate", Reply({"username": "me"}), base_url=url)
        run(provider.check)
        assert heard[0].url == "https://api.replicate.com/v1/account"


def test_a_lost_answer_is_found_by_its_words() -> None:
    """The list shows the task; its input says whose it is."""
    clock = HandClock()

    async def work() -> None:
        settings = Emulated(latency=ServiceTime(5, 0, 5, 5), faults=parse_faults("@2:answer=lost"))
        emulator = ReplicateEmulator(settings, clock)
        async with against(emulator, "replicate", clock) as provider:
            since = clock.now()
            known = await provider.submit(asked(DEV, "first"), "async")
            assert isinstance(known, Ticket)
            with pytest.raises(AnswerLost):
                await provider.submit(asked(DEV, "second"), "async")
            await clock.sleep(20)
            seen = await provider.look(since, clock.now())
            (lost,) = [one.id for one in seen if one.id != known.id]
            made = await provider.poll(Ticket(lost))
            assert isinstance(made, Made)
            assert made.original_prompt == "second"
            await clock.sleep(3700)
            assert isinstance(await provider.poll(Ticket(lost)), Unknown)

    run(work)


def test_what_it_is_not() -> None:
    """No synchronous lane here; references only where the model has a field for them."""
    provider, heard = scripted("replicate")
    with pytest.raises(Refused):
        run(lambda: provider.submit(asked(DEV), "sync"))
    with pytest.raises(Refused):
        provider.fit(asked("black-forest-labs/flux-schnell", references=("https://a/b.png",)))
    assert heard == []
