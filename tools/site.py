"""The site's hooks: the pages as they lie in the repository, fitted together for mkdocs.

The Markdown is written for people who read it where the code is hosted. Here the root's pages join
those of docs/, links follow them, what they link to outside both comes along as a file, and the
search index of the Chinese pages is parted into words.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable
from pathlib import Path

import rjieba
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
MOVED = {
    "README.md": "index.md",
    "README.zh-CN.md": "index.zh-CN.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "CONTRIBUTING.zh-CN.md": "contributing.zh-CN.md",
    "SECURITY.md": "reporting.md",
    "docs/README.md": "guides.md",
}
"""Where pages of the repository stand in the site, apart from those that stay in docs/."""
CAME_FROM = {there: here for here, there in MOVED.items()}
FURNITURE = {
    '<html lang="en"': '<html lang="zh-CN"',
    "Table of contents": "本页目录",
    "Back to top": "回到顶部",
}
"""What the theme says on a Chinese page."""
STYLE = """:root, [data-md-color-scheme] { --md-primary-fg-color: #b3302a; --md-primary-fg-color--dark: #8f2420;
  --md-typeset-a-color: #b3302a; }
[data-md-color-scheme="slate"] { --md-typeset-a-color: #ff8a80; }
:root { --md-text-font: system-ui, "PingFang SC", "Noto Sans SC", "Microsoft YaHei", sans-serif; }
.md-typeset table:not([class]) { font-size: .68rem; }
.md-grid { max-width: 68rem; }
"""
_LINK = re.compile(r"(\]\()([^)#\s:]+)((?:#[^)\s]*)?\))")
_NAMED = re.compile(r"^```(\w+) file=(\S+)$", re.MULTILINE)
_ITEM = re.compile(r"^ *(?:[-*+]|\d+\.) ")
_CODE = re.compile(r"`[^`]*`")
_HAN = re.compile(r"[\u3400-\u9fff]{2,}")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """A page that docs/README.md lists and mkdocs.yml gives no place stands at the end."""
    told = json.dumps(config.nav)
    for name in re.findall(
        r"\]\(([\w.-]+\.md)\)", (ROOT / "docs" / "README.md").read_text("utf-8")
    ):
        if f'"{name}"' not in told and config.nav:
            last = config.nav[-1]
            next(iter(last.values())).append(name)
            told = json.dumps(config.nav)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the root's pages, the style, and every file that a page links to outside docs/."""
    readme = files.get_file_from_path("README.md")
    if readme is not None:
        files.remove(readme)
    for here, there in MOVED.items():
        text = (ROOT / here).read_text("utf-8")
        files.append(File.generated(config, there, content=text))
    files.append(File.generated(config, "site.css", content=STYLE))
    for page in files.documentation_pages():
        for outside in sorted(_outside(page)):
            if files.get_file_from_path(_shown(outside)) is None:
                data = (ROOT / outside).read_bytes()
                files.append(File.generated(config, _shown(outside), content=data))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as the site has them, and Markdown as this reader wants it."""
    home = posixpath.dirname(_home(page.file.src_uri))
    to = posixpath.dirname(page.file.src_uri)

    def moved(link: re.Match[str]) -> str:
        there = _there(posixpath.normpath(posixpath.join(home, link[2])))
        return f"{link[1]}{posixpath.relpath(there, to or '.')}{link[3]}"

    return _outside_fences(
        _NAMED.sub(r'```\1 title="\2"', markdown),
        lambda text: _as_read_here(_LINK.sub(moved, text)),
    )


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """The page's own language: it decides which faces draw its characters."""
    if not page.file.src_uri.endswith(".zh-CN.md"):
        return output
    for here, there in FURNITURE.items():
        output = output.replace(here, there)
    return output


def on_post_build(config: MkDocsConfig) -> None:
    """Part the Chinese of the search index into words."""
    index = Path(config.site_dir) / "search" / "search_index.json"
    found = json.loads(index.read_text("utf-8"))
    for entry in found["docs"]:
        for name in ("title", "text"):
            entry[name] = _HAN.sub(_parted, entry[name])
    index.write_text(json.dumps(found, ensure_ascii=False, separators=(",", ":")), "utf-8")


def _parted(match: re.Match[str]) -> str:
    return "\u200b".join(rjieba.cut(match[0]))


def _home(src_uri: str) -> str:
    """Where a page of the site lies in the repository."""
    return CAME_FROM.get(src_uri, f"docs/{src_uri}")


def _there(path: str) -> str:
    """Where a file of the repository stands in the site."""
    if path in MOVED:
        return MOVED[path]
    return path.removeprefix("docs/") if path.startswith("docs/") else _shown(path)


def _shown(path: str) -> str:
    """A source file comes along as text, so that a browser shows it."""
    name = path if path.endswith((".png", ".jpg", ".svg", ".txt")) else f"{path}.txt"
    return f"files/{name.lstrip('.')}"


def _outside(page: File) -> set[str]:
    """What a page links to that is neither in docs/ nor one of the root's pages."""
    home = posixpath.dirname(_home(page.src_uri))
    paths = {
        posixpath.normpath(posixpath.join(home, link[1]))
        for link in _LINK.findall(page.content_string)
    }
    apart = {one for one in paths if one not in MOVED and not one.startswith("docs/")}
    return {one for one in apart if (ROOT / one).is_file()}


def _outside_fences(text: str, change: Callable[[str], str]) -> str:
    """`change` for what does not stand in a fenced block."""
    parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(one if one.startswith("```") else change(one) for one in parts)


def _as_read_here(text: str) -> str:
    """A blank line before each list, nested items four blanks in, bars in tables' code bare."""
    lines: list[str] = []
    for line in text.split("\n"):
        before = lines[-1] if lines else ""
        item = _ITEM.match(line)
        if item and before.strip() and not _ITEM.match(before) and not before.startswith(" "):
            lines.append("")
        if item and line.startswith("  ") and not line.startswith("    "):
            line = "  " + line
        if line.startswith("|"):  # a bar inside code needs no backslash here
            line = _CODE.sub(lambda code: code[0].replace("\\|", "|"), line)
        lines.append(line)
    return "\n".join(lines)
