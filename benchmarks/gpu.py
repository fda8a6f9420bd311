"""Pictures on this machine: the whole way through the engine against the plain diffusers loop.

    python benchmarks/gpu.py                                    # tiny pipeline: the engine's overhead
    python benchmarks/gpu.py --random sdxl --size 1024x1024     # full size, random weights, on a GPU
    python benchmarks/gpu.py --random z-image-turbo --compile
    python benchmarks/gpu.py --model FOLDER_OR_NAME             # real weights

The plain loop is what diffusers' own pages show: ``pipe(prompts, generator=[…])`` batch by batch,
each picture saved as PNG at the same level, in a process of its own. The engine makes as many
pictures of the same seeds with the same batch: journal, store, files and all. They take turns. Loading and the first batch are left out on both sides. On a GPU the loop also counts the FLOP
of a picture (torch's flop counter: matmul, convolution, attention) and measures a large bf16 matmul,
and both rates are given as parts of that bound. On the CPU the figure is overhead and nothing else:
it says nothing of throughput.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import io
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redloom.endpoint import Endpoint, Tools
from redloom.engine import Engine
from redloom.providers import diffusers as local

os.environ.setdefault("HF_HUB_OFFLINE", "1")


def options() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--pictures", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=0, help="0: the family's own")
    parser.add_argument("--size", default="")
    parser.add_argument("--random", choices=["sdxl", "z-image-turbo"], default="")
    parser.add_argument("--model", default="")
    parser.add_argument("--compile", action="store_true")
    return parser.parse_args()


def prompt(number: int) -> str:
    """The words of a picture."""
    return f"a lighthouse in the fog, number {number}"


def plain(model: str, how: Mapping[str, Any], line: Any) -> None:
    """The plain loop, in a process of its own; makes a round whenever ``line`` says so."""
    import torch

    from redloom.diffusers_worker.models import Models, device_of

    if how["threads"]:
        torch.set_num_threads(how["threads"])
    device = device_of(how["device"])
    loaded = Models(device, compiled=how["compile"]).get(model)
    steps = how["steps"] or loaded.family.steps
    width, height = how["size"]

    def batch(first: int, count: int, steps: int) -> None:
        images = loaded.pipe(
            prompt=[prompt(first + n) for n in range(count)], width=width, height=height,
            num_inference_steps=steps, **loaded.family.call,
            generator=[torch.Generator("cpu").manual_seed(first + n) for n in range(count)],
        ).images  # fmt: skip
        for image in images:
            image.save(io.BytesIO(), "PNG", compress_level=1)

    batch(0, how["batch"], steps)
    flop = peak = 0.0
    if device.kind == "cuda" and not how["compile"]:  # compiled code cannot be counted
        flop, peak = flop_of(lambda n: batch(0, 1, n), steps), matmul_rate(device.torch)
    line.send((steps, flop, peak, device.name, loaded.family.name))
    while line.recv() == "go":
        began, busy = time.perf_counter(), time.process_time()
        for first in range(0, how["pictures"], how["batch"]):
            batch(first, min(how["batch"], how["pictures"] - first), steps)
        if device.kind == "cuda":
            torch.cuda.synchronize()
        line.send((time.perf_counter() - began, time.process_time() - busy))


class Plain:
    """The plain loop's process as this one sees it."""

    def __init__(self, model: str, how: Mapping[str, Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self._line, theirs = context.Pipe()
        self._process = context.Process(target=plain, args=(model, how, theirs))
        self._process.start()
        self.about: tuple[Any, ...] = self._line.recv()

    def round(self) -> tuple[float, float]:
        """Seconds of a round: by the clock, and of processor time."""
        self._line.send("go")
        seconds: tuple[float, float] = self._line.recv()
        return seconds

    def end(self) -> None:
        """Give its memory back."""
        self._line.send("end")
        self._process.join()


def flop_of(run: Any, steps: int) -> float:
    """FLOP of one picture: those of two short runs, drawn out to ``steps`` steps."""
    from torch.utils.flop_counter import FlopCounterMode

    counts = []
    for number in (2, 4):
        with FlopCounterMode(display=False) as counter:
            run(number)
        counts.append(counter.get_total_flops())
    each = (counts[1] - counts[0]) / 2
    return float(counts[0] + (steps - 2) * each)


def matmul_rate(device: Any) -> float:
    """FLOP a second of a large bf16 matmul: what the chip can do at best here."""
    import torch

    size, times = 8192, 20
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    for _ in range(3):
        a @ a
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(times):
        a @ a
    torch.cuda.synchronize()
    return float(times * 2 * size**3 / (time.perf_counter() - began))


def busy_seconds(pid: int) -> float:
    """Processor time of another process; 0 where /proc does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def rounds(
    model: str, how: Mapping[str, Any], folder: Path, bare: Plain
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Rounds of both, in turn, so that what else the machine does falls on both alike.

    A full-size model is held once only: there the plain loop's round comes first, and it ends.
    """
    settings = {
        "devices": [how["device"]], "batch": how["batch"], "steps": how["steps"],
        "threads": how["threads"], "compile": how["compile"],
    }  # fmt: skip
    endpoint = Endpoint("local", "diffusers", model, options=settings)
    provider: Any = local.create(endpoint, Tools())
    first = bare.round() if how["rounds"] == 1 else None
    if first:
        bare.end()
    found: list[tuple[tuple[float, float], tuple[float, float]]] = []
    async with Engine(workspace=folder / "workspace", equipped=[(endpoint, provider)]) as running:
        await made(running, how, how["batch"], -1, folder)
        worker = (await provider._workers().ready())["pid"]
        for number in range(how["rounds"]):
            theirs = first if first is not None else await asyncio.to_thread(bare.round)
            began, busy = time.perf_counter(), time.process_time() + busy_seconds(worker)
            await made(running, how, how["pictures"], number, folder)
            spent = time.process_time() + busy_seconds(worker) - busy
            found.append((theirs, (time.perf_counter() - began, spent)))
    if not first:
        bare.end()
    return found


async def made(
    running: Engine, how: Mapping[str, Any], count: int, number: int, folder: Path
) -> None:
    """A round by the engine."""
    size = "x".join(map(str, how["size"]))
    prompts = [
        {"prompt": f"{prompt(n)}, round {number}", "size": size, "seed": n} for n in range(count)
    ]
    results = await running.generate(prompts, out=folder / f"out{number}")
    bad = [result.error for result in results if not result.ok]
    if bad:
        raise SystemExit(f"{len(bad)} pictures failed: {bad[0]}")


def report(how: Mapping[str, Any], found: list[Any], about: tuple[Any, ...]) -> None:
    """The figures, as rates and ratios; medians over the rounds."""
    steps, flop, peak, device, family = about
    count, middle = how["pictures"], len(found) // 2
    width, height = how["size"]
    walls = [sorted(side[at][0] for side in found)[middle] for at in (0, 1)]
    cpus = [sorted(side[at][1] for side in found)[middle] for at in (0, 1)]
    ratios = sorted(theirs[0] / ours[0] for theirs, ours in found)
    print(f"{family}, {width}x{height}, {steps} steps, batch {how['batch']}, "
          f"{len(found)} rounds of {count} pictures on {device}")  # fmt: skip
    for name, wall, cpu in zip(("plain loop", "the engine"), walls, cpus, strict=True):
        print(
            f"  {name}   {count / wall:8.2f} pictures/s  {cpu / count * 1e3:7.1f} ms of processor a picture"
        )
    spread = f" ({ratios[0]:.3f} to {ratios[-1]:.3f})" if len(ratios) > 1 else ""
    print(f"  the engine has {ratios[middle]:.3f} of the plain loop's rate{spread}, "
          f"{(cpus[1] - cpus[0]) / count * 1e3:+.1f} ms of processor a picture")  # fmt: skip
    if flop:
        bound = peak / flop
        print(f"  bound: {flop / 1e12:.1f} TFLOP a picture at {peak / 1e12:.0f} TFLOP/s (bf16 matmul here) "
              f"= {bound:.3f} pictures/s; plain {100 * count / walls[0] / bound:.1f} %, "
              f"engine {100 * count / walls[1] / bound:.1f} %")  # fmt: skip
    else:
        print("  (on the CPU this is the engine's overhead, not a throughput)")


def main() -> None:
    """Both ways, in one run."""
    asked = options()
    if lacking := [n for n in local.PACKAGES if importlib.util.find_spec(n) is None]:
        print(f"skipped: needs {', '.join(lacking)} (pip install 'redloom[gpu]'; make test-extras)")
        return
    from redloom.diffusers_worker.random_models import build

    device = local.devices()[0]
    full = bool(asked.random or asked.model)
    width, _, height = (asked.size or ("1024x1024" if full else "64x64")).partition("x")
    how = {
        "device": device, "batch": asked.batch, "steps": asked.steps or (0 if full else 4),
        "pictures": asked.pictures, "compile": asked.compile, "size": (int(width), int(height)),
        "threads": 1 if device == "cpu" else 0, "rounds": 1 if full else asked.rounds,
    }  # fmt: skip
    if device == "cpu" and asked.random:
        print("skipped: a full-size model on a CPU says nothing; a GPU is needed", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        kind = asked.random or "z-image-turbo"
        on = device.split(":", maxsplit=1)[0] if full else "cpu"
        if not asked.model:
            # In a process of its own: what it takes of the GPU is given back.
            context = multiprocessing.get_context("spawn")
            building = context.Process(
                target=build, args=(kind, folder), kwargs={"full": bool(asked.random), "device": on}
            )
            building.start()
            building.join()
        model = asked.model or str(folder / kind)
        bare = Plain(model, how)
        report(how, asyncio.run(rounds(model, how, folder, bare)), bare.about)


if __name__ == "__main__":
    main()
