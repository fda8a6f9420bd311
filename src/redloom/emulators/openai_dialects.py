"""How each service of OpenAI's shape talks: what it takes, how it refuses, how it answers.

Put together apart from the provider's own table, from the vendors' pages, so that a mistake in
one of them shows: developers.openai.com (images, errors), learn.microsoft.com (Azure),
docs.siliconflow.cn, docs.z.ai (Zhipu), docs.together.ai, docs.x.ai, platform.minimax.io,
openrouter.ai/docs. The relays are what users of one-api and its kin report.

May import: nothing of the package.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Errors = Literal["openai", "numeric", "zhipu", "minimax", "xai", "openrouter", "in-200", "words"]
Answers = Literal["url", "base64", "either", "images", "minimax", "chat-images", "chat-markdown"]
Sizing = Literal["size", "image_size", "sides", "ratio", "none"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """One service. Sizes are in pixels."""

    path: str = "/v1/images/generations"
    edits: str = ""
    takes: frozenset[str] = frozenset()
    """Parameters besides model and prompt; any other is refused where ``strict``."""
    strict: bool = True
    sizing: Sizing = "size"
    sizes: tuple[tuple[int, int], ...] = ()
    """Only these; empty: any."""
    ratios: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    """Beginnings of the names that it knows; empty: any."""
    answers: Answers = "url"
    errors: Errors = "openai"
    key_header: str = "Authorization"
    references: tuple[str, ...] = ()
    """JSON fields that hold references."""
    characters: int = 1 << 30
    list_path: str = "/v1/models"
    listed: tuple[str, ...] = ("some-model",)
    """What the list of models names."""
    life_s: float = 3600.0


_GPT = frozenset(
    {
        "n",
        "size",
        "quality",
        "background",
        "moderation",
        "output_format",
        "output_compression",
        "user",
        "stream",
        "partial_images",
    }
)
OPENAI = Dialect(
    edits="/v1/images/edits",
    takes=_GPT,
    sizes=((1024, 1024), (1024, 1536), (1536, 1024)),
    models=("gpt-image-", "chatgpt-image"),
    listed=("gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5", "gpt-image-2"),
    answers="base64",
    characters=32_000,
)
_RELAY = Dialect(
    edits="/v1/images/edits",
    strict=False,
    takes=frozenset({"size", "n", "response_format", "seed", "negative_prompt"}),
    references=("image",),
)
DIALECTS: Mapping[str, Dialect] = {
    "openai": OPENAI,
    "dall-e-3": replace(
        OPENAI, edits="", takes=frozenset({"n", "size", "quality", "style", "user", "response_format"}),
        sizes=((1024, 1024), (1024, 1792), (1792, 1024)), models=("dall-e-3",), answers="either",
        characters=4000,
    ),
    "azure": replace(
        OPENAI, path="/openai/v1/images/generations", edits="/openai/v1/images/edits",
        key_header="api-key", models=(), list_path="/openai/v1/models",
    ),
    "azure-versioned": replace(
        OPENAI, path="/openai/deployments/my-pictures/images/generations",
        edits="/openai/deployments/my-pictures/images/edits", key_header="api-key", models=(),
        list_path="/openai/models",
    ),
    "siliconflow": Dialect(
        takes=frozenset({"image_size", "batch_size", "num_inference_steps", "guidance_scale", "seed", "negative_prompt", "cfg", "image", "image2", "image3"}),
        strict=False, sizing="image_size", models=("Qwen/", "Kwai-Kolors/"), answers="images",
        errors="numeric", references=("image", "image2", "image3"),
    ),
    "zhipu": Dialect(
        path="/api/paas/v4/images/generations", list_path="/api/paas/v4/models",
        takes=frozenset({"size", "quality", "user_id", "watermark_enabled", "request_id"}),
        models=("cogview-", "glm-image"), errors="zhipu", life_s=30 * 86400.0,
    ),
    "together": Dialect(
        takes=frozenset({"width", "height", "steps", "seed", "negative_prompt", "n", "response_format", "image_url", "guidance_scale"}),
        strict=False, sizing="sides", answers="either", references=("image_url",),
    ),
    "xai": Dialect(
        takes=frozenset({"n", "aspect_ratio", "resolution", "response_format", "user", "quality"}),
        sizing="ratio", ratios=("1:1", "3:4", "4:3", "9:16", "16:9", "2:3", "3:2", "1:2", "2:1"),
        models=("grok-",), answers="either", errors="xai",
    ),
    "minimax": Dialect(
        path="/v1/image_generation", list_path="",
        takes=frozenset({"width", "height", "aspect_ratio", "n", "seed", "response_format", "prompt_optimizer", "aigc_watermark", "style"}),
        sizing="sides", models=("image-01",), answers="minimax", errors="minimax",
        characters=1500, life_s=86400.0,
    ),
    "openrouter": Dialect(
        path="/api/v1/chat/completions", list_path="/api/v1/key",
        takes=frozenset({"modalities", "image_config", "stream"}), strict=False, sizing="none",
        answers="chat-images", errors="openrouter",
    ),
    "relay": _RELAY,
    "relay-base64": replace(_RELAY, answers="base64"),
    "relay-chat": replace(
        _RELAY, path="/v1/chat/completions", answers="chat-markdown", sizing="none", references=(),
    ),
    "relay-200": replace(_RELAY, errors="in-200"),
    "relay-strict": replace(_RELAY, strict=True, takes=frozenset({"n", "size"})),
    "relay-ratio": replace(
        _RELAY, strict=True, takes=frozenset({"aspect_ratio", "response_format"}), sizing="ratio",
        ratios=("1:1", "3:4", "4:3", "16:9"),
    ),
    "relay-sizes": replace(_RELAY, sizes=((1024, 1024), (1024, 1536))),
    "relay-no-edits": replace(_RELAY, edits=""),
    "relay-zh": replace(_RELAY, errors="words"),
    "relay-no-v1": replace(_RELAY, path="/api/images/generations", list_path=""),
}  # fmt: skip

Refusal = tuple[int, str, str, str]
REFUSALS: Mapping[str, Refusal] = {
    "no-key": (401, "invalid_request_error", "invalid_api_key", "You didn't provide an API key."),
    "wrong-key": (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided: ****. You can find your API key in your account."),
    "key": (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided: ****."),
    "arrears": (429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota, please check your plan and billing details."),
    "exhausted": (400, "billing_limit_user_error", "billing_hard_limit_reached", "Billing hard limit has been reached."),
    "body": (400, "invalid_request_error", "", "We could not parse the JSON body of your request."),
    "prompt": (400, "invalid_request_error", "missing_required_parameter", "Missing required parameter: 'prompt'."),
    "size": (400, "invalid_request_error", "invalid_value", "Invalid value for 'size'."),
    "parameter": (400, "invalid_request_error", "invalid_value", "The value of one of the parameters is not valid."),
    "words": (400, "image_generation_user_error", "moderation_blocked", "Your request was rejected by the safety system. safety_violations=[violence]. request ID req_0."),
    "output": (400, "image_generation_user_error", "moderation_blocked", "The generated picture was rejected by the safety system. request ID req_0."),
    "model": (404, "invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    "missing": (404, "invalid_request_error", "", "Invalid URL"),
    "rate": (429, "requests", "rate_limit_exceeded", "Rate limit reached: limit 5 images per minute. Please try again in 12s."),
    "concurrency": (429, "requests", "rate_limit_exceeded", "Too many concurrent requests."),
    "quota": (429, "requests", "rate_limit_exceeded", "Rate limit reached for requests. Please try again in 1m30s."),
    "error": (500, "server_error", "server_error", "The server had an error while processing your request."),
    "busy": (503, "overloaded_error", "engine_overloaded", "The engine is currently overloaded, please try again later."),
}  # fmt: skip
"""By the stand-in's word: status, type, code, message, as OpenAI says it."""

_NUMERIC = {
    "model": 20012,
    "parameter": 20015,
    "prompt": 20015,
    "size": 20015,
    "body": 20015,
    "arrears": 30001,
    "busy": 50505,
    "error": 50501,
    "words": 20029,
    "output": 20029,
}
_ZHIPU = {
    "no-key": "1001",
    "wrong-key": "1002",
    "key": "1004",
    "arrears": "1113",
    "exhausted": "1309",
    "body": "1210",
    "prompt": "1213",
    "size": "1214",
    "parameter": "1214",
    "words": "1301",
    "output": "1301",
    "model": "1211",
    "missing": "1222",
    "rate": "1303",
    "concurrency": "1302",
    "quota": "1305",
    "error": "500",
    "busy": "1305",
}
_MINIMAX = {
    "no-key": 1004,
    "wrong-key": 2049,
    "key": 2049,
    "arrears": 1008,
    "exhausted": 2056,
    "body": 2013,
    "prompt": 2013,
    "size": 2013,
    "parameter": 2013,
    "words": 1026,
    "output": 1027,
    "model": 2061,
    "missing": 2013,
    "rate": 1002,
    "concurrency": 1041,
    "quota": 1039,
    "error": 1024,
    "busy": 1000,
}
_OPENROUTER = {
    "arrears": 402,
    "exhausted": 402,
    "words": 403,
    "output": 403,
    "model": 404,
    "error": 502,
    "busy": 503,
}
_XAI_STATUS = {"wrong-key": 400, "key": 400}
_WORDS_ZH = {
    "no-key": "未提供令牌",
    "wrong-key": "无效的令牌",
    "key": "该令牌已过期，无效的令牌",
    "arrears": "用户额度不足，剩余额度: ¥0.00",
    "rate": "请求过于频繁，请 20 秒后再试",
    "busy": "当前分组上游负载已饱和，请稍后再试",
    "words": "提示词违规，已被审核拦截",
    "output": "图片违规，已被审核拦截",
    "model": "当前分组下对于该模型无可用渠道",
}


def refusal(dialect: Dialect, word: str, message: str, param: str) -> tuple[int, Any]:
    """(status, body) of a refusal, as the service words it."""
    status, kind, code, said = REFUSALS[word]
    said = message or said
    error: dict[str, Any] = {
        "message": said,
        "type": kind,
        "param": param or None,
        "code": code or None,
    }
    match dialect.errors:
        case "numeric":
            if status == 401:
                return 401, "Invalid token"
            if word == "arrears":
                return 403, {
                    "code": 30001,
                    "message": "Sorry, your account balance is insufficient",
                    "data": None,
                }
            status = 400 if word == "model" else status
            return status, {"code": _NUMERIC.get(word, status), "message": said, "data": None}
        case "zhipu":
            return status if status != 404 else 400, {
                "error": {"code": _ZHIPU[word], "message": said}
            }
        case "minimax":
            return 200, {"base_resp": {"status_code": _MINIMAX[word], "status_msg": said}}
        case "xai":
            return _XAI_STATUS.get(word, status), {
                "code": "The service refused the request",
                "error": said,
            }
        case "openrouter":
            number = _OPENROUTER.get(word, status)
            return number, {"error": {"code": number, "message": said}}
        case "in-200":
            return 200, {"error": {**error, "type": kind if code else "upstream_error"}}
        case "words":
            text = _WORDS_ZH.get(word, said)
            return status, {
                "error": {"message": text, "type": "new_api_error", "param": "", "code": None}
            }
        case _:
            return status, {"error": error}


_SIZE = re.compile(r"(\d{2,5})x(\d{2,5})")


@dataclass(frozen=True, slots=True)
class Read:
    """A request's parameters, read. ``problem`` is a word of `REFUSALS`, '' where all is well."""

    size: tuple[int, int] = (1024, 1024)
    problem: str = ""
    message: str = ""
    param: str = ""


def read(dialect: Dialect, body: Mapping[str, Any]) -> Read:
    """Judge the parameters of ``body`` (without model, prompt and messages)."""
    extra = [
        name
        for name in body
        if name not in {*dialect.takes, "model", "prompt", "messages", *dialect.references}
    ]
    if dialect.strict and extra:
        name = extra[0]
        wants = (
            f" Use 'aspect_ratio', one of {', '.join(dialect.ratios)}."
            if name == "size" and dialect.sizing == "ratio"
            else ""
        )
        return Read(problem="parameter", message=f"Unknown parameter: '{name}'.{wants}", param=name)
    count = body.get("n", body.get("batch_size", 1))
    if str(count) not in {str(number) for number in range(1, 11)}:
        return Read(problem="parameter", message="n must be between 1 and 10", param="n")
    return _size(dialect, body)


def _size(dialect: Dialect, body: Mapping[str, Any]) -> Read:
    if dialect.sizing == "none":
        return Read()
    if dialect.sizing == "sides":
        size = (int(body.get("width", 1024)), int(body.get("height", 1024)))
        fits = all(64 <= side <= 2048 and side % 8 == 0 for side in size)
        return (
            Read(size)
            if fits
            else Read(
                problem="size",
                message="width and height must be multiples of 8 from 64 to 2048",
                param="width",
            )
        )
    if dialect.sizing == "ratio":
        ratio = str(body.get("aspect_ratio", "1:1"))
        if ratio not in dialect.ratios:
            return Read(
                problem="size",
                message=f"aspect_ratio must be one of {', '.join(dialect.ratios)}",
                param="aspect_ratio",
            )
        wide, high = map(int, ratio.split(":"))
        edge = 2048 if body.get("resolution") == "2k" else 1024
        return Read((edge * wide // max(wide, high), edge * high // max(wide, high)))
    text = body.get(dialect.sizing)
    if text in (None, "auto"):
        return Read()
    match = _SIZE.fullmatch(str(text))
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if match and (not dialect.sizes or size in dialect.sizes):
        return Read(size)
    listed = ", ".join(f"'{w}x{h}'" for w, h in dialect.sizes)
    return Read(
        problem="size",
        message=f"Invalid value: '{text}'. Supported values are: {listed}.",
        param=dialect.sizing,
    )
