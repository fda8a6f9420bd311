"""How soon a finished picture lies in the folder, at real speed.

`redloom batch` of a dozen prompts against the emulated service; told is, for the first picture and
for all, the time from its end at the service (by the service's own ledger) until the file is there.

    python benchmarks/first_output.py [--rows 12]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from redloom.emulators.dashscope import read_ledger

LIMIT_S = 1.0


def run(rows: int, folder: Path) -> list[float]:
    """Seconds from the end at the service to the file, in the order of the ends."""
    (folder / "p.txt").write_text("".join(f"picture number {n}\n" for n in range(rows)))
    clean = {k: v for k, v in os.environ.items() if not k.startswith("REDLOOM_CLOCK")}
    env = {
        **clean,
        "REDLOOM_HOME": str(folder / "home"),
        "DASHSCOPE_API_KEY": "sk-emulated",
        "NO_PROXY": "*",
    }
    ledger = folder / "ledger.jsonl"
    emulator = subprocess.Popen(
        [sys.executable, "-m", "redloom", "--json", "emulate", "dashscope", "--latency", "55,0.4,30,120",
         "--concurrency", "5", "--rps", "5", "--ledger", str(ledger)],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert emulator.stdout is not None
        env["DASHSCOPE_BASE_URL"] = json.loads(emulator.stdout.readline())["base_url"]
        line = [sys.executable, "-m", "redloom", "batch", "p.txt", "--out", "pictures", "--quiet"]
        subprocess.run(line, env=env, cwd=folder, check=True)
    finally:
        emulator.terminate()
        emulator.wait()
    out = folder / "pictures"
    rows_of = [json.loads(text) for text in (out / "manifest.jsonl").read_text().splitlines()]
    files = {row["task_id"]: (out / row["file"]).stat().st_mtime for row in rows_of}
    ends = sorted((p.ended, p.task_id) for p in read_ledger(ledger).own() if p.ended is not None)
    return [files[task] - ended for ended, task in ends]


def main() -> None:
    """Measure and print; exit status 1 where the first picture takes too long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        took = run(asked.rows, Path(folder))
    print(f"{'first picture':24} {took[0]:.2f} s after its end at the service")
    print(f"{'median, longest':24} {sorted(took)[len(took) // 2]:.2f} s, {max(took):.2f} s")
    print(f"{'within 1 s':24} {'yes' if took[0] <= LIMIT_S else 'NO'}")
    sys.exit(0 if took[0] <= LIMIT_S else 1)


if __name__ == "__main__":
    main()
