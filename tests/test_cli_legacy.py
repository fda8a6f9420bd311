"""RedBookContentGen's command line: every option understood, said in today's words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from redloom.cli.legacy import translated
from redloom.errors import BadInput

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([], ["note", "input/input_content.txt", "--images", "0"]),
        (
            ["s.txt", "--image-mode", "template"],
            ["note", "s.txt", "--images", "0", "--writer", "local"],
        ),
        (["--skip-images"], ["note", "input/input_content.txt", "--images", "0"]),
        (
            ["s.txt", "--image-mode", "api", "--async-mode", "--max-concurrent", "5"],
            ["note", "s.txt", "--endpoint", "dashscope"],
        ),
        (
            ["s.txt", "--image-mode", "api", "--provider", "volcengine", "--style", "ink_wash"],
            ["note", "s.txt", "--endpoint", "ark", "--style", "中国水墨"],
        ),
    ],
)
def test_options_are_mapped(old: list[str], new: list[str]) -> None:
    """Mode, provider, style, story; concurrency is the quota's now."""
    assert translated(old, {}) == new


def test_its_settings_count(tmp_path: Path) -> None:
    """Mode and story come from the settings file where the command line is silent."""
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"image_generation_mode": "api", "input_file": "${STORY:tale.txt}"}))
    assert translated(["-c", str(path)], {}) == [
        "note",
        "tale.txt",
        "--config",
        str(path),
        "--endpoint",
        "dashscope",
    ]


@pytest.mark.parametrize("old", [["--mode", "topic", "--topic", "x"], ["-c", "none.json"]])
def test_what_has_no_successor_says_so(old: list[str]) -> None:
    """Scraping is gone; a settings file that is named must be there."""
    with pytest.raises(BadInput):
        translated(old, {})


def test_run_py_makes_a_note(tmp_path: Path) -> None:
    """`python run.py` prints the new command and carries it out."""
    (tmp_path / "s.txt").write_text("一个故事。\n\n在胡同里走了一下午，遇见一只猫。", "utf-8")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LC_ALL": "zh_CN.UTF-8",
        "PYTHONUTF8": "1",
    }
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), "s.txt", "--image-mode", "template", "--async-mode"],
        cwd=tmp_path, env=environ, capture_output=True, encoding="utf-8", timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "redloom note s.txt --images 0 --writer local" in done.stderr
    assert (tmp_path / "out" / "s" / "01-cover.png").exists()
