"""The writer that needs no model: it chooses and cuts the story's own sentences, and adds none.

May import: lang, typeset.content, note.source, note.plan, note.rules, note.text, note.keywords,
note.hooks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from redloom.typeset.content import (
    Block,
    Code,
    Figure,
    Heading,
    Paragraph,
    Rule,
    Span,
    Table,
)

from .hooks import candidates, pull_quote, titles
from .keywords import Keyword, keywords, overlap
from .pictures import picture_prompt
from .plan import CoverText, NotePlan, PicturePrompt
from .rules import LIMITS, tidy_tags, utf16_length
from .source import Source
from .text import letters_of, lines_of, phrases_of, sentences, squeezed
from .writer import Wish, Written

MOST_TAGS = 8
LONG_STORY = 260
"""Characters from which on a story without headings gets some, out of its own words."""
SECTION = 240
MIN_PART = 14
"""A paragraph cut down to fewer characters says too little to stand alone."""


class LocalWriter:
    """Writes a note out of the story's own words. Same story, same note, on any machine."""

    name = "local"
    identity = "local/1"

    async def write(self, source: Source, wish: Wish) -> Written:
        """The plan of a note; never fails for a story that `source` could read."""
        return Written(write(source, wish))


def write(source: Source, wish: Wish) -> NotePlan:
    """`LocalWriter.write` without the waiting."""
    text = "\n".join(text for block in source.blocks for text in phrases_of(block))
    known = keywords(text, source.title)
    places = _places(source, known, text)
    blocks = _with_headings(source.blocks, known)
    chosen = titles(source.title, source.blocks, known, places)
    tags = _tags(source, known, places)
    cover = _cover(source, known, places, chosen[0].text)
    taken = (cover.title, cover.subtitle)
    return NotePlan(
        titles=chosen,
        body=body_of(
            source.blocks, known, room=LIMITS["content"] - sum(len(tag) + 2 for tag in tags)
        ),
        tags=tags,
        cover=cover,
        blocks=blocks,
        prompts=_prompts(
            blocks,
            cover.title,
            [one for one in known if not one.is_place or one.text in places],
            wish,
        ),
        closing=pull_quote(source.blocks, known, taken) if len(text) >= LONG_STORY else "",
        author=wish.author or source.author,
    )


def _places(source: Source, known: Sequence[Keyword], text: str) -> list[str]:
    """Where the story plays: not every place that it mentions in passing."""
    opening = source.title + "".join(phrases_of(source.blocks[0]))
    return [
        one.text
        for one in known
        if one.is_place and (one.text in opening or text.count(one.text) > 1)
    ]


def _tags(source: Source, known: Sequence[Keyword], places: Sequence[str]) -> tuple[str, ...]:
    """The author's own tags, then places, then what the story speaks of most."""
    things = [
        word.text
        for word in known
        if not word.is_place and word.weight >= 0.12 and word.part != "nr"
    ]
    return tidy_tags([*source.tags, *places[:3], *things])[
        : max(MOST_TAGS, min(10, len(source.tags)))
    ]


def _cover(
    source: Source, known: Sequence[Keyword], places: Sequence[str], first: str
) -> CoverText:
    title = source.title if 0 < len(source.title) <= 40 else first
    whole = [one for one in candidates(source.blocks, known, 26) if one.ends and not one.heading]
    ranked = sorted(
        whole, key=lambda one: -(one.score + 0.6 * one.starts + 0.5 * (one.order < 0.5))
    )
    fits = (
        one.text for one in ranked if overlap(one.text, title) < 0.4 and one.starts and not one.asks
    )
    opening = "\n".join(phrases_of(source.blocks[0]))
    early = [word.text for word in known if word.text in opening or word.text in source.title]
    topics = [
        *source.tags,
        *(word for word in places if word in early),
        *early,
        *(word.text for word in known),
    ]
    kicker = next(
        (word for word in topics if word.casefold() not in title.casefold() and len(word) <= 10), ""
    )
    subtitle = next(fits, "")
    return CoverText(title=title, subtitle=subtitle, kicker=kicker)


def _with_headings(blocks: Sequence[Block], known: Sequence[Keyword]) -> tuple[Block, ...]:
    """A long story without headings gets one a section, each a clause of that very section."""
    length = sum(len(text) for block in blocks for text in phrases_of(block))
    if length < LONG_STORY or any(isinstance(block, Heading) for block in blocks):
        return tuple(blocks)
    out: list[Block] = []
    used: list[str] = []
    for section in _sections(blocks):
        heading = _heading(section, known, used)
        if heading:
            out.append(Heading((Span(heading),), 1))
            used.append(heading)
        out += section
    return tuple(out)


def _sections(blocks: Sequence[Block]) -> list[list[Block]]:
    sections: list[list[Block]] = [[]]
    size = 0
    for block in blocks:
        if size >= SECTION:
            sections.append([])
            size = 0
        sections[-1].append(block)
        size += sum(len(text) for text in phrases_of(block))
    return sections


def _heading(section: Sequence[Block], known: Sequence[Keyword], used: Sequence[str]) -> str:
    """A clause of the section, but not the one it begins with: that would be read twice."""
    found = sorted(candidates(section, known, 12), key=lambda one: -one.score - 0.4 * one.starts)
    beginning = letters_of(section)
    fresh = (
        one
        for one in found
        if not one.quoted
        and not beginning.startswith(squeezed(one.text))
        and all(overlap(one.text, text) < 0.5 for text in used)
    )
    return next((one.text for one in fresh if one.score > 0.6), "")


def body_of(blocks: Sequence[Block], known: Sequence[Keyword], room: int) -> str:
    """The post's body: the whole story where it fits, else its beginning, its end, and from
    each section between the sentences that say most, in their order and with their breaks."""
    parts = [_Part.of(block, at, len(blocks), known) for at, block in enumerate(blocks)]
    parts = _led([part for part in parts if part.text])
    whole = _set(parts, {at: part.text for at, part in enumerate(parts)})
    return whole if utf16_length(whole) <= room else _chosen(parts, room)


@dataclass(frozen=True, slots=True)
class _Part:
    """A block as the body shows it, with its worth and whether it may be cut by sentences."""

    text: str
    worth: float
    heading: bool
    prose: bool

    @classmethod
    def of(cls, block: Block, at: int, total: int, known: Sequence[Keyword]) -> _Part:
        text = "\n".join(lines_of(block)).strip()
        heading = isinstance(block, Heading)
        weight = sum(word.weight for word in known if word.text in text) / (8 + len(text) ** 0.5)
        edge = 3.0 if at == 0 else 2.0 if at == total - 1 else 0.0
        dry = isinstance(block, Table | Code | Figure | Rule)
        return cls(text, weight + edge - 1.0 * dry, heading, isinstance(block, Paragraph))


def _led(parts: Sequence[_Part]) -> list[_Part]:
    """What ends in a colon becomes one with what it leads to: neither makes sense alone."""
    out: list[_Part] = []
    for part in parts:
        if out and out[-1].text.endswith(("：", ":")) and not part.heading and not out[-1].heading:
            before = out.pop()
            text, worth = f"{before.text}\n{part.text}", max(before.worth, part.worth)
            out.append(_Part(text, worth, heading=False, prose=before.prose))
        else:
            out.append(part)
    return out


def _chosen(parts: Sequence[_Part], room: int) -> str:
    """Greedy by worth: first the lead of every section, then whatever still fits."""
    kept: dict[int, str] = {}
    order = sorted(
        range(len(parts)), key=lambda at: -_first_in_section(parts, at) - parts[at].worth
    )
    for at in order:
        if parts[at].heading:
            continue
        for text in _versions(parts[at]):
            trial = kept | {at: text} | _heads(parts, at)
            if utf16_length(_set(parts, trial)) <= room:
                kept = trial
                break
    return _set(parts, kept) or _leading(parts, room)


def _first_in_section(parts: Sequence[_Part], at: int) -> float:
    return 1.0 if at > 0 and parts[at - 1].heading else 0.0


def _heads(parts: Sequence[_Part], at: int) -> dict[int, str]:
    """The headings over part ``at``, which must not stand in the body without it."""
    above = next((head for head in range(at, -1, -1) if parts[head].heading), None)
    return {} if above is None else {above: parts[above].text}


def _versions(part: _Part) -> list[str]:
    """A part whole, and if it is prose its leading sentences, ever fewer."""
    if not part.prose:
        return [part.text]
    cut = sentences(part.text)
    versions = [part.text]
    for count in range(len(cut) - 1, 0, -1):
        end = 0
        for sentence in cut[:count]:
            end = part.text.index(sentence, end) + len(sentence)
        if len(part.text[:end]) >= MIN_PART and part.text[end - 1] not in "：:，,":
            versions.append(part.text[:end])
    return versions


def _set(parts: Sequence[_Part], kept: dict[int, str]) -> str:
    """The kept parts in order, parted by blank lines; a heading stands close to what it heads."""
    out = ""
    for at in sorted(kept):
        close = at > 0 and parts[at - 1].heading and (at - 1) in kept
        out += ("\n" if close else "\n\n" if out else "") + kept[at]
    return out


def _leading(parts: Sequence[_Part], room: int) -> str:
    """The last resort: one sentence, list or cell longer than the whole body may be."""
    from .rules import shorten_body

    return shorten_body("\n\n".join(part.text for part in parts), room)


def _prompts(
    blocks: Sequence[Block], title: str, known: Sequence[Keyword], wish: Wish
) -> tuple[PicturePrompt, ...]:
    """Words for the cover's picture and one for each section, most telling sections first."""
    cover = PicturePrompt(
        purpose="cover", prompt=picture_prompt(title, known, wish.style, cover=True)
    )
    starts = [
        at for at, block in enumerate(blocks) if isinstance(block, Heading) and block.level == 1
    ]
    pages = []
    for start, end in pairwise([*starts, len(blocks)]):
        text = "\n".join(text for block in blocks[start:end] for text in phrases_of(block))
        inside = [word for word in keywords(text) if word.weight > 0.15]
        heading = blocks[start]
        caption = phrases_of(heading)[0]
        if inside and not any(isinstance(block, Figure) for block in blocks[start:end]):
            prompt = picture_prompt(caption, inside, wish.style, cover=False)
            pages.append(PicturePrompt(purpose="page", prompt=prompt, before=end, caption=caption))
    return (cover, *pages)
