"""Markdown into blocks: CommonMark with tables and strikethrough, and what Chinese authors type.

Links keep their text. A picture that stands alone becomes a `Figure` where the reader can open
it. Two habits that CommonMark does not know are read as meant: ``==marked==``, and bold whose
marks touch Chinese punctuation (``**「好」**的``, which the standard leaves as asterisks).
May import: errors, lang, typeset.content.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

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

OpenPicture = Callable[[str], bytes | None]
"""A picture's path as written to its bytes; ``None`` where it cannot be had."""

_LEFT_OVER = re.compile(r"\*\*(?P<bold>[^*\n]+?)\*\*|==(?P<mark>[^=\n]+?)==")
_CJK = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\u3000-\u303f“”‘’…—·]")
_SOURCE_LINE = re.compile(r"^\s*(?:——|—|--|–)\s*(?P<who>\S.{0,39})$")


def no_pictures(_path: str) -> bytes | None:
    """The opener for text that has no folder: nothing can be opened."""
    return None


def parse(text: str, open_picture: OpenPicture = no_pictures) -> tuple[Block, ...]:
    """The blocks of ``text``; never raises for any text (CommonMark has no errors)."""
    reader = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    root = SyntaxTreeNode(reader.parse(text))
    return tuple(_blocks(root.children, open_picture))


def parse_inline(text: str) -> Inline:
    """``text`` as the words of one block; block marks in it are taken literally."""
    reader = MarkdownIt("commonmark", {"html": False}).enable("strikethrough")
    root = SyntaxTreeNode(reader.parseInline(text))
    return inline(root.children[0]) if root.children else ()


def inline(node: SyntaxTreeNode) -> Inline:
    """The spans under an ``inline`` node (or one holding it), neighbours of one style joined."""
    return tidy(_left_over(tidy(_spans(node, Span("")))))


def tidy(spans: Iterable[Span]) -> Inline:
    """Neighbours of the same style joined, empty ones dropped, outer spaces trimmed."""
    joined: list[Span] = []
    for span in spans:
        if joined and _style(joined[-1]) == _style(span):
            joined[-1] = replace(span, text=joined[-1].text + span.text)
        elif span.text:
            joined.append(span)
    if joined:
        joined[0] = replace(joined[0], text=joined[0].text.lstrip())
        joined[-1] = replace(joined[-1], text=joined[-1].text.rstrip())
    return tuple(span for span in joined if span.text)


def _style(span: Span) -> tuple[bool, ...]:
    return span.bold, span.italic, span.code, span.mark


def _left_over(spans: Sequence[Span]) -> Iterator[Span]:
    """Marks that CommonMark left as characters, read as their author meant them."""
    for span in spans:
        if span.code:
            yield span
            continue
        at = 0
        for found in _LEFT_OVER.finditer(span.text):
            yield replace(span, text=span.text[at : found.start()])
            if found["bold"]:
                yield replace(span, text=found["bold"], bold=True)
            else:
                yield replace(span, text=found["mark"], mark=True)
            at = found.end()
        yield replace(span, text=span.text[at:])


def _spans(node: SyntaxTreeNode, style: Span) -> Iterator[Span]:
    """The text under ``node`` in the style of ``style``."""
    children = node.children
    for at, child in enumerate(children):
        if child.type in ("text", "html_inline", "text_special"):
            yield replace(style, text=child.content)
        elif child.type == "softbreak":
            yield replace(style, text=_soft(_edge(children, at - 1), _edge(children, at + 1)))
        elif child.type == "hardbreak":
            yield replace(style, text="\n")
        elif child.type == "code_inline":
            yield replace(style, text=child.content, code=True)
        elif child.type == "image":
            yield replace(style, text=child.content)
        else:
            yield from _spans(child, _styled(child.type, style))


def _styled(kind: str, style: Span) -> Span:
    if kind == "strong":
        return replace(style, bold=True)
    return replace(style, italic=True) if kind == "em" else style


def _edge(children: Sequence[SyntaxTreeNode], at: int) -> str:
    if not 0 <= at < len(children):
        return ""
    child = children[at]
    return child.content or "".join(span.text for span in _spans(child, Span("")))


def _soft(before: str, after: str) -> str:
    """A line end inside a paragraph: nothing between Chinese characters, else a space."""
    touching = (before[-1:], after[:1])
    return "" if any(edge and _CJK.match(edge) for edge in touching) else " "


def _blocks(nodes: Sequence[SyntaxTreeNode], open_picture: OpenPicture) -> Iterator[Block]:
    for node in nodes:
        yield from _block(node, open_picture)


def _block(node: SyntaxTreeNode, open_picture: OpenPicture) -> Iterator[Block]:
    if node.type == "heading":
        yield from _heading(node)
    elif node.type == "paragraph":
        yield from _paragraph(node, open_picture)
    elif node.type in ("bullet_list", "ordered_list"):
        ordered = node.type == "ordered_list"
        if items := _items(node):
            yield ListBlock(items, ordered, int(node.attrs.get("start", 1)) if ordered else 1)
    elif node.type == "blockquote":
        yield from _quote(node, open_picture)
    elif node.type == "table":
        yield _table(node)
    elif node.type in ("fence", "code_block"):
        yield Code(node.content.rstrip("\n"))
    elif node.type == "hr":
        yield Rule()
    elif node.type == "html_block":
        yield Paragraph((Span(node.content.strip()),))
    else:
        yield from _blocks(node.children, open_picture)


def _heading(node: SyntaxTreeNode) -> Iterator[Block]:
    if text := inline(node):
        yield Heading(text, int(node.tag[1:]))


def _paragraph(node: SyntaxTreeNode, open_picture: OpenPicture) -> Iterator[Block]:
    inside = [child for child in node.children[0].children if child.type != "softbreak"]
    pictures = [child for child in inside if child.type == "image"]
    if pictures and len(pictures) == len(inside):
        for picture in pictures:
            yield from _figure(picture, open_picture)
    elif text := inline(node):
        yield Paragraph(text)


def _figure(image: SyntaxTreeNode, open_picture: OpenPicture) -> Iterator[Block]:
    caption = tidy([Span(image.content)])
    data = open_picture(str(image.attrs.get("src", "")))
    if data is not None:
        yield Figure(data, caption)
    elif caption:
        yield Paragraph(caption)


def _items(node: SyntaxTreeNode) -> tuple[ListItem, ...]:
    """A list's items; every paragraph of an item is a line of it, inner lists are kept."""
    items = []
    for child in node.children:
        lines: list[Span] = []
        inner: tuple[ListItem, ...] = ()
        for part in child.children:
            if part.type in ("bullet_list", "ordered_list"):
                inner += _items(part)
            else:
                lines += [Span("\n")] if lines else []
                lines += _flat(part)
        items.append(ListItem(tidy(lines), inner))
    return tuple(item for item in items if item.text or item.items)


def _flat(node: SyntaxTreeNode) -> Inline:
    """Whatever block stands inside a list item, as one run of words."""
    if node.type in ("paragraph", "heading"):
        return inline(node)
    if node.type in ("fence", "code_block"):
        return (Span(node.content.strip(), code=True),)
    return tuple(span for child in node.children for span in _flat(child))


def _quote(node: SyntaxTreeNode, open_picture: OpenPicture) -> Iterator[Block]:
    """A quotation; a last line ``—— somebody`` is its source."""
    blocks = list(_blocks(node.children, open_picture))
    source = ""
    if blocks and isinstance(blocks[-1], Paragraph):
        above, _, last = node.children[-1].children[0].content.rpartition("\n")
        said = _SOURCE_LINE.match(last)
        if said and (above.strip() or len(blocks) > 1):
            source = said["who"].strip()
            blocks[-1:] = [Paragraph(parse_inline(above))] if above.strip() else []
    if blocks:
        yield Quote(tuple(blocks), source)


def _table(node: SyntaxTreeNode) -> Table:
    rows = [
        tuple(inline(cell) for cell in row.children)
        for part in node.children
        for row in part.children
    ]
    return Table(rows[0], tuple(rows[1:]))
