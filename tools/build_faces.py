"""Rebuild the card faces in src/redloom/typeset/faces/ from upstream font files given as paths.

The upstream files are in public packages, all under the SIL Open Font License 1.1:

    sans   Noto Sans SC variable     PyPI justmytype-intl-cjk
    serif  Noto Serif SC Black       npm @expo-google-fonts/noto-serif-sc
    kai    LXGW WenKai Medium        npm @fontsource/lxgw-wenkai
    rare   Noto Sans SC Medium       npm @expo-google-fonts/noto-sans-sc
    emoji  Noto Color Emoji COLRv1   npm @expo-google-fonts/noto-color-emoji
    smiley Smiley Sans               Debian fonts-smiley-sans (shipped as it is: its name is reserved)
    mono   DejaVu Sans Mono 2.37     PyPI matplotlib (read only: typst carries this face itself)

What each face is to hold is read from `characters.json`, which this tool also writes; the
typesetter reads the same file to know, before drawing, what no face has. Only the faces named on
the command line are rebuilt, in an order in which `rare` comes after the faces it completes::

    python tools/build_faces.py sans=NotoSansSC-VF.ttf rare=NotoSansSC_500Medium.ttf

A face whose licence reserves its name, or that is cut, gets a name of ours ("Card ...").
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

FACES = Path(__file__).resolve().parent.parent / "src" / "redloom" / "typeset" / "faces"
LIST = FACES / "characters.json"


@dataclass(frozen=True)
class Recipe:
    """How one face is made: its file here, its family, and whether it is cut."""

    file: str
    family: str
    cut: bool = True


RECIPES = {
    "sans": Recipe("CardSansSC.ttf", "Card Sans SC"),
    "serif": Recipe("CardSerifSC-Black.ttf", "Card Serif SC"),
    "kai": Recipe("CardKai-Medium.ttf", "Card Kai"),
    "smiley": Recipe("SmileySans-Oblique.ttf", "Smiley Sans", cut=False),
    "emoji": Recipe("NotoColorEmoji.ttf", "Noto Color Emoji", cut=False),
    "mono": Recipe("", "DejaVu Sans Mono", cut=False),
    "rare": Recipe("CardRare-Medium.ttf", "Card Rare"),
}


def ranges(characters: set[int]) -> list[list[int]]:
    """Sorted, inclusive ranges of code points."""
    found: list[list[int]] = []
    for code in sorted(characters):
        if found and code == found[-1][1] + 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return found


def members(spans: list[list[int]]) -> set[int]:
    """The code points that `ranges` wrote down."""
    return {code for first, last in spans for code in range(first, last + 1)}


def wanted(name: str, lists: dict[str, list[list[int]]]) -> set[int]:
    """What a cut face is to hold.

    `rare` completes the others: the whole block of unified ideographs, radicals, compatibility
    forms, bopomofo and signs that they lack, without Extension A (6,500 characters, 2 MB).
    """
    if name != "rare":
        return members(lists[RECIPES[name].family])
    held = members(
        [span for family, spans in lists.items() if family != "Card Rare" for span in spans]
    )
    return {code for code in range(0x20, 0x10000) if not 0x3400 <= code < 0x4E00} - held


def cut(font: TTFont, characters: set[int], *, features: bool) -> None:
    """Keep ``characters`` only; without hinting, which no renderer at this size reads."""
    options = Options(
        layout_features=["*"] if features else [],
        hinting=False,
        name_IDs=["*"],
        notdef_outline=True,
        glyph_names=False,
    )
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=characters)
    subsetter.subset(font)


def rename(font: TTFont, family: str) -> None:
    """Give the face a family name of ours, everywhere a program may look."""
    for record in list(font["name"].names):
        if record.nameID in (1, 4, 16, 21):
            record.string = family
        elif record.nameID == 6:
            record.string = family.replace(" ", "")
        elif record.nameID in (3, 25):
            font["name"].names.remove(record)


def build(name: str, source: Path, lists: dict[str, list[list[int]]]) -> None:
    """Make one face and write down what it holds."""
    recipe = RECIPES[name]
    font = TTFont(source, recalcTimestamp=False)
    if name == "emoji" and "SVG " in font:
        del font["SVG "]
    if recipe.cut:
        cut(font, wanted(name, lists), features=name != "rare")
        rename(font, recipe.family)
    lists[recipe.family] = ranges(set(font.getBestCmap()))
    if name == "smiley":
        (FACES / recipe.file).write_bytes(source.read_bytes())
    elif recipe.file:
        font.save(FACES / recipe.file)


def main(arguments: list[str]) -> int:
    """Build what is named as NAME=PATH; exit status 2 where the arguments are wrong."""
    given = dict(argument.partition("=")[::2] for argument in arguments)
    if not given or not given.keys() <= RECIPES.keys():
        sys.stderr.write(__doc__ or "")
        return 2
    lists = json.loads(LIST.read_text("utf-8")) if LIST.exists() else {}
    for name in RECIPES:
        if name in given:
            build(name, Path(given[name]), lists)
    LIST.write_text(json.dumps(lists, separators=(",", ":"), sort_keys=True) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
