"""Prompt files of every kind are read whole, in order, and never end in a traceback."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redloom.errors import BadInput
from redloom.job import request_of
from redloom.prompt import Prompt, place_of
from redloom.prompt_files import digest_of, kind_of, read_prompts

NASTY = '编号,提示词,尺寸,数量,风格\r\n1,"一只猫,""胖""\r\n坐在{风格}里",768*1024,2,水彩\r\n,,,,\r\n2,,1x1,1,油画\r\n3,海,3:4,x,油\r\n4,a,b,1,c,d\r\n5,雨巷,3:4,,=1+1\r\n'


def read(path: Path, **how: bool) -> list[Prompt]:
    return list(read_prompts(path, **how))


def written(folder: Path, name: str, data: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_text_lines_without_blanks_and_comments(tmp_path: Path) -> None:
    """Blank lines and comments are no records; the others keep their line numbers."""
    path = written(tmp_path, "a.txt", "# note\n\n一只猫\n// more\n  a fox  \n")
    assert [(p.text, p.line) for p in read(path)] == [("一只猫", 3), ("a fox", 5)]


def test_separators_make_passages(tmp_path: Path) -> None:
    """With --- in the file a prompt may have several lines."""
    path = written(tmp_path, "a.txt", "one\ntwo\n---\n\n---\n# no\nthree\n")
    assert [p.text for p in read(path)] == ["one\ntwo", "three"]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "gb18030", "gbk"]
)
def test_a_nasty_table_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    """What Excel in China saves is read: quotes, commas, line breaks, blank and broken rows."""
    rows = read(written(tmp_path, "a.csv", NASTY.encode(encoding)))
    assert [p.id for p in rows] == ["1", "2", "3", "", "5"]
    assert rows[0].text == '一只猫,"胖"\r\n坐在水彩里'
    assert (rows[0].n, rows[0].size) == (2, "768*1024")
    assert [bool(p.problem) for p in rows] == [False, True, True, True, False]
    assert rows[4].extra == {"风格": "=1+1"}


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_other_delimiters_and_declared_ones(tmp_path: Path, mark: str) -> None:
    """Semicolons and tabs are found out; ``sep=`` is not a record."""
    text = f"prompt{mark}n\n猫{mark}3\n"
    assert read(written(tmp_path, "a.csv", text))[0].n == 3
    assert read(written(tmp_path, "b.csv", f"sep={mark}\n{text}"))[0].n == 3


def test_one_column_without_a_name_is_a_list(tmp_path: Path) -> None:
    """A table of one column needs no header."""
    assert [p.text for p in read(written(tmp_path, "a.csv", "猫\n狗\n"))] == ["猫", "狗"]


def test_a_table_without_prompts_is_refused(tmp_path: Path) -> None:
    """A header that names no prompt column stops everything, naming what there is."""
    with pytest.raises(BadInput, match="colour"):
        read(written(tmp_path, "a.csv", "colour,n\nred,1\n"))


def test_a_workbook(tmp_path: Path) -> None:
    """Cells of .xlsx come as text; the sheet with prompts is found."""
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.append(["notes"])
    sheet = book.create_sheet("列表")
    for row in (["提示词", "seed", "数量"], ["一只猫", 7.0, 2], [None, None, None], ["", 1, 1]):
        sheet.append(row)
    book.save(tmp_path / "a.xlsx")
    rows = read(tmp_path / "a.xlsx")
    assert [(p.text, p.seed, p.n, bool(p.problem)) for p in rows] == [
        ("一只猫", 7, 2, False),
        ("", None, 1, True),
    ]


def test_json_lines_and_batch_lines(tmp_path: Path) -> None:
    """Unknown keys are kept; OpenAI Batch lines load; a broken line is one invalid row."""
    lines = [
        json.dumps({"custom_id": "x", "method": "POST", "body": {"prompt": "hi", "n": 2}}),
        '{"prompt": "a", "mood": {"k": 1}}', '"words"', "{", "[1]", '{"prompt": "\\ud800"}', "9" * 5000, "[" * 3000,
    ]  # fmt: skip
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress("\n".join(lines).encode()))
    rows = read(packed)
    assert (rows[0].id, rows[0].n, rows[1].extra, rows[2].text) == (
        "x",
        2,
        {"mood": '{"k": 1}'},
        "words",
    )
    assert [bool(p.problem) for p in rows] == [False] * 3 + [True, True, False, True, True]


def test_task_lists(tmp_path: Path) -> None:
    """A list or {"tasks": …} loads, prompt files included; a reference must be there."""
    written(tmp_path, "p.md", "from a file")
    tasks = {
        "tasks": [
            {"id": "1", "promptFiles": ["p.md"], "ar": "3:4"},
            {"prompt": "x", "ref": ["none.png"]},
            3,
        ]
    }
    rows = read(written(tmp_path, "a.json", json.dumps(tasks)))
    assert (rows[0].text, rows[0].size) == ("from a file", "3:4")
    assert [bool(p.problem) for p in rows] == [False, True, True]


def test_flags_are_understood_or_set_aside(tmp_path: Path) -> None:
    """Midjourney's and A1111's flags become settings; what means nothing is kept, not sent."""
    text = 'a fox --ar 3:4 in snow --v 6 --no text, hands\n--prompt "a \\"b\\"" --negative_prompt "x" --seed 1 --width 768 --height 512 --steps 9\n'
    first, second = read(written(tmp_path, "a.txt", text))
    assert (first.text, first.size, first.negative) == ("a fox in snow", "3:4", "text, hands")
    assert first.extra["ignored_flags"] == "--v 6"
    assert (second.text, second.size, second.seed, second.negative) == ('a "b"', "768x512", 1, "x")
    plain = read(tmp_path / "a.txt", plain=True)[0]
    assert plain.text == text.splitlines()[0]


def test_templates_draw_the_same_again(tmp_path: Path) -> None:
    """Choices and lists are drawn by row and words; an unknown column is a mistake, not sent."""
    (tmp_path / "wildcards").mkdir()
    written(tmp_path / "wildcards", "colour.txt", "red\n# no\nblue\n")
    path = written(
        tmp_path,
        "a.csv",
        "prompt,who\n{a|b} __colour__ {who},cat\n{whom},x\n__none__,x\n\\{who\\},x\n",
    )
    rows = read(path)
    assert rows == read(path)
    assert rows[0].text.split()[0] in "ab"
    assert rows[0].text.split()[1:] in (["red", "cat"], ["blue", "cat"])
    assert [bool(p.problem) for p in rows] == [False, True, True, False]
    assert rows[3].text == "{who}"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.xlsx", b"no zip"), ("b.xlsx", b"PK\x03\x04broken"), ("a.xls", b"\xd0\xcf\x11\xe0rest"),
        ("a.json", b"{"), ("b.json", b"3"), ("a.txt", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\xff\xff"),
        ("a.jsonl.gz", b"no gzip"), ("b.jsonl.gz", gzip.compress(b"{}" * 999, mtime=0)[:-9]),
    ],
)  # fmt: skip
def test_a_broken_file_is_refused_as_a_whole(tmp_path: Path, name: str, data: bytes) -> None:
    """What is no prompt file says so in a sentence."""
    with pytest.raises(BadInput):
        read(written(tmp_path, name, data))


def test_what_is_too_long_or_too_many_is_one_invalid_row(tmp_path: Path) -> None:
    """A prompt of a megabyte and a count of a million are not asked for."""
    rows = read(
        written(tmp_path, "a.csv", f"prompt,n\n{'x' * 1_000_000},1\nb,1000000\nc,0\nd,1.0\n")
    )
    assert [bool(p.problem) for p in rows] == [True, True, True, False]


def test_reading_is_lazy(tmp_path: Path) -> None:
    """The first prompt of an endless table comes at once."""
    path = written(tmp_path, "a.csv", "prompt\n" + "x\n" * 200_000)
    found: Iterator[Prompt] = read_prompts(path)
    assert [p.line for p in itertools.islice(found, 2)] == [2, 3]


def test_the_digest_tells_input_and_options_apart(tmp_path: Path) -> None:
    """The same again has the same digest; another byte or option has another."""
    path = written(tmp_path, "a.txt", "x")
    one = digest_of(path, {"n": 1, "size": ""})
    assert one == digest_of(path, {"size": "", "n": 1})
    assert one != digest_of(path, {"size": "", "n": 2})
    assert one != digest_of(written(tmp_path, "a.txt", "y"), {"n": 1, "size": ""})


SUFFIXES = st.sampled_from(["txt", "csv", "tsv", "jsonl", "json", "xlsx", "jsonl.gz"])
TEXTS = st.text(st.sampled_from("ab猫\",;\t\r\n{}|_-<>:\\'=0x\ud83d\0é"), max_size=60)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    suffix=SUFFIXES,
    data=st.one_of(
        st.binary(max_size=80), TEXTS.map(lambda t: ("prompt,n\n" + t).encode("utf-8", "ignore"))
    ),
)
def test_nothing_ends_in_a_traceback(tmp_path: Path, suffix: str, data: bytes) -> None:
    """Whatever the bytes, there are prompts that can be stored, or one BadInput."""
    path = written(tmp_path, f"fuzz.{suffix}", data)
    try:
        rows = read(path)
    except BadInput:
        return
    for prompt in rows:
        prompt.text.encode()
        assert prompt.problem or prompt.text.strip()
        assert prompt.n >= 1


def test_the_kind_follows_the_content(tmp_path: Path) -> None:
    """A workbook that is called .csv is still a workbook; JSON lines on stdin are found out."""
    assert kind_of(written(tmp_path, "a.csv", b"PK\x03\x04")) == "xlsx"
    assert kind_of(written(tmp_path, "a.stdin", b'{"prompt": 1}')) == "jsonl"


def test_a_batch_line_of_openai_keeps_its_settings(tmp_path: Path) -> None:
    """custom_id, prompt, n, size and model are ours; quality and the like go to the endpoint."""
    body = {
        "model": "gpt-image-1",
        "prompt": "a fox",
        "n": 2,
        "size": "1024x1024",
        "quality": "high",
    }
    line = {"custom_id": "k", "method": "POST", "url": "/v1/images/generations", "body": body}
    (one,) = read(written(tmp_path, "a.jsonl", json.dumps(line) + "\n"))
    assert (one.id, one.text, one.n, one.size, one.model) == (
        "k",
        "a fox",
        2,
        "1024x1024",
        "gpt-image-1",
    )
    assert one.options == {"quality": "high"}
    assert one.extra == {}


def test_options_of_a_row(tmp_path: Path) -> None:
    """A column of JSON objects is the endpoint's own options; other words in it are a column."""
    rows = read(written(tmp_path, "a.csv", 'prompt,options\na,"{""steps"": 9}"\nb,x;y\n'))
    assert [one.options for one in rows] == [{"steps": 9}, {}]
    assert rows[1].extra == {"options": "x;y"}


def test_a_matrix_is_one_row(tmp_path: Path) -> None:
    """Its variants are pictures of the row; what was written is kept beside them."""
    path = written(tmp_path, "a.txt", "[[red, blue]] fox --ar 3:4\nplain\n")
    first, second = read(path)
    assert first.variants == ("red fox", "blue fox")
    assert first.size == "3:4"
    assert first.extra["template"].startswith("[[red")
    assert second.variants == ()
    assert next(read_prompts(path, plain=True)).variants == ()
    assert len(next(read_prompts(written(tmp_path, "b.txt", "a|b"), matrix=True)).variants) == 2


def test_a_column_goes_by_any_of_its_names(tmp_path: Path) -> None:
    """``{编号}`` is the column as it is written, ``{id}`` the same by our name."""
    (one,) = read(written(tmp_path, "a.csv", "编号,提示词,尺寸\n7,第{编号}号 {id} {尺寸},3:4\n"))
    assert one.text == "第7号 7 3:4"


def test_references_count_by_their_bytes(tmp_path: Path) -> None:
    """Another file under the same name is another picture, the same bytes elsewhere are not."""
    (tmp_path / "b").mkdir()
    keys = []
    for folder, data in ((tmp_path, b"one"), (tmp_path / "b", b"one"), (tmp_path, b"two")):
        (folder / "r.png").write_bytes(data)
        (one,) = read(written(folder, "a.csv", "prompt,ref\na,r.png\n"))
        assert place_of(one.references[0]) == str((folder / "r.png").resolve())
        keys.append(request_of(one).key)
    assert keys[0] == keys[1] != keys[2]
    (gone,) = read(written(tmp_path, "a.csv", "prompt,ref\na,no such.png\n"))
    assert "no such.png" in gone.problem
