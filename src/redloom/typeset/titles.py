"""A title into lines: broken between phrases, balanced, never at a foolish place.

typst breaks Chinese by character (写周／报), so the lines are chosen here and handed over as they
are. `choices` gives one arrangement for each number of lines; the press measures them with the real
face and takes the one that can be set largest.
May import: characters, words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, pairwise

from .characters import EMOJI, pieces
from .words import ATOM, CLOSING, LATIN, MEASURES, OPENING, phrases

MAX_LINES = 10
REACH = 3.0
"""No line of a balanced title is longer than this many times the mean."""
PARTICLES = "了的着过得吗呢吧啊呀嘛"
"""What belongs to the word before it, wherever budoux ends the phrase: 改成了."""
STUB_COST = 12.0
"""What one or two characters of the next clause at a line's end cost (in em squared): more than a
line that is a little longer."""
SHARED_COST = 8.0
"""What a torn clause costs that shares its line with another one, at each torn end (in em squared):
一边是新的，一边是／旧的，谁也没嫌弃谁. Two lines of that are set only where three whole clauses would
stand a fifth smaller."""
LEADERS = "是在把被让给从向对"
"""What leads to the words behind it: a line that ends with one hangs in the air."""
LEADER_COST = 3.0
LONGEST_ATOM_EM = 16.0
"""A word wider than this is cut: at the smallest size it would not fit the card."""

_PAUSES = "，。！？；：、…,!?;:｜|"
_CLOSERS = "」』”’）》】)]\"'"

_WORD = rf"{LATIN.pattern}(?:(?<=[0-9]) ?(?:{MEASURES}))?"
_TOKEN = re.compile(rf"(?:{ATOM.pattern})(?:(?=[A-Za-z]){_WORD})?|{_WORD}|\s+|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Arrangement:
    """One way to set a title. ``cost`` 0 is a pleasure; each 0.1 is worth a tenth of the size."""

    lines: tuple[str, ...]
    cost: float
    proposed: bool = False
    """The writer's own line breaks."""


def width_em(text: str) -> float:
    """How wide the text is, about, in widths of a Chinese character."""
    return sum(_token_width(token) for token in _raw_tokens(text))


def _raw_tokens(text: str) -> list[str]:
    """Emoji, numbers with what they count, words, spaces, and every other character by itself."""
    out: list[str] = []
    for piece, is_emoji in pieces(text):
        out += [piece] if is_emoji else [found.group() for found in _TOKEN.finditer(piece)]
    return out


def _token_width(token: str) -> float:
    if EMOJI.fullmatch(token):
        return 1.2
    return sum(_character_width(c) for c in token)


def _character_width(c: str) -> float:
    if c.isspace():
        return 0.28
    if ord(c) < 0x2E80:
        return 0.66 if c.isupper() or c in "mwMW@%" else 0.55
    return 1.0


@dataclass(frozen=True, slots=True)
class _Atom:
    """What stays together on a line, and what a break before it costs (in em squared)."""

    text: str
    width: float
    break_cost: float
    ends_clause: bool
    """A reader pauses behind it, so that a break there tears nothing."""


def _tokens(text: str) -> list[str]:
    out: list[str] = []
    for token in _raw_tokens(text):
        if _token_width(token) <= LONGEST_ATOM_EM:
            out.append(token)
        else:
            step = int(LONGEST_ATOM_EM / 0.66)
            out += [token[at : at + step] for at in range(0, len(token), step)]
    return out


def _no_start(token: str) -> bool:
    return token[0] in CLOSING or token.isspace() or EMOJI.fullmatch(token) is not None


def _no_end(token: str) -> bool:
    return token[-1:] in OPENING and token != ""


def _borders(text: str, names: tuple[str, ...]) -> set[int]:
    """Where budoux sees one phrase end and the next begin, never inside one of ``names``."""
    # To budoux, which never saw an emoji, one is the pause that it is to a reader.
    heard = "".join("，" * len(piece) if emoji else piece for piece, emoji in pieces(text))
    at, found = 0, set()
    for phrase in phrases(heard):
        at += len(phrase)
        found.add(at)
    inside = {
        place
        for name in names
        for begin in re.finditer(re.escape(name), text)
        for place in range(begin.start() + 1, begin.end())
    }
    return found - inside


@cache
def _atoms(text: str, names: tuple[str, ...] = ()) -> tuple[_Atom, ...]:
    """The line's atoms; a break may stand before any of them but the first."""
    borders = _borders(text, names)
    out: list[_Atom] = []
    at = 0
    depth = 0
    for before, token in pairwise(["", *_tokens(text)]):
        if out and (_no_start(token) or _no_end(out[-1].text.rstrip())):
            out[-1] = _atom(out[-1].text + token, out[-1].break_cost)
        else:
            out.append(_atom(token, _break_cost(before, token, at in borders, depth)))
        depth = max(
            0,
            depth + sum(c in "「『“（《【" for c in token) - sum(c in "」』”）》】" for c in token),
        )
        at += len(token)
    return tuple(out)


def _atom(text: str, break_cost: float) -> _Atom:
    bare = text.rstrip()
    return _Atom(text, width_em(bare), break_cost, _ends_clause(text, bare))


def _ends_clause(text: str, bare: str) -> bool:
    """Whether it ends with a mark, an emoji, or the space that parts Chinese phrases."""
    if text != bare:
        return bare[-1:] > "\u2e80"
    return (bare.rstrip(_CLOSERS) or bare)[-1:] in _PAUSES or pieces(bare)[-1][1]


def _break_cost(before: str, token: str, is_border: bool, depth: int) -> float:
    """What it costs the reader to find a break here; inside brackets it costs more."""
    inside = 8.0 if depth else 0.0
    if before and before[-1] in _PAUSES + "」』”）》】":
        return inside
    if before.isspace():
        return 1.0 + inside
    if not is_border or token in PARTICLES:
        return 9.0 + inside
    return (LEADER_COST if before[-1:] in LEADERS else 0.8) + inside


def _partition(atoms: tuple[_Atom, ...], count: int) -> tuple[float, tuple[str, ...]] | None:
    """The best division into exactly ``count`` lines: least raggedness plus break costs."""
    total = len(atoms)
    if count > total:
        return None
    ends = [0.0, *accumulate(a.width for a in atoms)]
    target = ends[-1] / count
    best: list[list[tuple[float, int]]] = [[(0.0, 0)] + [(float("inf"), 0)] * total]
    for line in range(1, count + 1):
        row = [(float("inf"), 0)] * (total + 1)
        for end in range(line, total + 1):
            row[end] = min(
                (
                    best[line - 1][start][0]
                    + _line_cost(atoms, start, end, target, last=line == count),
                    start,
                )
                for start in _starts(ends, line - 1, end, REACH * target)
            )
        best.append(row)
    if best[count][total][0] == float("inf"):
        return None
    return best[count][total][0], _read_back(atoms, best, count)


def _starts(ends: list[float], first: int, end: int, reach: float) -> Iterator[int]:
    """Where a line that ends at atom ``end`` may begin: no further back than ``reach`` em, so
    that a title of hundreds of characters is broken in a moment."""
    yield end - 1
    for start in range(end - 2, first - 1, -1):
        if ends[end] - ends[start] > reach:
            return
        yield start


def _line_cost(
    atoms: tuple[_Atom, ...], start: int, end: int, target: float, *, last: bool
) -> float:
    width = sum(a.width for a in atoms[start:end])
    ragged = (width - target) ** 2 * (0.6 if last and width < target else 1.0)
    lonely = 6.0 if width <= 1.6 and target > 2.0 else 0.0
    torn = _torn(atoms, start, end, last=last)
    return ragged + lonely + torn + (atoms[start].break_cost if start else 0.0)


def _torn(atoms: tuple[_Atom, ...], start: int, end: int, *, last: bool) -> float:
    """What it costs that a line with a pause in it begins or ends within a clause."""
    if not any(atoms[at].ends_clause for at in range(start, end - 1)):
        return 0.0
    cost = SHARED_COST if start and not atoms[start - 1].ends_clause else 0.0
    if last or atoms[end - 1].ends_clause:
        return cost
    return cost + SHARED_COST + (STUB_COST if _tail(atoms, end) <= 2.0 else 0.0)


def _tail(atoms: tuple[_Atom, ...], end: int) -> float:
    """How much of the next clause stands at a line's end, in em: 三十岁，我／把…."""
    width, at = 0.0, end
    while at and not atoms[at - 1].ends_clause:
        at -= 1
        width += atoms[at].width
    return width


def _read_back(
    atoms: tuple[_Atom, ...], best: list[list[tuple[float, int]]], count: int
) -> tuple[str, ...]:
    lines: list[str] = []
    end = len(atoms)
    for line in range(count, 0, -1):
        start = best[line][end][1]
        lines.append("".join(a.text for a in atoms[start:end]).strip())
        end = start
    return tuple(reversed(lines))


def choices(
    title: str, most: int = MAX_LINES, names: tuple[str, ...] = ()
) -> tuple[Arrangement, ...]:
    """Arrangements of a title, one for each number of lines that it can have, best kept first.

    ``names`` are words of the title that no phrase ends inside of (杨梅竹斜街), whatever budoux
    thinks.

    Line breaks in ``title`` are the writer's proposal: given first, as ``proposed``. Every other
    arrangement is made from the title with them taken out. The lines joined are the title, but
    for the space at breaks.
    """
    proposal = tuple(line.strip() for line in title.split("\n") if line.strip())
    flat = re.sub(r"\s+", " ", _joined(proposal)).strip()
    found = [Arrangement(proposal, 0.0, proposed=True)] if len(proposal) > 1 else []
    if not flat:
        return (Arrangement(("",), 0.0),)
    atoms = _atoms(flat, names)
    divisions = ((count, _partition(atoms, count)) for count in range(1, most + 1))
    found += [Arrangement(d[1], _relative(d[0], atoms, n)) for n, d in divisions if d]
    return tuple(found)


def _joined(lines: tuple[str, ...]) -> str:
    """Lines as one: with a space only between two Latin words."""
    out = ""
    for line in lines:
        gap = " " if out and out[-1].isascii() and line[0].isascii() else ""
        out += gap + line
    return out


def _relative(cost: float, atoms: tuple[_Atom, ...], count: int) -> float:
    """The cost as a share of size, so that titles of all lengths are judged alike."""
    target = max(2.0, sum(a.width for a in atoms) / count)
    return min(0.6, cost / count / target**2 + 0.006 * cost + 0.012 * (count - 1))
