"""What every test has: a clean environment, and no way to spend money."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from redloom.lang import use_language

# Whether an example is right does not depend on how busy the machine is.
settings.register_profile("redloom", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("redloom")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key, no proxy, no setting of the person who runs the tests reaches them."""
    for name in list(os.environ):
        ours = name.startswith("REDLOOM_") or name in ("FAL_KEY", "REPLICATE_API_TOKEN")
        if ours or name.endswith(("_API_KEY", "_BASE_URL", "_PROXY", "_proxy")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("REDLOOM_HOME", str(tmp_path / "workspace"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    use_language(None)
