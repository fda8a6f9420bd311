"""``redloom cache``: how large the store of pictures is, and making it smaller.

May import: clock, settings, cli.common, errors, lang, and at the call journal, image.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from redloom.lang import Text

from .common import Common, command, option

if TYPE_CHECKING:
    from redloom.journal import Db, Journal
    from redloom.settings import Settings

DAY_S = 86_400.0


@command(
    "cache",
    zh="图片仓库有多大。cache prune --older-than 90：删掉 90 天前的（再要时得重新买）。",
    en="Size of the store. cache prune --older-than 90 removes what is older than 90 days (to be bought anew when wanted).",
)
@click.argument("what", type=click.Choice(["show", "prune"]), default="show")
@option(
    "--older-than",
    "days",
    type=click.FloatRange(min=0),
    default=None,
    metavar="DAYS",
    zh="多少天以前的",
    en="age in days",
)
@option("--yes", "-y", is_flag=True, zh="不再询问", en="do not ask")
def cache(common: Common, what: str, days: float | None, yes: bool) -> None:
    """The command."""
    from redloom.image import Store

    settings = common.settings()
    store = Store(settings.workspace)
    if what == "prune":
        _prune(common, settings, days, yes=yes)
    files, size = store.usage()
    common.emit({"event": "cache", "files": files, "bytes": size, "folder": str(store.folder)})
    if not common.json:
        common.say(
            f"{files} 张，{_size(size)}，在 {store.folder}",
            f"{files} pictures, {_size(size)}, in {store.folder}",
        )


def _prune(common: Common, settings: Settings, days: float | None, *, yes: bool) -> None:
    """Remove stray files, and with ``days`` also pictures made before that. Delivered files stay."""
    from redloom.image import Store
    from redloom.journal import Journal

    store = Store(settings.workspace)
    path = settings.workspace / "journal.db"
    if not path.is_file():
        return
    if days is not None:
        common.confirm(
            Text(
                f"删掉图库里 {days:g} 天前的图？已交付的文件不动，再要同样的图得重新买。",
                f"Remove pictures older than {days:g} days from the store? Delivered files stay; the same pictures would be bought anew.",
            ),
            yes=yes,
        )
    journal = Journal(path).open()
    try:
        if days is not None:
            _forget(journal, days)
        kept = journal.read_now(_digests)
        freed = store.prune(lambda digest: digest in kept, older_than=time.time() - 3600)
    finally:
        journal.close()
    common.say(f"腾出 {_size(freed)}。", f"Freed {_size(freed)}.")
    common.emit({"event": "pruned", "bytes": freed})


def _forget(journal: Journal, days: float) -> None:
    from redloom.clock import clock_from_environment

    before = clock_from_environment().now() - days * DAY_S
    old = journal.read_now(lambda db: db.all("images_before", before=before))
    journal.do_now(
        lambda db: db.many("forget_image", [{"key": row["key"]} for row in old]), "forget"
    )


def _digests(db: Db) -> set[str]:
    rows = db.all("images_before", before=float("inf"))
    return {row["sha256"] for row in rows}


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KB", "MB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GB"
