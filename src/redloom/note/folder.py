"""The note's folder: written whole or not at all, the version before kept under ``history/``.

A new version is built in a hidden folder beside the old one, made durable, and put in its place
by renaming. Files in the folder that are not the note's own are carried over.
May import: errors, lang, note.illustrator, note.plan.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from redloom.errors import BadInput, DiskFull, WouldOverwrite

from .illustrator import stands_in

RECORD = "post.json"
HISTORY = "history"
FORMAT = 1

Files = Mapping[str, bytes]
"""Contents by path inside the folder, with ``/`` between parts."""


def digest(data: bytes) -> str:
    """sha256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def to_json(data: object) -> bytes:
    """JSON as the folder holds it: readable, keys in their own order."""
    return (json.dumps(data, ensure_ascii=False, indent=2) + "\n").encode()


def to_lines(rows: list[dict[str, Any]]) -> bytes:
    """JSON Lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def record_of(folder: Path) -> dict[str, Any] | None:
    """The note's record, or ``None`` where the folder is no note of ours."""
    try:
        data = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        to_json(data)  # half of a surrogate pair, escaped, can be read and not written again
    except (OSError, ValueError, RecursionError):
        return None
    return data if _fits(data, _SHAPE) and data["redloom"]["format"] == FORMAT else None


def inside(name: object) -> bool:
    """Whether a name from a record stays within the note's folder; a record may be anybody's."""
    if not isinstance(name, str) or not name or "\0" in name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


_SHAPE: Any = {
    "title": str, "content": str, "images": [inside], "tags": [str],
    "redloom": {
        "format": int, "program": str, "source": {"digest": str, "name": str},
        "settings": {"digest": str}, "look": {"theme": str, "ratio": str}, "writer": dict,
        "pictures": [{"row": int, "ok": bool, "record": dict}], "versions": [dict],
        "files": [inside],
    },
}  # fmt: skip
"""What every reader of a record relies on; the plan has a check of its own."""


def _fits(value: object, shape: Any) -> bool:
    """Whether ``value`` is what ``shape`` says: a type, a test, a list of such, parts by name."""
    if isinstance(shape, type):
        return isinstance(value, shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(one, shape[0]) for one in value)
    if isinstance(shape, dict):
        parts = value if isinstance(value, dict) else {}
        return all(name in parts and _fits(parts[name], part) for name, part in shape.items())
    return bool(shape(value))


def open_record(folder: Path) -> dict[str, Any]:
    """The record of the note in ``folder``. Raises BadInput where there is none."""
    try:
        recover(folder)
        record = record_of(folder)
    except OSError:  # no folder can be called so
        record = None
    if record is None:
        raise BadInput(
            f"{folder} 不是 redloom 做的笔记（里面没有可用的 post.json）。",
            f"{folder} is not a note made by redloom (it holds no usable post.json).",
        )
    return record


def is_same(folder: Path, source: str, settings: str, program: str) -> bool:
    """Whether the folder already holds this note, whole: same story, settings and program, every
    file there, no picture wanted that failed."""
    record = record_of(folder)
    if record is None:
        return False
    own = record["redloom"]
    same = (own["source"]["digest"], own["settings"]["digest"], own["program"]) == (
        source,
        settings,
        program,
    )
    whole = all(picture["ok"] or stands_in(picture["record"]) for picture in own["pictures"])
    return same and whole and all((folder / name).is_file() for name in own["files"])


def picture_by_digest(folder: Path, sha256: str) -> bytes | None:
    """A picture that the note has or once had, by its content; None where it is gone."""
    for path in (*folder.glob("pictures/*"), *folder.glob(f"{HISTORY}/*/pictures/*")):
        if path.is_file() and digest(data := path.read_bytes()) == sha256:
            return data
    return None


def check_free(folder: Path, source: str) -> None:
    """Raises WouldOverwrite where ``folder`` holds another story's note or somebody's files."""
    recover(folder)
    if folder.is_file():
        raise WouldOverwrite(
            f"{folder} 是一个文件；请换一个文件夹名。", f"{folder} is a file; name another folder."
        )
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    record = record_of(folder)
    if record is None:
        raise WouldOverwrite(
            f"{folder} 里已有别的文件；请换一个 --out，或加 --overwrite（原有文件会留着）。",
            f"{folder} already holds other files; choose another --out, or add --overwrite (they are kept).",
        )
    if record["redloom"]["source"]["digest"] != source:
        name = record["redloom"]["source"]["name"]
        raise WouldOverwrite(
            f"{folder} 里是另一个故事（{name}）的笔记；请换一个 --out，或加 --overwrite（旧版会放进 history）。",
            f"{folder} holds the note of another story ({name}); choose another --out, or add --overwrite (the old one goes to history).",
        )


def recover(folder: Path) -> None:
    """Put back a version that a crash left between two renames."""
    stranded = _aside(folder)
    if stranded.is_dir() and not folder.exists():
        stranded.rename(folder)


def _aside(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.before"


def put(folder: Path, files: Files) -> None:
    """Make ``folder`` hold ``files``; what they replace or drop goes to ``history/NNNN``.

    Raises DiskFull where it cannot be written; the folder is then as it was.
    """
    folder = Path(os.path.normpath(folder.absolute()))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        recover(folder)
        built = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".new", dir=folder.parent))
        try:
            built.chmod(0o777 & ~_umask())
            _fill(built, files)
            if folder.is_dir():
                _carry(folder, built, files)
            _swap(built, folder)
        finally:
            shutil.rmtree(built, ignore_errors=True)
    except OSError as error:
        raise DiskFull(
            f"写不进 {folder}（{error.strerror or error}）；没有花钱在文字和卡片上，腾出空间或换一个 --out 再试。",
            f"Cannot write {folder} ({error.strerror or error}); words and cards cost nothing: make room or choose another --out.",
        ) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _fill(folder: Path, files: Files) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def _carry(old: Path, new: Path, files: Files) -> None:
    """Bring history, the version before, and files that are not ours into the new folder."""
    record = record_of(old)
    own = set(record["redloom"]["files"]) | {RECORD} if record else set()
    if (old / HISTORY).is_dir():
        shutil.copytree(old / HISTORY, new / HISTORY, copy_function=_link)
    number = 1 + max((int(path.name) for path in (new / HISTORY).glob("[0-9]*")), default=0)
    for path in sorted(old.rglob("*")):
        name = path.relative_to(old).as_posix()
        if path.is_dir() or name.split("/")[0] == HISTORY:
            continue
        data = files.get(name)
        if name not in own:
            target = new / name if data is None else new / HISTORY / f"{number:04d}" / name
        elif data is not None and digest(path.read_bytes()) == digest(data):
            continue
        else:
            target = new / HISTORY / f"{number:04d}" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        _link(str(path), str(target))


def _link(source: str, target: str) -> str:
    """A second name for a file that is about to lose its first; a copy where links are not had."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)
    return target


def _swap(built: Path, folder: Path) -> None:
    aside = _aside(folder)
    shutil.rmtree(aside, ignore_errors=True)
    if folder.exists():
        folder.rename(aside)
    try:
        built.rename(folder)
    except OSError:
        if aside.exists():
            aside.rename(folder)
        raise
    _sync_folder(folder.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def slug(text: str, most_bytes: int = 36) -> str:
    """A short file name out of ``text``: Chinese kept, marks and spaces dropped or dashed."""
    clean = re.sub(r"[^\w\u4e00-\u9fff]+", "-", text.strip()).strip("-_")
    while len(clean.encode()) > most_bytes:
        clean = clean[:-1]
    return clean.strip("-_") or "page"
