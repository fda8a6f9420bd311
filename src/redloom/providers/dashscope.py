"""Alibaba Cloud Model Studio (DashScope, 百炼): wan, wanx, qwen-image, z-image, kling.

Protocol: help.aliyun.com/zh/model-studio/, text-to-image-v2-api-reference and
manage-asynchronous-tasks (November 2026). A create call has no idempotency key: every POST is a
new, billed task. Therefore `submit` sends exactly one, and its errors say what became of it.
Two shapes: ``input.prompt`` answered by ``results`` on the older path, ``input.messages``
answered by ``choices`` on the others. What a model takes is in `_dashscope_models`, what an error
code means in `_dashscope_errors`.

May import: endpoint, errors, lang.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from redloom.endpoint import (
    Answer,
    Asked,
    Canceled,
    Capabilities,
    Defaults,
    Endpoint,
    Failed,
    Fitted,
    Lane,
    Limits,
    Made,
    Outcome,
    Price,
    Provider,
    Seen,
    Ticket,
    Times,
    Told,
    Tools,
    Unknown,
    Waiting,
)
from redloom.errors import (
    AnswerLost,
    EndpointStopped,
    KeyRefused,
    NotAllowed,
    Refused,
    ServiceError,
    TaskFailed,
    Throttled,
    Unavailable,
    Withheld,
)
from redloom.lang import Text

from ._dashscope_answers import (
    billed,
    entries_of,
    is_row,
    page_count,
    pictures_of,
    request_id,
    seen_of,
    stamp,
    text_of,
    times_of,
    told_of,
)
from ._dashscope_errors import Said, said, submit_error, task_error
from ._dashscope_fit import body_of, fit, is_on, takes
from ._dashscope_models import (
    AS_OF,
    NAMES,
    POLLS_PER_SECOND,
    REGIONS,
    URL_LIFE_S,
    Model,
    Ratios,
    Region,
    model,
)
from ._reference import data_url
from ._voice import query as answered
from ._voice import unreadable, withheld

__all__ = ["DEFAULTS", "MODELS", "create"]

DEFAULTS = Defaults(
    key_variables=("DASHSCOPE_API_KEY",),
    url_variables=("DASHSCOPE_BASE_URL", "DASHSCOPE_HTTP_BASE_URL"),
    base_url="https://dashscope.aliyuncs.com/api/v1",
    model="wan2.6-t2i",
    label=Text("阿里云百炼 DashScope", "Alibaba Cloud Model Studio (DashScope)"),
)

MODELS = NAMES
"""Every model of the table, wherever it is offered: names differ by region."""

_SYNC_TIMEOUT_S = 330.0
"""The service cuts its own synchronous calls at 300 s; cutting first would lose its answer."""
_CREATE_TIMEOUT_S = 60.0
_DAY_S = 24 * 3600.0
_LIST_PAGES = (100, 50, 20, 10)
"""Page sizes to try, largest first: only the default of 10 is documented."""
_LIST_READINGS = 5
_NO_TASK = "00000000-0000-0000-0000-000000000000"

_REGION_NAMES: dict[Region, Text] = {
    "beijing": Text("北京", "Beijing"),
    "singapore": Text("新加坡（国际）", "Singapore (international)"),
    "us": Text("美国（弗吉尼亚）", "US (Virginia)"),
    "frankfurt": Text("法兰克福", "Frankfurt"),
}


def create(endpoint: Endpoint, tools: Tools) -> Provider:
    """The provider for one endpoint; no network."""
    return DashScope(endpoint, tools)


class DashScope:
    """One model at one regional address of DashScope. See `endpoint.Provider`."""

    def __init__(self, endpoint: Endpoint, tools: Tools) -> None:
        self._endpoint = endpoint
        self._clock = tools.clock
        self._key = tools.key.strip()
        self._base_url = _native(endpoint.base_url or DEFAULTS.base_url)
        self._region = _region(endpoint.region, self._base_url)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._wire = tools.wire(self._base_url, headers=headers, clock=tools.clock)
        self._page = 0
        host = urlsplit(self._base_url).hostname or self._base_url
        region = _REGION_NAMES[self._region]
        self._where = Text(f"{host}（{region.zh}）", f"{host} ({region.en})")

    def capabilities(self) -> Capabilities:
        """What the endpoint's model can do, from the table."""
        table = self._model()
        paths: tuple[tuple[Lane, str], ...] = (("async", table.queued), ("sync", table.sync))
        return Capabilities(
            lanes=tuple(lane for lane, path in paths if path),
            queues_excess=True if table.queued else None,
            lists_tasks=bool(table.queued),
            list_page=_LIST_PAGES[self._page],
            prompt_in_result=table.prompt_in_result,
            cancels=bool(table.queued),
            sizes=table.sizes,
            negative_prompt=table.negative,
            references=table.references,
            prompt_characters=table.characters,
            url_life_s=URL_LIFE_S,
            typical_s=table.typical_s,
            picture_hosts=(".aliyuncs.com",),
            ratios=table.rule.names if isinstance(table.rule, Ratios) else (),
            record_life_s=URL_LIFE_S,
            regions=tuple(_REGION_NAMES),
        )

    def limits(self) -> Limits:
        """The published limits in the endpoint's region."""
        table = self._model()
        rate = table.submit_per_second.get(self._region, table.submit_per_second.get(""))
        return Limits(
            submit_per_second=rate,
            concurrency=table.concurrency,
            sync_concurrency=table.sync_concurrency,
            poll_per_second=POLLS_PER_SECOND,
            list_per_second=POLLS_PER_SECOND,
        )

    def price(self, asked: Asked) -> Price:
        """The listed price of one picture, CNY; ``amount`` None where the table has none."""
        if self._endpoint.price is not None:
            return self._endpoint.price
        table = self._model(asked)
        listed = table.price
        if table.extended_price and is_on(self._options(asked).get("prompt_extend")):
            listed = table.extended_price
        amount = listed.get(self._region)
        return Price(amount, "CNY", "unknown" if amount is None else "estimated", AS_OF)

    def fit(self, asked: Asked) -> Fitted:
        """The request as the model accepts it; every change is named in the notes.

        Raises Refused for what the service would cut silently or could never make.
        """
        return fit(self._model(asked), asked)

    async def submit(self, asked: Asked, lane: Lane) -> Ticket | Made:
        """One POST. See `endpoint.Provider.submit` for what its errors say about money."""
        table = self._model(asked)
        path = table.queued if lane == "async" else table.sync
        if not path:
            raise _refused(_NO_LANE.format(model=table.name, lane=lane))
        references = [await data_url(item, "oss") for item in asked.references]
        body = body_of(table, path, asked, references, self._options(asked))
        headers = {"X-DashScope-Async": "enable"} if lane == "async" else {}
        if any(item.startswith("oss://") for item in references):
            headers["X-DashScope-OssResourceResolve"] = "enable"
        timeout_s = _CREATE_TIMEOUT_S if lane == "async" else _SYNC_TIMEOUT_S
        answer = await self._wire.post(path, body, headers=headers, timeout_s=timeout_s)
        return self._accepted(answer, lane)

    async def poll(self, ticket: Ticket) -> Outcome:
        """One GET of the task. Raises what `endpoint.Provider.poll` names; it buys nothing."""
        body = await self._get(f"/tasks/{ticket.id}")
        output = body.get("output")
        if not isinstance(output, dict):
            raise unreadable(self._where, 200)
        times = times_of(output)
        match output.get("task_status"):
            case "PENDING" | "SUSPENDED":
                return Waiting(False, times)
            case "RUNNING":
                return Waiting(True, times)
            case "SUCCEEDED":
                return self._finished(body, output, times)
            case "FAILED":
                return Failed(self._task_error(output), times)
            case "CANCELED":
                return Canceled(times)
            case "UNKNOWN":
                return Unknown()
            case _:
                raise unreadable(self._where, 200)

    async def look(self, since: float, until: float) -> Sequence[Seen]:
        """Every task of the account created in [since, until], whatever its model.

        The list is filtered by time only: were a model's name spelt otherwise in the list than
        at the create call, a filter would hide a paid task. Windows over 24 h are split.
        """
        seen: dict[str, Seen] = {}
        start = float(int(since))
        while start <= until:
            end = min(start + _DAY_S - 1.0, float(-int(-until // 1)))
            for task in await self._window(start, end):
                seen[task.id] = task
            start = end + 1.0
        return sorted(seen.values(), key=lambda task: (task.created, task.id))

    async def cancel(self, ticket: Ticket) -> bool:
        """Ask to cancel; only tasks not yet scheduled can be. True where the service did it."""
        asking = self._wire.post(f"/tasks/{ticket.id}/cancel", {}, timeout_s=60.0)
        answer = await answered(asking)
        error = self._said(answer)
        if error is None and answer.status == 200 and answer.body is not None:
            return True
        if error is not None and error.code == "UnsupportedOperation":
            return False
        raise self._query_error(answer)

    async def check(self) -> None:
        """Query a task that cannot exist: free, and 401 tells a bad key."""
        await self._get(f"/tasks/{_NO_TASK}")

    async def quota(self) -> Told | None:
        """The limits of the account's model, or of its workspace where that has its own.

        ``GET /quotas?model=`` (help.aliyun.com/zh/model-studio/list-quotas, November 2026). The
        page names it at the addresses of workspaces; at another an error says that it is not there.
        """
        name = self._model().name
        return told_of(await self._get("/quotas", {"model": name}), name)

    async def close(self) -> None:
        """Give connections back."""
        await self._wire.close()

    def _model(self, asked: Asked | None = None) -> Model:
        name = asked.model if asked is not None else ""
        return model(name or self._endpoint.model or DEFAULTS.model)

    def _options(self, asked: Asked) -> dict[str, Any]:
        taken = takes(self._model(asked))
        ours = {key: value for key, value in self._endpoint.options.items() if key in taken}
        return {**ours, **asked.options}

    def _accepted(self, answer: Answer, lane: Lane) -> Ticket | Made:
        """What a create call's answer means; anything that is not plainly yes or no is lost."""
        body = answer.body or {}
        output = body.get("output")
        if answer.status == 200 and isinstance(output, dict):
            task_id = output.get("task_id")
            if isinstance(task_id, str) and task_id:
                return Ticket(task_id, request_id(body))
            if lane == "sync" and ("choices" in output or "results" in output):
                return self._made_at_once(body, output)
        raise self._create_error(answer)

    def _made_at_once(self, body: Mapping[str, Any], output: Mapping[str, Any]) -> Made:
        outcome = self._finished(body, output, Times())
        if isinstance(outcome, Made):
            return outcome
        error = outcome.error
        if isinstance(error, Withheld):
            raise AnswerLost(error.text.zh, error.text.en)
        if isinstance(error, TaskFailed):
            text = error.text
            raise Unavailable(text.zh, text.en, service_code=error.service_code)
        raise error

    def _create_error(self, answer: Answer) -> ServiceError:
        status = answer.status
        if status in _GATEWAY:
            return self._lost(status)
        if error := self._said(answer):
            return submit_error(error, self._where, self._region_hint())
        if status in (401, 429) or (300 <= status < 500 and status not in (408, 425, 499)):
            return self._turned_away(status, answer.retry_after_s())
        return self._lost(status)

    def _query_error(self, answer: Answer) -> ServiceError:
        """A query's refusal. It never says anything about a picture, only about asking."""
        error = self._said(answer)
        if error is not None:
            raised = submit_error(error, self._where, self._region_hint())
        elif answer.status in (401, 429):
            raised = self._turned_away(answer.status, answer.retry_after_s())
        else:
            return unreadable(self._where, answer.status)
        if isinstance(raised, EndpointStopped | Throttled | Unavailable):
            return raised
        return unreadable(self._where, answer.status, raised.service_code)

    async def _get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The body of a query that the service answered with 200 and no error."""
        answer = await answered(self._wire.get(path, query=query))
        if answer.status != 200 or answer.body is None or self._said(answer) is not None:
            raise self._query_error(answer)
        return answer.body

    def _said(self, answer: Answer) -> Said | None:
        error = said(answer.body, answer.status, answer.retry_after_s())
        if error is not None and self._key:
            return replace(error, message=error.message.replace(self._key, "***"))
        return error

    def _finished(
        self, body: Mapping[str, Any], output: Mapping[str, Any], times: Times
    ) -> Made | Failed:
        """Judge every picture by itself: SUCCEEDED does not say that one came."""
        entries = entries_of(output)
        original = next((text for item in entries if (text := text_of(item, "orig_prompt"))), "")
        pictures = pictures_of(entries)
        if pictures:
            return Made(
                pictures[0],
                times,
                original_prompt=original,
                extra=tuple(pictures[1:]),
                request_id=request_id(body),
            )
        wrong = next((item for item in [*entries, output] if text_of(item, "code")), None)
        counted = billed(body)
        if counted or (counted is None and wrong is None):
            return Failed(withheld(self._where), times, billed=counted, original_prompt=original)
        error = self._task_error(wrong) if wrong else _no_picture(self._where)
        return Failed(error, times, original_prompt=original)

    def _task_error(self, entry: Mapping[str, Any]) -> ServiceError:
        code = text_of(entry, "code") or "FAILED"
        return task_error(Said(code, text_of(entry, "message").strip()), self._where)

    async def _window(self, start: float, end: float) -> list[Seen]:
        """One window of at most a day, read until two ends of a reading agree."""
        for attempt in range(_LIST_READINGS):
            if attempt:
                await self._clock.sleep(0.5)
            tasks = await self._reading(start, end)
            if tasks is not None:
                return tasks
        raise Unavailable(
            f"{self._where.zh}的任务列表一直在变，没能读全；没有花钱，稍后再核对。",
            f"The task list of {self._where.en} kept changing and could not be read whole; "
            "nothing was spent, it is read again later.",
        )

    async def _reading(self, start: float, end: float) -> list[Seen] | None:
        """Every page once; None where tasks came or went between the pages."""
        rows: dict[str, Mapping[str, Any]] = {}
        totals: set[int] = set()
        number, pages = 1, 1
        while number <= pages:
            body = await self._list_page(start, end, number)
            data, total = body.get("data"), body.get("total")
            if not isinstance(data, list) or not isinstance(total, int):
                raise unreadable(self._where, 200)
            before = len(rows)
            rows.update({str(row["task_id"]): row for row in data if is_row(row)})
            totals.add(total)
            if data and len(rows) == before:
                return None  # the same rows again: there would be no end of pages
            pages = page_count(body, total, len(data), number)
            number = number + 1 if data else pages + 1
        if totals != {len(rows)}:
            return None
        seen = [seen_of(row, start, end) for row in rows.values()]
        if None in seen:
            raise unreadable(self._where, 200)
        return [task for task in seen if task and start <= task.created < end + 1.0]

    async def _list_page(self, start: float, end: float, number: int) -> dict[str, Any]:
        while True:
            query = {
                "start_time": stamp(start),
                "end_time": stamp(end),
                "page_no": str(number),
                "page_size": str(_LIST_PAGES[self._page]),
            }
            try:
                return await self._get("/tasks/", query)
            except Unavailable as error:
                too_large = error.service_code.startswith(("InvalidParameter", "BadRequest"))
                if not too_large or number > 1 or self._page + 1 >= len(_LIST_PAGES):
                    raise
                self._page += 1

    def _lost(self, status: int) -> AnswerLost:
        return AnswerLost(
            f"{self._where.zh}回了 HTTP {status}，看不出是否收下了请求；图可能在做并计费，"
            "先核对，不会重复提交。",
            f"{self._where.en} answered HTTP {status} without saying whether it took the request; "
            "the picture may be made and billed, so it is looked for before anything is sent again.",
        )

    def _turned_away(self, status: int, retry_after_s: float | None) -> ServiceError:
        """A refusal without the service's own words, so from something in front of it."""
        zh = f"{self._where.zh}回了 HTTP {status}，没有说明；没有花钱。".strip()
        en = f"{self._where.en} answered HTTP {status} without an explanation; nothing was spent. "
        hint = self._region_hint()
        match status:
            case 401:
                return KeyRefused(zh + hint.zh, en + hint.en)
            case 404 | 405 | 410:
                return NotAllowed(
                    zh + "请检查 DASHSCOPE_BASE_URL，应以 /api/v1 结尾。",
                    en + "Check DASHSCOPE_BASE_URL, which ends in /api/v1.",
                )
            case 429:
                return Throttled(zh, en.strip(), retry_after_s=retry_after_s)
            case _:
                return Unavailable(zh, en.strip(), retry_after_s=retry_after_s)

    def _region_hint(self) -> Text:
        others = [name for region, name in _REGION_NAMES.items() if region != self._region]
        zh = "、".join(name.zh for name in others)
        en = ", ".join(name.en for name in others)
        kind = next(
            (text for start, text in _KEY_KINDS if self._key.startswith(start)), Text("", "")
        )
        return Text(
            f"{kind.zh}密钥只在签发它的地域有效：请检查 DASHSCOPE_API_KEY；若密钥属于{zh}，"
            "请改 DASHSCOPE_BASE_URL。",
            f"{kind.en}Keys work only in the region that issued them: check DASHSCOPE_API_KEY, or, if the "
            f"key is from {en}, change DASHSCOPE_BASE_URL.",
        )


_KEY_KINDS: tuple[tuple[str, Text], ...] = (
    (
        "sk-sp-",
        Text(
            "这是 Token Plan 的密钥：它用另一个地址（token-plan.….maas.aliyuncs.com），条款不许批量自动调用。",
            "This is a Token Plan key: it has an address of its own (token-plan.….maas.aliyuncs.com), "
            "and its terms exclude automated bulk use. ",
        ),
    ),
    (
        "st-",
        Text(
            "这是临时密钥，最多活 30 分钟，多半已过期。",
            "This is a temporary key: it lives 30 minutes at most and has probably expired. ",
        ),
    ),
    (
        "sk-ws-",
        Text(
            "这是业务空间的密钥，只在它的业务空间里有效。",
            "This is a workspace's key, good only for that workspace. ",
        ),
    ),
)
"""What a key's first letters tell (third-party surveys of 2026, Model Studio's page on keys)."""

_GATEWAY = frozenset({502, 504})
"""From a gateway in front of the service: what the service itself did is unknown."""

_NO_LANE = Text(
    "模型 {model} 没有 {lane} 通道；没有发出，没有花钱。",
    "The model {model} has no {lane} lane; nothing was sent, nothing was spent.",
)


def _native(url: str) -> str:
    """The native base: people also set the compatible-mode address, or none of the path."""
    url = url.strip().rstrip("/")
    url = url.removesuffix("/compatible-mode/v1").removesuffix("/compatible-mode")
    return url if urlsplit(url).path else url + "/api/v1"


def _region(named: str, url: str) -> Region:
    if region := REGIONS.get(named.strip().lower()):
        return region
    host = urlsplit(url).hostname or ""
    for word, region in REGIONS.items():
        if f".{word}." in host or f"dashscope-{word}." in host:
            return region
    return "beijing"


def _refused(text: Text) -> Refused:
    return Refused(text.zh, text.en)


def _no_picture(where: Text) -> TaskFailed:
    return TaskFailed(
        f"{where.zh}说任务成功，却没有给出图，也没有计费；会再试。",
        f"{where.en} calls the task a success but handed over no picture and counts none; "
        "not billed, it is tried again.",
    )
