"""The OpenAPI document: complete, with examples, and no request made up from it gives a 500."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from redloom.studio.forms import Form
from redloom.studio.options import Options
from studio_rig import Rig, rig

API = Path(__file__).resolve().parents[1] / "docs" / "api.md"
NOT_TRIED = re.compile(r"/events$")
"""Streams go on; test_studio_api reads them."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A server that may be asked for anything; at most 200 prompts a run keep it quick."""
    with rig(tmp_path_factory.mktemp("fuzz") / "ws", Options(most_prompts=200)) as server:
        yield server


def operations(made: Rig) -> list[tuple[str, str]]:
    """Every operation of the document."""
    paths = made.client.get("/openapi.json").json()["paths"]
    return [(verb, path) for path, item in paths.items() for verb in item]


@pytest.mark.slow
def test_no_request_gives_a_500(made: Rig) -> None:
    """Made up from the document, right and wrong ones, for every operation."""
    schema = schemathesis.openapi.from_dict(made.client.get("/openapi.json").json())
    tried = 0

    for found in schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]
        if NOT_TRIED.search(operation.path):
            continue
        tried += 1
        for mode in schemathesis.GenerationMode:
            check(made, operation, mode)
    assert tried > 40
    assert made.client.get("/health").json()["status"] == "ok"


def check(made: Rig, operation: Any, mode: schemathesis.GenerationMode) -> None:
    """A few requests of one kind to one operation."""
    from hypothesis import errors, given

    @settings(
        max_examples=8, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        answer = case.call(base_url=made.url, timeout=30)
        assert answer.status_code < 500 or answer.status_code == 503, (
            case.as_curl_command(),
            answer.text[:500],
        )
        if answer.status_code >= 400 and "json" in answer.headers.get("content-type", ""):
            assert set(answer.json()["error"]) >= {"message", "type", "code", "spent"}

    try:
        ask()
    except errors.Unsatisfiable:  # nothing wrong can be sent to an operation without parameters
        return


def test_every_address_of_the_guide_is_served(made: Rig) -> None:
    """docs/api.md names nothing that is not there, and leaves nothing of the document out."""
    text = API.read_text("utf-8")
    known = {re.sub(r"\{[^}]*\}", "{}", path) for _, path in operations(made)}
    named = {
        re.sub(r"\{[^}]*\}", "{}", path.split("?")[0])
        for path in re.findall(r"(?:GET|POST|PUT|DELETE) (/[\w./{}-]+)", text)
    }
    there = known | {"/metrics", "/api/runs/{}/manifest.csv"}
    assert named - there == set()
    short = {"/api/themes/{}/{}.webp", "/pictures/{}", "/api/notes/{}/export.json", "/api/runs/{}/manifest.{}"}  # fmt: skip
    missing = {path for path in known - named - short if path.rpartition("/")[2] not in text}
    assert missing == set()


def test_every_form_has_an_example_that_is_valid() -> None:
    """What the document shows can be sent."""

    def below(kind: type[Form]) -> Iterator[type[Form]]:
        for one in kind.__subclasses__():
            yield one
            yield from below(one)

    seen = 0
    for kind in below(Form):
        extra = kind.model_config.get("json_schema_extra")
        examples: Any = extra.get("examples", []) if isinstance(extra, dict) else []
        for example in examples:
            assert isinstance(example, dict)
            kind.model_validate(example)
            seen += 1
    assert seen >= 10


def test_the_document_is_made_once_and_says_how_to_sign_in(made: Rig) -> None:
    """Bearer tokens; every operation has words."""
    told = made.client.get("/openapi.json").json()
    assert told["security"] == [{"token": []}]
    for path, item in told["paths"].items():
        for verb, operation in item.items():
            assert operation.get("description"), (verb, path)
    assert json.dumps(told).count("example") > 10


def test_the_docs_page_shows_it_without_a_script(made: Rig) -> None:
    """/docs: every path, nothing that has to be fetched from elsewhere."""
    page = made.client.get("/docs").text
    for _, path in operations(made):
        assert path in page
    assert "<script" not in page
    assert "https://" not in page.replace("https://host", "").replace("https://example.com", "")
