"""A worker process: one device, its models, batch after batch.

Started by `pool` as ``python -m redloom.diffusers_worker.worker FD``. Its threads: one or two make
pictures (on a GPU one decodes while the other denoises, see `lanes`); a reader takes messages, so
that a cancel is heard between two steps; a few encode finished pictures to PNG; one tells how far
it is. It ends when its socket does: no orphan keeps a GPU.

May import: nothing of the package.
"""

from __future__ import annotations

import io
import os
import queue
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from . import frames

if TYPE_CHECKING:
    from .batch import Maker

BEAT_S = 0.25
ENCODERS = 2
PNG_LEVEL = 1
"""Level 1 takes a third of the time of Pillow's own for a tenth more bytes."""


class Worker:
    """The process's whole state."""

    def __init__(self, plug: socket.socket) -> None:
        self._plug = plug
        self._sending = threading.Lock()
        self._batches: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._hello: queue.Queue[dict[str, Any]] = queue.Queue()
        self.cancelled: set[int] = set()
        self._fetching = threading.Lock()
        self._encoders = ThreadPoolExecutor(ENCODERS)
        self._encoding = threading.Semaphore(4 * ENCODERS * 8)
        self._maker: Maker | None = None
        self._watched = False

    def run(self) -> None:
        """Until the socket ends or ``stop`` comes."""
        threading.Thread(target=self._read, daemon=True).start()
        hello = self._hello.get()
        self._maker = maker = self._made(hello)
        threading.Thread(target=self._beat, daemon=True).start()
        lanes = [threading.Thread(target=self._carry) for _ in range(2 if maker.beside else 1)]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
        self._encoders.shutdown(wait=True)

    def _carry(self) -> None:
        """Batch after batch; the next is taken when its turn to denoise has come."""
        try:
            while self._carried():
                pass
        except BaseException:
            # Nothing in this process can be trusted any more (a lost CUDA context).
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)

    def _carried(self) -> bool:
        assert self._maker is not None
        with self._fetching:
            message = self._batches.get()
            if message is None:
                self._batches.put(None)
                return False
            self._maker.lanes.take()
            self.say({"ev": "begun", "batch": message["batch"]})
        ended = {"ev": "ended", "batch": message["batch"]}
        self._maker.make(message["call"], message["items"], lambda: self.say(ended))
        self.cancelled.difference_update(item["id"] for item in message["items"])
        self.say(ended)
        return True

    def _made(self, hello: Mapping[str, Any]) -> Maker:
        """Import the heavy parts, look at the device, say ready."""
        began = time.perf_counter()
        threads = hello.get("threads")
        if threads:
            os.environ["OMP_NUM_THREADS"] = str(threads)
        import torch

        from .batch import Faults, Maker, beside_on
        from .models import Models, device_of

        if threads:
            torch.set_num_threads(int(threads))
        device = device_of(str(hello.get("device") or "cpu"), str(hello.get("dtype") or ""))
        models = Models(
            device,
            int(hello.get("keep") or 2),
            compiled=bool(hello.get("compile")),
            told=self._models,
        )
        maker = Maker(
            models, self.cancelled, self._finished, self.say, Faults.from_environment(),
            int(hello.get("most") or 8), beside_on(device.kind, hello.get("overlap")),
            self._watched or bool(hello.get("watch")),
        )  # fmt: skip
        self.say(
            {
                "ev": "ready", "kind": device.kind, "name": device.name, "bytes": device.total_bytes,
                "dtype": str(device.dtype).removeprefix("torch."), "pid": os.getpid(),
                "torch": torch.__version__, "seconds": time.perf_counter() - began,
            }
        )  # fmt: skip
        return maker

    def _read(self) -> None:
        try:
            while True:
                head, _ = frames.read_blocking(self._plug)
                match head["op"]:
                    case "hello":
                        self._hello.put(head)
                    case "cancel":
                        self.cancelled.update(head["ids"])
                    case "watch":
                        self._watch(bool(head["on"]))
                    case "stop":
                        self._batches.put(None)
                        return
                    case _:
                        self._batches.put(head)
        except (EOFError, OSError):
            os._exit(0)

    def _watch(self, on: bool) -> None:
        self._watched = on
        if self._maker is not None:
            self._maker.watched = on

    def _beat(self) -> None:
        """A sign of life, with how far the running batch is."""
        said = (0, 0)
        while True:
            time.sleep(BEAT_S)
            steps = self._maker.steps if self._maker is not None else None
            if steps is None:
                self.say({"ev": "beat"})
                continue
            now = (steps.ids[0], steps.done())
            previews = steps.previews()
            if now != said or previews:
                said = now
                told = {"ev": "step", "ids": steps.ids, "step": now[1], "of": steps.of}
                sizes = [len(data) for data in previews]
                self.say({**told, "previews": sizes}, b"".join(previews))
            else:
                self.say({"ev": "beat"})

    def _models(self, word: str) -> None:
        assert self._maker is not None
        self.say({"ev": word, "models": self._maker.models.names()})

    def say(self, head: Mapping[str, Any], body: bytes = b"") -> None:
        """One message; a parent that is gone ends this process."""
        data = frames.packed(head, body)
        try:
            with self._sending:
                self._plug.sendall(data)
        except OSError:
            os._exit(0)

    def _finished(self, item: Mapping[str, Any], array: Any, facts: Mapping[str, Any]) -> None:
        """Encode beside the next batch; a few batches' pictures wait at most."""
        self._encoding.acquire()
        self._encoders.submit(self._encode, item, array, facts)

    def _encode(self, item: Mapping[str, Any], array: Any, facts: Mapping[str, Any]) -> None:
        try:
            data = encoded(array)
        except Exception as error:
            self.say(
                {
                    "ev": "failed",
                    "id": item["id"],
                    "kind": type(error).__name__,
                    "text": str(error)[:300],
                }
            )
        else:
            self.say({"ev": "image", "id": item["id"], "seed": item["seed"], **facts}, data)
        finally:
            self._encoding.release()


def encoded(array: Any) -> bytes:
    """An array of (height, width, 3) in [0, 1] as PNG. Raises ValueError for what is no picture:
    values that are not numbers come from a computation that went wrong.
    """
    import numpy
    from PIL import Image

    if not numpy.isfinite(array).all():
        raise ValueError("the computation gave values that are no numbers")
    levels = (numpy.clip(array, 0.0, 1.0) * 255.0).round().astype("uint8")
    out = io.BytesIO()
    Image.fromarray(levels).save(out, "PNG", compress_level=PNG_LEVEL)
    return out.getvalue()


def main() -> None:
    """The process's entry point."""
    Worker(socket.socket(fileno=int(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
