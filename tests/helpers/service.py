"""The DashScope emulator in a process of its own: prints its address, serves until told to end.

python -m helpers.service '{"ledger": "/tmp/l.jsonl", "faults": "answer_lost=0.1"}'
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

from redloom.clock import clock_from_environment
from redloom.emulators.dashscope import DashScopeEmulator, Emulated, ServiceTime, parse_faults


async def serve(wanted: dict[str, Any]) -> None:
    """Run until SIGTERM; then the ledger has its counts."""
    settings = Emulated(
        latency=ServiceTime(*wanted.get("latency", (6.0, 0.3, 3.0, 12.0))),
        submit_per_second=wanted.get("rate", 5.0),
        concurrency=wanted.get("concurrency", 5),
        faults=parse_faults(wanted.get("faults", "")),
        ledger_path=Path(wanted["ledger"]),
        picture_size="small",
        seed=wanted.get("seed", 0),
        other_tasks_per_minute=wanted.get("others", 0.0),
    )
    emulator = DashScopeEmulator(settings, clock_from_environment())
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    sys.stdout.write(await emulator.start() + "\n")
    sys.stdout.flush()
    await over.wait()
    await emulator.stop()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
