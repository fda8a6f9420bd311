"""Limits that a service tells of itself: asked for, heeded, never above what the user set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.desk import live_of
from redloom.emulators import dashscope, openai
from redloom.emulators.service_time import ServiceTime
from redloom.endpoint import (
    Answer,
    Endpoint,
    Limits,
    Provider,
    PublishesQuota,
    TellsQuota,
    Told,
    Tools,
)
from redloom.engine import Engine
from redloom.errors import Throttled
from redloom.providers import load
from redloom.providers._dashscope_answers import told_of
from redloom.providers._openai_answers import told_beside
from redloom.providers.dashscope import DashScope
from redloom.route import Live
from redloom.testing import FakeProvider, JumpingClock, run
from redloom.told import heed

KEY = "told-key-0123456789"
PROMPTS = [f"a lane in the rain {number}" for number in range(24)]


class Untabled(DashScope):
    """DashScope as it is for a model that our table does not know: only the service can tell."""

    def limits(self) -> Limits:
        return Limits(poll_per_second=20.0, list_per_second=20.0)


def race(folder: Path, kind: type[DashScope], **settings: Any) -> tuple[dict[str, int], Live]:
    """Two dozen pictures at an emulated DashScope that runs three and refuses more."""

    async def main() -> tuple[dict[str, int], Live]:
        clock = JumpingClock()
        service = dashscope.DashScopeEmulator(
            dashscope.Emulated(
                latency=ServiceTime(20, 0.3, 10, 40), keys={KEY: "a"}, submit_per_second=2.0,
                concurrency=3, over="reject", picture_size="small",
            ), clock,
        )  # fmt: skip
        endpoint = Endpoint(
            "d", "dashscope", "wan2.6-t2i", await service.start(), account="a", **settings
        )
        provider = kind(endpoint, Tools(key=KEY, clock=clock))
        async with Engine(
            workspace=folder / "ws", equipped=[(endpoint, provider)], clock=clock
        ) as engine:
            results = await engine.generate(PROMPTS, out=folder / "out")
            live = engine.lives[0]
        await service.stop()
        assert [one.status for one in results] == ["ok"] * len(PROMPTS)
        assert service.ledger.bought_twice() == []
        return dict(service.ledger.counts), live

    return run(main())


def test_a_limit_that_the_service_tells_is_not_found_by_refusals(tmp_path: Path) -> None:
    """DashScope's list of quotas says three at once, two a second: nothing is refused for it."""
    counts, live = race(tmp_path, Untabled)
    assert counts["quotas"] == 1
    assert (live.gate.slots.limit, live.gate.pace.most) == (3, 2.0)
    # The first may leave before the answer is there, as many as are tried anywhere.
    assert sum(n for name, n in counts.items() if name.startswith("429")) <= 2


def test_without_it_the_limit_is_found_as_before(tmp_path: Path) -> None:
    """A service that tells nothing costs a few refusals and no picture."""

    class Silent(Untabled):
        async def quota(self) -> None:
            return None

    counts, live = race(tmp_path, Silent)
    assert "quotas" not in counts
    assert live.gate.slots.limit == 3
    assert live.gate.pace.most is None


def test_what_the_user_set_is_not_changed(tmp_path: Path) -> None:
    """Limits in the settings stand, whatever the service tells."""
    _, live = race(tmp_path, Untabled, limits=Limits(submit_per_second=0.5, concurrency=2))
    assert (live.gate.slots.limit, live.gate.pace.rate) == (2, 0.5)


def test_a_share_is_taken_of_what_is_told(tmp_path: Path) -> None:
    """Half of the account's quota is half of what the service tells of the account."""
    _, live = race(tmp_path, Untabled, share=0.5)
    assert (live.gate.slots.limit, live.gate.pace.most) == (1, 1.0)


@pytest.mark.parametrize("provider", ["dashscope", "openai", "azure"])
def test_who_tells(provider: str) -> None:
    """DashScope has a call for it, OpenAI and Azure tell beside their answers."""
    module = load(provider)
    endpoint = Endpoint("e", provider, "m", "https://127.0.0.1:1/v1", account="a")
    made: Provider = module.create(endpoint, Tools(key=KEY))
    assert isinstance(made, PublishesQuota) == (provider == "dashscope")
    assert isinstance(made, TellsQuota) == (provider != "dashscope")


def test_an_allowance_beside_the_answers_bounds_the_pace(tmp_path: Path) -> None:
    """Unknown to us, one a second by the headers: the pace does not grow beyond it."""

    async def main() -> tuple[int, Live]:
        clock = JumpingClock()
        service = openai.OpenAIEmulator(
            openai.Emulated(
                latency=ServiceTime(3, 0.2, 2, 5), keys={KEY: "a"}, submit_per_second=1.0
            ),
            clock,
        )
        endpoint = Endpoint(
            "o", "openai", "gpt-image-1", await service.start(), account="a",
            options={"vendor": "openai"},
        )  # fmt: skip
        provider: Provider = load("openai").create(endpoint, Tools(key=KEY, clock=clock))
        async with Engine(
            workspace=tmp_path / "ws", equipped=[(endpoint, provider)], clock=clock
        ) as engine:
            results = await engine.generate(PROMPTS, out=tmp_path / "out")
            live = engine.lives[0]
        await service.stop()
        assert {one.status for one in results} == {"ok"}
        return service.ledger.counts["429 rate"], live

    refused, live = run(main())
    assert live.gate.pace.most == pytest.approx(1.0, rel=0.3)
    assert live.gate.pace.rate is not None
    assert live.gate.pace.most is not None
    assert live.gate.pace.rate <= live.gate.pace.most
    assert refused <= 6


def headers(limit: str, left: str, reset: str) -> Answer:
    names = {"limit": limit, "remaining": left, "reset": reset}
    told = {f"x-ratelimit-{name}-requests": value for name, value in names.items()}
    return Answer(200, told, "", {})


@pytest.mark.parametrize(
    ("limit", "left", "reset", "rate"),
    [
        ("5000", "4999", "12ms", 83.3),
        ("500", "400", "12s", 8.33),
        ("10000", "9000", "2h24m0s", 0.116),
        ("5", "5", "0s", None),
        ("5", "6", "1s", None),
        ("", "", "", None),
        ("five", "4", "1s", None),
        ("5", "4", "soon", None),
    ],
)
def test_headers_are_read(limit: str, left: str, reset: str, rate: float | None) -> None:
    """What is used up over the time until it is whole again; what cannot be read says nothing."""
    told = told_beside(headers(limit, left, reset))
    assert (told.at_most_per_second if told else None) == (
        None if rate is None else pytest.approx(rate, rel=0.01)
    )


LIMITS = {
    "request_limit": 120, "request_limit_period": 60, "async_user_queue_limit": 500,
    "async_user_concurrency_limit": 5,
}  # fmt: skip


def quotas(model_limit: object, workspace_limit: object = None) -> dict[str, object]:
    row = {"model": "m", "model_limit": model_limit, "workspace_limit": workspace_limit}
    return {"output": {"quotas": [{"model": "other", "model_limit": LIMITS}, row]}}


def test_a_workspace_has_its_own_limit_where_it_is_lower() -> None:
    """The account's and the workspace's both hold; null is none."""
    whole = Told(submit_per_second=2.0, concurrency=5, waiting=500)
    assert told_of(quotas(LIMITS), "m") == whole
    lower = {**LIMITS, "request_limit": 30, "async_user_concurrency_limit": 2}
    assert told_of(quotas(LIMITS, lower), "m") == replace(
        whole, submit_per_second=0.5, concurrency=2
    )
    assert told_of(quotas({**LIMITS, "async_user_concurrency_limit": None}), "m") == replace(
        whole, concurrency=None
    )


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=8,
    )
)  # fmt: skip
def test_no_answer_breaks_the_reading(body: object) -> None:
    """Whatever stands where limits are expected: at worst nothing is told."""
    for whole in ({"output": body}, {"output": {"quotas": body}}, quotas(body, body)):
        told = told_of(whole, "m")
        assert told is None or told.concurrency is None or told.concurrency > 0


def test_a_refusal_is_believed_below_what_is_told() -> None:
    """Told five, refused at three: three until it is probed; never more than five."""

    async def main() -> None:
        clock = JumpingClock()
        live = live_of(FakeProvider(clock.now), clock, 5)
        live.gate.outstanding = 3
        live.gate.refused(Throttled("", "", kind="concurrency"), 1.0, clock.now())
        live.gate.pace.slow_down(clock.now())
        heed(live, Told(concurrency=5, submit_per_second=5.0))
        assert live.gate.slots.most() == 3
        taught = live.gate.pace.rate
        assert taught is not None
        heed(live, Told(submit_per_second=5.0))
        assert live.gate.pace.rate == taught
        heed(live, Told(submit_per_second=taught / 2))
        assert live.gate.pace.rate == taught / 2

    run(main())


def test_a_service_that_lets_few_wait_is_not_sent_more(tmp_path: Path) -> None:
    """As many are kept waiting as it says may wait."""

    async def main() -> list[int]:
        clock = JumpingClock()
        found = []
        for waiting in (None, 1, 0):
            live = live_of(FakeProvider(clock.now), clock)
            live.gate.slots.queues = True
            heed(live, Told(concurrency=5, waiting=waiting))
            found.append(live.gate.slots.most())
        return found

    most = run(main())
    assert most[1:] == [6, 5]
    assert most[0] > 6
