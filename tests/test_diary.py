"""What a run went through: list calls are its own from one process to the next."""

from __future__ import annotations

from pathlib import Path

from helpers.desk import desk, engine, live_of
from redloom.diary import Diarist, diary_of, limits_of, lists_of
from redloom.events import Ended, Started
from redloom.report import facts
from redloom.testing import FakeProvider, JumpingClock, fake_endpoint, run
from redloom.tries import tries_of


def test_list_calls_add_up_over_processes(tmp_path: Path) -> None:
    """Those made before the run began are not its own; those of an earlier carriage are kept."""
    clock = JumpingClock()

    async def main() -> list[int]:
        live = live_of(FakeProvider(clock.now), clock, 5)
        found = []
        async with desk(tmp_path) as records:
            for before, during in ((7, 3), (0, 5)):  # another process counts from nothing
                live.polls.list_calls = before
                diarist = Diarist(records, limits_of([live]), lists_of([live, live]))
                await diarist(Started(at=1.0, run="r1", total=1, done=0, endpoints=("fake",)))
                live.polls.list_calls += during
                await diarist(Ended(at=2.0, run="r1", counts={}, state="done"))
                found.append(diary_of(records.journal, "r1").lists)
                assert not diarist._before, "what is kept of each run that has ended"
        return found

    assert run(main()) == [3, 8]


def test_the_report_counts_them_among_the_queries(tmp_path: Path) -> None:
    """Queries a picture are single ones and list calls together."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now, slots=8)

    async def main() -> tuple[float, int, int]:
        async with engine(tmp_path / "ws", (fake_endpoint(), provider), clock=clock) as made:
            await made.generate([f"p{k}" for k in range(16)], out=tmp_path / "out")
            (whole,) = await made.records.runs_into(str((tmp_path / "out").resolve()))
            diary = diary_of(made.journal, whole.id)
            while not diary.lists:  # it is written once the run's end is told
                await clock.sleep(1.0)
                diary = diary_of(made.journal, whole.id)
            told = facts(made.journal, whole, tries_of(made.journal, whole.id), diary)
            return told["polls"], diary.lists, made.lives[0].polls.list_calls

    polls, kept, made = run(main())
    assert kept == made > 0
    assert round(16 * polls) == provider.polls + made
