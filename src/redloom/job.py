"""One wanted picture: what it is (its key) and how far it has come (its states).

Identity is content (rule 3): the key is a versioned hash of the request as asked, never of the
endpoint that happened to serve it. The same key is never bought twice.

May import: errors, events, lang, prompt.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from .errors import BadInput
from .events import Status
from .prompt import Prompt, identity_of, parse_ratio, parse_size

RECIPE = "r1"
"""Which recipe made a key. A new recipe gets a new mark; old keys stay what they were."""

JobStatus = Status
OUTCOMES: tuple[JobStatus, ...] = tuple(one for one in get_args(Status) if one != "pending")
"""A wanted picture ends in exactly one of these."""

AGAIN: tuple[JobStatus, ...] = ("refused", "failed", "in-doubt", "cancelled", "unpaid")
"""Outcomes that `retry` takes up again; the others are final."""


@dataclass(frozen=True, slots=True)
class Request:
    """One picture as asked, in the user's own words. Everything here is part of its identity."""

    prompt: str
    model: str = ""
    """Empty: any model that the run's endpoints offer."""
    size: str = ""
    """Normalised: ``1024x1024``, ``3:4`` or empty."""
    seed: int | None = None
    negative: str = ""
    references: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    take: int = 1

    def canonical(self) -> str:
        """The request as the text that is hashed: sorted JSON, empty parts left out.

        A part added later is left out while it is empty, so that old keys stay valid.
        """
        every = ((name, getattr(self, name)) for name in self.__dataclass_fields__)
        parts = {name: value for name, value in every if value not in (None, "", (), {}, [])}
        return json.dumps(parts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    @property
    def key(self) -> str:
        """``r1:`` and 32 bytes of SHA-256 in hexadecimal.

        References count by what is in them where that is known, not by where they lie.
        """
        known = tuple(identity_of(one) for one in self.references)
        told = replace(self, references=known) if self.references else self
        digest = hashlib.sha256(told.canonical().encode("utf-8", "surrogatepass"))
        return f"{RECIPE}:{digest.hexdigest()}"


def request_of(prompt: Prompt, take: int = 1, **of_run: Any) -> Request:
    """The request for one picture of ``prompt``; ``of_run`` fills in what the prompt left open.

    Raises BadInput for a size that cannot be read, or a prompt without words.
    """
    words = unicodedata.normalize("NFC", prompt.text)
    if not words.strip():
        raise BadInput("提示词是空的。", "The prompt is empty.")
    return Request(
        prompt=words,
        model=prompt.model or str(of_run.get("model") or ""),
        size=normal_size(prompt.size or str(of_run.get("size") or "")),
        seed=prompt.seed if prompt.seed is not None else of_run.get("seed"),
        negative=prompt.negative or str(of_run.get("negative") or ""),
        references=prompt.references,
        options={**(of_run.get("options") or {}), **prompt.options},
        take=take,
    )


def normal_size(text: str) -> str:
    """``1024*768`` and ``1024 × 768`` become ``1024x768``; ``3:4`` stays. Raises BadInput."""
    if ratio := parse_ratio(text):
        return f"{ratio[0]}:{ratio[1]}"
    size = parse_size(text)
    return "" if size is None else f"{size[0]}x{size[1]}"


def request_from_json(text: str) -> Request:
    """The request that `Request.canonical` wrote."""
    parts = json.loads(text)
    parts["references"] = tuple(parts.get("references", ()))
    return Request(**parts)
