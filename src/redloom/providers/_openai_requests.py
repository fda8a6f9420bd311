"""A request as one vendor of OpenAI's shape takes it: fitted, and as the body that is sent.

May import: endpoint, lang.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from redloom.endpoint import Asked, Fitted, Price, Size
from redloom.lang import Text

from ._openai_learnt import Learnt
from ._openai_vendors import AS_OF, Model, Sizing, Vendor
from ._requests import (
    changed,
    distance,
    nearest_of,
    refuse_unfit,
    reseeded,
    resized,
    with_options,
    without_negative,
)

_RESOLUTION_2K = 1280 * 1280
"""From so many pixels on, a service that makes two resolutions is asked for the larger."""


@dataclass(frozen=True, slots=True)
class Form:
    """What decides the form of a request: the vendor, the model, what was learnt."""

    vendor: Vendor
    table: Model
    name: str
    learnt: Learnt

    @property
    def sizing(self) -> Sizing:
        """How a size is asked for now."""
        return self.learnt.sizing or self.vendor.sizing

    @property
    def options(self) -> frozenset[str]:
        """The options that a request may hold."""
        by_ratio = ("aspect_ratio", "resolution") if self.sizing == "ratio" else ()
        return frozenset((*self.table.options, *by_ratio)) - self.learnt.refused

    def fit(self, asked: Asked, own: Mapping[str, Any]) -> Fitted:
        """The request as the model takes it; ``own`` are the endpoint's options. Raises Refused."""
        refuse_unfit(asked, self.name, self.table.references, self.table.characters)
        seed = self.table.seed and "seed" not in self.learnt.refused
        negative = self.table.negative and "negative_prompt" not in self.learnt.refused
        changes = [self._sized, lambda it: reseeded(it, self.name, takes=seed)]
        if not negative:
            changes.append(lambda it: without_negative(it, self.name))
        changes.append(lambda it: with_options(it, self.name, self.options, own))
        return changed(asked, *changes)

    def _sized(self, asked: Asked) -> tuple[Asked, list[Text]]:
        if self.sizing == "ratio":
            return self._by_ratio(asked)
        if self.sizing == "none":
            note = [_NO_SIZE.format(model=self.name)] if asked.size else []
            return replace(asked, size=None), note
        size = asked.size or (self.table.sizes[0] if self.table.sizes else None)
        return (asked, []) if size is None else resized(asked, self._nearest(size), self.name)

    def _nearest(self, size: Size) -> Size:
        if self.learnt.sizes:
            return nearest_of(self.learnt.sizes, size)
        table = self.table
        if table.free_size or size in table.sizes:
            return size
        if table.rule is not None:
            return table.rule.nearest(size)
        return nearest_of(table.sizes, size)

    def _by_ratio(self, asked: Asked) -> tuple[Asked, list[Text]]:
        size = asked.size
        if size is None:
            return asked, []
        names = self.learnt.ratios or self.table.ratios or ("1:1",)
        sides = {name: tuple(map(int, name.split(":"))) for name in names}
        ratio = min(names, key=lambda name: distance(size, (sides[name][0], sides[name][1]))[0])
        options = {**asked.options, "aspect_ratio": asked.options.get("aspect_ratio", ratio)}
        if "resolution" in self.table.options and "resolution" not in options:
            options["resolution"] = "2k" if size[0] * size[1] >= _RESOLUTION_2K else "1k"
        note = _BY_RATIO.format(model=self.name, asked=f"{size[0]}×{size[1]}", ratio=ratio)
        return replace(asked, size=None, options=options), [note]

    def price(self, asked: Asked, options: Mapping[str, Any]) -> Price:
        """The listed price of one picture; ``amount`` None where no page named one."""
        quality = str(options.get("quality") or self.table.quality)
        square, oblong = self.table.prices.get(quality) or self.table.prices.get("") or (None, None)
        size = asked.size
        amount = square if size is None or size[0] == size[1] else oblong
        currency = self.vendor.currency
        return Price(amount, currency, "unknown" if amount is None else "estimated", AS_OF)

    def body(
        self, asked: Asked, options: Mapping[str, Any], references: Sequence[str]
    ) -> dict[str, Any]:
        """The JSON of a request; ``references`` as addresses, none where they go as a form."""
        body: dict[str, Any] = {"model": self.name, **self.vendor.always}
        if self.vendor.shape == "chat":
            body["messages"] = [{"role": "user", "content": _content(asked, references)}]
            options = _in_chat(options)
        else:
            body["prompt"] = asked.prompt
            body.update(_pictures(self.vendor.reference_fields, references))
            body.update(self._plain(asked))
        wanted = {key: value for key, value in options.items() if key not in _FIXED}
        body.update(wanted)
        for name in self.learnt.refused:
            body.pop(name, None)
        body.update({k: v for k, v in self.learnt.values.items() if k in body})
        return body

    def _plain(self, asked: Asked) -> dict[str, Any]:
        """The parameters of the images endpoint that are not words."""
        plain: dict[str, Any] = {self.vendor.count: 1} if self.vendor.count else {}
        if self.table.quality:
            plain["quality"] = self.table.quality
        if self.table.asks_for:
            plain["response_format"] = self.table.asks_for
        if asked.size is not None:
            plain.update(_size(self.sizing, asked.size))
        if asked.seed is not None:
            plain["seed"] = asked.seed
        if asked.negative_prompt:
            plain["negative_prompt"] = asked.negative_prompt
        return plain


_FIXED = frozenset(
    {
        "n",
        "batch_size",
        "model",
        "prompt",
        "messages",
        "stream",
        "vendor",
        "api_version",
        "response_format",
    }
)
"""What no option may set: decided elsewhere, the count because it costs."""


def _size(sizing: Sizing, size: Size) -> dict[str, Any]:
    width, height = size
    if sizing == "sides":
        return {"width": width, "height": height}
    return {sizing: f"{width}x{height}"}


def _pictures(fields: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """References inside JSON: one to a field while there are fields, else all in the first."""
    if len(references) <= len(fields):
        return dict(zip(fields, references, strict=False))
    return {fields[0]: list(references)}


def _content(asked: Asked, references: Sequence[str]) -> Any:
    if not references:
        return asked.prompt
    pictures = [{"type": "image_url", "image_url": {"url": url}} for url in references]
    return [{"type": "text", "text": asked.prompt}, *pictures]


def _in_chat(options: Mapping[str, Any]) -> dict[str, Any]:
    """A chat keeps what is about the picture in ``image_config`` (OpenRouter)."""
    inside = {k: v for k, v in options.items() if k in ("aspect_ratio", "image_size")}
    rest = {k: v for k, v in options.items() if k not in inside}
    return {**rest, **({"image_config": inside} if inside else {})}


_NO_SIZE = Text(
    "{model} 不收尺寸，由它自己决定。",
    "{model} takes no size; it decides by itself.",
)
_BY_RATIO = Text(
    "{model} 只按比例出图：{asked} 改为 {ratio}。",
    "{model} makes pictures by ratio only: {asked} becomes {ratio}.",
)
