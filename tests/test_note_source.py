"""The story's bytes: every encoding people save in, and one sentence for what is no story."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from redloom.errors import BadInput
from redloom.lang import Text
from redloom.note import source
from redloom.note.source import decode, parse_source, read_source
from redloom.typeset.content import Figure, Heading, Paragraph, Span

EXAMPLES = Path(__file__).parents[1] / "examples"
STORY = "第一行写得不短，有逗号。\n\n第二段：19块钱，“够了”。\n"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gb18030", "gbk"]
)
def test_every_encoding_reads_the_same(encoding: str) -> None:
    """A story saved in any encoding that editors in China write is the same story."""
    text = "The price\n" * 3 + STORY if encoding in ("utf-16-le", "utf-16-be") else STORY
    assert decode(text.encode(encoding)) == text


@given(
    st.text(
        alphabet=st.characters(
            codec="utf-8", exclude_categories=["Cc", "Cs", "Co", "Cn", "Zl", "Zp"]
        )
    )
)
def test_utf8_is_read_as_written(text: str) -> None:
    """Any printable text comes back letter by letter, or is refused as empty; what nobody sees
    is taken out, and a space that does not break is a space."""
    seen = re.sub("[\u00ad\u200b\u2060\ufeff]", "", text).replace("\xa0", " ")
    try:
        assert decode(text.encode()) == seen
    except BadInput:
        assert not seen.strip(" \t\n\u3000") or text.startswith(("PK\x03\x04", "%PDF", "{\\rtf"))


def test_what_word_leaves_between_characters_is_not_in_a_title() -> None:
    """Zero-width spaces, soft hyphens and hard spaces of a pasted text; an emoji keeps its joiners."""
    pasted = "\u200b去年冬天，我在哈尔滨。\n\n车\u00ad站\u00a0到了👨\u200d👩\u200d👧。\n"
    assert decode(pasted.encode()) == "去年冬天，我在哈尔滨。\n\n车站 到了👨\u200d👩\u200d👧。\n"


@given(st.binary(max_size=400))
def test_no_bytes_break_it(data: bytes) -> None:
    """Whatever the bytes, there is a story with blocks or one sentence; never a traceback."""
    told: Text | None = None
    try:
        found = parse_source(data, "x.md")
    except BadInput as error:
        told = error.text
    assert (told.zh and told.en) if told is not None else found.blocks


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" \n\t\n",
        b"\xef\xbb\xbf",
        "　\n".encode(),
        b"\x89PNG\r\n\x1a\n0000",
        b"PK\x03\x04abc",
        bytes(range(256)) * 9,
    ],
)
def test_what_is_no_story_is_refused(data: bytes) -> None:
    """Empty files, Office files, pictures and noise are BadInput with exit status 2."""
    with pytest.raises(BadInput) as caught:
        parse_source(data, "a.txt")
    assert caught.value.exit_status == 2


def test_too_long_is_refused_with_the_bound() -> None:
    """A story over the bound is refused, and the sentence names the bound."""
    with pytest.raises(BadInput, match="200,000"):
        parse_source(("长" * (source.MAX_CHARACTERS + 1)).encode(), "a.txt")


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    """A path that is no file is BadInput, not an OSError."""
    for path in (tmp_path, tmp_path / "none.txt"):
        with pytest.raises(BadInput):
            read_source(path)


def test_front_matter_gives_title_author_tags() -> None:
    """Front matter is read and not shown; the heading that repeats the title is taken off."""
    found = read_source(EXAMPLES / "recipe.md")
    assert (found.title, found.author) == ("番茄牛腩煲，汤汁要能拌三碗饭", "阿黎")
    assert found.tags == ("家常菜", "番茄牛腩", "周末厨房")
    assert "---" not in found.plain[:10]
    assert next(block.level for block in found.blocks if isinstance(block, Heading)) == 1


def test_a_rule_is_not_front_matter() -> None:
    """A story that merely begins with a line of dashes keeps all its words."""
    found = parse_source(
        "---\n他说：走吧，我们走。然后就走了\n没有冒号的一行\n---\n后来".encode(), "a.md"
    )
    assert "没有冒号的一行" in found.plain


def test_a_title_alone_is_a_story() -> None:
    """One line of text, even as a heading, is enough."""
    for name in ("a.txt", "a.md"):
        found = parse_source(
            "# 只有一句话".encode() if name == "a.md" else "只有一句话".encode(), name
        )
        assert found.blocks


def test_a_picture_beside_the_story_becomes_a_figure(tmp_path: Path) -> None:
    """A picture that lies beside a Markdown story is shown; one elsewhere leaves its caption."""
    out = BytesIO()
    Image.new("RGB", (8, 8), "red").save(out, "PNG")
    (tmp_path / "in").mkdir()
    (tmp_path / "a.png").write_bytes(out.getvalue())
    (tmp_path / "in" / "a b.png").write_bytes(out.getvalue())
    story = tmp_path / "in" / "s.md"
    story.write_text(
        "# 标题\n\n正文。\n\n![门口](a%20b.png)\n\n![外面](../a.png)\n\n![网上](http://x/a.png)\n"
    )
    found = read_source(story)
    assert Figure(out.getvalue(), (Span("门口"),)) in found.blocks
    assert Paragraph((Span("外面"),)) in found.blocks
    assert len(found.warnings) == 2


def test_the_digest_follows_words_and_pictures(tmp_path: Path) -> None:
    """Another picture under the same name is another story."""
    story = tmp_path / "s.md"
    story.write_text("正文。\n\n![门口](a.png)\n")
    digests = set()
    for colour in ("red", "blue"):
        out = BytesIO()
        Image.new("RGB", (8, 8), colour).save(out, "PNG")
        (tmp_path / "a.png").write_bytes(out.getvalue())
        digests.add(read_source(story).digest)
    assert len(digests) == 2
