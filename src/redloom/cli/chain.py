"""``--fallback``: the endpoints that stand in, in order, and what each of them costs.

Nothing here opens a socket. May import: endpoint, lang, providers, settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redloom.lang import Text

if TYPE_CHECKING:
    from redloom.endpoint import Price
    from redloom.settings import EndpointConfig

CARDS = "cards"
"""The provider that typesets: free, on this machine, and never at a loss."""


@dataclass(frozen=True, slots=True)
class Spare:
    """One step of the chain. ``price``: of one picture; its amount is None where unknown."""

    name: str
    price: Price
    sets_cards: bool
    """Whether it sets the words as a card instead of making a picture."""


def chain_of(words: Iterable[str], own: Iterable[str] = ()) -> list[str]:
    """Names in the order given, once each; ``--fallback a,b`` is the same as naming them one by
    one. What is asked first anyway (``own``) stands in for nothing.
    """
    first = set(own)
    names = (name.strip() for word in words for name in word.split(","))
    return [name for name in dict.fromkeys(names) if name and name not in first]


def spare_of(config: EndpointConfig) -> Spare:
    """A step of the chain with its price, as set or as listed."""
    from redloom import providers
    from redloom.endpoint import Asked, Tools

    made = providers.load(config.provider).create(config.endpoint(), Tools(key=config.api_key))
    price = config.price or made.price(Asked("", config.model))
    return Spare(config.name, price, config.provider == CARDS)


def chain_text(spares: Sequence[Spare]) -> Text:
    """``then a (0.2 CNY each), then cards (free)``, and for what they are asked."""
    each = [_each(spare.price) for spare in spares]
    pairs = list(zip(spares, each, strict=True))
    zh = "，再不成 ".join(f"{spare.name}（{price.zh}）" for spare, price in pairs)
    en = ", then ".join(f"{spare.name} ({price.en})" for spare, price in pairs)
    return Text(
        f"  被拒、失败或端点停用时改用：{zh}",
        f"  for what is refused or fails, or whose endpoints are stopped: {en}",
    )


def dearest_spare(spares: Sequence[Spare]) -> float:
    """What a picture costs at most where a fallback makes it, as far as is known."""
    return max((spare.price.amount or 0.0 for spare in spares), default=0.0)


def _each(price: Price) -> Text:
    if price.amount is None:
        return Text("价格未知", "price unknown")
    if not price.amount:
        return Text("免费", "free")
    sum_ = f"{price.amount:g} {price.currency}"
    return Text(f"每张 {sum_}", f"{sum_} each")
