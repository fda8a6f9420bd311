"""Before anything is sent: what a provider says of itself, and how it fits a request.

May import: errors, endpoint.
"""

from __future__ import annotations

from redloom.endpoint import Asked
from redloom.errors import ServiceError

from .case import case, must
from .rig import PROMPT, Rig

NOWHERE = "http://127.0.0.1:9"


@case()
async def it_says_offline_what_it_can_do(rig: Rig) -> None:
    """Capabilities, limits and price need no network, and agree with each other."""
    provider = rig.provider(url=NOWHERE)
    can, limits = provider.capabilities(), provider.limits()
    must(can.lanes and set(can.lanes) <= {"async", "sync"}, "lanes are async, sync or both")
    must(can.formats, "it names no file format")
    must(not can.lists_tasks or "async" in can.lanes, "only an asynchronous lane lists tasks")
    must(not can.cancels or "async" in can.lanes, "only an asynchronous lane cancels")
    for name in ("submit_per_second", "concurrency", "sync_concurrency", "poll_per_second"):
        value = getattr(limits, name)
        must(value is None or value > 0, f"the limit {name} is {value}")
    must(limits.downloads > 0, "no download is allowed")
    must(can.typical_s > 0, "typical_s is not positive")


@case()
async def its_price_has_a_source(rig: Rig) -> None:
    """A price is known, with the day of its table, or unknown, which is never zero."""
    provider = rig.provider(url=NOWHERE)
    price = provider.price(rig.asked(provider))
    must((price.amount is None) == (price.source == "unknown"), f"price and source differ: {price}")
    if provider.capabilities().free:
        must(price.amount == 0, "what is free costs nothing")
    elif price.amount is not None and price.source == "estimated":
        must(price.as_of, "an estimated price has no day")
        must(price.currency, "a price has no currency")


@case()
async def suggested_sizes_are_kept(rig: Rig) -> None:
    """Every size that it suggests is taken as it is, without a note."""
    provider = rig.provider(url=NOWHERE)
    for size in provider.capabilities().sizes:
        first = rig.asked(provider, size=size)
        again = provider.fit(first)
        must(again.asked == first, f"fitting twice is not the same as once, at {size}")
        must(not again.notes, f"a fitted request is noted again: {again.notes}")
        must(first.size in (size, None), f"the suggested size {size} became {first.size}")


@case()
async def other_sizes_are_fitted_or_refused(rig: Rig) -> None:
    """Any size gives a request that is taken, with a note for the change, or one sentence."""
    provider = rig.provider(url=NOWHERE)
    for size in ((1, 1), (100, 5000), (1080, 1440), (12_345, 678), (99_999, 99_999)):
        plain = Asked(PROMPT, rig.endpoint_at(NOWHERE).model, size=size)
        if rig.asked(provider).references:
            plain = Asked(PROMPT, plain.model, size, references=(str(rig.reference()),))
        try:
            fitted = provider.fit(plain)
        except ServiceError as error:
            must(error.text.zh and error.text.en, "a refusal has no words")
            continue
        if fitted.asked.size not in (size, None):
            must(fitted.notes, f"{size} became {fitted.asked.size} without a note")


@case()
async def an_empty_prompt_is_refused(rig: Rig) -> None:
    """No words, no request: never a picture of nothing for money."""
    provider = rig.provider(url=NOWHERE)
    for prompt in ("", "  \n "):
        try:
            rig.asked(provider, prompt)
        except ServiceError:
            continue
        must(False, "an empty prompt was fitted")


@case("characters")
async def a_prompt_too_long_is_refused(rig: Rig) -> None:
    """What the service would cut silently is refused here; the longest is taken whole."""
    provider = rig.provider(url=NOWHERE)
    most = provider.capabilities().prompt_characters or 0
    must(rig.asked(provider, "字" * most).prompt == "字" * most, "the longest prompt was changed")
    try:
        rig.asked(provider, "字" * (most + 1))
    except ServiceError as error:
        must(str(most) in error.text.en, "the refusal does not say how long it may be")
        return
    must(False, f"a prompt of {most + 1} characters was fitted")


@case()
async def what_it_lacks_is_left_out_and_said(rig: Rig) -> None:
    """A seed, a negative prompt that the service cannot take are dropped with a note each."""
    provider = rig.provider(url=NOWHERE)
    can = provider.capabilities()
    plain = rig.asked(provider)
    for name, value, taken in (
        ("seed", 7, can.seed),
        ("negative_prompt", "blurred", can.negative_prompt),
    ):
        fitted = provider.fit(
            Asked(
                plain.prompt, plain.model, plain.size, references=plain.references,
                seed=7 if name == "seed" else None,
                negative_prompt="blurred" if name == "negative_prompt" else "",
            )
        )  # fmt: skip
        kept = getattr(fitted.asked, name) == value
        must(
            kept == taken,
            f"the flags say {name}: {taken}, but it was {'kept' if kept else 'dropped'}",
        )
        must(kept or fitted.notes, f"{name} was dropped without a note")


@case()
async def too_many_references_are_refused(rig: Rig) -> None:
    """More reference pictures than it takes are refused, or left out with a note where it takes none."""
    provider = rig.provider(url=NOWHERE)
    most = provider.capabilities().references
    files = tuple(str(rig.reference(number)) for number in range(most + 1))
    try:
        fitted = provider.fit(Asked(PROMPT, rig.endpoint_at(NOWHERE).model, references=files))
    except ServiceError:
        return
    must(
        most == 0 and not fitted.asked.references and fitted.notes,
        f"{most + 1} references were taken by one that takes {most}",
    )
