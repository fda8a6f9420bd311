"""A pipeline that stands in for torch and diffusers, for worker processes of the fault suite.

Found by every Python process that has this folder on its path; it does something only where
``STAND_IN_PIPELINE`` is set. The worker itself (its process, socket, threads, encoding) is the
real one; only what needs a model is here: a picture that shows its prompt, as the emulators' do.
"""

from __future__ import annotations

import os
import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

SECONDS = 0.03
"""Real seconds that a picture takes."""


class Pixels:
    """A finished picture of a prompt: as much of a numpy array as the worker's encoder asks for."""

    def __init__(self, prompt: str, width: int, height: int) -> None:
        from io import BytesIO

        from PIL import Image

        from redloom.emulators.ledger import prompt_sha
        from redloom.emulators.pictures import picture

        data = picture(prompt_sha(prompt), prompt, width, height)
        self._bytes = Image.open(BytesIO(data)).convert("RGB").tobytes()
        self.__array_interface__ = {
            "shape": (height, width, 3), "typestr": "|u1", "strides": (), "version": 3,
        }  # fmt: skip

    def __mul__(self, _levels: float) -> Pixels:
        return self

    def tobytes(self) -> bytes:
        return self._bytes

    def all(self) -> bool:
        return True

    def astype(self, _kind: str) -> Pixels:
        return self

    def round(self) -> Pixels:
        return self


class Maker:
    """What `redloom.diffusers_worker.batch.Maker` is to its worker."""

    beside = False
    steps = None
    watched = False

    def __init__(self, models: Any, cancelled: set[int], finished: Any, *_rest: Any) -> None:
        self.models, self._cancelled, self._finished = models, cancelled, finished
        self.lanes = SimpleNamespace(take=lambda: None)

    def make(self, call: dict[str, Any], items: list[dict[str, Any]], _ended: Any) -> None:
        """A batch, one picture after another."""
        for item in items:
            threading.Event().wait(SECONDS)
            if item["id"] not in self._cancelled:
                self._finished(item, Pixels(item["prompt"], call["width"], call["height"]), {})


def _module(name: str, **contents: Any) -> None:
    made = ModuleType(name)
    made.__dict__.update(contents)
    sys.modules[name] = made


if os.environ.get("STAND_IN_PIPELINE"):
    device = SimpleNamespace(kind="cpu", name="stand-in", total_bytes=0, dtype="torch.float32")
    _module("numpy", isfinite=lambda pixels: pixels, clip=lambda pixels, *_: pixels)
    _module("torch", __version__="0", set_num_threads=lambda _n: None)
    _module(
        "redloom.diffusers_worker.batch", Maker=Maker, beside_on=lambda *_: False,
        Faults=SimpleNamespace(from_environment=lambda: None),
    )  # fmt: skip
    _module(
        "redloom.diffusers_worker.models", device_of=lambda *_: device,
        Models=lambda *_, **__: SimpleNamespace(names=list),
    )  # fmt: skip
