"""The writer that asks a model: any OpenAI-compatible chat service, held to the story's facts.

What comes back is checked as data, against the platform's limits and against the story; all
that is wrong is fed back at once, one time. What is still wrong then is a failure, said plainly.
May import: errors, lang, clock, typeset.content, note.source, note.plan, note.rules, note.text,
note.markdown, note.faithful, note.pictures, note.chat, note.writer.
"""

from __future__ import annotations

import hashlib
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from redloom.clock import Clock, SystemClock
from redloom.errors import BadSettings, Refused
from redloom.lang import Text
from redloom.typeset.content import Block, Figure

from . import markdown
from .chat import DASHSCOPE, INSTEAD_EN, INSTEAD_ZH, MODEL, Chat, Messages
from .faithful import problems
from .pictures import STYLES
from .plan import CoverText, Hook, NotePlan, PicturePrompt, Title
from .rules import LIMITS, Post, check, shorten_title, tidy_tags, title_length
from .source import Source
from .text import phrases_of
from .writer import Wish, Written

TEMPLATES = ("system.md", "story.md", "repair.md")
"""The prompt files; a user's folder may hold its own version of any of them."""


class _Answer(BaseModel):
    """What a model must answer. Unknown fields are let be; known ones must be right."""

    model_config = ConfigDict(extra="ignore")

    titles: list[_Title] = Field(min_length=5, max_length=8)
    body: str = Field(min_length=1)
    tags: list[str] = Field(min_length=1)
    cover: CoverText
    pages: list[str] = Field(min_length=1, max_length=17)
    pictures: list[_Picture] = Field(default_factory=list)
    closing: str = ""

    @field_validator("pages", mode="before")
    @classmethod
    def _texts(cls, value: object) -> object:
        """Pages as strings, also where a model wrapped each in an object."""
        if isinstance(value, list):
            return [
                page.get("markdown", page.get("text", "")) if isinstance(page, dict) else page
                for page in value
            ]
        return value


class _Title(BaseModel):
    text: str = Field(min_length=1)
    hook: Hook = "detail"

    @field_validator("hook", mode="before")
    @classmethod
    def _known(cls, value: object) -> object:
        return value if value in get_args(Hook) else "detail"


class _Picture(BaseModel):
    page: int = Field(ge=0)
    prompt: str = Field(min_length=1)


_Answer.model_rebuild()


class ChatWriter:
    """Writes through a chat service. ``prompts`` is a folder with the user's own templates.

    Raises BadSettings where there is no key or a template is missing.
    """

    name = "llm"

    def __init__(
        self,
        key: str,
        *,
        model: str = MODEL,
        base_url: str = DASHSCOPE,
        prompts: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        if not key.strip():
            raise BadSettings(
                f"文字服务没有密钥；请设置 DASHSCOPE_API_KEY 或 OPENAI_API_KEY。{INSTEAD_ZH}",
                f"There is no key for the text service; set DASHSCOPE_API_KEY or OPENAI_API_KEY. {INSTEAD_EN}",
            )
        self._key = key.strip()
        self._model = model
        self._base_url = base_url
        self._clock = clock or SystemClock()
        self._templates = {name: _template(name, prompts) for name in TEMPLATES}

    @property
    def identity(self) -> str:
        """Model, host and templates; nothing secret."""
        texts = "\0".join(self._templates.values()).encode()
        host = urlsplit(self._base_url).hostname or self._base_url
        return f"llm/{self._model}@{host}/{hashlib.sha256(texts).hexdigest()[:12]}"

    async def write(self, source: Source, wish: Wish) -> Written:
        """The plan, after at most one round of repair. Raises what `Chat.ask` raises, and Refused
        where the second answer is wrong too."""
        chat = Chat(self._key, self._clock, self._model, self._base_url)
        messages = self._messages(source, wish)
        answer = await chat.ask(messages)
        plan, wrong = _judged(answer, source, wish)
        if wrong:
            repair = _filled(
                self._templates["repair.md"], problems="\n".join(f"- {one}" for one in wrong)
            )
            messages += [
                {"role": "assistant", "content": answer},
                {"role": "user", "content": repair},
            ]
            plan, wrong = _judged(await chat.ask(messages), source, wish)
        if plan is None or any(one in wrong for one in _grave(wrong)):
            raise _not_good(wrong)
        return Written(_within(plan), _softened(plan, wrong), {"model": self._model} | chat.usage)

    def _messages(self, source: Source, wish: Wish) -> Messages:
        look = STYLES.get(wish.style, (wish.style, wish.style))[0]
        pages = f"，一共 {wish.pages} 页" if wish.pages else ""
        system = _filled(
            self._templates["system.md"],
            max_body=str(LIMITS["content"] - 100),
            style=look,
            pages_wish=pages,
        )
        story = _filled(
            self._templates["story.md"], title=source.title or "（没有标题）", story=source.plain
        )
        return [{"role": "system", "content": system}, {"role": "user", "content": story}]


def _template(name: str, folder: Path | None) -> str:
    own = folder / name if folder else None
    if own is not None and own.is_file():
        return own.read_text(encoding="utf-8")
    if folder is not None and not folder.is_dir():
        raise BadSettings(
            f"提示词文件夹 {folder} 不存在；里面可放 {'、'.join(TEMPLATES)}。",
            f"The prompt folder {folder} does not exist; it may hold {', '.join(TEMPLATES)}.",
        )
    return files(__package__).joinpath("prompts", name).read_text(encoding="utf-8")


def _filled(template: str, **values: str) -> str:
    """``{{name}}`` replaced once, from left to right: a value's own braces stay as they are."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values.get(found[1], found[0]), template)


def object_in(answer: str) -> Any:
    """The JSON object in a model's answer, fenced or not, thoughts before it left out.

    Raises ValueError where there is none.
    """
    answer = re.sub(r"<think>.*?</think>", "", answer, flags=re.DOTALL)
    start = answer.find("{")
    if start < 0:
        raise ValueError("no JSON object")
    found, _ = json.JSONDecoder(strict=False).raw_decode(answer, start)
    return found


def _judged(text: str, source: Source, wish: Wish) -> tuple[NotePlan | None, list[str]]:
    """The plan in an answer (``None`` where it has no shape), and everything wrong with it."""
    try:
        answer = _Answer.model_validate(object_in(text))
    except ValidationError as error:
        return None, [f"{'.'.join(map(str, one['loc']))}：{one['msg']}" for one in error.errors()]
    except ValueError as error:
        return None, [f"不是一个完整的 JSON 对象（{error}）"]
    plan = _plan(answer, source, wish)
    shown = "\n".join([answer.body, *(text for block in plan.blocks for text in phrases_of(block))])
    others = [
        *(title.text for title in answer.titles),
        *answer.cover.model_dump().values(),
        answer.closing,
    ]
    story = f"{source.title}\n{source.plain}"
    return plan, _over_limits(answer) + problems(story, shown, others)


def _over_limits(answer: _Answer) -> list[str]:
    """Breaches of the platform's limits, in words for the writer."""
    wrong = [
        f"标题“{title.text}”是 {title_length(title.text)} 字，超过 {LIMITS['title']} 字"
        for title in answer.titles
        if title_length(title.text) > LIMITS["title"]
    ]
    texts = [title.text for title in answer.titles[:5]]
    wrong += ["五个标题要各不相同"] if len(set(texts)) < len(texts) else []
    post = Post("", answer.body, ())
    return wrong + [one.message.zh for one in check(post)]


def _grave(wrong: list[str]) -> list[str]:
    """What must not be let through: anything but titles that can be cut."""
    return [one for one in wrong if not one.startswith("标题“")]


def _plan(answer: _Answer, source: Source, wish: Wish) -> NotePlan:
    blocks: list[Block] = []
    starts: list[int] = []
    for page in answer.pages:
        starts.append(len(blocks))
        blocks += markdown.parse(page)
    own = [block for block in source.blocks if isinstance(block, Figure)]
    return NotePlan(
        titles=tuple(Title(text=one.text.strip(), hook=one.hook) for one in answer.titles[:5]),
        body=answer.body.replace("\\n", "\n").strip(),
        tags=tidy_tags([*source.tags, *answer.tags]),
        cover=answer.cover,
        blocks=(*blocks, *own),
        page_breaks=tuple(at for at in starts[1:] if 0 < at < len(blocks)),
        prompts=_prompts(answer, [*starts, len(blocks)]),
        closing=answer.closing,
        author=wish.author or source.author,
    )


def _prompts(answer: _Answer, starts: list[int]) -> tuple[PicturePrompt, ...]:
    prompts = []
    for one in answer.pictures:
        purpose: Literal["cover", "page"] = "page" if one.page else "cover"
        before = starts[min(one.page, len(starts) - 1)]
        prompts.append(PicturePrompt(purpose=purpose, prompt=one.prompt.strip(), before=before))
    return tuple(sorted(prompts, key=lambda prompt: prompt.purpose != "cover"))


def _within(plan: NotePlan) -> NotePlan:
    titles = tuple(
        title.model_copy(update={"text": shorten_title(title.text)}) for title in plan.titles
    )
    return plan.model_copy(update={"titles": titles})


def _softened(plan: NotePlan, wrong: list[str]) -> tuple[Text, ...]:
    """A warning for each of the model's titles that was cut to the limit."""
    if not wrong:
        return ()
    cut = [title.text for title in plan.titles if title_length(title.text) > LIMITS["title"]]
    return tuple(
        Text(
            f"模型给的标题“{text}”超长，已截短为“{shorten_title(text)}”。",
            f"The model's title “{text}” was too long and was cut to “{shorten_title(text)}”.",
        )
        for text in cut
    )


def _not_good(wrong: list[str]) -> Refused:
    listed = "；".join(wrong[:4])
    return Refused(
        f"模型改过一次仍不合格（{listed}）；文字调用已计费，笔记没有写出。可再试一次、换一个模型，{INSTEAD_ZH}",
        f"The model's text is still wrong after one repair ({listed}); the calls are billed, no note was written. Try again or another model. {INSTEAD_EN}",
    )
