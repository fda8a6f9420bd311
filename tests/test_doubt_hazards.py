"""Lost answers that meet something else: another lane, a clock that is set, a cancelled run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from redloom.endpoint import Asked, Lane, Made, Ticket
from redloom.engine import Engine, Result
from redloom.errors import AnswerLost
from redloom.testing import FakeProvider, JumpingClock, fake_endpoint, run


class TwoLanes(FakeProvider):
    """A service whose list has only what was asked for asynchronously, as DashScope's."""

    async def submit(self, asked: Asked, lane: Lane) -> Ticket | Made:
        if lane == "async":
            return await super().submit(asked, lane)
        self.submits += 1
        self._accept(asked, "made")
        raise AnswerLost("没有回答", "no answer")

    async def look(self, since: float, until: float) -> list[object]:  # type: ignore[override]
        return []


def test_what_was_asked_for_on_the_other_lane_is_not_proved_absent(tmp_path: Path) -> None:
    """Lost on the synchronous lane, resumed on the asynchronous one: its list says nothing."""
    clock = JumpingClock()
    provider = TwoLanes(clock.now)
    provider.caps = replace(provider.caps, lanes=("async", "sync"))

    async def once(lane: Lane) -> list[Result]:
        equipped = [(fake_endpoint(), provider)]
        async with Engine(
            workspace=tmp_path / "ws", equipped=equipped, clock=clock, lane=lane
        ) as one:
            return await one.generate(["a red scarf"], out=tmp_path / "out")

    async def main() -> list[Result]:
        await once("sync")
        return await once("async")

    assert [result.status for result in run(main())] == ["in-doubt"]
    assert provider.submits == 1
