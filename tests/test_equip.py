"""Endpoints put to use: what belongs to one quota is shared, what was learnt is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from helpers.desk import desk
from redloom.endpoint import Capabilities, Endpoint, Lane, Limits
from redloom.equip import POLL_MARGIN, Terms, equip, keep_what_was_learnt, lane_of
from redloom.errors import DiskFull
from redloom.records import Records
from redloom.route import Live
from redloom.testing import FakeProvider, JumpingClock, run

CLOCK = JumpingClock()


def service(**changes: object) -> FakeProvider:
    """A service without a clock of its own."""
    return FakeProvider(lambda: 0.0, **changes)  # type: ignore[arg-type]


def endpoint(name: str, **changes: object) -> Endpoint:
    """An endpoint of account ``a``."""
    made = Endpoint(name, "fake", "fake-1", f"fake://{name}", region="r", account="a")
    return replace(made, **changes)  # type: ignore[arg-type]


def equipped(folder: Path, *endpoints: Endpoint, keys: dict[str, str] | None = None) -> list[Live]:
    """Put them to use on a fresh journal."""

    folder.mkdir(exist_ok=True)

    async def main() -> list[Live]:
        async with desk(folder) as records:
            pairs = [(one, service()) for one in endpoints]
            return await equip(pairs, keys or {}, records, Terms(CLOCK))

    return run(main())


def test_one_quota_has_one_gate(tmp_path: Path) -> None:
    """Account, region and model alike: one gate, whatever the names; else each has its own."""
    one, same, model, account = equipped(
        tmp_path, endpoint("one"), endpoint("same"), endpoint("model", model="fake-2"),
        endpoint("account", account="b"),
    )  # fmt: skip
    assert one.gate is same.gate
    assert len({id(live.gate) for live in (one, model, account)}) == 3


def test_one_account_has_one_poll_scheduler(tmp_path: Path) -> None:
    """Whatever the model: status queries are the account's."""
    one, model, account, region = equipped(
        tmp_path, endpoint("one"), endpoint("model", model="fake-2"),
        endpoint("account", account="b"), endpoint("region", region="s"),
    )  # fmt: skip
    assert one.polls is model.polls
    assert len({id(live.polls) for live in (one, account, region)}) == 3


def test_query_limits_are_the_set_or_published_ones_less_a_margin(tmp_path: Path) -> None:
    """Half an account asks half as often; single queries and lists apart."""
    limits = Limits(poll_per_second=20.0, list_per_second=2.0)
    (one,) = equipped(tmp_path, endpoint("one", limits=limits, share=0.5))
    assert one.polls.pace.rate == pytest.approx(10.0 * POLL_MARGIN)
    assert one.polls.lists.rate == pytest.approx(1.0 * POLL_MARGIN)
    (free,) = equipped(tmp_path / "other", endpoint("free"))
    assert free.polls.pace.rate is free.polls.lists.rate is None


@pytest.mark.parametrize(
    ("lanes", "wanted", "lane"),
    [
        (("async",), None, "async"),
        (("sync",), None, "sync"),
        (("sync", "async"), None, "async"),
        (("sync", "async"), "sync", "sync"),
        (("async",), "sync", "async"),
        (("sync",), "async", "sync"),
    ],
)
def test_the_lane_asked_for_else_the_recoverable_one(
    lanes: tuple[Lane, ...], wanted: Lane | None, lane: Lane
) -> None:
    """A wish for a lane that is not there changes nothing."""
    assert lane_of(service(caps=Capabilities(lanes=lanes)), wanted) == lane


def test_a_place_tells_keys_apart_and_gives_none_away(tmp_path: Path) -> None:
    """The same key has the same mark in one workspace; no key is in any mark."""
    keys = {"one": "sk-secret-1", "two": "sk-secret-1", "three": "sk-secret-2"}
    one, two, three = equipped(tmp_path, *map(endpoint, keys), keys=keys)
    marks = [live.place.split()[-1] for live in (one, two, three)]
    assert marks[0] == marks[1] != marks[2]
    assert not any("secret" in live.place for live in (one, two, three))


def test_what_was_learnt_is_kept_over_a_restart(tmp_path: Path) -> None:
    """Rate, slots, whether it queues, and service times; by lane and by place of work."""

    async def main() -> None:
        async with desk(tmp_path) as records:
            (first,) = await equip([(endpoint("one"), service())], {}, records, Terms(CLOCK))
            first.gate.pace.rate, first.gate.pace.taught = 1.5, True
            first.gate.slots.rejected(3, 0.0)
            for _ in range(30):
                first.timings.learn("1024x1024", 33.0)
            await keep_what_was_learnt([first], records, 1.0)
        async with desk(tmp_path) as records:
            (again,) = await equip([(endpoint("one"), service())], {}, records, Terms(CLOCK))
            assert (again.gate.pace.rate, again.gate.slots.limit) == (1.5, 3)
            assert again.gate.slots.queues is False
            assert again.timings.learnt() == first.timings.learnt()
            sync = service(caps=Capabilities(lanes=("sync", "async")))
            (lane,) = await equip([(endpoint("one"), sync)], {}, records, Terms(CLOCK, lane="sync"))
            assert lane.timings.learnt() == {}

    run(main())


def test_nothing_learnt_is_nothing_kept(tmp_path: Path) -> None:
    """A process that asked nothing does not write what it read from the table."""

    async def main() -> None:
        async with desk(tmp_path) as records:
            caps = Capabilities(queues_excess=None)
            (one,) = await equip([(endpoint("one"), service(caps=caps))], {}, records, Terms(CLOCK))
            await keep_what_was_learnt([one], records, 1.0)
            rows = await records.journal.read(
                lambda db: db.connection.execute("SELECT * FROM learnt").fetchall()
            )
            assert rows == []

    run(main())


def test_a_full_disk_at_the_end_is_not_said_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was learnt is lost then, and nothing else."""

    async def full(*_args: object, **_how: object) -> None:
        raise DiskFull("满", "full")

    async def main() -> None:
        async with desk(tmp_path) as records:
            (one,) = await equip([(endpoint("one"), service())], {}, records, Terms(CLOCK))
            one.timings.learn("", 5.0)
            monkeypatch.setattr(Records, "learn", full)
            await keep_what_was_learnt([one], records, 1.0)

    run(main())
