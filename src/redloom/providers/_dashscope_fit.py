"""A request as one DashScope model takes it: what is changed and said, refused, or sent.

May import: endpoint, errors, lang.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from redloom.endpoint import Asked, Fitted
from redloom.errors import Refused
from redloom.lang import Text

from ._dashscope_models import (
    IMAGE2IMAGE,
    NEGATIVE_CHARACTERS,
    SEED_MAX,
    TEXT2IMAGE,
    Model,
    Ratios,
)
from ._dashscope_sizes import nearest, nearest_ratio


def fit(table: Model, asked: Asked) -> Fitted:
    """The request as the model accepts it; every change is named in the notes.

    Raises Refused for what the service would cut silently or could never make.
    """
    _refuse_words(table, asked)
    _refuse_references(table, asked)
    asked, notes = _fit_size(table, asked)
    if asked.seed is not None and not 0 <= asked.seed <= SEED_MAX:
        asked, note = _fit_seed(asked, asked.seed)
        notes.append(note)
    if asked.negative_prompt and not table.negative:
        asked = replace(asked, negative_prompt="")
        notes.append(_NO_NEGATIVE.format(model=table.name))
    left = [name for name in asked.options if table.known and name not in takes(table)]
    if left:
        options = {key: value for key, value in asked.options.items() if key not in left}
        asked = replace(asked, options=options)
        notes.append(_NO_OPTION.format(model=table.name, names=", ".join(sorted(left))))
    return Fitted(asked, tuple(notes))


def takes(table: Model) -> frozenset[str]:
    """The options that a request to the model may hold."""
    names = {*table.options}
    if table.extends:
        names.add("prompt_extend")
    if table.watermark:
        names.add("watermark")
    if isinstance(table.rule, Ratios):
        names.update(("aspect_ratio", "resolution"))
    return frozenset(names)


def is_on(value: object) -> bool:
    """A switch from TOML, CSV or a command line."""
    if isinstance(value, str):
        return value.strip().lower() in ("true", "1", "yes", "on")
    return bool(value)


_NO_NEGATIVE = Text(
    "模型 {model} 不支持负向提示词，已略去。",
    "The model {model} takes no negative prompt; it was left out.",
)
_NO_OPTION = Text(
    "模型 {model} 不支持的选项已略去：{names}。",
    "Options that the model {model} does not take were left out: {names}.",
)
_TOO_LONG = Text(
    "{what}有 {length} 个字符，模型 {model} 最多 {limit} 个，多出的会被服务悄悄截掉；"
    "没有发出，没有花钱，请缩短。",
    "The {what} has {length} characters, the model {model} takes {limit} and would silently cut "
    "the rest; nothing was sent or spent, please shorten it.",
)


def _refuse_words(table: Model, asked: Asked) -> None:
    if not asked.prompt.strip():
        raise Refused(
            "提示词是空的；没有发出，没有花钱。", "The prompt is empty; nothing was sent or spent."
        )
    limits = (
        ("提示词", "prompt", asked.prompt, table.characters),
        ("负向提示词", "negative prompt", asked.negative_prompt, NEGATIVE_CHARACTERS),
    )
    for zh, en, words, limit in limits:
        if limit is not None and len(words) > limit:
            told = {"length": len(words), "model": table.name, "limit": limit}
            raise Refused(
                _TOO_LONG.zh.format(what=zh, **told), _TOO_LONG.en.format(what=en, **told)
            )


def _refuse_references(table: Model, asked: Asked) -> None:
    count = len(asked.references)
    if count > table.references:
        raise Refused(
            f"模型 {table.name} 最多用 {table.references} 张参考图，这里有 {count} 张；"
            "没有发出，没有花钱。",
            f"The model {table.name} takes at most {table.references} reference pictures, "
            f"{count} were given; nothing was sent or spent.",
        )
    if count < table.references_needed:
        raise Refused(
            f"模型 {table.name} 至少要 {table.references_needed} 张参考图；没有发出，没有花钱。",
            f"The model {table.name} needs at least {table.references_needed} reference picture; "
            "nothing was sent or spent.",
        )


def _fit_size(table: Model, asked: Asked) -> tuple[Asked, list[Text]]:
    if isinstance(table.rule, Ratios):
        return _fit_ratio(table.name, table.rule, asked)
    if table.edits:
        return _without_size(table.name, asked)
    size = asked.size or (table.sizes[0] if table.sizes else None)
    if size is None:
        return asked, []
    fitted = nearest(table, size)
    if fitted == size:
        return replace(asked, size=fitted), []
    note = Text(
        "{model} 不做 {asked}，改用最接近的 {fitted}。",
        "{model} does not make {asked}; the nearest, {fitted}, is used.",
    ).format(model=table.name, asked=_by(size), fitted=_by(fitted))
    return replace(asked, size=fitted), [note]


def _without_size(name: str, asked: Asked) -> tuple[Asked, list[Text]]:
    """An editing model keeps the size of its base picture."""
    if asked.size is None:
        return asked, []
    note = Text(
        "{model} 出图与参考图同尺寸，已略去 {asked}。",
        "{model} keeps its reference's size; {asked} was left out.",
    ).format(model=name, asked=_by(asked.size))
    return replace(asked, size=None), [note]


def _fit_ratio(name: str, rule: Ratios, asked: Asked) -> tuple[Asked, list[Text]]:
    if asked.size is None:
        return asked, []
    ratio = nearest_ratio(rule.names, asked.size)
    resolution = str(asked.options.get("resolution") or rule.resolutions[0])
    note = Text(
        "{model} 只按比例出图：{asked} 改为 {ratio}（{resolution}）。",
        "{model} makes pictures by ratio only: {asked} becomes {ratio} ({resolution}).",
    ).format(model=name, asked=_by(asked.size), ratio=ratio, resolution=resolution)
    options = {**asked.options, "aspect_ratio": ratio, "resolution": resolution}
    return replace(asked, size=None, options=options), [note]


def _fit_seed(asked: Asked, seed: int) -> tuple[Asked, Text]:
    """A negative seed means a random one, as elsewhere; a large one is folded into the range."""
    fitted = None if seed < 0 else seed % (SEED_MAX + 1)
    note = Text(
        "种子 {seed} 不在 0…{most} 之内，改用 {fitted}。",
        "The seed {seed} lies outside 0…{most}; {fitted} is used.",
    ).format(seed=seed, most=SEED_MAX, fitted="—" if fitted is None else fitted)
    return replace(asked, seed=fitted), note


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


def body_of(
    table: Model,
    path: str,
    asked: Asked,
    references: Sequence[str],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """The create call's body. ``n`` is always sent: its default is 4, and each one is billed."""
    parameters: dict[str, Any] = {"n": 1}
    if asked.size is not None:
        parameters["size"] = f"{asked.size[0]}*{asked.size[1]}"
    if asked.seed is not None:
        parameters["seed"] = asked.seed
    switches = {"prompt_extend": table.extends, "watermark": table.watermark}
    for name, taken in switches.items():
        if taken:
            parameters[name] = is_on(options.get(name))
    parameters.update({key: value for key, value in options.items() if key not in _FIXED})
    if path in (TEXT2IMAGE, IMAGE2IMAGE):
        words = _old_input(table, path, asked, references)
        if table.edits:
            words["function"] = parameters.pop("function", table.edits)
    else:
        content: list[dict[str, str]] = [{"text": asked.prompt}]
        content += [{"image": item} for item in references]
        words = {"messages": [{"role": "user", "content": content}]}
        if asked.negative_prompt:
            parameters["negative_prompt"] = asked.negative_prompt
    return {"model": table.name, "input": words, "parameters": parameters}


_FIXED = frozenset({"n", "size", "seed", "prompt_extend", "watermark", "negative_prompt"})
"""Parameters that no option may set: they are decided elsewhere, ``n`` because it costs."""


def _old_input(table: Model, path: str, asked: Asked, references: Sequence[str]) -> dict[str, Any]:
    words: dict[str, Any] = {"prompt": asked.prompt}
    if asked.negative_prompt:
        words["negative_prompt"] = asked.negative_prompt
    if table.edits:
        words["base_image_url"] = references[0]
    elif path == IMAGE2IMAGE:
        words["images"] = list(references)
    elif references:
        words["ref_img"] = references[0]
    return words
