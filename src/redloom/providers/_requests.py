"""Parts of a request that several services share: sizes, seeds, options, refusals of ours.

May import: endpoint, errors, lang.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from redloom.endpoint import Asked, Fitted, Size
from redloom.errors import Refused
from redloom.lang import Text

SEED_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Area:
    """Total pixels from ``least`` to ``most``; the longer side at most ``ratio`` times the other."""

    least: int
    most: int
    ratio: float = 16.0
    step: int = 8
    """Sizes of our own choosing are multiples of this."""
    strict: bool = False
    """Whether others' sizes have to be multiples of ``step`` too."""

    def takes(self, size: Size) -> bool:
        """Whether the size keeps the rule."""
        longer, shorter = max(size), min(size)
        if self.strict and (longer % self.step or shorter % self.step):
            return False
        return self.least <= size[0] * size[1] <= self.most and longer <= self.ratio * shorter

    def nearest(self, size: Size) -> Size:
        """The size that keeps the rule, nearest in shape, then in pixels."""
        if self.takes(size):
            return size
        exact = self._exact(size)
        return min(
            filter(self.takes, self._around(exact)), key=lambda other: distance(exact, other)
        )

    def _exact(self, size: Size) -> tuple[float, float]:
        shape = min(self.ratio, max(1 / self.ratio, max(1, size[0]) / max(1, size[1])))
        pixels = min(self.most, max(self.least, size[0] * size[1]))
        return math.sqrt(pixels * shape), math.sqrt(pixels / shape)

    def _around(self, exact: tuple[float, float], reach: int = 4) -> Iterator[Size]:
        columns, rows = (round(side / self.step) for side in exact)
        for column in range(max(1, columns - reach), columns + reach + 1):
            for row in range(max(1, rows - reach), rows + reach + 1):
                yield column * self.step, row * self.step


def distance(wanted: tuple[float, float], other: Size) -> tuple[float, float]:
    """How far apart two sizes are in shape, in steps of a thousandth, then in pixels."""
    shape = abs(math.log(other[0] / other[1] * max(1, wanted[1]) / max(1, wanted[0])))
    pixels = abs(math.log(other[0] * other[1] / max(1, wanted[0] * wanted[1])))
    return round(shape, 3), pixels


def nearest_of(sizes: Sequence[Size], wanted: Size) -> Size:
    """The listed size nearest to ``wanted`` in shape, then in pixels."""
    return min(sizes, key=lambda other: distance(wanted, other))


Change = Callable[[Asked], tuple[Asked, list[Text]]]
"""One adjustment of a request, and what it changed, said."""


def changed(asked: Asked, *changes: Change) -> Fitted:
    """The request after every change, with all that they say."""
    notes: list[Text] = []
    for change in changes:
        asked, more = change(asked)
        notes += more
    return Fitted(asked, tuple(notes))


def resized(asked: Asked, size: Size, model: str) -> tuple[Asked, list[Text]]:
    """The request with another size, and the note that says so; no note where none was asked."""
    notes = []
    if asked.size is not None and asked.size != size:
        notes.append(
            Text(
                "{model} 不做 {asked}，改用最接近的 {fitted}。",
                "{model} does not make {asked}; the nearest, {fitted}, is used.",
            ).format(model=model, asked=_by(asked.size), fitted=_by(size))
        )
    return replace(asked, size=size), notes


def reseeded(asked: Asked, model: str, *, takes: bool) -> tuple[Asked, list[Text]]:
    """A negative seed means a random one, a large one is folded, one not taken is left out."""
    seed = asked.seed
    if seed is None or (takes and 0 <= seed <= SEED_MAX):
        return asked, []
    if not takes:
        note = Text("{model} 不支持种子，已略去。", "{model} takes no seed; it was left out.")
        return replace(asked, seed=None), [note.format(model=model)]
    fitted = None if seed < 0 else seed % (SEED_MAX + 1)
    note = Text(
        "种子 {seed} 不在 0…{most} 之内，改用 {fitted}。",
        "The seed {seed} lies outside 0…{most}; {fitted} is used.",
    ).format(seed=seed, most=SEED_MAX, fitted="—" if fitted is None else fitted)
    return replace(asked, seed=fitted), [note]


def without_negative(asked: Asked, model: str) -> tuple[Asked, list[Text]]:
    """The request without a negative prompt, for a model that takes none."""
    if not asked.negative_prompt:
        return asked, []
    note = Text(
        "模型 {model} 不支持负向提示词，已略去。",
        "The model {model} takes no negative prompt; it was left out.",
    )
    return replace(asked, negative_prompt=""), [note.format(model=model)]


def with_options(
    asked: Asked, model: str, takes: frozenset[str], quiet: Mapping[str, Any]
) -> tuple[Asked, list[Text]]:
    """The request with the options that the model takes; what was left out is said.

    ``quiet`` holds the endpoint's own options, meant for its other models too: those that this
    one does not take are left out without a word.
    """
    left = [name for name in asked.options if name not in takes]
    if not left:
        return asked, []
    options = {key: value for key, value in asked.options.items() if key in takes}
    told = sorted(name for name in left if name not in quiet)
    note = Text(
        "模型 {model} 不支持的选项已略去：{names}。",
        "Options that the model {model} does not take were left out: {names}.",
    ).format(model=model, names=", ".join(told))
    return replace(asked, options=options), [note] if told else []


def refuse_unfit(asked: Asked, model: str, references: int, characters: int | None = None) -> None:
    """Raise Refused for an empty or overlong prompt, or more references than the model takes."""
    if not asked.prompt.strip():
        raise Refused(
            "提示词是空的；没有发出，没有花钱。", "The prompt is empty; nothing was sent or spent."
        )
    if characters is not None and len(asked.prompt) > characters:
        raise Refused(
            f"提示词有 {len(asked.prompt)} 个字符，模型 {model} 最多 {characters} 个；"
            "没有发出，没有花钱，请缩短。",
            f"The prompt has {len(asked.prompt)} characters, the model {model} takes {characters}; "
            "nothing was sent or spent, please shorten it.",
        )
    if len(asked.references) > references:
        raise Refused(
            f"模型 {model} 最多用 {references} 张参考图，这里有 {len(asked.references)} 张；"
            "没有发出，没有花钱。",
            f"The model {model} takes at most {references} reference pictures, "
            f"{len(asked.references)} were given; nothing was sent or spent.",
        )


def is_on(value: object) -> bool:
    """A switch from TOML, CSV or a command line."""
    if isinstance(value, str):
        return value.strip().lower() in ("true", "1", "yes", "on")
    return bool(value)


def _by(size: Size) -> str:
    return f"{size[0]}×{size[1]}"
