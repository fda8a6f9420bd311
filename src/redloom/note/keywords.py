"""What a story is about: its places, things and names, from its own words.

Frequency weighed by part of speech and by where a word stands; neighbouring nouns that keep
company become one phrase (杨梅竹斜街), as long as the story itself has them side by side.
May import: nothing of the package but note.text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from .text import Word, sentences, squeezed, words

_WEIGHTS = {
    "ns": 2.2,
    "nz": 1.8,
    "nt": 1.6,
    "nr": 1.2,
    "n": 1.3,
    "vn": 0.8,
    "eng": 1.4,
    "l": 0.6,
    "i": 0.7,
}
_PLACE_ENDS = (
    *(
        "胡同",
        "公园",
        "古镇",
        "古城",
        "市场",
        "车站",
        "广场",
        "老街",
        "书店",
        "咖啡馆",
        "博物馆",
        "美术馆",
        "寺",
        "庙",
    ),
    *(
        "街",
        "巷",
        "路",
        "桥",
        "山",
        "湖",
        "海",
        "岛",
        "河",
        "江",
        "镇",
        "村",
        "县",
        "市",
        "省",
        "大关",
        "里弄",
        "弄堂",
    ),
)
_NOT_PLACES = (
    "马路",
    "公路",
    "道路",
    "铁路",
    "大街",
    "街",
    "路",
    "上海路",
    "下海",
    "大海",
    "江山",
    "上山",
    "超市",
    "城市",
    "套路",
    "思路",
    "出路",
)
_PARTS_OF_PHRASE = (
    "n",
    "ns",
    "nz",
    "nr",
    "nt",
    "vn",
    "v",
    "a",
    "b",
    "j",
    "ng",
    "zg",
    "x_latin",
    "eng",
    "f",
    "g",
    "q",
)


@cache
def _listed(name: str) -> frozenset[str]:
    """The words under ``# name`` in words.txt: too common to be keywords, or nowhere special."""
    text = files(__package__).joinpath("words.txt").read_text(encoding="utf-8")
    return frozenset(text.split(f"# {name}\n")[1].split("#")[0].split())


@dataclass(frozen=True, slots=True)
class Keyword:
    """A word or phrase of the story and how much it weighs (the heaviest is 1)."""

    text: str
    weight: float
    part: str

    @property
    def is_place(self) -> bool:
        """Whether it names somewhere."""
        named = self.part == "ns" and self.text[-1] not in "里跑走人上下"
        return (named or is_place_name(self.text)) and self.text not in _listed("somewhere")


def is_place_name(word: str) -> bool:
    """Whether a word ends as the names of streets, mountains and markets do."""
    verbal = re.search(r"[了着过的一不没能会走要想说去来]", word) is not None
    return len(word) >= 3 and word.endswith(_PLACE_ENDS) and word not in _NOT_PLACES and not verbal


def keywords(text: str, title: str = "", most: int = 30) -> list[Keyword]:
    """The heaviest words of ``text``, each standing in it letter by letter; the title's count
    threefold. Empty where the text has no nouns."""
    found = [list(words(sentence)) for sentence in sentences(text)]
    titled = [list(words(title))] if title else []
    phrases = _phrases([*found, *titled])
    counts: Counter[Word] = Counter()
    forms: dict[str, Word] = {}
    for sentence in [*found, *titled, *titled]:
        joined = _joined(sentence, phrases)
        counts.update(forms.setdefault(word.text.casefold(), word) for word in joined)
    scored = [(word, score) for word, count in counts.items() if (score := _score(word, count)) > 0]
    scored.sort(key=lambda pair: (-pair[1], text.find(pair[0].text)))
    top = scored[0][1] if scored else 1.0
    distinct = _distinct(scored)
    return [Keyword(word.text, score / top, word.part) for word, score in distinct[:most]]


def _score(word: Word, count: int) -> float:
    text = word.text.strip()
    if word.part == "eng":
        if len(text) < 3 or text.casefold() in _listed("stop-en") or not text.isalpha():
            return 0.0
        return count * (1.4 if text[0].isupper() else 1.0)
    if (
        not 2 <= len(text) <= 8
        or text in _listed("stop-zh")
        or not re.fullmatch(r"[\u4e00-\u9fff]+", text)
    ):
        return 0.0
    weight = _WEIGHTS.get(word.part, 0.0) or (2.0 if word.part == "phrase" else 0.0)
    if is_place_name(text):
        weight = max(weight, 2.4)
    return weight * float(count**0.8) * (1 + 0.12 * min(len(text), 5))


def _distinct(scored: Sequence[tuple[Word, float]]) -> list[tuple[Word, float]]:
    """Without words that lie inside a heavier one."""
    kept: list[tuple[Word, float]] = []
    for word, score in scored:
        if not any(word.text in other.text or other.text in word.text for other, _ in kept):
            kept.append((word, score))
    return kept


def _phrases(found: Sequence[Sequence[Word]]) -> dict[str, str]:
    """Runs of two to four words that stand together at least twice, nearly whenever they stand
    at all, or that together name a place; the longest first."""
    singles: Counter[str] = Counter(word.text for sentence in found for word in sentence)
    runs: Counter[str] = Counter()
    rarest: dict[str, int] = {}
    for sentence in found:
        for run in _runs(sentence):
            text = "".join(word.text for word in run)
            runs[text] += 1
            rarest[text] = max(singles[word.text] for word in run)
    kept = {
        text: "phrase"
        for text, count in runs.items()
        if count >= 2 and 3 <= len(text) <= 8 and count >= 0.6 * rarest[text]
    }
    return dict(sorted(kept.items(), key=lambda pair: -len(pair[0])))


def _runs(sentence: Sequence[Word]) -> Iterator[Sequence[Word]]:
    for start in range(len(sentence)):
        for length in (2, 3, 4):
            run = sentence[start : start + length]
            if len(run) == length and all(_may_join(word) for word in run) and not _is_verb(run):
                yield run


def _is_verb(run: Sequence[Word]) -> bool:
    """Whether a run begins or ends with what is done rather than named."""
    return run[0].part in ("v", "d", "p", "f") or run[-1].part in ("v", "f")


def _may_join(word: Word) -> bool:
    chinese = re.fullmatch(r"[\u4e00-\u9fff]{1,4}", word.text) is not None
    return chinese and word.part in _PARTS_OF_PHRASE and word.text not in _listed("stop-zh")


def _joined(sentence: Sequence[Word], phrases: dict[str, str]) -> list[Word]:
    """The words of a sentence, runs that are phrases taken as one."""
    out: list[Word] = []
    at = 0
    while at < len(sentence):
        for length in (4, 3, 2):
            text = "".join(word.text for word in sentence[at : at + length])
            if len(sentence[at : at + length]) == length and text in phrases:
                out.append(Word(text, "phrase"))
                at += length
                break
        else:
            out.append(sentence[at])
            at += 1
    return out


def overlap(one: str, other: str) -> float:
    """How much two wordings share, 0 to 1: common pairs of letters over those of the shorter."""
    pairs = [_pairs(squeezed(text).casefold()) for text in (one, other)]
    fewest = min(len(pairs[0]), len(pairs[1]))
    return len(pairs[0] & pairs[1]) / fewest if fewest else 0.0


def _pairs(text: str) -> set[str]:
    return {text[at : at + 2] for at in range(len(text) - 1)} or {text}
