"""Lost answers to the same words: whose a finished task is, where more than its words can tell.

A result that carries the prompt is matched by it. Where two requests of the same words are in doubt
at one time and differ in anything else (size, seed, references, options), the words fit both: then
the picture has to tell, by its size or by the seed that the service repeats. Two takes of one
request are worth the same, and may have each other's.

May import: job, prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .job import Request
from .prompt import parse_ratio, parse_size

Size = tuple[int, int]
NEAR = 0.04
"""How far a picture's shape may be from the shape that was asked for."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one request asked for, as far as a finished task can show it."""

    words: str
    rest: str
    """All of the request but its take, as text."""
    size: Size | None = None
    """As it was sent, pixels."""
    shape: float | None = None
    """Width by height, where no size was sent."""
    seed: int | None = None

    @classmethod
    def of(cls, request: Request, sent_size: str, seed: int | None) -> Wanted:
        """``sent_size``: what the service was asked for, which the request's may have become."""
        size = parse_size(sent_size)
        asked = size or parse_ratio(request.size) or parse_size(request.size)
        shape = None if asked is None else asked[0] / asked[1]
        rest = replace(request, take=1).canonical()
        return cls(folded(request.prompt), rest, size, shape, seed)

    def rivals(self, others: Sequence[Wanted]) -> list[Wanted]:
        """Those that the words alone do not tell from this one."""
        return [one for one in others if one.words == self.words and one.rest != self.rest]

    def fits(self, size: Size) -> bool | None:
        """Whether a picture of this size is what it asked for; None: it asked for none."""
        if self.size is not None:
            return self.size == size
        return None if self.shape is None else abs(size[0] / size[1] / self.shape - 1.0) <= NEAR


def surely(mine: Wanted, rivals: Sequence[Wanted], size: Size | None, seed: int | None) -> bool:
    """Whether a finished task of the same words is ``mine`` and cannot be a rival's.

    ``size``: its picture's; ``seed``: as the service repeats it. None: not known.
    """
    if size is not None and mine.fits(size):
        rivals = [one for one in rivals if one.fits(size) is not False]
    if seed is not None and mine.seed == seed and (size is None or mine.fits(size) is not False):
        rivals = [one for one in rivals if one.seed is None or one.seed == seed]
    return not rivals


def folded(words: str) -> str:
    """Words without what a service may do to their white space."""
    return " ".join(words.split())
