"""What all commands share: the common options, help in two languages, ways to speak.

A command is declared with `command`, its options with `option`; both take their help as ``zh``
and ``en``. The common options are understood before and after the command's name.

May import: logs, settings, lang, errors.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from redloom.errors import Usage
from redloom.lang import Lang, Text, language, use_language

if TYPE_CHECKING:
    from redloom.settings import Settings

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclass
class Common:
    """The common options as given, and how to speak to the user under them."""

    config: Path | None = None
    workspace: Path | None = None
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    lang: Lang | None = None

    @property
    def narrated(self) -> bool:
        """Whether log lines go to standard error too."""
        return self.verbose or os.environ.get("REDLOOM_LOG", "").lower() in ("json", "text")

    def settings(self, **overrides: Any) -> Settings:
        """All settings; ``overrides`` as in `settings.load_settings`, ``__`` standing for a dot."""
        from redloom.logs import keep
        from redloom.settings import load_settings

        dotted = {key.replace("__", "."): value for key, value in overrides.items()}
        found = load_settings(config=self.config, workspace=self.workspace, overrides=dotted)
        keep(found.workspace / "logs")
        if self.lang is None and found.lang is not None:
            use_language(found.lang)
        return found

    def say(self, zh: str, en: str) -> None:
        """Tell a person what was asked for: on stdout, beside ``--json`` on stderr."""
        if not self.quiet:
            click.echo(str(Text(zh, en)), err=self.json)

    def hint(self, zh: str, en: str) -> None:
        """Tell a person something by the way, on stderr."""
        if not self.quiet:
            click.echo(str(Text(zh, en)), err=True)

    def warn(self, text: Text) -> None:
        """Tell a person what should not be missed, on stderr, also with ``--quiet``."""
        click.echo(str(text), err=True)

    def emit(self, record: Mapping[str, Any]) -> None:
        """One line of JSON on stdout, with ``--json`` only."""
        if self.json:
            click.echo(json.dumps(record, ensure_ascii=False, default=str))

    def confirm(self, question: Text, *, yes: bool) -> None:
        """Go on only with ``--yes`` or a person's yes. Raises Usage: nothing was spent."""
        if yes:
            return
        if not sys.stdin.isatty():
            raise Usage(
                f"{question.zh} 这里没有人可以回答：确定要做就加 --yes。没有花钱。",
                f"{question.en} Nobody is here to answer: add --yes to go on. Nothing was spent.",
            )
        if not click.confirm(str(question), default=False, err=True):
            raise Usage("已按你的意思停下，没有花钱。", "Stopped as you wished; nothing was spent.")


class Option(click.Option):
    """An option with its help in both languages."""

    def __init__(self, *args: Any, text: Text, **more: Any) -> None:
        super().__init__(*args, **{**more, "help": text.en})
        self.text = text

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Name and help, in the language in force."""
        self.help = str(self.text)
        return super().get_help_record(ctx)


def option(*names: str, zh: str, en: str, **more: Any) -> Decorator:
    """`click.option` with its help in both languages."""
    return click.option(*names, cls=Option, text=Text(zh, en), **more)


def _set(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Remember a common option; the one nearest to its command wins."""
    common = ctx.ensure_object(Common)
    if value not in (None, False) and param.name is not None:
        setattr(common, param.name, value)
    if param.name == "lang" and value is not None:
        use_language(value)
    return value


def _common_options() -> list[click.Parameter]:
    path = click.Path(path_type=Path)
    shared: dict[str, Any] = {"expose_value": False, "callback": _set}

    def one(*names: str, zh: str, en: str, **more: Any) -> Option:
        return Option(names, text=Text(zh, en), **shared, **more)

    return [
        one("--config", type=path, metavar="FILE", zh="设置文件", en="settings file"),
        one(
            "--workspace", type=path, metavar="DIR", zh="工作区文件夹（REDLOOM_HOME）",
            en="workspace folder (REDLOOM_HOME)",
        ),
        one("--json", is_flag=True, zh="标准输出给 JSON Lines", en="JSON Lines on standard output"),
        one("--quiet", "-q", is_flag=True, zh="只说要紧的", en="say only what matters"),
        one("--verbose", "-v", is_flag=True, zh="每一步都写出来，出错时给出全部细节", en="every step as a log line, every detail of an error"),
        one(
            "--lang", type=click.Choice(["zh", "en"]), is_eager=True, zh="说中文或英文",
            en="speak Chinese or English",
        ),
    ]  # fmt: skip


_WORDS = {
    "Usage": Text("用法：", "Usage: "),
    "Options": Text("选项", "Options"),
    "Common": Text("通用选项", "Common options"),
    "Commands": Text("命令", "Commands"),
    "Help": Text("显示本页", "show this page"),
}


class Bilingual(click.Command):
    """A command whose help page is in the language in force, common options in a part of their own."""

    text = Text("", "")

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.common = _common_options()
        self.params = [*self.params, *self.common]

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """``--help``, in the language in force."""
        found = super().get_help_option(ctx)
        if found is not None:
            found.help = str(_WORDS["Help"])
        return found

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The usage line."""
        pieces = " ".join(self.collect_usage_pieces(ctx))
        if language() == "zh":
            pieces = pieces.replace("[OPTIONS]", "[选项]").replace("COMMAND [ARGS]...", "命令 …")
        formatter.write_usage(ctx.command_path, pieces, prefix=str(_WORDS["Usage"]))

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What the command does."""
        formatter.write_paragraph()
        with formatter.indentation():
            for paragraph in str(self.text).split("\n"):
                formatter.write_text(paragraph)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command's own options, then the common ones."""
        params = self.get_params(ctx)
        own = [one for one in params if isinstance(one, click.Option) and one not in self.common]
        for title, group in (("Options", own), ("Common", self.common)):
            records = [r for one in group if (r := one.get_help_record(ctx)) is not None]
            if records:
                with formatter.section(str(_WORDS[title])):
                    formatter.write_dl(records)

    def get_short_help_str(self, limit: int = 60) -> str:
        """The first sentence, for lists."""
        return str(self.text).split("\n", 1)[0]


def section_of_commands() -> str:
    """The heading of the list of commands."""
    return str(_WORDS["Commands"])


def command(name: str, *, zh: str, en: str) -> Callable[[Callable[..., Any]], Bilingual]:
    """Declare a command: its function gets `Common` first and returns its exit status or None."""

    def declare(function: Callable[..., Any]) -> Bilingual:
        made = click.command(name, cls=Bilingual)(click.pass_obj(function))
        made.text = Text(zh, en)
        return made

    return declare
