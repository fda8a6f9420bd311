"""The reference pages: ``python tools/reference.py`` (or ``make reference``).

Writes docs/reference-*.md from what is in the code, so that they cannot say anything else: every
command and option from the argument parsers, every setting from the form that checks it, every
public name of the library from its docstring. A test holds the pages to the code.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from reference_words import FIELDS, HEADS, SETTINGS

from redloom import errors, settings, settings_form
from redloom.cli import cli
from redloom.cli.common import Option
from redloom.cli.table import COMMANDS, present
from redloom.lang import Lang, Text, use_language

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "redloom"
SUFFIX: dict[Lang, str] = {"en": "", "zh": ".zh-CN"}
"""What a page of a language is called by."""

Node = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
LINE = 88
"""Longest signature on one line."""

LIBRARY: tuple[tuple[Text, dict[str, str | None]], ...] = (
    (
        Text("引擎", "The engine"),
        {
            "engine": "generate Engine",
            "result": "Result",
            "wanted": "RunOptions",
            "prompt": "Prompt",
        },
    ),
    (
        Text("RedBookContentGen 的名字", "RedBookContentGen's names"),
        {
            "compat": "AsyncImageService ImageGenerationResult ImageGenerator",
            "config_manager": "ConfigManager",
        },
    ),
    (Text("事件", "Events"), {"events": None}),
    (Text("错误", "Errors"), {"errors": None}),
    (Text("自己的服务", "A provider of your own"), {"endpoint": None}),
    (
        Text("旁观", "Watching and looking after"),
        {"metrics": "Metrics", "traces": "Traces", "audit": "Audit Finding"},
    ),
    (Text("测试", "Testing"), {"testing": "JumpingClock FakeProvider run"}),
)
"""The parts of the library's page: modules, and which of their names (None: all public ones)."""


def pages() -> Iterator[tuple[Path, str]]:
    """Every reference page with what belongs in it."""
    for lang, suffix in SUFFIX.items():
        use_language(lang)
        yield DOCS / f"reference-commands{suffix}.md", commands()
        yield DOCS / f"reference-settings{suffix}.md", settings_page()
    use_language(None)
    yield DOCS / "reference-library.md", library()


def commands() -> str:
    """Every command with its arguments and options."""
    said = [str(HEADS["commands"]), ""]
    parent = click.Context(cli, info_name="redloom")
    first = cli.get_command(parent, present()[0])
    said += [f"## {HEADS['common']}", "", *_options(_common(first)), ""]
    for name in present():
        command = cli.get_command(parent, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=parent)
        usage = " ".join(["redloom", name, *command.collect_usage_pieces(context)[1:]])
        text = getattr(command, "text", COMMANDS[name].text)
        said += [f"## redloom {name}", "", str(text).replace("\n", "\n\n"), ""]
        said += ["```text", usage, "```", ""]
        common = {one.name for one in _common(command)}
        own = [one for one in command.params if one.name not in common]
        said += [*_options(own), ""] if own else []
    return "\n".join(said).rstrip() + "\n"


def _common(command: click.Command | None) -> list[click.Parameter]:
    return list(getattr(command, "common", ()))


def _options(params: Sequence[click.Parameter]) -> list[str]:
    """A table of parameters, arguments first."""
    rows = [
        (f"`{one.make_metavar(click.Context(cli))}`", _argument(one))
        for one in params
        if isinstance(one, click.Argument)
    ]
    rows += [(_names(one), _said(one)) for one in params if isinstance(one, Option)]
    return _table(str(HEADS["option"]), rows)


def _argument(one: click.Argument) -> str:
    left_out = Text("可省", "may be left out")
    if isinstance(one.type, click.Choice):
        choices = " ".join(f"`{choice}`" for choice in one.type.choices)
        return choices if one.required else f"{choices} ({left_out}: `{one.default}`)"
    return str(Text("必填", "needed") if one.required else left_out)


def _names(one: Option) -> str:
    names = ", ".join(f"`{name}`" for name in [*one.opts, *one.secondary_opts])
    if one.is_flag:
        return names
    if isinstance(one.type, click.Choice):
        return f"{names} `{'|'.join(one.type.choices)}`"
    return f"{names} `{one.metavar or _kind(one.type)}`"


def _kind(kind: click.ParamType[Any]) -> str:
    return {"integer": "N", "integer range": "N", "float": "X", "float range": "X"}.get(
        kind.name, kind.name.upper()
    )


def _said(one: Option) -> str:
    said, kind = str(one.text), one.type
    if isinstance(kind, click.IntRange | click.FloatRange):
        said += f" ({_range(kind.min, kind.max, kind.min_open)})"
    shown = isinstance(one.default, str | int | float) and not isinstance(one.default, bool)
    if shown and str(one.default):
        said += str(Text(f"；默认 `{one.default}`", f"; default `{one.default}`"))
    return said


def _range(low: float | None, high: float | None, is_open: bool = False) -> str:
    if low is None:
        return f"≤ {high:g}"
    if high is None:
        return f"{'>' if is_open else '≥'} {low:g}"
    return f"{low:g}-{high:g}"


def _table(head: str, rows: Sequence[tuple[str, ...]]) -> list[str]:
    if not rows:
        return []
    line = "|" + "---|" * (head.count("|") - 1)
    return [head, line, *("| " + " | ".join(map(_cell, row)) + " |" for row in rows)]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def settings_page() -> str:
    """Every setting with its type, its default and its variable."""
    said = [str(HEADS["settings"]), ""]
    forms: dict[str, Any] = {
        "": settings_form.FileForm, "chat": settings_form.ChatForm,
        "cluster": settings_form.ClusterForm, "endpoints.NAME": settings_form.EndpointForm,
    }  # fmt: skip
    for table, form in forms.items():
        said += [f"## {f'[{table}]' if table else HEADS['first']}", ""]
        rows = [
            (f"`{name}`", str(SETTINGS[f"{table}.{name}".lstrip(".")]), _shape(field),
             _variable(name, table))
            for name, field in form.model_fields.items()
            if table or name not in settings_form.TABLES
        ]  # fmt: skip
        said += [*_table(str(HEADS["setting"]), rows), ""]
    return "\n".join(said).rstrip() + "\n"


def _shape(field: Any) -> str:
    """Type and bounds of a setting."""
    bounds = {type(one).__name__: one for one in field.metadata}
    if "Ge" in bounds or "Gt" in bounds:
        low = bounds.get("Ge") or bounds["Gt"]
        high = getattr(bounds.get("Le"), "le", None)
        least = getattr(low, "ge", getattr(low, "gt", None))
        return _range(least, high) if "Ge" in bounds else _open(least, high)
    kind = str(field.annotation)
    if "Literal" in kind:
        return " ".join(f"`{one}`" for one in re.findall(r"'(\w+)'", kind))
    for name, text in HEADS.items():
        if name.startswith("kind-") and name.removeprefix("kind-") in kind:
            return str(text)
    return str(HEADS["kind-str"])


def _open(low: float | None, high: float | None) -> str:
    return f"> {low:g}" if high is None else f"> {low:g}, ≤ {high:g}"


def _variable(name: str, table: str) -> str:
    if table:
        return "`REDLOOM_CLUSTER`" if (table, name) == ("cluster", "address") else ""
    variable = "REDLOOM_HOME" if name == "workspace" else f"REDLOOM_{name.upper()}"
    default = settings.DEFAULTS.get(name)
    return f"`{variable}`" + ("" if default is None else f" (`{default}`)")


def library() -> str:
    """Every public name with its signature and its docstring."""
    said = [HEADS["library"].en, ""]
    for title, modules in LIBRARY:
        said += [f"## {title.en}", ""]
        for module, names in modules.items():
            if module == "errors":
                said += _errors()
                continue
            tree = ast.parse(_file(module).read_text("utf-8"))
            said += _intro(tree, module) if names is None else []
            for node in _wanted(tree, names):
                said += _entry(node, module)
    return "\n".join(said).rstrip() + "\n"


def _errors() -> list[str]:
    """The tree of errors, and what each carries."""
    found = list(_below(errors.RedloomError))
    rows = [
        (f"`{one.__name__}`", f"`{one.code}`", one.spent, str(one.exit_status), _inline(one))
        for one in found
    ]
    said = "`redloom.errors`. Each has `code`, `spent`, `text` (both languages), `service_code`; "
    said += "`str(error)` speaks the language in force."
    return [said, "", *_table(HEADS["error"].en, rows), ""]


def _below(root: type[errors.RedloomError]) -> Iterator[type[errors.RedloomError]]:
    yield root
    for one in root.__subclasses__():
        if one.__module__ == errors.__name__:
            yield from _below(one)


def _inline(kind: type) -> str:
    return _flat((kind.__doc__ or "").replace("\n\n", " "))


def _file(module: str) -> Path:
    return SOURCE / f"{module}.py"


def _intro(tree: ast.Module, module: str) -> list[str]:
    first = (ast.get_docstring(tree) or "").split("\n\n")[0]
    return [f"`redloom.{module}`: {_flat(first)}", ""]


def _wanted(tree: ast.Module, names: str | None) -> list[Node]:
    known = {one.name: one for one in tree.body if isinstance(one, Node)}
    if names is not None:
        return [known[name] for name in names.split()]
    return [one for name, one in known.items() if not name.startswith("_")]


def _entry(node: Node, module: str) -> list[str]:
    """One class or function."""
    said = [f"### {node.name}", "", f"`redloom.{module}.{node.name}`{_bases(node)}", ""]
    if not isinstance(node, ast.ClassDef):
        return [*said, *_code(node), _doc(node), ""]
    for maker in node.body:
        if isinstance(maker, ast.FunctionDef) and maker.name == "__init__":
            said += _code(maker, node.name)
    said += [_doc(node), ""]
    fields = _fields(node)
    if fields:
        said += [*_table(HEADS["field"].en, fields), ""]
    for method in _methods(node):
        said += [*_code(method), _doc(method), ""]
    return said


def _bases(node: Node) -> str:
    bases = [ast.unparse(one) for one in getattr(node, "bases", ())]
    kept = [one for one in bases if one != "Protocol"]
    return f", of `{'`, `'.join(kept)}`" if kept else ""


def _methods(node: ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for one in node.body:
        if not isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if not one.name.startswith("_") and ast.get_docstring(one):
            yield one


def _fields(node: ast.ClassDef) -> list[tuple[str, str, str]]:
    """The annotated fields of a record, each with the string that follows it."""
    found = []
    for at, one in enumerate(node.body):
        if isinstance(one, ast.AnnAssign) and not ast.unparse(one.target).startswith("_"):
            after = node.body[at + 1] if at + 1 < len(node.body) else None
            said = _string(after) or FIELDS.get(ast.unparse(one.target), "")
            kind = ast.unparse(one.annotation).replace("'", '"')
            default = "" if one.value is None else f" = {_short(ast.unparse(one.value))}"
            found.append((f"`{ast.unparse(one.target)}`", f"`{kind}{default}`", said))
    return found


def _short(value: str) -> str:
    """A default as a reader would say it."""
    call = ast.parse(value, mode="eval").body
    if not (isinstance(call, ast.Call) and ast.unparse(call.func) == "field"):
        return value
    given = {one.arg: one.value for one in call.keywords}
    if "default" in given:
        return ast.unparse(given["default"])
    made = given["default_factory"]
    if isinstance(made, ast.Lambda):
        return ast.unparse(made.body)
    return {"dict": "{}", "list": "[]"}.get(ast.unparse(made), f"{ast.unparse(made)}()")


def _string(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return _flat(str(node.value.value))
    return ""


def _code(node: ast.FunctionDef | ast.AsyncFunctionDef, name: str = "") -> list[str]:
    """A signature in a block of its own, an argument a line where it is long."""
    returns = "" if node.returns is None else f" -> {ast.unparse(node.returns)}"
    if any(ast.unparse(one) == "property" for one in node.decorator_list):
        return ["```py", f"{node.name}{returns.replace(' ->', ':')}", "```", ""]
    word = "" if name else "async def " if isinstance(node, ast.AsyncFunctionDef) else "def "
    head, tail = f"{word}{name or node.name}(", f"){'' if name else returns}"
    args = [one for one in _arguments(node.args) if one != "self"]
    line = f"{head}{', '.join(args)}{tail}"
    if len(line) > LINE:
        line = "\n".join([head, *(f"    {one}," for one in args), tail])
    return ["```py", line, "```", ""]


def _arguments(args: ast.arguments) -> list[str]:
    """Each argument as it is declared."""
    plain = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(plain) - len(args.defaults)) + list(args.defaults)
    said = [_declared(*pair) for pair in zip(plain, defaults, strict=True)]
    if args.vararg:
        said.append(f"*{_declared(args.vararg, None)}")
    elif args.kwonlyargs:
        said.append("*")
    said += [_declared(*pair) for pair in zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    return said + ([f"**{_declared(args.kwarg, None)}"] if args.kwarg else [])


def _declared(arg: ast.arg, default: ast.expr | None) -> str:
    kind = f": {ast.unparse(arg.annotation)}" if arg.annotation else ""
    return f"{arg.arg}{kind}" + (f" = {ast.unparse(default)}" if default is not None else "")


def _doc(node: Node) -> str:
    text = ast.get_docstring(node) or ""
    return "\n\n".join(_flat(part) for part in text.split("\n\n"))


def _flat(text: str) -> str:
    """A docstring's paragraph as Markdown: names in backquotes stay, double ones become single."""
    if text.lstrip().startswith("- ") or re.search(r"::$", text):
        return text.replace("``", "`")
    return re.sub(r"\s+", " ", text.replace("``", "`")).strip()


def write(report: Callable[[str], None] = print) -> None:
    """Put every page in its place."""
    for path, text in pages():
        path.write_text(text, "utf-8")
        report(f"{path.relative_to(ROOT)}: {len(text.splitlines())} lines")


if __name__ == "__main__":
    write()
