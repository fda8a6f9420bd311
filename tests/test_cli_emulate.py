"""`redloom emulate`: it says how to be used, sells pictures, and ends on Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from redloom.cli import cli


def test_it_listens_and_ends(tmp_path: Path) -> None:
    """Address and key as JSON; another key is refused; Ctrl-C is the ordinary end, exit 0."""
    words = [
        "emulate",
        "dashscope",
        "--json",
        "--keys",
        "sk-a=alice,sk-b",
        "--latency",
        "1,0.1,0.5,2",
        "--over",
        "reject",
    ]
    program = subprocess.Popen(
        [sys.executable, "-m", "redloom", *words],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )  # fmt: skip
    try:
        assert program.stdout is not None
        said = json.loads(program.stdout.readline())
        assert said["environment"]["DASHSCOPE_API_KEY"] == "sk-a"
        assert said["environment"]["DASHSCOPE_BASE_URL"] == said["base_url"]
        request = urllib.request.Request(
            said["base_url"] + "/tasks/none", headers={"Authorization": "Bearer no"}
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10)
        assert caught.value.code == 401
        caught.value.close()
    finally:
        program.send_signal(signal.SIGINT)
        _, stderr = program.communicate(timeout=20)
    assert program.returncode == 0
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    "words",
    [("--latency", "fast"), ("--faults", "nonsense=1"), ("--over", "maybe"), ("--port", "70000")],
)
def test_wrong_options(words: tuple[str, str]) -> None:
    """What cannot be read is exit 2."""
    assert CliRunner().invoke(cli, ["emulate", "dashscope", *words]).exit_code == 2


def test_a_port_that_is_taken_is_told_without_an_accident() -> None:
    """Another program has the port: exit 2 and what to do, in both languages' words."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = CliRunner().invoke(cli, ["--lang", "en", "emulate", "ark", "--port", port])
    assert done.exit_code == 2
    assert port in done.output
    assert "--port" in done.output


def test_a_dialect_that_nobody_speaks_is_named() -> None:
    """--dialect says whom it is like; a wrong one is told with the known, and only where there are some."""
    done = CliRunner().invoke(cli, ["emulate", "openai", "--dialect", "martian"])
    assert done.exit_code == 2
    assert "relay-strict" in done.output
    done = CliRunner().invoke(cli, ["emulate", "dashscope", "--dialect", "martian"])
    assert done.exit_code == 2
    assert "--dialect" in done.output
