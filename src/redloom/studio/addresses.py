"""Where a request came from and where it thinks that it went.

Forwarded headers are believed only from configured proxies; that there are any at all is enough
to ask for a token, since the caller is then not on this machine.

May import: studio.options.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .options import Options, is_loopback

FORWARDING = frozenset(
    b"forwarded via x-forwarded-for x-forwarded-host x-forwarded-proto x-forwarded-prefix x-forwarded-port "
    b"x-forwarded-server x-real-ip x-client-ip true-client-ip cf-connecting-ip x-original-host".split()
)
_HOST = re.compile(r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253})(?::(\d{1,5}))?$")
_PREFIX = re.compile(r"^(/[A-Za-z0-9._~-]+)+$")


@dataclass(frozen=True, slots=True)
class Place:
    """A request's surroundings. ``base`` is empty or ``/path``; ``client`` an address."""

    scheme: str
    host: str
    """For our own addresses, with its port where it has one."""
    asked: str
    """What the request itself, or a proxy of ours, named as host."""
    base: str
    client: str
    forwarded: bool
    """It came with a forwarding header, believed or not."""
    trusted: bool
    """The peer is one of our proxies."""

    @property
    def origin(self) -> str:
        """``https://host:port``."""
        return f"{self.scheme}://{self.host}"

    @property
    def root(self) -> str:
        """What every absolute address of ours begins with."""
        return f"{self.origin}{self.base}"


def place_of(scope: Mapping[str, Any], options: Options) -> Place | None:
    """The place of a request; None where its Host is missing, doubled or no host at all."""
    headers = _single(scope)
    if headers is None:
        return None
    peer = (scope.get("client") or ("", 0))[0]
    forwarded = any(name in headers for name in FORWARDING)
    trusted = forwarded and _is_ours(peer, options)
    scheme, host, base = str(scope.get("scheme", "http")), headers.get(b"host", ""), options.base
    if trusted:
        scheme = _first(headers, b"x-forwarded-proto", scheme)
        host = _first(headers, b"x-forwarded-host", host)
        prefix = _first(headers, b"x-forwarded-prefix", "").rstrip("/")
        base = base or (prefix if _PREFIX.match(prefix) else "")
        peer = _client(headers, peer, options)
    asked = host.lower()
    if options.public_url:
        parts = urlsplit(options.public_url)
        if trusted or not is_loopback(host_name(host)):
            scheme, host = parts.scheme, parts.netloc
    if scheme not in ("http", "https") or not _HOST.match(asked):
        return None
    return Place(scheme, host.lower(), asked, base, peer, forwarded, trusted)


def is_known(place: Place, options: Options) -> bool:
    """Whether the Host is one of ours. Addresses always are: a page that rebinds a name to this
    machine (DNS rebinding) sends that name, never a bare address.
    """
    name = host_name(place.asked)
    known = {host_name(host.lower()) for host in options.hosts}
    known |= {options.host.lower(), host_name(urlsplit(options.public_url).netloc.lower())} - {""}
    if is_loopback(name) or name in known:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return not options.on_loopback


def host_name(host: str) -> str:
    """``host:port`` without its port, ``[::1]`` without its brackets."""
    found = _HOST.match(host)
    return found[1].strip("[]").lower() if found else ""


def _single(scope: Mapping[str, Any]) -> dict[bytes, str] | None:
    """The headers; None where Host stands there twice, which is how smugglers write."""
    found: dict[bytes, str] = {}
    for name, value in scope["headers"]:
        if name == b"host" and name in found:
            return None
        text = value.decode("latin-1")
        found[name] = f"{found[name]},{text}" if name in found else text
    return found


def _first(headers: Mapping[bytes, str], name: bytes, otherwise: str) -> str:
    value = headers.get(name, "").split(",")[0].strip()
    return value or otherwise


def _client(headers: Mapping[bytes, str], peer: str, options: Options) -> str:
    """The nearest address that is not one of our proxies'."""
    hops = [hop.strip() for hop in headers.get(b"x-forwarded-for", "").split(",") if hop.strip()]
    for hop in reversed(hops):
        if not _is_ours(hop, options):
            return hop[:64]
    return peer


def _is_ours(address: str, options: Options) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(ip in network for network in options.proxies)
