"""Tells a run's or note's end to whoever asked: signed, tried again, never sent inwards.

Signed as in Standard Webhooks 1.0 (standardwebhooks.com): ``webhook-id``, ``webhook-timestamp``,
``webhook-signature: v1,`` and the Base64 of HMAC-SHA256 over ``id.timestamp.body``. The address
must be https and lie on the open Internet, judged on the address that is connected to
(`links.guarded_connector`), unless the operator named the receiver; redirects are not followed.

May import: errors, lang, clock, links.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from redloom.errors import UnsafeLink
from redloom.links import Resolve, Rules, admit, guarded_connector, parse, system_resolve

from .problems import wrong

log = logging.getLogger("redloom.studio")
PAUSES_S = (5.0, 30.0, 120.0, 600.0, 3600.0, 4 * 3600.0, 12 * 3600.0)
"""Real seconds before the second, third … try; after the last one it is given up."""
TIMEOUT_S = 20.0
LONGEST_ADDRESS = 2000


@dataclass
class Webhooks:
    """Sends them. ``allowed`` are receivers (``HOST:PORT``) that may lie anywhere."""

    secret: bytes
    allowed: tuple[str, ...] = ()
    resolve: Resolve = field(default=system_resolve)

    @property
    def shown_secret(self) -> str:
        """What a receiver checks signatures with."""
        return f"whsec_{base64.b64encode(self._key).decode()}"

    @property
    def _key(self) -> bytes:
        return hmac.new(self.secret, b"webhook", hashlib.sha256).digest()

    def check(self, address: str) -> str:
        """The address, if it may be asked. Raises Problem 422."""
        if not address:
            return ""
        try:
            if len(address) > LONGEST_ADDRESS:
                raise UnsafeLink("太长", "too long")
            admit(parse(address), self._rules())
        except UnsafeLink:
            raise wrong(
                "webhook",
                "webhook 要是公网的 https 地址；内网的接收方请在启动时用 --webhook-host 写明。",
                "webhook must be a public https address; name a receiver inside your network with --webhook-host at the start.",
                "unsafe_webhook",
            ) from None
        return address

    async def send(self, address: str, name: str, body: Mapping[str, Any], at: float) -> bool:
        """One try; whether the receiver said 2xx."""
        import aiohttp

        data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        try:
            way, url = admit(parse(address), self._rules())
            connector = None if way == "own" else guarded_connector(self.resolve, 1)
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
                session.post(
                    url, data=data, headers=self.headers(name, int(at), data), allow_redirects=False
                ) as answer,
            ):
                return 200 <= answer.status < 300
        except (UnsafeLink, aiohttp.ClientError, OSError, TimeoutError) as error:
            log.info("webhook for %s: %s", name, type(error).__name__)
            return False

    def headers(self, name: str, at: int, data: bytes) -> dict[str, str]:
        """Content type and signature."""
        signed = hmac.new(self._key, f"{name}.{at}.".encode() + data, hashlib.sha256).digest()
        return {
            "Content-Type": "application/json", "User-Agent": "redloom", "webhook-id": name,
            "webhook-timestamp": str(at), "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
        }  # fmt: skip

    def _rules(self) -> Rules:
        """`links.Rules` that hold for receivers: those allowed count as our own."""
        return Rules(rewrite={host: host for host in self.allowed})
