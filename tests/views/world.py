"""A web process's views on a real stream: what a watcher would publish, and a viewer that reads frames."""

import asyncio
import contextlib
import itertools
import time
from datetime import UTC, datetime

import msgspec

from app.authz.identity import Binding, Identity
from app.authz.roles import Role
from app.clusters.schemas import Cluster
from app.stream.hub import Hub
from app.stream.publisher import Publisher
from app.tasks import running
from app.views.fleet import Fleet
from app.views.service import EVERYTHING, Desk, SlowViewer, ViewService
from app.watch.schemas import (
    CLUSTER_STATUS,
    COLUMNS_META,
    Batch,
    ClusterStatus,
    Column,
    ResourceRef,
    ResourceStatus,
    Row,
    rows_channel,
)
from tests.views.test_frames import Viewer

PODS = ResourceRef("", "v1", "pods", "Pod", namespaced=True)
COLUMNS = [Column("status", "Status", "status"), Column("restarts", "Restarts", "number")]
TOKENS = itertools.count(1)
ADA = Identity(user_id="1", name="ada", session="s1", bindings=(Binding(role=Role.ADMINISTRATOR),))


def row(number, *, namespace="a", status="Running", restarts=0, level=1):
    return Row(f"u{number}", namespace, f"pod-{number:05}", 1_700_000_000, level, (status, restarts), "app=web")


def viewer_of(*clusters, namespaces=None):
    """An identity that may read rows in these clusters."""
    binding = Binding(Role.VIEWER, frozenset(clusters), namespaces and frozenset(namespaces))
    return Identity(user_id="2", name="bob", session="s2", bindings=(binding,))


class Registry:
    """Clusters as `ClusterService` gives them."""

    def __init__(self):
        self.number = 0
        self.clusters = {}

    async def revision(self):
        return self.number

    async def list(self):
        return list(self.clusters.values())

    def add(self, key, name=""):
        now = datetime.now(UTC)
        self.clusters[key] = Cluster(id=key, name=name or key, server="https://x", created_at=now, updated_at=now)
        self.number += 1

    def remove(self, key):
        del self.clusters[key]
        self.number += 1


class Source:
    """The watcher of one kind in one cluster."""

    def __init__(self, redis, cluster, kind="pods"):
        self.publisher = Publisher(redis, rows_channel(cluster, kind), token=next(TOKENS), identity="uid")

    async def begin(self, rows, columns=COLUMNS):
        entries = {row.uid.encode(): msgspec.msgpack.encode(row) for row in rows}
        await self.publisher.replace(entries, {COLUMNS_META: msgspec.msgpack.encode(columns)})

    async def change(self, *rows, gone=()):
        encoded = {row.uid.encode(): msgspec.msgpack.encode(row) for row in rows}
        batch = Batch(time.time(), [msgspec.Raw(raw) for raw in encoded.values()], list(gone))
        removes = [uid.encode() for uid in gone]
        await self.publisher.publish(msgspec.msgpack.encode(batch), sets=encoded, removes=removes)


class World:
    def __init__(self, redis, hub, tick_s):
        self.redis, self.hub, self.registry = redis, hub, Registry()
        self.fleet = Fleet(hub, self.registry)
        self.views = ViewService(hub, redis, self.fleet, tick_s=tick_s)
        self.statuses = Publisher(redis, CLUSTER_STATUS, token=next(TOKENS), identity="all")

    async def cluster(self, key, rows=None, *, name="", columns=COLUMNS):
        """Register a cluster that has these pods; None is no stream yet."""
        self.registry.add(key, name)
        source = Source(self.redis, key)
        if rows is not None:
            await source.begin(rows, columns)
        await until(lambda: key in {cluster.id for cluster in self.fleet.clusters(EVERYTHING)})
        return source

    async def say(self, *statuses):
        """Publish statuses as watchers do."""
        entries = {status.cluster_id.encode(): msgspec.msgpack.encode(status) for status in statuses}
        if self.statuses.position is None:
            await self.statuses.replace(entries, {})
            return
        batch = Batch(time.time(), [msgspec.Raw(raw) for raw in entries.values()], [])
        await self.statuses.publish(msgspec.msgpack.encode(batch), sets=entries, removes=[])


def status(cluster, *, phase="live", state="live", heartbeat=None, message="", resource_message=""):
    now = time.time()
    resource = ResourceStatus(PODS, state, 3, now, resource_message)
    return ClusterStatus(
        cluster, phase, message, "v1.31", "uid", heartbeat or now, now, now, 0.0, {}, [resource], [], [PODS]
    )


@contextlib.asynccontextmanager
async def world(redis, redis_url, *, tick_s=0.01):
    async with Hub(redis_url) as hub:
        made = World(redis, hub, tick_s)
        async with running("fleet", made.fleet.run()), running("views", made.views.run()):
            yield made


async def until(condition, patience_s=20.0):
    async with asyncio.timeout(patience_s):
        while not condition():
            await asyncio.sleep(0.01)


class Watching:
    """One desk whose frames a model client applies."""

    def __init__(self, service, identity=ADA, *, acknowledges=True):
        self.desk = Desk(service, identity)
        self.viewers = {}
        self.frames = []
        self.resets = []
        self.states = {}
        self.acknowledges = acknowledges
        self.failed = None

    async def ask(self, **asked):
        from app.views.schemas import Subscribe

        self.viewers[asked.setdefault("id", 1)] = Viewer()
        await self.desk.take(Subscribe(**{"kind": "pods", **asked}))

    async def run(self):
        from app.views.schemas import Acknowledge

        try:
            async for frames in self.desk.frames():
                self.frames.append(frames)
                for frame in frames:
                    await self.take(frame)
                    if self.acknowledges and "seq" in frame:
                        await self.desk.take(Acknowledge(id=frame["id"], seq=frame["seq"]))
        except SlowViewer as error:
            self.failed = error

    async def take(self, frame):
        if "reset" in frame:
            self.resets.append((frame["id"], frame["reset"], frame["msg"]))
        elif "seq" in frame:
            self.states |= frame.get("clusters", {})
            if "e" in frame:
                self.viewers[frame["id"]].take(frame)

    def names(self, view=1):
        return sorted(held[7] for held in self.viewers[view].rows.values())


@contextlib.asynccontextmanager
async def watching(service, identity=ADA, **options):
    watcher = Watching(service, identity, **options)
    async with running("viewer", watcher.run()):
        try:
            yield watcher
        finally:
            watcher.desk.close()
