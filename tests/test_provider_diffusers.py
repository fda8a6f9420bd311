"""The provider of this machine's models without torch: families, sizes, devices, what is missing."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from redloom.cli import cli
from redloom.diffusers_worker import pool
from redloom.diffusers_worker.batches import Call, Item
from redloom.diffusers_worker.families import bytes_on_disk, class_name_of, family_of, folder_of
from redloom.diffusers_worker.pool import environment, failure
from redloom.endpoint import Asked, Endpoint, Provider, Tools
from redloom.errors import MissingExtra, NotAllowed, Refused, TaskFailed
from redloom.providers import diffusers
from redloom.settings import load_settings


def pipeline(folder: Path, kind: str, name: str = "model") -> Path:
    """A folder that says which pipeline it is."""
    place = folder / name
    (place / "unet").mkdir(parents=True)
    (place / "model_index.json").write_text(json.dumps({"_class_name": kind}), "utf-8")
    (place / "unet" / "weights.safetensors").write_bytes(b"0" * 1000)
    return place


def provider(monkeypatch: pytest.MonkeyPatch, model: str, **options: object) -> Provider:
    """As if everything were installed."""
    monkeypatch.setattr(diffusers, "missing", list)
    return diffusers.create(Endpoint("local", "diffusers", model, options=options), Tools())


@pytest.mark.parametrize(
    ("kind", "model", "family", "steps", "negative"),
    [
        ("StableDiffusionXLPipeline", "base", "sdxl", 30, True),
        ("StableDiffusionXLPipeline", "sdxl-Lightning", "sdxl-turbo", 4, False),
        ("StableDiffusionPipeline", "v1-5", "sd", 30, True),
        ("StableDiffusion3Pipeline", "sd3", "sd3", 28, True),
        ("FluxPipeline", "FLUX.1-dev", "flux", 28, False),
        ("FluxPipeline", "FLUX.1-schnell", "flux-schnell", 4, False),
        ("Flux2KleinPipeline", "klein", "flux2-klein", 4, False),
        ("ZImagePipeline", "Z-Image-Turbo", "z-image", 9, False),
        ("ZImagePipeline", "Z-Image", "z-image-base", 50, True),
        ("QwenImagePipeline", "Qwen-Image", "qwen-image", 50, True),
        ("SomethingNew", "x", "unknown", 30, True),
        ("", "x", "unknown", 30, True),
    ],
)
def test_families_are_told_from_the_index(
    kind: str, model: str, family: str, steps: int, negative: bool
) -> None:
    """Steps, guidance and negative prompts follow the kind of pipeline and its distillation."""
    found = family_of(kind, model)
    assert (found.name, found.steps, found.negative) == (family, steps, negative)


def test_a_model_is_found_in_its_folder_and_in_the_cache(tmp_path: Path) -> None:
    """A folder of its own, or the hub's cache by name; what is neither is not known."""
    own = pipeline(tmp_path, "FluxPipeline")
    assert folder_of(str(own)) == own
    assert bytes_on_disk(own) == 1000
    cached = pipeline(tmp_path / "hub" / "models--org--name" / "snapshots", "ZImagePipeline", "abc")
    environ = {"HF_HUB_CACHE": str(tmp_path / "hub")}
    assert folder_of("org/name", environ) == cached
    assert class_name_of("org/name", environ) == "ZImagePipeline"
    assert class_name_of("org/other", environ) == ""
    (own / "model_index.json").write_text("[", "utf-8")
    assert class_name_of(str(own)) == ""


def test_requests_are_fitted_to_the_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sides in the family's steps; a negative prompt only where it has a use; no references."""
    flux = provider(monkeypatch, str(pipeline(tmp_path, "FluxPipeline", "FLUX.1-schnell")))
    fitted = flux.fit(Asked("a", "m", size=(1001, 500), negative_prompt="bad"))
    assert fitted.asked.size == (1008, 496)
    assert fitted.asked.negative_prompt == ""
    assert len(fitted.notes) == 2
    assert not flux.capabilities().negative_prompt
    assert flux.fit(Asked("a", "m")).asked.size == (1024, 1024)
    asked = flux.fit(
        Asked("a", "m", seed=-1, options={"steps": 4, "width": 9, "devices": "cpu"})
    ).asked
    assert asked.seed is None
    assert asked.options == {"steps": 4}
    for wrong in (Asked(" ", "m"), Asked("a", "m", references=("x.png",))):
        with pytest.raises(Refused):
            flux.fit(wrong)


def test_it_is_one_free_endpoint_with_room_for_two_batches_a_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One batch runs, one waits; ``reproducible`` makes batches of one."""
    mine = provider(monkeypatch, "m", devices=["cuda:0", "cuda:1"], batch=4)
    assert mine.limits().sync_concurrency == 16
    assert mine.price(Asked("a", "m")).amount == 0
    can = mine.capabilities()
    assert can.local
    assert can.free
    assert can.lanes == ("sync",)
    assert (
        provider(monkeypatch, "m", devices="cpu", reproducible=True).limits().sync_concurrency == 2
    )


def test_devices_are_found_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """What CUDA_VISIBLE_DEVICES allows, else what the driver lists, else the CPU."""
    assert diffusers.devices({"CUDA_VISIBLE_DEVICES": "2,GPU-7"}) == ("cuda:2", "cuda:GPU-7")
    assert diffusers.devices({"CUDA_VISIBLE_DEVICES": ""}) == ("cpu",)
    assert diffusers.devices({"CUDA_VISIBLE_DEVICES": "-1"}) == ("cpu",)
    monkeypatch.setattr(diffusers, "_nvidia_gpus", lambda: 2)
    assert diffusers.devices({}) == ("cuda:0", "cuda:1")
    monkeypatch.setattr(diffusers, "_nvidia_gpus", lambda: 0)
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert diffusers.devices({}) == ("mps",)


def test_a_worker_sees_its_own_gpu_and_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of services stay in the engine's process; the hub's token goes along."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-secret")
    monkeypatch.setenv("HF_TOKEN", "hf-token")
    given = environment("cuda:3")
    assert given["CUDA_VISIBLE_DEVICES"] == "3"
    assert "DASHSCOPE_API_KEY" not in given
    assert given["HF_TOKEN"] == "hf-token"


def test_what_is_missing_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra: the line that installs it, exit 2, and nothing begun."""
    monkeypatch.setattr(diffusers, "missing", lambda: ["torch"])
    settings = load_settings(environ={"HOME": str(tmp_path)}, folder=tmp_path)
    config = settings.endpoint("local:some/model")
    assert (config.provider, config.model, config.ready) == ("diffusers", "some/model", True)
    with pytest.raises(MissingExtra) as caught:
        diffusers.create(config.endpoint(), Tools())
    assert "redloom[gpu]" in caught.value.text.en
    assert caught.value.exit_status == 2
    with pytest.raises(MissingExtra):
        asyncio.run(diffusers.create(Endpoint("d", "diffusers"), Tools()).check())
    (tmp_path / "p.txt").write_text("a red scarf\n", "utf-8")
    words = [
        "batch",
        str(tmp_path / "p.txt"),
        "--out",
        str(tmp_path / "o"),
        "--endpoint",
        "local:x/y",
    ]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 2
    assert "redloom[gpu]" in done.stderr


def test_doctor_explains_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not set up is no fault; the line says what would set it up."""
    monkeypatch.setattr(diffusers, "missing", lambda: ["torch"])
    done = CliRunner().invoke(cli, ["doctor", "--offline", "--lang", "en"])
    assert done.exit_code == 0
    (line,) = [line for line in done.stdout.splitlines() if "diffusers" in line]
    assert line.startswith("–")
    assert "pip install 'redloom[gpu]'" in line


def test_a_model_has_to_be_named() -> None:
    """The provider's own name says nothing of what to make pictures with."""
    plain = diffusers.create(Endpoint("diffusers", "diffusers"), Tools())
    with pytest.raises(NotAllowed) as caught:
        asyncio.run(plain.submit(Asked("a", "", size=(64, 64)), "sync"))
    assert "local:MODEL" in caught.value.text.en


def test_failures_are_told_by_name() -> None:
    """Loading stops the endpoint; memory and others fail that picture, for nothing."""
    item = Item(1, Call("m", (64, 32)), "p", 1)
    assert isinstance(failure({"kind": "load", "text": "no file"}, item), NotAllowed)
    memory = failure({"kind": "memory"}, item)
    assert isinstance(memory, TaskFailed)
    assert "64×32" in memory.text.en
    other = failure({"kind": "ValueError", "text": "bad"}, item)
    assert other.service_code == "ValueError"
    assert "bad" in other.text.en


def test_nothing_heavy_is_imported() -> None:
    """The engine's process never imports torch, even to say what a local model can do."""
    code = (
        "import sys; from redloom.providers import load; from redloom.endpoint import *;"
        "import redloom.diffusers_worker.pool;"
        "load('diffusers').create(Endpoint('l', 'diffusers'), Tools()).capabilities();"
        "print([m for m in ('torch', 'numpy', 'diffusers', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("page", ["gpu.md", "gpu.zh-CN.md"])
def test_the_guides_settings_can_be_read(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every TOML example of the guide makes an endpoint, with the options that it shows."""
    monkeypatch.setattr(diffusers, "missing", list)
    text = (Path(__file__).resolve().parents[1] / "docs" / page).read_text("utf-8")
    examples = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(examples) == 2
    (tmp_path / "redloom.toml").write_text("\n".join(examples), "utf-8")
    settings = load_settings(environ={"HOME": str(tmp_path)}, folder=tmp_path)
    home = settings.endpoint("home")
    assert home.options["devices"] == ["cuda:0", "cuda:1"]
    limits = diffusers.create(home.endpoint(), Tools()).limits()
    assert limits.sync_concurrency == 2 * 2 * home.options["batch"]
    assert settings.endpoint("poster").options["workflow"] == "poster.json"


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed")
def test_a_worker_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given up after a few starts; what waits gets the process's last words, and nothing hangs."""
    monkeypatch.setattr(pool, "STARTS", 2)

    async def body() -> None:
        workers = pool.Pool(["cpu"])
        for _ in range(2):  # asked again, it is tried again
            with pytest.raises(NotAllowed) as caught:
                await workers.picture(Call("m", (64, 64)), "p", 1)
            assert "torch" in caught.value.text.en
        await workers.close()

    asyncio.run(asyncio.wait_for(body(), 60))
