"""The whole product in a storm: every kind of fault at random moments, one oracle at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.driver import KEY
from helpers.figures import note_figures
from helpers.oracle import Evidence, judge
from helpers.storm import RATES, STANDING, WINDOWS, Scene, Storm
from redloom.emulators.dashscope_faults import FAULTS

pytestmark = pytest.mark.slow
OUTCOMES = frozenset({"ok", "duplicate", "refused", "failed", "in-doubt"})
NOT_HERE = {"answer_refused", "task_repeat", "cancel_error", "cancel_reset"}
"""Faults of several pictures in one task and of cancels, which no run of one endpoint asks for."""


def storm(folder: Path, scene: Scene) -> None:
    """One storm from its seed to the oracle; its figures."""
    folder.mkdir(exist_ok=True)
    with Storm(folder, scene) as world:
        world.weather()
        world.clear_up()
        evidence = Evidence(
            world.folder, world.workspace, world.ledger(), OUTCOMES, secrets=(KEY,), runs=3,
            refused=world.refused(),
        )  # fmt: skip
        found = judge(evidence)
    assert found.rows == scene.jobs + scene.jobs // 20
    assert found.statuses["ok"] + found.statuses["duplicate"] > 0.8 * found.rows, found.statuses
    note_figures(
        scene="storm", seed=scene.seed, jobs=found.rows, injected=world.faults(),
        statuses=found.statuses,
    )  # fmt: skip


def test_every_fault_of_the_service_is_in_the_storm() -> None:
    """A fault that the emulator learns has to be played here, or named as out of place."""
    assert set(RATES) | set(STANDING) | set(WINDOWS) == set(FAULTS) - NOT_HERE


def test_a_small_storm(tmp_path: Path) -> None:
    """One command, another beside it, a server: each kind of event about once, 120 pictures."""
    storm(tmp_path, Scene(seed=3, jobs=120, events=10))


@pytest.mark.chaos
def test_a_limiter_that_learns_nothing_is_noticed(tmp_path: Path) -> None:
    """The service allows a fifth of what the settings say, and the programs hear no refusal: the
    oracle says so, where it has no fault to find with programs that learn.
    """
    with pytest.raises(AssertionError, match="quotas that were not learnt"):
        storm(tmp_path / "deaf", Scene(seed=7, jobs=240, events=2, share=0.2, deaf=True))
    storm(tmp_path / "well", Scene(seed=7, jobs=240, events=2, share=0.2))


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(200, 206))
def test_a_long_storm(tmp_path: Path, seed: int) -> None:
    """Six hundred pictures, thirty events; six seeds."""
    storm(tmp_path, Scene(seed=seed, jobs=600, events=30))
