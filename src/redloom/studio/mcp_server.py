"""MCP: what another agent may ask of us (`server` speaks it over HTTP and standard input/output).

Five tools. Making answers at once with an id; status answers small, with addresses and, if asked,
one thumbnail under 50 KB. The official SDK is an extra: ``pip install 'redloom[mcp]'``.

Imported only where it is asked for. May import: everything of the studio but ``app``,
``routes`` and ``server``; mcp.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import Field

from redloom.engine import RunOptions
from redloom.errors import RedloomError
from redloom.job import normal_size
from redloom.prompt import Prompt
from redloom.version import __version__

from .callers import Caller
from .house import House
from .memory import Listing
from .orders import Order, dearest, fresh_take, place
from .problems import Problem, not_found, of_error

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

Json = dict[str, Any]
T = TypeVar("T")
STDIO = Caller("stdio", "admin", "stdio")
MOST = 50
"""Prompts of one call, and entries of one list."""
THUMB_BYTES = 50_000
_SAID = (
    "Redloom turns prompts into pictures and stories into Xiaohongshu notes, each paid for at most once. "
    "Making answers at once with an id; ask `status` for it until `done`. Pictures cost money: ask for as "
    "many as are wanted, not more."
)


def mcp_server(house: House) -> MCPServer:
    """The server around a house."""
    with _own_logging():
        server: MCPServer = MCPServer("redloom", instructions=_SAID, version=__version__)
    tools = Tools(house)

    @server.tool(description="Make a Xiaohongshu note of a story. Answers at once with the note's id.")  # fmt: skip
    async def make_note(
        story: Annotated[
            str, Field(max_length=200_000, description="the story, plain or Markdown")
        ],
        ctx: Context[Any],
        title: Annotated[str, Field(max_length=200)] = "",
        images: Annotated[int, Field(ge=0, le=9, description="pictures by a model")] = 1,
        theme: Annotated[str, Field(pattern=r"^[a-z0-9_]{0,40}$")] = "",
        budget: Annotated[float, Field(ge=0)] | None = None,
    ) -> Json:
        asked = {"title": title or None, "images": images, "theme": theme, "budget": budget}
        return await tools.make_note(_caller(ctx), story, asked)

    @server.tool(description="Make pictures of prompts. Answers at once with the run's id.")
    async def make_pictures(
        prompts: Annotated[list[Annotated[str, Field(max_length=20_000)]], Field(min_length=1, max_length=MOST)],
        ctx: Context[Any],
        model: Annotated[str, Field(max_length=200)] = "",
        size: Annotated[str, Field(max_length=20, description="1024x1024 or 3:4")] = "",
        n: Annotated[int, Field(ge=1, le=10, description="pictures of each prompt")] = 1,
        fresh: bool = False,
        budget: Annotated[float, Field(ge=0)] | None = None,
    ) -> Json:  # fmt: skip
        wanted = {"model": model, "size": size, "n": n, "fresh": fresh, "budget": budget}
        return await tools.make_pictures(_caller(ctx), prompts, wanted)

    @server.tool(description="How far a run or note has come, with its pictures' addresses.")
    async def status(id: Annotated[str, Field(max_length=60)], ctx: Context[Any]) -> Json:  # noqa: A002
        return await tools.status(_caller(ctx), id)

    @server.tool(name="list", description="The newest runs and notes.")
    async def list_all(ctx: Context[Any], limit: Annotated[int, Field(ge=1, le=MOST)] = 10) -> Json:  # fmt: skip
        return await tools.list(_caller(ctx), limit)

    @server.tool(description="Cancel a run or note; what is paid for is still kept.")
    async def cancel(id: Annotated[str, Field(max_length=60)], ctx: Context[Any]) -> Json:  # noqa: A002
        return await tools.cancel(_caller(ctx), id)

    return server


@contextmanager
def _own_logging() -> Iterator[None]:
    """The SDK sets up logging for the whole process when a server is made; that is ours to do."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def _caller(ctx: Any) -> Caller:
    """Who asks: the request's caller, or whoever started us on standard input."""
    request = getattr(ctx.request_context, "request", None)
    if request is None:
        return STDIO
    return cast(Caller, request.scope["redloom.caller"])


class Tools:
    """What the tools do."""

    def __init__(self, house: House) -> None:
        self.house = house

    async def make_note(self, caller: Caller, story: str, asked: Json) -> Json:
        """Begin a note."""
        note = await _said(self.house.notes.add(caller.name, story, asked, ""))
        return {"id": note, "state": "writing"}

    async def make_pictures(self, caller: Caller, prompts: Sequence[str], asked: Json) -> Json:
        """Begin a run."""
        return await _said(self._make_pictures(caller, prompts, asked))

    async def _make_pictures(self, caller: Caller, prompts: Sequence[str], asked: Json) -> Json:
        lives = self.house.lives_for([], asked["model"])
        models = {live.endpoint.model for live in lives}
        options = RunOptions(
            model=asked["model"] if asked["model"] in models else "", n=asked["n"],
            size=normal_size(asked["size"]) if asked["size"] else "",
            take=fresh_take() if asked["fresh"] else 1,
        )  # fmt: skip
        price = dearest(lives, Prompt(prompts[0]), {"size": options.size})
        pictures = len(prompts) * asked["n"]
        run = await place(
            self.house,
            Order(
                prompts=list(prompts), pictures=pictures, price=price, lives=lives,
                options=options, kind="mcp", caller=caller, name=prompts[0][:80],
                budget=asked["budget"], priority=5,
            ),
        )  # fmt: skip
        costs = None if price.amount is None else round(price.amount * pictures, 4)
        return {"id": run, "state": "open", "pictures": pictures, "at_most": costs, "currency": price.currency}  # fmt: skip

    async def status(self, caller: Caller, name: str) -> Json:
        """A run or note in a few words."""
        return await _said(self._status(caller, name))

    async def _status(self, caller: Caller, name: str) -> Json:
        root = self.house.attendants.root
        if name.startswith("n_"):
            row = self.house.notes.must(name, caller.sees)
            shown = await self.house.notes.show.brief(row, root)
            return _brief_note(shown, self.house, caller)
        run = await self._run(caller, name)
        rows, total = await self.house.memory.rows(name, (), "", 0, MOST)
        shown_rows = await self.house.show.rows(name, rows, root)
        return {
            **{key: run[key] for key in ("id", "state", "counts", "done", "total", "money", "waits_for")},
            "rows": [_brief_row(one) for one in shown_rows], "more": max(0, total - MOST),
            "thumbnail": await self._thumbnail(shown_rows),
        }  # fmt: skip

    async def _run(self, caller: Caller, name: str) -> Json:
        asked = self.house.memory.asked(name)
        mine = not caller.sees or (asked is not None and asked["caller"] == caller.sees)
        run = await self.house.show.run(name, self.house.attendants.root) if mine else None
        if run is None:
            raise not_found(f"没有 {name}。", f"There is no {name}.")
        return run

    async def _thumbnail(self, rows: Sequence[Json]) -> str | None:
        """The first picture, small, as a data address; None where there is none or it is too much."""
        picture = next((one["picture"] for one in rows if one["picture"]), None)
        wanted = None if picture is None else self.house.pictures.wanted(picture["thumb"].rpartition("/")[2])  # fmt: skip
        data = None if wanted is None else await self.house.pictures.bytes_of(wanted)
        if data is None or len(data) * 4 / 3 > THUMB_BYTES:
            return None
        return f"data:image/webp;base64,{base64.b64encode(data).decode()}"

    async def list(self, caller: Caller, limit: int) -> Json:
        """The newest runs and notes."""
        root = self.house.attendants.root
        rows = await self.house.memory.runs(Listing(caller=caller.sees, limit=limit))
        runs = await self.house.show.runs(rows, root)
        notes = await self.house.memory.notes("", caller.sees, "", limit)
        names = ("id", "name", "kind", "state", "done", "total")
        return {
            "runs": [{key: run[key] for key in names} for run in runs],
            "notes": [{key: note[key] for key in ("id", "title", "state")} for note in notes],
        }

    async def cancel(self, caller: Caller, name: str) -> Json:
        """Give up what is not paid for."""
        return await _said(self._cancel(caller, name))

    async def _cancel(self, caller: Caller, name: str) -> Json:
        if name.startswith("n_"):
            self.house.notes.must(name, caller.sees)
            await self.house.notes.cancel(name)
        else:
            await self._run(caller, name)
            await self.house.engine.cancel(name)
            self.house.feed.changed(name)
        return await self._status(caller, name)


async def _said(work: Awaitable[T]) -> T:
    """The answer, or an error that the agent can read."""
    try:
        return await work
    except RedloomError as error:
        problem = of_error(error)
    except Problem as error:
        problem = error
    told = {"code": problem.code, "message": str(problem.text), "spent": problem.spent}
    raise ToolError(json.dumps(told, ensure_ascii=False))


def _brief_row(one: Json) -> Json:
    shown = {key: one[key] for key in ("row", "take", "status")}
    shown["prompt"] = one["prompt"][:80]
    if one["picture"]:
        shown["url"] = one["picture"]["url"]
    if one["error"]:
        shown["error"] = one["error"][:300]
    return shown


def _brief_note(shown: Json, house: House, caller: Caller) -> Json:
    brief = {key: shown[key] for key in ("id", "title", "state", "error", "money", "post")}
    brief["cards"] = [{"n": card["n"], "url": card["url"]} for card in shown["cards"]]
    if caller.role == "admin" and shown["cards"]:
        brief["folder"] = str(house.notes.folder(shown["id"]))
    return brief


class Endpoint:
    """``/mcp`` as an ASGI application. ``running`` has to be entered first."""

    def __init__(self, server: MCPServer) -> None:
        # Host and Origin were checked at the door, by rules that know our proxies.
        server.streamable_http_app(
            stateless_http=True, json_response=True,
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        )  # fmt: skip
        self._manager = server.session_manager

    def running(self) -> AbstractAsyncContextManager[None]:
        """While entered, requests are served."""
        return self._manager.run()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        await self._manager.handle_request(scope, receive, send)
