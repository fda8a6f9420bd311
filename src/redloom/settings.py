"""Where every setting comes from: command line, environment, project, user, defaults.

Precedence, highest first: what the caller overrides, the environment (`.env` in the working
folder counts as environment where the variable is not set), the project's `redloom.toml`,
RedBookContentGen's `config/config.json`, the user's file, the defaults. Every value remembers
its source. An endpoint exists as soon as its provider's key is in the environment.

May import: errors, lang, clock, encodings, endpoint, providers, config_files, settings_form.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from . import providers
from .clock import Clock
from .config_files import (
    Data,
    assign,
    data_folder,
    find_legacy,
    is_unfilled,
    lookup,
    merged,
    read_dotenv,
    read_json,
    read_toml,
    user_file,
    with_older_names,
)
from .encodings import is_file
from .endpoint import Defaults, Endpoint, Limits, Price
from .errors import BadSettings
from .lang import Lang, Text
from .settings_form import LIMITS, SCALARS, checked

InDoubt = Literal["wait", "resubmit", "fail"]

DEFAULT_ENDPOINT = "dashscope"
PREFERRED = ("dashscope", "ark", "openai", "gemini")
"""Whose endpoint is the default one where keys for several are there."""
LOCAL_PROVIDER = "diffusers"
"""What ``local:MODEL`` is made by."""
DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "in_doubt": "wait",
        "retries": 3,
        "hedge": 0.0,
        "account_share": 1.0,
        "ask_above": 10.0,
        "writer": "auto",
    }
)
PROJECT_FILE = "redloom.toml"
CHAT_MODEL = "qwen-plus"
CHAT_URL = "https://dashscope.aliyuncs.com/compatible-mode/v1"

BUILT_IN = Text("默认值", "default")
COMMAND_LINE = Text("命令行", "command line")


@dataclass(frozen=True)
class EndpointConfig:
    """An endpoint with everything that is needed to use it, its key included."""

    name: str
    provider: str
    model: str = ""
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    key_variable: str = ""
    """The environment variable that holds the key, or should."""
    needs_key: bool = True
    account: str = ""
    region: str = ""
    limits: Limits = field(default_factory=Limits)
    price: Price | None = None
    share: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
    label: Text = field(default_factory=lambda: Text("", ""))

    @property
    def ready(self) -> bool:
        """Whether nothing is missing to use it."""
        return bool(self.api_key) or not self.needs_key

    def endpoint(self) -> Endpoint:
        """The endpoint without its key, as the engine and providers see it."""
        return Endpoint(
            name=self.name, provider=self.provider, model=self.model, base_url=self.base_url,
            region=self.region, account=self.account, limits=self.limits, price=self.price,
            share=self.share, options=dict(self.options),
        )  # fmt: skip


@dataclass(frozen=True)
class ChatConfig:
    """The text model that writes notes, by its OpenAI-compatible address."""

    model: str
    base_url: str
    api_key: str = field(repr=False)
    key_variable: str = ""


@dataclass(frozen=True)
class Settings:
    """All settings. ``sources`` names for each dotted key where its value comes from."""

    workspace: Path
    endpoints: Mapping[str, EndpointConfig]
    default_endpoint: str = DEFAULT_ENDPOINT
    in_doubt: InDoubt = "wait"
    retries: int = 3
    hedge: float = 0.0
    """Percent of a run's pictures that may get a twin in the drain, where they are free."""
    max_wait_s: float | None = None
    """Nominal seconds from the service's start of work until the caller hears of a wait."""
    poll_interval_s: float | None = None
    jobs: int | None = None
    """Ceiling on tasks in flight; None leaves it to the quota."""
    size: str = ""
    account_share: float = 1.0
    ask_above: float = 10.0
    """A run dearer than this, in its own currency, is confirmed first."""
    theme: str = ""
    writer: str = "auto"
    consistent: bool = False
    """Whether a note's first picture is the reference of its others."""
    lang: Lang | None = None
    chat: ChatConfig | None = None
    sources: Mapping[str, Text] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    """Settings files that were read, weakest first."""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The environment with `.env` under it."""
    cluster: Mapping[str, Any] = field(default_factory=dict)
    """``[cluster]``: whose GPUs make what endpoints of this machine's kind ask for."""
    keyless: bool = False
    """Only prices and limits are wanted: an endpoint without its key will do."""

    def endpoint(self, name: str) -> EndpointConfig:
        """The endpoint of that name, or `PROVIDER:MODEL` of a known one.

        Raises BadSettings where it is unknown (naming the known ones) or lacks its key (naming
        the variable).
        """
        config = self.endpoints.get(name) or self.implied(name)
        if config is None:
            known = sorted(self.endpoints)
            raise BadSettings(
                f"没有名为“{name}”的端点；现有：{'、'.join(known)}。没有花钱。",
                f"There is no endpoint “{name}”; known are {', '.join(known)}. Nothing was spent.",
            )
        if not config.ready and not self.keyless:
            raise _no_key(config)
        if config.provider == LOCAL_PROVIDER and self.cluster.get("address"):
            given = {f"cluster_{name}": value for name, value in self.cluster.items()}
            return replace(config, options={**given, **config.options})
        return config

    def implied(self, name: str) -> EndpointConfig | None:
        """An endpoint that no file names: a provider's own, or one with another model."""
        head, colon, model = name.partition(":")
        provider = LOCAL_PROVIDER if head == "local" and colon else head
        base = self.endpoints.get(provider)
        if base is None and provider in providers.names():
            base = _Reading(self.environ, {}).endpoint(provider, {}, self.account_share)
        if base is None or (colon and not model):
            return None
        return _renamed(base, name, model) if colon else base


def _renamed(base: EndpointConfig, name: str, model: str) -> EndpointConfig:
    return replace(base, name=name, model=model)


def _no_key(config: EndpointConfig) -> BadSettings:
    variable = config.key_variable or "API_KEY"
    return BadSettings(
        f"端点“{config.name}”还没有密钥：请设置环境变量 {variable}（也可写进当前文件夹的 .env）。没有花钱。",
        f"The endpoint “{config.name}” has no key: set the environment variable {variable} "
        "(a .env in this folder will do). Nothing was spent.",
    )


def load_settings(
    *,
    config: Path | None = None,
    workspace: Path | None = None,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Read every source and lay them over one another.

    ``config`` replaces the project's files; ``folder`` is the working folder; ``overrides``
    are dotted keys from the command line (``endpoints.dashscope.model``), None meaning not
    given. Raises BadSettings for what cannot be read or understood; nothing is created.
    """
    folder = folder or Path.cwd()
    given = dict(os.environ if environ is None else environ)
    from_dotenv = read_dotenv(folder / ".env")
    reading = _Reading({**from_dotenv, **{k: v for k, v in given.items() if v}}, from_dotenv, given)
    reading.lay(user_file(given), optional=True)
    if config is not None:
        reading.lay(config, optional=False)
    else:
        if (legacy := find_legacy(folder, reading.environ)) is not None:
            reading.lay_legacy(*legacy)
        reading.lay(folder / PROJECT_FILE, optional=True)
    reading.lay_environment()
    told = {key: value for key, value in (overrides or {}).items() if value is not None}
    if workspace is not None:
        told["workspace"] = str(workspace)
    reading.lay_overrides(told)
    return reading.settings(folder)


class _Reading:
    """The layers while they are laid over one another."""

    def __init__(
        self,
        environ: Mapping[str, str],
        dotenv: Mapping[str, str],
        given: Mapping[str, str] | None = None,
    ) -> None:
        self.environ = environ
        self._dotenv, self._given = dotenv, environ if given is None else given
        self.data: Data = {}
        self.sources: dict[str, Text] = {}
        self.files: list[Path] = []
        self._legacy_key = ""
        self._keys: dict[str, str] = {}

    def lay(self, path: Path, *, optional: bool) -> None:
        """Put a file over what there is: TOML, or RedBookContentGen's JSON."""
        if not is_file(path) and optional:
            return
        if not is_file(path):
            raise BadSettings(
                f"找不到设置文件 {path}。请检查 --config，没有花钱。",
                f"There is no settings file {path}. Check --config; nothing was spent.",
            )
        if path.suffix.lower() == ".json":
            self.lay_legacy(path, read_json(path, self.environ))
            return
        data = checked(read_toml(path), str(path))
        if "workspace" in data:
            data["workspace"] = str(path.parent / Path(data["workspace"]).expanduser())
        self._put(data, Text(str(path), str(path)))
        self.files.append(path)

    def lay_legacy(self, path: Path, data: Mapping[str, Any]) -> None:
        """Put RedBookContentGen's settings over what there is, under our names."""
        told = checked(_from_legacy(data), str(path))
        key = lookup(data, "openai_api_key", "")
        if isinstance(key, str) and key.strip() and not is_unfilled(key):
            self._legacy_key = key.strip()
            told = merged({"endpoints": {DEFAULT_ENDPOINT: {}}}, told)
            self.sources[f"endpoints.{DEFAULT_ENDPOINT}.api_key"] = Text(str(path), str(path))
        self._put(told, Text(str(path), str(path)))
        self.files.append(path)

    def lay_environment(self) -> None:
        """Put ``REDLOOM_*`` over what there is; REDLOOM_HOME is the workspace."""
        names = {name: f"REDLOOM_{name.upper()}" for name in SCALARS} | {
            "workspace": "REDLOOM_HOME"
        }
        for name, variable in names.items():
            if value := self.environ.get(variable):
                self._put(checked({name: value}, variable), self.origin(variable))
        if address := self.environ.get("REDLOOM_CLUSTER", "").strip():
            told = checked({"cluster": {"address": address}}, "REDLOOM_CLUSTER")
            self._put(told, self.origin("REDLOOM_CLUSTER"))

    def lay_overrides(self, overrides: Mapping[str, Any]) -> None:
        """Put the caller's values over everything; ``endpoints.NAME.api_key`` may be a key."""
        data: Data = {}
        for key, value in overrides.items():
            head, _, last = key.rpartition(".")
            if last == "api_key" and head.startswith("endpoints."):
                name = head.removeprefix("endpoints.")
                self._keys[name] = str(value).strip()
                self.sources[key] = COMMAND_LINE
                data.setdefault("endpoints", {}).setdefault(name, {})
            else:
                assign(data, key, value)
        self._put(checked(data, str(COMMAND_LINE)), COMMAND_LINE)

    def origin(self, variable: str) -> Text:
        """Where an environment variable's value was found."""
        if not self._given.get(variable) and variable in self._dotenv:
            return Text(f"环境变量 {variable}（.env）", f"environment {variable} (.env)")
        return Text(f"环境变量 {variable}", f"environment {variable}")

    def _put(self, data: Mapping[str, Any], source: Text) -> None:
        self.data = merged(self.data, data)
        for key in _leaves(data):
            self.sources[key] = source

    def settings(self, folder: Path) -> Settings:
        """What came of it."""
        data = {**DEFAULTS, **self.data}
        share = data["account_share"]
        found = self._endpoints(share)
        workspace = data.get("workspace")
        default, source = self._default_endpoint(data.get("endpoint"), found)
        self.sources["endpoint"] = source
        for name in (*DEFAULTS, "workspace"):
            self.sources.setdefault(name, BUILT_IN)
        return Settings(
            workspace=folder / Path(workspace).expanduser() if workspace else data_folder(self._given),
            endpoints=MappingProxyType(found),
            default_endpoint=default,
            in_doubt=data["in_doubt"], retries=data["retries"],
            hedge=float(data["hedge"]),
            max_wait_s=data.get("max_wait_s"), poll_interval_s=data.get("poll_interval_s"),
            jobs=data.get("jobs"), size=_plain_size(data.get("size", "")),
            account_share=share, ask_above=data["ask_above"],
            theme=data.get("theme", ""), writer=data["writer"], lang=data.get("lang"),
            consistent=data.get("consistent", False),
            chat=self._chat(), cluster=MappingProxyType(self.data.get("cluster", {})),
            sources=self.sources, files=tuple(self.files), environ=self.environ,
        )  # fmt: skip

    def _default_endpoint(
        self, named: str | None, found: Mapping[str, EndpointConfig]
    ) -> tuple[str, Text]:
        if named:
            return named, self.sources["endpoint"]
        ready = [name for name in (*PREFERRED, *sorted(found)) if name in found]
        for name in ready:
            if found[name].ready and found[name].provider not in ("cards", LOCAL_PROVIDER):
                return name, BUILT_IN
        return DEFAULT_ENDPOINT, BUILT_IN

    def _endpoints(self, share: float) -> dict[str, EndpointConfig]:
        tables = {name: {} for name in self._announced()} | self.data.get("endpoints", {})
        return {name: self.endpoint(name, table, share) for name, table in sorted(tables.items())}

    def _announced(self) -> Iterable[str]:
        """The providers whose endpoints exist without any file."""
        for name in providers.names():
            defaults = _defaults(name)
            variables = (*defaults.key_variables, *defaults.url_variables)
            always = not defaults.needs_key and not variables and name != LOCAL_PROVIDER
            set_up = defaults.key_variables if defaults.needs_key else variables
            if always or any(self.environ.get(variable) for variable in set_up):
                yield name

    def endpoint(self, name: str, table: Mapping[str, Any], share: float) -> EndpointConfig:
        """One endpoint: its table, the environment's variables, its provider's defaults."""
        provider = self._provider(name, table)
        defaults = _defaults(provider)
        key, variable = self._key(name, provider, table, defaults)
        said = _Said(self, name, table, own=name == provider)
        price = table.get("price")
        return EndpointConfig(
            name=name, provider=provider,
            model=said.of("model", _model_variables(provider), defaults.model),
            base_url=said.of("base_url", defaults.url_variables, defaults.base_url).rstrip("/"),
            api_key=key, key_variable=variable, needs_key=defaults.needs_key,
            account=table.get("account", f"{provider}/{variable}" if variable else ""),
            region=table.get("region", ""),
            limits=Limits(**{limit: table[limit] for limit in LIMITS if limit in table}),
            price=None if price is None else Price(price, table.get("currency", "CNY")),
            share=table.get("share", share),
            options=self._options(table, defaults), label=defaults.label,
        )  # fmt: skip

    def _options(self, table: Mapping[str, Any], defaults: Defaults) -> Mapping[str, Any]:
        """The file's options over those that the provider takes from the environment."""
        found = {
            name: value
            for name, variables in defaults.option_variables.items()
            for variable in reversed(variables)
            if (value := self.environ.get(variable, "").strip())
        }
        return {**found, **table.get("options", {})}

    def _provider(self, name: str, table: Mapping[str, Any]) -> str:
        if name.startswith("local:") or not name.strip() or ":" in name:
            raise BadSettings(
                f"端点名“{name}”不能用：local:… 和带冒号的名字是保留的。没有花钱。",
                f"An endpoint cannot be called “{name}”: names with a colon are reserved. Nothing was spent.",
            )
        named = table.get("provider")
        if named is None and name not in providers.names():
            known = providers.names()
            raise BadSettings(
                f"[endpoints.{name}] 缺少 provider；可用：{'、'.join(known)}。没有花钱。",
                f"[endpoints.{name}] lacks its provider; known are {', '.join(known)}. Nothing was spent.",
            )
        return str(named or name)

    def _key(
        self, name: str, provider: str, table: Mapping[str, Any], defaults: Defaults
    ) -> tuple[str, str]:
        """The key and the variable that holds it, or should."""
        named = table.get("api_key_env")
        if key := self._keys.get(name):
            return key, named or next(iter(defaults.key_variables), "")
        for variable in (named,) if named else defaults.key_variables:
            if value := self.environ.get(variable, "").strip():
                self.sources[f"endpoints.{name}.api_key"] = self.origin(variable)
                return value, variable
        if not named and provider == DEFAULT_ENDPOINT and self._legacy_key:
            return self._legacy_key, "openai_api_key"
        return "", named or next(iter(defaults.key_variables), "")

    def _chat(self) -> ChatConfig | None:
        """The writer's model: as named, else DashScope's key, else OpenAI's."""
        table = self.data.get("chat", {})
        named = table.get("api_key_env")
        for variable in (named,) if named else ("DASHSCOPE_API_KEY", "OPENAI_API_KEY"):
            if key := self.environ.get(variable, "").strip():
                model, url = self._chat_defaults(variable)
                address = table.get("base_url", url)
                checked({"chat": {"base_url": address}}, variable)
                return ChatConfig(table.get("model", model), address, key, variable)
        if self._legacy_key and not named:
            model, url = self._chat_defaults("DASHSCOPE_API_KEY")
            return ChatConfig(
                table.get("model", model),
                table.get("base_url", url),
                self._legacy_key,
                "openai_api_key",
            )
        return None

    def _chat_defaults(self, variable: str) -> tuple[str, str]:
        """Model and address that go with a key."""
        if variable == "OPENAI_API_KEY":
            url = self.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1").rstrip("/")
            return self.environ.get("OPENAI_MODEL", "gpt-4o-mini"), url
        native = self.environ.get("DASHSCOPE_BASE_URL") or self.environ.get(
            "DASHSCOPE_HTTP_BASE_URL"
        )
        root = (native or "").rstrip("/").removesuffix("/api/v1")
        if root.endswith("/compatible-mode/v1"):
            return CHAT_MODEL, root
        return CHAT_MODEL, f"{root}/compatible-mode/v1" if root else CHAT_URL


@dataclass(frozen=True)
class _Said:
    """What was said of one endpoint, in the order of precedence.

    The provider's variables speak for the endpoint of its own name, over the file; for others
    of that provider only where the file is silent, so that two regions can stand side by side.
    """

    reading: _Reading
    name: str
    table: Mapping[str, Any]
    own: bool

    def of(self, key: str, variables: Iterable[str], default: str) -> str:
        """The value of ``key``; its source is noted."""
        dotted, sources = f"endpoints.{self.name}.{key}", self.reading.sources
        told = self.table.get(key)
        from_command_line = sources.get(dotted) is COMMAND_LINE
        if told is None or (self.own and not from_command_line):
            for variable in variables:
                if value := self.reading.environ.get(variable, "").strip():
                    if key == "base_url":
                        checked({"endpoints": {self.name: {key: value}}}, variable)
                    sources[dotted] = self.reading.origin(variable)
                    return value
        sources.setdefault(dotted, BUILT_IN)
        return default if told is None else str(told)


def _defaults(provider: str) -> Defaults:
    return cast(Defaults, providers.load(provider).DEFAULTS)


def _model_variables(provider: str) -> tuple[str, ...]:
    return (f"{provider.upper()}_IMAGE_MODEL",)


def _from_legacy(data: Mapping[str, Any]) -> Data:
    """RedBookContentGen's settings under our names; what has no meaning here is passed over."""
    told = with_older_names(data)
    picture = told.get("image_generation")
    picture = picture if isinstance(picture, Mapping) else {}
    out: Data = {}
    aliyun = told.get("image_api_provider", "aliyun") == "aliyun"
    values = {
        "size": picture.get("size"),
        "jobs": picture.get("max_concurrent"),
        "max_wait_s": picture.get("max_wait_time"),
        "poll_interval_s": picture.get("poll_interval"),
        "retries": picture.get("max_retries"),
        f"endpoints.{DEFAULT_ENDPOINT}.model": picture.get("model") if aliyun else None,
        f"endpoints.{DEFAULT_ENDPOINT}.base_url": _service_root(picture.get("api_url")),
        "chat.model": told.get("openai_model"),
        "chat.base_url": told.get("openai_base_url"),
    }
    for key, value in values.items():
        if value not in (None, "") and not is_unfilled(value):
            assign(out, key, value)
    return out


def _service_root(url: Any) -> Any:
    """``image_generation.api_url`` may be the whole path of one call."""
    return url.split("/services/", 1)[0] if isinstance(url, str) else url


def _plain_size(size: str) -> str:
    return "".join(size.split()).lower().replace("*", "x").replace("×", "x")


def _leaves(data: Mapping[str, Any], above: str = "") -> Iterable[str]:
    for key, value in data.items():
        if isinstance(value, Mapping) and value and key != "options":
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}"


def masked(secret: str) -> str:
    """A key as it may be shown: its last four characters if it is long, else none."""
    if not secret:
        return ""
    return f"****{secret[-4:]}" if len(secret) >= 16 else "****"


def on_loopback(url: str) -> bool:
    """Whether the address lies on this machine."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_clock(clock: Clock, endpoints: Iterable[EndpointConfig]) -> None:
    """Raise BadSettings for a clock that runs fast or slow against a service elsewhere.

    Its waits and rates would be wrong there by that factor. A local endpoint without an address
    runs on any clock.
    """
    for config in endpoints:
        if config.base_url or config.needs_key:
            check_address(clock, config.name, config.base_url)


def check_address(clock: Clock, name: str, url: str) -> None:
    """`check_clock` for one address, such as that of the text model."""
    speed = getattr(clock, "speed", 1.0)
    if speed != 1.0 and not on_loopback(url):
        raise BadSettings(
            f"REDLOOM_CLOCK_SPEED={speed:g} 只能用于本机的服务，而“{name}”不在本机。请去掉它，没有花钱。",
            f"REDLOOM_CLOCK_SPEED={speed:g} is only for services on this machine, and “{name}” is "
            "elsewhere. Unset it; nothing was spent.",
        )


__all__ = [
    "ChatConfig",
    "EndpointConfig",
    "Settings",
    "check_address",
    "check_clock",
    "load_settings",
    "masked",
    "on_loopback",
]
