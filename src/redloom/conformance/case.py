"""A case, whom it is for, and how it is run.

May import: clock, errors, endpoint, providers, emulators, testing.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Literal

from redloom import emulators, providers
from redloom.emulators.contract import Variant
from redloom.endpoint import Capabilities, Defaults, Endpoint, Lane, Provider, Tools
from redloom.errors import ServiceError
from redloom.testing import run

from .rig import KEY, NotConforming, Rig, must

__all__ = ["CASES", "Case", "NotConforming", "Subject", "case", "must", "subjects"]


@dataclass(frozen=True)
class Subject:
    """A provider, its stand-in, and one of the ways to set both up."""

    name: str
    provider: ModuleType
    emulator: ModuleType
    variant: Variant = field(default_factory=Variant)
    label: str = ""
    """The variant's name, for people."""

    def __str__(self) -> str:
        return f"{self.name}/{self.label}" if self.label else self.name

    @property
    def defaults(self) -> Defaults:
        """The provider's own."""
        found: Defaults = self.provider.DEFAULTS
        return found

    def endpoint(self, url: str) -> Endpoint:
        """The endpoint that is tried, at ``url``."""
        variant = self.variant
        return Endpoint(
            self.name, self.name, variant.model or self.defaults.model, url, variant.region,
            account="conformance", options=dict(variant.options),
        )  # fmt: skip

    def capabilities(self) -> Capabilities:
        """The flags of the provider at a local address; no network."""
        provider: Provider = self.provider.create(
            self.endpoint("http://127.0.0.1:9"), Tools(key=KEY)
        )
        return provider.capabilities()


def subjects(name: str) -> list[Subject]:
    """A provider found by name with its stand-in of the same name: one for each variant.

    Empty where there is no stand-in: such a provider cannot be tried.
    """
    package = f"{emulators.__name__}.{name}"
    if importlib.util.find_spec(package) is None:
        return []
    provider, emulator = providers.load(name), importlib.import_module(package)
    variants = getattr(emulator, "VARIANTS", {"": Variant()})
    return [
        Subject(name, provider, emulator, variant, label) for label, variant in variants.items()
    ]


Need = Literal[
    "async", "bytes", "cancel", "check", "characters", "key", "links", "list", "money", "moderation",
    "queue", "record", "references", "regions", "reject", "seed", "sync", "throttle",
]  # fmt: skip
"""What a case presupposes; each is read from the flags alone."""

_NEEDS: dict[Need, tuple[Callable[[Capabilities, Defaults], bool], str]] = {
    "async": (lambda can, _: "async" in can.lanes, "has no asynchronous lane"),
    "sync": (lambda can, _: "sync" in can.lanes, "has no synchronous lane"),
    "links": (lambda can, _: can.gives_links is True, "hands over bytes, no links, or either"),
    "bytes": (lambda can, _: can.gives_links is False, "hands over links, no bytes, or either"),
    "cancel": (lambda can, _: can.cancels, "cannot cancel"),
    "check": (lambda can, _: can.checks_key, "has no free way to try a key"),
    "characters": (lambda can, _: can.prompt_characters is not None, "names no longest prompt"),
    "key": (lambda _, defaults: defaults.needs_key, "needs no key"),
    "list": (lambda can, _: can.lists_tasks, "lists no tasks"),
    "money": (lambda can, _: not can.free, "costs nothing"),
    "moderation": (lambda can, _: can.moderates, "refuses no content"),
    "queue": (lambda can, _: can.queues_excess is True, "is not known to queue what is too much"),
    "reject": (lambda can, _: can.queues_excess is False, "does not refuse what is too much"),
    "record": (lambda can, _: math.isfinite(can.record_life_s), "keeps its tasks for good"),
    "references": (lambda can, _: can.references > 0, "takes no reference pictures"),
    "regions": (lambda can, _: bool(can.regions), "has keys that are good everywhere"),
    "seed": (lambda can, _: can.seed, "takes no seed"),
    "throttle": (lambda can, _: can.throttles, "never says too fast"),
}

Body = Callable[[Rig], Awaitable[None]]


@dataclass(frozen=True)
class Case:
    """One thing that a provider must do. ``lane``: on which of its lanes."""

    name: str
    says: str
    needs: tuple[Need, ...]
    body: Body
    lane: Lane | None = None

    def __str__(self) -> str:
        return f"{self.name}[{self.lane}]" if self.lane else self.name

    def left_out(self, subject: Subject) -> str:
        """Why the case is not for this provider, from its flags; empty where it is."""
        can, defaults = subject.capabilities(), subject.defaults
        for need in self.needs:
            there, why = _NEEDS[need]
            if not there(can, defaults):
                return f"{subject} {why}"
        return ""

    def check(self, subject: Subject, folder: Path) -> None:
        """Try it; ``folder`` is for files.

        Raises NotConforming, which says what was expected and what the stand-in last answered.
        """
        rig = Rig(subject.name, subject.provider, subject.emulator, subject.endpoint, folder)
        rig.settings.update(subject.variant.settings)
        if self.lane is not None:
            rig.lane = self.lane
        else:
            rig.lane = subject.capabilities().lanes[0]
        try:
            run(rig.through(self.body))
        except (NotConforming, ServiceError) as error:
            raise NotConforming(self._failure(subject, rig, error)) from error

    def _failure(self, subject: Subject, rig: Rig, error: Exception) -> str:
        """What to tell whoever writes the provider or its stand-in."""
        what = str(error)
        if isinstance(error, ServiceError):
            what = f"{type(error).__name__} was raised where none should be: {error.text.en}"
        lines = [f"{subject}, {self}: {what}", f"What is to hold: {self.says}"]
        if rig.heard:
            lines += ["What its stand-in answered last:", *(f"  {one}" for one in rig.heard)]
        return "\n".join(lines)


CASES: list[Case] = []
"""Every case, in the order in which they are defined."""


def case(*needs: Need, lanes: bool = False) -> Callable[[Body], Body]:
    """Make a function a case, or one for each lane; its docstring says what it holds."""

    def made(body: Body) -> Body:
        name = body.__name__.replace("_", " ")
        plain = Case(name, body.__doc__ or "", needs, body)
        if not lanes:
            CASES.append(plain)
            return body
        both: tuple[Lane, Lane] = ("async", "sync")
        CASES.extend(replace(plain, needs=(lane, *needs), lane=lane) for lane in both)
        return body

    return made
