"""Softening: only where allowed, once, with the user's own words kept beside the milder ones."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from redloom.clock import SystemClock
from redloom.emulators.dashscope import DashScopeEmulator, Emulated
from redloom.endpoint import Asked
from redloom.engine import Engine, Result, RunOptions
from redloom.errors import ContentRefused, Refused, ServiceError
from redloom.manifest import line_of, rows_of
from redloom.note.chat import Chat
from redloom.soften import Softener
from redloom.testing import FakeProvider, Fate, JumpingClock, fake_endpoint, picture_of, run


def script(asked: Asked, _number: int) -> Fate | ServiceError:
    """Refuses what is bloody."""
    if "bloody" in asked.prompt:
        return ContentRefused("不合规", "not allowed", service_code="DataInspectionFailed")
    return "made"


async def milder(prompt: str, reason: str) -> str:
    assert "not allowed" in reason or "不合规" in reason
    return prompt.replace("bloody", "red")


async def unwilling(_prompt: str, _reason: str) -> str:
    raise Refused("不行", "no")


def made(folder: Path, soften: object, allowed: bool, *, again: bool = False) -> list[Result]:
    """One bloody and one plain row; ``again`` takes the refused one up once more, softening."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now, script=script)

    async def main() -> list[Result]:
        engine = Engine(
            workspace=folder / "ws", equipped=[(fake_endpoint(), provider)], clock=clock,
            soften=soften,  # type: ignore[arg-type]
        )  # fmt: skip
        async with engine:
            prompts, options = ["a bloody scarf", "a cat"], RunOptions(soften=allowed)
            results = await engine.generate(prompts, out=folder / "o", options=options)
            if again:
                await engine.retry(results[0].run, soften=True)
                results = [one async for one in engine.follow(results[0].run)]
                results.sort(key=lambda one: one.row)
            rows = [line_of(row) for row in rows_of(engine.journal, results[0].run)]
            (folder / "rows.json").write_text(json.dumps(rows))
            return results

    return run(main())


@pytest.mark.parametrize("again", [False, True])
def test_a_refused_prompt_is_asked_for_in_milder_words(tmp_path: Path, again: bool) -> None:
    """The picture is the milder words'; manifest and sidecar keep both; the doubt is flagged."""
    results = made(tmp_path, milder, allowed=not again, again=again)
    assert [one.status for one in results] == ["ok", "ok"]
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert (rows[0]["prompt"], rows[0]["sent_prompt"]) == ("a bloody scarf", "a red scarf")
    assert "softened" in rows[0]["flags"].split()
    assert "sent_prompt" not in rows[1]
    sidecar = json.loads((tmp_path / "o" / f"{rows[0]['file']}.json").read_text())
    assert (sidecar["prompt"], sidecar["sent_prompt"]) == ("a bloody scarf", "a red scarf")
    assert results[0].path is not None
    from PIL import Image

    with Image.open(results[0].path) as there:
        pixels = there.tobytes()
    (tmp_path / "x.png").write_bytes(picture_of("a red scarf"))
    with Image.open(tmp_path / "x.png") as wanted:
        assert pixels == wanted.tobytes()


def test_never_unless_asked(tmp_path: Path) -> None:
    """Without the run's leave a refused prompt stays refused and is not rewritten."""
    assert [one.status for one in made(tmp_path, milder, allowed=False)] == ["refused", "ok"]


def test_what_cannot_be_softened_is_refused_and_says_why(tmp_path: Path) -> None:
    """A model that declines, or words that are refused again: refused, the run goes on."""
    declined = made(tmp_path / "a", unwilling, allowed=True)
    assert [one.status for one in declined] == ["refused", "ok"]
    assert "DataInspectionFailed" in declined[0].code

    async def no_better(prompt: str, _reason: str) -> str:
        return f"very {prompt}"

    refused = made(tmp_path / "b", no_better, allowed=True)
    assert [one.status for one in refused] == ["refused", "ok"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [('{"prompt": "a red scarf"}', "a red scarf"), ('{"prompt": ""}', None), ("no json", None)],
)
def test_the_model_is_asked_in_json(answer: str, words: str | None) -> None:
    """Prompt and reason go out, the new words come back; anything else is a refusal."""
    asked: list[str] = []

    def chat(body: dict[str, object]) -> str:
        asked.append(json.dumps(body, ensure_ascii=False))
        return answer

    async def main() -> str:
        emulator = DashScopeEmulator(Emulated(chat=chat), SystemClock())
        url = await emulator.start()
        try:
            base = url.replace("/api/v1", "/compatible-mode/v1")
            return await Softener(Chat("sk-emulated", SystemClock(), base_url=base))(
                "bloody", "why"
            )
        finally:
            await emulator.stop()

    if words is None:
        with pytest.raises(Refused):
            asyncio.run(main())
    else:
        assert asyncio.run(main()) == words
    assert "bloody" in asked[0]
    assert "why" in asked[0]
