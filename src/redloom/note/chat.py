"""One chat call to any OpenAI-compatible service, and its failures by what to do about them.

The protocol is OpenAI's chat completions with ``response_format: {"type": "json_object"}``;
DashScope serves it under ``/compatible-mode/v1``. The key travels in a header and nowhere else.
May import: errors, clock, wire.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from redloom.clock import Clock, held
from redloom.errors import (
    AccountEmpty,
    AnswerLost,
    KeyRefused,
    NotAllowed,
    NotSent,
    Refused,
    ServiceError,
    Throttled,
    Unavailable,
)
from redloom.wire import proxy_for

DASHSCOPE = "https://dashscope.aliyuncs.com/compatible-mode/v1"
MODEL = "qwen-plus"
MOST_WAITS = 2
LONGEST_WAIT_S = 60.0
TIMEOUT_S = 240.0
INSTEAD_ZH = "也可以用 --writer local，不联网、不花钱。"
INSTEAD_EN = "Or use --writer local, which needs no network and costs nothing."

Messages = list[dict[str, str]]


@dataclass
class Chat:
    """A service, a model and a key. ``usage`` adds up what the service reported."""

    key: str = field(repr=False)
    clock: Clock
    model: str = MODEL
    base_url: str = DASHSCOPE
    usage: dict[str, int] = field(default_factory=dict)
    plain: bool = False
    """Set once a service refuses ``response_format``: it is not sent again."""

    async def ask(self, messages: Messages) -> str:
        """The model's answer. Waits twice at most when throttled or when the service is down.

        Raises KeyRefused, AccountEmpty, NotAllowed, Throttled, Unavailable, Refused, NotSent,
        AnswerLost; none of them holds the key.
        """
        waits = 0
        while True:
            try:
                return await self._once(messages)
            except (Throttled, Unavailable) as error:
                wait_s = (
                    error.retry_after_s if error.retry_after_s is not None else 2.0 * (waits + 1)
                )
                if waits == MOST_WAITS or wait_s > LONGEST_WAIT_S or _is_quota(error):
                    raise
                waits += 1
                await self.clock.sleep(wait_s)

    async def _once(self, messages: Messages) -> str:
        import aiohttp

        body: dict[str, Any] = {"model": self.model, "messages": messages}
        if not self.plain:
            body["response_format"] = {"type": "json_object"}
        try:
            with held():
                status, text, headers = await self._posted(body)
        except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
            raise _unreachable(self.base_url, error) from None
        except (TimeoutError, aiohttp.ClientError, ConnectionError) as error:
            raise _lost(error) from None
        if status == 400 and not self.plain and "response_format" in text:
            self.plain = True
            return await self._once(messages)
        if status != 200:
            raise self._refusal(status, text, headers)
        return self._answer(text)

    async def _posted(self, body: dict[str, Any]) -> tuple[int, str, dict[str, str]]:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S, connect=20)
        async with (
            aiohttp.ClientSession(timeout=timeout, proxy=proxy_for(self.url)) as session,
            session.post(self.url, json=body, headers=self._headers()) as response,
        ):
            return response.status, await response.text(errors="replace"), dict(response.headers)

    @property
    def url(self) -> str:
        """Where chats are posted to, whether the address was given with or without ``/v1``."""
        base = self.base_url.strip().rstrip("/").removesuffix("/chat/completions")
        return f"{base}{'' if re.search(r'/v[0-9]+[a-z]*$', base) else '/v1'}/chat/completions"

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def _answer(self, text: str) -> str:
        try:
            data = json.loads(text)
            content = data["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError):
            raise Unavailable(
                f"文字服务的回答看不懂（不是聊天接口的格式）；请检查地址 {self.base_url}。{INSTEAD_ZH}",
                f"The text service's answer is no chat completion; check the address {self.base_url}. {INSTEAD_EN}",
            ) from None
        for name, value in (data.get("usage") or {}).items():
            if isinstance(value, int):
                self.usage[name] = self.usage.get(name, 0) + value
        parts = content if isinstance(content, list) else [content]
        return "".join(
            part.get("text", "") if isinstance(part, Mapping) else str(part or "") for part in parts
        )

    def _refusal(self, status: int, text: str, headers: Mapping[str, str]) -> ServiceError:
        code, said = _said(text)
        said = said.replace(self.key, "***") if self.key else said
        code = code.replace(self.key, "***") if self.key else code
        return _by_status(status, code, said, _retry_after(headers))


def _is_quota(error: ServiceError) -> bool:
    return isinstance(error, Throttled) and error.kind == "quota"


def _by_status(status: int, code: str, said: str, retry_after_s: float | None) -> ServiceError:
    """A failed answer by what to do next. Codes are OpenAI's and DashScope's own."""
    empty = re.search(
        r"insufficient_quota|Arrearage|AllocationQuota|FreeTierOnly|balance",
        f"{code} {said}",
        re.IGNORECASE,
    )
    if status == 402 or (empty and status in (400, 403, 429)):
        return AccountEmpty(
            f"文字服务的账户欠费或额度用完（{said}）；没有生成文字，请充值后再试。{INSTEAD_ZH}",
            f"The text service's account is empty ({said}); nothing was written. Top it up. {INSTEAD_EN}",
            service_code=code,
        )
    if status == 401:
        return KeyRefused(
            f"文字服务不认这个密钥；请检查密钥和地区是否匹配。{INSTEAD_ZH}",
            f"The text service refused the key; check the key and its region. {INSTEAD_EN}",
            service_code=code,
        )
    if status in (403, 404):
        return NotAllowed(
            f"文字服务不让用这个模型或地址（{said}）；请检查模型名和地址。{INSTEAD_ZH}",
            f"The text service does not allow this model or address ({said}); check both. {INSTEAD_EN}",
            service_code=code,
        )
    if status == 429:
        return Throttled(
            f"文字服务说请求太快（{said}），等过之后仍然如此；请稍后再试。{INSTEAD_ZH}",
            f"The text service says too fast ({said}), after waiting too; try later. {INSTEAD_EN}",
            retry_after_s=retry_after_s,
            service_code=code,
        )
    if status >= 500:
        return Unavailable(
            f"文字服务暂时不可用（{status}）；请稍后再试。{INSTEAD_ZH}",
            f"The text service is not available now ({status}); try later. {INSTEAD_EN}",
            retry_after_s=retry_after_s,
            service_code=code,
        )
    return Refused(
        f"文字服务拒绝了请求（{status}：{said}）。{INSTEAD_ZH}",
        f"The text service refused the request ({status}: {said}). {INSTEAD_EN}",
        service_code=code,
    )


def _unreachable(base_url: str, error: Exception) -> NotSent:
    return NotSent(
        f"连不上文字服务 {base_url}（{type(error).__name__}）；请检查网络、代理和地址。{INSTEAD_ZH}",
        f"Cannot reach the text service {base_url} ({type(error).__name__}); check network, proxy and address. {INSTEAD_EN}",
    )


def _lost(error: BaseException) -> AnswerLost:
    return AnswerLost(
        f"请求发出后没有等到文字服务的回答（{type(error).__name__}），这一次可能已计费；请稍后再试。{INSTEAD_ZH}",
        f"No answer from the text service ({type(error).__name__}); this call may be billed. Try later. {INSTEAD_EN}",
    )


def _said(text: str) -> tuple[str, str]:
    """The service's code and message from OpenAI's or DashScope's shape, short."""
    try:
        data = json.loads(text)
    except ValueError:
        return "", re.sub(r"<[^>]+>|\s+", " ", text).strip()[:120] or "…"
    inner = data.get("error", data) if isinstance(data, dict) else {}
    if isinstance(inner, str):
        return "", inner[:200]
    return str(inner.get("code") or inner.get("type") or ""), str(inner.get("message") or "…")[:200]


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = next((text for name, text in headers.items() if name.lower() == "retry-after"), "")
    try:
        return max(0.0, float(value))
    except ValueError:
        return None
