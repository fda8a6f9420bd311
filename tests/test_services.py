"""Services together: a run over three of them while one dies, and what the pages say of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from canned import KEY
from redloom.cli.emulate import names
from redloom.emulators import ark, gemini, replicate
from redloom.emulators.service_time import ServiceTime
from redloom.endpoint import Asked, Endpoint, Limits, Tools
from redloom.engine import Engine
from redloom.providers import load
from redloom.settings import load_settings
from redloom.testing import JumpingClock, run

ROOT = Path(__file__).resolve().parents[1]
OURS = ("ark", "gemini", "fal", "replicate")


@pytest.mark.parametrize("dies", ["arrears_from=4", "key_from=4", "@3-60:submit=error"])
def test_one_of_three_dies_and_no_picture_is_lost_or_bought_twice(
    tmp_path: Path, dies: str
) -> None:
    """Seedream stops half way: the two others make the rest, each prompt is paid for once."""
    clock = JumpingClock()
    prompts = [f"picture {number}" for number in range(16)]
    small: dict[str, Any] = {"latency": ServiceTime(10, 0.3, 5, 30), "picture_size": "small"}

    async def work() -> None:
        stand_ins: dict[str, Any] = {
            "ark": ark.Emulator(ark.Emulated(**small, faults=ark.parse_faults(dies)), clock),
            "gemini": gemini.Emulator(gemini.Emulated(**small), clock),
            "replicate": replicate.Emulator(replicate.Emulated(**small), clock),
        }
        equipped = []
        for name, stand_in in stand_ins.items():
            url = await stand_in.start()
            module = load(name)
            endpoint = Endpoint(
                name, name, module.DEFAULTS.model, url, account=name,
                limits=Limits(concurrency=1, sync_concurrency=1),
            )  # fmt: skip
            equipped.append((endpoint, module.create(endpoint, Tools(key=KEY, clock=clock))))
        async with Engine(workspace=tmp_path / "ws", equipped=equipped, clock=clock) as engine:
            results = await engine.generate(prompts, out=tmp_path / "out")
        assert [result.status for result in results] == ["ok"] * len(prompts)
        bought = [p.prompt for one in stand_ins.values() for p in one.ledger.own() if p.billed]
        assert sorted(bought) == sorted(prompts)
        assert stand_ins["ark"].ledger.billed() < len(prompts) // 2
        assert len({result.endpoint for result in results}) == 3
        for stand_in in stand_ins.values():
            await stand_in.stop()

    run(work())


@pytest.mark.parametrize("name", OURS)
def test_a_key_is_enough_for_an_endpoint(name: str, tmp_path: Path) -> None:
    """With its variable set the endpoint exists, at its own address, with a stand-in to try."""
    defaults = load(name).DEFAULTS
    for variable in defaults.key_variables:
        settings = load_settings(environ={variable: "k"}, folder=tmp_path)
        config = settings.endpoint(name)
        assert (config.api_key, config.base_url) == ("k", defaults.base_url)
    moved = {defaults.key_variables[0]: "k", defaults.url_variables[0]: "http://127.0.0.1:9/x"}
    assert load_settings(environ=moved, folder=tmp_path).endpoint(name).base_url.endswith("/x")
    assert name in names()


@pytest.mark.parametrize("page", ["services.md", "services.zh-CN.md"])
def test_the_page_s_table_is_true(page: str) -> None:
    """Variables, default model and price of each service, as the code has them."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    for name in OURS:
        module = load(name)
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}`"))
        for variable in (*module.DEFAULTS.key_variables, module.DEFAULTS.url_variables[0]):
            assert f"`{variable}`" in row
        assert f"`{module.DEFAULTS.model}`" in row
        endpoint = Endpoint(name, name, module.DEFAULTS.model, module.DEFAULTS.base_url)
        provider = module.create(endpoint, Tools(key="k"))
        price = provider.price(Asked("a", module.DEFAULTS.model))
        assert re.search(rf"\b{price.amount:g}\b", row)


@pytest.mark.parametrize("page", ["services.md", "services.zh-CN.md"])
def test_the_page_s_settings_are_taken(page: str, tmp_path: Path) -> None:
    """The TOML of the page loads; its endpoints are those services'."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    found = re.search(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    (tmp_path / "redloom.toml").write_text(found[1], "utf-8")
    settings = load_settings(environ={"BYTEPLUS_ARK_KEY": "k"}, folder=tmp_path)
    assert settings.endpoint("seedream-abroad").provider == "ark"
    assert settings.endpoints["gemini-large"].options == {"resolution": "2K"}


@pytest.mark.parametrize("page", ["services.md", "services.zh-CN.md"])
def test_the_page_s_faults_exist(page: str) -> None:
    """The line that starts a stand-in can be read."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    for faults in re.findall(r"emulate gemini .*--faults (\S+)", text):
        assert gemini.parse_faults(faults)
