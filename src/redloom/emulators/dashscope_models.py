"""DashScope's image models as the service knows them: paths, shapes, ranges, limits.

Sources, read in November 2026: Model Studio's API reference of the text-to-image V2, Qwen-Image,
Z-Image, Wan 2.6 and Wan 2.7 models, its page on rate limits, and error texts recorded by users.
May import: nothing of the package.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Path = Literal["text2image", "image2image", "multimodal", "image"]
PATHS: Mapping[str, Path] = {
    "/api/v1/services/aigc/text2image/image-synthesis": "text2image",
    "/api/v1/services/aigc/image2image/image-synthesis": "image2image",
    "/api/v1/services/aigc/multimodal-generation/generation": "multimodal",
    "/api/v1/services/aigc/image-generation/generation": "image",
}


@dataclass(frozen=True, slots=True)
class Model:
    """One model. ``rate`` is (requests, in so many seconds); sizes are in pixels."""

    asynchronous: Path | None
    synchronous: bool
    rate: tuple[int, float]
    concurrency: int | None
    prompt: int
    """Characters of the prompt that are read; the rest is cut off without a word."""
    default: tuple[int, int]
    sides: tuple[int, int] = (1, 1 << 20)
    total: tuple[int, int] = (1, 1 << 40)
    ratio: float = 1 << 20
    """The longer side may be so many times the shorter."""
    also: tuple[tuple[int, int], ...] = ()
    """Sizes that the page suggests although they lie outside its own range."""
    only: tuple[tuple[int, int], ...] = ()
    n: tuple[int, int] = (4, 4)
    """(default, most) pictures of one request."""
    extends: bool | None = True
    """Default of ``prompt_extend``; None where the model does not know it."""
    qwen: bool = False
    """Answers with ``task_metric`` and ``usage{width, height}``, and content without ``type``."""
    steps: tuple[str, ...] = ()
    """Sizes by name, such as 2K."""
    tells: bool = True
    """Whether ``results`` repeat the prompt as asked."""
    family: str = ""
    """Models that share one limit."""
    needs: tuple[str, ...] = ()
    """Fields of ``input`` without which there is no work."""

    @property
    def sync_slots(self) -> int | None:
        """Requests at once on the synchronous lane: Qwen and Z-Image publish none."""
        return None if self.qwen else self.concurrency


_QWEN = ((1664, 928), (1472, 1104), (1328, 1328), (1104, 1472), (928, 1664))
_WANX1 = ((1024, 1024), (720, 1280), (768, 1152), (1280, 720))
_STEPS = {"1K": (1024, 1024), "2K": (2048, 2048), "4K": (4096, 4096)}

_WAN22 = Model("text2image", False, (2, 1), 2, 500, (1024, 1024), sides=(512, 1440))
_SUGGESTED = ((1104, 1472), (1472, 1104), (960, 1696), (1696, 960))
_WAN25 = Model(
    "text2image",
    False,
    (5, 1),
    5,
    2000,
    (1280, 1280),
    total=(1280**2, 1440**2),
    ratio=4,
    also=_SUGGESTED,
)
_WAN26 = replace(_WAN25, asynchronous="image", synchronous=True, rate=(1, 1), prompt=2100)
_WAN27 = Model(
    "image",
    True,
    (5, 1),
    5,
    5000,
    (2048, 2048),
    total=(768**2, 2048**2),
    ratio=8,
    extends=None,
    steps=("1K", "2K"),
)
_QWEN_IMAGE = Model(
    "text2image", True, (2, 1), 2, 800, (1664, 928), only=_QWEN, n=(1, 1), qwen=True
)
_QWEN_2 = Model(
    None, True, (2, 1), None, 800, (2048, 2048), total=(512**2, 2048**2), n=(1, 6), qwen=True
)

_KLING = replace(
    _WAN25,
    asynchronous="image",
    concurrency=10,
    prompt=2500,
    default=(1024, 1024),
    total=(1, 2048**2),
    n=(1, 9),
    extends=None,
    family="kling",
)
_KLING_NAMES = ("kling/kling-v3-image-generation", "kling/kling-v3-omni-image-generation")
_RATIOS = {"1:1": (1, 1), "9:16": (9, 16), "16:9": (16, 9), "3:4": (3, 4), "4:3": (4, 3)}

_EVERYWHERE: Mapping[str, Model] = {
    "wan2.7-image": _WAN27,
    "wan2.7-image-pro": replace(_WAN27, total=(768**2, 4096**2), steps=("1K", "2K", "4K")),
    "wan2.6-t2i": _WAN26,
    "wan2.6-image": replace(_WAN26, rate=(5, 1), prompt=2000, total=(768**2, 1280**2)),
    "wan2.5-t2i-preview": _WAN25,
    "wan2.2-t2i-plus": _WAN22,
    "wan2.2-t2i-flash": _WAN22,
    "qwen-image": _QWEN_IMAGE,
    "qwen-image-plus": _QWEN_IMAGE,
    "qwen-image-plus-2026-01-09": replace(_QWEN_IMAGE, asynchronous=None, concurrency=None),
    "qwen-image-max": replace(_QWEN_IMAGE, asynchronous=None, concurrency=None, rate=(2, 60)),
    "qwen-image-2.0": _QWEN_2,
    "qwen-image-2.0-pro": replace(_QWEN_2, rate=(2, 60)),
    "qwen-image-3.0": _QWEN_2,
    "qwen-image-3.0-pro": _QWEN_2,
    **dict.fromkeys(_KLING_NAMES, _KLING),
    "z-image-turbo": replace(_QWEN_2, n=(1, 1), extends=False, qwen=False),
}
_WAN21 = {f"t2i-{kind}": _WAN22 for kind in ("plus", "turbo")}
_BEIJING: Mapping[str, Model] = {
    **{f"wanx2.1-{name}": model for name, model in _WAN21.items()},
    "wanx2.0-t2i-turbo": replace(_WAN22, prompt=800),
    "wanx-v1": replace(_WAN22, concurrency=1, only=_WANX1, extends=None, tells=False),
    "wanx2.1-imageedit": replace(
        _WAN22,
        asynchronous="image2image",
        n=(1, 4),
        prompt=800,
        extends=None,
        needs=("function", "base_image_url"),
    ),
    "wan2.5-i2i-preview": replace(_WAN25, asynchronous="image2image", total=(768**2, 1280**2)),
}


def models_of(region: str) -> dict[str, Model]:
    """The models that ``region`` offers, by the names that it calls them."""
    if region == "cn-beijing":
        return {**_EVERYWHERE, **_BEIJING}
    found = {**_EVERYWHERE, **{f"wan2.1-{name}": model for name, model in _WAN21.items()}}
    found["wan2.6-t2i"] = replace(_WAN26, rate=(5, 1))
    return found


@dataclass(frozen=True, slots=True)
class Wanted:
    """A create request, read. ``problem`` says what is wrong with it, '' if nothing.

    ``late``: the problem comes out only after the request was accepted, as a FAILED task.
    """

    prompt: str = ""
    size: tuple[int, int] = (0, 0)
    n: int = 1
    seed: int | None = None
    extend: bool = False
    references: int = 0
    problem: str = ""
    late: bool = False


def read(model: Model, path: Path, body: Mapping[str, Any]) -> Wanted:
    """What ``body`` asks of ``model``, with the service's defaults filled in."""
    given = body.get("parameters")
    parameters: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    prompt = _prompt(path, body.get("input"))
    size = _ratio(parameters) if model.family else _size(model, parameters.get("size"))
    n, seed = _count(model, parameters), parameters.get("seed")
    lacking = [name for name in model.needs if name not in _object(body.get("input"))]
    problem = _problem(model, size, n, seed)
    if lacking and not problem:
        problem = f"Field required: input.{lacking[0]}"
    if isinstance(size, str) or isinstance(n, str):
        return Wanted(problem=problem)
    return Wanted(
        prompt=(prompt or "")[: model.prompt],
        size=size,
        n=n,
        seed=seed,
        extend=bool(parameters.get("prompt_extend", model.extends or False))
        and model.extends is not None,
        references=_references(path, body.get("input")),
        problem=problem or ("" if prompt else "Field required: input.prompt"),
        late=not problem and not prompt,
    )


def full_prompt(path: Path, body: Mapping[str, Any]) -> str:
    """The prompt as sent, before anything is cut off."""
    return _prompt(path, body.get("input")) or ""


def _object(given: object) -> Mapping[str, Any]:
    return given if isinstance(given, Mapping) else {}


def _prompt(path: Path, given: object) -> str | None:
    if not isinstance(given, Mapping):
        return None
    if path in ("text2image", "image2image"):
        prompt = given.get("prompt")
        return prompt if isinstance(prompt, str) else None
    try:
        texts = [part["text"] for part in given["messages"][0]["content"] if "text" in part]
    except (KeyError, IndexError, TypeError):
        return None
    return texts[0] if len(texts) == 1 and isinstance(texts[0], str) else None


def _references(path: Path, given: object) -> int:
    """How many pictures came with a request."""
    if not isinstance(given, Mapping):
        return 0
    if path in ("text2image", "image2image"):
        images = given.get("images")
        single = "ref_img" in given or "base_image_url" in given
        return len(images) if isinstance(images, list) else int(single)
    try:
        return sum("image" in part for part in given["messages"][0]["content"])
    except (KeyError, IndexError, TypeError):
        return 0


_SIZE = re.compile(r"(\d{1,5})\*(\d{1,5})")


def _size(model: Model, given: object) -> tuple[int, int] | str:
    """The size in pixels, or what is wrong with it. Separator is an asterisk, never an x."""
    if given is None:
        return model.default
    if given in model.steps:
        return _STEPS[str(given)]
    match = _SIZE.fullmatch(given) if isinstance(given, str) else None
    if match is None:
        return f"size must be like 'width*height', but got '{given}'"
    width, height = int(match[1]), int(match[2])
    if model.only:
        allowed = (width, height) in model.only
    else:
        low, high = model.sides
        allowed = (width, height) in model.also or (
            low <= min(width, height)
            and max(width, height) <= high
            and model.total[0] <= width * height <= model.total[1]
            and max(width, height) <= model.ratio * min(width, height)
        )
    return (width, height) if allowed else f"size '{given}' is not supported by this model"


def _ratio(parameters: Mapping[str, Any]) -> tuple[int, int] | str:
    """The size of a model that is asked for a shape and a resolution."""
    shape = _RATIOS.get(str(parameters.get("aspect_ratio", "1:1")))
    edge = {"1k": 1024, "2k": 2048}.get(str(parameters.get("resolution", "1k")).lower())
    if shape is None or edge is None:
        return "aspect_ratio or resolution is not supported by this model"
    wide, high = shape
    return edge * wide // max(shape), edge * high // max(shape)


def _count(model: Model, parameters: Mapping[str, Any]) -> int | str:
    default, most = model.n
    if model.steps and parameters.get("enable_sequential"):
        default, most = 12, 12
    n = parameters.get("n", default)
    if isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= most:
        return n
    return "num_images_per_prompt must be 1" if most == 1 else f"n must be in [1, {most}]"


def _problem(model: Model, size: object, n: object, seed: object) -> str:
    for value in (size, n):
        if isinstance(value, str):
            return value
    if seed is None or (type(seed) is int and 0 <= seed <= 2147483647):
        return ""
    return "seed must be in [0, 2147483647]"
