"""A run as one page: ``report.html``, self-contained, drawn from the journal.

Everything is in the file, thumbnails too; nothing is fetched when it is opened. It can be made at
any time, of a run that goes on as well, and costs nothing.

May import: examine, spending, lang, clock, journal, records, image, manifest, contact, tries,
figures, diary.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from .clock import iso
from .contact import card_of
from .diary import Diary, diary_of
from .examine import make_thumb, thumb_name
from .figures import QUANTILES, Distance, distance, errors_by_class, latencies
from .image import Store, write_whole
from .journal import Journal, Row
from .lang import language
from .manifest import rows_of
from .records import Run
from .spending import spending_of
from .tries import PHASES, Try, tries_of

MOST_CARDS = 20_000
"""Cards on one page; a larger run's page says what is left out."""
THUMBS = ((60, 260, 78), (400, 200, 74), (2000, 132, 66), (6000, 96, 58), (MOST_CARDS, 64, 50))
"""(up to so many pictures, longer side in pixels, WebP quality): the page stays under some 15 MB."""
PACK = 100
"""Thumbnails in one block of the page: a block is read when its first picture comes into view."""


def write_report(journal: Journal, store: Store, run: Run, target: Path) -> dict[str, Any]:
    """Write the page; the figures on it, without cards and thumbnails. For a thread.

    Raises DiskFull.
    """
    tries = tries_of(journal, run.id)
    diary = diary_of(journal, run.id)
    data = facts(journal, run, tries, diary)
    cards, left_out, pictures = _cards(journal, store, run)
    thumbs = _thumbs(pictures, run, target)
    whole = {**data, "cards": cards, "left": left_out, "bars": bars(tries)}
    write_whole(target, page(whole, thumbs).encode("utf-8", "replace"))
    return data


def facts(journal: Journal, run: Run, tries: Sequence[Try], diary: Diary) -> dict[str, Any]:
    """What the page says in figures, as plain JSON; nominal seconds, Unix times as ISO 8601."""
    counts = journal.read_now(lambda db: db.all("counts", run=run.id))
    spent = spending_of(journal.read_now(lambda db: db.all("spent", run=run.id)))
    far = distance(tries, diary.limits, diary.held, _beside(journal, run, tries))
    first = min((one.intent for one in tries), default=run.created)
    return {
        "run": run.id, "name": Path(run.out).name if run.out else run.id, "kind": run.kind, "state": run.state,
        "waits": run.note, "lang": language(), "began": iso(first), "zero": first,
        "ended": iso(max((one.last for one in tries), default=None)),
        "counts": {row["status"]: row["number"] for row in counts},
        "money": {"billed": dict(spent.billed), "maybe": dict(spent.maybe), "unpriced": spent.unpriced,
                  "sources": dict(spent.sources), "budget": run.budget, "currency": run.currency},
        "distance": None if far is None else _told(far),
        "endpoints": endpoints(tries, far, diary), "errors": errors_by_class(tries),
        "rejections": diary.rejections, "bought": sum(one.bought for one in tries),
        "bought_twice": _twice(tries), "polls": _polls(tries, diary.lists), "quantiles": list(QUANTILES),
        "phases": list(PHASES),
    }  # fmt: skip


def _told(far: Distance) -> dict[str, Any]:
    values = asdict(far)
    del values["limits"]
    return {**values, "percent": far.percent}


def _beside(journal: Journal, run: Run, tries: Sequence[Try]) -> float:
    """Slot seconds that other runs had on this run's accounts while it went on."""
    if not tries:
        return 0.0
    since, until = min(one.intent for one in tries), max(one.last for one in tries)
    accounts = sorted({one.account for one in tries})
    found = [
        journal.read_now(
            lambda db: db.one("tries_beside", run=run.id, account=name, since=since, until=until)  # noqa: B023
        )
        for name in accounts
    ]
    return sum(float(row["seconds"]) for row in found if row is not None)


def _twice(tries: Sequence[Try]) -> int:
    """Pictures paid for more than once; the promise is 0."""
    paid = Counter((one.row, one.take) for one in tries if one.billed == "yes")
    return sum(number > 1 for number in paid.values())


def _polls(tries: Sequence[Try], lists: int = 0) -> float | None:
    """Status queries, single ones and ``lists``, for each picture delivered."""
    known = [one.polls for one in tries if one.polls is not None]
    good = sum(one.good for one in tries)
    return (sum(known) + lists) / good if good and known else None


def endpoints(tries: Sequence[Try], far: Distance | None, diary: Diary) -> list[dict[str, Any]]:
    """Each endpoint's tries, latencies, limits, refusals."""
    times = latencies(tries)
    told = []
    for name in sorted({one.endpoint for one in tries}):
        mine = [one for one in tries if one.endpoint == name]
        limit = far.limits.get(name) if far is not None else None
        told.append(
            {
                "name": name, "lane": mine[-1].lane, "tries": len(mine),
                "good": sum(one.good for one in mine), "polls": _polls(mine),
                "limit": None if limit is None else asdict(limit),
                "refused": diary.rejections.get(name, {}),
                "latency": {phase: asdict(found) for phase, found in times.get(name, {}).items()},
            }
        )  # fmt: skip
    return told


_OUTCOMES = ("good", "failed", "void", "doubt", "open")


def bars(tries: Sequence[Try]) -> dict[str, Any]:
    """The waterfall: a flat row of numbers for each try, so that thousands stay small.

    ``[row, take, endpoint, outcome, start, submit, queued, running, unseen, download]``, the
    latter in seconds, the start from the first try's.
    """
    zero = min((one.intent for one in tries), default=0.0)
    names = sorted({one.endpoint for one in tries})
    number = {name: place for place, name in enumerate(names)}
    rows = []
    for one in tries:
        lasted = dict.fromkeys(PHASES, 0.0)
        for phase, since, until in one.spans():
            lasted[phase] += until - since
        rows.append(
            [one.row, one.take, number[one.endpoint], _OUTCOMES.index(_outcome(one)),
             round(one.intent - zero, 2), *(round(seconds, 2) for seconds in lasted.values())]
        )  # fmt: skip
    return {"names": names, "outcomes": list(_OUTCOMES), "rows": rows}


def _outcome(one: Try) -> str:
    if one.good:
        return "good"
    if one.state in ("intent", "accepted", "made"):
        return "open"
    return one.state if one.state in ("void", "doubt") else "failed"


# the contact sheet


def _cards(
    journal: Journal, store: Store, run: Run
) -> tuple[list[dict[str, Any]], int, list[Path | None]]:
    """The cards, how many more there would be, and where each one's picture lies."""
    cards: list[dict[str, Any]] = []
    pictures: list[Path | None] = []
    left_out = 0
    for row in rows_of(journal, run.id):
        if len(cards) >= MOST_CARDS:
            left_out += 1
            continue
        cards.append(card_of(row))
        pictures.append(_picture(store, run, row))
    return cards, left_out, pictures


def _picture(store: Store, run: Run, row: Row) -> Path | None:
    if run.out and row["file"]:
        return Path(run.out, str(row["file"]))
    image = store.find(row["image"]) if row["image"] else None
    path: Path | None = None if image is None else image.path
    return path


def _thumbs(pictures: Sequence[Path | None], run: Run, target: Path) -> Iterator[list[str]]:
    """The thumbnails as base64 WebP in packs; empty where there is no picture."""
    count = sum(picture is not None for picture in pictures)
    _, side, quality = next(one for one in THUMBS if count <= one[0] or one is THUMBS[-1])

    def small(picture: Path | None) -> str:
        if picture is None:
            return ""
        return thumb_text(_source(picture, run), side, quality)

    with ThreadPoolExecutor(2, "redloom-report") as pool:
        for start in range(0, len(pictures), PACK):
            yield list(pool.map(small, pictures[start : start + PACK]))


def _source(picture: Path, run: Run) -> Path:
    """The contact sheet's thumbnail where there is one: quicker to read than the picture."""
    if not run.out:
        return picture
    folder = Path(run.out)
    thumb = folder / thumb_name(picture.relative_to(folder).as_posix())
    make_thumb(picture, thumb)
    return thumb if thumb.is_file() else picture


def thumb_text(picture: Path, side: int, quality: int) -> str:
    """A picture made small, as base64; empty where it cannot be read."""
    from PIL import Image

    out = io.BytesIO()
    try:
        with Image.open(picture) as opened:
            opened.thumbnail((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
            opened.convert("RGB").save(out, "webp", quality=quality, method=2)
    except (OSError, ValueError, Image.DecompressionBombError):
        return ""
    return base64.b64encode(out.getvalue()).decode("ascii")


def page(data: Mapping[str, Any], thumbs: Iterator[list[str]]) -> str:
    """The page's HTML. Nothing in the data can end a script or become markup."""
    shell = resources.files(__package__).joinpath("report.html").read_text("utf-8")
    packs = "\n".join(
        f'<script type="application/json" id="thumbs{number}">{json.dumps(pack)}</script>'
        for number, pack in enumerate(thumbs)
    )
    parts = {"title": html.escape(str(data["name"])), "data": _safe_json(data), "thumbs": packs}
    head, *rest = shell.split("{{")
    return head + "".join(
        parts[name] + after for name, after in (piece.split("}}", 1) for piece in rest)
    )


def _safe_json(data: Mapping[str, Any]) -> str:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for mark in "<>&\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text
