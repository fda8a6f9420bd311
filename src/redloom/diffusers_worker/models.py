"""In the worker: pipelines loaded, kept while there is room, and given up again.

The only modules that import torch are this one and `batch`. Weights are read from safetensors
files alone: a pickled one could run anybody's code.

May import: nothing of the package.
"""

from __future__ import annotations

import gc
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from .decoding import Decoding
from .families import Family, bytes_on_disk, class_name_of, family_of, folder_of
from .preview import Projection

EMBEDDINGS_BYTES = 256 * 1024 * 1024
FREE_SHARE = 0.9
"""Of the memory that is free, what a plan may use."""


@dataclass(slots=True)
class Device:
    """What pictures are made on."""

    kind: str
    name: str
    dtype: torch.dtype
    total_bytes: int = 0

    @property
    def torch(self) -> torch.device:
        """As torch names it; a worker sees one GPU only."""
        return torch.device(self.kind)

    def free_bytes(self) -> int | None:
        """Bytes free on a GPU; None where torch cannot say."""
        if self.kind != "cuda":
            return None
        return int(torch.cuda.mem_get_info()[0])

    def tidy(self) -> None:
        """Give freed memory back."""
        gc.collect()
        if self.kind == "cuda":
            torch.cuda.empty_cache()
        elif self.kind == "mps":
            torch.mps.empty_cache()


def device_of(asked: str, dtype: str = "") -> Device:
    """The device, as asked if torch has it, else the CPU; bf16 on a GPU, fp32 on the CPU."""
    wanted = asked.split(":")[0]
    if wanted == "cuda" and torch.cuda.is_available():
        half = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        about = torch.cuda.get_device_properties(0)
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        return Device("cuda", about.name, _dtype(dtype) or half, about.total_memory)
    if wanted == "mps" and torch.backends.mps.is_available():
        return Device("mps", "Apple GPU", _dtype(dtype) or torch.bfloat16)
    return Device("cpu", "CPU", _dtype(dtype) or torch.float32)


def _dtype(name: str) -> torch.dtype | None:
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    return known.get(name)


@dataclass(slots=True)
class Loaded:
    """A pipeline in memory."""

    name: str
    pipe: Any
    family: Family
    encoded: Embeddings
    decoder: Decoder
    preview: Projection
    warm: set[tuple[int, int]] = field(default_factory=set)
    """Sizes whose first call is behind us."""
    tiled: set[tuple[int, int]] = field(default_factory=set)
    """Sizes that have to be decoded in tiles."""


class Models:
    """The pipelines in memory, least recently used first to go."""

    def __init__(
        self,
        device: Device,
        keep: int = 2,
        *,
        compiled: bool = False,
        told: Callable[[str], None] = lambda _word: None,
    ) -> None:
        self.device = device
        self._keep, self._compiled, self._told = max(1, keep), compiled, told
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()

    def names(self) -> list[str]:
        """What is loaded, least recently used first."""
        return list(self._loaded)

    def has(self, name: str) -> bool:
        """Whether it is loaded."""
        return name in self._loaded

    def get(self, name: str) -> Loaded:
        """The pipeline, loaded if it is not. Raises whatever loading raises."""
        found = self._loaded.get(name)
        if found is None:
            self._told("loading")
            self._make_room(bytes_on_disk(folder_of(name)))
            found = self._loaded[name] = self._load(name)
            self._told("models")
        self._loaded.move_to_end(name)
        return found

    def unload(self, name: str) -> None:
        """Forget a pipeline and free its memory."""
        loaded = self._loaded.pop(name, None)
        if loaded is not None:
            del loaded
            self.device.tidy()
            self._told("models")

    def unload_others(self, name: str) -> bool:
        """Free everything else; whether there was anything."""
        others = [other for other in self._loaded if other != name]
        for other in others:
            self.unload(other)
        return bool(others)

    def _make_room(self, needed: int) -> None:
        """Unload until ``needed`` bytes of weights should fit and few enough are kept."""
        while self._loaded:
            free = self.device.free_bytes()
            if len(self._loaded) < self._keep and (free is None or needed < free * FREE_SHARE):
                return
            self.unload(next(iter(self._loaded)))

    def _load(self, name: str) -> Loaded:
        try:
            pipe = self._read(name)
        except torch.OutOfMemoryError:
            if not self.unload_others(name):
                raise
            pipe = self._read(name)
        family = family_of(type(pipe).__name__ or class_name_of(name), name)
        return Loaded(name, pipe, family, Embeddings(pipe), Decoder(pipe), Projection(pipe))

    def _read(self, name: str) -> Any:
        from diffusers import AutoPipelineForText2Image, DiffusionPipeline

        own = folder_of(name)
        how: dict[str, Any] = {"torch_dtype": self.device.dtype, "use_safetensors": True}
        if own is not None:
            how["local_files_only"] = True
        place = str(own or name)
        how = _dtype_argument(how)
        try:
            pipe = AutoPipelineForText2Image.from_pretrained(place, **how)
        except ValueError:
            # A kind that the automatic class does not know (a video model's first frame).
            pipe = DiffusionPipeline.from_pretrained(place, **how)
        pipe.set_progress_bar_config(disable=True)
        pipe = pipe.to(self.device.torch)
        self._tune(pipe)
        return pipe

    def _tune(self, pipe: Any) -> None:
        """Channels last for what convolves, one picture at a time through the decoder.

        Attention is torch's own `scaled_dot_product_attention`, diffusers' default.
        """
        for part in ("unet", "vae"):
            module = getattr(pipe, part, None)
            if module is not None:
                module.to(memory_format=torch.channels_last)
        vae: Any = getattr(pipe, "vae", None)
        if hasattr(vae, "enable_slicing"):
            vae.enable_slicing()
        if self._compiled:
            denoiser: Any = getattr(pipe, "transformer", None) or getattr(pipe, "unet", None)
            if hasattr(denoiser, "compile_repeated_blocks"):
                # dynamic: without it prompts of other lengths and other sizes compile anew.
                denoiser.compile_repeated_blocks(fullgraph=True, dynamic=True)


def _dtype_argument(how: dict[str, Any]) -> dict[str, Any]:
    """diffusers renamed ``torch_dtype`` to ``dtype`` in 0.36."""
    import diffusers

    version = tuple(int(part) for part in diffusers.__version__.split(".")[:2])
    if version >= (0, 36):
        how["dtype"] = how.pop("torch_dtype")
    return how


class Decoder:
    """A pipeline's ``vae.decode``, with a batch's own `Decoding` put in between.

    Which one is told by the thread: two threads may be in the same pipeline.
    """

    def __init__(self, pipe: Any) -> None:
        self._vae: Any = getattr(pipe, "vae", None)
        self._local = threading.local()
        self.plain: Any = getattr(self._vae, "decode", None)
        if self.plain is not None:
            vae: Any = self._vae
            vae.decode = self._decode

    @property
    def moves(self) -> bool:
        """Whether the decoder is cast to fp32 and back for each batch, or there is none: then
        nothing can be decoded beside.
        """
        if self.plain is None:
            return True
        forced = getattr(self._vae.config, "force_upcast", False)
        return bool(forced and getattr(self._vae, "dtype", None) == torch.float16)

    def beside(self, decoding: Decoding) -> bool:
        """This thread's next call is decoded so; whether beside the next batch."""
        self._local.now = decoding
        return decoding.beside

    def end(self) -> None:
        """This thread's call is over."""
        self._local.now = None

    def _decode(self, latents: Any, *args: Any, **more: Any) -> Any:
        now: Decoding | None = getattr(self._local, "now", None)
        if now is None:
            return self.plain(latents, *args, **more)
        return now(self.plain, latents, args, more)


class Embeddings:
    """A pipeline's ``encode_prompt``, remembered for each prompt by itself.

    Prompts are encoded one by one and put together, so that one picture's embedding does not
    depend on its neighbours. Where a family's results cannot be put together (padded to the
    longest prompt), the pipeline's own way is taken.
    """

    def __init__(self, pipe: Any, most_bytes: int = EMBEDDINGS_BYTES) -> None:
        self._encode = getattr(pipe, "encode_prompt", None)
        self._most, self._bytes = most_bytes, 0
        self._kept: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self.hits = 0
        if self._encode is not None:
            pipe.encode_prompt = self.encode_prompt

    def encode_prompt(self, *args: Any, **more: Any) -> Any:
        """In the place of the pipeline's own."""
        assert self._encode is not None
        if args or not isinstance(more.get("prompt"), list):
            return self._encode(*args, **more)
        count = len(more["prompt"])
        parts = [self._one(_slice(more, number, count)) for number in range(count)]
        whole = parts[0] if count == 1 else _joined(parts)
        return self._encode(**more) if whole is None else whole

    def _one(self, more: dict[str, Any]) -> Any:
        if any(isinstance(value, torch.Tensor) for value in more.values()):
            return self._encode(**more)  # type: ignore[misc]
        key = repr(sorted((name, str(value)) for name, value in more.items()))
        if key in self._kept:
            self.hits += 1
            self._kept.move_to_end(key)
            return self._kept[key][0]
        with torch.no_grad():
            value = self._encode(**more)  # type: ignore[misc]
        weight = _weight(value)
        self._kept[key] = (value, weight)
        self._bytes += weight
        while self._bytes > self._most and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1][1]
        return value


def _slice(more: Mapping[str, Any], number: int, count: int) -> dict[str, Any]:
    """The call's arguments for one of its prompts, in lists of one of their own."""
    return {
        name: [value[number]] if isinstance(value, list) and len(value) == count else value
        for name, value in more.items()
    }


def _joined(parts: list[Any]) -> Any:
    """Results of single prompts as one result; None where they do not fit together."""
    first = parts[0]
    if first is None or isinstance(first, int | float):
        return first
    if isinstance(first, torch.Tensor):
        if first.ndim and first.shape[0] == 1:
            fits = all(part.shape == first.shape for part in parts)
            return torch.cat(parts) if fits else None
        # Positions of tokens and the like: the same for every prompt, or not to be joined.
        return first if all(torch.equal(part, first) for part in parts) else None
    if isinstance(first, list):
        return [entry for part in parts for entry in part]
    if isinstance(first, tuple):
        joined = []
        for column in zip(*parts, strict=True):
            value = _joined(list(column))
            if value is None and column[0] is not None:
                return None
            joined.append(value)
        return tuple(joined)
    return None


def _weight(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return int(value.numel() * value.element_size())
    if isinstance(value, list | tuple):
        return sum(map(_weight, value))
    return 0
