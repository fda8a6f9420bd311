"""A plan and its pictures, set as cards: no more than the platform takes, and nothing hidden.

May import: lang, typeset, note.pages, note.plan, note.text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redloom.lang import Text
from redloom.typeset.content import (
    Block,
    Closing,
    Cover,
    Deck,
    Figure,
    Heading,
    Inline,
    Ratio,
    Span,
)

from .pages import Page, breaks_for, is_picture, letters, paginate, split, weight
from .plan import NotePlan, PicturePrompt
from .text import CLOSERS, EDGES, phrases_of, sentences

if TYPE_CHECKING:
    from redloom.typeset.cards import Card, Sheet

MAX_CARDS = 18
COVER_TAGS = 3
ROUGH_CARD = 700
"""More characters than any theme sets on one card: what is surely too long is cut before it is
drawn, so that a book does not cost a thousand drawings."""

Pictures = Mapping[int, bytes]
"""Pictures by the index of their prompt in the plan."""


@dataclass(frozen=True, slots=True)
class Look:
    """How the cards look."""

    theme: str
    ratio: Ratio


@dataclass(frozen=True, slots=True)
class Drawn:
    """The cards; the plan as far as it was set; which prompt's picture each card shows (or
    ``None``); the blocks of each card; what the user should hear."""

    cards: tuple[Card, ...]
    plan: NotePlan
    shows: tuple[int | None, ...]
    blocks: tuple[Page, ...]
    warnings: tuple[Text, ...]


def draw(
    plan: NotePlan,
    pictures: Pictures,
    look: Look,
    *,
    pages: int | None = None,
    max_cards: int = MAX_CARDS,
) -> Drawn:
    """Set ``plan``: text on ``pages`` pages if given, the cards never more than ``max_cards``.

    Raises BadInput as `typeset.cards.typeset` does. Blocking: call it from a thread.
    """
    whole = sum(map(weight, plan.blocks))
    plan, lost = _roughly(plan, max_cards)
    drawn = _set(plan, pictures, look)
    room = (
        max_cards - sum(card.kind != "page" for card in drawn.cards) - _shown_pages(plan, pictures)
    )
    room = max(1, min(room, pages or room))
    needed = _text_count(drawn)
    if needed > room or lost:
        share = whole / max(1, sum(map(weight, plan.blocks)))
        drawn = _shortened(drawn, pictures, look, room)
        needed = round(needed * share)
        more = pages is not None and room < max_cards - 1
        return _said(drawn, _cut_text(needed, room, drawn.plan, more_fit=more))
    if pages is not None and needed < pages:
        spread = plan.model_copy(update={"page_breaks": breaks_for(plan.blocks, pages)})
        drawn = _set(spread, pictures, look)
        got = _text_count(drawn)
        return drawn if got == pages else _said(drawn, _few_text(got, pages))
    return drawn


def _set(plan: NotePlan, pictures: Pictures, look: Look) -> Drawn:
    """The plan as it is, on as many cards as it takes."""
    from redloom.typeset.cards import typeset

    deck, owners = build(plan, pictures)
    sheet = typeset(deck, theme=look.theme, ratio=look.ratio, max_cards=10_000)
    blocks = _blocks_of(sheet, deck)
    shows = tuple(
        _shown_on(card, page, plan, pictures, owners)
        for card, page in zip(sheet.cards, blocks, strict=True)
    )
    return Drawn(sheet.cards, plan, shows, blocks, sheet.warnings)


def build(plan: NotePlan, pictures: Pictures) -> tuple[Deck, dict[int, int]]:
    """The deck of ``plan``, and for every picture page in it (by identity) its prompt's index."""
    blocks: list[Block] = []
    breaks: list[int] = []
    owners: dict[int, int] = {}
    for at in range(len(plan.blocks) + 1):
        for index, prompt in enumerate(plan.prompts):
            if prompt.purpose == "page" and prompt.before == at and index in pictures:
                figure = Figure(pictures[index], _caption(prompt))
                owners[id(figure)] = index
                blocks.append(figure)
        if at in plan.page_breaks:
            breaks.append(len(blocks))
        blocks += plan.blocks[at : at + 1]
    closing = (
        Closing(plan.closing, tags=plan.tags[:COVER_TAGS], author=plan.author)
        if plan.closing
        else None
    )
    return Deck(_cover(plan, pictures), tuple(blocks), closing, tuple(breaks)), owners


def _cover(plan: NotePlan, pictures: Pictures) -> Cover:
    picture = next(
        (
            pictures[at]
            for at, one in enumerate(plan.prompts)
            if one.purpose == "cover" and at in pictures
        ),
        None,
    )
    cover = plan.cover
    tags = plan.tags[:COVER_TAGS]
    return Cover(cover.title, cover.subtitle, cover.kicker, tags, plan.author, picture)


def _caption(prompt: PicturePrompt) -> Inline:
    return (Span(prompt.caption),) if prompt.caption else ()


def _blocks_of(sheet: Sheet, deck: Deck) -> tuple[Page, ...]:
    """The blocks of every card; none for cover and closing. Pictures have cards of their own, so
    the text between two of them is paged by itself."""
    cards = [card for card in sheet.cards if card.kind == "page"]
    found: list[Page] = []
    for run in _runs(deck.blocks):
        if is_picture(run):
            found.append(run)
            continue
        later = sum(1 for other in _runs(deck.blocks[_index_after(deck.blocks, run) :]))
        mine = _cards_of(run, [card.text for card in cards[len(found) :]], later)
        found += paginate(run, [card.text for card in cards[len(found) : len(found) + mine]])
    found += [()] * (len(cards) - len(found))
    pages = iter(found)
    return tuple(next(pages) if card.kind == "page" else () for card in sheet.cards)


def _runs(blocks: Sequence[Block]) -> list[Page]:
    """Blocks in runs: text together, each picture by itself."""
    runs: list[list[Block]] = []
    for block in blocks:
        if isinstance(block, Figure) or not runs or isinstance(runs[-1][-1], Figure):
            runs.append([block])
        else:
            runs[-1].append(block)
    return [tuple(run) for run in runs]


def _index_after(blocks: Sequence[Block], run: Page) -> int:
    return next(at for at, block in enumerate(blocks) if block is run[-1]) + 1


def _cards_of(run: Page, texts: Sequence[str], later: int) -> int:
    """How many of the next cards ``run`` fills, leaving at least one for each run behind it."""
    from .text import squeezed

    wanted, seen, count = sum(len(letters(block)) for block in run), 0, 0
    while count < len(texts) - later and (seen < wanted or count == 0):
        seen += len(squeezed(texts[count]))
        count += 1
    return len(texts) if later == 0 else count


def _shown_on(
    card: Card, page: Page, plan: NotePlan, pictures: Pictures, owners: Mapping[int, int]
) -> int | None:
    if card.kind == "cover":
        covers = (
            at for at, one in enumerate(plan.prompts) if one.purpose == "cover" and at in pictures
        )
        return next(covers, None)
    return next((owners[id(block)] for block in page if id(block) in owners), None)


def _text_count(drawn: Drawn) -> int:
    pages = zip(drawn.cards, drawn.shows, strict=True)
    return sum(card.kind == "page" and shown is None for card, shown in pages)


def _shown_pages(plan: NotePlan, pictures: Pictures) -> int:
    return sum(one.purpose == "page" and at in pictures for at, one in enumerate(plan.prompts))


def _roughly(plan: NotePlan, max_cards: int) -> tuple[NotePlan, bool]:
    """The plan without what could not be set by far, and whether anything was left out."""
    left = max_cards * ROUGH_CARD
    kept: list[Block] = []
    for block in plan.blocks:
        if weight(block) > left:
            head, tail = split(block, left)
            kept += [head] if tail is not None else []
            return _only(plan, kept), True
        kept.append(block)
        left -= weight(block)
    return plan, False


def _only(plan: NotePlan, blocks: Sequence[Block]) -> NotePlan:
    """The plan with these leading blocks; a heading with nothing below it goes too."""
    kept = list(blocks)
    while len(kept) > 1 and isinstance(kept[-1], Heading):
        kept.pop()
    last = len(kept)
    prompts = tuple(
        one.model_copy(update={"before": min(one.before, last)}) for one in plan.prompts
    )
    breaks = tuple(at for at in plan.page_breaks if at < last)
    return plan.model_copy(
        update={"blocks": tuple(kept), "prompts": prompts, "page_breaks": breaks}
    )


def _shortened(drawn: Drawn, pictures: Pictures, look: Look, room: int) -> Drawn:
    """As much of the text as ``room`` pages hold, cut at the end of a page."""
    for keep in range(room, 0, -1):
        pages = [
            page
            for card, page, shown in zip(drawn.cards, drawn.blocks, drawn.shows, strict=True)
            if card.kind == "page" and shown is None
        ]
        plan = _only(drawn.plan, [block for page in pages[:keep] for block in page])
        drawn = _set(plan, pictures, look)
        if _text_count(drawn) <= room:
            break
    return drawn


def _said(drawn: Drawn, warning: Text) -> Drawn:
    return Drawn(drawn.cards, drawn.plan, drawn.shows, drawn.blocks, (warning, *drawn.warnings))


def _cut_text(needed: int, room: int, plan: NotePlan, *, more_fit: bool) -> Text:
    """What is not on the cards, and what to do; more pages only where there may be more."""
    said = [text for block in plan.blocks for text in phrases_of(block) if text.strip()]
    last = sentences(said[-1])[-1][-24:].lstrip(EDGES + CLOSERS) if said else ""
    zh, en = ("，或用 --pages 放宽张数", ", or raise --pages") if more_fit else ("", "")
    return Text(
        f"全文约需 {needed} 张文字卡，这里只放得下 {room} 张：卡片上的文字到“{last}”为止，后面的没有放进去。"
        f"可以删减原文、分成两篇{zh}。",
        f"The whole text needs about {needed} text cards and there is room for {room}: the cards end at “{last}”, "
        f"what follows is not on them. Cut the text, make two notes{en}.",
    )


def _few_text(got: int, wanted: int) -> Text:
    return Text(
        f"文字只够排 {got} 张，没有凑到要求的 {wanted} 张。",
        f"The text fills {got} pages, not the {wanted} asked for.",
    )
