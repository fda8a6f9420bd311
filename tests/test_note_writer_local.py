"""The writer without a model: the story's own words, really different titles, within the limits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redloom.errors import BadInput
from redloom.note.keywords import keywords, overlap
from redloom.note.rules import Post, check, title_length
from redloom.note.source import Source, parse_source, read_source
from redloom.note.text import letters_of, phrases_of, squeezed
from redloom.note.writer import Wish
from redloom.note.writer_local import write

EXAMPLES = Path(__file__).parents[1] / "examples"
STORIES = sorted(path.name for path in EXAMPLES.iterdir() if path.suffix in (".txt", ".md"))
SENTENCES = st.sampled_from(
    [
        "上个星期天我起了个大早，坐2号线到前门。",
        "为什么走得这么慢？",
        "他头也不抬：“鞋能走路就行，钱够吃面就行。”",
        "一边是新的，一边是旧的，谁也没嫌弃谁。",
        "一杯拿铁38块，刚好两碗面！\n\n",
        "1. 面馆十一点前到\n2. 院里住着人家\n\n",
        "\n\n一墙之隔\n\n",
        "We walked 3 miles, and it rained.\n",
        "没有标点的一行\n",
        "🔥🔥",
        "（括号里）【标题】\n\n",
    ]
)


def everything(source: Source) -> str:
    """All that a story says, squeezed, with its own marks of lists left in."""
    return squeezed(source.title + " ".join(source.tags) + source.plain)


def assert_own_words(source: Source) -> None:
    """Every wording put out stands in the story, but for marks and spaces."""
    plan = write(source, Wish())
    own = everything(source) + letters_of(source.blocks)
    texts = [part for title in plan.titles for part in title.text.split("｜")]
    texts += [
        *plan.cover.title.split("｜"),
        plan.cover.subtitle,
        plan.cover.kicker,
        plan.closing,
        *plan.tags,
    ]
    texts += [text for block in plan.blocks for text in phrases_of(block)]
    texts += [cell for line in plan.body.split("\n") for cell in re.split("｜|^\\d+\\. ", line)]
    for text in texts:
        assert squeezed(text) in own, text


@settings(deadline=None, max_examples=60)
@given(st.lists(SENTENCES, min_size=1, max_size=30), st.sampled_from(["a.txt", "a.md"]))
def test_nothing_is_invented(parts: list[str], name: str) -> None:
    """Whatever the story, its note says only what it says, within every limit."""
    try:
        source = parse_source("".join(parts).encode(), name)
    except BadInput:
        return
    assert_own_words(source)
    plan = write(source, Wish())
    assert all(title_length(title.text) <= 20 for title in plan.titles)
    assert check(Post(plan.titles[0].text, plan.body, plan.tags)) == []


@pytest.mark.parametrize("name", STORIES)
def test_examples_make_real_notes(name: str) -> None:
    """Each example gives five really different titles, tags, prompts, and only its own words."""
    source = read_source(EXAMPLES / name)
    plan = write(source, Wish())
    assert_own_words(source)
    texts = [title.text for title in plan.titles]
    assert len(texts) == 5
    assert texts[0] == source.title
    assert len({title.hook for title in plan.titles}) == 5
    assert all(overlap(one, other) < 0.5 for one in texts for other in texts if one != other)
    assert 5 <= len(plan.tags) <= 10
    assert check(Post(texts[0], plan.body, plan.tags)) == []
    assert plan.prompts[0].purpose == "cover"
    assert len(plan.prompts) >= 3


def test_the_five_hooks_of_the_walk() -> None:
    """The walk through the hutong asks, sets against, quotes and counts."""
    plan = write(read_source(EXAMPLES / "hutong.txt"), Wish())
    hooks = {title.hook: title.text for title in plan.titles}
    assert set(hooks) == {"own", "question", "contrast", "quotation", "number"}
    assert hooks["contrast"] == "一边是新的，一边是旧的，谁也没嫌弃谁"
    assert hooks["question"].endswith("？")


def test_prompts_speak_of_the_story_and_forbid_lettering() -> None:
    """A picture's prompt names the story's own things, in its language, and the style asked for."""
    plan = write(read_source(EXAMPLES / "recipe.md"), Wish(style="watercolor"))
    assert "番茄" in plan.prompts[0].prompt
    assert all("水彩" in one.prompt and "no text, no letters" in one.prompt for one in plan.prompts)
    english = parse_source(
        b"The Harbour Walk\n\nThe lighthouse stood over the Harbour.\n\nThe lighthouse keeper waved.",
        "a.txt",
    )
    prompt = write(english, Wish(style="oil on canvas")).prompts[0].prompt
    assert prompt.startswith("oil on canvas. About: The Harbour Walk.")
    assert "No text, no letters" in prompt


def test_a_long_story_gets_a_body_that_fits() -> None:
    """A story over the limit keeps its beginning and its end, in whole sentences."""
    middle = "".join(
        f"第{n}天，我们走到了第{n}个村子，那里有人等着我们喝茶。\n\n" for n in range(80)
    )
    source = parse_source(
        f"走了八十天\n\n出发那天没有风，很安静，谁也没有说话。\n\n{middle}最后我们回到了家里，一切都没有变。".encode(),
        "a.txt",
    )
    body = write(source, Wish()).body
    assert 600 < len(body) <= 1000
    assert body.startswith("出发那天")
    assert body.endswith("一切都没有变。")


def test_a_list_never_loses_its_lead() -> None:
    """A paragraph that ends in a colon is not left without what it leads to."""
    plan = write(read_source(EXAMPLES / "article.md"), Wish())
    lines = [line for line in plan.body.split("\n") if line.endswith("：")]
    after = [plan.body.split(line + "\n")[1][:1] for line in lines]
    assert lines
    assert all(text.strip() for text in after)


def test_one_sentence_is_enough() -> None:
    """A story of one sentence gives a note; titles are as many as it has, not five alike."""
    for text in ("今天下雨。", "Hello", "🔥", "……", "一" * 300):
        plan = write(parse_source(text.encode(), "a.txt"), Wish())
        assert plan.titles
        assert plan.body


def test_the_story_decides_not_the_machine() -> None:
    """Twice the same, and keywords stand in the text they come from."""
    source = read_source(EXAMPLES / "article.md")
    assert write(source, Wish()) == write(source, Wish())
    assert all(word.text in source.plain for word in keywords(source.plain))


def test_a_headings_number_is_no_part_of_a_title() -> None:
    """一、中央大街 as a title proposed is 中央大街; so is a tag no everyday English word."""
    text = "一、中央大街\n\n石头路面像小面包。\n\n二、松花江\n\n江面冻了，可以开车。\n"
    plan = write(parse_source(text.encode(), "a.txt"), Wish())
    assert not [title.text for title in plan.titles if "、" in title.text]
    story = "Keep it warm for six days.\n\nFeed the sourdough every day. On day nine the sourdough sang.\n"
    tags = write(parse_source(story.encode(), "a.txt"), Wish()).tags
    assert "sourdough" in tags
    assert not {"day", "days", "six", "Keep", "Feed"} & set(tags)
