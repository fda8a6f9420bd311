"""Private files: nobody else reads the workspace, whatever the umask; no link is followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.desk import engine
from redloom import private
from redloom.errors import DiskFull
from redloom.journal import Journal
from redloom.providers._inline import _write as set_down
from redloom.spill import _Target
from redloom.testing import FakeProvider, JumpingClock, fake_endpoint, run
from redloom.workspace import Workspace
from studio_rig import rig


@pytest.fixture(params=[0, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Under the most open umask, the usual one and a shut one."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def open_to_others(root: Path) -> list[str]:
    """Everything in a workspace that group or others may do something with, the root included."""
    found = [root, *root.rglob("*")]
    return [
        f"{path.relative_to(root)} {stat.filemode(path.lstat().st_mode)}"
        for path in found
        if path.lstat().st_mode & 0o077
    ]


def reachable(root: Path) -> list[str]:
    """What others could open if the root let them in; a shut folder shuts what lies below."""
    return [path.name for path in root.iterdir() if path.lstat().st_mode & 0o077]


@pytest.mark.usefixtures("umask")
def test_a_run_leaves_nothing_open(tmp_path: Path) -> None:
    """Journal, its WAL, locks, store, half downloads, in use and afterwards: 0600 in 0700."""
    clock = JumpingClock()
    seen: list[list[str]] = []

    async def go() -> None:
        async with engine(tmp_path / "new", (fake_endpoint(), FakeProvider(clock.now)), clock=clock) as one:  # fmt: skip
            one.stream_of_events.watch(
                lambda _event: seen.append(open_to_others(one.workspace.root))
            )
            await one.generate([f"a red scarf {k}" for k in range(5)])
            await one.stream_of_events.drain()
            seen.append(open_to_others(one.workspace.root))
            names = {path.name for path in one.workspace.root.iterdir()}
            assert {"journal.db", "journal.db-wal", "images", "partial", "owners", "engine.lock"} <= names  # fmt: skip

    run(go())
    assert len(seen) > 5
    assert not [one for one in seen if one]


@pytest.mark.usefixtures("umask")
def test_the_studio_leaves_nothing_open(tmp_path: Path) -> None:
    """Uploads, references, served copies, notes: behind folders that let nobody in."""
    root = tmp_path / "ws"
    with rig(root) as made:
        made.client.post("/api/uploads", files={"file": ("a.txt", b"a cup\na hat\n")})
        answer = made.client.post("/v1/images/generations", json={"prompt": "x"})
        assert made.client.get(answer.json()["data"][0]["url"]).status_code == 200
        made.wait_run(made.client.post("/api/runs", json={"prompts": ["y"]}).json()["id"])
        assert reachable(root) == []
        assert {"uploads", "served", "runs"} <= {path.name for path in root.iterdir()}


def test_a_workspace_of_an_older_release_is_shut(tmp_path: Path) -> None:
    """What lies open there is shut at the next start; the root stays as its owner made it."""
    root = tmp_path / "old"
    for name in ("images", "partial", "owners"):
        (root / name).mkdir(parents=True)
        (root / name).chmod(0o755)
    root.chmod(0o755)
    journal = Journal(root / "journal.db").open()
    journal.close()
    (root / "journal.db").chmod(0o644)
    Workspace(root).prepare().close()
    Journal(root / "journal.db").open().close()
    assert open_to_others(root) == [". drwxr-xr-x"]


@pytest.mark.usefixtures("umask")
def test_answers_on_their_way_are_private(tmp_path: Path) -> None:
    """A picture inside an answer is spilled to a name that nobody can guess, 0600."""
    target = _Target(tmp_path / "spills")
    target.discard()
    set_down(tmp_path / "spills" / "spill-x.part", b"picture")
    other = _Target(tmp_path / "spills")
    assert open_to_others(tmp_path / "spills") == []
    assert len(other.name) > 32
    other.discard()


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    """Somebody's link in the place of a lock, an answer or a log leads nowhere."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    root = tmp_path / "ws"
    Workspace(root).prepare().close()
    (root / "engine.lock").unlink(missing_ok=True)
    (root / "engine.lock").symlink_to(victim)
    with pytest.raises(OSError, match=r"symbolic link|Too many levels"):
        Workspace(root).try_lock()
    (root / "x").symlink_to(victim)
    for write in (private.write, set_down):
        with pytest.raises(OSError, match="exists"):
            write(root / "x", b"gone")
    with pytest.raises(OSError, match=r"symbolic link|Too many levels"):
        open(root / "x", "wb", opener=private.opener)  # noqa: SIM115
    assert victim.read_text() == "precious"


def test_missing_parents_are_shut_too(tmp_path: Path) -> None:
    """With umask 0 a folder above the workspace would otherwise be everybody's to write."""
    before = os.umask(0)
    try:
        private.folder(tmp_path / "a" / "b" / "c")
        private.folder(tmp_path / "a" / "b" / "c")
    finally:
        os.umask(before)
    assert open_to_others(tmp_path / "a") == []
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        private.folder(tmp_path / "file")
    with pytest.raises(DiskFull):
        Workspace(tmp_path / "file").prepare()


def test_delivered_files_are_the_users(tmp_path: Path) -> None:
    """What lies in --out follows the user's umask: it is meant to be handed on."""
    clock = JumpingClock()
    before = os.umask(0o022)
    try:

        async def go() -> None:
            async with engine(tmp_path, (fake_endpoint(), FakeProvider(clock.now)), clock=clock) as one:  # fmt: skip
                await one.generate(["a red scarf"], out=tmp_path / "out")

        run(go())
    finally:
        os.umask(before)
    pictures = list((tmp_path / "out").glob("*.png"))
    assert pictures
    assert {stat.S_IMODE(path.stat().st_mode) for path in pictures} == {0o644}
