"""Five thousand prompts overnight, killed twice on the way: what it takes, and that all is right.

A GBK table as Chinese Excel saves it (twins, blank lines, an over-long prompt, equal ids, line
breaks in cells) goes through `redloom batch` against the emulated service (5 submits a second, 20
at once, faults, its usual 55 s a picture) with nominal time at sixty times real time. The command
is killed twice (SIGKILL) and given again. Told are the real time, the finish against the
never-idle bound, how good the first forecast was, and the speed of the contact sheet's page.

    python benchmarks/overnight.py [--rows 5000] [--speed 60] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from helpers.night import Night, morning, table  # noqa: E402
from redloom.emulators.dashscope import read_ledger  # noqa: E402
from redloom.eta import Eta  # noqa: E402
from redloom.events import Done, Running, Started, Submitted  # noqa: E402

FAULTS = (
    "submit_reset=0.01,submit_busy=0.01,submit_throttled=0.02,answer_lost=0.001,answer_504=0.001,"
    "poll_error=0.02,poll_reset=0.01,task_failed=0.02,task_refused=0.01,bad_download=0.02"
)
KINDS = {"started": Started, "submitted": Submitted, "running": Running, "done": Done}
MEAN_S = 59.5
"""Mean of the emulator's log-normal service times (median 55, sigma 0.4, 30 to 120)."""


@dataclass
class Watch:
    """What one process of the command told."""

    eta: Eta
    rows: int
    done: int = 0
    foretold: float | None = None
    """Nominal time of the end as foretold after a tenth."""
    ended: float = 0.0
    seen: set[int] = field(default_factory=set)

    def see(self, record: dict[str, Any]) -> None:
        kind = KINDS.get(record.get("event", ""))
        if kind is None:
            return
        fields = getattr(kind, "__dataclass_fields__", {})
        event = kind(**{k: v for k, v in record.items() if k in fields})
        self.eta.see(event)
        self.ended = max(self.ended, event.at)
        if isinstance(event, Done):
            self.seen.add(event.row)
        if self.foretold is None and len(self.seen) * 10 >= self.rows:
            left = self.eta.left_s()
            self.foretold = None if left is None else event.at + left


def run(night: Night, folder: Path, speed: float) -> dict[str, Any]:
    """The night, with two kills; what it took."""
    (folder / "prompts.csv").write_bytes(night.data)
    env = {
        **os.environ, "REDLOOM_CLOCK_SPEED": str(speed), "REDLOOM_CLOCK_START": str(int(time.time())),
        "REDLOOM_HOME": str(folder / "home"), "DASHSCOPE_API_KEY": "sk-emulated", "LC_ALL": "C.UTF-8",
        "NO_PROXY": "*",
    }  # fmt: skip
    ledger = folder / "ledger.jsonl"
    emulator = subprocess.Popen(
        [sys.executable, "-m", "redloom", "--json", "emulate", "dashscope", "--rps", "5", "--concurrency", "20",
         "--faults", FAULTS, "--ledger", str(ledger)],
        env=env, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert emulator.stdout is not None
        env["DASHSCOPE_BASE_URL"] = json.loads(emulator.stdout.readline())["base_url"]
        return _command(night, folder, env, ledger)
    finally:
        emulator.terminate()
        emulator.wait()


def _command(night: Night, folder: Path, env: dict[str, str], ledger: Path) -> dict[str, Any]:
    line = [
        sys.executable,
        "-m",
        "redloom",
        "--json",
        "batch",
        "prompts.csv",
        "--out",
        "pictures",
        "--yes",
    ]
    watch, began, kills = (
        Watch(Eta(total=len(night.records)), len(night.records)),
        time.monotonic(),
        0,
    )
    for stop_at in (0.3, 0.65, None):
        with (folder / "said.txt").open("a") as said, subprocess.Popen(
            line, env=env, cwd=folder, stdout=subprocess.PIPE, stderr=said, text=True
        ) as going:  # fmt: skip
            assert going.stdout is not None
            for text in going.stdout:
                watch.see(json.loads(text))
                if stop_at is not None and len(watch.seen) >= stop_at * watch.rows:
                    going.kill()
                    kills += 1
                    break
    statuses = morning(night, folder / "pictures", ledger, done=("refused", "in-doubt", "failed"))
    bought = read_ledger(ledger)
    first = min(p.submitted for p in bought.own())
    spent = watch.ended - first
    tenth = None if watch.foretold is None else watch.foretold - first
    return {
        "rows": watch.rows, "kills": kills, "exit": going.returncode, "statuses": dict(statuses),
        "real_s": round(time.monotonic() - began, 1), "nominal_s": round(spent), "accepted": len(bought.own()),
        "bound_s": round(len(bought.own()) * MEAN_S / 20),
        "foretold_after_a_tenth": None if tenth is None else f"{tenth / spent - 1:+.1%}",
        "cpu_s": round(sum(os.times()[2:4]), 1),
    }  # fmt: skip


def main() -> None:
    """Run it and print what it took; exit status 1 where the promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--speed", type=float, default=60.0)
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as spare:
        folder = asked.keep or Path(spare)
        folder.mkdir(parents=True, exist_ok=True)
        took = run(table(asked.rows), folder, asked.speed)
    for name, value in took.items():
        print(f"{name:24} {value}")
    limit = 600 * asked.rows / 5000 * 60 / asked.speed
    print(f"{'within':24} {limit:.0f} s: {'yes' if took['real_s'] <= limit else 'NO'}")
    sys.exit(0 if took["real_s"] <= limit else 1)


if __name__ == "__main__":
    main()
