"""The note as planned: what a writer hands over and what is drawn, as JSON both ways.

May import: typeset.content.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator

from redloom.typeset.content import (
    Block,
    Code,
    Figure,
    Heading,
    Inline,
    ListBlock,
    ListItem,
    Paragraph,
    Quote,
    Rule,
    Span,
    Table,
)

Hook = Literal[
    "own",
    "question",
    "number",
    "contrast",
    "quotation",
    "place",
    "heading",
    "opening",
    "ending",
    "detail",
]
"""How a title takes hold of its reader; ``own`` is the story's own title."""

Json = dict[str, Any]


def inline_to_data(inline: Inline) -> list[Json]:
    """Spans as JSON; styles that are off are left out."""
    styles = ("bold", "italic", "code", "mark")
    return [
        {"text": span.text} | {style: True for style in styles if getattr(span, style)}
        for span in inline
    ]


def inline_from_data(data: object) -> Inline:
    """The inverse of `inline_to_data`; plain strings are taken too. Raises ValueError."""
    if isinstance(data, str):
        return (Span(data),) if data else ()
    return tuple(
        Span(
            str(span["text"]),
            bold=bool(span.get("bold")),
            italic=bool(span.get("italic")),
            code=bool(span.get("code")),
            mark=bool(span.get("mark")),
        )
        for span in map(_mapping, _sequence(data))
    )


def block_to_data(block: Block) -> Json:
    """A block as JSON with its ``kind``; a picture's bytes as base64."""
    match block:
        case Heading():
            return {"kind": "heading", "text": inline_to_data(block.text), "level": block.level}
        case Paragraph():
            return {"kind": "paragraph", "text": inline_to_data(block.text)}
        case ListBlock():
            items = [_item_to_data(item) for item in block.items]
            return {"kind": "list", "items": items, "ordered": block.ordered, "start": block.start}
        case Quote():
            return {
                "kind": "quote",
                "blocks": [block_to_data(inner) for inner in block.blocks],
                "source": block.source,
            }
        case Table():
            rows = [[inline_to_data(cell) for cell in row] for row in block.rows]
            return {
                "kind": "table",
                "header": [inline_to_data(cell) for cell in block.header],
                "rows": rows,
            }
        case Code():
            return {"kind": "code", "text": block.text}
        case Figure():
            picture = base64.b64encode(block.picture).decode()
            return {
                "kind": "figure",
                "picture": picture,
                "caption": inline_to_data(block.caption),
                "title": block.title,
            }
        case Rule():
            return {"kind": "rule"}


def _item_to_data(item: ListItem) -> Json:
    data: Json = {"text": inline_to_data(item.text)}
    return data | ({"items": [_item_to_data(inner) for inner in item.items]} if item.items else {})


def block_from_data(data: object) -> Block:
    """The inverse of `block_to_data`. Raises ValueError where ``data`` is no block."""
    if isinstance(data, Block):
        return data
    try:
        return _block_from(_mapping(data))
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a block: {error}") from error


def _block_from(data: Mapping[str, Any]) -> Block:
    match data["kind"]:
        case "heading":
            return Heading(inline_from_data(data["text"]), int(data.get("level", 1)))
        case "paragraph":
            return Paragraph(inline_from_data(data["text"]))
        case "list":
            items = tuple(_item_from(item) for item in _sequence(data["items"]))
            return ListBlock(items, bool(data.get("ordered")), int(data.get("start", 1)))
        case "quote":
            inner = tuple(block_from_data(block) for block in _sequence(data["blocks"]))
            return Quote(inner, str(data.get("source", "")))
        case "table":
            return Table(_row_from(data["header"]), tuple(map(_row_from, _sequence(data["rows"]))))
        case "code":
            return Code(str(data["text"]))
        case "figure":
            picture = base64.b64decode(str(data["picture"]), validate=True)
            return Figure(
                picture, inline_from_data(data.get("caption", ())), str(data.get("title", ""))
            )
        case "rule":
            return Rule()
    raise ValueError(f"unknown kind of block: {data['kind']!r}")


def _row_from(data: object) -> tuple[Inline, ...]:
    return tuple(inline_from_data(cell) for cell in _sequence(data))


def _item_from(data: object) -> ListItem:
    item = _mapping(data)
    inner = tuple(_item_from(child) for child in _sequence(item.get("items", ())))
    return ListItem(inline_from_data(item["text"]), inner)


def _mapping(data: object) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise ValueError(f"expected an object, not {type(data).__name__}")
    return data


def _sequence(data: object) -> Sequence[Any]:
    if not isinstance(data, Sequence) or isinstance(data, str | bytes):
        raise ValueError(f"expected a list, not {type(data).__name__}")
    return data


BlockField = Annotated[Block, PlainValidator(block_from_data), PlainSerializer(block_to_data)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Title(_Part):
    """One of the titles to choose from."""

    text: str = Field(min_length=1)
    hook: Hook = "own"


class CoverText(_Part):
    """The words on the cover."""

    title: str = Field(min_length=1)
    subtitle: str = ""
    kicker: str = ""


class PicturePrompt(_Part):
    """Words for one picture: the cover, or one that stands before block ``before``."""

    purpose: Literal["cover", "page"]
    prompt: str = Field(min_length=1)
    before: int = 0
    caption: str = ""


class NotePlan(_Part):
    """Everything about a note but its pictures' bytes."""

    titles: tuple[Title, ...] = Field(min_length=1)
    body: str = Field(min_length=1)
    tags: tuple[str, ...] = ()
    cover: CoverText
    blocks: tuple[BlockField, ...] = ()
    page_breaks: tuple[int, ...] = ()
    prompts: tuple[PicturePrompt, ...] = ()
    closing: str = ""
    author: str = ""

    def to_json(self) -> Json:
        """The plan as plain JSON values."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, data: object) -> NotePlan:
        """The inverse of `to_json`. Raises pydantic.ValidationError, a ValueError."""
        return cls.model_validate(data)
