"""Where a picture's link may lead, and how it is reached: hosts, addresses, proxies.

A link comes from a service's answer and is not trusted: it must not make this machine ask its
own network for anything (server-side request forgery). Three ways are open. The endpoint's own
host and port, whatever they are. https to the hosts that the provider documents, whatever they
resolve to (local proxies hand out made-up addresses). Else https to public addresses, judged
on the address that is really connected to.
May import: errors, wire.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from . import wire
from .errors import FetchFailed, NotSent, UnsafeLink

if TYPE_CHECKING:
    from yarl import URL

Way = Literal["own", "listed", "public"]
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Addresses of a host; raises OSError where there are none."""

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_PORTS = {"http": 80, "https": 443}
# A host whose last label is a number, decimal or hexadecimal, is an IPv4 address to some
# resolvers (WHATWG URL, "ends in a number").
_ENDS_IN_NUMBER = re.compile(r"(^|\.)(0[xX][0-9a-fA-F]*|[0-9]+)$")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a picture's link and bytes may be. Bytes and pixels are caps; seconds are real."""

    own_host: str = ""
    """``host:port`` of the endpoint's own address."""
    suffixes: tuple[str, ...] = ()
    """``.aliyuncs.com``: hosts below it; ``cdn.example.com``: it and hosts below it."""
    max_bytes: int = 64 * 1024 * 1024
    max_pixels: int = 100_000_000
    rewrite: Mapping[str, str] = field(default_factory=dict)
    """Host, or host:port, to what is asked in its place: a host, host:port, or scheme://host."""
    timeout_s: float = 300.0
    """A whole try."""
    stall_s: float = 30.0
    """Without a byte, or without a connection."""


def own_host(base_url: str) -> str:
    """``host:port`` of an endpoint's address, for `Rules`; empty where it has none."""
    from yarl import URL

    try:
        url = URL(base_url)
        return f"{url.host}:{url.port}" if url.host else ""
    except ValueError:
        return ""


def parse(link: str) -> URL:
    """The link, its query untouched (a signature covers it). Raises UnsafeLink."""
    from yarl import URL

    link = link.strip()
    if re.search(r"[\s\\\x00-\x1f\x7f]", link):
        raise unsafe("?", "网址里有不该有的字符", "it holds characters that no URL may")
    try:
        url = URL(link, encoded=link.isascii())
        host, port = url.host, url.port
    except ValueError:
        raise unsafe("?", "不是网址", "it is no URL") from None
    if url.scheme not in _PORTS or not host or not port:
        raise unsafe(host or "?", "只接受 http(s) 网址", "only http(s) links are taken")
    if url.user is not None or url.password is not None:
        raise unsafe(host, "网址里带有用户名或密码", "it carries a user name or password")
    return url


def admit(url: URL, rules: Rules) -> tuple[Way, URL]:
    """How the link may be reached, and the link to ask. Raises UnsafeLink.

    Told hosts are asked by https even where the link says http, which some services write.
    """
    host = (url.host or "").rstrip(".").lower()
    if target := rules.rewrite.get(f"{host}:{url.port}") or rules.rewrite.get(host):
        return "own", _moved(url, target)
    if _is_own(host, url, rules.own_host):
        return "own", url
    if _address(host) is None and any(_below(host, suffix) for suffix in rules.suffixes):
        if url.scheme == "http" and url.port == 80:
            url = _moved(url, f"https://{host}")
        if url.scheme == "https":
            return "listed", url
    if url.scheme != "https":
        raise unsafe(host, "其他主机只接受 https", "of other hosts only https is taken")
    _check_public_name(host)
    return "public", url


def unsafe(host: str, zh: str, en: str) -> UnsafeLink:
    """The error for a link that is not followed; it names the host, never the query."""
    return UnsafeLink(
        f"图片链接（{host}）没有访问：{zh}。图片已付费；若该主机可信，可用该端点的 options.rewrite_hosts 换成可信的地址。",
        f"The picture's link ({host}) was not followed: {en}. The picture is paid for; if the "
        "host is one you trust, map it to an address of your own with options.rewrite_hosts.",
    )


def is_public(address: str) -> bool:
    """Whether an IP address is of the open Internet, also behind IPv6 disguises of IPv4."""
    try:
        ip = ipaddress.ip_address(address.split("%", 1)[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if ip in _NAT64:  # what an IPv6-only network gives for every IPv4 host (RFC 6052)
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        if inner and not is_public(str(inner)):
            return False
        if ip.ipv4_mapped:
            return True
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


async def system_resolve(host: str, port: int) -> Sequence[str]:
    """Addresses by the system's resolver, in its order."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def public_addresses(resolve: Resolve, host: str, port: int) -> Sequence[str]:
    """The host's addresses, every one public. Raises UnsafeLink where one is not."""
    addresses = await resolve(host, port)
    if not addresses or not all(is_public(address) for address in addresses):
        raise _inward(host)
    return addresses


def guarded_connector(resolve: Resolve, limit: int) -> Any:
    """An aiohttp connector that connects to public addresses only, and to those it checked."""
    import aiohttp
    from aiohttp.abc import AbstractResolver, ResolveResult

    class Guard(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> list[ResolveResult]:
            return [
                ResolveResult(
                    hostname=host,
                    host=address,
                    port=port,
                    family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                    proto=0,
                    flags=socket.AI_NUMERICHOST,
                )
                for address in await public_addresses(resolve, host, port)
            ]

        async def close(self) -> None:
            return None

    return aiohttp.TCPConnector(resolver=Guard(), limit=limit)


def proxy_for(url: URL) -> str | None:
    """The proxy that the environment names for this link (`wire.proxy_for`). Raises FetchFailed."""
    try:
        return wire.proxy_for(str(url.origin()))
    except NotSent:
        raise FetchFailed(
            "下载用不了环境变量里的代理：只支持 http 代理。图片已付费，改好代理后重新运行即可。",
            "The proxy in the environment cannot be used for downloads: only http proxies can. "
            "The picture is paid for; put the proxy right and run again.",
        ) from None


def _inward(host: str) -> UnsafeLink:
    return unsafe(host, "它指向内部网络", "it leads into a private network")


def _check_public_name(host: str) -> None:
    address = _address(host)
    if address is not None:
        if not is_public(str(address)):
            raise _inward(host)
    elif _ENDS_IN_NUMBER.search(host) or "." not in host or ":" in host:
        raise unsafe(host, "这不是公网主机名", "that is no public host name")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.split("%", 1)[0])
    except ValueError:
        return None


def _is_own(host: str, url: URL, own: str) -> bool:
    name, _, port = own.lower().rpartition(":")
    if not name or port != str(url.port):
        return False
    both_here = name in _LOOPBACK_NAMES and host in _LOOPBACK_NAMES
    return host == name or both_here


def _below(host: str, suffix: str) -> bool:
    bare = suffix.lower().lstrip(".")
    return bool(bare) and (
        host.endswith(f".{bare}") or (host == bare and not suffix.startswith("."))
    )


def _moved(url: URL, target: str) -> URL:
    from yarl import URL

    aim = URL(target if "://" in target else f"{url.scheme}://{target}")
    return URL(f"{aim.scheme}://{aim.raw_authority}{url.raw_path_qs}", encoded=True)
