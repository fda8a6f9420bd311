"""What each kind of pipeline takes, told from its ``model_index.json``; no torch needed.

Defaults are those of the models' cards (steps, guidance); a pipeline that the table does not
know is called with what its own signature takes.

May import: nothing of the package.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of pipeline."""

    name: str
    steps: int = 30
    step_px: int = 16
    """Sides are multiples of this, in pixels."""
    negative: bool = True
    call: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the call that are not the pipeline's own defaults."""
    sizes: tuple[tuple[int, int], ...] = ()


_SQUARE = ((1024, 1024), (896, 1152), (1152, 896), (768, 1344), (1344, 768))
_SMALL = ((512, 512), (512, 768), (768, 512))
FAMILIES: tuple[tuple[str, Family], ...] = (
    ("StableDiffusionXL", Family("sdxl", 30, 8, sizes=_SQUARE)),
    ("StableDiffusion3", Family("sd3", 28, 16, sizes=_SQUARE)),
    ("StableDiffusion", Family("sd", 30, 8, sizes=_SMALL)),
    ("Flux2Klein", Family("flux2-klein", 4, 16, negative=False, call={"guidance_scale": 1.0}, sizes=_SQUARE)),
    ("Flux2", Family("flux2", 28, 16, negative=False, sizes=_SQUARE)),
    ("Flux", Family("flux", 28, 16, negative=False, sizes=_SQUARE)),
    (
        "ZImage",
        Family("z-image", 9, 16, negative=False, call={"guidance_scale": 0.0}, sizes=_SQUARE),
    ),
    ("QwenImage", Family("qwen-image", 50, 16, sizes=((1328, 1328), (1104, 1472), (1472, 1104)))),
    ("Sana", Family("sana", 20, 32, sizes=_SQUARE)),
    ("PixArt", Family("pixart", 20, 16, sizes=_SQUARE)),
)  # fmt: skip
"""By the beginning of the pipeline's class name, most special first."""
UNKNOWN = Family("unknown", 30, 16, sizes=_SQUARE)
SCHNELL = Family(
    "flux-schnell", 4, 16, negative=False, sizes=_SQUARE,
    call={"guidance_scale": 0.0, "max_sequence_length": 256},
)  # fmt: skip
TURBO_WORDS = ("turbo", "lightning", "schnell", "lcm", "hyper")
"""In a model's name: it was distilled to a few steps and wants no guidance."""


def family_of(class_name: str, model: str = "") -> Family:
    """The family of a pipeline class; a distilled model of one has fewer steps."""
    found = next((fam for start, fam in FAMILIES if class_name.startswith(start)), UNKNOWN)
    name = model.lower()
    if found.name == "flux" and "schnell" in name:
        return SCHNELL
    if found.name in ("sdxl", "sd") and any(word in name for word in TURBO_WORDS):
        return Family(found.name + "-turbo", 4, 8, False, {"guidance_scale": 0.0}, found.sizes)
    if found.name == "z-image" and "turbo" not in name:
        # The base model guides itself away from a negative prompt; the turbo one must not.
        return Family("z-image-base", 50, 16, call={"guidance_scale": 4.0}, sizes=found.sizes)
    return found


def class_name_of(model: str, environ: Mapping[str, str] | None = None) -> str:
    """The pipeline's class by its folder, or by the Hugging Face cache; empty where unknown."""
    folder = folder_of(model, environ)
    if folder is None:
        return ""
    try:
        index = json.loads((folder / "model_index.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return ""
    name = index.get("_class_name") if isinstance(index, dict) else None
    return name if isinstance(name, str) else ""


def folder_of(model: str, environ: Mapping[str, str] | None = None) -> Path | None:
    """Where a pipeline lies on this machine: its own folder, or its newest cached snapshot."""
    own = Path(model).expanduser()
    if (own / "model_index.json").is_file():
        return own
    given = os.environ if environ is None else environ
    home = given.get("HF_HOME") or str(Path("~/.cache/huggingface").expanduser())
    cache = Path(given.get("HF_HUB_CACHE") or Path(home) / "hub")
    snapshots = cache / f"models--{model.replace('/', '--')}" / "snapshots"
    found = sorted(snapshots.glob("*/model_index.json"), key=lambda path: path.stat().st_mtime)
    return found[-1].parent if found else None


def bytes_on_disk(folder: Path | None) -> int:
    """How many bytes of weights a pipeline's folder holds; 0 where it is not known."""
    if folder is None:
        return 0
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
