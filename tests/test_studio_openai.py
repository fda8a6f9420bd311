"""OpenAI's own client against our server, unchanged: what it expects is what it gets."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from redloom.studio.options import Options
from redloom.testing import FakeProvider, picture_of
from studio_rig import Rig, rig

TOKEN = "the-admin-token"


def script(provider: FakeProvider) -> None:
    """Words that the service refuses, and words that it cannot make."""

    def fate(asked: Any, _number: int) -> Any:
        return "refused" if "forbidden" in asked.prompt else "made"

    provider.script = fate


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A server with a token."""
    root = tmp_path_factory.mktemp("openai") / "ws"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with rig(root, Options(token=TOKEN), script, headers=headers) as server:
        yield server


def client_of(made: Rig, key: str = TOKEN) -> openai.OpenAI:
    """The official client."""
    return openai.OpenAI(base_url=f"{made.url}/v1", api_key=key, max_retries=0)


def test_a_picture_as_an_address(made: Rig) -> None:
    """The default answer: an absolute address that opens without a token."""
    with client_of(made) as client:
        answer = client.images.generate(prompt="a red scarf", model="fake-1", size="1024x1024")
    assert answer.data is not None
    assert answer.created > 0
    url = answer.data[0].url
    assert url is not None
    assert url.startswith(f"{made.url}/pictures/")
    with Image.open(io.BytesIO(httpx.get(url, trust_env=False).content)) as picture:
        assert picture.format == "PNG"


def test_two_pictures_as_bytes(made: Rig) -> None:
    """n = 2, b64_json, as JPEG: two different pictures of that format."""
    before = made.provider.billed()
    with client_of(made) as client:
        answer = client.images.generate(
            prompt="two", n=2, response_format="b64_json", output_format="jpeg"
        )
    assert answer.data is not None
    assert made.provider.billed() - before == 2
    for one in answer.data:
        with Image.open(io.BytesIO(base64.b64decode(one.b64_json or ""))) as picture:
            assert picture.format == "JPEG"


def test_compression_is_honoured(made: Rig) -> None:
    """A JPEG or WebP as small as asked, under an address of its own; a PNG has no such thing."""
    sizes = {}
    with client_of(made) as client:
        for kind, quality in (("jpeg", 95), ("jpeg", 10), ("webp", 95), ("webp", 0), ("png", 10)):
            pressed: Any = {"output_format": kind, "output_compression": quality}
            answer = client.images.generate(prompt="pressed", extra_body={**pressed, "cache": True})
            assert answer.data is not None
            url = answer.data[0].url or ""
            data = httpx.get(url, trust_env=False).content
            with Image.open(io.BytesIO(data)) as picture:
                assert picture.format == kind.upper()
            sizes[kind, quality] = len(data)
            if kind == "jpeg":
                other = url.replace(f".q{quality}.", ".q50.")
                assert httpx.get(other, trust_env=False).status_code == 404
        with pytest.raises(openai.UnprocessableEntityError):
            client.images.generate(prompt="pressed", output_compression=101)
    assert sizes["jpeg", 10] < sizes["jpeg", 95]
    assert sizes["webp", 0] < sizes["webp", 95]


def test_a_picture_of_the_asked_format_is_pressed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the service made a JPEG already, it is sent as it came, or at the quality asked for."""

    def jpeg(prompt: str, size: tuple[int, int] = (64, 64)) -> bytes:
        out = io.BytesIO()
        Image.open(io.BytesIO(picture_of(prompt, size))).save(out, "JPEG", quality=95)
        return out.getvalue()

    monkeypatch.setattr("redloom.testing.picture_of", jpeg)
    with rig(tmp_path / "ws") as server:

        def sent(**more: Any) -> bytes:
            form = {"prompt": "x", "output_format": "jpeg", "cache": True, **more}
            answer = server.client.post("/v1/images/generations", json=form).json()
            return server.client.get(answer["data"][0]["url"]).content

        plain, small = sent(), sent(output_compression=5)
    assert tables(plain) == tables(jpeg("x"))
    assert tables(small) != tables(plain)
    assert len(small) < len(plain)


def tables(data: bytes) -> Any:
    """A JPEG's quantization tables: they say at which quality it was made."""
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "JPEG"
        return picture.quantization  # type: ignore[attr-defined]


def test_a_stream_is_answered_with_its_pictures(made: Rig) -> None:
    """The official client's stream: one completed event for each picture, no partial ones."""
    with client_of(made) as client:
        events = list(client.images.generate(prompt="streamed", n=2, stream=True, partial_images=2))
        assert [one.type for one in events] == ["image_generation.completed"] * 2
        for one in events:
            with Image.open(io.BytesIO(base64.b64decode(one.b64_json))) as picture:
                assert picture.format == "PNG"
        edited = client.images.edit(
            image=("a.png", picture_of("r"), "image/png"), prompt="streamed edit", stream=True
        )
        assert [one.type for one in edited] == ["image_edit.completed"]
        with pytest.raises(openai.APIError) as refused:
            list(client.images.generate(prompt="forbidden", stream=True))
        assert refused.value.body is not None


def test_every_call_is_fresh_unless_told_otherwise(made: Rig) -> None:
    """Twice the same words: two purchases; with ``cache`` one, with an Idempotency-Key one."""
    with client_of(made) as client:

        def bought(**more: Any) -> int:
            before = made.provider.billed()
            for _ in range(2):
                client.images.generate(prompt="fresh or not", **more)
            return made.provider.billed() - before

        assert bought() == 2
        assert bought(extra_body={"cache": True}) == 1
        assert bought(extra_headers={"Idempotency-Key": "one"}) == 1


def test_an_edit_sends_its_pictures(made: Rig) -> None:
    """Two references reach the service as files; the same bytes are the same file."""
    picture = picture_of("reference")
    with client_of(made) as client:
        answer = client.images.edit(
            image=[("a.png", picture, "image/png"), ("b.png", picture, "image/png")],
            prompt="an edit", extra_body={"seed": 5},
        )  # fmt: skip
    assert answer.data is not None
    asked = [t.asked for t in made.provider.tasks.values() if t.asked.prompt == "an edit"][-1]
    assert len(asked.references) == 2
    assert asked.references[0] == asked.references[1]
    assert Path(asked.references[0]).read_bytes() == picture
    assert asked.seed == 5


def test_an_edit_with_something_else_than_a_picture(made: Rig) -> None:
    """Text under a picture's name, and a vast picture: 422, nothing asked of the service."""
    before = made.provider.submits
    with client_of(made) as client, pytest.raises(openai.UnprocessableEntityError):
        client.images.edit(image=("a.png", b"not a picture", "image/png"), prompt="x")
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    with client_of(made) as client, pytest.raises(openai.UnprocessableEntityError):
        client.images.edit(image=("b.png", bomb.getvalue(), "image/png"), prompt="x")
    assert made.provider.submits == before


def test_the_errors_that_clients_know(made: Rig) -> None:
    """Wrong key 401, unknown model 404, refused words 400."""
    with client_of(made, "wrong-key-wrong") as client, pytest.raises(openai.AuthenticationError):
        client.images.generate(prompt="x")
    with client_of(made) as client:
        with pytest.raises(openai.NotFoundError) as missing:
            client.images.generate(prompt="x", model="no-such-model")
        assert missing.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError) as refused:
            client.images.generate(prompt="forbidden words")
        assert refused.value.code == "content_policy_violation"


def test_too_many_is_429_with_retry_after(made: Rig) -> None:
    """A token with one picture a minute: the second call is told how long to wait."""
    form = {"name": "slow", "per_minute": 1}
    token = made.client.post("/api/tokens", json=form).json()["token"]
    with client_of(made, token) as client:
        client.images.generate(prompt="first")
        with pytest.raises(openai.RateLimitError) as limited:
            client.images.generate(prompt="second")
    assert 1 <= int(limited.value.response.headers["retry-after"]) <= 61


def test_models_are_listed(made: Rig) -> None:
    """The endpoint's model and its name, so that a dropdown fills."""
    with client_of(made) as client:
        assert [model.id for model in client.models.list()] == ["fake-1", "fake"]
        assert client.models.retrieve("fake-1").id == "fake-1"


def test_a_task_for_later(made: Rig) -> None:
    """``async``: 202 with an id at once; its address tells when it is done, with the pictures."""
    body = {"prompt": "later", "async": True, "n": 2}
    answer = made.client.post("/v1/images/generations", json=body)
    assert answer.status_code == 202
    task = answer.json()
    assert task["status"] in ("queued", "in_progress")
    ends = time.monotonic() + 20
    while task["status"] in ("queued", "in_progress") and time.monotonic() < ends:
        task = made.client.get(f"/v1/images/tasks/{task['id']}").json()
    assert task["status"] == "completed"
    assert len(task["data"]) == 2
    assert made.client.get("/v1/images/tasks/none").status_code == 404
