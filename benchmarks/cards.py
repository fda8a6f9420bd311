"""How long cards take: a cover and its pages, from a cold start and warm, for every theme.

    python benchmarks/cards.py [THEME ...]

Cold is a fresh process: imports, faces, the first drawing. Warm is another deck in the same
process, with other words, so that nothing is remembered from the one before.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from redloom.typeset.cards import themes, typeset
from redloom.typeset.content import Cover, Deck, Heading, ListBlock, ListItem, Paragraph, Span

WARM_ROUNDS = 5
TEMPLATE_MODE_S = 0.45
"""What a card took in the template mode of RedBookContentGen."""


def deck(n: int) -> Deck:
    """A cover and five pages; every ``n`` has other words."""
    page = (
        Heading((Span(f"第{n}次走进胡同"),)),
        Paragraph((Span(f"清晨五点，第{n}家早点摊的灯先亮了。豆汁的酸味顺着墙根走，" * 5),)),
        ListBlock(tuple(ListItem((Span(f"第{i}样：油饼、焦圈和{n}碟咸菜"),)) for i in range(4))),
    )
    cover = Cover(
        f"胡同里的早点摊，{n}年只卖一碗豆汁", "清晨五点的烟火气", "北京", ("胡同", "早点"), "小红薯"
    )
    return Deck(cover, page * 5, page_breaks=(3, 6, 9, 12))


def timed(theme: str, n: int) -> tuple[float, int]:
    """Seconds for one deck, and how many cards it made."""
    start = time.perf_counter()
    cards = typeset(deck(n), theme=theme).cards
    return time.perf_counter() - start, len(cards)


def cold(theme: str) -> float:
    """Seconds from starting a process to its end, one deck drawn."""
    code = (
        f"import sys; sys.path.insert(0, {sys.path[0]!r}); import cards; cards.timed({theme!r}, 1)"
    )
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def main(names: list[str]) -> int:
    """Print a line a theme."""
    sys.stdout.write("theme      cards   cold s   warm s   s a card   times the template mode\n")
    for name in names or [info.name for info in themes()]:
        first = cold(name)
        timed(name, 0)
        rounds = [timed(name, n) for n in range(2, 2 + WARM_ROUNDS)]
        warm, count = statistics.median(s for s, _ in rounds), rounds[0][1]
        each = warm / count
        sys.stdout.write(
            f"{name:<10} {count:>5} {first:>8.2f} {warm:>8.3f} {each:>10.4f} {TEMPLATE_MODE_S / each:>12.1f}\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
