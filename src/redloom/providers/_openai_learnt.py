"""What a service refused, parameter by parameter: learnt from its own words, kept while we run.

A relay's parameters are not known before it is asked. A refusal that names one of them teaches
something (leave it out, take one of these sizes, ask by ratio), and the request may go again,
because a request that was refused was not bought.

May import: endpoint, lang.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from redloom.endpoint import Size
from redloom.lang import Text

from ._openai_vendors import Sizing
from ._voice import Said

NEVER = frozenset({"model", "prompt", "messages"})
"""Without these there is no request."""
SIZE_NAMES = frozenset({"size", "image_size", "width", "height", "aspect_ratio"})
_SIZE = re.compile(r"(?<!\d)(\d{3,5})\s*[x×*]\s*(\d{3,5})(?!\d)")
_RATIO = re.compile(r"(?<![\d.:])(\d{1,2}:\d{1,2})(?![\d:])")
_QUOTED = re.compile(r"['\"`“‘]([a-z0-9_-]{2,20})['\"`”’]", re.IGNORECASE)
_WANTS_RATIO = re.compile(r"aspect[_ -]?ratio|宽高比|比例", re.IGNORECASE)
_RATIOS = ("1:1", "3:4", "4:3", "9:16", "16:9", "2:3", "3:2")


@dataclass(slots=True)
class Learnt:
    """What one endpoint was found to take. Empty: nothing has been refused yet."""

    refused: set[str] = field(default_factory=set)
    values: dict[str, str] = field(default_factory=dict)
    sizes: tuple[Size, ...] = ()
    ratios: tuple[str, ...] = ()
    sizing: Sizing | None = None
    root: str = ""
    """Another root of the path, tried after the first was not there."""
    edits: bool = True
    """Whether references go to an endpoint of their own; False: into the JSON."""
    lessons: int = 0
    """How many there were: a request sent before the last one may be in need of it."""

    def learn(self, said: Said, parameter: str, sent: Mapping[str, object]) -> Text | None:
        """Take a refusal in; what was learnt, or None where it teaches nothing new.

        ``parameter`` is the one that the service names in a field of its own, if it does.
        """
        lesson = self._lesson(said, parameter, sent)
        self.lessons += lesson is not None
        return lesson

    def _lesson(self, said: Said, parameter: str, sent: Mapping[str, object]) -> Text | None:
        name = self._named(said, parameter, sent)
        if not name:
            return None
        if name in SIZE_NAMES:
            return self._size(said, name, sent)
        if (other := self._other_value(said, name, sent)) is not None:
            self.values[name] = other
            return _WANTS.format(name=name, value=other)
        if name in self.refused:
            return None
        self.refused.add(name)
        self.values.pop(name, None)
        return _LEFT_OUT.format(name=name)

    def _named(self, said: Said, parameter: str, sent: Mapping[str, object]) -> str:
        """Which of the parameters sent is meant."""
        names = [name for name in sent if name not in NEVER]
        if parameter in names:
            return parameter
        message = said.message
        found = [n for n in names if re.search(rf"(?<![a-z_]){re.escape(n)}(?![a-z_])", message)]
        if found:
            return max(found, key=len)
        asked_by_size = any(name in SIZE_NAMES for name in names)
        return "size" if asked_by_size and _WANTS_RATIO.search(message) else ""

    def _size(self, said: Said, name: str, sent: Mapping[str, object]) -> Text | None:
        before = (self.sizes, self.ratios, self.sizing)
        listed = [(int(w), int(h)) for w, h in _SIZE.findall(said.message)]
        asked = {(int(w), int(h)) for w, h in _SIZE.findall(str(sent.get(name, "")))}
        sizes = tuple(dict.fromkeys(size for size in listed if size not in asked))
        ratios = tuple(dict.fromkeys(_RATIO.findall(said.message)))
        if sizes:
            self.sizes = sizes
            text = _SIZES
        elif name != "aspect_ratio" and (ratios or _WANTS_RATIO.search(said.message)):
            self.sizing, self.ratios = "ratio", ratios or _RATIOS
            text = _BY_RATIO
        elif name == "aspect_ratio" and ratios and ratios != self.ratios:
            self.ratios = ratios
            text = _BY_RATIO
        else:
            self.sizing = "none"
            text = _NO_SIZE
        return text if (self.sizes, self.ratios, self.sizing) != before else None

    def _other_value(self, said: Said, name: str, sent: Mapping[str, object]) -> str | None:
        """A value that the refusal offers in the place of the one sent; tried once."""
        value = sent[name]
        if name in self.values or not isinstance(value, str):
            return None
        offered = [word for word in _QUOTED.findall(said.message) if word not in (name, value)]
        known = _KNOWN_VALUES.get(name, ())
        return next((word for word in known if word in offered and word != value), None)


_KNOWN_VALUES = {
    "response_format": ("b64_json", "url"),
    "quality": ("medium", "standard", "auto", "high", "hd", "low"),
    "output_format": ("png", "jpeg", "webp"),
}
_LEFT_OUT = Text(
    "这家服务不收参数 {name}，从现在起不再发送；没有花钱，马上再问。",
    "This service does not take the parameter {name}; it is left out from now on. Nothing was "
    "spent, it is asked again at once.",
)
_WANTS = Text(
    "这家服务要 {name}={value}，照办；没有花钱，马上再问。",
    "This service wants {name}={value}, and gets it. Nothing was spent, it is asked again at once.",
)
_SIZES = Text(
    "这家服务只收它列出的尺寸，改用最接近的；没有花钱，马上再问。",
    "This service takes only the sizes that it lists; the nearest is used. Nothing was spent, it "
    "is asked again at once.",
)
_BY_RATIO = Text(
    "这家服务要宽高比而不是尺寸，照办；没有花钱，马上再问。",
    "This service wants a ratio in the place of a size, and gets it. Nothing was spent, it is "
    "asked again at once.",
)
_NO_SIZE = Text(
    "这家服务不收尺寸，由它自己决定；没有花钱，马上再问。",
    "This service takes no size and decides by itself. Nothing was spent, it is asked again at "
    "once.",
)
