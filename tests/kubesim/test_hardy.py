"""A simulated cluster lives on whatever people do to it: few pods, nothing left, odd images, nodes that are gone."""

import asyncio

import pytest

from kubesim.world.life import World
from tests.kubesim.test_world import Cluster


@pytest.mark.parametrize("pods", [1, 5, 20])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_small_cluster_lives_through_an_hour_of_troubles(pods: int, seed: int) -> None:
    cluster = Cluster(seed=seed, pods=pods, troubled=True)

    cluster.run(3600)

    assert cluster.store.list("nodes")


def test_nothing_left_to_break_is_no_trouble() -> None:
    cluster = Cluster(troubled=True)
    for deployment in cluster.store.list("deployments.apps"):
        meta = deployment["metadata"]
        cluster.store.delete("deployments.apps", meta["namespace"], meta["name"], grace_s=0)

    cluster.run(1200)


def test_images_without_versions_are_released_on() -> None:
    cluster = Cluster(troubled=True)
    cluster.release("nginx:latest")

    cluster.run(1200)


def test_a_lost_node_that_is_deleted_stays_deleted() -> None:
    cluster = Cluster()
    name = cluster.store.list("nodes")[0]["metadata"]["name"]
    cluster.store.delete("nodes", "", name, grace_s=0)

    cluster.world._controllers.lose_node(name)
    cluster.world._controllers.regain_node(name)

    assert cluster.store.find("nodes", "", name) is None


def test_a_daemon_that_is_deleted_comes_back_on_its_node_once() -> None:
    cluster = Cluster(pods=60)

    def daemons() -> list[str]:
        pods = cluster.store.list("pods", "monitoring")
        return sorted(
            pod["spec"].get("nodeName", "") for pod in pods if pod["metadata"]["labels"]["app"] == "node-exporter"
        )

    before = daemons()
    victim = next(
        p for p in cluster.store.list("pods", "monitoring") if p["metadata"]["labels"]["app"] == "node-exporter"
    )
    cluster.store.delete("pods", "monitoring", victim["metadata"]["name"])

    cluster.run(60)

    assert daemons() == before


async def test_a_mishap_in_one_world_is_told_and_survived(monkeypatch, capsys) -> None:
    cluster = Cluster()
    steps = []

    def step(_self: World, _elapsed_s: float) -> None:
        steps.append(1)
        raise LookupError("a mishap")

    monkeypatch.setattr(World, "step", step)
    task = asyncio.get_running_loop().create_task(cluster.world.run())
    while len(steps) < 2:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert "a mishap" in capsys.readouterr().err
