"""`note`, `redo` and `export` as commands: what they leave, say, spend, and refuse."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from redloom.cli import cli
from redloom.clock import SystemClock
from redloom.emulators.contract import serve_until_cancelled
from redloom.emulators.dashscope import Emulated, Emulator, ServiceTime
from redloom.emulators.ledger import read_ledger

STORY = "# 胡同里的下午\n\n鼓楼东大街往南，有一条很窄的胡同。修鞋的师傅每天三点泡一壶茶。\n\n## 三件小事\n\n- 带一壶茶\n- 听鸽哨\n- 看灯\n"


def run(*words: str, text: str | None = None) -> Result:
    """Call the command in this process."""
    return CliRunner().invoke(cli, list(words), input=text)


@pytest.fixture
def story(tmp_path: Path) -> Path:
    """A short story in a file."""
    path = tmp_path / "hutong.md"
    path.write_text(STORY, "utf-8")
    return path


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A DashScope stand-in on this machine, its address and key in the environment."""
    book = tmp_path / "ledger.jsonl"
    emulated = Emulated(
        latency=ServiceTime(0.02, 0.1, 0.01, 0.05),
        submit_per_second=0,
        ledger_path=book,
        picture_size="small",
    )
    loop = asyncio.new_event_loop()
    addresses: list[str] = []
    up = threading.Event()

    def ready(url: str) -> None:
        addresses.append(url)
        up.set()

    work = loop.create_task(serve_until_cancelled(Emulator(emulated, SystemClock()), ready))
    thread = threading.Thread(target=loop.run_until_complete, args=(asyncio.wait([work]),))
    thread.start()
    assert up.wait(10)
    monkeypatch.setenv("DASHSCOPE_BASE_URL", addresses[0])
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-emulated")
    yield SimpleNamespace(ledger=book, url=addresses[0])
    loop.call_soon_threadsafe(work.cancel)
    thread.join(10)
    loop.close()


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file in the folder with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_note_offline(story: Path, tmp_path: Path) -> None:
    """A whole note, exit 0; the same again changes no byte and says so."""
    out = tmp_path / "out"
    done = run("note", str(story), "--out", str(out), "--offline", "--json")
    assert done.exit_code == 0, done.output
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["event"] == "done"
    assert (out / "01-cover.png").exists()
    assert {"post.json", "title.txt", "titles.txt", "body.txt", "tags.txt", "preview.html"} <= set(
        files_of(out)
    )
    before = files_of(out)
    again = run("note", str(story), "--out", str(out), "--offline")
    assert again.exit_code == 0
    assert "Nothing changed" in again.output
    assert files_of(out) == before


def test_offline_reaches_for_no_network(
    story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With keys in the environment and every socket refused, --offline still makes the note."""
    import socket

    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-real")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-real")

    def refuse(*_args: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    done = run("note", str(story), "--out", str(tmp_path / "out"), "--offline")
    assert done.exit_code == 0, done.output


def test_a_story_from_standard_input(tmp_path: Path) -> None:
    """`-` reads the story from the pipe."""
    done = run("note", "-", "--out", str(tmp_path / "out"), "--offline", text=STORY)
    assert done.exit_code == 0, done.output


def test_no_key_makes_text_cards_and_says_so(story: Path, tmp_path: Path) -> None:
    """Without a key the note is still made; how to get pictures is said on stderr."""
    done = run("note", str(story), "--out", str(tmp_path / "out"))
    assert done.exit_code == 0
    assert "doctor" in done.stderr


def test_another_story_is_not_overwritten(story: Path, tmp_path: Path) -> None:
    """Another story into the same folder is exit 2, --overwrite keeps the old one in history."""
    out, other = tmp_path / "out", tmp_path / "other.txt"
    other.write_text("另一个故事。今天下雨，我们没有出门。")
    assert run("note", str(story), "--out", str(out), "--offline").exit_code == 0
    before = files_of(out)
    refused = run("note", str(other), "--out", str(out), "--offline")
    assert refused.exit_code == 2
    assert "would-overwrite" in refused.stderr
    assert files_of(out) == before
    assert run("note", str(other), "--out", str(out), "--offline", "--overwrite").exit_code == 0
    assert any((out / "history").rglob("01-cover.png"))


def test_a_dry_run_writes_and_sends_nothing(
    story: Path, tmp_path: Path, service: SimpleNamespace
) -> None:
    """Titles, number of pictures, price; no file, no request."""
    out = tmp_path / "out"
    done = run("note", str(story), "--out", str(out), "--dry-run", "--images", "2")
    assert done.exit_code == 0, done.output
    assert "Title:" in done.output
    assert "CNY" in done.output
    assert not out.exists()
    assert not (service.ledger.exists() and read_ledger(service.ledger).purchases)


def test_pictures_are_made_once(story: Path, tmp_path: Path, service: SimpleNamespace) -> None:
    """Through the engine to the stand-in: the price first, a picture each, none bought again."""
    out = tmp_path / "out"
    words = ("note", str(story), "--out", str(out), "--writer", "local", "--images", "1", "--yes")
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert "CNY" in done.stderr
    assert len(read_ledger(service.ledger).purchases) == 1
    assert run(*words).exit_code == 0
    assert run("redo", str(out), "--title", "换一个标题").exit_code == 0
    assert run(*words, "--theme", "memo", "--overwrite").exit_code in (0, 2)
    assert len(read_ledger(service.ledger).purchases) == 1
    assert "sk-emulated" not in "".join(str(data) for data in files_of(out).values())


def test_a_dear_note_is_asked_about(
    story: Path, tmp_path: Path, service: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above the set sum and nobody to ask: exit 2 and nothing bought."""
    monkeypatch.setenv("REDLOOM_ASK_ABOVE", "0.1")
    done = run(
        "note", str(story), "--out", str(tmp_path / "out"), "--writer", "local", "--images", "1"
    )
    assert done.exit_code == 2, done.output
    assert "--yes" in done.stderr
    assert not (service.ledger.exists() and read_ledger(service.ledger).purchases)


def test_a_budget_in_another_currency(
    story: Path, tmp_path: Path, service: SimpleNamespace
) -> None:
    """A budget that cannot be compared with the price is exit 2 without --yes."""
    done = run(
        "note", str(story), "--out", str(tmp_path / "o"), "--writer", "local", "--images", "1", "--budget", "5USD"
    )  # fmt: skip
    assert done.exit_code == 2, done.output
    assert "USD" in done.stderr


def test_redo_changes_one_card(story: Path, tmp_path: Path) -> None:
    """New words on page 2: the other pictures keep every byte, the old version is kept."""
    out = tmp_path / "out"
    assert run("note", str(story), "--out", str(out), "--offline").exit_code == 0
    before = files_of(out)
    done = run("redo", str(out), "--page", "2", "--text", "新的一段话，只有一句。")
    assert done.exit_code == 0, done.output
    after = files_of(out)
    assert after["01-cover.png"] == before["01-cover.png"]
    assert any(name.startswith("history/") and name.endswith(".png") for name in after)
    assert run("redo", str(out)).exit_code == 2
    assert run("redo", str(out), "--page", "99", "--text", "x").exit_code == 2
    assert run("redo", str(out), "--page", "2", "--prompt", "", "--offline").exit_code == 2


def test_export(story: Path, tmp_path: Path) -> None:
    """A ZIP beside the folder; paths absolute only for the publishing tool."""
    out = tmp_path / "out"
    assert run("note", str(story), "--out", str(out), "--offline").exit_code == 0
    assert run("export", str(out), "--for", "zip").exit_code == 0
    assert (tmp_path / "out.zip").exists()
    target = tmp_path / "mcp.json"
    assert run("export", str(out), "--for", "xiaohongshu-mcp", "--out", str(target)).exit_code == 0
    assert all(Path(image).is_absolute() for image in json.loads(target.read_text())["images"])
    assert run("export", str(out), "--for", "fax").exit_code == 2


def test_themes_preview(tmp_path: Path) -> None:
    """A cover and a page of each theme."""
    done = run("themes", "--preview", str(tmp_path / "looks"), "--json")
    assert done.exit_code == 0, done.output
    for line in done.stdout.splitlines():
        row = json.loads(line)
        assert len(row["files"]) == 2
        assert all(Path(path).stat().st_size > 10_000 for path in row["files"])


def test_a_text_service_that_fails(story: Path, tmp_path: Path, service: SimpleNamespace) -> None:
    """Left to itself the note takes the story's own words and says so; --writer llm is an error."""
    done = run("note", str(story), "--out", str(tmp_path / "a"), "--images", "0")
    assert done.exit_code == 0, done.output
    assert "the story's own" in done.stderr
    named = run(
        "note", str(story), "--out", str(tmp_path / "b"), "--images", "0", "--writer", "llm"
    )
    assert named.exit_code == 1
    assert not (tmp_path / "b").exists()
