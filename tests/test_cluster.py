"""Pictures on the GPUs of many machines: a real Ray cluster of several nodes on this one.

Its GPUs are counters (``num_gpus``), its actors wait in the place of working: what is held is that
work spreads, that nothing is lost or made twice in the record, and that dead nodes give their work
back. How pictures are made is held by `test_diffusers_worker`; one case here makes real ones.
"""

from __future__ import annotations

import asyncio
import importlib.util
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from redloom import cluster
from redloom.cli import cli
from redloom.cluster import TUNED, ClusterPool, Stand
from redloom.diffusers_worker.batches import Call, Item
from redloom.diffusers_worker.pool import Picture
from redloom.endpoint import Endpoint, Limits, Tools
from redloom.engine import Engine
from redloom.errors import BadSettings, MissingExtra, TaskFailed, Unavailable
from redloom.providers import diffusers
from redloom.settings import load_settings

needs_ray = [
    pytest.mark.extras,
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None,
        reason="the extra ray is not installed: make test-extras",
    ),
]
CALL = Call("stand-in", (32, 32))


class Nodes:
    """A cluster whose head has no room of its own; nodes come and go."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0, "include_dashboard": False, "object_store_memory": 100_000_000,
                "_system_config": TUNED,
            },
        )  # fmt: skip
        self.address: str = self._cluster.address
        self._nodes: list[Any] = []

    def add(self, cpus: int = 1) -> None:
        """One node with one GPU."""
        node = self._cluster.add_node(num_cpus=cpus, num_gpus=1, object_store_memory=100_000_000)
        self._nodes.append(node)

    def kill(self) -> None:
        """End a node's processes without a word."""
        self._cluster.remove_node(self._nodes.pop(), allow_graceful=False)

    def end(self) -> None:
        """End all of it."""
        self._cluster.shutdown()


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """A head without workers."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    made = Nodes()
    try:
        yield made
    finally:
        made.end()


def through(body: Callable[[], Awaitable[None]]) -> None:
    """Run it; a cluster that hangs fails the test."""

    async def bounded() -> None:
        async with asyncio.timeout(150):
            await body()

    asyncio.run(bounded())


def stand_in(nodes: Nodes, wait_s: float, most: int = 4) -> ClusterPool:
    """A pool of actors that wait ``wait_s`` for each picture."""
    return ClusterPool(nodes.address, most=most, settings={"wait_s": wait_s}, hands=Stand)


class OnThese(diffusers.Local):
    """The provider with a pool made by the test."""

    def __init__(self, endpoint: Endpoint, made: ClusterPool) -> None:
        super().__init__(endpoint, Tools())
        self._pool = made
        made.users = 1

    def limits(self) -> Any:
        """As many as three actors take."""
        return Limits(sync_concurrency=24)


class TestOnRay:
    """What needs a cluster."""

    pytestmark = needs_ray

    def test_a_node_killed_in_the_middle_costs_no_picture(
        self, nodes: Nodes, tmp_path: Path
    ) -> None:
        """Three nodes, 300 jobs of an engine's run, one node killed after a third: 300 outcomes,
        each ok and each file its own; the others go on.
        """
        for _ in range(3):
            nodes.add()

        async def body() -> None:
            pool = stand_in(nodes, 0.05)
            endpoint = Endpoint("local", "diffusers", "stand-in")
            provider = OnThese(endpoint, pool)
            async with Engine(workspace=tmp_path / "w", equipped=[(endpoint, provider)]) as engine:
                prompts = [{"prompt": f"p{n}", "seed": n + 1, "size": "64x64"} for n in range(300)]
                run = await engine.add(prompts, out=tmp_path / "out")
                statuses: Counter[str] = Counter()
                async for result in engine.follow(run):
                    statuses[result.status] += 1
                    if statuses.total() == 100:
                        await asyncio.to_thread(nodes.kill)
            assert statuses == {"ok": 300}
            assert sum(actor.deaths for actor in pool.actors()) >= 1

        through(body)
        files = list((tmp_path / "out").rglob("*.png"))
        assert len(files) == 300
        assert len({_colour(path) for path in files}) == 300

    def test_a_node_that_joins_is_used(self, nodes: Nodes) -> None:
        """Work that began on one node is shared by a second one that comes later."""
        nodes.add()

        async def body() -> None:
            pool = stand_in(nodes, 0.1, most=2)
            waits = [asyncio.ensure_future(pool.picture(CALL, f"p{n}", n + 1)) for n in range(150)]
            await waits[5]
            nodes.add()  # it sets a signal handler, so in this thread
            made = await asyncio.gather(*waits)
            by_process = Counter(picture.facts["pid"] for picture in made)
            assert len(by_process) == 2
            assert min(by_process.values()) > 10
            await pool.close()

        through(body)

    def test_real_pictures_on_a_node(self, nodes: Nodes, tmp_path: Path) -> None:
        """The tiny pipeline on an actor: the same bytes as in a process of this machine."""
        pytest.importorskip("diffusers", reason="the extra gpu is not installed: make test-extras")
        from redloom.diffusers_worker.pool import Pool
        from redloom.diffusers_worker.random_models import build

        model = str(build("sdxl", tmp_path))
        nodes.add()
        call = Call(model, (32, 32), 2)

        async def body() -> None:
            far = ClusterPool(nodes.address, most=4, settings={"most": 4})
            near = Pool(["cpu"], most=4, settings={"most": 4, "threads": 1})
            for seed in range(2):
                mine = await near.picture(call, "a cat", seed)
                theirs = await far.picture(call, "a cat", seed)
                assert mine.data == theirs.data
            assert (await far.ready())["kind"] == "cpu"
            await far.close()
            await near.close()

        through(body)


def _colour(path: Path) -> Any:
    from PIL import Image

    with Image.open(path) as image:
        return image.convert("RGB").getpixel((0, 0))


def test_an_unguarded_cluster_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reaches a Ray cluster runs anything on it: other machines need the token."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with pytest.raises(BadSettings) as caught:
        cluster.joined("10.0.0.5:6379", 8, {})
    assert "RAY_AUTH_MODE=token" in caught.value.text.en
    for near in ("auto", "127.0.0.1:6379", "ray://localhost:10001"):
        assert isinstance(cluster.joined(near, 8, {}), ClusterPool)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert isinstance(cluster.joined("10.0.0.5:6379", 8, {}), ClusterPool)


@pytest.mark.parametrize("command", ["batch", "note"])
def test_what_is_missing_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    """Without Ray: the line that installs it, exit 2."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtra) as caught:
        cluster.joined("auto", 8, {})
    assert "redloom[ray]" in caught.value.text.en
    (tmp_path / "p.txt").write_text("a red scarf\n", "utf-8")
    words = [
        command,
        str(tmp_path / "p.txt"),
        "--out",
        str(tmp_path / "o"),
        "--endpoint",
        "local:x",
    ]
    done = CliRunner().invoke(cli, [*words, "--cluster", "auto"])
    assert done.exit_code == 2
    assert "redloom[ray]" in done.stderr


@pytest.mark.parametrize("way", ["file", "environment", "command line"])
def test_a_cluster_is_named_in_three_ways(way: str, tmp_path: Path) -> None:
    """``[cluster]``, REDLOOM_CLUSTER, ``--cluster``: endpoints of this machine's kind get it."""
    environ = {"HOME": str(tmp_path)}
    if way == "file":
        (tmp_path / "redloom.toml").write_text(
            '[cluster]\naddress = "auto"\nworkers = 3\n', "utf-8"
        )
    elif way == "environment":
        environ["REDLOOM_CLUSTER"] = "auto"
    told = {"cluster.address": "auto"} if way == "command line" else {}
    settings = load_settings(environ=environ, folder=tmp_path, overrides=told)
    options = settings.endpoint("local:some/model").options
    assert options["cluster_address"] == "auto"
    assert options.get("cluster_workers") == (3 if way == "file" else None)
    assert "cluster_address" not in settings.endpoint("cards").options


async def waiting_alone() -> tuple[ClusterPool, cluster.RayWorker, Item, asyncio.Task[Picture]]:
    """A pool that has joined nothing, an actor without a process, one picture that waits."""
    pool = ClusterPool("auto")
    pool._kick = lambda: None  # type: ignore[method-assign]
    waiting = asyncio.ensure_future(pool.picture(CALL, "p", 1))
    await asyncio.sleep(0)
    (item,) = pool.batches.waiting()
    return pool, cluster.RayWorker(pool, None), item, waiting


def test_an_answer_that_comes_too_late_is_dropped() -> None:
    """A batch thought dead was given to somebody else: its late answer changes nothing."""

    async def body() -> None:
        pool, actor, item, waiting = await waiting_alone()
        pool.batches.drop(item)
        item.epoch = 7

        def answer(epoch: int, data: bytes) -> dict[str, Any]:
            pictures: list[Any] = [(item.id, data, {}), (999, b"nobody's", {})]
            return {"epoch": epoch, "pictures": pictures, "said": [], "models": ["m"]}

        actor.take(answer(6, b"late"))
        assert not waiting.done()
        actor.take(answer(7, b"in time"))
        actor.take(answer(7, b"again"))
        assert (await waiting).data == b"in time"
        assert actor.loaded == ["m"]

    asyncio.run(body())


def test_what_an_answer_leaves_out_is_asked_for_again() -> None:
    """A picture that the actor said nothing of waits again; a failure is told by name."""

    async def body() -> None:
        pool, actor, item, waiting = await waiting_alone()
        pool.batches.drop(item)
        item.epoch = 1
        actor.take({"epoch": 1, "pictures": [], "said": [], "models": []})
        assert pool.batches.waiting() == [item]
        room = {"ev": "room", "model": "m", "width": 32, "height": 32, "batch": 2}
        failed = {"ev": "failed", "id": item.id, "kind": "memory", "text": ""}
        actor.take({"epoch": 1, "pictures": [], "said": [room, failed], "models": []})
        assert pool.batches.room["m", (32, 32)] == 2
        with pytest.raises(TaskFailed):
            await waiting

    asyncio.run(body())


def test_what_goes_back_twice_goes_alone_then_fails() -> None:
    """Two returns may be two nodes' deaths; four, the last two alone, are the picture's own."""

    async def body() -> None:
        pool, actor, item, waiting = await waiting_alone()
        alone = []
        for epoch in range(1, 5):
            pool.batches.drop(item)
            actor.hand[epoch] = [item]
            actor._dead(epoch, TimeoutError())
            alone.append(item.alone)
        assert alone == [False, True, True, True]
        with pytest.raises(TaskFailed) as caught:
            await waiting
        assert caught.value.service_code == "worker-died"
        assert not pool.batches.waiting()

    asyncio.run(body())


def test_a_cluster_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody at the address: what waits hears of it, and is asked again later."""

    async def body() -> None:
        pool = ClusterPool("127.0.0.1:9")

        def refused(self: ClusterPool) -> None:
            raise ConnectionError("nobody listens")

        monkeypatch.setattr(ClusterPool, "_join", refused)
        with pytest.raises(Unavailable) as caught:
            await pool.picture(CALL, "p", 1)
        assert "nobody listens" in caught.value.text.en
        await pool.close()

    asyncio.run(body())


@pytest.mark.parametrize("page", ["cluster.md", "cluster.zh-CN.md"])
def test_the_guides_settings_can_be_read(page: str, tmp_path: Path) -> None:
    """The guide's TOML is a cluster that endpoints of this machine's kind are given."""
    text = (Path(__file__).resolve().parents[1] / "docs" / page).read_text("utf-8")
    (example,) = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "redloom.toml").write_text(example, "utf-8")
    settings = load_settings(environ={"HOME": str(tmp_path)}, folder=tmp_path)
    options = settings.endpoint("local:m").options
    assert options["cluster_workers"] == 8
    assert options["cluster_gpus_each"] == 1.0
    for name, value in TUNED.items():
        assert f"RAY_{name}={value}" in text


def test_doctor_explains_the_cluster_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing set up: absent. An address without Ray: wrong, with the line that mends it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    plain = CliRunner().invoke(cli, ["doctor", "--offline", "--lang", "en"])
    assert plain.exit_code == 0
    assert "no Ray cluster is set up" in plain.stdout
    monkeypatch.setenv("REDLOOM_CLUSTER", "10.0.0.5:6379")
    named = CliRunner().invoke(cli, ["doctor", "--offline", "--lang", "en"])
    assert named.exit_code == 2
    assert "10.0.0.5:6379 needs pip install 'redloom[ray]'" in named.stdout
