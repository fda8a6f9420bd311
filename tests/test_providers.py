"""Providers are found by file name, imported at first use, and can come from other packages."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest

from redloom import providers
from redloom.endpoint import Asked, Defaults, Endpoint, Tools
from redloom.errors import BadSettings


def test_every_file_is_a_provider() -> None:
    """The names are the files, without those that begin with an underscore."""
    files = {path.stem for path in Path(providers.__file__).parent.glob("*.py")}
    assert set(providers.names()) >= {name for name in files if not name.startswith("_")}
    assert not any(name.startswith("_") for name in providers.names())
    assert {"cards", "dashscope"} <= set(providers.names())
    assert list(providers.names()) == sorted(providers.names())


@pytest.mark.parametrize("name", providers.names())
def test_every_provider_keeps_the_bargain(name: str) -> None:
    """Each has create and DEFAULTS, and says offline what it can do, its limits and its price."""
    module = providers.load(name)
    defaults = module.DEFAULTS
    assert isinstance(defaults, Defaults)
    assert defaults.label.zh
    assert defaults.label.en
    endpoint = Endpoint(name, name, model=defaults.model, base_url=defaults.base_url)
    provider = module.create(endpoint, Tools(key="k"))
    assert provider.capabilities().lanes
    assert provider.limits().downloads > 0
    price = provider.price(Asked("a", defaults.model))
    assert (price.amount is None) == (price.source == "unknown")


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    """A wrong name names what there is, in both languages, with exit 2."""
    with pytest.raises(BadSettings) as caught:
        providers.load("dashscoop")
    for words in caught.value.text:
        assert "dashscoop" in words
        assert "dashscope" in words
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("name", ["_dashscope_models", "", "..errors", "dashscope.create"])
def test_odd_names_load_nothing(name: str) -> None:
    """Private modules and paths are no providers."""
    with pytest.raises(BadSettings):
        providers.load(name)


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    """Listing names imports no provider, and loading one imports neither aiohttp nor typst."""
    program = (
        "import sys; from redloom import providers; providers.names();"
        "found = [m for m in sys.modules if m.startswith('redloom.providers.')];"
        "assert not found, found;"
        "providers.load('dashscope'); providers.load('cards');"
        "heavy = {'aiohttp', 'typst', 'PIL', 'redloom.typeset.cards'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> dict[str, EntryPoint]:
    """What other packages offer, as the test fills it in."""
    offered: dict[str, EntryPoint] = {}
    monkeypatch.setattr(providers, "_plugins", lambda: offered)
    return offered


def _offer(
    plugins: dict[str, EntryPoint], monkeypatch: pytest.MonkeyPatch, name: str, **holds: object
) -> ModuleType:
    module = ModuleType(f"other_{name}")
    vars(module).update(holds)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    plugins[name] = EntryPoint(name, module.__name__, providers.GROUP)
    return module


def test_plugins_are_found(plugins: dict[str, EntryPoint], monkeypatch: pytest.MonkeyPatch) -> None:
    """A module named by an entry point is a provider like ours."""
    module = _offer(plugins, monkeypatch, "other", create=Endpoint, DEFAULTS=Defaults())
    assert "other" in providers.names()
    assert providers.load("other") is module


def test_our_files_win(plugins: dict[str, EntryPoint], monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin cannot take the place of one of ours."""
    module = _offer(plugins, monkeypatch, "cards", create=Endpoint, DEFAULTS=Defaults())
    assert providers.load("cards") is not module


def test_broken_plugins_are_one_sentence(
    plugins: dict[str, EntryPoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin that cannot be imported, or lacks its parts, is named and never a traceback."""
    plugins["gone"] = EntryPoint("gone", "no_such_module_at_all", providers.GROUP)
    _offer(plugins, monkeypatch, "half", create=Endpoint)
    for name in ("gone", "half"):
        with pytest.raises(BadSettings, match=name):
            providers.load(name)
