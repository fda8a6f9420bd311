"""The GPU worker's process killed and stopped in mid-run: every picture comes, none is lost."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from pathlib import Path

import pytest

from helpers.figures import note_figures
from helpers.oracle import Evidence, judge
from redloom.diffusers_worker import pool
from redloom.endpoint import Endpoint, Tools
from redloom.engine import Engine, Result
from redloom.providers import diffusers

pytestmark = pytest.mark.slow


def model(folder: Path) -> str:
    """A folder that says which pipeline it is; what stands in for it is in `helpers.stand_in`."""
    place = folder / "model"
    place.mkdir()
    (place / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    return str(place)


def process() -> asyncio.subprocess.Process | None:
    """The one worker's process, while there is one."""
    for one in pool._SHARED.values():
        for worker in one._workers:
            if isinstance(worker, pool.Worker) and worker.process is not None:
                return worker.process if worker.process.returncode is None else None
    return None


async def harm(results: list[Result], total: int, kills: int, rng: random.Random) -> int:
    """Kill the worker ``kills`` times, and stop it as often, each after some more pictures."""
    done = 0
    while done < kills:
        wanted = len(results) + rng.randrange(1, max(2, total // (2 * kills)))
        while len(results) < min(wanted, total - 1):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        if len(results) >= total - 1:
            break
        await asyncio.sleep(rng.uniform(0.0, 0.2))
        worker = process()
        if worker is None:
            continue
        os.kill(worker.pid, signal.SIGSTOP)
        await asyncio.sleep(rng.uniform(0.0, 0.1))
        os.kill(worker.pid, signal.SIGCONT if rng.random() < 0.3 else signal.SIGKILL)
        done += 1
    return done


@pytest.mark.parametrize(
    ("seed", "number", "kills"),
    [(1, 60, 4), *(pytest.param(n, 600, 20, marks=pytest.mark.chaos) for n in (2, 3))],
)
def test_the_worker_is_killed_in_mid_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, number: int, kills: int
) -> None:
    """Killed or stopped at random moments, batches before and behind it: all rows end ok."""
    monkeypatch.setattr(diffusers, "missing", list)
    monkeypatch.setenv("STAND_IN_PIPELINE", "1")
    path = [str(Path(__file__).parent / "helpers" / "stand_in"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
    rng = random.Random(seed)
    folder = tmp_path / "scene"

    async def main() -> int:
        options = {"devices": ["cpu"], "batch": 4}
        endpoint = Endpoint("mine", "diffusers", model(tmp_path), options=options)
        equipped = [(endpoint, diffusers.create(endpoint, Tools()))]
        prompts = [{"prompt": f"a red thread number {k}", "size": "64x64"} for k in range(number)]
        results: list[Result] = []
        async with Engine(workspace=folder / "ws", equipped=equipped) as engine:
            harming = asyncio.ensure_future(harm(results, number, kills, rng))
            async for result in engine.stream(prompts, out=folder / "out"):
                results.append(result)  # noqa: PERF401 - looked at while it grows
            return await harming

    harmed = asyncio.run(main())
    found = judge(Evidence(folder, folder / "ws", None))
    assert found.rows == number
    assert harmed >= kills // 2
    note_figures(
        scene="GPU worker", seed=seed, jobs=number, statuses=found.statuses,
        injected={"kill of the GPU worker": harmed},
    )  # fmt: skip
