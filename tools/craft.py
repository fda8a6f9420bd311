"""The figures of craft: ``python tools/craft.py`` prints them and refills docs/craft.md.

Reads the sources as text and as syntax trees; runs none of them. The table stands between the
markers ``<!-- figures -->`` of the page; a test holds every figure to its target.
"""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "redloom"
TESTS = ROOT / "tests"
PAGE = ROOT / "docs" / "craft.md"
LONG = 60
"""Lines above which a function needs a reason."""
REASONS: Mapping[str, str] = {}
"""Functions longer than that, as ``module.name``, each with its reason."""
MOCKS = re.compile(
    r"^\s*(from|import) (unittest(\.mock| import.*\bmock)|mock\b|pytest_mock)|\bmocker\."
)
WAITS = "helpers/waiting.py"
"""The one place where tests wait for another program's progress, and so may sleep."""
Function = ast.FunctionDef | ast.AsyncFunctionDef
Graph = dict[str, set[str]]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what is measured, the target in words, what was found, and whether
    the target is met (None: no target, only told).
    """

    what: str
    target: str
    found: str
    met: bool | None


@dataclass(frozen=True)
class Module:
    """A source file and its syntax tree."""

    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text)

    @cached_property
    def lines(self) -> int:
        """How many lines it has, blank ones too."""
        return len(self.text.splitlines())

    def functions(self) -> Iterator[Function]:
        """Every function and method, inner ones too."""
        for node in ast.walk(self.tree):
            if isinstance(node, Function):
                yield node


def package() -> list[Module]:
    """Every module of the package that holds anything, by its dotted name."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if text := path.read_text("utf-8"):
            found.append(Module(name, text))
    return found


def tests() -> list[Module]:
    """Every file of the tests, helpers too."""
    return [
        Module(path.relative_to(TESTS).as_posix(), path.read_text("utf-8"))
        for path in sorted(TESTS.rglob("*.py"))
    ]


def length(function: Function) -> int:
    """Lines from ``def`` to the last statement, the docstring among them."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def long_ones(modules: list[Module]) -> list[str]:
    """Functions over `LONG` lines, as ``module.name``."""
    return [
        f"{module.name}.{function.name}"
        for module in modules
        for function in module.functions()
        if length(function) > LONG
    ]


def imports(modules: list[Module], *, everything: bool) -> Graph:
    """Which modules each one imports: when it is imported itself, or, with ``everything``, also
    inside functions and for the type checker alone.
    """
    known = {module.name for module in modules}
    packages = {name.rpartition(".")[0] for name in known} & known
    graph: Graph = {}
    for module in modules:
        home = module.name if module.name in packages else module.name.rpartition(".")[0]
        nodes = ast.walk(module.tree) if everything else _at_import(module.tree.body)
        graph[module.name] = {
            target for node in nodes for target in _targets(node, home, known)
        } - {module.name}
    return graph


def _at_import(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """What runs when the module is imported: not functions, not ``if TYPE_CHECKING``."""
    for node in body:
        if isinstance(node, Function):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        for inner in ("body", "orelse", "handlers", "finalbody"):
            yield from _at_import(getattr(node, inner, []))


def _targets(node: ast.AST, home: str, known: set[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in known)
    elif isinstance(node, ast.ImportFrom):
        up = home.split(".")[: len(home.split(".")) - node.level + 1] if node.level else []
        base = ".".join([*up, *([node.module] if node.module else [])])
        for alias in node.names:
            whole = f"{base}.{alias.name}"
            if whole in known:
                yield whole
            elif base in known:
                yield base


def circles(graph: Graph) -> list[list[str]]:
    """Groups of modules that reach each other, by Tarjan's algorithm; none is as it should be."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(graph.get(name, ())):
            if other not in index:
                visit(other)
            if other in stack:
                low[name] = min(low[name], low[other])
        if low[name] == index[name]:
            at = stack.index(name)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for name in sorted(graph):
        if name not in index:
            visit(name)
    return found


def unannotated(modules: list[Module]) -> list[str]:
    """Functions with a parameter or a return without a type, as ``module.name``."""
    return [
        f"{module.name}.{function.name}"
        for module in modules
        for function in module.functions()
        if not _annotated(function)
    ]


def _annotated(function: Function) -> bool:
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    if named and named[0].arg in ("self", "cls"):
        named = named[1:]
    named += [one for one in (given.vararg, given.kwarg) if one is not None]
    return function.returns is not None and all(one.annotation is not None for one in named)


def undocumented(modules: list[Module]) -> tuple[int, list[str]]:
    """How many public names there are (modules, classes, functions, methods), and those of them
    without a docstring. Dunders, inner functions and overloads do not count.
    """
    total, bare = 0, []
    for module in modules:
        for name, node in _public(module.tree, module.name):
            total += 1
            if not ast.get_docstring(node):
                bare.append(name)
    return total, bare


def _public(
    node: ast.Module | ast.ClassDef, name: str
) -> Iterator[tuple[str, ast.Module | ast.ClassDef | Function]]:
    yield name, node
    for inner in node.body:
        if not isinstance(inner, Function | ast.ClassDef) or inner.name.startswith("_"):
            continue
        if any("overload" in ast.unparse(one) for one in inner.decorator_list):
            continue
        if isinstance(inner, ast.ClassDef):
            yield from _public(inner, f"{name}.{inner.name}")
        else:
            yield f"{name}.{inner.name}", inner


def _calls(module: Module) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def mocks(modules: list[Module]) -> list[str]:
    """Imports of a mocking library, and uses of its fixture, as ``file:line``."""
    return [
        f"{module.name}:{line}"
        for module in modules
        for line, words in enumerate(module.text.splitlines(), 1)
        if MOCKS.search(words)
    ]


def patches(modules: list[Module]) -> int:
    """Attributes that tests replace with pytest's ``monkeypatch`` (its ``setenv`` is no patch)."""
    named = ("monkeypatch.setattr", "monkeypatch.setitem")
    return sum(name in named for module in modules for _, name in _calls(module))


def sleeps(modules: list[Module]) -> list[str]:
    """Calls of ``time.sleep``, which no clock of ours can shorten, as ``file:line``."""
    return [
        f"{module.name}:{call.lineno}"
        for module in modules
        if module.name != WAITS
        for call, name in _calls(module)
        if name == "time.sleep"
    ]


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if part else "0 %"


def _function_rows(modules: list[Module]) -> Iterator[Row]:
    lines = [length(function) for module in modules for function in module.functions()]
    middle, tenth = statistics.median(lines), statistics.quantiles(lines, n=10)[-1]
    named = long_ones(modules)
    yield Row(
        "function lines, median / p90", "9 / 30", f"{middle:.0f} / {tenth:.0f}",
        middle <= 9 and tenth <= 30,
    )  # fmt: skip
    yield Row(
        f"functions over {LONG} lines", "under 2 %, each with a reason",
        f"{_share(len(named), len(lines))} of {len(lines):,}", set(named) == set(REASONS),
    )  # fmt: skip


def _module_rows(modules: list[Module]) -> Iterator[Row]:
    lines = [module.lines for module in modules]
    middle, most = statistics.median(lines), max(lines)
    yield Row(
        "module lines, median / max", "200 / 600", f"{middle:.0f} / {most}",
        middle <= 200 and most <= 600,
    )  # fmt: skip
    for what, everything in (("run time", False), ("all imports", True)):
        found = circles(imports(modules, everything=everything))
        yield Row(f"import cycles, {what}", "none", str(len(found) or "none"), not found)
    bare = unannotated(modules)
    total = sum(1 for module in modules for _ in module.functions())
    yield Row(
        "functions annotated in full", "100 %, mypy strict",
        f"{100 * (total - len(bare)) / total:.1f} %".replace("100.0", "100"), not bare,
    )  # fmt: skip
    count, naked = undocumented(modules)
    yield Row(
        "public names with a docstring", "over 99 %",
        f"{100 * (count - len(naked)) / count:.1f} % of {count:,}".replace("100.0", "100"),
        len(naked) <= count / 100,
    )  # fmt: skip


def _test_rows(modules: list[Module], checks: list[Module]) -> Iterator[Row]:
    ratio = sum(one.lines for one in checks) / sum(one.lines for one in modules)
    yield Row("test lines per package line", "about 1", f"{ratio:.2f}", None)
    mocked, slept = mocks(checks), sleeps(checks)
    yield Row("uses of a mocking library", "none", str(len(mocked) or "none"), not mocked)
    yield Row("attributes patched in tests", "few", str(patches(checks)), None)
    yield Row(
        f"real sleeps in tests, outside `{WAITS}`", "none", str(len(slept) or "none"), not slept
    )


def rows() -> list[Row]:
    """The whole table."""
    modules, checks = package(), tests()
    return [*_function_rows(modules), *_module_rows(modules), *_test_rows(modules, checks)]


def table(found: list[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| | target | here |", "|---|---|---|"]
    lines += [f"| {row.what} | {row.target} | {row.found} |" for row in found]
    return "\n".join(lines)


def filled(page: str, found: list[Row]) -> str:
    """The page with the table between its markers."""
    return re.sub(
        r"(<!-- figures -->\n).*?(\n<!-- /figures -->)",
        lambda match: match[1] + table(found) + match[2],
        page,
        flags=re.DOTALL,
    )


def main() -> None:
    """Print the table, refill the page, name what misses its target."""
    found = rows()
    print(table(found))
    PAGE.write_text(filled(PAGE.read_text("utf-8"), found), "utf-8")
    modules, checks = package(), tests()
    for what, named in (
        ("long", long_ones(modules)),
        ("circle", [" ".join(one) for one in circles(imports(modules, everything=True))]),
        ("not annotated", unannotated(modules)),
        ("no docstring", undocumented(modules)[1]),
        ("mock", mocks(checks)),
        ("sleep", sleeps(checks)),
    ):
        for name in named:
            print(f"{what}: {name}")


if __name__ == "__main__":
    main()
