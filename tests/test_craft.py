"""The figures of craft: each at its target, and the page shows how they are counted."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).resolve().parent


def _tool() -> ModuleType:
    path = HERE.parent / "tools" / "craft.py"
    spec = importlib.util.spec_from_file_location("craft_tool", path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = made
    spec.loader.exec_module(made)
    return made


craft = _tool()
ROWS = craft.rows()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_every_figure_meets_its_target(row: object) -> None:
    """Lengths, cycles, types, docstrings, mocks and sleeps are as craft asks."""
    assert getattr(row, "met") is not False, row  # noqa: B009 - the tool has no types here


def test_the_page_shows_the_table_with_every_target() -> None:
    """docs/craft.md names every figure and its target; the numbers are those of the last refill."""
    page = craft.PAGE.read_text("utf-8")
    assert all(f"| {row.what} | {row.target} |" in page for row in ROWS)


def module(text: str, name: str = "p.m") -> object:
    """A module of the tool's with this text."""
    return craft.Module(name, text)


def test_a_long_function_is_found() -> None:
    """61 lines are long, 60 are not; inner functions and methods count."""
    body = "\n".join("        x = 1" for _ in range(60))
    assert craft.long_ones([module(f"class A:\n    def f(self):\n{body}\n")]) == ["p.m.f"]
    shorter = body.rpartition("\n")[0]
    assert craft.long_ones([module(f"class A:\n    def f(self):\n{shorter}\n")]) == []


def test_circles_are_found_and_told_apart() -> None:
    """An import inside a function or for the type checker closes a circle of all imports only."""
    plain = [
        module("", "p"),
        module("from .b import x\n", "p.a"),
        module("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import c\n", "p.b"),
        module("def f():\n    import p.a\n", "p.c"),
    ]
    assert craft.circles(craft.imports(plain, everything=False)) == []
    assert craft.circles(craft.imports(plain, everything=True)) == [["p.a", "p.b", "p.c"]]
    eager = [*plain[:3], module("try:\n    import p.a\nexcept ImportError:\n    pass\n", "p.c")]
    eager[2] = module("from p.c import y\n", "p.b")
    assert craft.circles(craft.imports(eager, everything=False)) == [["p.a", "p.b", "p.c"]]


def test_what_has_no_type_or_docstring_is_named() -> None:
    """Each parameter and return counts for types; only public names for docstrings."""
    text = '"""M."""\ndef f(a, *b: int) -> None: ...\ndef _g(self) -> int:\n    def h(x: int) -> int: ...\n'
    assert craft.unannotated([module(text)]) == ["p.m.f"]
    assert craft.undocumented([module(text)]) == (2, ["p.m.f"])


def test_mocks_patches_and_sleeps_are_counted() -> None:
    """By what is imported and called, under whatever name; the helper that waits is the exception."""
    text = "from unittest import mock as m\nimport time\ntime.sleep(1)\nmonkeypatch.setattr(a, 'b', c)\n"
    found = [module(text, "test_x.py")]
    assert craft.mocks(found) == ["test_x.py:1"]
    assert craft.patches(found) == 1
    assert craft.sleeps(found) == ["test_x.py:3"]
    assert craft.sleeps([module(text, craft.WAITS)]) == []
