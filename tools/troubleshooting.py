"""The error codes of the troubleshooting pages: ``python tools/troubleshooting.py``.

Collects from the sources every code of our own that a message, a manifest or a report can show, and
from the providers' tables every code of a service and what we take it to mean. The second list is
written between the markers ``<!-- services -->`` of docs/troubleshooting*.md. A test holds both
lists to the pages, so that no code is ever missing there.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "redloom"
PAGES = {
    "en": ROOT / "docs" / "troubleshooting.md",
    "zh": ROOT / "docs" / "troubleshooting.zh-CN.md",
}
HEADS = {"en": ("service", "here", "its own codes"), "zh": ("服务", "这里的代码", "它自己的代码")}
ELSEWHERE = ("emulators", "bench", "conformance", "studio", "typeset", "testing.py", "traces.py")
"""What never names an outcome; the studio's own codes are HTTP's."""
OF_KIND = {
    **dict.fromkeys(("rate", "burst", "concurrency", "quota", "congestion"), "throttled"),
    **dict.fromkeys(("content", "output"), "content-refused"),
    "refused": "refused", "key": "key-refused", "empty": "account-empty", "closed": "not-allowed",
    "unavailable": "unavailable", "lost": "answer-lost", "failed": "task-failed",
}  # fmt: skip
"""The code of the error that a kind in a provider's table becomes."""
TABLES = (
    ("DashScope", "_dashscope_errors", "CODES"),
    ("OpenAI", "_openai_errors", "OPENAI"),
    ("Azure", "_openai_errors", "AZURE"),
    ("Zhipu", "_openai_errors", "ZHIPU"),
    ("MiniMax", "_openai_errors", "MINIMAX"),
    ("SiliconFlow", "_openai_errors", "SILICONFLOW"),
    ("OpenRouter", "_openai_errors", "OPENROUTER"),
    ("Relays", "_openai_errors", "RELAY"),
    ("Ark", "_ark_errors", "CODES"),
    ("Gemini", "_gemini_errors", "CODES"),
    ("Gemini, a picture's end", "_gemini_errors", "FINISHES"),
    ("fal", "_fal_errors", "CODES"),
    ("Replicate", "_replicate_errors", "CODES"),
    ("ComfyUI", "_comfyui_errors", "CODES"),
)


def own_codes() -> set[str]:
    """Every code of our own."""
    found: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        if path.relative_to(SOURCE).parts[0] not in ELSEWHERE:
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                found.update(_codes_in(node))
    return found


def _codes_in(node: ast.AST) -> Iterator[str]:
    """The codes that one place in the source names."""
    match node:
        case ast.keyword(arg="code" | "service_code", value=code):
            yield from _texts(code)
        case ast.Assign(targets=[ast.Name(id="code")], value=code):
            yield from _texts(code)
        case ast.Call(func=ast.Attribute(attr="end_job"), args=[_, _, _, code, *_]):
            yield from _texts(code)


def _texts(value: ast.expr) -> Iterator[str]:
    """The texts that an expression may come to."""
    match value:
        case ast.Constant(value=str(text)) if text.strip("*"):
            yield text
        case ast.BoolOp(values=values):
            for one in values:
                yield from _texts(one)
        case ast.IfExp(body=body, orelse=orelse):
            yield from _texts(body)
            yield from _texts(orelse)
        case ast.Call(func=ast.Name(id="str"), args=[one]):
            yield from _texts(one)


def tables() -> Iterator[tuple[str, Mapping[str, str]]]:
    """Each service's name and its table, from a code to the kind that it is taken for."""
    for name, module, table in TABLES:
        found = importlib.import_module(f"redloom.providers.{module}")
        yield name, getattr(found, table)
    yield from _plain_tables()


def _plain_tables() -> Iterator[tuple[str, Mapping[str, str]]]:
    """The tables of providers that are one file: ``CODES``, from a code to (error, words)."""
    package = importlib.import_module("redloom.providers")
    for name in sorted(found.name for found in pkgutil.iter_modules(package.__path__)):
        if name.startswith("_"):
            continue
        module = importlib.import_module(f"{package.__name__}.{name}")
        if codes := getattr(module, "CODES", None):
            yield module.DEFAULTS.label.en, {code: kind.code for code, (kind, _) in codes.items()}


def services(lang: str) -> str:
    """The table of the services' own codes."""
    heads = HEADS[lang]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, table in tables():
        by_code: dict[str, list[str]] = defaultdict(list)
        for code, kind in table.items():
            by_code[OF_KIND.get(kind, kind)].append(f"`{code}`")
        lines += [f"| {name} | `{ours}` | {' '.join(said)} |" for ours, said in by_code.items()]
    return "\n".join([*lines, ""])


def put(page: str, text: str) -> str:
    """``page`` with ``text`` between the markers."""
    pattern = r"(<!-- services -->\n).*?(<!-- /services -->)"
    return re.sub(pattern, lambda found: found[1] + text + found[2], page, flags=re.DOTALL)


def main() -> None:
    """The script."""
    for lang, page in PAGES.items():
        page.write_text(put(page.read_text("utf-8"), services(lang)), "utf-8")


if __name__ == "__main__":
    main()
