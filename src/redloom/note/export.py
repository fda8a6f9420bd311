"""The note in another shape, for whoever takes it from here. Nothing is posted from here.

May import: errors, note.folder.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from redloom.errors import BadInput, DiskFull, WouldOverwrite

from .folder import HISTORY, open_record, to_json

_FIRST_DAY = (1980, 1, 1, 0, 0, 0)
"""Every entry of a ZIP bears the same time, so that the same note gives the same bytes."""


_ENDINGS = {"zip": ".zip", "json": ".json"}
"""What stands behind the folder's name; for every other shape its name and .json."""


def export_note(
    folder: Path, shape: str, to: Path | None = None, *, overwrite: bool = False
) -> Path:
    """Write the note in ``folder`` as ``shape`` and say where: ``to``, else beside the folder.

    ``zip``: the folder without its history, paths relative. ``xiaohongshu-mcp``: the arguments of
    its publish tool (title, content, images, tags), image paths absolute. ``json``: the same with
    paths relative to the folder. Raises BadInput for an unknown shape or a folder that is no
    note, WouldOverwrite where another file lies there, DiskFull.
    """
    if shape not in SHAPES:
        raise BadInput(
            f"不认识导出格式 {shape}；可选 {'、'.join(SHAPES)}。",
            f"There is no export shape {shape}; choose {', '.join(SHAPES)}.",
        )
    folder = Path(os.path.normpath(folder.absolute()))
    data = SHAPES[shape](folder, open_record(folder))
    target = to or folder.parent / (folder.name + _ENDINGS.get(shape, f".{shape}.json"))
    return _written(target, data, overwrite=overwrite or to is None)


def _written(target: Path, data: bytes, *, overwrite: bool) -> Path:
    if target.is_dir() or (target.exists() and not overwrite):
        raise WouldOverwrite(
            f"{target} 已经存在；请换个名字或加 --overwrite。",
            f"{target} exists; choose another name or add --overwrite.",
        )
    part = target.with_name(f".{target.name}.{os.urandom(8).hex()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DiskFull(
            f"写不进 {target}（{error.strerror}）。", f"Cannot write {target} ({error.strerror})."
        ) from error
    return target


def zip_bytes(folder: Path, record: dict[str, Any]) -> bytes:
    """The note's own files as a ZIP with a top folder; PNGs are stored, not squeezed again."""
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in sorted({*record["redloom"]["files"], "post.json"}):
            path = folder / name
            if name.split("/")[0] == HISTORY or not path.is_file():
                continue
            entry = zipfile.ZipInfo(f"{folder.name}/{name}", _FIRST_DAY)
            entry.external_attr = 0o644 << 16
            entry.compress_type = (
                zipfile.ZIP_STORED if path.suffix == ".png" else zipfile.ZIP_DEFLATED
            )
            archive.writestr(entry, path.read_bytes())
    return out.getvalue()


def _publish(record: dict[str, Any], images: list[str]) -> bytes:
    post = {
        "title": record["title"],
        "content": record["content"],
        "images": images,
        "tags": record["tags"],
    }
    return to_json(post)


def _for_mcp(folder: Path, record: dict[str, Any]) -> bytes:
    return _publish(record, [str(folder / name) for name in record["images"]])


def _as_json(_folder: Path, record: dict[str, Any]) -> bytes:
    return _publish(record, list(record["images"]))


SHAPES: dict[str, Callable[[Path, dict[str, Any]], bytes]] = {
    "zip": zip_bytes,
    "xiaohongshu-mcp": _for_mcp,
    "json": _as_json,
}
"""Shapes by the name that ``--for`` takes."""
