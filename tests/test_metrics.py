"""Metrics: what happened is counted, nothing secret or unbounded is a label."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from helpers.desk import engine
from redloom.metrics import Metrics
from redloom.testing import FakeProvider, JumpingClock, fake_endpoint, run


def values(body: bytes) -> dict[str, float]:
    """Every sample without its labels, added up."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def test_a_run_is_counted(tmp_path: Path) -> None:
    """Eight pictures on two slots: outcomes, working times, delays; the live percent is sane."""
    clock = JumpingClock()
    provider = FakeProvider(clock.now, slots=2)
    shown: list[float | None] = []
    metrics = Metrics()

    async def go() -> bytes:
        async with engine(tmp_path, (fake_endpoint(), provider), clock=clock) as one:
            metrics.watch(one)
            async for result in one.stream([f"p{n}" for n in range(8)]):
                assert result.status == "ok"
                shown.append(metrics.percent_of_bound(clock.now()))
            await one.stream_of_events.drain()
            body, kind = metrics.render()
            assert "text/plain" in kind
            return body

    body = run(go())
    found = values(body)
    assert found["redloom_pictures_total"] == found["redloom_submits_total"] == 8
    assert found["redloom_work_seconds_sum"] == 80.0
    assert found["redloom_in_flight"] == found["redloom_queue_pictures"] == 0
    assert found["redloom_download_bytes_total"] > 0
    known = [one for one in shown if one is not None]
    assert known
    assert all(0 < one <= 100 for one in known)
    assert b"p0" not in body


def test_two_engines_have_two_registries() -> None:
    """Nothing global: a second one does not clash."""
    first, second = Metrics(), Metrics()
    first.submits.labels("e").inc()
    assert b'submits_total{endpoint="e"} 1.0' in first.render()[0]
    assert b"submits_total{" not in second.render()[0]
