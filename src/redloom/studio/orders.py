"""From a request to a run: quota, budget, a request that is repeated, the run itself.

May import: note, endpoint, lang, route, engine, prompt, money,
studio.{house,callers,memory,problems,uploads}.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from redloom.endpoint import Price
from redloom.engine import RunOptions
from redloom.lang import Text
from redloom.note.from_run import able, prompt_of
from redloom.prompt import Prompt, with_digest
from redloom.route import Live

from .callers import Caller
from .endpoint_show import models_record
from .house import House
from .memory import AskedFor
from .notes import Purchase
from .problems import Problem, wrong
from .references import take_reference
from .uploads import price_of

FRESH = 2**48
"""Takes of fresh pictures are drawn from so many, so that no two calls meet."""
LONGEST_KEY = 200
ENOUGH_OPINIONS = 10


@dataclass(frozen=True, kw_only=True)
class Order:
    """A run that somebody wants. ``pictures`` and ``price`` are what it may come to."""

    prompts: Iterable[str | Prompt | Mapping[str, Any]]
    pictures: int
    price: Price
    lives: Sequence[Live]
    options: RunOptions
    kind: str
    caller: Caller
    name: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    budget: float | None = None
    currency: str = ""
    priority: int = 0
    webhook: str = ""
    in_folder: bool = True
    """Whether its files go to a folder of their own, or only to the store."""


def fresh_take() -> int:
    """A take that no call before had."""
    return random.SystemRandom().randrange(2, FRESH)


def take_of(caller: Caller, key: str) -> int:
    """The take that belongs to an Idempotency-Key: the same request asks for the same pictures,
    even where a crash came between the run and the note of it.
    """
    digest = hashlib.sha256(f"{caller.name}|{key}".encode("utf-8", "surrogateescape")).digest()
    return 2 + int.from_bytes(digest[:6], "big") % (FRESH - 2)


async def once(
    house: House,
    caller: Caller,
    key: str | None,
    body: object,
    make: Callable[[int | None], Awaitable[str]],
) -> str:
    """What ``make`` makes (a run's or note's id), once for each Idempotency-Key.

    ``make`` is given the take that belongs to the key, or None without one. Raises Problem 409
    where the key was used for another request.
    """
    if not key:
        return await make(None)
    if len(key) > LONGEST_KEY:
        raise wrong("Idempotency-Key", "Idempotency-Key 太长。", "The Idempotency-Key is too long.")
    async with house.locks.setdefault(f"key|{caller.name}|{key}", asyncio.Lock()):
        try:
            return await _once(house, caller, key, body, make)
        finally:
            house.locks.pop(f"key|{caller.name}|{key}", None)


async def _once(
    house: House,
    caller: Caller,
    key: str,
    body: object,
    make: Callable[[int | None], Awaitable[str]],
) -> str:
    text = json.dumps(body, sort_keys=True, ensure_ascii=False, default=str)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    row = await house.memory.repeat(caller.name, key, digest, house.now())
    if row["digest"] != digest:
        raise Problem(
            409, "idempotency_key_reused",
            Text(
                "这个 Idempotency-Key 已用于另一个请求；没有花钱。",
                "This Idempotency-Key was used for another request; nothing was spent.",
            ),
            param="Idempotency-Key",
        )  # fmt: skip
    if row["what"]:
        return str(row["what"])
    what = await make(take_of(caller, key))
    await house.memory.repeated(caller.name, key, what)
    return what


async def place(house: House, order: Order) -> str:
    """Write the run to the journal and see it through; its id.

    Raises Problem: 429 over the quota, 402 over the budget, 422 where money cannot be counted.
    """
    _check_countable(order)
    order = replace(order, webhook=house.hooks.check(order.webhook))
    house.quotas.take(order.caller, order.pictures)
    async with house.locks.setdefault(f"caller|{order.caller.name}", asyncio.Lock()):
        reserved, cap = await _reserve(house, order)
        run = await _add(house, order, cap)
        await house.memory.ask(
            AskedFor(
                run=run, caller=order.caller.name, name=order.name, about=order.about,
                reserved=reserved, currency=order.price.currency, hook=order.webhook,
            )
        )  # fmt: skip
    house.attendants.attend(run)
    house.feed.changed(run)
    return run


def _check_countable(order: Order) -> None:
    """With a budget, every price has to be known and in its currency (contract: Commands)."""
    wanted = order.currency or order.price.currency
    for limit, currency in ((order.budget, wanted), (order.caller.budget, order.caller.currency)):
        if limit is None or order.price.amount == 0:
            continue
        if order.price.amount is None:
            raise wrong(
                "budget", "这个端点的价格未知，没法按预算来；没有花钱。",
                "The price of this endpoint is unknown, so no budget can be kept; nothing was spent.", "unknown_price",
            )  # fmt: skip
        if currency and currency != order.price.currency:
            raise wrong(
                "currency", f"预算以 {currency} 计，而价格是 {order.price.currency}；没有花钱。",
                f"The budget is in {currency}, the price in {order.price.currency}; nothing was spent.", "other_currency",
            )  # fmt: skip


async def _reserve(house: House, order: Order) -> tuple[float, float | None]:
    """What is set aside of the caller's budget, and the run's own cap. Raises Problem 402."""
    most = order.pictures * (order.price.amount or 0.0)
    reserved = most if order.budget is None else min(most, order.budget)
    limit = order.caller.budget
    if limit is None:
        return reserved, order.budget
    _, used = await house.memory.spent_of(order.caller.name)
    if used + reserved > limit + 1e-9:
        raise Problem(
            402, "insufficient_quota",
            Text(
                f"这个口令的预算不够：还剩 {max(0.0, limit - used):g} {order.caller.currency}，要 {reserved:g}。没有花钱。",
                f"The token's budget is not enough: {max(0.0, limit - used):g} {order.caller.currency} left, {reserved:g} needed. Nothing was spent.",
            ),
            kind="insufficient_quota",
        )  # fmt: skip
    return reserved, reserved


async def _add(house: House, order: Order, cap: float | None) -> str:
    folder = new_folder(house.root / "runs", house.now()) if order.in_folder else None
    return await house.engine.add(
        order.prompts, out=folder, options=order.options, kind=order.kind, budget=cap,
        currency=order.price.currency if cap is not None else "", priority=order.priority,
        wait=order.pictures <= 1000, endpoints=[live.name for live in order.lives],
        digest=secrets.token_hex(16),
    )  # fmt: skip


def new_folder(root: Path, now: float) -> Path:
    """A folder for a run's files that nobody else has."""
    day = datetime.fromtimestamp(now, UTC)
    folder = root / f"{day:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    folder.mkdir(parents=True, mode=0o700)
    return folder


def dearest(lives: Sequence[Live], prompt: Prompt, options: Mapping[str, Any]) -> Price:
    """The highest price that one picture may have; unknown where one of them is."""
    found = [price_of(live, prompt, options) for live in lives]
    if not found or any(price.amount is None for price in found):
        return Price(None, "", "unknown")
    if len({price.currency for price in found if price.amount}) > 1:
        return Price(None, "", "unknown")
    return max(found, key=lambda price: price.amount or 0.0)


async def preferred(house: House, lives: Sequence[Live], prefer: str) -> list[Live]:
    """``kept``: of several endpoints the one whose pictures were kept most often, once at least
    ten of them were looked at; otherwise all, and the engine takes the quickest.
    """
    if prefer != "kept" or len(lives) < 2:
        return list(lives)
    record = await models_record(house)

    def share(live: Live) -> float:
        one = record.get((live.name, live.endpoint.model))
        if one is None or one["up"] + one["down"] + one["used"] < ENOUGH_OPINIONS:
            return -1.0
        return float(one["kept_share"] or 0.0)

    best = max(lives, key=share)
    return [best] if share(best) >= 0 else list(lives)


async def buy_for_note(house: House, purchase: Purchase) -> str:
    """The run of a note's pictures, on its caller's account."""
    lives, prompts = await _asked_for(house, purchase)
    prices = [dearest(lives, prompt, {}) for prompt in prompts]
    unknown = any(price.amount is None for price in prices)
    price = Price(None, "", "unknown") if unknown else max(prices, key=lambda p: p.amount or 0.0)
    order = Order(
        prompts=prompts, pictures=len(prompts) + purchase.later, price=price, lives=lives,
        options=RunOptions(take=purchase.take), kind="note",
        caller=house.callers.named(purchase.caller), name=purchase.note,
        about={"note": purchase.note}, budget=purchase.budget, currency=purchase.currency,
        priority=10, in_folder=False,
    )  # fmt: skip
    return await place(house, order)


async def append_to_note(house: House, run: str, purchase: Purchase) -> bool:
    """More pictures of a note in its own run, on what was set aside for them when it began;
    whether an endpoint takes their references."""
    lives, prompts = await _asked_for(house, purchase)
    await house.engine.add(
        prompts, options=RunOptions(take=purchase.take), extend=run,
        digest=secrets.token_hex(16), endpoints=[live.name for live in lives],
    )  # fmt: skip
    house.attendants.attend(run)
    house.feed.changed(run)
    return any(prompt.references for prompt in prompts)


async def _asked_for(house: House, purchase: Purchase) -> tuple[list[Live], list[Prompt]]:
    """Where a note's pictures can be made, and their prompts: with their references, where some
    endpoint takes them, else by their words alone.
    """
    lives = house.lives_for(purchase.endpoints, "")
    kept = [await _kept(house, one.reference) for one in purchase.wanted]
    shown = tuple(filter(None, kept))[:1]
    led = [live for live in lives if able(live, purchase.wanted[0], shown)] if shown else []
    if not led:
        return lives, [prompt_of(one) for one in purchase.wanted]
    return led, [prompt_of(one, ref) for one, ref in zip(purchase.wanted, kept, strict=True)]


async def _kept(house: House, data: bytes | None) -> str:
    """A reference as a request has it: a file of the workspace, known by its content."""
    if data is None:
        return ""
    return with_digest(await take_reference(house, data), hashlib.sha256(data).hexdigest())
