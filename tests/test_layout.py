"""The layout: the contents page lists every module, and every import follows its order."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import redloom

ROOT = Path(redloom.__file__).parent
ORDER = re.findall(r"^    ([a-z_]+) +\S", redloom.__doc__ or "", re.MULTILINE)
ALLOWED_TO_PROVIDERS = {"endpoint", "errors", "lang", "providers"}
OWN_ROOMS = {"cards": {"typeset"}, "diffusers": {"diffusers_worker", "cluster"}}
"""A provider's room of its own, which the others may not enter."""


def modules() -> Iterator[tuple[str, Path]]:
    """Every module with its name at the top level of the package (its room)."""
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield parts[0], path


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """A module's syntax tree, read once."""
    return ast.parse(path.read_text("utf-8"))


@functools.cache
def imports(path: Path) -> list[str]:
    """The package's own rooms that a file imports, at any depth."""
    return list(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    package = ("redloom", *path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom):
            yield from _from(node, package)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "redloom":
                    yield [*alias.name.split("."), ""][1]


def _from(node: ast.ImportFrom, package: tuple[str, ...]) -> Iterator[str]:
    base = package[: len(package) - node.level + 1] if node.level else ()
    full = (*base, *((node.module or "").split(".") if node.module else ()))
    if not full or full[0] != "redloom":
        return
    if len(full) > 1:
        yield full[1]
    else:
        yield from (alias.name for alias in node.names)


def test_the_contents_page_lists_every_module() -> None:
    """Each file or folder at the top of the package stands in the contents page, once."""
    there = {name for name, _ in modules()} - {"__init__", "__main__"}
    assert len(ORDER) == len(set(ORDER))
    assert there <= set(ORDER), sorted(there - set(ORDER))


def test_imports_follow_the_order() -> None:
    """A module imports only what stands before it; so there can be no cycle either."""
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for room, path in modules()
        if room not in ("__init__", "__main__")
        for name in imports(path)
        if name != room and name in ORDER and ORDER.index(name) > ORDER.index(room)
    ]
    assert wrong == []


def test_nobody_imports_the_facade() -> None:
    """Names are imported from where they are, never from ``redloom`` itself."""
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for room, path in modules()
        if room != "__init__"
        for name in imports(path)
        if name not in {"", *ORDER}
    ]
    assert wrong == []


def test_providers_know_only_the_seam() -> None:
    """A provider imports the endpoint, errors, texts, its own data and its own room."""
    for path in (ROOT / "providers").glob("[!_]*.py"):
        allowed = ALLOWED_TO_PROVIDERS | OWN_ROOMS.get(path.stem, set())
        used = set(imports(path))
        assert used <= allowed, (path.name, sorted(used - allowed))


def test_the_typesetter_knows_nothing_of_the_way() -> None:
    """typeset/ imports errors, lang and the version, and nothing else of the package."""
    for path in (ROOT / "typeset").rglob("*.py"):
        used = set(imports(path)) - {"typeset"}
        assert used <= {"errors", "lang", "version"}, (path.name, used)


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Cycles among modules, as paths; found by depth-first search."""
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            found.append([*path[path.index(name) :], name])
            return
        if name in done:
            return
        for other in sorted(graph.get(name, ())):
            visit(other, [*path, name])
        done.add(name)

    for name in sorted(graph):
        visit(name, [])
    return found


def test_there_is_no_cycle_inside_a_room() -> None:
    """Modules of one folder do not import each other in a circle at import time."""
    for room in sorted({path.parent for _, path in modules()} - {ROOT}):
        graph: dict[str, set[str]] = {}
        for path in room.glob("*.py"):
            tree = tree_of(path)
            here = {p.stem for p in room.glob("*.py")} - {"__init__"}
            graph[path.stem] = {
                name
                for node in tree.body
                if isinstance(node, ast.ImportFrom) and node.level == 1
                for name in ([node.module] if node.module else [a.name for a in node.names])
                if name in here
            }
        assert cycles(graph) == []


BROAD = re.compile(r"everything (?:before|on the way|of |but |;)|see `routes`")
"""Sentences that allow all that the order allows; `test_imports_follow_the_order` holds those."""


def test_first_lines_say_what_a_module_may_import() -> None:
    """Every module's docstring has a sentence ``May import: …`` that names each room it uses."""
    wrong = []
    for room, path in modules():
        if room in ("__init__", "__main__"):
            continue
        text = path.read_text("utf-8")
        said = (ast.get_docstring(tree_of(path)) or "").partition("May import: ")[2]
        used = set(imports(path)) - {room, ""}
        unsaid = used - set(re.findall(r"[a-z_]+", said))
        if text.strip() and (not said or (unsaid and not BROAD.search(" ".join(said.split())))):
            wrong.append(f"{path.relative_to(ROOT)}: {sorted(unsaid) or 'no sentence'}")
    assert wrong == []


def test_modules_stay_short_and_say_what_they_are_for() -> None:
    """Every module begins with a docstring and has at most 600 lines."""
    for _, path in modules():
        text = path.read_text("utf-8")
        assert len(text.splitlines()) <= 600, path
        assert not text.strip() or ast.get_docstring(tree_of(path)), path
