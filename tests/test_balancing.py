"""One run over several services at once: one of them dies, no picture is lost or bought twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from redloom.emulators import dashscope, openai, siliconflow
from redloom.emulators.ledger import Ledger, prompt_sha
from redloom.emulators.pictures import prompt_of_picture
from redloom.emulators.service_time import ServiceTime
from redloom.endpoint import Endpoint, Limits, Provider, Tools
from redloom.engine import Engine, Result, RunOptions
from redloom.providers import load
from redloom.testing import JumpingClock, run

KEY = "balancing-key-0123456789"
AT_ONCE = ServiceTime(0.0, 0.0, 0.0, 0.0)
PROMPTS = [f"第 {number} 张红围巾" for number in range(30)]


@dataclass
class Told:
    """What came of a run."""

    results: list[Result]
    served: Counter[str]
    bills: dict[str, int]
    twice: list[str] = field(default_factory=list)
    """Prompts billed more than once, over all services together."""


def together(folder: Path, faults: dict[str, str], fallback: tuple[str, ...] = ()) -> Told:
    """Thirty pictures over three services, each with its faults, and cards."""

    async def main() -> Told:
        clock = JumpingClock()
        plain: dict[str, Any] = {"keys": {KEY: "a"}, "submit_per_second": 0}
        services: dict[str, tuple[Any, Any, ServiceTime, str, float]] = {
            "dashscope": (
                dashscope,
                dashscope.DashScopeEmulator,
                ServiceTime(20, 0.3, 8, 40),
                "",
                2,
            ),
            "openai": (openai, openai.OpenAIEmulator, AT_ONCE, "openai", 0.08),
            "siliconflow": (siliconflow, siliconflow.Emulator, AT_ONCE, "", 0.08),
        }
        running, equipped = {}, []
        for name, (module, kind, takes, vendor, rate) in services.items():
            given = module.parse_faults(faults.get(name, ""))
            service = kind(module.Emulated(latency=takes, faults=given, **plain), clock)
            running[name] = service
            endpoint = Endpoint(
                name, name, load(name).DEFAULTS.model, await service.start(), account=name,
                limits=Limits(submit_per_second=rate, sync_concurrency=4),
                options={"vendor": vendor} if vendor else {},
            )  # fmt: skip
            equipped.append((endpoint, _provider(name, endpoint, clock)))
        cards = Endpoint("cards", "cards", "card", account="cards")
        if fallback:
            equipped.append((cards, _provider("cards", cards, clock)))
        async with Engine(workspace=folder / "ws", equipped=equipped, clock=clock) as engine:
            results = await engine.generate(
                PROMPTS, out=folder / "out", options=RunOptions(fallback=fallback)
            )
        told = _told(results, {name: service.ledger for name, service in running.items()})
        for service in running.values():
            await service.stop()
        return told

    return run(main())


def _provider(name: str, endpoint: Endpoint, clock: JumpingClock) -> Provider:
    made: Provider = load(name).create(endpoint, Tools(key=KEY, clock=clock))
    return made


def _told(results: list[Result], ledgers: dict[str, Ledger]) -> Told:
    bought: Counter[str] = Counter()
    for ledger in ledgers.values():
        for purchase in ledger.own():
            bought[purchase.prompt] += purchase.billed
    bills = {name: ledger.billed() for name, ledger in ledgers.items()}
    served = Counter(result.endpoint for result in results if result.ok)
    return Told(results, served, bills, [text for text, count in bought.items() if count > 1])


def all_there(told: Told) -> None:
    """Every prompt has one picture of its own words, and one bill."""
    assert [result.prompt for result in told.results] == PROMPTS
    for result in told.results:
        assert result.status == "ok", (result.prompt, result.error)
        assert result.path is not None
        assert prompt_of_picture(result.path.read_bytes()) == prompt_sha(result.prompt)
    assert told.twice == []
    assert sum(told.bills.values()) == len(PROMPTS)


def test_three_services_share_a_run(tmp_path: Path) -> None:
    """Nothing goes wrong: all three are used, and each bills what it served."""
    told = together(tmp_path, {})
    all_there(told)
    assert len(told.served) == 3
    assert told.bills == dict(told.served)


@pytest.mark.parametrize(
    ("dying", "fault"),
    [
        ("openai", "key_from=3"),
        ("openai", "arrears_from=2"),
        ("siliconflow", "arrears_from=3"),
        ("dashscope", "key_from=4"),
        ("dashscope", "arrears_from=4"),
        ("dashscope", "free_tier_from=2"),
    ],
)
def test_one_dies_half_way(dying: str, fault: str, tmp_path: Path) -> None:
    """Its key or its money ends in the middle: the others make the rest."""
    told = together(tmp_path, {dying: fault})
    all_there(told)
    assert 0 < told.served[dying] < 10
    assert len(told.served) == 3


@pytest.mark.parametrize("fault", ["outage=5-90", "down=5-90"])
def test_one_is_away_for_a_while(fault: str, tmp_path: Path) -> None:
    """An outage of the one that can be looked through: what it has taken is collected after."""
    told = together(tmp_path, {"dashscope": fault})
    all_there(told)


def test_a_dying_one_that_loses_answers_leaves_doubts_not_losses(tmp_path: Path) -> None:
    """Where nothing can be looked up, a lost answer is a doubt: never bought again, never hidden."""
    told = together(tmp_path, {"openai": "@2:answer=lost,key_from=4"})
    assert told.twice == []
    statuses = Counter(result.status for result in told.results)
    assert statuses == {"ok": len(PROMPTS) - 1, "in-doubt": 1}
    assert sum(told.bills.values()) == len(PROMPTS)


def test_a_run_can_end_in_cards(tmp_path: Path) -> None:
    """Every service refuses the words: with a fallback there are cards rather than nothing."""
    refuse = dict.fromkeys(("openai", "siliconflow", "dashscope"), "submit_refused=1")
    told = together(tmp_path, refuse, fallback=("cards",))
    assert {result.status for result in told.results} == {"ok"}
    assert dict(told.served) == {"cards": len(PROMPTS)}
    assert sum(told.bills.values()) == 0
