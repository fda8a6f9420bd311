"""Codes: whatever goes wrong in a command or over HTTP, its code is said, and the page knows it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from redloom.cli import cli
from redloom.cli.table import present
from studio_rig import Rig, rig

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = [DOCS / "troubleshooting.md", DOCS / "troubleshooting.zh-CN.md"]
NEEDS = {
    "note": ["no-such-story.txt", "--offline"], "redo": ["no-such-note", "--page", "1", "--text", "x"],
    "export": ["no-such-note", "--for", "zip"], "batch": ["no-such.txt"], "show": ["no-such-run"],
    "pause": ["no-such-run"], "resume": ["no-such-run"], "cancel": ["no-such-run"], "retry": ["no-such-run"],
    "report": ["no-such-run"], "serve": ["--host", "0.0.0.0"], "audit": ["no-such-endpoint"],
    "cache": ["prune", "--older-than", "-1"], "themes": ["--no-such"], "models": ["no-such-endpoint"],
    "doctor": ["--with-prompts"], "emulate": ["no-such-provider"], "bench": ["--no-such"],
    "config": ["--config", "no-such.toml"], "runs": ["--config", "no-such.toml"], "probe": ["no-such-endpoint"],
}  # fmt: skip
"""For each command something that cannot be done."""


def command(*words: str) -> tuple[int, str]:
    """The command in this process: its status, what it said on standard error."""
    err = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        cli.main(list(words))
    return int(ended.value.code or 0), err.getvalue()


def known(code: str) -> bool:
    """Whether both pages have a line for the code."""
    return all(f"`{code}`" in page.read_text("utf-8") for page in PAGES)


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("name", present())
def test_every_command_says_its_code(
    name: str, lang: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be done, and an option that is not there: exit 2, a code that the pages know."""
    monkeypatch.chdir(tmp_path)
    for words in (NEEDS[name], ["--surely-not-an-option"]):
        status, said = command(name, *words, "--lang", lang)
        assert status == 2, said
        codes = re.findall(r"\[([a-z-]+)\]$", said, re.MULTILINE)
        assert codes, said
        assert all(known(code) for code in codes), said
        assert "Traceback" not in said


def test_an_unknown_command_and_a_fault_of_ours_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A word that is no command; an exception that nobody expected."""
    monkeypatch.setenv("REDLOOM_HOME", str(tmp_path / "ws"))
    assert "[usage]" in command("bacth", "--lang", "en")[1]

    def broken(*_args: object, **_more: object) -> None:
        raise RuntimeError("api_key=sk-abcdefghijklmnop was wrong")

    monkeypatch.setattr("redloom.cli.common.Common.settings", broken)
    status, said = command("config", "--lang", "en")
    assert (status, "[bug]" in said) == (1, True)
    assert "abcdefghijklmnop" not in said
    (log,) = (tmp_path / "ws" / "logs").iterdir()
    assert "abcdefghijklmnop" not in log.read_text("utf-8")
    assert log.stat().st_mode & 0o777 == 0o600
    assert known("bug")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A server."""
    with rig(tmp_path_factory.mktemp("codes") / "ws") as made:
        yield made


@pytest.mark.parametrize(("method", "path", "body", "status"), [
    ("GET", "/api/nope", None, 404), ("GET", "/api/runs/nope", None, 404), ("PUT", "/api/runs", {}, 405),
    ("POST", "/api/runs", {"prompts": 7}, 422), ("POST", "/v1/images/generations", {}, 422),
    ("POST", "/v1/images/generations", {"prompt": ""}, 422), ("GET", "/v1/images/tasks/nope", None, 404),
    ("GET", "/api/notes/nope", None, 404), ("POST", "/api/notes", {}, 422), ("GET", "/pictures/nope.png", None, 404),
    ("GET", "/api/previews/nope", None, 404), ("POST", "/api/uploads", {}, 422), ("GET", "/v1/nope", None, 404),
    ("POST", "/api/endpoints/nope/test", None, 404), ("DELETE", "/api/tokens/nope", None, 404),
])  # fmt: skip
def test_every_answer_that_is_an_error_has_its_code(
    served: Rig, method: str, path: str, body: object, status: int
) -> None:
    """One shape for all: a sentence, a code, whether money was spent."""
    answer = served.client.request(method, path, json=body)
    assert answer.status_code in (status, 400), answer.text
    error = answer.json()["error"]
    assert re.fullmatch(r"[a-z][a-z0-9_-]+", error["code"])
    assert error["message"]
    assert error["spent"] == "no"
