"""Pictures in an answer of OpenAI's shape, or of whatever a relay makes of it.

Looked for in ``data``, ``images``, ``output`` and ``choices``: links, base64, data URLs, Markdown
in the words of a chat. What every key means was taken from the vendors' SDKs (`_openai_vendors`).

May import: endpoint.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from redloom.endpoint import Answer, Picture, Told

from ._inline import inline

_PLACES = ("data", "images", "output", "choices", "result", "results")
_LINKS = ("url", "image_url", "image_urls", "imageUrl")
_BYTES = ("b64_json", "image_base64", "base64", "b64", "image", "image_b64")
_DEEPER = ("message", "images", "content", "output", "results", "data")
_DATA_URL = re.compile(r"data:image/[a-z0-9.+-]+;base64,[A-Za-z0-9+/=\s]+", re.IGNORECASE)
_MARKDOWN = re.compile(r"!\[[^\]]*\]\(\s*<?(https?://[^\s)>]+)")
_BARE = re.compile(r"https?://[^\s)>\"'<]+", re.IGNORECASE)
_IMAGE_NAME = re.compile(r"\.(png|jpe?g|webp)(\?|$)", re.IGNORECASE)
_CHARGED = ("output_tokens", "completion_tokens", "cost")
_DEPTH = 6


class Found(NamedTuple):
    """A picture as it stands in the answer."""

    value: str
    revised: str = ""
    seed: int | None = None


def pictures(answer: Answer) -> list[Picture]:
    """Every picture of an answer, in order, each link once."""
    made: dict[str, Picture] = {}
    for found in _all(answer.body or {}):
        if found.value in made:
            continue
        if found.value.startswith(("http://", "https://")):
            made[found.value] = Picture(found.value, revised_prompt=found.revised, seed=found.seed)
        elif (held := inline(answer, found.value)) is not None:
            made[found.value] = Picture(
                data=held.data, file=held.file, revised_prompt=found.revised, seed=found.seed
            )
    return list(made.values())


def says_none(answer: Answer) -> bool:
    """Whether the answer plainly holds no picture: words without an address in its place, or an
    empty list beside which nothing is charged.
    """
    body = answer.body or {}
    if said := _said_at_length(answer):
        return not _HELD.search(said)
    usage = body.get("usage")
    counts = [usage.get(name) for name in _CHARGED] if isinstance(usage, dict) else []
    charged = any(isinstance(count, int | float) and count > 0 for count in counts)
    return not charged and any(body.get(place) == [] for place in _PLACES)


_HELD = re.compile(r"https?://|data:image/", re.IGNORECASE)
"""Words that hold an address may hold the picture: one that could not be told from others."""


def words(answer: Answer) -> str:
    """What a chat said in the place of a picture, shortened; empty where it said nothing."""
    return " ".join(_said_at_length(answer).split())[:160]


def _said_at_length(answer: Answer) -> str:
    for choice in _objects((answer.body or {}).get("choices")):
        message = choice.get("message")
        if isinstance(message, dict):
            said = message.get("refusal") or message.get("content")
            if isinstance(said, str) and said.strip():
                return said
    return ""


def _all(body: Mapping[str, Any]) -> Iterator[Found]:
    seed = body.get("seed")
    for place in _PLACES:
        for found in _within(body.get(place), _DEPTH):
            yield found._replace(seed=seed if isinstance(seed, int) else found.seed)


def _within(value: object, depth: int) -> Iterator[Found]:
    """Pictures anywhere under a value: an address, base64, an object, a list, a chat's words."""
    if depth == 0:
        return
    if isinstance(value, str):
        yield from _in_words(value)
    elif isinstance(value, list):
        for item in value:
            yield from _within(item, depth - 1)
    elif isinstance(value, dict):
        yield from _in_object(value, depth)


def _in_object(item: Mapping[str, Any], depth: int) -> Iterator[Found]:
    revised = item.get("revised_prompt")
    revised = revised if isinstance(revised, str) else ""
    found = False
    for name in (*_LINKS, *_BYTES):
        value = item.get(name)
        for one in value if isinstance(value, list) else [value]:
            address = one.get("url") if isinstance(one, dict) else one
            if isinstance(address, str) and address:
                found = True
                yield Found(address, revised)
    if found:
        return
    for name in _DEEPER:
        for inner in _within(item.get(name), depth - 1):
            yield inner._replace(revised=inner.revised or revised)


def _in_words(text: str) -> Iterator[Found]:
    """Pictures inside words: Markdown, data URLs, the address of a picture; or a bare value."""
    data_urls = [match[0] for match in _DATA_URL.finditer(text)]
    links = [match[1] for match in _MARKDOWN.finditer(text)]
    if data_urls or links:
        yield from (Found(value) for value in (*data_urls, *links))
        return
    if text.startswith("spill-"):
        yield Found(text)  # a long string that the wire set down in a file
        return
    addresses = [match[0] for match in _BARE.finditer(text)]
    named = [address for address in addresses if _IMAGE_NAME.search(address)]
    if named or text.strip() in addresses:
        yield from (Found(address) for address in named or addresses)


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def told_beside(answer: Answer) -> Told | None:
    """What the headers say of requests: the rate at which the allowance fills again.

    ``x-ratelimit-{limit,remaining,reset}-requests``, the reset a span such as ``12ms`` or ``6m30s``
    until the allowance is whole: (limit - remaining) / reset, whatever its period is. It counts
    requests only; pictures a minute have a limit of their own that no header names.
    """
    limit, left = (_count(answer, name) for name in ("limit", "remaining"))
    spans = _SPAN.findall(answer.headers.get("x-ratelimit-reset-requests", ""))
    reset_s = sum(float(number) * _UNITS[unit] for number, unit in spans)
    if limit is None or left is None or left >= limit or reset_s <= 0:
        return None
    return Told(at_most_per_second=(limit - left) / reset_s)


def _count(answer: Answer, name: str) -> int | None:
    text = answer.headers.get(f"x-ratelimit-{name}-requests", "").strip()
    return int(text) if text.isdecimal() else None
