"""docs/invariants.md is held to what it says: every file and name it mentions, every test."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "src" / "redloom"
PAGE = (ROOT / "docs" / "invariants.md").read_text("utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| **")]


def cells(row: str) -> list[str]:
    """The three cells of a row: sentence, code, tests."""
    return [cell.strip() for cell in row.strip().strip("|").split(" | ")]


@pytest.mark.parametrize("row", ROWS, ids=[cells(row)[0][:40] for row in ROWS])
def test_every_invariant_names_its_tests(row: str) -> None:
    """Each sentence names at least one test, and each of those is there."""
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", cells(row)[2])
    assert named
    for file, name in named:
        tree = ast.parse((ROOT / "tests" / file).read_text("utf-8"))
        there = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name in there, f"{file} has no {name}"


@pytest.mark.parametrize("row", ROWS, ids=[cells(row)[0][:40] for row in ROWS])
def test_every_invariant_names_its_code(row: str) -> None:
    """Files that are named exist; a name before ``in FILE`` stands in it."""
    words = cells(row)[1]
    assert words
    for file in re.findall(r"`([\w/]+\.(?:py|sql))`", words):
        assert (SOURCES / file).is_file(), file
    for names, file in re.findall(
        r"((?:`[\w.=]+`(?:, )?)+)(?: that lists)? in `([\w/]+\.\w+)`", words
    ):
        text = (SOURCES / file).read_text("utf-8")
        for name in re.findall(r"`([\w.=]+)`", names):
            assert re.search(rf"\b{re.escape(name.rsplit('.', 1)[-1])}", text) or spelt(name, text)


def spelt(name: str, text: str) -> bool:
    """Whether a setting is there with blanks around its sign."""
    return name.replace("=", " = ") in text


def test_the_page_is_complete() -> None:
    """Every unique index of the journal and every statement with a condition on money is on it."""
    sql = (SOURCES / "journal.sql").read_text("utf-8")
    for index in re.findall(r"CREATE UNIQUE INDEX (\w+)", sql):
        assert f"`{index}`" in PAGE
    for statement in (
        "add_intent",
        "prove_void",
        "abandon",
        "end_job",
        "cancel_jobs",
        "open_intents",
    ):
        assert f"`{statement}`" in PAGE, statement
    assert len(ROWS) > 25
