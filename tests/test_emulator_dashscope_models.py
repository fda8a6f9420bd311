"""The table of DashScope's models as the emulator holds it, and reading of requests."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redloom.emulators.dashscope_models import Path, Wanted, full_prompt, models_of, read

BEIJING = models_of("cn-beijing")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["messages", "content", "text", "prompt", "size", "n", "seed", "role"]), inner, max_size=3
        )
    ),
    max_leaves=10,
)  # fmt: skip


@given(
    st.sampled_from(sorted(BEIJING)),
    st.sampled_from(get_args(Path)),
    st.fixed_dictionaries({"input": JSON, "parameters": JSON}),
)
def test_any_body_is_read_or_refused(name: str, path: Path, body: dict[str, Any]) -> None:
    """No JSON breaks the reader; what it accepts lies in the model's ranges."""
    model = BEIJING[name]
    wanted = read(model, path, body)
    assert isinstance(full_prompt(path, body), str)
    if not wanted.problem:
        assert 0 < len(wanted.prompt) <= model.prompt
        assert 1 <= wanted.n <= 12
        assert min(wanted.size) > 0


@pytest.mark.parametrize("region", ["cn-beijing", "ap-southeast-1"])
def test_every_model_takes_its_own_defaults(region: str) -> None:
    """A bare prompt is a whole request for every model on a path of its own."""
    for name, model in models_of(region).items():
        assert model.asynchronous or model.synchronous, name
        path: Path = model.asynchronous or "multimodal"
        messages = [{"role": "user", "content": [{"text": "x"}]}]
        wanted = read(
            model,
            path,
            {"input": {"prompt": "x", "messages": messages, **dict.fromkeys(model.needs, "x")}},
        )
        assert (wanted.problem, wanted.prompt) == ("", "x"), name
        assert wanted.size == model.default


@pytest.mark.parametrize(
    ("name", "size", "fits"),
    [
        ("wan2.6-t2i", "1280*1280", True),
        ("wan2.6-t2i", "1104*1472", True),
        ("wan2.6-t2i", "1440*1440", True),
        ("wan2.6-t2i", "1441*1440", False),
        ("wan2.2-t2i-flash", "512*1440", True),
        ("wan2.2-t2i-flash", "511*1440", False),
        ("qwen-image", "1328*1328", True),
        ("qwen-image", "1328*1329", False),
        ("qwen-image-2.0", "2688*1536", True),
        ("wan2.7-image", "2K", True),
        ("wan2.7-image", "4K", False),
        ("wan2.7-image-pro", "4K", True),
        ("z-image-turbo", "256*256", False),
    ],
)
def test_sizes(name: str, size: str, fits: bool) -> None:
    """The published ranges, and the suggested sizes that lie outside them."""
    body = {"input": {"prompt": "x"}, "parameters": {"size": size}}
    assert (read(BEIJING[name], "text2image", body).problem == "") == fits


def test_rewriting_is_on_by_default_where_the_model_has_it() -> None:
    """wan and Qwen rewrite unless told not to, Z-Image only if told to, wan2.7 never."""

    def extends(name: str, **parameters: Any) -> bool:
        wanted: Wanted = read(
            BEIJING[name], "text2image", {"input": {"prompt": "x"}, "parameters": parameters}
        )
        return wanted.extend

    assert extends("wan2.6-t2i")
    assert not extends("wan2.6-t2i", prompt_extend=False)
    assert not extends("z-image-turbo")
    assert extends("z-image-turbo", prompt_extend=True)
    assert not extends("wan2.7-image", prompt_extend=True)


def test_kling_is_asked_by_shape() -> None:
    """A ratio and a resolution instead of a size."""
    model = BEIJING["kling/kling-v3-image-generation"]
    body = {
        "input": {"messages": [{"content": [{"text": "x"}]}]},
        "parameters": {"aspect_ratio": "9:16", "resolution": "2k"},
    }
    assert read(model, "image", body).size == (1152, 2048)
    body["parameters"] = {"aspect_ratio": "5:1"}
    assert read(model, "image", body).problem
