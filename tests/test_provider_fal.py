"""fal's queue: what is sent and where, what each answer means, every documented error type."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canned import CLASSES, KEY, HandClock, Reply, against, asked, run, scripted
from redloom.emulators.fal import Emulated, FalEmulator, ServiceTime, parse_faults
from redloom.endpoint import (
    Asked,
    Canceled,
    Failed,
    Made,
    Outcome,
    Provider,
    Ticket,
    Unknown,
    Waiting,
)
from redloom.errors import (
    AccountEmpty,
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
from redloom.providers._fal_errors import CODES, kind_of, of_task, read
from redloom.providers._fal_models import AREA, MODELS
from redloom.providers._voice import Said

DEV, KONTEXT = "fal-ai/flux/dev", "fal-ai/flux-pro/kontext"
ID = "764cabcf-b745-4b3e-ae38-1200304cf45b"
ROOT = f"https://queue.fal.run/fal-ai/flux/requests/{ID}"
TICKET = Ticket(
    ID, ID, {"status_url": f"{ROOT}/status", "response_url": ROOT, "cancel_url": f"{ROOT}/cancel"}
)
TAKEN = Reply({"request_id": ID, **TICKET.data, "status": "IN_QUEUE", "queue_position": 3})
COMPLETED = Reply({"status": "COMPLETED"})
MADE = Reply({"images": [{"url": "https://v3.fal.media/a.png"}], "seed": 5, "prompt": "p"})


async def submitted(provider: Provider, wish: Asked) -> object:
    return await provider.submit(wish, "async")


async def polled(provider: Provider, ticket: Ticket) -> Outcome:
    return await provider.poll(ticket)


def test_what_is_sent() -> None:
    """One picture, no bytes in the answer, the exact size; the key with its own scheme."""
    provider, heard = scripted("fal", TAKEN)
    fitted = provider.fit(asked(DEV, size=(864, 1152), seed=3)).asked
    assert run(lambda: submitted(provider, fitted)) == TICKET
    assert heard[0].url == f"https://queue.fal.run/{DEV}"
    assert heard[0].headers["Authorization"] == f"Key {KEY}"
    assert heard[0].body == {
        "prompt": "一条红围巾",
        "image_size": {"width": 864, "height": 1152},
        "num_images": 1,
        "sync_mode": False,
        "seed": 3,
        "output_format": "png",
    }
    assert KEY not in str(TICKET)


def test_a_model_by_shape_takes_a_reference() -> None:
    """Kontext wants a shape by name and one picture; no option can ask for more pictures."""
    provider, heard = scripted("fal", TAKEN, model=KONTEXT)
    wish = asked(
        KONTEXT, size=(1080, 1440), references=("https://a/b.png",), options={"num_images": 4}
    )
    fitted = provider.fit(wish)
    run(lambda: submitted(provider, fitted.asked))
    assert (heard[0].body["aspect_ratio"], heard[0].body["image_url"]) == ("3:4", "https://a/b.png")
    assert (heard[0].body["num_images"], "image_size" in heard[0].body) == (1, False)
    assert len(fitted.notes) == 2
    with pytest.raises(Refused):
        scripted("fal")[0].fit(asked(DEV, references=("https://a/b.png",)))


@given(width=st.integers(1, 9000), height=st.integers(1, 9000))
def test_every_size_becomes_a_legal_one(width: int, height: int) -> None:
    """Sides in steps of sixteen, within the area; a legal size is kept."""
    fitted = AREA.nearest((width, height))
    assert AREA.takes(fitted)
    assert fitted[0] % 16 == fitted[1] % 16 == 0
    assert AREA.nearest(fitted) == fitted


def test_prices_count_megapixels() -> None:
    """Rounded up to whole megapixels; flat where flat; unknown outside the table."""
    provider, _ = scripted("fal")
    small, large = asked(DEV, size=(1024, 1024)), asked(DEV, size=(1152, 1536))
    assert [provider.price(it).amount for it in (small, large)] == [0.025, 0.05]
    assert provider.price(asked(KONTEXT)).amount == 0.04
    assert provider.price(asked("somebody/else")).source == "unknown"
    assert all(provider.price(asked(name)).currency == "USD" for name in MODELS)


@pytest.mark.parametrize("code", sorted(CODES))
@pytest.mark.parametrize("status", [422, 503])
def test_every_documented_type_at_submit(code: str, status: int) -> None:
    """In the body, in a model's list, in the header: the same class, and the key hidden."""
    kind = {"failed": "unavailable"}.get(CODES[code], CODES[code])
    listed = {"detail": [{"loc": ["body"], "msg": f"words {KEY}", "type": code}]}
    for reply in (
        Reply({"detail": f"words {KEY}", "error_type": code}, status),
        Reply(listed, status),
        Reply({"detail": "words"}, status, {"X-Fal-Error-Type": code}),
    ):
        provider, _ = scripted("fal", reply)
        with pytest.raises(ServiceError) as caught:
            asyncio.run(submitted(provider, asked(DEV)))
        assert type(caught.value) is CLASSES[kind]  # type: ignore[index]
        assert caught.value.service_code == code
        assert KEY not in str(caught.value)


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_documented_type_inside_a_completed_status(code: str) -> None:
    """A request that ended without a picture: never "ask again later", never billed."""
    provider, _ = scripted("fal", Reply({"status": "COMPLETED", "error": "x", "error_type": code}))
    outcome = asyncio.run(polled(provider, TICKET))
    if code == "client_cancelled":
        assert isinstance(outcome, Canceled)
        return
    assert isinstance(outcome, Failed)
    kinds = {"failed": TaskFailed, "output": ContentRefused, "refused": Refused}
    assert type(outcome.error) is kinds[CODES[code]]
    assert not outcome.billed


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (401, "Invalid key", "key"),
        (403, "User is locked. Reason: Exhausted balance.", "empty"),
        (403, "no access", "closed"),
        (402, "pay", "empty"),
        (404, "Application not found", "closed"),
        (422, "something", "refused"),
        (429, "slow", "rate"),
        (500, "oops", "unavailable"),
        (503, "oops", "unavailable"),
        (501, "oops", "lost"),
    ],
)
def test_words_without_a_type_are_read_by_status(status: int, message: str, kind: str) -> None:
    """Most refusals have words alone."""
    said = read(Reply({"detail": message}, status).answer())
    assert said is not None
    assert kind_of(said) == kind
    assert kind_of(Said("new_type", message, status)) == kind


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply("<html>", 502), AnswerLost),
        (Reply("", 504), AnswerLost),
        (Reply(""), AnswerLost),
        (Reply({"status": "IN_QUEUE"}), AnswerLost),
        (Reply("no", 404), NotAllowed),
    ],
)
def test_submits_that_say_nothing(reply: Reply, error: type[ServiceError]) -> None:
    """Without a request id and without words it may have been taken."""
    provider, _ = scripted("fal", reply)
    with pytest.raises(error):
        run(lambda: submitted(provider, asked(DEV)))


@pytest.mark.parametrize(
    ("replies", "kind"),
    [
        ([Reply({"status": "IN_QUEUE", "queue_position": 1}, 202)], Waiting),
        ([Reply({"status": "IN_PROGRESS"}, 202)], Waiting),
        ([Reply({"detail": "Request not found"}, 404)], Unknown),
        ([COMPLETED, MADE], Made),
        ([COMPLETED, Reply({"image": {"url": "https://v3.fal.media/a.png"}})], Made),
        ([COMPLETED, Reply({"images": []})], Failed),
        ([COMPLETED, Reply({"detail": [{"msg": "x", "type": "no_media_generated"}]}, 500)], Failed),
        ([COMPLETED, Reply({"detail": [{"msg": "x", "type": "value_error"}]}, 422)], Failed),
    ],
)
def test_what_polls_say(replies: list[Reply], kind: type) -> None:
    """Status first, response second; a stored result may be an error."""
    provider, _ = scripted("fal", *replies)
    assert isinstance(run(lambda: polled(provider, TICKET)), kind)


@pytest.mark.parametrize(
    ("replies", "error"),
    [
        ([Reply("<html>")], Unavailable),
        ([Reply({"detail": "oops"}, 500)], Unavailable),
        ([Reply({"detail": "slow"}, 429)], Throttled),
        ([Reply({"detail": "Invalid"}, 401)], KeyRefused),
        ([COMPLETED, Reply("<html>", 502)], Unavailable),
        ([COMPLETED, Reply({"detail": "oops"}, 500)], Unavailable),
        ([Reply(AnswerLost("没回答", "lost"))], Unavailable),
    ],
)
def test_polls_that_say_nothing_of_the_request(
    replies: list[Reply], error: type[ServiceError]
) -> None:
    """What went wrong with asking is asked again, or stops the endpoint."""
    provider, _ = scripted("fal", *replies)
    with pytest.raises(error) as caught:
        run(lambda: polled(provider, TICKET))
    assert type(caught.value) is error


def test_a_blacked_out_picture_is_billed() -> None:
    """The safety check's black picture costs money: no other seed is bought by itself."""
    body = {"images": [{"url": "https://v3.fal.media/a.png"}], "has_nsfw_concepts": [True]}
    provider, _ = scripted("fal", COMPLETED, Reply(body))
    outcome = run(lambda: polled(provider, TICKET))
    assert isinstance(outcome, Failed)
    assert outcome.billed
    assert isinstance(outcome.error, ContentRefused)
    assert not outcome.error.other_seed_may_pass


@pytest.mark.parametrize(
    ("body", "error", "billed"),
    [
        ({"images": []}, TaskFailed, False),
        ({"images": [{"width": 8}]}, Withheld, None),
        ({"images": [{"url": 7}]}, Withheld, None),
        ({"images": [None]}, Withheld, None),
        ({"images": {"url": "x"}}, Withheld, None),
        ({"image": {}}, Withheld, None),
        ({"seed": 1}, Withheld, None),
    ],
)
def test_only_an_empty_list_says_that_there_is_none(
    body: dict[str, Any], error: type[ServiceError], billed: bool | None
) -> None:
    """A completed request whose picture cannot be read may be billed: it is not bought again."""
    provider, _ = scripted("fal", COMPLETED, Reply(body))
    outcome = run(lambda: polled(provider, TICKET))
    assert isinstance(outcome, Failed)
    assert type(outcome.error) is error
    assert outcome.billed is billed


@pytest.mark.parametrize(
    ("url", "trusted"),
    [
        ("https://queue.fal.run/x/y/requests/1/status", True),
        ("https://eu.queue.fal.run/x/y/requests/1/status", True),
        ("https://queue.fal.run.evil.example/x", False),
        ("https://evilfal.run/x", False),
        ("http://queue.fal.run/x", False),
        ("https://queue.fal.run:8443/x", False),
        ("https://user@eu.fal.run/x", False),
        ("http://127.0.0.1:9/x", False),
        ("file:///etc/passwd", False),
        ("https://[bad", False),
        ("", False),
    ],
)
def test_the_key_goes_to_fals_hosts_only(url: str, trusted: bool) -> None:
    """Told addresses elsewhere are not asked: the documented one is."""
    provider, heard = scripted("fal", Reply({"status": "IN_QUEUE"}))
    run(lambda: polled(provider, Ticket(ID, ID, {"status_url": url})))
    assert heard[0].url == (url if trusted else f"{ROOT}/status")


@pytest.mark.parametrize(
    ("replies", "done"),
    [
        ([Reply({"status": "ALREADY_COMPLETED"}, 400)], False),
        ([Reply({"status": "NOT_FOUND"}, 404)], False),
        (
            [Reply({"status": "CANCELLATION_REQUESTED"}, 202), Reply({"status": "IN_PROGRESS"})],
            False,
        ),
        (
            [
                Reply({"status": "CANCELLATION_REQUESTED"}, 202),
                Reply({"status": "COMPLETED", "error": "x", "error_type": "client_cancelled"}),
            ],
            True,
        ),
        ([Reply({"status": "CANCELLATION_REQUESTED"}, 202), Reply({"detail": "gone"}, 404)], True),
    ],
)
def test_a_cancel_is_believed_when_the_status_agrees(replies: list[Reply], done: bool) -> None:
    """Requested is not cancelled: a running request may finish and be billed."""
    provider, heard = scripted("fal", *replies)

    async def cancelled() -> bool:
        return await provider.cancel(TICKET)

    assert run(cancelled) is done
    assert heard[0].method == "PUT"


def test_errors_inside_a_status_have_words() -> None:
    """Words, a list, or an object with a detail: all are read."""
    for error in ("words", [{"msg": "words"}], {"detail": "words"}):
        said = of_task({"error": error})
        assert said is not None
        assert "words" in said.message
    assert of_task({"status": "COMPLETED"}) is None


def stand_in(faults: str = "", **settings: Any) -> FalEmulator:
    wanted = {"latency": ServiceTime(5, 0, 5, 5), "faults": parse_faults(faults), **settings}
    return FalEmulator(Emulated(**wanted), HandClock())


def test_the_stand_in_lives_at_two_addresses() -> None:
    """Status, response and cancel come from another port, without the model's sub-path."""

    async def work() -> None:
        emulator = stand_in()
        async with against(emulator, "fal", emulator.clock) as provider:
            ticket = await provider.submit(provider.fit(asked(DEV)).asked, "async")
            assert isinstance(ticket, Ticket)
            status = str(ticket.data["status_url"])
            assert not status.startswith(emulator.files.base)
            assert f"/fal-ai/flux/requests/{ticket.id}/status" in status
            assert isinstance(await provider.poll(ticket), Waiting)
            await emulator.clock.sleep(6)
            made = await provider.poll(ticket)
            assert isinstance(made, Made)
            assert made.original_prompt == "一条红围巾"
            assert emulator.ledger.billed() == 1

    run(work)


@pytest.mark.parametrize(
    ("faults", "error", "billed"),
    [
        ("@1:task=failed", TaskFailed, 0),
        ("@1:task=refused", ContentRefused, 0),
        ("@1:task=empty", TaskFailed, 0),
        ("@1:task=nsfw", ContentRefused, 1),
    ],
)
def test_the_stand_ins_ends(faults: str, error: type[ServiceError], billed: int) -> None:
    """COMPLETED with an error, a result that is one, no picture, a black one that is billed."""

    async def work() -> None:
        emulator = stand_in(faults)
        async with against(emulator, "fal", emulator.clock) as provider:
            ticket = await provider.submit(provider.fit(asked(DEV)).asked, "async")
            assert isinstance(ticket, Ticket)
            await emulator.clock.sleep(6)
            outcome = await provider.poll(ticket)
            assert isinstance(outcome, Failed)
            assert type(outcome.error) is error
            assert outcome.billed == bool(billed)
            assert emulator.ledger.billed() == billed

    run(work)


def test_an_empty_balance_stops_it() -> None:
    """403 with words about the balance."""

    async def work() -> None:
        emulator = stand_in("arrears_from=1")
        async with against(emulator, "fal", emulator.clock) as provider:
            with pytest.raises(AccountEmpty):
                await provider.submit(provider.fit(asked(DEV)).asked, "async")

    run(work)
