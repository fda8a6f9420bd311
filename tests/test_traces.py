"""Traces: one span a picture, its phases inside it, no prompt in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.desk import engine
from redloom.testing import FakeProvider, JumpingClock, fake_endpoint, run
from redloom.traces import Traces

sdk = pytest.importorskip("opentelemetry.sdk.trace")
export = pytest.importorskip("opentelemetry.sdk.trace.export")
memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")


def test_a_picture_is_a_span_with_its_phases(tmp_path: Path) -> None:
    """Three pictures: three parents, each with its phases inside its time."""
    kept = memory.InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(kept))
    clock = JumpingClock()

    async def go() -> None:
        fake = FakeProvider(clock.now, slots=2)
        async with engine(tmp_path, (fake_endpoint(), fake), clock=clock) as one:
            Traces(provider).watch(one)
            await one.generate(["secret words 1", "secret words 2", "secret words 3"])
            await one.stream_of_events.drain()

    run(go())
    spans = kept.get_finished_spans()
    parents = [span for span in spans if span.name == "picture"]
    assert len(parents) == 3
    for parent in parents:
        inside = [s for s in spans if s.parent and s.parent.span_id == parent.context.span_id]
        assert [s.name for s in inside] == ["submit", "queued", "run", "unseen", "download"]
        assert all(parent.start_time <= s.start_time <= s.end_time <= parent.end_time for s in inside)  # fmt: skip
    assert "secret" not in "".join(span.to_json() for span in spans)
