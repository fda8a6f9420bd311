"""What may not be broken at a line's end, and what may be: glue and seams put into the text.

typst breaks Chinese by character, as the Unicode rules say. Three things it cannot know: a number
stays with its measure word (3步, 128GB), a phrase of a heading reads better whole, and an address
of eighty letters must break somewhere.
May import: characters.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from budoux import Parser

GLUE = "\u2060"
"""WORD JOINER: no break here, nothing drawn."""

SEAM = "\u200b"
"""ZERO WIDTH SPACE: a break is allowed here, nothing drawn."""

OPENING = "「『“‘（《〈【〔［｛([{¥$￥＄£€#＃@"
CLOSING = "」』”’）》〉】〕］｝)]}，。、；：？！,.;:?!…—～~%％‰℃°·”’〞々ー"

_NUMBER = r"[0-9０-９]+(?:[.,:：/~～\-—–×xX][0-9０-９]+)*|[零〇一二两三四五六七八九十百千万亿几半]+"
_MEASURES = (
    "个|只|位|名|人|次|天|日|号|年|月|周|岁|小时|分钟|分|秒|点|步|条|张|本|件|套|份|块|元|角|毛|万|千|百|亿|"
    "公里|千米|厘米|毫米|米|公斤|千克|克|斤|两|吨|升|毫升|度|倍|成|折|页|章|节|篇|字|句|行|列|集|季|期|届|"
    "层|楼|间|栋|座|家|所|站|路|台|部|辆|艘|架|口|碗|杯|瓶|盒|袋|包|根|支|颗|粒|朵|棵|头|匹|双|对|副|种|"
    "类|样|项|款|组|批|段|遍|趟|圈|顿|场|首|幅|招|课|关|级|等|代|秒钟|刻钟|星期|礼拜|个月|美元|日元|港币|平米|平方米|㎡"
)
ATOM = re.compile(
    rf"(?:第|¥|￥|\$|No\.)?(?:[0-9０-９]+(?:[.,:：/~～\-–×xX][0-9０-９]+)*)[%％‰℃°+＋]* ?(?:余|多|来)?(?:{_MEASURES})?"
    rf"|第[零〇一二两三四五六七八九十百千]+ ?(?:{_MEASURES})"
    rf"|[一二两三四五六七八九十百千万半几]+(?:{_MEASURES})"
)
"""A number with what belongs to it: 3步, 第 03 期, ¥1,986, 2×3 米, 两个月."""

LATIN = re.compile(r"[A-Za-z0-9À-ɏͰ-ϿЀ-ӿ][A-Za-z0-9À-ɏͰ-ϿЀ-ӿ.,:'’_\-/+#&@%=?~]*")
"""A run of letters that is read as one word."""


@cache
def _parser() -> Parser:
    import budoux

    return budoux.load_default_simplified_chinese_parser()


def phrases(text: str) -> list[str]:
    """The text cut into phrases that read as one (budoux). Joined they are the text again."""
    return list(_parser().parse(text)) if text else []


def glue_atoms(text: str) -> str:
    """The text with numbers glued to their measure words."""
    return ATOM.sub(lambda found: _glued(found.group()), text)


def _glued(atom: str) -> str:
    if atom.isascii() and " " not in atom:
        return atom  # letters and digits hold together by themselves
    return GLUE.join(atom.replace(" ", "\u00a0")) if len(atom) <= 12 else atom


def glue_end(text: str, least: int = 3) -> str:
    """The text with its last characters glued, so that none is left alone on a last line."""
    cut = len(text)
    found = 0
    while cut > 0 and found < least and text[cut - 1] not in " \n" and ord(text[cut - 1]) > 0x2E80:
        cut -= 1
        found += text[cut] not in CLOSING
    tail = text[cut:]
    return text[:cut] + GLUE.join(tail) if GLUE not in tail else text


def seam_long_words(text: str, longest: int) -> str:
    """The text with seams in words longer than ``longest`` letters, which no line could hold."""

    def cut(found: re.Match[str]) -> str:
        word = found.group()
        if len(word) <= longest:
            return word
        step = max(4, longest // 3)
        return SEAM.join(word[at : at + step] for at in range(0, len(word), step))

    return re.sub(r"[!-~À-ɏͰ-ϿЀ-ӿ]+", cut, text)


def glue_phrases(text: str, longest: int = 7) -> str:
    """The text breakable only between phrases, for headings and other large type."""
    out = []
    for phrase in phrases(text):
        words = phrase.split(" ")
        out.append(
            " ".join(
                GLUE.join(w) if 1 < len(w) <= longest and not w.isascii() else w for w in words
            )
        )
    return "".join(out)


def plain(text: str) -> str:
    """The text without glue and seams, as it was written."""
    return text.replace(GLUE, "").replace(SEAM, "").replace("\u00a0", " ")
