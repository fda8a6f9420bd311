"""Words in the language of whoever reads them, also where one frame goes to many readers.

The journal keeps an outcome's sentence in one language, that of the process which wrote it. A
reader of the other language is given a sentence by the outcome's code; what was recorded stays
beside it.

May import: lang.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redloom.lang import Lang, Text

LANGS: tuple[Lang, Lang] = ("zh", "en")
_LETTERS_OF_A_SIGN = 4
"""A Chinese sign says about as much as so many Latin letters."""


class Said(str):
    """A sentence in the language in force that remembers itself in both."""

    text: Text

    def __new__(cls, text: Text) -> Said:
        made = super().__new__(cls, str(text))
        made.text = text
        return made


def in_language(data: Any, lang: Lang) -> Any:
    """JSON with every `Said` in ``lang``."""
    if isinstance(data, Said):
        return getattr(data.text, lang)
    if isinstance(data, Mapping):
        return {name: in_language(one, lang) for name, one in data.items()}
    if isinstance(data, list | tuple):
        return [in_language(one, lang) for one in data]
    return data


def language_of(text: str) -> Lang:
    """In which of our two languages a sentence is; one that quotes the other is told by its bulk."""
    signs = sum("\u4e00" <= letter <= "\u9fff" for letter in text)
    latin = sum(letter.isascii() and letter.isalpha() for letter in text)
    return "zh" if signs * _LETTERS_OF_A_SIGN > latin else "en"


def outcome_words(status: str, code: str, recorded: str) -> Said:
    """Why a row ended as it did: as recorded, and by its code in the other language."""
    if not recorded:
        return Said(Text("", ""))
    known = _BY_CODE.get(code) or _BY_STATUS.get(status)
    if known is None:
        return Said(Text(recorded, recorded))
    if code and code not in _BY_CODE:  # the service's own word for it
        known = Text(f"{known.zh}（{code}）", f"{known.en} ({code})")
    if language_of(recorded) == "zh":
        return Said(Text(recorded, known.en))
    return Said(Text(known.zh, recorded))


_BY_STATUS = {
    "invalid": Text("这一行不能用；没有花钱。", "This row cannot be used; nothing was spent."),
    "refused": Text("服务拒绝画这张；没有花钱。", "The service refused to make it; nothing was spent."),
    "failed": Text("没有做成；可以重试。", "It was not made; it can be tried again."),
    "in-doubt": Text("回答丢了，可能已经画好并计费；请不要急着重买。", "The answer was lost; it may be made and billed, so do not hurry to buy it again."),
    "cancelled": Text("已取消。", "Cancelled."),
    "unpaid": Text("预算不够，没有买。", "The budget does not reach; it was not bought."),
}  # fmt: skip
_BY_CODE = {
    "bad-input": Text("这一行不能用（看它的提示词、尺寸和各列）；没有花钱。", "This row cannot be used (see its prompt, size and columns); nothing was spent."),
    "no-model": Text("没有端点能这样画；没有花钱。", "No endpoint can make it as asked; nothing was spent."),
    "budget": _BY_STATUS["unpaid"],
    "refused": _BY_STATUS["refused"],
    "content-refused": Text("内容审核没有通过；改一改提示词再试。没有花钱。", "Moderation refused it; change the prompt and try again. Nothing was spent."),
    "throttled": Text("限额用完，一直没轮到；没有花钱，可以重试。", "The quota was used up and its turn never came; nothing was spent, it can be tried again."),
    "unavailable": Text("服务一直不可用；没有花钱，可以重试。", "The service stayed unavailable; nothing was spent, it can be tried again."),
    "not-sent": Text("连不上服务；没有花钱，可以重试。", "The service could not be reached; nothing was spent, it can be tried again."),
    "never-arrived": Text("请求一直没有到达服务；没有花钱，可以重试。", "The request never reached the service; nothing was spent, it can be tried again."),
    "task-failed": Text("服务接了任务但没有画成；没有计费，可以重试。", "The service took the task and did not make it; not billed, it can be tried again."),
    "answer-lost": _BY_STATUS["in-doubt"],
    "withheld": Text("服务说画好了，却没有给图；可能已计费，再运行会再问，不会自己重买。", "The service calls it made and handed no picture over; it may be billed. The next start asks again and does not buy it again by itself."),
    "elsewhere": Text("同一张图正由别处在做；等它结束再看。", "The same picture is being made elsewhere; look again when that ends."),
    "unknown": Text("服务不再认得这个任务，图取不回来；可能已计费。", "The service no longer knows the task and the picture cannot be fetched; it may be billed."),
    "key-refused": Text("密钥被拒：错了、过期，或属于另一地域。没有花钱。", "The key was refused: wrong, expired, or another region's. Nothing was spent."),
    "account-empty": Text("账户欠费，或额度、套餐用完；没有花钱。", "The account is in arrears, or its plan or quota is used up; nothing was spent."),
    "not-allowed": Text("这个账户没有开通这个模型；没有花钱。", "This account may not use the model; nothing was spent."),
    "endpoint-stopped": Text("端点停用，要有人处理；没有花钱。", "The endpoint is out of use until a person acts; nothing was spent."),
    "picture": Text("图已付款，但还没取回来；重试不会再买。", "The picture is paid for but not here yet; trying again does not buy it again."),
    "fetch-failed": Text("图已付款，下载一直失败；重试不会再买。", "The picture is paid for, its download kept failing; trying again does not buy it again."),
    "link-expired": Text("图已付款，链接过期了；重试会要新链接，不会再买。", "The picture is paid for, its link has expired; trying again asks for a new one and does not buy it again."),
    "not-a-picture": Text("已付款，但取回来的不是完整的图。", "It is paid for, but what came back is no whole picture."),
    "unsafe-link": Text("已付款，但链接指向不该去的地方，没有下载。", "It is paid for, but the link points where we do not go; it was not fetched."),
    "disk": Text("磁盘满了或不能写；什么都没丢，腾出空间再继续。", "The disk is full or cannot be written; nothing is lost, make room and go on."),
    "bug": Text("程序内部出错，详情在日志里。", "An internal error; the log has the details."),
    "cancelled": _BY_STATUS["cancelled"],
}  # fmt: skip


def stopped_words(reason: str, known: Text | None) -> Said:
    """Why an endpoint is out of use: in both languages where that was heard, else as it is."""
    return Said(known if known is not None and reason in known else Text(reason, reason))
