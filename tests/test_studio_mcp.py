"""MCP with the official client, over HTTP and on standard input and output."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters, stdio_client

from redloom.studio.options import Options
from studio_rig import rig

STORY = "奶奶的院子里有一棵石榴树。每年十月，她都要数一数果子。\n\n今年她数到四十九。"


def said(result: Any) -> dict[str, Any]:
    """A tool's answer as JSON."""
    told: dict[str, Any] = json.loads(result.content[0].text)
    return told


async def until(client: Any, name: str, state: str) -> dict[str, Any]:
    """``status`` of a run or note once it is in this state."""
    for _ in range(400):
        shown = said(await client.call_tool("status", {"id": name}))
        if shown["state"] == state:
            return shown
        await asyncio.sleep(0.05)
    raise AssertionError(shown)


def test_an_agent_makes_pictures_and_a_note(tmp_path: Path) -> None:
    """Five tools; an id at once; small answers with addresses and a thumbnail; errors as words."""

    async def talk(url: str) -> None:
        async with Client(f"{url}/mcp") as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
            assert tools == ["make_note", "make_pictures", "status", "list", "cancel"]
            begun = said(await client.call_tool("make_pictures", {"prompts": ["a", "b"], "n": 2}))
            assert (begun["pictures"], begun["at_most"], begun["currency"]) == (4, 0.8, "CNY")
            shown = await until(client, begun["id"], "done")
            assert shown["counts"] == {"ok": 4}
            assert len(json.dumps(shown)) < 50_000
            assert shown["thumbnail"].startswith("data:image/webp;base64,")
            assert all(row["url"].startswith("http") for row in shown["rows"])
            note = said(await client.call_tool("make_note", {"story": STORY, "images": 1}))
            done = await until(client, note["id"], "done")
            assert done["post"]["title"]
            assert len(done["cards"]) >= 2
            listed = said(await client.call_tool("list", {}))
            assert [one["id"] for one in listed["notes"]] == [note["id"]]
            missing = await client.call_tool("status", {"id": "none"})
            assert missing.is_error
            assert "not_found" in missing.content[0].text  # type: ignore[union-attr]
            over = said(await client.call_tool("cancel", {"id": begun["id"]}))
            assert over["state"] == "done"

    with rig(tmp_path / "ws") as made:
        asyncio.run(talk(made.url))


def test_an_agent_needs_the_token(tmp_path: Path) -> None:
    """Without it the door stays shut."""
    with rig(tmp_path / "ws", Options(token="the-admin-token")) as made:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        assert made.client.post("/mcp", json=body).status_code == 401


def test_on_standard_input_and_output(tmp_path: Path) -> None:
    """``redloom serve --stdio``: the same tools; an offline note becomes a folder."""
    environment = {**os.environ, "REDLOOM_HOME": str(tmp_path / "ws"), "NO_PROXY": "*"}
    how = StdioServerParameters(
        command=sys.executable, args=["-m", "redloom", "serve", "--stdio"], env=environment
    )

    async def talk() -> dict[str, Any]:
        async with Client(stdio_client(how)) as client:
            note = said(await client.call_tool("make_note", {"story": STORY, "images": 0}))
            return await until(client, note["id"], "done")

    shown = asyncio.run(talk())
    assert (Path(shown["folder"]) / "post.json").is_file()
