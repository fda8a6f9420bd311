"""What click finds wrong with a command line, in both languages.

May import: lang.
"""

from __future__ import annotations

import difflib

import click

from redloom.lang import Text


def sentence(error: click.ClickException) -> Text:
    """One sentence for a wrong command line."""
    match error:
        case click.NoSuchOption():
            return _no_such_option(error)
        case click.MissingParameter():
            name = _name(error.param) or error.param_hint or ""
            return Text(f"缺少 {name}。", f"Missing: {name}.")
        case click.BadOptionUsage():
            name = error.option_name
            return Text(
                f"选项 {name} 用得不对：要给它一个值。", f"The option {name} needs a value."
            )
        case click.BadParameter():
            return _bad_value(error)
        case click.UsageError():
            return Text(_plain_zh(error.message), error.message)
        case _:
            return Text(error.format_message(), error.format_message())


def _no_such_option(error: click.NoSuchOption) -> Text:
    known = [
        name
        for param in (error.ctx.command.get_params(error.ctx) if error.ctx else [])
        for name in param.opts
    ]
    close = difflib.get_close_matches(error.option_name, known, 1, 0.5)
    zh, en = (f"，是不是 {close[0]}？", f"; did you mean {close[0]}?") if close else ("。", ".")
    return Text(f"没有选项 {error.option_name}{zh}", f"There is no option {error.option_name}{en}")


def _bad_value(error: click.BadParameter) -> Text:
    name = _name(error.param) or str(error.param_hint or "")
    kind = error.param.type if error.param else None
    if isinstance(kind, click.Choice):
        known = [str(choice) for choice in kind.choices]
        return Text(
            f"{name} 应为 {'、'.join(known)} 之一。", f"{name} must be one of {', '.join(known)}."
        )
    if isinstance(kind, click.IntRange | click.FloatRange):
        zh, en = _range(kind)
        return Text(f"{name} 应为{zh}数字。", f"{name} must be a number{en}.")
    if kind in (click.INT, click.FLOAT):
        return Text(f"{name} 应为数字。", f"{name} must be a number.")
    return Text(f"{name}：{error.message}", f"{name}: {error.message}")


def _range(kind: click.IntRange | click.FloatRange) -> tuple[str, str]:
    least, most = kind.min, kind.max
    if least is not None and most is not None:
        return f" {least} 到 {most} 之间的", f" from {least} to {most}"
    if least is not None:
        return (
            (f"大于 {least} 的", f" above {least}")
            if kind.min_open
            else (f"不小于 {least} 的", f" of at least {least}")
        )
    return "", ""


def _name(param: click.Parameter | None) -> str:
    if param is None:
        return ""
    if isinstance(param, click.Option):
        return max(param.opts, key=len)
    return param.make_metavar(click.Context(click.Command("")))


def _plain_zh(message: str) -> str:
    if message.startswith("Got unexpected extra argument"):
        return f"多出来的参数{message[message.find('(') :].replace('(', '（').replace(')', '）')}。"
    if message == "Missing command.":
        return "缺少命令。"
    return message
