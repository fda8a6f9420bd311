"""Known vulnerabilities in what is pinned: `make audit-deps`. Development only.

Runs pip-audit over each file of constraints, which asks a public database. Where the database
cannot be reached that is said, and nothing is claimed: exit 0, since nothing was found wrong. A
vulnerability is exit 1. Every pin is exact, so nothing is resolved or installed for it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = ("constraints.txt", "constraints-extras.txt")
TIMEOUT_S = 300
UNREACHABLE = (
    "connectionerror", "connection error", "max retries", "name resolution", "serviceerror", "timed out",
    "temporary failure", "proxyerror", "failed to establish", "newconnectionerror", "http error", "403", "404", "429", "50",
)  # fmt: skip


def main(arguments: list[str]) -> int:
    """Audit; the exit status. ``arguments``: the command that pip-audit is called by."""
    command = arguments or [sys.executable, "-m", "pip_audit"]
    worst = 0
    for name in FILES:
        worst = max(worst, _audit(command, ROOT / name))
    return worst


def _audit(command: list[str], file: Path) -> int:
    line = [*command, "-r", str(file), "--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"]  # fmt: skip
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(
            f"{file.name}: NOT audited: pip-audit could not run or took too long ({type(error).__name__})."
        )
        return 0
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return _not_audited(file, done.stderr)
    skipped = [one["name"] for one in found if "skip_reason" in one]
    if found and len(skipped) == len(found):
        print(
            f"{file.name}: NOT audited: the database knew none of {len(found)} packages, so it is not to be reached from here. Nothing is known either way."
        )
        return 0
    hits = [(one["name"], one["version"], bug) for one in found for bug in one.get("vulns", ())]
    for name, version, bug in hits:
        fixed = ", ".join(bug.get("fix_versions", ())) or "no fix yet"
        print(f"{file.name}: {name} {version}: {bug['id']} ({fixed})")
    print(
        f"{file.name}: {len(found) - len(skipped)} packages audited, {len(hits)} known vulnerabilities."
    )
    if skipped:
        print(f"{file.name}: NOT audited, unknown to the database: {', '.join(skipped)}.")
    return 1 if hits else 0


def _not_audited(file: Path, said: str) -> int:
    """No answer: the database is out of reach, or pip-audit itself failed."""
    last = next((line for line in reversed(said.strip().splitlines()) if line.strip()), "no output")
    if any(word in said.lower() for word in UNREACHABLE):
        print(
            f"{file.name}: NOT audited: the database of vulnerabilities cannot be reached from here. Nothing is known either way."
        )
        return 0
    print(f"{file.name}: NOT audited: pip-audit failed: {last[:300]}")
    return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
