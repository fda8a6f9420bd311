"""A plan as JSON both ways, and what is no plan."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redloom.note.plan import (
    CoverText,
    NotePlan,
    PicturePrompt,
    Title,
    block_from_data,
    block_to_data,
)
from redloom.typeset.content import (
    Block,
    Code,
    Figure,
    Heading,
    ListBlock,
    ListItem,
    Paragraph,
    Quote,
    Rule,
    Span,
    Table,
)

WORDS = st.text(min_size=1, max_size=8)
SPANS = st.lists(
    st.builds(Span, WORDS, st.booleans(), st.booleans(), st.booleans(), st.booleans()), max_size=3
).map(tuple)
ITEMS = st.recursive(
    st.builds(ListItem, SPANS),
    lambda inner: st.builds(ListItem, SPANS, st.lists(inner, max_size=2).map(tuple)),
)
LEAVES: st.SearchStrategy[Block] = st.one_of(
    st.builds(Heading, SPANS, st.integers(1, 3)),
    st.builds(Paragraph, SPANS),
    st.builds(ListBlock, st.lists(ITEMS, max_size=3).map(tuple), st.booleans(), st.integers(1, 9)),
    st.builds(
        Table,
        st.lists(SPANS, max_size=2).map(tuple),
        st.lists(st.lists(SPANS, max_size=2).map(tuple), max_size=2).map(tuple),
    ),
    st.builds(Code, st.text(max_size=8)),
    st.builds(Figure, st.binary(max_size=8), SPANS, st.text(max_size=4)),
    st.just(Rule()),
)
BLOCKS = st.one_of(
    LEAVES, st.builds(Quote, st.lists(LEAVES, max_size=2).map(tuple), st.text(max_size=4))
)


@given(BLOCKS)
def test_blocks_survive_json(block: Block) -> None:
    """Every block comes back the same through JSON text."""
    assert block_from_data(json.loads(json.dumps(block_to_data(block)))) == block


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["kind", "text", "items"]), inner)
        ),
    )
)
def test_other_json_is_refused(data: object) -> None:
    """What is no block is a ValueError, nothing else."""
    with suppress(ValueError):
        block_from_data(data)


def test_a_plan_survives_json() -> None:
    """A whole plan comes back the same."""
    plan = NotePlan(
        titles=(Title(text="题", hook="number"),),
        body="文",
        tags=("标签",),
        cover=CoverText(title="题", subtitle="副"),
        blocks=(Paragraph((Span("段", bold=True),)), Rule()),
        page_breaks=(1,),
        prompts=(PicturePrompt(purpose="cover", prompt="画"),),
        closing="完",
    )
    assert NotePlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_a_plan_without_title_is_refused() -> None:
    """All that is missing is named at once."""
    with pytest.raises(ValueError, match="2 validation errors"):
        NotePlan.from_json({"titles": [], "body": "", "cover": {"title": "x"}})
