"""A seeded storm over the whole product: the command, a second one, `redloom serve`, one workspace.

Everything that a day can bring happens to them in a random order that the seed decides: faults of
the service, kills, stops, cuts of the network, a clock that is set, a disk that is full. Then it
clears up, what a person would do again is done again, and `oracle.judge` has the last word.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from helpers.chaos import HERE, hits, refused
from helpers.command import set_by
from helpers.driver import KEY
from helpers.line import Line
from helpers.waiting import pause
from redloom.emulators.ledger import Ledger, read_ledger

SPEED = 15.0
"""Slow enough that a third of a second in which this machine does something else is no more to the
programs than five, which is what a request may be late by."""
PATIENCE_S = 400.0
KINDS = (
    "kill of the engine", "kill of a watcher", "kill of the server", "stop of the engine",
    "stop of a watcher", "cut of the network", "stall of the network", "clock set back",
    "clock set ahead", "full disk",
)  # fmt: skip
RATES: dict[str, float] = {
    "submit_reset": 0.01, "submit_error": 0.01, "submit_busy": 0.005, "submit_throttled": 0.01,
    "submit_burst": 0.003, "submit_concurrency": 0.003, "submit_quota": 0.002,
    "submit_exhausted": 0.0008, "submit_unpaid": 0.0008, "submit_refused": 0.005,
    "submit_closed": 0.0008, "submit_invalid": 0.003, "submit_slow": 0.005, "answer_lost": 0.015,
    "answer_504": 0.005, "answer_html": 0.005, "answer_empty": 0.005, "answer_slow": 0.005,
    "poll_error": 0.02, "poll_busy": 0.01, "poll_throttled": 0.01, "poll_reset": 0.01,
    "poll_html": 0.01, "poll_empty": 0.01, "poll_json": 0.01, "poll_slow": 0.005,
    "task_failed": 0.03, "task_refused": 0.01, "task_timeout": 0.003, "task_partial": 0.003,
    "task_empty": 0.005, "task_late": 0.005, "task_unknown": 0.01,
    "download_truncated": 0.02, "download_length": 0.01,
    "download_slow": 0.005, "download_html": 0.01, "download_expired": 0.01,
    "download_missing": 0.005, "download_reset": 0.01, "download_error": 0.01,
    "bad_download": 0.01, "list_error": 0.01, "list_throttled": 0.01, "list_reset": 0.01,
    "list_short": 0.01, "picture_xmp": 0.01, "picture_text": 0.01, "picture_exif": 0.01,
    "picture_c2pa": 0.01, "picture_late": 0.01,
}  # fmt: skip
"""Every fault of DashScope's emulator that is drawn by a rate, but those of whole windows, of `n`
pictures in one task and of cancels, at the rate of a very bad day."""
STANDING = ("arrears_from", "free_tier_from", "key_from")
WINDOWS = ("outage", "down")
SETTINGS = """
[endpoints.dashscope]
provider = "dashscope"
model = "{model}"
base_url = "{url}/api/v1"
api_key_env = "DASHSCOPE_API_KEY"
submit_per_second = {rate}
concurrency = {slots}
poll_per_second = 20
"""


@dataclass
class Scene:
    """What of a storm is decided by its seed, and how large it is."""

    seed: int
    jobs: int = 400
    events: int = 20
    kinds: tuple[str, ...] = KINDS
    pause_s: tuple[float, float] = (0.2, 1.4)
    """Real seconds between two events."""
    model: str = ""
    rate: float = 10.0
    slots: int = 60
    share: float = 0.0
    """Of the rate and the slots that the settings name, what the service allows in truth; 0: all
    of it or six tenths, as the seed is even or odd. What settings name is never asked of the
    service, so that only its refusals can teach it."""
    deaf: bool = False
    """A fault planted in the programs: their limiter does not listen to refusals."""

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.share = self.share or (0.6 if self.seed % 2 else 1.0)
        self.model = self.model or self.rng.choice(["wan2.2-t2i-flash", "wan2.6-t2i"])

    def service(self) -> dict[str, Any]:
        """The emulated service of this seed."""
        rng = self.rng
        rates = [f"{name}={rate * rng.uniform(0.3, 1.7):.5f}" for name, rate in RATES.items()]
        standing = f"{rng.choice(STANDING)}={rng.randrange(self.jobs // 4, self.jobs)}"
        begin = rng.uniform(20, 80)
        window = f"{rng.choice(WINDOWS)}={begin:.1f}-{begin + rng.uniform(10, 60):.1f}"
        return {
            "faults": ",".join([*rates, standing, window]), "seed": self.seed,
            "rate": self.rate * self.share, "concurrency": int(self.slots * self.share), "latency": (6.0, 0.3, 3.0, 12.0), "model": self.model,
            "over": rng.choice(["queue", "reject"]), "list_lag_s": rng.choice([1.0, 2.0, 8.0]),
            "others": rng.choice([0.0, 0.0, 6.0]), "task_timeout_s": 60.0,
        }  # fmt: skip

    def schedule(self) -> Iterator[tuple[float, str]]:
        """The events: each kind about as often as the others, in a random order."""
        kinds = [self.kinds[n % len(self.kinds)] for n in range(self.events)]
        self.rng.shuffle(kinds)
        return ((self.rng.uniform(*self.pause_s), kind) for kind in kinds)


@dataclass
class Program:
    """One command of a person's: started again whenever it ended too soon."""

    name: str
    words: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    codes: list[int] = field(default_factory=list)

    @property
    def runs(self) -> bool:
        """Whether it is there."""
        return self.process is not None and self.process.poll() is None


class Storm:
    """The world of one storm. Use `weather`, then `clear_up`, then hold the oracle to it."""

    def __init__(self, folder: Path, scene: Scene) -> None:
        self.folder, self.scene, self.rng = folder, scene, scene.rng
        self.workspace = folder / "ws"
        self.injected: Counter[str] = Counter()
        self.played: list[tuple[str, float, float]] = []
        """What was done to the programs: the kind, and from when to when in real Unix seconds."""
        self.start = float(int(time.time()))
        self.skew_file = folder / "skew"
        self.ledger_path = folder / "ledger.jsonl"
        self._skew = 0.0
        self._run = self._server_url = ""
        self._stopped: list[subprocess.Popen[bytes]] = []
        self.disk = False

    def __enter__(self) -> Storm:
        for name in ("logs", "home", "ws"):
            (self.folder / name).mkdir()
        self.disk = _mounted(self.workspace)
        self.skew_file.write_bytes(struct.pack("d", 0.0))
        self.line = Line().__enter__()
        wanted = {"ledger": str(self.ledger_path), "public": self.line.url, **self.scene.service()}
        (self.folder / "logs" / "service.json").write_text(json.dumps(wanted))
        with (self.folder / "logs" / "service.err").open("wb") as err:
            self.service = subprocess.Popen(
                [sys.executable, "-m", "helpers.service", json.dumps(wanted)], text=True,
                env=self._environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err,
            )  # fmt: skip
        assert self.service.stdout is not None
        self.line.target = int(self.service.stdout.readline().rsplit(":", 1)[1].split("/")[0])
        (self.folder / "home" / "redloom.toml").write_text(
            SETTINGS.format(
                model=self.scene.model,
                url=self.line.url,
                rate=self.scene.rate,
                slots=self.scene.slots,
            )
        )
        self._write_inputs()
        return self

    def __exit__(self, *_: object) -> None:
        for program in (self.first, self.second, self.server):
            if program.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    program.process.send_signal(signal.SIGCONT)
                program.process.kill()
                program.process.wait()
        self.end_service()
        self.line.__exit__()
        if self.disk:
            shutil.copytree(self.workspace, self.folder / "workspace-at-the-end")
            subprocess.run(["umount", "-l", str(self.workspace)], capture_output=True, check=False)

    def _write_inputs(self) -> None:
        """Two tables that share some rows, and what is asked for over HTTP."""
        number = self.scene.jobs
        rows = [f"a red thread number {k} of storm {self.scene.seed}" for k in range(number)]
        cut = number // 2, number * 8 // 10
        shared = self.rng.sample(rows[: cut[0]], number // 20)
        home = self.folder / "home"
        (home / "first.txt").write_text("\n".join(rows[: cut[0]]) + "\n")
        (home / "second.txt").write_text("\n".join(rows[cut[0] : cut[1]] + shared) + "\n")
        self.asked = rows[cut[1] :]
        batch = ("batch", "--yes", "--json")
        self.first = Program("first", (*batch, "first.txt", "--out", str(self.folder / "out1")))
        self.second = Program("second", (*batch, "second.txt", "--out", str(self.folder / "out2")))
        self.server = Program("server", ("serve", "--port", "0", "--json"))

    def _environment(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
        path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
        return {
            **clean, "PYTHONPATH": path, "REDLOOM_CLOCK_SPEED": str(SPEED), "NO_PROXY": "*",
            "REDLOOM_CLOCK_START": str(self.start), "REDLOOM_HOME": str(self.workspace),
            "XDG_CONFIG_HOME": str(self.folder / "config"), "LC_ALL": "C.UTF-8",
        }  # fmt: skip

    def begin(self, program: Program) -> None:
        """Start a program, or start it again."""
        environment = {
            **self._environment(),
            "DASHSCOPE_API_KEY": KEY,
            "REDLOOM_TEST_SKEW": str(self.skew_file),
            "REDLOOM_TEST_DEAF": "1" if self.scene.deaf else "",
        }
        program.starts += 1
        logs = self.folder / "logs" / f"{program.name}-{program.starts:03d}"
        with logs.with_suffix(".out").open("wb") as out, logs.with_suffix(".err").open("wb") as err:
            program.process = subprocess.Popen(
                [sys.executable, "-m", "helpers.command", *program.words], env=environment,
                cwd=self.folder / "home", stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            )  # fmt: skip

    # the storm

    def weather(self) -> None:
        """Play the schedule, with whatever ended started again meanwhile."""
        for pause_s, kind in self.scene.schedule():
            until = time.monotonic() + pause_s
            while time.monotonic() < until:
                self._attend()
                pause(0.05)
            self._play(kind)

    def _attend(self) -> None:
        """What a person does who wants all of it: start what ended, ask the server for its run."""
        for program in (self.first, self.second, self.server):
            if program.runs:
                continue
            said = self._last_words(program) if program.starts else {}
            if said.get("waits_for"):
                self.service.send_signal(signal.SIGUSR1)  # a person pays the bill
            if not said or said["waits_for"] or said["counts"].get("pending"):
                self.begin(program)
        if self.server.runs and not self._run:
            self._ask_for_pictures()

    def _ask_for_pictures(self) -> None:
        answer = self._call(
            "POST", "/api/runs", json={"prompts": self.asked}, headers={"Idempotency-Key": "storm"}
        )
        if answer is not None and answer.status_code == 202:
            self._run = answer.json()["id"]

    def _call(self, method: str, path: str, **how: Any) -> httpx.Response | None:
        told = self.folder / "logs" / f"server-{self.server.starts:03d}.out"
        lines = told.read_text().splitlines()[:1]
        if not lines:
            return None
        try:
            return httpx.request(
                method,
                json.loads(lines[0])["url"].rstrip("/") + path,
                timeout=10,
                trust_env=False,
                **how,
            )
        except (httpx.HTTPError, ValueError):
            return None

    def _play(self, kind: str) -> None:
        what: dict[str, Callable[[], bool]] = {
            "kill of the engine": lambda: self._kill(self._engine()),
            "kill of a watcher": lambda: self._kill(self._watcher()),
            "kill of the server": lambda: self._kill(self.server),
            "stop of the engine": lambda: self._stop(self._engine()),
            "stop of a watcher": lambda: self._stop(self._watcher()),
            "cut of the network": lambda: self._break("cut"),
            "stall of the network": lambda: self._break("stall"),
            "clock set back": lambda: self._set(-self.rng.uniform(1.5, 8.0)),
            "clock set ahead": lambda: self._set(self.rng.uniform(1.5, 8.0)),
            "full disk": self._fill,
        }
        began = time.time()
        self.injected[kind] += what[kind]()
        self.played.append((kind, began, time.time()))

    def _engine(self) -> Program | None:
        """The program that holds the workspace's lock."""
        holder = _lock_holder(self.workspace / "engine.lock")
        return next((p for p in self._running() if p.process and p.process.pid == holder), None)

    def _watcher(self) -> Program | None:
        engine = self._engine()
        return next((p for p in self._running() if p is not engine), None)

    def _running(self) -> list[Program]:
        programs = [p for p in (self.first, self.second, self.server) if p.runs]
        self.rng.shuffle(programs)
        return programs

    def _kill(self, program: Program | None) -> bool:
        if program is None or not program.runs or program.process is None:
            return False
        program.process.kill()
        program.process.wait()
        return True

    def _stop(self, program: Program | None) -> bool:
        """SIGSTOP for a while, as a suspended machine or container does."""
        if program is None or not program.runs or program.process is None:
            return False
        program.process.send_signal(signal.SIGSTOP)
        pause(self.rng.uniform(0.3, 1.5))
        program.process.send_signal(signal.SIGCONT)
        return True

    def _break(self, how: Any) -> bool:
        self.line.set(how)
        pause(self.rng.uniform(0.2, 0.8 if how == "stall" else 1.5))
        self.line.set("through")
        return True

    def _set(self, by_s: float) -> bool:
        self._skew += by_s
        set_by(self.skew_file, self._skew)
        return True

    def _fill(self) -> bool:
        """No room on the workspace's disk for a while; nothing where no disk could be made."""
        if not self.disk:
            return False
        ballast = self.workspace / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb") as file:
            while True:
                file.write(b"\0" * 4096)
                file.flush()
        pause(self.rng.uniform(0.3, 1.0))
        ballast.unlink()
        return True

    # afterwards

    def clear_up(self) -> None:
        """The bill is paid, the network and the disk are well, and each command is given until it
        has ended by itself and once more: what an earlier one could not fetch, the next one does.
        """
        self.service.send_signal(signal.SIGUSR1)
        self.line.set("through")
        until = time.monotonic() + PATIENCE_S
        self._see_server_through(until)
        for program in (self.first, self.second):
            self._see_through(program, until)
        if self.server.process is not None:
            self.server.process.terminate()
            self.server.process.wait(30)
        self.end_service()
        (self.folder / "logs" / "played.json").write_text(json.dumps(self.played))

    def _see_through(self, program: Program, until: float) -> None:
        if program.process is not None and program.runs:
            program.process.wait(max(1.0, until - time.monotonic()))
        for _ in range(20):
            if not self.server.runs:
                self.begin(self.server)
            self.begin(program)
            assert program.process is not None
            code = program.process.wait(max(1.0, until - time.monotonic()))
            program.codes.append(code)
            told = self._last_words(program)
            if code in (0, 1) and not told.get("counts", {}).get("pending"):
                return
        raise AssertionError(f"{program.name} does not come to its end: {program.codes} {told}")

    def _last_words(self, program: Program) -> dict[str, Any]:
        out = self.folder / "logs" / f"{program.name}-{program.starts:03d}.out"
        last = (out.read_text("utf-8").splitlines() or [""])[-1]
        found: dict[str, Any] = json.loads(last) if '"event": "summary"' in last else {}
        return found

    def _see_server_through(self, until: float) -> None:
        while time.monotonic() < until:
            if not self.server.runs:
                self.begin(self.server)
            if not self._run:
                self._ask_for_pictures()
            answer = self._call("GET", f"/api/runs/{self._run}") if self._run else None
            shown = answer.json() if answer is not None and answer.status_code == 200 else {}
            state = shown.get("state", "")
            if state == "waiting":
                self._call("POST", f"/api/runs/{self._run}/resume")
            if state == "done":
                return
            pause(0.3)
        raise AssertionError(f"the server's run does not come to its end: {shown}")

    def end_service(self) -> None:
        """End the service; its ledger is whole then. Safe to call twice."""
        if self.service.poll() is None:
            self.service.terminate()
        self.service.communicate(timeout=30)

    def ledger(self) -> Ledger:
        """What the service sold."""
        return read_ledger(self.ledger_path)

    def refused(self) -> Counter[str]:
        """What the service refused because a quota was used up, by quota; injected refusals apart."""
        stalls = [(begin, end) for kind, begin, end in self.played if kind.startswith("stall")]
        return refused(self.ledger_path, [*stalls, *self.line.pulse.held])

    def faults(self) -> Counter[str]:
        """Everything that was done to the programs, by kind."""
        return self.injected + Counter(hits(self.ledger_path))


def _mounted(folder: Path) -> bool:
    """A disk of its own for the workspace, if this machine lets us make one."""
    line = ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(folder)]
    try:
        return subprocess.run(line, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _lock_holder(path: Path) -> int:
    """The process that holds a ``flock`` on a file, as the kernel tells; 0 where none does."""
    try:
        inode = path.stat().st_ino
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        parts = line.split()
        if len(parts) > 5 and parts[1] == "FLOCK" and parts[5].endswith(f":{inode}"):
            return int(parts[4])
    return 0
