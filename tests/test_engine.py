"""The engine on the jumping clock and the fake provider: every picture once, paid once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from redloom.endpoint import Asked
from redloom.engine import Engine, Result, RunOptions
from redloom.errors import (
    ContentRefused,
    NotSent,
    ServiceError,
    TaskFailed,
    Throttled,
    Unavailable,
)
from redloom.events import Event
from redloom.testing import FakeProvider, Fate, JumpingClock, fake_endpoint, run


def make(
    tmp_path: Path,
    prompts: list[str],
    change: Callable[[FakeProvider], None] = lambda _p: None,
    *,
    out: bool = True,
    options: RunOptions | None = None,
) -> tuple[list[Result], FakeProvider, list[Event]]:
    """One run of ``prompts`` on a fresh engine; its results, the service, what happened."""
    events: list[Event] = []
    clock = JumpingClock()
    provider = FakeProvider(clock.now)
    change(provider)

    async def main() -> list[Result]:
        engine = Engine(
            workspace=tmp_path / "ws", equipped=[(fake_endpoint(), provider)], clock=clock,
            on_event=events.append,
        )  # fmt: skip
        async with engine:
            where = tmp_path / "out" if out else None
            return await engine.generate(prompts, out=where, options=options)

    return run(main()), provider, events


def test_every_prompt_becomes_one_picture(tmp_path: Path) -> None:
    """Twenty prompts: twenty files in order, twenty billed."""
    results, provider, _ = make(tmp_path, [f"a scarf number {k}" for k in range(20)])
    assert [r.status for r in results] == ["ok"] * 20
    assert [r.row for r in results] == list(range(1, 21))
    assert provider.billed() == 20
    assert all(r.path is not None and r.path.exists() for r in results)


def test_a_folder_of_a_program_has_its_manifests(tmp_path: Path) -> None:
    """A line per wanted picture in input order, as a command leaves it; none without a folder."""
    fate: dict[str, Fate] = {"b": "refused"}
    results, _, _ = make(
        tmp_path, ["a", "b", "c"],
        lambda p: setattr(p, "script", lambda asked, _n: fate.get(asked.prompt, "made")),
    )  # fmt: skip
    lines = manifest(tmp_path / "out")
    assert [(one["row"], one["status"], one["file"]) for one in lines] == [
        (r.row, r.status, r.file) for r in results
    ]
    assert [one["status"] for one in lines] == ["ok", "refused", "ok"]
    assert (tmp_path / "out" / "manifest.csv").read_bytes().startswith(b"\xef\xbb\xbf")


def test_who_stops_listening_has_a_manifest_of_what_there_is(tmp_path: Path) -> None:
    """After the first of three: that one is in it with its file, the others are there as well."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now, slots=1)

    async def main() -> None:
        equipped = [(fake_endpoint(), provider)]
        async with Engine(workspace=tmp_path / "ws", equipped=equipped, clock=clock) as engine:
            results = engine.stream(["a", "b", "c"], out=tmp_path / "out")
            assert (await anext(results)).ok
            await results.aclose()  # type: ignore[attr-defined]

    run(main())
    lines = manifest(tmp_path / "out")
    assert [one["row"] for one in lines] == [1, 2, 3]
    assert (tmp_path / "out" / lines[0]["file"]).is_file()


def manifest(folder: Path) -> list[dict[str, Any]]:
    """The lines of a folder's manifest."""
    return [json.loads(one) for one in (folder / "manifest.jsonl").read_text("utf-8").splitlines()]


def test_the_service_is_never_asked_for_more_than_it_takes(tmp_path: Path) -> None:
    """Five slots: five run at once, and none idles while work remains."""
    _, provider, _ = make(tmp_path, [f"p{k}" for k in range(25)])
    assert provider.most_at_once == 5
    busy = sum(t.ends - t.starts for t in provider.tasks.values())
    span = max(t.ends for t in provider.tasks.values()) - min(
        t.starts for t in provider.tasks.values()
    )
    assert busy / (5 * span) > 0.95


def test_equal_prompts_are_bought_once(tmp_path: Path) -> None:
    """The same words twice: one is made, the other is its duplicate with the same file."""
    results, provider, _ = make(tmp_path, ["same", "other", "same"])
    assert [r.status for r in results] == ["ok", "ok", "duplicate"]
    assert results[2].file == results[0].file
    assert provider.billed() == 2


def test_the_same_run_again_costs_nothing(tmp_path: Path) -> None:
    """A second engine with the same prompts and folder finds all done."""
    make(tmp_path, ["x", "y"])
    results, provider, _ = make(tmp_path, ["x", "y"])
    assert [r.status for r in results] == ["ok", "ok"]
    assert provider.submits == 0


def test_another_run_is_served_from_the_store(tmp_path: Path) -> None:
    """Prompts made before, wanted by another run: no request at all."""
    make(tmp_path, ["x", "y"])
    results, provider, _ = make(tmp_path, ["y", "x", "x"], out=False)
    assert [r.status for r in results] == ["ok", "ok", "duplicate"]
    assert provider.submits == 0


def test_one_failure_is_its_own(tmp_path: Path) -> None:
    """A picture that the service refuses for good does not touch the others."""

    def refuse(provider: FakeProvider) -> None:
        provider.script = lambda asked, _n: "refused" if asked.prompt == "bad" else "made"

    results, provider, _ = make(tmp_path, ["a", "bad", "c"], refuse)
    assert [r.status for r in results] == ["ok", "refused", "ok"]
    assert results[1].code == "DataInspectionFailed"
    assert provider.billed() == 2


def test_a_failed_task_is_tried_again_and_counted(tmp_path: Path) -> None:
    """Two internal errors, then a picture: three tries on record."""

    def flaky(provider: FakeProvider) -> None:
        provider.script = lambda _a, n: "failed" if n <= 2 else "made"

    results, provider, _ = make(tmp_path, ["a"], flaky)
    assert results[0].status == "ok"
    assert results[0].attempts == 3
    assert provider.submits == 3


def test_tries_end(tmp_path: Path) -> None:
    """A task that always fails: the first try and three more, then it is said."""

    def broken(provider: FakeProvider) -> None:
        provider.script = lambda _a, _n: "failed"

    results, provider, _ = make(tmp_path, ["a"], broken)
    assert results[0].status == "failed"
    assert provider.submits == 4


def test_noes_cost_nothing(tmp_path: Path) -> None:
    """429, 500 and a refused connection are asked again; one picture is bought."""
    noes: list[ServiceError] = [
        Throttled("慢", "slow", kind="rate"),
        Unavailable("忙", "busy"),
        NotSent("断", "down"),
    ]

    def script(_asked: Asked, number: int) -> Fate | ServiceError:
        return noes[number - 1] if number <= len(noes) else "made"

    results, provider, _ = make(tmp_path, ["a"], lambda p: setattr(p, "script", script))
    assert results[0].status == "ok"
    assert results[0].attempts == 1
    assert provider.billed() == 1


def test_a_lost_answer_is_found_again(tmp_path: Path) -> None:
    """The answer to the third submit is lost after acceptance: found by looking, not rebought."""

    def lost(provider: FakeProvider) -> None:
        provider.script = lambda _a, n: "no-answer" if n == 3 else "made"
        provider.rate = 1.0

    results, provider, _ = make(tmp_path, [f"p{k}" for k in range(8)], lost)
    assert [r.status for r in results] == ["ok"] * 8
    assert provider.submits == 8
    assert provider.bought_twice() == []
    assert provider.looks >= 1


def test_what_never_arrived_is_sent_again(tmp_path: Path) -> None:
    """No answer and nothing in the list: proved, so it is asked for again."""

    def never(provider: FakeProvider) -> None:
        provider.script = lambda _a, n: "never-arrived" if n == 2 else "made"
        provider.rate = 1.0

    results, provider, _ = make(tmp_path, ["a", "b", "c"], never)
    assert [r.status for r in results] == ["ok"] * 3
    assert provider.submits == 4
    assert provider.billed() == 3


def test_a_synchronous_no_is_not_asked_for_ever(tmp_path: Path) -> None:
    """Blocked output at submit gets one other seed, a picture that does not come its few tries."""

    def change(provider: FakeProvider) -> None:
        def script(asked: Asked, _number: int) -> Fate | ServiceError:
            if asked.prompt == "blocked":
                return ContentRefused("出图被拦", "blocked", other_seed_may_pass=True)
            return TaskFailed("没有图", "no picture")

        provider.script = script

    results, provider, _ = make(tmp_path, ["blocked", "empty"], change)
    assert [r.status for r in results] == ["refused", "failed"]
    assert provider.submits == 2 + 4
    assert provider.billed() == 0


def test_an_equal_row_much_later_is_not_bought_again(tmp_path: Path) -> None:
    """Read together, dispatched an hour apart: the second has the first one's file."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now, slots=1, seconds=lambda _: 60.0)

    async def main() -> list[str]:
        async with Engine(
            workspace=tmp_path / "ws", equipped=[(fake_endpoint(), provider)], clock=clock
        ) as engine:
            words = ["same", *(f"other {k}" for k in range(60)), "same"]
            return [one.status for one in await engine.generate(words, out=tmp_path / "o")]

    statuses = run(main())
    assert (statuses[0], statuses[-1]) == ("ok", "duplicate")
    assert provider.billed() == 61


def test_what_is_made_on_this_machine_is_made_again(tmp_path: Path) -> None:
    """A worker that dies in the middle leaves nothing to settle: no doubt, no policy, no money."""

    def local(provider: FakeProvider) -> None:
        provider.caps = replace(provider.caps, lists_tasks=False, local=True, free=True)
        provider.script = lambda _asked, number: "no-answer" if number == 1 else "made"

    results, provider, _ = make(tmp_path, ["x", "y"], local)
    assert [r.status for r in results] == ["ok", "ok"]
    assert provider.submits == 3


def test_the_same_run_with_another_policy_settles_its_doubts(tmp_path: Path) -> None:
    """A doubt that nothing can settle waits; the same run that says resubmit buys it again."""

    def lost(provider: FakeProvider) -> None:
        provider.caps = replace(provider.caps, lists_tasks=False)
        provider.script = lambda _a, n: "no-answer" if n == 1 else "made"

    first, service, _ = make(tmp_path, ["a scarf"], lost)
    assert first[0].status == "in-doubt"
    again, _, _ = make(tmp_path, ["a scarf"], lost)
    assert again[0].status == "in-doubt"
    assert service.submits == 1

    def found(provider: FakeProvider) -> None:
        provider.caps = replace(provider.caps, lists_tasks=False)

    last, provider, _ = make(tmp_path, ["a scarf"], found, options=RunOptions(in_doubt="resubmit"))
    assert last[0].status == "ok"
    assert provider.submits == 1
