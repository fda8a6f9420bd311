"""File names: safe on every file system, in input order, never outside their folder."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from redloom.naming import SLUG_BYTES, file_name, named_file, slug, told_apart, with_row

RESERVED = re.compile(r"(?i)^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])$")
nasty = st.text(
    st.characters() | st.sampled_from('\\/:*?"<>|. _-\0\u202e\u2066\u200d\ufeff中文🎏\ud800'),
    max_size=120,
) | st.sampled_from(["con", "NUL.txt", "../../etc/passwd", "..", "lpt1 .x", "CONIN$", "a_2"])


@given(nasty)
def test_slug_is_a_safe_name(words: str) -> None:
    """Whatever the words, a slug holds nothing that any file system or terminal trips over."""
    made = slug(words)
    assert len(made.encode()) <= SLUG_BYTES
    assert not re.search(r'[\\/:*?"<>|\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]', made)
    assert made == made.strip(" .-_")
    assert not RESERVED.match(made.split(".")[0].strip())
    assert not re.search(r"_\d+$", made)


@given(nasty)
def test_slug_of_a_slug_is_itself(words: str) -> None:
    """A slug is stable, so that a name made twice is the same name."""
    assert slug(slug(words)) == slug(words)


@given(nasty, st.integers(1, 99_999), st.integers(1, 9), st.sampled_from(["png", "jpeg", "webp"]))
def test_file_name_stays_inside(prompt: str, row: int, take: int, kind: str) -> None:
    """A name is relative, at most one folder deep, and short enough for ext4."""
    name = file_name(row, take, 9, 99_999, prompt, kind)
    assert not name.is_absolute()
    assert len(name.parts) == 2
    assert ".." not in name.parts
    assert len(name.name.encode()) < 120


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 4), nasty), unique_by=lambda r: r[:2]))
def test_file_names_differ(wanted: list[tuple[int, int, str]]) -> None:
    """Different (row, take) never share a name, whatever their prompts, even without case."""
    names = [file_name(row, take, 4, 50, prompt, "png") for row, take, prompt in wanted]
    assert len({str(name).casefold() for name in names}) == len(names)


def test_file_name_examples() -> None:
    """The shapes that the contract promises."""
    assert str(file_name(1, 1, 1, 9, "a red scarf", "png")) == "00001-a-red-scarf.png"
    assert str(file_name(1, 2, 2, 9, "胡同里的猫", "jpeg")) == "00001-胡同里的猫_2.jpg"
    assert str(file_name(7, 1, 2, 9, "", "webp")) == "00007.webp"
    assert str(file_name(1001, 1, 1, 1001, "x", "png")) == "01001-02000/01001-x.png"
    assert file_name(1, 1, 1, 1_234_567, "x", "png").name == "0000001-x.png"


def test_names_sort_in_row_order() -> None:
    """A folder listing shows a run in the order of its input."""
    names = [str(file_name(row, 1, 1, 4321, "p", "png")) for row in range(1, 4322)]
    assert names == sorted(names)


def test_long_chinese_prompt_is_cut_between_characters() -> None:
    """80 bytes hold 26 Chinese characters and never half of one."""
    assert slug("画" * 500) == "画" * 26


NASTY = st.text(st.sampled_from("ab/\\.. :*{}~\0猫\n_1"), max_size=20)


@given(
    st.text(st.sampled_from("{}rowtakeid/.\\_-猫 "), max_size=30),
    NASTY,
    NASTY,
    st.integers(1, 10**6),
)
def test_no_pattern_leads_out(pattern: str, value: str, folder: str, row: int) -> None:
    """Whatever the pattern and the values, the name is relative and never goes up."""
    values = {"id": value, "words": value}
    name = named_file(pattern, values, row, 2, 3, 10**6, "png", folder)
    assert not name.is_absolute()
    assert ".." not in name.parts
    assert name.suffix == ".png"
    assert all(part.strip(". ") and len(part.encode()) < 256 for part in name.parts)


def test_patterns() -> None:
    """Fields, folders, takes; what comes to nothing is the row."""

    def made(pattern: str, take: int = 1, total: int = 9, **values: str) -> str:
        return named_file(
            pattern, values, 7, take, 2, total, "jpeg", values.get("folder", "")
        ).as_posix()

    assert made("{id}-{words}", id="A/1", words="红 伞") == "A-1-红-伞.jpg"
    assert made("{id}", take=2, id="A") == "A_2.jpg"
    assert made("{row}_{take}", take=2) == "00007_2.jpg"
    assert made("{nothing}") == "00007.jpg"
    assert made("{row}", folder="页/1") == "页/1/00007.jpg"
    assert made("{row}", total=5000) == "00001-01000/00007.jpg"
    assert made("{id}/{row}", total=5000, id="A") == "A/00007.jpg"
    assert told_apart("{id}/{row}")
    assert not told_apart("{row}/{id}")
    assert with_row(Path("a/b.jpg"), 7) == Path("a/b-00007.jpg")
