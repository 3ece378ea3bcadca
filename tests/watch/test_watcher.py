"""The watcher role on real PostgreSQL and Valkey, with clusters that answer with recorded bytes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from app.clusters.schemas import Cluster
from app.kube.client import Endpoint
from app.problems import NotFound
from app.settings import Settings
from app.stream.hub import Hub
from app.stream.publication import Publication, Snapshot
from app.stream.publisher import Fenced, Publisher
from app.stream.scripts import keys
from app.tasks import running
from app.watch import interests
from app.watch.board import BOARD, note
from app.watch.schemas import CLUSTER_STATUS, COLUMNS_META, Batch, ClusterStatus, Column, Row, rows_channel
from app.watch.watcher import Watcher
from tests.kube.fault_apiserver import Exchange
from tests.watch.recorded_cluster import RecordedCluster

SETTINGS = Settings(watch_tick_s=0.01, lease_ttl_s=2.0, lease_renew_s=0.2, on_demand_idle_s=0.5)
BORN = datetime(2026, 1, 1, tzinfo=UTC)


class Registry:
    """The verbs of `ClusterService` that a watcher uses, over a dictionary; plain HTTP on loopback."""

    def __init__(self) -> None:
        self.clusters: dict[str, Cluster] = {}
        self.servers: dict[str, RecordedCluster] = {}
        self.number = 0

    def add(self, server: RecordedCluster, name: str = "", **more: Any) -> str:
        name = name or f"c{len(self.servers)}"
        made = {"id": name, "name": name, "server": server.url, "created_at": BORN, "updated_at": BORN}
        self.clusters[name] = Cluster(**{**made, "identity": server.identity, **more})
        self.servers[name] = server
        self.number += 1
        return name

    def change(self, name: str, **fields: Any) -> None:
        self.clusters[name] = replace(self.clusters[name], **fields)
        self.number += 1

    def remove(self, name: str) -> None:
        del self.clusters[name]
        self.number += 1

    async def revision(self) -> int:
        return self.number

    async def list(self) -> list[Cluster]:
        return list(self.clusters.values())

    async def endpoint(self, cluster_id: str) -> Endpoint:
        if cluster_id not in self.clusters:
            raise NotFound("There is no such cluster.")
        return Endpoint(server=self.servers[cluster_id].url, allow_loopback=True, allow_plaintext=True)


class Fleet:
    """A watcher, its clusters, and what readers can see of them in Valkey."""

    def __init__(self, engine, redis) -> None:
        self.engine = engine
        self.redis = redis
        self.registry = Registry()
        self.watcher = self.another()

    def another(self) -> Watcher:
        return Watcher(SETTINGS, self.engine, self.redis, self.registry)

    def hurry(self) -> None:
        """Let the watcher look for other kinds and another identity several times a second."""
        self.watcher._means = replace(self.watcher._means, look_s=0.3, ping_s=1.0)

    async def statuses(self) -> dict[str, ClusterStatus]:
        entries = await self.redis.hgetall(keys(CLUSTER_STATUS)[1])
        return {key.decode(): msgspec.msgpack.decode(value, type=ClusterStatus) for key, value in entries.items()}

    async def rows(self, cluster: str, kind: str) -> dict[str, Row]:
        entries = await self.redis.hgetall(keys(rows_channel(cluster, kind))[1])
        return {row.name: row for row in (msgspec.msgpack.decode(value, type=Row) for value in entries.values())}

    async def until(
        self, cluster: str, said: Callable[[ClusterStatus], object], within_s: float = 40.0
    ) -> ClusterStatus:
        status = None
        try:
            async with asyncio.timeout(within_s):
                while (status := (await self.statuses()).get(cluster)) is None or not said(status):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pytest.fail(f"last status of {cluster}: {status}")
        return status

    async def until_rows(self, cluster: str, kind: str, said: Callable[[dict[str, Row]], object]) -> dict[str, Row]:
        async with asyncio.timeout(40):
            while not said(rows := await self.rows(cluster, kind)):
                await asyncio.sleep(0.05)
        return rows


def settled(status: ClusterStatus) -> bool:
    return status.phase == "live" and all(each.state == "live" for each in status.resources)


@pytest.fixture
def fleet(engine, redis) -> Fleet:
    return Fleet(engine, redis)


@contextlib.asynccontextmanager
async def watched(fleet: Fleet, *servers: RecordedCluster) -> AsyncIterator[Watcher]:
    async with contextlib.AsyncExitStack() as stack:
        for server in servers:
            await stack.enter_async_context(server)
            fleet.registry.add(server)
        await stack.enter_async_context(running("watcher", fleet.watcher.run()))
        yield fleet.watcher


async def test_a_registered_cluster_is_mirrored_and_summed_up(fleet: Fleet) -> None:
    async with watched(fleet, RecordedCluster()):
        status = await fleet.until("c0", settled)

        assert status.version == "v1.36.2"
        assert status.identity == "uid-of-kube-system"
        assert (status.counters["pods"], status.counters["nodes"], status.counters["nodes_ready"]) == (27, 1, 1)
        assert status.counters["pods_CrashLoopBackOff"] == 1
        assert status.counters["deployments_error"] >= 3
        assert "configmaps" not in status.counters
        assert {"pods", "deployments.apps", "jobs.batch"} <= {trouble.resource for trouble in status.troubles}
        crashing = next(trouble for trouble in status.troubles if trouble.name.startswith("payments-"))
        assert (crashing.reason, crashing.namespace, crashing.since) == ("CrashLoopBackOff", "shop", 1795406205)
        assert "configmaps" in {ref.key for ref in status.available}
        assert len(await fleet.rows("c0", "pods")) == 27


async def test_a_change_reaches_readers_and_the_counters(fleet: Fleet) -> None:
    server = RecordedCluster()
    async with watched(fleet, server):
        await fleet.until("c0", settled)
        node = msgspec.json.decode(server._document("/api/v1/nodes"))["items"][0]
        node = {"kind": "Node", "apiVersion": "v1", **node, "spec": {"unschedulable": True}}
        node["metadata"]["resourceVersion"] = "999999"
        server.feed("/api/v1/nodes", "MODIFIED", node)
        rows = await fleet.until_rows("c0", "nodes", lambda rows: rows["worker-0"].cells[0] != "Ready")
        assert rows["worker-0"].cells[0] == "Ready,SchedulingDisabled"
        await fleet.until("c0", lambda status: status.counters["nodes_warning"] == 1)


async def test_readers_of_a_hub_get_the_rows_the_columns_and_then_what_changes(fleet: Fleet, redis_url: str) -> None:
    server = RecordedCluster()
    async with watched(fleet, server), Hub(redis_url) as hub, asyncio.timeout(60):
        async with contextlib.aclosing(hub.follow(rows_channel("c0", "nodes"))) as items:
            snapshot = await anext(items)
            assert isinstance(snapshot, Snapshot)
            columns = msgspec.msgpack.decode(snapshot.meta[COLUMNS_META], type=list[Column])
            rows = [msgspec.msgpack.decode(value, type=Row) for value in snapshot.entries.values()]
            assert [len(row.cells) for row in rows] == [len(columns)]
            node = msgspec.json.decode(server._document("/api/v1/nodes"))["items"][0]
            node = {"kind": "Node", "apiVersion": "v1", **node, "spec": {"unschedulable": True}}
            node["metadata"]["resourceVersion"] = "999999"
            await fleet.until("c0", settled)
            server.feed("/api/v1/nodes", "MODIFIED", node)
            batches = [
                msgspec.msgpack.decode(each.payload, type=Batch)
                for each in await anext(items)
                if isinstance(each, Publication)
            ]
            assert [msgspec.msgpack.decode(raw, type=Row).cells[0] for raw in batches[0].upserts] == [
                "Ready,SchedulingDisabled"
            ]
            assert batches[0].deletes == []
        async with contextlib.aclosing(hub.follow(CLUSTER_STATUS)) as items:
            board = await anext(items)
            assert isinstance(board, Snapshot)
            assert msgspec.msgpack.decode(board.entries[b"c0"], type=ClusterStatus).cluster_id == "c0"
            told = await anext(items)
            batch = msgspec.msgpack.decode(told[0].payload, type=Batch)
            assert msgspec.msgpack.decode(batch.upserts[0], type=ClusterStatus).heartbeat > 0


async def test_the_heartbeat_goes_on_when_nothing_happens(fleet: Fleet) -> None:
    async with watched(fleet, RecordedCluster()):
        status = await fleet.until("c0", settled)
        for _ in range(2):
            status = await fleet.until("c0", lambda newer, known=status: newer.heartbeat > known.heartbeat)


async def test_a_kind_is_watched_while_somebody_looks(fleet: Fleet) -> None:
    fleet.hurry()
    server = RecordedCluster()
    server.documents["/api/v1/secrets"] = {
        "kind": "SecretList", "apiVersion": "v1", "metadata": {"resourceVersion": "5"},
        "items": [{"metadata": {"name": "s", "uid": "u1", "resourceVersion": "4"}, "data": {"p": "aHVudGVyMg=="}}],
    }  # fmt: skip
    async with watched(fleet, server):
        await fleet.until("c0", settled)
        assert not server.lists("/api/v1/secrets")
        far = fleet.watcher._clock.now().timestamp() + 3.0
        await interests.declare(fleet.redis, [interests.member("c0", "secrets")], far)
        rows = await fleet.until_rows("c0", "secrets", len)
        assert rows["s"].cells[1] == 1
        everything = [
            value for key in await fleet.redis.keys("*secrets*snapshot") for value in await fleet.redis.hvals(key)
        ]
        assert everything
        assert not any(b"aHVudGVy" in value for value in everything)
        await fleet.until_rows("c0", "secrets", lambda rows: not rows)
        await fleet.until("c0", lambda status: "secrets" not in {each.ref.key for each in status.resources})


async def test_interests_are_kept_until_the_longest_and_forgotten_then(redis) -> None:
    await interests.declare(redis, [interests.member("c", "secrets")], 100.0)
    await interests.declare(redis, [interests.member("c", "secrets"), interests.member("d", "x.y")], 50.0)
    await interests.declare(redis, [], 50.0)

    assert await interests.read(redis, 40.0) == {"c": {"secrets"}, "d": {"x.y"}}
    assert await interests.read(redis, 60.0) == {"c": {"secrets"}}
    assert await interests.read(redis, 101.0) == {}


@pytest.mark.case("W33")
async def test_another_cluster_at_the_address_is_not_shown_until_it_is_approved(fleet: Fleet) -> None:
    fleet.hurry()
    server = RecordedCluster()
    async with watched(fleet, server):
        status = await fleet.until("c0", settled)
        epoch = (await fleet.redis.hget(keys(rows_channel("c0", "pods"))[0], "epoch")).decode()
        assert status.identity in epoch
        server.identity = "uid-of-another"
        await fleet.until("c0", lambda status: status.phase == "replaced" and "Approve" in status.message)
        await fleet.until_rows("c0", "pods", lambda rows: not rows)
        fleet.registry.change("c0", identity="uid-of-another")
        await fleet.until("c0", lambda status: settled(status) and status.identity == "uid-of-another")
        assert len(await fleet.until_rows("c0", "pods", len)) == 27


@pytest.mark.case("W32")
async def test_a_kind_that_is_no_longer_served_is_stopped_and_comes_back(fleet: Fleet) -> None:
    fleet.hurry()
    server = RecordedCluster()
    async with watched(fleet, server):
        await fleet.until("c0", settled)
        groups = msgspec.json.decode(server._document("/apis"))
        server.documents["/apis"] = {
            **groups, "items": [each for each in groups["items"] if each["metadata"]["name"] != "batch"]
        }  # fmt: skip
        server.away.add("/apis/batch/v1/jobs")
        await fleet.until("c0", lambda status: "jobs.batch" not in {each.ref.key for each in status.resources})
        await fleet.until_rows("c0", "jobs.batch", lambda rows: not rows)
        del server.documents["/apis"]
        server.away.clear()
        await fleet.until("c0", lambda status: settled(status) and status.counters.get("jobs") == 4)


@pytest.mark.case("W18")
async def test_a_kind_that_is_forbidden_is_named_and_the_others_go_on(fleet: Fleet) -> None:
    server = RecordedCluster()
    server.forbidden |= {"/api/v1/nodes"}
    async with watched(fleet, server):
        status = await fleet.until(
            "c0", lambda status: {each.state for each in status.resources} == {"live", "forbidden"}
        )
        node = next(each for each in status.resources if each.ref.key == "nodes")
        assert (status.phase, node.state, node.count) == ("live", "forbidden", None)
        assert "nodes" in node.message
        assert "nodes" not in status.counters


async def test_a_cluster_that_does_not_answer_says_so_and_comes_when_it_does(fleet: Fleet) -> None:
    server = RecordedCluster()
    await server.start()
    await server.stop()
    fleet.registry.add(server)
    async with running("watcher", fleet.watcher.run()):
        status = await fleet.until("c0", lambda status: status.phase == "unreachable")
        assert status.message.startswith("The API server")
        assert status.counters == {}
        await server.start()
        try:
            await fleet.until("c0", settled)
        finally:
            await server.stop()


async def test_an_api_server_that_hangs_is_told_long_before_its_watches_give_up(fleet: Fleet) -> None:
    fleet.hurry()
    server = RecordedCluster()
    async with watched(fleet, server):
        await fleet.until("c0", settled)
        server.always("any", Exchange.mute)  # open watches stay open and silent, as with a stopped process
        status = await fleet.until("c0", lambda status: status.phase == "unreachable", within_s=30)
        assert "may be old" in status.message
        assert {each.state for each in status.resources} == {"live"}
        server.always("any", server._play)
        await fleet.until("c0", settled, within_s=30)


async def test_a_paused_cluster_is_told_as_paused_and_a_removed_one_leaves_nothing(fleet: Fleet) -> None:
    async with watched(fleet, RecordedCluster(), RecordedCluster()):
        await fleet.until("c0", settled)
        await fleet.until("c1", settled)
        fleet.registry.change("c0", paused=True)
        await fleet.until("c0", lambda status: status.phase == "paused")
        assert len(await fleet.rows("c0", "pods")) == 27
        fleet.registry.remove("c1")
        async with asyncio.timeout(20):
            while "c1" in await fleet.statuses() or await fleet.redis.exists(keys(rows_channel("c1", "pods"))[1]):
                await asyncio.sleep(0.05)
        fleet.registry.change("c0", paused=False)
        await fleet.until("c0", settled)


async def test_two_watchers_share_the_clusters_and_one_board(fleet: Fleet) -> None:
    servers = [RecordedCluster() for _ in range(4)]
    async with watched(fleet, *servers) as first:
        for name in fleet.registry.clusters:
            await fleet.until(name, settled)
        second = fleet.another()
        async with running("second", second.run()):
            async with asyncio.timeout(40):
                while len(second._watched) < 2:
                    await asyncio.sleep(0.05)
            for name in fleet.registry.clusters:
                known = (await fleet.statuses())[name].heartbeat
                await fleet.until(name, lambda status, known=known: settled(status) and status.heartbeat > known + 0.5)
            assert not first._watched.keys() & second._watched.keys()
        async with asyncio.timeout(40):
            while len(first._watched) < 5:
                await asyncio.sleep(0.05)


@pytest.mark.case("W37")
async def test_a_cluster_that_answers_a_byte_a_second_holds_up_no_other(fleet: Fleet) -> None:
    """Slow loris: one never ends an answer, one never begins one, one sends garbage; the others' changes flow."""
    slow, mute, odd, good = (RecordedCluster() for _ in range(4))

    async def drip(exchange: Exchange) -> None:
        await exchange.start()
        while True:
            await exchange.chunk(b" ")
            await asyncio.sleep(1.0)

    slow.always("any", drip)
    mute.always("any", Exchange.mute)
    odd.always("any", lambda exchange: exchange.answer(200, b"[" * 100_000))
    async with watched(fleet, slow, mute, odd, good):
        await fleet.until("c3", settled)
        for number in range(3):
            service = msgspec.json.decode(good._document("/api/v1/services"))["items"][0]
            service = {"kind": "Service", "apiVersion": "v1", **service}
            service["metadata"] |= {
                "uid": f"new-{number}",
                "name": f"new-{number}",
                "resourceVersion": f"99999{number}",
            }
            good.feed("/api/v1/services", "ADDED", service)
            await fleet.until_rows("c3", "services", lambda rows, name=f"new-{number}": name in rows)
        statuses = await fleet.statuses()
        assert statuses["c3"].lag_s < 1.0
        assert statuses["c2"].phase == "unreachable"
        assert {statuses[name].phase for name in ("c0", "c1")} <= {"connecting", "unreachable"}


@pytest.mark.case("F06")
async def test_a_watch_that_was_superseded_ends_and_is_begun_again_with_a_higher_token(fleet: Fleet) -> None:
    async with watched(fleet, RecordedCluster()) as watcher:
        await fleet.until("c0", settled)
        token = watcher._watched["c0"].token
        await Publisher(fleet.redis, rows_channel("c0", "pods"), token=token + 1, identity="x").replace({}, {})
        async with asyncio.timeout(40):
            while "c0" not in watcher._watched or watcher._watched["c0"].token <= token:
                await asyncio.sleep(0.05)
        await fleet.until_rows("c0", "pods", lambda rows: len(rows) == 27)


@pytest.mark.case("W35")
async def test_starting_and_stopping_leaks_no_task_and_no_socket(fleet: Fleet) -> None:
    def files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    server = RecordedCluster()
    async with watched(fleet, server):
        await fleet.until("c0", settled)
    tasks, opened = len(asyncio.all_tasks()), files()
    async with server:
        for _ in range(5):
            async with running("watcher", fleet.another().run()):
                async with asyncio.timeout(20):
                    while not server.requests:
                        await asyncio.sleep(0.02)
                server.requests.clear()
    assert len(asyncio.all_tasks()) == tasks
    assert files() <= opened + 2


@pytest.mark.case("F06")
async def test_a_superseded_watchers_status_is_refused(redis) -> None:
    status = ClusterStatus("c", "live", "", "", "", 1.0, 1.0, None, 0.0, {}, [], [], [])
    await note(redis, 9, status)
    await note(redis, 9, status)
    with pytest.raises(Fenced):
        await note(redis, 8, status)
    await note(redis, 10, status)


def test_the_boards_lease_is_no_clusters() -> None:
    assert "/" in BOARD
