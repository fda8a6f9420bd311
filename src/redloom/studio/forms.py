"""What requests may hold, with examples for the documentation. Unknown fields are ignored.

May import: nothing of the package.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

LONGEST_PROMPT = 20_000
LONGEST_STORY = 200_000
Words = Annotated[str, Field(max_length=LONGEST_PROMPT)]
Name = Annotated[str, Field(max_length=200)]
Names = Annotated[list[Name], Field(max_length=32)]
Money = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Currency = Annotated[str, Field(pattern=r"^([A-Z]{3})?$")]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Size = Annotated[
    str, Field(max_length=20, description="`1024x1024`, `1024*1024`, `3:4`, `auto`, or empty")
]
Format = Literal["", "png", "jpg", "jpeg", "webp"]


class Form(BaseModel):
    """A request's body."""

    model_config = ConfigDict(extra="ignore", str_strip_whitespace=False)


class Token(Form):
    """Signing in."""

    token: Annotated[str, Field(max_length=500)]
    model_config = ConfigDict(json_schema_extra={"examples": [{"token": "rl_…"}]})


class PromptItem(Form):
    """One prompt of a run."""

    prompt: Words
    id: Name = ""
    n: Annotated[int, Field(ge=1, le=1000)] = 1
    size: Size = ""
    seed: Seed | None = None
    negative: Words = ""
    model: Name = ""


class RunForm(Form):
    """A run: prompts, or an upload of them."""

    prompts: Annotated[list[Words | PromptItem], Field(max_length=10_000)] = []
    upload: Annotated[str, Field(max_length=40)] = ""
    mapping: dict[str, str | None] = {}
    name: Name = ""
    endpoint: Names | Name = []
    model: Name = ""
    size: Size = ""
    ar: Size = ""
    n: Annotated[int, Field(ge=1, le=1000)] = 1
    seed: Seed | None = None
    negative: Words = ""
    format: Format = ""
    budget: Money | None = None
    currency: Currency = ""
    retries: Annotated[int, Field(ge=0, le=100)] | None = None
    in_doubt: Literal["wait", "resubmit", "fail"] = "wait"
    fallback: Names = []
    fresh: bool = False
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    prefer: Literal["", "kept"] = ""
    webhook: Annotated[str, Field(max_length=2000)] = ""
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "prompts": ["a red scarf", {"prompt": "a blue one", "id": "b", "n": 2}],
                    "name": "scarves", "size": "3:4", "budget": 5, "currency": "CNY",
                }
            ]
        }
    )  # fmt: skip


class PreviewForm(Form):
    """How an upload's columns are meant."""

    mapping: dict[str, str | None] = {}
    endpoint: Names | Name = []
    model: Name = ""
    size: Size = ""
    n: Annotated[int, Field(ge=1, le=1000)] = 1
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"mapping": {"标题": "prompt", "备注": None}, "n": 1}]}
    )


class PriorityForm(Form):
    """A run's place in the queue."""

    priority: Annotated[int, Field(ge=-100, le=100)]
    model_config = ConfigDict(json_schema_extra={"examples": [{"priority": 10}]})


class FeedbackForm(Form):
    """What somebody thinks of a picture; what is left out stays as it was."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    thumb: Annotated[int, Field(ge=-1, le=1)] | None = None
    used: bool | None = None
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"sha256": "0" * 64, "thumb": 1, "used": True}]}
    )


class CallerForm(Form):
    """A token for somebody else."""

    name: Annotated[str, Field(pattern=r"^[\w.-]{1,60}$")]
    per_minute: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = None
    budget: Money | None = None
    currency: Currency = "CNY"
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "shop", "per_minute": 10, "budget": 50, "currency": "CNY"}]
        }
    )


class CheckForm(Form):
    """A post's words, to be held against the platform's limits."""

    title: Annotated[str, Field(max_length=2000)] = ""
    body: Annotated[str, Field(max_length=100_000)] = ""
    tags: Annotated[list[Name], Field(max_length=100)] = []
    images: Annotated[int, Field(ge=0, le=1000)] = 0
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"title": "胡同里的早晨", "body": "…", "tags": ["北京"]}]}
    )


class NoteSettingsForm(Form):
    """How a note is wanted."""

    title: Annotated[str, Field(max_length=200)] | None = None
    author: Name = ""
    pages: Annotated[int, Field(ge=1, le=17)] | None = None
    images: Annotated[int, Field(ge=0, le=9)] | None = None
    theme: Annotated[str, Field(pattern=r"^[a-z0-9_]{0,40}$")] = ""
    ar: Literal["3:4", "1:1", "4:3"] = "3:4"
    style: Annotated[str, Field(min_length=1, max_length=200)] = "photo"
    writer: Literal["auto", "local", "llm"] = "auto"
    endpoint: Names | Name = []
    offline: bool = False
    consistent: bool = False
    """One look: the cover's picture is made first and is the reference of the others."""
    budget: Money | None = None
    currency: Currency = ""


class PlanForm(NoteSettingsForm):
    """A story to be planned, for free."""

    story: Annotated[str, Field(max_length=LONGEST_STORY)]
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"story": "奶奶的院子里有一棵石榴树。…", "images": 2}]}
    )


class NoteForm(PlanForm):
    """A note to be made."""

    step: Literal["all", "outline"] = "all"
    webhook: Annotated[str, Field(max_length=2000)] = ""


class TitleItem(Form):
    """A title to choose from; the first is the note's."""

    text: Annotated[str, Field(min_length=1, max_length=200)]
    hook: Name = "own"


class CoverItem(Form):
    """The words on the cover."""

    title: Annotated[str, Field(min_length=1, max_length=200)]
    subtitle: Annotated[str, Field(max_length=400)] = ""
    kicker: Annotated[str, Field(max_length=200)] = ""


class PictureItem(Form):
    """A picture to be made: for the cover (page 0), or before a page (from 1)."""

    row: int = 0
    purpose: Literal["cover", "page"] = "page"
    prompt: Annotated[str, Field(min_length=1, max_length=LONGEST_PROMPT)]
    page: Annotated[int, Field(ge=0, le=100)] = 0
    caption: Annotated[str, Field(max_length=400)] = ""


class OutlineForm(Form):
    """The whole outline, as it shall be."""

    titles: Annotated[list[TitleItem], Field(min_length=1, max_length=20)]
    cover: CoverItem
    body: Annotated[str, Field(min_length=1, max_length=20_000)]
    tags: Annotated[list[Name], Field(max_length=30)] = []
    closing: Annotated[str, Field(max_length=2000)] = ""
    pages: Annotated[list[Annotated[str, Field(max_length=LONGEST_PROMPT)]], Field(max_length=60)]
    pictures: Annotated[list[PictureItem], Field(max_length=9)] = []
    """All of them are made, and no others."""
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "titles": [{"text": "奶奶的石榴树"}], "cover": {"title": "奶奶的石榴树"},
                    "body": "…", "tags": ["生活"], "pages": ["第一页", "第二页"],
                    "pictures": [{"purpose": "cover", "prompt": "a pomegranate tree in a courtyard"}],
                }
            ]
        }
    )  # fmt: skip


class PageForm(Form):
    """New words for a card (free), or a new picture for it."""

    text: Annotated[str, Field(max_length=LONGEST_PROMPT)] | None = None
    prompt: Words | None = None
    endpoint: Names | Name = []
    budget: Money | None = None
    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "新的一段话。"}]})


class RetitleForm(Form):
    """Another title."""

    title: Annotated[str, Field(min_length=1, max_length=200)]


class RethemeForm(Form):
    """Another theme."""

    theme: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,40}$")]


class CoverForm(Form):
    """Which picture (its row) the cover shows."""

    picture: Annotated[int, Field(ge=1, le=100)]


class PostForm(Form):
    """The words that are copied; what is left out stays."""

    body: Annotated[str, Field(min_length=1, max_length=20_000)] | None = None
    tags: Annotated[list[Name], Field(max_length=30)] | None = None


class GenerationForm(Form):
    """OpenAI's images/generations, and what we add to it."""

    prompt: Annotated[str, Field(min_length=1, max_length=LONGEST_PROMPT)]
    model: Annotated[str, Field(max_length=200)] | None = None
    n: Annotated[int, Field(ge=1, le=10)] | None = 1
    size: Size | None = None
    response_format: Literal["url", "b64_json"] | None = None
    output_format: Literal["png", "jpeg", "jpg", "webp"] | None = None
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    """Quality of JPEG and WebP; PNG has none."""
    quality: Any = None
    background: Any = None
    moderation: Any = None
    user: Any = None
    style: Any = None
    stream: bool | None = None
    """The answer as server-sent events, one ``….completed`` for each picture."""
    partial_images: Any = None
    """No service here makes partial pictures: none are sent, whatever is asked."""
    seed: Seed | None = None
    negative_prompt: Words | None = None
    cache: bool = False
    is_async: Annotated[bool, Field(alias="async")] = False
    model_config = ConfigDict(
        populate_by_name=True,
        json_schema_extra={
            "examples": [
                {"prompt": "a red scarf", "size": "1024x1024", "n": 1},
                {"prompt": "a red scarf", "async": True, "response_format": "url"},
            ]
        },
    )


def listed(names: list[str] | str) -> list[str]:
    """``endpoint`` as a name or a list of names."""
    return [names] if isinstance(names, str) and names else list(names or [])
