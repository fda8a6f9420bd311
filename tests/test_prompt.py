"""Prompts as programs give them: strings, prompts, mappings."""

from __future__ import annotations

import pytest

from redloom.errors import BadInput
from redloom.prompt import Prompt, prompts_of


def test_a_mapping_says_all_that_a_prompt_can() -> None:
    """Nothing that a mapping says under a prompt's own names is dropped; other names are not ours."""
    given = {
        "prompt": "a scarf", "id": "b", "n": 2, "take": 3, "size": "3:4", "seed": 7, "negative": "text",
        "model": "m", "options": {"style": "x"}, "filename": "f", "folder": "d", "references": ["r.png"],
        "index": 1,
    }  # fmt: skip
    assert list(prompts_of([given])) == [
        Prompt(
            "a scarf", id="b", n=2, take=3, size="3:4", seed=7, negative="text", model="m",
            options={"style": "x"}, filename="f", folder="d", references=("r.png",),
        )
    ]  # fmt: skip


def test_what_is_neither_is_named_by_its_place() -> None:
    """The position is told, and an empty prompt is a row that says so."""
    with pytest.raises(BadInput, match="2"):
        list(prompts_of(["a", {"text": "b"}]))
    assert next(iter(prompts_of([" "]))).problem


@pytest.mark.parametrize("alone", ["a red scarf", b"a red scarf", {"prompt": "a"}, Prompt("a")])
def test_one_prompt_is_no_list_of_letters(alone: object) -> None:
    """``generate("a red scarf")`` would buy eleven pictures: it is refused before anything is sent."""
    with pytest.raises(BadInput, match="prompt"):
        list(prompts_of(alone))  # type: ignore[arg-type]
