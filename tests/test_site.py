"""The site of the documentation: it is built without a warning, and nothing is fetched to read it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from test_docs import PAGES, ROOT, tool

pytestmark = pytest.mark.slow
_ASSET = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=[\"']?(https?:)?//")


def build(project: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """`mkdocs build --strict`, as `make docs` does it."""
    line = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(site)]
    return subprocess.run(line, cwd=project, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_there_in_its_language(site: Path) -> None:
    """Each page of the repository is a page of the site, which says which language it is in."""
    moved = tool("site").MOVED
    for page in PAGES:
        name = moved.get(str(page.relative_to(ROOT)), page.name)
        built = (site / name).with_suffix(".html").read_text("utf-8")
        lang = "zh-CN" if ".zh-CN." in name else "en"
        assert f'<html lang="{lang}"' in built, name


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    """Scripts, styles, faces and pictures come with the site: it is read without a network."""
    for page in site.rglob("*.html"):
        assert _ASSET.search(page.read_text("utf-8")) is None, page.name
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\s*[\"']?https?:|@import", style.read_text("utf-8")), style


def test_chinese_is_found_by_its_words(site: Path) -> None:
    """The search index parts Chinese into words, which its search looks for."""
    index = json.loads((site / "search" / "search_index.json").read_text("utf-8"))
    words = {
        word
        for entry in index["docs"]
        if entry["location"].startswith("batch.zh-CN")
        for word in re.split(r"[\s\u200b，。]+", entry["text"])
    }
    assert {"预算", "端点", "文件夹"} <= words


def test_a_broken_link_and_a_page_left_out_stop_the_build(tmp_path: Path) -> None:
    """`make docs` does not pass over a link to nowhere or a page that no list names."""
    for name in ("mkdocs.yml", "README.md", "README.zh-CN.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    for page in (*ROOT.glob("CONTRIBUTING*.md"), ROOT / "SECURITY.md"):
        shutil.copy(page, tmp_path)
    for name in ("docs", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "docs" / "lost.md").write_text("# Lost\n\n[nowhere](no-such-page.md)\n", "utf-8")
    done = build(tmp_path, tmp_path / "built")
    assert done.returncode != 0
    assert "no-such-page.md" in done.stderr + done.stdout
    assert "lost.md" in done.stderr + done.stdout
