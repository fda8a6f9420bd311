"""The command itself: finds its parts lazily, and is the one place where errors meet the user.

May import: private, logs, version, lang, errors, config_files (at an accident), table, common.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from redloom.errors import RedloomError
from redloom.lang import Lang, Text, use_language
from redloom.version import __version__

from .common import Bilingual, Common, Option, section_of_commands
from .table import COMMANDS, present

INTERRUPTED = 130
WRONG_USAGE = 2


class Group(Bilingual, click.Group):
    """All commands by name; a command's module is imported when it is called."""

    text = Text(
        "redloom：文字变成图片。一次付费，一个结果。\n从这里开始：redloom note 故事.txt --offline",
        "redloom: text into finished pictures; every prompt once, paid once.\n"
        "Start here: redloom note STORY.txt --offline",
    )

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command that is there."""
        return present()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command. None where there is none of that name."""
        if cmd_name not in present():
            return None
        module = importlib.import_module(f"redloom.cli.{COMMANDS[cmd_name].module}")
        made: click.Command = getattr(module, cmd_name)
        return made

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click has it, with a likely meaning beside an unknown name."""
        name = args[0]
        if name.startswith("-") or name in present():
            return super().resolve_command(ctx, args)
        import difflib

        close = difflib.get_close_matches(name, present(), 1)
        raise click.UsageError(
            str(
                Text(
                    f"没有命令“{name}”" + (f"，是不是 {close[0]}？" if close else "。"),
                    f"There is no command “{name}”"
                    + (f"; did you mean {close[0]}?" if close else "."),
                )
            ),
            ctx,
        )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands first, then the options."""
        with formatter.section(section_of_commands()):
            formatter.write_dl([(name, str(COMMANDS[name].text)) for name in present()])
        super().format_options(ctx, formatter)

    def main(self, args: Sequence[str] | None = None, *_more: Any, **named: Any) -> Any:
        """Run; always ends in SystemExit with the status that the contract names."""
        argv = list(sys.argv[1:] if args is None else args)
        use_language(_language_in(argv))
        named = {**named, "standalone_mode": False, "prog_name": "redloom"}
        verbose = "--verbose" in argv or "-v" in argv
        if verbose or os.environ.get("REDLOOM_LOG"):
            from redloom.logs import set_up

            set_up(verbose=verbose)
        try:
            status = super().main(argv, **named)
            sys.stdout.flush()
        except click.exceptions.Abort:
            click.echo(
                f"{Text('已中断；同样的命令会接着做。', 'Interrupted; the same command goes on.')} [interrupted]",
                err=True,
            )
            status = INTERRUPTED
        except click.ClickException as error:
            status = _wrong_usage(error)
        except RedloomError as error:
            status = _known(error, verbose)
        except BrokenPipeError:
            status = _pipe_closed()
        except Exception as error:
            known = _within(error)
            status = _known(known, verbose) if known else _unexpected(error, argv, verbose)
        sys.exit(status if isinstance(status, int) else 0)


def _language_in(argv: Sequence[str]) -> Lang | None:
    """What ``--lang`` says, wherever it stands; else REDLOOM_LANG; else None, for the locale."""
    named = os.environ.get("REDLOOM_LANG", "")
    for at, word in enumerate(argv):
        if word == "--lang" and at + 1 < len(argv):
            named = argv[at + 1]
        elif word.startswith("--lang="):
            named = word.removeprefix("--lang=")
    return "zh" if named == "zh" else "en" if named == "en" else None


def _within(error: BaseException) -> RedloomError | None:
    """The one error of ours that several tasks together ended with, such as a full disk's."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, RedloomError) else None


def _known(error: RedloomError, verbose: bool) -> int:
    click.echo(f"{error} [{error.code}]", err=True)
    if verbose:
        _traceback(error)
    return error.exit_status


def _wrong_usage(error: click.ClickException) -> int:
    from .words import sentence

    ctx = error.ctx if isinstance(error, click.UsageError) else None
    path = "redloom" if ctx is None else ctx.command_path
    click.echo(f"{sentence(error)} [usage]", err=True)
    click.echo(str(Text(f"看用法：{path} --help", f"See: {path} --help")), err=True)
    return WRONG_USAGE


def _unexpected(error: Exception, argv: Sequence[str], verbose: bool) -> int:
    """A fault of ours: one sentence, the details in a file."""
    from redloom.logs import masked

    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        return _pipe_closed()
    where = _written(error, argv)
    place = Text(f"细节在 {where}", f"Details are in {where}") if where else Text("", "")
    what = masked(f"{type(error).__name__}: {error}")
    told = Text(
        f"程序出了意料之外的错（{what}）；已付费的都记在账上，不会丢。{place.zh}",
        f"Something unexpected went wrong ({what}); what is paid for is on record. {place.en}",
    )
    click.echo(f"{told} [bug]", err=True)
    if verbose:
        _traceback(error)
    return 1


def _written(error: Exception, argv: Sequence[str]) -> Path | None:
    """The log of an accident, in the workspace, else in the folder for temporary files."""
    import secrets
    import tempfile
    import time
    import traceback

    from redloom import private
    from redloom.config_files import data_folder
    from redloom.logs import masked

    given = os.environ.get("REDLOOM_HOME") or _after(argv, "--workspace")
    # A name that nobody can guess: the folder for temporary files is everybody's.
    name = f"error-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(8)}.log"
    text = masked("".join(traceback.format_exception(error)))
    root = Path(given) if given else data_folder(os.environ)
    for folder in (root / "logs", Path(tempfile.gettempdir())):
        try:
            private.folder(folder)
            private.write(folder / name, f"redloom {__version__}\n\n{text}".encode())
        except OSError:
            continue
        return folder / name
    return None


def _after(argv: Sequence[str], name: str) -> str:
    for at, word in enumerate(argv):
        if word == name and at + 1 < len(argv):
            return argv[at + 1]
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
    return ""


def _traceback(error: BaseException) -> None:
    import traceback

    from redloom.logs import masked

    click.echo(masked("".join(traceback.format_exception(error))), err=True)


def _pipe_closed() -> int:
    """Whoever read our output has gone; nothing is said, and nothing more is flushed there."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    return 0


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"redloom {__version__}")
        ctx.exit()


@click.pass_context
def _start(ctx: click.Context) -> None:
    ctx.ensure_object(Common)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


cli = Group(
    "redloom",
    params=[
        Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_version,
            text=Text("显示版本", "show the version"),
        )
    ],
    callback=_start,
    invoke_without_command=True,
)


def main() -> None:
    """The entry point of the command ``redloom``."""
    cli.main()
