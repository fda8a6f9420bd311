"""Every block of the documentation: it is run, or it says why it is not, and few say so."""

from __future__ import annotations

import configparser
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from helpers.snippets import (
    BEFORE,
    COMMANDS,
    ELSEWHERE,
    NOT_RUN,
    PAGES,
    ROOT,
    Bench,
    Block,
    Services,
    every_block,
)
from redloom.settings import load_settings

BLOCKS = list(every_block())
RUNNABLE = {*COMMANDS, "python", "toml", "json", "yaml", "ini"}
PLAIN = {"", "text", "csv", "py", "nginx", "markdown"}
"""Blocks that nothing can be done with: outputs, inputs, declarations, another program's settings."""
MOST_MARKED = 8
REASONS = ("a shape, not a document", "needs a GPU", "needs a key")

with_blocks = sorted(
    {one.page for one in BLOCKS if one.kind in RUNNABLE and not (one.mark or one.elsewhere)}
)


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    """The stand-ins that all pages share."""
    made = Services()
    yield made
    made.end()


@pytest.mark.slow
@pytest.mark.parametrize("page", with_blocks)
def test_what_a_page_says_can_be_done(page: str, services: Services, tmp_path: Path) -> None:
    """A page's blocks, from the first to the last, in one folder, each to a good end."""
    path = next(one for one in PAGES if one.name == page)
    (tmp_path / "at").mkdir()
    bench = Bench(tmp_path / "at", services, path)
    mine = [one for one in BLOCKS if one.page == page and not (one.mark or one.elsewhere)]
    made = bench.script(BEFORE.get(mine[0].family, "true"))
    assert made.returncode == 0, made.stderr
    for block in mine:
        check(block, bench)


def check(block: Block, bench: Bench) -> None:
    """Do what the block says, or read what it is."""
    if block.file:
        (bench.folder / block.file).parent.mkdir(parents=True, exist_ok=True)
        (bench.folder / block.file).write_text(block.body, "utf-8")
    if block.kind in COMMANDS:
        done = bench.script(block.script)
    elif block.kind == "python":
        done = bench.python(block.body)
    else:
        return read(block, bench)
    assert done.returncode == 0, f"{block.body}\n{done.stdout}\n{done.stderr}"
    return None


def read(block: Block, bench: Bench) -> None:
    """A settings file has known settings only; every other document is whole."""
    match block.kind:
        case "json":
            json.loads(block.body)
        case "yaml":
            assert yaml.safe_load(block.body)
        case "ini":
            parser = configparser.RawConfigParser(strict=False)
            parser.read_string(block.body)
        case "toml" if re.search(r"^\[(project|name|picture)", block.body, re.MULTILINE):
            assert tomllib.loads(block.body)
        case "toml":
            file = bench.folder / "said.toml"
            file.write_text(block.body, "utf-8")
            load_settings(config=file, environ={}, folder=bench.folder)


def test_every_block_has_a_kind_that_is_known() -> None:
    """Nothing slips through under a name that nobody runs."""
    assert sorted({one.kind for one in BLOCKS} - RUNNABLE - PLAIN) == []


def test_marks_are_few_and_give_a_reason() -> None:
    """A block that is not run says why; the reasons are these, and not many blocks have one."""
    marked = [one for one in BLOCKS if one.mark]
    for block in marked:
        assert block.mark.startswith(REASONS), f"{block.page}, block {block.number}: {block.mark}"
    assert len(marked) <= MOST_MARKED


def test_what_is_run_elsewhere_is_run_there() -> None:
    """The test that is named for a page's blocks names that page."""
    for family, _, _, test in ELSEWHERE:
        assert f"{family}.md" in (ROOT / "tests" / test).read_text("utf-8"), family


def test_most_calls_of_the_command_are_made() -> None:
    """Of all `redloom …` lines of all pages, few are of a kind that is not run."""
    lines = [
        line
        for block in BLOCKS
        if block.kind in COMMANDS
        for line in block.bare.splitlines()
        if re.search(r"(^|/|\s)redloom [a-z]", line)
    ]
    kept = [line for line in lines if any(sign in line for sign in NOT_RUN)]
    assert len(lines) > 80
    assert len(kept) <= len(lines) * 0.2, kept
