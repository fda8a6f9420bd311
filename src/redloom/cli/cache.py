"""``redloom cache``: the store of pictures: its size, making it smaller, its journal built anew.

May import: settings, cli.common, errors, lang, and at the call clock, journal, takeover,
workspace, download, image, rebuild.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from redloom.errors import Usage
from redloom.lang import Text

from .common import Common, command, option

if TYPE_CHECKING:
    from redloom.journal import Journal
    from redloom.rebuild import Rebuilt
    from redloom.settings import Settings

DAY_S = 86_400.0
FRESH_S = 3600.0
"""Real seconds for which a file is left alone, whoever may be about to speak of it."""


@command(
    "cache",
    zh="图片仓库有多大。cache prune --older-than 90：删掉 90 天前的（再要时得重新买）。cache rebuild 图片文件夹…：账本坏了或丢了，从账本残余、图库和图片旁的 .json 重建；什么都不删。",
    en="Size of the store. cache prune --older-than 90 removes what is older than 90 days (to be bought anew when wanted). "
    "cache rebuild DIR… builds a damaged or lost journal anew from what is left of it, the store and the .json beside your pictures; it deletes nothing.",
)
@click.argument("what", type=click.Choice(["show", "prune", "rebuild"]), default="show")
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path, exists=True, file_okay=False))
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
def cache(
    common: Common, what: str, folders: tuple[Path, ...], days: float | None, yes: bool
) -> int:
    """The command."""
    from redloom.image import Store

    if folders and what != "rebuild":
        raise Usage("只有 cache rebuild 后面跟文件夹。", "Only `cache rebuild` takes folders.")
    settings = common.settings()
    store = Store(settings.workspace)
    if what == "rebuild":
        return _rebuild(common, settings, folders)
    if what == "prune":
        _prune(common, settings, days, yes=yes)
    files, size = store.usage()
    common.emit({"event": "cache", "files": files, "bytes": size, "folder": str(store.folder)})
    if not common.json:
        common.say(
            f"{files} 张，{_size(size)}，在 {store.folder}",
            f"{files} pictures, {_size(size)}, in {store.folder}",
        )
    return 0


def _prune(common: Common, settings: Settings, days: float | None, *, yes: bool) -> None:
    """Remove stray files, and with ``days`` also pictures made before that. Delivered files stay.

    Safe beside an engine at work: a picture that a waiting row or an open task wants is kept.
    """
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

        def known(digest: str) -> bool:
            return journal.glance(lambda db: db.one("image_by_sha", sha256=digest)) is not None

        freed = store.prune(known, older_than=time.time() - FRESH_S)
        freed += _swept(journal, settings.workspace)
    finally:
        journal.close()
    common.say(f"腾出 {_size(freed)}。", f"Freed {_size(freed)}.")
    common.emit({"event": "pruned", "bytes": freed})


def _forget(journal: Journal, days: float) -> None:
    """Forget old pictures that nobody waits for, so many in one commit that an engine gets in."""
    from redloom.clock import clock_from_environment

    before = clock_from_environment().now() - days * DAY_S
    while journal.do_now(lambda db: db.run("forget_old", before=before), "forget"):
        pass


def _swept(journal: Journal, folder: Path) -> int:
    """Remove what dead processes left of downloads, unless an engine is at work; bytes freed."""
    from redloom.download import sweep
    from redloom.takeover import unfinished_files
    from redloom.workspace import Workspace

    workspace = Workspace(folder)
    if not workspace.try_lock():
        return 0
    try:
        live = journal.read_now(lambda db: db.all("live_tasks"))
        return sweep(workspace.partial, unfinished_files(live))
    finally:
        workspace.unlock()


def _rebuild(common: Common, settings: Settings, folders: tuple[Path, ...]) -> int:
    from redloom.clock import clock_from_environment
    from redloom.rebuild import rebuild

    now = clock_from_environment().now()
    told = rebuild(settings.workspace, folders, now, _keys(settings))
    saved = told.salvaged
    common.emit(
        {"event": "rebuilt", "was_sound": told.was_sound, "aside": str(told.aside or ""),
         "read": dict(saved.whole + saved.loose), "missing_rows": saved.missing_rows, "held": saved.held,
         "live": saved.live, "adopted": told.adopted, "lost": told.lost, "open_rows": told.open_rows,
         "strays": told.strays}
    )  # fmt: skip
    if not common.json:
        _tell(common, told)
    return 0


def _keys(settings: Settings) -> Mapping[str, str]:
    """Of each place, as tasks name it but for the key's mark, the key that is set."""
    ready = [config for config in settings.endpoints.values() if config.ready]
    return {f"{config.provider} {config.base_url}": config.api_key for config in ready}


def _tell(common: Common, told: Rebuilt) -> None:
    """What was found, then what nobody can know, then what to do about it."""
    saved = told.salvaged
    if told.was_sound:
        common.say("账本是好的，没有替换。", "The journal is sound; it was not replaced.")
    else:
        where = told.aside or "-"
        common.say(
            f"账本已重建；旧文件原样在 {where}。读回 {saved.whole['runs'] + saved.loose['runs']} 个批次、"
            f"{saved.whole['jobs'] + saved.loose['jobs']} 行、{saved.live} 个还在途的任务。",
            f"The journal is rebuilt; the old files are in {where}. Read back: {saved.whole['runs'] + saved.loose['runs']} runs, "
            f"{saved.whole['jobs'] + saved.loose['jobs']} rows, {saved.live} tasks still under way.",
        )
    common.say(
        f"从图片旁的 .json 认回 {told.adopted} 张图，同样的命令不会再买。",
        f"{told.adopted} pictures are known again by the .json beside them: the same command buys none of them.",
    )
    for count, text in _doubts(told):
        if count:
            common.warn(text)


def _doubts(told: Rebuilt) -> list[tuple[int, Text]]:
    saved, audit = told.salvaged, int(not told.was_sound)
    unknown = saved.missing_rows + told.open_rows
    return [
        (told.lost, Text(
            f"{told.lost} 张有 .json 但图找不到或对不上，再要得重新买。",
            f"{told.lost} have their .json, but the picture is missing or is not the same: wanted again they are bought again.")),
        (told.strays, Text(
            f"图库里有 {told.strays} 张不知道是为哪条提示词做的：留着（cache prune 会删），同样的提示词会再买。把它们的图片文件夹也写上再运行一次，可能认得回来。",
            f"{told.strays} pictures in the store belong to no known prompt: kept (cache prune removes them), and bought again if wanted. Naming their folders in another rebuild may tell.")),
        (saved.held, Text(
            f"{saved.held} 行发出过请求而记录已丢：按存疑处理，不会自己再买。",
            f"{saved.held} rows were asked for and the record is lost: in doubt now, never bought again by themselves.")),
        (unknown, Text(
            f"{unknown} 行是否已付款，谁也不知道了。",
            f"Whether {unknown} rows were paid for nobody can know any more.")),
        (audit, Text(
            "再买之前先运行 redloom audit --collect 文件夹：账户最近一天的任务里，账本不知道的会列出来、取回来。",
            "Before buying anything run `redloom audit --collect DIR`: tasks of the account's last day that the journal does not know are listed and fetched.")),
    ]  # fmt: skip


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KB", "MB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GB"
