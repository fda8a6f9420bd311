"""What DashScope's picture models take, cost and allow: a dated table, no behaviour.

Put together in November 2026 from the vendor's pages (help.aliyun.com/zh/model-studio/ + name):

    text-to-image-v2-api-reference               paths, sizes, lengths, parameters (wan, wanx2)
    wan-image-generation-api-reference           wan2.6-image
    wan-image-generation-and-editing-api-reference   wan2.7
    kling-image-generation-api-reference         kling
    rate-limit                                   submit rates, concurrency
    model-pricing                                prices in CNY per image made, by region

Two pages disagree about wan2.5's least area; the newer is followed. Four of the five sizes that the
page itself suggests for wan2.5 and wan2.6 lie below its own least area: they are taken when asked
for, but the sizes suggested here keep the written rule and are exactly 3:4 and 9:16. Prices of qwen-image-3.0 come from
secondary sources; its upper tier is given, so that a budget is never overrun.

May import: nothing of the package.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

AS_OF = "2026-11-23"
"""Day on which the tables of prices and limits were put together."""

TEXT2IMAGE = "/services/aigc/text2image/image-synthesis"
IMAGE2IMAGE = "/services/aigc/image2image/image-synthesis"
MULTIMODAL = "/services/aigc/multimodal-generation/generation"
IMAGE_GENERATION = "/services/aigc/image-generation/generation"

Region = Literal["beijing", "singapore", "us", "frankfurt"]
REGIONS: dict[str, Region] = {
    "beijing": "beijing",
    "cn": "beijing",
    "cn-beijing": "beijing",
    "singapore": "singapore",
    "intl": "singapore",
    "ap-southeast-1": "singapore",
    "us": "us",
    "virginia": "us",
    "us-east-1": "us",
    "frankfurt": "frankfurt",
    "germany": "frankfurt",
    "eu-central-1": "frankfurt",
}
"""What people and hosts call the regions."""

SEED_MAX = 2147483647
NEGATIVE_CHARACTERS = 500
POLLS_PER_SECOND = 20.0
"""Each of the three task calls, counted per main account (manage-asynchronous-tasks)."""
URL_LIFE_S = 24 * 3600.0

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Area:
    """Any size whose pixels lie between two counts and whose sides differ not too much."""

    least: int
    most: int
    ratio: float
    """The longer side over the shorter, at most."""


@dataclass(frozen=True, slots=True)
class Sides:
    """Any size with both sides within bounds."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Listed:
    """Only the suggested sizes."""


@dataclass(frozen=True, slots=True)
class Ratios:
    """No size at all: a ratio by name and a resolution class."""

    names: tuple[str, ...]
    resolutions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """One model. ``sync`` and ``queued`` are its paths on the two lanes, empty where it has none."""

    name: str
    sync: str = ""
    queued: str = ""
    rule: Area | Sides | Listed | Ratios | None = None
    sizes: tuple[Size, ...] = ()
    """Suggested; the first is the default."""
    also: tuple[Size, ...] = ()
    """Sizes that the page names although its own rule excludes them."""
    characters: int | None = None
    negative: bool = True
    extends: bool = True
    """Takes ``prompt_extend``, whose default at the service is true."""
    watermark: bool = True
    references: int = 0
    references_needed: int = 0
    options: tuple[str, ...] = ()
    """Further parameters that may be passed through."""
    edits: str = ""
    """What an editing model does unless the option ``function`` says otherwise."""
    prompt_in_result: bool = False
    submit_per_second: dict[str, float] = field(default_factory=dict)
    """By region; the key ``""`` is for every other one."""
    concurrency: int | None = None
    sync_concurrency: int | None = None
    price: dict[str, float] = field(default_factory=dict)
    """CNY by region."""
    extended_price: dict[str, float] = field(default_factory=dict)
    """CNY by region with ``prompt_extend`` on, where that costs more."""
    typical_s: float = 60.0
    known: bool = True
    """False: a guess by the name's family; limits and price unknown."""


_BY_SIDES = Sides(512, 1440)
_WAN_AREA = Area(1280 * 1280, 1440 * 1440, 4.0)
_WAN_SIZES: tuple[Size, ...] = (
    (1280, 1280),
    (1152, 1536),
    (1536, 1152),
    (1008, 1792),
    (1792, 1008),
)
_WAN_ALSO: tuple[Size, ...] = ((1104, 1472), (1472, 1104), (960, 1696), (1696, 960))
_QWEN_SIZES: tuple[Size, ...] = (
    (1664, 928),
    (1472, 1104),
    (1328, 1328),
    (1104, 1472),
    (928, 1664),
)
_LARGE_SIZES: tuple[Size, ...] = (
    (2048, 2048),
    (2688, 1536),
    (1536, 2688),
    (2368, 1728),
    (1728, 2368),
)
_OLD_SIZES: tuple[Size, ...] = ((1024, 1024), (768, 1024), (1024, 768), (720, 1280), (1280, 720))

_OLD = Model(
    "wan2.2",
    queued=TEXT2IMAGE,
    rule=_BY_SIDES,
    sizes=_OLD_SIZES,
    characters=500,
    prompt_in_result=True,
    submit_per_second={"": 2.0},
    concurrency=2,
)
_WAN26 = Model(
    "wan2.6",
    sync=MULTIMODAL,
    queued=IMAGE_GENERATION,
    rule=_WAN_AREA,
    sizes=_WAN_SIZES,
    also=_WAN_ALSO,
    characters=2100,
    submit_per_second={"": 5.0},
    concurrency=5,
    sync_concurrency=5,
)
_WAN27 = replace(
    _WAN26,
    also=(),
    rule=Area(768 * 768, 2048 * 2048, 8.0),
    sizes=_LARGE_SIZES,
    characters=5000,
    negative=False,
    extends=False,
    references=9,
    options=("thinking_mode", "color_palette", "bbox_list"),
    typical_s=10.0,
)
_QWEN = Model(
    "qwen-image",
    sync=MULTIMODAL,
    rule=Listed(),
    sizes=_QWEN_SIZES,
    characters=800,
    submit_per_second={"": 2.0},
    typical_s=17.0,
)
_QWEN_BOTH = replace(_QWEN, queued=TEXT2IMAGE, prompt_in_result=True, concurrency=2)
_QWEN2 = replace(_QWEN, rule=Area(512 * 512, 2048 * 2048, 4.0), sizes=_LARGE_SIZES)
_Z_IMAGE = replace(
    _QWEN,
    rule=Area(512 * 512, 2048 * 2048, 4.0),
    sizes=((1024, 1536), (1536, 1024), (1280, 1280), (1104, 1472), (1472, 1104)),
    negative=False,
    watermark=False,
    typical_s=8.0,
)
_KLING = Model(
    "kling/kling-v3-image-generation",
    queued=IMAGE_GENERATION,
    rule=Ratios(("1:1", "9:16", "16:9"), ("1k", "2k")),
    sizes=((1024, 1024), (576, 1024), (1024, 576)),
    negative=False,
    extends=False,
    characters=2500,
    references=1,
    submit_per_second={"": 5.0},
    concurrency=10,
    price={"beijing": 0.20},
)
_PER_MINUTE = {"": 2 / 60}

_ALL = (
    replace(
        _OLD,
        name="wanx-v1",
        rule=Listed(),
        sizes=((1024, 1024), (720, 1280), (768, 1152), (1280, 720)),
        extends=False,
        watermark=False,
        references=1,
        options=("style", "ref_mode", "ref_strength"),
        prompt_in_result=False,
        concurrency=1,
        price={"beijing": 0.16},
        typical_s=30.0,
    ),
    replace(_OLD, name="wanx2.0-t2i-turbo", characters=800, price={"beijing": 0.04}),
    replace(_OLD, name="wanx2.1-t2i-plus", price={"beijing": 0.20}),
    replace(_OLD, name="wanx2.1-t2i-turbo", price={"beijing": 0.14}),
    # The international region's names of the same generation.
    replace(_OLD, name="wan2.1-t2i-plus", price={"beijing": 0.20}),
    replace(_OLD, name="wan2.1-t2i-turbo", price={"beijing": 0.14}),
    replace(_OLD, name="wan2.2-t2i-plus", price={"beijing": 0.20, "singapore": 0.366962}),
    replace(_OLD, name="wan2.2-t2i-flash", price={"beijing": 0.14, "singapore": 0.183481}),
    replace(
        _OLD,
        name="wan2.5-t2i-preview",
        rule=_WAN_AREA,
        sizes=_WAN_SIZES,
        also=_WAN_ALSO,
        characters=2000,
        submit_per_second={"": 5.0},
        concurrency=5,
        price={"beijing": 0.20},
    ),
    replace(
        _OLD,
        name="wan2.5-i2i-preview",
        queued=IMAGE2IMAGE,
        rule=Area(768 * 768, 1280 * 1280, 4.0),
        sizes=((1280, 1280), (1024, 1024), (864, 1152), (1152, 864)),
        characters=2000,
        references=3,
        references_needed=1,
        submit_per_second={"": 5.0},
        concurrency=5,
    ),
    replace(
        _OLD,
        name="wanx2.1-imageedit",
        queued=IMAGE2IMAGE,
        rule=None,
        sizes=(),
        characters=800,
        negative=False,
        extends=False,
        references=1,
        references_needed=1,
        edits="description_edit",
        options=("function", "strength"),
        prompt_in_result=False,
    ),
    replace(
        _WAN26,
        name="wan2.6-t2i",
        submit_per_second={"beijing": 1.0, "": 5.0},
        price={"beijing": 0.20, "singapore": 0.220177},
    ),
    replace(
        _WAN26,
        name="wan2.6-image",
        also=(),
        rule=Area(768 * 768, 1280 * 1280, 4.0),
        sizes=((1280, 1280), (1024, 1024), (864, 1152), (1152, 864)),
        characters=2000,
        references=4,
        references_needed=1,
        price={"beijing": 0.20},
    ),
    replace(_WAN27, name="wan2.7-image", price={"beijing": 0.20}),
    replace(
        _WAN27,
        name="wan2.7-image-pro",
        rule=Area(768 * 768, 4096 * 4096, 8.0),
        price={"beijing": 0.50, "singapore": 0.562065},
    ),
    replace(_QWEN_BOTH, name="qwen-image", price={"beijing": 0.25, "singapore": 0.256873}),
    replace(_QWEN_BOTH, name="qwen-image-plus", price={"beijing": 0.20, "singapore": 0.220177}),
    replace(_QWEN, name="qwen-image-plus-2026-01-09", price={"beijing": 0.20}),
    replace(_QWEN, name="qwen-image-max", submit_per_second=_PER_MINUTE, price={"beijing": 0.50}),
    replace(_QWEN2, name="qwen-image-2.0", price={"beijing": 0.20}),
    replace(
        _QWEN2,
        name="qwen-image-2.0-pro",
        submit_per_second=_PER_MINUTE,
        price={"beijing": 0.50, "singapore": 0.550443},
    ),
    replace(_QWEN2, name="qwen-image-3.0", submit_per_second={}, price={"beijing": 0.50}),
    replace(_QWEN2, name="qwen-image-3.0-pro", submit_per_second={}, price={"beijing": 0.50}),
    replace(
        _Z_IMAGE,
        name="z-image-turbo",
        price={"beijing": 0.10, "singapore": 0.110089},
        extended_price={"beijing": 0.20, "singapore": 0.220177},
    ),
    _KLING,
    replace(
        _KLING,
        name="kling/kling-v3-omni-image-generation",
        rule=Ratios(("1:1", "9:16", "16:9"), ("1k", "2k", "4k")),
        references=10,
        extended_price={},
    ),
)

MODELS: dict[str, Model] = {model.name: model for model in _ALL}

NAMES = tuple(MODELS)

_FAMILIES: tuple[tuple[str, Model], ...] = (
    ("wanx-v1", MODELS["wanx-v1"]),
    ("wanx2.1-imageedit", MODELS["wanx2.1-imageedit"]),
    ("wanx", MODELS["wanx2.1-t2i-plus"]),
    ("wan2.1", MODELS["wan2.1-t2i-plus"]),
    ("wan2.2", MODELS["wan2.2-t2i-plus"]),
    ("wan2.5-i2i", MODELS["wan2.5-i2i-preview"]),
    ("wan2.5", MODELS["wan2.5-t2i-preview"]),
    ("wan2.6-image", MODELS["wan2.6-image"]),
    ("wan2.6", MODELS["wan2.6-t2i"]),
    ("wan", MODELS["wan2.7-image"]),
    ("qwen-image-2", MODELS["qwen-image-2.0"]),
    ("qwen-image-3", MODELS["qwen-image-3.0"]),
    ("qwen-image", MODELS["qwen-image-max"]),
    ("z-image", MODELS["z-image-turbo"]),
    ("kling", MODELS["kling/kling-v3-image-generation"]),
    ("", MODELS["wan2.6-t2i"]),
)
"""For names that the table does not know: the nearest relative, by prefix, first match."""


def model(name: str) -> Model:
    """The model of that name; an unknown one like its family, price and limits unknown.

    Some names of the US region carry ``-us`` at their end.
    """
    plain = name.removesuffix("-us")
    if known := MODELS.get(name) or MODELS.get(plain):
        return replace(known, name=name)
    relative = next(model for prefix, model in _FAMILIES if plain.startswith(prefix))
    return replace(
        relative,
        name=name,
        known=False,
        price={},
        extended_price={},
        submit_per_second={},
        concurrency=None,
        sync_concurrency=None,
    )
