"""Cards as they were drawn: the words in the PDF of the same pages, the pixels of the PNG."""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageFilter
from pypdf import PdfReader
from pypdf.generic import ContentStream

from redloom.errors import BadInput
from redloom.typeset.cards import (
    SIZES,
    Composition,
    Sheet,
    card_image,
    proof,
    themes,
    typeset,
)
from redloom.typeset.content import (
    Block,
    Closing,
    Code,
    Cover,
    Deck,
    Figure,
    Heading,
    ListBlock,
    ListItem,
    Paragraph,
    Quote,
    Ratio,
    Rule,
    Span,
    Table,
)
from redloom.typeset.flow import sections
from redloom.typeset.picture import contrast
from redloom.typeset.press import Galley
from redloom.typeset.theme import find

NAMES = [info.name for info in themes()]
HARD = (
    "走了3步，内存128GB，花¥1,986；龘靐与臺灣體驗，家人👨‍👩‍👧‍👦去🇨🇳看1️⃣场☕，"
    "原样照写：#panic() $x$ \\alpha `code` *b* _i_ <a> @ref // 注释 #{1+1} ]["
)


def words(text: str) -> tuple[Span, ...]:
    """Plain text as spans."""
    return (Span(text),)


def photo(kind: str, size: tuple[int, int] = (600, 800)) -> bytes:
    """A photograph of the hard sort, the same every time."""
    image = Image.new("RGB", size, {"white": "white", "black": "black"}.get(kind, "white"))
    if kind == "half":
        image.paste((0, 0, 0), (0, 0, size[0] // 2, size[1]))
    if kind == "noise":
        seed = hashlib.sha256(b"noise").digest()
        block = b"".join(hashlib.sha256(seed + bytes([i])).digest() for i in range(150))
        small = Image.frombytes("RGB", (40, 40), block)
        image = small.resize(size, Image.Resampling.NEAREST)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def whole_deck() -> Deck:
    """Every kind of block, span and card."""
    blocks: tuple[Block, ...] = (
        Heading(words("先别急着丢一句「帮我写周报」")),
        Paragraph(
            (
                Span("很多人第一次用 AI 写周报，都是直接丢一句。"),
                Span("粗体", bold=True),
                Span("斜体", italic=True),
                Span("代码", code=True),
                Span("记号", mark=True),
            )
        ),
        ListBlock(
            (ListItem(words("列事实"), (ListItem(words("接口人")),)), ListItem(words("给数据"))),
            True,
        ),
        ListBlock((ListItem(words("窗帘宁长勿短")),)),
        Heading(words("花费明细"), 2),
        Table(
            (words("项目"), words("现在")),
            ((words("窗帘"), words("¥199")), (words("灯"), words("¥89"))),
        ),
        Rule(),
        Quote((Paragraph(words("把日子过慢。")),), source="瓦尔登湖札记"),
        Code("for i in range(3):\n    print('步', i)"),
        Figure(photo("half"), words("风把云吹成了一条河。"), title="蓝调时刻"),
    )
    return Deck(
        Cover(
            "把日子过慢，是成年人最体面的浪漫",
            "一份清晨札记",
            "读书笔记",
            ("读书", "慢生活"),
            "小红薯同学",
        ),
        blocks,
        Closing("你需要开始，才能变得很厉害。", "收藏起来", ("读书",), "小红薯同学"),
    )


def read(pdf: bytes) -> list[str]:
    """The words of every page, without white space, glue and seams."""
    pages = PdfReader(io.BytesIO(pdf)).pages
    return [re.sub(r"[\s\u2060\u200b]+", "", page.extract_text()) for page in pages]


def lines(pdf: bytes, page: int) -> list[str]:
    """The lines of one page, in which a break between glued characters would show."""
    text = PdfReader(io.BytesIO(pdf)).pages[page].extract_text()
    return [re.sub(r"[ \u00a0\u2060\u200b]+", "", line) for line in text.split("\n")]


def boxes(pdf: bytes) -> int:
    """How many glyphs were drawn as .notdef (glyph 0 of a composite font)."""
    reader = PdfReader(io.BytesIO(pdf))
    return sum(_boxes_on(page, reader) for page in reader.pages)


def _boxes_on(page: Any, reader: PdfReader) -> int:
    fonts = page["/Resources"].get("/Font", {})
    composite, count = False, 0
    for operands, operator in ContentStream(page.get_contents(), reader).operations:
        if operator == b"Tf":
            composite = fonts[operands[0]].get_object()["/Subtype"] == "/Type0"
        elif operator in (b"Tj", b"TJ") and composite:
            parts = operands[0] if operator == b"TJ" else operands
            for part in parts:
                raw = getattr(part, "original_bytes", None)
                if isinstance(raw, bytes):
                    count += sum(raw[i : i + 2] == b"\0\0" for i in range(0, len(raw), 2))
    return count


@pytest.mark.parametrize("theme", NAMES)
def test_every_theme_draws_every_card(theme: str) -> None:
    """All kinds of cards in all themes: right size, right kinds, every word there, no boxes."""
    pdf, sheet = proof(whole_deck(), theme=theme)
    kinds = [card.kind for card in sheet.cards]
    assert kinds[0] == "cover"
    assert kinds[-1] == "closing"
    assert set(kinds[1:-1]) == {"page"}
    for card in sheet.cards:
        with Image.open(io.BytesIO(card.png)) as image:
            assert (image.size, image.format) == ((1080, 1440), "PNG")
    everything = "".join(read(pdf))
    for piece in ("把日子过慢", "一份清晨札记", "列事实", "接口人", "给数据", "窗帘宁长勿短", "¥199", "瓦尔登湖札记",
                  "print('步',i)", "蓝调时刻", "收藏起来", "记号"):  # fmt: skip
        assert piece in everything or set(piece) <= set(everything), piece
    assert boxes(pdf) == 0
    assert sheet.warnings == ()


@pytest.mark.parametrize("ratio", list(SIZES))
@pytest.mark.parametrize("theme", NAMES)
def test_every_theme_in_every_ratio_with_a_photo(theme: str, ratio: Ratio) -> None:
    """A photographic cover and a captioned picture come out at the ratio's pixels."""
    cover = card_image(Cover("夜里的早点摊", picture=photo("half")), theme=theme, ratio=ratio)
    page = card_image(Figure(photo("noise"), words("一句说明")), theme=theme, ratio=ratio)
    for sheet in (cover, page):
        assert [(c.width, c.height) for c in sheet.cards] == [SIZES[ratio]]
        with Image.open(io.BytesIO(sheet.cards[0].png)) as image:
            assert image.size == SIZES[ratio]


@pytest.mark.parametrize("theme", ["paper", "poster"])
def test_hard_text_is_drawn_as_it_is(theme: str) -> None:
    """Emoji clusters, flags, rare and traditional characters, and typst's own signs, verbatim."""
    pdf, sheet = proof(Deck(Cover(HARD[:30]), (Paragraph(words(HARD)),)), theme=theme)
    assert re.sub(r"\s+", "", HARD) in read(pdf)[1]
    assert boxes(pdf) == 0
    assert sheet.warnings == ()
    assert HARD in sheet.cards[1].text


def test_what_no_face_has_is_named_and_shown() -> None:
    """𠮷 becomes 〓 on the card and is named in the warnings, in both languages."""
    pdf, sheet = proof(Deck(Cover("𠮷野家"), (Paragraph(words("去𠮷野家吃饭，和ꀀ一起。")),)))
    assert "〓野家" in "".join(read(pdf))
    assert boxes(pdf) == 0
    [warning] = sheet.warnings
    for named in (warning.zh, warning.en):
        assert "𠮷" in named
        assert "U+20BB7" in named
        assert "ꀀ" in named


def test_a_box_would_be_noticed() -> None:
    """The check for boxes does see one, where a missing character is let through on purpose."""
    job = Composition(find("paper"), "3:4")
    data = job.deck(
        Cover("好"), sections(Deck(Cover(""), (Paragraph(words("甲")),)), job.words), None
    )
    data["sections"][0]["blocks"][0]["text"][0]["t"] = "𠮷"
    assert boxes(Galley(job.theme, data).draw("pdf")[0]) == 1


def test_numbers_stay_with_what_they_count() -> None:
    """However the lines fall, none ends between 3 and 步, or inside 128GB or a word."""
    text = "".join(f"{'字' * (i % 7)}走3步，128GB，ChatGPT，第 03 期，" for i in range(24))
    pdf, _ = proof(Deck(Cover("数"), (Paragraph(words(text)),)))
    for page in range(1, len(PdfReader(io.BytesIO(pdf)).pages)):
        for line in lines(pdf, page):
            if line.isdigit():
                continue  # the page's own number
            assert not re.search(r"(?<!\d)3$|^步|128$|^GB|Chat$|第0?3?$", line), line
            assert not re.match(r"[，。、：；？！」』”’）》】]", line), line


@pytest.mark.parametrize("theme", NAMES)
@pytest.mark.parametrize(
    "title",
    [
        "龘",
        "一二",
        "Pneumonoultramicroscopicsilicovolcanoconiosis",
        "把日子过慢是成年人最体面的浪漫" * 5,
        "👨‍👩‍👧‍👦" * 12,
        "第一行\n第二行很长很长很长\n三",
    ],
)
def test_titles_of_any_length_fit(title: str, theme: str) -> None:
    """Very short, very long, one long word, only emoji: whole, and clear of the card's edge."""
    job = Composition(find(theme), "3:4")
    data = job.deck(Cover(title), [], None)
    pdf = "".join(read(Galley(job.theme, data).draw("pdf")[0]))
    flat = re.sub(r"\s+", "", title)
    assert sum(pdf.count(c) >= flat.count(c) for c in set(flat)) == len(set(flat))
    left, top, right, bottom = ink(job, data)
    assert left >= 48
    assert top >= 48
    assert right <= 1080 - 48
    assert bottom <= 1440 - 80


def ghosts(
    job: Composition, data: dict[str, Any], page: int = 0
) -> tuple[Image.Image, Image.Image]:
    """One card with its words and without them."""
    with_words = Galley(job.theme, data).draw()[page]
    without = Galley(job.theme, data | {"ghost": True}).draw()[page]
    one, other = (Image.open(io.BytesIO(png)).convert("RGB") for png in (with_words, without))
    return one, other


def ink(job: Composition, data: dict[str, Any], page: int = 0) -> tuple[int, int, int, int]:
    """The box in which words were drawn."""
    found = ImageChops.difference(*ghosts(job, data, page)).getbbox()
    assert found is not None
    return found


def lowest_contrast(one: Image.Image, other: Image.Image) -> float:
    """The contrast of the least legible twentieth of the strokes against what lies behind them.

    Only the middle of strokes is read, where no pixel is half paper. In every square of 48 pixels
    the best tenth speaks, because a letter's shadow is drawn as text too.
    """
    grey = ImageChops.difference(one, other).convert("L").point(lambda v: 255 if v > 20 else 0)
    core = grey.filter(ImageFilter.MinFilter(3)).tobytes()
    squares: dict[tuple[int, int], list[float]] = {}
    front, back = one.load(), other.load()
    assert front is not None
    assert back is not None
    for run in re.finditer(b"\xff+", core):
        y, x = divmod((run.start() + run.end()) // 2, one.width)
        if x < one.width:
            ratio = contrast(front[x, y], back[x, y])  # type: ignore[arg-type]
            squares.setdefault((x // 48, y // 48), []).append(ratio)
    best = sorted(
        sorted(found)[int(0.9 * len(found))] for found in squares.values() if len(found) > 6
    )
    return best[len(best) // 20]


@pytest.mark.parametrize("kind", ["none", "white", "black", "noise", "half"])
@pytest.mark.parametrize("theme", NAMES)
def test_words_stand_clear_of_any_photograph(theme: str, kind: str) -> None:
    """At least 4.5 between the words and the pixels behind them, whatever the photograph."""
    picture = None if kind == "none" else photo(kind)
    job = Composition(find(theme), "3:4")
    cover = Cover(
        "夜里的早点摊，三十年只卖一碗豆汁", "清晨五点的胡同口", "城市", ("胡同",), "小红薯", picture
    )
    one, other = ghosts(job, job.deck(cover, [], None))
    assert lowest_contrast(one, other) >= 4.5


@pytest.mark.parametrize("theme", NAMES)
def test_words_on_pages_stand_clear(theme: str) -> None:
    """The same on every page, the closing card included."""
    deck = whole_deck()
    job = Composition(find(theme), "3:4")
    data = job.deck(deck.cover, sections(deck, job.words), deck.closing)
    for page in range(1, len(job.draw(data).cards)):
        assert lowest_contrast(*ghosts(job, data, page)) >= 4.5


@pytest.mark.parametrize("theme", NAMES)
def test_wide_tables_and_long_code_fit(theme: str) -> None:
    """Nine columns, words of eighty letters, code of two hundred: nothing runs off the card."""
    row = tuple(words(f"第{i}列有些长的内容") for i in range(9))
    blocks = (
        Table(row, (row, tuple(words("unbreakable" * 7) for _ in range(9)))),
        Code("x = " + "very_long_name_" * 14 + "\n\tindented = '" + "字" * 60 + "'"),
        Paragraph(words("https://example.com/" + "a" * 120)),
    )
    job = Composition(find(theme), "3:4")
    data = job.deck(Cover("宽"), sections(Deck(Cover(""), blocks), job.words), None)
    for page in range(1, len(job.draw(data).cards)):
        left, _, right, _ = ink(job, data, page)
        assert left >= 20
        assert right <= 1080 - 40


def test_too_many_cards_are_all_drawn_and_counted() -> None:
    """The words need more than the platform takes: the warning says how many."""
    deck = Deck(Cover("长"), tuple(Paragraph(words("很长的一段话，" * 40)) for _ in range(9)))
    sheet = typeset(deck, max_cards=3)
    assert len(sheet.cards) > 3
    [warning] = sheet.warnings
    assert str(len(sheet.cards)) in warning.zh
    assert str(len(sheet.cards)) in warning.en


def test_a_card_says_what_it_shows() -> None:
    """Every sentence is on one card's text, in order; the cover has its title."""
    text = "".join(f"这是第{i}句话，说的是同一件事的另一面。" for i in range(120))
    sheet = typeset(Deck(Cover("句子\n与页"), (Paragraph(words(text)),), Closing("再见")))
    assert "".join(card.text for card in sheet.cards[1:-1]) == text
    assert len(sheet.cards) > 3
    assert "句子" in sheet.cards[0].text
    assert "再见" in sheet.cards[-1].text


SHA = """
import hashlib, sys
from redloom.typeset.cards import typeset
from redloom.typeset.content import Closing, Cover, Deck, Paragraph, Span
deck = Deck(Cover("月薪5千也能存下10万！🔥", tags=("a", "b")), (Paragraph((Span("走3步。" * 50),)),), Closing("完"))
print(hashlib.sha256(b"".join(card.png for card in typeset(deck, theme="poster").cards)).hexdigest())
"""


def test_same_bytes_wherever_it_runs(tmp_path: Path) -> None:
    """Locale, time zone, hash seed and folder change nothing."""
    found = set()
    for variables, folder in (
        ({"LC_ALL": "C", "TZ": "UTC", "PYTHONHASHSEED": "1"}, tmp_path),
        ({"LC_ALL": "zh_CN.UTF-8", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "77"}, Path.cwd()),
    ):
        done = subprocess.run(
            [sys.executable, "-c", SHA],
            env=os.environ | variables,
            cwd=folder,
            capture_output=True,
            check=True,
        )
        found.add(done.stdout)
    assert len(found) == 1


def test_threads_draw_at_once() -> None:
    """Decks drawn in several threads come out as they do alone."""
    deck = Deck(Cover("同时"), (Paragraph(words("一句话。" * 30)),))
    alone = typeset(deck)
    done: list[Sheet] = []
    threads = [threading.Thread(target=lambda: done.append(typeset(deck))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [alone] * 3


def test_bad_wishes_are_said_so() -> None:
    """An unknown theme, ratio or picture is bad input in both languages, never a traceback."""
    deck = Deck(Cover("好"))
    with pytest.raises(BadInput, match="paper"):
        typeset(deck, theme="no-such-theme")
    with pytest.raises(BadInput, match="3:4"):
        typeset(deck, ratio="9:16")  # type: ignore[arg-type]
    with pytest.raises(BadInput):
        typeset(Deck(Cover("好", picture=b"no picture")))
    with pytest.raises(BadInput):
        typeset(Deck(Cover("好"), (Figure(b"no picture"),)))


def test_empty_decks_are_drawn() -> None:
    """A deck of nothing but an empty cover is a card; empty blocks do no harm."""
    assert [card.kind for card in typeset(Deck(Cover(""))).cards] == ["cover"]
    blocks = (Paragraph(()), Heading(()), ListBlock(()), Table((), ()), Code(""), Quote(()), Rule())
    assert typeset(Deck(Cover("空"), blocks)).cards[0].kind == "cover"
