"""Midjourney's and A1111's flags inside a prompt: understood, or set aside and said; never sent.

``a fox --ar 3:4 --no text --v 6`` asks for 3:4 without text; ``--v 6`` means nothing here and is
listed under ``ignored``. ``--prompt "a fox" --seed 1 --width 768 --height 1024`` is a line of
A1111's "Prompts from file or textbox".

May import: nothing of the package.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MIDJOURNEY = {
    "ar": "size", "aspect": "size", "seed": "seed", "no": "negative", "negative": "negative",
    "negative_prompt": "negative", "size": "size",
}  # fmt: skip
SET_ASIDE = frozenset(
    ["v", "version", "niji", "style", "stylize", "s", "q", "quality", "chaos", "c", "weird", "w", "iw", "cw",
     "sw", "sref", "cref", "oref", "ow", "stop", "tile", "turbo", "fast", "relax", "raw", "hd", "repeat", "r", "p", "profile", "exp",
     "video", "creative", "test", "testp", "upbeta", "uplight", "draft", "stealth", "public", "sampler_index", "restore_faces",
     "seed_resize_from_w", "seed_resize_from_h", "subseed", "subseed_strength", "outpath_samples", "outpath_grids",
     "prompt_for_display", "do_not_save_samples", "do_not_save_grid", "prompt_styles", "styles", "scheduler"]
)  # fmt: skip
_BARE = frozenset(
    [
        "tile",
        "turbo",
        "fast",
        "relax",
        "raw",
        "hd",
        "draft",
        "stealth",
        "public",
        "creative",
        "test",
        "testp",
        "video",
    ]
)
"""Flags without a value: the word behind one belongs to the prompt."""
_A1111 = {
    "prompt": "prompt", "negative_prompt": "negative", "seed": "seed", "width": "width",
    "height": "height", "batch_size": "n", "n_iter": "n",
}  # fmt: skip
OPTIONS = {
    "steps": "steps", "cfg_scale": "cfg_scale", "sampler": "sampler_name", "sampler_name": "sampler_name",
    "scheduler": "scheduler",
}  # fmt: skip
"""A1111's settings: options of the endpoints that know them; others leave them out and say so."""
_FLAG = re.compile(
    r"""(?:^|(?<=\s))(?:--|—|–)(?P<name>[A-Za-z_]+)(?:[\s=]+(?P<value>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|(?!--|—|–)\S+))?"""
)


@dataclass(frozen=True, slots=True)
class Flagged:
    """A prompt without its flags; ``found`` by our own field names, what is ``ignored`` as written."""

    text: str
    found: Mapping[str, str]
    ignored: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    """For endpoints that know such a setting."""


def take_flags(text: str) -> Flagged:
    """Read the flags out of one prompt. What is no known flag stays a part of its words."""
    if "--" not in text and "—" not in text and "–" not in text:
        return Flagged(text, {})
    if re.match(r"\s*--prompt[\s=]", text):
        return _a1111(text)
    return _midjourney(text)


def _midjourney(text: str) -> Flagged:
    """Each flag with its value goes; ``--no`` takes words up to the next flag; the rest stays."""
    flags = [m for m in _FLAG.finditer(text) if _known(m["name"])]
    found: dict[str, str] = {}
    options: dict[str, Any] = {}
    ignored: list[str] = []
    words, at = [], 0
    for number, flag in enumerate(flags):
        name = flag["name"].lower()
        ours, end = MIDJOURNEY.get(name), flag.end()
        if ours == "negative":
            end = flags[number + 1].start() if number + 1 < len(flags) else len(text)
            found[ours] = _unquoted(_after_name(text[flag.start() : end].strip()))
        elif ours is not None and flag["value"]:
            found[ours] = _unquoted(flag["value"]).rstrip(",，。;")
        elif name in OPTIONS and flag["value"]:
            options[OPTIONS[name]] = _number(_unquoted(flag["value"]).rstrip(",，。;"))
        else:
            end = flag.start("name") + len(name) if name in _BARE else end
            ignored.append(text[flag.start() : end].strip())
        words.append(text[at : flag.start()].strip())
        at = end
    words.append(text[at:].strip())
    text = " ".join(filter(None, words)).rstrip(" ,，")
    return Flagged(text, found, " ".join(ignored), options)


def _a1111(text: str) -> Flagged:
    found: dict[str, str] = {}
    options: dict[str, Any] = {}
    ignored: list[str] = []
    for flag in _FLAG.finditer(text):
        ours = _A1111.get(flag["name"].lower())
        value = _unquoted(flag["value"] or "")
        if (name := flag["name"].lower()) in OPTIONS and value:
            options[OPTIONS[name]] = _number(value)
        elif ours is None or not value:
            ignored.append(flag[0].strip())
        elif ours == "n" and "n" in found and value.isdigit() and found["n"].isdigit():
            found["n"] = str(int(found["n"][:6]) * int(value[:6]))
        else:
            found[ours] = value
    if "width" in found and "height" in found:
        found["size"] = f"{found.pop('width')}x{found.pop('height')}"
    ignored += [f"--{side} {found.pop(side)}" for side in ("width", "height") if side in found]
    return Flagged(found.pop("prompt", ""), found, " ".join(ignored), options)


def _number(value: str) -> int | float | str:
    """A number where it is one, so that services take it."""
    if re.fullmatch(r"\d{1,9}", value):
        return int(value)
    return float(value) if re.fullmatch(r"\d{1,9}\.\d{1,9}", value) else value


def _known(name: str) -> bool:
    plain = name.lower()
    return plain in MIDJOURNEY or plain in SET_ASIDE or plain in OPTIONS


def _after_name(written: str) -> str:
    parts = re.split(r"[\s=]+", written, maxsplit=1)
    return parts[1] if len(parts) > 1 else ""


def _unquoted(value: str) -> str:
    value = value.strip()
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value
