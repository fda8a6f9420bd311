"""In the worker: one batch through a pipeline, in halves where memory is short.

Out of memory: the batch is halved, down to single pictures; then other models are unloaded; then
the picture is decoded in tiles; then that picture fails by name. Any other error of a batch of
several is looked for by halving too, so that a bad picture does not take its neighbours along.

May import: nothing of the package.
"""

from __future__ import annotations

import inspect
import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from .models import FREE_SHARE, Loaded, Models

WARM_STEPS = 2
SAY_S = 0.2


class AllCancelled(Exception):
    """Nobody waits for any picture of the batch."""


@dataclass
class Faults:
    """Failures on purpose, for tests: from REDLOOM_WORKER_FAULTS, a JSON object.

    ``oom_above``: batches larger than this run out of memory; ``oom_word``: so does a picture
    with this word unless it is decoded in tiles; ``oom_always``: whatever is tried; ``die``: a
    batch with this word kills the process; ``die_once``: a file, made at the first death, after
    which there is none; ``hang``: the same, but it hangs; ``slow``: seconds before each step.
    """

    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_environment(cls) -> Faults:
        """As the tests set them."""
        return cls(json.loads(os.environ.get("REDLOOM_WORKER_FAULTS") or "{}"))

    def before(self, items: Sequence[Mapping[str, Any]], *, tiled: bool) -> None:
        """Fail as asked, before a batch runs."""
        words = " ".join(str(item["prompt"]) for item in items)
        above = self.values.get("oom_above")
        if above is not None and len(items) > above:
            raise torch.OutOfMemoryError("on purpose")
        if (word := self.values.get("oom_word")) and word in words and not tiled:
            raise torch.OutOfMemoryError("on purpose")
        if (word := self.values.get("oom_always")) and word in words:
            raise torch.OutOfMemoryError("on purpose")
        if (word := self.values.get("bad")) and word in words:
            raise ValueError("on purpose")

    def in_step(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Fail as asked, in the middle of a batch."""
        if seconds := self.values.get("slow"):
            time.sleep(float(seconds))
        words = " ".join(str(item["prompt"]) for item in items)
        for way in ("die", "hang"):
            if (word := self.values.get(way)) and word in words and self._first_time():
                os.kill(os.getpid(), signal.SIGKILL) if way == "die" else time.sleep(3600)

    def _first_time(self) -> bool:
        once = self.values.get("die_once")
        if once and Path(once).exists():
            return False
        if once:
            Path(once).touch()
        return True


@dataclass
class Maker:
    """Makes batches. The callbacks tell what became of each picture."""

    models: Models
    cancelled: set[int]
    finished: Callable[[Mapping[str, Any], Any, Mapping[str, Any]], None]
    """A picture as an array, its item and facts."""
    say: Callable[[Mapping[str, Any]], None]
    faults: Faults = field(default_factory=Faults)
    most: int = 8
    room: dict[tuple[str, int, int], int] = field(default_factory=dict)
    steps: Steps | None = None

    def make(self, call: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> None:
        """See every picture of a batch to its last word, save those that are encoded later."""
        try:
            loaded = self.models.get(call["model"])
        except Exception as error:
            for item in items:
                self._failed(item, "load", error)
            return
        self._warm(loaded, call)
        cap = self.room.get(_place(call), self.most)
        for start in range(0, len(items), cap):
            self._halving(loaded, call, items[start : start + cap])

    def _halving(
        self, loaded: Loaded, call: Mapping[str, Any], items: Sequence[Mapping[str, Any]]
    ) -> None:
        items = self._still_wanted(items)
        if not items:
            return
        try:
            self._run(loaded, call, items)
        except AllCancelled:
            for item in items:
                self.say({"ev": "cancelled", "id": item["id"]})
        except torch.OutOfMemoryError as error:
            self._short(loaded, call, items, error)
        except Exception as error:
            if _context_lost(error):
                raise
            if len(items) == 1:
                self._failed(items[0], type(error).__name__, error)
            else:
                self._in_halves(loaded, call, items)

    def _in_halves(
        self, loaded: Loaded, call: Mapping[str, Any], items: Sequence[Mapping[str, Any]]
    ) -> None:
        half = len(items) // 2
        self._halving(loaded, call, items[:half])
        self._halving(loaded, call, items[half:])

    def _short(
        self,
        loaded: Loaded,
        call: Mapping[str, Any],
        items: Sequence[Mapping[str, Any]],
        error: Exception,
    ) -> None:
        """Memory is short: the next smaller thing to try."""
        error.__traceback__ = None  # it holds the batch's tensors
        self.models.device.tidy()
        size = (call["width"], call["height"])
        if len(items) > 1:
            self._learn(call, len(items) // 2)
            self._in_halves(loaded, call, items)
        elif self.models.unload_others(call["model"]):
            self._halving(loaded, call, items)
        elif size not in loaded.tiled and hasattr(
            getattr(loaded.pipe, "vae", None), "enable_tiling"
        ):
            loaded.tiled.add(size)
            self._halving(loaded, call, items)
        else:
            self._failed(items[0], "memory", error)

    def _learn(self, call: Mapping[str, Any], most: int) -> None:
        """Memory allows this many at this size; the engine's side sends no more."""
        place = _place(call)
        if most < self.room.get(place, self.most + 1):
            self.room[place] = most
            self.say(
                {
                    "ev": "room",
                    "model": place[0],
                    "width": place[1],
                    "height": place[2],
                    "batch": most,
                }
            )

    def _warm(self, loaded: Loaded, call: Mapping[str, Any]) -> None:
        """On a GPU, the first call of a size: kernels are chosen, memory is measured.

        Two steps of one picture; what it takes at most, times the batch, must fit into what is
        free. Decoding one by one keeps the rest flat.
        """
        size = (call["width"], call["height"])
        device = self.models.device
        if size in loaded.warm or device.kind != "cuda":
            loaded.warm.add(size)
            return
        loaded.warm.add(size)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        try:
            _called(loaded, {**call, "steps": WARM_STEPS}, [{"prompt": "warm", "seed": 0}], None)
        except Exception:
            device.tidy()
            return
        each = max(1, torch.cuda.max_memory_allocated() - before)
        device.tidy()
        free = device.free_bytes() or each
        self._learn(call, max(1, min(self.most, int(free * FREE_SHARE / each))))

    def _run(
        self, loaded: Loaded, call: Mapping[str, Any], items: Sequence[Mapping[str, Any]]
    ) -> None:
        tiled = (call["width"], call["height"]) in loaded.tiled
        self.faults.before(items, tiled=tiled)
        vae: Any = getattr(loaded.pipe, "vae", None)
        if hasattr(vae, "enable_tiling"):
            vae.enable_tiling() if tiled else vae.disable_tiling()
        began = time.perf_counter()
        of = call["steps"] or loaded.family.steps
        self.steps = Steps(
            [item["id"] for item in items], of, on_gpu=self.models.device.kind == "cuda"
        )

        def after_step(_pipe: Any, step: int, _t: Any, values: dict[str, Any]) -> dict[str, Any]:
            self.faults.in_step(items)
            if all(item["id"] in self.cancelled for item in items):
                raise AllCancelled
            assert self.steps is not None
            self.steps.after(step + 1)
            return values

        try:
            arrays = _called(loaded, call, items, after_step)
        finally:
            self.steps = None
        seconds = time.perf_counter() - began
        facts = {
            "batch": len(items), "seconds": seconds, "steps": of, "family": loaded.family.name,
            "tiled": tiled, "dtype": str(self.models.device.dtype).removeprefix("torch."),
            "device": self.models.device.name, "hits": loaded.encoded.hits,
        }  # fmt: skip
        for item, array in zip(items, arrays, strict=True):
            if item["id"] in self.cancelled:
                self.say({"ev": "cancelled", "id": item["id"]})
            else:
                self.finished(item, array, facts)

    def _still_wanted(self, items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        for item in items:
            if item["id"] in self.cancelled:
                self.say({"ev": "cancelled", "id": item["id"]})
        return [item for item in items if item["id"] not in self.cancelled]

    def _failed(self, item: Mapping[str, Any], kind: str, error: Exception) -> None:
        text = str(error).strip().split("\n")[0][:300] or type(error).__name__
        self.say({"ev": "failed", "id": item["id"], "kind": kind, "text": text})


class Steps:
    """How far the running batch is. On a GPU a step is done when its event has passed, long
    after it was queued; elsewhere as soon as its callback comes.
    """

    def __init__(self, ids: list[int], of: int, *, on_gpu: bool) -> None:
        self.ids, self.of = ids, of
        self._on_gpu = on_gpu
        self._events: list[tuple[int, Any]] = []
        self._done = 0

    def after(self, step: int) -> None:
        """A step's callback came."""
        if self._on_gpu:
            event = torch.cuda.Event()
            event.record()
            self._events.append((step, event))
        else:
            self._done = step

    def done(self) -> int:
        """Steps that are finished."""
        while self._events and self._events[0][1].query():
            self._done = self._events.pop(0)[0]
        return self._done


def _called(
    loaded: Loaded,
    call: Mapping[str, Any],
    items: Sequence[Mapping[str, Any]],
    after_step: Callable[..., Any] | None,
) -> Any:
    """The pipeline's call; arrays of shape (height, width, 3) with values in [0, 1].

    Noise comes from a generator of the CPU for each picture, so that it is the same on every
    device and in every batch. Lists are copies: one family overwrites the caller's.
    """
    pipe, family = loaded.pipe, loaded.family
    given = inspect.signature(pipe.__call__).parameters
    arguments: dict[str, Any] = {
        **family.call,
        **(call.get("options") or {}),
        "prompt": [str(item["prompt"]) for item in items],
        "width": call["width"],
        "height": call["height"],
        "num_inference_steps": call["steps"] or family.steps,
        "generator": [torch.Generator("cpu").manual_seed(int(item["seed"])) for item in items],
        "output_type": "np",
    }
    if any(item.get("negative") for item in items) and family.negative:
        arguments["negative_prompt"] = [str(item.get("negative") or "") for item in items]
    if after_step is not None:
        arguments["callback_on_step_end"] = after_step
        arguments["callback_on_step_end_tensor_inputs"] = []
    known = {name: value for name, value in arguments.items() if name in given}
    with torch.inference_mode():
        out = pipe(**known)
    return out.images if hasattr(out, "images") else [frames[0] for frames in out.frames]


def _place(call: Mapping[str, Any]) -> tuple[str, int, int]:
    return (call["model"], call["width"], call["height"])


def _context_lost(error: Exception) -> bool:
    """A CUDA error other than memory: nothing in this process can be trusted any more."""
    return isinstance(error, RuntimeError) and "CUDA error" in str(error)
