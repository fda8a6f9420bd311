"""A full disk, a disk that became read-only, a clock that jumps: nothing lost, nothing bought twice."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from helpers.chaos import World, judge_world
from helpers.desk import engine
from redloom.engine import Result
from redloom.testing import FakeProvider, JumpingClock, fake_endpoint, run

WORDS_IN_RESULT = "wan2.2-t2i-flash"


def prompts(number: int) -> list[str]:
    """Prompts unlike each other."""
    return [f"a red thread number {k}" for k in range(number)]


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[None]:
    """A file system of its own, so large, at ``folder``; the test is skipped where none may be made."""
    folder.mkdir(parents=True, exist_ok=True)
    line = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    try:
        made = subprocess.run(line, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        made = False
    if not made:
        pytest.skip("no right to mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


def remount(folder: Path, how: str) -> None:
    """Change a mounted file system."""
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True, capture_output=True)


def told_of(world: World, **changes: object) -> str:
    """What a program that cannot go on says at its end; it ends by itself."""
    program = world.program(**changes)
    try:
        _, complaint = program.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        program.kill()
        _, complaint = program.communicate()
        raise AssertionError(f"it did not end: {complaint[-2000:]}") from None
    assert program.returncode == 1, complaint
    return complaint


@pytest.mark.slow
@pytest.mark.parametrize("file_limit", [60_000, 300_000, 700_000])
def test_no_room_in_the_journal(tmp_path: Path, file_limit: int) -> None:
    """The journal can grow no further, at three moments of a run: it is said in a sentence, and
    with room again the same command delivers all, each bought once."""
    service = {"faults": "answer_lost=0.04"}
    with World(tmp_path, prompts(50), service, {"model": WORDS_IN_RESULT}) as world:
        assert "The journal cannot be written" in told_of(world, file_limit=file_limit)
        judge_world(world, world.until_over(), doubts=False)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["ws", "out"])
def test_a_disk_that_fills_up(tmp_path: Path, place: str) -> None:
    """The workspace's or the pictures' own disk is full: a sentence; made larger, the run ends."""
    with (
        small_disk(tmp_path / place, 360 if place == "ws" else 60),
        World(tmp_path, prompts(40), {}, {"model": WORDS_IN_RESULT}) as world,
    ):
        complaint = told_of(world)
        assert "disk" in complaint.lower(), complaint[-2000:]
        remount(tmp_path / place, "size=64m")
        judge_world(world, world.until_over(), doubts=False)


@pytest.mark.slow
def test_a_disk_that_becomes_read_only(tmp_path: Path) -> None:
    """As file systems do after an error: nothing more is bought, and later all is delivered."""
    with (
        small_disk(tmp_path / "ws", 65_536),
        World(tmp_path, prompts(40), {}, {"model": WORDS_IN_RESULT}) as world,
    ):
        world.die_at("after", "ticket", 8)
        remount(tmp_path / "ws", "ro")
        before = world.ledger_path.read_text().count('"accepted"')
        assert "cannot be written" in told_of(world)
        assert world.ledger_path.read_text().count('"accepted"') == before
        remount(tmp_path / "ws", "rw")
        judge_world(world, world.until_over(), doubts=False)


@pytest.mark.parametrize("jump_s", [-7200.0, -300.0, -2.0, 5.0, 300.0, 7200.0, 40 * 86400.0])
@pytest.mark.parametrize("fate", ["no-answer", "never-arrived"])
def test_a_clock_that_is_set_in_mid_run(tmp_path: Path, jump_s: float, fate: str) -> None:
    """Set back or ahead while a lost answer is open: every row one outcome, none bought twice,
    and after a restart with the true clock at most the lost one is still in doubt."""
    clock = JumpingClock()
    true = JumpingClock()
    provider = FakeProvider(true.now, rate=0.5)
    provider.script = lambda _a, n: fate if n == 4 else "made"  # type: ignore[assignment, return-value]

    async def once(jumps: bool) -> list[Result]:
        async with engine(tmp_path / "ws", (fake_endpoint(), provider), clock=clock) as one:
            work = asyncio.ensure_future(one.generate(prompts(12), out=tmp_path / "out"))
            while jumps and provider.submits < 5:
                await true.sleep(0.1)
            clock.skew = jump_s if jumps else 0.0
            return await work

    async def main() -> list[Result]:
        true.now()
        first = await once(jumps=True)
        assert {r.status for r in first} <= {"ok", "in-doubt"}
        return await once(jumps=False)

    results = run(main())
    assert provider.bought_twice() == []
    assert len(results) == 12
    assert [r.status for r in results].count("ok") >= 11
    assert {r.status for r in results} <= {"ok", "in-doubt"}
