"""``redloom models`` and ``doctor``: what can be asked for, and whether it would be answered."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from redloom.cli.group import cli
from redloom.clock import SystemClock
from redloom.emulators import dashscope, openai
from redloom.endpoint import Endpoint
from redloom.engine import Engine
from redloom.errors import TaskFailed
from redloom.testing import FakeProvider, JumpingClock
from redloom.testing import run as jump


def run(*words: str) -> Result:
    """The command, in English."""
    return CliRunner().invoke(cli, ["--lang", "en", *words])


def rows(*words: str) -> list[dict[str, Any]]:
    """What the command says to programs."""
    return [json.loads(line) for line in run(*words, "--json").stdout.splitlines()]


@contextmanager
def serving(emulator: Any) -> Iterator[str]:
    """A stand-in in a thread of its own, since the command has its own loop; its base URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(emulator.start(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(emulator.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_models_of_the_keys_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model of an endpoint with a key, with sizes, price, limits; the others in one line."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-x")
    done = run("models")
    assert done.exit_code == 0
    line = next(line for line in done.output.splitlines() if " qwen-image-max " in line)
    assert "0.5 CNY a picture" in line
    assert "2 a minute" in line
    assert "1664×928" in line
    assert "sync only" in line
    assert "gpt-image-1" not in done.output
    assert "openai (OPENAI_API_KEY)" in done.output
    assert "gpt-image-1-mini" in run("models", "--all").output
    assert "gpt-image-1-mini" in run("models", "openai").output


def test_models_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers beside the words, and the name to ask by; an endpoint without a key is one row."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-x")
    found = {row["ask"]: row for row in rows("models")}
    default = found["dashscope"]
    assert default["default"]
    assert (default["amount"], default["currency"], default["concurrency"]) == (0.2, "CNY", 5)
    assert default["price_as_of"]
    other = found["dashscope:qwen-image-2.0"]
    assert other["lanes"] == ["sync"]
    assert "2048x2048" in other["sizes"]
    assert not found["openai"]["ready"]
    assert "openai:dall-e-3" not in found


def test_one_model_of_an_endpoint_by_its_full_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """NAME:MODEL, as the help has it, shows that model alone."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-x")
    done = CliRunner().invoke(cli, ["--json", "models", "dashscope:qwen-image"])
    assert done.exit_code == 0
    assert [json.loads(line)["model"] for line in done.stdout.splitlines()] == ["qwen-image"]


def test_an_unknown_endpoint_is_named() -> None:
    """With the known ones; exit 2."""
    done = run("models", "nosuch")
    assert done.exit_code == 2
    assert "nosuch" in done.output
    assert "dashscope" in done.output


def test_doctor_tries_each_key_for_free(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A good key works, a wrong one is told with its hint, and nothing is bought."""
    clock = SystemClock()
    first = dashscope.DashScopeEmulator(dashscope.Emulated(keys={"sk-good": "a"}), clock)
    second = openai.OpenAIEmulator(openai.Emulated(keys={"sk-good": "a"}), clock)
    with serving(first) as one, serving(second) as two:
        monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-good")
        monkeypatch.setenv("DASHSCOPE_BASE_URL", one)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
        monkeypatch.setenv("OPENAI_BASE_URL", two)
        done = run("doctor")
    assert done.exit_code == 2
    lines = done.output.splitlines()
    good = next(line for line in lines if line.startswith("✓ dashscope"))
    assert "the key works" in good
    assert " ms" in good
    wrong = next(line for line in lines if line.startswith("✗ openai"))
    assert "OPENAI_API_KEY" in wrong
    assert "sk-wrong" not in done.output
    assert not first.ledger.purchases
    assert not second.ledger.purchases


def test_doctor_tells_how_an_endpoint_did(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From the workspace's journal: made, failed, how long a picture took."""
    monkeypatch.setenv("REDLOOM_HOME", str(tmp_path / "ws"))
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-x")

    async def two_pictures() -> None:
        import time

        clock = JumpingClock(start=time.time() - 600)
        error = TaskFailed("没做成", "not made", retry=False)
        provider = FakeProvider(
            clock.now, script=lambda asked, _n: "failed" if "bad" in asked.prompt else "made",
            failure=error,
        )  # fmt: skip
        endpoint = Endpoint("cards", "fake", "fake-1", "fake://x", account="a")
        async with Engine(
            workspace=tmp_path / "ws", equipped=[(endpoint, provider)], clock=clock
        ) as engine:
            await engine.generate(["good", "bad"], out=tmp_path / "out")

    jump(two_pictures())
    told = next(row for row in rows("doctor", "--offline") if row["check"] == "cards")
    assert "1 made" in told["text"]
    assert "1 failed" in told["text"]
    assert "10 s each" in told["text"]
