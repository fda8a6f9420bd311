"""A run's chain of fallbacks: who is asked next, for what, at whose expense, and how it is marked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redloom.endpoint import Asked, Capabilities, Fitted
from redloom.engine import Engine, Result, RunOptions
from redloom.errors import AccountEmpty, Refused, ServiceError
from redloom.manifest import write_manifests
from redloom.testing import FakeProvider, Fate, JumpingClock, fake_endpoint, run

NAMES = ("own", "next", "last")
CHAIN = RunOptions(fallback=NAMES[1:])


def chain_of(clock: JumpingClock, **scripts: Any) -> dict[str, FakeProvider]:
    """Three services by name, each with its script: a fate by prompt, or a function of both."""
    made = {}
    for name in NAMES:
        made[name] = FakeProvider(clock.now)
        script = scripts.get(name, "made")
        if callable(script):
            made[name].script = script
        else:
            made[name].script = _fates(script)
    return made


def _fates(script: Any) -> Any:
    def fate(asked: Asked, _number: int) -> Fate:
        found: Any = script if isinstance(script, str) else script.get(asked.prompt, "made")
        return cast(Fate, found)

    return fate


def engine_on(folder: Path, services: dict[str, FakeProvider], clock: JumpingClock) -> Engine:
    """An engine over the services, each an endpoint of its own."""
    equipped: Any = [(fake_endpoint(name), service) for name, service in services.items()]
    return Engine(workspace=folder / "ws", equipped=equipped, clock=clock)


def made_by(results: list[Result]) -> dict[str, str]:
    """Who made the picture of each prompt; the status where nobody did."""
    return {r.prompt: r.endpoint if r.ok else r.status for r in results}


def asked_for(service: FakeProvider) -> set[str]:
    """The prompts of the tasks that a service has taken."""
    return {task.asked.prompt for task in service.tasks.values()}


def generate(
    folder: Path, prompts: list[str], options: RunOptions = CHAIN, **scripts: Any
) -> tuple[list[Result], dict[str, FakeProvider]]:
    """Run prompts over the three services."""
    clock = JumpingClock()
    services = chain_of(clock, **scripts)

    async def main() -> list[Result]:
        async with engine_on(folder, services, clock) as engine:
            return await engine.generate(prompts, options=options)

    return run(main()), services


def test_the_next_is_asked_only_for_what_the_one_before_did_not_make(tmp_path: Path) -> None:
    """In order, and nobody further down is asked for what there is."""
    results, services = generate(
        tmp_path, ["a", "b", "c"],
        own={"b": "refused", "c": "refused"}, next={"c": "refused"},
    )  # fmt: skip
    assert made_by(results) == {"a": "own", "b": "next", "c": "last"}
    assert asked_for(services["next"]) == {"b", "c"}
    assert asked_for(services["last"]) == {"c"}
    assert [result.flags for result in results] == ["", "fallback", "fallback"]


@settings(max_examples=25, deadline=None)
@given(
    fates=st.lists(
        st.tuples(*[st.sampled_from(["made", "refused", "failed"])] * 3), min_size=1, max_size=6
    )
)
def test_each_prompt_comes_from_the_first_that_makes_it(
    fates: list[tuple[str, str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever each service says to each prompt: one outcome, one bill at most, the first in order."""
    words = [f"p{k}" for k in range(len(fates))]
    tables = {name: {w: f[at] for w, f in zip(words, fates, strict=True)} for at, name in enumerate(NAMES)}  # fmt: skip
    options = RunOptions(fallback=CHAIN.fallback, retries=0)
    results, services = generate(tmp_path_factory.mktemp("chain"), words, options, **tables)
    for word, fate in zip(words, fates, strict=True):
        expected = next((n for n, f in zip(NAMES, fate, strict=True) if f == "made"), fate[-1])
        assert made_by(results)[word] == expected
    bought = sum(service.billed() for service in services.values())
    assert bought == sum(result.ok for result in results)


def test_each_step_tries_as_often_as_the_run_says(tmp_path: Path) -> None:
    """What failed at the first does not use up the tries of the second."""
    failing: Any = lambda _asked, number: "failed" if number <= 2 else "made"  # noqa: E731
    options = RunOptions(fallback=CHAIN.fallback, retries=2)
    results, services = generate(tmp_path, ["a"], options, own="failed", next=failing)
    assert made_by(results) == {"a": "next"}
    assert (services["own"].submits, services["next"].submits) == (3, 3)
    assert services["last"].submits == 0


def test_stopped_endpoints_hand_over_to_the_next(tmp_path: Path) -> None:
    """An empty account, then a second one: the third makes the rest, and nobody is asked in vain."""

    def broke_at(limit: int) -> Any:
        def script(_asked: Asked, number: int) -> Fate | ServiceError:
            return AccountEmpty("欠费", "in arrears") if number > limit else "made"

        return script

    prompts = [f"p{k}" for k in range(12)]
    results, services = generate(tmp_path, prompts, own=broke_at(3), next=broke_at(4))
    assert {result.status for result in results} == {"ok"}
    assert [service.billed() for service in services.values()] == [3, 4, 5]


def test_when_all_of_the_chain_is_stopped_a_refusal_stays_a_refusal(tmp_path: Path) -> None:
    """The first one's own answer is told, and it is not asked a second time."""
    broke: Any = lambda _asked, _number: AccountEmpty("欠费", "in arrears")  # noqa: E731
    results, services = generate(tmp_path, ["a", "b"], own={"b": "refused"}, next=broke, last=broke)
    assert made_by(results) == {"a": "own", "b": "refused"}
    assert services["own"].submits == 2


def test_a_step_that_cannot_make_it_is_passed_over(tmp_path: Path) -> None:
    """A fallback whose model refuses the size does not make the row invalid."""
    clock = JumpingClock()
    services = chain_of(clock, own="refused")

    def unfit(asked: Asked) -> Fitted:
        raise Refused("尺寸不行", "no such size")

    services["next"].fit = unfit  # type: ignore[method-assign]

    async def main() -> list[Result]:
        async with engine_on(tmp_path, services, clock) as engine:
            return await engine.generate(["a"], options=CHAIN)

    assert made_by(run(main())) == {"a": "last"}
    assert services["next"].submits == 0


def test_what_only_stopped_endpoints_could_make_waits_and_the_run_ends(tmp_path: Path) -> None:
    """No key, and the chain cannot make it: the run says why it waits instead of hanging."""
    clock = JumpingClock()
    services = chain_of(clock, own=lambda _asked, _number: AccountEmpty("欠费", "in arrears"))

    def unfit(asked: Asked) -> Fitted:
        if asked.prompt == "a":
            raise Refused("尺寸不行", "no such size")
        return Fitted(asked)

    for name in ("next", "last"):
        services[name].fit = unfit  # type: ignore[method-assign]

    async def main() -> tuple[dict[str, str], str]:
        async with engine_on(tmp_path, services, clock) as engine:
            results = await engine.generate(["a", "b", "c"], options=CHAIN)
            return made_by(results), (await engine.records.runs())[0].note

    made, note = run(main())
    assert made == {"b": "next", "c": "next"}
    assert "in arrears" in note


def test_a_slow_fallback_holds_up_nobody(tmp_path: Path) -> None:
    """Refused rows wait for the fallback's one slot; the run's own endpoint goes on meanwhile."""
    clock = JumpingClock()
    caps = Capabilities(lanes=("async",), queues_excess=False, lists_tasks=True, list_lag_s=2.0)
    own = FakeProvider(clock.now, slots=1, caps=caps)
    own.script = lambda asked, _n: "refused" if asked.prompt.startswith("bad") else "made"
    slow = FakeProvider(clock.now, seconds=lambda _: 1000.0, slots=1, caps=caps)
    prompts = ["bad1", "bad2", "bad3", *(f"good{k}" for k in range(5))]

    async def main() -> list[str]:
        services = {"own": own, "next": slow}
        async with engine_on(tmp_path, services, clock) as engine:
            options = RunOptions(fallback=("next",))
            return [one.prompt async for one in engine.stream(prompts, options=options)]

    order = run(main())
    assert [word for word in order if word.startswith("good")] == order[:5]
    assert len(order) == 8


def test_the_budget_holds_over_the_chain(tmp_path: Path) -> None:
    """Three pictures' money: what the run's own and the fallback cost together stays below it."""
    clock = JumpingClock()
    services = chain_of(clock, own={f"p{k}": "refused" for k in range(2, 6)})
    prompts = [f"p{k}" for k in range(6)]

    async def main() -> list[Result]:
        async with engine_on(tmp_path, services, clock) as engine:
            return await engine.generate(prompts, options=CHAIN, budget=0.7, currency="CNY")

    found = [result.status for result in run(main())]
    assert (found.count("ok"), found.count("unpaid")) == (3, 3)
    assert sum(service.billed() for service in services.values()) == 3


@dataclass
class Left:
    """An engine that left while a fallback worked."""

    clock: JumpingClock
    services: dict[str, FakeProvider]


def left_at_work(folder: Path) -> Left:
    """The first engine leaves once the fallback has accepted the task."""
    clock = JumpingClock()
    services = chain_of(clock, own="refused")
    services["next"].seconds = lambda _prompt: 500.0

    async def main() -> None:
        async with engine_on(folder, services, clock) as engine:
            await engine.add(["a"], out=folder / "o", options=CHAIN)
            while not services["next"].tasks:
                await clock.sleep(1.0)
            await clock.sleep(5.0)

    run(main())
    return Left(clock, services)


def test_a_fallbacks_task_is_collected_by_the_next_engine(tmp_path: Path) -> None:
    """Accepted and paid for there: the same command goes on with it and asks nobody again."""
    left = left_at_work(tmp_path)

    async def main() -> list[Result]:
        async with engine_on(tmp_path, left.services, left.clock) as engine:
            return await engine.generate(["a"], out=tmp_path / "o", options=CHAIN)

    results = run(main())
    assert made_by(results) == {"a": "next"}
    assert results[0].flags == "fallback"
    assert left.services["next"].submits == 1
    assert left.services["last"].submits == 0


def test_an_engine_with_nothing_but_the_fallback_leaves_the_run_alone(tmp_path: Path) -> None:
    """Without the run's own endpoint nobody was asked before: the run waits, no row is spoilt."""
    left = left_at_work(tmp_path)
    only = {"last": left.services["last"]}

    async def main() -> dict[str, int]:
        async with engine_on(tmp_path, only, left.clock) as engine:
            run_id = (await engine.records.runs())[0].id
            await engine.resume(run_id)
            await left.clock.sleep(5.0)
            return await engine.records.counts(run_id)

    assert run(main()) == {"pending": 1}


def test_manifest_and_sidecar_say_so(tmp_path: Path) -> None:
    """The column ``flags`` and the file beside the picture name the fallback."""
    clock = JumpingClock()
    services = chain_of(clock, own={"b": "refused"})
    out = tmp_path / "o"

    async def main() -> None:
        async with engine_on(tmp_path, services, clock) as engine:
            results = await engine.generate(["a", "b"], out=out, options=CHAIN)
            write_manifests(engine.journal, results[0].run, out)

    run(main())
    lines = [json.loads(text) for text in (out / "manifest.jsonl").read_text().splitlines()]
    assert [(line["endpoint"], line["flags"]) for line in lines] == [
        ("own", ""), ("next", "fallback"),
    ]  # fmt: skip
    beside = json.loads((out / f"{lines[1]['file']}.json").read_text())
    assert beside["flags"] == ["fallback"]


def test_what_is_asked_first_is_no_fallback(tmp_path: Path) -> None:
    """An endpoint named for both is the run's own; with no other there is no chain at all."""
    clock = JumpingClock()
    services = chain_of(clock, own="refused")

    async def main() -> list[Result]:
        async with engine_on(tmp_path, {"own": services["own"]}, clock) as engine:
            alone = await engine.generate(["a"], options=RunOptions(fallback=("own",)))
        async with engine_on(tmp_path, services, clock) as engine:
            run_id = await engine.add(
                ["b"], endpoints=["own"], options=RunOptions(fallback=("own", "last"))
            )
            return [*alone, *[one async for one in engine.follow(run_id)]]

    assert [(r.status, r.endpoint) for r in run(main())] == [("refused", "own"), ("ok", "last")]
