"""The documentation: its links lead somewhere, its commands run, its Python compiles and runs."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import redloom
from redloom.cli.table import COMMANDS, present
from redloom.endpoint import Endpoint
from redloom.engine import Engine
from redloom.testing import FakeProvider, JumpingClock, run

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, *kinds: str) -> list[str]:
    """The fenced blocks of a page in these languages."""
    return [body for kind, body in _FENCE.findall(page.read_text("utf-8")) if kind in kinds]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    """Every relative link of every page names a file of the project."""
    for target in _LINK.findall(page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_the_pages_compiles(page: Path) -> None:
    """Every Python block is Python, and imports only names that exist."""
    for body in blocks(page, "python"):
        for node in ast.walk(ast.parse(body)):
            if isinstance(node, ast.ImportFrom) and node.module == "redloom":
                for alias in node.names:
                    module = importlib.util.find_spec(f"redloom.{alias.name}")
                    assert module or getattr(redloom, alias.name) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_pages_exist(page: Path) -> None:
    """Every `redloom X` in a console block is a command that is there."""
    for body in blocks(page, "console", "sh", "bash"):
        for name in re.findall(r"^\$? ?(?:\S*=\S* )*(?:\S*/)?redloom ([a-z]+)", body, re.MULTILINE):
            assert name in COMMANDS, name
            assert name in present(), name


@pytest.mark.slow
@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_the_readme_commands_run(readme: str, tmp_path: Path) -> None:
    """The README's offline note and its dry run do what they say, in a fresh folder."""
    lines = "\n".join(blocks(ROOT / readme, "console")).splitlines()
    commands = [
        line[2:].split("#")[0] for line in lines if "--offline" in line or "--dry-run" in line
    ]
    assert len(commands) == 2
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "prompts.txt").write_text("a red scarf\n", "utf-8")
    for command in commands:
        words = shlex.split(command)
        assert words[0] == ".venv/bin/redloom"
        done = subprocess.run(
            [sys.executable, "-m", "redloom", *words[1:]], cwd=tmp_path, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "recipe" / "01-cover.png").exists()


def test_the_old_usage_example_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The report's example with only its import lines changed, on the fake service."""
    body = blocks(ROOT / "docs" / "compat.md", "python")[0]
    scope: dict[str, object] = {}
    exec(compile(body, "compat.md", "exec"), scope)
    clock = JumpingClock()
    provider = FakeProvider(clock.now)
    endpoint = Endpoint("dashscope", "fake", "wan2.6-t2i", "fake://x", account="a")
    service = scope["service"]
    service._make_engine = lambda: Engine(  # type: ignore[attr-defined]
        workspace=tmp_path / "ws", equipped=[(endpoint, provider)], clock=clock
    )
    main = scope["main"]
    assert callable(main)
    run(main())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3"]
    assert provider.billed() == 3
    assert asyncio.iscoroutinefunction(main)
