"""Draw the documentation's pictures: six notes in six themes, and the README's first picture.

    python tools/gallery.py

Writes docs/images/gallery.jpg and docs/images/note.jpg from the stories in examples/.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
NOTES = (
    ("hutong.txt", "film"),
    ("hutong.txt", "guochao"),
    ("recipe.md", "memo"),
    ("recipe.md", "poster"),
    ("article.md", "modern"),
    ("article.md", "ink"),
)
CARD, GAP, ACROSS = (216, 288), 12, 6


def cards(story: str, theme: str, folder: Path) -> list[Path]:
    """The cards of one note, made by the command as a user would."""
    out = folder / f"{theme}-{story}"
    command = [sys.executable, "-m", "redloom", "--quiet", "note", str(ROOT / "examples" / story)]
    subprocess.run([*command, "--offline", "--theme", theme, "--out", str(out)], check=True)
    return sorted(out.glob("[0-9]*.png"))


def sheet(rows: list[list[Path]], target: Path, card: tuple[int, int] = CARD) -> None:
    """The rows as one picture on a quiet ground."""
    across = max(len(row) for row in rows)
    size = (GAP + across * (card[0] + GAP), GAP + len(rows) * (card[1] + GAP))
    picture = Image.new("RGB", size, "#e9e7e2")
    for y, row in enumerate(rows):
        for x, path in enumerate(row):
            with Image.open(path) as one:
                small = one.convert("RGB").resize(card, Image.Resampling.LANCZOS)
            picture.paste(small, (GAP + x * (card[0] + GAP), GAP + y * (card[1] + GAP)))
    target.parent.mkdir(parents=True, exist_ok=True)
    picture.save(target, quality=84, optimize=True, progressive=True)


def main() -> None:
    """Make the notes, then the two pictures."""
    images = ROOT / "docs" / "images"
    with tempfile.TemporaryDirectory() as name:
        made = [cards(story, theme, Path(name)) for story, theme in NOTES]
        shown = [row if len(row) <= ACROSS else row[: ACROSS - 1] + row[-1:] for row in made]
        sheet(shown, images / "gallery.jpg")
        first = cards("hutong.txt", "paper", Path(name))
        sheet([[first[0], made[1][0], made[2][0], made[4][0]]], images / "note.jpg", (270, 360))


if __name__ == "__main__":
    main()
