"""Endpoints as the API shows them: what they are, what they learnt, what was kept of their work.

May import: endpoint, errors, settings, providers, route, studio.{house,callers,show,words}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redloom import providers
from redloom.endpoint import Asked, Capabilities, Limits, Price, Provider, Tools
from redloom.errors import RedloomError
from redloom.route import Live
from redloom.settings import EndpointConfig, masked

from .callers import Caller
from .house import House
from .show import rounded
from .words import stopped_words

Json = dict[str, Any]


async def endpoints_json(house: House, caller: Caller) -> Json:
    """All endpoints; to a ``user`` only those in use, without a word about keys."""
    record = await models_record(house)
    seen: dict[str, Json] = {}
    for live in house.engine.lives:
        config = _config(house, live.name)
        seen[live.name] = _endpoint(house, live.name, config, live, record)
    if caller.role != "admin":
        for one in seen.values():
            one["key"] = {"variable": "", "masked": "", "present": one["ready"]}
            one["base_url"] = ""
        return {"default": house.default, "endpoints": list(seen.values())}
    for config in _others(house):
        if config.name not in seen:
            seen[config.name] = _endpoint(house, config.name, config, None, record)
    return {"default": house.default, "endpoints": list(seen.values())}


async def models_record(house: House) -> dict[tuple[str, str], Json]:
    """What each endpoint and model made, what was kept, at what price."""
    found: dict[tuple[str, str], Json] = {}
    for row in await house.memory.endpoint_records():
        one = found.setdefault(
            (row["endpoint"], row["model"]),
            {"made": 0, "failed": 0, "spent": {}, "up": 0, "down": 0, "used": 0, "kept": 0},
        )
        for name in ("made", "failed", "up", "down", "used", "kept"):
            one[name] += row[name] or 0
        if row["currency"]:
            one["spent"][row["currency"]] = one["spent"].get(row["currency"], 0.0) + row["spent"]
    for one in found.values():
        kept = one.pop("kept")
        one["spent"] = rounded(one["spent"])
        one["kept_share"] = round(kept / one["made"], 3) if one["made"] else None
        one["price_per_kept"] = rounded({c: s / kept for c, s in one["spent"].items()}) if kept else {}  # fmt: skip
    return found


def _config(house: House, name: str) -> EndpointConfig | None:
    if house.settings is None:
        return None
    return house.settings.endpoints.get(name) or house.settings.implied(name)


def _others(house: House) -> list[EndpointConfig]:
    """Configured endpoints that are not in use, and those that only lack a key."""
    if house.settings is None:
        return []
    found = list(house.settings.endpoints.values())
    have = {config.provider for config in found}
    missing = (house.settings.implied(name) for name in providers.names() if name not in have)
    return [*found, *(config for config in missing if config is not None)]


def _endpoint(
    house: House,
    name: str,
    config: EndpointConfig | None,
    live: Live | None,
    record: Mapping[tuple[str, str], Json],
) -> Json:
    provider = live.provider if live is not None else _provider(config)
    endpoint = live.endpoint if live is not None else config.endpoint() if config else None
    model = endpoint.model if endpoint else ""
    capabilities, limits, price = _published(provider, endpoint.price if endpoint else None, model)
    none = {"made": 0, "failed": 0, "spent": {}, "up": 0, "down": 0, "used": 0,
            "kept_share": None, "price_per_kept": {}}  # fmt: skip
    return {
        "name": name, "provider": endpoint.provider if endpoint else "", "model": model,
        "label": str(config.label) if config else name,
        "base_url": endpoint.base_url if endpoint else "",
        "ready": live is not None or bool(config and config.ready), "in_use": live is not None,
        "default": name == house.default, "free": capabilities.free,
        "key": {
            "variable": config.key_variable if config else "",
            "masked": masked(config.api_key) if config else "",
            "present": bool(config and config.api_key),
        },
        "price": {"amount": price.amount, "currency": price.currency, "source": price.source, "as_of": price.as_of},
        "published": {
            "submit_per_second": limits.submit_per_second, "concurrency": limits.concurrency,
            "poll_per_second": limits.poll_per_second,
        },
        "can": {
            "seed": capabilities.seed, "negative": capabilities.negative_prompt,
            "references": capabilities.references, "sizes": [list(size) for size in capabilities.sizes],
            "lanes": list(capabilities.lanes),
        },
        "now": None if live is None else _now(house, live),
        "record": record.get((name, model), none),
    }  # fmt: skip


def _now(house: House, live: Live) -> Json:
    """What the gate knows at this moment."""
    gate, now = live.gate, house.now()
    until = max(gate.parked_until, gate.pace.next_at)
    return {
        "lane": live.lane, "outstanding": gate.outstanding, "slots": gate.slots.limit,
        "rate": gate.pace.rate, "taught": gate.pace.taught,
        "ready_in_s": None if gate.wait_s(now) is None else round(gate.wait_s(now) or 0.0, 2),
        "until": until if until > now else None, "stopped": stopped_words(gate.stopped, house.show.moment.stopped.get(live.name)) if gate.stopped else "",
        "refusals": gate.refusals,
        "median_s": round(live.timing.median, 2),
    }  # fmt: skip


def _provider(config: EndpointConfig | None) -> Provider | None:
    if config is None:
        return None
    try:
        made: Provider = providers.load(config.provider).create(
            config.endpoint(), Tools(key=config.api_key or "-")
        )
    except RedloomError:
        return None
    return made


def _published(
    provider: Provider | None, own: Price | None, model: str
) -> tuple[Capabilities, Limits, Price]:
    """What the provider's tables say; nothing known where it cannot be asked."""
    unknown = Capabilities(), Limits(), own or Price(None, "", "unknown")
    if provider is None:
        return unknown
    try:
        price = own or provider.price(Asked(prompt="", model=model))
        return provider.capabilities(), provider.limits(), price
    except RedloomError:
        return unknown
