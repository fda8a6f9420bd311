"""Titles into lines: what may never happen, whatever the title."""

from __future__ import annotations

import re

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from redloom.typeset.characters import EMOJI, pieces
from redloom.typeset.titles import MAX_LINES, choices, width_em
from redloom.typeset.words import CLOSING, OPENING

WORDS = st.sampled_from(
    [
        "胡同", "早点摊", "三十年", "只卖", "一碗豆汁", "ChatGPT", "Wi-Fi", "iPhone 17", "3步", "128GB",
        "5 分钟", "第 03 期", "，", "。", "！", "？", "「", "」", "《", "》", "（", "）", "……", "——", "🔥",
        "👨‍👩‍👧‍👦", "🇨🇳", "1️⃣", " ", "你", "的", "人生海海", "¥1,986", "v2.0", "@我", "#话题", "龘",
    ]
)  # fmt: skip
CLAUSES = st.lists(
    st.sampled_from(
        ["一边是新的", "谁也没嫌弃谁", "豆汁还烫着", "老街坊都在", "我又来晚了", "雨下了一整夜", "今年一定去"]
    ),
    min_size=2, max_size=4,
)  # fmt: skip
TITLES = st.lists(WORDS, min_size=1, max_size=24).map("".join)


def squeezed(text: str) -> str:
    """Without white space, which a line's end swallows."""
    return re.sub(r"\s+", "", text)


@settings(max_examples=150, deadline=None)
@given(TITLES)
def test_no_word_is_lost_or_moved(title: str) -> None:
    """The lines joined are the title, but for the space at breaks."""
    for option in choices(title):
        assert squeezed("".join(option.lines)) == squeezed(title)


@settings(max_examples=150, deadline=None)
@given(TITLES)
def test_no_line_starts_or_ends_foolishly(title: str) -> None:
    """No line but the first starts with an emoji or a closing mark; none but the last ends open."""
    for option in choices(title):
        for line in option.lines[1:]:
            assert line[0] not in CLOSING
            assert not EMOJI.match(line)
        for line in option.lines[:-1]:
            assert line[-1] not in OPENING


@settings(max_examples=150, deadline=None)
@given(TITLES)
def test_words_numbers_and_clusters_stay_whole(title: str) -> None:
    """Latin words, numbers with their measure words, and emoji clusters are on one line each."""
    assume(not re.search(r"[!-~]{24}", title))  # no line could hold that
    atoms = re.findall(
        r"[A-Za-z][A-Za-z-]*|(?<![0-9A-Za-z])3步|(?<![0-9A-Za-z])128GB|¥1,986|5 分钟|第 03 期",
        title,
    )
    atoms += [piece for piece, is_emoji in pieces(title) if is_emoji]
    for option in choices(title):
        for atom in atoms:
            assert any(atom in line for line in option.lines), (atom, option.lines)


@settings(max_examples=60, deadline=None)
@given(TITLES)
def test_one_choice_for_each_count(title: str) -> None:
    """There is one line at least to choose, counts differ, and the same title gives the same."""
    found = choices(title)
    counts = [len(option.lines) for option in found if not option.proposed]
    assert counts == sorted(set(counts))
    assert counts[0] == 1
    assert max(counts) <= MAX_LINES
    assert choices(title) == found


def test_breaks_between_phrases() -> None:
    """Known titles break where a reader would break them."""
    title = "用ChatGPT写周报？我劝你先看完这「3 个坑」，别再白忙了！🔥"
    four = next(option for option in choices(title) if len(option.lines) == 4)
    assert four.lines == ("用ChatGPT写周报？", "我劝你先看完", "这「3 个坑」，", "别再白忙了！🔥")
    two = next(option for option in choices("月薪5千也能存下10万！") if len(option.lines) == 2)
    assert two.lines == ("月薪5千也能", "存下10万！")


def test_a_writers_breaks_come_first() -> None:
    """Line breaks in the title are offered as they are, and the title is also broken afresh."""
    found = choices("把日子过慢，\n是成年人最体面的浪漫")
    assert found[0].proposed
    assert found[0].lines == ("把日子过慢，", "是成年人最体面的浪漫")
    assert found[1].lines == ("把日子过慢，是成年人最体面的浪漫",)


def test_latin_lines_joined_keep_their_space() -> None:
    """Two Latin lines become words with a space between; Chinese ones do not."""
    assert choices("How to save\n100 hours")[1].lines == ("How to save 100 hours",)
    assert choices("把日子\n过慢")[1].lines == ("把日子过慢",)


def test_a_word_no_line_could_hold_is_cut() -> None:
    """A word of a hundred letters is the one word that is cut."""
    word = "a" * 100
    assert all("".join(option.lines) == word for option in choices(word))
    assert max(width_em(line) for line in choices(word)[-1].lines) < 20


def test_odd_titles() -> None:
    """Nothing, blanks, one character: one line."""
    assert choices("")[0].lines == ("",)
    assert choices(" \n ")[0].lines == ("",)
    assert [option.lines for option in choices("龘")] == [("龘",)]


def test_a_line_does_not_end_with_the_first_word_of_the_next_clause() -> None:
    """三十岁，我／把… reads wrongly: the clause begins with its line where there is a choice."""
    three = next(o for o in choices("三十岁，我把阳台改成了一间小书房") if len(o.lines) == 3)
    assert three.lines == ("三十岁，", "我把阳台改成了", "一间小书房")


def test_a_name_and_a_word_before_an_emoji_stay_whole() -> None:
    """A name given with the title is not broken in; an emoji does not tear the word before it."""
    title = "在杨梅竹斜街，吃一碗19块的炸酱面"
    three = next(o for o in choices(title, names=("杨梅竹斜街",)) if len(o.lines) == 3)
    assert three.lines[0] == "在杨梅竹斜街，"
    walk = next(o for o in choices("周末暴走🚶‍♀️杭州三万步🔥") if len(o.lines) == 2)
    assert walk.lines[0] == "周末暴走🚶‍♀️"


@settings(max_examples=100, deadline=None)
@given(CLAUSES, st.sampled_from(["，", "！", "？", " ", "🔥"]))
def test_clauses_of_about_one_length_are_lines(clauses: list[str], pause: str) -> None:
    """Each stands on its line, and to tear one beside another costs a tenth of the size at least."""
    found = choices(pause.join(clauses))
    whole = next(option for option in found if len(option.lines) == len(clauses))
    assert [line.rstrip(pause) for line in whole.lines] == clauses
    for option in found:
        ends = {line.rstrip(pause)[-1] for line in option.lines}
        shared = any(pause in line.strip(pause) for line in option.lines)
        if shared and not ends <= {clause[-1] for clause in clauses}:
            assert option.cost > whole.cost + 0.1, option.lines


def test_the_cover_does_not_tear_a_clause() -> None:
    """一边是新的，一边是／旧的，… was set on a cover with a picture: two lines stood larger than three."""
    two, three = choices("一边是新的，一边是旧的，谁也没嫌弃谁")[1:3]
    assert three.lines == ("一边是新的，", "一边是旧的，", "谁也没嫌弃谁")
    assert two.lines == ("一边是新的，一边是旧的，", "谁也没嫌弃谁")
    assert two.cost > three.cost


def test_a_line_does_not_end_with_what_leads_on() -> None:
    """把, 是, 在 go to the next line where a break stands beside them at all."""
    for title in ("我的愿望是早点下班去吃面", "他们在胡同里住了三十年", "把周末还给山里的风和云"):
        for option in choices(title)[:4]:
            assert not any(line.endswith(("把", "是", "在")) for line in option.lines[:-1]), option
