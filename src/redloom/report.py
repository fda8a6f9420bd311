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
import itertools
import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib import resources
from math import ceil
from pathlib import Path
from typing import Any

from .clock import iso
from .contact import card_of
from .diary import Diary, diary_of
from .examine import make_thumb, thumb_name
from .figures import QUANTILES, Distance, at_work, distance, errors_by_class, latencies, level_of
from .image import Store, write_whole
from .journal import Journal, Row
from .lang import language
from .manifest import rows_by_id, rows_of
from .records import Run
from .spending import spending_of
from .tries import OUTCOMES, PHASES, Tries, tries_of

MOST_CARDS = 20_000
"""Cards on one page; a larger run's page has a sample and says what is left out."""
SAMPLE, TROUBLED = 4000, 1000
"""Of a larger run: so many rows evenly, and so many more that ended without a picture."""
MOST_BARS = 20_000
"""Tries drawn one by one; of more tries an even sample is."""
LEVELS = 1500
"""Steps of the line that tells how many ran at once, where not every try is on the page."""
GOOD = OUTCOMES.index("good")
THUMBS = ((60, 260, 78), (400, 200, 74), (2000, 132, 66), (6000, 96, 58), (MOST_CARDS, 64, 50))
"""(up to so many pictures, longer side in pixels, WebP quality): the page stays under some 15 MB."""
PACK = 100
"""Thumbnails in one block of the page: a block is read when its first picture comes into view."""


def write_report(journal: Journal, store: Store, run: Run, target: Path) -> dict[str, Any]:
    """Write the page; the figures on it, without cards and thumbnails. For a thread.

    Raises DiskFull.
    """
    tries = tries_of(journal, run.id)
    data = facts(journal, run, tries, diary_of(journal, run.id))
    drawn = bars(tries)
    del tries  # the largest thing in hand
    cards, left, pictures = _cards(journal, store, run, sum(data["counts"].values()))
    thumbs = _thumbs(pictures, run, target)
    whole = {**data, "cards": cards, **left, "bars": drawn}
    write_whole(target, page(whole, thumbs).encode("utf-8", "replace"))
    return data


def facts(journal: Journal, run: Run, tries: Tries, diary: Diary) -> dict[str, Any]:
    """What the page says in figures, as plain JSON; nominal seconds, Unix times as ISO 8601."""
    counts = journal.read_now(lambda db: db.all("counts", run=run.id))
    spent = spending_of(journal.read_now(lambda db: db.all("spent", run=run.id)))
    far = distance(tries, diary.limits, diary.held, _beside(journal, run, tries))
    first = tries.intent[0] if len(tries) else run.created
    return {
        "run": run.id, "name": Path(run.out).name if run.out else run.id, "kind": run.kind, "state": run.state,
        "waits": run.note, "lang": language(), "began": iso(first), "zero": first,
        "ended": iso(max(tries.last, default=None)),
        "counts": {row["status"]: row["number"] for row in counts},
        "money": {"billed": dict(spent.billed), "maybe": dict(spent.maybe), "unpriced": spent.unpriced,
                  "sources": dict(spent.sources), "budget": run.budget, "currency": run.currency},
        "distance": None if far is None else _told(far),
        "endpoints": endpoints(tries, far, diary), "errors": errors_by_class(tries),
        "rejections": diary.rejections, "bought": len(tries) - tries.outcome.count(OUTCOMES.index("void")),
        "bought_twice": _twice(tries), "polls": _polls(tries, range(len(tries)), diary.lists), "quantiles": list(QUANTILES),
        "phases": list(PHASES),
    }  # fmt: skip


def _told(far: Distance) -> dict[str, Any]:
    values = asdict(far)
    del values["limits"]
    return {**values, "percent": far.percent}


def _beside(journal: Journal, run: Run, tries: Tries) -> float:
    """Slot seconds that other runs had on this run's accounts while it went on."""
    if not len(tries):
        return 0.0
    since, until = tries.intent[0], max(tries.last)
    found = [
        journal.read_now(
            lambda db: db.one("tries_beside", run=run.id, account=name, since=since, until=until)  # noqa: B023
        )
        for name in sorted(tries.accounts)
    ]
    return sum(float(row["seconds"]) for row in found if row is not None)


def _twice(tries: Tries) -> int:
    """Pictures paid for more than once; the promise is 0."""
    paid = sorted(itertools.compress(tries.job, tries.paid))
    return len({job for job, following in itertools.pairwise(paid) if job == following})


def _polls(tries: Tries, places: Sequence[int], lists: int = 0) -> float | None:
    """Status queries, single ones and ``lists``, for each picture delivered of these tries."""
    known = [polls for place in places if (polls := tries.polls[place]) >= 0]
    good = sum(tries.outcome[place] == GOOD for place in places)
    return (sum(known) + lists) / good if good and known else None


def endpoints(tries: Tries, far: Distance | None, diary: Diary) -> list[dict[str, Any]]:
    """Each endpoint's tries, latencies, limits, refusals."""
    times = latencies(tries)
    lanes = list(tries.lanes)
    told = []
    for name, number in sorted(tries.endpoints.items()):
        mine = array("q", (at for at, one in enumerate(tries.endpoint) if one == number))
        limit = far.limits.get(name) if far is not None else None
        told.append(
            {
                "name": name, "lane": lanes[tries.lane[mine[-1]]], "tries": len(mine),
                "good": sum(tries.outcome[place] == GOOD for place in mine), "polls": _polls(tries, mine),
                "limit": None if limit is None else asdict(limit),
                "refused": diary.rejections.get(name, {}),
                "latency": {phase: asdict(found) for phase, found in times.get(name, {}).items()},
            }
        )  # fmt: skip
    return told


def bars(tries: Tries) -> dict[str, Any]:
    """The waterfall: a flat row of numbers for each try, so that thousands stay small.

    ``[row, take, endpoint, outcome, start, submit, queued, running, unseen, download]``, the
    latter in seconds, the start from the first try's. Of more than `MOST_BARS` every n-th in
    the order of their starts has one; then ``sampled`` has what only all of them tell.
    """
    zero = tries.intent[0] if len(tries) else 0.0
    names = sorted(tries.endpoints)
    number = {tries.endpoints[name]: place for place, name in enumerate(names)}
    step = max(1, ceil(len(tries) / MOST_BARS))
    rows = []
    for place in range(0, len(tries), step):
        borders = [column[place] for column in tries.borders]
        lasted = (round(until - since, 2) for since, until in itertools.pairwise(borders))
        rows.append(
            [tries.row[place], tries.take[place], number[tries.endpoint[place]], tries.outcome[place],
             round(tries.intent[place] - zero, 2), *lasted]
        )  # fmt: skip
    drawn = {"names": names, "outcomes": list(OUTCOMES), "rows": rows}
    return drawn if step == 1 else {**drawn, "sampled": _sampled(tries, step, zero)}


def _sampled(tries: Tries, step: int, zero: float) -> dict[str, Any]:
    """Of how many tries how many are drawn, when the last ended, how many ran at once: of all."""
    _, begins, ends = at_work(tries)
    levels, most = level_of(begins, ends, LEVELS)
    return {
        "of": len(tries), "step": step, "end": round(max(max(one) for one in tries.borders) - zero, 2),
        "levels": [[round(at - zero, 1), round(level, 2)] for at, level in levels], "most": most,
    }  # fmt: skip


# the contact sheet


def _cards(
    journal: Journal, store: Store, run: Run, wanted: int
) -> tuple[list[dict[str, Any]], dict[str, int], list[Path | None]]:
    """The cards, what the page says of those left out, and where each one's picture lies.

    Of a run that wants more than `MOST_CARDS` pictures every n-th row has one, and the first
    rows that ended without a picture: what a person would look for.
    """
    left: dict[str, int] = {}
    rows = rows_of(journal, run.id)
    if wanted > MOST_CARDS:
        left["every"] = step = ceil(wanted / SAMPLE)
        some = {"run": run.id, "step": step, "troubled": TROUBLED}
        ids = [row["id"] for row in journal.read_now(lambda db: db.all("sample_of_rows", **some))]
        rows = rows_by_id(journal, ids)
    cards: list[dict[str, Any]] = []
    pictures: list[Path | None] = []
    for row in itertools.islice(rows, MOST_CARDS):
        cards.append(card_of(row))
        pictures.append(_picture(store, run, row))
    return cards, {"left": max(0, wanted - len(cards)), **left}, pictures


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
