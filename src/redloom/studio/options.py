"""What `redloom serve` was asked for.

May import: errors.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from redloom.errors import BadInput

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
MiB = 1024 * 1024


@dataclass(frozen=True)
class Options:
    """How the server listens, whom it believes, and how much it takes."""

    host: str = "127.0.0.1"
    port: int = 8787
    token: str = field(default="", repr=False)
    """The admin's; empty: open, which is allowed on loopback only."""
    endpoints: tuple[str, ...] = ()
    """Endpoints beside those that are ready, such as ``dashscope:qwen-image``."""
    hosts: tuple[str, ...] = ()
    """Names by which we may be called, beside loopback's and IP addresses."""
    proxies: tuple[Network, ...] = ()
    """Whose ``X-Forwarded-*`` headers are believed."""
    public_url: str = ""
    """The address that people see, where it is not to be told from the request."""
    webhook_hosts: tuple[str, ...] = ()
    """``HOST:PORT`` of receivers that are no public https address and may be asked all the same."""
    body_bytes: int = 4 * MiB
    upload_bytes: int = 64 * MiB
    picture_bytes: int = 30_000_000
    picture_pixels: int = 64_000_000
    most_prompts: int = 100_000
    most_streams: int = 2000

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach us."""
        return is_loopback(self.host)

    @property
    def base(self) -> str:
        """The path of the public address: empty or ``/path``."""
        return urlsplit(self.public_url).path.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host in LOOPBACK_NAMES or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def checked(options: Options) -> Options:
    """The options, if they are safe. Raises BadInput: off loopback a token is needed."""
    if not options.on_loopback and not options.token:
        raise BadInput(
            f"监听 {options.host} 会让别的机器也能用（并花你的钱），所以要有口令：加 --token（或 REDLOOM_TOKEN）。",
            f"Listening on {options.host} lets other machines in (and spend your money), so it needs "
            "a token: add --token (or REDLOOM_TOKEN).",
        )
    if options.token and len(options.token) < 8:
        raise BadInput("口令至少要 8 个字符。", "The token must have at least 8 characters.")
    return options


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Addresses and networks from ``10.0.0.1`` and ``10.0.0.0/8``. Raises BadInput."""
    try:
        return tuple(ipaddress.ip_network(text, strict=False) for text in texts)
    except ValueError as error:
        raise BadInput(
            f"--trusted-proxy 要写 IP 地址或网段（{error}）。",
            f"--trusted-proxy takes IP addresses or networks ({error}).",
        ) from None
