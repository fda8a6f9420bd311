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

MEASURES = (
    "平方米|个月|公斤|公里|分钟|刻钟|千克|千米|厘米|小时|平米|日元|星期|"
    "毫升|毫米|港币|礼拜|秒钟|美元|㎡|万|两|个|人|亿|代|件|份|位|倍|"
    "元|克|关|分|列|副|包|匹|千|升|双|口|句|只|台|号|名|吨|周|圈|"
    "场|块|天|头|套|字|季|家|对|层|届|岁|幅|年|度|座|张|成|所|批|"
    "折|招|支|斤|日|月|期|本|朵|条|杯|架|栋|样|根|棵|楼|次|款|步|"
    "段|毛|点|瓶|百|盒|碗|种|秒|站|章|等|篇|米|类|粒|级|组|艘|节|"
    "行|袋|角|课|趟|路|辆|遍|部|间|集|页|项|顿|颗|首"
)
"""The longest first, so that 个月 is not read as 个."""
ATOM = re.compile(
    rf"(?:第 ?|¥|￥|\$|No\.)?(?:[0-9０-９]+(?:[.,:：/~～\-–×xX][0-9０-９]+)*)[%％‰℃°+＋]* ?(?:余|多|来)?(?:{MEASURES})?"
    rf"|第 ?[零〇一二两三四五六七八九十百千]+ ?(?:{MEASURES})"
    rf"|[一二两三四五六七八九十百千万半几]+(?:{MEASURES})"
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
