"""Who watches an engine because the environment asks for it: log lines, traces.

May import: clock, logs, traces, engine.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from . import traces
from .clock import offload
from .logs import narrate

if TYPE_CHECKING:
    from .engine import Engine


@asynccontextmanager
async def observing() -> AsyncIterator[Callable[[Engine], None]]:
    """What to call with an engine as soon as it is up. Entered before it: nothing is begun where
    traces are wanted and cannot be had. Raises MissingExtra, BadSettings.

    On leaving, the last spans are sent. Where nobody wants to hear anything it costs nothing.
    """
    spans = traces.from_environment()

    def watch(engine: Engine) -> None:
        if logging.getLogger("redloom").isEnabledFor(logging.INFO):
            engine.stream_of_events.watch(narrate)
        if spans is not None:
            spans.watch(engine)

    try:
        yield watch
    finally:
        if spans is not None:
            await offload(spans.close)
