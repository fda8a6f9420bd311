"""The contact sheet: ``index.html`` in a run's folder, its pictures small, its failures with reasons.

One file without anything from outside; thumbnails lie in ``.thumbs``. Cards are put in as the
reader scrolls, so that 5,000 rows open at once.

May import: lang, journal, records, examine, image, manifest.
"""

from __future__ import annotations

import html
import json
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

from .examine import make_thumb, thumb_name
from .image import write_whole
from .journal import Journal, Row
from .lang import language
from .manifest import line_of, rows_of
from .records import Run

WORDS = 240
"""Characters of a prompt on its card; the manifest has all of them."""
MOST = 20_000
"""Cards on one sheet; a larger run's sheet says what is left out."""


def write_sheet(journal: Journal, run: Run) -> None:
    """Make the thumbnails that are missing and write the sheet. For a thread. Raises DiskFull."""
    folder = Path(run.out)
    cards: list[dict[str, Any]] = []
    counts = journal.read_now(lambda db: db.all("counts", run=run.id))
    with ThreadPoolExecutor(2, "redloom-thumbs") as pool:
        for row in islice(rows_of(journal, run.id), MOST):
            card = card_of(row)
            if card["f"]:
                card["t"] = thumb_name(card["f"])
                pool.submit(make_thumb, folder / card["f"], folder / card["t"])
            cards.append(card)
    left_out = max(0, sum(one["number"] for one in counts) - len(cards))
    write_whole(folder / "index.html", page(cards, run, left_out).encode("utf-8", "replace"))


def card_of(row: Row) -> dict[str, Any]:
    """What a card shows, under names of one letter: the page holds thousands of them."""
    line = line_of(row)
    words = " ".join(str(line["prompt"]).split())
    card = {
        "r": line["row"], "k": line["take"], "i": line["id"], "s": line["status"], "f": line["file"],
        "p": words[:WORDS], "e": str(line["error"])[:WORDS], "z": line["size"],
        "m": line["model"], "d": line["seconds"],
    }  # fmt: skip
    if line["flags"]:
        card["g"] = line["flags"].split()
    if line["status"] in ("refused", "failed"):
        card["c"] = line["error_code"]
    if "sent_prompt" in line:
        card["w"] = line["sent_prompt"][:WORDS]
    return card


def page(cards: list[dict[str, Any]], run: Run, left_out: int = 0) -> str:
    """The sheet's HTML. Nothing in the data can end its script or become markup."""
    data = json.dumps(
        {"run": run.id, "name": Path(run.out).name, "left": left_out, "rows": cards, "lang": language()},
        ensure_ascii=False, separators=(",", ":"),
    )  # fmt: skip
    for mark in "<>&\u2028\u2029":
        data = data.replace(mark, f"\\u{ord(mark):04x}")
    shell = resources.files(__package__).joinpath("contact.html").read_text("utf-8")
    title = html.escape(Path(run.out).name)
    return shell.replace("{{title}}", title).replace("{{data}}", data, 1)
