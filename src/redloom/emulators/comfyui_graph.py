"""Reading a graph as ComfyUI's executor does: is it valid, what is it a picture of, how large.

May import: nothing of the package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

CHECKPOINTS = ("sd_xl_base_1.0.safetensors", "flux1-schnell.safetensors")
OUTPUTS = ("SaveImage", "PreviewImage")
_REQUIRED = {
    "CheckpointLoaderSimple": ("ckpt_name",),
    "CLIPTextEncode": ("text", "clip"),
    "EmptyLatentImage": ("width", "height", "batch_size"),
    "KSampler": ("model", "seed", "steps", "cfg", "positive", "negative", "latent_image"),
    "VAEDecode": ("samples", "vae"),
    "SaveImage": ("images",),
    "LoadImage": ("image",),
}
_SIDE = (16, 16384)


class Wanted(NamedTuple):
    """What a graph makes."""

    prompt: str
    size: tuple[int, int]
    seed: int | None
    steps: int
    n: int
    saves: tuple[str, ...]
    """The nodes that give pictures out."""
    model: str


def refusal(graph: object, uploads: set[str]) -> dict[str, Any] | None:
    """The body of the 400 that a bad graph gets; None for a good one."""
    if not isinstance(graph, Mapping) or not graph:
        return _error("no_prompt", "No prompt provided", "")
    for key, node in graph.items():
        if not isinstance(node, Mapping) or "class_type" not in node:
            return _error(
                "invalid_prompt",
                "Cannot execute because a node is missing the class_type property.",
                f"Node ID '#{key}'",
            )
        if str(node["class_type"]).startswith("Missing"):
            return _error(
                "missing_node_type",
                f"Node '{node['class_type']}' not found. The custom node may not be installed.",
                f"Node ID '#{key}'",
            )
    if not any(node["class_type"] in OUTPUTS for node in graph.values()):
        return _error("prompt_no_outputs", "Prompt has no outputs", "")
    wrong = {key: found for key, node in graph.items() if (found := _wrong(graph, node, uploads))}
    if not wrong:
        return None
    body = _error("prompt_outputs_failed_validation", "Prompt outputs failed validation", "")
    body["node_errors"] = {
        key: {"errors": errors, "dependent_outputs": [], "class_type": graph[key]["class_type"]}
        for key, errors in wrong.items()
    }
    return body


def _error(kind: str, message: str, details: str) -> dict[str, Any]:
    error = {"type": kind, "message": message, "details": details, "extra_info": {}}
    return {"error": error, "node_errors": {}}


def _wrong(
    graph: Mapping[str, Any], node: Mapping[str, Any], uploads: set[str]
) -> list[dict[str, Any]]:
    inputs = node.get("inputs", {})
    found = []

    def say(kind: str, message: str, details: str, name: str) -> None:
        extra = {"input_name": name}
        found.append({"type": kind, "message": message, "details": details, "extra_info": extra})

    for name in _REQUIRED.get(node["class_type"], ()):
        if name not in inputs:
            say("required_input_missing", "Required input is missing", name, name)
    for name, value in inputs.items():
        if isinstance(value, list) and str(value[0]) not in graph:
            say(
                "bad_linked_input",
                "Bad linked input, must be a length-2 list of [node_id, slot_index]",
                name,
                name,
            )
        elif name == "ckpt_name" and value not in CHECKPOINTS:
            say(
                "value_not_in_list",
                "Value not in list",
                f"{name}: '{value}' not in {list(CHECKPOINTS)}",
                name,
            )
        elif name in ("width", "height"):
            _side(name, value, say)
    if node["class_type"] == "LoadImage" and inputs.get("image") not in uploads:
        details = f"image - Invalid image file: {inputs.get('image')}"
        say("custom_validation_failed", "Custom validation failed for node", details, "image")
    return found


def _side(name: str, value: Any, say: Any) -> None:
    if isinstance(value, list):
        return
    try:
        side = int(value)
    except (TypeError, ValueError):
        say(
            "invalid_input_type",
            "Failed to convert an input value to a INT value",
            f"{name}, {value}",
            name,
        )
        return
    if side < _SIDE[0]:
        say("value_smaller_than_min", f"Value {side} smaller than min of {_SIDE[0]}", name, name)
    elif side > _SIDE[1]:
        say("value_bigger_than_max", f"Value {side} bigger than max of {_SIDE[1]}", name, name)


def read(graph: Mapping[str, Any]) -> Wanted:
    """What a valid graph makes, in the way of a sampler: its words, its latent, its seed."""
    sampler = _first(graph, "positive") or {}
    latent = _first(graph, "batch_size") or {}
    words = _words(graph, sampler.get("positive")) or next(
        (
            n["inputs"]["text"]
            for n in graph.values()
            if isinstance(n.get("inputs", {}).get("text"), str)
        ),
        "",
    )
    size = (_whole(graph, latent.get("width"), 512), _whole(graph, latent.get("height"), 512))
    seed = sampler.get("seed")
    return Wanted(
        words, size, int(seed) if isinstance(seed, int | float) else None,
        int(sampler.get("steps") or 20), int(latent.get("batch_size") or 1),
        tuple(key for key, node in graph.items() if node["class_type"] in OUTPUTS),
        str((_first(graph, "ckpt_name") or {}).get("ckpt_name", "")),
    )  # fmt: skip


def _whole(graph: Mapping[str, Any], value: Any, otherwise: int) -> int:
    """A number, or that of the primitive node which the input is linked to."""
    if isinstance(value, list):
        value = graph[str(value[0])]["inputs"].get("value")
    return otherwise if value is None else int(value)


def _first(graph: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    return next((n["inputs"] for n in graph.values() if name in n.get("inputs", {})), None)


def _words(graph: Mapping[str, Any], link: object) -> str:
    seen: set[str] = set()
    while isinstance(link, list) and str(link[0]) not in seen:
        seen.add(str(link[0]))
        inputs = graph[str(link[0])]["inputs"]
        if isinstance(inputs.get("text"), str):
            return str(inputs["text"])
        link = inputs.get("conditioning") or inputs.get("text")
    return ""
