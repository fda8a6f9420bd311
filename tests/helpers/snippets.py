"""The fenced blocks of the documentation, and a place where their commands can be run.

A `Bench` is a folder with what the pages take for granted (prompts.txt, a story, `examples/`), a
workspace, and a stand-in for every service that a page names. Its `bin/` holds a `redloom` that is
ours, and stubs for what the tests must not start: what a stub was called with is written down.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from helpers.served import served
from redloom.clock import SystemClock
from redloom.emulators.dashscope import Emulated, ServiceTime

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
COMMANDS = ("console", "sh", "bash")
SPEED = "60"
TOKEN = "a-token-for-the-documentation"
_FENCE = re.compile(
    r"(?:<!-- (?P<mark>[^>]*?) -->\n+)?^```(?P<kind>\w*)(?P<more>[^\n]*)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)

STUBS = {
    "pip": "installs from a package index",
    "uvx": "installs from a package index",
    "docker": "needs Docker",
    "ray": "needs a cluster",
    "make": "the set-up and the suites themselves",
    "ruff": "the project's own tools",
    "git": "the project's own history",
    "sqlite3": "not everywhere; the copy is tested in test_journal",
    "python": "the project's own tools and measurements",
}
"""Programs that the tests do not start, and why."""

NOT_RUN = {
    "local:": "needs a GPU and a model",
    "--cluster": "needs a cluster",
    "bench": "takes minutes; test_cli_bench runs a short one",
    "probe": "needs a key; test_bench_probe runs it against the stand-in",
    "sk-…": "needs a key",
    "--stdio": "speaks MCP with its caller; test_studio_mcp does",
}
"""Calls of `redloom` that are not made, by a word in them, and why."""

LATE = ("pause", "resume", "cancel")
"""Commands that say 2 to a run that is over: which a page's run is by then."""

ELSEWHERE = (
    ("batch", "console", ("shop", "dataset", "comic"), "test_guides.py"),
    ("library", "python", ("",), "test_docs.py"),
    ("compat", "python", ("",), "test_docs.py"),
    ("providers", "python", ("",), "test_new_provider.py"),
)
"""Blocks that another test runs: family of pages, kind, words one of which is in them, which test."""

BEFORE = {
    "operating": "redloom batch prompts.txt --out pictures; mkdir more-pictures",
    "troubleshooting": "redloom batch prompts.txt --out pictures",
    "report": "redloom batch prompts.txt --out out/pictures",
    "note": "redloom note examples/hutong.txt --offline --out out/hutong",
}
"""What has been done before a page is read."""

_SHIM = """#!{python}
import os, subprocess, sys
words = ["pictures" if word == "RUN" else word for word in sys.argv[1:]]
reason = next((why for sign, why in {not_run!r}.items() if any(sign in word for word in words)
               or sign in os.environ.get("DASHSCOPE_API_KEY", "") and words[0] == "note"), None)
if reason is not None and "--list" not in words:
    print("not run:", reason)
    sys.exit(0)
line = [sys.executable, "-m", "redloom", *words]
if words[:1] not in (["serve"], ["emulate"]):
    done = subprocess.run(line, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    print(done.stderr, file=sys.stderr)
    late = words[0] in {late!r} and "left as it is" in done.stderr
    sys.exit(0 if late else done.returncode)
program = subprocess.Popen([*line, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
first = program.stdout.readline()
program.terminate()
rest, _ = program.communicate(timeout=30)
print(first, rest)
sys.exit(0 if "127.0.0.1" in first + rest or "0.0.0.0" in first + rest else 1)
"""


@dataclass(frozen=True)
class Block:
    """One fenced block; ``mark`` is what a comment just before it says."""

    page: str
    number: int
    kind: str
    more: str
    body: str
    mark: str

    @property
    def family(self) -> str:
        """The page's name without its language."""
        return self.page.removesuffix(".md").removesuffix(".zh-CN")

    @property
    def elsewhere(self) -> str:
        """The test that runs it instead, or nothing."""
        for family, kind, words, test in ELSEWHERE:
            if (self.family, self.kind) == (family, kind) and any(
                one in self.body for one in words
            ):
                return test
        return ""

    @property
    def file(self) -> str:
        """The name in ``file=NAME`` behind the block's kind."""
        return self.more.partition("file=")[2].split(" ")[0].strip()

    @property
    def script(self) -> str:
        """A console's lines without their prompt."""
        return re.sub(r"^\$ ", "", self.body, flags=re.MULTILINE)

    @property
    def bare(self) -> str:
        """What is done, without what is said about it: the same in every language."""
        return re.sub(r"[ \t]+# .*$|^# .*$", "", self.script, flags=re.MULTILINE).strip()


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page."""
    return [
        Block(page.name, number, one["kind"], one["more"], one["body"], one["mark"] or "")
        for number, one in enumerate(_FENCE.finditer(page.read_text("utf-8")))
    ]


def every_block() -> Iterator[Block]:
    """Every fenced block of every page, a translation's blocks that do the same left out."""
    seen: set[tuple[str, str, str]] = set()
    for page in PAGES:
        for block in blocks(page):
            key = (block.family, block.kind, block.bare)
            if key not in seen:
                seen.add(key)
                yield block


SERVICES = ("dashscope", "ark", "gemini", "replicate", "comfyui")
"""Whose stand-ins are started for a page that names them; dashscope's always."""


class Services:
    """Stand-ins, each started when it is first named, all ended together."""

    def __init__(self) -> None:
        self.start = str(int(time.time()))
        self._urls: dict[str, str] = {}
        self._running: list[subprocess.Popen[str]] = []
        self._stack = contextlib.ExitStack()

    def clock(self) -> dict[str, str]:
        """The same quick clock for everybody."""
        return {"REDLOOM_CLOCK_SPEED": SPEED, "REDLOOM_CLOCK_START": self.start}

    def environment(self, text: str) -> dict[str, str]:
        """Addresses and keys of the services that a page's blocks name."""
        told: dict[str, str] = {}
        for name in [one for one in SERVICES if one in text or one == "dashscope"]:
            told |= self._told(name)
        return told

    def _told(self, name: str) -> dict[str, str]:
        if name == "dashscope":
            return {"DASHSCOPE_BASE_URL": self._small(), "DASHSCOPE_API_KEY": "sk-emulated"}
        if name not in self._urls:
            line = [sys.executable, "-m", "redloom", "--json", "emulate", name, "--latency", "2"]
            program = subprocess.Popen(
                line, stdout=subprocess.PIPE, text=True, env={**os.environ, **self.clock()}
            )
            assert program.stdout is not None
            self._running.append(program)
            self._urls[name] = program.stdout.readline()
        told = json.loads(self._urls[name])["environment"]
        return {str(key): str(value) for key, value in told.items()}

    def _small(self) -> str:
        """DashScope's stand-in in a thread of ours, its pictures small: they cost the most time."""
        if "dashscope" not in self._urls:
            settings = Emulated(latency=ServiceTime(2, 0, 2, 2), picture_size="small")
            clock = SystemClock(float(SPEED), float(self.start))
            self._urls["dashscope"] = self._stack.enter_context(served(settings, clock))
        return self._urls["dashscope"]

    def end(self) -> None:
        """No stand-in is left."""
        self._stack.close()
        for program in self._running:
            program.kill()
            program.communicate()


class Bench:
    """A page's folder."""

    def __init__(self, folder: Path, services: Services, page: Path) -> None:
        self.folder, self.page = folder, page
        told = services.environment(page.read_text("utf-8"))
        self.comfyui = told.get("COMFYUI_URL", "")
        self.port = told["DASHSCOPE_BASE_URL"].split(":")[2].split("/")[0]
        self.env = {
            **os.environ, **services.clock(), **told,
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "HOME": str(folder),
            "REDLOOM_HOME": str(folder / "home"), "REDLOOM_WRITER": "local", "LC_ALL": "C.UTF-8",
            "HTTPS_PROXY": "http://127.0.0.1:9", "PYTHONPATH": "",
        }  # fmt: skip
        self._lay()

    def _lay(self) -> None:
        """What the pages take for granted."""
        (self.folder / "bin").mkdir()
        shim = _SHIM.format(python=sys.executable, not_run=NOT_RUN, late=LATE)
        for name in ("bin/redloom", ".venv/bin/redloom"):
            self._program(name, shim)
        for name, why in STUBS.items():
            for place in ("bin", ".venv/bin"):
                self._program(
                    f"{place}/{name}",
                    f'#!/bin/sh\n[ "$1" != clone ] || mkdir redloom\necho "not run: {why}"\n',
                )
        (self.folder / "examples").symlink_to(ROOT / "examples")
        (self.folder / "prompts.txt").write_text("a red scarf\na blue scarf\n", "utf-8")
        (self.folder / "prompts.csv").write_text("prompt\na red hat\na blue hat\n", "utf-8")
        story = (ROOT / "examples" / "hutong.txt").read_text("utf-8")
        for name in ("story.txt", "story.md", "故事.md", "故事.txt"):
            (self.folder / name).write_text(story, "utf-8")

    def _program(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        path.chmod(0o755)

    def script(self, text: str) -> subprocess.CompletedProcess[str]:
        """Run a block's lines in one shell that stops at the first failure."""
        text = text.replace(":PORT/", f":{self.port}/")
        text = text.replace("export DASHSCOPE_API_KEY=sk-…", "export DASHSCOPE_API_KEY=sk-emulated")
        if self.comfyui:
            text = text.replace("http://127.0.0.1:8188", self.comfyui)
        return self._run(["bash", "-e", "-c", text])

    def python(self, text: str) -> subprocess.CompletedProcess[str]:
        """Run a block of Python; what it awaits, it awaits in a loop of its own."""
        if re.search(r"^(?:\w+ = )?await ", text, re.MULTILINE):
            body = "".join(f"    {line}\n" for line in text.splitlines())
            text = f"import asyncio\nasync def main():\n{body}\nasyncio.run(main())\n"
        with self.serving(text) as text:
            return self._run([sys.executable, "-c", text])

    @contextlib.contextmanager
    def serving(self, text: str) -> Iterator[str]:
        """`text` with the address of a server of its own in the place of the usual one."""
        if "127.0.0.1:8787" not in text:
            yield text
            return
        line = [sys.executable, "-m", "redloom", "serve", "--port", "0"]
        program = subprocess.Popen(
            line, cwd=self.folder, env={**self.env, "REDLOOM_TOKEN": TOKEN}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            assert program.stdout is not None
            told = next(line for line in program.stdout if "http://" in line)
            url = re.search(r"127\.0\.0\.1:\d+", told)
            assert url is not None, told
            yield text.replace("127.0.0.1:8787", url[0]).replace("my-long-token", TOKEN)
        finally:
            program.kill()
            program.communicate()

    def _run(self, line: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            line, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=120,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
