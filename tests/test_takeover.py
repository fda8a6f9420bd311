"""Before an engine takes a workspace over."""

from __future__ import annotations

import asyncio
from pathlib import Path

from helpers.desk import engine
from redloom.testing import FakeProvider, JumpingClock, fake_endpoint, run


def test_a_download_that_was_begun_outlives_the_start(tmp_path: Path) -> None:
    """The next engine keeps what lies there of a live task's picture, and sweeps the rest."""
    clock, partial = JumpingClock(), tmp_path / "ws" / "partial"
    provider = FakeProvider(clock.now, seconds=lambda _: 1000.0)

    async def main() -> list[str]:
        async with engine(tmp_path / "ws", (fake_endpoint(), provider), clock=clock) as one:
            await one.add(["a hat"])
            await asyncio.sleep(5.0)
            (task,) = await one.records.live_tasks()
        partial.mkdir(exist_ok=True)
        for name in (f"{task['id']}.0123456789abcdef.part", "99.0123456789abcdef.part", "98.png"):
            (partial / name).write_bytes(b"half")
        async with engine(tmp_path / "ws", (fake_endpoint(), provider), clock=clock):
            await asyncio.sleep(5.0)
            left = sorted(path.name for path in partial.iterdir())
        return [name.replace(str(task["id"]), "TASK", 1) for name in left]

    assert run(main()) == ["TASK.0123456789abcdef.part"]
