"""The bundle for a bug report: all that helps, nothing that is anybody's secret."""

from __future__ import annotations

import io
import json
import zipfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from helpers.desk import engine
from redloom.cli import cli
from redloom.cli.bundle import Scrubber, told
from redloom.errors import Refused
from redloom.testing import FakeProvider, JumpingClock, fake_endpoint, run

KEY = "plainSentinel0of0no0known0shape00"
TOKEN = "tokenSentinel0e4da3b7fbbce2345d77"
ACCOUNT = "acme-sentinel-account"
WORDS = "a secret recipe of grandmother"
TOML = f"""
[endpoints.mine]
provider = "dashscope"
account = "{ACCOUNT}"
api_key_env = "MINE_KEY"
"""


def command(*words: str) -> tuple[int, str]:
    """The command in this process: its status, what it said."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out), pytest.raises(SystemExit) as ended:
        cli.main(list(words))
    return int(ended.value.code or 0), out.getvalue()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with a key, an account, a run with a refused row, a log and an accident."""
    monkeypatch.setenv("MINE_KEY", KEY)
    monkeypatch.setenv("SOME_OTHER_TOKEN", TOKEN)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "redloom.toml").write_text(TOML)
    clock = JumpingClock()
    no = Refused(f"{WORDS} 不行", f"{WORDS} will not do")
    fake = FakeProvider(clock.now, script=lambda asked, _number: no if WORDS in asked.prompt else "made")  # fmt: skip

    async def go() -> None:
        async with engine(tmp_path / "x", (fake_endpoint(), fake), clock=clock) as one:
            await one.generate([WORDS, "a cup"])
            one.workspace.root.rename(tmp_path / "workspace")

    run(go())
    logs = tmp_path / "workspace" / "logs"
    logs.mkdir()
    (logs / "redloom.log").write_text(
        f"2026-11-24 20:00:00,000 WARNING redloom: key {KEY} of {ACCOUNT} at https://u:{TOKEN}@h.example/x?sig={TOKEN}\n"
        f"2026-11-24 20:00:01,000 ERROR redloom: about {WORDS}\n"
        f'Traceback (most recent call last):\n  File "{tmp_path}/a.py", line 1, in f\n'
        "ValueError: the whole story of somebody\n"
    )
    (logs / "error-1.log").write_text(f"redloom 0\n\nKeyError: '{KEY}'\n")
    return tmp_path


def opened(path: Path) -> dict[str, str]:
    """The texts in a bundle."""
    with zipfile.ZipFile(path) as archive:
        return {
            name.removeprefix("redloom-bundle/"): archive.read(name).decode()
            for name in archive.namelist()
        }


def part(files: dict[str, str], name: str) -> Any:
    """A JSON part."""
    return json.loads(files[name])


def test_what_helps_is_in_it(folder: Path) -> None:
    """Versions, findings, settings, counts and codes of the journal, the log's end."""
    status, said = command("doctor", "--offline", "--bundle", "b.zip", "--lang", "en")
    assert status == 0, said
    assert str(folder / "b.zip") in said
    assert "journal.json" in said
    assert (folder / "b.zip").stat().st_mode & 0o777 == 0o600
    files = opened(folder / "b.zip")
    assert part(files, "about.json")["packages"]["aiohttp"] != "-"
    assert any(one["check"] == "workspace" for one in part(files, "doctor.json"))
    journal = part(files, "journal.json")
    assert journal["schema"] >= 3
    assert journal["rows"] == {"ok": 1, "refused": 1}
    (row,) = journal["runs"][0]["not_made"]
    assert (row["status"], row["code"], row["prompt"]) == ("refused", "refused", told(WORDS))
    assert journal["latest_tasks"][0]["endpoint"] == "fake"
    keys = {one["key"]: one["value"] for one in part(files, "settings.json")}
    assert keys["endpoints.mine.api_key"] == "set"
    assert keys["endpoints.mine.account"] == "set"
    assert "Traceback" in files["log.txt"]
    assert "ValueError: <" in files["log.txt"]


def test_what_is_secret_is_not(folder: Path) -> None:
    """No key of any shape, token, account, address's private part, prompt, home; in no part."""
    command("doctor", "--offline", "--bundle", "b.zip", "--lang", "en")
    whole = "\n".join(opened(folder / "b.zip").values())
    for secret in (KEY, TOKEN, ACCOUNT, WORDS, "the whole story", str(folder), KEY[-4:] + '"'):
        assert secret not in whole, secret
    assert "https://h.example/x" in whole
    assert "~/workspace" in whole
    assert "about <30 characters" in whole


def test_prompts_only_when_asked(folder: Path) -> None:
    """--with-prompts: the words are in it, the keys still are not; it says so in both languages."""
    _, said = command("doctor", "--offline", "--bundle", "b.zip", "--with-prompts", "--lang", "zh")
    assert "提示词在" in said
    files = opened(folder / "b.zip")
    assert WORDS in files["journal.json"]
    assert "the whole story" in files["log.txt"]
    assert KEY not in "\n".join(files.values())
    assert "问题包" in files["README.txt"]
    status, said = command("doctor", "--offline", "--with-prompts")
    assert (status, "[bad-input]" in said) == (2, True)


def test_where_it_goes(folder: Path) -> None:
    """A name of its own without FILE or for a folder; never over a file or through a link."""
    status, said = command("doctor", "--bundle", "--offline", "--lang", "en", "--json")
    assert status == 0
    (made,) = folder.glob("redloom-bundle-*.zip")
    assert '"event": "bundle"' in said
    (folder / "there.zip").write_text("mine")
    status, said = command("doctor", "--offline", "--bundle", "there.zip")
    assert (status, "[would-overwrite]" in said) == (2, True)
    (folder / "link.zip").symlink_to(folder / "victim")
    assert command("doctor", "--offline", "--bundle", "link.zip")[0] == 2
    assert not (folder / "victim").exists()
    (folder / "sub").mkdir()
    assert command("doctor", "--offline", "--bundle", "sub")[0] == 0
    assert list((folder / "sub").glob("redloom-bundle-*.zip"))
    assert "[disk]" in command("doctor", "--offline", "--bundle", "no/such/b.zip")[1]
    assert made.is_file()


def test_a_damaged_journal_costs_only_its_part(folder: Path) -> None:
    """Whoever needs help most has a damaged journal: the rest is there, the journal untouched."""
    journal = folder / "workspace" / "journal.db"
    for side in folder.glob("workspace/journal.db-*"):
        side.unlink()
    journal.write_bytes(b"not a database" * 100)
    status, said = command("doctor", "--offline", "--bundle", "b.zip")
    assert status in (0, 2), said
    files = opened(folder / "b.zip")
    assert "DatabaseError" in files["journal.json"]
    assert part(files, "about.json")["redloom"]
    assert journal.read_bytes() == b"not a database" * 100


def test_no_workspace_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a fresh machine there is a bundle, and no workspace after it."""
    monkeypatch.chdir(tmp_path)
    assert command("doctor", "--offline", "--bundle", "b.zip")[0] == 0
    assert not (tmp_path / "workspace").exists()


def test_the_longer_secret_first() -> None:
    """A key inside another leaves no rest."""
    scrubber = Scrubber(secrets=["abcdefgh-long", "abcdefgh"])
    assert scrubber.text("abcdefgh-long abcdefgh") == "*** ***"
    assert scrubber.data({"a": ["abcdefgh", 7]}) == {"a": ["***", 7]}
