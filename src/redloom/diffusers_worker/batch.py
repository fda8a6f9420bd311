"""In the worker: one batch through a pipeline, in halves where memory is short.

Out of memory while denoising: first nothing is decoded beside any more; then the batch is halved,
down to single pictures; then other models are unloaded; then that picture fails by name. What is
tried while decoding stands in `decoding`. Any other error of a batch of several is looked for by
halving too, so that a bad picture does not take its neighbours along.

May import: nothing of the package.
"""

from __future__ import annotations

import inspect
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from .decoding import Decoding, NothingDecoded
from .lanes import Lanes
from .models import FREE_SHARE, Loaded, Models
from .preview import EVERY_S, jpeg

WARM_STEPS = 2


def beside_on(kind: str, asked: object = None) -> bool:
    """Whether to decode beside the next batch: as asked, else on CUDA only. On a CPU both want the
    same cores, and an Apple GPU has one queue.
    """
    return kind == "cuda" if asked is None else bool(asked)


class AllCancelled(Exception):
    """Nobody waits for any picture of the batch."""


@dataclass
class Faults:
    """Failures on purpose, for tests: from REDLOOM_WORKER_FAULTS, a JSON object.

    ``oom_above``: batches larger than this run out of memory; ``oom_word``: so does a picture
    with this word unless it is decoded in tiles; ``oom_always``: decoded in whatever way;
    ``oom_beside``: one that is decoded while another batch denoises; ``die``: a batch with this
    word kills the process; ``die_once``: a file, made at the first death, after which there is
    none; ``hang``: the same, but it hangs; ``die_decoding``: it dies when this is decoded;
    ``slow``: seconds before each step; ``meet``: a picture with this word is decoded only when a
    step of another batch was done meanwhile, and fails otherwise.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 0

    @classmethod
    def from_environment(cls) -> Faults:
        """As the tests set them."""
        return cls(json.loads(os.environ.get("REDLOOM_WORKER_FAULTS") or "{}"))

    def before(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Fail as asked, before a batch runs."""
        words = " ".join(str(item["prompt"]) for item in items)
        above = self.values.get("oom_above")
        if above is not None and len(items) > above:
            raise torch.OutOfMemoryError("on purpose")
        if (word := self.values.get("bad")) and word in words:
            raise ValueError("on purpose")

    def in_decoder(self, item: Mapping[str, Any], *, tiled: bool, beside: bool) -> None:
        """Fail as asked, before a picture is decoded."""
        short = {"oom_word": not tiled, "oom_always": True, "oom_beside": beside}
        for name, now in short.items():
            if now and (word := self.values.get(name)) and word in str(item["prompt"]):
                raise torch.OutOfMemoryError("on purpose")
        if (word := self.values.get("die_decoding")) and word in str(item["prompt"]):
            os.kill(os.getpid(), signal.SIGKILL)
        if (word := self.values.get("meet")) and word in str(item["prompt"]):
            self._meet()

    def _meet(self) -> None:
        seen, until = self.steps, time.monotonic() + 20
        while self.steps == seen:
            if time.monotonic() > until:
                raise ValueError("nothing was denoised meanwhile")
            time.sleep(0.005)

    def in_step(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Fail as asked, in the middle of a batch."""
        self.steps += 1
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
    beside: bool = False
    """Whether a batch is decoded while the next one denoises."""
    watched: bool = False
    """Whether somebody looks at previews; without one they cost nothing."""
    room: dict[tuple[str, int, int], int] = field(default_factory=dict)
    steps: Steps | None = None
    lanes: Lanes = field(default_factory=Lanes)
    _tight: set[tuple[str, int, int]] = field(default_factory=set)
    """Where memory does not allow both at a time."""
    _streams: dict[int, Any] = field(default_factory=dict)

    def make(
        self,
        call: Mapping[str, Any],
        items: Sequence[Mapping[str, Any]],
        denoised: Callable[[], None] = lambda: None,
    ) -> None:
        """See every picture of a batch to its last word, save those that are encoded later.

        May be called by two threads: one denoises while the other decodes. ``denoised`` is called
        when a batch that is made in one go is only decoded any more.
        """
        self.lanes.take()
        try:
            self._make(call, items, denoised)
        finally:
            self.lanes.give()

    def _make(
        self,
        call: Mapping[str, Any],
        items: Sequence[Mapping[str, Any]],
        denoised: Callable[[], None],
    ) -> None:
        if not self.models.has(call["model"]) or any(item.get("alone") for item in items):
            # What is unloaded for it must not be in use; and a death must blame one picture only.
            self.lanes.settle()
        try:
            loaded = self.models.get(call["model"])
        except Exception as error:
            for item in items:
                self._failed(item, "load", error)
            return
        self._warm(loaded, call)
        cap = self.room.get(_place(call), self.most)
        if len(items) <= cap:
            self._halving(loaded, call, items, denoised)
            return
        for start in range(0, len(items), cap):
            self._halving(loaded, call, items[start : start + cap])

    def _halving(
        self,
        loaded: Loaded,
        call: Mapping[str, Any],
        items: Sequence[Mapping[str, Any]],
        denoised: Callable[[], None] = lambda: None,
    ) -> None:
        items = self._still_wanted(items)
        if not items:
            return
        try:
            self._run(loaded, call, items, denoised)
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
        self.lanes.take()
        busy = self.lanes.settle()
        self.models.device.tidy()
        if busy and _place(call) not in self._tight:
            self._tight.add(_place(call))
            self._halving(loaded, call, items)
        elif len(items) > 1:
            self._learn(call, len(items) // 2)
            self._in_halves(loaded, call, items)
        elif self.models.unload_others(call["model"]):
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
        self.lanes.settle()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        try:
            _called(loaded, {**call, "steps": WARM_STEPS}, [{"prompt": "warm", "seed": 0}], None)
        except Exception:
            device.tidy()
            return
        each = max(1, torch.cuda.max_memory_allocated() - before)
        device.tidy()
        fit = int((device.free_bytes() or each) * FREE_SHARE / each)
        if self.beside and fit < 2:
            self._tight.add(_place(call))
        elif self.beside:
            fit -= 1  # one picture of the batch before is decoded at the same time
        self._learn(call, max(1, min(self.most, fit)))

    def _run(
        self,
        loaded: Loaded,
        call: Mapping[str, Any],
        items: Sequence[Mapping[str, Any]],
        denoised: Callable[[], None],
    ) -> None:
        self.lanes.take()
        self.faults.before(items)
        if _place(call) in self._tight:
            self.lanes.settle()
        began = time.perf_counter()
        of = call["steps"] or loaded.family.steps
        steps = self.steps = Steps(
            [item["id"] for item in items], of, on_gpu=self.models.device.kind == "cuda"
        )
        decoding = self._decoding(loaded, call, items, denoised)
        beside = loaded.decoder.beside(decoding)
        size = (call["width"], call["height"])

        def after_step(_pipe: Any, step: int, _t: Any, values: dict[str, Any]) -> dict[str, Any]:
            self.faults.in_step(items)
            if all(item["id"] in self.cancelled for item in items):
                raise AllCancelled
            steps.after(step + 1)
            if self.watched and steps.due():
                self._look(loaded, steps, values.get("latents"), size)
            return values

        try:
            arrays = _called(loaded, call, items, after_step)
        except NothingDecoded:
            arrays = []
        finally:
            loaded.decoder.end()
            decoding.done()
            if self.steps is steps:
                self.steps = None
        self._delivered(items, arrays, decoding, {
            "batch": len(items), "seconds": time.perf_counter() - began, "steps": of,
            "family": loaded.family.name, "tiled": decoding.tiled, "beside": beside,
            "dtype": str(self.models.device.dtype).removeprefix("torch."),
            "device": self.models.device.name, "hits": loaded.encoded.hits,
        })  # fmt: skip

    def _decoding(
        self,
        loaded: Loaded,
        call: Mapping[str, Any],
        items: Sequence[Mapping[str, Any]],
        denoised: Callable[[], None],
    ) -> Decoding:
        """How this batch is decoded: beside the next where the device gains by it."""
        size, vae = (call["width"], call["height"]), getattr(loaded.pipe, "vae", None)
        tight = _place(call) in self._tight or any(item.get("alone") for item in items)
        beside = self.beside and not tight and not loaded.decoder.moves

        def want_tiles() -> bool:
            new = size not in loaded.tiled and hasattr(vae, "enable_tiling")
            loaded.tiled.add(size)
            return new

        def handed() -> None:
            self.steps = None
            if beside:
                denoised()

        made = Decoding(
            vae, self.lanes, items, lambda: size in loaded.tiled, want_tiles,
            lambda: self.models.unload_others(call["model"]), self.models.device.tidy,
            lambda item, tiled: self.faults.in_decoder(item, tiled=tiled, beside=made.beside),
            lambda latent, image: loaded.preview.learn(latent, image) if self.watched else None,
            handed, beside, self._stream() if beside else None,
        )  # fmt: skip
        return made

    def _stream(self) -> Any:
        """This thread's second stream on CUDA; elsewhere there is none."""
        if self.models.device.kind != "cuda":
            return None
        return self._streams.setdefault(threading.get_ident(), torch.cuda.Stream())

    def _look(self, loaded: Loaded, steps: Steps, latents: Any, size: tuple[int, int]) -> None:
        """A preview of the batch; whatever is wrong with it, the batch goes on."""
        # Not waited for: who holds it may wait for our turn.
        if latents is None or not self.lanes.decoder.acquire(blocking=False):
            return
        try:
            loaded.preview.begin(loaded.decoder.plain)
        finally:
            self.lanes.decoder.release()
        try:
            steps.show(loaded.preview.thumbnails(latents, size))
        except Exception:
            loaded.preview.broken = True

    def _delivered(
        self,
        items: Sequence[Mapping[str, Any]],
        arrays: Any,
        decoding: Decoding,
        facts: Mapping[str, Any],
    ) -> None:
        made = [item for place, item in enumerate(items) if place not in decoding.failed]
        for place, error in decoding.failed.items():
            self._failed(items[place], "memory", error)
        for item, array in zip(made, arrays, strict=True):
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
        self._looked = float("-inf")
        self._shown: tuple[Any, Any] | None = None

    def due(self) -> bool:
        """Whether it is time for another preview."""
        return time.monotonic() - self._looked >= EVERY_S

    def show(self, levels: Any) -> None:
        """Small pictures of the batch as it is now, of shape (pictures, height, width, 3)."""
        self._looked = time.monotonic()
        if levels is None:
            return
        event = None
        if self._on_gpu:
            # Copied behind the step's own work, without waiting for it.
            copied = torch.empty(levels.shape, dtype=levels.dtype, pin_memory=True)
            levels = copied.copy_(levels, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
        self._shown = (levels.cpu(), event)

    def previews(self) -> list[bytes]:
        """JPEGs of the batch's pictures in their order, once each; nothing where none is new."""
        shown = self._shown
        if shown is None or (shown[1] is not None and not shown[1].query()):
            return []
        self._shown = None
        return [jpeg(levels) for levels in shown[0]]

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
        known_tensors = getattr(pipe, "_callback_tensor_inputs", ())
        wanted = ["latents"] if "latents" in known_tensors else []
        arguments["callback_on_step_end_tensor_inputs"] = wanted
    known = {name: value for name, value in arguments.items() if name in given}
    with torch.inference_mode():
        out = pipe(**known)
    return out.images if hasattr(out, "images") else [frames[0] for frames in out.frames]


def _place(call: Mapping[str, Any]) -> tuple[str, int, int]:
    return (call["model"], call["width"], call["height"])


def _context_lost(error: Exception) -> bool:
    """A CUDA error other than memory: nothing in this process can be trusted any more."""
    return isinstance(error, RuntimeError) and "CUDA error" in str(error)
