"""RedBookContentGen's ConfigManager on our reading code."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from redloom.config_manager import VARIABLES, ConfigManager


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, _key in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def written(path: Path, **data: Any) -> ConfigManager:
    """A manager on a file with ``data``."""
    path.write_text(json.dumps(data), "utf-8")
    return ConfigManager(str(path))


def test_defaults_without_a_file(tmp_path: Path) -> None:
    """3 at once, 180 s, every 5 s, 3 tries; no file is made."""
    config = ConfigManager(str(tmp_path / "none.json"))
    names = ("max_concurrent", "max_wait_time", "poll_interval", "max_retries")
    assert [config.get(f"image_generation.{name}") for name in names] == [3, 180, 5, 3]
    assert config.get("nothing.here", "else") == "else"
    assert list(tmp_path.iterdir()) == []


def test_layers_and_their_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Default, file, environment, set: the last wins and each is told."""
    config = written(tmp_path / "c.json", image_generation={"max_retries": 1, "model": "from-file"})
    assert config.get_config_source("image_generation.poll_interval") == "default"
    assert config.get_config_source("image_generation.max_retries") == "file"
    assert config.get("image_generation.poll_interval") == 5
    monkeypatch.setenv("IMAGE_MODEL", "from-environment")
    config.reload()
    assert config.get("image_generation.model") == "from-environment"
    assert config.get_config_source("image_generation.model") == "environment"
    config.set("image_generation.model", "own")
    assert config.get("image_generation.model") == "own"
    assert config.get_config_source("image_generation.model") == "set"
    assert config.get_config_source("no.such") == "not_found"
    config.reload()
    assert config.get("image_generation.model") == "from-environment"


def test_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """${NAME:default} in nested values; numbers out of them are numbers."""
    monkeypatch.setenv("MY_KEY", "sk-mine")
    config = written(
        tmp_path / "c.json",
        openai_api_key="${MY_KEY}",
        image_generation={"max_concurrent": "${NO_SUCH_THING:7}"},
        list=["${NO_SUCH_THING:a}", "${NO_SUCH_THING}"],
    )
    assert config.get("openai_api_key") == "sk-mine"
    assert config.get("image_generation.max_concurrent") == 7
    assert config.get("list") == ["a", "${NO_SUCH_THING}"]
    assert config.validate()


def test_older_names(tmp_path: Path) -> None:
    """image_model and api.image.size of earlier files mean what they mean today."""
    config = written(
        tmp_path / "c.json", image_model="wan2.2-t2i-plus", api={"image": {"size": "1024*1024"}}
    )
    assert config.get("image_generation.model") == "wan2.2-t2i-plus"
    assert config.get("image_generation.size") == "1024*1024"


def test_dashscopes_own_variable_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key for OpenAI is not sent to DashScope where DashScope's is there."""
    config = written(tmp_path / "c.json", openai_api_key="sk-file")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    config.reload()
    assert config.get("openai_api_key") == "sk-openai"
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-dashscope")
    config.reload()
    assert config.get("openai_api_key") == "sk-dashscope"


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({}, "openai_api_key"),
        ({"image_generation": {"max_concurrent": 0}}, "max_concurrent"),
        ({"image_generation": {"max_wait_time": "long"}}, "max_wait_time"),
        ({"image_generation": {"max_retries": True}}, "max_retries"),
        ({"image_generation": {"api_url": "dashscope"}}, "api_url"),
        ({"image_generation_mode": "both"}, "image_generation_mode"),
    ],
)
def test_validation_names_key_and_source(tmp_path: Path, data: dict[str, Any], named: str) -> None:
    """What is wrong, and where it stands."""
    key = {} if named == "openai_api_key" else {"openai_api_key": "sk-x"}
    config = written(tmp_path / "c.json", **key, **data)
    errors = config.get_validation_errors()
    assert len(errors) == 1
    assert named in errors[0]
    assert named == "openai_api_key" or "file" in errors[0]
    assert not config.validate()


def test_a_broken_file_keeps_what_was(tmp_path: Path) -> None:
    """Half a file, as an editor may leave for a moment: an error is told, nothing is lost."""
    path = tmp_path / "c.json"
    config = written(path, openai_api_key="sk-x", image_generation={"model": "kept"})
    path.write_text('{"openai_api_key": ')
    config.reload()
    assert config.get("image_generation.model") == "kept"
    assert "c.json" in config.get_validation_errors()[0]


def test_what_is_handed_out_is_a_copy(tmp_path: Path) -> None:
    """Nobody changes settings by changing what get returned."""
    config = written(tmp_path / "c.json", openai_api_key="sk-x")
    config.get_all()["image_generation"]["model"] = "changed"
    config.get("image_generation")["model"] = "changed"
    assert config.get("image_generation.model") == "wan2.6-t2i"


def test_a_change_of_the_file_is_seen(tmp_path: Path) -> None:
    """Changed, replaced, removed: each is read once; untouched, never."""
    path = tmp_path / "c.json"
    config = written(path, image_model="one")
    calls: list[str] = []
    config.register_reload_callback(lambda: calls.append(config.get("image_generation.model")))
    assert not config.check_file()
    path.write_text('{"image_model": "another"}')
    assert config.check_file()
    assert not config.check_file()
    path.unlink()
    assert config.check_file()
    assert calls == ["another", "wan2.6-t2i"]


def test_watching(tmp_path: Path) -> None:
    """The thread sees a change by itself, and ends when told; a failing callback stops nothing."""
    path = tmp_path / "c.json"
    config = written(path, image_model="one")
    seen = threading.Event()

    def fail() -> None:
        raise RuntimeError

    config.register_reload_callback(fail)
    config.register_reload_callback(seen.set)
    config.start_watching(check_interval=0.005)
    config.start_watching(check_interval=0.005)
    try:
        path.write_text('{"image_model": "changed"}')
        assert seen.wait(10)
        assert config.get("image_generation.model") == "changed"
    finally:
        config.stop_watching()
    assert not config.is_watching()
    config.stop_watching()


def test_many_threads(tmp_path: Path) -> None:
    """Readers never see half a reload while writers and reloads run."""
    config = written(tmp_path / "c.json", image_generation={"model": "m", "size": "1*1"})
    wrong: list[Any] = []

    def read() -> None:
        for _ in range(200):
            part = config.get("image_generation")
            if part["model"] != "m" or part["max_retries"] != 3:
                wrong.append(part)

    def turn() -> None:
        for number in range(50):
            config.set("note", number)
            config.reload()

    threads = [threading.Thread(target=work) for work in (read, read, turn)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
