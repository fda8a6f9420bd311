"""Settings: what wins, where it came from, and what is said of a mistake."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redloom.clock import SystemClock
from redloom.config_files import fill_references, parse_dotenv
from redloom.errors import BadSettings
from redloom.settings import Settings, check_clock, load_settings, masked, on_loopback

KEY = "sk-0123456789abcdefWXYZ"


def load(folder: Path, environ: Mapping[str, str] | None = None, **more: Any) -> Settings:
    """Settings read in ``folder``, with nothing else of this machine in sight."""
    return load_settings(
        folder=folder, environ={"HOME": str(folder / "home"), **(environ or {})}, **more
    )


def user_file(folder: Path, text: str) -> dict[str, str]:
    """A user's file, and the environment in which it is found."""
    path = folder / "xdg" / "redloom" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text, "utf-8")
    return {"XDG_CONFIG_HOME": str(folder / "xdg")}


def test_a_key_makes_an_endpoint(tmp_path: Path) -> None:
    """One variable is enough: the endpoint is there, is the default, and hides its key."""
    settings = load(tmp_path, {"DASHSCOPE_API_KEY": KEY})
    config = settings.endpoint("dashscope")
    assert (config.model, config.api_key) == ("wan2.6-t2i", KEY)
    assert settings.default_endpoint == "dashscope"
    assert KEY not in repr(settings)
    assert KEY not in repr(config.endpoint())


def test_without_anything_only_free_endpoints_exist(tmp_path: Path) -> None:
    """No key, no file: cards are there; asking for the rest names the variable."""
    settings = load(tmp_path)
    assert "cards" in settings.endpoints
    assert "dashscope" not in settings.endpoints
    with pytest.raises(BadSettings, match="DASHSCOPE_API_KEY"):
        settings.endpoint("dashscope")


def test_an_unknown_endpoint_names_the_known_ones(tmp_path: Path) -> None:
    """The sentence lists what there is."""
    with pytest.raises(BadSettings, match="cards"):
        load(tmp_path).endpoint("dashscoop")


@pytest.mark.parametrize(
    ("layers", "model", "source"),
    [
        ({"user"}, "user", "config.toml"),
        ({"user", "project"}, "project", "redloom.toml"),
        ({"user", "project", "dotenv"}, "dotenv", ".env"),
        ({"user", "project", "dotenv", "environment"}, "environment", "DASHSCOPE_IMAGE_MODEL"),
        ({"user", "project", "dotenv", "environment", "override"}, "override", "command line"),
    ],
)
def test_precedence(tmp_path: Path, layers: set[str], model: str, source: str) -> None:
    """Command line over environment over .env over project over user, each with its source."""
    environ = {"DASHSCOPE_API_KEY": KEY}
    if "user" in layers:
        environ |= user_file(tmp_path, '[endpoints.dashscope]\nmodel = "user"\n')
    if "project" in layers:
        (tmp_path / "redloom.toml").write_text('[endpoints.dashscope]\nmodel = "project"\n')
    if "dotenv" in layers:
        (tmp_path / ".env").write_text("DASHSCOPE_IMAGE_MODEL=dotenv\n")
    if "environment" in layers:
        environ["DASHSCOPE_IMAGE_MODEL"] = "environment"
    overrides = {"endpoints.dashscope.model": "override"} if "override" in layers else {}
    settings = load(tmp_path, environ, overrides=overrides)
    assert settings.endpoint("dashscope").model == model
    assert source in settings.sources["endpoints.dashscope.model"].en


def test_two_regions_stand_side_by_side(tmp_path: Path) -> None:
    """A provider's own variable does not touch another endpoint that names its address."""
    (tmp_path / "redloom.toml").write_text(
        "[endpoints.intl]\nprovider = 'dashscope'\napi_key_env = 'INTL_KEY'\n"
        "base_url = 'https://dashscope-intl.aliyuncs.com/api/v1/'\nconcurrency = 2\nprice = 0.5\n"
    )
    environ = {
        "DASHSCOPE_API_KEY": KEY,
        "INTL_KEY": "sk-intl",
        "DASHSCOPE_BASE_URL": "http://127.0.0.1:9/api/v1/",
    }
    settings = load(tmp_path, environ)
    intl, own = settings.endpoint("intl"), settings.endpoint("dashscope")
    assert intl.base_url == "https://dashscope-intl.aliyuncs.com/api/v1"
    assert own.base_url == "http://127.0.0.1:9/api/v1"
    assert intl.api_key == "sk-intl"
    assert intl.account != own.account
    assert intl.limits.concurrency == 2
    assert intl.price is not None
    assert intl.price.amount == 0.5


def test_another_model_of_an_endpoint(tmp_path: Path) -> None:
    """NAME:MODEL is that endpoint with another model, of the same account."""
    settings = load(tmp_path, {"DASHSCOPE_API_KEY": KEY})
    other = settings.endpoint("dashscope:qwen-image")
    assert other.model == "qwen-image"
    assert other.account == settings.endpoint("dashscope").account


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("retires = 3", "retries"),
        ("[endpoints.dashscope]\nmodle = 'x'", "model"),
        ("[endpoints.dashscope]\napi_key = 'sk-x'", "api_key_env"),
        ("retries = -1", "retries must be ≥ 0"),
        ("retries = 'many'", "retries must be a number"),
        ("in_doubt = 'maybe'", "'wait', 'resubmit', 'fail'"),
        ("[endpoints.mine]\nmodel = 'x'", "lacks its provider"),
        ("[endpoints.dashscope]\nbase_url = 'dashscope'", "http://"),
        ("[endpoints.'local:x']\nprovider = 'cards'", "reserved"),
        ("endpoints = 3", "must be a table"),
        ("retries = \nx = 1", "line 1"),
    ],
)
def test_a_mistake_in_the_file_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    """Typing slips get a likely meaning; the file and the key are named."""
    monkeypatch.setenv("LC_ALL", "C")
    (tmp_path / "redloom.toml").write_text(text, "utf-8")
    with pytest.raises(BadSettings) as caught:
        load(tmp_path, {"DASHSCOPE_API_KEY": KEY})
    assert said in str(caught.value)


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    """Two mistakes, one message."""
    (tmp_path / "redloom.toml").write_text("retries = -1\nin_doubt = 'x'\n")
    with pytest.raises(BadSettings) as caught:
        load(tmp_path)
    assert "retries" in caught.value.text.zh
    assert "in_doubt" in caught.value.text.zh


@pytest.mark.parametrize("raw", [b"\xff\xfe\x00bad", b"\x00" * 10, b"[" * 100_000])
def test_a_file_that_is_no_settings_file(tmp_path: Path, raw: bytes) -> None:
    """Bytes of any kind end in BadSettings, never in another exception."""
    (tmp_path / "redloom.toml").write_bytes(raw)
    with pytest.raises(BadSettings):
        load(tmp_path)


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    """--config of a file that is not there says so."""
    with pytest.raises(BadSettings, match="nowhere"):
        load(tmp_path, config=tmp_path / "nowhere.toml")


def test_redbook_settings_are_read_as_they_are(tmp_path: Path) -> None:
    """config/config.json: its key is DashScope's, its numbers keep their meaning."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.json").write_text(
        json.dumps(
            {
                "openai_api_key": "${NOT_SET:sk-from-the-file-1234}",
                "image_generation": {
                    "model": "wan2.2-t2i-flash", "size": "1024*1365", "max_concurrent": "${JOBS:5}",
                    "max_wait_time": 200, "max_retries": 1,
                    "api_url": "https://dashscope.aliyuncs.com/api/v1/services/aigc/text2image/image-synthesis",
                },
                "logging": {"level": "INFO"},
            }
        )
    )  # fmt: skip
    settings = load(tmp_path)
    config = settings.endpoint("dashscope")
    assert config.api_key == "sk-from-the-file-1234"
    assert config.model == "wan2.2-t2i-flash"
    assert config.base_url == "https://dashscope.aliyuncs.com/api/v1"
    assert (settings.jobs, settings.max_wait_s, settings.retries) == (5, 200, 1)
    assert settings.size == "1024x1365"
    assert "config.json" in settings.sources["retries"].en


def test_the_environment_wins_over_redbook_settings(tmp_path: Path) -> None:
    """DASHSCOPE_API_KEY counts before the key in the file."""
    (tmp_path / "config.json").write_text('{"openai_api_key": "sk-file"}')
    assert load(tmp_path, {"DASHSCOPE_API_KEY": KEY}).endpoint("dashscope").api_key == KEY


@pytest.mark.parametrize("text", ['{"name": "my-app"}', "[1, 2]", "not json"])
def test_another_programs_config_json_is_left_alone(tmp_path: Path, text: str) -> None:
    """A config.json that is not RedBookContentGen's changes nothing and disturbs nobody."""
    (tmp_path / "config.json").write_text(text)
    assert load(tmp_path).files == ()


def test_an_unfilled_reference_is_no_key(tmp_path: Path) -> None:
    """``${NAME}`` of a variable that is not set does not count as a key."""
    (tmp_path / "config.json").write_text('{"openai_api_key": "${MY_KEY}"}')
    with pytest.raises(BadSettings, match="DASHSCOPE_API_KEY"):
        load(tmp_path).endpoint("dashscope")


def test_overrides_may_bring_a_key(tmp_path: Path) -> None:
    """A caller's key and address make an endpoint, over the environment."""
    overrides = {
        "endpoints.dashscope.api_key": "sk-own",
        "endpoints.dashscope.base_url": "http://127.0.0.1:1",
    }
    settings = load(
        tmp_path,
        {"DASHSCOPE_API_KEY": KEY, "DASHSCOPE_BASE_URL": "http://127.0.0.1:2"},
        overrides=overrides,
    )
    config = settings.endpoint("dashscope")
    assert (config.api_key, config.base_url) == ("sk-own", "http://127.0.0.1:1")


def test_the_workspace(tmp_path: Path) -> None:
    """Argument over REDLOOM_HOME over the file over the user's data folder; nothing is made."""
    assert load(
        tmp_path, {"XDG_DATA_HOME": str(tmp_path / "d")}
    ).workspace == tmp_path / "d/redloom" or (
        "Application Support" in str(load(tmp_path).workspace)
    )
    (tmp_path / "redloom.toml").write_text("workspace = 'mine'")
    assert load(tmp_path).workspace == tmp_path / "mine"
    environ = {"REDLOOM_HOME": str(tmp_path / "home2")}
    assert load(tmp_path, environ).workspace == tmp_path / "home2"
    assert load(tmp_path, environ, workspace=tmp_path / "arg").workspace == tmp_path / "arg"
    assert not (tmp_path / "mine").exists()


def test_a_clock_is_not_turned_on_a_real_service(tmp_path: Path) -> None:
    """Another speed is refused away from loopback, and allowed on it."""
    fast = SystemClock(20.0, 1.0)
    far = load(tmp_path, {"DASHSCOPE_API_KEY": KEY})
    with pytest.raises(BadSettings, match="REDLOOM_CLOCK_SPEED"):
        check_clock(fast, [far.endpoint("dashscope")])
    check_clock(SystemClock(), [far.endpoint("dashscope")])
    near = load(
        tmp_path, {"DASHSCOPE_API_KEY": KEY, "DASHSCOPE_BASE_URL": "http://127.0.0.1:8080/api/v1"}
    )
    check_clock(fast, [near.endpoint("dashscope"), near.endpoint("cards")])


@pytest.mark.parametrize(
    ("url", "near"),
    [
        ("http://localhost:1", True),
        ("http://[::1]:1/x", True),
        ("http://127.9.9.9", True),
        ("http://127.0.0.1.example.com", False),
        ("http://localhost@example.com", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_loopback(url: str, near: bool) -> None:
    """Names that only look like this machine are not."""
    assert on_loopback(url) is near


def test_masking() -> None:
    """At most the last four characters of a long key are shown, none of a short one."""
    assert masked(KEY) == "****WXYZ"
    assert masked("short") == "****"
    assert masked("") == ""


def test_dotenv() -> None:
    """Quotes, export, comments; other lines are passed over."""
    text = '\ufeffA=1\nexport B = two words # said\nC=\'x # y\'\nD="a\\n\\"b\\"" # c\n# E=5\nnonsense\nF=\nG=#x\n'
    assert parse_dotenv(text) == {
        "A": "1",
        "B": "two words",
        "C": "x # y",
        "D": 'a\n"b"',
        "F": "",
        "G": "",
    }


@given(st.text(max_size=200))
def test_dotenv_reads_anything(text: str) -> None:
    """No text makes the parser fail, and names are always names."""
    assert all(name.isidentifier() for name in parse_dotenv(text))


@given(
    st.text(
        alphabet=st.characters(
            exclude_characters="'\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029",
            exclude_categories=["Cs"],
        )
    )
)
def test_dotenv_keeps_quoted_values(value: str) -> None:
    """What stands between single quotes comes back as it is."""
    assert parse_dotenv(f"A='{value}'") == {"A": value}


@given(st.text(max_size=40), st.dictionaries(st.sampled_from(["A", "B_C"]), st.text(max_size=5)))
def test_references(text: str, environ: dict[str, str]) -> None:
    """A reference takes the variable, else its default; other text is untouched."""
    assert fill_references("${A:x}", environ) == environ.get("A", "x")
    if "${" not in text:
        assert fill_references(["p", {"q": text}], environ) == ["p", {"q": text}]


@pytest.mark.parametrize("page", ["configuration.md", "configuration.zh-CN.md"])
def test_the_documented_file_is_valid(tmp_path: Path, page: str) -> None:
    """The example in the documentation can be copied as it stands."""
    text = (Path(__file__).parents[1] / "docs" / page).read_text("utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "redloom.toml").write_text(block, "utf-8")
    settings = load(tmp_path, {"DASHSCOPE_API_KEY": KEY, "DASHSCOPE_INTL_KEY": KEY})
    assert settings.endpoint("singapore").account == "intl"
    assert settings.account_share == 0.5
