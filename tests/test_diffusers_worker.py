"""Pictures on this machine with tiny pipelines: batches, memory, death, cancelling, whole runs.

The weights are random and the device is the CPU: what is held here is that nothing is lost or
mixed up, not speed and not beauty.
"""

from __future__ import annotations

import asyncio
import importlib.util
import io
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from redloom.diffusers_worker.batches import Call
from redloom.diffusers_worker.pool import Dropped, Picture, Pool, Worker
from redloom.endpoint import Endpoint, Tools
from redloom.engine import Engine
from redloom.errors import NotAllowed, TaskFailed
from redloom.events import Advanced, Event
from redloom.providers import diffusers
from redloom.settings import load_settings

pytestmark = [
    pytest.mark.extras,
    pytest.mark.skipif(
        importlib.util.find_spec("diffusers") is None or importlib.util.find_spec("torch") is None,
        reason="the extra gpu (torch, diffusers) is not installed: make test-extras",
    ),
]
SIZE = (32, 32)
STEPS = 2


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of the tiny pipelines, built once."""
    from redloom.diffusers_worker.random_models import build

    folder = tmp_path_factory.mktemp("models")
    return {kind: str(build(kind, folder)) for kind in ("sdxl", "z-image-turbo")}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, one thread: two fighting for a core are twenty times slower."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def call(model: str, size: tuple[int, int] = SIZE, steps: int = STEPS, **options: Any) -> Call:
    """What the pictures of a batch share."""
    return Call(model, size, steps, options=tuple(sorted(options.items())))


@asynccontextmanager
async def pool(most: int = 8, **settings: Any) -> AsyncIterator[Pool]:
    """A pool with one worker on the CPU."""
    made = Pool(["cpu"], most=most, settings={"threads": 1, "most": most, **settings})
    try:
        yield made
    finally:
        await made.close()


def process_of(workers: Pool) -> Worker:
    """The pool's only worker."""
    (worker,) = workers._workers
    assert isinstance(worker, Worker)
    return worker


def pixels(picture: Picture) -> Any:
    """A picture's levels as numbers that can be subtracted."""
    import numpy
    from PIL import Image

    with Image.open(io.BytesIO(picture.data)) as image:
        return numpy.asarray(image).astype(int)


def faults(monkeypatch: pytest.MonkeyPatch, **values: Any) -> None:
    """What goes wrong in the workers from now on."""
    monkeypatch.setenv("REDLOOM_WORKER_FAULTS", json.dumps(values))


def through(body: Callable[[], Awaitable[None]]) -> None:
    """Run it on a real clock: the workers' is."""
    asyncio.run(asyncio.wait_for(body(), 120))


@pytest.mark.parametrize("kind", ["sdxl", "z-image-turbo"])
def test_a_batch_is_its_pictures_one_by_one(models: dict[str, str], kind: str) -> None:
    """The same seeds in one batch of four and alone: at most one level of 255 apart anywhere,
    in fp32, and the pictures of different seeds differ by far more.
    """
    wanted = [(f"a cat, number {n}", 100 + n) for n in range(4)]

    async def body() -> None:
        async with pool() as together:
            batch = await asyncio.gather(
                *(together.picture(call(models[kind]), words, seed) for words, seed in wanted)
            )
            assert together.batch_sizes == [4]
            single = [await together.picture(call(models[kind]), *one) for one in wanted]
            assert together.batch_sizes == [4, 1, 1, 1, 1]
        for one, other in zip(batch, single, strict=True):
            assert one.facts["batch"] == 4
            assert abs(pixels(one) - pixels(other)).max() <= 1
        assert abs(pixels(batch[0]) - pixels(batch[1])).max() > 20

    through(body)


def test_a_seed_does_not_depend_on_its_neighbours(models: dict[str, str]) -> None:
    """One prompt and seed at different places in batches of the same size: the same bytes."""

    async def body() -> None:
        async with pool(most=3) as workers:
            seen = set()
            for place in range(3):
                words = [f"other {place} {n}" for n in range(3)]
                words[place] = "the one"
                made = await asyncio.gather(
                    *(workers.picture(call(models["sdxl"]), w, 7 if w == "the one" else n)
                      for n, w in enumerate(words))
                )  # fmt: skip
                seen.add(made[place].data)
            assert len(seen) == 1

    through(body)


def test_pictures_of_different_calls_are_never_in_one_batch(models: dict[str, str]) -> None:
    """Sizes, steps and negative prompts part batches; every picture has its own size."""
    from PIL import Image

    async def body() -> None:
        async with pool() as workers:
            calls = [call(models["sdxl"]), call(models["sdxl"], (64, 32)),
                     call(models["sdxl"], steps=3)]  # fmt: skip
            made = await asyncio.gather(
                *(workers.picture(calls[n % 3], f"p{n}", n) for n in range(12))
            )
            assert sorted(workers.batch_sizes) == [4, 4, 4]
        for number, picture in enumerate(made):
            with Image.open(io.BytesIO(picture.data)) as image:
                assert image.size == calls[number % 3].size
            assert picture.facts["steps"] == calls[number % 3].steps

    through(body)


def test_a_batch_too_large_is_halved_and_remembered(
    models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of memory above 3: every picture comes, and no larger batch is sent again."""
    faults(monkeypatch, oom_above=3)

    async def body() -> None:
        async with pool() as workers:
            first = [workers.picture(call(models["sdxl"]), f"p{n}", n) for n in range(16)]
            made = await asyncio.gather(*first)
            assert {picture.facts["batch"] for picture in made} <= {1, 2, 3}
            assert workers.batches.room[models["sdxl"], SIZE] == 2
            await asyncio.gather(
                *(workers.picture(call(models["sdxl"]), f"q{n}", n) for n in range(6))
            )
            assert max(workers.batch_sizes[-3:]) <= 2

    through(body)


def test_what_fits_only_in_tiles_is_decoded_in_tiles(
    models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone and still too large: in tiles it goes. What fits in no way fails by name, alone."""
    faults(monkeypatch, oom_word="huge", oom_always="monstrous")

    async def body() -> None:
        async with pool() as workers:
            words = ["small one", "a huge one", "a monstrous one", "small two"]
            made = await asyncio.gather(
                *(workers.picture(call(models["sdxl"]), w, n) for n, w in enumerate(words)),
                return_exceptions=True,
            )
            assert [isinstance(one, Picture) for one in made] == [True, True, False, True]
            huge = made[1]
            assert isinstance(huge, Picture)
            assert huge.facts["tiled"]
            error = made[2]
            assert isinstance(error, TaskFailed)
            assert not error.retry
            assert "32×32" in error.text.en

    through(body)


def test_a_batch_is_decoded_while_the_next_one_denoises(
    models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first batch is decoded only once the second has done a step, and fails otherwise; the
    pictures are the same bytes as those made one batch after the other.
    """
    words = ["meet me", *(f"p{n}" for n in range(3))]

    async def made(**how: Any) -> list[Picture]:
        async with pool(most=2, **how) as workers:
            wanted = [workers.picture(call(models["sdxl"]), w, n) for n, w in enumerate(words)]
            return await asyncio.gather(*wanted)

    async def body() -> None:
        one_by_one = await made()
        faults(monkeypatch, meet="meet")
        overlapped = await made(overlap=True)
        assert [picture.data for picture in overlapped] == [picture.data for picture in one_by_one]
        assert all(picture.facts["beside"] for picture in overlapped)
        assert not any(picture.facts["beside"] for picture in one_by_one)

    through(body)


def test_memory_that_is_short_beside_another_batch(
    models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoded beside another batch one picture does not fit even in tiles, alone it does; one that
    fits in no way fails, its neighbour in the same batch does not.
    """
    faults(monkeypatch, oom_beside="wide", oom_always="monstrous")

    async def body() -> None:
        async with pool(most=2, overlap=True) as workers:
            words = ["a", "wide", "b", "monstrous", "c", "d", "wide too", "e"]
            made = await asyncio.gather(
                *(workers.picture(call(models["sdxl"]), w, n) for n, w in enumerate(words)),
                return_exceptions=True,
            )
            assert [isinstance(one, Picture) for one in made] == [w != "monstrous" for w in words]
            assert isinstance(made[3], TaskFailed)
            assert made[3].service_code == "out-of-memory"
            assert {one.facts["batch"] for one in made if isinstance(one, Picture)} == {2}

    through(body)


def test_a_death_while_decoding_blames_no_other_picture(
    models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One takes the process down while it is decoded and the next batch denoises: it fails by
    name, those beside it and behind it come.
    """
    faults(monkeypatch, die_decoding="poison")

    async def body() -> None:
        async with pool(most=2, overlap=True) as workers:
            words = ["poison", "a", "b", "c", "d"]
            made = await asyncio.gather(
                *(workers.picture(call(models["sdxl"]), w, n) for n, w in enumerate(words)),
                return_exceptions=True,
            )
            assert [isinstance(one, Picture) for one in made] == [w != "poison" for w in words]
            assert isinstance(made[0], TaskFailed)
            assert made[0].service_code == "worker-died"

    through(body)


@pytest.mark.parametrize("kind", ["sdxl", "z-image-turbo"])
def test_previews_have_the_pictures_colours(models: dict[str, str], kind: str) -> None:
    """The fit by noise alone foretells the colours of other latents' pictures; after learning from
    pictures it foretells better. Also where latents come as a row of tokens of two by two cells.
    """
    import torch
    from diffusers import AutoencoderKL
    from torch.nn import functional

    from redloom.diffusers_worker import preview

    class Pipe:
        vae = AutoencoderKL.from_pretrained(models[kind], subfolder="vae")

    def alike(projection: Any, latents: Any) -> float:
        with torch.inference_mode():
            decoded = Pipe.vae.decode(preview._in_units(Pipe.vae, latents), return_dict=False)[0]
            wanted = functional.adaptive_avg_pool2d(decoded / 2 + 0.5, (16, 32)).clamp(0, 1)
            shown = projection.thumbnails(latents, (64, 32)).movedim(-1, 1) / 255
        pair = torch.stack([wanted.flatten(), shown.flatten()])
        return float(torch.corrcoef(pair)[0, 1])

    draw = torch.Generator().manual_seed(5)
    channels = Pipe.vae.config.latent_channels
    smooth = torch.randn(3, channels, 4, 8, generator=draw)
    latents = functional.interpolate(smooth, (16, 32), mode="bicubic")
    projection = preview.Projection(Pipe())
    assert projection.thumbnails(latents, (64, 32)) is None
    with torch.inference_mode():
        projection.begin(Pipe.vae.decode)
        first = alike(projection, latents[:1])
        units = preview._in_units(Pipe.vae, latents[:1])
        for _ in range(20):
            projection.learn(units, Pipe.vae.decode(units, return_dict=False)[0])
    assert first > 0.5
    assert alike(projection, latents[:1]) > first
    cells = latents.reshape(3, channels, 8, 2, 16, 2).permute(0, 2, 4, 1, 3, 5)
    tokens = cells.reshape(3, 8 * 16, 4 * channels)
    assert torch.equal(
        projection.thumbnails(tokens, (64, 32)), projection.thumbnails(latents, (64, 32))
    )


def test_a_preview_is_small() -> None:
    """However large the latents: at most 256 px a side, and some kilobytes."""
    import torch
    from PIL import Image

    from redloom.diffusers_worker.preview import jpeg

    noise = torch.randint(0, 256, (300, 600, 3), dtype=torch.uint8)
    data = jpeg(noise)
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (256, 128)
    assert len(data) < 20_000


@pytest.mark.parametrize("kind", ["sdxl", "z-image-turbo"])
def test_previews_come_while_somebody_watches(
    models: dict[str, str], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Two pictures of one batch: nothing while nobody watches; then small JPEGs of each."""
    from PIL import Image

    faults(monkeypatch, slow=0.3)

    async def both(workers: Pool) -> tuple[list[Picture], dict[str, list[bytes]]]:
        seen: dict[str, list[bytes]] = {"a": [], "b": []}

        def told(key: str, _fraction: float, preview: bytes) -> None:
            seen[key] += [preview] if preview else []

        wanted = call(models[kind], (64, 32), steps=8)
        made = await asyncio.gather(
            *(workers.picture(wanted, w, n, key=w, told=told) for n, w in enumerate("ab"))
        )
        return made, seen

    async def body() -> None:
        async with pool() as workers:
            _, nothing = await both(workers)
            assert nothing == {"a": [], "b": []}
            workers.watch("studio", True)
            _, seen = await both(workers)
        for key in "ab":
            assert seen[key]
            with Image.open(io.BytesIO(seen[key][-1])) as image:
                assert image.format == "JPEG"
                assert image.size == (32, 16)
        assert seen["a"][-1] != seen["b"][-1]

    through(body)


def test_a_bad_picture_takes_no_neighbour_along(
    models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of eight raises in the pipeline: seven come, that one fails with its reason."""
    faults(monkeypatch, bad="rotten")

    async def body() -> None:
        async with pool() as workers:
            words = [f"good {n}" for n in range(7)]
            words.insert(4, "rotten")
            made = await asyncio.gather(
                *(workers.picture(call(models["sdxl"]), w, n) for n, w in enumerate(words)),
                return_exceptions=True,
            )
            assert [isinstance(one, TaskFailed) for one in made] == [w == "rotten" for w in words]

    through(body)


def test_a_worker_killed_in_mid_batch_loses_nothing(
    models: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Killed once between two steps of a batch, with another batch behind it: all come."""
    faults(monkeypatch, die="victim", die_once=str(tmp_path / "died"))

    async def body() -> None:
        async with pool(most=4) as workers:
            words = [*(f"p{n}" for n in range(6)), "victim", *(f"q{n}" for n in range(9))]
            made = await asyncio.gather(
                *(workers.picture(call(models["sdxl"]), w, n) for n, w in enumerate(words))
            )
            assert len({picture.data for picture in made}) == 16
            assert process_of(workers).deaths == 1

    through(body)


def test_a_worker_that_hangs_is_killed(
    models: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Alive, but its batch does not get on: ended, started again, all pictures come. Loading, which
    takes longer than the bound here, is no hanging.
    """
    faults(monkeypatch, hang="stuck", die_once=str(tmp_path / "hung"))
    monkeypatch.setattr("redloom.diffusers_worker.pool.STUCK_S", 0.05)
    monkeypatch.setattr("redloom.diffusers_worker.pool.WATCH_S", 2.0)

    async def body() -> None:
        async with pool() as workers:
            await workers.picture(call(models["sdxl"]), "first", 1)
            made = await asyncio.gather(
                *(workers.picture(call(models["sdxl"]), w, 2) for w in ("a", "stuck", "b"))
            )
            assert len(made) == 3
            assert process_of(workers).deaths == 1

    through(body)


def test_a_picture_that_kills_its_worker_fails_alone(
    models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It kills whatever process tries it: its neighbours come, it fails by name."""
    faults(monkeypatch, die="poison")

    async def body() -> None:
        async with pool(most=4) as workers:
            words = ["a", "poison", "b", "c", "d", "e"]
            made = await asyncio.gather(
                *(workers.picture(call(models["sdxl"]), w, n) for n, w in enumerate(words)),
                return_exceptions=True,
            )
            assert [isinstance(one, Picture) for one in made] == [w != "poison" for w in words]
            assert isinstance(made[1], TaskFailed)
            assert made[1].service_code == "worker-died"

    through(body)


def test_cancelling_stops_between_two_steps(
    models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole batch of 500 slow steps is left at once; the worker goes on with the next."""
    faults(monkeypatch, slow=0.02)

    async def body() -> None:
        async with pool() as workers:
            long = call(models["sdxl"], steps=500)
            begun = asyncio.Event()
            waits = [
                asyncio.ensure_future(
                    workers.picture(long, f"p{n}", n, key="k", told=lambda *_: begun.set())
                )
                for n in range(3)
            ]
            await begun.wait()
            began = time.monotonic()
            assert workers.drop("k")
            assert all(
                isinstance(e, Dropped) for e in await asyncio.gather(*waits, return_exceptions=True)
            )
            assert isinstance(await workers.picture(call(models["sdxl"]), "next", 1), Picture)
            assert time.monotonic() - began < 9.0
            assert not workers.drop("k")

    through(body)


def test_embeddings_are_remembered_prompt_by_prompt(models: dict[str, str]) -> None:
    """One prompt with many seeds is encoded once, in whatever batches it comes."""

    async def body() -> None:
        async with pool(most=2) as workers:
            for kind in models:
                made = [
                    await workers.picture(call(models[kind]), "the same words", n) for n in range(3)
                ]
                assert made[-1].facts["hits"] - made[0].facts["hits"] >= 2

    through(body)


def test_models_take_turns(models: dict[str, str]) -> None:
    """With room for one model, two take turns in memory and all pictures come."""

    async def body() -> None:
        async with pool(keep=1) as workers:
            kinds = ["sdxl", "z-image-turbo"] * 4
            made = await asyncio.gather(
                *(workers.picture(call(models[kind]), f"p{n}", n) for n, kind in enumerate(kinds))
            )
            families = [picture.facts["family"] for picture in made]
            assert families == ["sdxl", "z-image"] * 4
            assert len(workers.batch_sizes) == 2
            assert len(process_of(workers).loaded) == 1

    through(body)


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    """Neither folder nor name: the endpoint stops with the reason."""

    async def body() -> None:
        async with pool() as workers:
            with pytest.raises(NotAllowed) as caught:
                await workers.picture(call(str(tmp_path / "none")), "p", 1)
            assert "cannot be loaded" in caught.value.text.en

    through(body)


def _resident_kb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise ValueError(pid)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
def test_two_hundred_mixed_prompts_with_flat_memory(models: dict[str, str]) -> None:
    """Two models, three sizes, prompts of every length: after the first fifty the worker's
    memory grows by less than a tenth.
    """
    sizes = [(32, 32), (48, 32), (64, 64)]

    async def body() -> None:
        async with pool(most=4) as workers:
            names = list(models.values())
            sizes_seen = []
            for start in range(0, 200, 50):
                made = await asyncio.gather(
                    *(
                        workers.picture(
                            call(names[n % 2], sizes[n % 3]), "word " * (n % 17 + 1) + str(n), n
                        )
                        for n in range(start, start + 50)
                    )
                )
                assert len(made) == 50
                sizes_seen.append(_resident_kb(process_of(workers).about["pid"]))
            assert sizes_seen[-1] < sizes_seen[0] * 1.1, sizes_seen

    through(body)


def test_the_process_ends_with_its_parent(models: dict[str, str]) -> None:
    """A pool that is dropped without a word leaves no process behind."""

    async def body() -> None:
        workers = Pool(["cpu"], settings={"threads": 1})
        about = await workers.ready()
        writer = process_of(workers)._writer
        assert writer is not None
        workers.closed = True
        writer.close()
        process = process_of(workers).process
        assert process is not None
        await asyncio.wait_for(process.wait(), 10)
        with pytest.raises(ProcessLookupError):
            os.kill(about["pid"], 0)
        await workers.close()

    through(body)


@pytest.fixture
def local(models: dict[str, str], tmp_path: Path) -> tuple[str, Path]:
    """The name of an endpoint on this machine, and a folder."""
    return f"local:{models['sdxl']}", tmp_path


def test_a_run_on_this_machine(local: tuple[str, Path]) -> None:
    """From ``local:MODEL`` to files: price 0, seeds on record, steps heard, duplicates once."""
    name, folder = local
    heard: list[Event] = []

    async def body() -> None:
        settings = load_settings(
            environ={"HOME": str(folder)}, folder=folder, workspace=folder / "w",
            overrides={"endpoints.diffusers.options": {"devices": ["cpu"], "threads": 1, "steps": 6}},
        )  # fmt: skip
        async with Engine(name, settings=settings, on_event=heard.append) as engine:
            prompts = [{"prompt": f"p{n % 5}", "size": "64x64"} for n in range(6)]
            results = await engine.generate(prompts, out=folder / "out")
        assert [result.status for result in results] == ["ok"] * 5 + ["duplicate"]
        assert {result.price for result in results[:5]} == {0.0}

    through(body)
    (beside,) = (folder / "out").glob("*1-p0.png.json")
    about = json.loads(beside.read_text("utf-8"))
    assert isinstance(about["seed"], int)
    assert about["endpoint"] == name
    assert not any(event.preview for event in heard if isinstance(event, Advanced))
    assert all(0 <= event.fraction <= 1 for event in heard if isinstance(event, Advanced))


def test_a_watcher_of_a_run_gets_previews(
    local: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever watches `Engine.previews` finds a JPEG under the name that `Advanced` gives; in JSON
    the event is a plain line.
    """
    name, folder = local
    faults(monkeypatch, slow=0.3)
    found: list[bytes] = []

    async def body() -> None:
        settings = load_settings(
            environ={"HOME": str(folder)}, folder=folder, workspace=folder / "w",
            overrides={"endpoints.diffusers.options": {"devices": ["cpu"], "threads": 1, "steps": 9}},
        )  # fmt: skip
        async with Engine(name, settings=settings) as engine:

            def heard(event: Event) -> None:
                json.dumps(event.record())
                if isinstance(event, Advanced) and event.preview:
                    found.append(engine.previews.of(event.preview))

            engine.stream_of_events.watch(heard)
            leave = engine.previews.watch()
            await engine.generate([{"prompt": "p", "size": "64x64"}], out=folder / "out")
            leave()

    through(body)
    assert found
    assert all(data.startswith(b"\xff\xd8") for data in found)


def test_a_run_survives_its_worker(
    local: tuple[str, Path], models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is killed in the middle of an engine's run: every row ends ok."""
    _, folder = local
    faults(monkeypatch, die="victim", die_once=str(folder / "died"))

    async def body() -> None:
        options = {"devices": ["cpu"], "threads": 1, "steps": 2, "batch": 4}
        endpoint = Endpoint("mine", "diffusers", models["sdxl"], options=options)
        provider = diffusers.create(endpoint, Tools())
        async with Engine(workspace=folder / "w", equipped=[(endpoint, provider)]) as engine:
            prompts = [{"prompt": w, "size": "32x32"} for w in ("a", "b", "victim", "c", "d", "e")]
            prompts = [{**p, "size": "64x64"} for p in prompts]
            results = await engine.generate(prompts, out=folder / "out")
        assert [result.status for result in results] == ["ok"] * 6, [r.error for r in results]

    through(body)
