"""What is looked at before an engine takes a workspace over: is its journal the latest one, and
which unfinished files are still wanted.

May import: errors, journal.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from .errors import JournalDamaged
from .journal import Journal, Row


def check_age(journal: Journal, last: int) -> None:
    """Raises JournalDamaged where an engine of epoch ``last`` has worked that ``journal`` does
    not know: its write-ahead log is missing, or it is an older copy.
    """
    if int(journal.glance(lambda db: db.value("meta", item="epoch"))) < last:
        raise JournalDamaged(
            "账本比上次干活时旧（缺了 journal.db-wal，或放回的是旧副本）：那以后买过什么它不知道，所以没有发出任何请求。"
            "运行 redloom cache rebuild 图片文件夹…，再用 redloom audit 对账。",
            "The journal is older than the last work here (its journal.db-wal is missing, or an old copy was put back): "
            "it does not know what was bought since, so nothing was sent. Run `redloom cache rebuild DIR…`, then `redloom audit`.",
        )


def download_name(task: int) -> str:
    """What the download of a task's picture is called, whoever fetches it: so that another engine
    finds what was begun.
    """
    return str(task)


def unfinished_files(live: Sequence[Row]) -> list[str]:
    """Names without endings of what live tasks have, or will have, in the downloads folder."""
    named = [json.loads(row["result"]).get("file") for row in live if row["result"]]
    spilled = [str(file).rpartition("/")[2].partition(".")[0] for file in named if file]
    return [*spilled, *(download_name(row["id"]) for row in live)]
