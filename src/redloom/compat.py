"""RedBookContentGen's names on this engine: `AsyncImageService`, `ImageGenerator`.

The interface is the old one, with its defaults (3 at once, 180 s, 3 retries); underneath are the
journal, the cache, the pacing and the verified downloads. What the old code did and this does
not: rewrite a prompt behind its author's back after moderation, and buy a picture twice.

May import: everything on the way, engine, settings, config_manager.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from .engine import Engine, Result, RunOptions
from .errors import BadInput, BadSettings
from .events import Event, Running
from .image import write_whole
from .prompt import Prompt

NEGATIVE = (
    "nsfw, text, watermark, username, signature, logo, worst quality, low quality, normal quality, "
    "lowres, bad anatomy, bad hands, missing fingers, extra digit, fewer digits, cropped, "
    "jpeg artifacts, blurry"
)
COVER_NEGATIVE = (
    "乱码文字，错误汉字，无法识别的字符，文字模糊，文字扭曲，文字重叠，非标准汉字，错别字，"
    "文字不清晰，字符遗漏，文字不完整，缺少汉字"
)
_FLAGS = re.compile(r"--(?:ar\s*\d+:\d+|v\s*\d+(?:\.\d+)?|style\s+\w+)")
DEFAULT_MODEL = "wan2.6-t2i"
T = TypeVar("T")


class Config(Protocol):
    """What is asked of a configuration: `ConfigManager`, or anything with its ``get``."""

    def get(self, key: str, default: Any = None) -> Any:
        """The value under a dotted key."""


@dataclass
class ImageGenerationResult:
    """One picture's outcome, in the old shape."""

    success: bool
    """Whether there is a picture."""
    image_url: str | None = None
    """The service's own link; it expires after a day."""
    error: str | None = None
    """Why there is none, as a sentence."""
    prompt: str = ""
    """The words as asked."""
    index: int = 0
    """The caller's own number."""
    is_cover: bool = False
    """Whether the caller asked for a cover."""
    retry_count: int = 0
    """Tries after the first."""
    path: str | None = None
    """The verified file."""
    task_id: str = ""


Progress = Callable[[int, int, ImageGenerationResult], Awaitable[None] | None]
MakeEngine = Callable[[], Engine]


class AsyncImageService:
    """Pictures in parallel, one's failure isolated from the rest.

    ``config``: a ``ConfigManager`` or a mapping with its keys. ``engine`` makes the engine to
    work with (tests); by default it is made from the configuration at the first picture.
    """

    def __init__(
        self, config: Config | Mapping[str, Any], *, engine: MakeEngine | None = None
    ) -> None:
        self.config_manager: Config = _Dotted(config) if isinstance(config, Mapping) else config
        get = self.config_manager.get
        self.image_model = str(get("image_generation.model", "") or DEFAULT_MODEL)
        self.default_size = str(get("image_generation.size", "") or "1024*1365")
        self.max_concurrent = int(get("image_generation.max_concurrent", 3) or 3)
        self.max_wait_time = float(get("image_generation.max_wait_time", 180) or 180)
        self.poll_interval = float(get("image_generation.poll_interval", 5) or 5)
        self.max_retries = int(get("image_generation.max_retries", 3) or 0)
        self._make_engine = engine or self._engine_from_config
        self._engine: Engine | None = None
        self._users = 0

    async def generate_single_image_async(
        self,
        prompt: str,
        index: int = 0,
        is_cover: bool = False,
        size: str | None = None,
        max_retries: int = 3,
    ) -> ImageGenerationResult:
        """One picture; never raises for the service's refusals or failures.

        After ``max_wait_time`` nominal seconds of the service's work the caller hears of it; the
        paid task goes on, and the same call later is served from it.
        """
        asked = Prompt(
            self._clean_prompt(prompt),
            size=size or self.default_size,
            negative=f"{NEGATIVE}, {COVER_NEGATIVE}" if is_cover else NEGATIVE,
            model=self.image_model,
        )
        result = ImageGenerationResult(False, prompt=prompt, index=index, is_cover=is_cover)
        try:
            async with self._engine_in_use() as engine:
                made = await self._made(engine, asked, max_retries)
        except (BadSettings, BadInput) as error:
            return replace(result, error=str(error))
        if made is None:
            return replace(result, error=self._too_late())
        return _old_shape(result, made)

    async def generate_batch_images_async(
        self,
        prompts: Sequence[Mapping[str, Any]],
        max_concurrent: int = 3,
        progress_callback: Progress | None = None,
    ) -> list[ImageGenerationResult]:
        """All pictures, at most ``max_concurrent`` at once, results in the order asked.

        ``progress_callback(done, total, result)`` is called after each; one that fails is ignored.
        """
        gate = asyncio.Semaphore(max(1, max_concurrent))
        done = 0

        async def one(number: int, wanted: Mapping[str, Any]) -> ImageGenerationResult:
            nonlocal done
            async with gate:
                result = await self._isolated(number, wanted)
            done += 1
            await _tell(progress_callback, done, len(prompts), result)
            return result

        return list(await asyncio.gather(*(one(k, wanted) for k, wanted in enumerate(prompts))))

    async def _isolated(self, number: int, wanted: Mapping[str, Any]) -> ImageGenerationResult:
        """One of a batch, through the public method, which a subclass may have replaced."""
        try:
            return await self.generate_single_image_async(
                prompt=wanted.get("prompt", ""),
                index=wanted.get("index", number),
                is_cover=wanted.get("is_cover", False),
                size=wanted.get("size"),
            )
        except Exception as error:
            return ImageGenerationResult(
                False, error=str(error), prompt=str(wanted.get("prompt", "")),
                index=wanted.get("index", number), is_cover=wanted.get("is_cover", False),
            )  # fmt: skip

    def _clean_prompt(self, prompt: str) -> str:
        """The prompt without Midjourney's ``--ar``, ``--v`` and ``--style``."""
        return _FLAGS.sub("", prompt).strip()

    def _too_late(self) -> str:
        return (
            f"任务超时（{self.max_wait_time:g}秒）：服务仍在生成，已付款；稍后再要同一张图会取到它。"
            f" / Not finished after {self.max_wait_time:g} s; it is paid for, ask again later."
        )

    async def _made(self, engine: Engine, asked: Prompt, retries: int) -> Result | None:
        """The picture's result, or None where the service worked on it for too long."""
        started = asyncio.Event()
        runs: list[str] = []

        def notice(event: Event) -> None:
            if isinstance(event, Running) and event.run in runs:
                started.set()

        async def too_long() -> None:
            await started.wait()
            await engine.clock.sleep(self.max_wait_time)

        leave = engine.stream_of_events.watch(notice)
        runs.append(await engine.add([asked], options=RunOptions(retries=retries), kind="compat"))
        first = asyncio.ensure_future(_first(engine, runs[0]))
        limit = asyncio.ensure_future(too_long())
        try:
            await asyncio.wait({first, limit}, return_when=asyncio.FIRST_COMPLETED)
            return first.result() if first.done() else None
        finally:
            leave()
            for one in (first, limit):
                one.cancel()
            await asyncio.gather(first, limit, return_exceptions=True)

    @asynccontextmanager
    async def _engine_in_use(self) -> AsyncIterator[Engine]:
        """One engine for all calls that overlap; closed with the last of them."""
        self._users += 1
        try:
            if self._engine is None:
                opening = self._engine = self._make_engine()
                self._ready = asyncio.ensure_future(opening.__aenter__())
            engine = self._engine
            await self._ready
            yield engine
        finally:
            self._users -= 1
            if self._users == 0:
                closing, self._engine = self._engine, None
                if closing is not None and self._ready.done() and self._ready.exception() is None:
                    await closing.__aexit__(None, None, None)

    def _engine_from_config(self) -> Engine:
        from .settings import load_settings

        get = self.config_manager.get
        overrides = {
            "endpoints.dashscope.model": self.image_model,
            "endpoints.dashscope.api_key": get("openai_api_key") or None,
            "endpoints.dashscope.base_url": _base_of(get("image_generation.api_url")),
        }
        settings = load_settings(overrides={k: v for k, v in overrides.items() if v})
        return Engine("dashscope", settings=settings)


def _waited(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine gives, for a caller that is not one.

    Called where a loop runs already (a notebook's cell, an ``async def`` of a web program), it
    waits in a thread beside it: that loop stands still meanwhile, as with the old class.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as beside:
        return beside.submit(copy_context().run, asyncio.run, work).result()


class ImageGenerator:
    """The serial class that existed before; one picture after another, on the same engine."""

    def __init__(
        self, config_manager: Config | None = None, config_path: str = "config/config.json"
    ) -> None:
        if config_manager is None:
            from .config_manager import ConfigManager

            config_manager = ConfigManager(config_path)
        self.service = AsyncImageService(config_manager)

    def generate_single_image(self, prompt: str, size: str = "1024*1365") -> str | None:
        """The picture's link, or None."""
        result = _waited(self.service.generate_single_image_async(prompt, size=size))
        return result.image_url if result.success else None

    def generate_image_async(self, prompt: str, index: int, is_cover: bool = False) -> str:
        """The picture's link (made on the asynchronous lane; this call itself waits).

        Raises RuntimeError where no picture was made.
        """
        result = _waited(self.service.generate_single_image_async(prompt, index, is_cover))
        if not result.success or result.image_url is None:
            raise RuntimeError(result.error or "no picture")
        return result.image_url

    def download_image(self, image_url: str, save_path: str) -> str:
        """The picture behind a link made here, as ``save_path``: the verified file is copied.

        Raises BadInput for a link that no picture of this workspace came from.
        """
        source = _waited(self._file_of(image_url))
        target = Path(save_path)
        write_whole(target, source.read_bytes())
        return str(target)

    def generate_all_images(self, prompts_file: str) -> list[ImageGenerationResult]:
        """Every picture of an ``image_prompts.txt``, saved beside it."""
        path = Path(prompts_file)
        wanted = read_image_prompts(path.read_text("utf-8-sig"))
        results = []
        for one in wanted:
            result = _waited(self.service._isolated(one["index"], one))
            if result.success and result.path:
                name = "cover.png" if result.is_cover else f"image_{result.index:02d}.png"
                shutil.copyfile(result.path, path.with_name(name))
            results.append(result)
        return results

    async def _file_of(self, image_url: str) -> Path:
        async with self.service._engine_in_use() as engine:
            row = await engine.journal.read(lambda db: db.one("image_by_link", link=image_url))
            image = engine.store.find(row["sha256"]) if row is not None else None
        if image is None:
            raise BadInput(
                "这个链接不是本工作区生成的图片，没有下载。",
                "No picture of this workspace came from that link; nothing was downloaded.",
            )
        return image.path


_LABEL = re.compile(
    r"^\s*(?:[#*\-\d.、\s]*)(封面|cover|图|image|第)\s*(?:图|页|张)?\s*(\d*)[^:：]*[:：]\s*(.*)$",
    re.IGNORECASE,
)


def read_image_prompts(text: str) -> list[dict[str, Any]]:
    """The prompts of an ``image_prompts.txt``: ``封面: …``, ``图1: …``, or one a paragraph."""
    found: list[dict[str, Any]] = []
    for block in re.split(
        r"\n\s*\n|\n(?=\s*[#*\-]*\s*(?:封面|图\s*\d|cover|image\s*\d))", text, flags=re.IGNORECASE
    ):
        words = " ".join(line.strip() for line in block.strip().splitlines())
        if not words:
            continue
        match = _LABEL.match(words)
        cover = bool(match and match[1].lower() in ("封面", "cover"))
        prompt = match[3] if match else words
        if prompt.strip():
            index = 0 if cover else int(match[2]) if match and match[2] else len(found) + 1
            found.append({"prompt": prompt.strip(), "index": index, "is_cover": cover})
    return found


class _Dotted:
    """A nested mapping read by dotted keys."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def get(self, key: str, default: Any = None) -> Any:
        if key in self._values:
            return self._values[key]
        value: Any = self._values
        for part in key.split("."):
            if not isinstance(value, Mapping) or part not in value:
                return default
            value = value[part]
        return value


def _base_of(url: object) -> str | None:
    """The address that ends in ``/api/v1``, of a full URL such as the old settings hold."""
    return str(url).split("/services/", 1)[0].rstrip("/") if url else None


async def _first(engine: Engine, run: str) -> Result | None:
    async for result in engine.follow(run):
        return result
    return None


def _old_shape(result: ImageGenerationResult, made: Result) -> ImageGenerationResult:
    return replace(
        result,
        success=made.ok,
        image_url=made.image_url or (made.path.as_uri() if made.path and made.ok else None),
        error=None if made.ok else f"{made.error} ({made.code})" if made.code else made.error,
        retry_count=max(0, made.attempts - 1),
        path=str(made.path) if made.path else None,
        task_id=made.task_id,
    )


async def _tell(
    callback: Progress | None, done: int, total: int, result: ImageGenerationResult
) -> None:
    if callback is None:
        return
    try:
        answer = callback(done, total, result)
        if answer is not None:
            await answer
    except Exception:
        import logging

        logging.getLogger("redloom").warning("progress_callback failed", exc_info=True)
