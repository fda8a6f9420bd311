"""The providers, found by name: one file each, and a new provider is one new file.

A module of this folder is a provider unless its name begins with ``_``. It is imported when it
is first asked for, never before. Other packages add theirs through the entry point group
``redloom.providers``, each entry naming a module with ``create`` and ``DEFAULTS``; our own files
win over a plugin of the same name.

May import: errors.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

from redloom.errors import BadSettings

__all__ = ["GROUP", "load", "names"]

GROUP = "redloom.providers"
"""The entry point group under which other packages offer providers."""


def names() -> tuple[str, ...]:
    """Every provider that can be loaded, sorted: our files and the installed plugins."""
    return tuple(sorted({*_files(), *_plugins()}))


def load(name: str) -> ModuleType:
    """The provider's module, which has ``create`` and ``DEFAULTS``.

    Raises BadSettings where there is no such provider, or where a plugin cannot be used.
    """
    if name in _files():
        return importlib.import_module(f"{__name__}.{name}")
    if entry := _plugins().get(name):
        return _plugin(entry)
    known = "、".join(names()), ", ".join(names())
    raise BadSettings(
        f"没有名为“{name}”的服务；现有：{known[0]}。请改正设置，没有花钱。",
        f"There is no provider called “{name}”; known are {known[1]}. "
        "Put the settings right; nothing was spent.",
    )


@cache
def _files() -> frozenset[str]:
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return frozenset(name for name in found if not name.startswith("_"))


@cache
def _plugins() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _plugin(entry: EntryPoint) -> ModuleType:
    """A plugin's module. Whatever its import raises becomes one sentence for the user."""
    try:
        module = entry.load()
    except Exception as error:
        raise BadSettings(
            f"插件“{entry.name}”（{entry.value}）装载失败：{error}。请升级或卸载它，没有花钱。",
            f"The plugin “{entry.name}” ({entry.value}) could not be loaded: {error}. "
            "Upgrade or remove it; nothing was spent.",
        ) from error
    if not (callable(getattr(module, "create", None)) and hasattr(module, "DEFAULTS")):
        raise BadSettings(
            f"插件“{entry.name}”（{entry.value}）缺少 create 或 DEFAULTS，不能使用；没有花钱。",
            f"The plugin “{entry.name}” ({entry.value}) lacks create or DEFAULTS and cannot be "
            "used; nothing was spent.",
        )
    return module  # type: ignore[no-any-return]
