"""The bundle for a bug report: what a helper needs to know, nothing that a stranger may not.

Everything is text in a ZIP, gathered part by part so that one that cannot be had (a damaged
journal) costs only itself, and every byte of it goes through one `Scrubber` on its way in.
Keys, tokens and account names that this machine knows are replaced wherever they stand, prompts
by their length and a hash, addresses lose user, password and query, the home folder becomes ~.

May import: cli.common, errors, lang, private, journal, logs, settings, version.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import re
import shutil
import sqlite3
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redloom import private
from redloom.errors import DiskFull, RedloomError, WouldOverwrite
from redloom.journal import Db, Row
from redloom.lang import Text
from redloom.logs import FILE, masked
from redloom.version import __version__

if TYPE_CHECKING:
    from redloom.settings import Settings

RUNS, PROBLEMS, TASKS, LESSONS = 10, 20, 200, 100
"""Runs told of, rows not made of each, tasks, lessons."""
LOG_LINES, ACCIDENTS = 300, 5
_SECRET_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|HEADERS)S?$|_AUTH", re.IGNORECASE)  # fmt: skip
_URL = re.compile(
    r"\b([a-zA-Z][a-zA-Z0-9+.-]*://)(?:[^\s/@\"'<>]*@)?([^\s?#\"'<>]*)(?:[?#][^\s\"'<>]*)?"
)
_FRAME = re.compile(r"^\s+(File \"|\S)|^Traceback |^$|^redloom ")
_RAISED = re.compile(r"^([\w.]+)(?:: |$)(.*)$")
_OF_US = re.compile(r"^(REDLOOM|DASHSCOPE|OPENAI|ARK|GEMINI|COMFYUI|AZURE|FAL|REPLICATE|OTEL)_")
_OTHERS = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "LANG", "LC_ALL", "TZ")


def told(text: str) -> str:
    """What is said of words that are kept back: how long they are, and a mark to compare by."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"<{len(text)} characters, {digest}>"


@dataclass
class Scrubber:
    """Takes out what nobody else is to read."""

    secrets: Sequence[str] = ()
    """Keys and tokens that this machine knows, whole."""
    accounts: Sequence[str] = ()
    home: str = ""
    prompts: set[str] = field(default_factory=set)
    """Prompts met so far, that are not to stand in a log either; empty where they may."""

    @classmethod
    def of(cls, settings: Settings) -> Scrubber:
        """One that knows the secrets of these settings and of the environment."""
        keys = [one.api_key for one in settings.endpoints.values()]
        keys += [settings.chat.api_key] if settings.chat is not None else []
        keys += [value for name, value in {**settings.environ, **os.environ}.items() if _SECRET_NAMES.search(name)]  # fmt: skip
        accounts = {one.account for one in settings.endpoints.values()} - {"default"}
        home = str(Path.home())
        return cls(
            _longest_first(keys, 6), _longest_first(accounts, 3), home if home != "/" else ""
        )

    def text(self, text: str) -> str:
        """``text`` without secrets, accounts, addresses' private parts, the home folder, prompts."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        for prompt in sorted(self.prompts, key=len, reverse=True):
            text = text.replace(prompt, told(prompt))
        text = _URL.sub(r"\1\2", masked(text))
        for account in self.accounts:
            text = re.sub(rf"(?<![\w-]){re.escape(account)}(?![\w-])", "<account>", text)
        return text.replace(self.home, "~") if self.home else text

    def data(self, value: Any) -> Any:
        """The same for what is inside lists and mappings."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(name)): self.data(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.data(one) for one in value]
        return value


def _longest_first(texts: Iterable[str], least: int) -> list[str]:
    """The longest first, so that none is cut by a shorter one inside it."""
    return sorted({one for one in texts if len(one) >= least}, key=len, reverse=True)


Part = tuple[str, Any]
"""A name in the ZIP, and text or what becomes JSON."""


def write_bundle(
    target: Path, settings: Settings, findings: Sequence[Mapping[str, Any]], *, with_prompts: bool
) -> dict[str, int]:
    """Write the bundle; what is in it, with sizes in bytes. Raises WouldOverwrite, DiskFull."""
    scrubber = Scrubber.of(settings)
    parts = dict(_parts(settings, findings, scrubber, with_prompts))
    files = {name: _bytes(scrubber, part) for name, part in parts.items()}
    files = {"README.txt": _readme(files, with_prompts).encode(), **files}
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(f"redloom-bundle/{name}", time.gmtime()[:6]), data)
    try:
        private.write(target, whole.getvalue())
    except FileExistsError:
        raise WouldOverwrite(
            f"{target} 已经在了；换个名字，或先移走它。", f"{target} is there already; give another name, or move it away."
        ) from None  # fmt: skip
    except OSError as error:
        raise DiskFull(
            f"{target} 写不进去（{error.strerror}）。", f"{target} cannot be written ({error.strerror})."
        ) from error  # fmt: skip
    return {name: len(data) for name, data in files.items()}


def _bytes(scrubber: Scrubber, part: Any) -> bytes:
    if isinstance(part, str):
        return scrubber.text(part).encode("utf-8", "replace")
    text = json.dumps(scrubber.data(part), ensure_ascii=False, indent=1, default=str)
    return text.encode("utf-8", "replace")


def _parts(
    settings: Settings, findings: Sequence[Mapping[str, Any]], scrubber: Scrubber, with_prompts: bool
) -> Iterator[Part]:  # fmt: skip
    """Every part; the journal before the logs, whose prompts are then known."""
    yield "about.json", _had(lambda: _about(settings))
    yield "doctor.json", list(findings)
    yield "settings.json", _had(lambda: _settings(settings))
    yield "journal.json", _had(lambda: _journal(settings.workspace, scrubber, with_prompts))
    folder = settings.workspace / "logs"
    yield "log.txt", _had(lambda: _tail(folder / FILE, with_prompts))
    for path in sorted(folder.glob("error-*.log"))[-ACCIDENTS:] if folder.is_dir() else ():
        yield f"accidents/{path.name}", _had(partial(_tail, path, with_prompts))


def _had(part: Callable[[], Any]) -> Any:
    """A part, or in its place why it cannot be had."""
    try:
        return part()
    except (OSError, sqlite3.Error, RedloomError, ValueError) as error:
        return {"not_had": f"{type(error).__name__}: {error}"}


def _about(settings: Settings) -> dict[str, Any]:
    """Versions, the machine, which variables are set (not what to), room on the disk."""
    folder = settings.workspace
    while not folder.exists():
        folder = folder.parent
    disk = shutil.disk_usage(folder)
    names = sorted(name for name in os.environ if _OF_US.match(name) or name.upper() in _OTHERS)
    plain = {name: os.environ[name] for name in names if name.startswith(("LANG", "LC_", "TZ", "REDLOOM_CLOCK", "REDLOOM_LOG"))}  # fmt: skip
    return {
        "redloom": __version__, "python": sys.version.split()[0], "sqlite": sqlite3.sqlite_version,
        "platform": platform.platform(), "machine": platform.machine(), "cpus": os.cpu_count(),
        "encoding": sys.stdout.encoding, "disk_free_bytes": disk.free, "disk_bytes": disk.total,
        "variables_set": names, "variables": plain, "packages": dict(_packages()),
        "workspace_mode": oct(folder.stat().st_mode & 0o777), "made_at": time.strftime("%FT%TZ", time.gmtime()),
    }  # fmt: skip


def _packages() -> Iterator[tuple[str, str]]:
    """What we need and what the extras need, as installed."""
    for line in metadata.requires("redloom") or ():
        if found := re.match(r"[A-Za-z0-9._-]+", line):
            try:
                yield found[0], metadata.version(found[0])
            except metadata.PackageNotFoundError:
                yield found[0], "-"


def _settings(settings: Settings) -> list[dict[str, str]]:
    """Every setting with its source; of keys and accounts only whether there is one."""
    from .config import rows_of

    return [
        {
            "key": row.key,
            "value": ("set" if row.value else "") if row.key.endswith((".api_key", ".account")) else row.value,
            "source": str(row.source),
        }
        for row in rows_of(settings)
    ]  # fmt: skip


def _journal(workspace: Path, scrubber: Scrubber, with_prompts: bool) -> dict[str, Any]:
    """Schema version, counts by status, the last runs with what was not made, the last tasks."""
    path = workspace / "journal.db"
    if not path.is_file():
        return {"not_had": "there is no journal yet"}
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        db = Db(connection)
        found = {
            "bytes": path.stat().st_size, "schema": db.value("schema_version"),
            "rows": {row["status"]: row["number"] for row in db.all("jobs_by_status")},
        }  # fmt: skip
        runs = [_run(db, row, scrubber, with_prompts) for row in db.all("runs", limit=RUNS)]
        lessons = [_lesson(row) for row in db.all("all_learnt", limit=LESSONS)]
        states = [dict(row) for row in db.all("tasks_by_state", limit=TASKS)]
        tasks = [dict(row) for row in db.all("latest_tasks", limit=TASKS)]
    return {**found, "runs": runs, "states": states, "learnt": lessons, "latest_tasks": tasks}


def _run(db: Db, run: Row, scrubber: Scrubber, with_prompts: bool) -> dict[str, Any]:
    names = ("id", "created", "kind", "state", "total", "complete", "priority", "note", "currency")
    counts = {row["status"]: row["number"] for row in db.all("counts", run=run["id"])}
    rows = db.all("latest_problems", run=run["id"], limit=PROBLEMS)
    return {
        **{name: run[name] for name in names}, "budget_set": run["budget"] is not None, "rows": counts,
        "not_made": [_problem(row, scrubber, with_prompts) for row in rows],
    }  # fmt: skip


def _problem(row: Row, scrubber: Scrubber, with_prompts: bool) -> dict[str, Any]:
    """A row that was not made. A service's own words may quote the prompt: they go with it."""
    names = ("row", "take", "status", "tries", "code", "flags", "ended")
    try:
        asked = json.loads(row["request"] or "{}")
    except ValueError:
        asked = {}
    prompt = str(asked.get("prompt", "")) if isinstance(asked, dict) else ""
    words = {"prompt": prompt, "error": str(row["error"])}
    if not with_prompts:
        scrubber.prompts |= {prompt} if len(prompt.strip()) > 3 else set()
        words = {name: told(text) if text else "" for name, text in words.items()}
    return {**{name: row[name] for name in names}, **words}


def _lesson(row: Row) -> dict[str, Any]:
    """A learnt limit. Whose it is names an account: the service stays, the rest is a hash."""
    whom = str(row["whom"])
    service, _, rest = whom.partition("|")
    shown = f"{service}|{hashlib.sha256(rest.encode()).hexdigest()[:8]}" if rest else told(whom)
    try:
        value = json.loads(row["value"])
    except ValueError:
        value = told(str(row["value"]))
    return {"what": row["what"], "whom": shown, "value": value, "at": row["at"]}


def _tail(path: Path, with_prompts: bool) -> str:
    """The end of a log. What an exception says may hold anybody's words: its kind stays."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 200_000))
        lines = file.read().decode("utf-8", "replace").splitlines()[-LOG_LINES:]
    return "\n".join(lines if with_prompts else (_line(line) for line in lines))


def _line(line: str) -> str:
    if re.match(r"\d{4}-\d\d-\d\d ", line) or _FRAME.match(line):
        return line
    raised = _RAISED.match(line)
    if raised is None or not raised[1][:1].isalpha():
        return told(line)
    return f"{raised[1]}: {told(raised[2])}" if raised[2] else raised[1]


def _readme(files: Mapping[str, bytes], with_prompts: bool) -> str:
    words = (
        Text("含提示词和服务的原话（你要求的）。", "Prompts and services' own words are in it, as you asked.")
        if with_prompts
        else Text("提示词和服务的原话只留长度和散列。", "Of prompts and services' own words only length and hash.")
    )  # fmt: skip
    names = "\n".join(f"  {name}" for name in files)
    head = Text(
        "Redloom 的问题包：版本、体检结果、设置（密钥遮住）、账本的计数和错误码、学到的限速、日志末尾。\n"
        "没有图片、密钥、账户名，网址里没有用户名和参数。",
        "A bundle for a Redloom bug report: versions, the doctor's findings, settings (keys masked), the\n"
        "journal's counts and error codes, learnt limits, the end of the log. No picture, key or account\n"
        "name is in it, and no address with its user or query.",
    )
    return f"{head}\n{words}\n\n{names}\n"
