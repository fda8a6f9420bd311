"""One POST: what is bought by it, and what its every refusal means for the money.

May import: emulators, errors, endpoint.
"""

from __future__ import annotations

from redloom.emulators.ledger import prompt_sha
from redloom.emulators.pictures import prompt_of_picture
from redloom.endpoint import Failed, Made
from redloom.errors import (
    AccountEmpty,
    AnswerLost,
    ContentRefused,
    KeyRefused,
    NotAllowed,
    NotSent,
    Refused,
    ServiceError,
    TaskFailed,
    Throttled,
    Unavailable,
)

from .case import case, must
from .rig import KEY, PROMPT, Rig


@case(lanes=True)
async def a_picture_is_made_and_bought_once(rig: Rig) -> None:
    """The happy way: one request accepted, with the words as they are, one picture billed."""
    provider = await rig.start()
    outcome = await rig.outcome(provider, rig.asked(provider))
    must(isinstance(outcome, Made), f"it ended as {outcome!r}")
    assert isinstance(outcome, Made)
    picture, can = outcome.picture, provider.capabilities()
    must(bool(picture.url) != bool(picture.data), "a picture is either a link or bytes")
    must(can.gives_links in (None, bool(picture.url)), "the flag gives_links says otherwise")
    if picture.data is not None:
        must(prompt_of_picture(picture.data) == prompt_sha(PROMPT), "the bytes show another prompt")
    must(not outcome.extra, "more pictures came than the one asked for")
    if can.prompt_in_result and rig.lane == "async":
        must(outcome.original_prompt == PROMPT, "prompt_in_result, but the words are not there")
    rig.accepted(1)
    rig.billed(1)
    must(rig.ledger.own()[0].prompt == PROMPT, "the words that arrived are not those asked")


@case(lanes=True)
async def odd_words_arrive_as_they_are(rig: Rig) -> None:
    """Line breaks, quotes, emoji, other scripts: nothing is changed on the way."""
    provider = await rig.start()
    prompts = ["a\nb\tc", 'a "quoted" \\ back', "👩‍👩‍👧 ﷽ ñ é", "100% {braces} <tag> &amp; $x"]
    for prompt in prompts:
        must(isinstance(await rig.outcome(provider, rig.asked(provider, prompt)), Made), prompt)
    must([p.prompt for p in rig.ledger.own()] == prompts, "some words were changed on the way")


@case("seed", lanes=True)
async def a_seed_arrives(rig: Rig) -> None:
    """Where it takes a seed, the service gets it."""
    provider = await rig.start()
    await rig.outcome(provider, rig.asked(provider, seed=7))
    must(rig.ledger.own()[0].seed == 7, f"the seed that arrived is {rig.ledger.own()[0].seed}")


@case("references", lanes=True)
async def a_reference_picture_arrives(rig: Rig) -> None:
    """Where it takes reference pictures, a file of this machine reaches the service."""
    provider = await rig.start()
    asked = rig.asked(provider, references=(str(rig.reference()),))
    must(isinstance(await rig.outcome(provider, asked), Made), "no picture came")
    must(rig.ledger.own()[0].references == 1, "the reference did not arrive")
    gone = rig.asked(provider, "another", references=(str(rig.folder / "gone.png"),))
    error = await rig.refusal(provider, gone)
    must(isinstance(error, Refused), f"a missing reference is {type(error).__name__}")
    rig.accepted(1)


async def _no(rig: Rig, fault: str, *expected: type[ServiceError]) -> ServiceError:
    """The first submit hits ``fault`` and ends so; nothing is bought, and the second goes well."""
    provider = await rig.start(f"@1:submit={fault}")
    error = await rig.refusal(provider, rig.asked(provider))
    names = " or ".join(kind.__name__ for kind in expected)
    must(isinstance(error, expected), f"submit_{fault} is {names}, not {type(error).__name__}")
    rig.billed(0)
    must(isinstance(await rig.outcome(provider, rig.asked(provider)), Made), "nor the second")
    rig.billed(1)
    return error


@case("throttle", lanes=True)
async def too_fast_is_throttled(rig: Rig) -> None:
    """Refused for its pace: Throttled, nothing bought, the same request may go again."""
    error = await _no(rig, "throttled", Throttled)
    must(isinstance(error, Throttled), "")


@case(lanes=True)
async def its_own_error_is_unavailable(rig: Rig) -> None:
    """The service says no for reasons of its own: nothing was accepted, it may be asked again."""
    await _no(rig, "error", Unavailable)


@case(lanes=True)
async def a_busy_service_is_asked_again(rig: Rig) -> None:
    """503 with the service's own words: Unavailable, or Throttled where it speaks of load."""
    await _no(rig, "busy", Unavailable, Throttled)


@case(lanes=True)
async def a_broken_connection_is_never_called_unbought(rig: Rig) -> None:
    """Reset before an answer: whether it was accepted cannot be known from here."""
    await _no(rig, "reset", AnswerLost)


@case("moderation", lanes=True)
async def refused_words_are_content(rig: Rig) -> None:
    """Moderation of the words: ContentRefused, and another seed will not help."""
    error = await _no(rig, "refused", ContentRefused)
    assert isinstance(error, ContentRefused)
    must(not error.other_seed_may_pass, "other words are needed, no other seed")


@case(lanes=True)
async def a_wrong_request_is_refused(rig: Rig) -> None:
    """Parameters that the service will never take: Refused, and no moderation."""
    error = await _no(rig, "invalid", Refused)
    must(not isinstance(error, ContentRefused), "a wrong parameter is no matter of content")


@case("money", "key", lanes=True)
async def an_empty_account_stops_the_endpoint(rig: Rig) -> None:
    """Arrears, credits used up: AccountEmpty, whatever the status says (some say 429)."""
    await _no(rig, "unpaid", AccountEmpty)


@case("key", lanes=True)
async def a_closed_model_stops_the_endpoint(rig: Rig) -> None:
    """The model is unknown or not open to the account: NotAllowed."""
    await _no(rig, "closed", NotAllowed)


@case("key", lanes=True)
async def a_wrong_key_stops_the_endpoint(rig: Rig) -> None:
    """KeyRefused, naming the variable that holds the key; nothing bought."""
    await rig.start()
    provider = rig.provider(key="wrong-" + KEY[::-1])
    error = await rig.refusal(provider, rig.asked(provider))
    must(isinstance(error, KeyRefused), f"a wrong key is {type(error).__name__}")
    must("wrong-" not in error.text.zh + error.text.en, "the error holds the key")
    rig.accepted(0)


@case("key", "check")
async def a_key_is_tried_for_free(rig: Rig) -> None:
    """`check` tells a good key from a wrong one, and buys nothing."""
    await rig.start()
    await rig.provider().check()
    error = await rig.raised(rig.provider(key="wrong-" + KEY[::-1]).check())
    must(isinstance(error, KeyRefused), f"check of a wrong key is {type(error).__name__}")
    rig.accepted(0)


@case("check")
async def a_service_that_is_away_fails_the_check(rig: Rig) -> None:
    """Nobody at the address: `check` says so in a sentence."""
    error = await rig.raised(rig.provider(url="http://127.0.0.1:9").check())
    must(not isinstance(error, KeyRefused), "a service that is away says nothing of the key")


@case("key", "regions", lanes=True)
async def a_key_of_another_region_says_where_to_look(rig: Rig) -> None:
    """A key that this region does not know: KeyRefused, which names the address's variable."""
    provider = await rig.start(keys={"a-key-of-this-region": "other"})
    error = await rig.refusal(provider, rig.asked(provider))
    must(isinstance(error, KeyRefused), f"another region's key is {type(error).__name__}")
    variables = rig.module.DEFAULTS.url_variables
    for words in error.text:
        must(any(name in words for name in variables), f"no variable of {variables} is named")
    rig.accepted(0)


@case(lanes=True)
async def what_never_left_was_not_sent(rig: Rig) -> None:
    """Nobody listens at the address: NotSent, so that it may be repeated freely."""
    provider = rig.provider(url="http://127.0.0.1:9")
    error = await rig.raised(provider.submit(rig.asked(provider), rig.lane))
    must(isinstance(error, NotSent), f"an address without a service is {type(error).__name__}")


@case(lanes=True)
async def a_lost_answer_is_a_doubt(rig: Rig) -> None:
    """Accepted and billed, but no usable answer: AnswerLost, never an error to repeat after."""
    for fault in ("lost", "504", "html", "empty"):
        provider = await rig.start(f"@1:answer={fault}")
        error = await rig.raised(provider.submit(rig.asked(provider), rig.lane))
        must(isinstance(error, AnswerLost), f"answer_{fault} is {type(error).__name__}")
        must(error.spent == "maybe", "a lost answer may be paid")
        rig.accepted(1)


@case(lanes=True)
async def a_failed_try_is_not_billed(rig: Rig) -> None:
    """Accepted, ends without a picture: TaskFailed (or Unavailable where it answers at once)."""
    provider = await rig.start("@1:task=failed")
    error = await rig.refusal(provider, rig.asked(provider))
    must(isinstance(error, TaskFailed | Unavailable), f"task_failed is {type(error).__name__}")
    rig.billed(0)


@case("moderation", lanes=True)
async def a_refused_picture_is_content(rig: Rig) -> None:
    """Moderation of the picture: ContentRefused, not billed."""
    provider = await rig.start("@1:task=refused")
    error = await rig.refusal(provider, rig.asked(provider))
    must(isinstance(error, ContentRefused), f"task_refused is {type(error).__name__}")
    rig.billed(0)


@case(lanes=True)
async def success_without_a_picture_is_none(rig: Rig) -> None:
    """Called a success, but there is no picture: a failure or a doubt, never Made."""
    provider = await rig.start("@1:task=empty")
    try:
        outcome = await rig.outcome(provider, rig.asked(provider))
    except ServiceError:
        return
    must(isinstance(outcome, Failed), f"it ended as {outcome!r}")


@case("throttle", lanes=True)
async def its_rate_is_felt_as_throttled(rig: Rig) -> None:
    """The service's own limit: what is too early is Throttled and not bought; later it goes."""
    provider = await rig.start(submit_per_second=0.1)
    error: ServiceError | None = None
    for number in range(4):
        try:
            await provider.submit(rig.asked(provider, f"picture {number}"), rig.lane)
        except ServiceError as raised:
            error = raised
            break
    must(isinstance(error, Throttled), f"above the rate there was {type(error).__name__}")
    assert isinstance(error, Throttled)
    bought = len(rig.ledger.own())
    wait = error.retry_after_s
    must(wait is None or 0 <= wait <= 3600, f"it was told to wait {wait} s")
    must(
        wait is not None or not rig.told_to_wait, "Retry-After was told, but retry_after_s is None"
    )
    await rig.clock.sleep(max(wait or 0.0, 15.0))
    await provider.submit(rig.asked(provider, "later"), rig.lane)
    rig.accepted(bought + 1)


@case("reject", lanes=True)
async def too_many_at_once_is_throttled(rig: Rig) -> None:
    """Where it refuses what exceeds its concurrency: Throttled, nothing bought."""
    if rig.lane == "sync":
        return
    provider = await rig.start(concurrency=1, over="reject")
    await provider.submit(rig.asked(provider, "first"), rig.lane)
    error = await rig.raised(provider.submit(rig.asked(provider, "second"), rig.lane))
    must(isinstance(error, Throttled), f"one too many is {type(error).__name__}")
    rig.accepted(1)
