"""OpenTelemetry spans of pictures: one span a picture, its phases as children. The extra ``otel``.

``picture`` from the first submit to the outcome, with children ``submit``, ``queued``, ``run``,
``unseen``, ``download`` for each of its tries. Written when the outcome is there, with the
moments that the events carried, in nominal time. Where spans go is the caller's or the
environment's matter (an SDK with an exporter); without one nothing happens. No prompt and
nothing of a key is an attribute.

May import: engine, errors, events.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import BadSettings
from .events import Done, Downloaded, Ended, Event, Running, Submitted, Worked

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
    """One watcher that writes spans. Raises BadSettings where the extra is not installed."""

    provider: Any = None
    """A TracerProvider; None: the process's own."""
    _open: dict[Picture, _Open] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            from opentelemetry import trace
        except ImportError as error:
            raise BadSettings(
                "追踪需要附加部分：pip install 'redloom[otel]'。",
                "Traces need an extra: pip install 'redloom[otel]'.",
            ) from error
        self._trace = trace
        self._tracer = trace.get_tracer("redloom", tracer_provider=self.provider)

    def watch(self, engine: Engine) -> Callable[[], None]:
        """Trace ``engine`` from now on; returns the way to stop."""
        return engine.stream_of_events.watch(self)

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


def _key(event: Submitted | Running | Worked | Downloaded | Done) -> Picture:
    return event.run, event.row, event.take


def _nano(moment: float) -> int:
    return int(moment * 1e9)
