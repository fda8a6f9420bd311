"""The probe against the emulator in both variants; what is recorded holds no secret."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest

from redloom.bench.probe import Probe
from redloom.bench.recording import Recorder
from redloom.clock import Clock
from redloom.emulators.dashscope import DashScopeEmulator, Emulated, ServiceTime
from redloom.endpoint import Endpoint, Tools
from redloom.providers import dashscope
from redloom.testing import JumpingClock, run

KEY = "sk-emulated"


async def probed(settings: Emulated, model: str) -> tuple[dict[str, Any], Probe, dict[str, Any]]:
    """The findings by name, the probe, and the service's ledger."""
    clock: Clock = JumpingClock()
    emulator = DashScopeEmulator(settings, clock)
    wires: list[Recorder] = []

    def wire(*args: Any, **how: Any) -> Recorder:
        wires.append(Recorder(*args, **how))
        return wires[-1]

    url = await emulator.start()
    provider = dashscope.create(
        Endpoint("real", "dashscope", model, url), Tools(key=KEY, clock=clock, wire=wire)
    )
    probe = Probe(provider, wires[0], clock, slots=5)
    try:
        found = await probe.run()
        ledger = emulator.ledger.as_json()
    finally:
        await provider.close()
        await emulator.stop()
    return {one.name: one.value for one in found}, probe, ledger


@pytest.mark.parametrize("over", ["queue", "reject"])
def test_it_finds_out_whether_excess_queues(over: Literal["queue", "reject"]) -> None:
    """Both variants are told apart; what queued is cancelled and not billed."""
    settings = Emulated(
        latency=ServiceTime(40, 0.2, 30, 60), over=over, submit_per_second=5,
        picture_size="small", list_lag_s=3.0,
    )  # fmt: skip
    found, probe, ledger = run(probed(settings, "wan2.6-t2i"))
    assert found["over-the-limit"] == over
    assert found["cancel"] is (True if over == "queue" else None)
    assert ledger["billed"] == found["bill"] == 5
    assert 3.0 <= found["list-lag"] <= 5.0
    assert found["page-size"] == 100
    assert found["link-life"] == pytest.approx(24.0, abs=0.2)
    assert found["link-renewed"] is True
    assert found["prompt-told"] is False
    assert found["aigc-label"] is False
    assert probe.data.startswith(b"\x89PNG")


def test_it_sees_labels_prompts_and_old_links() -> None:
    """The other answers to the open questions."""
    settings = Emulated(
        latency=ServiceTime(8, 0, 8, 8), labels=("xmp", "c2pa"), fresh_links=False,
        submit_per_second=5, picture_size="small", url_life_s=7200,
    )  # fmt: skip
    found, _, _ = run(probed(settings, "wan2.5-t2i-preview"))
    assert "Label" in found["aigc-label"]
    assert found["c2pa"] is True
    assert found["link-renewed"] is False
    assert found["link-life"] == pytest.approx(2.0, abs=0.1)
    assert found["prompt-told"] is True


def test_a_recording_holds_no_key_no_id_and_no_signature() -> None:
    """Ids have made-up names, the same one each time; of a link's query only names are left."""
    settings = Emulated(latency=ServiceTime(8, 0, 8, 8), submit_per_second=5, picture_size="small")
    _, probe, ledger = run(probed(settings, "wan2.6-t2i"))
    text = probe.recorder.lines()
    assert KEY not in text
    assert "Signature=***" in text
    for bought in ledger["purchases"]:
        assert bought["task_id"] not in text
    records = [json.loads(line) for line in text.splitlines()]
    submits = [one for one in records if one["method"] == "POST" and "generation" in one["path"]]
    assert len(submits) == 8
    named = submits[0]["body"]["output"]["task_id"]
    assert named.startswith("id-")
    assert any(one["path"] == f"/tasks/{named}" for one in records)


def test_what_a_service_echoes_of_the_key_is_struck_out() -> None:
    """Some services repeat the key in their error; a recording does not."""
    recorder = Recorder("http://127.0.0.1:1", headers={"Authorization": "Bearer sk-very-secret"})
    assert recorder.scrub("wrong key sk-very-secret") == "wrong key ***"
