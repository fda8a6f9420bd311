"""AUTOMATIC1111's web UI and Forge, started with ``--api``: one blocking call for each picture.

Protocol: the web UI's modules/api/api.py (November 2026). ``POST /sdapi/v1/txt2img`` (with
reference pictures ``img2img``) answers when the picture is there; calls wait for one another
behind one lock; there is no job id, so that a lost answer is lost. ``/progress`` speaks of
whatever runs, and an interrupted call answers 200 with half a picture.

Options: ``steps``, ``cfg_scale``, ``sampler_name``, ``scheduler``, ``denoising_strength`` and
whatever else the call takes, passed on as they are.

May import: endpoint, errors, lang.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from redloom.endpoint import (
    FREE,
    Answer,
    Asked,
    Capabilities,
    Defaults,
    Endpoint,
    Fitted,
    Lane,
    Limits,
    Made,
    Picture,
    Price,
    Provider,
    Ticket,
    Tools,
    read_json,
)
from redloom.errors import (
    AnswerLost,
    KeyRefused,
    NotAllowed,
    Refused,
    ServiceError,
    TaskFailed,
    Throttled,
    Unavailable,
)
from redloom.lang import Text

from ._local_server import fitted_size, login, place_of, reference, resized
from ._sync import Synchronous

__all__ = ["DEFAULTS", "create"]

DEFAULTS = Defaults(
    key_variables=("A1111_API_KEY",),
    url_variables=("A1111_URL", "A1111_BASE_URL"),
    base_url="http://127.0.0.1:7860",
    needs_key=False,
    label=Text(
        "Stable Diffusion WebUI / Forge（自己的服务器）",
        "Stable Diffusion web UI / Forge (your own server)",
    ),
)
_SIZES = ((1024, 1024), (896, 1152), (1152, 896), (832, 1216), (1216, 832), (768, 1024), (512, 512))
_STEP = 8
_SEED_MOST = 2**32 - 1
_REFERENCES = 1
_PATIENCE_S = 1800.0
"""A call also waits for those before it; nothing is billed, so patience costs nothing."""
_PROGRESS_S = 1.0
_DEFAULTS: Mapping[str, Any] = {"steps": 25, "cfg_scale": 6.5}
_OURS = frozenset(
    {
        "prompt", "negative_prompt", "seed", "width", "height", "batch_size", "n_iter",
        "init_images", "send_images", "save_images", "rewrite_hosts",
    }
)  # fmt: skip
"""Fields that no option may set: they are decided elsewhere."""


def create(endpoint: Endpoint, tools: Tools) -> Provider:
    """The provider for one endpoint; no network."""
    return WebUI(endpoint, tools)


class WebUI(Synchronous):
    """One server, with one checkpoint if the endpoint names it. See `endpoint.Provider`."""

    def __init__(self, endpoint: Endpoint, tools: Tools) -> None:
        self._endpoint = endpoint
        self._clock = tools.clock
        self._tell = tools.progress
        base_url = (endpoint.base_url or DEFAULTS.base_url).rstrip("/").removesuffix("/sdapi/v1")
        self._where = place_of(base_url)
        self._key = tools.key.strip()
        self._wire = tools.wire(base_url, headers=login(self._key), clock=tools.clock)
        self._working: dict[str, bool] = {}
        """Keys of the jobs in the server's hands, and whether we interrupted them."""

    def capabilities(self) -> Capabilities:
        """What the web UI's own call can do."""
        return Capabilities(
            lanes=("sync",),
            queues_excess=True,
            sizes=_SIZES,
            negative_prompt=True,
            references=_REFERENCES,
            typical_s=12.0,
            free=True,
            gives_links=False,
            moderates=False,
            throttles=False,
        )

    def limits(self) -> Limits:
        """One call at a time: others would only wait for the server's lock."""
        return Limits(sync_concurrency=1)

    def price(self, asked: Asked) -> Price:
        """Nothing, unless the endpoint names a price (a rented GPU)."""
        return self._endpoint.price or FREE

    def fit(self, asked: Asked) -> Fitted:
        """The request as the web UI takes it. Raises Refused for what it never could make."""
        if not asked.prompt.strip():
            raise Refused(
                "提示词是空的；没有发出，没有花钱。",
                "The prompt is empty; nothing was sent or spent.",
            )
        if len(asked.references) > _REFERENCES:
            raise Refused(
                f"图生图只用一张参考图，这里有 {len(asked.references)} 张；没有发出，没有花钱。",
                f"img2img takes one reference picture, {len(asked.references)} were given; nothing "
                "was sent or spent.",
            )
        notes: list[Text] = []
        if asked.size is not None:
            size = fitted_size(asked.size, _STEP, most=4096)
            if size != asked.size:
                notes.append(resized(asked.size, size, _STEP))
                asked = replace(asked, size=size)
        if asked.seed is not None and not 0 <= asked.seed <= _SEED_MOST:
            asked = replace(asked, seed=None if asked.seed < 0 else asked.seed % (_SEED_MOST + 1))
        kept = {name: value for name, value in asked.options.items() if name not in _OURS}
        return Fitted(replace(asked, options=kept), tuple(notes))

    async def submit(self, asked: Asked, lane: Lane) -> Made:
        """One blocking call. A cancelled one interrupts the server, which else would go on."""
        images = [await asyncio.to_thread(reference, item) for item in asked.references]
        body = self._body(asked, [base64.b64encode(image.data).decode() for image in images])
        path = "/sdapi/v1/img2img" if images else "/sdapi/v1/txt2img"
        async with self._watched(asked.key):
            answer = await self._wire.post(path, body, timeout_s=_PATIENCE_S)
            interrupted = self._working[asked.key]
        return self._made(answer, asked, interrupted=interrupted)

    async def cancel(self, ticket: Ticket) -> bool:
        """Interrupt the job of this key if the server has it; whether it was told to."""
        if ticket.id not in self._working:
            return False
        self._working[ticket.id] = True
        try:
            answer = await self._wire.post("/sdapi/v1/interrupt", {}, timeout_s=10.0)
        except AnswerLost as lost:
            raise Unavailable(*_query(self._where, "interrupt")) from lost
        return answer.status == 200

    async def check(self) -> None:
        """Ask for the checkpoints: free, and 401 tells a wrong login. An unknown one is said."""
        try:
            answer = await self._wire.get("/sdapi/v1/sd-models")
        except AnswerLost as lost:
            raise Unavailable(*_query(self._where, "sd-models")) from lost
        if answer.status != 200:
            raise self._no(answer)
        model = self._endpoint.model
        if model and model not in answer.text:
            raise NotAllowed(
                f"{self._where} 里没有检查点“{model}”。请换名字，或放进 models/Stable-diffusion。",
                f"{self._where} has no checkpoint “{model}”. Name another, or put it into "
                "models/Stable-diffusion.",
            )

    async def close(self) -> None:
        """Give connections back."""
        await self._wire.close()

    def _body(self, asked: Asked, images: list[str]) -> dict[str, Any]:
        ours = {k: v for k, v in self._endpoint.options.items() if k not in _OURS}
        body: dict[str, Any] = {
            **_DEFAULTS,
            **ours,
            **asked.options,
            "prompt": asked.prompt,
            "negative_prompt": asked.negative_prompt,
            "seed": -1 if asked.seed is None else asked.seed,
            "batch_size": 1,
            "n_iter": 1,
            "send_images": True,
            "save_images": False,
        }
        if asked.size is not None:
            body["width"], body["height"] = asked.size
        if asked.model:
            body["override_settings"] = {
                **(body.get("override_settings") or {}),
                "sd_model_checkpoint": asked.model,
            }
            body["override_settings_restore_afterwards"] = False
        if images:
            body["init_images"] = images
        return body

    @asynccontextmanager
    async def _watched(self, key: str) -> AsyncIterator[None]:
        """While inside, the server works on ``key``: its progress is told, a cancel reaches it."""
        self._working[key] = False
        watching = asyncio.get_running_loop().create_task(self._watch(key))
        try:
            yield
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                await self._wire.post("/sdapi/v1/interrupt", {}, timeout_s=5.0)
            raise
        finally:
            del self._working[key]
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _watch(self, key: str) -> None:
        """Tell how far it is, about once a second; what goes wrong here decides nothing."""
        while True:
            await self._clock.sleep(_PROGRESS_S)
            with contextlib.suppress(ServiceError):
                query = {"skip_current_image": "true"}
                answer = await self._wire.get("/sdapi/v1/progress", query=query, timeout_s=10.0)
                fraction = (answer.body or {}).get("progress")
                if isinstance(fraction, int | float) and fraction > 0:
                    self._tell(key, min(1.0, float(fraction)))

    def _made(self, answer: Answer, asked: Asked, *, interrupted: bool) -> Made:
        images = (answer.body or {}).get("images")
        if answer.status != 200 or not isinstance(images, list):
            raise self._no(answer)
        if interrupted:
            raise TaskFailed(
                "已按要求中断；不花钱。", "Interrupted as asked; it costs nothing.",
                retry=False, service_code="interrupted",
            )  # fmt: skip
        info = _info((answer.body or {}).get("info"))
        seed = info.get("seed")
        data = _decoded(images[0]) if images else None
        if data is None:
            raise TaskFailed(
                f"{self._where} 做完了，却没有给出图；不花钱。",
                f"{self._where} finished without a picture; it costs nothing.",
                service_code="no_output",
            )
        picture = Picture(data=data, seed=seed if isinstance(seed, int) else asked.seed)
        return Made(picture, original_prompt=asked.prompt)

    def _no(self, answer: Answer) -> ServiceError:
        """What an answer without a picture means. Nothing here costs money."""
        body = answer.body or {}
        kind = str(body.get("error") or "")[:80]
        words = _words(body)
        text = words.lower()
        where, status = self._where, answer.status
        if status in (502, 504) or status < 400:
            return AnswerLost(*_LOST.format(where=where, status=status))
        if status in (401, 403):
            return KeyRefused(*_KEY.format(where=where, status=status))
        if status == 429:
            return Throttled(*_SLOW.format(where=where), retry_after_s=answer.retry_after_s())
        if "unknown checkpoint" in text or "checkpoint not found" in text:
            return NotAllowed(*_MODEL.format(where=where, said=words), service_code=kind)
        if status in (404, 405) and text in ("", "not found", "method not allowed"):
            return NotAllowed(*_NO_API.format(where=where, status=status))
        if status < 500:
            return Refused(*_REFUSED.format(where=where, said=words), service_code=kind)
        if "outofmemory" in kind.lower() or "out of memory" in text:
            return TaskFailed(*_MEMORY.format(where=where), service_code=kind or "OutOfMemoryError")
        said = words or f"HTTP {status}"
        wait = answer.retry_after_s()
        return Unavailable(
            *_UNAVAILABLE.format(where=where, said=said), retry_after_s=wait, service_code=kind
        )


def _words(body: Mapping[str, Any]) -> str:
    """The web UI's own words: ``detail`` is a text or a list, ``errors`` a text."""
    detail = body.get("detail")
    if isinstance(detail, list):
        rows = [row for row in detail if isinstance(row, Mapping)]
        detail = "; ".join(f"{_place(row.get('loc'))}: {row.get('msg', '')}" for row in rows)
    found = str(detail or body.get("errors") or "")
    return found.strip().split("\n")[0][:200]


def _place(loc: object) -> object:
    return loc[-1] if isinstance(loc, list) and loc else "?"


def _info(text: object) -> Mapping[str, Any]:
    """``info`` is JSON inside a string."""
    value = read_json(text) if isinstance(text, str) else text
    return value if isinstance(value, Mapping) else {}


def _decoded(image: object) -> bytes | None:
    if not isinstance(image, str):
        return None
    try:
        return base64.b64decode(image.rpartition(",")[2], validate=True) or None
    except (ValueError, binascii.Error):
        return None


def _query(where: str, what: str) -> Text:
    return Text(
        f"问 {where}（{what}）没有得到回答；不花钱。",
        f"A question to {where} ({what}) got no answer; it costs nothing.",
    )


_LOST = Text(
    "{where} 回了 HTTP {status}，看不出图做了没有；它不保存任务，不花钱。",
    "{where} answered HTTP {status} without saying whether the picture was made; it keeps no jobs, "
    "and nothing is billed.",
)
_KEY = Text(
    "{where} 的登录没有通过（HTTP {status}）；没有花钱。请把 A1111_API_KEY 设为 用户:密码。",
    "The login at {where} failed (HTTP {status}); nothing was spent. Set A1111_API_KEY to "
    "user:password.",
)
_SLOW = Text(
    "{where} 前面的代理要求放慢；没有花钱，等一等自动继续。",
    "The proxy in front of {where} asks to slow down; nothing was spent, it goes on by itself.",
)
_MODEL = Text(
    "{where} 没有这个检查点（{said}）；没有花钱。",
    "{where} does not have the checkpoint ({said}); nothing was spent.",
)
_NO_API = Text(
    "{where} 没有开放 API（HTTP {status}）；没有花钱。请用 --api 启动 WebUI，并检查 A1111_URL。",
    "{where} offers no API (HTTP {status}); nothing was spent. Start the web UI with --api, and "
    "check A1111_URL.",
)
_REFUSED = Text(
    "{where} 不接受这个请求（{said}）；没有花钱，请改参数。",
    "{where} does not accept the request ({said}); nothing was spent. Change its values.",
)
_MEMORY = Text(
    "{where} 的显存不够；不花钱。请改小尺寸。",
    "{where} ran out of GPU memory; it costs nothing. Make the picture smaller.",
)
_UNAVAILABLE = Text(
    "{where} 没有做成（{said}）；不花钱，稍后再试。",
    "{where} failed ({said}); it costs nothing and is tried again.",
)
