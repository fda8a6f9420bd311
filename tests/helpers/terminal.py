"""The command in a process of its own, against an emulated service in another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from redloom.emulators.dashscope import read_ledger

SPEED = "120"


class Service:
    """An emulated DashScope in a process of its own, and its ledger."""

    def __init__(self, folder: Path, start: str) -> None:
        self.folder, self.start, self.ledger = folder, start, folder / "ledger.jsonl"
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def begin(self, *options: str) -> Service:
        line = [
            sys.executable,
            "-m",
            "redloom",
            "--json",
            "emulate",
            "dashscope",
            "--ledger",
            str(self.ledger),
            *options,
        ]
        self.process = subprocess.Popen(line, env=self.env(), stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = json.loads(self.process.stdout.readline())["base_url"]
        return self

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()

    def env(self) -> dict[str, str]:
        told = {
            "REDLOOM_CLOCK_SPEED": SPEED, "REDLOOM_CLOCK_START": self.start, "LC_ALL": "C.UTF-8",
            "REDLOOM_HOME": str(self.folder / "home"), "DASHSCOPE_API_KEY": "sk-emulated",
            "DASHSCOPE_BASE_URL": self.url, "PYTHONPATH": "",
        }  # fmt: skip
        return {**os.environ, **told}

    def bought(self) -> int:
        """Pictures that the service would bill."""
        return sum(one.billed for one in read_ledger(self.ledger).purchases)

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "redloom", *words]


def run(
    service: Service, *words: str, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        service.command(*words), env=service.env(), cwd=service.folder, capture_output=True, text=True,
        input=stdin, timeout=90, check=False,
    )  # fmt: skip


def prompts(folder: Path, number: int) -> Path:
    path = folder / "p.txt"
    path.write_text("".join(f"picture number {n}\n" for n in range(number)))
    return path


def manifest(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
