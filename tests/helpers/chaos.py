"""Kills, restarts, and the oracle that reads journal, ledger and files afterwards."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.driver import KEY
from helpers.figures import note_figures
from helpers.oracle import JOBS, Evidence, judge, query
from helpers.pulse import Held, held_up
from redloom.emulators.ledger import Ledger, read_ledger

SPEED = 30.0
HERE = Path(__file__).parent.parent
DEADLINE_S = 30.0
JITTER = 0.15
"""Refusals for each accepted request at this speed, where 16 ms in which the machine does something
else are half a second between two requests."""


@dataclass
class World:
    """A service in its own process, a workspace, and programs that come and go."""

    folder: Path
    prompts: list[str]
    service: dict[str, Any] = field(default_factory=dict)
    driver: dict[str, Any] = field(default_factory=dict)
    start: float = field(default_factory=lambda: float(int(time.time())))
    kills: int = 0
    _service: subprocess.Popen[str] | None = None
    _programs: list[subprocess.Popen[str]] = field(default_factory=list)
    _url: str = ""

    def __enter__(self) -> World:
        wanted = {"ledger": str(self.ledger_path), **self.service}
        self._service = self._spawn("helpers.service", wanted)
        assert self._service.stdout is not None
        self._url = self._service.stdout.readline().strip()
        return self

    def __exit__(self, *_: object) -> None:
        for program in self._programs:
            if program.poll() is None:
                program.kill()
            program.communicate()
        service, self._service = self._service, None
        if service is not None:
            service.terminate()
            service.communicate(timeout=DEADLINE_S)

    @property
    def ledger_path(self) -> Path:
        """Where the service writes what it sold."""
        return self.folder / "ledger.jsonl"

    @property
    def workspace(self) -> Path:
        """The programs' workspace."""
        return self.folder / "ws"

    def program(self, **changes: Any) -> subprocess.Popen[str]:
        """Start a program that wants the pictures."""
        wanted = {
            "url": self._url, "workspace": str(self.workspace), "out": str(self.folder / "out"),
            "prompts": self.prompts, **self.driver, **changes,
        }  # fmt: skip
        program = self._spawn("helpers.driver", wanted)
        self._programs.append(program)
        return program

    def until_over(self, seconds: float = DEADLINE_S, **changes: Any) -> list[list[Any]]:
        """Start a program and wait for its end, ``seconds`` real ones; the rows it told of."""
        return finished(self.program(**changes), seconds)

    def kill_at_random(self, rng: random.Random, times: int, longest_s: float) -> None:
        """Start a program and kill it at a random moment, ``times`` times or until it is over."""
        for _ in range(times):
            program = self.program()
            try:
                program.communicate(timeout=rng.uniform(0.4, longest_s))
            except subprocess.TimeoutExpired:
                program.kill()
                program.communicate()
                self.kills += 1
            else:
                return

    @property
    def service_process(self) -> subprocess.Popen[str]:
        """The service while it runs."""
        assert self._service is not None
        return self._service

    def die_at(self, when: str, label: str, number: int = 1, **changes: Any) -> bool:
        """Start a program that kills itself at a commit; whether it came to that."""
        program = self.program(die=[when, label, number], **changes)
        try:
            program.communicate(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            program.kill()
            _, complaint = program.communicate()
            raise AssertionError(f"it did not end after {when} {label}: {complaint}") from None
        died = program.returncode == -signal.SIGKILL
        self.kills += died
        return died

    def ledger(self) -> Ledger:
        """What the service sold, once it has ended."""
        self.__exit__()
        return read_ledger(self.ledger_path)

    def injected(self) -> dict[str, int]:
        """The service's faults that hit, by name, once it has ended."""
        return hits(self.ledger_path)

    def _spawn(self, module: str, wanted: dict[str, Any]) -> subprocess.Popen[str]:
        clean = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
        environment = {
            **clean, "PYTHONPATH": os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH")))), "REDLOOM_CLOCK_SPEED": str(SPEED),
            "REDLOOM_CLOCK_START": str(self.start), "NO_PROXY": "*",
        }  # fmt: skip
        return subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(wanted)], env=environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip


def hits(ledger: Path) -> dict[str, int]:
    """The faults that a service of `helpers.service` has played, by name."""
    path = ledger.with_suffix(".faults.json")
    told: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    return told


def refused(ledger: Path, held: Iterable[Held] = ()) -> Counter[str]:
    """What a service of `helpers.service` refused because a quota was used up, by quota: not what
    had been held up on its way, there (``held``) or at the service, and arrived together.
    """
    told = json.loads(ledger.with_suffix(".refusals.json").read_text())
    held = [*held, *told["held"]]
    return Counter(kind for at, kind in told["refused"] if not held_up(at, held))


def finished(program: subprocess.Popen[str], seconds: float = DEADLINE_S) -> list[list[Any]]:
    """The rows that a program told of at its end."""
    try:
        said, complaint = program.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        program.kill()
        said, complaint = program.communicate()
        complaint = f"it did not end; {complaint}"
    assert program.returncode == 0, complaint[-3000:]
    rows: list[list[Any]] = json.loads(said)
    return rows


def judge_world(world: World, rows: list[list[Any]], doubts: bool = True) -> Counter[str]:
    """`oracle.judge` after the last restart, and that the last program told the same; the statuses."""
    ledger = world.ledger()
    outcomes = frozenset({"ok", "in-doubt"} if doubts else {"ok"})
    evidence = Evidence(
        world.folder, world.workspace, ledger, outcomes, secrets=(KEY,),
        refused=refused(world.ledger_path), learning=JITTER,
    )  # fmt: skip
    judge(evidence)
    assert [row[0] for row in rows] == list(range(1, len(world.prompts) + 1))
    told = {(prompt, status) for _row, status, _file, prompt, _code in rows}
    jobs = query(world.workspace, JOBS)
    assert told <= {(json.loads(job["request"])["prompt"], job["status"]) for job in jobs}
    statuses = Counter(row[1] for row in rows)
    told_of(world, statuses)
    return statuses


def told_of(world: World, statuses: Counter[str]) -> None:
    """One line of figures for the table, where somebody collects them (see `figures`)."""
    note_figures(
        scene="kills", seed=world.service.get("seed", 0), jobs=len(world.prompts),
        injected={"kill of the engine": world.kills, **world.injected()}, statuses=statuses,
    )  # fmt: skip
