"""``redloom serve``: the studio, the API and MCP on one engine.

May import: logs, errors, cli.common, lang; at the call settings and studio.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import click

from redloom.lang import Text

from .common import Common, command, option

if TYPE_CHECKING:
    from redloom.studio.options import Options


@command(
    "serve",
    zh="网页工作室和 API（/v1、/api、/mcp）。默认只有本机能访问；监听别的地址要有 --token。",
    en="The studio and the API (/v1, /api, /mcp). Only this machine can reach it unless told "
    "otherwise; any other address needs --token.",
)
@option("--host", default="127.0.0.1", metavar="HOST", zh="监听的地址", en="address to listen at")
@option(
    "--port", type=click.IntRange(0, 65535), default=8787, metavar="N",
    zh="端口（被占就用下一个；0：任一空闲的）", en="port (the next one if it is taken; 0: any free one)",
)  # fmt: skip
@option(
    "--token", default=None, metavar="TOKEN",
    zh="管理口令（或环境变量 REDLOOM_TOKEN，不进进程列表）",
    en="the admin's token (or REDLOOM_TOKEN, which no list of processes shows)",
)  # fmt: skip
@option(
    "--endpoint", "endpoints", multiple=True, metavar="NAME",
    zh="另外开放的端点，如 dashscope:qwen-image（可多次）", en="another endpoint to offer, such as dashscope:qwen-image (may be repeated)",
)  # fmt: skip
@option(
    "--allow-host", "hosts", multiple=True, metavar="NAME",
    zh="可用来访问的主机名（可多次）", en="a host name to be called by (may be repeated)",
)  # fmt: skip
@option(
    "--trusted-proxy", "proxies", multiple=True, metavar="NETWORK",
    zh="相信谁的 X-Forwarded-*（地址或网段，可多次）", en="whose X-Forwarded-* to believe (address or network; may be repeated)",
)  # fmt: skip
@option(
    "--public-url", default="", metavar="URL", zh="外面看到的网址", en="the address that people see"
)
@option(
    "--webhook-host", "webhook_hosts", multiple=True, metavar="HOST:PORT",
    zh="允许的内网 webhook 接收方", en="a webhook receiver inside your network that may be asked",
)  # fmt: skip
@option(
    "--stdio", is_flag=True, zh="不开网页，只在标准输入输出上说 MCP", en="no web: speak MCP on standard input and output",
)  # fmt: skip
def serve(common: Common, **asked: Any) -> int:
    """The command."""
    from redloom.logs import set_up

    options = _options(asked)
    settings = common.settings()
    set_up(verbose=common.verbose, names=("redloom", "uvicorn", "asyncio", "mcp"), always=True)
    if asked["stdio"]:
        from redloom.studio.server import serve_stdio

        asyncio.run(serve_stdio(options, settings))
        return 0
    from redloom.studio.server import serve as run_server

    asyncio.run(run_server(options, settings, lambda url, real: _tell(common, url, options, real)))
    common.hint("已停下；没做完的下次启动会接着做。", "Stopped; what is unfinished goes on at the next start.")  # fmt: skip
    return 0


def _options(asked: dict[str, Any]) -> Options:
    from redloom.studio.options import Options, networks

    return Options(
        host=asked["host"], port=asked["port"],
        token=(asked["token"] or os.environ.get("REDLOOM_TOKEN", "")).strip(),
        endpoints=tuple(asked["endpoints"]), hosts=tuple(asked["hosts"]),
        proxies=networks(asked["proxies"]), public_url=_url(asked["public_url"]),
        webhook_hosts=tuple(asked["webhook_hosts"]),
    )  # fmt: skip


def _url(text: str) -> str:
    from urllib.parse import urlsplit

    from redloom.errors import BadInput

    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.netloc or parts.query):
        raise BadInput(
            "--public-url 要写成 https://主机/路径。", "--public-url is written https://HOST/PATH."
        )
    return text.rstrip("/")


def _tell(common: Common, url: str, asked: Options, real: Options) -> None:
    if asked.port not in (0, real.port):
        common.warn(
            Text(f"端口 {asked.port} 被占用，改用 {real.port}。", f"Port {asked.port} is taken; using {real.port}.")
        )  # fmt: skip
    common.emit({"event": "listening", "url": url, "port": real.port})
    common.say(f"工作室：{url}（Ctrl-C 停下）", f"The studio: {url} (Ctrl-C stops it)")
    common.hint(f"API：{url}v1 · 文档 {url}docs", f"API: {url}v1 · docs {url}docs")
