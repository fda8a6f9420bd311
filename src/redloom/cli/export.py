"""``redloom export DIR --for SHAPE``: a note in another shape.

May import: cli.common, note.export.
"""

from __future__ import annotations

from pathlib import Path

import click

from .common import Common, command, option


@command(
    "export",
    zh="把笔记转成别的工具收的形式（zip、xiaohongshu-mcp、json）；不会替你发布。",
    en="A note as other tools take it (zip, xiaohongshu-mcp, json); nothing is posted.",
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@option(
    "--for",
    "shape",
    required=True,
    metavar="SHAPE",
    zh="形式：zip、xiaohongshu-mcp 或 json",
    en="shape: zip, xiaohongshu-mcp or json",
)
@option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    metavar="FILE",
    zh="写到哪个文件",
    en="the file to write",
)
@option("--overwrite", is_flag=True, zh="已有的文件换掉", en="replace a file that is there")
def export(common: Common, folder: Path, shape: str, out: Path | None, overwrite: bool) -> None:
    """The command."""
    from redloom.note.export import export_note

    path = export_note(folder, shape, out, overwrite=overwrite)
    common.emit({"event": "exported", "shape": shape, "file": str(path)})
    common.say(f"已导出：{path}", f"Exported: {path}")
