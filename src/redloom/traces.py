"""OpenTelemetry spans of pictures: one span a picture, its phases as children. The extra ``otel``.

``picture`` from the first submit to the outcome, with children ``submit``, ``queued``, ``run``,
``unseen``, ``download`` for each of its tries. Written when the outcome is there, with the
moments that the events carried, in nominal time. Where spans go is the caller's matter, or that
of OpenTelemetry's own environment variables (`from_environment`); without either nothing happens
and nothing is imported. No prompt and nothing of a key is an attribute.

May import: engine, errors, events, lang.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import BadSettings, MissingExtra
from .events import Done, Downloaded, Ended, Event, Running, Submitted, Worked
from .lang import Text

if TYPE_CHECKING:
    from .engine import Engine

Picture = tuple[str, int, int]
Phase = tuple[str, float, float]


@dataclass(slots=True)
class _Open:
    """A picture under way."""

    began: float
    endpoint: str
    task_id: str
    started: float | None = None
    heard: float | None = None
    phases: list[Phase] = field(default_factory=list)


@dataclass(eq=False)
class Traces:
    """One watcher that writes spans. Raises MissingExtra where the extra is not installed."""

    provider: Any = None
    """A TracerProvider; None: the process's own."""
    _open: dict[Picture, _Open] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            from opentelemetry import trace
        except ImportError as error:
            raise _missing() from error
        self._trace = trace
        self._tracer = trace.get_tracer("redloom", tracer_provider=self.provider)

    def watch(self, engine: Engine) -> Callable[[], None]:
        """Trace ``engine`` from now on; returns the way to stop."""
        return engine.stream_of_events.watch(self)

    def close(self) -> None:
        """Send what is left, for at most `FLUSH_MS`. Blocks; for a thread."""
        if self.provider is not None:
            self.provider.force_flush(FLUSH_MS)
            self.provider.shutdown()

    def __call__(self, event: Event) -> None:
        """One event."""
        match event:
            case Submitted():
                self._submitted(event)
            case Running():
                if (one := self._open.get(_key(event))) is not None:
                    one.started = event.at
            case Worked():
                self._worked(event)
            case Downloaded():
                one = self._open.get(_key(event))
                if one is not None and one.heard is not None:
                    one.phases.append(("download", one.heard, event.at))
            case Done():
                self._done(event)
            case Ended():
                for key in [key for key in self._open if key[0] == event.run]:
                    del self._open[key]
            case _:
                pass

    def _submitted(self, event: Submitted) -> None:
        one = self._open.setdefault(_key(event), _Open(event.at, event.endpoint, event.task_id))
        one.endpoint, one.task_id, one.started, one.heard = (
            event.endpoint,
            event.task_id,
            None,
            None,
        )
        one.phases.append(("submit", event.at, event.at))

    def _worked(self, event: Worked) -> None:
        one = self._open.get(_key(event))
        if one is None:
            return
        accepted = one.phases[-1][2]
        started = event.started if event.started is not None else one.started or accepted
        ended = event.ended if event.ended is not None else event.at
        started = max(accepted, started)
        ended = max(started, ended)
        one.phases += [
            ("queued", accepted, started), ("run", started, ended),
            ("unseen", ended, max(ended, event.at)),
        ]  # fmt: skip
        one.heard = event.at

    def _done(self, event: Done) -> None:
        one = self._open.pop(_key(event), None)
        if one is None:
            return
        about = {
            "redloom.row": event.row, "redloom.take": event.take, "redloom.status": event.status,
            "redloom.endpoint": one.endpoint, "redloom.task_id": one.task_id, "redloom.code": event.code,
        }  # fmt: skip
        span = self._tracer.start_span("picture", start_time=_nano(one.began), attributes=about)
        inside = self._trace.set_span_in_context(span)
        for name, since, until in one.phases:
            child = self._tracer.start_span(name, context=inside, start_time=_nano(since))
            child.end(_nano(max(since, until)))
        span.end(_nano(max(event.at, *(until for _, _, until in one.phases))))


_SENT_TO = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
FLUSH_MS = 5000
"""Real milliseconds that the last spans get to reach their collector."""


def wanted(environment: Mapping[str, str] = os.environ) -> str:
    """The exporter that OpenTelemetry's variables name; empty where nobody wants traces.

    ``OTEL_TRACES_EXPORTER`` has it; an address alone means ``otlp``, the specification's default.
    (The specification would export to localhost with no variable at all; we do not.)
    """
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return ""
    named = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if not named and any(environment.get(name) for name in _SENT_TO):
        return "otlp"
    return "" if named == "none" else named


def from_environment(environment: Mapping[str, str] = os.environ) -> Traces | None:
    """A watcher with a provider of its own as the variables want it; None where they want none.

    Raises MissingExtra, or BadSettings for an exporter that is not there. `Traces.close` sends
    what is left.
    """
    name = wanted(environment)
    if not name:
        return None
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise _missing() from error
    told = environment.get("OTEL_SERVICE_NAME") or "service.name=" in environment.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    resource = Resource.create({} if told else {"service.name": "redloom"})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_exporter(name, environment)))
    return Traces(provider)


def _exporter(name: str, environment: Mapping[str, str]) -> Any:
    """The exporter of that name, among those that are installed."""
    from importlib.metadata import entry_points

    if name == "console":  # standard output is the command's own
        import sys

        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(out=sys.stderr)
    spoken = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", ""
    )
    entry = name if name != "otlp" else f"otlp_proto_{'grpc' if spoken == 'grpc' else 'http'}"
    try:
        (found, *_) = entry_points(group="opentelemetry_traces_exporter", name=entry)
        made = found.load()
    except (ValueError, ImportError) as error:
        if entry == "otlp_proto_http":
            raise _missing() from error
        raise BadSettings(
            f"没有名为 {name} 的追踪导出器（OTEL_TRACES_EXPORTER）。可用 otlp、console、none，或先安装提供它的包。没有花钱。",
            f"There is no trace exporter called {name} (OTEL_TRACES_EXPORTER). Use otlp, console or none, "
            "or install the package that brings it. Nothing was spent.",
        ) from error
    return made()


def _missing() -> MissingExtra:
    return MissingExtra("otel", Text("追踪", "Traces"))


def _key(event: Submitted | Running | Worked | Downloaded | Done) -> Picture:
    return event.run, event.row, event.take


def _nano(moment: float) -> int:
    return int(moment * 1e9)
