"""What only the real service can tell, asked of it for a stated price, every exchange recorded.

A few more tasks are submitted than may run at once; what is then queued is cancelled unpaid. From
that come: does the service queue or refuse, how long a task is missing from the list, how large a
page may be, whether a waiting task can be cancelled, whether the prompt is told back, how long a
link lives and whether asking again renews it, and which labels the file carries.

Recordings hold no key, and ids and signatures only under made-up names.
May import: clock, endpoint, errors, lang, metadata, wire, bench.recording.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from redloom.clock import Clock, held
from redloom.endpoint import Asked, Canceled, Failed, Made, Outcome, Provider, Ticket, Waiting
from redloom.errors import ServiceError, Throttled
from redloom.lang import Text
from redloom.metadata import read_label
from redloom.wire import Answer

from .recording import Recorder

BEYOND = 3
"""How many more are submitted than may run at once."""
LOOK_S, POLL_S = 0.5, 3.0
LIST_PATIENCE_S = 30.0
PATIENCE_S = 600.0
PAGES = (500, 100, 50)
PROMPT = "a red paper lantern on a white wall, number {number}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One question with its answer. ``value`` None: not settled."""

    name: str
    value: Any
    text: Text


@dataclass
class Probe:
    """One endpoint being asked. `run` spends at most ``tasks`` pictures."""

    provider: Provider
    recorder: Recorder
    clock: Clock
    slots: int
    accepted: list[tuple[Ticket, float]] = field(default_factory=list)
    refused: list[Throttled] = field(default_factory=list)
    ends: dict[str, Outcome] = field(default_factory=dict)
    most_running: int = 0
    most_waiting: int = 0
    cancelled: int = 0
    asked_to_cancel: int = 0
    data: bytes = b""

    @property
    def tasks(self) -> int:
        """Pictures submitted at most."""
        return self.slots + BEYOND

    async def run(self) -> list[Finding]:
        """Ask everything. Raises ServiceError where the service cannot be asked at all."""
        await self.provider.check()
        await self._submit_all()
        lag = await self._list_lag()
        page = await self._page()
        await self._watch()
        told = [made for made in self.ends.values() if isinstance(made, Made)]
        link = await self._link(told[0]) if told else None
        return [
            self._queues(), lag, page, self._cancels(), self._throttling(), _tells(told),
            *(link or [_open("link", "没有做成的图，看不到链接", "no picture was made: no link to look at")]),
            self._bill(),
        ]  # fmt: skip

    async def _submit_all(self) -> None:
        rate = self.provider.limits().submit_per_second or 1.0
        for number in range(self.tasks):
            asked = Asked(PROMPT.format(number=number), model="", options={})
            try:
                answer = await self.provider.submit(self.provider.fit(asked).asked, "async")
            except Throttled as refused:
                self.refused.append(refused)
            else:
                assert isinstance(answer, Ticket)
                self.accepted.append((answer, self.clock.now()))
            await self.clock.sleep(1.0 / rate)

    # the list

    async def _rows(self, size: int) -> Answer:
        """One raw page of the account's list of the last hour."""
        now = self.clock.now()
        query = {
            "start_time": _stamp(now - 3600), "end_time": _stamp(now + 60),
            "page_no": "1", "page_size": str(size),
        }  # fmt: skip
        return await self.recorder.get("/tasks/", query=query)

    async def _list_lag(self) -> Finding:
        """How long the newest task is missing from the list."""
        if not self.accepted:
            return _open("list-lag", "没有受理的任务", "nothing was accepted")
        ticket, at = self.accepted[-1]
        while self.clock.now() - at < LIST_PATIENCE_S:
            answer = await self._rows(100)
            rows = (answer.body or {}).get("data") or []
            if any(row.get("task_id") == ticket.id for row in rows):
                lag = round(self.clock.now() - at, 1)
                text = Text(
                    f"任务在提交后 {lag} 秒内进入列表",
                    f"a task is in the list within {lag} s of its submit",
                )
                return Finding("list-lag", lag, text)
            await self.clock.sleep(LOOK_S)
        return _open("list-lag", "30 秒里没有进入列表", "not in the list within 30 s")

    async def _page(self) -> Finding:
        """The largest page that is taken."""
        for size in PAGES:
            answer = await self._rows(size)
            said = (answer.body or {}).get("page_size")
            if answer.status == 200 and isinstance(said, int):
                text = Text(
                    f"要 {size} 行一页，服务按 {said} 行给",
                    f"asked for pages of {size} rows, the service gives {said}",
                )
                return Finding("page-size", min(size, said), text)
        return _open("page-size", "列表拒绝了各种页长", "the list took none of the sizes tried")

    # the tasks

    async def _watch(self) -> None:
        """Poll everything to its end; cancel what waits once it is clear that it waits."""
        give_up = self.clock.now() + PATIENCE_S
        while len(self.ends) < len(self.accepted) and self.clock.now() < give_up:
            await self.clock.sleep(POLL_S)
            waiting = await self._poll_all()
            for ticket in waiting:
                self.asked_to_cancel += 1
                try:
                    self.cancelled += await self.provider.cancel(ticket)
                except ServiceError:
                    continue

    async def _poll_all(self) -> list[Ticket]:
        """Every open task once; those that wait at the service."""
        waiting, running = [], 0
        for ticket, _ in self.accepted:
            if ticket.id in self.ends:
                continue
            try:
                outcome = await self.provider.poll(ticket)
            except ServiceError:
                continue
            if not isinstance(outcome, Waiting):
                self.ends[ticket.id] = outcome
            elif outcome.running:
                running += 1
            else:
                waiting.append(ticket)
        self.most_running = max(self.most_running, running)
        self.most_waiting = max(self.most_waiting, len(waiting))
        return waiting

    # the link and the file

    async def _link(self, made: Made) -> list[Finding]:
        ticket = next(t for t, _ in self.accepted if self.ends.get(t.id) is made)
        again = await self.provider.poll(ticket)
        fresh = isinstance(again, Made) and again.picture.url != made.picture.url
        found = [
            _life(made.picture.url, self.clock.now()),
            Finding(
                "link-renewed",
                fresh,
                Text("再查一次，链接会重新签", "asking again signs the link anew")
                if fresh
                else Text("再查一次，链接不变", "asking again gives the same link"),
            ),
        ]
        with held():
            self.data = await self.recorder.file(made.picture.url)
        return [*found, *_labels(self.data)]

    # answers

    def _queues(self) -> Finding:
        concurrency = [one for one in self.refused if one.kind == "concurrency"]
        if concurrency:
            taken = len(self.accepted)
            text = Text(
                f"超出的被拒：受理 {taken} 个后得到 429",
                f"excess is refused: a 429 after {taken} accepted",
            )
            return Finding("over-the-limit", "reject", text)
        if self.most_waiting:
            text = Text(
                f"超出的排队：{self.most_running} 个在做，{self.most_waiting} 个 PENDING",
                f"excess queues: {self.most_running} running, {self.most_waiting} PENDING",
            )
            return Finding("over-the-limit", "queue", text)
        return _open(
            "over-the-limit",
            f"{self.tasks} 个都没有等待：上限比公布的高",
            f"none of {self.tasks} waited: the limit is above the published one",
        )

    def _cancels(self) -> Finding:
        if not self.asked_to_cancel:
            return _open("cancel", "没有等待的任务可取消", "there was no waiting task to cancel")
        text = Text(
            f"取消等待中的任务：{self.asked_to_cancel} 次成功 {self.cancelled} 次",
            f"cancelling waiting tasks: {self.cancelled} of {self.asked_to_cancel} worked",
        )
        return Finding("cancel", self.cancelled > 0, text)

    def _throttling(self) -> Finding:
        if not self.refused:
            return _open("retry-after", "没有遇到 429", "no 429 was met")
        known = [one.retry_after_s for one in self.refused if one.retry_after_s is not None]
        codes = ", ".join(sorted({one.service_code or one.kind for one in self.refused}))
        said = f"Retry-After {known}" if known else "no Retry-After"
        return Finding(
            "retry-after", bool(known), Text(f"429：{codes}；{said}", f"429: {codes}; {said}")
        )

    def _bill(self) -> Finding:
        made = sum(isinstance(one, Made) for one in self.ends.values())
        cancelled = sum(isinstance(one, Canceled) for one in self.ends.values())
        failed = sum(isinstance(one, Failed) for one in self.ends.values())
        still = len(self.accepted) - len(self.ends)
        return Finding(
            "bill",
            made + still,
            Text(
                f"做成 {made} 张（计费），取消 {cancelled}、失败 {failed}（不计费），未完 {still}",
                f"{made} made (billed), {cancelled} cancelled and {failed} failed (not billed), {still} unfinished",
            ),
        )


def _open(name: str, zh: str, en: str) -> Finding:
    """A question that stays open."""
    return Finding(name, None, Text(zh, en))


def _tells(made: list[Made]) -> Finding:
    if not made:
        return _open("prompt-told", "没有做成的图", "no picture was made")
    told = bool(made[0].original_prompt)
    return Finding(
        "prompt-told",
        told,
        Text("结果里带回原来的提示词", "the result tells the original prompt")
        if told
        else Text("结果里不带原来的提示词", "the result does not tell the original prompt"),
    )


def _life(url: str, now: float) -> Finding:
    """What the link says of its own life: OSS's ``Expires`` is a Unix time."""
    said = parse_qs(urlsplit(url).query).get("Expires", [""])[0]
    if not said.isdigit():
        return _open("link-life", "链接没有写明期限", "the link does not say when it expires")
    hours = round((int(said) - now) / 3600, 1)
    return Finding(
        "link-life", hours, Text(f"链接还能用 {hours} 小时", f"the link is good for {hours} h")
    )


def _labels(data: bytes) -> list[Finding]:
    label = read_label(data)
    signed = b"c2pa" in data
    digest = hashlib.sha256(data).hexdigest()[:12]
    return [
        Finding(
            "aigc-label",
            label or False,
            Text(f"文件带 AIGC 标识：{sorted(label)}", f"the file carries an AIGC label: {sorted(label)}")
            if label
            else Text("文件不带 AIGC 标识", "the file carries no AIGC label"),
        ),
        Finding(
            "c2pa",
            signed,
            Text(f"文件{'带' if signed else '不带'} C2PA（{len(data)} 字节，{digest}）",
                 f"the file carries {'' if signed else 'no '}C2PA ({len(data)} bytes, {digest})"),
        ),
    ]  # fmt: skip


def _stamp(moment: float) -> str:
    """The list's own form of time: Beijing's, without a zone."""
    from datetime import UTC, datetime, timedelta

    return (datetime.fromtimestamp(moment, UTC) + timedelta(hours=8)).strftime("%Y%m%d%H%M%S")
