"""What every provider answers that hands its picture over at submit, and keeps no record of it.

May import: endpoint.
"""

from __future__ import annotations

from collections.abc import Sequence

from redloom.endpoint import Outcome, Seen, Ticket, Unknown

__all__ = ["Synchronous"]


class Synchronous:
    """The half of `endpoint.Provider` that asks for a task: here there never is one."""

    async def poll(self, ticket: Ticket) -> Outcome:
        """There are no tickets: every picture comes with the answer."""
        return Unknown()

    async def look(self, since: float, until: float) -> Sequence[Seen]:
        """There is no list; capabilities say so, and nobody asks."""
        return ()

    async def cancel(self, ticket: Ticket) -> bool:
        """A call under way cannot be taken back."""
        return False
