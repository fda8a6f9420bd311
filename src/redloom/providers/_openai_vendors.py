"""Who speaks OpenAI's image API, and where each differs: data, no behaviour.

Put together in November 2026 from the vendors' pages and SDKs:

    OpenAI        openai-python (types of images), pricing pages: quality by size, USD
    Azure         learn.microsoft.com, how-to/dall-e: deployments path or /openai/v1, ``api-key``
    SiliconFlow   docs.siliconflow.cn images-generations: ``image_size``, ``batch_size``, URLs 1 h
    Zhipu         zai-sdk-python and docs.z.ai api-code: URLs 30 days, ``watermark_enabled``
    Together      together-python: ``width``, ``height``, ``steps``
    xAI           docs.x.ai: ``aspect_ratio`` and ``resolution``, ``size`` refused; $0.02 and $0.05
    MiniMax       platform.minimax.io: /v1/image_generation, errors inside HTTP 200
    OpenRouter    openrouter.ai/docs image-generation: chat, data URLs in ``message.images``

A price that no page named is left out, and so unknown. What a relay takes is found out by asking:
`_openai_learnt`.

May import: endpoint, lang.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from redloom.endpoint import Defaults, Size
from redloom.lang import Text

from ._requests import Area

AS_OF = "2026-11-24"
"""Day on which the tables of prices were put together."""

Sizing = Literal["size", "image_size", "sides", "ratio", "none"]
"""How a size is asked for: ``size: WxH``, ``image_size: WxH``, ``width`` and ``height``, or
``aspect_ratio: W:H``; ``none``: not at all."""
Shape = Literal["images", "chat"]
"""Whether pictures are asked for at the images endpoint, or by chat."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model, or a family of them by the beginning of their names."""

    sizes: tuple[Size, ...] = ()
    """Suggested; the first is the default. Without a ``rule`` these only."""
    rule: Area | None = None
    free_size: bool = False
    """Any size may be asked for; the service says what it takes."""
    ratios: tuple[str, ...] = ()
    prices: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Per picture by quality: (square, or any size where the two are equal; oblong)."""
    tokens: tuple[float, float, float] | None = None
    """Price of a million tokens: text in, picture in, picture out."""
    quality: str = ""
    """Sent unless another is asked for: left out, the service picks one, and with it a price."""
    formats: tuple[str, ...] = ("png",)
    characters: int | None = None
    references: int = 0
    seed: bool = False
    negative: bool = False
    options: tuple[str, ...] = ()
    gives_links: bool | None = True
    asks_for: str = ""
    """The ``response_format`` to send; empty where the model refuses that parameter."""
    typical_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Vendor:
    """One service. ``hosts`` are suffixes by which an address is known to be its."""

    name: str
    label: Text
    base_url: str = ""
    hosts: tuple[str, ...] = ()
    key_variables: tuple[str, ...] = ()
    url_variables: tuple[str, ...] = ()
    default: str = ""
    """The model asked for unless another is named."""
    models: tuple[tuple[str, Model], ...] = ()
    """By the beginning of the name, first match; the last has an empty one."""
    offers: tuple[str, ...] = ()
    """Whole names of models, to suggest."""
    root: str = "/v1"
    """What an address without any path is given."""
    path: str = "/images/generations"
    edits: str = "/images/edits"
    """Where references go as a form; empty: into the JSON."""
    reference_fields: tuple[str, ...] = ("image",)
    """Where references go inside JSON: one each while there are fields, else all in the first."""
    shape: Shape = "images"
    sizing: Sizing = "size"
    count: str = "n"
    """The parameter for how many; empty where there is none."""
    always: Mapping[str, object] = field(default_factory=dict)
    key_header: str = "Authorization"
    checks: str = "/models"
    """A free query that tries the key; empty: a request without a prompt, refused before any work."""
    currency: str = "USD"
    url_life_s: float = 3600.0
    picture_hosts: tuple[str, ...] = ()
    submit_per_second: float | None = None
    sync_concurrency: int | None = None
    regions: tuple[str, ...] = ()
    """Where keys are good only at one of several addresses."""
    region_hint: Text = field(default_factory=lambda: Text("", ""))
    known: bool = True
    """False: a relay, of which nothing is taken for granted."""
    versioned: str = ""
    """The root in the place of ``root`` where an ``api_version`` is given; {model} is filled in."""
    option_variables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def model(self, name: str) -> Model:
        """The model of that name, or its nearest relative."""
        return next(table for start, table in self.models if name.startswith(start))

    def suggested(self) -> tuple[str, ...]:
        """Models that may be asked for here, the default first."""
        return tuple(dict.fromkeys((self.default, *self.offers)))

    def defaults(self) -> Defaults:
        """What makes an endpoint of this vendor exist without any file."""
        return Defaults(
            key_variables=self.key_variables, url_variables=self.url_variables,
            base_url=self.base_url, model=self.default, label=self.label,
            option_variables=self.option_variables,
        )  # fmt: skip


_GPT_SIZES: tuple[Size, ...] = ((1024, 1024), (1024, 1536), (1536, 1024))
_GPT_OPTIONS = (
    "quality",
    "background",
    "moderation",
    "output_format",
    "output_compression",
    "user",
)
_GPT = Model(
    sizes=_GPT_SIZES,
    quality="medium",
    formats=("png", "jpeg", "webp"),
    characters=32_000,
    references=16,
    options=_GPT_OPTIONS,
    gives_links=False,
    typical_s=40.0,
)
_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
_OPENAI_MODELS = (
    (
        "gpt-image-1-mini",
        replace(
            _GPT,
            prices={"low": (0.005, 0.006), "medium": (0.011, 0.015), "high": (0.036, 0.052)},
            tokens=(2.0, 2.5, 8.0),
        ),
    ),
    (
        "gpt-image-1.5",
        replace(
            _GPT,
            prices={"low": (0.009, 0.013), "medium": (0.034, 0.05), "high": (0.133, 0.2)},
            tokens=(5.0, 8.0, 32.0),
        ),
    ),
    (
        "gpt-image-1",
        replace(
            _GPT,
            prices={"low": (0.011, 0.016), "medium": (0.042, 0.063), "high": (0.167, 0.25)},
            tokens=(5.0, 10.0, 40.0),
        ),
    ),
    (
        "gpt-image",
        # gpt-image-2 on: any size whose sides 16 divides; no price was found on a page.
        replace(_GPT, rule=Area(655_360, 8_294_400, 3.0, 16)),
    ),
    ("chatgpt-image", _GPT),
    (
        "dall-e-3",
        Model(
            sizes=((1024, 1024), (1024, 1792), (1792, 1024)),
            prices={"standard": (0.04, 0.08), "hd": (0.08, 0.12)},
            quality="standard",
            characters=4000,
            options=("quality", "style", "user"),
            asks_for="url",
        ),
    ),
    (
        "dall-e-2",
        Model(
            sizes=((1024, 1024), (512, 512), (256, 256)),
            prices={"": (0.02, 0.02)},
            characters=1000,
            options=("user",),
            asks_for="url",
        ),
    ),
    ("", _GPT),
)
_ANY = Model(
    free_size=True,
    references=16,
    seed=True,
    negative=True,
    options=(*_GPT_OPTIONS, "style", "steps", "guidance_scale", "resolution"),
    gives_links=None,
    asks_for="url",
)
"""A relay's model, of which nothing is known."""

OPENAI = Vendor(
    "openai",
    Text("OpenAI（以及兼容的中转）", "OpenAI (and relays that speak like it)"),
    "https://api.openai.com/v1",
    ("api.openai.com",),
    ("OPENAI_API_KEY",),
    ("OPENAI_BASE_URL",),
    "gpt-image-1",
    _OPENAI_MODELS,
    ("gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5", "gpt-image-2", "dall-e-3", "dall-e-2"),
)
_RELAYED = (
    *(
        (start, replace(table, prices={}, tokens=None, gives_links=None))
        for start, table in _OPENAI_MODELS
        if start
    ),
    ("", _ANY),
)
"""OpenAI's own models keep their sizes and parameters behind a relay, but not their price."""

RELAY = replace(
    OPENAI, name="relay", hosts=(), offers=(), models=_RELAYED, known=False, currency="",
    label=Text("兼容 OpenAI 的服务", "a service that speaks like OpenAI"),
)  # fmt: skip
"""Any other address: nothing is taken for granted."""
CHAT_RELAY = replace(
    RELAY, name="chat-relay", shape="chat", path="/chat/completions", edits="", sizing="none",
    models=(("", replace(_ANY, seed=False, negative=False, asks_for="")),),
)  # fmt: skip
"""A relay that makes pictures by chat, in Markdown or as data URLs."""

_VENDORS = (
    OPENAI,
    replace(
        OPENAI,
        name="azure",
        label=Text("Azure OpenAI", "Azure OpenAI"),
        base_url="",
        hosts=(".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com"),
        key_variables=("AZURE_OPENAI_API_KEY",),
        url_variables=("AZURE_OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT"),
        root="/openai/v1",
        versioned="/openai/deployments/{model}",
        key_header="api-key",
        option_variables={"api_version": ("AZURE_API_VERSION",)},
    ),
    Vendor(
        "siliconflow",
        Text("硅基流动 SiliconFlow", "SiliconFlow"),
        "https://api.siliconflow.cn/v1",
        (".siliconflow.cn", ".siliconflow.com"),
        ("SILICONFLOW_API_KEY",),
        ("SILICONFLOW_BASE_URL",),
        "Qwen/Qwen-Image",
        (
            (
                "Kwai-Kolors/",
                Model(
                    sizes=((1024, 1024), (960, 1280), (768, 1024), (720, 1440), (720, 1280)),
                    prices={"": (0.0, 0.0)}, references=1, seed=True, negative=True,
                    options=("num_inference_steps", "guidance_scale"),
                ),
            ),
            (
                "Qwen/Qwen-Image-Edit",
                Model(free_size=True, references=3, seed=True, negative=True,
                      options=("num_inference_steps", "guidance_scale", "cfg")),
            ),
            (
                "Qwen/",
                Model(
                    sizes=((1328, 1328), (1140, 1472), (1472, 1140), (928, 1664), (1664, 928), (1056, 1584), (1584, 1056)),
                    seed=True, negative=True, options=("num_inference_steps", "guidance_scale", "cfg"),
                ),
            ),
            (
                "",
                Model(free_size=True, sizes=((1024, 1024),), seed=True, negative=True, references=1,
                      options=("num_inference_steps", "guidance_scale")),
            ),
        ),
        offers=("Qwen/Qwen-Image", "Qwen/Qwen-Image-Edit-2509", "Kwai-Kolors/Kolors"),
        edits="",
        reference_fields=("image", "image2", "image3"),
        sizing="image_size",
        count="batch_size",
        currency="CNY",
        picture_hosts=(".siliconflow.cn", ".siliconflow.com", ".amazonaws.com", ".aliyuncs.com"),
        regions=("siliconflow.cn", "siliconflow.com"),
        region_hint=Text(
            "硅基流动的国内站（api.siliconflow.cn）与国际站（api.siliconflow.com）密钥不通用，"
            "请核对 SILICONFLOW_BASE_URL。",
            "SiliconFlow's keys are good either at api.siliconflow.cn or at api.siliconflow.com: "
            "check SILICONFLOW_BASE_URL.",
        ),
    ),
    Vendor(
        "zhipu",
        Text("智谱 BigModel", "Zhipu (BigModel, Z.ai)"),
        "https://open.bigmodel.cn/api/paas/v4",
        (".bigmodel.cn", ".z.ai"),
        ("ZAI_API_KEY", "BIGMODEL_API_KEY", "ZHIPUAI_API_KEY"),
        ("ZAI_BASE_URL", "BIGMODEL_BASE_URL", "ZHIPUAI_BASE_URL"),
        "cogview-4",
        (
            (
                "cogview-3-flash",
                Model(
                    sizes=((1024, 1024), (768, 1344), (864, 1152), (1344, 768), (1152, 864), (1440, 720), (720, 1440)),
                    prices={"": (0.0, 0.0)}, options=("watermark_enabled", "user_id"),
                ),
            ),
            (
                "glm-image",
                Model(
                    sizes=((1280, 1280), (1056, 1568), (1568, 1056), (1088, 1472), (1472, 1088)),
                    rule=Area(1024 * 1024, 2048 * 2048, 2.0, 32), quality="hd",
                    options=("quality", "watermark_enabled", "user_id"), typical_s=25.0,
                ),
            ),
            (
                "",
                Model(
                    sizes=((1024, 1024), (768, 1344), (864, 1152), (1344, 768), (1152, 864), (1440, 720), (720, 1440)),
                    rule=Area(512 * 512, 2_097_152, 4.0, 16), quality="standard",
                    options=("quality", "watermark_enabled", "user_id"),
                ),
            ),
        ),
        root="/api/paas/v4",
        offers=("cogview-4", "glm-image", "cogview-3-flash"),
        edits="",
        count="",
        currency="CNY",
        url_life_s=30 * 86400.0,
        picture_hosts=(".bigmodel.cn", ".z.ai", ".ufileos.com", ".aliyuncs.com"),
        regions=("bigmodel.cn", "z.ai"),
        region_hint=Text(
            "智谱国内站（open.bigmodel.cn）与国际站（api.z.ai）密钥不通用，请核对 ZAI_BASE_URL。",
            "Keys are good either at open.bigmodel.cn or at api.z.ai: check ZAI_BASE_URL.",
        ),
    ),
    Vendor(
        "together",
        Text("Together", "Together"),
        "https://api.together.xyz/v1",
        (".together.xyz", ".together.ai"),
        ("TOGETHER_API_KEY",),
        ("TOGETHER_BASE_URL",),
        "black-forest-labs/FLUX.1-schnell",
        (
            (
                "",
                Model(
                    sizes=((1024, 1024), (768, 1024), (1024, 768), (1024, 1344), (1344, 1024)),
                    rule=Area(64 * 64, 1792 * 1792, 8.0, 16), seed=True, negative=True,
                    references=1, options=("steps", "guidance_scale"), asks_for="url",
                    formats=("png", "jpeg"),
                ),
            ),
        ),
        offers=("black-forest-labs/FLUX.1-schnell",),
        edits="",
        reference_fields=("image_url",),
        sizing="sides",
        picture_hosts=(".together.ai", ".together.xyz", ".amazonaws.com"),
    ),
    Vendor(
        "xai",
        Text("xAI Grok", "xAI Grok"),
        "https://api.x.ai/v1",
        (".x.ai",),
        ("XAI_API_KEY",),
        ("XAI_BASE_URL",),
        "grok-imagine-image",
        tuple(
            (
                start,
                Model(
                    sizes=((1024, 1024),), prices=prices, asks_for="url", formats=("jpeg", "png"),
                    ratios=("1:1", "3:4", "4:3", "9:16", "16:9", "2:3", "3:2", "1:2", "2:1"),
                    options=("resolution", "user"), typical_s=6.0,
                ),
            )
            for start, prices in (
                ("grok-imagine-image-quality", {"": (0.05, 0.05)}),
                ("grok-imagine-image-2", {}),
                ("grok-imagine-image-pro", {}),
                ("grok-imagine-image", {"": (0.02, 0.02)}),
                ("", {}),
            )
        ),
        offers=("grok-imagine-image", "grok-imagine-image-quality"),
        edits="",
        sizing="ratio",
        picture_hosts=(".x.ai",),
        submit_per_second=5.0,
    ),
    Vendor(
        "minimax",
        Text("MiniMax 海螺", "MiniMax"),
        "https://api.minimaxi.com/v1",
        (".minimaxi.com", ".minimax.io", ".minimax.chat"),
        ("MINIMAX_API_KEY",),
        ("MINIMAX_API_HOST", "MINIMAX_BASE_URL"),
        "image-01",
        (
            (
                "",
                Model(
                    sizes=((1024, 1024), (864, 1152), (1152, 864), (720, 1280), (1280, 720), (1344, 576)),
                    rule=Area(512 * 512, 2048 * 2048, 4.0, 8), characters=1500, seed=True,
                    options=("prompt_optimizer", "aigc_watermark", "style"), asks_for="url",
                    formats=("jpeg", "png"), typical_s=15.0,
                ),
            ),
        ),
        path="/image_generation",
        offers=("image-01",),
        edits="",
        sizing="sides",
        always={"prompt_optimizer": False},
        checks="",
        currency="CNY",
        url_life_s=86400.0,
        picture_hosts=(".aliyuncs.com", ".minimaxi.com", ".minimax.io"),
        regions=("minimaxi.com", "minimax.io"),
        region_hint=Text(
            "MiniMax 国内站（api.minimaxi.com）与国际站（api.minimax.io）密钥不通用，"
            "请核对 MINIMAX_API_HOST。",
            "MiniMax's keys are good either at api.minimaxi.com or at api.minimax.io: check "
            "MINIMAX_API_HOST.",
        ),
    ),
    Vendor(
        "openrouter",
        Text("OpenRouter", "OpenRouter"),
        "https://openrouter.ai/api/v1",
        ("openrouter.ai",),
        ("OPENROUTER_API_KEY",),
        ("OPENROUTER_BASE_URL",),
        "google/gemini-2.5-flash-image",
        (
            (
                "",
                Model(sizes=(), ratios=_RATIOS, references=3, gives_links=False, typical_s=12.0,
                      options=("image_size",)),
            ),
        ),
        root="/api/v1",
        shape="chat",
        path="/chat/completions",
        offers=("google/gemini-2.5-flash-image",),
        edits="",
        sizing="ratio",
        count="",
        always={"modalities": ["image", "text"]},
        checks="/key",
    ),
    RELAY,
    CHAT_RELAY,
)  # fmt: skip

VENDORS: dict[str, Vendor] = {vendor.name: vendor for vendor in _VENDORS}


def vendor_of(named: str, provider: str, host: str) -> Vendor:
    """Who is spoken to: as named, as the provider's file says, else by the host, else a relay."""
    if found := VENDORS.get(named or ("" if provider == "openai" else provider)):
        return found
    for vendor in _VENDORS:
        if any(f".{host}".endswith(f".{suffix.lstrip('.')}") for suffix in vendor.hosts):
            return vendor
    return RELAY if host else OPENAI
