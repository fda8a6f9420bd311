"""Pictures on this machine: any Hugging Face text-to-image pipeline, on its GPUs or its CPU.

``--endpoint local:MODEL``, MODEL being a folder or a name on the hub. Nothing heavy is imported
here: each GPU has a process of its own (`redloom.diffusers_worker`), started with the first
picture. Price 0; nothing to settle after a crash, what was in the making is made again.

Options: ``steps``, ``guidance_scale`` and other arguments of the pipeline's call; and for the
endpoint ``devices`` (``["cuda:0", "cuda:1"]``, ``["cpu"]``), ``batch`` (cap, default 8),
``keep`` (models in memory, default 2), ``dtype``, ``compile``, ``threads``, ``overlap`` (decode
beside the next batch; default on CUDA), ``reproducible``.

May import: endpoint, errors, lang, and its own rooms, diffusers_worker and cluster.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import random
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redloom.diffusers_worker.batches import Call
from redloom.diffusers_worker.families import class_name_of, family_of
from redloom.endpoint import (
    FREE,
    Asked,
    Capabilities,
    Defaults,
    Endpoint,
    Fitted,
    Lane,
    Limits,
    Made,
    Price,
    Provider,
    Ticket,
    Tools,
)
from redloom.endpoint import Picture as Finished
from redloom.errors import MissingExtra, NotAllowed, Refused, TaskFailed
from redloom.lang import Text

from ._local_server import fitted_size, resized
from ._sync import Synchronous

if TYPE_CHECKING:
    from redloom.cluster import ClusterPool
    from redloom.diffusers_worker.pool import Pool

__all__ = ["DEFAULTS", "create"]

DEFAULTS = Defaults(
    needs_key=False,
    label=Text("本机的模型（diffusers，免费）", "Models on this machine (diffusers, free)"),
)
PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "safetensors")
_BATCH = 8
_CLUSTER_PLACES = 32
_OURS = (
    "cluster_address",
    "cluster_workers",
    "cluster_gpus_each",
    "devices",
    "batch",
    "keep",
    "dtype",
    "compile",
    "threads",
    "overlap",
    "reproducible",
    "rewrite_hosts",
)
"""Options of the endpoint, not of the pipeline's call."""
_FIXED = frozenset(
    {"prompt", "negative_prompt", "width", "height", "generator", "output_type", "latents", "size",
     "num_images_per_prompt", "num_inference_steps", "callback_on_step_end", "return_dict"}
)  # fmt: skip
"""Arguments that no option may set: they are decided elsewhere."""
_SECONDS = {"cuda": 10.0, "mps": 60.0, "cpu": 120.0}
_WHAT = Text("本机画图（local:模型）", "Making pictures on this machine (local:MODEL)")


def create(endpoint: Endpoint, tools: Tools) -> Provider:
    """The provider for one model; nothing is loaded yet.

    Raises MissingExtra where a model is named and the packages are not there.
    """
    cluster = str(endpoint.options.get("cluster_address") or "")
    if endpoint.model and cluster:
        _cluster(endpoint, cluster)  # the packages are wanted on its nodes, Ray alone here
    elif endpoint.model and missing():
        raise MissingExtra("gpu", _WHAT)
    return Local(endpoint, tools)


def missing() -> list[str]:
    """Packages of the extra that are not installed; they are only looked for, not imported."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def _cluster(endpoint: Endpoint, address: str) -> ClusterPool:
    """A pool on a Ray cluster; nothing is joined yet."""
    from redloom.cluster import joined

    options = endpoint.options
    told = _settings(options, ("keep", "dtype", "compile"))
    most = max(1, int(options.get("batch") or _BATCH))
    each = options.get("cluster_gpus_each")
    return joined(
        address, most, {**told, "most": most}, workers=int(options.get("cluster_workers") or 0),
        gpus=1.0 if each is None else float(each),
    )  # fmt: skip


class Local(Synchronous):
    """One model on this machine's devices. See `endpoint.Provider`."""

    def __init__(self, endpoint: Endpoint, tools: Tools) -> None:
        self._endpoint = endpoint
        self._tell, self._previews = tools.progress, tools.previews
        self._deaf: Callable[[], None] = lambda: None
        self._rng = random.Random()
        options = endpoint.options
        self._devices = _listed(options.get("devices")) or devices()
        self._most = max(1, int(options.get("batch") or _BATCH))
        if options.get("reproducible"):
            self._most = 1
        self._family = family_of(class_name_of(endpoint.model), endpoint.model)
        self._address = str(options.get("cluster_address") or "")
        self._pool: Pool | None = None

    def capabilities(self) -> Capabilities:
        """What the pipeline's family can do, as far as its files tell."""
        return Capabilities(
            lanes=("sync",),
            queues_excess=True,
            sizes=self._family.sizes,
            negative_prompt=self._family.negative,
            typical_s=_SECONDS.get(self._kind, 60.0),
            free=True,
            local=True,
            gives_links=False,
            moderates=False,
            throttles=False,
        )

    def limits(self) -> Limits:
        """For each device one batch that runs and one that waits, so that it never idles.

        A cluster has as many as it says, or grows to: the others wait here, for nothing.
        """
        places = len(self._devices)
        if self._address:
            places = int(self._endpoint.options.get("cluster_workers") or _CLUSTER_PLACES)
        return Limits(sync_concurrency=2 * self._most * places)

    def price(self, asked: Asked) -> Price:
        """Nothing, unless the endpoint names a price (a rented GPU)."""
        return self._endpoint.price or FREE

    def fit(self, asked: Asked) -> Fitted:
        """The request as the family takes it; what it has no use for is left out and said.

        Raises Refused for an empty prompt, and for reference pictures.
        """
        if not asked.prompt.strip():
            raise Refused("提示词是空的；没有开始。", "The prompt is empty; nothing was begun.")
        if asked.references:
            raise Refused(
                "本机的文生图模型不用参考图；没有开始。",
                "Text-to-image models on this machine take no reference pictures; nothing was begun.",
            )
        notes: list[Text] = []
        size = asked.size or next(iter(self._family.sizes), (1024, 1024))
        fitted = fitted_size(size, self._family.step_px, most=4096)
        if asked.size is not None and fitted != asked.size:
            notes.append(resized(asked.size, fitted, self._family.step_px))
        asked = replace(asked, size=fitted)
        if asked.negative_prompt and not self._family.negative:
            asked = replace(asked, negative_prompt="")
            notes.append(_NO_NEGATIVE.format(model=self._endpoint.model))
        if asked.seed is not None and not 0 <= asked.seed < 2**63:
            asked = replace(asked, seed=None if asked.seed < 0 else asked.seed % 2**63)
        kept = {k: v for k, v in asked.options.items() if k not in _FIXED and k not in _OURS}
        return Fitted(replace(asked, options=kept), tuple(notes))

    async def submit(self, asked: Asked, lane: Lane) -> Made:
        """One picture, in whatever batch it fits into; being cancelled drops it.

        Raises TaskFailed (also where it does not fit into memory), NotAllowed (no such model).
        """
        from redloom.diffusers_worker.pool import Dropped

        if not asked.model:
            raise NotAllowed(
                "没有说用哪个模型；没有花钱。请写 --endpoint local:模型（文件夹或名字）。",
                "No model is named; nothing was spent. Write --endpoint local:MODEL (a folder or a "
                "name).",
            )
        seed = self._rng.randrange(2**32) if asked.seed is None else asked.seed
        try:
            picture = await self._workers().picture(
                self._call(asked), asked.prompt, seed,
                negative=asked.negative_prompt, key=asked.key, told=self._told,
            )  # fmt: skip
        except Dropped as dropped:
            raise TaskFailed(
                "已取消；不花钱。",
                "Cancelled; it costs nothing.",
                retry=False,
                service_code="cancelled",
            ) from dropped
        return Made(Finished(data=picture.data, seed=seed), original_prompt=asked.prompt)

    async def cancel(self, ticket: Ticket) -> bool:
        """Drop the job of this key, between two steps if it runs; whether there was one."""
        return self._pool is not None and self._pool.drop(ticket.id)

    async def check(self) -> None:
        """Whether the packages are there. Raises MissingExtra."""
        if missing():
            raise MissingExtra("gpu", _WHAT)

    def about(self) -> Text:
        """What there is to make pictures with, for doctor."""
        if self._kind == "cpu":
            return Text(
                "可用，但没看到 GPU：在 CPU 上画，一张要几分钟（--endpoint local:模型）",
                "works, but no GPU is seen: made on the CPU, minutes a picture (--endpoint local:MODEL)",
            )
        names = ", ".join(self._devices)
        return Text(
            f"可用：{names}（--endpoint local:模型）", f"works on {names} (--endpoint local:MODEL)"
        )

    async def close(self) -> None:
        """End the workers, if nobody else uses them."""
        from redloom.diffusers_worker.pool import release

        pool, self._pool = self._pool, None
        self._deaf()
        if pool is not None:
            pool.watch(self, False)
            await release(pool)

    @property
    def _kind(self) -> str:
        return self._devices[0].split(":")[0]

    def _workers(self) -> Pool:
        if self._pool is None and self._address:
            self._pool = _cluster(self._endpoint, self._address)
            self._pool.users = 1
            self._listen(self._pool)
        if self._pool is None:
            from redloom.diffusers_worker.pool import shared

            told = _settings(self._endpoint.options, ("keep", "dtype", "compile", "threads"))
            self._pool = shared(self._devices, self._most, {**told, "most": self._most})
            self._listen(self._pool)
        return self._pool

    def _listen(self, pool: Pool) -> None:
        self._deaf = self._previews.listen(lambda on: pool.watch(self, on))

    def _told(self, key: str, fraction: float, preview: bytes) -> None:
        if preview:
            self._previews.keep(key, preview)
        self._tell(key, fraction)

    def _call(self, asked: Asked) -> Call:
        steps = asked.options.get("steps")
        options = {k: _number(v) for k, v in asked.options.items() if k != "steps"}
        assert asked.size is not None
        return Call(
            asked.model, asked.size, int(steps) if steps else None, bool(asked.negative_prompt),
            tuple(sorted(options.items())),
        )  # fmt: skip


def devices(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """This machine's GPUs, or its CPU, found without torch.

    CUDA_VISIBLE_DEVICES is kept to; an Apple chip has ``mps``.
    """
    given = os.environ if environ is None else environ
    visible = given.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        named = [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
        return tuple(f"cuda:{name}" for name in named) or ("cpu",)
    count = _nvidia_gpus()
    if count:
        return tuple(f"cuda:{number}" for number in range(count))
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return ("mps",)
    return ("cpu",)


def _nvidia_gpus() -> int:
    listed = Path("/proc/driver/nvidia/gpus")
    if listed.is_dir():
        return sum(1 for _ in listed.iterdir())
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return done.stdout.count(b"GPU ")


def _settings(options: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """What the workers are told of an endpoint's options."""
    told = {name: options[name] for name in names if options.get(name)}
    if (overlap := options.get("overlap")) is not None:
        told["overlap"] = overlap not in (False, 0, "false", "no", "0")
    return told


def _listed(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return tuple(map(str, value)) if isinstance(value, list | tuple) else ()


def _number(value: object) -> Any:
    """Options from a command line are words; a number among them is one."""
    if not isinstance(value, str):
        return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


_NO_NEGATIVE = Text(
    "模型 {model} 不支持负向提示词，已略去。",
    "The model {model} takes no negative prompt; it was left out.",
)
