"""What a settings file may hold, and how what is wrong with it is said.

May import: errors.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import BadSettings

Positive = Field(default=None, gt=0)
AtLeastOne = Field(default=None, ge=1)


ADDRESS = r"^https?://[^\s/@?#]+(?:/[^\s?#]*)?$"
"""Of a service. It stands in the journal, in messages and in exports: no key may be in it."""


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, allow_inf_nan=False)


class EndpointForm(_Form):
    """``[endpoints.NAME]``. Rates are per second."""

    provider: str | None = None
    model: str | None = None
    base_url: str | None = Field(default=None, pattern=ADDRESS)
    api_key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    account: str | None = None
    region: str | None = None
    submit_per_second: float | None = Positive
    concurrency: int | None = AtLeastOne
    sync_concurrency: int | None = AtLeastOne
    poll_per_second: float | None = Positive
    list_per_second: float | None = Positive
    downloads: int | None = AtLeastOne
    price: float | None = Field(default=None, ge=0)
    currency: str | None = Field(default=None, pattern=r"^[A-Z]{3}$")
    share: float | None = Field(default=None, gt=0, le=1)
    options: dict[str, Any] | None = None


class ChatForm(_Form):
    """``[chat]``: the text model of the writer."""

    model: str | None = None
    base_url: str | None = Field(default=None, pattern=ADDRESS)
    api_key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")


class ClusterForm(_Form):
    """``[cluster]``: a Ray cluster whose GPUs make what ``local:…`` endpoints ask for."""

    address: str | None = None
    workers: int | None = AtLeastOne
    gpus_each: float | None = Field(default=None, ge=0)


class FileForm(_Form):
    """The whole file. Every key of the first level but the tables is a setting of its own."""

    endpoint: str | None = None
    workspace: str | None = None
    in_doubt: Literal["wait", "resubmit", "fail"] | None = None
    retries: int | None = Field(default=None, ge=0, le=100)
    hedge: float | None = Field(default=None, ge=0, le=100)
    max_wait_s: float | None = Positive
    poll_interval_s: float | None = Positive
    jobs: int | None = AtLeastOne
    size: str | None = Field(default=None, pattern=r"^\s*\d+\s*[xX*×]\s*\d+\s*$")
    account_share: float | None = Field(default=None, gt=0, le=1)
    ask_above: float | None = Field(default=None, ge=0)
    theme: str | None = None
    writer: str | None = None
    consistent: bool | None = None
    lang: Literal["zh", "en"] | None = None
    chat: ChatForm | None = None
    cluster: ClusterForm | None = None
    endpoints: dict[str, EndpointForm] | None = None


TABLES = ("chat", "cluster", "endpoints")
SCALARS = tuple(name for name in FileForm.model_fields if name not in TABLES)
"""The settings that are not tables: also environment variables, as ``REDLOOM_NAME``."""
LIMITS = (
    "submit_per_second", "concurrency", "sync_concurrency",
    "poll_per_second", "list_per_second", "downloads",
)  # fmt: skip


def checked(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    """``data`` with its values in their types, what is not set left out.

    ``where`` names the place for the user. Raises BadSettings with everything that is wrong, a
    likely meaning beside each unknown key.
    """
    try:
        form = FileForm.model_validate(data)
    except ValidationError as error:
        raise _bad(where, [_said(one) for one in error.errors()]) from None
    return form.model_dump(exclude_none=True)


def _bad(where: str, said: Iterable[tuple[str, str]]) -> BadSettings:
    zh, en = zip(*said, strict=True)
    return BadSettings(
        f"{where} 里有设置不对：{'；'.join(zh)}。请改正后重试，没有花钱。",
        f"Settings in {where} are wrong: {'; '.join(en)}. Put them right; nothing was spent.",
    )


def _said(error: Mapping[str, Any]) -> tuple[str, str]:
    way = [str(part) for part in error["loc"]]
    key, limits = ".".join(way), error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return _unknown(way)
        case "literal_error":
            known = str(limits["expected"]).replace(" or ", ", ")
            return f"{key} 应为 {known} 之一", f"{key} must be one of {known}"
        case "greater_than" | "greater_than_equal" | "less_than_equal":
            sign = {"greater_than": ">", "greater_than_equal": "≥"}.get(error["type"], "≤")
            bound = next(iter(limits.values()))
            return f"{key} 应 {sign} {bound}", f"{key} must be {sign} {bound}"
        case "string_pattern_mismatch":
            return _shape(key, way[-1])
        case kind if kind.startswith(("int", "float")):
            return f"{key} 应为数字", f"{key} must be a number"
        case kind if kind.startswith(("dict", "model")):
            return f"{key} 应为一节 [{key}]", f"{key} must be a table, [{key}]"
        case kind if kind.startswith("string"):
            return f"{key} 应为加引号的文字", f"{key} must be a quoted string"
        case _:
            return f"{key}：{error['msg']}", f"{key}: {error['msg']}"


def _unknown(way: list[str]) -> tuple[str, str]:
    known = _known(way[:-1])
    close = difflib.get_close_matches(way[-1], known, 1, 0.6)
    key = ".".join(way)
    if close:
        return f"没有 {key}（是不是 {close[0]}？）", f"there is no {key} (did you mean {close[0]}?)"
    listed = "、".join(known), ", ".join(known)
    return f"没有 {key}（可用：{listed[0]}）", f"there is no {key} (known: {listed[1]})"


def _known(way: list[str]) -> list[str]:
    if way[:1] == ["endpoints"]:
        return list(EndpointForm.model_fields)
    tables: dict[str, type[_Form]] = {"chat": ChatForm, "cluster": ClusterForm}
    return list(tables.get(".".join(way), FileForm).model_fields)


def _shape(key: str, last: str) -> tuple[str, str]:
    shapes = {
        "base_url": (
            "以 http:// 或 https:// 开头的网址，不带用户名、密码和 ? 参数（网址会记进账本；密钥放在 api_key_env 指的变量里）",
            "an address that begins with http:// or https://, without user, password or query (addresses are written down; a key belongs into the variable that api_key_env names)",
        ),
        "api_key_env": (
            "环境变量的名字（密钥本身不写在文件里）",
            "the name of an environment variable (the key itself stays out of files)",
        ),
        "currency": ("三个大写字母，如 CNY", "three capitals, such as CNY"),
    }
    zh, en = shapes.get(last, ("宽x高，如 1080x1440", "WIDTHxHEIGHT, such as 1080x1440"))
    return f"{key} 应为{zh}", f"{key} must be {en}"
