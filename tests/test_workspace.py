"""One engine per workspace, owners that live or not: by the kernel's locks, across processes."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from redloom.errors import DiskFull
from redloom.workspace import Workspace, fingerprint

HOLDER = (
    "import sys; from pathlib import Path; from redloom.workspace import Workspace\n"
    "w = Workspace(Path(sys.argv[1])).prepare()\n"
    "print(w.try_lock(), w.token, flush=True); sys.stdin.read()\n"
)


def holder(root: Path) -> tuple[subprocess.Popen[str], bool, str]:
    """Another process in the workspace: whether it got the lock, and its token."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    assert process.stdout is not None
    locked, token = process.stdout.readline().split()
    return process, locked == "True", token


def end(process: subprocess.Popen[str], how: int = signal.SIGKILL) -> None:
    """End a process and wait for it."""
    process.send_signal(how)
    process.communicate()


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    """Folders are 0700 and lock files 0600."""
    one = Workspace(tmp_path / "ws").prepare()
    assert stat.S_IMODE((tmp_path / "ws").stat().st_mode) == 0o700
    assert all(
        stat.S_IMODE(p.stat().st_mode) == 0o600 for p in (tmp_path / "ws" / "owners").iterdir()
    )
    one.close()


def test_the_lock_has_one_holder_until_it_dies(tmp_path: Path) -> None:
    """Held by another process: refused; that process killed: free at once."""
    process, locked, token = holder(tmp_path / "ws")
    mine = Workspace(tmp_path / "ws").prepare()
    try:
        assert locked
        assert not mine.try_lock()
        assert mine.lives(token)
        end(process)
        assert mine.try_lock()
        assert mine.try_lock()
        assert not mine.lives(token)
    finally:
        mine.close()


def test_a_stopped_process_still_holds_its_lock(tmp_path: Path) -> None:
    """SIGSTOP is no death: nobody takes over from a sleeper."""
    process, locked, token = holder(tmp_path / "ws")
    mine = Workspace(tmp_path / "ws").prepare()
    try:
        process.send_signal(signal.SIGSTOP)
        assert locked
        assert not mine.try_lock()
        assert mine.lives(token)
    finally:
        process.send_signal(signal.SIGCONT)
        end(process)
        mine.close()


def test_unlocking_lets_another_in(tmp_path: Path) -> None:
    """Two engines in one process exclude each other like two processes."""
    one, two = Workspace(tmp_path / "ws").prepare(), Workspace(tmp_path / "ws").prepare()
    assert one.try_lock()
    assert not two.try_lock()
    assert one.lives(two.token)
    assert two.lives(one.token)
    one.unlock()
    assert two.try_lock()
    one.close()
    assert not two.lives(one.token)
    two.close()
    two.close()


def test_files_of_the_dead_are_swept(tmp_path: Path) -> None:
    """The next one in removes them; the living keep theirs."""
    process, _, token = holder(tmp_path / "ws")
    end(process)
    alive, _, other = holder(tmp_path / "ws")
    mine = Workspace(tmp_path / "ws").prepare()
    try:
        names = {p.stem for p in (tmp_path / "ws" / "owners").iterdir()}
        assert token not in names
        assert {other, mine.token} <= names
    finally:
        end(alive)
        mine.close()


def test_a_file_swept_while_it_is_being_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An owner whose file vanished between open and lock would be taken for dead."""
    first = iter([True])
    real = fcntl.flock

    def flock(handle: int, how: int) -> None:
        if next(first, False):
            for path in (tmp_path / "ws" / "owners").iterdir():
                path.unlink()
        real(handle, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    mine = Workspace(tmp_path / "ws").prepare()
    assert (tmp_path / "ws" / "owners" / f"{mine.token}.lock").exists()
    mine.close()


@pytest.mark.parametrize("token", ["", "../../etc/passwd", "never-was"])
def test_strange_owners_are_dead(tmp_path: Path, token: str) -> None:
    """A token is a name below owners/, whatever is in it."""
    mine = Workspace(tmp_path / "ws").prepare()
    assert not mine.lives(token)
    mine.close()


def test_a_workspace_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A file lies in its place."""
    (tmp_path / "ws").write_text("a file")
    with pytest.raises(DiskFull) as caught:
        Workspace(tmp_path / "ws").prepare()
    assert "--workspace" in caught.value.text.en


def test_places_of_a_workspace(tmp_path: Path) -> None:
    """What lies where."""
    one = Workspace(tmp_path)
    assert (one.journal.name, one.images.name, one.partial.name) == (
        "journal.db",
        "images",
        "partial",
    )
    assert str(os.getpid()) in one.token


def test_a_fingerprint_gives_no_key_away() -> None:
    """Tells keys apart, differs by workspace, holds nothing of the key."""
    marks: set[Any] = {fingerprint(key, salt) for key in ("sk-1", "sk-2") for salt in ("a", "b")}
    assert len(marks) == 4
    assert all("sk" not in mark for mark in marks)
    assert fingerprint("", "a") == "-"
