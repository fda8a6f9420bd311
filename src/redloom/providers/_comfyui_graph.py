"""ComfyUI's workflows in API format: where the prompt, the seed and the size go in a graph.

A graph is ``{node id: {"class_type", "inputs"}}``; an input is a value or a link
``[node id, output number]`` (docs.comfy.org, "Workflow API format"). A value's place is found in
this order: ``{prompt}``-like placeholders in the graph's own strings; the endpoint's ``nodes``
option (``{"prompt": "6.text"}``); the graph itself, by following a sampler's links.

May import: errors, lang.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from redloom.errors import BadSettings

ROLES = ("prompt", "negative", "seed", "width", "height", "model", "steps", "cfg")
_BY_NAME = {
    "seed": ("seed", "noise_seed"),
    "steps": ("steps",),
    "cfg": ("cfg", "guidance"),
}
_MODEL_NAMES = ("ckpt_name", "unet_name", "model_name")
_WORDS = ("text", "prompt", "text_g", "text_l", "clip_l", "clip_g", "t5xxl", "string", "value")
_NOT_WORDS = frozenset({"model", "clip", "vae", "latent_image", "negative", "noise", "sigmas"})
_IMAGE = re.compile(r"image(\d*)")
_PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
Graph = dict[str, dict[str, Any]]

BUILT_IN: Graph = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "{model}"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "{prompt}", "clip": ["1", 1]}},
    "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "{negative}", "clip": ["1", 1]}},
    "4": {
        "class_type": "EmptyLatentImage",
        "inputs": {"width": "{width}", "height": "{height}", "batch_size": 1},
    },
    "5": {
        "class_type": "KSampler",
        "inputs": {
            "model": ["1", 0],
            "positive": ["2", 0],
            "negative": ["3", 0],
            "latent_image": ["4", 0],
            "seed": "{seed}",
            "steps": "{steps}",
            "cfg": "{cfg}",
            "sampler_name": "{sampler_name}",
            "scheduler": "{scheduler}",
            "denoise": 1.0,
        },
    },
    "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
    "7": {
        "class_type": "SaveImage",
        "inputs": {"images": ["6", 0], "filename_prefix": "redloom"},
    },
}
"""What is asked for where no workflow is named: one checkpoint, one sampler, one picture."""

BUILT_IN_VALUES: Mapping[str, Any] = {
    "steps": 25, "cfg": 6.5, "sampler_name": "dpmpp_2m", "scheduler": "karras",
    "width": 1024, "height": 1024,
}  # fmt: skip


class Place(NamedTuple):
    """An input of a node."""

    node: str
    name: str


@dataclass(frozen=True, slots=True)
class Workflow:
    """A graph, and where each value goes in it."""

    graph: Graph
    places: Mapping[str, tuple[Place, ...]] = field(default_factory=dict)
    words: frozenset[str] = frozenset()
    """Names in braces that stand in the graph."""
    output: str = ""
    """The node whose pictures count; empty: any that saves."""
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def takes(self, role: str) -> bool:
        """Whether a value of this name has a place."""
        return role in self.words or bool(self.places.get(role))

    @property
    def images(self) -> int:
        """How many reference pictures it takes."""
        named = sum(1 for word in self.words if _IMAGE.fullmatch(word))
        return named or len(self.places.get("image", ()))

    def filled(
        self, values: Mapping[str, Any], images: tuple[str, ...] = (), mark: str = ""
    ) -> Graph:
        """The graph to be sent. ``mark`` makes its saved files new ones.

        A graph that ComfyUI has carried out before is answered from its cache and saves
        nothing; another file name makes it save again.
        """
        graph = copy.deepcopy(self.graph)
        known = {**self.defaults, **values, **self._images(images)}
        for node in graph.values():
            for name, value in node["inputs"].items():
                if isinstance(value, str):
                    node["inputs"][name] = _replaced(value, known)
        for role, places in self.places.items():
            given = known.get(role) if role != "image" else None
            for number, place in enumerate(places):
                told = given if role != "image" else dict(enumerate(images)).get(number)
                if told is not None:
                    graph[place.node]["inputs"][place.name] = told
        if mark:
            _mark(graph, mark)
        return graph

    def _images(self, images: tuple[str, ...]) -> dict[str, str]:
        named = {f"image{number}": image for number, image in enumerate(images, 1)}
        return {**named, "image": images[0]} if images else {}


def _replaced(text: str, values: Mapping[str, Any]) -> Any:
    """The text with its placeholders filled in; one that is the whole text keeps its type."""
    whole = _PLACEHOLDER.fullmatch(text)
    if whole and whole[1] in values:
        return values[whole[1]]
    return _PLACEHOLDER.sub(lambda found: str(values.get(found[1], found[0])), text)


def _mark(graph: Graph, mark: str) -> None:
    for node in graph.values():
        prefix = node["inputs"].get("filename_prefix")
        if isinstance(prefix, str):
            node["inputs"]["filename_prefix"] = f"{prefix}_{mark}"


def workflow_of(options: Mapping[str, Any]) -> Workflow:
    """The workflow that an endpoint's options name (``workflow``: a file or the graph itself).

    Raises BadSettings where it cannot be read, is not in API format, or has no place for words.
    """
    named = options.get("workflow")
    if not named:
        return Workflow(BUILT_IN, {}, _words(BUILT_IN), defaults=BUILT_IN_VALUES)
    graph = _checked(named if isinstance(named, Mapping) else _read(str(named)), str(named)[:80])
    words = _words(graph)
    nodes = options.get("nodes")
    told: Mapping[str, Any] = nodes if isinstance(nodes, Mapping) else {}
    places = dict(_named_places(graph, told))
    for role, found in _traced(graph).items():
        if role not in words and role not in places and found:
            places[role] = found
    workflow = Workflow(graph, places, words, str(told.get("output", "")))
    if not workflow.takes("prompt"):
        raise BadSettings(
            f"工作流 {str(named)[:80]} 里找不到放提示词的地方：请在文字处写 {{prompt}}，或用 "
            'nodes = {prompt = "6.text"} 指明。没有花钱。',
            f"The workflow {str(named)[:80]} has no place for the prompt: write {{prompt}} where its "
            'words go, or name the place, nodes = {prompt = "6.text"}. Nothing was spent.',
        )
    return workflow


def _read(named: str) -> Any:
    path = Path(named).expanduser()
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadSettings(
            f"读不了工作流 {path}（{error}）。没有花钱。",
            f"The workflow {path} cannot be read ({error}). Nothing was spent.",
        ) from error


def _checked(value: Any, named: str) -> Graph:
    if isinstance(value, Mapping) and "prompt" in value and "nodes" not in value:
        value = value["prompt"]
    if isinstance(value, Mapping) and isinstance(value.get("nodes"), list):
        raise BadSettings(
            f"{named} 是界面格式的工作流：请在 ComfyUI 里用“导出（API）”另存。没有花钱。",
            f"{named} is a workflow in the editor's format: save it in ComfyUI with “Export (API)”. "
            "Nothing was spent.",
        )
    nodes = isinstance(value, Mapping) and {
        str(key): {**node, "inputs": dict(node.get("inputs") or {})}
        for key, node in value.items()
        if isinstance(node, Mapping)
        and isinstance(node.get("class_type"), str)
        and isinstance(node.get("inputs") or {}, Mapping)
    }
    if not nodes:
        raise BadSettings(
            f"{named} 不是 ComfyUI 的 API 格式工作流。没有花钱。",
            f"{named} is no ComfyUI workflow in API format. Nothing was spent.",
        )
    return nodes


def _words(graph: Graph) -> frozenset[str]:
    return frozenset(
        found[1]
        for node in graph.values()
        for value in node["inputs"].values()
        if isinstance(value, str)
        for found in _PLACEHOLDER.finditer(value)
    )


def _named_places(graph: Graph, told: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Place, ...]]]:
    """The ``nodes`` option: ``role = "id.input"``, or a list of them."""
    for role, names in told.items():
        if role == "output":
            continue
        places = []
        for name in names if isinstance(names, list) else [names]:
            node, _, entry = str(name).rpartition(".")
            if node not in graph or not entry:
                raise BadSettings(
                    f"nodes.{role} = “{name}”：工作流里没有这个节点（写法是 节点号.输入名）。没有花钱。",
                    f"nodes.{role} = “{name}”: the workflow has no such node (write ID.INPUT). "
                    "Nothing was spent.",
                )
            places.append(Place(node, entry))
        yield role, tuple(places)


def _traced(graph: Graph) -> dict[str, tuple[Place, ...]]:
    """Places found by following links: what people export has no placeholders."""
    found: dict[str, tuple[Place, ...]] = {
        role: tuple(_named(graph, names, int | float)) for role, names in _BY_NAME.items()
    }
    positive = _texts(graph, "positive") or _texts(graph, "guider")
    found["prompt"] = tuple(positive)
    # A negative zeroed out from the positive leads to the same words: they stay the prompt's.
    found["negative"] = tuple(p for p in _texts(graph, "negative") if p not in positive)
    latents = [
        key
        for key, node in graph.items()
        if "latent" in node["class_type"].lower() and {"width", "height"} <= set(node["inputs"])
    ]
    for side in ("width", "height"):
        found[side] = tuple(_source(graph, key, side) for key in latents)
    found["model"] = tuple(_named(graph, _MODEL_NAMES, str))[:1]
    found["image"] = tuple(
        Place(key, "image") for key, node in graph.items() if node["class_type"] == "LoadImage"
    )
    return found


def _named(graph: Graph, names: tuple[str, ...], kind: Any) -> Iterator[Place]:
    for key, node in graph.items():
        for name in names:
            if name in node["inputs"]:
                place = _source(graph, key, name)
                value = graph[place.node]["inputs"].get(place.name)
                if isinstance(value, kind) and not isinstance(value, bool):
                    yield place


def _source(graph: Graph, key: str, name: str) -> Place:
    """Where an input's value really stands: a primitive node's, if it is linked to one."""
    value = graph[key]["inputs"].get(name)
    if _is_link(graph, value):
        linked = str(value[0])
        other = graph[linked]["inputs"]
        for inner in ("value", "int", "seed", "number"):
            if inner in other and not _is_link(graph, other[inner]):
                return Place(linked, inner)
    return Place(key, name)


def _is_link(graph: Graph, value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and str(value[0]) in graph


def _texts(graph: Graph, entry: str) -> list[Place]:
    """The text inputs upstream of every link called ``entry``, nearest node first."""
    starts = [
        str(node["inputs"][entry][0])
        for node in graph.values()
        if _is_link(graph, node["inputs"].get(entry))
    ]
    found: list[Place] = []
    for start in starts:
        found += [place for place in _upstream(graph, start) if place not in found]
    return found


def _upstream(graph: Graph, start: str) -> list[Place]:
    queue, seen = [start], {start}
    while queue:
        key = queue.pop(0)
        inputs = graph[key]["inputs"]
        here = [Place(key, name) for name in _WORDS if isinstance(inputs.get(name), str)]
        if here:
            return here
        for name, value in inputs.items():
            if name not in _NOT_WORDS and _is_link(graph, value) and str(value[0]) not in seen:
                seen.add(str(value[0]))
                queue.append(str(value[0]))
    return []
