"""The fleet as this web process knows it: registered clusters, and what their watchers say of them.

Never speaks with a cluster. A status that was not written for `STALE_S` is stale, whatever it says.
"""

import asyncio
from typing import Final

import msgspec
import structlog

from app import tasks
from app.authz.visibility import Scope
from app.clock import SYSTEM_CLOCK, Clock
from app.clusters.schemas import Cluster
from app.clusters.service import ClusterService
from app.problems import Problem
from app.stream.hub import Hub
from app.stream.publication import Publication, Snapshot, Stale
from app.watch.schemas import CLUSTER_STATUS, Batch, ClusterStatus

log = structlog.get_logger()

STALE_S: Final = 5.0
REGISTRY_S: Final = 1.0
STALENESS_S: Final = 0.5

_status: Final = msgspec.msgpack.Decoder(ClusterStatus)
_batch: Final = msgspec.msgpack.Decoder(Batch)


class ClusterCard(msgspec.Struct, frozen=True):
    """One cluster. status: None before the first report. stale_since: seconds since 1970, None while it is fresh."""

    cluster: Cluster
    status: ClusterStatus | None
    stale_since: float | None


class Fleet:
    """Follows the registry and the statuses; `run` for ever, owned by the web role."""

    def __init__(self, hub: Hub, clusters: ClusterService, clock: Clock = SYSTEM_CLOCK) -> None:
        self.revision = 0
        self._hub = hub
        self._service = clusters
        self._clock = clock
        self._clusters: dict[str, Cluster] = {}
        self._statuses: dict[str, ClusterStatus] = {}
        self._stale: Stale | None = None
        self._registry_revision: int | None = None
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Follow for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(tasks.supervise("fleet registry", self._follow_registry), name="fleet registry")
            group.create_task(tasks.supervise("fleet statuses", self._follow_statuses), name="fleet statuses")
            group.create_task(tasks.supervise("fleet staleness", self._watch_staleness), name="fleet staleness")

    def cards(self, scope: Scope) -> list[ClusterCard]:
        """The clusters of which the scope shows anything, by name."""
        found = [self.card(cluster) for cluster in self._clusters.values() if scope.sees_cluster(cluster.id)]
        return sorted(found, key=lambda card: card.cluster.name)

    def card(self, cluster: Cluster) -> ClusterCard:
        status = self._statuses.get(cluster.id)
        return ClusterCard(cluster, status, self._stale_since(status))

    def clusters(self, scope: Scope) -> list[Cluster]:
        """The registered clusters of which the scope shows anything."""
        return [cluster for cluster in self._clusters.values() if scope.sees_cluster(cluster.id)]

    def status(self, cluster_id: str) -> ClusterStatus | None:
        return self._statuses.get(cluster_id)

    def stale_since(self, cluster_id: str) -> float | None:
        """Since when the cluster's watcher has not been heard, seconds since 1970; None while it is."""
        return self._stale_since(self._statuses.get(cluster_id))

    def name(self, cluster_id: str) -> str:
        """What people call it; its id when it is not registered any more."""
        cluster = self._clusters.get(cluster_id)
        return cluster.name if cluster is not None else cluster_id

    async def changed(self, seen: int) -> int:
        """Wait until `revision` is another one than `seen`, and return it."""
        while self.revision == seen:
            await self._changed.wait()
        return self.revision

    def _stale_since(self, status: ClusterStatus | None) -> float | None:
        if status is None:
            return None
        if self._stale is not None:
            return self._stale.since
        return status.heartbeat if self._clock.now().timestamp() - status.heartbeat > STALE_S else None

    async def _watch_staleness(self) -> None:
        """A status grows stale although nothing is heard: that is a change too."""
        known: set[str] = set()
        while True:
            await self._clock.sleep(STALENESS_S)
            stale = {key for key, status in self._statuses.items() if self._stale_since(status) is not None}
            if stale != known:
                known = stale
                self._advance()

    def _advance(self) -> None:
        self.revision += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def _follow_registry(self) -> None:
        while True:
            try:
                revision = await self._service.revision()
                if revision != self._registry_revision:
                    found = await self._service.list()
                    self._clusters = {cluster.id: cluster for cluster in found}
                    self._registry_revision = revision
                    self._advance()
            except Problem as problem:
                log.warning("fleet.registry_unread", reason=problem.detail)
            await self._clock.sleep(REGISTRY_S)

    async def _follow_statuses(self) -> None:
        async for item in self._hub.follow(CLUSTER_STATUS):
            match item:
                case Snapshot():
                    found = (_status.decode(encoded) for encoded in item.entries.values())
                    self._statuses = {status.cluster_id: status for status in found}
                    self._stale = None
                case Stale():
                    self._stale = item
                case _:
                    self._stale = None
                    self._apply(item)
            self._advance()

    def _apply(self, publications: list[Publication]) -> None:
        for publication in publications:
            batch = _batch.decode(publication.payload)
            for raw in batch.upserts:
                status = _status.decode(raw)
                self._statuses[status.cluster_id] = status
            for cluster_id in batch.deletes:
                self._statuses.pop(cluster_id, None)
