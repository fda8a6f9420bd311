"""The ComfyUI provider against its stand-in: workflows, progress, cancelling, restarts, errors."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redloom.emulators.comfyui import Emulated, Emulator, parse_faults
from redloom.emulators.comfyui_graph import read
from redloom.endpoint import (
    Asked,
    Canceled,
    Endpoint,
    Failed,
    Made,
    Ticket,
    Tools,
    Unknown,
    Waiting,
)
from redloom.engine import Engine
from redloom.errors import (
    AnswerLost,
    BadSettings,
    KeyRefused,
    NotAllowed,
    Refused,
    ServiceError,
    TaskFailed,
    Throttled,
    Unavailable,
)
from redloom.providers import comfyui
from redloom.providers._comfyui_errors import CODES, submit_error, task_error, told
from redloom.providers._comfyui_graph import BUILT_IN, Place, workflow_of
from redloom.providers._comfyui_socket import Socket
from redloom.settings import load_settings
from redloom.testing import JumpingClock, run

FLUX: dict[str, Any] = {
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "old words", "clip": ["11", 0]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["13", 0], "vae": ["10", 0]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x", "images": ["8", 0]}},
    "10": {"class_type": "VAELoader", "inputs": {"vae_name": "ae.safetensors"}},
    "11": {"class_type": "DualCLIPLoader", "inputs": {"clip_name1": "t5", "clip_name2": "l"}},
    "12": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux1-dev.safetensors"}},
    "13": {
        "class_type": "SamplerCustomAdvanced",
        "inputs": {"noise": ["25", 0], "guider": ["22", 0], "latent_image": ["27", 0]},
    },
    "22": {"class_type": "BasicGuider", "inputs": {"model": ["12", 0], "conditioning": ["26", 0]}},
    "25": {"class_type": "RandomNoise", "inputs": {"noise_seed": 5}},
    "26": {"class_type": "FluxGuidance", "inputs": {"guidance": 3.5, "conditioning": ["6", 0]}},
    "27": {
        "class_type": "EmptySD3LatentImage",
        "inputs": {"width": ["30", 0], "height": 1024, "batch_size": 1},
    },
    "30": {"class_type": "PrimitiveInt", "inputs": {"value": 768}},
}
"""An exported graph of another shape: a guider in the place of a sampler's own inputs."""


def asked(prompt: str = "a red scarf", **more: Any) -> Asked:
    """A request."""
    return Asked(prompt, "", key=prompt, **more)


def against(
    body: Callable[[Any, Emulator, JumpingClock], Awaitable[None]],
    settings: Emulated | None = None,
    key: str = "",
    told: Callable[[str, float], None] = lambda _key, _fraction: None,
    **options: Any,
) -> None:
    """Run ``body`` with a provider that speaks to a stand-in, on a jumping clock."""

    async def through() -> None:
        clock = JumpingClock()
        emulator = Emulator(settings or Emulated(picture_size="small"), clock)
        endpoint = Endpoint("comfyui", "comfyui", base_url=await emulator.start(), options=options)
        provider = comfyui.create(endpoint, Tools(key=key, clock=clock, progress=told))
        try:
            await body(provider, emulator, clock)
        finally:
            await provider.close()
            await emulator.stop()

    run(through())


async def ended(provider: Any, clock: JumpingClock, ticket: Ticket) -> Any:
    """Poll until it is something else than waiting."""
    while isinstance(outcome := await provider.poll(ticket), Waiting):
        await clock.sleep(1.0)
    return outcome


# Where the values go


def test_placeholders_keep_their_kind() -> None:
    """A placeholder that is the whole text becomes the value itself; inside a text, its words."""
    graph = {
        "1": {"class_type": "T", "inputs": {"text": "photo of {prompt}, {mood}", "seed": "{seed}"}},
    }
    workflow = workflow_of({"workflow": graph})
    inputs = workflow.filled({"prompt": "a {seed} cat", "seed": 7})["1"]["inputs"]
    assert inputs == {"text": "photo of a {seed} cat, {mood}", "seed": 7}
    assert workflow.filled({"prompt": "x", "mood": "calm"})["1"]["inputs"]["text"].endswith("calm")


def test_an_exported_graph_needs_no_placeholders() -> None:
    """Words, seed and size are found by following links, through guiders and primitives."""
    workflow = workflow_of({"workflow": FLUX})
    assert workflow.places["prompt"] == (Place("6", "text"),)
    assert workflow.places["seed"] == (Place("25", "noise_seed"),)
    assert workflow.places["width"] == (Place("30", "value"),)
    assert workflow.places["height"] == (Place("27", "height"),)
    assert not workflow.takes("negative")
    filled = workflow.filled({"prompt": "new", "seed": 9, "width": 512, "height": 640}, mark="m")
    assert filled["6"]["inputs"]["text"] == "new"
    assert filled["30"]["inputs"]["value"] == 512
    assert filled["9"]["inputs"]["filename_prefix"] == "x_m"
    assert FLUX["6"]["inputs"]["text"] == "old words"


def test_places_can_be_named() -> None:
    """``nodes`` says where a value goes, over what the graph itself would say."""
    nodes = {"prompt": "11.clip_name1", "seed": ["25.noise_seed"], "output": "9"}
    workflow = workflow_of({"workflow": FLUX, "nodes": nodes})
    assert workflow.filled({"prompt": "here"})["11"]["inputs"]["clip_name1"] == "here"
    assert workflow.output == "9"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workflow": "no-such-file.json"}, "cannot be read"),
        ({"workflow": {"nodes": [], "links": []}}, "Export (API)"),
        ({"workflow": {"1": {"inputs": {}}}}, "API format"),
        ({"workflow": {"1": {"class_type": "SaveImage", "inputs": {}}}}, "no place for the prompt"),
        ({"workflow": FLUX, "nodes": {"prompt": "99.text"}}, "no such node"),
    ],
)
def test_an_unusable_workflow_is_one_sentence(options: dict[str, Any], words: str) -> None:
    """Unreadable, of the editor's format, without a place for words: BadSettings, at create."""
    with pytest.raises(BadSettings) as caught:
        comfyui.create(Endpoint("c", "comfyui", options=options), Tools())
    assert words in caught.value.text.en


def test_a_workflow_is_read_from_a_file(tmp_path: Path) -> None:
    """A file as ComfyUI saves it, with a BOM, or a whole request body around the graph."""
    path = tmp_path / "flow.json"
    path.write_text("\ufeff" + json.dumps({"prompt": FLUX, "client_id": "x"}), "utf-8")
    assert workflow_of({"workflow": str(path)}).takes("prompt")


@given(st.text(min_size=1), st.integers(0, 2**64 - 2))
def test_any_words_reach_the_graph_unchanged(words: str, seed: int) -> None:
    """Braces, quotes, line breaks: what the server reads is what was asked."""
    values = {"prompt": words, "negative": "", "seed": seed, "model": "sd_xl_base_1.0.safetensors"}
    graph = json.loads(json.dumps(workflow_of({}).filled(values, (), "m")))
    found = read(graph)
    assert (found.prompt, found.seed) == (words, seed)


# The way of a picture


def test_progress_comes_over_the_websocket() -> None:
    """Step by step, under the job's key, growing, and up to the end."""
    heard: list[tuple[str, float]] = []

    async def body(provider: Any, emulator: Emulator, clock: JumpingClock) -> None:
        ticket = await provider.submit(asked(), "async")
        assert isinstance(await ended(provider, clock, ticket), Made)
        assert emulator.ledger.billed() == 1

    against(body, told=lambda key, fraction: heard.append((key, fraction)))
    fractions = [fraction for key, fraction in heard if key == "a red scarf"]
    assert len(fractions) > 10
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_what_the_socket_says_badly_is_passed_over() -> None:
    """Broken JSON, other shapes, zero steps: nothing is learnt and nothing raised."""
    from redloom.wire import Wire

    socket = Socket(Wire("http://127.0.0.1:9"), "c", {})
    for text in ("{", "[]", "null", '{"type":"progress","data":7}',
                 '{"type":"progress","data":{"prompt_id":"p","value":1,"max":0}}',
                 '{"type":"progress","data":{"prompt_id":"p","value":"x","max":2}}'):  # fmt: skip
        socket.take(text)
    assert socket.progress("p") is None
    socket.take('{"type":"progress","data":{"prompt_id":"p","value":9,"max":3}}')
    assert socket.progress("p") == 1.0
    socket.take('{"type":"executing","data":{"prompt_id":"p","node":null}}')
    assert socket.progress("p") is None


def test_the_same_graph_twice_makes_two_files() -> None:
    """ComfyUI answers a graph that it knows from its cache; ours still gets its picture."""

    async def body(provider: Any, emulator: Emulator, clock: JumpingClock) -> None:
        for _ in range(2):
            outcome = await ended(provider, clock, await provider.submit(asked(seed=3), "async"))
            assert isinstance(outcome, Made)
            assert outcome.picture.seed == 3

    against(body)


def test_a_running_graph_can_be_interrupted() -> None:
    """Between two steps; the others of the queue are not touched. What is done stays done."""

    async def body(provider: Any, emulator: Emulator, clock: JumpingClock) -> None:
        first = await provider.submit(asked("one"), "async")
        second = await provider.submit(asked("two"), "async")
        await clock.sleep(2.0)
        assert isinstance(await provider.poll(first), Waiting)
        assert await provider.cancel(first) is True
        assert isinstance(await provider.poll(first), Canceled)
        assert isinstance(await ended(provider, clock, second), Made)
        assert await provider.cancel(second) is False
        assert emulator.ledger.billed() == 1

    against(body)


def test_a_restarted_server_is_asked_again() -> None:
    """It forgets queue and history: a task of ours has failed for free, a stranger is unknown."""

    async def body(provider: Any, emulator: Emulator, clock: JumpingClock) -> None:
        ticket = await provider.submit(asked(), "async")
        await clock.sleep(1.0)
        await emulator.restart()
        outcome = await provider.poll(ticket)
        assert isinstance(outcome, Failed)
        assert isinstance(outcome.error, TaskFailed)
        assert outcome.error.retry
        assert not outcome.billed
        assert isinstance(await provider.poll(Ticket("never")), Unknown)

    against(body)


def test_our_own_restart_finds_the_picture_in_the_history(tmp_path: Path) -> None:
    """An engine that stops after the submit leaves the ticket; the next one collects the file."""

    async def through() -> None:
        clock = JumpingClock()
        emulator = Emulator(Emulated(picture_size="small"), clock)
        url = await emulator.start()
        endpoint = Endpoint("comfyui", "comfyui", base_url=url)

        def engine() -> Engine:
            provider = comfyui.create(endpoint, Tools(clock=clock))
            return Engine(workspace=tmp_path / "w", equipped=[(endpoint, provider)], clock=clock)

        async with engine() as first:
            await first.add(["a red scarf"], out=tmp_path / "out")
            while not emulator.ledger.purchases:
                await clock.sleep(0.2)
        await clock.sleep(60.0)
        async with engine() as second:
            (result,) = await second.generate(["a red scarf"], out=tmp_path / "out")
        assert result.ok, result.error
        assert len(emulator.ledger.purchases) == 1
        await emulator.stop()

    run(through())


def test_an_older_server_with_ids_of_its_own() -> None:
    """The id that the answer names is polled, whatever was asked for."""

    async def body(provider: Any, emulator: Emulator, clock: JumpingClock) -> None:
        assert isinstance(
            await ended(provider, clock, await provider.submit(asked(), "async")), Made
        )

    against(body, Emulated(picture_size="small", own_ids=True))


def test_references_are_uploaded_once(tmp_path: Path) -> None:
    """A picture goes up under a name made from its content, and is not sent again."""
    from redloom.testing import picture_of

    path = tmp_path / "first.png"
    path.write_bytes(picture_of("reference"))
    graph = {**FLUX, "40": {"class_type": "LoadImage", "inputs": {"image": "example.png"}}}

    async def body(provider: Any, emulator: Emulator, clock: JumpingClock) -> None:
        assert provider.capabilities().references == 1
        for prompt in ("one", "two"):
            request = provider.fit(asked(prompt, references=(str(path),))).asked
            assert isinstance(
                await ended(provider, clock, await provider.submit(request, "async")), Made
            )
        assert emulator.ledger.counts["upload"] == 1
        with pytest.raises(Refused):
            await provider.submit(asked(references=("https://example.com/a.png",)), "async")
        text = tmp_path / "text.png"
        text.write_text("no picture")
        with pytest.raises(Refused):
            await provider.submit(asked(references=(str(text),)), "async")

    against(body, workflow=graph)


def test_a_login_in_front() -> None:
    """``user:password`` or a token goes with every call, files and socket included."""

    async def body(provider: Any, emulator: Emulator, clock: JumpingClock) -> None:
        assert isinstance(
            await ended(provider, clock, await provider.submit(asked(), "async")), Made
        )

    settings = Emulated(picture_size="small", keys={"a-token": "me"})
    against(body, settings, key="a-token")

    async def refused(provider: Any, emulator: Emulator, clock: JumpingClock) -> None:
        with pytest.raises(KeyRefused):
            await provider.check()

    against(refused, settings, key="another")


def test_fit_says_what_it_changes() -> None:
    """Sizes in steps of 8; options without a place are named; a workflow's own size stays."""
    provider = comfyui.create(Endpoint("c", "comfyui"), Tools())
    fitted = provider.fit(asked(size=(1001, 99), options={"steps": 4, "style": "x"}))
    assert fitted.asked.size == (1000, 96)
    assert fitted.asked.options == {"steps": 4}
    assert "style" in str(fitted.notes)
    sized = {"1": {"class_type": "T", "inputs": {"text": "{prompt}"}}}
    provider = comfyui.create(Endpoint("c", "comfyui", options={"workflow": sized}), Tools())
    assert provider.fit(asked(size=(512, 512))).asked.size is None
    assert provider.capabilities().sizes == ()
    assert not provider.capabilities().seed


def test_out_of_memory_is_said() -> None:
    """The server's own words for it become a sentence that says what helps."""

    async def body(provider: Any, emulator: Emulator, clock: JumpingClock) -> None:
        outcome = await ended(provider, clock, await provider.submit(asked(), "async"))
        assert isinstance(outcome, Failed)
        assert "smaller" in outcome.error.text.en

    against(body, Emulated(faults=parse_faults("task_memory=1")))


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_has_a_meaning(code: str) -> None:
    """Each documented refusal is one sentence, without money, and either stops or refuses."""
    body = {"error": {"type": code, "message": "m", "details": "d"}, "node_errors": {}}
    error = submit_error(400, body, "here", None)
    kind = NotAllowed if CODES[code] == "closed" else Refused
    assert isinstance(error, kind)
    assert error.service_code == code
    assert "m: d" in error.text.en


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, KeyRefused), (403, KeyRefused), (404, NotAllowed), (429, Throttled), (500, Unavailable),
     (502, AnswerLost), (503, Unavailable), (504, AnswerLost), (200, AnswerLost), (418, Unavailable)],
)  # fmt: skip
def test_a_status_without_words(status: int, kind: type[ServiceError]) -> None:
    """What stands in front of ComfyUI answers too; only a lost answer is a doubt."""
    assert isinstance(submit_error(status, None, "here", None), kind)


def test_a_missing_model_stops_the_endpoint_a_wrong_value_does_not() -> None:
    """``value_not_in_list`` is about the server for a model's name, about the graph otherwise."""

    def body(entry: str) -> dict[str, Any]:
        errors = [
            {"type": "value_not_in_list", "message": "m", "details": f"{entry}: 'x' not in []"}
        ]
        return {"error": {"type": "prompt_outputs_failed_validation"}, "node_errors": {
            "4": {"errors": errors, "class_type": "N"}}}  # fmt: skip

    assert isinstance(submit_error(400, body("ckpt_name"), "here", None), NotAllowed)
    assert isinstance(submit_error(400, body("sampler_name"), "here", None), Refused)
    first = told(body("ckpt_name"))
    assert first is not None
    assert "N 4" in first.message


def test_a_fault_of_the_graph_is_not_tried_again() -> None:
    """A node's TypeError comes again with the same graph; a CUDA error may not."""
    assert not task_error({"exception_type": "TypeError"}, "here").retry
    assert task_error({"exception_type": "RuntimeError"}, "here").retry


def test_the_address_alone_makes_the_endpoint(tmp_path: Path) -> None:
    """COMFYUI_URL in the environment, nothing else: the endpoint is there and free."""
    environ = {"COMFYUI_URL": "http://127.0.0.1:8188/", "HOME": str(tmp_path)}
    settings = load_settings(environ=environ, folder=tmp_path)
    config = settings.endpoint("comfyui")
    assert config.base_url == "http://127.0.0.1:8188"
    assert config.ready
    assert settings.default_endpoint == "comfyui"
    provider = comfyui.create(config.endpoint(), Tools())
    assert provider.price(asked()).amount == 0
    assert "comfyui" not in load_settings(environ={}, folder=tmp_path).endpoints


def test_the_plain_graph_is_not_changed_by_filling_it() -> None:
    """The graph that is built in stays as it is."""
    before = json.dumps(BUILT_IN)
    replace(workflow_of({})).filled({"prompt": "x"}, (), "y")
    assert json.dumps(BUILT_IN) == before


def test_a_run_hears_how_far_its_pictures_are(tmp_path: Path) -> None:
    """From COMFYUI_URL to the stream of events: steps by row, then files that are whole."""
    from redloom.events import Advanced, Event

    heard: list[Event] = []

    async def through() -> None:
        clock = JumpingClock()
        emulator = Emulator(Emulated(picture_size="small"), clock)
        environ = {"COMFYUI_URL": await emulator.start(), "HOME": str(tmp_path)}
        settings = load_settings(environ=environ, folder=tmp_path, workspace=tmp_path / "w")
        async with Engine(
            "comfyui", settings=settings, clock=clock, on_event=heard.append
        ) as engine:
            results = await engine.generate(["one", "two"], out=tmp_path / "out")
        assert all(result.ok for result in results)
        assert results[0].price == 0
        await emulator.stop()

    run(through())
    steps = [event for event in heard if isinstance(event, Advanced)]
    assert {event.row for event in steps} == {1, 2}
    assert all(0 <= event.fraction <= 1 for event in steps)
