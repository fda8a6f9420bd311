"""RedBookContentGen's ``ConfigManager``: its names, layers and hot reload, on our reading code.

Layers, weakest first: defaults, the file, the environment, what `ConfigManager.set` says. A file
that is missing or wrong is never an exception here, as it never was: the former is said in the
log, the latter is a validation error and the settings stay as they were.

May import: errors, lang, config_files.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from .config_files import (
    Data,
    assign,
    is_unfilled,
    lookup,
    merged,
    read_json,
    read_toml,
    with_older_names,
)
from .errors import RedloomError
from .lang import Text

log = logging.getLogger("redloom")

DEFAULT_PATH = "config/config.json"
DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "input_file": "input/input_content.txt",
        "output_image_dir": "output/images",
        "openai_api_key": "",
        "openai_model": "qwen-plus",
        "openai_base_url": "https://dashscope.aliyuncs.com/compatible-mode/v1",
        "image_generation_mode": "template",
        "image_api_provider": "aliyun",
        "image_generation": {
            "model": "wan2.6-t2i",
            "size": "1024*1365",
            "max_concurrent": 3,
            "max_wait_time": 180,
            "poll_interval": 5,
            "max_retries": 3,
        },
    }
)
VARIABLES: tuple[tuple[str, str], ...] = (
    ("DASHSCOPE_API_KEY", "openai_api_key"),
    ("OPENAI_API_KEY", "openai_api_key"),
    ("OPENAI_MODEL", "openai_model"),
    ("OPENAI_BASE_URL", "openai_base_url"),
    ("IMAGE_MODEL", "image_generation.model"),
    ("IMAGE_SIZE", "image_generation.size"),
    ("IMAGE_TIMEOUT", "image_generation.max_wait_time"),
    ("IMAGE_GENERATION_MODE", "image_generation_mode"),
    ("IMAGE_API_PROVIDER", "image_api_provider"),
    ("DASHSCOPE_BASE_URL", "image_generation.api_url"),
    ("DASHSCOPE_HTTP_BASE_URL", "image_generation.api_url"),
    ("INPUT_FILE", "input_file"),
    ("OUTPUT_IMAGE_DIR", "output_image_dir"),
)
"""Environment variables and what each sets; of two for one setting the first that is set counts."""


class _Rule(NamedTuple):
    """What a value must be."""

    key: str
    kind: type | tuple[type, ...]
    least: float | None
    text: Text


_RULES = (
    _Rule("image_generation.max_concurrent", int, 1, Text("至少为 1 的整数", "a whole number of at least 1")),
    _Rule("image_generation.max_wait_time", (int, float), 1, Text("至少为 1 的数字（秒）", "a number of seconds, at least 1")),
    _Rule("image_generation.poll_interval", (int, float), 0.1, Text("至少为 0.1 的数字（秒）", "a number of seconds, at least 0.1")),
    _Rule("image_generation.max_retries", int, 0, Text("不小于 0 的整数", "a whole number of at least 0")),
    _Rule("image_generation.model", str, None, Text("文字", "a string")),
    _Rule("image_generation.size", str, None, Text("文字，如 1024*1365", "a string such as 1024*1365")),
)  # fmt: skip
_CHOICES = {
    "image_generation_mode": ("template", "api"),
    "image_api_provider": ("aliyun", "volcengine"),
}
_ADDRESSES = ("openai_base_url", "image_generation.api_url")
_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")


class ConfigManager:
    """Settings by dotted name. Safe to use from several threads."""

    def __init__(self, config_path: str | os.PathLike[str] | None = None) -> None:
        self._path = Path(config_path or DEFAULT_PATH)
        self._lock = threading.RLock()
        self._callbacks: list[Callable[[], None]] = []
        self._watching: threading.Event | None = None
        self._thread: threading.Thread | None = None
        self._file: Data = {}
        self._environment: Data = {}
        self._own: Data = {}
        self._fault: RedloomError | None = None
        self._read()

    # reading

    def get(self, key: str, default: Any = None) -> Any:
        """The value under ``a.b.c``, else ``default``. What is handed out is a copy."""
        with self._lock:
            return deepcopy(lookup(self._all, key, default))

    def get_all(self) -> Data:
        """Every setting, as a copy."""
        with self._lock:
            return deepcopy(self._all)

    def get_config_source(self, key: str) -> str:
        """``set``, ``environment``, ``file``, ``default`` or ``not_found``."""
        missing = object()
        with self._lock:
            layers = {
                "set": self._own, "environment": self._environment, "file": self._file,
                "default": DEFAULTS,
            }  # fmt: skip
            for name, layer in layers.items():
                if lookup(layer, key, missing) is not missing:
                    return name
        return "not_found"

    def set(self, key: str, value: Any) -> None:
        """Put ``value`` over every layer, until `reload`."""
        with self._lock:
            assign(self._own, key, deepcopy(value))
            self._lay()

    # checking

    def validate(self) -> bool:
        """Whether nothing is wrong; what is wrong goes to the log."""
        errors = self.get_validation_errors()
        for error in errors:
            log.error("%s", error)
        return not errors

    def get_validation_errors(self) -> list[str]:
        """What is wrong, a sentence each, with the place that the value comes from."""
        with self._lock:
            found = [str(self._fault)] if self._fault is not None else []
            if not str(self.get("openai_api_key") or "").strip() or is_unfilled(
                self.get("openai_api_key")
            ):
                found.append(
                    str(
                        Text(
                            "缺少 openai_api_key（DashScope 的密钥）：写进设置文件，或设置 DASHSCOPE_API_KEY。",
                            "openai_api_key (the DashScope key) is missing: put it into the settings file, or set DASHSCOPE_API_KEY.",
                        )
                    )
                )
            found += [self._wrong(r.key, r.text) for r in _RULES if not _fits(self.get(r.key), r)]
            for key, known in _CHOICES.items():
                if self.get(key) not in (None, *known):
                    listed = Text(f"{'、'.join(known)} 之一", f"one of {', '.join(known)}")
                    found.append(self._wrong(key, listed))
            for key in _ADDRESSES:
                if not str(self.get(key) or "https://").startswith(("http://", "https://")):
                    address = Text(
                        "以 http:// 或 https:// 开头",
                        "an address that begins with http:// or https://",
                    )
                    found.append(self._wrong(key, address))
        return found

    def _wrong(self, key: str, must: Text) -> str:
        value, source = self.get(key), self.get_config_source(key)
        return str(
            Text(
                f"{key} 应为{must.zh}，现在是 {value!r}（来自 {source}）。",
                f"{key} must be {must.en}; it is {value!r} (from {source}).",
            )
        )

    # following the file

    def reload(self) -> None:
        """Read file and environment anew, forget what was `set`, tell the callbacks."""
        with self._lock:
            self._own = {}
            self._read()
            callbacks = list(self._callbacks)
        for callback in callbacks:
            try:
                callback()
            except Exception:
                log.warning("a reload callback failed", exc_info=True)

    def register_reload_callback(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` after every reload; once, however often it is registered."""
        with self._lock:
            if callback not in self._callbacks:
                self._callbacks.append(callback)

    def unregister_reload_callback(self, callback: Callable[[], None]) -> None:
        """Call it no more."""
        with self._lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

    def start_watching(self, check_interval: float = 1.0) -> None:
        """Reload when the file changes, appears or goes, looking every ``check_interval`` seconds.

        Looking is done by a thread that does not keep the program alive.
        """
        with self._lock:
            if self._watching is not None:
                return
            stop = self._watching = threading.Event()
            self._thread = threading.Thread(
                target=self._watch, args=(stop, check_interval), name="ConfigManager", daemon=True
            )
            self._thread.start()

    def stop_watching(self) -> None:
        """Stop looking. Safe to call twice, and from a callback."""
        with self._lock:
            stop, thread = self._watching, self._thread
            self._watching = self._thread = None
        if stop is not None:
            stop.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=2.0)

    def is_watching(self) -> bool:
        """Whether the file is being looked at."""
        return self._watching is not None

    def __repr__(self) -> str:
        return f"ConfigManager(config_path={str(self._path)!r})"

    def _watch(self, stop: threading.Event, interval_s: float) -> None:
        while not stop.wait(interval_s):
            if self.check_file():
                log.info("settings read again: %s", self._path)

    def check_file(self) -> bool:
        """Reload now if the file is not as it was read; whether it was not."""
        with self._lock:
            if self._stamp() == self._seen:
                return False
        self.reload()
        return True

    def _stamp(self) -> tuple[int, int, int] | None:
        """What tells one version of the file from another: editors that rename change the inode."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> None:
        """The layers from file and environment. A file gone wrong leaves the former one in force."""
        self._seen = self._stamp()
        self._fault = None
        if self._seen is None:
            log.info("no settings file %s; defaults are used", self._path)
            self._file = {}
        else:
            try:
                self._file = with_older_names(_load(self._path))
            except RedloomError as error:
                self._fault = error
                log.error("%s", error)
        self._environment = _from_environment(os.environ)
        self._lay()

    def _lay(self) -> None:
        below = merged(merged(DEFAULTS, self._file), self._environment)
        self._all = merged(below, self._own)


def _load(path: Path) -> Data:
    data = read_toml(path) if path.suffix.lower() == ".toml" else read_json(path, os.environ)
    for key in ("max_concurrent", "max_wait_time", "poll_interval", "max_retries"):
        value = lookup(data, f"image_generation.{key}")
        if isinstance(value, str):  # a number out of a ${NAME:5} reference
            assign(data, f"image_generation.{key}", _converted(value))
    return data


def _from_environment(environ: Mapping[str, str]) -> Data:
    found: Data = {}
    missing = object()
    for variable, key in VARIABLES:
        value = environ.get(variable, "").strip()
        if value and lookup(found, key, missing) is missing:
            kept_as_text = key.endswith(("api_key", "model", "url"))
            assign(found, key, value if kept_as_text else _converted(value))
    return found


def _converted(text: str) -> Any:
    """A variable's text as the value that it spells."""
    if text.lower() in (*_TRUE, *_FALSE):
        return text.lower() in _TRUE
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _fits(value: Any, rule: _Rule) -> bool:
    if value is None:
        return True
    if isinstance(value, bool) or not isinstance(value, rule.kind):
        return False
    return rule.least is None or (isinstance(value, int | float) and value >= rule.least)
