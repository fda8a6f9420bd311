"""Logs: one line of JSON a record, and never a secret in it."""

from __future__ import annotations

import io
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redloom.logs import masked, set_up

KEYS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456789", min_size=16, max_size=40)


@given(KEYS)
def test_no_key_gets_out(key: str) -> None:
    """As a header, a vendor's key, a signed link, a password in an address."""
    for text in (
        f"Authorization: Bearer {key}", f"sk-{key}", f"api_key={key}", f"token: {key}",
        f"https://x.example/a.png?Signature={key}", f"http://user:{key}@proxy.example",
    ):  # fmt: skip
        assert key not in masked(text)
        assert masked(masked(text)) == masked(text)


def test_json_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """REDLOOM_LOG=json: level, logger, message, error; without it nothing is set up."""
    assert set_up() is None
    monkeypatch.setenv("REDLOOM_LOG", "json")
    out = io.StringIO()
    handler = set_up(stream=out)
    assert handler is not None
    logger = logging.getLogger("redloom")
    try:
        raise ValueError("sk-abcdefghijkl went wrong")
    except ValueError:
        logger.warning("row %s", 7, exc_info=True)
    finally:
        logger.removeHandler(handler)
    line = json.loads(out.getvalue())
    assert (line["level"], line["logger"], line["message"]) == ("warning", "redloom", "row 7")
    assert "abcdefghijkl" not in line["error"]
