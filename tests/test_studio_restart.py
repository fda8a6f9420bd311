"""The server killed in mid-run and started again: nothing bought twice, events complete by id."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from helpers.waiting import until
from redloom.emulators.ledger import read_ledger
from redloom.studio.attend import MARK

pytestmark = pytest.mark.slow
SPEED = 30
NUMBER = 24


class Programs:
    """A service and our server, each in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.start = folder, int(time.time())
        self.running: list[subprocess.Popen[str]] = []
        self.service = self._spawn(
            "emulate", "dashscope", "--json", "--ledger", str(folder / "ledger.jsonl"),
            "--latency", "8,0.3,4,20", "--rps", "4", "--concurrency", "4",
        )  # fmt: skip
        self.base_url = self._first(self.service)["base_url"]
        key = "DASHSCOPE_API_KEY"
        self.key = json.loads(self._said)["environment"][key]

    def serve(self, port: int = 0) -> tuple[subprocess.Popen[str], str]:
        """Start the server; its address."""
        server = self._spawn("serve", "--port", str(port), "--json")
        return server, self._first(server)["url"]

    def _spawn(self, *words: str) -> subprocess.Popen[str]:
        clean = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
        environment = {
            **clean, "REDLOOM_CLOCK_SPEED": str(SPEED), "REDLOOM_CLOCK_START": str(self.start),
            "REDLOOM_HOME": str(self.folder / "ws"), "NO_PROXY": "*",
        }  # fmt: skip
        if words[0] == "serve":
            environment |= {"DASHSCOPE_BASE_URL": self.base_url, "DASHSCOPE_API_KEY": self.key}
        program = subprocess.Popen(
            [sys.executable, "-m", "redloom", *words], env=environment, text=True, cwd=self.folder,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.running.append(program)
        return program

    def _first(self, program: subprocess.Popen[str]) -> dict[str, Any]:
        assert program.stdout is not None
        self._said = program.stdout.readline()
        if not self._said:
            raise AssertionError(program.communicate()[1][-2000:])
        told: dict[str, Any] = json.loads(self._said)
        return told


@contextmanager
def programs(folder: Path) -> Iterator[Programs]:
    """Both, ended at the end."""
    made = Programs(folder)
    try:
        yield made
    finally:
        for program in made.running:
            if program.poll() is None:
                program.kill()
            program.communicate()


def outcomes(client: httpx.Client, run: str, after: str, most: int) -> list[tuple[str, int]]:
    """(id, row) of a run's ends behind ``after``: ``most`` of them, or up to its finish."""
    found: list[tuple[str, int]] = []
    mark = name = ""
    with client.stream(
        "GET", f"/api/runs/{run}/events", headers={"Last-Event-ID": after}
    ) as answer:
        for line in answer.iter_lines():
            if line.startswith("id: "):
                mark = line[4:]
            elif line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: ") and name in ("complete", "error"):
                found.append((mark, json.loads(line[6:])["row"]["row"]))
            if len(found) == most or (line.startswith("event: ") and name == "finish"):
                return found
    return found


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_killed_in_mid_run_and_started_again(tmp_path: Path, how: signal.Signals) -> None:
    """A page that reconnects with its last id has every row once; the service sold each once."""
    with programs(tmp_path) as made:
        server, url = made.serve()
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            prompts = [f"a red thread number {k}" for k in range(NUMBER)]
            run = client.post("/api/runs", json={"prompts": prompts}).json()["id"]
            first = outcomes(client, run, "0.0", 5)
            assert len(first) == 5
        began = time.monotonic()
        server.send_signal(how)
        server.communicate(timeout=40)
        assert time.monotonic() - began < 20
        if how == signal.SIGTERM:
            assert server.returncode == 0
        _, url = made.serve()
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            # As many as are missing: a run that ended meanwhile has no finish to come.
            rest = outcomes(client, run, first[-1][0], NUMBER - len(first))
            until(lambda: client.get(f"/api/runs/{run}").json()["state"] == "done")
            shown = client.get(f"/api/runs/{run}").json()
        seen = Counter(row for _, row in first + rest)
        assert set(seen.values()) == {1}
        good = shown["counts"].get("ok", 0) + shown["counts"].get("in-doubt", 0)
        assert good == NUMBER
        assert sorted(seen) == list(range(1, NUMBER + 1))
        sold = Counter(p.prompt for p in read_ledger(tmp_path / "ledger.jsonl").purchases)
        assert set(sold) == set(prompts)
        assert set(sold.values()) == {1}


def test_manifests_that_a_killed_server_did_not_come_to(tmp_path: Path) -> None:
    """Killed between a run's end and its last manifest: the next server writes it."""
    with programs(tmp_path) as made:
        server, url = made.serve()
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            asked = client.post("/api/runs", json={"prompts": ["a red thread", "a blue one"]})
            run = asked.json()["id"]
            until(lambda: client.get(f"/api/runs/{run}").json()["state"] == "done")
        (folder,) = (tmp_path / "ws" / "runs").iterdir()
        manifest, mark = folder / "manifest.jsonl", folder / MARK
        until(lambda: manifest.exists() and not mark.exists())
        server.kill()
        right = manifest.read_text("utf-8")
        assert right.count('"ok"') == 2
        manifest.write_text(right.replace('"ok"', '"pending"'), "utf-8")
        mark.write_text(run, "utf-8")
        made.serve()
        until(lambda: not mark.exists())
        assert manifest.read_text("utf-8") == right


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """The second server takes the next port and says so; it shows the first one's runs, and what
    is asked of it is made by the first, which leads.
    """
    with programs(tmp_path) as made:
        _, first = made.serve()
        port = int(first.rstrip("/").rpartition(":")[2])
        second, other = made.serve(port)
        assert int(other.rstrip("/").rpartition(":")[2]) > port
        assert second.stderr is not None
        assert str(port) in second.stderr.readline()
        with httpx.Client(base_url=other, timeout=20, trust_env=False) as client:
            assert client.get("/health").json()["engine"] == "following"
            theirs = httpx.post(f"{first}api/runs", json={"prompts": ["one"]}, trust_env=False)
            ours = client.post("/api/runs", json={"prompts": ["two"]}).json()["id"]
            shown = client.get(f"/api/runs/{theirs.json()['id']}").json()
            assert shown["carried"] == "elsewhere"
            until(lambda: client.get(f"/api/runs/{ours}").json()["state"] == "done")
