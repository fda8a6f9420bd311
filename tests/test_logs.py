"""Logs: one line of JSON a record, and never a secret in it."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.desk import engine
from redloom.errors import Refused
from redloom.logs import FILE, LARGEST, keep, masked, narrate, set_up
from redloom.testing import FakeProvider, JumpingClock, fake_endpoint, run

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


def test_verbose_shows_every_step_and_quiet_nothing(tmp_path: Path) -> None:
    """--verbose: DEBUG on standard error; nothing asked for: nothing there, and no handler twice."""
    out = io.StringIO()
    logger = logging.getLogger("redloom")
    try:
        set_up(verbose=True, stream=out)
        set_up(verbose=True, stream=out)
        keep(tmp_path / "logs")
        logger.debug("a step")
        assert out.getvalue().count("a step") == 1
        assert set_up() is None
        logger.debug("another step")
        assert "another" not in out.getvalue()
        assert not (tmp_path / "logs").exists()
    finally:
        forget()


def test_warnings_are_kept_private_and_turned_over(tmp_path: Path) -> None:
    """The workspace's log: 0600, masked, put aside when it is large; a full disk is no accident."""
    logger = logging.getLogger("redloom")
    try:
        keep(tmp_path / "logs")
        logger.info("not worth keeping")
        logger.warning("refused: sk-abcdefghijklmnop")
        kept = tmp_path / "logs" / FILE
        assert "sk-***" in kept.read_text("utf-8")
        assert "worth" not in kept.read_text("utf-8")
        assert kept.stat().st_mode & 0o777 == 0o600
        kept.write_bytes(b"x" * (LARGEST + 1))
        keep(tmp_path / "logs")
        logger.warning("anew")
        assert kept.read_text("utf-8").endswith("anew\n")
        assert (tmp_path / "logs" / f"{FILE}.1").stat().st_size == LARGEST + 1
        (tmp_path / "file").touch()
        keep(tmp_path / "file")
        logger.warning("nowhere to go")
    finally:
        forget()


def test_a_server_shows_warnings_without_being_asked() -> None:
    """``always``: a server's warnings are seen, also those of its libraries."""
    out = io.StringIO()
    try:
        set_up(always=True, names=("redloom", "uvicorn"), stream=out)
        logging.getLogger("uvicorn.error").warning("a bad request")
        logging.getLogger("redloom.studio").info("a good one")
        assert "a bad request" in out.getvalue()
        assert "good" not in out.getvalue()
    finally:
        set_up(names=("redloom", "uvicorn"))
        forget()


def test_a_run_told_in_lines(tmp_path: Path) -> None:
    """Each event has its line, codes among them; prompts and what services say are in none."""
    out = io.StringIO()
    clock = JumpingClock()
    no = Refused("secret words 2", "secret words 2")
    fake = FakeProvider(clock.now, script=lambda asked, _number: no if "2" in asked.prompt else "made")  # fmt: skip

    async def go() -> None:
        async with engine(tmp_path, (fake_endpoint(), fake), clock=clock) as one:
            one.stream_of_events.watch(narrate)
            await one.generate(["secret words 1", "secret words 2"])
            await one.stream_of_events.drain()

    try:
        set_up(verbose=True, stream=out)
        run(go())
    finally:
        set_up()
    told = out.getvalue()
    assert "secret" not in told
    for part in ("started run", "submitted run", "worked run", "done run", "[refused]"):  # fmt: skip
        assert part in told


def forget() -> None:
    """Take down what a test has put up."""
    logger = logging.getLogger("redloom")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(logging.NOTSET)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
def test_a_full_disk_under_the_log_is_no_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The line is lost; nothing is thrown into the terminal, and nothing stops."""
    logger = logging.getLogger("redloom")
    keep(tmp_path)
    handler = next(one for one in logger.handlers if isinstance(one, logging.FileHandler))
    handler.stream = Path("/dev/full").open("a", encoding="utf-8")  # noqa: SIM115
    logger.warning("words that find no room")
    keep(tmp_path)  # the earlier handler is taken off, its words still in hand
    for ours in [one for one in logger.handlers if isinstance(one, logging.FileHandler)]:
        logger.removeHandler(ours)
    assert capfd.readouterr().err == ""
