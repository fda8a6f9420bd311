"""RedBookContentGen's names: the report's five scenarios, on the jumping clock, and more."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from redloom.compat import (
    AsyncImageService,
    ImageGenerationResult,
    ImageGenerator,
    read_image_prompts,
)
from redloom.endpoint import Endpoint
from redloom.engine import Engine
from redloom.testing import FakeProvider, JumpingClock, run

PROMPTS: list[dict[str, Any]] = [
    {"prompt": f"测试提示词 {k}", "index": k, "is_cover": k == 0} for k in range(5)
]
CONFIG = {"openai_api_key": "test-key", "image_generation.model": "wanx-v1"}


class Service(AsyncImageService):
    """The service with the one method replaced that a test may replace."""

    def __init__(self, fails: tuple[int, ...] = ()) -> None:
        super().__init__(CONFIG)
        self.fails, self.calls, self.active, self.most = fails, 0, 0, 0

    async def generate_single_image_async(
        self,
        prompt: str,
        index: int = 0,
        is_cover: bool = False,
        size: str | None = None,
        max_retries: int = 3,
    ) -> ImageGenerationResult:
        self.calls += 1
        self.active += 1
        self.most = max(self.most, self.active)
        await asyncio.sleep(60)
        self.active -= 1
        if index in self.fails:
            raise RuntimeError("模拟错误")
        return ImageGenerationResult(
            True, f"https://e.invalid/{index}", None, prompt, index, is_cover
        )


async def serial(service: AsyncImageService) -> float:
    """Nominal seconds for the five pictures one after another."""
    began = asyncio.get_running_loop().time()
    for one in PROMPTS:
        await service.generate_single_image_async(one["prompt"], one["index"], one["is_cover"])
    return asyncio.get_running_loop().time() - began


async def parallel(service: AsyncImageService, at_once: int = 3) -> float:
    """Nominal seconds for the five pictures at ``at_once``."""
    began = asyncio.get_running_loop().time()
    results = await service.generate_batch_images_async(prompts=PROMPTS, max_concurrent=at_once)
    assert [r.index for r in results] == [0, 1, 2, 3, 4]
    return asyncio.get_running_loop().time() - began


def test_serial_time() -> None:
    """Five pictures of a minute each, one after another: five minutes."""
    assert round(run(serial(Service()))) == 300


def test_parallel_time() -> None:
    """Three at once: two minutes, as the report says."""
    assert round(run(parallel(Service()))) == 120


def test_comparison() -> None:
    """The report's headline: 60 % less."""
    assert 1 - run(parallel(Service())) / run(serial(Service())) >= 0.59


def test_isolation() -> None:
    """The third fails, even by an exception; the others are delivered in order."""

    async def main() -> list[ImageGenerationResult]:
        return await Service(fails=(2,)).generate_batch_images_async(PROMPTS, max_concurrent=3)

    results = run(main())
    assert [r.success for r in results] == [True, True, False, True, True]
    assert results[2].error == "模拟错误"


def test_concurrency_cap() -> None:
    """Never more than three at once, and one call each."""

    async def main() -> Service:
        service = Service()
        await service.generate_batch_images_async(PROMPTS, max_concurrent=3)
        return service

    service = run(main())
    assert service.most == 3
    assert service.calls == 5


def on_engine(
    tmp_path: Path, provider: FakeProvider, clock: JumpingClock, **config: Any
) -> AsyncImageService:
    """The real service on an engine with the fake provider."""
    endpoint = Endpoint("dashscope", "fake", "wanx-v1", "fake://x", account="a")
    return AsyncImageService(
        {**CONFIG, **config},
        engine=lambda: Engine(
            workspace=tmp_path / "ws", equipped=[(endpoint, provider)], clock=clock
        ),
    )


def test_it_runs_on_the_engine(tmp_path: Path) -> None:
    """Pictures with links and verified files; a failing watcher breaks nothing; a repeat is free."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now)
    seen: list[tuple[int, int]] = []

    def progress(done: int, total: int, result: ImageGenerationResult) -> None:
        seen.append((done, total))
        raise ValueError("a watcher's own trouble")

    async def main() -> list[ImageGenerationResult]:
        service = on_engine(tmp_path, provider, clock)
        await service.generate_batch_images_async(PROMPTS, 3, progress)
        return await service.generate_batch_images_async(PROMPTS)

    results = run(main())
    assert all(r.success and r.path and Path(r.path).exists() for r in results)
    assert provider.billed() == 5
    assert seen == [(k, 5) for k in range(1, 6)]
    assert provider.most_at_once <= 3


def test_the_wait_ends_and_the_picture_is_not_lost(tmp_path: Path) -> None:
    """After max_wait_time the caller hears of it; asked again it comes without another purchase."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now, seconds=lambda _p: 500.0)

    async def main() -> tuple[ImageGenerationResult, ImageGenerationResult]:
        service = on_engine(tmp_path, provider, clock, **{"image_generation.max_wait_time": 180})
        first = await service.generate_single_image_async("slow")
        service.max_wait_time = 1000
        return first, await service.generate_single_image_async("slow")

    first, second = run(main())
    assert not first.success
    assert "180" in (first.error or "")
    assert second.success
    assert provider.submits == 1


def test_no_key_is_a_result_and_no_exception(tmp_path: Path) -> None:
    """Without a key the result says what to do; nothing is raised."""
    result = run(AsyncImageService({}).generate_single_image_async("x"))
    assert not result.success
    assert "DASHSCOPE_API_KEY" in (result.error or "")


def test_prompts_are_cleaned_as_before() -> None:
    """--ar, --v and --style go; the words stay."""
    service = AsyncImageService(CONFIG)
    assert service._clean_prompt("故宫 --ar 3:4 --v 6.1 --style raw") == "故宫"


def test_image_prompts_files_are_read() -> None:
    """Cover and numbered pictures by their labels, or one a paragraph."""
    text = "封面：红墙\n\n图1: 胡同\n图2：槐树\n\n"
    assert [(p["index"], p["is_cover"], p["prompt"]) for p in read_image_prompts(text)] == [
        (0, True, "红墙"),
        (1, False, "胡同"),
        (2, False, "槐树"),
    ]
    assert [p["prompt"] for p in read_image_prompts("a cat\n\na dog")] == ["a cat", "a dog"]


class AtOnce(Service):
    """A service that answers at once."""

    async def generate_single_image_async(
        self, prompt: str, *_more: Any, **_how: Any
    ) -> ImageGenerationResult:
        await asyncio.sleep(0)
        return ImageGenerationResult(True, f"https://e.invalid/{prompt}")


def test_the_serial_class_works_where_a_loop_runs_already() -> None:
    """In a notebook's cell or an ``async def`` of a web program: it waits beside that loop."""
    generator = ImageGenerator(CONFIG)
    generator.service = AtOnce()

    async def cell() -> str | None:
        return generator.generate_single_image("cat")

    assert asyncio.run(cell()) == "https://e.invalid/cat"
    assert generator.generate_single_image("cat") == "https://e.invalid/cat"
