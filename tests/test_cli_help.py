"""The command line's outer shape: quick help, two languages, exit statuses, no tracebacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from redloom.cli import cli
from redloom.cli.group import _within
from redloom.cli.table import COMMANDS, present
from redloom.errors import DiskFull

HEAVY = (
    "aiohttp",
    "PIL",
    "typst",
    "rich",
    "pydantic",
    "markdown_it",
    "budoux",
    "rjieba",
    "sqlite3",
    "asyncio",
)


def run(*words: str, text: str | None = None) -> Result:
    """Call the command in this process."""
    return CliRunner().invoke(cli, list(words), input=text)


def shell(folder: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Call the command as a person does, with an environment of nothing but what is given."""
    base = {"PATH": os.environ["PATH"], "HOME": str(folder), "REDLOOM_HOME": str(folder / "ws")}
    return subprocess.run(
        [sys.executable, "-m", "redloom", *words],
        cwd=folder, env={**base, **environ}, capture_output=True, encoding="utf-8", timeout=60,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def test_help_imports_nothing_heavy() -> None:
    """`redloom --help` pays for click alone."""
    code = (
        "import sys\nfrom redloom.cli import cli\n"
        "try: cli.main(['--help'])\nexcept SystemExit as end: assert end.code == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("locale", "word"), [("zh_CN.UTF-8", "命令"), ("en_US.UTF-8", "Commands"), ("C", "Commands")]
)
def test_help_speaks_the_locale(tmp_path: Path, locale: str, word: str) -> None:
    """Chinese where the locale says Chinese, else English."""
    done = shell(tmp_path, "--help", LC_ALL=locale, PYTHONUTF8="1")
    assert done.returncode == 0
    assert word in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("--lang", "zh", "note", "--help"),
        ("note", "--help", "--lang", "zh"),
        ("note", "--lang=zh", "--help"),
    ],
)
def test_lang_is_heard_anywhere(words: tuple[str, ...]) -> None:
    """--lang before or after the command, before or after --help."""
    done = run(*words)
    assert done.exit_code == 0
    assert "通用选项" in done.output
    assert "Options" not in done.output


def test_every_command_has_help_in_both_languages() -> None:
    """Each present command loads, and each of its options says something in each language."""
    for name in present():
        english, chinese = run(name, "--help"), run(name, "--help", "--lang", "zh")
        assert english.exit_code == chinese.exit_code == 0, name
        assert not any("\u4e00" <= c <= "\u9fff" for c in english.output), name
        assert "选项" in chinese.output, name


def test_help_lists_what_is_there() -> None:
    """The help lists the commands whose modules exist, and no other."""
    listed = run("--help").output
    for name in present():
        assert f"  {name} " in listed
    for name in set(COMMANDS) - set(present()):
        assert f"  {name} " not in listed


def test_no_command_shows_help() -> None:
    """`redloom` alone is no mistake."""
    done = run()
    assert done.exit_code == 0
    assert "redloom note" in done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nota",), "note"),
        (("note", "x.txt", "--offlin"), "--offline"),
        (("note",), "SOURCE"),
        (("note", "x.txt", "--ar", "2:1"), "3:4, 1:1, 4:3"),
        (("note", "x.txt", "--images", "99"), "from 0 to 9"),
        (("note", "x.txt", "--images", "many"), "number"),
        (("note", "x.txt", "--out"), "--out"),
        (("note", "a.txt", "b.txt"), "extra argument"),
        (("export", "dir"), "--for"),
        (("--nonsense",), "--nonsense"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_2(words: tuple[str, ...], said: str) -> None:
    """What is wrong, what may be meant, where the help is."""
    done = run(*words)
    assert done.exit_code == 2
    assert said in done.output
    assert "--help" in done.output
    assert "Traceback" not in done.output
    chinese = run("--lang", "zh", *words)
    assert chinese.exit_code == 2
    assert any("\u4e00" <= c <= "\u9fff" for c in chinese.stderr)


def test_wrong_files_are_one_sentence_and_exit_2(tmp_path: Path) -> None:
    """A missing story, a folder, bytes that are no text, a bad settings file."""
    (tmp_path / "photo.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9)
    (tmp_path / "bad.toml").write_text("retires = 3")
    (tmp_path / "story.txt").write_text("一个故事。")
    for words in (
        ("note", str(tmp_path / "none.txt")),
        ("note", str(tmp_path)),
        ("note", str(tmp_path / "photo.txt"), "--offline"),
        ("config", "--config", str(tmp_path / "bad.toml")),
        ("config", "--config", str(tmp_path / "none.toml")),
        ("note", str(tmp_path / "story.txt"), "--endpoint", "nobody", "--writer", "local"),
        ("note", str(tmp_path / "story.txt"), "--endpoint", "dashscope", "--writer", "local"),
        ("note", str(tmp_path / "story.txt"), "--writer", "llm"),
        ("note", str(tmp_path / "story.txt"), "--writer", "poe"),
        ("note", str(tmp_path / "story.txt"), "--pages", "x"),
        ("redo", str(tmp_path)),
        ("export", str(tmp_path), "--for", "zip"),
        ("emulate", "nobody"),
    ):
        done = run(*words)
        assert done.exit_code == 2, (words, done.output)
        assert done.stderr.rstrip().endswith("]"), words
        assert done.stderr.count("\n") <= 3, words


def test_an_accident_leaves_a_log_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours: one sentence, exit 1, the traceback in the workspace; shown if asked for."""
    import redloom.typeset.theme

    def broken() -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(redloom.typeset.theme, "themes", broken)
    done = run("themes")
    assert done.exit_code == 1
    assert "Traceback" not in done.output
    (log,) = (tmp_path / "workspace" / "logs").iterdir()
    assert "ZeroDivisionError: a bug" in log.read_text("utf-8")
    assert log.name in done.output
    assert "Traceback" in run("themes", "--verbose").output


def test_an_interruption_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends in 130, with a word on how to go on."""
    import redloom.typeset.theme

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(redloom.typeset.theme, "themes", interrupted)
    done = run("themes")
    assert done.exit_code == 130
    assert "Traceback" not in done.output


def test_a_closed_pipe_is_quiet(tmp_path: Path) -> None:
    """`redloom config | true` says nothing on stderr."""
    line = f"{sys.executable} -m redloom --help | true; {sys.executable} -m redloom config | true"
    environ = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        line, shell=True, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_json_keeps_stdout_clean(tmp_path: Path) -> None:
    """With --json every line on stdout is an object, wherever the flag stands."""
    for words in (
        ("--json", "config"),
        ("config", "--json"),
        ("themes", "--json"),
        ("models", "--json"),
        ("doctor", "--json"),
    ):
        done = run(*words)
        assert done.exit_code == 0, done.output
        lines = done.stdout.splitlines()
        assert lines
        assert all(isinstance(json.loads(line), dict) for line in lines), words


def test_config_masks_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key itself is nowhere in the output; its source is."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-test-secretsecret-9876")
    for words in (("config",), ("config", "--json"), ("models",), ("doctor", "--offline")):
        done = run(*words)
        assert done.exit_code == 0
        assert "secretsecret" not in done.output
    assert "****9876" in run("config").output
    assert "environment DASHSCOPE_API_KEY" in run("config").output


def test_doctor_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key: the variable is named, and it is no error; a clock set wrong is one."""
    done = run("doctor")
    assert done.exit_code == 0
    assert "dashscope DASHSCOPE_API_KEY" in done.output
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-x")
    monkeypatch.setenv("REDLOOM_CLOCK_SPEED", "20")
    monkeypatch.setenv("REDLOOM_CLOCK_START", "1")
    done = run("doctor", "--offline")
    assert done.exit_code == 2
    assert "REDLOOM_CLOCK_SPEED" in done.output


def test_one_error_of_several_tasks_is_said_as_itself() -> None:
    """A full disk that ends a server's tasks is a full disk, not a bug; two faults together are."""
    full = DiskFull("磁盘满了", "the disk is full")
    group = ExceptionGroup("tasks", [ExceptionGroup("inner", [full])])
    assert _within(group) is full
    assert _within(ExceptionGroup("tasks", [full, OSError()])) is None
    assert _within(ValueError()) is None
