"""``python run.py …``: RedBookContentGen's command line, said in today's words and carried out.

May import: lang, errors, config_files, cli.group.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from redloom.config_files import LEGACY_PLACES, lookup, read_json
from redloom.errors import BadInput, RedloomError
from redloom.lang import Text

STYLES = {
    "retro_chinese": "国潮复古插画，暖色",
    "modern_minimal": "现代简约，留白",
    "vintage_film": "怀旧胶片",
    "warm_memory": "温暖回忆，柔光",
    "ink_wash": "中国水墨",
}
"""What its template styles meant, in words for a picture."""
SERVICES = {"aliyun": "dashscope", "volcengine": "ark"}
INPUT = "input/input_content.txt"


def main(argv: Sequence[str] | None = None) -> None:
    """Translate, say the new command, run it. Ends in SystemExit."""
    from .group import cli

    try:
        words = translated(sys.argv[1:] if argv is None else argv, os.environ)
    except RedloomError as error:
        print(f"{error} [{error.code}]", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_status)
    line = "redloom " + shlex.join(words)
    print(Text(f"现在的写法：{line}", f"As it is said now: {line}"), file=sys.stderr)  # noqa: T201
    cli.main(words)


def translated(argv: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """The words of ``redloom note`` that mean the same.

    Raises BadInput where the old option has no successor or there is no story.
    """
    old = _parser().parse_args(list(argv))
    config, data = _config(old.config, environ)
    if old.mode == "topic" or old.topic:
        raise BadInput(
            "主题搜索（--mode topic）会登录小红书抓取别人的笔记，这里不再提供；把素材存成 .txt 再运行。没有花钱。",
            "Searching by topic scraped other people's notes and is gone; save your material as a "
            ".txt file and name it. Nothing was spent.",
        )
    story = old.source or lookup(data, "input_file") or INPUT
    words = ["note", str(story)]
    if config is not None:
        words += ["--config", str(config)]
    mode = old.image_mode or lookup(data, "image_generation_mode") or "template"
    if mode == "template" or old.skip_images:
        words += ["--images", "0"]
        if mode == "template" and not lookup(data, "openai_api_key") and old.image_mode:
            words += ["--writer", "local"]
        return words
    service = old.provider or lookup(data, "image_api_provider") or "aliyun"
    words += ["--endpoint", SERVICES.get(str(service), str(service))]
    style = old.style or lookup(data, "template_style")
    if style:
        words += ["--style", STYLES.get(str(style), str(style))]
    return words


def _config(named: str | None, environ: Mapping[str, str]) -> tuple[Path | None, dict[str, Any]]:
    """The settings file that the old command would have read, and what is in it."""
    if named is not None:
        path = Path(named)
        if not path.is_file():
            raise BadInput(
                f"找不到设置文件 {path}。没有花钱。",
                f"There is no settings file {path}. Nothing was spent.",
            )
        return path, read_json(path, environ)
    for place in LEGACY_PLACES:
        if place.is_file():
            return None, read_json(place, environ)
    return None, {}


def _parser() -> argparse.ArgumentParser:
    """Every option of the old command; those about concurrency change nothing any more."""
    parser = argparse.ArgumentParser(
        prog="run.py", description=str(Text("旧命令行", "the old command line"))
    )
    parser.add_argument("source", nargs="?")
    parser.add_argument("-c", "--config")
    parser.add_argument("--mode", choices=["file", "topic"], default="file")
    parser.add_argument("--topic")
    parser.add_argument("--skip-images", action="store_true")
    parser.add_argument("--image-mode", choices=["api", "template"])
    parser.add_argument("--provider", choices=sorted(SERVICES))
    parser.add_argument("--style")
    parser.add_argument("--max-results", type=int)
    parser.add_argument("--min-likes", type=int)
    parser.add_argument("--async-mode", action="store_true")
    parser.add_argument("--max-concurrent", type=int)
    return parser
