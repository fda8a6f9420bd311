"""Titles out of a story's own words: five ways to take hold of a reader, none invented.

Every candidate is a run of clauses as they stand in the story, trimmed at its edges; two may be
joined by ``｜``. Candidates are sorted by what they do (ask, count, set against, quote, name a
place) and by how well they stand alone.
May import: typeset.content, note.rules, note.text, note.keywords, note.plan.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from redloom.typeset.content import Block, Code, Heading, ListBlock, Paragraph, Quote, Table

from .keywords import Keyword, overlap
from .plan import Hook, Title
from .rules import LIMITS, shorten_title, title_length
from .text import CLOSERS, OPENERS, clauses, phrases_of, sentences, squeezed, trimmed

_QUESTION = re.compile(r"[？?]$")
_COUNT = re.compile(
    r"\d|[一二两三四五六七八九十百千万半几]{1,6}(?:年|岁|块|元|家|次|分钟|小时|公里|里|步|克|碗|锅|张|天|个钟头|个月|万|把|位|针|遍|层|句|圈)"
)
_DULL_COUNT = re.compile(r"\d{4} ?年 ?\d|\d+号线|^[A-Z]?\d*口|第\d+页|\d{1,2}[:：]\d\d")
_STRONG_CONTRAST = re.compile(
    r"不是.+[，,]?(?:而?是|却)|以为.+(?:才|其实|却|结果|原来)|一边.+一边|从.+[，,]?到.+|以前.+现在|越.+越"
    r"|第[一二]次.+第[二三]次|谁也没|没.+[，,]也没|不为.+只为|要么.+要么|比.+还|.+是.+给的.+是|反而|竟然|没想到"
    r"|(?i:\bnot\b.+\bbut\b|\binstead\b|\bturned out\b)"
)
_PAIRED = re.compile(r"一边.+一边|不是.+是|要么.+要么|越.+越|第一.+第二|(?i:\bnot\b.+\bbut\b)")
_CONTRAST = re.compile(
    r"但|却|可是|其实|偏偏|只有|就行|别|再也|最(?![后近初])|怕|舍不得|(?i:\bbut\b|\bonly\b|\bnever\b|\byet\b)"
)
_WEAK_START = re.compile(
    r"(?:因为|所以|而且|但是|但|可是|可|不过|然后|后来|于是|还|也|就|都|才|它|他|她|这|那(?!天|年)|其|并|或|又|再|却|的|了|如果|同时"
    r"|已经|只是|看到|比如|最后|现在|忽然|(?i:and|but|so|then|it|he|she|they|this|that|which|because|to|of|or)\b)"
)
_WEAK_END = re.compile(
    r"(?:的|了一|在|和|就|把|被|说|问|着|是|叫|给|对|写着|明白|一句|句话|答案|(?i:\b(?:the|a|an|of|to|and|or|in|on|at|for|with|was|is)))$"
)
_LATIN_JOINT = re.compile(
    r"(?<=[a-z0-9]) (?=(?:with|by|because|until|that|when|where|while|and|but|before|after|who|which|since)\b)"
)
_TELLS = re.compile(r"[我他她你]?(?:问|说|答|回答)[我他她你]?[，,：:]|[我他她](?:说|问)")
_UNNUMBERED = re.compile(r"^(?:[一二三四五六七八九十]{1,3}、|[0-9]{1,2}[.、．]\s*)(?=\S{2})")
"""A heading's number, which says nothing in a title: 一、中央大街."""
_FEELING = re.compile(
    r"我|你|想|怕|爱|舍不得|后悔|值得|明白|忘|够|香|笑|哭|好吃|第一次|(?i:\bI\b|\bmy\b|\byou\b)"
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A wording of the story that may stand alone. ``order`` is where it stands, from 0 to 1."""

    text: str
    score: float
    order: float
    asks: bool
    quoted: bool
    heading: bool
    starts: bool
    ends: bool


def candidates(blocks: Sequence[Block], known: Sequence[Keyword], most: int) -> list[Candidate]:
    """Every run of clauses in ``blocks`` that counts at most ``most`` and at least four."""
    spoken = [
        (block, text)
        for block in blocks
        if not isinstance(block, Code)
        for text in phrases_of(block)
    ]
    total = max(1, len(spoken) - 1)
    found: dict[str, Candidate] = {}
    for place, (block, text) in enumerate(spoken):
        for sentence in sentences(text):
            for run in _runs(sentence, most):
                candidate = _candidate(run, block, place / total, known)
                found.setdefault(squeezed(candidate.text), candidate)
    return list(found.values())


@dataclass(frozen=True, slots=True)
class _Run:
    text: str
    raw: str
    starts: bool
    ends: bool
    quoted: bool


def _runs(sentence: str, most: int) -> Iterator[_Run]:
    """Runs of neighbouring clauses of one sentence; speech is taken apart from who speaks."""
    for part, quoted in _speech(sentence):
        cut = _clauses(part)
        for first in range(len(cut)):
            for last in range(first + 1, len(cut) + 1):
                raw = _glued(cut[first:last])
                text = trimmed(raw)
                if title_length(text) > most:
                    break
                if title_length(text) >= 4:
                    yield _Run(text, raw, first == 0, last == len(cut), quoted)


def _glued(parts: Sequence[str]) -> str:
    """Clauses put together again, with the space that Latin ones had between them."""
    out = ""
    for part in parts:
        spaced = out[-1:].isascii() and out and part[0].isascii() and not out.endswith(" ")
        out += (" " if spaced else "") + part
    return out


def _clauses(part: str) -> list[str]:
    """Clauses; Latin ones, whose commas are few, also before a word that opens a new phrase."""
    return [
        piece for clause in clauses(part) for piece in _LATIN_JOINT.split(clause) if piece.strip()
    ]


def _speech(sentence: str) -> Iterator[tuple[str, bool]]:
    """A sentence parted into what is said in it and the rest; short quoted words stay inside."""
    at = 0
    for found in re.finditer(r"[“「『]([^”」』]{5,})[”」』]|\"([^\"]{9,})\"", sentence):
        yield sentence[at : found.start()], False
        yield found[1] or found[2], True
        at = found.end()
    yield sentence[at:], False


def _candidate(run: _Run, block: Block, order: float, known: Sequence[Keyword]) -> Candidate:
    return Candidate(
        text=_UNNUMBERED.sub("", run.text) if isinstance(block, Heading) else run.text,
        score=_quality(run, known)
        - 0.7 * isinstance(block, ListBlock)
        - 1.2 * isinstance(block, Table),
        order=order,
        asks=bool(_QUESTION.search(run.text)),
        quoted=run.quoted or isinstance(block, Quote),
        heading=isinstance(block, Heading),
        starts=run.starts,
        ends=run.ends,
    )


def _quality(run: _Run, known: Sequence[Keyword]) -> float:
    """How well a wording stands alone."""
    length = title_length(run.text)
    score = 1.5 - abs(length - 14) * 0.12
    score += min(1.5, sum(word.weight for word in known if word.text in run.text))
    score += 0.6 * run.starts + 0.5 * run.ends + 0.4 * bool(_FEELING.search(run.text))
    score -= 1.6 * bool(_WEAK_START.match(run.text)) + 1.5 * bool(
        not run.ends and _WEAK_END.search(run.text)
    )
    score -= 1.0 * bool(_TELLS.match(run.text)) + 0.8 * bool(
        re.search(r"(?:写着|说|一句)[：:]", run.text)
    )
    score -= 2.0 * run.raw.rstrip().endswith(("：", ":")) + 0.5 * run.text.count("，") * (
        length < 10
    )
    score -= 1.2 * (not run.starts and not re.search(r"[\u4e00-\u9fff]{2}", run.text[:2]))
    score -= 1.6 * run.text[0].islower() + 0.8 * (run.text.isascii() and not run.ends)
    return score - 0.8 * bool(_DULL_COUNT.search(run.text))


_FIRST: dict[Hook, int] = {"contrast": 4, "quotation": 3, "number": 2, "question": 1}
"""Which hook leads where the story has no title of its own; the others keep their order."""


def kinds_of(text: str, places: Sequence[str]) -> set[Hook]:
    """What a wording already does, of the five ways to take hold of a reader."""
    kinds: set[Hook] = set()
    kinds |= {"question"} if _QUESTION.search(text) else set()
    kinds |= {"contrast"} if _STRONG_CONTRAST.search(text) else set()
    kinds |= {"number"} if _COUNT.search(text) and not _DULL_COUNT.search(text) else set()
    kinds |= {"quotation"} if text[:1] in "“「『" else set()
    return kinds | ({"place"} if any(place in text for place in places) else set())


MAIN_HOOKS: tuple[Hook, ...] = ("question", "contrast", "quotation", "number", "place")
OTHER_HOOKS: tuple[Hook, ...] = ("heading", "opening", "ending")


def titles(
    own: str,
    blocks: Sequence[Block],
    known: Sequence[Keyword],
    places: Sequence[str],
    wanted: int = 5,
) -> tuple[Title, ...]:
    """Up to ``wanted`` really different titles, each within the limit; the story's own first.

    What the own title does already comes last among the hooks. Fewer titles only where the
    story has no more to say.
    """
    found = candidates(blocks, known, LIMITS["title"])
    chosen = [Title(text=shorten_title(own), hook="own")] if own else []
    done = kinds_of(own, places)
    fresh = [hook for hook in MAIN_HOOKS if hook not in done]
    again = [hook for hook in MAIN_HOOKS if hook in done and hook != "place"]
    for hook in (*fresh, *again, *OTHER_HOOKS):
        if len(chosen) < wanted:
            chosen += _best(hook, found, chosen, places)
    for candidate in sorted(found, key=lambda candidate: -candidate.score):
        if len(chosen) < wanted and _is_new(candidate.text, chosen):
            chosen.append(Title(text=candidate.text, hook="detail"))
    if not own:
        chosen.sort(key=lambda title: -_FIRST.get(title.hook, 0))
    return tuple(chosen) or (Title(text=shorten_title(squeezed_line(blocks)), hook="opening"),)


def squeezed_line(blocks: Sequence[Block]) -> str:
    """The first words of a story that has no sentence to offer."""
    lines = [text.strip() for block in blocks for text in phrases_of(block) if text.strip()]
    return lines[0] if lines else "…"


def _best(
    hook: Hook, found: Sequence[Candidate], chosen: Sequence[Title], places: Sequence[str]
) -> list[Title]:
    """The best new candidate that does what ``hook`` says, as a list of at most one title."""
    fits = [(_fit(hook, candidate, places), candidate) for candidate in found]
    ranked = sorted(
        ((fit + candidate.score, candidate) for fit, candidate in fits if fit is not None),
        key=lambda pair: (-pair[0], pair[1].order),
    )
    for score, candidate in ranked:
        text = (
            f"“{candidate.text}”"
            if hook == "quotation" and candidate.text[0] not in OPENERS
            else candidate.text
        )
        if score > 0.8 and _is_new(text, chosen) and title_length(text) <= LIMITS["title"]:
            return [Title(text=text, hook=hook)]
    return _with_place(found, chosen, places) if hook == "place" else []


def _with_place(
    found: Sequence[Candidate], chosen: Sequence[Title], places: Sequence[str]
) -> list[Title]:
    """``place｜clause`` where no clause that names the place is good enough."""
    for place in places[:1]:
        room = LIMITS["title"] - title_length(place + "｜")
        for candidate in sorted(found, key=lambda one: -one.score):
            text = f"{place}｜{candidate.text}"
            fits = 5 <= title_length(candidate.text) <= room and place not in candidate.text
            plain = not candidate.heading and not candidate.quoted
            if fits and plain and _is_new(candidate.text, chosen):
                return [Title(text=text, hook="place")]
    return []


def _fit(hook: Hook, one: Candidate, places: Sequence[str]) -> float | None:
    """How well ``one`` does what ``hook`` says; ``None`` where it does not."""
    if hook == "question":
        return 1.0 + one.starts if one.asks and not one.quoted else None
    if hook == "quotation":
        return (
            (1.5 if one.ends and one.starts else 0.0) + 0.4 * bool(_CONTRAST.search(one.text))
            if one.quoted
            else None
        )
    if one.quoted or one.asks:
        return None
    if hook == "number":
        found = _COUNT.search(one.text)
        return (
            0.5 + 0.5 * any(ch.isdigit() for ch in one.text) if found and not one.heading else None
        )
    if hook == "contrast":
        strong = bool(_STRONG_CONTRAST.search(one.text))
        return (
            1.6 + 0.8 * bool(_PAIRED.search(one.text))
            if strong
            else (0.2 if _CONTRAST.search(one.text) else None)
        )
    if hook == "place":
        return 0.5 if any(place in one.text for place in places) and not one.heading else None
    if hook == "heading":
        return 0.8 if one.heading else None
    if hook == "opening":
        return 0.6 if one.order < 0.12 and one.starts else None
    return 0.6 if hook == "ending" and one.order > 0.85 and one.ends else None


def _is_new(text: str, chosen: Sequence[Title]) -> bool:
    return all(overlap(text, title.text) < 0.5 for title in chosen)


def pull_quote(
    blocks: Sequence[Block], known: Sequence[Keyword], taken: Sequence[str], most: int = 34
) -> str:
    """A whole sentence of the story to leave with; empty where none stands alone."""
    prose = [block for block in blocks if isinstance(block, Paragraph | Quote)]
    whole = [
        one
        for one in candidates(prose, known, most)
        if one.starts
        and one.ends
        and not one.heading
        and not one.asks
        and title_length(one.text) >= 8
    ]
    ranked = sorted(
        whole,
        key=lambda one: -(one.score + 1.5 * one.quoted + bool(_STRONG_CONTRAST.search(one.text))),
    )
    for one in ranked:
        if one.score > 1.0 and all(overlap(one.text, text) < 0.5 for text in taken if text):
            return (
                f"“{one.text}”" if one.quoted and one.text[0] not in OPENERS + CLOSERS else one.text
            )
    return ""
