"""The DashScope emulator in a process of its own: prints its address, serves until told to end.

python -m helpers.service '{"ledger": "/tmp/l.jsonl", "faults": "answer_lost=0.1"}'
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.driver import KEY
from helpers.pulse import Pulse
from redloom.clock import Clock, clock_from_environment
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
    emulator = Watched(settings, clock_from_environment())
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    url = await emulator.start()
    emulator.pulse.start()
    # Links lead through the line that the test can cut, where there is one.
    emulator._files.base = wanted.get("public") or emulator._files.base
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, paid_up, settings.faults)
    sys.stdout.write(url + "\n")
    sys.stdout.flush()
    await over.wait()
    emulator.pulse.stop()
    await emulator.stop()
    assert isinstance(settings.faults, Counted)
    told = Path(wanted["ledger"]).with_suffix(".faults.json")
    told.write_text(json.dumps(settings.faults.hits))
    kept = {"refused": emulator.refused, "held": emulator.pulse.held}
    Path(wanted["ledger"]).with_suffix(".refusals.json").write_text(json.dumps(kept))


class Watched(DashScopeEmulator):
    """It notes what it refuses because a quota is used up, and none of the refusals that are faults."""

    def __init__(self, settings: Emulated, clock: Clock) -> None:
        super().__init__(settings, clock)
        self.refused: list[tuple[float, str]] = []
        """Real Unix seconds, and the quota: ``rate``, ``concurrency``, ``poll``, ``list``."""
        self.pulse = Pulse()
        asked = self._service.call_wait_s

        def noted(account: str, kind: str) -> float:
            wait_s = asked(account, kind)
            if wait_s:
                self.refused.append((time.time(), kind))
            return wait_s

        self._service.call_wait_s = noted  # type: ignore[method-assign]

    async def _paced(self, *request: Any) -> str:
        word = await super()._paced(*request)
        if word:
            kind = "concurrency" if word == "concurrency" else "rate"
            self.refused.append((time.time(), kind))
        return word


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
