"""Any input, whole: no traceback, no lost row, nothing outside the folder; and what a run may ask for."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from redloom.cli import cli
from redloom.endpoint import Made, Outcome, Picture, Ticket
from redloom.engine import Engine, Result, RunOptions
from redloom.errors import BadInput
from redloom.job import OUTCOMES
from redloom.manifest import line_of, put_right, rows_of
from redloom.prompt import Prompt
from redloom.prompt_files import read_prompts
from redloom.testing import FakeProvider, JumpingClock, fake_endpoint, run

NASTY = "ab猫 ,;|\t\n\"'{}[]__:-/\\.~\0é=1"
CELL = st.text(st.sampled_from(NASTY), max_size=14)
ROW = st.fixed_dictionaries(
    {"prompt": CELL, "id": CELL, "folder": CELL, "filename": CELL, "ar": st.sampled_from(["", "3:4", "1x1", "x"]),
     "n": st.sampled_from(["", "2", "0", "x"]), "备注": CELL}
)  # fmt: skip
PATTERNS = st.sampled_from(["", "{id}", "{folder}/{id}", "../{words}", "{备注}/{row}", "{id}/{id}"])


def made(
    folder: Path,
    prompts: list[Prompt],
    options: RunOptions,
    change: Callable[[FakeProvider], None] = lambda _: None,
) -> tuple[list[Result], FakeProvider]:
    """One run on a fresh workspace."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now, seconds=lambda _: 1.0)
    change(provider)

    async def main() -> list[Result]:
        async with Engine(
            workspace=folder / "ws", equipped=[(fake_endpoint(), provider)], clock=clock
        ) as engine:
            return await engine.generate(prompts, out=folder / "o" / "out", options=options)

    return run(main()), provider


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ROW, min_size=1, max_size=6), PATTERNS, st.sampled_from(["jsonl", "csv"]))
def test_every_row_ends_once_inside_the_folder(
    rows: list[dict[str, str]], pattern: str, kind: str
) -> None:
    """From the file to the folder: as many rows as records, each with an outcome, all files inside."""
    with tempfile.TemporaryDirectory() as spare:
        folder = Path(spare)
        path = folder / f"in.{kind}"
        path.write_text(_written(rows, kind), "utf-8")
        try:
            prompts = list(read_prompts(path))
        except BadInput:
            return
        if kind == "jsonl":
            assert len(prompts) == len(rows)
        results, provider = made(folder, prompts, RunOptions(name=pattern))
        assert {one.row for one in results} == set(range(1, len(prompts) + 1))
        wanted = sum(1 if p.problem else p.n * len(p.expanded()) for p in prompts)
        assert len(results) == wanted
        assert {one.status for one in results} <= set(OUTCOMES)
        assert provider.bought_twice() == []
        files = [one.file for one in results if one.status == "ok"]
        assert len({name.casefold() for name in files}) == len(files)
        there = {p.relative_to(folder) for p in folder.rglob("*") if p.is_file()}
        assert all(p.parts[0] in ("ws", "o") or p.name.startswith("in.") for p in there)
        assert not [p for p in there if p.parts[0] == "o" and p.parts[1] != "out"]
        assert all((folder / "o" / "out" / name).is_file() for name in files)


def _written(rows: list[dict[str, str]], kind: str) -> str:
    if kind == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    import csv

    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0])
    writer.writeheader()
    writer.writerows({k: v.replace("\0", "") for k, v in row.items()} for row in rows)
    return out.getvalue()


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(["txt", "csv", "tsv", "jsonl", "json", "xlsx"]),
    st.one_of(st.binary(max_size=60), st.text(st.sampled_from(NASTY), max_size=80).map(str.encode)),
    st.lists(
        st.sampled_from(["--matrix", "--plain", "--name={id}", "--name={x}", "--also=webp", "--also=x", "-oa=1",
                         "-oa", "--ar=3:4", "--size=x", "-n2", "--limit=1", "--seed=5"]), max_size=3, unique=True),
)  # fmt: skip
def test_the_command_never_breaks(suffix: str, data: bytes, words: list[str]) -> None:
    """A dry run of anything ends in 0 or in 2 with a sentence, never in an accident."""
    with tempfile.TemporaryDirectory() as spare:
        path = Path(spare) / f"in.{suffix}"
        path.write_bytes(b"prompt,id\n" + data if suffix in ("csv", "tsv") else data)
        assert _dry_run(Path(spare), path, words) in (0, 2)
        assert list(Path(spare).iterdir()) == [path]


def _dry_run(folder: Path, path: Path, words: list[str]) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDLOOM_HOME", str(folder / "home"))
        patch.setenv("DASHSCOPE_API_KEY", "sk-x")
        patch.chdir(folder)
        with pytest.raises(SystemExit) as ended:
            cli.main(["batch", str(path), "--dry-run", *words])
    return ended.value.code


def shown(colour: str) -> bytes:
    out = io.BytesIO()
    picture = Image.new("RGB", (64, 64), "white")
    if colour != "blank":
        picture.paste(colour, (8, 8, 40, 50))
    picture.save(out, "PNG")
    return out.getvalue()


def painting(provider: FakeProvider) -> None:
    """The service paints what the prompt's first word says."""
    before = provider.poll

    async def poll(ticket: Ticket) -> Outcome:
        outcome = await before(ticket)
        if isinstance(outcome, Made):
            return Made(
                Picture(data=shown(provider.tasks[ticket.id].asked.prompt.split()[0])),
                outcome.times,
            )
        return outcome

    provider.poll = poll  # type: ignore[method-assign]


def test_doubtful_pictures_are_flagged_and_delivered(tmp_path: Path) -> None:
    """Blank, like another row's, not the size asked: ok all the same, with their flags."""
    prompts = [Prompt(w) for w in ("red one", "blank page", "blue two", "red three")]
    prompts.append(Prompt("green four", size="128x128"))
    provider_options = RunOptions()
    results, _ = made(tmp_path, prompts, provider_options, painting)
    assert {one.status for one in results} == {"ok"}
    flags = [one.flags.split() for one in results]
    assert flags[1] == ["blank"]
    assert flags[4] == ["wrong-size"]
    twins = {number for number in (0, 3) if flags[number]}
    assert len(twins) == 1
    (later,) = twins
    assert flags[later] == [f"near-duplicate:{4 if later == 0 else 1}"]
    sidecar = json.loads((tmp_path / "o" / "out" / f"{results[4].file}.json").read_text())
    assert (sidecar["flags"], sidecar["size_wanted"]) == (["wrong-size"], "128x128")


def test_equal_names_never_overwrite(tmp_path: Path) -> None:
    """Two rows of one id under a pattern without the row: both files, the second with its row."""
    prompts = [Prompt("a cat", id="SKU"), Prompt("a dog", id="sku"), Prompt("a fox", id="other")]
    results, _ = made(tmp_path, prompts, RunOptions(name="{id}"))
    names = sorted(one.file for one in results)
    assert len({name.casefold() for name in names}) == 3
    assert sum("-0000" in name for name in names) == 1


def test_variants_are_takes_of_one_row(tmp_path: Path) -> None:
    """Two variants, two pictures each: four takes with their own words, numbered through."""
    prompt = Prompt("red fox", n=2, variants=("red fox", "blue fox"))
    results, provider = made(tmp_path, [prompt, Prompt("x")], RunOptions())
    assert [(one.row, one.take, one.prompt) for one in results[:4]] == [
        (1, 1, "red fox"), (1, 2, "red fox"), (1, 3, "blue fox"), (1, 4, "blue fox"),
    ]  # fmt: skip
    assert provider.billed() == 5


def test_further_files_come_back_too(tmp_path: Path) -> None:
    """A cut and another format lie in folders of their own; what is deleted is put back for free."""
    options = RunOptions(delivery={"also": ["1080x1440.jpg", "webp"], "metadata": False})
    results, _ = made(tmp_path, [Prompt("a cat"), Prompt("a dog")], options)
    out = tmp_path / "o" / "out"
    cut = out / "1080x1440.jpg" / Path(results[0].file).with_suffix(".jpg")
    with Image.open(cut) as picture:
        assert (picture.size, picture.format) == ((1080, 1440), "JPEG")
    assert b"AIGC" in cut.read_bytes()
    assert b"parameters" not in (out / results[0].file).read_bytes()
    shutil.rmtree(out / "webp")
    (out / results[1].file).unlink()

    async def again() -> tuple[int, int]:
        async with Engine(
            workspace=tmp_path / "ws", equipped=[(fake_endpoint(), FakeProvider(lambda: 0.0))]
        ) as engine:
            record = await engine.records.run(results[0].run)
            assert record is not None
            return await asyncio.to_thread(put_right, engine.journal, engine.store, record)

    assert asyncio.run(again()) == (1, 0)
    assert (out / results[1].file).is_file()
    assert len(list((out / "webp").glob("*.webp"))) == 2


def test_folders_of_the_input(tmp_path: Path) -> None:
    """A row's folder is below the run's, whatever it is called."""
    prompts = [
        Prompt("a", folder="页/1"),
        Prompt("b", folder="../../up"),
        Prompt("c", folder="/etc"),
    ]
    results, _ = made(tmp_path, prompts, RunOptions())
    assert [Path(one.file).parent.as_posix() for one in results] == ["页/1", "up", "etc"]


def test_what_was_changed_is_in_the_manifest(tmp_path: Path) -> None:
    """The manifest's line has flags and the input's columns, whoever reads it."""
    results, _ = made(tmp_path, [Prompt("a", extra={"风格": "水彩"})], RunOptions())

    async def lines() -> list[dict[str, object]]:
        async with Engine(
            workspace=tmp_path / "ws", equipped=[(fake_endpoint(), FakeProvider(lambda: 0.0))]
        ) as engine:
            return [line_of(row) for row in rows_of(engine.journal, results[0].run)]

    (line,) = asyncio.run(lines())
    assert (line["风格"], line["flags"], line["status"]) == ("水彩", "", "ok")
