"""What all routes share: the one engine of this process and what is kept around it.

May import: everything on the way, the engine, settings; of the studio what stands on its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request

from redloom import private
from redloom.engine import Engine
from redloom.errors import RedloomError
from redloom.lang import Text
from redloom.route import Live
from redloom.settings import Settings

from .addresses import Place
from .attend import Attendants
from .callers import LOCAL, Caller, Callers, Quotas, digest_of
from .chores import Chores
from .feed import Feed
from .memory import Memory
from .note_show import NoteShow
from .notes import Notes
from .options import Options
from .pictures import Pictures
from .problems import Problem
from .show import Show
from .uploads import Uploads
from .webhooks import Webhooks

ROOMS = ("runs", "notes", "uploads", "references", "served")
"""The studio's own folders in the workspace, shut to the machine's other users."""


@dataclass
class House:
    """Everything behind the door."""

    options: Options
    settings: Settings | None
    engine: Engine
    memory: Memory
    callers: Callers
    pictures: Pictures
    show: Show
    feed: Feed
    hooks: Webhooks
    attendants: Attendants
    uploads: Uploads
    notes: Notes
    chores: Chores
    quotas: Quotas = field(default_factory=Quotas)
    locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    """One for each caller with a budget: its runs are admitted one after another."""
    draining: bool = False
    metrics: Any = None
    """`redloom.metrics.Metrics`, watching the engine."""

    @property
    def root(self) -> Path:
        """The workspace's folder."""
        return self.engine.workspace.root

    def now(self) -> float:
        """Nominal time."""
        return self.engine.clock.now()

    # endpoints

    @property
    def default(self) -> str:
        """The endpoint asked when none is named: the configured one, else the first with a model."""
        names = [live.name for live in self.engine.lives]
        wanted = self.settings.default_endpoint if self.settings is not None else ""
        if wanted in names or not names:
            return wanted
        models = [live.name for live in self.engine.lives if live.capabilities.made_by_model]
        return (models or names)[0]

    def live(self, name: str) -> Live | None:
        """An endpoint in use by its name."""
        return next((live for live in self.engine.lives if live.name == name), None)

    def lives_for(self, endpoints: Sequence[str], model: str) -> list[Live]:
        """The endpoints that a request means. Raises Problem 404 where there is none of them."""
        if endpoints:
            return [self._known(name) for name in endpoints]
        if not model:
            return [self._known(self.default)]
        if (named := self.live(model)) is not None:
            return [named]
        offering = [live for live in self.engine.lives if live.endpoint.model == model]
        if not offering:
            raise self._no_model(model)
        return offering

    def _known(self, name: str) -> Live:
        live = self.live(name)
        if live is None:
            raise self._no_model(name)
        return live

    def _no_model(self, name: str) -> Problem:
        known = [live.name for live in self.engine.lives]
        return Problem(
            404, "model_not_found",
            Text(
                f"没有叫“{name}”的模型或端点（或缺密钥）；现有：{'、'.join(known) or '无'}。没有花钱。",
                f"There is no model or endpoint “{name}” (or its key is missing); there are {', '.join(known) or 'none'}. Nothing was spent.",
            ),
            param="model",
        )  # fmt: skip


async def house_of(request: Request) -> House:
    """For routes: ``house: Here``. Asynchronous, as FastAPI sends others through a thread."""
    house: House = request.app.state.house
    return house


async def caller_of(request: Request) -> Caller:
    """For routes: ``caller: Who``."""
    caller: Caller | None = request.scope.get("redloom.caller")
    return caller or LOCAL


async def place_of_request(request: Request) -> Place:
    """For routes: ``place: There``."""
    place: Place = request.scope["redloom.place"]
    return place


Here = Annotated[House, Depends(house_of)]
Who = Annotated[Caller, Depends(caller_of)]
There = Annotated[Place, Depends(place_of_request)]


async def open_house(options: Options, settings: Settings | None, engine: Engine) -> House:
    """The house around an engine that has been entered; nothing is begun yet."""
    memory, chores, root = Memory(engine.journal), Chores(), engine.workspace.root
    for name in ROOMS:
        private.own_folder(root / name)
    secret = await memory.secret()
    admin = digest_of(options.token) if options.token else ""
    pictures = Pictures(root, engine.store, memory, secret)
    show = Show(engine, memory, pictures)
    feed = Feed(engine, memory, show, chores)
    hooks = Webhooks(secret, options.webhook_hosts)
    url = options.public_url.rstrip("/") or f"http://{options.host}:{options.port}"
    attendants = Attendants(engine, memory, show, feed, hooks, chores, url)
    notes = Notes(
        engine, memory, settings, chores, feed, NoteShow(root, memory, show, url), hooks, attendants.until_over
    )  # fmt: skip
    return House(
        options, settings, engine, memory, Callers(memory, secret, admin), pictures, show, feed, hooks,
        attendants, Uploads(root / "uploads", options.most_prompts), notes, chores,
    )  # fmt: skip


def watch_metrics(house: House) -> None:
    """Count what happens in the engine from now on, where the part that counts is installed."""
    with contextlib.suppress(ModuleNotFoundError):
        house.metrics = importlib.import_module("redloom.metrics").Metrics()
        house.metrics.watch(house.engine)


def usable_endpoints(settings: Settings, extra: Sequence[str]) -> tuple[list[str], list[Text]]:
    """The endpoints to serve: every one that is ready, and those named; what was left out, said.

    Raises BadSettings where one that was named cannot be used.
    """
    from redloom import providers
    from redloom.clock import clock_from_environment
    from redloom.endpoint import Tools
    from redloom.settings import LOCAL_PROVIDER, check_clock

    clock, names, said = clock_from_environment(), [], []
    for config in settings.endpoints.values():
        if not config.ready or config.provider == LOCAL_PROVIDER:
            continue
        try:
            check_clock(clock, [config])
            tools = Tools(key=config.api_key, clock=clock)
            providers.load(config.provider).create(config.endpoint(), tools)
        except RedloomError as error:
            said.append(Text(f"{config.name} 没有用上：{error.text.zh}", f"{config.name} is left out: {error.text.en}"))  # fmt: skip
        else:
            names.append(config.name)
    for name in extra:
        settings.endpoint(name)
    return list(dict.fromkeys([*names, *extra])), said
