"""The documentation: its links lead somewhere, its commands run, its Python compiles and runs."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

import redloom
from helpers.served import served
from redloom import carried, limit, looking, route, spill, timing
from redloom.cli import cli
from redloom.cli.table import COMMANDS, present
from redloom.clock import SystemClock
from redloom.emulators.dashscope import Emulated, ServiceTime
from redloom.endpoint import Endpoint
from redloom.engine import Engine
from redloom.retry import Policy
from redloom.testing import FakeProvider, JumpingClock, run

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
TRANSLATED = [page for page in PAGES if page.name.endswith(".zh-CN.md")]
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


_ANCHOR = re.compile(r"\]\(([^)#\s]*)#([^)\s]+)\)")
_CALL = re.compile(r"^\$? ?(?:\S*=\S* )*(?:\S*/)?redloom ([a-z]+)([^#|\n]*)", re.MULTILINE)


def tool(name: str) -> ModuleType:
    """A script of tools/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def slug(heading: str) -> str:
    """A heading's anchor, as the code hosts make it."""
    kept = re.sub(r"[^\w\s-]", "", heading.strip().lower())
    return re.sub(r"\s", "-", kept)


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
def test_anchors_lead_to_headings(page: Path) -> None:
    """Every #anchor of every page is a heading of the page that it names."""
    for target, anchor in _ANCHOR.findall(page.read_text("utf-8")):
        if "://" not in target:
            other = page.parent / target if target else page
            headings = re.findall(r"^#+ (.*)$", other.read_text("utf-8"), re.MULTILINE)
            assert anchor in [slug(one) for one in headings], f"{target}#{anchor}"


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
        for name, _ in _CALL.findall(body):
            assert name in COMMANDS, name
            assert name in present(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_in_the_pages_exist(page: Path) -> None:
    """Every --option behind a command in a console block is one of that command's."""
    for body in blocks(page, "console", "sh", "bash"):
        for name, rest in _CALL.findall(body.replace("\\\n", " ")):
            known = {text for one in command_named(name).params for text in one.opts}
            for option in re.findall(r"(?<!\S)--?[a-zA-Z][a-z-]*", unquoted(rest)):
                assert option in known | {"--help"}, f"redloom {name} {option}"


def command_named(name: str) -> click.Command:
    """A command, by its name."""
    found = cli.get_command(click.Context(cli), name)
    assert found is not None, name
    return found


def unquoted(line: str) -> str:
    """A command line without what stands in quotes."""
    return re.sub(r"\"[^\"]*\"?|'[^']*'?", "", line)


def test_the_index_has_every_page() -> None:
    """Each guide, in each language, is in docs/README.md."""
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    linked = set(_LINK.findall(index))
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name in linked | {"README.md"}, page.name


@pytest.mark.parametrize("page", TRANSLATED, ids=lambda page: page.name)
def test_the_two_languages_of_a_page_lead_to_each_other(page: Path) -> None:
    """Above its first section each page names its twin; there is no Chinese page without one."""
    twin = page.with_name(page.name.replace(".zh-CN.md", ".md"))
    for one, other in ((page, twin), (twin, page)):
        assert f"]({other.name})" in one.read_text("utf-8").split("\n## ")[0], one.name


JOBS = (
    "note",
    "batch",
    "studio",
    "library",
    "providers",
    "themes",
    "gpu",
    "cluster",
    "compat",
    "operating",
)


@pytest.mark.parametrize("job", JOBS)
def test_each_job_has_its_guide_in_both_languages(job: str) -> None:
    """Each guide says in both languages what goes wrong and what to do; operating is about that alone."""
    for suffix, heading in (("", "## What goes wrong"), (".zh-CN", "## 出了问题")):
        text = (ROOT / "docs" / f"{job}{suffix}.md").read_text("utf-8")
        assert job == "operating" or f"\n{heading}\n" in text, suffix


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_no_error_code_is_missing(lang: str) -> None:
    """Every code of ours has a line, and every code of a service stands in the table as it is read."""
    codes = tool("troubleshooting")
    page = codes.PAGES[lang].read_text("utf-8")
    ours, theirs = page.split("<!-- services -->")
    found = codes.own_codes()
    assert {"answer-lost", "budget", "worker-died", "no-model", "forgotten"} <= found
    assert sorted(code for code in found if f"`{code}`" not in ours) == []
    assert theirs.split("<!-- /services -->")[0].strip() == codes.services(lang).strip()


def test_the_map_names_every_module() -> None:
    """Each module of the contents page is on the map in docs/architecture.md."""
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    names = re.findall(r"^    (\w+)  +\S", redloom.__doc__ or "", re.MULTILINE)
    assert len(names) > 60
    assert [name for name in names if f"`{name}" not in page] == []


def test_the_map_s_numbers_are_the_code_s() -> None:
    """The figures in docs/architecture.md are the constants that they name."""
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    for said in (
        f"| {carried.WINDOW}, whatever",
        f"| {timing.SHORTEST_S:g} to {timing.LONGEST_S:g}, by the learnt hazard",
        f"| {limit.MARGIN:g} of what was accepted; probed after {limit.HOLD_S / 60:g} minutes",
        f"| {limit.FIRST_RATE:g} requests a second, {limit.FIRST_SLOTS} tasks at once",
        f"| after {route.OPEN_AFTER} failures in a row, {route.FIRST_BREAK_S:g} s, doubled up to {route.LONGEST_BREAK_S:g} s",
        f"| {Policy().tries} (`--retries`)",
        f"may be {Policy().submit_tries} |",
        f"| at most {looking.LOOKS}, {looking.BETWEEN_S:g} s apart",
        f"| from {spill.LONG // 1024} KB |",
    ):
        assert said in page, said


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_readme_s_figures_are_the_performance_page_s(lang: str) -> None:
    """The summary is what tools/performance.py makes of the page, and it has figures."""
    performance = tool("performance")
    said = performance.summary(performance.PAGE.read_text("utf-8"), lang)
    assert "%" in said
    assert said in performance.READMES[lang].read_text("utf-8")


def test_the_faults_figures_are_the_same_in_both_languages() -> None:
    """The Chinese table is the English one, figure by figure: both come of tools/fault_table.py."""
    faults = tool("fault_table")
    table = faults.filled(faults.PAGE)
    assert re.search(r"^\| \d+ \| \d+ \| 0 \| 0 \|", table, re.MULTILINE)
    assert faults.filled(faults.CHINESE_PAGE) == faults.chinese(table)


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


LIBRARY = blocks(ROOT / "docs" / "library.md", "python")


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder, a workspace and an emulated service of its own for one of the library's examples."""
    settings = Emulated(latency=ServiceTime(20, 0.2, 10, 30), picture_size="small")
    start = time.time()
    with served(settings, SystemClock(20.0, start)) as base_url:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("REDLOOM_HOME", str(tmp_path / "workspace"))
        monkeypatch.setenv("DASHSCOPE_BASE_URL", base_url)
        monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-emulated")
        monkeypatch.setenv("REDLOOM_CLOCK_SPEED", "20")
        monkeypatch.setenv("REDLOOM_CLOCK_START", str(start))
        yield


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("number", range(len(LIBRARY)))
def test_the_library_s_examples_run(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is a whole program: it runs to its end on the stand-in, and no picture fails."""
    exec(compile(LIBRARY[number], f"library.md {number}", "exec"), {"__name__": "library"})
    assert "failed" not in capsys.readouterr().out


def test_the_library_s_examples_are_the_same_in_both_languages() -> None:
    """The Chinese page has the code of the English one, to the letter."""
    assert blocks(ROOT / "docs" / "library.zh-CN.md", "python") == LIBRARY


def test_make_help_describes_every_target() -> None:
    """`make help` has a line for each target that a person may call."""
    text = (ROOT / "Makefile").read_text("utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert targets is not None
    told = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in targets[1].split():
        assert re.search(rf"^  make {target} +\S", told.stdout, re.MULTILINE), target
