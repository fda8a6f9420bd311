"""Which encoding a file is in."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redloom.encodings import encoding_of, is_file, open_text
from redloom.errors import BadInput

CHINESE = st.text(st.sampled_from("一只红色的猫在雨巷里，。abc 123\n"), min_size=4, max_size=200)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHINESE, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030"]))
def test_text_comes_back_as_written(tmp_path: Path, text: str, encoding: str) -> None:
    """UTF-8 and marked files always read back; GB18030 does where it cannot be UTF-8 as well."""
    path = tmp_path / "t.txt"
    text += "，"  # some pairs of GBK bytes alone are UTF-8 as well, such as those of 一
    path.write_bytes(text.encode(encoding))
    with open_text(path) as file:
        assert file.read() == text


def test_a_character_across_blocks(tmp_path: Path) -> None:
    """A file of megabytes is judged whole, characters cut by a block's end included."""
    path = tmp_path / "t.txt"
    path.write_bytes(("a" + "猫" * 1_000_000).encode())
    assert encoding_of(path) == "utf-8"
    path.write_bytes(("a" * 2_000_001 + "猫，").encode("gb18030"))
    assert encoding_of(path) == "gb18030"


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff", b"\xef\xbb\xbf\xff", b"\x00\x01\x02\x03\x00", b"\xff\xfea"]
)
def test_what_is_no_text_is_refused(tmp_path: Path, data: bytes) -> None:
    """No character is dropped to make a file readable."""
    path = tmp_path / "t.txt"
    path.write_bytes(data)
    with pytest.raises(BadInput):
        open_text(path)


def test_a_name_that_no_file_can_have_is_that_of_none(tmp_path: Path) -> None:
    """Too long for the file system, or with a null in it: there is no such file, and no error."""
    for name in ("a" * 5000, "a\0b", "a" * 300 + ".txt"):
        assert not is_file(tmp_path / name)
