"""Cards as a provider: the prompt's words, drawn here, for nothing."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from redloom.endpoint import Asked, Endpoint, Made, Provider, Ticket, Tools, Unknown
from redloom.errors import Refused
from redloom.providers import cards

LONG = "胡同里的早晨从一碗豆汁开始，配上焦圈和咸菜丝。" * 6


def provider(**options: Any) -> Provider:
    """An endpoint with these options."""
    return cards.create(Endpoint("cards", "cards", "card", options=options), Tools())


def made(asked: Asked, **options: Any) -> Made:
    """One card, fitted and drawn."""
    maker = provider(**options)
    outcome = asyncio.run(maker.submit(maker.fit(asked).asked, "sync"))
    assert isinstance(outcome, Made)
    return outcome


def opened(outcome: Made) -> Image.Image:
    """The card as pixels."""
    assert outcome.picture.data is not None
    picture = Image.open(io.BytesIO(outcome.picture.data))
    picture.load()
    return picture


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        (None, (1080, 1440)),
        ((1280, 1280), (1080, 1080)),
        ((1024, 768), (1440, 1080)),
        ((720, 1280), (1080, 1440)),
        ((1080, 1440), (1080, 1440)),
    ],
)
def test_size_follows_the_shape(asked: Any, size: tuple[int, int]) -> None:
    """The card has the nearest of its three shapes, and a change is said."""
    fitted = provider().fit(Asked("早安", "", size=asked))
    assert fitted.asked.size == size
    assert bool(fitted.notes) == (asked is not None and asked != size)
    assert opened(made(Asked("早安", "", size=asked))).size == size


def test_words_are_drawn() -> None:
    """A card is no blank sheet, other words give another card, the same words the same bytes."""
    first, again, other = (made(Asked(text, "")) for text in ("红围巾", "红围巾", "蓝帽子"))
    assert first.picture.data == again.picture.data != other.picture.data
    assert len(set(opened(first).convert("L").resize((60, 80)).tobytes())) > 3
    assert first.original_prompt == "红围巾"


def test_options_change_the_card() -> None:
    """Theme, title and kicker are taken from the job, then from the endpoint."""
    plain = made(Asked("早安", "")).picture.data
    assert made(Asked("早安", "", options={"theme": "ink"})).picture.data != plain
    assert made(Asked("早安", ""), theme="ink").picture.data != plain
    assert made(Asked("早安", "", options={"title": "胡同"})).picture.data != plain
    assert made(Asked("早安", "", options={"kicker": "北京"})).picture.data != plain
    assert made(Asked("早安", "", options={"theme": "paper"}), theme="ink").picture.data == plain


def test_long_words_are_all_set() -> None:
    """A long prompt becomes a page; what one card cannot hold goes on, as extra pictures."""
    one = made(Asked(LONG, ""))
    assert one.extra == ()
    many = made(Asked(LONG * 8, ""))
    assert len(many.extra) >= 1
    assert all(picture.data for picture in many.extra)


def test_unknown_theme_is_refused() -> None:
    """A theme that does not exist is an answer, not a crash."""
    with pytest.raises(Refused, match="nonesuch"):
        made(Asked("早安", "", options={"theme": "nonesuch"}))


def test_empty_prompt_is_refused() -> None:
    """No words, no card."""
    with pytest.raises(Refused):
        provider().fit(Asked(" \n ", ""))


def test_free_and_local() -> None:
    """Nothing to pay, nothing to settle, nothing to wait for, no label of a model."""
    maker = provider()
    capabilities = maker.capabilities()
    assert (capabilities.free, capabilities.local) == (True, True)
    assert not capabilities.made_by_model
    assert maker.price(Asked("a", "")).amount == 0
    assert cards.DEFAULTS.needs_key is False

    async def idle() -> None:
        assert isinstance(await maker.poll(Ticket("t")), Unknown)
        assert list(await maker.look(0, 1)) == []
        assert await maker.cancel(Ticket("t")) is False
        await maker.check()
        await maker.close()

    asyncio.run(idle())


def test_what_cards_have_no_use_for_is_said() -> None:
    """References and negative prompts are left out, in words."""
    fitted = provider().fit(Asked("早安", "", negative_prompt="雨", references=("https://x/1",)))
    assert (fitted.asked.negative_prompt, fitted.asked.references) == ("", ())
    assert len(fitted.notes) == 1


@given(st.text(min_size=1), st.none() | st.tuples(st.integers(1, 9000), st.integers(1, 9000)))
def test_any_prompt_fits_or_is_refused(prompt: str, size: tuple[int, int] | None) -> None:
    """Any words and any size fit, unless there is nothing to read."""
    try:
        fitted = provider().fit(Asked(prompt, "", size=size))
    except Refused:
        assert not prompt.strip()
        return
    assert fitted.asked.prompt == prompt
    assert fitted.asked.size in ((1080, 1440), (1080, 1080), (1440, 1080))
