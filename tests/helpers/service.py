"""The DashScope emulator in a process of its own: prints its address, serves until told to end.

python -m helpers.service '{"ledger": "/tmp/l.jsonl", "faults": "answer_lost=0.1"}'
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.driver import KEY
from redloom.clock import clock_from_environment
from redloom.emulators.dashscope import DashScopeEmulator, Emulated, ServiceTime, parse_faults
from redloom.emulators.dashscope_service import TASK_TIMEOUT_S
from redloom.emulators.faults import Faults


async def serve(wanted: dict[str, Any]) -> None:
    """Run until SIGTERM; then the ledger has its counts."""
    settings = Emulated(
        latency=ServiceTime(*wanted.get("latency", (6.0, 0.3, 3.0, 12.0))),
        submit_per_second=wanted.get("rate", 5.0),
        concurrency=wanted.get("concurrency", 5),
        faults=counted(parse_faults(wanted.get("faults", ""))),
        keys={KEY: "emulated"},
        over=wanted.get("over", "queue"),
        list_lag_s=wanted.get("list_lag_s", 2.0),
        task_timeout_s=wanted.get("task_timeout_s", TASK_TIMEOUT_S),
        other_model=wanted.get("model", "wan2.6-t2i"),
        ledger_path=Path(wanted["ledger"]),
        picture_size="small",
        seed=wanted.get("seed", 0),
        other_tasks_per_minute=wanted.get("others", 0.0),
    )
    emulator = DashScopeEmulator(settings, clock_from_environment())
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    url = await emulator.start()
    # Links lead through the line that the test can cut, where there is one.
    emulator._files.base = wanted.get("public") or emulator._files.base
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, paid_up, settings.faults)
    sys.stdout.write(url + "\n")
    sys.stdout.flush()
    await over.wait()
    await emulator.stop()
    assert isinstance(settings.faults, Counted)
    told = Path(wanted["ledger"]).with_suffix(".faults.json")
    told.write_text(json.dumps(settings.faults.hits))


@dataclass(frozen=True)
class Counted(Faults):
    """Faults that count how often they hit."""

    hits: Counter[str] = field(default_factory=Counter)

    def at(self, seed: int, where: str, number: int, identity: str, tried: int) -> str:
        what = super().at(seed, where, number, identity, tried)
        if what:
            self.hits[f"{where}_{what}"] += 1
        return what

    def standing(self, number: int) -> str:
        what = super().standing(number)
        if what:
            self.hits[f"{what}_from"] += 1
        return what

    def window(self, elapsed_s: float) -> str:
        what = super().window(elapsed_s)
        if what:
            self.hits[what] += 1
        return what


def counted(faults: Faults) -> Counted:
    """The same faults, counting."""
    return Counted(dict(faults.rates), faults.script, dict(faults.since), faults.windows)


def paid_up(faults: Faults) -> None:
    """A person has acted: what held from some request on holds no more (SIGUSR1)."""
    assert isinstance(faults.since, dict)
    faults.since.clear()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
