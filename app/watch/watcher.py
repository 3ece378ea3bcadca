"""The loop of the watcher role: which clusters there are, which of them are ours, and a `ClusterWatch` for each.

Any number of watchers share the clusters by leases. Never serves a request, never writes to a cluster.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import Mapping
from typing import Final

import msgspec
import structlog

from app.clock import SYSTEM_CLOCK, Clock
from app.clusters.schemas import Cluster
from app.clusters.service import ClusterService
from app.problems import Problem
from app.settings import Settings
from app.storage.postgres import Engine
from app.storage.redis import Redis, RedisError
from app.stream.publisher import Fenced
from app.tasks import stop
from app.watch import interests
from app.watch.assignment import Assignment, Terms
from app.watch.board import BOARD, Board, note
from app.watch.cluster import ClusterWatch, Means
from app.watch.groups import group
from app.watch.packing import Packers
from app.watch.reflector import Pace
from app.watch.schemas import ClusterStatus

log = structlog.get_logger()

REGISTRY_S: Final = 1.0  # between looks at the registry's revision
INTERESTS_S: Final = 1.0  # a viewer of a kind that nobody watched waits this long, and for its list


class _Watched(msgspec.Struct):
    """One lease at work. watch: None for the board's."""

    token: int
    cluster: Cluster | None
    watch: ClusterWatch | None
    task: asyncio.Task[None]


class Watcher:
    """One process's share of all clusters; `run` until cancelled."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        redis: Redis,
        clusters: ClusterService,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.holder = f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(4)}"
        self._redis = redis
        self._service = clusters
        self._clock = clock
        self._clusters: dict[str, Cluster] = {}
        self._watched: dict[str, _Watched] = {}
        self._wake = asyncio.Event()
        self._means = Means(
            redis=redis,
            packers=Packers(),
            endpoint=clusters.endpoint,
            report=self._report,
            pace=Pace(tick_s=settings.watch_tick_s, clock=clock),
            idle_s=settings.on_demand_idle_s,
        )
        terms = Terms(ttl_s=settings.lease_ttl_s, renew_s=settings.lease_renew_s)
        self._assignment = Assignment(engine, self.holder, self._wanted, self._assigned, terms=terms, clock=clock)

    async def run(self) -> None:
        """Watch our share until cancelled, then give the leases back."""
        log.info("watcher.started", holder=self.holder)
        try:
            async with group() as tasks:
                tasks.create_task(self._follow_registry(), name="registry")
                tasks.create_task(self._follow_interests(), name="interests")
                tasks.create_task(self._assignment.run(), name="leases")
                tasks.create_task(self._work(tasks), name="work")
        finally:
            await self._assignment.release_all()
            log.info("watcher.ended", holder=self.holder)

    def watches(self) -> dict[str, ClusterWatch]:
        """What is watched here now, by cluster id."""
        return {key: each.watch for key, each in self._watched.items() if each.watch is not None}

    # -- what there is -----------------------------------------------------------------------------------------------

    def _wanted(self) -> list[str]:
        return [BOARD, *(cluster.id for cluster in self._clusters.values() if not cluster.paused)]

    def _assigned(self, held: Mapping[str, int]) -> None:
        log.info("watcher.leases", holder=self.holder, held=len(held))
        self._wake.set()

    async def _follow_registry(self) -> None:
        known: int | None = None
        while True:
            try:
                revision = await self._service.revision()
                if revision != known:
                    self._clusters = {cluster.id: cluster for cluster in await self._service.list()}
                    known = revision
                    self._wake.set()
            except Problem as error:
                log.warning("watcher.registry_unreadable", reason=error.detail)
            await self._clock.sleep(REGISTRY_S)

    async def _follow_interests(self) -> None:
        while True:
            try:
                wanted = await interests.read(self._redis, self._clock.now().timestamp())
            except RedisError as error:
                log.warning("watcher.interests_unreadable", reason=type(error).__name__)
            else:
                for cluster_id, watch in self.watches().items():
                    watch.want(wanted.get(cluster_id, ()))
            await self._clock.sleep(INTERESTS_S)

    # -- what we do --------------------------------------------------------------------------------------------------

    async def _work(self, tasks: asyncio.TaskGroup) -> None:
        """Start and stop watches as leases and the registry change."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            held = {key: token for key, token in self._assignment.held.items() if self._is_wanted(key)}
            ended = [key for key, each in self._watched.items() if not self._is_current(key, each, held)]
            await asyncio.gather(*(stop(self._watched[key].task) for key in ended))
            for key in ended:
                watch = self._watched.pop(key).watch
                if watch is not None and key not in self._clusters:
                    await watch.forget()
            for key, token in held.items():
                if key not in self._watched:
                    self._watched[key] = self._start(tasks, key, token)

    def _is_wanted(self, key: str) -> bool:
        return key == BOARD or (key in self._clusters and not self._clusters[key].paused)

    def _is_current(self, key: str, watched: _Watched, held: Mapping[str, int]) -> bool:
        if watched.task.done() or held.get(key) != watched.token:
            return False
        return watched.cluster is None or _address(watched.cluster) == _address(self._clusters[key])

    def _start(self, tasks: asyncio.TaskGroup, key: str, token: int) -> _Watched:
        if key == BOARD:
            board = Board(self._redis, token, lambda: self._clusters, self._clock)
            return _Watched(token, None, None, tasks.create_task(self._guard(key, board), name="board"))
        cluster = self._clusters[key]
        watch = ClusterWatch(cluster, token, self._means)
        return _Watched(token, cluster, watch, tasks.create_task(self._guard(key, watch), name=f"cluster {key}"))

    async def _guard(self, key: str, work: ClusterWatch | Board) -> None:
        """Run it; a lost lease and a fault of our own end this one alone, and it is looked at again."""
        try:
            await work.run()
        except Fenced as error:
            log.warning("watcher.fenced", lease=key, reason=str(error))
            self._assignment.drop(key)
        except Exception:
            log.exception("watcher.broken", lease=key)
            await self._clock.sleep(1.0)
        finally:
            self._wake.set()

    async def _report(self, token: int, status: ClusterStatus) -> None:
        await note(self._redis, token, status)


def _address(cluster: Cluster) -> tuple[object, ...]:
    """What a watch must be started anew for when it changes; a new credential is fetched when the old is refused."""
    return cluster.server, cluster.namespaces, cluster.identity, cluster.insecure_skip_tls_verify
