"""What ComfyUI's refusals and failures mean for the next step: tables and their reading.

``POST /prompt`` refuses a graph with 400, ``error`` and ``node_errors``; a graph that was taken
and failed has an ``execution_error`` message in its history (ComfyUI's server.py and
execution.py; docs.comfy.org, "Server messages"). Nothing here costs money.

May import: errors, lang.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from redloom.errors import (
    AnswerLost,
    KeyRefused,
    NotAllowed,
    Refused,
    ServiceError,
    TaskFailed,
    Throttled,
    Unavailable,
)
from redloom.lang import Text

Kind = Literal["refused", "closed", "unavailable"]

CODES: dict[str, Kind] = {
    # of the graph
    "no_prompt": "refused",
    "invalid_prompt": "refused",
    "prompt_no_outputs": "refused",
    "prompt_outputs_failed_validation": "refused",
    "missing_node_type": "closed",
    # of one node
    "required_input_missing": "refused",
    "bad_linked_input": "refused",
    "return_type_mismatch": "refused",
    "invalid_input_type": "refused",
    "value_smaller_than_min": "refused",
    "value_bigger_than_max": "refused",
    "value_not_in_list": "refused",
    "custom_validation_failed": "refused",
    "exception_during_inner_validation": "refused",
    "exception_during_validation": "refused",
    "dependency_cycle": "refused",
}
_FILES = ("ckpt_name", "unet_name", "vae_name", "clip_name", "lora_name", "model_name")
"""Inputs that name a file in the server's models folder: missing there, missing for every job."""
_HOPELESS = ("TypeError", "KeyError", "ValueError", "AttributeError", "FileNotFoundError")
"""What a node raises for the graph itself: the same graph fails the same way."""


class Told(NamedTuple):
    """A refusal in ComfyUI's own words."""

    code: str
    message: str
    entry: str = ""
    """The input that a node complained of."""


def told(body: Mapping[str, Any] | None) -> Told | None:
    """What a 400 says: the first node's own error where there is one, else the graph's."""
    if body is None:
        return None
    error = body.get("error")
    nodes = list(_node_errors(body))
    if nodes:
        return nodes[0]
    if isinstance(error, Mapping):
        words = ": ".join(str(error[k]) for k in ("message", "details") if error.get(k))
        return Told(str(error.get("type") or "invalid_prompt")[:80], words[:300])
    return Told("invalid_prompt", error[:300]) if isinstance(error, str) else None


def objects(value: object) -> list[Mapping[str, Any]]:
    """The objects of a list; of anything else none."""
    rows = value if isinstance(value, list) else []
    return [row for row in rows if isinstance(row, Mapping)]


def _node_errors(body: Mapping[str, Any]) -> Iterator[Told]:
    nodes = body.get("node_errors")
    for key, node in nodes.items() if isinstance(nodes, Mapping) else ():
        for error in objects(node.get("errors")) if isinstance(node, Mapping) else ():
            details = str(error.get("details") or error.get("message") or "")
            more = error.get("extra_info")
            named = more.get("input_name") if isinstance(more, Mapping) else None
            entry = str(named or details.split(":")[0])
            place = f"{node.get('class_type', '?')} {key}"
            code = str(error.get("type") or "")[:80]
            yield Told(code, f"{place}: {details}"[:300], entry)


def submit_error(
    status: int, body: Mapping[str, Any] | None, where: str, retry_after_s: float | None
) -> ServiceError:
    """What to raise for a ``POST /prompt`` that was not taken.

    The graph is queued as the last thing before the answer, so a 500 took nothing; 502 and 504
    come from a proxy in front, which cannot know.
    """
    if status in (502, 504) or status < 400:
        return _made(AnswerLost, _LOST, where, f"HTTP {status}")
    if status in (401, 403):
        return _made(KeyRefused, _KEY, where, f"HTTP {status}")
    if status in (404, 405):
        return _made(NotAllowed, _NOT_COMFYUI, where, f"HTTP {status}")
    if status == 429:
        zh, en = _SLOW.format(where=where)
        return Throttled(zh, en, retry_after_s=retry_after_s)
    error = told(body)
    if status >= 500 or error is None:
        zh, en = _UNAVAILABLE.format(where=where, said=f"HTTP {status}")
        return Unavailable(zh, en, retry_after_s=retry_after_s)
    if kind_of(error) == "closed":
        return _made(NotAllowed, _MISSING, where, error.message, error.code)
    return _made(Refused, _REFUSED, where, error.message, error.code)


def kind_of(error: Told) -> Kind:
    """What a refusal means; an unknown one is the graph's own fault."""
    if error.code == "value_not_in_list" and error.entry in _FILES:
        return "closed"
    return CODES.get(error.code, "refused")


def task_error(data: Mapping[str, Any], where: str) -> TaskFailed:
    """What an ``execution_error`` means: another try may help, except for a fault of the graph."""
    kind = str(data.get("exception_type") or "").rsplit(".", 1)[-1][:80]
    words = str(data.get("exception_message") or "").strip().split("\n")[0][:200]
    said = f"{data.get('node_type', '?')}"[:80] + f": {words}".rstrip(": ")
    memory = "OutOfMemory" in kind or "out of memory" in words.lower()
    zh, en = (_MEMORY if memory else _FAILED).format(where=where, said=said)
    return TaskFailed(zh, en, retry=kind not in _HOPELESS, service_code=kind or "execution_error")


def no_picture(where: str) -> TaskFailed:
    """A graph that ended well and saved nothing."""
    zh, en = _NO_PICTURE.format(where=where)
    return TaskFailed(zh, en, retry=False, service_code="no_output")


def forgotten(where: str) -> TaskFailed:
    """A graph that is in neither queue nor history: the server was started again."""
    zh, en = _GONE.format(where=where)
    return TaskFailed(zh, en, service_code="forgotten")


def _made(
    kind: type[ServiceError], text: Text, where: str, said: str, code: str = ""
) -> ServiceError:
    zh, en = text.format(where=where, said=said)
    return kind(zh, en, service_code=code)


_LOST = Text(
    "ComfyUI（{where}）的回答没有到（{said}）；图可能在做，先核对，不会重复提交。",
    "No answer came from ComfyUI at {where} ({said}); the picture may be in the making, so it is "
    "looked for before anything is sent again.",
)
_KEY = Text(
    "ComfyUI（{where}）前面的登录没有通过（{said}）；没有花钱。请检查 COMFYUI_API_KEY。",
    "The login in front of ComfyUI at {where} failed ({said}); nothing was spent. Check "
    "COMFYUI_API_KEY.",
)
_NOT_COMFYUI = Text(
    "{where} 不像是 ComfyUI（{said}）；没有花钱。请检查 COMFYUI_URL。",
    "{where} does not answer like ComfyUI ({said}); nothing was spent. Check COMFYUI_URL.",
)
_SLOW = Text(
    "ComfyUI（{where}）前面的代理要求放慢；没有花钱，等一等自动继续。",
    "The proxy in front of ComfyUI at {where} asks to slow down; nothing was spent, it goes on by "
    "itself.",
)
_UNAVAILABLE = Text(
    "ComfyUI（{where}）暂时不能服务（{said}）；没有花钱，稍后再试。",
    "ComfyUI at {where} cannot serve just now ({said}); nothing was spent, it is asked again later.",
)
_MISSING = Text(
    "ComfyUI（{where}）缺少工作流要用的模型或节点（{said}）；没有花钱。请装上后再 resume。",
    "ComfyUI at {where} lacks a model or node that the workflow uses ({said}); nothing was spent. "
    "Install it, then resume.",
)
_REFUSED = Text(
    "ComfyUI（{where}）不接受这个工作流（{said}）；没有花钱，请改工作流或参数。",
    "ComfyUI at {where} does not accept the workflow ({said}); nothing was spent. Change the "
    "workflow or its values.",
)
_MEMORY = Text(
    "ComfyUI（{where}）的显存不够（{said}）；不花钱。请改小尺寸，或关掉占显存的程序。",
    "ComfyUI at {where} ran out of GPU memory ({said}); it costs nothing. Make the picture smaller "
    "or close what else uses the GPU.",
)
_FAILED = Text(
    "ComfyUI（{where}）没有做成（{said}）；不花钱。",
    "ComfyUI at {where} failed to make the picture ({said}); it costs nothing.",
)
_NO_PICTURE = Text(
    "ComfyUI（{where}）做完了工作流，却没有存图；不花钱。请在工作流里加上 SaveImage。",
    "ComfyUI at {where} finished the workflow without saving a picture; it costs nothing. The "
    "workflow needs a SaveImage node.",
)
_GONE = Text(
    "ComfyUI（{where}）不再认得这个任务，多半重启过；不花钱，会重做。",
    "ComfyUI at {where} no longer knows the task, as after a restart; it costs nothing and is made "
    "again.",
)
