"""The reference pages say what the code says."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from pydantic import BaseModel

import redloom
from redloom.cli.table import present
from redloom.settings_form import SCALARS, ChatForm, ClusterForm, EndpointForm, FileForm
from test_docs import ROOT, tool


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """tools/reference.py."""
    sys.path.insert(0, str(ROOT / "tools"))
    return tool("reference")


def test_the_pages_are_what_the_code_says(reference: ModuleType) -> None:
    """docs/reference-*.md are as tools/reference.py makes them; `make reference` puts them right."""
    stale = [
        path.name
        for path, text in reference.pages()
        if not path.exists() or path.read_text("utf-8") != text
    ]
    assert stale == [], "run: make reference"


def test_every_command_and_option_is_there(reference: ModuleType) -> None:
    """No command is left out, in either language, and no line lacks its words."""
    for path, text in reference.pages():
        if path.name.startswith("reference-commands"):
            assert [name for name in present() if f"## redloom {name}\n" not in text] == []
            assert "|  |" not in text


def test_every_setting_has_its_words(reference: ModuleType) -> None:
    """Each key of the form is explained in both languages."""
    tables: dict[str, type[BaseModel]] = {
        "chat": ChatForm,
        "cluster": ClusterForm,
        "endpoints.NAME": EndpointForm,
    }
    keys = {f"{table}.{name}" for table in tables for name in tables[table].model_fields}
    assert (keys | set(SCALARS)) - set(reference.SETTINGS) == set()
    assert set(FileForm.model_fields) == {*SCALARS, "chat", "cluster", "endpoints"}


def test_every_public_name_is_there_with_its_words(reference: ModuleType) -> None:
    """What `redloom` exports stands on the page, and no entry is without a docstring."""
    text = reference.library()
    exported = [name for name in redloom.__all__ if not name.startswith("__")]
    assert [name for name in exported if f"### {name}\n" not in text] == []
    for entry in text.split("\n### ")[1:]:
        said = [
            line
            for line in entry.split("```")[-1].splitlines()[1:]
            if line and not line.startswith(("`redloom.", "|", "#"))
        ]
        assert said, entry.splitlines()[0]


def test_every_field_of_a_record_says_what_it_is(reference: ModuleType) -> None:
    """Each public field has a line of its own: unit, shape or meaning."""
    rows = [line for line in reference.library().splitlines() if line.startswith("| `")]
    assert [line for line in rows if line.rstrip().endswith("|  |")] == []
