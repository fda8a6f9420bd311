"""What a service said, as one of our errors: the same sentences for every service of this room.

A provider brings a table from its codes to what they mean (`Kind`) and a way to read an answer;
`Voice` turns an answer into the error that the engine acts on. Two rules decide about money:
whoever said no in plain words accepted nothing; whoever said nothing readable may have.

May import: endpoint, errors, lang.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from redloom.endpoint import Answer
from redloom.errors import (
    AccountEmpty,
    AnswerLost,
    ContentRefused,
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

Kind = Literal[
    "rate",
    "burst",
    "concurrency",
    "quota",
    "congestion",
    "refused",
    "content",
    "output",
    "key",
    "empty",
    "closed",
    "unavailable",
    "failed",
    "lost",
]
"""What an error means. ``content``: the words or a reference were refused; ``output``: the
picture was, so another seed may pass. ``empty``: no money or quota left until a person acts.
``closed``: model or address not open to this account. ``failed``: taken, but no picture came.
``lost``: perhaps made."""

QUOTA_WAIT_S = 15 * 60.0
"""A quota that opens again within this is waited for; beyond, the account is used up."""

CODE_MOST, MESSAGE_MOST = 120, 600
"""Characters of a service's own words that are kept."""

_GATEWAY = frozenset({408, 425, 499, 502, 504, 520, 522, 524})
"""From something in front of the service: what the service itself did is unknown."""


@dataclass(frozen=True, slots=True)
class Said:
    """An error in the service's own words. ``retry_after_s`` in nominal seconds, if told."""

    code: str
    message: str = ""
    status: int = 0
    """The HTTP status it came with; 0 inside a task or in the place of a picture."""
    retry_after_s: float | None = None

    def __post_init__(self) -> None:
        # A page of HTML, or a megabyte, in the place of a word: the journal keeps it, people see it.
        object.__setattr__(self, "code", self.code[:CODE_MOST])
        object.__setattr__(self, "message", self.message[:MESSAGE_MOST])


@dataclass(frozen=True, slots=True)
class Voice:
    """How one endpoint's answers are read and retold.

    ``where`` names the service, ``read`` finds the error in an answer (None: it said none),
    ``kind_of`` says what it means, ``hints`` are added to the sentence of a kind.
    """

    where: Text
    read: Callable[[Answer], Said | None]
    kind_of: Callable[[Said], Kind]
    key: str = field(default="", repr=False)
    hints: Mapping[Kind, Text] = field(default_factory=dict)

    def said(self, answer: Answer) -> Said | None:
        """The error in an answer, with the key masked should the service have repeated it."""
        found = self.read(answer)
        if found is not None and self.key:
            found = replace(found, message=found.message.replace(self.key, "***"))
        return found

    def submit_error(self, answer: Answer) -> ServiceError:
        """What to raise for a create call that was not answered with a picture or a ticket."""
        if answer.status in _GATEWAY:
            return self.lost(answer.status)
        if (error := self.said(answer)) is not None:
            return self.error(error)
        if 300 <= answer.status < 500:
            return self._turned_away(answer)
        return self.lost(answer.status)

    def query_error(self, answer: Answer) -> ServiceError:
        """A query's refusal: it says nothing about a picture, only about asking."""
        error = self.said(answer)
        if error is not None:
            raised = self.error(error)
        elif answer.status in (401, 429):
            raised = self._turned_away(answer)
        else:
            return self.unreadable(answer.status)
        if isinstance(raised, EndpointStopped | Throttled | Unavailable):
            return raised
        return self.unreadable(answer.status, raised.service_code)

    async def query(self, asking: Awaitable[Answer]) -> Answer:
        """The answer to a query. That none came means only: ask again. Raises Unavailable."""
        return await query(asking)

    def error(self, said: Said) -> ServiceError:
        """The error that ``said`` means."""
        kind = self.kind_of(said)
        zh, en = self._filled(_SENTENCES[kind], said)
        hint = self.hints.get(kind, Text("", ""))
        zh, en, code = zh + hint.zh, (en + " " + hint.en).strip(), said.code
        match kind:
            case "rate" | "burst" | "concurrency" | "quota" | "congestion":
                wait = said.retry_after_s
                wait = None if wait is None else min(wait, QUOTA_WAIT_S)
                return Throttled(zh, en, kind=kind, retry_after_s=wait, service_code=code)
            case "unavailable":
                return Unavailable(zh, en, retry_after_s=said.retry_after_s, service_code=code)
            case "content" | "output":
                may_pass = kind == "output"
                return ContentRefused(zh, en, other_seed_may_pass=may_pass, service_code=code)
            case _:
                return _CLASSES[kind](zh, en, service_code=code)

    def task_error(self, said: Said) -> ServiceError:
        """What became of an accepted task that ended with ``said``: never "ask again later"."""
        if self.kind_of(said) in ("refused", "content", "output", "empty", "closed", "key"):
            return self.error(said)
        zh, en = self._filled(_SENTENCES["failed"], said)
        return TaskFailed(zh, en, service_code=said.code)

    def lost(self, status: int) -> AnswerLost:
        """A create call whose answer says nothing about what became of it."""
        return AnswerLost(
            f"{self.where.zh}回了 HTTP {status}，看不出是否收下了请求；图可能在做并计费，"
            "先核对，不会重复提交。",
            f"{self.where.en} answered HTTP {status} without saying whether it took the request; "
            "the picture may be made and billed, so it is not simply sent again.",
        )

    def unreadable(self, status: int, service_code: str = "") -> Unavailable:
        """A query without a usable answer."""
        return unreadable(self.where, status, service_code)

    def _turned_away(self, answer: Answer) -> ServiceError:
        """A refusal without the service's own words, so from something in front of it."""
        said = Said(f"HTTP {answer.status}", "", answer.status, answer.retry_after_s())
        kinds: Mapping[int, Kind] = {401: "key", 404: "closed", 405: "closed", 429: "rate"}
        return replace(
            self, kind_of=lambda _said: kinds.get(answer.status, "unavailable"), hints=self.hints
        ).error(said)

    def _filled(self, text: Text, said: Said) -> Text:
        quoted = f"{said.code}: {said.message}".rstrip(": ")
        return Text(
            text.zh.replace("{where}", self.where.zh).replace("{said}", quoted),
            text.en.replace("{where}", self.where.en).replace("{said}", quoted),
        )


async def query(asking: Awaitable[Answer]) -> Answer:
    """The answer to a query. That none came means only: ask again. Raises Unavailable."""
    try:
        return await asking
    except AnswerLost as lost:
        raise Unavailable(
            f"{lost.text.zh}这是查询，不花钱，会再问。",
            f"{lost.text.en} It was a query, which costs nothing; it is asked again.",
        ) from lost


def unreadable(where: Text, status: int, service_code: str = "") -> Unavailable:
    """A query to the service called ``where`` without a usable answer."""
    told = f", {service_code}" if service_code else ""
    return Unavailable(
        f"{where.zh}的查询没有得到可用的回答（HTTP {status}{told}）；查询不花钱，会再问。",
        f"A query to {where.en} got no usable answer (HTTP {status}{told}); "
        "queries cost nothing, it is asked again.",
        service_code=service_code,
    )


def withheld(where: Text) -> Withheld:
    """A task of the service called ``where`` that is called made and has no readable picture."""
    return Withheld(
        f"{where.zh}说图已做成，却没有给出读得懂的图；可能已计费，再问几次，不会重复提交。",
        f"{where.en} calls the picture made but handed over none that can be read; it may be "
        "billed, so it is asked for a few times more and not sent again.",
    )


def by_status(status: int) -> Kind:
    """What an error means whose code no table has: a doubt costs less than a second picture."""
    if status >= 500 or status < 400:
        return "lost"
    kinds: Mapping[int, Kind] = {
        401: "key",
        402: "empty",
        403: "closed",
        404: "closed",
        429: "rate",
    }
    return kinds.get(status, "refused")


_CLASSES: Mapping[Kind, type[ServiceError]] = {
    "refused": Refused,
    "key": KeyRefused,
    "empty": AccountEmpty,
    "closed": NotAllowed,
    "failed": TaskFailed,
    "lost": AnswerLost,
}

_SLOWER = Text(
    "{where}要求放慢（{said}）；没有花钱，等一等自动继续。",
    "{where} asks to slow down ({said}); nothing was spent, it goes on by itself.",
)
_CONTENT = Text(
    "{where}的内容审核没有通过（{said}）；没有花钱，请改写提示词。",
    "{where} refused the content ({said}); nothing was spent. Reword the prompt.",
)
_SENTENCES: Mapping[Kind, Text] = {
    "rate": _SLOWER,
    "burst": _SLOWER,
    "concurrency": _SLOWER,
    "quota": _SLOWER,
    "congestion": _SLOWER,
    "content": _CONTENT,
    "output": _CONTENT,
    "refused": Text(
        "{where}不接受这个请求（{said}）；没有花钱，请改提示词或参数。",
        "{where} does not accept the request ({said}); nothing was spent. Change the prompt or "
        "its parameters.",
    ),
    "key": Text(
        "{where}不认这个密钥（{said}）；没有花钱。",
        "{where} did not accept the key ({said}); nothing was spent.",
    ),
    "empty": Text(
        "{where}说账户不能再用：欠费，或套餐、免费额度用完（{said}）；没有花钱。"
        "请到控制台处理后再 resume。",
        "{where} says that the account cannot go on: arrears, or a plan or free quota used up "
        "({said}); nothing was spent. Settle it in the console, then resume.",
    ),
    "closed": Text(
        "{where}不向这个账户开放该模型或地址（{said}）；没有花钱。请核对模型名、地址和权限。",
        "{where} does not open this model or address to the account ({said}); nothing was spent. "
        "Check the model's name, the address and the permissions.",
    ),
    "unavailable": Text(
        "{where}暂时不能服务（{said}）；没有花钱，稍后再试。",
        "{where} cannot serve just now ({said}); nothing was spent, it is asked again later.",
    ),
    "failed": Text(
        "{where}接受了任务但没有做成（{said}）；失败不计费。",
        "{where} took the task but failed to make the picture ({said}); failures are not billed.",
    ),
    "lost": Text(
        "{where}没有给出结果（{said}）；图可能已经生成并计费，先核对，不会重复提交。",
        "{where} gave no result ({said}); the picture may be made and billed, so it is not "
        "simply sent again.",
    ),
}

__all__ = ["QUOTA_WAIT_S", "Kind", "Said", "Voice", "by_status", "query", "unreadable", "withheld"]
