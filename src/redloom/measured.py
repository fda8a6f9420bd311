"""How large a finished picture is that nobody has taken yet: fetched, measured, let go.

Only for lost answers to the same words (`twins`), so rarely that a second download does no harm.

May import: everything on the way before it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

from .download import Downloads
from .endpoint import Picture, Size
from .errors import PictureError
from .finish import rules_for
from .route import Live
from .verify import Fetched

Measure = Callable[[Live, Picture, str], Awaitable["Size | None"]]
"""The size of the picture of the task with this id, in pixels; None where it cannot be had now."""


def measure_by(downloads: Downloads) -> Measure:
    """Measures by fetching."""

    async def measure(live: Live, picture: Picture, task_id: str) -> Size | None:
        sizes: list[Size] = []

        def keep(fetched: Fetched) -> None:
            sizes.append((fetched.width, fetched.height))
            if not fetched.data:
                fetched.path.unlink(missing_ok=True)

        with suppress(PictureError):
            await downloads.fetch(
                picture, rules_for(live), name=f"look-{task_id}", size=None, keep=keep
            )
        return sizes[0] if sizes else None

    return measure
