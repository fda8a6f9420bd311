"""Prometheus metrics of the engine, named after what costs time (docs/metrics.md lists them).

One watcher of the event stream: a slow or failing scrape never slows a run. A surface that
serves ``/metrics`` needs two calls::

    metrics = Metrics()
    stop = metrics.watch(engine)          # from now on; stop() ends it
    body, content_type = metrics.render() # at every scrape

No label holds a prompt, a run's id or anything of a key: endpoints, statuses and kinds only.
May import: clock, events, bound, diary, engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from .bound import Live as LiveBound
from .bound import Place, percent
from .events import (
    Done,
    Doubtful,
    Downloaded,
    Ended,
    Event,
    Held,
    Money,
    Retrying,
    Running,
    Started,
    Stopped,
    Submitted,
    Worked,
)

if TYPE_CHECKING:
    from .engine import Engine

WORK_S = (1, 2, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600)
DELAY_S = (0.1, 0.25, 0.5, 1, 2, 3, 5, 8, 15, 30, 60)
Picture = tuple[str, int, int]


@dataclass(slots=True)
class _Run:
    """A run under way, for the live percentage."""

    began: float
    pending: int
    endpoints: tuple[str, ...]
    bound: LiveBound | None = None


@dataclass(eq=False)
class Metrics:
    """The metrics of one engine, in a registry of their own."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    """Prometheus' own registry of them; another one may be given."""
    _engine: Engine | None = None
    _runs: dict[str, _Run] = field(default_factory=dict)
    _sent: dict[Picture, tuple[str, float]] = field(default_factory=dict)
    """Pictures at a service: where, and since when."""
    _running: dict[Picture, tuple[str, float]] = field(default_factory=dict)
    _spent: dict[str, float] = field(default_factory=dict)
    _idle_at: float = 0.0

    def __post_init__(self) -> None:
        one = ("endpoint",)
        self.pictures = self._counter("pictures", "Wanted pictures by outcome", ("status",))
        self.submits = self._counter("submits", "Tasks accepted by a service", one)
        self.polls = self._counter("polls", "Status queries of finished tasks", one)
        self.throttled = self._counter("throttled", "429s and waits by kind", ("endpoint", "kind"))
        self.retries = self._counter("retries", "Tries that have to be repeated", one)
        self.backoff = self._counter(
            "backoff_seconds", "Pauses before repeats, which hold no slot", one
        )
        self.held = self._counter("held_seconds", "Time an endpoint was not to be asked", one)
        self.doubts = self._counter("in_doubt", "Answers lost; looked for before a repeat", one)
        self.stops = self._counter("stops", "Endpoints that need a person", one)
        self.work = self._histogram("work_seconds", "The service's own working time", WORK_S)
        self.queue_s = self._histogram("queued_seconds", "Queued at the service", WORK_S)
        self.delay = self._histogram(
            "detection_delay_seconds", "From the service's end until we knew", DELAY_S
        )
        self.download = self._histogram("download_seconds", "From knowing to a verified file", DELAY_S)  # fmt: skip
        self.bytes = self._counter("download_bytes", "Bytes of verified pictures", ())
        self.idle = self._counter(
            "idle_slot_seconds", "Slots that stood idle while pictures waited", one
        )
        self.flight = self._gauge("in_flight", "Tasks at a service", one)
        self.run_there = self._gauge("running", "Tasks seen to run at a service", one)
        self.slots = self._gauge("slots", "Tasks that an endpoint runs at once, as known", one)
        self.waiting = self._gauge("queue_pictures", "Wanted pictures without an outcome", ())
        self.runs = self._gauge("runs", "Runs under way", ())
        self.spent = self._gauge("spent", "Spent by the runs watched", ("currency",))
        self.committed = self._gauge("committed", "Spent or possibly spent", ("currency",))
        self.percent = self._gauge(
            "percent_of_bound", "Never-idle finish as percent of the time taken, live", ()
        )

    def _counter(self, name: str, text: str, labels: Iterable[str]) -> Counter:
        return Counter(f"redloom_{name}", text, tuple(labels), registry=self.registry)

    def _gauge(self, name: str, text: str, labels: Iterable[str]) -> Gauge:
        return Gauge(f"redloom_{name}", text, tuple(labels), registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(
            f"redloom_{name}", text, ("endpoint",), registry=self.registry, buckets=buckets
        )

    def watch(self, engine: Engine) -> Callable[[], None]:
        """Count what happens in ``engine`` from now on; returns the way to stop."""
        self._engine = engine
        return engine.stream_of_events.watch(self)

    def render(self) -> tuple[bytes, str]:
        """The metrics as Prometheus reads them, and their content type."""
        if self._engine is not None:
            self._gauges(self._engine.clock.now())
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    # the events

    def __call__(self, event: Event) -> None:
        """One event, counted."""
        self._idle(event.at)
        match event:
            case Started():
                self._started(event)
            case Submitted():
                self.submits.labels(event.endpoint).inc()
                self._sent[_picture(event)] = (event.endpoint, event.at)
            case Running():
                self._running[_picture(event)] = (event.endpoint, event.at)
            case Worked():
                self._worked(event)
            case Downloaded():
                self.bytes.inc(event.size_bytes)
                where = self._sent.get(_picture(event))
                self.download.labels(where[0] if where else "").observe(event.seconds)
            case Done():
                self._done(event)
            case Ended():
                self._runs.pop(event.run, None)
                self._forget(event.run)
            case _:
                self._trouble(event)

    def _trouble(self, event: Event) -> None:
        match event:
            case Held():
                self.throttled.labels(event.endpoint, event.why or "other").inc()
                self.held.labels(event.endpoint).inc(max(0.0, event.until - event.at))
            case Retrying():
                self.retries.labels(event.endpoint).inc()
                self.backoff.labels(event.endpoint).inc(max(0.0, event.until - event.at))
            case Doubtful():
                self.doubts.labels(event.endpoint).inc()
            case Stopped():
                self.stops.labels(event.endpoint).inc()
            case Money():
                self.spent.labels(event.currency).set(self._sum(event))
                self.committed.labels(event.currency).set(event.committed)
            case _:
                pass

    def _sum(self, event: Money) -> float:
        self._spent[f"{event.currency} {event.run}"] = event.spent
        return sum(v for k, v in self._spent.items() if k.split(" ", 1)[0] == event.currency)

    def _started(self, event: Started) -> None:
        places = [place for name in event.endpoints if (place := self._place(name)) is not None]
        bound = LiveBound(places) if places and len(places) == len(event.endpoints) else None
        self._runs[event.run] = _Run(event.at, event.total - event.done, event.endpoints, bound)

    def _place(self, name: str) -> Place | None:
        """The endpoint's limits as known now; None where they bound nothing."""
        from .diary import limits_of

        slots, rate = limits_of(self._engine.lives)(name) if self._engine else (None, None)
        return None if slots is None and rate is None else Place(slots, rate)

    def _worked(self, event: Worked) -> None:
        self.polls.labels(event.endpoint).inc(event.polls)
        self._running.pop(_picture(event), None)
        if event.started is None or event.ended is None:
            return
        seconds = max(0.0, event.ended - event.started)
        self.work.labels(event.endpoint).observe(seconds)
        self.delay.labels(event.endpoint).observe(max(0.0, event.at - event.ended))
        if event.queued is not None:
            self.queue_s.labels(event.endpoint).observe(max(0.0, event.started - event.queued))
        run = self._runs.get(event.run)
        if run is not None and run.bound is not None:
            run.bound.ended(seconds)

    def _done(self, event: Done) -> None:
        self.pictures.labels(event.status).inc()
        self._sent.pop(_picture(event), None)
        self._running.pop(_picture(event), None)
        run = self._runs.get(event.run)
        if run is not None:
            run.pending = max(0, run.pending - 1)

    def _forget(self, run: str) -> None:
        for kept in (self._sent, self._running):
            for picture in [one for one in kept if one[0] == run]:
                del kept[picture]

    # what is true just now

    def _idle(self, now: float) -> None:
        """Add up slots that stood idle since the last event while pictures waited."""
        seconds, self._idle_at = max(0.0, now - (self._idle_at or now)), max(now, self._idle_at)
        if seconds and self._engine is not None and self._backlog() > 0:
            for live in self._engine.lives:
                slots, running = live.gate.slots.limit, live.gate.running
                wanted = min(slots or 0, running + self._backlog())
                if wanted > running and any(live.name in r.endpoints for r in self._runs.values()):
                    self.idle.labels(live.name).inc((wanted - running) * seconds)

    def _backlog(self) -> int:
        return sum(run.pending for run in self._runs.values()) - len(self._sent)

    def _gauges(self, now: float) -> None:
        self._idle(now)
        self.runs.set(len(self._runs))
        self.waiting.set(sum(run.pending for run in self._runs.values()))
        for live in self._engine.lives if self._engine is not None else ():
            self.flight.labels(live.name).set(live.gate.outstanding)
            self.run_there.labels(live.name).set(live.gate.running)
            self.slots.labels(live.name).set(live.gate.slots.limit or 0)
        shown = self.percent_of_bound(now)
        self.percent.set(100.0 if shown is None else shown)

    def percent_of_bound(self, now: float, run: str = "") -> float | None:
        """Where a perfect client would be by now, as percent of the time taken.

        Of ``run``, else of the oldest run under way; None where nothing is known yet.
        """
        one = self._runs.get(run) if run else next(iter(self._runs.values()), None)
        if one is None or one.bound is None or now <= one.began:
            return None
        ages = [max(0.0, now - since) for _, since in self._running.values()]
        reached = one.bound.bound(ages)
        return percent(now - one.began, reached) if reached else None


def _picture(event: Submitted | Running | Worked | Downloaded | Done) -> Picture:
    return event.run, event.row, event.take
