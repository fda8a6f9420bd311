"""The files that settings come from: `.env`, TOML, and RedBookContentGen's JSON.

Each is read into plain mappings; what is wrong with one is said in one sentence with its name,
never in a traceback. `settings` and `config_manager` decide what wins.

May import: errors.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import BadSettings

Data = dict[str, Any]

LARGEST_BYTES = 4 * 1024 * 1024
"""A configuration file larger than this is something else."""

_REFERENCE = re.compile(r"\$\{([^}:]+)(?::([^}]*))?\}")
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_QUOTED = re.compile(r"""(?:"((?:[^"\\]|\\.)*)"|'([^']*)')\s*(?:#.*)?""")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}

LEGACY_PLACES = (Path("config/config.json"), Path("config.json"))
"""Where RedBookContentGen keeps its settings, in the order in which it looks."""
_LEGACY_KEYS = frozenset(
    {"openai_api_key", "openai_model", "image_generation", "image_model", "output_image_dir"}
)


def data_folder(environ: Mapping[str, str]) -> Path:
    """The user's folder for data: XDG's, on macOS Application Support."""
    return _user_folder(environ, "XDG_DATA_HOME", ".local/share") / "redloom"


def user_file(environ: Mapping[str, str]) -> Path:
    """The user's own settings, which hold in every folder."""
    return _user_folder(environ, "XDG_CONFIG_HOME", ".config") / "redloom" / "config.toml"


def _user_folder(environ: Mapping[str, str], variable: str, usual: str) -> Path:
    named = environ.get(variable, "")
    if named and Path(named).is_absolute():  # a relative one is to be ignored, says XDG
        return Path(named)
    home = Path(environ.get("HOME") or Path("~").expanduser())
    return home / ("Library/Application Support" if sys.platform == "darwin" else usual)


def parse_dotenv(text: str) -> dict[str, str]:
    """``NAME=value`` lines: ``export`` before, quotes around and ``#`` comments are understood.

    Double quotes know ``\\n``, ``\\t`` and ``\\"``; nothing is interpolated. Lines of any other
    form are passed over, because such files are shared with other programs.
    """
    found = {}
    for line in text.lstrip("\ufeff").splitlines():
        if (match := _LINE.fullmatch(line)) is not None:
            found[match[1]] = _value(match[2].strip())
    return found


def _value(raw: str) -> str:
    quoted = _QUOTED.fullmatch(raw)
    if quoted is None:
        return "" if raw.startswith("#") else re.split(r"\s+#", raw, maxsplit=1)[0].rstrip()
    if quoted[1] is None:
        return quoted[2]
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), quoted[1])


def read_dotenv(path: Path) -> dict[str, str]:
    """A `.env` file; empty where there is none. Raises BadSettings where it cannot be read."""
    return parse_dotenv(_read(path)) if path.is_file() else {}


def read_toml(path: Path) -> Data:
    """A TOML file. Raises BadSettings, with line and column, where it is none."""
    try:
        return tomllib.loads(_read(path))
    except tomllib.TOMLDecodeError as error:
        raise BadSettings(
            f"设置文件 {path} 不是有效的 TOML：{error}。请改正后重试，没有花钱。",
            f"The settings file {path} is not valid TOML: {error}. Put it right; nothing was spent.",
        ) from None


def read_json(path: Path, environ: Mapping[str, str]) -> Data:
    """A JSON object with its ``${ENV:default}`` references filled in. Raises BadSettings."""
    try:
        data = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise BadSettings(
            f"设置文件 {path} 不是有效的 JSON：{error}。请改正后重试，没有花钱。",
            f"The settings file {path} is not valid JSON: {error}. Put it right; nothing was spent.",
        ) from None
    if not isinstance(data, dict):
        raise BadSettings(
            f"设置文件 {path} 的最外层应为 {{…}}。没有花钱。",
            f"The settings file {path} should hold an object, {{…}}. Nothing was spent.",
        )
    filled: Data = fill_references(data, environ)
    return filled


def fill_references(value: Any, environ: Mapping[str, str]) -> Any:
    """``${NAME}`` and ``${NAME:default}`` replaced in every string of ``value``.

    A reference without a default to a variable that is not set stays as it stands, as
    RedBookContentGen has it.
    """
    if isinstance(value, dict):
        return {key: fill_references(inner, environ) for key, inner in value.items()}
    if isinstance(value, list):
        return [fill_references(inner, environ) for inner in value]
    if not isinstance(value, str):
        return value
    return _REFERENCE.sub(
        lambda match: environ.get(match[1], match[0] if match[2] is None else match[2]), value
    )


def is_unfilled(value: object) -> bool:
    """Whether ``value`` still holds a reference to a variable that is not set."""
    return isinstance(value, str) and _REFERENCE.search(value) is not None


def is_legacy(data: Mapping[str, Any]) -> bool:
    """Whether a JSON object looks like RedBookContentGen's settings and not another program's."""
    return not _LEGACY_KEYS.isdisjoint(data)


def find_legacy(folder: Path, environ: Mapping[str, str]) -> tuple[Path, Data] | None:
    """RedBookContentGen's settings in ``folder``, if they are there."""
    for place in LEGACY_PLACES:
        path = folder / place
        if not path.is_file():
            continue
        try:
            data = read_json(path, environ)
        except BadSettings:
            # config/config.json is its own place; a bare config.json may be anybody's.
            if place != LEGACY_PLACES[0]:
                continue
            raise
        if is_legacy(data):
            return path, data
    return None


_OLDER_NAMES = {
    "image_generation.model": ("image_model",),
    "image_generation.size": ("api.image.size",),
    "image_generation.max_wait_time": ("api.image.timeout",),
    "image_generation.max_concurrent": ("rate_limit.image.max_concurrent",),
}


def with_older_names(data: Mapping[str, Any]) -> Data:
    """RedBookContentGen's settings with its older names read as today's ``image_generation.*``."""
    told = merged({}, data)
    for name, older in _OLDER_NAMES.items():
        values = [lookup(told, old) for old in older]
        if lookup(told, name) is None and (value := next((v for v in values if v), None)):
            assign(told, name, value)
    return told


def lookup(data: Mapping[str, Any], dotted: str, default: Any = None) -> Any:
    """The value under ``a.b.c``, else ``default``."""
    value: Any = data
    for part in dotted.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return default
        value = value[part]
    return value


def assign(data: Data, dotted: str, value: Any) -> None:
    """Put ``value`` under ``a.b.c``, making what is missing on the way."""
    *way, last = dotted.split(".")
    for part in way:
        inner = data.get(part)
        if not isinstance(inner, dict):
            inner = data[part] = {}
        data = inner
    data[last] = value


def merged(base: Mapping[str, Any], above: Mapping[str, Any]) -> Data:
    """``above`` laid over ``base``, mappings within mappings; neither is changed."""
    out: Data = {k: merged({}, v) if isinstance(v, Mapping) else v for k, v in base.items()}
    for key, value in above.items():
        if isinstance(value, Mapping):
            below = out.get(key)
            out[key] = merged(below if isinstance(below, Mapping) else {}, value)
        else:
            out[key] = list(value) if isinstance(value, list) else value
    return out


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise BadSettings(
            f"读不了设置文件 {path}（{error.strerror}）。请检查路径和权限，没有花钱。",
            f"Cannot read the settings file {path} ({error.strerror}). Check the path; nothing was spent.",
        ) from None
    try:
        if len(raw) > LARGEST_BYTES:
            raise ValueError
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except ValueError:
        raise BadSettings(
            f"设置文件 {path} 不是 UTF-8 文本，或者太大。没有花钱。",
            f"The settings file {path} is not UTF-8 text, or far too large. Nothing was spent.",
        ) from None
