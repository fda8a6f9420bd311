"""How work spreads over a Ray cluster, with actors that wait in the place of a GPU.

    python benchmarks/cluster.py [--pictures 120] [--wait 0.1]

A head and up to three nodes on this machine, one counted GPU each. Three figures in one run: the
rate on one node and on two (2.0 would be perfect), and what it costs when one of three is killed
in the middle, against what two nodes would have needed for what was left. The actors only wait, so
that two processor cores are enough; nothing is said of pictures or networks.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import time
from typing import Any

from redloom.cluster import TUNED, ClusterPool, Stand
from redloom.diffusers_worker.batches import Call

CALL = Call("stand-in", (32, 32))
BATCH = 2


async def made(pool: ClusterPool, count: int, first: int = 0) -> float:
    """Seconds for ``count`` pictures."""
    began = time.perf_counter()
    await asyncio.gather(*(pool.picture(CALL, f"p{n}", n) for n in range(first, first + count)))
    return time.perf_counter() - began


async def scaling(cluster: Any, count: int, wait_s: float) -> None:
    """One node, then two."""
    seconds = []
    for number in (1, 2):
        cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=100_000_000)
        pool = ClusterPool(cluster.address, most=BATCH, settings={"wait_s": wait_s}, hands=Stand)
        await pool.ready(number)
        seconds.append(await made(pool, count))
        await pool.close()
        ideal = count * wait_s / number
        print(
            f"{number} node{'s' * (number > 1)}: {count} pictures in {seconds[-1]:.2f} s "
            f"({count / seconds[-1]:.1f} a second; never idle: {ideal:.2f} s)"
        )
    print(f"2 nodes / 1 node: {seconds[0] / seconds[1]:.2f} times the rate")


async def death(cluster: Any, count: int, wait_s: float) -> None:
    """Three nodes, one killed when a third is done."""
    node = cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=100_000_000)
    pool = ClusterPool(cluster.address, most=BATCH, settings={"wait_s": wait_s}, hands=Stand)
    await pool.ready(3)
    began, done = time.perf_counter(), 0
    killed = 0.0
    waits = [asyncio.ensure_future(pool.picture(CALL, f"q{n}", n)) for n in range(count)]
    for one in asyncio.as_completed(waits):
        await one
        done += 1
        if done == count // 3:
            killed = time.perf_counter()
            await asyncio.to_thread(cluster.remove_node, node, allow_graceful=False)
    ended = time.perf_counter()
    after = (count - count // 3) * wait_s / 2
    print(
        f"3 nodes, one killed after {count // 3}: all {done} pictures in {ended - began:.2f} s; "
        f"{ended - killed:.2f} s after the kill, two nodes that never idle: {after:.2f} s; "
        f"lost: {ended - killed - after:.2f} s"
    )
    await pool.close()


def main() -> None:
    """All of it on one cluster."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--pictures", type=int, default=120)
    parser.add_argument("--wait", type=float, default=0.1)
    asked = parser.parse_args()
    if importlib.util.find_spec("ray") is None:
        print("skipped: needs ray (pip install 'redloom[ray]'; make test-extras)")
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    head = {
        "num_cpus": 0, "include_dashboard": False, "object_store_memory": 100_000_000,
        "_system_config": TUNED,
    }  # fmt: skip
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        asyncio.run(scaling(cluster, asked.pictures, asked.wait))
        asyncio.run(death(cluster, asked.pictures, asked.wait))
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
